/* tables_apply.c: one function for each kind of record. */
#include <math.h>

#include "base/alloc.h"
#include "observer/activities.h"
#include "observer/failures.h"
#include "observer/tables_internal.h"
#include "wire/json.h"
#include "wire/key.h"

/* How far back a long run is spread over the seconds it took. */
#define SPREAD_SECONDS 600.0

static void seen(struct tables *tables, double time)
{
    if (time > tables->time && time < 1e11) {
        tables->time = time;
    }
}

/* ---- the scheduler ------------------------------------------------------------------------------ */

static void find_text(struct span map, const char *name, struct text *out)
{
    struct span raw, text;
    text_clear(out);
    if (msgpack_find(map, name, &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_str(&reader, &text) == OK) {
            text_add(out, text);
        }
    }
}

/* All that are here are told again; who is not had left when nobody took note. */
static void presume_gone(struct tables *tables, double time)
{
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->removed == 0) {
            row->removed = time;
            row->tick = row->told = tables->tick;
            table_set_text(&row->status, SPAN("closed"));
            table_set_text(&row->reason, SPAN("it left while nobody took note"));
            tables->gone_count++;
        }
    }
}

static void begin(struct tables *tables, const struct record_begin *record, struct span text)
{
    struct text id = {0};
    find_text(text, "id", &id);
    bool is_known = id.size > 0 && record->started == tables->started &&
                    span_equal(text_span(&id), text_span(&tables->cluster_id));
    text_fini(&id);
    if (is_known) { /* from its history */
        presume_gone(tables, record->time);
    } else {
        tables_clear(tables);
    }
    tables->state = CLUSTER_RUNNING;
    text_clear(&tables->reason);
    tables->pid = record->pid;
    tables->started = record->started;
    find_text(text, "id", &tables->cluster_id);
    find_text(text, "address", &tables->address);
    find_text(text, "version", &tables->version);
    seen(tables, record->time);
}

static void end(struct tables *tables, const struct record_end *record, struct span text)
{
    tables->state = CLUSTER_ENDED;
    tables->ended = record->time;
    table_set_text(&tables->reason, text);
    seen(tables, record->time);
}

void tables_died(struct tables *tables, double time, const char *reason)
{
    if (tables->state == CLUSTER_RUNNING) {
        tables->state = CLUSTER_DIED;
        tables->ended = time;
        table_set_text(&tables->reason, span_of_text(reason));
        tables->tick++;
        seen(tables, time);
    }
}

/* ---- runs --------------------------------------------------------------------------------------- */

/* Computing, second by second. */
static void spread(struct tables *tables, double start, double stop)
{
    start = stop - start > SPREAD_SECONDS ? stop - SPREAD_SECONDS : start;
    while (start < stop) {
        double next = floor(start) + 1;
        next = next < stop ? next : stop;
        struct second_row *second = table_second_make(tables, start);
        if (second != NULL) {
            second->busy += next - start;
        }
        start = next;
    }
}

static void run(struct tables *tables, const struct record_run *record, struct span key)
{
    bool is_time = record->start > 0 && record->stop >= record->start && record->stop < 1e11;
    double start = is_time ? record->start : 0, stop = is_time ? record->stop : 0;
    struct run row = {
        .key = key,
        .start = start,
        .duration = (float)(stop - start),
        .transfer = record->transfer,
        .deserialize = record->deserialize,
        .disk = record->disk,
        .worker = record->worker,
        .prefix = record->prefix,
        .group = record->group,
        .is_erred = (record->head.flags & RUN_ERRED) != 0,
        .nbytes = record->nbytes,
    };
    struct worker_row *worker = tables_worker(tables, record->worker);
    if (worker != NULL) {
        row.lane = table_lane(worker, record->thread);
        worker->runs++;
        worker->busy += stop - start;
        worker->tick = tables->tick;
    }
    struct prefix_row *prefix = table_prefix_make(tables, record->prefix);
    if (prefix != NULL) {
        prefix->runs++;
        prefix->tick = tables->tick;
        stats_add(&prefix->stats, stop - start);
    }
    struct group_row *group = record->group == 0 ? NULL : tables_group(tables, record->group);
    if (group != NULL) {
        group->runs++;
        group->tick = tables->tick;
        group->transfer += (double)record->transfer;
        stats_add(&group->stats, stop - start);
    }
    struct second_row *second = table_second_make(tables, stop);
    if (second != NULL) {
        second->runs++;
        second->transfer += (double)record->transfer;
        second->disk += (double)record->disk;
    }
    evidence_run(tables, record, stop - start);
    spread(tables, start, stop);
    runs_add(&tables->runs, &row);
    seen(tables, stop);
}

