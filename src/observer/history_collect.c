/* history_collect.c: see history_collect.h.
 *
 * Rows have the tick of their last change, lists and runs are numbered: so what is new is found without remembering what
 * was written. If the writer is slow, nothing piles up here: what is new stays where it is, in the tables, and only
 * what leaves them before its turn is missed. */
#include "observer/history_collect.h"
#include "observer/activities.h"

#include "base/alloc.h"
#include "observer/jot.h"
#include "observer/tables_internal.h"
#include "wire/key.h"

/* In one batch: 16 MiB. */
#define CHUNKS_MAX 64u
/* Exceptions and tracebacks in a file. */
#define TEXTS_BYTES_MAX ((uint64_t)256 << 20)

struct history_mark history_mark_of(const struct tables *tables)
{
    return (struct history_mark){
        .tick = tables->tick,
        .runs = tables->runs.next,
        .texts = (uint64_t)tables->texts_gone + tables->texts.count,
        .logs = tables->logs.next,
        .events = tables->events.next,
        .graphs = tables->graphs.next,
        .failed = tables->failures_seen,
        .state = tables->state,
    };
}

bool history_is_new(const struct tables *tables, const struct history_mark *mark)
{
    return tables->runs.next != mark->runs || tables->logs.next != mark->logs ||
           tables->events.next != mark->events || tables->graphs.next != mark->graphs ||
           tables->failures_seen != mark->failed || tables->state != mark->state;
}

/* ---- what records say --------------------------------------------------------------------------- */

static void collect_failure(const struct tables *tables, const struct record_failure *record,
                            struct span key, struct batch *batch)
{
    struct text name = {0};
    if (msgpack_check(key) == OK) {
        key_print(&name, key);
    }
    batch_begin(batch, STATEMENT_FAILED_TASK);
    batch_int(batch, (int64_t)tables->failures_seen);
    batch_real(batch, record->time);
    batch_text(batch, text_span(&name));
    batch_int(batch, record->prefix);
    batch_int(batch, record->group);
    batch_int(batch, record->worker);
    batch_int(batch, tables->failure_last);
    batch_int(batch, record->cause);
    batch_int(batch, record->suspicious);
    batch_int(batch, record->exception);
    batch_int(batch, record->traceback);
    batch_end(batch);
    text_fini(&name);
}

void history_collect_failed(const struct failed_told *failed, struct batch *batch)
{
    batch_begin(batch, STATEMENT_FAILED_VALUES_FORGET);
    batch_text(batch, failed->key);
    batch_end(batch);
    batch_begin(batch, STATEMENT_FAILED_INPUTS);
    batch_text(batch, failed->key);
    batch_real(batch, failed->time);
    batch_text(batch, text_span(&failed->description));
    if (failed->spec.data != NULL) {
        batch_blob(batch, failed->spec);
    }
    batch_end(batch);
    for (uint32_t i = 0; i < failed->value_count; i++) {
        batch_begin(batch, STATEMENT_FAILED_VALUE);
        batch_text(batch, failed->key);
        batch_int(batch, failed->values[i].place);
        batch_blob(batch, failed->values[i].data);
        batch_end(batch);
    }
}

static void worker_event(struct batch *batch, double time, uint32_t worker, const char *what,
                         struct span text)
{
    batch_begin(batch, STATEMENT_WORKER_EVENT);
    batch_real(batch, time);
    batch_int(batch, worker);
    batch_text(batch, span_of_text(what));
    batch_text(batch, text);
    batch_end(batch);
}

/* Those that are only told again were added before. */
static void collect_worker_added(const struct tables *tables,
                                 const struct record_worker_added *record, struct batch *batch)
{
    const struct worker_row *row = tables_worker(tables, record->worker);
    if (row != NULL && row->added == record->added) {
        worker_event(batch, record->added, record->worker, "added", SPAN(""));
    }
}

void history_collect_record(const struct tables *tables, const union any_record *record,
                            struct batch *batch)
{
    struct span text = record_text(record);
    switch ((enum record_kind)record->head.kind) {
    case RECORD_FAILURE:
        collect_failure(tables, &record->failure, text, batch);
        break;
    case RECORD_WORKER_ADDED:
        collect_worker_added(tables, &record->worker_added, batch);
        break;
    case RECORD_WORKER_REMOVED:
        worker_event(batch, record->worker_removed.time, record->worker_removed.worker, "removed",
                     text);
        break;
    case RECORD_WORKER_STATUS:
        worker_event(batch, record->worker_status.time, record->worker_status.worker, "status",
                     text);
        break;
    case RECORD_CLIENT:
        if ((record->head.flags & CLIENT_CAME) != 0) {
            batch_begin(batch, STATEMENT_CLIENT);
            batch_int(batch, record->client.client);
            batch_text(batch, text);
            batch_end(batch);
        }
        break;
    default:
        break;
    }
}

