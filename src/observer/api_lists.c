/* api_lists.c: GET api/cask/v1/…: runs, failures, logs, events, graphs; newest first. See docs/observer.md. */
#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "observer/routes.h"
#include "observer/singles.h"
#include "wire/key.h"

/* Runs looked at for one answer; who wants more goes on from `next`. */
#define LOOKED_AT_MAX 2000000u
#define ANY UINT32_MAX

/* ---- runs --------------------------------------------------------------------------------------- */

void api_put_run(const struct tables *tables, const struct run *run, struct jot *jot)
{
    struct text key = {0};
    const struct worker_row *worker = tables_worker(tables, run->worker);
    key_print(&key, run->key);
    jot_open(jot, '{');
    jot_put_int(jot, "n", (int64_t)run->n);
    jot_put_text(jot, "key", &key);
    jot_put_int(jot, "group", singles_group(run->group, run->prefix));
    jot_put_cstr(jot, "prefix", tables_prefix_name(tables, run->prefix));
    jot_put_int(jot, "worker", run->worker);
    jot_put_int(jot, "lane", run->lane);
    jot_name(jot, "thread");
    if (worker != NULL && run->lane < worker->threads.count) {
        jot_int(jot, (int64_t)worker->threads.items[run->lane]);
    } else {
        jot_null(jot);
    }
    jot_put_real(jot, "start", run->start > 0 ? run->start : NAN);
    jot_put_real(jot, "duration", (double)run->duration);
    jot_put_real(jot, "transfer", (double)run->transfer);
    jot_put_real(jot, "deserialize", (double)run->deserialize);
    jot_put_real(jot, "disk", (double)run->disk);
    jot_put_int(jot, "nbytes", run->nbytes);
    jot_put_cstr(jot, "status", run->is_erred ? "error" : "ok");
    jot_close(jot, '}');
    text_fini(&key);
}

struct run_filter {
    double since, until, min_duration;
    uint32_t prefix;        /* 0: any */
    uint32_t group, worker; /* ANY */
    int is_erred;           /* −1: either */
    bool is_void;           /* names what there is not */
};

/* The number of a group or worker that is asked for. */
static uint32_t chosen(const struct exchange *exchange, const char *name)
{
    double number = exchange_number(exchange, name, ANY);
    return number >= 0 && number < ANY ? (uint32_t)number : ANY;
}

static struct run_filter filter_of(const struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct run_filter filter = {
        .since = exchange_number(exchange, "since", -INFINITY),
        .until = exchange_number(exchange, "until", INFINITY),
        .min_duration = exchange_number(exchange, "min_duration", -INFINITY),
        .group = chosen(exchange, "group"),
        .worker = chosen(exchange, "worker"),
        .is_erred = -1,
    };
    struct span status = exchange_argument(exchange, "status");
    if (status.size > 0) {
        filter.is_erred = span_equal_text(status, "error");
    }
    struct span prefix = exchange_argument(exchange, "prefix");
    for (uint32_t i = 0; prefix.size > 0 && i < tables->prefixes.count; i++) {
        const struct prefix_row *row = tables->prefixes.items[i];
        if (row != NULL && span_equal(text_span(&row->name), prefix)) {
            filter.prefix = row->id;
        }
    }
    filter.is_void = prefix.size > 0 && filter.prefix == 0;
    return filter;
}

static bool passes(const struct run_filter *filter, const struct runs_chunk *chunk, uint32_t i)
{
    return chunk->start[i] + (double)chunk->duration[i] >= filter->since &&
           chunk->start[i] <= filter->until && (double)chunk->duration[i] >= filter->min_duration &&
           (filter->prefix == 0 || chunk->prefix[i] == filter->prefix) &&
           (filter->group == ANY ||
            singles_group(chunk->group[i], chunk->prefix[i]) == filter->group) &&
           (filter->worker == ANY || chunk->worker[i] == filter->worker) &&
           (filter->is_erred < 0 || chunk->is_erred[i] == filter->is_erred);
}