static void transfer(struct tables *tables, const struct record_transfer *record)
{
    double seconds = record->stop - record->start;
    tables->transfers_total++;
    struct second_row *second = table_second_make(tables, record->stop);
    if (second != NULL) {
        second->transfers++;
    }
    struct transfer_row *row = table_transfer_make(tables, record->source, record->worker);
    if (row == NULL) {
        return;
    }
    row->count++;
    row->tick = tables->tick;
    row->seconds += seconds;
    row->longest = seconds > row->longest ? seconds : row->longest;
}

/* ---- failures ----------------------------------------------------------------------------------- */

static struct failure_row *failure_make(struct tables *tables, const struct record_failure *record)
{
    struct failure_row *row = mem_zalloc(1, sizeof *row);
    struct span exception = table_text(tables, record->exception);
    struct span traceback = table_text(tables, record->traceback);
    row->prefix = record->prefix;
    failure_read_exception(exception, &row->type, &row->message);
    failure_read_place(traceback, &row->where);
    table_failures_trim(tables);
    struct failure_row *known = table_failure_find(tables, row);
    if (known != NULL) {
        text_fini(&row->type);
        text_fini(&row->message);
        text_fini(&row->where);
        mem_free(row);
        return known;
    }
    row->id = (uint32_t)++tables->failures_total;
    row->cause = record->cause;
    row->first = record->time;
    text_add(&row->exception, exception);
    text_add(&row->traceback, traceback);
    table_failure_put(tables, row);
    return row;
}

static void failure(struct tables *tables, const struct record_failure *record, struct span key)
{
    struct failure_row *row = failure_make(tables, record);
    row->count++;
    tables->failures_seen++;
    tables->failure_last = row->id;
    row->last = record->time;
    row->tick = tables->tick;
    bool is_known = record->worker == 0;
    for (uint32_t i = 0; i < row->worker_count; i++) {
        is_known = is_known || row->workers[i] == record->worker;
    }
    if (!is_known && row->worker_count < FAILURE_SAMPLES) {
        row->workers[row->worker_count++] = record->worker;
    }
    if (row->key_count < FAILURE_SAMPLES && table_print_key(&row->keys[row->key_count], key)) {
        row->key_count++;
    }
    struct worker_row *worker = tables_worker(tables, record->worker);
    if (worker != NULL) {
        worker->failures++;
        worker->tick = tables->tick;
    }
    struct prefix_row *prefix = table_prefix_make(tables, record->prefix);
    if (prefix != NULL) {
        prefix->failures++;
        prefix->tick = tables->tick;
    }
    struct group_row *group = record->group == 0 ? NULL : tables_group(tables, record->group);
    if (group != NULL) {
        group->failures++;
        group->tick = tables->tick;
    }
    struct second_row *second = table_second_make(tables, record->time);
    if (second != NULL) {
        second->failures++;
    }
    seen(tables, record->time);
}

/* ---- workers ------------------------------------------------------------------------------------ */

/* The next item of an array as text: a str, or what Python would print. */
static bool read_item(struct msgpack_reader *reader, struct text *out)
{
    struct span raw, text;
    text_clear(out);
    if (msgpack_read_value(reader, &raw) != OK) {
        return false;
    }
    struct msgpack_reader inner = msgpack_reader(raw);
    if (msgpack_read_str(&inner, &text) == OK) {
        text_add(out, text);
    } else {
        msgpack_print(out, raw, 200);
    }
    return true;
}

