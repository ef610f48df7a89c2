/* record.c: what happens, as it happens. What is, when it is asked for: record_sample.c.
 *
 * Names go once: a prefix's and a group's at the first run that has them, a text (an exception, a traceback) when it is
 * new. Core's numbers of prefixes begin anew at a restart, ours do not. Groups of one task, of which there are as
 * many as tasks, are not told. */
#include "node/record.h"

#include "base/alloc.h"
#include "node/exception.h"
#include "node/killed_worker.h"
#include "node/node.h"
#include "node/record_internal.h"
#include "wire/key.h"

/* Texts remembered; more go out each time. */
#define TEXTS_MAX 4096u
/* Tasks of a lost worker that are told. */
#define VICTIMS_MAX 10u

struct recorder *recorder_create(struct node *node, struct ring_writer *ring)
{
    struct recorder *recorder = mem_zalloc(1, sizeof *recorder);
    recorder->node = node;
    recorder->ring = ring;
    return recorder;
}

static void forget_groups(struct recorder *recorder)
{
    for (uint32_t i = 0; i < recorder->groups.count; i++) {
        mem_free((void *)(uintptr_t)recorder->groups.items[i].name.data);
    }
    vec_fini(&recorder->groups);
    vec_fini(&recorder->group_places);
    recorder->group_cursor = 0;
}

/* What was told is void: everything is told again. Prefixes keep their numbers, which are in the history. */
static void forget(struct recorder *recorder)
{
    forget_groups(recorder);
    map_fini(&recorder->texts);
    vec_fini(&recorder->prefixes);
    vec_fini(&recorder->prefix_changes);
    vec_fini(&recorder->worker_seen);
    memset(recorder->lag_counts, 0, sizeof recorder->lag_counts);
    recorder->transitions_seen = UINT64_MAX;
}

void recorder_destroy(struct recorder *recorder)
{
    forget(recorder);
    map_fini(&recorder->prefix_numbers);
    record_moved_fini(recorder);
    mem_free(recorder);
}

/* ---- names -------------------------------------------------------------------------------------- */

static void name_record(struct recorder *recorder, enum record_kind kind, uint32_t id,
                        struct span text)
{
    struct record_text *record = ring_reserve(recorder->ring, kind, text.size);
    if (record != NULL) {
        static_assert(offsetof(struct record_text, id) == offsetof(struct record_prefix, id),
                      "both begin with the number");
        record->id = id;
        ring_put_text(record, text);
        ring_publish(recorder->ring);
    }
}

uint32_t record_prefix_number(struct recorder *recorder, uint32_t core_number, struct span name)
{
    while (recorder->prefixes.count <= core_number) {
        vec_push(&recorder->prefixes, 0);
    }
    uint32_t *number = &recorder->prefixes.items[core_number];
    if (*number == 0) {
        bool is_new;
        struct map_entry *entry = map_put(&recorder->prefix_numbers, name, &is_new);
        if (is_new) {
            entry->value.number = recorder->prefix_numbers.count;
            name_record(recorder, RECORD_PREFIX, recorder->prefix_numbers.count, name);
        }
        *number = (uint32_t)entry->value.number;
    }
    return *number;
}

/* Its place in recorder->groups + 1, 0: not told. */
static uint32_t *group_place(struct recorder *recorder, uint32_t id)
{
    if (recorder->group_places.count <= id) {
        uint32_t extra = id + 1 - recorder->group_places.count;
        vec_reserve(&recorder->group_places, extra);
        memset(recorder->group_places.items + recorder->group_places.count, 0,
               extra * sizeof(uint32_t));
        recorder->group_places.count += extra;
    }
    return &recorder->group_places.items[id];
}

uint32_t record_group_number(struct recorder *recorder, uint32_t id, struct span name,
                             uint32_t prefix)
{
    uint32_t *place = group_place(recorder, id);
    if (*place == 0 && recorder->groups.count < RECORDED_GROUPS_MAX) {
        struct record_group *record = ring_reserve(recorder->ring, RECORD_GROUP, name.size);
        if (record == NULL) {
            return 0;
        }
        record->id = id + 1;
        record->prefix = prefix;
        ring_put_text(record, name);
        ring_publish(recorder->ring);
        struct recorded_group told = {.id = id,
                                      .name = span_of(mem_copy(name.data, name.size), name.size)};
        vec_push(&recorder->groups, told);
        *place = recorder->groups.count;
    }
    return *place == 0 ? 0 : id + 1; /* the core counts from 0, which is none here */
}

