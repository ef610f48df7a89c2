/* processing.c: see processing.h. needs_what counts, for each result that is not on the worker, the
 * processing tasks that need it; its bytes are counted once, as it is brought once. */
#include "core/scheduler/processing.h"

#include "core/scheduler/action.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/steal.h"
#include "core/scheduler/transition.h"

/* ---- needs_what ---- */

static void network_add(struct scheduler *s, struct worker *worker, int64_t nbytes)
{
    worker->network_occupancy += nbytes;
    s->network_occupancy += nbytes;
}

/* The last need of `task` there is gone. Its size may have changed since it was counted, so the sum is
 * bounded, and exact again when nothing is needed. */
static void network_subtract(struct scheduler *s, struct worker *worker, const struct task *task)
{
    int64_t nbytes = task_nbytes(s, task);
    if (nbytes > worker->network_occupancy || worker->needs_what.count == 0) {
        nbytes = worker->network_occupancy;
    }
    network_add(s, worker, -nbytes);
}

static void needs_increment(struct scheduler *s, struct worker *worker, const struct task *task)
{
    uint32_t *count = id_map_put(&worker->needs_what, task->id);
    if ((*count)++ == 0) {
        network_add(s, worker, task_nbytes(s, task));
    }
}

void needs_decrement(struct scheduler *s, struct worker *worker, const struct task *task)
{
    uint32_t *count = id_map_find(&worker->needs_what, task->id);
    if (count != NULL && --*count == 0) {
        needs_forget(s, worker, task);
    }
}

void needs_forget(struct scheduler *s, struct worker *worker, const struct task *task)
{
    if (worker->needs_what.count > 0 && id_map_remove(&worker->needs_what, task->id)) {
        network_subtract(s, worker, task);
    }
}

/* ---- resources ---- */

static void use_resources(struct worker *worker, const struct task *task, double sign)
{
    const struct restrictions *rules = task_restrictions(task);
    if (rules == NULL) {
        return;
    }
    for (uint32_t i = 0; i < rules->resource_count; i++) {
        for (uint32_t j = 0; j < worker->used_resources.count; j++) {
            if (span_equal(worker->used_resources.items[j].name, rules->resources[i].name)) {
                worker->used_resources.items[j].amount += sign * rules->resources[i].amount;
            }
        }
    }
}

void processing_recount_resources(struct scheduler *s, struct worker *worker)
{
    for (uint32_t i = 0; i < worker->used_resources.count; i++) {
        worker->used_resources.items[i].amount = 0;
    }
    for (uint32_t i = 0; i < worker->processing.count; i++) {
        use_resources(worker, task_at(s, worker->processing.items[i]), 1);
    }
}

/* ---- coming and going ---- */

bool actor_is_at(const struct worker *worker, const struct task *task)
{
    for (uint32_t i = 0; i < worker->actors.count; i++) {
        if (worker->actors.items[i] == task->id) {
            return true;
        }
    }
    return false;
}

void actor_discard(struct worker *worker, const struct task *task)
{
    for (uint32_t i = 0; i < worker->actors.count; i++) {
        if (worker->actors.items[i] == task->id) {
            vec_swap_remove(&worker->actors, i);
            return;
        }
    }
}

void processing_add(struct scheduler *s, struct task *task, struct worker *worker)
{
    ASSERT(task->processing_on == WORKER_NONE);
    ASSERT(worker->known);
    occupancy_add(s, worker, task->group->prefix);
    task->processing_on = worker->id;
    task->processing_slot = worker->processing.count;
    vec_push(&worker->processing, task->id);
    s->processing_now++;
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *input = task_at(s, inputs[i].other);
        ASSERT(input->who_has.count > 0);
        if (!replica_has(input, worker->id)) {
            needs_increment(s, worker, input);
        }
    }
    use_resources(worker, task, 1);
}

static void long_running_remove(struct worker *worker, const struct task *task)
{
    uint32_t i = 0;
    while (worker->long_running.items[i] != task->id) {
        i++;
        ASSERT(i < worker->long_running.count);
    }
    vec_swap_remove(&worker->long_running, i);
}