void api_runs(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct page page = api_page(exchange);
    struct run_filter filter = filter_of(exchange);
    uint64_t n = page.has_after && page.after < tables->runs.next ? page.after : tables->runs.next;
    uint64_t first = runs_first(&tables->runs);
    uint32_t count = 0, looked_at = 0;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "runs");
    jot_open(&jot, '[');
    while (n > first && !filter.is_void && count < page.limit && looked_at++ < LOOKED_AT_MAX) {
        n--;
        const struct runs_chunk *chunk = runs_chunk_of(&tables->runs, n);
        struct run run;
        if (passes(&filter, chunk, (uint32_t)(n % RUNS_CHUNK)) && runs_at(&tables->runs, n, &run)) {
            api_put_run(tables, &run, &jot);
            count++;
        }
    }
    jot_close(&jot, ']');
    api_put_next(&jot, n > first && !filter.is_void, n);
    api_end(exchange, &jot);
}

/* ---- failures ----------------------------------------------------------------------------------- */

const char *api_cause(uint32_t cause)
{
    static const char *const names[] = {"user",      "killed-worker",   "memory", "actor-lost",
                                        "no-worker", "no-valid-worker", "text"};
    return cause < sizeof names / sizeof names[0] ? names[cause] : "unknown";
}

static void put_failure_body(const struct tables *tables, const struct failure_row *row,
                             struct jot *jot)
{
    jot_put_int(jot, "id", row->id);
    jot_put_cstr(jot, "prefix", tables_prefix_name(tables, row->prefix));
    jot_put_text(jot, "type", &row->type);
    jot_put_text(jot, "message", &row->message);
    jot_put_text(jot, "where", &row->where);
    jot_put_int(jot, "count", (int64_t)row->count);
    jot_put_real(jot, "first", row->first);
    jot_put_real(jot, "last", row->last);
    jot_put_cstr(jot, "cause", api_cause(row->cause));
    jot_name(jot, "workers");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < row->worker_count; i++) {
        jot_int(jot, row->workers[i]);
    }
    jot_close(jot, ']');
    jot_name(jot, "keys");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < row->key_count; i++) {
        jot_text(jot, text_span(&row->keys[i]));
    }
    jot_close(jot, ']');
}

void api_put_failure(const struct tables *tables, const struct failure_row *row, struct jot *jot)
{
    jot_open(jot, '{');
    put_failure_body(tables, row, jot);
    jot_close(jot, '}');
}

void api_failures(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct page page = api_page(exchange);
    uint32_t at = tables->failures.count, count = 0, last = 0;
    struct jot jot = api_begin(exchange);
    jot_put_int(&jot, "total", (int64_t)tables->failures_seen);
    jot_name(&jot, "failures");
    jot_open(&jot, '[');
    while (at > 0 && count < page.limit) {
        const struct failure_row *row = tables->failures.items[--at];
        if (!page.has_after || row->id < page.after) {
            api_put_failure(tables, row, &jot);
            last = row->id;
            count++;
        }
    }
    jot_close(&jot, ']');
    api_put_next(&jot, at > 0, last);
    api_end(exchange, &jot);
}

/* The worst first: by severity, what holds now before what did, the newest before the older. */
static int by_weight(const void *one, const void *other)
{
    const struct finding_row *a = *(struct finding_row *const *)one,
                             *b = *(struct finding_row *const *)other;
    int severity = (int)finding_severity(b->kind) - (int)finding_severity(a->kind);
    int active = (int)b->is_active - (int)a->is_active;
    return severity != 0 ? severity
           : active != 0 ? active
                         : (a->last < b->last) - (a->last > b->last);
}

void api_findings(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct VEC(struct finding_row *) sorted = {0};
    for (uint32_t i = 0; i < tables->findings.rows.count; i++) {
        vec_push(&sorted, tables->findings.rows.items[i]);
    }
    if (sorted.count > 0) {
        qsort(sorted.items, sorted.count, sizeof *sorted.items, by_weight);
    }
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "findings");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < sorted.count; i++) {
        finding_put(tables, sorted.items[i], &jot);
    }
    jot_close(&jot, ']');
    vec_fini(&sorted);
    api_end(exchange, &jot);
}

/* What the first of its sample keys of which it is known was given. */
static void put_inputs(const struct tables *tables, const struct failure_row *row, struct jot *jot)
{
    const struct failed_row *failed = NULL;
    for (uint32_t i = 0; i < row->key_count && failed == NULL; i++) {
        failed = failed_rows_find(&tables->failed, text_span(&row->keys[i]));
    }
    jot_name(jot, "inputs");
    if (failed != NULL) {
        jot_raw(jot, text_span(&failed->description));
    } else {
        jot_null(jot);
    }
}

