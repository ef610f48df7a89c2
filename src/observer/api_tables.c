/* api_tables.c: GET api/cask/v1/…: the cluster, workers, groups, prefixes, transfers, activities. See docs/observer.md. */
#include <math.h>

#include "observer/activities.h"
#include "observer/routes.h"
#include "observer/singles.h"

#define LIMIT_DEFAULT 100.0
#define LIMIT_MAX 1000.0

struct jot api_begin(struct exchange *exchange)
{
    struct jot jot = jot_on(exchange_body(exchange));
    jot_open(&jot, '{');
    jot_put_real(&jot, "at", exchange->observer->tables->time);
    return jot;
}

void api_end(struct exchange *exchange, struct jot *jot)
{
    jot_close(jot, '}');
    exchange_answer(exchange, 200, TYPE_JSON);
}

struct page api_page(const struct exchange *exchange)
{
    double limit = exchange_number(exchange, "limit", LIMIT_DEFAULT);
    double after = exchange_number(exchange, "after", -1);
    limit = limit < 1 ? 1 : limit > LIMIT_MAX ? LIMIT_MAX : limit;
    return (struct page){.limit = (uint32_t)limit,
                         .has_after = after >= 0,
                         .after = after >= 0 ? (uint64_t)after : 0};
}

void api_put_next(struct jot *jot, bool has_more, uint64_t next)
{
    char few[32];
    jot_name(jot, "next");
    if (has_more) {
        snprintf(few, sizeof few, "%llu", (unsigned long long)next);
        jot_cstr(jot, few);
    } else {
        jot_null(jot);
    }
}

/* ---- the cluster -------------------------------------------------------------------------------- */

static const char *const state_names[RECORD_STATES] = {
    "released", "waiting", "no-worker", "queued", "processing", "memory", "erred", "forgotten"};

static void put_states(struct jot *jot, const uint32_t states[RECORD_STATES])
{
    jot_open(jot, '{');
    for (int i = 0; i < RECORD_STATES; i++) {
        jot_put_int(jot, state_names[i], states[i]);
    }
    jot_close(jot, '}');
}

static void put_cluster(const struct tables *tables, struct jot *jot)
{
    static const char *const states[] = {"running", "ended", "died"};
    jot_name(jot, "cluster");
    jot_open(jot, '{');
    jot_put_text(jot, "id", &tables->cluster_id);
    jot_put_text(jot, "address", &tables->address);
    jot_put_real(jot, "started", tables->started);
    jot_put_text(jot, "version", &tables->version);
    jot_put_int(jot, "pid", tables->pid);
    jot_close(jot, '}');
    jot_name(jot, "scheduler");
    jot_open(jot, '{');
    jot_put_cstr(jot, "state", states[tables->state]);
    if (tables->state == CLUSTER_RUNNING) {
        jot_name(jot, "reason");
        jot_null(jot);
        jot_name(jot, "ended");
        jot_null(jot);
    } else {
        jot_put_text(jot, "reason", &tables->reason);
        jot_put_real(jot, "ended", tables->ended);
    }
    jot_close(jot, '}');
}

static void put_worker_counts(const struct tables *tables, struct jot *jot)
{
    const struct record_totals *totals = &tables->totals;
    jot_name(jot, "workers");
    jot_open(jot, '{');
    jot_put_int(jot, "total", totals->workers);
    jot_put_int(jot, "threads", (int64_t)totals->threads);
    jot_put_int(jot, "idle", totals->idle);
    jot_put_int(jot, "saturated", totals->saturated);
    jot_put_int(jot, "paused", totals->paused);
    jot_put_int(jot, "retiring", (int64_t)totals->workers - totals->paused - totals->running);
    jot_put_int(jot, "gone", tables->gone_count);
    jot_put_int(jot, "desired", totals->desired);
    jot_close(jot, '}');
}

/* Bytes by kind: process, managed, unmanaged old, unmanaged recent, spilled. */
static void put_memory(struct jot *jot, const int64_t bytes[5])
{
    static const char *const names[] = {"process", "managed", "unmanaged_old", "unmanaged_recent",
                                        "spilled"};
    jot_name(jot, "memory");
    jot_open(jot, '{');
    for (int i = 0; i < 5; i++) {
        jot_put_int(jot, names[i], bytes[i]);
    }
    jot_close(jot, '}');
}

