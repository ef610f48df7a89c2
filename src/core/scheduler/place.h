/* place.h: which worker gets a task; which workers are idle or saturated.
 * Must agree with: scheduler.py is_rootish, decide_worker_…, valid_workers, worker_objective,
 * check_idle_saturated. Where Dask iterates over a set, here it is by address. */
#ifndef CASK_CORE_SCHEDULER_PLACE_H
#define CASK_CORE_SCHEDULER_PLACE_H

#include "core/scheduler/internal.h"

/* Workers, sorted by address; `all`: no rule restricts the task (items is NULL then). */
struct worker_set {
    bool all;
    const worker_id *items;
    uint32_t count;
};

bool is_rootish(const struct scheduler *s, const struct task *task);
/* NULL: none; the task then waits in queued or no-worker. */
struct worker *decide_worker_rootish_queuing_disabled(struct scheduler *s, struct task *task);
struct worker *decide_worker_rootish_queuing_enabled(struct scheduler *s);
struct worker *decide_worker_non_rootish(struct scheduler *s, struct task *task);
/* Running workers that the task's rules allow; O(workers) for a restricted task. */
struct worker_set valid_workers(const struct scheduler *s, const struct task *task,
                                struct arena *arena);
/* Whether the worker offers the resources the task needs: what loose restrictions leave of its rules. Stock
 * leaves nothing of them, and then the worker never runs the task. */
bool worker_offers(const struct task *task, const struct worker *worker);
/* Whether the task's rules allow this worker, running or not: O(rules). */
bool worker_is_allowed(const struct scheduler *s, const struct task *task,
                       const struct worker *worker);
/* Whether the task's rules allow this running worker: O(rules). A loose task's are its wishes too, but it is
 * better off there than nowhere. */
bool worker_is_valid(const struct scheduler *s, const struct task *task,
                     const struct worker *worker);
bool worker_set_has(const struct worker_set *set, const struct scheduler *s, worker_id worker);
/* Amounts of a resource: offered in all, and free now. 0 if unknown. */
double worker_resource(const struct worker *worker, struct span name, double *out_free);

/* Seconds to bring the inputs that `worker` lacks. */
double comm_cost(const struct scheduler *s, const struct task *task, const struct worker *worker);
int64_t task_inputs_nbytes(const struct scheduler *s,
                           const struct task *task); /* get_nbytes_deps */
/* Expected start time there (seconds), then bytes held; smaller is better. Actors: number of actors first. */
struct objective {
    double actors, start, nbytes;
};
struct objective worker_objective(const struct scheduler *s, const struct task *task,
                                  const struct worker *worker);
bool objective_less(struct objective a, struct objective b);

/* `occupancy` < 0: the worker's own. */
void check_idle_saturated(struct scheduler *s, struct worker *worker, double occupancy);
bool is_unoccupied(const struct scheduler *s, const struct worker *worker, double occupancy,
                   uint32_t processing_count);
/* The worker is no longer idle, saturated or free (it stopped running). */
void place_worker_stopped(struct scheduler *s, struct worker *worker);
/* Take part in s->running, or not. */
void place_set_running(struct scheduler *s, struct worker *worker, bool running);
/* A known worker joins s->workers_sorted, or leaves it (when it takes part in nothing else). */
void place_add_worker(struct scheduler *s, struct worker *worker);
void place_remove_worker(struct scheduler *s, struct worker *worker);
void place_init(struct scheduler *s);
void place_fini(struct scheduler *s);
void place_check(const struct scheduler *s);
/* task_slots_available: how many more tasks it may be sent from the queue. */
int32_t worker_slots(const struct scheduler *s, const struct worker *worker);

#endif