/* The number of a text, which is told if it is new. */
static uint32_t text_number(struct recorder *recorder, struct span text)
{
    if (text.size == 0) {
        return 0;
    }
    struct map_entry *known = map_find(&recorder->texts, text);
    if (known != NULL) {
        return (uint32_t)known->value.number;
    }
    uint32_t number = ++recorder->text_last;
    name_record(recorder, RECORD_TEXT, number, text);
    if (recorder->texts.count < TEXTS_MAX && text.size <= RECORD_BYTES_MAX) {
        map_put(&recorder->texts, text, NULL)->value.number = number;
    }
    return number;
}

/* ---- runs and failures -------------------------------------------------------------------------- */

/* The names of a task's prefix and group, told before it. */
struct names {
    uint32_t prefix, group;
};

static struct names names_of(struct recorder *recorder, const struct task_brief *task)
{
    struct names names = {.prefix =
                              record_prefix_number(recorder, task->prefix, task->prefix_name)};
    if (task->group_size > 1) {
        names.group = record_group_number(recorder, task->group, task->group_name, names.prefix);
    }
    return names;
}

static void transfer(struct recorder *recorder, const struct notice *notice,
                     const struct startstop *item, struct names names)
{
    worker_id source = item->source.size == 0
                           ? WORKER_NONE
                           : view_worker_by_address(recorder->node->core, item->source);
    struct record_transfer *record = ring_reserve(recorder->ring, RECORD_TRANSFER, 0);
    if (record != NULL) {
        record->worker = notice->worker;
        record->source = source;
        record->start = item->start;
        record->stop = item->stop;
        record->prefix = names.prefix;
        record->group = names.group;
        ring_publish(recorder->ring);
    }
}

/* The parts of a run by what they were for. */
struct parts {
    double start, stop; /* of the computing, else of all */
    float transfer, deserialize, disk;
    bool has_computed;
};

static void add_part(struct parts *parts, const struct startstop *item)
{
    float seconds = (float)(item->stop - item->start);
    char first = item->action.size > 0 ? (char)item->action.data[0] : 0;
    switch (first) {
    case 't':
        parts->transfer += seconds;
        break;
    case 'd': /* deserialize, disk-read, disk-write */
        *(item->action.size > 1 && item->action.data[1] == 'e' ? &parts->deserialize
                                                               : &parts->disk) += seconds;
        break;
    default:
        parts->start = item->start;
        parts->stop = item->stop;
        parts->has_computed = true;
        return;
    }
    if (!parts->has_computed) {
        parts->start = parts->start == 0 ? item->start : parts->start;
        parts->stop = item->stop;
    }
}

static void run(struct recorder *recorder, const struct notice *notice,
                const struct task_brief *task, struct names names)
{
    struct parts parts = {0};
    for (uint32_t i = 0; i < notice->startstops.count; i++) {
        const struct startstop *item = &notice->startstops.items[i];
        if (item->action.size > 0 && item->action.data[0] == 't') {
            transfer(recorder, notice, item, names);
        }
        add_part(&parts, item);
    }
    if (parts.transfer > 0) {
        record_moved_seconds(recorder, notice->task, (double)parts.transfer);
    }
    struct record_run *record = ring_reserve(recorder->ring, RECORD_RUN, task->key.size);
    if (record == NULL) {
        return;
    }
    record->head.flags = task->failure != NULL ? RUN_ERRED : 0;
    record->worker = notice->worker;
    record->prefix = names.prefix;
    record->group = names.group;
    record->start = parts.start;
    record->stop = parts.stop;
    record->thread = notice->thread;
    record->nbytes = task->nbytes;
    record->transfer = parts.transfer;
    record->deserialize = parts.deserialize;
    record->disk = parts.disk;
    ring_put_text(record, task->key);
    ring_publish(recorder->ring);
}

/* The number of its text. What a killed task has to say is long, and goes where others have their tracebacks. */
static uint32_t exception_number(struct recorder *recorder, const struct task_brief *task,
                                 const struct failure_view *view)
{
    if (view->kind != FAILURE_KILLED_WORKER) {
        return text_number(recorder,
                           exception_text(task->failure, &recorder->node->outbound_arena));
    }
    struct text said = {0}, shown = {0};
    killed_worker_summary(view->attempts, view->attempt_count, &said);
    text_add_cstr(&shown, "KilledWorker(");
    key_repr_text(&shown, text_span(&said));
    text_add_char(&shown, ')');
    uint32_t number = text_number(recorder, text_span(&shown));
    text_fini(&said);
    text_fini(&shown);
    return number;
}