static uint32_t dashboard_of(struct span services)
{
    struct span raw;
    int64_t port = 0;
    if (msgpack_find(services, "dashboard", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_int(&reader, &port) != OK) {
            port = 0;
        }
    }
    return port > 0 && port <= UINT16_MAX ? (uint32_t)port : 0;
}

static void worker_added(struct tables *tables, const struct record_worker_added *record,
                         struct span text)
{
    struct worker_row *row = table_worker_make(tables, record->worker);
    struct msgpack_reader reader = msgpack_reader(text);
    uint32_t count;
    if (row == NULL || msgpack_read_array(&reader, &count) != OK || count != 6) {
        return;
    }
    struct text *texts[] = {&row->address, &row->name, &row->host, &row->nanny, &row->directory};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!read_item(&reader, texts[i])) {
            return;
        }
    }
    struct span services;
    row->dashboard = msgpack_read_value(&reader, &services) == OK ? dashboard_of(services) : 0;
    row->nthreads = record->nthreads;
    row->memory_limit = record->memory_limit;
    row->pid = record->pid;
    row->added = row->added > 0 ? row->added : record->added; /* it may be told again */
    row->tick = row->told = tables->tick;
    if (row->removed > 0) { /* it was thought to have left */
        row->removed = 0;
        text_clear(&row->reason);
        tables->gone_count--;
    }
    tables->workers_added++;
    seen(tables, record->time);
}

static void worker_removed(struct tables *tables, const struct record_worker_removed *record,
                           struct span text)
{
    struct worker_row *row = tables_worker(tables, record->worker);
    tables->workers_removed++;
    seen(tables, record->time);
    if (row == NULL || row->removed > 0) {
        return;
    }
    row->removed = record->time;
    row->was_expected = (record->head.flags & REMOVED_EXPECTED) != 0;
    row->lost = record->lost;
    row->was_busy = record->busy;
    row->tick = row->told = tables->tick;
    table_set_text(&row->reason, text);
    table_set_text(&row->status, SPAN("closed"));
    tables->gone_count++;
    table_workers_trim(tables);
}

static void worker_status(struct tables *tables, const struct record_worker_status *record,
                          struct span text)
{
    struct worker_row *row = tables_worker(tables, record->worker);
    if (row != NULL && row->removed == 0) {
        if (!span_equal(text, text_span(&row->status))) { /* it may be told again */
            struct line_row *line = table_line_add(&tables->statuses);
            line->time = record->time;
            line->level = record->worker;
            text_add(&line->text, text);
        }
        table_set_text(&row->status, text);
        row->tick = row->told = tables->tick;
    }
    seen(tables, record->time);
}

static void worker_sample(struct tables *tables, const struct record_worker_sample *record)
{
    struct worker_row *row = tables_worker(tables, record->worker);
    if (row != NULL) {
        row->sample = *record;
        row->tick = tables->tick;
        evidence_memory(row, record);
    }
}

/* ---- the others --------------------------------------------------------------------------------- */

static void client(struct tables *tables, const struct record_client *record, struct span text)
{
    bool came = (record->head.flags & CLIENT_CAME) != 0;
    table_client_set(tables, record->client, text);
    tables->clients_added += came;
    tables->clients_removed += !came;
    seen(tables, record->time);
}

static void graph(struct tables *tables, const struct record_graph *record, struct span text)
{
    struct line_row *row = table_line_add(&tables->graphs);
    row->time = record->time;
    row->flags = record->head.flags;
    row->tasks = record->tasks;
    row->new_tasks = record->new_tasks;
    row->collisions = record->collisions;
    text_add_cstr(&row->name, tables_client(tables, record->client));
    text_add(&row->text, text);
    tables->graphs_total++;
    seen(tables, record->time);
}

