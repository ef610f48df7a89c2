/* step_task.c: what workers tell about tasks. A message may be late: the task may be gone, released, sent
 * elsewhere since. The run_id tells one run from another, so a late answer changes nothing.
 * Must agree with: scheduler.py stimulus_task_finished, stimulus_task_erred, release_worker_data, add_keys,
 * handle_long_running, _reschedule, handle_request_refresh_who_has. */
#include <math.h>

#include "core/scheduler/action.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/processing.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/runs.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/steal.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/transition.h"

static void finish(struct scheduler *s, struct task *task,
                   const struct event_task_finished *finished, struct step *step)
{
    if (finished->metadata != NULL) {
        struct task_extra *extra = task_extra_make(task);
        blob_unref(extra->metadata);
        extra->metadata = blob_ref(finished->metadata);
    }
    transition(s, task, TASK_MEMORY, &(struct move){.finished = finished}, step);
}

void step_task_finished(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_task_finished *finished = &event->of.task_finished;
    struct worker *worker = worker_find(s, finished->worker);
    if (worker == NULL) {
        return;
    }
    struct task *task = run_find_task(s, finished->run_id, finished->key);
    forward_doubt(s, task, worker, step);
    bool is_stale = task == NULL || task->run_id != finished->run_id;
    bool is_here = task != NULL && task->processing_on == worker->id;
    if (task == NULL || task->state == TASK_RELEASED || task->state == TASK_QUEUED ||
        task->state == TASK_NO_WORKER || task->state == TASK_ERRED || (is_stale && !is_here) ||
        (task->state == TASK_PROCESSING && !is_here)) {
        action_worker_key(step, ACTION_FREE_KEYS, worker->id, finished->key);
    } else if (is_stale) {
        want(s, task, TASK_RELEASED);
        shuffles_barrier_again(s, task, step);
    } else if (task->state == TASK_MEMORY) {
        replica_add(s, task, worker);
    } else {
        finish(s, task, finished, step);
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
    queue_send_ahead(s, worker, step);
}

void step_task_erred(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_task_erred *erred = &event->of.task_erred;
    struct worker *worker = worker_find(s, erred->worker);
    struct task *task = run_find_task(s, erred->run_id, erred->key);
    forward_doubt(s, task, worker, step);
    if (task == NULL || task->state != TASK_PROCESSING) {
        queue_slots_maybe_opened(s, step);
        return;
    }
    bool is_here = worker != NULL && task->processing_on == worker->id;
    if (task->run_id != erred->run_id) {
        if (is_here) {
            want(s, task, TASK_RELEASED);
            shuffles_barrier_again(s, task, step);
        }
    } else if (task_retries(task) > 0) {
        task->extra->retries--;
        want(s, task, TASK_WAITING);
        shuffles_barrier_again(s, task, step);
    } else if (is_here) {
        struct failure_info info = {.kind = FAILURE_USER,
                                    .exception = erred->exception,
                                    .traceback = erred->traceback,
                                    .exception_text = erred->exception_text,
                                    .traceback_text = erred->traceback_text};
        struct failure *failure = failure_from_info(&info, task->key, worker);
        struct move move = {.failure = failure,
                            .worker = worker->address,
                            .startstops = erred->startstops,
                            .thread = erred->thread};
        transition(s, task, TASK_ERRED, &move, step);
        failure_drop(s, failure);
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

/* The worker has no replica of the task any more. */
static void replica_gone(struct scheduler *s, struct span key, struct worker *worker,
                         struct step *step)
{
    struct task *task = task_find(s, key);
    if (task == NULL || !replica_has(task, worker->id)) {
        return;
    }
    bool was_actor = actor_is_at(worker, task);
    replica_remove(s, task, worker);
    if (task->who_has.count == 0) {
        transition_all(s, task, TASK_RELEASED, step);
    } else if (was_actor) {
        transition_all(s, task, TASK_ERRED, step); /* what others have are proxies of it */
    }
    queue_slots_maybe_opened(s, step); /* what ran with it was let go of */
}

void step_release_worker_data(struct scheduler *s, const struct event *event, struct step *step)
{
    struct worker *worker = worker_find(s, event->of.release_worker_data.worker);
    if (worker != NULL) {
        replica_gone(s, event->of.release_worker_data.key, worker, step);
    }
}

void step_replica_missing(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_replica_missing *missing = &event->of.replica_missing;
    struct worker *worker = worker_find(s, missing->worker);
    for (uint32_t i = 0; worker != NULL && i < missing->keys.count; i++) {
        replica_gone(s, missing->keys.items[i], worker, step);
    }
}

void step_replica_deleted(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_replica_deleted *deleted = &event->of.replica_deleted;
    struct worker *worker = worker_find(s, deleted->worker);
    for (uint32_t i = 0; worker != NULL && i < deleted->keys.count; i++) {
        replica_gone(s, deleted->keys.items[i], worker, step);
    }
}

void step_add_keys(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_add_keys *added = &event->of.add_keys;
    struct worker *worker = worker_find(s, added->worker);
    if (worker == NULL) {
        return;
    }
    struct span *redundant = arena_array(&step->arena, struct span, added->keys.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < added->keys.count; i++) {
        struct task *task = task_find(s, added->keys.items[i]);
        if (task != NULL && task->state == TASK_MEMORY) {
            replica_add(s, task, worker);
        } else {
            redundant[count++] = added->keys.items[i];
        }
    }
    if (count > 0) {
        action_add(step, ACTION_REMOVE_REPLICAS)->of.remove_replicas =
            (struct action_remove_replicas){
                .worker = worker->id, .keys = {redundant, count}, .stimulus = step->stimulus};
    }
}

void step_long_running(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_long_running *seceded = &event->of.long_running;
    struct worker *worker = worker_find(s, seceded->worker);
    struct task *task = task_find(s, seceded->key);
    forward_doubt(s, task, worker, step);
    if (worker == NULL || task == NULL || task->processing_on != worker->id ||
        task->run_id != seceded->run_id || (task->flags & TASK_LONG_RUNNING) != 0) {
        return;
    }
    steal_task_left(s, task, TASK_PROCESSING);
    if (!isnan(seceded->compute_duration)) {
        struct prefix *prefix = task->group->prefix;
        double old = prefix->duration_average;
        double seconds = fmax(seceded->compute_duration, 0);
        prefix_set_duration(s, prefix, old < 0 ? seconds : (old + seconds) / 2,
                            prefix->max_exec_time);
    }
    processing_secede(s, task);
    check_idle_saturated(s, worker, -1);
    queue_slots_maybe_opened(s, step);
}

void step_reschedule(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_reschedule *reschedule = &event->of.reschedule;
    struct task *task = task_find(s, reschedule->key);
    forward_doubt(s, task, worker_find(s, reschedule->worker), step);
    if (task == NULL || task->state != TASK_PROCESSING) {
        return;
    }
    if (reschedule->worker == WORKER_NONE || task->processing_on == reschedule->worker) {
        want(s, task, TASK_RELEASED);
        shuffles_barrier_again(s, task, step);
        transitions_run(s, step);
        /* Stock leaves the queue as it is, though nothing may run now. */
        queue_slots_maybe_opened(s, step);
    }
}

/* A crash counts as the loss of a worker does in Dask, where it is one; only what is left is not lost here. Retries
 * begin anew. */
void step_task_died(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_task_died *died = &event->of.task_died;
    struct worker *worker = worker_find(s, died->worker);
    struct task *task = run_find_task(s, died->run_id, died->key);
    forward_doubt(s, task, worker, step);
    if (worker == NULL || task == NULL || task->state != TASK_PROCESSING ||
        task->processing_on != worker->id || task->run_id != died->run_id) {
        return;
    }
    bool is_last = failure_count_crash(s, task, worker, died->certificate);
    if (is_last && task_retries(task) == 0) {
        failure_kill(s, task, worker, step);
    } else {
        if (is_last) {
            task->extra->retries--;
            failure_forget_deaths(task);
        }
        want(s, task, TASK_RELEASED);
        shuffles_barrier_again(s, task, step);
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

/* Nobody holds it, and nobody waits for it: a worker asked for a replica that has come to nothing. Stock
 * answers that there is none, and the worker asks again, second after second, as long as the key is known. */
static bool is_given_up(const struct task *task)
{
    return task->state == TASK_RELEASED || task->state == TASK_ERRED;
}

void step_refresh_who_has(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_refresh_who_has *asked = &event->of.refresh_who_has;
    if (worker_find(s, asked->worker) == NULL) {
        return;
    }
    task_id *known = arena_array(&step->arena, task_id, asked->keys.count);
    struct span *unknown = arena_array(&step->arena, struct span, asked->keys.count);
    uint32_t known_count = 0;
    uint32_t unknown_count = 0;
    for (uint32_t i = 0; i < asked->keys.count; i++) {
        const struct task *task = task_find(s, asked->keys.items[i]);
        if (task != NULL && !is_given_up(task)) {
            known[known_count++] = task->id;
        } else {
            unknown[unknown_count++] = asked->keys.items[i];
        }
    }
    if (known_count > 0) {
        action_add(step, ACTION_REFRESH_WHO_HAS)->of.refresh_who_has =
            (struct action_refresh_who_has){
                .worker = asked->worker,
                .inputs = inputs_of(s, known, known_count, step),
                .stimulus = step->stimulus,
            };
    }
    if (unknown_count > 0) {
        action_add(step, ACTION_FREE_KEYS)->of.free_keys = (struct action_free_keys){
            .worker = asked->worker, .keys = {unknown, unknown_count}, .stimulus = step->stimulus};
    }
}

void step_set_restrictions(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_set_restrictions *wanted = &event->of.set_restrictions;
    struct task *task = task_find(s, wanted->key);
    if (task == NULL) {
        return;
    }
    task_restrict_workers(s, task, wanted->workers);
    if (task->state == TASK_QUEUED || task->state == TASK_NO_WORKER) {
        /* Its place is looked for anew. Stock sends it from the queue to any worker, and leaves it without
         * one though it has one now. */
        transition_all(s, task, TASK_RELEASED, step);
        queue_slots_maybe_opened(s, step);
    }
}