static void put_loop(const struct observer *observer, struct jot *jot)
{
    const struct record_totals *totals = &observer->tables->totals;
    jot_name(jot, "loop");
    jot_open(jot, '{');
    jot_put_int(jot, "turns", (int64_t)totals->turns);
    jot_put_real(jot, "longest", totals->longest);
    jot_put_real(jot, "busy", totals->busy);
    jot_put_int(jot, "long_turns", (int64_t)totals->long_turns);
    jot_close(jot, '}');
    jot_name(jot, "ring");
    jot_open(jot, '{');
    jot_put_int(jot, "dropped", (int64_t)ring_dropped(&observer->ring));
    jot_put_int(jot, "gaps", (int64_t)observer->tables->gaps);
    jot_close(jot, '}');
}

void api_put_summary(const struct observer *observer, struct jot *jot)
{
    const struct tables *tables = observer->tables;
    const struct record_totals *totals = &tables->totals;
    double rates[3];
    int64_t total = 0;
    for (int i = 0; i < RECORD_STATES; i++) {
        total += totals->tasks[i];
    }
    put_cluster(tables, jot);
    put_worker_counts(tables, jot);
    jot_name(jot, "tasks");
    put_states(jot, totals->tasks);
    jot_put_int(jot, "tasks_total", total);
    tables_rates(tables, observer_now(), rates);
    jot_name(jot, "rate");
    jot_open(jot, '{');
    jot_put_real(jot, "runs", rates[0]);
    jot_put_real(jot, "failures", rates[1]);
    jot_put_real(jot, "transfers", rates[2]);
    jot_close(jot, '}');
    jot_put_int(jot, "runs", (int64_t)tables->runs.next);
    jot_put_int(jot, "failures", (int64_t)tables->failures_seen);
    jot_put_real(jot, "occupancy", totals->occupancy);
    jot_put_int(jot, "memory_limit", totals->memory_limit);
    put_memory(jot, (const int64_t[]){totals->process, totals->managed, totals->unmanaged_old,
                                      totals->unmanaged_recent, totals->spilled});
    jot_put_int(jot, "clients", totals->clients);
    jot_put_int(jot, "graphs", (int64_t)tables->graphs_total);
    put_loop(observer, jot);
    jot_put_int(jot, "viewers", observer->viewers.count);
}

static void summary_sampled(struct exchange *exchange)
{
    struct jot jot = api_begin(exchange);
    api_put_summary(exchange->observer, &jot);
    api_end(exchange, &jot);
}

void api_summary(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, summary_sampled);
}

/* ---- over time ---------------------------------------------------------------------------------- */

/* Seconds [begin, begin + step) added up. */
struct step {
    double time, runs, failures, transfers, busy, loop_longest;
    double processing, queued, process, managed, spilled, workers; /* the last that is known */
};

static struct step step_of(const struct tables *tables, uint64_t begin, uint32_t size)
{
    struct step step = {.time = (double)begin,
                        .processing = NAN,
                        .queued = NAN,
                        .process = NAN,
                        .managed = NAN,
                        .spilled = NAN,
                        .workers = NAN};
    for (uint32_t i = 0; i < size; i++) {
        const struct second_row *row = tables_second(tables, begin + i);
        if (row == NULL) {
            continue;
        }
        step.runs += row->runs;
        step.failures += row->failures;
        step.transfers += row->transfers;
        step.busy += row->busy / size;
        if (row->has_totals) {
            step.processing = row->processing;
            step.queued = row->queued;
            step.process = (double)row->process;
            step.managed = (double)row->managed;
            step.spilled = (double)row->spilled;
            step.workers = row->workers;
            step.loop_longest = (double)row->loop_longest;
        }
    }
    return step;
}

#define STEPS_MAX 3600u

