/* step_worker.c: workers come, tell how they are, and go.
 * Must agree with: scheduler.py add_worker, remove_worker, heartbeat_worker, handle_worker_status_change,
 * add_resources, check_worker_ttl. */
#include <math.h>

#include "core/scheduler/action.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/priority.h"
#include "core/scheduler/processing.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/transition.h"

#define LEVEL_INFO 20u
#define LEVEL_WARNING 30u
#define SAMPLES_MAX 1000u

/* ---- what a worker tells about itself ---- */

static void copy_resources(struct scheduler *s, struct worker *worker, const struct resource *items,
                           uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct span name = name_intern(s, items[i].name);
        uint32_t at = 0;
        while (at < worker->resources.count && worker->resources.items[at].name.data != name.data) {
            at++;
        }
        if (at == worker->resources.count) {
            vec_push(&worker->resources, (struct resource){.name = name});
            vec_push(&worker->used_resources, (struct resource){.name = name});
        }
        worker->resources.items[at].amount = items[i].amount;
    }
    processing_recount_resources(s, worker);
}

/* Memory that Dask does not manage, and how low it has been lately: see MemoryState. */
static void note_memory(struct scheduler *s, struct worker *worker)
{
    double horizon = s->now - s->config.memory_recent_to_old;
    int64_t lowest = worker->memory_unmanaged_old;
    uint32_t old = 0;
    while (old < worker->memory_history.count && worker->memory_history.items[old].time < horizon) {
        if (worker->memory_history.items[old++].unmanaged == lowest) {
            lowest = 0; /* to be found anew */
        }
    }
    if (old > 0) {
        worker->memory_history.count -= old;
        memmove(worker->memory_history.items, worker->memory_history.items + old,
                worker->memory_history.count * sizeof *worker->memory_history.items);
    }
    int64_t unmanaged = worker->memory - worker->nbytes + worker->spilled_memory;
    unmanaged = unmanaged > 0 ? unmanaged : 0;
    if (worker->memory_history.count ==
        SAMPLES_MAX) { /* it sends far more heartbeats than asked for */
        worker->memory_history.count--;
    }
    vec_push(&worker->memory_history,
             (struct memory_sample){.time = s->now, .unmanaged = unmanaged});
    if (lowest == 0) {
        lowest = unmanaged;
        for (uint32_t i = 0; i < worker->memory_history.count; i++) {
            int64_t sample = worker->memory_history.items[i].unmanaged;
            lowest = sample < lowest ? sample : lowest;
        }
        worker->memory_unmanaged_old = lowest;
    } else if (unmanaged < lowest) {
        worker->memory_unmanaged_old = unmanaged;
    }
}

static void note_executing(struct scheduler *s, struct worker *worker,
                           const struct metrics_info *metrics)
{
    worker->executing.count = 0;
    for (uint32_t i = 0; i < metrics->executing_count; i++) {
        struct task *task = task_find(s, metrics->executing_keys[i]);
        if (task != NULL) {
            double seconds = metrics->executing_seconds[i];
            vec_push(&worker->executing, (struct executing){task->id, task->serial, seconds});
            prefix_add_exec_time(s, task->group->prefix, seconds);
        }
    }
}

static struct host *host_get(struct scheduler *s, struct span name)
{
    bool added;
    struct map_entry *entry = map_put(&s->hosts, name, &added);
    if (added) {
        struct host *host = mem_zalloc(1, sizeof *host);
        host->name = entry->name;
        entry->value.pointer = host;
    }
    return entry->value.pointer;
}

static void note_metrics(struct scheduler *s, struct worker *worker,
                         const struct metrics_info *metrics)
{
    host_get(s, worker->host)->last_seen = s->now;
    worker->last_seen = s->now;
    double share = 1.0 / s->workers_sorted.count;
    double bandwidth = s->bandwidth * (1 - share) + metrics->bandwidth * share;
    if (bandwidth > 0 && !isinf(bandwidth)) { /* NaN: it measured none */
        s->bandwidth = bandwidth;
    }
    note_executing(s, worker, metrics);
    blob_unref(worker->metrics);
    worker->metrics = metrics->raw == NULL ? NULL : blob_ref(metrics->raw);
    worker->memory = metrics->memory;
    worker->spilled_memory = metrics->spilled_memory;
    worker->spilled_disk = metrics->spilled_disk;
    if (metrics->worker_time > 0) {
        worker->time_delay = s->now - metrics->worker_time;
    }
    note_memory(s, worker);
}