/* ---- rows --------------------------------------------------------------------------------------- */

static void put_stats(struct batch *batch, const struct stats *stats)
{
    batch_real(batch, stats->sum);
    batch_real(batch, stats->min);
    batch_real(batch, stats_quantile(stats, 0.5));
    batch_real(batch, stats_quantile(stats, 0.9));
    batch_real(batch, stats_quantile(stats, 0.99));
    batch_real(batch, stats->max);
}

static void collect_worker(const struct worker_row *row, struct batch *batch)
{
    const struct text *texts[] = {&row->address,   &row->name,   &row->host,  &row->nanny,
                                  &row->directory, &row->status, &row->reason};
    batch_begin(batch, STATEMENT_WORKER);
    batch_int(batch, row->id);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        batch_text(batch, text_span(texts[i]));
    }
    batch_int(batch, row->nthreads);
    batch_int(batch, row->dashboard);
    batch_int(batch, row->memory_limit);
    batch_int(batch, row->pid);
    batch_real(batch, row->added);
    batch_real(batch, row->removed);
    batch_int(batch, row->was_expected);
    batch_int(batch, row->lost);
    batch_int(batch, row->was_busy);
    batch_int(batch, (int64_t)row->runs);
    batch_int(batch, (int64_t)row->failures);
    batch_real(batch, row->busy);
    batch_blob(batch, span_of(row->threads.items, row->threads.count * sizeof(uint64_t)));
    batch_blob(batch, span_of(&row->sample, sizeof row->sample));
    batch_end(batch);
}

static void collect_prefix(const struct prefix_row *row, struct batch *batch)
{
    batch_begin(batch, STATEMENT_PREFIX);
    batch_int(batch, row->id);
    batch_text(batch, text_span(&row->name));
    batch_int(batch, (int64_t)row->runs);
    batch_int(batch, (int64_t)row->failures);
    put_stats(batch, &row->stats);
    batch_real(batch, row->sample.transfer);
    batch_int(batch, row->sample.nbytes);
    batch_blob(batch, span_of(row->stats.buckets, sizeof row->stats.buckets));
    batch_blob(batch, span_of(&row->sample, sizeof row->sample));
    batch_end(batch);
}

static void collect_group(const struct group_row *row, struct batch *batch)
{
    struct text edges = {0};
    struct jot jot = jot_on(&edges);
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < row->dependencies.count; i++) {
        jot_int(&jot, row->dependencies.items[i]);
    }
    jot_close(&jot, ']');
    batch_begin(batch, STATEMENT_GROUP);
    batch_int(batch, row->id);
    batch_text(batch, text_span(&row->name));
    batch_int(batch, row->prefix);
    batch_int(batch, row->sample.size);
    batch_int(batch, (int64_t)row->runs);
    batch_int(batch, (int64_t)row->failures);
    put_stats(batch, &row->stats);
    batch_real(batch, row->transfer);
    batch_int(batch, row->sample.nbytes);
    batch_real(batch, row->sample.start);
    batch_real(batch, row->sample.stop);
    batch_text(batch, text_span(&edges));
    batch_blob(batch, span_of(row->stats.buckets, sizeof row->stats.buckets));
    batch_blob(batch, span_of(&row->sample, sizeof row->sample));
    batch_end(batch);
    text_fini(&edges);
}

static void collect_failures(const struct failure_row *row, struct batch *batch)
{
    struct text workers = {0}, keys = {0};
    struct jot jot = jot_on(&workers);
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < row->worker_count; i++) {
        jot_int(&jot, row->workers[i]);
    }
    jot_close(&jot, ']');
    jot = jot_on(&keys);
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < row->key_count; i++) {
        jot_text(&jot, text_span(&row->keys[i]));
    }
    jot_close(&jot, ']');
    batch_begin(batch, STATEMENT_FAILURE);
    batch_int(batch, row->id);
    batch_int(batch, row->prefix);
    batch_int(batch, row->cause);
    batch_text(batch, text_span(&row->type));
    batch_text(batch, text_span(&row->message));
    batch_text(batch, text_span(&row->where));
    batch_text(batch, text_span(&row->exception));
    batch_text(batch, text_span(&row->traceback));
    batch_int(batch, (int64_t)row->count);
    batch_real(batch, row->first);
    batch_real(batch, row->last);
    batch_text(batch, text_span(&workers));
    batch_text(batch, text_span(&keys));
    batch_end(batch);
    text_fini(&workers);
    text_fini(&keys);
}

