/* record_sample.c: what is, as records, when the observer asks.
 *
 * A checksum of what was told last keeps out what did not change. Groups are looked at some hundreds at a time. */
#include <math.h>

#include "base/log.h"
#include "core/scheduler/adapt.h"
#include "core/scheduler/explain.h"
#include "core/scheduler/locks.h"
#include "node/node.h"
#include "node/record_internal.h"

/* Of one sample. */
#define GROUPS_MAX 512u
#define LINES_MAX 1000u
#define UNRUNNABLE_TOLD 3u

/* ---- groups and prefixes ------------------------------------------------------------------------ */

static uint64_t checksum(const void *data, size_t size)
{
    return span_hash(span_of(data, size));
}

static void edges(struct recorder *recorder, struct recorded_group *told,
                  const struct group_view *view)
{
    for (; told->edges < view->dependency_count; told->edges++) {
        struct group_view other;
        struct span name = view_group_dependency(recorder->node->core, told->name, told->edges);
        if (!view_group_find(recorder->node->core, name, &other) || other.size < 2) {
            continue;
        }
        struct record_edge *record = ring_reserve(recorder->ring, RECORD_EDGE, 0);
        if (record == NULL) {
            return; /* the next sample goes on */
        }
        record->group = told->id + 1;
        record->dependency = other.id + 1;
        ring_publish(recorder->ring);
    }
}

static void sample_group(struct recorder *recorder, struct recorded_group *told)
{
    struct group_view view;
    struct record_group_sample now = {.id = told->id + 1};
    if (view_group_find(recorder->node->core, told->name, &view) && view.id == told->id) {
        now.size = view.size;
        memcpy(now.states, view.state_counts, sizeof now.states);
        now.nbytes = view.nbytes_total;
        now.duration = view.duration;
        now.start = view.start;
        now.stop = view.stop;
        edges(recorder, told, &view);
    }
    uint64_t sum = checksum(&now.id, sizeof now - offsetof(struct record_group_sample, id));
    if (sum == told->checksum) {
        return;
    }
    struct record_group_sample *record = ring_reserve(recorder->ring, RECORD_GROUP_SAMPLE, 0);
    if (record != NULL) {
        now.head = record->head;
        *record = now;
        ring_publish(recorder->ring);
        told->checksum = sum;
    }
}

/* Groups that have several tasks and no run yet. */
static void find_groups(struct recorder *recorder)
{
    struct group_view view;
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        if (!view_group_next(recorder->node->core, &recorder->group_cursor, &view)) {
            recorder->group_cursor = 0;
            return;
        }
        if (view.size > 1) {
            uint64_t number = 0;
            struct map_entry *known = map_find(&recorder->prefix_numbers, view.prefix);
            number = known == NULL ? 0 : known->value.number;
            record_group_number(recorder, view.id, view.name, (uint32_t)number);
        }
    }
}

static void sample_groups(struct recorder *recorder)
{
    find_groups(recorder);
    uint32_t count = recorder->groups.count < GROUPS_MAX ? recorder->groups.count : GROUPS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (recorder->group_next >= recorder->groups.count) {
            recorder->group_next = 0;
        }
        sample_group(recorder, &recorder->groups.items[recorder->group_next++]);
    }
}

/* Seconds of one action among a prefix's. */
static double prefix_seconds(const struct recorder *recorder, uint32_t index, uint32_t count,
                             const char *action)
{
    for (uint32_t i = 0; i < count; i++) {
        struct action_duration item = view_prefix_duration(recorder->node->core, index, i);
        if (span_equal_text(item.action, action)) {
            return item.seconds;
        }
    }
    return 0;
}

static void sample_prefix(struct recorder *recorder, uint32_t index)
{
    struct prefix_view view;
    if (!view_prefix(recorder->node->core, index, &view)) {
        return;
    }
    struct record_prefix_sample now = {
        .id = record_prefix_number(recorder, index, view.name),
        .groups = view.group_count,
        .nbytes = view.nbytes_total,
        .compute = prefix_seconds(recorder, index, view.duration_count, "compute"),
        .transfer = prefix_seconds(recorder, index, view.duration_count, "transfer"),
        .suspicious = view.suspicious,
        .average = view.duration_average,
    };
    memcpy(now.states, view.state_counts, sizeof now.states);
    memcpy(now.totals, view.state_counts_total, sizeof now.totals);
    while (recorder->prefix_changes.count <= index) {
        vec_push(&recorder->prefix_changes, 0);
    }
    uint64_t sum = checksum(&now.id, sizeof now - offsetof(struct record_prefix_sample, id));
    if (sum == recorder->prefix_changes.items[index]) {
        return;
    }
    struct record_prefix_sample *record = ring_reserve(recorder->ring, RECORD_PREFIX_SAMPLE, 0);
    if (record != NULL) {
        now.head = record->head;
        *record = now;
        ring_publish(recorder->ring);
        recorder->prefix_changes.items[index] = sum;
    }
}

/* ---- workers ------------------------------------------------------------------------------------ */

