/* transition_done.c: the moves of a task to and from memory, erred and forgotten. See transition.h.
 * Must agree with: scheduler.py _transition_processing_memory … _transition_released_forgotten. */
#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/priority.h"
#include "core/scheduler/processing.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

/* ---- shared ---- */

/* fire-and-forget wants a task until it is done. */
static void forget_fired(struct scheduler *s, struct task *task)
{
    struct client *client = client_at(s, s->fire_and_forget);
    if (client_wants(client, task)) {
        client_releases_task(s, client, task);
    }
}

static void free_replicas(struct scheduler *s, struct task *task, struct step *step)
{
    const struct link *holders = links_items(&task->who_has);
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        if (worker_at(s, holders[i].other)->known) {
            action_worker_key(step, ACTION_FREE_KEYS, holders[i].other, task->key);
        }
    }
    replica_remove_all(s, task);
}

/* The task needs its inputs no longer; those that nobody needs are released. */
static void release_inputs(struct scheduler *s, struct task *task)
{
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *dependency = task_at(s, inputs[i].other);
        waiter_discard(task, i, dependency);
        release_unneeded(s, dependency);
    }
}

/* Dependents without a result err as well; the cause is `failure`. */
static void blame_dependents(struct scheduler *s, struct task *task, struct failure *failure,
                             bool waiters_only, bool recommend)
{
    const struct link *users = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct task *user = task_at(s, users[i].other);
        uint32_t edge = links_items(&user->dependencies)[users[i].slot & LINK_SLOT_MASK].slot;
        if (waiters_only ? (edge & EDGE_WAITS) != 0 : user->who_has.count == 0) {
            task_blame(s, user, failure);
            if (recommend) {
                want(s, user, TASK_ERRED);
            }
        }
    }
}

static void note_erred_on(struct task *task, struct span address)
{
    struct task_extra *extra = task_extra_make(task);
    for (uint32_t i = 0; i < extra->erred_on.count; i++) {
        if (span_equal(extra->erred_on.items[i], address)) {
            return;
        }
    }
    vec_push(&extra->erred_on, span_own(address));
}

void propagate_erred(struct scheduler *s, struct task *task, const struct move *move,
                     struct step *step)
{
    task_set_state(s, task, TASK_ERRED);
    if (move->worker.size > 0) {
        note_erred_on(task, move->worker);
    }
    if (move->failure != NULL) {
        task_blame(s, task, move->failure);
    }
    struct failure *failure = task_failure(task);
    ASSERT(failure != NULL);
    blame_dependents(s, task, failure, true, true);
    release_inputs(s, task);
    waiters_clear(s, task);
    action_key_erred(s, task, failure, step);
    forget_fired(s, task);
}

/* ---- memory ---- */

void feed_dependents(struct scheduler *s, struct task *task, struct step *step)
{
    const struct link *users = links_items(&task->dependents);
    s->ready.count = 0;
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct task *user = task_at(s, users[i].other);
        if (missing_discard(user, users[i].slot & LINK_SLOT_MASK) && user->missing_count == 0) {
            vec_push(&s->ready, user->id);
        }
    }
    priority_sort(s, s->ready.items, s->ready.count, true, &step->arena);
    for (uint32_t i = 0; i < s->ready.count; i++) {
        want(s, task_at(s, s->ready.items[i]), TASK_PROCESSING);
    }
}

static void note_type(struct scheduler *s, struct task *task, struct span name)
{
    const struct group *group = task->group;
    if (group->types.count > 0 && span_equal(s->types.items[group->types.items[0].type], name)) {
        task->type =
            group->types.items[0].type; /* all results of a group are of one type, mostly */
    } else {
        task->type = type_intern(s, name);
    }
    group_add_type(task->group, task->type);
}

static void add_to_memory(struct scheduler *s, struct task *task, struct worker *worker,
                          const struct event_task_finished *finished, struct step *step)
{
    replica_add(s, task, worker);
    feed_dependents(s, task, step);
    release_inputs(s, task);
    if (task_is_unneeded(task)) {
        want(s, task, TASK_RELEASED);
    } else {
        action_key_in_memory(s, task, finished->type, step);
    }
    task_set_state(s, task, TASK_MEMORY);
    note_type(s, task, finished->typename_);
    forget_fired(s, task);
}

