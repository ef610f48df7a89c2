/* replicate.h: more copies of data, for the RPC and for scatter with broadcast.
 * Source: distributed scheduler.py replicate. */
#ifndef CASK_NODE_REPLICATE_H
#define CASK_NODE_REPLICATE_H

#include "node/node.h"

/* How it went. */
struct replicate_outcome {
    bool is_known;    /* else KeyError(missing[0]) */
    bool has_workers; /* else there is none to replicate to */
    struct span_list
        missing; /* keys without data, or that could not be copied; empty: all is well */
};
typedef void replicate_done(void *user, const struct replicate_outcome *outcome);

struct replicate_options {
    struct span_list keys;
    const worker_id *workers; /* NULL: the running ones */
    uint32_t worker_count;
    int64_t n;          /* copies wanted; −1: one on each */
    uint32_t branching; /* ≥ 1 */
    bool delete_surplus;
};

/* Everything is copied; `done` is called once, never inside. */
void replicate(struct node *node, const struct replicate_options *options, replicate_done *done,
               void *user);
/* Answer the RPC, as stock does. */
void replicate_reply(struct request *request, const struct replicate_outcome *outcome);

#endif