static void collect_transfer(const struct transfer_row *row, struct batch *batch)
{
    batch_begin(batch, STATEMENT_TRANSFER);
    batch_int(batch, row->from);
    batch_int(batch, row->to);
    batch_int(batch, (int64_t)row->count);
    batch_real(batch, row->seconds);
    batch_real(batch, row->longest);
    batch_end(batch);
}

static void collect_activity(const struct activity_row *row, struct batch *batch)
{
    batch_begin(batch, STATEMENT_ACTIVITY);
    batch_text(batch, text_span(&row->context));
    batch_text(batch, text_span(&row->function));
    batch_text(batch, text_span(&row->activity));
    batch_text(batch, text_span(&row->unit));
    batch_real(batch, row->total);
    batch_end(batch);
}

static void collect_rows(const struct tables *tables, uint64_t tick, struct batch *batch)
{
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *row = tables->workers.items[i];
        if (row != NULL && row->tick > tick) {
            collect_worker(row, batch);
        }
    }
    for (uint32_t i = 0; i < tables->prefixes.count; i++) {
        const struct prefix_row *row = tables->prefixes.items[i];
        if (row != NULL && row->tick > tick) {
            collect_prefix(row, batch);
        }
    }
    for (uint32_t i = 0; i < tables->groups.count; i++) {
        if (tables->groups.items[i]->tick > tick) {
            collect_group(tables->groups.items[i], batch);
        }
    }
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        if (tables->failures.items[i]->tick > tick) {
            collect_failures(tables->failures.items[i], batch);
        }
    }
    for (uint32_t i = 0; i < tables->transfers.count; i++) {
        if (tables->transfers.items[i].tick > tick) {
            collect_transfer(&tables->transfers.items[i], batch);
        }
    }
    for (uint32_t i = 0; i < tables->activities.count; i++) {
        if (tables->activities.items[i]->tick > tick) {
            collect_activity(tables->activities.items[i], batch);
        }
    }
}

/* ---- lists -------------------------------------------------------------------------------------- */

static void collect_logs(const struct lines *lines, uint64_t *seen, struct batch *batch)
{
    uint64_t n = *seen < lines_first(lines) ? lines_first(lines) : *seen;
    for (const struct line_row *row; (row = lines_at(lines, n)) != NULL; n++) {
        batch_begin(batch, STATEMENT_LOG);
        batch_int(batch, (int64_t)row->n);
        batch_real(batch, row->time);
        batch_int(batch, row->level);
        batch_text(batch, text_span(&row->name));
        batch_text(batch, text_span(&row->text));
        batch_end(batch);
    }
    *seen = lines->next;
}

static void collect_events(const struct lines *lines, uint64_t *seen, struct batch *batch)
{
    uint64_t n = *seen < lines_first(lines) ? lines_first(lines) : *seen;
    for (const struct line_row *row; (row = lines_at(lines, n)) != NULL; n++) {
        batch_begin(batch, STATEMENT_EVENT);
        batch_int(batch, (int64_t)row->n);
        batch_real(batch, row->time);
        batch_text(batch, text_span(&row->name));
        batch_text(batch, text_span(&row->text));
        batch_end(batch);
    }
    *seen = lines->next;
}

static void collect_graphs(const struct lines *lines, uint64_t *seen, struct batch *batch)
{
    uint64_t n = *seen < lines_first(lines) ? lines_first(lines) : *seen;
    for (const struct line_row *row; (row = lines_at(lines, n)) != NULL; n++) {
        batch_begin(batch, STATEMENT_GRAPH);
        batch_int(batch, (int64_t)row->n);
        batch_real(batch, row->time);
        batch_text(batch, text_span(&row->name));
        batch_int(batch, row->tasks);
        batch_int(batch, row->new_tasks);
        batch_int(batch, row->collisions);
        batch_int(batch, row->flags);
        batch_text(batch, text_span(&row->text));
        batch_end(batch);
    }
    *seen = lines->next;
}

static void collect_texts(const struct tables *tables, uint64_t *seen, struct batch *batch)
{
    uint64_t end = (uint64_t)tables->texts_gone + tables->texts.count;
    uint64_t id = *seen < tables->texts_gone ? tables->texts_gone : *seen;
    while (id < end) {
        struct span text = table_text(tables, (uint32_t)++id);
        if (text.size > 0 && tables->texts_told <= TEXTS_BYTES_MAX) {
            batch_begin(batch, STATEMENT_TEXT);
            batch_int(batch, (int64_t)id);
            batch_text(batch, text);
            batch_end(batch);
        }
    }
    *seen = end;
}