static void failure(struct recorder *recorder, const struct notice *notice,
                    const struct task_brief *task, struct names names)
{
    struct failure_view view;
    view_failure(task->failure, &view);
    if (!span_equal(view.key, task->key)) {
        return; /* an input's, which was told then */
    }
    uint32_t exception = exception_number(recorder, task, &view);
    struct span place = view.kind == FAILURE_KILLED_WORKER ? view.attempts : view.traceback_text;
    uint32_t traceback = text_number(recorder, place);
    struct record_failure *record = ring_reserve(recorder->ring, RECORD_FAILURE, task->key.size);
    if (record == NULL) {
        return;
    }
    record->time = recorder->node->step.time;
    record->worker = notice->worker;
    record->prefix = names.prefix;
    record->group = names.group;
    record->cause = (uint32_t)view.kind;
    record->exception = exception;
    record->traceback = traceback;
    record->suspicious = task->suspicious;
    ring_put_text(record, task->key);
    ring_publish(recorder->ring);
}

static void task_done(struct recorder *recorder, const struct notice *notice)
{
    struct task_brief task;
    view_task_brief(notice->task, &task);
    struct names names = names_of(recorder, &task);
    if (notice->startstops.count > 0) {
        run(recorder, notice, &task, names);
    }
    if (task.failure != NULL) {
        failure(recorder, notice, &task, names);
    }
}

/* ---- workers, clients, graphs ------------------------------------------------------------------- */

void record_worker(struct recorder *recorder, worker_id worker)
{
    struct worker_view view;
    if (!view_worker(recorder->node->core, worker, &view)) {
        return;
    }
    struct text text = {0};
    msgpack_write_array(&text, 6);
    msgpack_write_str_lossy(&text, view.address);
    msgpack_write_raw(&text, view.name);
    msgpack_write_str_lossy(&text, view.host);
    msgpack_write_str_lossy(&text, view.nanny);
    msgpack_write_str_lossy(&text, view.local_directory);
    if (view.services != NULL && view.services->frame_count == 0) {
        msgpack_write_raw(&text, slice_span(view.services->value));
    } else {
        msgpack_write_map(&text, 0);
    }
    struct record_worker_added *record =
        ring_reserve(recorder->ring, RECORD_WORKER_ADDED, text.size);
    if (record != NULL) {
        record->worker = worker;
        record->nthreads = view.nthreads;
        record->time = recorder->node->now;
        record->memory_limit = view.memory_limit;
        record->pid = view.pid;
        record->added = recorder->node->now;
        ring_put_text(record, text_span(&text));
        ring_publish(recorder->ring);
    }
    text_fini(&text);
    record_status(recorder, worker, span_of_text(worker_status_name(view.status)));
}

void record_status(struct recorder *recorder, worker_id worker, struct span status)
{
    struct record_worker_status *record =
        ring_reserve(recorder->ring, RECORD_WORKER_STATUS, status.size);
    if (record != NULL) {
        record->worker = worker;
        record->time = recorder->node->now;
        ring_put_text(record, status);
        ring_publish(recorder->ring);
    }
}

void recorder_victim(struct recorder *recorder, worker_id worker, struct span key,
                     struct span certificate)
{
    size_t most = record_text_max(RECORD_VICTIM);
    if (key.size > most) {
        return; /* a key that does not fit says nothing to a person */
    }
    size_t rest = certificate.size < most - key.size ? certificate.size : most - key.size;
    struct record_victim *record = ring_reserve(recorder->ring, RECORD_VICTIM, key.size + rest);
    if (record != NULL) {
        record->worker = worker;
        record->time = recorder->node->now;
        uint8_t *place = (uint8_t *)record + sizeof *record;
        memcpy(place, key.data, key.size);
        if (rest > 0) {
            memcpy(place + key.size, certificate.data, rest);
        }
        ring_publish(recorder->ring);
    }
}

static void activities(struct recorder *recorder, worker_id worker, struct span pairs)
{
    struct record_activities *record =
        pairs.size == 0 ? NULL : ring_reserve(recorder->ring, RECORD_ACTIVITIES, pairs.size);
    if (record != NULL) {
        record->worker = worker;
        record->time = recorder->node->now;
        ring_put_text(record, pairs);
        ring_publish(recorder->ring);
    }
}

/* Only what has a compound name is of an activity; idle workers measure none of it, and so cost nothing here. As many
 * records as it takes. */
