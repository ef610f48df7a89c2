/* history_load.c: a file becomes tables again, as if its records had just come; so every page shows it.
 *
 * The file may be anybody's: what does not fit is left out. Of the runs, the newest are taken, as many as the tables' memory
 * holds. */
#include <jansson.h>

#include "base/alloc.h"
#include "base/error.h"
#include "observer/activities.h"
#include "observer/history.h"
#include "observer/history_chunk.h"
#include "observer/history_internal.h"
#include "observer/tables_internal.h"

/* What the statements below say in numbers. */
static_assert(TABLE_FAILURES_MAX == 1000 && TABLE_LINES_MAX == 5000 && SERIES_SECONDS == 3600,
              "what tables keep is what is read");

struct loading {
    sqlite3 *file;
    struct tables *tables;
};

static void put_text(struct text *text, sqlite3_stmt *row, int column)
{
    table_set_text(text, history_column_span(row, column));
}

static uint32_t number_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 || value > UINT32_MAX ? 0 : (uint32_t)value;
}

/* A struct as it was written by this version; else it stays as it is. */
static void put_struct(sqlite3_stmt *row, int column, void *out, size_t size)
{
    struct span bytes = history_column_span(row, column);
    if (bytes.size == size) {
        memcpy(out, bytes.data, size);
    }
}

/* count, then the columns total, min … max, and the histogram. */
static void put_stats(sqlite3_stmt *row, int total, int histogram, struct stats *out)
{
    struct span bytes = history_column_span(row, histogram);
    if (bytes.size == sizeof out->buckets) {
        memcpy(out->buckets, bytes.data, bytes.size);
        for (uint32_t i = 0; i < STATS_BUCKETS; i++) {
            out->count += out->buckets[i];
        }
        out->sum = sqlite3_column_double(row, total);
        out->min = sqlite3_column_double(row, total + 1);
        out->max = sqlite3_column_double(row, total + 5);
    }
}

typedef void load_function(struct loading *loading, sqlite3_stmt *row);

/* ---- rows --------------------------------------------------------------------------------------- */

static void load_worker(struct loading *loading, sqlite3_stmt *row)
{
    struct worker_row *worker = table_worker_make(loading->tables, number_of(row, 0));
    if (worker == NULL) {
        return;
    }
    struct text *texts[] = {&worker->address,   &worker->name,   &worker->host,  &worker->nanny,
                            &worker->directory, &worker->status, &worker->reason};
    for (int i = 0; i < 7; i++) {
        put_text(texts[i], row, i + 1);
    }
    worker->nthreads = number_of(row, 8);
    worker->dashboard = number_of(row, 9);
    worker->memory_limit = sqlite3_column_int64(row, 10);
    worker->pid = sqlite3_column_int64(row, 11);
    worker->added = sqlite3_column_double(row, 12);
    worker->removed = sqlite3_column_double(row, 13);
    worker->was_expected = sqlite3_column_int(row, 14) != 0;
    worker->lost = number_of(row, 15);
    worker->was_busy = number_of(row, 16);
    worker->runs = (uint64_t)sqlite3_column_int64(row, 17);
    worker->failures = (uint64_t)sqlite3_column_int64(row, 18);
    worker->busy = sqlite3_column_double(row, 19);
    struct span threads = history_column_span(row, 20);
    for (size_t at = 0; at + 8 <= threads.size && worker->threads.count < 4096; at += 8) {
        uint64_t thread;
        memcpy(&thread, threads.data + at, sizeof thread);
        vec_push(&worker->threads, thread);
    }
    put_struct(row, 21, &worker->sample, sizeof worker->sample);
    worker->tick = loading->tables->tick;
    loading->tables->gone_count += worker->removed > 0;
}

