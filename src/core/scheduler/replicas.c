/* replicas.c: see replicas.h. A worker that gets a replica of what its tasks waited for no longer needs it
 * brought (needs_what), so its network occupancy shrinks. */
#include "core/scheduler/replicas.h"

#include "core/scheduler/action.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/processing.h"

bool replica_has(const struct task *task, worker_id worker)
{
    return links_find(&task->who_has, worker) != LINK_NOT_FOUND;
}

/* The task may just have got its second holder, or lost it. */
static void note_replicated(struct scheduler *s, struct task *task, uint32_t before, uint32_t now)
{
    if (before < 2 && now >= 2) {
        task->ready_place = s->replicated.count;
        vec_push(&s->replicated, task->id);
    } else if (before >= 2 && now < 2) {
        uint32_t place = task->ready_place;
        ASSERT(s->replicated.items[place] == task->id);
        vec_swap_remove(&s->replicated, place);
        if (place < s->replicated.count) {
            task_at(s, s->replicated.items[place])->ready_place = place;
        }
    }
}

void replica_add(struct scheduler *s, struct task *task, struct worker *worker)
{
    ASSERT(worker->known);
    if (replica_has(task, worker->id)) {
        return;
    }
    needs_forget(s, worker, task);
    links_add(&task->who_has, task->id, &worker->has_what, worker->id, 0);
    worker->nbytes += task_nbytes(s, task);
    note_replicated(s, task, task->who_has.count - 1, task->who_has.count);
}

static void remove_at(struct scheduler *s, struct task *task, uint32_t slot)
{
    struct worker *worker = worker_at(s, links_items(&task->who_has)[slot].other);
    worker->nbytes -= task_nbytes(s, task);
    if ((task->flags & TASK_ACTOR) != 0) {
        actor_discard(worker, task);
    }
    links_remove(&task->who_has, slot, has_what_of, who_has_of, s);
    note_replicated(s, task, task->who_has.count + 1, task->who_has.count);
    if (task->waiter_count > 0) {
        forward_input_gone(s, task, worker, s->step);
    }
}

void replica_remove(struct scheduler *s, struct task *task, struct worker *worker)
{
    uint32_t slot = links_find(&task->who_has, worker->id);
    ASSERT(slot != LINK_NOT_FOUND);
    remove_at(s, task, slot);
}

void replica_remove_all(struct scheduler *s, struct task *task)
{
    while (task->who_has.count > 0) {
        remove_at(s, task, task->who_has.count - 1);
    }
}

void task_set_nbytes(struct scheduler *s, struct task *task, int64_t nbytes)
{
    ASSERT(nbytes >= 0);
    int64_t counted = task->nbytes >= 0 ? task->nbytes : 0;
    group_add_nbytes(task->group, nbytes - counted);
    /* An unknown size stands as the default size in its holders' bytes. */
    int64_t held = task_nbytes(s, task);
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        worker_at(s, links_items(&task->who_has)[i].other)->nbytes += nbytes - held;
    }
    task->nbytes = nbytes;
}

void replicas_request_remove(struct scheduler *s, struct worker *worker, const task_id *tasks,
                             uint32_t count, struct step *step)
{
    struct span *keys = arena_array(&step->arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        struct task *task = task_at(s, tasks[i]);
        ASSERT(task->who_has.count > 1);
        replica_remove(s, task, worker);
        keys[i] = task->key;
    }
    action_add(step, ACTION_REMOVE_REPLICAS)->of.remove_replicas = (struct action_remove_replicas){
        .worker = worker->id, .keys = {keys, count}, .stimulus = step->stimulus};
}

void replicas_request_acquire(struct scheduler *s, struct worker *worker, const task_id *tasks,
                              uint32_t count, struct step *step)
{
    action_add(step, ACTION_ACQUIRE_REPLICAS)->of.acquire_replicas =
        (struct action_acquire_replicas){
            .worker = worker->id,
            .inputs = inputs_of(s, tasks, count, step),
            .stimulus = step->stimulus,
        };
}
