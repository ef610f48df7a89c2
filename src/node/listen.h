/* listen.h: where the scheduler listens, and what it tells the world of it.
 * Source: distributed cli/dask_scheduler.py, core.py Server.listen, comm/addressing.py. */
#ifndef CASK_NODE_LISTEN_H
#define CASK_NODE_LISTEN_H

#include "node/scheduler_node.h"

/* Open the listeners the options ask for, set node->address (contact address), log them, warn loudly when
 * it is beyond loopback without TLS, write the scheduler file. A port in use: the code and why. */
int listen_all(struct node *node, const struct node_options *options, struct text *why) MUST_USE;
/* Close them; remove the scheduler file. May be called twice. */
void listen_stop(struct node *node);

#endif
