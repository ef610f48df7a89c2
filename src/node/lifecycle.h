/* lifecycle.h: workers coming, retiring, restarting: the flows that take several messages.
 * Source: distributed scheduler.py restart, restart_workers, retire_workers, add_nanny, WorkerStatusPlugin. */
#ifndef CASK_NODE_LIFECYCLE_H
#define CASK_NODE_LIFECYCLE_H

#include "node/node.h"

struct lifecycle;

struct lifecycle *lifecycle_create(struct node *node);
/* Everyone who waits is told to go on, and finds the scheduler closing (node->is_closing). */
void lifecycle_destroy(struct lifecycle *lifecycle);
/* The core wants this worker restarted (ttl): by its nanny, else it is removed. Inside a step. */
void lifecycle_restart_worker(struct node *node, worker_id worker, struct span reason);
/* One worker's retirement ended (ACTION_RETIRED): answers the RPC when all have. Inside a step: it must
 * not apply events, but post what follows. */
void lifecycle_retired(struct node *node, const struct action_retired *action);
/* Workers that come or go: told to the watchers (subscribe_worker_status). Inside a step. */
void lifecycle_notice(struct node *node, const struct notice *notice);
/* The "extensions" of a heartbeat (raw map or nil): metrics of spans go to the core; those of shuffles are
 * for a dashboard and are left. */
void lifecycle_heartbeat_extensions(struct node *node, worker_id worker,
                                    const struct frames *message, struct span extensions);

/* ---- waiting: for flows that look again later ---- */

typedef void lifecycle_go(void *user);

/* Go on in `seconds`, or at once (posted) when the scheduler closes. */
void lifecycle_pause(struct node *node, double seconds, lifecycle_go *go, void *user);
/* Go on (posted) when clients have been told of the end of a task, whichever: it is in memory, has erred or
 * was cancelled; in `seconds` at the latest. */
void lifecycle_when_ended(struct node *node, double seconds, lifecycle_go *go, void *user);
void lifecycle_ended(struct node *node);
/* Go on (posted) once no nanny is starting. */
void lifecycle_when_nannies_started(struct node *node, lifecycle_go *go, void *user);
void lifecycle_nanny_started(struct node *node);

/* Replicas may be moved by rebalance and replicate, one at a time, or by retirements, several at once: go
 * on (posted) when it is one's turn, in the order of asking. Give the turn back afterwards. */
void lifecycle_take_turn(struct node *node, bool shared, lifecycle_go *go, void *user);
void lifecycle_give_turn(struct node *node);

#endif
