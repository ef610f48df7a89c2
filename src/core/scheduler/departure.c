/* departure.c: see departure.h. Pieces are taken from the end of what the worker processed and held: of what
 * stock recommends all at once it makes the last move first, too.
 * Must agree with: scheduler.py remove_worker. */
#include "core/scheduler/departure.h"

#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/amm.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/processing.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/steal.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/transition.h"

#define LEVEL_INFO 20u
#define LEVEL_WARNING 30u
#define LEVEL_ERROR 40u
#define KEYS_LOGGED_MAX 20u

/* Results lost so far, and the first of them for people. */
struct losses {
    uint32_t count;
    struct text shown;
};

struct departure {
    worker_id worker;
    bool expected;
    struct span cause, stimulus; /* owned */
    struct losses computed, scattered;
};

/* The keys of one piece, for its notice; in the step's arena. */
struct piece {
    struct span *busy, *computed, *scattered;
    uint32_t busy_count, computed_count, scattered_count;
};

/* ---- the worker itself ---- */

static void worker_delist(struct scheduler *s, struct worker *worker)
{
    struct map_entry *entry = map_find(&s->hosts, worker->host);
    ASSERT(entry != NULL);
    struct host *host = entry->value.pointer;
    uint32_t at = 0;
    while (host->workers.items[at] != worker->id) {
        at++;
        ASSERT(at < host->workers.count);
    }
    vec_swap_remove(&host->workers, at);
    host->nthreads -= worker->nthreads;
    if (host->workers.count == 0) {
        map_remove(&s->hosts, worker->host);
        vec_fini(&host->workers);
        mem_free(host);
    }
    s->total_memory -= worker->memory_limit;
    s->total_nthreads -= worker->nthreads;
    map_remove(&s->aliases, worker->name);
    map_remove(&s->worker_by_address, worker->address);
    place_set_running(s, worker, false);
    worker->status = WORKER_CLOSED;
    place_worker_stopped(s, worker);
    place_remove_worker(s, worker);
    worker->known = false;
}

/* ---- life ---- */

static struct departure *departure_create(const struct worker *worker,
                                          const struct event_worker_remove *removal,
                                          const struct step *step)
{
    struct departure *departure = mem_zalloc(1, sizeof *departure);
    departure->worker = worker->id;
    departure->expected = removal->expected;
    departure->cause = span_own(removal->cause);
    departure->stimulus = span_own(step->stimulus);
    return departure;
}

static void departure_free(struct departure *departure)
{
    span_disown(&departure->cause);
    span_disown(&departure->stimulus);
    text_fini(&departure->computed.shown);
    text_fini(&departure->scattered.shown);
    mem_free(departure);
}

static struct departure *departure_find(const struct scheduler *s, worker_id worker)
{
    for (uint32_t i = 0; i < s->departures.count; i++) {
        if (s->departures.items[i]->worker == worker) {
            return s->departures.items[i];
        }
    }
    return NULL;
}

static uint32_t left_count(const struct worker *worker)
{
    return worker->processing.count + worker->has_what.count;
}

/* ---- what it processed ---- */

/* Most of these move in one step; a task or a result costs about two moves. */
static uint32_t piece_max(const struct scheduler *s)
{
    return s->config.step_moves_max / 2 + 1;
}

/* Released; a task that was there when too many workers died errs. */
static void release_processing(struct scheduler *s, const struct departure *departure,
                               struct piece *piece, struct step *step)
{
    const struct worker *worker = worker_at(s, departure->worker);
    uint32_t all = worker->processing.count;
    uint32_t count = all < piece_max(s) ? all : piece_max(s);
    task_id *tasks = arena_array(&step->arena, task_id, count);
    for (uint32_t i = 0; i < count; i++) {
        tasks[i] = worker->processing.items[all - count + i]; /* they leave while we walk */
    }
    piece->busy = arena_array(&step->arena, struct span, count);
    piece->busy_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct task *task = task_at(s, tasks[i]);
        piece->busy[i] = task->key;
        want(s, task, TASK_RELEASED);
        if (!departure->expected && failure_count_death(s, task, worker, departure->cause)) {
            failure_kill(s, task, worker, step);
        }
    }
}

/* ---- what it held ---- */

static void note_loss(struct losses *losses, const struct task *task, struct step *step)
{
    if (losses->count++ < KEYS_LOGGED_MAX) {
        text_add_cstr(&losses->shown, losses->count == 1 ? "" : ", ");
        text_add(&losses->shown, key_as_repr(task->key, &step->arena));
    }
}

