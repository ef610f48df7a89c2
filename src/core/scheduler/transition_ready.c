/* transition_ready.c: the moves of a task up to processing, and back. See transition.h.
 * Must agree with: scheduler.py _transition_released_waiting … _transition_processing_released. */
#include "core/scheduler/transition.h"

#include <math.h>

#include "core/scheduler/action.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/processing.h"
#include "core/scheduler/queue.h"

/* ---- shared ---- */

/* The task leaves the waiters of its inputs; those that nobody needs any more are released. */
static void leave_inputs(struct scheduler *s, struct task *task)
{
    const struct link *links = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *dependency = task_at(s, links[i].other);
        if (dependency->state != TASK_RELEASED) {
            waiter_discard(task, i, dependency);
            release_unneeded(s, dependency);
        }
    }
}

void propagate_released(struct scheduler *s, struct task *task)
{
    task_set_state(s, task, TASK_RELEASED);
    bool lost = (task->flags & TASK_LOST_DEPENDENCIES) != 0;
    if (lost) {
        want(s, task, TASK_FORGOTTEN);
    } else if (!task_is_unneeded(task)) {
        want(s, task, TASK_WAITING);
        return;
    }
    leave_inputs(s, task);
    waiters_clear(s, task);
}

/* ---- released ---- */

void move_released_waiting(struct scheduler *s, struct task *task, const struct move *move,
                           struct step *step)
{
    (void)move;
    (void)step;
    ASSERT(task->missing_count == 0 && task->who_has.count == 0);
    ASSERT(task->processing_on == WORKER_NONE);
    bool can_run =
        (task->flags & TASK_HAS_RUN_SPEC) != 0; /* or it is scattered data that is lost */
    if ((task->flags & TASK_LOST_DEPENDENCIES) != 0 || !can_run) {
        want(s, task, TASK_FORGOTTEN);
        return;
    }
    task_set_state(s, task, TASK_WAITING);
    task_blame(s, task, NULL);
    bool in_doubt = false;
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *dependency = task_at(s, inputs[i].other);
        in_doubt = in_doubt || dependency->state == TASK_ERRED;
        if (dependency->who_has.count == 0) {
            missing_add(task, i);
        }
        if (dependency->state == TASK_RELEASED) {
            want(s, dependency, TASK_WAITING); /* it will find its waiters itself */
        } else {
            waiter_add(task, i, dependency);
        }
    }
    const struct link *users = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct task *user = task_at(s, users[i].other);
        if (user->state == TASK_WAITING) {
            waiter_add(user, users[i].slot & LINK_SLOT_MASK, task);
        } else {
            waiter_discard(user, users[i].slot & LINK_SLOT_MASK, task);
        }
    }
    if (task->missing_count == 0) {
        want(s, task, TASK_PROCESSING);
    }
    if (in_doubt) {
        vec_push(&s->doubtful, task->id);
    }
}

/* ---- waiting ---- */

void move_waiting_released(struct scheduler *s, struct task *task, const struct move *move,
                           struct step *step)
{
    (void)move;
    ASSERT(task->who_has.count == 0 && task->processing_on == WORKER_NONE);
    forward_withdraw(s, task, step);
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *dependency = task_at(s, inputs[i].other);
        if (waiter_discard(task, i, dependency)) {
            release_unneeded(s, dependency);
        }
    }
    missing_clear(task);
    task_set_state(s, task, TASK_RELEASED);
    if ((task->flags & TASK_LOST_DEPENDENCIES) != 0) {
        want(s, task, TASK_FORGOTTEN);
    } else if (task_failure(task) == NULL && !task_is_unneeded(task)) {
        want(s, task, TASK_WAITING);
    } else {
        waiters_clear(s, task);
    }
}

void move_waiting_processing(struct scheduler *s, struct task *task, const struct move *move,
                             struct step *step)
{
    (void)move;
    if (departure_takes_inputs(s, task, step)) {
        return;
    }
    ASSERT(task->missing_count == 0);
    struct worker *worker = forward_worker(s, task);
    enum task_state otherwise = TASK_NO_WORKER;
    if (worker != NULL) {
        ASSERT(worker->status == WORKER_RUNNING);
    } else if (!is_rootish(s, task)) {
        worker = decide_worker_non_rootish(s, task);
    } else if (isinf(s->config.worker_saturation) || (task->flags & TASK_NOT_QUEUEABLE) != 0) {
        worker = decide_worker_rootish_queuing_disabled(s, task);
    } else {
        worker = decide_worker_rootish_queuing_enabled(s);
        otherwise = TASK_QUEUED;
    }
    if (worker == NULL) {
        want(s, task, otherwise);
    } else {
        processing_start(s, task, worker, step);
    }
}

