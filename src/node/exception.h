/* exception.h: failures as the exceptions that clients see. */
#ifndef CASK_NODE_EXCEPTION_H
#define CASK_NODE_EXCEPTION_H

#include "node/node.h"

/* What goes out for a failure; both owned, traceback may be NULL. A user's exception passes unopened; one
 * that was made here is pickled once for each call. */
struct exception_blobs {
    struct blob *exception, *traceback;
};
struct exception_blobs exception_blobs(struct node *node, const struct failure *failure);
void exception_blobs_fini(struct exception_blobs *blobs);
/* The text people see: repr of the exception, in the arena. */
struct span exception_text(const struct failure *failure, struct arena *arena);
/* Append the fields exception, traceback, exception_text, traceback_text (4 pairs) to an open map. */
void exception_write(struct node *node, const struct failure *failure, struct outgoing *out);

#endif
