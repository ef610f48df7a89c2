/* lifecycle.h: workers coming, retiring, restarting: the flows that take several messages.
 * Source: distributed scheduler.py restart, restart_workers, retire_workers, add_nanny, WorkerStatusPlugin. */
#ifndef CASK_NODE_LIFECYCLE_H
#define CASK_NODE_LIFECYCLE_H

#include "node/node.h"

struct lifecycle;

struct lifecycle *lifecycle_create(struct node *node);
/* What is under way is given up; nothing calls back afterwards. */
void lifecycle_destroy(struct lifecycle *lifecycle);
/* The core wants this worker restarted (ttl): by its nanny, else it is removed. */
void lifecycle_restart_worker(struct node *node, worker_id worker, struct span reason);
/* One worker's retirement ended (ACTION_RETIRED): answers the RPC when all have. Inside a step: it must
 * not apply events, but post what follows. */
void lifecycle_retired(struct node *node, const struct action_retired *retired);
/* Workers that come or go: told to the watchers (subscribe_worker_status) and to flows that wait for
 * workers (scatter, restart). Inside a step. */
void lifecycle_notice(struct node *node, const struct notice *notice);
/* The "extensions" of a heartbeat (raw map or nil): spans and shuffle metrics go to the core's. */
void lifecycle_heartbeat_extensions(struct node *node, worker_id worker, const struct frames *message,
                                    struct span extensions);
/* Call `ready` (posted, never inside) once at least `count` workers are running, or after `timeout`
 * seconds: `enough` says which. For scatter and restart. */
void lifecycle_wait_for_workers(struct node *node, uint32_t count, double timeout,
                                void (*ready)(void *user, bool enough), void *user);

#endif