void recorder_heartbeat(struct recorder *recorder, worker_id worker, struct span metrics)
{
    struct span digests, name, number;
    uint32_t count;
    if (msgpack_find(metrics, "digests_total_since_heartbeat", &digests) != OK) {
        return;
    }
    struct msgpack_reader reader = msgpack_reader(digests);
    struct text pairs = {0};
    size_t most = record_text_max(RECORD_ACTIVITIES);
    for (bool goes_on = msgpack_read_map(&reader, &count) == OK; goes_on && count > 0; count--) {
        bool is_compound = msgpack_peek(&reader) == MSGPACK_ARRAY;
        goes_on =
            msgpack_read_value(&reader, &name) == OK && msgpack_read_value(&reader, &number) == OK;
        if (!goes_on || !is_compound || name.size + number.size > most) {
            continue;
        }
        if (pairs.size + name.size + number.size > most) {
            activities(recorder, worker, text_span(&pairs));
            text_clear(&pairs);
        }
        msgpack_write_raw(&pairs, name);
        msgpack_write_raw(&pairs, number);
    }
    activities(recorder, worker, text_span(&pairs));
    text_fini(&pairs);
}

/* Of a worker that was lost: some of what it ran, which its removal is told after. */
static void lost_with(struct recorder *recorder, const struct notice *notice)
{
    uint32_t count = notice->busy.count < VICTIMS_MAX ? notice->busy.count : VICTIMS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        recorder_victim(recorder, notice->worker, notice->busy.items[i], (struct span){0});
    }
}

static void worker_removed(struct recorder *recorder, const struct notice *notice)
{
    if (!notice->flag) {
        lost_with(recorder, notice);
    }
    struct record_worker_removed *record =
        ring_reserve(recorder->ring, RECORD_WORKER_REMOVED, notice->stimulus.size);
    if (record != NULL) {
        record->head.flags = notice->flag ? REMOVED_EXPECTED : 0;
        record->worker = notice->worker;
        record->time = notice->time;
        record->lost = notice->keys.count + notice->more_keys.count;
        record->busy = notice->busy.count;
        ring_put_text(record, notice->stimulus);
        ring_publish(recorder->ring);
    }
}

void record_client(struct recorder *recorder, client_id client, double time, bool came)
{
    struct client_view view;
    if (!view_client(recorder->node->core, client, &view) || view.is_pseudo) {
        return;
    }
    struct record_client *record = ring_reserve(recorder->ring, RECORD_CLIENT, view.name.size);
    if (record != NULL) {
        record->head.flags = came ? CLIENT_CAME : 0;
        record->client = client;
        record->time = time;
        ring_put_text(record, view.name);
        ring_publish(recorder->ring);
    }
}

static void graph(struct recorder *recorder, const struct notice *notice, uint16_t flags)
{
    struct record_graph *record = ring_reserve(recorder->ring, RECORD_GRAPH, notice->text.size);
    if (record != NULL) {
        bool is_counted = notice->kind == NOTICE_GRAPH_ADDED;
        record->head.flags = flags;
        record->client = notice->client;
        record->time = notice->time;
        record->tasks = is_counted ? notice->number : 0;
        record->new_tasks = is_counted ? notice->number2 : 0;
        record->collisions = is_counted ? notice->number3 : 0;
        ring_put_text(record, notice->text);
        ring_publish(recorder->ring);
    }
}

void recorder_graph_bytes(struct recorder *recorder, client_id client, uint64_t bytes)
{
    struct record_graph_bytes *record = ring_reserve(recorder->ring, RECORD_GRAPH_BYTES, 0);
    if (record != NULL) {
        record->client = client;
        record->time = recorder->node->now;
        record->bytes = (int64_t)bytes;
        ring_publish(recorder->ring);
    }
}

void recorder_versions(struct recorder *recorder, struct span who, struct span comparison)
{
    struct text whole = {0};
    text_add(&whole, who);
    text_add_char(&whole, '\0');
    text_add(&whole, comparison);
    struct record_versions *record = ring_reserve(recorder->ring, RECORD_VERSIONS, whole.size);
    if (record != NULL) {
        record->time = recorder->node->now;
        ring_put_text(record, text_span(&whole));
        ring_publish(recorder->ring);
    }
    text_fini(&whole);
}