void api_series(struct exchange *exchange)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {
        {"time", offsetof(struct step, time)},
        {"runs", offsetof(struct step, runs)},
        {"failures", offsetof(struct step, failures)},
        {"transfers", offsetof(struct step, transfers)},
        {"processing", offsetof(struct step, processing)},
        {"queued", offsetof(struct step, queued)},
        {"memory_process", offsetof(struct step, process)},
        {"managed", offsetof(struct step, managed)},
        {"spilled", offsetof(struct step, spilled)},
        {"workers", offsetof(struct step, workers)},
        {"threads_busy", offsetof(struct step, busy)},
        {"loop_longest", offsetof(struct step, loop_longest)},
    };
    const struct tables *tables = exchange->observer->tables;
    double size = exchange_number(exchange, "step", 1);
    uint32_t step_size = size < 1 ? 1 : size > 600 ? 600 : (uint32_t)size;
    uint64_t now = (uint64_t)observer_now();
    double since = exchange_number(exchange, "since", (double)now - SERIES_SECONDS + 1);
    double oldest = (double)now - SERIES_SECONDS + 1;
    uint64_t first = (uint64_t)(since < oldest        ? oldest
                                : since > (double)now ? (double)now
                                                      : since);
    first -= first % step_size;
    uint32_t count = (uint32_t)((now - first) / step_size) + 1;
    count = count > STEPS_MAX ? STEPS_MAX : count;
    struct VEC(struct step) steps = {0};
    for (uint32_t i = 0; i < count; i++) {
        vec_push(&steps, step_of(tables, first + (uint64_t)i * step_size, step_size));
    }
    struct jot jot = api_begin(exchange);
    jot_put_int(&jot, "step", step_size);
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        jot_name(&jot, columns[c].name);
        jot_open(&jot, '[');
        for (uint32_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, (const char *)&steps.items[i] + columns[c].offset, sizeof value);
            jot_real(&jot, value);
        }
        jot_close(&jot, ']');
    }
    vec_fini(&steps);
    api_end(exchange, &jot);
}

/* ---- workers ------------------------------------------------------------------------------------ */

static void put_sample(const struct record_worker_sample *sample, struct jot *jot)
{
    put_memory(jot, (const int64_t[]){sample->process, sample->managed, sample->unmanaged_old,
                                      sample->unmanaged_recent, sample->spilled});
    jot_put_real(jot, "cpu", (double)sample->cpu);
    jot_put_int(jot, "processing", sample->processing);
    jot_put_int(jot, "executing", sample->executing);
    jot_put_int(jot, "ready", sample->ready);
    jot_put_int(jot, "has_what", sample->has_what);
    jot_put_int(jot, "fds", sample->fds);
    jot_put_real(jot, "occupancy", sample->occupancy);
    jot_put_real(jot, "bandwidth", sample->bandwidth);
    jot_put_real(jot, "net_read", (double)sample->net_read);
    jot_put_real(jot, "net_write", (double)sample->net_write);
    jot_put_real(jot, "disk_read", (double)sample->disk_read);
    jot_put_real(jot, "disk_write", (double)sample->disk_write);
    jot_put_real(jot, "last_seen", sample->last_seen);
    jot_put_real(jot, "time_delay", sample->time_delay);
}

static void put_worker(const struct worker_row *row, struct jot *jot)
{
    jot_open(jot, '{');
    jot_put_int(jot, "id", row->id);
    jot_put_text(jot, "address", &row->address);
    jot_put_text(jot, "name", &row->name);
    jot_put_text(jot, "host", &row->host);
    jot_put_text(jot, "status", &row->status);
    jot_put_int(jot, "nthreads", row->nthreads);
    jot_put_int(jot, "pid", row->pid);
    jot_put_real(jot, "added", row->added);
    jot_put_real(jot, "removed", row->removed > 0 ? row->removed : NAN);
    if (row->removed > 0) {
        jot_put_text(jot, "reason", &row->reason);
        jot_put_bool(jot, "expected", row->was_expected);
        jot_put_int(jot, "lost", row->lost);
        jot_put_int(jot, "was_busy", row->was_busy);
    }
    jot_put_int(jot, "memory_limit", row->memory_limit);
    put_sample(&row->sample, jot);
    jot_put_int(jot, "runs", (int64_t)row->runs);
    jot_put_int(jot, "failures", (int64_t)row->failures);
    jot_put_real(jot, "busy", row->busy);
    jot_put_text(jot, "nanny", &row->nanny);
    jot_put_text(jot, "local_directory", &row->directory);
    jot_put_int(jot, "dashboard", row->dashboard);
    jot_close(jot, '}');
}