void move_processing_memory(struct scheduler *s, struct task *task, const struct move *move,
                            struct step *step)
{
    const struct event_task_finished *finished = move->finished;
    ASSERT(finished != NULL);
    ASSERT(task->missing_count == 0 && task->who_has.count == 0);
    struct worker *worker = worker_find(s, finished->worker);
    if (worker == NULL) {
        want(s, task, TASK_RELEASED);
        return;
    }
    ASSERT(task->processing_on == worker->id);
    for (uint32_t i = 0; i < finished->startstops.count; i++) {
        const struct startstop *run = &finished->startstops.items[i];
        group_add_duration(s, task->group, run->action, run->start, run->stop);
    }
    task_set_nbytes(s, task, finished->nbytes > 0 ? finished->nbytes : 0);
    processing_exit(s, task, TASK_MEMORY);
    add_to_memory(s, task, worker, finished, step);
    if (s->config.task_notices) {
        struct notice *notice = action_notice(step, NOTICE_TASK_DONE);
        notice->task = task;
        notice->worker = worker->id;
        notice->text = span_of_text(task_state_name(TASK_MEMORY));
        notice->text2 = finished->type;
        notice->startstops = finished->startstops;
        notice->thread = finished->thread;
    }
}

/* An actor cannot be made again. True: somebody wants it, so it errs instead of being released. */
static bool actor_is_lost(struct scheduler *s, struct task *task)
{
    if (task->who_wants.count == 0) {
        return false;
    }
    struct failure *failure =
        failure_from_text(FAILURE_ACTOR_LOST, task->key, SPAN("Worker holding Actor was lost"));
    task_blame(s, task, failure);
    failure_drop(s, failure);
    want(s, task, TASK_ERRED);
    return true;
}

/* What a ready task does when an input is lost. It may have been told in this step that nobody needs it;
 * stock overwrites that with "waiting", and the task stays for ever. */
static enum task_state state_without_input(const struct task *task)
{
    if (!task_is_unneeded(task)) {
        return TASK_WAITING;
    }
    return task->dependents.count == 0 ? TASK_FORGOTTEN : TASK_RELEASED;
}

void move_memory_released(struct scheduler *s, struct task *task, const struct move *move,
                          struct step *step)
{
    (void)move;
    ASSERT(task->missing_count == 0 && task->processing_on == WORKER_NONE);
    if ((task->flags & TASK_ACTOR) != 0 && actor_is_lost(s, task)) {
        return;
    }
    free_replicas(s, task, step);
    task_set_state(s, task, TASK_RELEASED);
    action_lost_data(s, task, step);
    if ((task->flags & TASK_HAS_RUN_SPEC) == 0 || (task->flags & TASK_LOST_DEPENDENCIES) != 0) {
        want(s, task, TASK_FORGOTTEN);
    } else if (!task_is_unneeded(task)) {
        want(s, task,
             TASK_WAITING); /* with an erred input it will err, where Dask leaves it released */
    }
    const struct link *users = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count && task->waiter_count > 0; i++) {
        struct task *user = task_at(s, users[i].other);
        uint32_t slot = users[i].slot & LINK_SLOT_MASK;
        if ((links_items(&user->dependencies)[slot].slot & EDGE_WAITS) == 0) {
            continue;
        }
        if (user->state == TASK_WAITING) {
            missing_add(user, slot);
        } else if (user->state == TASK_NO_WORKER || user->state == TASK_PROCESSING ||
                   user->state == TASK_QUEUED) {
            want(s, user, state_without_input(user));
        }
    }
}

/* An actor is lost with its worker; Dask tells those with proxies nothing. Or a task's last replica is, while
 * an input of it fails: it fails as that did. */
void move_memory_erred(struct scheduler *s, struct task *task, const struct move *move,
                       struct step *step)
{
    (void)move;
    free_replicas(s, task, step);
    if ((task->flags & TASK_ACTOR) != 0) {
        struct failure *lost =
            failure_from_text(FAILURE_ACTOR_LOST, task->key, SPAN("Worker holding Actor was lost"));
        task_blame(s, task, lost);
        failure_drop(s, lost);
    }
    struct failure *failure = task_failure(task);
    ASSERT(failure != NULL);
    blame_dependents(s, task, failure, false, false);
    propagate_erred(s, task, &(struct move){.failure = failure}, step);
}

/* ---- erred ---- */