static void load_prefix(struct loading *loading, sqlite3_stmt *row)
{
    struct prefix_row *prefix = table_prefix_make(loading->tables, number_of(row, 0));
    if (prefix != NULL) {
        put_text(&prefix->name, row, 1);
        prefix->runs = (uint64_t)sqlite3_column_int64(row, 2);
        prefix->failures = (uint64_t)sqlite3_column_int64(row, 3);
        put_stats(row, 4, 12, &prefix->stats);
        put_struct(row, 13, &prefix->sample, sizeof prefix->sample);
        prefix->tick = loading->tables->tick;
    }
}

/* Numbers of a JSON list. */
static json_t *list_of(sqlite3_stmt *row, int column)
{
    struct span text = history_column_span(row, column);
    json_t *list = json_loadb((const char *)text.data, text.size, 0, NULL);
    if (!json_is_array(list)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static void load_group(struct loading *loading, sqlite3_stmt *row)
{
    struct group_row *group = table_group_make(loading->tables, number_of(row, 0));
    if (group == NULL) {
        return;
    }
    put_text(&group->name, row, 1);
    group->prefix = number_of(row, 2);
    group->runs = (uint64_t)sqlite3_column_int64(row, 4);
    group->failures = (uint64_t)sqlite3_column_int64(row, 5);
    put_stats(row, 6, 17, &group->stats);
    group->transfer = sqlite3_column_double(row, 12);
    put_struct(row, 18, &group->sample, sizeof group->sample);
    json_t *edges = list_of(row, 16);
    for (size_t i = 0; i < json_array_size(edges); i++) {
        vec_push(&group->dependencies, (uint32_t)json_integer_value(json_array_get(edges, i)));
    }
    json_decref(edges);
    group->tick = loading->tables->tick;
}

static void load_samples(struct failure_row *failure, sqlite3_stmt *row)
{
    json_t *workers = list_of(row, 11), *keys = list_of(row, 12);
    for (size_t i = 0; i < json_array_size(workers) && i < FAILURE_SAMPLES; i++) {
        failure->workers[failure->worker_count++] =
            (uint32_t)json_integer_value(json_array_get(workers, i));
    }
    for (size_t i = 0; i < json_array_size(keys) && i < FAILURE_SAMPLES; i++) {
        json_t *key = json_array_get(keys, i);
        if (json_is_string(key)) {
            text_add(&failure->keys[failure->key_count++],
                     span_of(json_string_value(key), json_string_length(key)));
        }
    }
    json_decref(workers);
    json_decref(keys);
}

static void load_failure(struct loading *loading, sqlite3_stmt *row)
{
    struct failure_row *failure = mem_zalloc(1, sizeof *failure);
    struct text *texts[] = {&failure->type, &failure->message, &failure->where, &failure->exception,
                            &failure->traceback};
    failure->id = number_of(row, 0);
    failure->prefix = number_of(row, 1);
    failure->cause = number_of(row, 2);
    for (int i = 0; i < 5; i++) {
        put_text(texts[i], row, i + 3);
    }
    failure->count = (uint64_t)sqlite3_column_int64(row, 8);
    failure->first = sqlite3_column_double(row, 9);
    failure->last = sqlite3_column_double(row, 10);
    failure->tick = loading->tables->tick;
    load_samples(failure, row);
    table_failure_put(loading->tables, failure);
}

static void load_failed(struct loading *loading, sqlite3_stmt *row)
{
    struct text description = {0};
    put_text(&description, row, 2);
    json_t *value = json_loadb(text_cstr(&description), description.size, 0, NULL);
    if (json_is_object(value)) {
        failed_rows_put(&loading->tables->failed, history_column_span(row, 0),
                        sqlite3_column_double(row, 1), &description);
    }
    json_decref(value);
    text_fini(&description);
}

static void load_text(struct loading *loading, sqlite3_stmt *row)
{
    table_text_put(loading->tables, number_of(row, 0), history_column_span(row, 1));
}

static struct line_row *next_line(struct lines *lines, sqlite3_stmt *row)
{
    int64_t n = sqlite3_column_int64(row, 0);
    if (lines->rows.count == 0) {
        lines->next = lines->base = n < 0 ? 0 : (uint64_t)n;
    }
    struct line_row *line = table_line_add(lines);
    line->time = sqlite3_column_double(row, 1);
    return line;
}

static void load_graph(struct loading *loading, sqlite3_stmt *row)
{
    struct line_row *line = next_line(&loading->tables->graphs, row);
    put_text(&line->name, row, 2);
    line->tasks = sqlite3_column_int64(row, 3);
    line->new_tasks = sqlite3_column_int64(row, 4);
    line->collisions = sqlite3_column_int64(row, 5);
    line->flags = (uint16_t)number_of(row, 6);
    put_text(&line->text, row, 7);
}

static void load_status(struct loading *loading, sqlite3_stmt *row)
{
    struct line_row *line = table_line_add(&loading->tables->statuses);
    line->time = sqlite3_column_double(row, 0);
    line->level = number_of(row, 1);
    put_text(&line->text, row, 2);
}

static void load_log(struct loading *loading, sqlite3_stmt *row)
{
    struct line_row *line = next_line(&loading->tables->logs, row);
    line->level = number_of(row, 2);
    put_text(&line->name, row, 3);
    put_text(&line->text, row, 4);
}

static void load_event(struct loading *loading, sqlite3_stmt *row)
{
    struct line_row *line = next_line(&loading->tables->events, row);
    put_text(&line->name, row, 2);
    put_text(&line->text, row, 3);
}

static void load_transfer(struct loading *loading, sqlite3_stmt *row)
{
    struct transfer_row *transfer =
        table_transfer_make(loading->tables, number_of(row, 0), number_of(row, 1));
    if (transfer != NULL) {
        transfer->count = (uint64_t)sqlite3_column_int64(row, 2);
        transfer->seconds = sqlite3_column_double(row, 3);
        transfer->longest = sqlite3_column_double(row, 4);
        transfer->tick = loading->tables->tick;
    }
}

static void load_activity(struct loading *loading, sqlite3_stmt *row)
{
    const struct span name[] = {history_column_span(row, 0), history_column_span(row, 1),
                                history_column_span(row, 2), history_column_span(row, 3)};
    struct activity_row *activity = activities_make(loading->tables, name);
    activity->total = sqlite3_column_double(row, 4);
    activity->tick = loading->tables->tick;
}

static void load_second(struct loading *loading, sqlite3_stmt *row)
{
    struct second_row *second =
        table_second_make(loading->tables, (double)sqlite3_column_int64(row, 0));
    if (second == NULL) {
        return;
    }
    second->runs = number_of(row, 1);
    second->failures = number_of(row, 2);
    second->transfers = number_of(row, 3);
    second->busy = sqlite3_column_double(row, 4);
    second->has_totals = sqlite3_column_type(row, 5) != SQLITE_NULL;
    second->processing = number_of(row, 5);
    second->queued = number_of(row, 6);
    second->workers = number_of(row, 7);
    second->process = sqlite3_column_int64(row, 8);
    second->managed = sqlite3_column_int64(row, 9);
    second->spilled = sqlite3_column_int64(row, 10);
    second->loop_longest = (float)sqlite3_column_double(row, 11);
}

static void load_client(struct loading *loading, sqlite3_stmt *row)
{
    table_client_set(loading->tables, number_of(row, 0), history_column_span(row, 1));
}

/* In the order in which they refer to each other; of lists, what tables keep of them. */
static const struct source {
    const char *sql;
    load_function *load;
    int since; /* the version of files that it came with */
} sources[] = {
    {"SELECT * FROM workers ORDER BY id", load_worker, 1},
    {"SELECT * FROM prefixes ORDER BY id", load_prefix, 1},
    {"SELECT * FROM groups ORDER BY id", load_group, 1},
    {"SELECT * FROM (SELECT * FROM failures ORDER BY id DESC LIMIT 999) ORDER BY id", load_failure,
     1},
    {"SELECT * FROM texts ORDER BY id", load_text, 1},
    {"SELECT * FROM (SELECT * FROM graphs ORDER BY n DESC LIMIT 5000) ORDER BY n", load_graph, 1},
    {"SELECT * FROM (SELECT * FROM logs ORDER BY n DESC LIMIT 5000) ORDER BY n", load_log, 1},
    {"SELECT * FROM (SELECT * FROM events ORDER BY n DESC LIMIT 5000) ORDER BY n", load_event, 1},
    {"SELECT * FROM (SELECT time, worker, text FROM worker_events WHERE what = 'status' ORDER BY "
     "time DESC LIMIT 5000) ORDER BY time",
     load_status, 1},
    {"SELECT * FROM transfers", load_transfer, 1},
    {"SELECT * FROM activities", load_activity, 2},
    {"SELECT * FROM (SELECT * FROM series ORDER BY time DESC LIMIT 3600) ORDER BY time",
     load_second, 1},
    {"SELECT * FROM clients", load_client, 1},
    {"SELECT * FROM (SELECT * FROM failed_inputs ORDER BY time DESC LIMIT 1000) ORDER BY time",
     load_failed, 3},
};

static int load_rows(struct loading *loading, const struct source *source, struct text *why)
{
    if (source->since > history_version(loading->file)) {
        return OK;
    }
    sqlite3_stmt *row = history_select(loading->file, source->sql);
    int got = SQLITE_ERROR;
    while (row != NULL && (got = sqlite3_step(row)) == SQLITE_ROW) {
        source->load(loading, row);
    }
    int code = got == SQLITE_DONE ? OK : history_failed(loading->file, "history", why);
    sqlite3_finalize(row);
    return code;
}

/* ---- runs --------------------------------------------------------------------------------------- */

/* The chunk's runs; gives one to read the next into, which may be the same. */
static struct runs_chunk *add_runs(struct runs *runs, struct runs_chunk *chunk)
{
    if (chunk->count == RUNS_CHUNK && runs->next % RUNS_CHUNK == 0) {
        runs_take_chunk(runs, chunk);
        return mem_zalloc(1, sizeof *chunk);
    }
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct run run;
        runs_chunk_run(chunk, i, 0, &run); /* it is numbered anew */
        runs_add(runs, &run);
    }
    return chunk;
}

/* The number of the first run that is worth reading: chunks are full but for the last. */
static int64_t first_wanted(struct loading *loading)
{
    char sql[128];
    uint64_t most = loading->tables->runs.bytes_max / sizeof(struct runs_chunk) + 2;
    snprintf(sql, sizeof sql,
             "SELECT first FROM run_chunks WHERE first %% %u = 0 ORDER BY first DESC LIMIT 1 "
             "OFFSET %llu",
             RUNS_CHUNK, (unsigned long long)most);
    sqlite3_stmt *row = history_select(loading->file, sql);
    int64_t first =
        row != NULL && sqlite3_step(row) == SQLITE_ROW ? sqlite3_column_int64(row, 0) : 0;
    sqlite3_finalize(row);
    return first;
}

/* Numbers have holes where runs were missed, of whole chunks. In memory there are none: the last run keeps its number. */
static void number_runs(struct loading *loading, int64_t wanted)
{
    struct runs *runs = &loading->tables->runs;
    sqlite3_stmt *row = history_select(
        loading->file, "SELECT max(first + count) - sum(count) FROM run_chunks WHERE first >= ?");
    if (row != NULL) {
        sqlite3_bind_int64(row, 1, wanted);
        int64_t first = sqlite3_step(row) == SQLITE_ROW ? sqlite3_column_int64(row, 0) : 0;
        if (first > 0) {
            runs->first_chunk = (uint64_t)first / RUNS_CHUNK;
            runs->next = runs->first_chunk * RUNS_CHUNK;
        }
    }
    sqlite3_finalize(row);
}

static int load_runs(struct loading *loading, struct text *why)
{
    int64_t wanted = first_wanted(loading);
    number_runs(loading, wanted);
    sqlite3_stmt *row = history_select(
        loading->file,
        "SELECT first, count, codec, data FROM run_chunks WHERE first >= ? ORDER BY first");
    if (row == NULL) {
        return history_failed(loading->file, "history", why);
    }
    sqlite3_bind_int64(row, 1, wanted);
    struct runs_chunk *chunk = mem_zalloc(1, sizeof *chunk);
    int code = OK, got;
    while ((got = sqlite3_step(row)) == SQLITE_ROW) {
        struct chunk_row packed = {.codec = (enum chunk_codec)sqlite3_column_int(row, 2),
                                   .count = number_of(row, 1),
                                   .data = history_column_span(row, 3)};
        if (chunk_decode(&packed, chunk) == OK) {
            chunk = add_runs(&loading->tables->runs, chunk);
        } else {
            code = ERR_CORRUPT;
            text_clear(why);
            text_printf(why, "runs from %lld on are damaged",
                        (long long)sqlite3_column_int64(row, 0));
        }
    }
    if (got != SQLITE_DONE) {
        code = history_failed(loading->file, "history", why);
    }
    text_fini(&chunk->keys);
    mem_free(chunk);
    sqlite3_finalize(row);
    return code;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static void load_meta(struct loading *loading)
{
    struct tables *tables = loading->tables;
    sqlite3 *file = loading->file;
    struct text state = {0};
    history_meta_text(file, "id", &tables->cluster_id);
    history_meta_text(file, "address", &tables->address);
    history_meta_text(file, "version", &tables->version);
    history_meta_text(file, "reason", &tables->reason);
    history_meta_text(file, "state", &state);
    tables->state = strcmp(text_cstr(&state), "ended") == 0  ? CLUSTER_ENDED
                    : strcmp(text_cstr(&state), "died") == 0 ? CLUSTER_DIED
                                                             : CLUSTER_RUNNING;
    tables->pid = history_meta_int(file, "pid");
    tables->started = history_meta_real(file, "started");
    tables->ended = history_meta_real(file, "ended");
    tables->time = history_meta_real(file, "time");
    tables->failures_seen = (uint64_t)history_meta_int(file, "failures");
    tables->failures_total = (uint64_t)history_meta_int(file, "failure_rows");
    tables->transfers_total = (uint64_t)history_meta_int(file, "transfers");
    tables->graphs_total = (uint64_t)history_meta_int(file, "graphs");
    tables->gaps = (uint64_t)history_meta_int(file, "gaps");
    tables->lost = (uint64_t)history_meta_int(file, "lost");
    struct text totals = {0};
    history_meta_text(file, "totals", &totals);
    if (totals.size == sizeof tables->totals) {
        memcpy(&tables->totals, totals.data, totals.size);
        tables->totals_time = tables->totals.time;
    }
    text_fini(&totals);
    text_fini(&state);
}

int history_load_file(sqlite3 *file, struct tables *tables, struct text *why)
{
    struct loading loading = {file, tables};
    tables_clear(tables);
    tables->tick++;
    load_meta(&loading);
    int code = OK;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0] && code == OK; i++) {
        code = load_rows(&loading, &sources[i], why);
    }
    code = code == OK ? load_runs(&loading, why) : code;
    tables->second_changed = UINT64_MAX;
    return code;
}

int history_load(const char *path, struct tables *tables, struct text *why)
{
    sqlite3 *file;
    int code = history_file_read(path, &file, why);
    if (code != OK) {
        return code;
    }
    /* One moment of it, though it may be written to. */
    code = history_run(file, "BEGIN", why);
    code = code == OK ? history_load_file(file, tables, why) : code;
    bool is_orphan = tables->state == CLUSTER_RUNNING && !history_is_written(file);
    sqlite3_close(file);
    if (code == OK && is_orphan) {
        tables_died(tables, tables->time,
                    "its last lines are missing: scheduler and observer were ended together");
    }
    return code;
}
