/* amm_internal.h: one run of the memory manager: policies suggest, the run decides who, and carries out. */
#ifndef CASK_CORE_SCHEDULER_AMM_INTERNAL_H
#define CASK_CORE_SCHEDULER_AMM_INTERNAL_H

#include "core/scheduler/amm.h"
#include "core/scheduler/internal.h"

/* A worker being retired, and its policy. */
struct retirement {
    worker_id worker;
    uint8_t former_status; /* to which the worker goes back if it is retired in vain */
    bool close, remove;    /* what the caller wants done afterwards */
    bool is_active;        /* the policy still runs */
    bool no_recipients;    /* its data has nowhere to go, or it holds actors */
    bool is_temporary;     /* the manager does not run by itself: an interval of their own */
    uint64_t request;
    struct span stimulus; /* owned */
    double poll_due;
};

struct amm {
    bool is_running;
    double due;                                /* of the next run */
    double temporary_due;                      /* of the next run for temporary retirements */
    struct VEC(struct retirement) retirements; /* in order of arrival */
};

/* What is decided for one task in this run. */
struct amm_pending {
    struct task *task;
    uint32_t replicate_count, drop_count;
    struct amm_choice {
        worker_id worker;
        bool drop;
        struct amm_choice *next;
    } * choices, *last_choice;
};

struct amm_run {
    struct scheduler *s;
    struct step *step;
    struct arena *arena;                    /* the step's */
    struct VEC(struct amm_pending) pending; /* in order of suggestion */
    struct id_map pending_of;               /* task → place */
    int64_t *memory;                        /* by worker id, what is decided included */
    struct heap by_memory; /* running workers, least memory first; made on first use */
    uint32_t *heap_place;  /* by worker id */
    bool has_heap;
};

void amm_run_init(struct amm_run *run, struct scheduler *s, struct step *step);
/* Tell the workers. */
void amm_run_enact(struct amm_run *run);
void amm_run_fini(struct amm_run *run);
/* Suggest one more replica of the task anywhere. The worker that shall get it; WORKER_NONE: rejected. */
worker_id amm_replicate(struct amm_run *run, struct task *task);
/* The same on this worker; false: rejected. */
bool amm_replicate_on(struct amm_run *run, struct task *task, const struct worker *worker);
/* Suggest one replica less, on `only` (WORKER_NONE: anywhere). The worker that loses it; WORKER_NONE: rejected. */
worker_id amm_drop(struct amm_run *run, struct task *task, worker_id only);
/* NULL: nothing is decided for the task. */
struct amm_pending *amm_pending_find(const struct amm_run *run, const struct task *task);

#endif