static void workers_sampled(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct page page = api_page(exchange);
    bool with_gone = exchange_number(exchange, "gone", 0) != 0;
    uint32_t at = page.has_after && page.after < UINT32_MAX ? (uint32_t)page.after + 1 : 0;
    uint32_t last = 0, count = 0;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "workers");
    jot_open(&jot, '[');
    for (; at < tables->workers.count && count < page.limit; at++) {
        const struct worker_row *row = tables->workers.items[at];
        if (row != NULL && (with_gone || row->removed == 0)) {
            put_worker(row, &jot);
            last = at;
            count++;
        }
    }
    jot_close(&jot, ']');
    api_put_next(&jot, count == page.limit && at < tables->workers.count, last);
    api_end(exchange, &jot);
}

void api_workers(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, workers_sampled);
}

/* ---- groups and prefixes ------------------------------------------------------------------------ */

static void put_stats(const struct stats *stats, struct jot *jot)
{
    bool is_known = stats->count > 0;
    jot_name(jot, "duration");
    jot_open(jot, '{');
    jot_put_real(jot, "total", stats->sum);
    jot_put_real(jot, "mean", is_known ? stats->sum / (double)stats->count : NAN);
    jot_put_real(jot, "min", is_known ? stats->min : NAN);
    jot_put_real(jot, "p50", is_known ? stats_quantile(stats, 0.5) : NAN);
    jot_put_real(jot, "p90", is_known ? stats_quantile(stats, 0.9) : NAN);
    jot_put_real(jot, "p99", is_known ? stats_quantile(stats, 0.99) : NAN);
    jot_put_real(jot, "max", is_known ? stats->max : NAN);
    jot_close(jot, '}');
}

static void put_group(const struct tables *tables, const struct group_row *row, struct jot *jot)
{
    jot_open(jot, '{');
    jot_put_int(jot, "id", row->id);
    jot_put_text(jot, "name", &row->name);
    jot_put_cstr(jot, "prefix", tables_prefix_name(tables, row->prefix));
    jot_put_int(jot, "size", row->sample.size);
    jot_name(jot, "states");
    put_states(jot, row->sample.states);
    jot_put_int(jot, "runs", (int64_t)row->runs);
    jot_put_int(jot, "failures", (int64_t)row->failures);
    put_stats(&row->stats, jot);
    jot_put_real(jot, "transfer", row->transfer);
    jot_put_int(jot, "nbytes", row->sample.nbytes);
    jot_put_real(jot, "start", row->sample.start > 0 ? row->sample.start : NAN);
    jot_put_real(jot, "stop", row->sample.stop > 0 ? row->sample.stop : NAN);
    jot_name(jot, "depends_on");
    jot_open(jot, '[');
    for (uint32_t i = 0; i < row->dependencies.count; i++) {
        jot_int(jot, row->dependencies.items[i]);
    }
    jot_close(jot, ']');
    jot_close(jot, '}');
}

/* As a group, of which less is known. */
static void put_single(const struct tables *tables, const struct single_row *row, struct jot *jot)
{
    const struct stats none = {.sum = row->seconds};
    const struct prefix_row *prefix = tables_prefix(tables, row->prefix);
    bool is_all = prefix != NULL && prefix->runs == row->runs;
    jot_open(jot, '{');
    jot_put_int(jot, "id", row->id);
    jot_put_cstr(jot, "name", tables_prefix_name(tables, row->prefix));
    jot_put_cstr(jot, "prefix", tables_prefix_name(tables, row->prefix));
    jot_put_int(jot, "size", row->size);
    jot_name(jot, "states");
    put_states(jot, row->states);
    jot_put_int(jot, "runs", (int64_t)row->runs);
    jot_put_int(jot, "failures", (int64_t)row->failures);
    put_stats(is_all ? &prefix->stats : &none, jot);
    jot_put_real(jot, "transfer", is_all ? prefix->sample.transfer : NAN);
    jot_put_int(jot, "nbytes", row->nbytes);
    jot_put_real(jot, "start", NAN);
    jot_put_real(jot, "stop", NAN);
    jot_name(jot, "depends_on");
    jot_open(jot, '[');
    jot_close(jot, ']');
    jot_close(jot, '}');
}