/* A result that only it held is computed again, or lost for good if it was scattered. */
static void lose_replica(struct scheduler *s, struct departure *departure, struct task *task,
                         struct piece *piece, struct step *step)
{
    struct worker *worker = worker_at(s, departure->worker);
    bool was_actor = actor_is_at(worker, task);
    replica_remove(s, task, worker);
    if (was_actor) {
        want(s, task, TASK_ERRED);
    } else if (task->who_has.count > 0) {
        return;
    } else if ((task->flags & TASK_HAS_RUN_SPEC) != 0) {
        note_loss(&departure->computed, task, step);
        piece->computed[piece->computed_count++] = task->key;
        want(s, task, TASK_RELEASED);
    } else {
        note_loss(&departure->scattered, task, step);
        piece->scattered[piece->scattered_count++] = task->key;
        want(s, task, TASK_FORGOTTEN);
    }
}

static void release_replicas(struct scheduler *s, struct departure *departure, struct piece *piece,
                             struct step *step)
{
    const struct links *has_what = &worker_at(s, departure->worker)->has_what;
    uint32_t all = has_what->count;
    uint32_t count = all < piece_max(s) ? all : piece_max(s);
    task_id *tasks = arena_array(&step->arena, task_id, count);
    for (uint32_t i = 0; i < count; i++) {
        tasks[i] = links_items(has_what)[all - count + i].other;
    }
    piece->computed = arena_array(&step->arena, struct span, count);
    piece->scattered = arena_array(&step->arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        lose_replica(s, departure, task_at(s, tasks[i]), piece, step);
    }
}

/* "'x-1', 'x-2' and 18 more", in the arena. */
static struct span keys_shown(struct losses *losses, struct step *step)
{
    if (losses->count > KEYS_LOGGED_MAX) {
        text_printf(&losses->shown, " and %u more", losses->count - KEYS_LOGGED_MAX);
    }
    return arena_copy(&step->arena, text_span(&losses->shown));
}

static void report_lost(const struct scheduler *s, struct departure *departure, struct step *step)
{
    struct span address = worker_at(s, departure->worker)->address;
    if (departure->computed.count > 0) {
        struct span keys = keys_shown(&departure->computed, step);
        action_log(step, LEVEL_WARNING,
                   "Removing worker '%.*s' caused the cluster to lose already computed task(s), "
                   "which will be "
                   "recomputed elsewhere: {%.*s} (stimulus_id='%.*s')",
                   (int)address.size, (const char *)address.data, (int)keys.size,
                   (const char *)keys.data, (int)departure->stimulus.size,
                   (const char *)departure->stimulus.data);
    }
    if (departure->scattered.count > 0) {
        struct span keys = keys_shown(&departure->scattered, step);
        action_log(
            step, LEVEL_ERROR,
            "Removing worker '%.*s' caused the cluster to lose scattered data, which can't be "
            "recovered: {%.*s} (stimulus_id='%.*s')",
            (int)address.size, (const char *)address.data, (int)keys.size, (const char *)keys.data,
            (int)departure->stimulus.size, (const char *)departure->stimulus.data);
    }
}

/* ---- pieces ---- */

static void notice_piece(enum notice_kind kind, const struct departure *departure,
                         const struct piece *piece, struct step *step)
{
    struct notice *notice = action_notice(step, kind);
    notice->worker = departure->worker;
    notice->busy = (struct span_list){piece->busy, piece->busy_count};
    notice->keys = (struct span_list){piece->computed, piece->computed_count};
    notice->more_keys = (struct span_list){piece->scattered, piece->scattered_count};
    notice->flag = departure->expected;
    notice->text = arena_copy(&step->arena, departure->cause);
}

static void notice_losses(const struct departure *departure, const struct piece *piece,
                          struct step *step)
{
    if (piece->busy_count + piece->computed_count + piece->scattered_count > 0) {
        notice_piece(NOTICE_WORKER_LOSSES, departure, piece, step);
    }
}

/* Nothing is left of it. */
static void end(struct scheduler *s, struct departure *departure)
{
    struct worker *worker = worker_at(s, departure->worker);
    ASSERT(left_count(worker) == 0);
    vec_push(&s->worker_graveyard, worker);
    departure_free(departure);
}

