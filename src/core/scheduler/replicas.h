/* replicas.h: who holds which result: who_has, has_what, bytes held, and which tasks have several holders.
 * Must agree with: scheduler.py add_replica, remove_replica, remove_all_replicas, set_nbytes. */
#ifndef CASK_CORE_SCHEDULER_REPLICAS_H
#define CASK_CORE_SCHEDULER_REPLICAS_H

#include "core/scheduler/internal.h"

/* Nothing happens if it is there already. */
void replica_add(struct scheduler *s, struct task *task, struct worker *worker);
/* It must be there. */
void replica_remove(struct scheduler *s, struct task *task, struct worker *worker);
void replica_remove_all(struct scheduler *s, struct task *task);
bool replica_has(const struct task *task, worker_id worker);
void task_set_nbytes(struct scheduler *s, struct task *task, int64_t nbytes);

/* request_remove_replicas: forget the replicas at once and tell the worker; never the last one. */
void replicas_request_remove(struct scheduler *s, struct worker *worker, const task_id *tasks,
                             uint32_t count, struct step *step);
/* request_acquire_replicas */
void replicas_request_acquire(struct scheduler *s, struct worker *worker, const task_id *tasks,
                              uint32_t count, struct step *step);

#endif