static void steals(struct recorder *recorder, const struct notice *notice)
{
    for (uint32_t i = 0; i < notice->steal_count; i++) {
        const struct steal_note *note = &notice->steals[i];
        struct record_steal *record = ring_reserve(recorder->ring, RECORD_STEAL, note->key.size);
        if (record != NULL) {
            record->time = notice->time;
            record->victim = note->victim;
            record->thief = note->thief;
            record->level = note->level;
            record->cost = note->cost;
            ring_put_text(record, note->key);
            ring_publish(recorder->ring);
        }
    }
}

void recorder_notice(struct recorder *recorder, const struct notice *notice)
{
    switch (notice->kind) {
    case NOTICE_TASK_DONE:
        task_done(recorder, notice);
        break;
    case NOTICE_WORKER_ADDED:
        record_worker(recorder, notice->worker);
        break;
    case NOTICE_WORKER_REMOVED:
        worker_removed(recorder, notice);
        break;
    case NOTICE_WORKER_STATUS:
        record_status(recorder, notice->worker, notice->text2);
        break;
    case NOTICE_CLIENT_ADDED:
    case NOTICE_CLIENT_REMOVED:
        record_client(recorder, notice->client, notice->time, notice->kind == NOTICE_CLIENT_ADDED);
        break;
    case NOTICE_GRAPH_ADDED:
        graph(recorder, notice, 0);
        break;
    case NOTICE_GRAPH_CANCELLED:
        graph(recorder, notice, GRAPH_CANCELLED);
        break;
    case NOTICE_GRAPH_FAILED:
        graph(recorder, notice, GRAPH_FAILED);
        break;
    case NOTICE_STEAL:
        steals(recorder, notice);
        break;
    default:
        break; /* the others come as events of topics, or are looked up when somebody asks */
    }
}

void recorder_restart(struct recorder *recorder)
{
    forget_groups(recorder);
    recorder->prefixes.count = 0;
    recorder->prefix_changes.count = 0;
    struct record_restart *record = ring_reserve(recorder->ring, RECORD_RESTART, 0);
    if (record != NULL) {
        record->time = recorder->node->now;
        ring_publish(recorder->ring);
    }
}

void recorder_event(struct recorder *recorder, struct span topic, struct span value)
{
    size_t size = topic.size + value.size;
    if (size > record_text_max(RECORD_EVENT)) {
        return; /* half a value is none; who wants large ones subscribes */
    }
    struct record_event *record = ring_reserve(recorder->ring, RECORD_EVENT, size);
    if (record != NULL) {
        record->time = recorder->node->now;
        uint8_t *place = (uint8_t *)record + sizeof *record;
        memcpy(place, topic.data, topic.size);
        memcpy(place + topic.size, value.data, value.size);
        ring_publish(recorder->ring);
    }
}

/* ---- beginning and end -------------------------------------------------------------------------- */

void recorder_begin(struct recorder *recorder)
{
    struct node *node = recorder->node;
    forget(recorder);
    struct text text = {0};
    msgpack_write_map(&text, 3);
    msgpack_write_cstr(&text, "id");
    msgpack_write_str(&text, text_span(&node->id));
    msgpack_write_cstr(&text, "address");
    msgpack_write_str_lossy(&text, text_span(&node->server.address));
    msgpack_write_cstr(&text, "version");
    msgpack_write_cstr(&text, CASK_VERSION);
    struct record_begin *record = ring_reserve(recorder->ring, RECORD_BEGIN, text.size);
    if (record != NULL) {
        record->time = node->now;
        record->started = node->started;
        record->pid = getpid();
        ring_put_text(record, text_span(&text));
        ring_publish(recorder->ring);
    }
    text_fini(&text);
    uint32_t prefix_cursor = 0;
    for (struct map_entry *entry;
         (entry = map_next(&recorder->prefix_numbers, &prefix_cursor)) != NULL;) {
        name_record(recorder, RECORD_PREFIX, (uint32_t)entry->value.number, entry->name);
    }
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        record_worker(recorder, view_worker_at(node->core, i));
    }
    uint32_t cursor = 0;
    struct client_view client;
    while (view_client_next(node->core, &cursor, &client)) {
        record_client(recorder, client.id, node->now, true);
    }
}

void recorder_end(struct recorder *recorder, const char *reason, int exit_code)
{
    struct span text = span_of_text(reason);
    struct record_end *record = ring_reserve(recorder->ring, RECORD_END, text.size);
    if (record != NULL) {
        record->time = recorder->node->now;
        record->exit_code = exit_code;
        ring_put_text(record, text);
        ring_publish(recorder->ring);
    }
}
