/* transition_cancelled.c: moves of tasks that were released while they ran or flew, which cannot be undone:
 * cancelled until it ends; resumed if meanwhile the other thing is asked of them. */
#include <math.h>

#include "core/worker/action.h"
#include "core/worker/ready.h"
#include "core/worker/transition.h"

static bool was_running(const struct wtask *task)
{
    return task->previous == WTASK_EXECUTING || task->previous == WTASK_LONG_RUNNING;
}

static bool is_done(const struct wtask *task)
{
    return (task->flags & WTASK_DONE) != 0;
}

/* A task waits for it. */
static bool is_missed(const struct worker_state *w, const struct wtask *task)
{
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct wtask *user = wtask_at(w, links[i].other);
        const struct link *edge = &links_items(&user->dependencies)[links[i].slot];
        if ((edge->slot & EDGE_MISSING) != 0) {
            return true;
        }
    }
    return false;
}

/* ---- cancelled ---- */

void wmove_cancelled_released(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    if (is_done(task)) {
        wmove_generic_released(w, task, move);
    }
}

void wmove_cancelled_fetch(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    if (was_running(task)) {
        ASSERT(!is_done(task));
        wtask_set_state(w, task, WTASK_RESUMED);
        task->next = WTASK_FETCH;
    } else if (is_done(task) && !is_missed(w, task)) {
        wwant(w, task, WTASK_RELEASED, NULL); /* the transfer has ended; nobody wants what came */
    } else if (is_done(task)) { /* ended, and wanted by another whose own transfer ended with it */
        wtask_set_state(w, task, WTASK_RELEASED);
        wtask_forget_past(task);
        wmove_generic_fetch(w, task, NULL);
    } else {
        wtask_set_state(w, task, WTASK_FLIGHT);
        task->previous = WTASK_RELEASED;
    }
}

void wmove_cancelled_waiting(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(!is_done(task));
    if (task->previous == WTASK_FLIGHT) {
        wtask_set_state(w, task, WTASK_RESUMED);
        task->next = WTASK_WAITING;
        return;
    }
    ASSERT(was_running(task));
    wtask_set_state(w, task, task->previous);
    task->previous = WTASK_RELEASED;
    if (task->state == WTASK_LONG_RUNNING) {
        waction_long_running(w, task, NAN); /* in arrears; may be the second one */
    }
}

/* Seceded while nobody wanted it to run: the scheduler hears of it if it does again. */
void wmove_cancelled_or_resumed_long_running(struct worker_state *w, struct wtask *task,
                                             struct wmove *move)
{
    (void)move;
    ASSERT(was_running(task));
    task->previous = WTASK_LONG_RUNNING;
    wrun_secede(w, task);
    wready_ensure_computing(w);
}

/* ---- resumed ---- */

/* What went on has ended without a value: the other thing begins, the scheduler need not know. */
static void begin_next(struct worker_state *w, struct wtask *task)
{
    enum wtask_state next = task->next;
    ASSERT(is_done(task));
    ASSERT(next == (was_running(task) ? WTASK_FETCH : WTASK_WAITING));
    wtask_set_state(w, task, WTASK_RELEASED);
    wtask_forget_past(task);
    wwant(w, task, next, NULL);
}

void wmove_resumed_error(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    begin_next(w, task);
}

void wmove_resumed_rescheduled(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(was_running(task));
    begin_next(w, task);
}

void wmove_resumed_fetch(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    if (was_running(task)) {
        ASSERT(task->next == WTASK_FETCH && !is_done(task));
    } else if (is_done(task)) {
        begin_next(w, task);
    } else { /* back where it began: it flies, and that is what is wanted */
        wtask_set_state(w, task, WTASK_FLIGHT);
        wtask_forget_past(task);
    }
}

void wmove_resumed_released(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(!is_done(task));
    wtask_set_state(w, task, WTASK_CANCELLED);
    task->next = WTASK_RELEASED;
}
