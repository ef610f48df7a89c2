/* balance.h: plans for moving replicas that an RPC then carries out: replicate and rebalance; and which
 * workers to close. Pure views: nothing changes here. Tasks are named by pointers good for this step.
 * Must agree with: scheduler.py replicate, _rebalance_find_msgs, workers_to_close. */
#ifndef CASK_CORE_SCHEDULER_BALANCE_H
#define CASK_CORE_SCHEDULER_BALANCE_H

#include <math.h>

#include "base/prng.h"
#include "core/scheduler/scheduler.h"

struct task;

struct balance_move {
    worker_id sender,
        recipient; /* sender 0: recipient chooses among the holders; recipient 0: just dropped */
    const struct task *task;
};
struct balance_plan {
    const struct balance_move *moves; /* in the arena */
    uint32_t count;
    uint32_t sender_count,
        recipient_count; /* rebalance: workers above and below the mean, for its event */
};

/* What a plan is about. Workers that are gone are skipped. */
struct balance_scope {
    const struct task *const *tasks;
    uint32_t task_count;
    const worker_id *workers;
    uint32_t worker_count;
    uint32_t n;         /* replicate, surplus: of each task, among the workers */
    uint32_t branching; /* replicate: copies that each holder gives in a round, at most */
};

/* Rebalance the tasks (tasks NULL: all in memory) among the workers (workers NULL: all); moves in order. */
struct balance_plan balance_rebalance(const struct scheduler *s, const struct balance_scope *scope,
                                      struct arena *arena);
/* One round of replicating the tasks to `n` of the workers (NULL: the running ones). An empty plan: done. Tasks
 * that nobody holds are skipped. */
struct balance_plan balance_replicate(const struct scheduler *s, const struct balance_scope *scope,
                                      struct prng *prng, struct arena *arena);
/* Surplus replicas to delete so that each task keeps `n` among the workers. sender: who loses it. */
struct balance_plan balance_surplus(const struct scheduler *s, const struct balance_scope *scope,
                                    struct prng *prng, struct arena *arena);

struct close_request {
    double memory_ratio;        /* NaN: not given */
    int64_t n, minimum, target; /* −1: not given; a negative target minus workers counts as n = 0 */
    /* Both by place among the sorted workers, or NULL: a worker's group (any bytes; NULL: each alone), and whether
     * somebody forbids that it closes. */
    const struct span *group_of;
    const bool *is_kept;
};
/* What workers_to_close() means without arguments. */
#define CLOSE_REQUEST_DEFAULT                                                                      \
    ((struct close_request){.memory_ratio = NAN, .n = -1, .minimum = -1, .target = -1})
/* Nothing that runs there forbids closing the worker: neither a long-running task nor a shuffle. */
bool balance_may_close(const struct scheduler *s, worker_id worker);
/* Workers that can be closed without loss, in the arena; count in *out_count. */
const worker_id *balance_workers_to_close(const struct scheduler *s,
                                          const struct close_request *request, struct arena *arena,
                                          uint32_t *out_count);

#endif
