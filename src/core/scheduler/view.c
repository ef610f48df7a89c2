/* view.c: looks at workers, clients, groups and totals. See view.h. */
#include "core/scheduler/view.h"

#include "core/scheduler/occupancy.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/steal.h"

/* ---- workers ---- */

static struct memory_view memory_of(const struct worker *worker)
{
    int64_t process = worker->memory;
    int64_t managed = worker->nbytes - worker->spilled_memory;
    managed = managed < 0 ? 0 : managed > process ? process : managed;
    int64_t old = worker->memory_unmanaged_old;
    old = old > process - managed ? process - managed : old;
    return (struct memory_view){.process = process,
                                .managed = managed,
                                .unmanaged_old = old,
                                .unmanaged_recent = process - managed - old,
                                .spilled = worker->spilled_disk,
                                .optimistic = managed + old};
}

int64_t view_memory_measure(const struct memory_view *memory, enum memory_measure measure)
{
    switch (measure) {
    case MEMORY_PROCESS:
        return memory->process;
    case MEMORY_OPTIMISTIC:
        return memory->optimistic;
    case MEMORY_MANAGED:
        return memory->managed + memory->spilled;
    case MEMORY_MANAGED_IN_MEMORY:
        return memory->managed;
    case MEMORY_UNMANAGED:
        return memory->process - memory->managed;
    case MEMORY_UNMANAGED_OLD:
        return memory->unmanaged_old;
    case MEMORY_UNMANAGED_RECENT:
        return memory->unmanaged_recent;
    case MEMORY_SPILLED:
        return memory->spilled;
    }
    UNREACHABLE();
}

/* Removed workers are still shown for one step. */
static const struct worker *worker_shown(const struct scheduler *s, worker_id id)
{
    return id == WORKER_NONE || id >= s->workers.count ? NULL : s->workers.items[id];
}

worker_id view_worker_by_address(const struct scheduler *s, struct span address)
{
    const struct worker *worker = worker_find_address(s, address);
    return worker == NULL ? WORKER_NONE : worker->id;
}

worker_id view_worker_by_alias(const struct scheduler *s, struct span name)
{
    const struct map_entry *entry = map_find(&s->aliases, name);
    return entry == NULL ? WORKER_NONE : (worker_id)entry->value.number;
}

bool view_worker(const struct scheduler *s, worker_id id, struct worker_view *out)
{
    const struct worker *worker = worker_shown(s, id);
    if (worker == NULL) {
        return false;
    }
    *out = (struct worker_view){
        .id = id,
        .status = worker->status,
        .address = worker->address,
        .host = worker->host,
        .name = worker->name,
        .nanny = worker->nanny,
        .server_id = worker->server_id,
        .local_directory = worker->local_directory,
        .nthreads = worker->nthreads,
        .memory_limit = worker->memory_limit,
        .pid = worker->pid,
        .nbytes = worker->nbytes,
        .resources = {worker->resources.items, worker->resources.count},
        .used_resources = {worker->used_resources.items, worker->used_resources.count},
        .services = worker->services,
        .extra = worker->extra,
        .versions = worker->versions,
        .metrics = worker->metrics,
        .last_seen = worker->last_seen,
        .time_delay = worker->time_delay,
        .bandwidth = worker->bandwidth,
        .occupancy = worker_occupancy(s, worker),
        .memory = memory_of(worker),
        .has_what_count = worker->has_what.count,
        .processing_count = worker->processing.count,
        .long_running_count = worker->long_running.count,
        .executing_count = worker->executing.count,
        .actor_count = worker->actors.count,
        .idle = worker->is_idle,
        .saturated = worker->is_saturated,
        .slots_free = worker->slot_place == HEAP_NOWHERE ? 0 : worker->slots_free,
    };
    return true;
}

struct span view_worker_address(const struct scheduler *s, worker_id id)
{
    const struct worker *worker = worker_shown(s, id);
    return worker == NULL ? (struct span){0} : worker->address;
}

uint32_t view_worker_count(const struct scheduler *s)
{
    return s->workers_sorted.count;
}

worker_id view_worker_at(const struct scheduler *s, uint32_t index)
{
    ASSERT(index < s->workers_sorted.count);
    return s->workers_sorted.items[index];
}

const struct task *view_worker_has(const struct scheduler *s, worker_id id, uint32_t index)
{
    const struct worker *worker = worker_at(s, id);
    ASSERT(index < worker->has_what.count);
    return task_at(s, links_items(&worker->has_what)[index].other);
}

const struct task *view_worker_processes(const struct scheduler *s, worker_id id, uint32_t index)
{
    const struct worker *worker = worker_at(s, id);
    ASSERT(index < worker->processing.count);
    return task_at(s, worker->processing.items[index]);
}