void move_waiting_queued(struct scheduler *s, struct task *task, const struct move *move,
                         struct step *step)
{
    (void)move;
    (void)step;
    ASSERT(task->missing_count == 0);
    ASSERT(s->free_slots.count == 0);
    task_set_state(s, task, TASK_QUEUED);
    queue_add(s, task);
}

void move_waiting_no_worker(struct scheduler *s, struct task *task, const struct move *move,
                            struct step *step)
{
    (void)move;
    (void)step;
    ASSERT(task->missing_count == 0);
    task_set_state(s, task, TASK_NO_WORKER);
    unrunnable_add(s, task);
}

/* A worker finished a task that was sent back to waiting because an input seemed lost; the request to
 * cancel it is under way. Nothing to do: the worker will forget its result. */
void move_waiting_memory(struct scheduler *s, struct task *task, const struct move *move,
                         struct step *step)
{
    (void)s;
    (void)move;
    (void)step;
    ASSERT(task->missing_count > 0);
}

/* ---- queued, no-worker ---- */

void move_queued_released(struct scheduler *s, struct task *task, const struct move *move,
                          struct step *step)
{
    (void)move;
    (void)step;
    queue_remove(s, task);
    propagate_released(s, task);
}

void move_queued_processing(struct scheduler *s, struct task *task, const struct move *move,
                            struct step *step)
{
    (void)move;
    if (departure_takes_inputs(s, task, step)) {
        return;
    }
    struct worker *worker = s->ahead_to == WORKER_NONE ? decide_worker_rootish_queuing_enabled(s)
                                                       : worker_at(s, s->ahead_to);
    if (worker != NULL) {
        queue_remove(s, task);
        processing_start(s, task, worker, step);
    }
}

void move_queued_erred(struct scheduler *s, struct task *task, const struct move *move,
                       struct step *step)
{
    queue_remove(s, task);
    propagate_erred(s, task, move, step);
}

void move_no_worker_released(struct scheduler *s, struct task *task, const struct move *move,
                             struct step *step)
{
    (void)move;
    (void)step;
    unrunnable_remove(s, task);
    propagate_released(s, task);
}

void move_no_worker_processing(struct scheduler *s, struct task *task, const struct move *move,
                               struct step *step)
{
    (void)move;
    if (departure_takes_inputs(s, task, step)) {
        return;
    }
    struct worker *worker = decide_worker_non_rootish(s, task);
    if (worker != NULL) {
        unrunnable_remove(s, task);
        processing_start(s, task, worker, step);
    }
}

void move_no_worker_erred(struct scheduler *s, struct task *task, const struct move *move,
                          struct step *step)
{
    unrunnable_remove(s, task);
    propagate_erred(s, task, move, step);
}

/* ---- processing ---- */

void move_processing_released(struct scheduler *s, struct task *task, const struct move *move,
                              struct step *step)
{
    (void)move;
    ASSERT(task->who_has.count == 0 && task->missing_count == 0);
    actor_discard(worker_at(s, task->processing_on), task);
    struct worker *worker = processing_exit(s, task, TASK_RELEASED);
    if (worker != NULL) {
        action_worker_key(step, ACTION_FREE_KEYS, worker->id, task->key);
    }
    propagate_released(s, task);
}

void move_processing_erred(struct scheduler *s, struct task *task, const struct move *move,
                           struct step *step)
{
    ASSERT(move->failure != NULL || task_failure(task) != NULL);
    worker_id on = task->processing_on;
    actor_discard(worker_at(s, on), task);
    const struct worker *worker = processing_exit(s, task, TASK_ERRED);
    if (move->failure == NULL && worker != NULL) {
        /* An input failed meanwhile: the worker would wait for it for ever, which stock lets it do. */
        action_worker_key(step, ACTION_FREE_KEYS, worker->id, task->key);
    }
    propagate_erred(s, task, move, step);
    if (s->config.task_notices) {
        struct notice *notice = action_notice(step, NOTICE_TASK_DONE);
        notice->task = task;
        notice->worker = on;
        notice->text = span_of_text(task_state_name(TASK_ERRED));
        notice->startstops = move->startstops;
        notice->thread = move->thread;
    }
}
