/* step_execute.c: how runs ended, and values that were lost. */
#include "core/worker/action.h"
#include "core/worker/ready.h"
#include "core/worker/step_events.h"
#include "core/worker/story.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

/* The task, if it runs. The node passes on what executors say, and those run anybody's code. */
static struct wtask *running(const struct worker_state *w, task_id id)
{
    if (id >= w->task_end) {
        return NULL;
    }
    struct wtask *task = wtask_at(w, id);
    return wtask_runs(task) ? task : NULL;
}

/* What the last few took, the newest the most. */
static void learn_pace(struct worker_state *w, const struct wtask *task, double seconds)
{
    w->ended_at = w->now;
    double *pace = &w->prefixes.items[task->prefix].seconds;
    if (seconds > 0) {
        *pace = *pace > 0 ? (3 * *pace + seconds) / 4 : seconds;
    }
}

/* _execute_done_common: its thread goes to the next one. */
static struct wtask *ended(struct worker_state *w, task_id id)
{
    struct wtask *task = running(w, id);
    if (task != NULL) {
        wrun_end(w, task);
        task->flags |= WTASK_DONE;
        w->executed_count++;
        wready_ensure_computing(w);
    }
    return task;
}

void worker_on_execute_success(struct worker_state *w, const struct worker_event *event)
{
    const struct worker_event_execute_success *success = &event->of.execute_success;
    struct wtask *task = running(w, success->task);
    if (task != NULL) {
        learn_pace(w, task, success->seconds);
        task = ended(w, success->task);
    }
    if (task == NULL) {
        woffer_add(w, success->task, (struct span){0}, NULL);
        return;
    }
    struct wmove *move = wmove_new(w);
    move->run_id = success->run_id;
    move->about = success->about;
    task->nbytes = wnbytes_of(success->nbytes);
    wwant(w, task, WTASK_MEMORY, move);
    woffer_add(w, task->id, task->key, move);
}

void worker_on_execute_failure(struct worker_state *w, const struct worker_event *event)
{
    const struct worker_event_execute_failure *failure = &event->of.execute_failure;
    struct wtask *task = ended(w, failure->task);
    if (task != NULL) {
        struct wmove *move = wmove_new(w);
        move->run_id = failure->run_id;
        move->failure = failure->failure;
        move->about = failure->about;
        wwant(w, task, WTASK_ERROR, move);
    }
}

void worker_on_execute_reschedule(struct worker_state *w, const struct worker_event *event)
{
    struct wtask *task = ended(w, event->of.execute_reschedule.task);
    if (task != NULL) {
        wwant(w, task, WTASK_RESCHEDULED, NULL);
    }
}

void worker_on_secede(struct worker_state *w, const struct worker_event *event)
{
    struct wtask *task = running(w, event->of.secede.task);
    if (task != NULL) {
        struct wmove *move = wmove_new(w);
        move->duration = event->of.secede.compute_duration;
        wwant(w, task, WTASK_LONG_RUNNING, move);
    }
}

void worker_on_data_lost(struct worker_state *w, const struct worker_event *event)
{
    struct span_list keys = event->of.data_lost.keys;
    for (uint32_t i = 0; i < keys.count; i++) {
        struct wtask *task = wtask_find(w, keys.items[i]);
        if (task != NULL && task->state == WTASK_MEMORY) {
            task->flags |= WTASK_LOST;
            wstory_add(w, task->key, "data-lost", task->state);
            wwant(w, task, WTASK_RELEASED, NULL);
        }
    }
}