bool view_worker_still_has(const struct task *task, worker_id id)
{
    return task->state == TASK_MEMORY && replica_has(task, id);
}

bool view_worker_still_processes(const struct task *task, worker_id id)
{
    return task->state == TASK_PROCESSING && task->processing_on == id;
}

const struct task *view_worker_long_runs(const struct scheduler *s, worker_id id, uint32_t index)
{
    const struct worker *worker = worker_at(s, id);
    ASSERT(index < worker->long_running.count);
    return task_at(s, worker->long_running.items[index]);
}

const struct task *view_worker_executes(const struct scheduler *s, worker_id id, uint32_t index,
                                        double *out_seconds)
{
    const struct worker *worker = worker_at(s, id);
    ASSERT(index < worker->executing.count);
    *out_seconds = worker->executing.items[index].seconds;
    const struct task *task = task_live_at(s, worker->executing.items[index].task);
    return task != NULL && task->serial == worker->executing.items[index].serial ? task : NULL;
}

bool view_worker_prefix(const struct scheduler *s, worker_id id, uint32_t index,
                        struct span *out_name, uint32_t *out_count)
{
    const struct worker *worker = worker_at(s, id);
    if (index >= worker->tally.count) {
        return false;
    }
    *out_name = worker->tally.items[index].prefix->name;
    *out_count = worker->tally.items[index].count;
    return true;
}

bool view_host_next(const struct scheduler *s, uint32_t *cursor, struct host_view *out)
{
    const struct map_entry *entry = map_next(&s->hosts, cursor);
    if (entry == NULL) {
        return false;
    }
    const struct host *host = entry->value.pointer;
    *out = (struct host_view){host->name, host->workers.items, host->workers.count, host->nthreads,
                              host->last_seen};
    return true;
}

/* ---- clients ---- */

client_id view_client_find(const struct scheduler *s, struct span name)
{
    const struct client *client = client_find_name(s, name);
    return client == NULL ? CLIENT_NONE : client->id;
}

bool view_client(const struct scheduler *s, client_id id, struct client_view *out)
{
    /* Also one removed in the last step, and one that leaves while it still wants tasks (pseudo). */
    const struct client *client =
        id == CLIENT_NONE || id >= s->clients.count ? NULL : s->clients.items[id];
    if (client == NULL) {
        return false;
    }
    *out = (struct client_view){id, client->name, client->last_seen, client->is_pseudo,
                                client->wants_what.count};
    return true;
}

const struct task *view_client_wants(const struct scheduler *s, client_id id, uint32_t index)
{
    const struct client *client = client_at(s, id);
    ASSERT(index < client->wants_what.count);
    return task_at(s, links_items(&client->wants_what)[index].other);
}

bool view_client_next(const struct scheduler *s, uint32_t *cursor, struct client_view *out)
{
    const struct map_entry *entry = map_next(&s->client_by_name, cursor);
    return entry != NULL && view_client(s, (client_id)entry->value.number, out);
}

/* ---- groups and prefixes ---- */

uint32_t view_prefix_count(const struct scheduler *s)
{
    return s->prefixes.count;
}

bool view_prefix(const struct scheduler *s, uint32_t index, struct prefix_view *out)
{
    if (index >= s->prefixes.count) {
        return false;
    }
    const struct prefix *prefix = s->prefixes.items[index];
    *out = (struct prefix_view){
        .name = prefix->name,
        .size = prefix->size,
        .state_counts = prefix->state_counts,
        .state_counts_total = prefix->state_counts_total,
        .duration_average = prefix->duration_average,
        .max_exec_time = prefix->max_exec_time,
        .duration = (double)prefix->duration_us / 1e6,
        .suspicious = prefix->suspicious,
        .nbytes_total = prefix->nbytes_total,
        .group_count = prefix->groups.count,
        .duration_count = prefix->durations.count,
    };
    return true;
}

static struct action_duration duration_at(const struct duration_list *list, uint32_t which)
{
    ASSERT(which < list->count);
    return (struct action_duration){list->items[which].action,
                                    (double)list->items[which].microseconds / 1e6};
}

struct action_duration view_prefix_duration(const struct scheduler *s, uint32_t index,
                                            uint32_t which)
{
    ASSERT(index < s->prefixes.count);
    return duration_at(&s->prefixes.items[index]->durations, which);
}

struct span view_prefix_group(const struct scheduler *s, uint32_t index, uint32_t which)
{
    ASSERT(index < s->prefixes.count);
    const struct prefix *prefix = s->prefixes.items[index];
    ASSERT(which < prefix->groups.count);
    return prefix->groups.items[which]->name;
}

