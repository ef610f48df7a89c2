/* transition.h: the moves a task makes inside the scheduler. Pure: no clock, no I/O.
 *
 * A move changes its task, adds actions and want()s further moves; transitions_run() makes those, newest
 * wish first, until none is left, as Dask drains its dict of recommendations with popitem. A wish for a
 * task that has one already replaces it in its place.
 * Must agree with: dask scheduler.py, SchedulerState._transitions and _transition. */
#ifndef CASK_CORE_SCHEDULER_TRANSITION_H
#define CASK_CORE_SCHEDULER_TRANSITION_H

#include "core/scheduler/internal.h"

/* What some moves carry along (Dask's kwargs); all zero for the others. */
struct move {
    const struct event_task_finished
        *finished;                    /* processing → memory, by the worker it was sent to */
    struct failure *failure;          /* → erred: why; the task's blame becomes this */
    struct span worker;               /* → erred: address it erred on; empty: none */
    struct startstop_list startstops; /* → erred: of that run */
    uint64_t thread;                  /* → erred: of that run */
};

/* Recommend that `task` moves to `to`. */
void want(struct scheduler *s, struct task *task, enum task_state to);
/* Take a recommendation back, if there is one. */
void want_not(struct scheduler *s, struct task *task);
/* Make all recommended moves, and those they recommend. */
void transitions_run(struct scheduler *s, struct step *step);
/* Move one task now; what that recommends is left for transitions_run(). `move` may be NULL. A move that
 * states.def lacks goes through RELEASED. Nothing happens if it is there already. */
void transition(struct scheduler *s, struct task *task, enum task_state to, const struct move *move,
                struct step *step);
/* The usual stimulus: recommend one move and make all that follows. */
void transition_all(struct scheduler *s, struct task *task, enum task_state to, struct step *step);

/* One function per MOVE row of states.def. */
#define STATE(id, wire, meaning)
#define MOVE(from, to, function)                                                                   \
    void move_##function(struct scheduler *s, struct task *task, const struct move *move,          \
                         struct step *step);
#include "core/scheduler/states.def"

/* Set the state and count it: in all, in group and prefix. */
void task_set_state(struct scheduler *s, struct task *task, enum task_state to);

/* Parts shared by several moves. */
void propagate_released(struct scheduler *s, struct task *task);
void propagate_erred(struct scheduler *s, struct task *task, const struct move *move,
                     struct step *step);
void propagate_forgotten(struct scheduler *s, struct task *task, struct step *step);

/* The task has a value now: dependents that waited for it alone are recommended PROCESSING, the first in
 * priority last. */
void feed_dependents(struct scheduler *s, struct task *task, struct step *step);

/* waiting_on and waiters, kept on the edges. */
/* `task` joins the waiters of its dependency `dependency` in slot `slot`; nothing happens if it is there. */
void waiter_add(struct task *task, uint32_t slot, struct task *dependency);
/* It leaves them; true if it was there. */
bool waiter_discard(struct task *task, uint32_t slot, struct task *dependency);
/* ts.waiters = None */
void waiters_clear(struct scheduler *s, struct task *task);
/* The dependency in slot `slot` is, or is not, missing. */
void missing_add(struct task *task, uint32_t slot);
bool missing_discard(struct task *task, uint32_t slot);
/* ts.waiting_on = None */
void missing_clear(struct task *task);
/* Nobody needs the result: no task waits for it, no client wants it. */
bool task_is_unneeded(const struct task *task);
/* Recommend RELEASED if nobody needs it. A failure is kept until its task is forgotten or tried again. */
void release_unneeded(struct scheduler *s, struct task *task);

#endif
