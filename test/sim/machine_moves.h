/* machine_moves.h: between machine.c (messages) and machine_moves.c (transitions). */
#ifndef CASK_TEST_SIM_MACHINE_MOVES_H
#define CASK_TEST_SIM_MACHINE_MOVES_H

#include "sim/machine.h"

struct wtask {
    uint32_t key;
    uint8_t state, previous, next; /* enum wtask_state */
    bool done, has_spec, is_actor;
    bool occupies; /* in the machine's executing; long-running ones are not */
    bool needs_gpu, holds_gpu;
    uint32_t coming_from; /* 1 + address, while in flight */
    int64_t run_id, nbytes;
    int64_t outcome_run; /* run_id of the run that just ended */
    uint32_t run;        /* number of its run on this worker; ends of older ones are stale */
    double priority[4];
    uint32_t want_place; /* 1 + place among the machine's wants */
    struct numbers dependencies, dependents, waiting_for, waiters; /* keys */
    struct numbers who_has;                                        /* addresses */
};

struct wwish {
    uint32_t key;
    uint8_t to;
};

struct machine {
    struct VEC(struct wtask *) tasks; /* by key; NULL: unknown */
    struct VEC(struct wwish) wants;
    struct wtask *keeping;    /* passes through released: not to be forgotten */
    struct numbers in_flight; /* addresses it is fetching from */
    struct numbers busy;      /* addresses that said so */
    uint32_t executing_count;
    uint32_t gpus_free;
    bool running;
    double generation;
};

/* NULL: unknown. */
struct wtask *machine_find(const struct sim_worker *worker, uint32_t key);
/* A recommendation; a task's later one replaces the earlier and keeps its place. */
void wish(struct sim_worker *worker, struct wtask *task, enum wtask_state to);
/* Make all recommended moves, newest first; then start transfers. */
void run_moves(struct sim *sim, struct sim_worker *worker);
/* Start what there is room for. */
void ensure_computing(struct sim *sim, struct sim_worker *worker);
void tell_finished(struct sim *sim, struct sim_worker *worker, const struct wtask *task,
                   int64_t run_id);
bool is_running(const struct wtask *task);
void machine_drop(struct sim_worker *worker, struct wtask *task);

#endif