void step_worker_heartbeat(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)step;
    struct worker *worker = worker_find(s, event->of.worker_heartbeat.worker);
    if (worker != NULL) {
        note_metrics(s, worker, event->of.worker_heartbeat.metrics);
    }
}

void step_worker_resources(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)step;
    const struct event_worker_resources *told = &event->of.worker_resources;
    struct worker *worker = worker_find(s, told->worker);
    if (worker != NULL) {
        copy_resources(s, worker, told->resources.items, told->resources.count);
    }
}

/* ---- coming ---- */

static struct span refusal(struct step *step, const char *text, struct span object)
{
    size_t size = strlen(text);
    char *made = arena_alloc(&step->arena, size + object.size + 1);
    memcpy(made, text, size);
    if (object.size > 0) {
        memcpy(made + size, object.data, object.size);
    }
    return span_of(made, size + object.size);
}

static struct span why_refused(struct scheduler *s, const struct worker_info *info,
                               struct step *step)
{
    if (worker_find_address(s, info->address) != NULL) {
        return refusal(step, "Worker already exists ", info->address);
    }
    if (map_find(&s->aliases, info->name) != NULL) {
        return refusal(step, "name taken, ", key_as_text(info->name, &step->arena));
    }
    if (info->nthreads == 0) {
        return refusal(step, "nthreads must be at least 1 on ", info->address);
    }
    return (struct span){0};
}

static struct blob *keep_blob(struct blob *blob)
{
    return blob == NULL ? NULL : blob_ref(blob);
}

static struct worker *worker_create(struct scheduler *s, const struct worker_info *info)
{
    struct worker *worker = mem_zalloc(1, sizeof *worker);
    worker->id = s->workers.count;
    worker->known = true;
    enum worker_status status = worker_status_parse(info->status);
    worker->status = (uint8_t)(status == WORKER_STATUS_COUNT ? WORKER_INIT : status);
    worker->status_before_closing = worker->status;
    worker->nthreads = info->nthreads;
    worker->address = span_own(info->address);
    worker->host = span_own(info->host);
    worker->name = span_own(info->name);
    worker->nanny = span_own(info->nanny);
    worker->server_id = span_own(info->server_id);
    worker->local_directory = span_own(info->local_directory);
    worker->memory_limit = info->memory_limit;
    worker->pid = info->pid;
    worker->takes_forwarded = info->takes_forwarded;
    worker->services = keep_blob(info->services);
    worker->extra = keep_blob(info->extra);
    worker->versions = keep_blob(info->versions);
    worker->last_seen = s->now;
    worker->bandwidth = s->config.bandwidth;
    vec_push(&s->workers, worker);
    return worker;
}

static void worker_enlist(struct scheduler *s, struct worker *worker)
{
    place_add_worker(s, worker);
    map_put(&s->worker_by_address, worker->address, NULL)->value.number = worker->id;
    map_put(&s->aliases, worker->name, NULL)->value.number = worker->id;
    struct host *host = host_get(s, worker->host);
    vec_push(&host->workers, worker->id);
    host->nthreads += worker->nthreads;
    s->total_memory += worker->memory_limit;
    s->total_nthreads += worker->nthreads;
    if (worker->status == WORKER_RUNNING) {
        place_set_running(s, worker, true);
    }
}