static void log_line(struct tables *tables, const struct record_log *record, struct span text)
{
    const uint8_t *end_of_name = memchr(text.data, '\0', text.size);
    size_t size = end_of_name == NULL ? 0 : (size_t)(end_of_name - text.data);
    size_t skipped = end_of_name == NULL ? 0 : size + 1;
    struct line_row *row = table_line_add(&tables->logs);
    row->time = record->time;
    row->level = record->level;
    text_add(&row->name, span_of(text.data, size));
    text_add(&row->text, span_of(text.data + skipped, text.size - skipped));
    seen(tables, record->time);
}

static void event(struct tables *tables, const struct record_event *record, struct span text)
{
    struct msgpack_reader reader = msgpack_reader(text);
    struct span topic, value;
    if (msgpack_read_value(&reader, &topic) != OK || msgpack_read_value(&reader, &value) != OK ||
        !msgpack_at_end(&reader)) {
        return;
    }
    struct line_row *row = table_line_add(&tables->events);
    row->time = record->time;
    if (!table_print_key(&row->name, topic)) {
        text_add_cstr(&row->name, "?");
    }
    if (!json_from_msgpack(&row->text, value, 0)) {
        table_set_text(&row->text, SPAN("null"));
    }
    seen(tables, record->time);
}

static void totals(struct tables *tables, const struct record_totals *record)
{
    tables->totals = *record;
    tables->totals_time = record->time;
    struct second_row *second = table_second_make(tables, record->time);
    if (second != NULL) {
        second->has_totals = true;
        second->queued = record->tasks[3];
        second->processing = record->tasks[4];
        second->workers = record->workers;
        second->process = record->process;
        second->managed = record->managed;
        second->spilled = record->spilled;
        second->loop_longest = (float)record->longest;
    }
    seen(tables, record->time);
}

static void group_sample(struct tables *tables, const struct record_group_sample *record)
{
    struct group_row *row = tables_group(tables, record->id);
    if (row != NULL) {
        row->sample = *record;
        row->tick = tables->tick;
    }
}

static void prefix_sample(struct tables *tables, const struct record_prefix_sample *record)
{
    struct prefix_row *row = table_prefix_make(tables, record->id);
    if (row != NULL) {
        row->sample = *record;
        row->tick = tables->tick;
    }
}

static void group(struct tables *tables, const struct record_group *record, struct span text)
{
    struct group_row *row = table_group_make(tables, record->id);
    if (row != NULL) {
        row->prefix = record->prefix;
        row->tick = row->told = tables->tick;
        table_set_text(&row->name, text);
    }
}

static void prefix(struct tables *tables, const struct record_prefix *record, struct span text)
{
    struct prefix_row *row = table_prefix_make(tables, record->id);
    if (row != NULL) {
        row->tick = tables->tick;
        table_set_text(&row->name, text);
    }
}

#define EDGES_MAX 10000u

static void edge(struct tables *tables, const struct record_edge *record)
{
    struct group_row *row = tables_group(tables, record->group);
    if (row != NULL && row->dependencies.count < EDGES_MAX) {
        vec_push(&row->dependencies, record->dependency);
        row->tick = tables->tick;
    }
}

static void semaphore(struct tables *tables, const struct record_semaphore *record,
                      struct span text)
{
    uint32_t at = 0;
    while (at < tables->semaphores.count &&
           !span_equal(text_span(&tables->semaphores.items[at].name), text)) {
        at++;
    }
    if (at == TABLE_LINES_MAX) {
        return;
    }
    if (at == tables->semaphores.count) {
        struct semaphore_row row = {0};
        text_add(&row.name, text);
        vec_push(&tables->semaphores, row);
    }
    tables->semaphores.items[at].last = *record;
}

static void moved(struct tables *tables, const struct record_moved *record, struct span text)
{
    uint32_t at = 0;
    while (at < tables->moved.count &&
           !span_equal(text_span(&tables->moved.items[at].type), text)) {
        at++;
    }
    if (at == TABLE_LINES_MAX) {
        return;
    }
    if (at == tables->moved.count) {
        struct moved_row row = {0};
        text_add(&row.type, text);
        vec_push(&tables->moved, row);
    }
    tables->moved.items[at].last = *record;
}

