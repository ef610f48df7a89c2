/* step_client.c: what clients ask for. Each event names a client that may have gone since: then nothing
 * happens, as nobody is there to hear of it.
 * Must agree with: scheduler.py add_client, remove_client, stimulus_cancel, stimulus_retry, update_data. */
#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/exchange.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/steal.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

/* ---- coming and going ---- */

static void remove_client(struct scheduler *s, struct client *client, struct step *step)
{
    action_notice(step, NOTICE_CLIENT_REMOVED)->client = client->id;
    graph_client_removed(s, client);
    client_leaves(s, client, step);
    exchange_client_removed(s, client, step);
}

/* A client that registers again has given up all its futures (as stock's does when its connection breaks), so
 * it enters as a new one; what it wants from here on must not be mixed up with what it wanted before. */
void step_client_add(struct scheduler *s, const struct event *event, struct step *step)
{
    struct span name = event->of.client_add.name;
    struct client *old = client_find_name(s, name);
    if (old != NULL && old->is_pseudo) {
        step->refused = SPAN("this id is the scheduler's own: keys are held under it");
        return;
    }
    if (old != NULL) {
        remove_client(s, old, step);
    }
    step->client = client_create(s, name, false)->id;
    action_notice(step, NOTICE_CLIENT_ADDED)->client = step->client;
}

void step_client_remove(struct scheduler *s, const struct event *event, struct step *step)
{
    struct client *client = client_find(s, event->of.client_remove.client);
    if (client != NULL) {
        remove_client(s, client, step);
    }
}

void step_client_heartbeat(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)step;
    struct client *client = client_find(s, event->of.client_heartbeat.client);
    if (client != NULL) {
        client->last_seen = s->now;
    }
}

/* ---- wishes ---- */