/* The groups, then what is in none of them. */
static void groups_sampled(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct page page = api_page(exchange);
    struct single_rows singles = {0};
    singles_list(tables, &singles);
    uint32_t begin = page.has_after && page.after < UINT32_MAX ? (uint32_t)page.after + 1 : 0;
    uint32_t at = begin, groups = tables->groups.count, all = groups + singles.count;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "groups");
    jot_open(&jot, '[');
    for (; at < all && at - begin < page.limit; at++) {
        if (at < groups) {
            put_group(tables, tables->groups.items[at], &jot);
        } else {
            put_single(tables, &singles.items[at - groups], &jot);
        }
    }
    jot_close(&jot, ']');
    api_put_next(&jot, at < all, at == 0 ? 0 : at - 1);
    api_end(exchange, &jot);
    vec_fini(&singles);
}

void api_groups(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, groups_sampled);
}

static void put_prefix(const struct prefix_row *row, struct jot *jot)
{
    jot_open(jot, '{');
    jot_put_int(jot, "id", row->id);
    jot_put_text(jot, "name", &row->name);
    jot_put_int(jot, "groups", row->sample.groups);
    jot_name(jot, "states");
    put_states(jot, row->sample.states);
    jot_put_int(jot, "runs", (int64_t)row->runs);
    jot_put_int(jot, "failures", (int64_t)row->failures);
    put_stats(&row->stats, jot);
    jot_put_real(jot, "transfer", row->sample.transfer);
    jot_put_int(jot, "nbytes", row->sample.nbytes);
    jot_put_int(jot, "suspicious", (int64_t)row->sample.suspicious);
    jot_close(jot, '}');
}

static void prefixes_sampled(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct page page = api_page(exchange);
    uint32_t begin = page.has_after && page.after < UINT32_MAX ? (uint32_t)page.after + 1 : 0;
    uint32_t at = begin;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "prefixes");
    jot_open(&jot, '[');
    for (; at < tables->prefixes.count && at - begin < page.limit; at++) {
        if (tables->prefixes.items[at] != NULL) {
            put_prefix(tables->prefixes.items[at], &jot);
        }
    }
    jot_close(&jot, ']');
    api_put_next(&jot, at < tables->prefixes.count, at == 0 ? 0 : at - 1);
    api_end(exchange, &jot);
}

void api_prefixes(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, prefixes_sampled);
}

void api_transfers(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "transfers");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->transfers.count && i < 100000; i++) {
        const struct transfer_row *row = &tables->transfers.items[i];
        jot_open(&jot, '{');
        jot_put_int(&jot, "from", row->from);
        jot_put_int(&jot, "to", row->to);
        jot_put_int(&jot, "count", (int64_t)row->count);
        jot_put_real(&jot, "seconds", row->seconds);
        jot_put_real(&jot, "longest", row->longest);
        jot_close(&jot, '}');
    }
    jot_close(&jot, ']');
    jot_name(&jot, "types");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->moved.count; i++) {
        const struct moved_row *row = &tables->moved.items[i];
        jot_open(&jot, '{');
        jot_put_text(&jot, "type", &row->type);
        jot_put_int(&jot, "count", (int64_t)row->last.count);
        jot_put_int(&jot, "bytes", row->last.bytes);
        jot_put_real(&jot, "seconds", row->last.seconds);
        jot_close(&jot, '}');
    }
    jot_close(&jot, ']');
    api_end(exchange, &jot);
}

void api_loop(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "kinds");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->lags.count; i++) {
        const struct lag_row *row = &tables->lags.items[i];
        jot_open(&jot, '{');
        jot_put_text(&jot, "kind", &row->name);
        jot_put_int(&jot, "count", (int64_t)row->last.count);
        jot_put_real(&jot, "busy", row->last.busy);
        jot_put_real(&jot, "longest", row->last.longest);
        jot_close(&jot, '}');
    }
    jot_close(&jot, ']');
    api_end(exchange, &jot);
}

void api_activities(struct exchange *exchange)
{
    const struct tables *tables = exchange->observer->tables;
    struct jot jot = api_begin(exchange);
    jot_name(&jot, "activities");
    jot_open(&jot, '[');
    for (uint32_t i = 0; i < tables->activities.count; i++) {
        const struct activity_row *row = tables->activities.items[i];
        jot_open(&jot, '{');
        jot_put_text(&jot, "context", &row->context);
        jot_put_text(&jot, "function", &row->function);
        jot_put_text(&jot, "activity", &row->activity);
        jot_put_text(&jot, "unit", &row->unit);
        jot_put_real(&jot, "total", row->total);
        jot_close(&jot, '}');
    }
    jot_close(&jot, ']');
    api_end(exchange, &jot);
}
