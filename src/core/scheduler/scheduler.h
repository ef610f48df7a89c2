/* scheduler.h: the scheduler core: create, step, look. All that other layers may include, together with
 * events.h, actions.h and view.h.
 *
 * The core is a pure state machine (core/step.h). It holds tasks, workers, clients and what they want of
 * each other, and decides what runs where. Everything it lets others see is read-only. */
#ifndef CASK_CORE_SCHEDULER_SCHEDULER_H
#define CASK_CORE_SCHEDULER_SCHEDULER_H

#include "core/scheduler/actions.h"

struct scheduler;

/* Settings; names and defaults as in Dask's configuration (distributed.yaml). Times in seconds. */
struct scheduler_config {
    uint64_t seed;                /* of the core's own generator */
    double bandwidth;             /* distributed.scheduler.bandwidth, bytes/s; 100e6 */
    double default_data_size;     /* 1024 bytes */
    double unknown_task_duration; /* 0.5 */
    double worker_saturation;     /* 1.1; infinity: no queuing */
    double ahead_seconds; /* short tasks a thread may hold beyond that; 0.02; 0: none. Not Dask's */
    uint32_t rootish_taskgroup;              /* 5 */
    uint32_t rootish_taskgroup_dependencies; /* 5 */
    uint32_t allowed_failures;               /* 3 */
    double no_workers_timeout;               /* infinity */
    double worker_ttl;                       /* 300; infinity: off */
    bool work_stealing;                      /* true */
    double work_stealing_interval;           /* 1.0 */
    bool amm_start;                          /* true */
    double amm_interval;                     /* 2 */
    bool amm_reduce_replicas;                /* default policy present */
    double lease_validation_interval;        /* 10 */
    double memory_recent_to_old;             /* worker.memory.recent-to-old-time, 30 */
    double rebalance_sender_min, rebalance_recipient_max, rebalance_half_gap; /* .30 .60 .10/2 */
    int rebalance_measure, amm_measure; /* enum memory_measure of view.h; optimistic */
    bool memory_terminate;              /* worker.memory.terminate is not false */
    uint32_t transition_log_length;     /* 1000 by Dask; admin.low-level-log-length */
    uint32_t computations_max;          /* 100 */
    const struct prefix_number *default_task_durations; /* names → seconds */
    uint32_t default_task_duration_count;
    bool transition_notices; /* NOTICE_TRANSITION wanted (a plugin listens) */
    bool task_notices;       /* NOTICE_TASK_DONE wanted (task stream, history); true */
    uint32_t step_moves_max; /* what nobody needs waits for a later step then; 1024 */
    bool check;              /* scheduler_check() after each step */
};

/* Dask's defaults, and ours for what Dask has not. */
void scheduler_config_init(struct scheduler_config *config);

/* A scheduler without tasks, workers or clients (but "fire-and-forget"). Copies config. */
struct scheduler *scheduler_create(const struct scheduler_config *config);
void scheduler_destroy(struct scheduler *s);

/* Apply one event; step's former actions are gone. Cannot fail: what a peer got wrong was refused before. */
void scheduler_step(struct scheduler *s, const struct event *event, struct step *step);

/* The time at which EVENT_TICK is due next; infinity: never. */
double scheduler_next_tick(const struct scheduler *s);

/* Whether NOTICE_TRANSITION actions are made from now on. */
void scheduler_want_transitions(struct scheduler *s, bool wanted);

/* Every invariant of the whole state; aborts with a report at the first broken one. O(everything). */
void scheduler_check(const struct scheduler *s);

#endif
