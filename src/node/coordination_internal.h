/* coordination_internal.h: what the files of the coordination RPCs share. */
#ifndef CASK_NODE_COORDINATION_INTERNAL_H
#define CASK_NODE_COORDINATION_INTERNAL_H

#include "node/coordination.h"

/* The request number of events that rpc_publish.c applies for one of several names: their answers, which
 * come at once, are gathered there. */
#define COORDINATION_PUBLISH UINT64_MAX

/* Python's class for an answer that raises; NULL: it does not. */
const char *coordination_error_class(enum answer_kind kind);
/* {"data": …, "keys": […]} or nil. */
void coordination_write_dataset(const struct answer *answer, struct outgoing *out);
/* The answer to the event that rpc_publish.c is applying. */
void publish_answered(struct node *node, const struct answer *answer);

#endif
