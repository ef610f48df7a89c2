/* balance.h: plans for moving replicas that an RPC then carries out: replicate, rebalance, scatter's
 * choice of workers, and which workers to close. Pure views: nothing changes here.
 * Must agree with: scheduler.py replicate, _rebalance_find_msgs, workers_to_close, scatter. */
#ifndef CASK_CORE_SCHEDULER_BALANCE_H
#define CASK_CORE_SCHEDULER_BALANCE_H

#include "core/scheduler/internal.h"

struct balance_move {
    worker_id sender, recipient; /* sender 0: recipient chooses among the holders */
    const struct task *task;
};
struct balance_plan {
    const struct balance_move *moves; /* in the arena */
    uint32_t count;
};

/* Rebalance `tasks` (count 0: all in memory) among `workers` (count 0: all running); moves in order. */
struct balance_plan balance_rebalance(const struct scheduler *s, const task_id *tasks, uint32_t task_count,
                                      const worker_id *workers, uint32_t worker_count, struct arena *arena);
/* One round of replicating `tasks` to `n` of `workers`, each holder giving at most `branching` copies a round;
 * an empty plan: done. Deterministic by the core's generator state. */
struct balance_plan balance_replicate(struct scheduler *s, const task_id *tasks, uint32_t task_count, uint32_t n,
                                      const worker_id *workers, uint32_t worker_count, uint32_t branching,
                                      struct arena *arena);
/* Surplus replicas to delete so that each task keeps `n` among `workers`. sender: who loses it. */
struct balance_plan balance_surplus(struct scheduler *s, const task_id *tasks, uint32_t task_count, uint32_t n,
                                    const worker_id *workers, uint32_t worker_count, struct arena *arena);

struct close_request {
    double memory_ratio;       /* NaN: default 2 */
    int64_t n, minimum, target; /* −1: none */
    const struct span *group_of; /* by place among sorted workers: its group (attrgetter key), or NULL: own address */
};
/* Workers that can be closed without loss. Count in *out_count. */
const worker_id *balance_workers_to_close(const struct scheduler *s, const struct close_request *request,
                                          struct arena *arena, uint32_t *out_count);

#endif