void processing_remove(struct scheduler *s, struct task *task)
{
    struct worker *worker = worker_at(s, task->processing_on);
    if ((task->flags & TASK_LONG_RUNNING) != 0) {
        long_running_remove(worker, task);
        task->flags &= (uint16_t)~TASK_LONG_RUNNING;
    } else {
        occupancy_remove(s, worker, task->group->prefix);
    }
    uint32_t slot = task->processing_slot;
    ASSERT(worker->processing.items[slot] == task->id);
    vec_swap_remove(&worker->processing, slot);
    if (slot < worker->processing.count) {
        task_at(s, worker->processing.items[slot])->processing_slot = slot;
    }
    task->processing_on = WORKER_NONE;
    s->processing_now--;
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count && worker->needs_what.count > 0; i++) {
        needs_decrement(s, worker, task_at(s, inputs[i].other));
    }
    use_resources(worker, task, -1);
}

/* Bytes of the inputs, as Dask adds them up (an unknown size counts as −1). */
static int64_t inputs_bytes(const struct scheduler *s, const struct task *task)
{
    const struct link *inputs = links_items(&task->dependencies);
    int64_t sum = 0;
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        sum += task_at(s, inputs[i].other)->nbytes;
    }
    return sum;
}

void processing_start(struct scheduler *s, struct task *task, struct worker *worker,
                      struct step *step)
{
    ASSERT(task->missing_count == 0 && task->who_has.count == 0);
    ASSERT(worker->status == WORKER_RUNNING);
    processing_add(s, task, worker);
    task_set_state(s, task, TASK_PROCESSING);
    check_idle_saturated(s, worker, -1);
    s->processing_started++;
    if ((task->flags & TASK_ACTOR) != 0) {
        vec_push(&worker->actors, task->id);
    }
    int64_t bytes = inputs_bytes(s, task);
    if (worker->memory_limit > 0 && bytes > worker->memory_limit && s->config.memory_terminate) {
        forward_withdraw(s, task, step);
        struct failure *failure = failure_memory(s, task, worker, bytes);
        transition(s, task, TASK_ERRED,
                   &(struct move){.failure = failure, .worker = worker->address}, step);
        failure_drop(s, failure);
        return;
    }
    if (!forward_claim(s, task)) {
        action_compute(s, task, step);
    }
    steal_task_processing(s, task);
    forward_from(s, task, step);
}

struct worker *processing_exit(struct scheduler *s, struct task *task, enum task_state finish)
{
    struct worker *worker = worker_at(s, task->processing_on);
    steal_task_left(s, task, finish);
    processing_remove(s, task);
    if (finish != TASK_MEMORY) {
        forward_input_gone(s, task, worker, s->step);
    }
    if (!worker->known) {
        return NULL;
    }
    check_idle_saturated(s, worker, -1);
    return worker;
}

void processing_move(struct scheduler *s, struct task *task, struct worker *thief,
                     struct step *step)
{
    ASSERT(task->state == TASK_PROCESSING);
    struct worker *victim = worker_at(s, task->processing_on);
    processing_remove(s, task);
    forward_input_gone(s, task, victim, step);
    processing_add(s, task, thief);
    if ((task->flags & TASK_ACTOR) != 0) {
        actor_discard(victim, task);
        vec_push(&thief->actors, task->id);
    }
    action_compute(s, task, step);
    check_idle_saturated(s, thief, -1);
    if (victim->known) {
        check_idle_saturated(s, victim, -1);
    }
}

void processing_secede(struct scheduler *s, struct task *task)
{
    ASSERT(task->state == TASK_PROCESSING && (task->flags & TASK_LONG_RUNNING) == 0);
    struct worker *worker = worker_at(s, task->processing_on);
    occupancy_remove(s, worker, task->group->prefix);
    vec_push(&worker->long_running, task->id);
    task->flags |= TASK_LONG_RUNNING;
    forward_input_gone(s, task, worker, s->step);
}
