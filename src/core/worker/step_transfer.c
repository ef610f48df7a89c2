/* step_transfer.c: how transfers ended, and what is known of peers. */
#include "core/worker/action.h"
#include "core/worker/fetch.h"
#include "core/worker/peer.h"
#include "core/worker/step_events.h"
#include "core/worker/story.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

/* ---- the end of a GATHER ---- */

/* The peer that was asked, its tasks in w->scratch; NULL: it was not asked. */
static struct wpeer *ended(struct worker_state *w, struct span address)
{
    struct wpeer *peer = wpeer_find(w, address);
    if (peer == NULL || !peer->in_flight) {
        return NULL;
    }
    wfetch_ended(w, peer);
    return peer;
}

static struct wmove *move_to_memory(struct worker_state *w, const struct wtask *task,
                                    const struct worker_offer *offer)
{
    struct wmove *move = wmove_new(w);
    move->run_id = task->run_id;
    move->nbytes = wnbytes_of(offer->nbytes);
    move->about = offer->about;
    return move;
}

/* Mark the tasks that are offered, task->offer says where; a key that stands twice counts once. */
static uint32_t mark_offered(struct worker_state *w, struct worker_offer_list offers)
{
    uint32_t mark = wtraversal_begin(w);
    for (uint32_t i = 0; i < offers.count; i++) {
        struct wtask *task = wtask_find(w, offers.items[i].key);
        if (task == NULL || task->mark == mark) {
            woffer_add(w, TASK_NONE, offers.items[i].key, NULL);
            continue;
        }
        task->mark = mark;
        task->offer = w->offers.count;
        woffer_add(w, task->id, task->key, NULL);
    }
    return mark;
}

void worker_on_gather_success(struct worker_state *w, const struct worker_event *event)
{
    const struct worker_event_gather_success *success = &event->of.gather_success;
    uint32_t mark = mark_offered(w, success->offers);
    const struct wpeer *peer = ended(w, success->worker);
    if (peer == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->scratch.count; i++) {
        struct wtask *task = wtask_at(w, w->scratch.items[i]);
        if (task->mark == mark) {
            struct wmove *move = move_to_memory(w, task, &success->offers.items[task->offer]);
            w->offers.items[task->offer].move = move;
            wwant(w, task, WTASK_MEMORY, move);
        } else if (task->state != WTASK_MEMORY) {
            wstory_add(w, task->key, "missing-dep", task->state);
            wholder_remove(w, task, peer);
            wwant(w, task, WTASK_FETCH, NULL);
        }
    }
}

static bool all_holders_busy(const struct worker_state *w, const struct wtask *task)
{
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        if (!wpeer_at(w, links_items(&task->who_has)[i].other)->busy) {
            return false;
        }
    }
    return true;
}

/* Other holders are tried at once; if all are busy, the scheduler may know more. */
void worker_on_gather_busy(struct worker_state *w, const struct worker_event *event)
{
    struct wpeer *peer = ended(w, event->of.gather_busy.worker);
    if (peer == NULL) {
        return;
    }
    peer->busy = true;
    wpeer_update_fetchable(w, peer);
    task_id *asked_for = arena_array(&w->step->arena, task_id, w->scratch.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->scratch.count; i++) {
        struct wtask *task = wtask_at(w, w->scratch.items[i]);
        if (task->state == WTASK_MEMORY) {
            continue; /* scattered meanwhile */
        }
        wwant(w, task, WTASK_FETCH, NULL);
        if (all_holders_busy(w, task)) {
            asked_for[count++] = task->id;
        }
    }
    worker_action_add(w->step, WORKER_ACTION_RETRY_BUSY_LATER)->of.retry_busy_later =
        (struct worker_action_retry_busy_later){peer->address};
    waction_refresh(w, asked_for, count);
}

void worker_on_retry_busy_worker(struct worker_state *w, const struct worker_event *event)
{
    struct wpeer *peer = wpeer_find(w, event->of.retry_busy_worker.worker);
    if (peer != NULL) {
        peer->busy = false;
        wpeer_update_fetchable(w, peer);
        wpeer_doubt(w, peer);
    }
}

/* What only this peer held, of all that is to be fetched, is missing now. */
static void peer_lost(struct worker_state *w, struct wpeer *peer)
{
    task_id *fetched = arena_array(&w->step->arena, task_id, peer->has_what.count);
    uint32_t count = wpeer_lose(w, peer, fetched);
    for (uint32_t i = 0; i < count; i++) {
        wwant(w, wtask_at(w, fetched[i]), WTASK_MISSING, NULL);
    }
}

/* Taken for dead, though it may not be: a quick second try elsewhere is worth more. */
void worker_on_gather_network_failure(struct worker_state *w, const struct worker_event *event)
{
    struct wpeer *peer = ended(w, event->of.gather_network_failure.worker);
    if (peer == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->scratch.count; i++) {
        struct wtask *task = wtask_at(w, w->scratch.items[i]);
        if (task->state != WTASK_MEMORY) {
            wstory_add(w, task->key, "missing-dep", task->state);
            wwant(w, task, WTASK_FETCH, NULL);
        }
    }
    peer_lost(w, peer);
}

void worker_on_remove_worker(struct worker_state *w, const struct worker_event *event)
{
    struct wpeer *peer = wpeer_find(w, event->of.remove_worker.worker);
    if (peer != NULL) {
        peer_lost(w, peer);
    }
}

void worker_on_gather_failure(struct worker_state *w, const struct worker_event *event)
{
    const struct worker_event_gather_failure *failure = &event->of.gather_failure;
    if (ended(w, failure->worker) == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->scratch.count; i++) {
        struct wtask *task = wtask_at(w, w->scratch.items[i]);
        if (task->state != WTASK_MEMORY) {
            struct wmove *move = wmove_new(w);
            move->run_id = task->run_id;
            move->failure = failure->failure;
            wwant(w, task, WTASK_ERROR, move);
        }
    }
}

/* ---- otherwise ---- */

void worker_on_find_missing(struct worker_state *w, const struct worker_event *event)
{
    (void)event;
    waction_refresh(w, w->missing.items, w->missing.count);
}

/* A task that runs takes no scattered value: its own is on the way. */
void worker_on_update_data(struct worker_state *w, const struct worker_event *event)
{
    struct worker_offer_list offers = event->of.update_data.offers;
    for (uint32_t i = 0; i < offers.count; i++) {
        struct wtask *task = wtask_make(w, offers.items[i].key);
        wstory_add(w, task->key, "receive-from-scatter", task->state);
        struct wmove *move = NULL;
        if (!wtask_runs(task)) {
            move = move_to_memory(w, task, &offers.items[i]);
            wwant(w, task, WTASK_MEMORY, move);
        }
        woffer_add(w, task->id, task->key, move);
    }
}