void worker_remove(struct scheduler *s, struct worker *worker,
                   const struct event_worker_remove *removal, struct step *step)
{
    ASSERT(worker->known);
    struct span name = key_as_text(worker->name, &step->arena);
    action_log(step, LEVEL_INFO, "Remove worker addr: %.*s name: %.*s (stimulus_id='%.*s')",
               (int)worker->address.size, (const char *)worker->address.data, (int)name.size,
               (const char *)name.data, (int)step->stimulus.size,
               (const char *)step->stimulus.data);
    if (removal->close) {
        action_add(step, ACTION_CLOSE_WORKER)->of.close_worker =
            (struct action_close_worker){worker->id, SPAN("scheduler-remove-worker")};
    }
    worker_delist(s, worker);
    forward_worker_stopped(s, worker, step);
    struct departure *departure = departure_create(worker, removal, step);
    bool is_whole =
        worker->processing.count <= piece_max(s) && worker->has_what.count <= piece_max(s);
    struct piece piece = {0};
    release_processing(s, departure, &piece, step);
    release_replicas(s, departure, &piece, step);
    if (is_whole) {
        report_lost(s, departure, step);
    } else {
        vec_push(&s->departures, departure);
    }
    notice_piece(NOTICE_WORKER_REMOVED, departure, &piece, step);
    transitions_run(s, step);
    steal_worker_removed(s, worker);
    shuffles_worker_removed(s, worker, step);
    amm_worker_removed(s, worker, step);
    /* a task that failed with it may have been all that ran elsewhere */
    queue_slots_maybe_opened(s, step);
    if (s->workers_sorted.count == 0) {
        action_log(step, LEVEL_INFO, "Lost all workers");
    }
    action_add(step, ACTION_FORGET_WORKER)->of.forget_worker =
        (struct action_forget_worker){WORKER_NONE, worker->id, step->stimulus};
    if (is_whole) {
        end(s, departure);
    }
}

void step_worker_remove(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_worker_remove *removal = &event->of.worker_remove;
    struct worker *worker = worker_find(s, removal->worker);
    if (worker != NULL) {
        worker_remove(s, worker, removal, step);
    }
}

void departures_run(struct scheduler *s, struct step *step)
{
    if (!departures_pending(s)) {
        return;
    }
    struct departure *departure = s->departures.items[0];
    struct worker *worker = worker_at(s, departure->worker);
    struct span stimulus = step->stimulus;
    step->stimulus = arena_copy(&step->arena, departure->stimulus);
    struct piece piece = {0};
    release_processing(s, departure, &piece, step);
    release_replicas(s, departure, &piece, step);
    notice_losses(departure, &piece, step);
    transitions_run(s, step);
    shuffles_worker_removed(s, worker, step);
    queue_slots_maybe_opened(s, step);
    if (left_count(worker) == 0) {
        report_lost(s, departure, step);
        s->departures.count--;
        memmove(s->departures.items, s->departures.items + 1,
                s->departures.count * sizeof(struct departure *));
        end(s, departure);
    }
    step->stimulus = stimulus;
}

void departures_finish(struct scheduler *s, struct step *step)
{
    while (departures_pending(s)) {
        departures_run(s, step);
    }
}

void departures_fini(struct scheduler *s)
{
    for (uint32_t i = 0; i < s->departures.count; i++) {
        departure_free(s->departures.items[i]);
    }
    vec_fini(&s->departures);
}

/* ---- those who look at what is left ---- */

bool departure_has(const struct scheduler *s, worker_id worker)
{
    return departure_find(s, worker) != NULL;
}

worker_id departure_worker(const struct scheduler *s, uint32_t index)
{
    ASSERT(index < s->departures.count);
    return s->departures.items[index]->worker;
}

uint32_t holder_count(const struct scheduler *s, const struct task *task)
{
    uint32_t count = task->who_has.count;
    for (uint32_t i = 0; departures_pending(s) && i < task->who_has.count; i++) {
        count -= !worker_at(s, links_items(&task->who_has)[i].other)->known;
    }
    return count;
}

worker_id holder_at(const struct scheduler *s, const struct task *task, uint32_t index)
{
    const struct link *holders = links_items(&task->who_has);
    uint32_t at = departures_pending(s) ? 0 : index;
    for (uint32_t before = index - at;; at++) {
        ASSERT(at < task->who_has.count);
        bool is_known = worker_at(s, holders[at].other)->known;
        if (is_known && before == 0) {
            return holders[at].other;
        }
        before -= is_known;
    }
}

/* Only workers that have gone hold it. */
static void lose_now(struct scheduler *s, struct task *task, struct step *step)
{
    while (task->who_has.count > 0) {
        worker_id holder = links_items(&task->who_has)[0].other;
        struct departure *departure = departure_find(s, holder);
        ASSERT(departure != NULL);
        struct span *key = arena_new(&step->arena, struct span);
        struct piece piece = {.computed = key, .scattered = key}; /* it is in one of them */
        lose_replica(s, departure, task, &piece, step);
        notice_losses(departure, &piece, step);
    }
}

bool departure_takes_inputs(struct scheduler *s, const struct task *task, struct step *step)
{
    bool any = departures_pending(s) && task->missing_count > 0; /* taken for another, just now */
    for (uint32_t i = 0; departures_pending(s) && i < task->dependencies.count; i++) {
        struct task *input = task_at(s, links_items(&task->dependencies)[i].other);
        if (input->state == TASK_MEMORY && holder_count(s, input) == 0) {
            lose_now(s, input, step);
            any = true;
        }
    }
    return any;
}
