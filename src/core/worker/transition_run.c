/* transition_run.c: moves of tasks that are computed here: released, waiting, ready, executing, and their
 * ends. */
#include <math.h>

#include "core/worker/action.h"
#include "core/worker/ready.h"
#include "core/worker/story.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

/* It will be in memory here without being fetched. */
static bool is_to_come(const struct wtask *task)
{
    switch (task->state) {
    case WTASK_WAITING:
    case WTASK_READY:
    case WTASK_CONSTRAINED:
    case WTASK_EXECUTING:
    case WTASK_LONG_RUNNING:
        return true;
    default:
        return task->state == WTASK_RESUMED && task->next == WTASK_WAITING;
    }
}

void wmove_released_waiting(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    bool ahead = (task->flags & WTASK_AHEAD) != 0;
    wmissing_clear(task);
    const struct link *links = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct wtask *input = wtask_at(w, links[i].other);
        if (input->state != WTASK_MEMORY) {
            wmissing_add(task, i);
            wwaiter_add(task, i, input);
            if (!ahead || !is_to_come(input)) {
                wwant(w, input, WTASK_FETCH, NULL);
            }
        }
    }
    if (task->missing_count == 0) {
        wwant(w, task, WTASK_READY, NULL);
    }
    wtask_set_state(w, task, WTASK_WAITING);
}

void wmove_missing_waiting(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    wtask_purge(w, task);
    wmove_released_waiting(w, task, move);
}

void wmove_waiting_ready(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(task->missing_count == 0);
    if (task->resources != NULL) {
        wwant(w, task, WTASK_CONSTRAINED, NULL);
        return;
    }
    wtask_set_state(w, task, WTASK_READY);
    wready_add(w, task);
    wready_ensure_computing(w);
}

void wmove_waiting_constrained(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(task->missing_count == 0);
    wtask_set_state(w, task, WTASK_CONSTRAINED);
    wready_add(w, task);
    wready_ensure_computing(w);
}

void wmove_ready_executing(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(wtask_runs(task));
    ASSERT(task->missing_count == 0);
    wtask_set_state(w, task, WTASK_EXECUTING);
    waction_execute(w, task);
}

/* A run cannot be undone: its end is awaited. */
void wmove_executing_released(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(wtask_runs(task));
    ASSERT((task->flags & WTASK_DONE) == 0);
    task->previous = task->state;
    wtask_set_state(w, task, WTASK_CANCELLED);
}

/* The task asked for it itself; stealing is something else. */
void wmove_executing_rescheduled(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    ASSERT((task->flags & WTASK_DONE) != 0);
    waction_key(w, WORKER_ACTION_RESCHEDULE, task->key);
    wmove_generic_released(w, task, move);
}

void wmove_executing_long_running(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    wtask_set_state(w, task, WTASK_LONG_RUNNING);
    wrun_secede(w, task);
    waction_long_running(w, task, move->duration);
    wready_ensure_computing(w);
}

void wmove_generic_error(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    wtask_set_state(w, task, WTASK_ERROR);
    wtask_forget_past(task);
    wtask_set_blob(&task->run_spec, NULL);
    waction_task_erred(w, task, move);
}

/* Recommend RELEASED for an input that nothing here waits for any more. */
static void release_input(struct worker_state *w, struct wtask *input)
{
    switch (input->state) {
    case WTASK_WAITING:
    case WTASK_READY:
    case WTASK_CONSTRAINED:
    case WTASK_EXECUTING:
    case WTASK_LONG_RUNNING:
    case WTASK_MEMORY:
        return;
    default: /* one whose flight ends with this event is on its way already */
        if (input->waiter_count == 0 && (input->flags & WTASK_DONE) == 0) {
            wwant(w, input, WTASK_RELEASED, NULL);
        }
    }
}

void wmove_generic_released(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    wtask_purge(w, task);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        release_input(w, wtask_at(w, links_items(&task->dependencies)[i].other));
    }
    wtask_set_state(w, task, WTASK_RELEASED);
    if (task->dependents.count == 0) {
        wwant(w, task, WTASK_FORGOTTEN, NULL);
    }
}

void wmove_released_forgotten(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT(task->dependents.count == 0);
    wtask_purge(w, task);
    uint32_t count = task->dependencies.count;
    task_id *inputs = arena_array(&w->step->arena, task_id, count);
    for (uint32_t i = 0; i < count; i++) {
        inputs[i] = links_items(&task->dependencies)[i].other;
    }
    while (task->dependencies.count > 0) {
        links_remove(&task->dependencies, task->dependencies.count - 1, wdependents_of,
                     wdependencies_of, w);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct wtask *input = wtask_at(w, inputs[i]);
        if (input->state == WTASK_RELEASED && input->dependents.count == 0) {
            wwant(w, input, WTASK_FORGOTTEN, NULL);
        }
    }
    wtask_set_state(w, task, WTASK_FORGOTTEN);
    wtask_bury(w, task);
}