void api_failure(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    double id = exchange_number(exchange, "id", -1);
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        const struct failure_row *row = tables->failures.items[i];
        if (row->id == id) {
            struct jot jot = api_begin(exchange);
            put_failure_body(tables, row, &jot);
            jot_put_text(&jot, "exception", &row->exception);
            jot_put_text(&jot, "traceback", &row->traceback);
            put_inputs(tables, row, &jot);
            api_end(exchange, &jot);
            return;
        }
    }
    exchange_fail(exchange, 404, "there is no such failure (any more)");
}

/* ---- lines -------------------------------------------------------------------------------------- */

typedef void put_line(const struct line_row *row, struct jot *jot);
typedef bool wants_line(const struct exchange *exchange, const struct line_row *row);

static void answer_lines(struct exchange *exchange, const char *name, const struct lines *lines,
                         put_line *put, wants_line *wants)
{
    struct page page = api_page(exchange);
    uint64_t n = page.has_after && page.after < lines->next ? page.after : lines->next;
    uint64_t first = lines_first(lines);
    uint32_t count = 0;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, name);
    jot_open(&jot, '[');
    while (n > first && count < page.limit) {
        const struct line_row *row = lines_at(lines, --n);
        if (wants(exchange, row)) {
            jot_open(&jot, '{');
            jot_put_int(&jot, "n", (int64_t)row->n);
            jot_put_real(&jot, "time", row->time);
            put(row, &jot);
            jot_close(&jot, '}');
            count++;
        }
    }
    jot_close(&jot, ']');
    api_put_next(&jot, n > first, n);
    api_end(exchange, &jot);
}

static bool wants_all(const struct exchange *exchange, const struct line_row *row)
{
    (void)exchange;
    (void)row;
    return true;
}

static void put_log(const struct line_row *row, struct jot *jot)
{
    jot_put_cstr(jot, "level", log_level_name((enum log_level)row->level));
    jot_put_text(jot, "logger", &row->name);
    jot_put_text(jot, "text", &row->text);
}

/* level=WARNING: that and worse. */
static bool wants_log(const struct exchange *exchange, const struct line_row *row)
{
    enum log_level level;
    struct span wanted = exchange_argument(exchange, "level");
    return !log_parse_level(wanted, &level) || row->level >= (uint32_t)level;
}

static void logs_sampled(struct exchange *exchange)
{
    answer_lines(exchange, "logs", &exchange->observer->tables->logs, put_log, wants_log);
}

void api_logs(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, logs_sampled);
}

static void put_event(const struct line_row *row, struct jot *jot)
{
    jot_put_text(jot, "topic", &row->name);
    jot_name(jot, "event");
    jot_raw(jot, text_span(&row->text));
}

static bool wants_event(const struct exchange *exchange, const struct line_row *row)
{
    struct span topic = exchange_argument(exchange, "topic");
    return topic.size == 0 || span_equal(topic, text_span(&row->name));
}

void api_events(struct exchange *exchange)
{
    answer_lines(exchange, "events", &exchange->observer->tables->events, put_event, wants_event);
}

static void put_graph(const struct line_row *row, struct jot *jot)
{
    jot_put_text(jot, "client", &row->name);
    jot_put_int(jot, "tasks", row->tasks);
    jot_put_int(jot, "new_tasks", row->new_tasks);
    jot_put_int(jot, "collisions", row->collisions);
    jot_put_cstr(jot, "state",
                 row->flags & GRAPH_FAILED      ? "error"
                 : row->flags & GRAPH_CANCELLED ? "cancelled"
                                                : "OK");
    if (row->text.size > 0) {
        jot_put_text(jot, "reason", &row->text);
    } else {
        jot_name(jot, "reason");
        jot_null(jot);
    }
}

void api_graphs(struct exchange *exchange)
{
    answer_lines(exchange, "graphs", &exchange->observer->tables->graphs, put_graph, wants_all);
}

static void put_worker_status(const struct line_row *row, struct jot *jot)
{
    jot_put_int(jot, "worker", row->level);
    jot_put_text(jot, "status", &row->text);
}

void api_statuses(struct exchange *exchange)
{
    answer_lines(exchange, "statuses", &exchange->observer->tables->statuses, put_worker_status,
                 wants_all);
}
