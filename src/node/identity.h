/* identity.h: who the scheduler and its workers are, as stock shows them.
 * Source: distributed scheduler.py Scheduler.identity, WorkerState.identity; protocol.md 3.1. */
#ifndef CASK_NODE_IDENTITY_H
#define CASK_NODE_IDENTITY_H

#include "node/node.h"

/* The scheduler's identity as msgpack; `worker_max` −1: all workers, else that many. Without metrics and
 * last_seen of workers if `brief` (subscribe_worker_status). */
void identity_write(struct node *node, struct outgoing *out, int64_t worker_max, bool brief);
/* One worker's. */
void identity_write_worker(struct node *node, worker_id worker, struct outgoing *out, bool brief);
/* The scheduler's as JSON: the scheduler file. */
void identity_write_json(struct node *node, struct text *out);

#endif
