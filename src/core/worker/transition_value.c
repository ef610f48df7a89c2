/* transition_value.c: moves of values: fetched from peers, arrived, missing, dropped. */
#include "core/worker/action.h"
#include "core/worker/peer.h"
#include "core/worker/story.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

/* ---- to come ---- */

void wmove_generic_fetch(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    if (task->who_has.count == 0) {
        wwant(w, task, WTASK_MISSING, NULL);
        return;
    }
    wtask_set_state(w, task, WTASK_FETCH);
    task->flags &= (uint16_t)~WTASK_DONE;
    wneeds_add(w, task);
}

void wmove_missing_fetch(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    if (task->who_has.count > 0) {
        wmove_generic_fetch(w, task, move);
    }
}

/* While the GATHER is under way this is what is happening already. */
void wmove_flight_fetch(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    if ((task->flags & WTASK_DONE) != 0) {
        wmove_generic_fetch(w, task, move);
    }
}

void wmove_generic_missing(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    if (task->who_has.count > 0) {
        ASSERT(task->state ==
               WTASK_FETCH); /* one message said both that nobody has it and who does */
        return;
    }
    wtask_set_state(w, task, WTASK_MISSING);
    task->flags &= (uint16_t)~WTASK_DONE;
}

void wmove_fetch_flight(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    ASSERT(task->stamp == 0); /* it has been chosen: no peer's need is left */
    wtask_set_state(w, task, WTASK_FLIGHT);
    task->flags |= WTASK_IN_FLIGHT;
    task->flags &= (uint16_t)~WTASK_DONE;
    task->coming_from = move->peer->id;
    w->in_flight_task_count++;
}

/* A transfer cannot be undone: its end is awaited. */
void wmove_flight_released(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    (void)move;
    ASSERT((task->flags & WTASK_DONE) == 0);
    task->previous = WTASK_FLIGHT;
    wtask_set_state(w, task, WTASK_CANCELLED);
}

/* ---- here ---- */

static void to_memory(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    move->kept = true;
    waction_task(w, WORKER_ACTION_KEEP, task->id, task->key);
    wtask_set_state(w, task, WTASK_MEMORY);
    wtask_forget_past(task);
    wtask_set_blob(&task->about, move->about);
    wtask_set_blob(&task->run_spec, NULL); /* a new compute-task brings it again */
    if (task->nbytes < 0) {
        task->nbytes = move->nbytes;
    }
    w->nbytes += task->nbytes;
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct wtask *user = wtask_at(w, links[i].other);
        wmissing_discard(user, links[i].slot & LINK_SLOT_MASK);
        if (user->missing_count == 0 && user->state == WTASK_WAITING) {
            wwant(w, user, WTASK_READY, NULL);
        }
    }
    wstory_add(w, task->key, "put-in-memory", task->state);
}

void wmove_executing_memory(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    to_memory(w, task, move);
    waction_task_finished(w, task, move->run_id);
}

/* Scattered: the scheduler does not know the key yet, and is told by whoever scatters. */
void wmove_released_memory(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    to_memory(w, task, move);
}

void wmove_flight_memory(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    to_memory(w, task, move);
    waction_add_key(w, task->key);
}

/* The scheduler expects what it asked for last, the opposite of what has been done: a replica if the task was
 * to be fetched, a result if it was to be computed. */
void wmove_resumed_memory(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    bool as_replica = task->next == WTASK_FETCH;
    ASSERT(as_replica == (task->previous != WTASK_FLIGHT));
    to_memory(w, task, move);
    if (as_replica) {
        waction_add_key(w, task->key);
    } else {
        waction_task_finished(w, task, task->run_id);
    }
}

/* ---- gone ---- */

/* What is about to use the value here, unless it is about to move anyway, waits for it again. Stock lets it
 * start, and fail. */
static void withdraw_from_users(struct worker_state *w, struct wtask *task)
{
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        struct wtask *user = wtask_at(w, links[i].other);
        uint32_t slot = links[i].slot & LINK_SLOT_MASK;
        if (user->state == WTASK_WAITING) {
            wmissing_add(user, slot);
            wwaiter_add(user, slot, task);
            wwant(w, task, WTASK_FETCH, NULL);
        } else if ((user->state == WTASK_READY || user->state == WTASK_CONSTRAINED) &&
                   user->want_place == 0) {
            wwant(w, user, WTASK_WAITING, NULL);
        }
    }
}

void wmove_memory_released(struct worker_state *w, struct wtask *task, struct wmove *move)
{
    ASSERT(task->nbytes >= 0 && w->nbytes >= task->nbytes);
    w->nbytes -= task->nbytes;
    if ((task->flags & WTASK_LOST) == 0) {
        waction_task(w, WORKER_ACTION_DROP, task->id, task->key);
    }
    task->flags &= (uint16_t) ~(WTASK_LOST | WTASK_ACTOR);
    wmove_generic_released(w, task, move);
    waction_key(w, WORKER_ACTION_RELEASE_WORKER_DATA, task->key);
    withdraw_from_users(w, task);
}