void view_group(const struct group *group, struct group_view *out)
{
    *out = (struct group_view){
        .id = group->id,
        .name = group->name,
        .prefix = group->prefix->name,
        .span_id = spans_id(group),
        .size = group->size,
        .state_counts = group->state_counts,
        .duration = (double)group->duration_us / 1e6,
        .start = group->start,
        .stop = group->stop,
        .nbytes_total = group->nbytes_total,
        .duration_count = group->durations.count,
        .type_count = group->types.count,
        .dependency_count = group->dependencies.count,
    };
}

bool view_group_next(const struct scheduler *s, uint32_t *cursor, struct group_view *out)
{
    const struct map_entry *entry = map_next(&s->group_by_name, cursor);
    if (entry != NULL) {
        view_group(entry->value.pointer, out);
    }
    return entry != NULL;
}

static const struct group *group_find(const struct scheduler *s, struct span name)
{
    const struct map_entry *entry = map_find(&s->group_by_name, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

bool view_group_find(const struct scheduler *s, struct span name, struct group_view *out)
{
    const struct group *group = group_find(s, name);
    if (group != NULL) {
        view_group(group, out);
    }
    return group != NULL;
}

struct action_duration view_group_duration(const struct scheduler *s, struct span name,
                                           uint32_t which)
{
    const struct group *group = group_find(s, name);
    ASSERT(group != NULL);
    return duration_at(&group->durations, which);
}

struct span view_group_type(const struct scheduler *s, struct span name, uint32_t which,
                            uint32_t *out_count)
{
    const struct group *group = group_find(s, name);
    ASSERT(group != NULL && which < group->types.count);
    *out_count = group->types.items[which].count;
    return s->types.items[group->types.items[which].type];
}

struct span view_group_dependency(const struct scheduler *s, struct span name, uint32_t which)
{
    const struct group *group = group_find(s, name);
    ASSERT(group != NULL && which < group->dependencies.count);
    return group->dependencies.items[which].group->name;
}

/* ---- totals ---- */

static void memory_add(struct memory_view *sum, struct memory_view one)
{
    sum->process += one.process;
    sum->managed += one.managed;
    sum->unmanaged_old += one.unmanaged_old;
    sum->unmanaged_recent += one.unmanaged_recent;
    sum->spilled += one.spilled;
    sum->optimistic += one.optimistic;
}

void view_totals(const struct scheduler *s, struct totals_view *out)
{
    *out = (struct totals_view){
        .worker_count = s->workers_sorted.count,
        .running_count = s->running.count,
        .idle_count = s->idle.count,
        .saturated_count = s->saturated.count,
        .task_count = s->task_count,
        .group_count = s->group_by_name.count,
        .prefix_count = s->prefixes.count,
        .nthreads = s->total_nthreads,
        .memory_limit = s->total_memory,
        .occupancy = total_occupancy(s),
        .bandwidth = s->bandwidth,
        .queued_count = queue_count(s),
        .unrunnable_count = s->unrunnable_live,
        .replicated_count = s->replicated.count,
        .processing_count = s->processing_now,
        .transition_count = s->transition_counter,
        .idle_since = s->idle_since,
    };
    memcpy(out->state_counts, s->state_counts, sizeof out->state_counts);
    uint32_t cursor = 0;
    struct client_view client;
    while (view_client_next(s, &cursor, &client)) {
        out->client_count += !client.is_pseudo;
    }
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        memory_add(&out->memory, memory_of(worker_at(s, s->workers_sorted.items[i])));
    }
}

static_assert(VIEW_STEAL_LEVELS == STEAL_LEVELS, "view.h says how many levels there are");

void view_steal_totals(const struct scheduler *s, uint64_t out_count[VIEW_STEAL_LEVELS],
                       double out_cost[VIEW_STEAL_LEVELS])
{
    steal_totals(s, out_count, out_cost);
}

uint64_t view_transition_count(const struct scheduler *s)
{
    return s->transition_counter;
}

double view_idle_since(const struct scheduler *s)
{
    return s->idle_since;
}

const struct scheduler_config *view_config(const struct scheduler *s)
{
    return &s->config;
}

uint32_t view_idle_workers(const struct scheduler *s, const worker_id **out)
{
    *out = s->idle.items;
    return s->idle.count;
}

uint32_t view_saturated_workers(const struct scheduler *s, const worker_id **out)
{
    *out = s->saturated.items;
    return s->saturated.count;
}

const struct task *view_unrunnable_next(const struct scheduler *s, uint32_t *cursor,
                                        double *out_since)
{
    while (*cursor < s->unrunnable.count) {
        const struct unrunnable *entry = &s->unrunnable.items[(*cursor)++];
        if (entry->task != TASK_NONE) {
            *out_since = entry->since;
            return task_at(s, entry->task);
        }
    }
    return NULL;
}
