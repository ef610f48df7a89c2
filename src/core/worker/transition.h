/* transition.h: the moves a task makes inside a worker. Pure: no clock, no I/O.
 *
 * A move changes its task, adds actions and wwant()s further moves; wtransitions_run() makes those, newest
 * wish first, until none is left, as Dask drains its dict of recommendations with popitem. A wish for a
 * task that has one already replaces it in its place.
 * Must agree with: worker_state_machine.py, WorkerState._transitions and _transition. */
#ifndef CASK_CORE_WORKER_TRANSITION_H
#define CASK_CORE_WORKER_TRANSITION_H

#include "core/worker/internal.h"

/* Recommend that `task` moves to `to`; `move` may be NULL. */
void wwant(struct worker_state *w, struct wtask *task, enum wtask_state to, struct wmove *move);
/* An empty move in the step's arena. */
struct wmove *wmove_new(struct worker_state *w);
/* Make all recommended moves, and those they recommend. */
void wtransitions_run(struct worker_state *w);
/* Move one task now; what that recommends is left for wtransitions_run(). A move that states.def lacks goes
 * through RELEASED. Nothing happens if it is there already. */
void wtransition(struct worker_state *w, struct wtask *task, enum wtask_state to,
                 struct wmove *move);

/* One function per MOVE row of states.def. */
#define STATE(id, wire, meaning)
#define MOVE(from, to, function)                                                                   \
    void wmove_##function(struct worker_state *w, struct wtask *task, struct wmove *move);
#include "core/worker/states.def"

/* Set the state, and with it the task's place in the queues of its old and its new one. The heaps of ready and
 * constrained and the needs of fetch are entered by wready_add() and wneeds_add(). */
void wtask_set_state(struct worker_state *w, struct wtask *task, enum wtask_state to);
/* _purge_state: nothing of the task is here, and it waits for nothing. */
void wtask_purge(struct worker_state *w, struct wtask *task);
/* No run, no flight: what CANCELLED and RESUMED remember is forgotten. */
void wtask_forget_past(struct wtask *task);

/* waiting_for_data and waiters, kept on the edges; each does nothing if that is so already. */
void wmissing_add(struct wtask *task, uint32_t slot);
void wmissing_discard(struct wtask *task, uint32_t slot);
void wmissing_clear(struct wtask *task);
void wwaiter_add(struct wtask *task, uint32_t slot, struct wtask *dependency);

/* executing, long-running, or cancelled or resumed since. */
static inline bool wtask_runs(const struct wtask *task)
{
    return (task->flags & WTASK_RUNS) != 0;
}

#endif
