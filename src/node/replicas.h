/* replicas.h: copies and deletions of replicas that workers are told to make by RPC, many at once.
 * Source: distributed scheduler.py gather_on_worker, delete_worker_data. */
#ifndef CASK_NODE_REPLICAS_H
#define CASK_NODE_REPLICAS_H

#include "node/node.h"

/* One key on one worker. */
struct replica {
    worker_id worker; /* who copies it to itself, or deletes it */
    worker_id sender; /* copies: who gives it; WORKER_NONE: any holder */
    struct span key;
    bool is_done; /* after the order: it worked */
};

/* An order: filled with add, then carried out as one. */
struct replicas {
    struct node *node;
    struct arena arena;
    struct VEC(struct replica) items;
    void (*done)(struct replicas *replicas);
    void *user;
    const char *action; /* of the events: "rebalance", "replicate-add" */
};

struct replicas *replicas_create(struct node *node, void (*done)(struct replicas *replicas),
                                 void *user);
/* The key is copied. */
void replicas_add(struct replicas *replicas, worker_id worker, worker_id sender, struct span key);
/* Have the workers copy (or delete) them; the core is told of what worked, `action` is logged for each worker.
 * `done` is called once, never inside, and the order frees itself after it. */
void replicas_copy(struct replicas *replicas, const char *action);
void replicas_delete(struct replicas *replicas);
/* {"status": "partial-fail", "keys": […]} */
void replicas_reply_partial_fail(struct request *request, struct span_list keys);

#endif