void step_client_desires(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_client_desires *desires = &event->of.client_desires;
    struct client *client = client_get_or_pseudo(s, desires->client_name);
    client_desires(s, client, desires->keys.items, desires->keys.count, step);
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

void step_client_releases(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_client_releases *releases = &event->of.client_releases;
    struct client *client = client_find_name(s, releases->client_name);
    if (client != NULL) {
        client_releases(s, client, releases->keys.items, releases->keys.count, step);
    }
}

void step_report_key(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_report_key *report = &event->of.report_key;
    const struct task *task = task_find(s, report->key);
    if (task != NULL) {
        report_on_task(s, task, report->client, step);
    } else if (client_find(s, report->client) != NULL) {
        struct span none = {0};
        action_cancelled(step, report->client, span_list_one(step, report->key), none, none);
    }
}

void step_graph_failed(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_graph_failed *failed = &event->of.graph_failed;
    for (uint32_t i = 0; i < failed->keys.count; i++) {
        graph_key_failed(s, failed->client, failed->keys.items[i], failed->failure, step);
    }
    if (failed->more) {
        return;
    }
    struct notice *notice = action_notice(step, NOTICE_GRAPH_FAILED);
    notice->client = failed->client;
    notice->text = failed->failure->exception_text;
}

/* Tell the client, and all that want the key already, that its graph failed. The task stays as it is. */
void graph_key_failed(struct scheduler *s, client_id client, struct span key,
                      const struct failure_info *info, struct step *step)
{
    struct failure *failure = failure_from_info(info, key, NULL);
    const struct task *task = task_find(s, key);
    if (task != NULL) {
        action_key_erred(s, task, failure, step);
    }
    struct client *asked = client_find(s, client);
    if (asked != NULL && !asked->is_pseudo && (task == NULL || !client_wants(asked, task))) {
        action_add(step, ACTION_KEY_ERRED)->of.key_erred =
            (struct action_key_erred){client, key, failure};
    }
    failure_drop(s, failure);
}

/* ---- cancel ---- */

/* One task on the path from a cancelled key to its dependents. */
struct cancel_frame {
    task_id task;
    uint32_t next; /* dependent to look at */
};

struct cancellation {
    struct client *client;
    bool force;
    uint32_t mark;
    struct VEC(struct cancel_frame) path;
    struct VEC(task_id) cancelled; /* dependents before what they depend on */
    struct VEC(client_id) clients; /* whose wishes end; each once */
};

static void cancel_note_client(struct cancellation *cancel, client_id client)
{
    for (uint32_t i = 0; i < cancel->clients.count; i++) {
        if (cancel->clients.items[i] == client) {
            return;
        }
    }
    vec_push(&cancel->clients, client);
}

/* Whether `task` may be cancelled: by force, or because nobody else wants it. */
static bool cancel_allowed(const struct cancellation *cancel, const struct task *task)
{
    return cancel->force || (task->who_wants.count == 1 && client_wants(cancel->client, task));
}

static void cancel_enter(struct cancellation *cancel, struct task *task)
{
    if (task->mark != cancel->mark) {
        task->mark = cancel->mark;
        for (uint32_t i = 0; cancel->force && i < task->who_wants.count; i++) {
            cancel_note_client(cancel, links_items(&task->who_wants)[i].other);
        }
        if (cancel_allowed(cancel, task)) {
            vec_push(&cancel->path, (struct cancel_frame){.task = task->id});
        }
    }
}

/* `task` and, first, all its dependents for which that is allowed. */
static void cancel_collect(struct scheduler *s, struct cancellation *cancel, struct task *task)
{
    cancel_enter(cancel, task);
    while (cancel->path.count > 0) {
        struct cancel_frame *frame = &cancel->path.items[cancel->path.count - 1];
        const struct task *at = task_at(s, frame->task);
        if (frame->next < at->dependents.count) {
            cancel_enter(cancel, task_at(s, links_items(&at->dependents)[frame->next++].other));
        } else {
            vec_push(&cancel->cancelled, frame->task);
            cancel->path.count--;
        }
    }
}

void step_cancel(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_cancel *request = &event->of.cancel;
    struct cancellation cancel = {.client = client_find(s, request->client),
                                  .force = request->force,
                                  .mark = traversal_begin(s)};
    if (cancel.client == NULL) {
        return;
    }
    struct notice *notice = action_notice(step, NOTICE_CANCELLED);
    notice->client = request->client;
    notice->number = request->keys.count;
    notice->flag = request->force;
    cancel_note_client(&cancel, request->client);
    for (uint32_t i = 0; i < request->keys.count; i++) {
        struct task *task = task_find(s, request->keys.items[i]);
        if (task != NULL) {
            cancel_collect(s, &cancel, task);
        }
    }
    struct span *keys = arena_array(&step->arena, struct span, cancel.cancelled.count);
    for (uint32_t i = 0; i < cancel.cancelled.count; i++) {
        keys[i] = task_at(s, cancel.cancelled.items[i])->key;
    }
    for (uint32_t i = 0; i < cancel.clients.count; i++) {
        struct client *client = client_at(s, cancel.clients.items[i]);
        client_releases(s, client, keys, cancel.cancelled.count, step);
    }
    action_cancelled(step, CLIENT_NONE, (struct span_list){keys, cancel.cancelled.count},
                     request->reason, request->msg);
    vec_fini(&cancel.path);
    vec_fini(&cancel.cancelled);
    vec_fini(&cancel.clients);
}

/* ---- retry ---- */

void step_retry(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_retry *retry = &event->of.retry;
    struct VEC(task_id) stack = {0};
    struct VEC(task_id) seen = {0};
    uint32_t mark = traversal_begin(s);
    for (uint32_t i = 0; i < retry->keys.count; i++) {
        struct task *task = task_find(s, retry->keys.items[i]);
        if (task != NULL) {
            vec_push(&stack, task->id);
        }
    }
    while (stack.count > 0) {
        struct task *task = task_at(s, vec_pop(&stack));
        if (task->mark == mark) {
            continue;
        }
        task->mark = mark;
        vec_push(&seen, task->id);
        bool is_root = true;
        for (uint32_t i = 0; i < task->dependencies.count; i++) {
            const struct task *dependency = task_at(s, links_items(&task->dependencies)[i].other);
            if (dependency->state == TASK_ERRED) {
                is_root = false;
                vec_push(&stack, dependency->id);
            }
        }
        if (is_root && (task->state != TASK_RELEASED || (task->flags & TASK_PINNED) == 0)) {
            want(s, task, TASK_WAITING);
        }
    }
    struct span *keys = arena_array(&step->arena, struct span, seen.count);
    for (uint32_t i = 0; i < seen.count; i++) {
        keys[i] = task_at(s, seen.items[i])->key;
    }
    step->reply_keys = (struct span_list){keys, seen.count};
    struct notice *notice = action_notice(step, NOTICE_RETRIED);
    notice->client = retry->client;
    notice->keys = retry->keys;
    transitions_run(s, step);
    queue_slots_maybe_opened(
        s, step); /* what was running on what is retried has let go of its thread */
    vec_fini(&stack);
    vec_fini(&seen);
}

/* ---- data that did not come from tasks ---- */

/* The task now has a value, from wherever: what it was doing ends, who waited for it goes on. */
static void data_arrived(struct scheduler *s, struct task *task, struct step *step)
{
    ASSERT(task->state != TASK_MEMORY);
    if (task->state != TASK_RELEASED) {
        transition(s, task, TASK_RELEASED, NULL, step);
        want_not(s, task);
    }
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *dependency = task_at(s, inputs[i].other);
        if (waiter_discard(task, i, dependency)) {
            release_unneeded(s, dependency);
        }
    }
    task_set_state(s, task, TASK_MEMORY);
    feed_dependents(s, task, step);
}