static void lag(struct tables *tables, const struct record_lag *record, struct span text)
{
    uint32_t at = 0;
    while (at < tables->lags.count && tables->lags.items[at].last.kind != record->kind) {
        at++;
    }
    if (at == TABLE_LAGS_MAX) {
        return;
    }
    if (at == tables->lags.count) {
        struct lag_row row = {0};
        text_add(&row.name, text);
        vec_push(&tables->lags, row);
    }
    tables->lags.items[at].last = *record;
}

/* LONG: a case for each record, one call each. */
void tables_apply(struct tables *tables, const union any_record *record)
{
    struct span text = record_text(record);
    tables->tick++;
    switch ((enum record_kind)record->head.kind) {
    case RECORD_GAP:
        tables->gaps++;
        tables->lost += record->gap.lost;
        break;
    case RECORD_BEGIN:
        begin(tables, &record->begin, text);
        break;
    case RECORD_END:
        end(tables, &record->end, text);
        break;
    case RECORD_TEXT:
        table_text_put(tables, record->text.id, text);
        break;
    case RECORD_PREFIX:
        prefix(tables, &record->prefix, text);
        break;
    case RECORD_GROUP:
        group(tables, &record->group, text);
        break;
    case RECORD_EDGE:
        edge(tables, &record->edge);
        break;
    case RECORD_RUN:
        run(tables, &record->run, text);
        break;
    case RECORD_TRANSFER:
        transfer(tables, &record->transfer);
        break;
    case RECORD_ACTIVITIES:
        activities_apply(tables, text);
        break;
    case RECORD_FAILURE:
        failure(tables, &record->failure, text);
        break;
    case RECORD_WORKER_ADDED:
        worker_added(tables, &record->worker_added, text);
        break;
    case RECORD_WORKER_REMOVED:
        worker_removed(tables, &record->worker_removed, text);
        break;
    case RECORD_WORKER_STATUS:
        worker_status(tables, &record->worker_status, text);
        break;
    case RECORD_WORKER_SAMPLE:
        worker_sample(tables, &record->worker_sample);
        break;
    case RECORD_CLIENT:
        client(tables, &record->client, text);
        break;
    case RECORD_GRAPH:
        graph(tables, &record->graph, text);
        break;
    case RECORD_LOG:
        log_line(tables, &record->log, text);
        break;
    case RECORD_EVENT:
        event(tables, &record->event, text);
        break;
    case RECORD_GROUP_SAMPLE:
        group_sample(tables, &record->group_sample);
        break;
    case RECORD_PREFIX_SAMPLE:
        prefix_sample(tables, &record->prefix_sample);
        break;
    case RECORD_TOTALS:
        totals(tables, &record->totals);
        break;
    case RECORD_STEAL_LEVEL:
        if (record->steal_level.level < STEAL_LEVELS_MAX) {
            tables->steals[record->steal_level.level] = record->steal_level;
        }
        break;
    case RECORD_LAG:
        lag(tables, &record->lag, text);
        break;
    case RECORD_SEMAPHORE:
        semaphore(tables, &record->semaphore, text);
        break;
    case RECORD_MOVED:
        moved(tables, &record->moved, text);
        break;
    case RECORD_VICTIM:
        evidence_victim(tables, &record->victim, text);
        break;
    case RECORD_GRAPH_BYTES:
        evidence_graph(tables, &record->graph_bytes);
        break;
    case RECORD_VERSIONS:
        evidence_versions(tables, &record->versions, text);
        break;
    case RECORD_UNRUNNABLE:
        evidence_unrunnable(tables, &record->unrunnable, text);
        break;
    case RECORD_PAD:
    case RECORD_STEAL:   /* each is in the events of the topic "stealing", too */
    case RECORD_RESTART: /* prefixes and groups are told anew; what ran, ran */
    case RECORD_KIND_COUNT:
        break;
    }
}