void move_released_erred(struct scheduler *s, struct task *task, const struct move *move,
                         struct step *step)
{
    if (move->failure != NULL) {
        task_blame(s, task, move->failure);
    }
    struct failure *failure = task_failure(task);
    ASSERT(failure != NULL);
    ASSERT(task->missing_count == 0);
    blame_dependents(s, task, failure, false, true);
    action_key_erred(s, task, failure, step);
    task_set_state(s, task, TASK_ERRED);
}

void move_erred_released(struct scheduler *s, struct task *task, const struct move *move,
                         struct step *step)
{
    (void)move;
    ASSERT(task->who_has.count == 0 && task->missing_count == 0);
    task_blame(s, task, NULL);
    const struct link *users = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct task *user = task_at(s, users[i].other);
        if (user->state == TASK_ERRED) {
            want(s, user, TASK_WAITING);
        }
    }
    struct task_extra *extra = task->extra;
    for (uint32_t i = 0; extra != NULL && i < extra->erred_on.count; i++) {
        const struct worker *worker = worker_find_address(s, extra->erred_on.items[i]);
        if (worker != NULL) {
            action_worker_key(step, ACTION_FREE_KEYS, worker->id, task->key);
        }
        span_disown(&extra->erred_on.items[i]);
    }
    if (extra != NULL) {
        extra->erred_on.count = 0;
    }
    action_key_retried(s, task, step);
    task_set_state(s, task, TASK_RELEASED);
}

/* ---- forgotten ---- */

/* Dependents lose an input that can never come; those not done are forgotten as well. */
static void forget_dependents(struct scheduler *s, struct task *task)
{
    const struct link *users = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct task *user = task_at(s, users[i].other);
        uint32_t slot = users[i].slot & LINK_SLOT_MASK;
        user->flags |= TASK_LOST_DEPENDENCIES;
        missing_discard(user, slot);
        waiter_discard(user, slot, task);
        if (user->processing_on != WORKER_NONE) {
            needs_decrement(s, worker_at(s, user->processing_on), task);
        }
        if (user->state != TASK_MEMORY && user->state != TASK_ERRED) {
            want(s, user, TASK_FORGOTTEN);
        }
    }
    while (task->dependents.count > 0) {
        links_remove(&task->dependents, task->dependents.count - 1, dependencies_of, dependents_of,
                     s);
    }
    ASSERT(task->waiter_count == 0);
}

static void forget_inputs(struct scheduler *s, struct task *task)
{
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *dependency = task_at(s, inputs[i].other);
        waiter_discard(task, i, dependency);
        missing_discard(task, i);
        if (dependency->dependents.count == 1 && dependency->who_wants.count == 0 &&
            (dependency->flags & TASK_PINNED) == 0) {
            let_go(s, dependency, TASK_FORGOTTEN); /* this task was its last dependent */
        }
    }
    while (task->dependencies.count > 0) {
        links_remove(&task->dependencies, task->dependencies.count - 1, dependents_of,
                     dependencies_of, s);
    }
    ASSERT(task->missing_count == 0);
}

void propagate_forgotten(struct scheduler *s, struct task *task, struct step *step)
{
    task_set_state(s, task, TASK_FORGOTTEN);
    if ((task->flags & TASK_PINNED) != 0 && s->building != NULL) {
        s->building->is_lost = true;
    }
    forget_dependents(s, task);
    forget_inputs(s, task);
    free_replicas(s, task, step);
    struct span_list keys = {0};
    while (task->who_wants.count > 0) {
        struct client *client = client_at(s, links_items(&task->who_wants)[0].other);
        links_remove(&task->who_wants, 0, wants_what_of, who_wants_of, s);
        if (!client->is_pseudo) {
            keys = keys.count == 0 ? span_list_one(step, task->key) : keys;
            action_cancelled(step, client->id, keys, SPAN("already forgotten"), (struct span){0});
        }
    }
    task_bury(s, task);
}

void move_memory_forgotten(struct scheduler *s, struct task *task, const struct move *move,
                           struct step *step)
{
    (void)move;
    ASSERT(task->processing_on == WORKER_NONE && task->missing_count == 0);
    propagate_forgotten(s, task, step);
}

void move_released_forgotten(struct scheduler *s, struct task *task, const struct move *move,
                             struct step *step)
{
    (void)move;
    ASSERT(task->who_has.count == 0 && task->processing_on == WORKER_NONE);
    propagate_forgotten(s, task, step);
}