/* A scattered value is there. `again`: the one before was of the same key. */
static struct task *value_arrives(struct scheduler *s, struct span key, bool again,
                                  struct step *step)
{
    uint64_t hash = span_hash(key);
    struct task *task = task_find_hashed(s, key, hash);
    if (task == NULL) {
        task = task_create(s, key, hash, TASK_MEMORY);
        exchange_key_known(s, task);
    }
    if (task->state != TASK_MEMORY) {
        data_arrived(s, task, step);
    } else if (!again) {
        task_set_state(s, task, TASK_MEMORY); /* an arrival is counted, as in stock */
    }
    return task;
}

/* The keys, each once, however many workers have it. */
static struct span_list each_once(struct scheduler *s, struct span_list keys, struct arena *arena)
{
    struct span *once = arena_array(arena, struct span, keys.count);
    uint32_t count = 0;
    uint32_t mark = traversal_begin(s);
    for (uint32_t i = 0; i < keys.count; i++) {
        struct task *task = task_find(s, keys.items[i]);
        if (task == NULL || task->mark != mark) {
            once[count++] = keys.items[i];
        }
        if (task != NULL) {
            task->mark = mark;
        }
    }
    return (struct span_list){once, count};
}

void step_data_placed(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct event_data_placed *placed = &event->of.data_placed;
    ASSERT(placed->holders.count == placed->keys.count &&
           placed->sizes.count == placed->keys.count);
    for (uint32_t i = 0; backlog_pending(s) && i < placed->keys.count; i++) {
        if (task_find(s, placed->keys.items[i]) != NULL) {
            backlog_finish(s, step); /* the key's former value may be on its way out */
        }
    }
    for (uint32_t i = 0; i < placed->keys.count; i++) {
        struct worker *worker = worker_find(s, placed->holders.items[i]);
        bool again = i > 0 && span_equal(placed->keys.items[i], placed->keys.items[i - 1]);
        if (worker == NULL) {
            continue;
        }
        struct task *task = value_arrives(s, placed->keys.items[i], again, step);
        if (placed->sizes.items[i] >= 0) {
            task_set_nbytes(s, task, placed->sizes.items[i]);
        }
        replica_add(s, task, worker);
    }
    struct span_list keys = each_once(s, placed->keys, &step->arena);
    for (uint32_t i = 0; i < keys.count; i++) {
        const struct task *task = task_find(s, keys.items[i]);
        if (task != NULL) {
            report_on_task(s, task, CLIENT_NONE, step);
        }
    }
    struct client *client = client_find(s, placed->client);
    if (client != NULL) {
        client_desires(s, client, keys.items, keys.count, step);
    }
    for (uint32_t i = 0; i < keys.count; i++) {
        struct task *task = task_find(s, keys.items[i]);
        if (task == NULL && client != NULL) { /* its worker is gone already */
            action_cancelled(step, client->id, span_list_one(step, keys.items[i]),
                             SPAN("lost with its worker"), (struct span){0});
        } else if (task != NULL && task->state == TASK_MEMORY && task_is_unneeded(task)) {
            want(s, task, TASK_RELEASED); /* the client is gone */
        }
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

/* ---- restart ---- */

void step_restart(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)event;
    graph_drop(s);
    for (uint32_t id = 1; id < s->clients.count; id++) {
        struct client *client = client_find(s, id);
        if (client != NULL) {
            client_releases_all(s, client, step);
        }
    }
    backlog_finish(s, step);
    /* What nobody ever wanted (scattered data whose client is gone) is left. */
    for (task_id id = 0; id < s->task_high && s->task_count > 0; id++) {
        struct task *task = task_live_at(s, id);
        if (task != NULL) {
            transition_all(s, task, TASK_FORGOTTEN, step);
        }
    }
    backlog_finish(s, step);
    departures_finish(s, step); /* of which nothing is left */
    ASSERT(s->task_count == 0 && s->occupancy_ns == 0);
    steal_restart(s);
    prefixes_retire(s);
    action_add(step, ACTION_CLIENT_RESTART)->of.client_restart =
        (struct action_client_restart){CLIENT_NONE};
}
