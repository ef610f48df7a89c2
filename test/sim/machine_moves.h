/* machine_moves.h: between machine.c (messages) and machine_moves.c (transitions). */
#ifndef CASK_TEST_SIM_MACHINE_MOVES_H
#define CASK_TEST_SIM_MACHINE_MOVES_H

#include "sim/machine.h"

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