static double number_in(struct span map, const char *name)
{
    struct span raw;
    double number;
    if (msgpack_find(map, name, &raw) != OK) {
        return 0;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_float(&reader, &number) == OK ? number : 0;
}

static double number_within(struct span map, const char *outer, const char *name)
{
    struct span inner;
    return msgpack_find(map, outer, &inner) == OK ? number_in(inner, name) : 0;
}

static uint32_t count_of(double number)
{
    return number > 0 && number < UINT32_MAX ? (uint32_t)number : 0;
}

/* What only the worker knows. Source: distributed worker.py get_metrics, system_monitor.py. */
static void put_metrics(struct record_worker_sample *record, const struct blob *metrics)
{
    if (metrics == NULL) {
        return;
    }
    struct span map = slice_span(metrics->value);
    record->cpu = (float)number_in(map, "cpu");
    record->fds = count_of(number_in(map, "num_fds"));
    record->net_read = (float)number_within(map, "host_net_io", "read_bps");
    record->net_write = (float)number_within(map, "host_net_io", "write_bps");
    record->disk_read = (float)number_within(map, "host_disk_io", "read_bps");
    record->disk_write = (float)number_within(map, "host_disk_io", "write_bps");
    record->executing = count_of(number_within(map, "task_counts", "executing"));
    record->ready = count_of(number_within(map, "task_counts", "ready"));
}

static void sample_worker(struct recorder *recorder, worker_id worker, bool all)
{
    struct worker_view view;
    if (!view_worker(recorder->node->core, worker, &view)) {
        return;
    }
    while (recorder->worker_seen.count <= worker) {
        vec_push(&recorder->worker_seen, 0);
    }
    if (view.last_seen == recorder->worker_seen.items[worker] && !all) {
        return;
    }
    struct record_worker_sample *record = ring_reserve(recorder->ring, RECORD_WORKER_SAMPLE, 0);
    if (record == NULL) {
        return;
    }
    *record = (struct record_worker_sample){
        .head = record->head,
        .worker = worker,
        .nthreads = view.nthreads,
        .process = view.memory.process,
        .managed = view.memory.managed,
        .unmanaged_old = view.memory.unmanaged_old,
        .unmanaged_recent = view.memory.unmanaged_recent,
        .spilled = view.memory.spilled,
        .occupancy = view.occupancy,
        .last_seen = view.last_seen,
        .time_delay = view.time_delay,
        .bandwidth = view.bandwidth,
        .processing = view.processing_count,
        .has_what = view.has_what_count,
    };
    put_metrics(record, view.metrics);
    ring_publish(recorder->ring);
    recorder->worker_seen.items[worker] = view.last_seen;
}

/* ---- totals ------------------------------------------------------------------------------------- */

static uint32_t count_paused(const struct node *node)
{
    uint32_t paused = 0;
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        struct worker_view view;
        paused += view_worker(node->core, view_worker_at(node->core, i), &view) &&
                  view.status == WORKER_PAUSED;
    }
    return paused;
}

static uint32_t count_hosts(const struct node *node)
{
    uint32_t cursor = 0, count = 0;
    struct host_view host;
    while (view_host_next(node->core, &cursor, &host)) {
        count++;
    }
    return count;
}

static void put_memory(struct record_totals *record, const struct totals_view *view)
{
    record->memory_limit = view->memory_limit;
    record->process = view->memory.process;
    record->managed = view->memory.managed;
    record->unmanaged_old = view->memory.unmanaged_old;
    record->unmanaged_recent = view->memory.unmanaged_recent;
    record->spilled = view->memory.spilled;
}

static void sample_totals(struct recorder *recorder)
{
    struct node *node = recorder->node;
    struct totals_view view;
    struct io_turns turns;
    view_totals(node->core, &view);
    io_loop_turns(node->loop, false, &turns);
    double target = config_seconds(node->config, "distributed.adaptive.target-duration", 5);
    struct record_totals *record = ring_reserve(recorder->ring, RECORD_TOTALS, 0);
    if (record == NULL) {
        return;
    }
    *record = (struct record_totals){
        .head = record->head,
        .time = io_now(),
        .transitions = view.transition_count,
        .workers = view.worker_count,
        .running = view.running_count,
        .idle = view.idle_count,
        .saturated = view.saturated_count,
        .paused = count_paused(node),
        .clients = view.client_count,
        .groups = view.group_count,
        .prefixes = view.prefix_count,
        .hosts = count_hosts(node),
        .unrunnable = view.unrunnable_count,
        .threads = view.nthreads,
        .occupancy = view.occupancy,
        .idle_since = view.idle_since,
        .desired = adapt_target(node->core, target),
        .turns = turns.count,
        .busy = turns.busy,
        .longest = turns.longest_busy,
        .long_turns = turns.long_count,
    };
    for (uint32_t i = 0; i < RECORD_STATES; i++) {
        record->tasks[i] = (uint32_t)view.state_counts[i];
    }
    put_memory(record, &view);
    ring_publish(recorder->ring);
}