/* Tasks in no-worker that this worker may run go to processing, first the first in priority. */
static void schedule_unrunnable(struct scheduler *s, struct worker *worker, struct step *step)
{
    task_id *tasks = arena_array(&step->arena, task_id, s->unrunnable_live);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->unrunnable.count; i++) {
        task_id id = s->unrunnable.items[i].task;
        if (id != TASK_NONE && worker_is_valid(s, task_at(s, id), worker)) {
            tasks[count++] = id;
        }
    }
    priority_sort(s, tasks, count, true, &step->arena);
    for (uint32_t i = 0; i < count; i++) {
        want(s, task_at(s, tasks[i]), TASK_PROCESSING);
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

void step_worker_add(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct worker_info *info = event->of.worker_add.info;
    step->refused = why_refused(s, info, step);
    if (step->refused.size > 0) {
        return;
    }
    struct worker *worker = worker_create(s, info);
    step->worker = worker->id;
    action_notice(step, NOTICE_WORKER_ADDED)->worker = worker->id;
    worker_enlist(s, worker);
    if (info->metrics != NULL) {
        note_metrics(s, worker, info->metrics);
    }
    copy_resources(s, worker, info->resources, info->resource_count);
    check_idle_saturated(s, worker, -1);
    if (worker->status == WORKER_RUNNING) {
        schedule_unrunnable(s, worker, step);
    }
    struct span name = key_as_text(worker->name, &step->arena);
    action_log(step, LEVEL_INFO, "Register worker addr: %.*s name: %.*s", (int)worker->address.size,
               (const char *)worker->address.data, (int)name.size, (const char *)name.data);
    s->next_ttl_check = fmin(s->next_ttl_check, s->now + s->config.worker_ttl);
}

/* ---- status ---- */

void worker_set_status(struct scheduler *s, struct worker *worker, enum worker_status status,
                       struct step *step)
{
    enum worker_status former = worker->status;
    if (status == former) {
        return;
    }
    worker->status = (uint8_t)status;
    if (status != WORKER_CLOSING_GRACEFULLY) {
        worker->status_before_closing = (uint8_t)status;
    }
    struct notice *notice = action_notice(step, NOTICE_WORKER_STATUS);
    notice->worker = worker->id;
    notice->text = span_of_text(worker_status_name(former));
    notice->text2 = span_of_text(worker_status_name(status));
    if (status == WORKER_RUNNING) {
        place_set_running(s, worker, true);
        check_idle_saturated(s, worker, -1);
        schedule_unrunnable(s, worker, step);
    } else {
        place_set_running(s, worker, false);
        place_worker_stopped(s, worker);
        forward_worker_stopped(s, worker, step);
    }
}

void step_worker_status(struct scheduler *s, const struct event *event, struct step *step)
{
    struct worker *worker = worker_find(s, event->of.worker_status.worker);
    enum worker_status status = worker_status_parse(event->of.worker_status.status);
    if (worker != NULL && status != WORKER_STATUS_COUNT) {
        worker_set_status(s, worker, status, step);
    }
}

/* ---- worker-ttl ---- */

/* How often workers are asked to send heartbeats. */
static double heartbeat_interval(uint32_t workers)
{
    return workers <= 10 ? 0.5 : workers < 50 ? 1 : workers < 200 ? 2 : workers / 200.0 + 1;
}

double worker_next_ttl(const struct scheduler *s)
{
    return s->next_ttl_check;
}

void worker_tick_ttl(struct scheduler *s, struct step *step)
{
    if (s->now < s->next_ttl_check) {
        return;
    }
    double ttl = fmax(s->config.worker_ttl, 10 * heartbeat_interval(s->workers_sorted.count));
    worker_id *silent = arena_array(&step->arena, worker_id, s->workers_sorted.count);
    uint32_t count = 0;
    double next = INFINITY;
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        if (s->now > worker->last_seen + ttl) {
            silent[count++] = worker->id;
        } else {
            next = fmin(next, worker->last_seen + ttl);
        }
    }
    /* One that its nanny is asked to restart is asked again if nothing comes of it. */
    next = count > 0 ? fmin(next, s->now + ttl) : next;
    s->next_ttl_check = fmax(next, s->now + ttl / 100);
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = worker_at(s, silent[i]);
        bool has_nanny = worker->nanny.size > 0;
        double silence = s->now - worker->last_seen;
        action_log(step, LEVEL_WARNING, "Worker failed to heartbeat for %.0fs; %s: %.*s", silence,
                   has_nanny ? "attempting restart" : "removing", (int)worker->address.size,
                   (const char *)worker->address.data);
        struct notice *notice = action_notice(step, NOTICE_TTL);
        notice->worker = worker->id;
        notice->number = (int64_t)ttl;
        if (has_nanny) {
            action_add(step, ACTION_RESTART_WORKER)->of.restart_worker =
                (struct action_restart_worker){worker->id, step->stimulus};
        } else {
            const struct event_worker_remove removal = {.worker = worker->id,
                                                        .close = true,
                                                        .cause =
                                                            SPAN("no heartbeat within worker-ttl")};
            worker_remove(s, worker, &removal, step);
        }
    }
}