static void collect_seconds(struct tables *tables, struct batch *batch)
{
    for (uint32_t i = 0; i < SERIES_SECONDS; i++) {
        const struct second_row *row = &tables->seconds[i];
        if (row->second == 0 || row->second < tables->second_changed) {
            continue;
        }
        batch_begin(batch, STATEMENT_SECOND);
        batch_int(batch, (int64_t)row->second);
        batch_int(batch, row->runs);
        batch_int(batch, row->failures);
        batch_int(batch, row->transfers);
        batch_real(batch, row->busy);
        if (row->has_totals) {
            batch_int(batch, row->processing);
            batch_int(batch, row->queued);
            batch_int(batch, row->workers);
            batch_int(batch, row->process);
            batch_int(batch, row->managed);
            batch_int(batch, row->spilled);
            batch_real(batch, (double)row->loop_longest);
        }
        batch_end(batch);
    }
    tables->second_changed = UINT64_MAX;
}

/* ---- runs --------------------------------------------------------------------------------------- */

/* True: that was all. */
static bool collect_runs(const struct tables *tables, struct history_mark *mark,
                         struct batch *batch)
{
    const struct runs *runs = &tables->runs;
    uint64_t first = runs_first(runs);
    if (mark->runs < first) {
        uint64_t chunk = mark->runs - mark->runs % RUNS_CHUNK;
        batch_begin(batch, STATEMENT_RUNS_FORGET); /* the beginning of a chunk that never ends */
        batch_int(batch, (int64_t)chunk);
        batch_int(batch, (int64_t)first);
        batch_end(batch);
        mark->missed += first - chunk;
        mark->runs = first;
    }
    for (uint32_t count = 0; mark->runs < runs->next && count < CHUNKS_MAX; count++) {
        const struct runs_chunk *chunk = runs_chunk_of(runs, mark->runs);
        uint32_t begin = (uint32_t)(mark->runs % RUNS_CHUNK);
        batch_add_runs(batch, chunk, mark->runs - begin, begin);
        mark->runs += chunk->count - begin;
    }
    return mark->runs == runs->next;
}

static void collect_meta(const struct tables *tables, const struct history_mark *mark,
                         struct batch *batch)
{
    static const char *const states[] = {"running", "ended", "died"};
    batch_meta_text(batch, "id", text_span(&tables->cluster_id));
    batch_meta_text(batch, "address", text_span(&tables->address));
    batch_meta_text(batch, "version", text_span(&tables->version));
    batch_meta_int(batch, "pid", tables->pid);
    batch_meta_real(batch, "started", tables->started);
    batch_meta_text(batch, "state", span_of_text(states[tables->state]));
    batch_meta_real(batch, "ended", tables->ended);
    batch_meta_text(batch, "reason", text_span(&tables->reason));
    batch_meta_real(batch, "time", tables->time);
    batch_meta_int(batch, "runs", (int64_t)mark->runs);
    batch_meta_int(batch, "missed", (int64_t)mark->missed);
    batch_meta_int(batch, "failures", (int64_t)tables->failures_seen);
    batch_meta_int(batch, "failure_rows", (int64_t)tables->failures_total);
    batch_meta_int(batch, "transfers", (int64_t)tables->transfers_total);
    batch_meta_int(batch, "graphs", (int64_t)tables->graphs_total);
    batch_meta_int(batch, "gaps", (int64_t)tables->gaps);
    batch_meta_int(batch, "lost", (int64_t)tables->lost);
    batch_meta_int(batch, "ring_tail", (int64_t)batch->tail);
    batch_begin(batch, STATEMENT_META);
    batch_text(batch, SPAN("totals"));
    batch_blob(batch, span_of(&tables->totals, sizeof tables->totals));
    batch_end(batch);
}

bool history_collect(struct tables *tables, struct history_mark *mark, struct batch *batch)
{
    bool all = collect_runs(tables, mark, batch);
    collect_texts(tables, &mark->texts, batch);
    collect_rows(tables, mark->tick, batch);
    collect_logs(&tables->logs, &mark->logs, batch);
    collect_events(&tables->events, &mark->events, batch);
    collect_graphs(&tables->graphs, &mark->graphs, batch);
    collect_seconds(tables, batch);
    mark->tick = tables->tick;
    mark->failed = tables->failures_seen;
    mark->state = tables->state;
    collect_meta(tables, mark, batch);
    return all;
}