/* Kinds that came since. */
static void sample_lags(struct recorder *recorder)
{
    for (uint32_t kind = 0; kind < LAG_COUNT; kind++) {
        const struct lag *lag = &recorder->node->lags.items[kind];
        if (lag->count == recorder->lag_counts[kind]) {
            continue;
        }
        struct span name = span_of_text(lags_name(kind));
        struct record_lag *record = ring_reserve(recorder->ring, RECORD_LAG, name.size);
        if (record == NULL) {
            return;
        }
        record->kind = kind;
        record->count = lag->count;
        record->busy = lag->busy;
        record->longest = lag->longest;
        ring_put_text(record, name);
        ring_publish(recorder->ring);
        recorder->lag_counts[kind] = lag->count;
    }
}

/* Some of the tasks that no worker may run, and why; once more when there are none any more. Each asks about all workers. */
static void sample_unrunnable(struct recorder *recorder, uint32_t total)
{
    struct node *node = recorder->node;
    uint32_t cursor = 0, told = 0;
    double since;
    const struct task *task;
    while (told < UNRUNNABLE_TOLD && (task = view_unrunnable_next(node->core, &cursor, &since))) {
        struct span key = view_task_key(task);
        struct explain explain = explain_key(node->core, key, &node->scratch);
        size_t size = key.size + explain.summary.size;
        struct record_unrunnable *record =
            size > record_text_max(RECORD_UNRUNNABLE)
                ? NULL
                : ring_reserve(recorder->ring, RECORD_UNRUNNABLE, size);
        if (record != NULL) {
            record->time = node->now;
            record->since = since;
            record->total = total;
            uint8_t *place = (uint8_t *)record + sizeof *record;
            memcpy(place, key.data, key.size);
            memcpy(place + key.size, explain.summary.data, explain.summary.size);
            ring_publish(recorder->ring);
        }
        told++;
    }
    if (told == 0 && recorder->has_unrunnable) {
        struct record_unrunnable *record = ring_reserve(recorder->ring, RECORD_UNRUNNABLE, 0);
        if (record != NULL) {
            record->time = node->now;
            ring_publish(recorder->ring);
        }
    }
    recorder->has_unrunnable = told > 0;
}

static void sample_semaphores(struct recorder *recorder)
{
    struct semaphore_view view;
    for (uint32_t i = 0; locks_semaphore_at(recorder->node->core, i, &view); i++) {
        struct record_semaphore *record =
            ring_reserve(recorder->ring, RECORD_SEMAPHORE, view.name.size);
        if (record == NULL) {
            return;
        }
        record->max_leases = view.max_leases;
        record->active = view.leases;
        record->pending = view.pending;
        record->acquired = view.acquired_total;
        record->released = view.released_total;
        record->pending_time = view.average_pending_seconds;
        ring_put_text(record, view.name);
        ring_publish(recorder->ring);
    }
}

static void sample_steals(struct recorder *recorder)
{
    uint64_t counts[VIEW_STEAL_LEVELS];
    double costs[VIEW_STEAL_LEVELS];
    view_steal_totals(recorder->node->core, counts, costs);
    for (uint32_t i = 0; i < VIEW_STEAL_LEVELS; i++) {
        struct record_steal_level *record = ring_reserve(recorder->ring, RECORD_STEAL_LEVEL, 0);
        if (record != NULL) {
            record->level = i;
            record->count = counts[i];
            record->cost = costs[i];
            ring_publish(recorder->ring);
        }
    }
}

static void put_line(struct recorder *recorder, const struct log_line *line)
{
    struct span logger = span_of_text(line->logger), text = span_of_text(line->text);
    struct record_log *record =
        ring_reserve(recorder->ring, RECORD_LOG, logger.size + 1 + text.size);
    if (record == NULL) {
        return;
    }
    record->time = line->time;
    record->level = (uint32_t)line->level;
    struct text whole = {0};
    text_add(&whole, logger);
    text_add_char(&whole, '\0');
    text_add(&whole, text);
    ring_put_text(record, text_span(&whole));
    text_fini(&whole);
    ring_publish(recorder->ring);
}

/* Lines that came since, the oldest first. */
static void sample_log(struct recorder *recorder)
{
    struct log_line line;
    uint32_t count = 0;
    while (count < LINES_MAX && log_recent(count, &line) && line.time > recorder->log_time) {
        count++;
    }
    for (uint32_t i = count; i-- > 0 && log_recent(i, &line);) {
        put_line(recorder, &line);
        recorder->log_time = line.time;
    }
}

void recorder_sample(struct recorder *recorder, bool all)
{
    struct node *node = recorder->node;
    sample_log(recorder);
    uint64_t transitions = view_transition_count(node->core);
    struct totals_view totals;
    view_totals(node->core, &totals);
    if (all || transitions != recorder->transitions_seen) {
        for (uint32_t i = 0; i < totals.prefix_count; i++) {
            sample_prefix(recorder, i);
        }
        sample_groups(recorder);
        recorder->transitions_seen = transitions;
    }
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        sample_worker(recorder, view_worker_at(node->core, i), all);
    }
    sample_unrunnable(recorder, totals.unrunnable_count);
    sample_totals(recorder);
    sample_lags(recorder);
    record_moved_sample(recorder, all);
    if (all) {
        sample_semaphores(recorder);
        sample_steals(recorder);
    }
}
