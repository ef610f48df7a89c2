/* explain.h: why a task is not running: what it waits for, which rule excludes which worker, what would
 * unblock it. Pure view. */
#ifndef CASK_CORE_SCHEDULER_EXPLAIN_H
#define CASK_CORE_SCHEDULER_EXPLAIN_H

#include "core/scheduler/scheduler.h"

/* Why one worker may not have the task. */
struct explain_worker {
    worker_id worker;
    bool eligible;
    struct span reason; /* sentence; empty when eligible */
};
struct explain {
    bool known;
    struct span summary;     /* one or more sentences */
    struct span_list advice; /* what would unblock it */
    const task_id *missing;  /* inputs not in memory, at most 1,000 */
    uint32_t missing_count, missing_total;
    struct span_list missing_keys; /* their keys, canonical, in the same order */
    task_id root_cause;            /* following the first missing input to its end; TASK_NONE */
    struct span root_cause_key;
    const struct explain_worker *workers; /* by address */
    uint32_t worker_count;
    uint32_t queue_place; /* 1-based when queued; 0 else */
};
/* The sentences and lists, all in the arena. `key` canonical. O(workers + inputs + queue). */
struct explain explain_key(const struct scheduler *s, struct span key, struct arena *arena);

#endif
