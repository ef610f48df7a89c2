/* core_driver_look.c: the whole state of a core as JSON, in stock's words. What stock keeps in sets is a list
 * whose order means nothing; driver_orders tells the orders that decide what happens next. */
#include <stdio.h>

#include "core/scheduler/adapt.h"
#include "core/scheduler/balance.h"
#include "core/scheduler/computations.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/steal_internal.h"
#include "support/core_driver.h"

#define TARGET_DURATION 5.0

/* An object's field whose name is a span. */
static void put(json_t *object, struct span name, json_t *value)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int)name.size, (const char *)name.data);
    json_object_set_new(object, text, value);
}

static json_t *show_texts(struct span_list list)
{
    json_t *texts = json_array();
    for (uint32_t i = 0; i < list.count; i++) {
        json_array_append_new(texts, driver_show_text(list.items[i]));
    }
    return texts;
}

static json_t *show_resources(struct resource_list list)
{
    json_t *resources = json_object();
    for (uint32_t i = 0; i < list.count; i++) {
        put(resources, list.items[i].name, json_real(list.items[i].amount));
    }
    return resources;
}

static void put_state(json_t *states, int state, uint64_t count)
{
    if (count != 0) {
        json_object_set_new(states, task_state_name((enum task_state)state),
                            json_integer((json_int_t)count));
    }
}

/* How many are in each state, without the zeros. */
static json_t *show_states(const uint32_t *counts)
{
    json_t *states = json_object();
    for (int state = 0; state < TASK_STATE_COUNT; state++) {
        put_state(states, state, counts[state]);
    }
    return states;
}

static json_t *show_totals(const uint64_t *counts)
{
    json_t *states = json_object();
    for (int state = 0; state < TASK_STATE_COUNT; state++) {
        put_state(states, state, counts[state]);
    }
    return states;
}

/* ---- tasks ---- */

static json_t *show_edges(const struct scheduler *s, const struct task *task)
{
    json_t *dependencies = json_array();
    json_t *waiting_on = json_array();
    json_t *dependents = json_array();
    json_t *waiters = json_array();
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *other = view_task_dependency(s, task, i);
        json_array_append_new(dependencies, driver_show_key(other->key));
        if (view_task_waits_on(task, i)) {
            json_array_append_new(waiting_on, driver_show_key(other->key));
        }
    }
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct task *other = view_task_dependent(s, task, i);
        json_array_append_new(dependents, driver_show_key(other->key));
        if (view_task_awaited_by(s, task, i)) {
            json_array_append_new(waiters, driver_show_key(other->key));
        }
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "dependencies", dependencies, "dependents", dependents,
                     "waiting_on", waiting_on, "waiters", waiters);
}

static json_t *show_holders(const struct scheduler *s, const struct task_view *view,
                            const struct task *task)
{
    json_t *holders = json_array();
    json_t *clients = json_array();
    for (uint32_t i = 0; i < view->holder_count; i++) {
        json_array_append_new(
            holders, driver_show_text(view_worker_address(s, view_task_holder(s, task, i))));
    }
    for (uint32_t i = 0; i < view->wanter_count; i++) {
        struct client_view client;
        view_client(s, view_task_wanter(task, i), &client);
        json_array_append_new(clients, driver_show_text(client.name));
    }
    return json_pack("{s:o,s:o}", "who_has", holders, "who_wants", clients);
}

static json_t *show_blame(const struct task_view *view)
{
    if (view->failure == NULL) {
        return json_null();
    }
    struct failure_view failure;
    view_failure(view->failure, &failure);
    return driver_show_key(failure.key);
}

static json_t *show_task(const struct scheduler *s, const struct task *task)
{
    struct task_view view;
    view_task(s, task, &view);
    json_t *shown = show_edges(s, task);
    json_t *holders = show_holders(s, &view, task);
    json_object_update(shown, holders);
    json_decref(holders);
    json_t *rest =
        json_pack("{s:s,s:o,s:I,s:I,s:I,s:o,s:o,s:b,s:b,s:b,s:b,s:o,s:o,s:o}", "state",
                  task_state_name(view.state), "processing_on",
                  view.processing_on == WORKER_NONE
                      ? json_null()
                      : driver_show_text(view_worker_address(s, view.processing_on)),
                  "suspicious", (json_int_t)view.suspicious, "retries", (json_int_t)view.retries,
                  "nbytes", (json_int_t)view.nbytes, "type", driver_show_text(view.type), "blame",
                  show_blame(&view), "actor", view.actor, "loose", view.loose_restrictions, "lost",
                  view.lost_dependencies, "data_producer", view.data_producer,
                  "worker_restrictions", show_texts(view.worker_restrictions), "host_restrictions",
                  show_texts(view.host_restrictions), "erred_on", show_texts(view.erred_on));
    json_object_update(shown, rest);
    json_decref(rest);
    json_object_set_new(shown, "resources", show_resources(view.resources));
    json_object_set_new(shown, "priority",
                        view.has_priority
                            ? json_pack("[f,f,I]", view.priority_user, view.priority_generation,
                                        (json_int_t)view.priority_order)
                            : json_null());
    return shown;
}

static json_t *show_tasks(struct driver *driver)
{
    json_t *shown = json_object();
    uint32_t count;
    const struct task *const *tasks = view_tasks(driver->s, &driver->arena, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct span key = tasks[i]->key;
        put(shown, span_of(key.data + 1, key.size - 1), show_task(driver->s, tasks[i]));
    }
    return shown;
}

/* ---- workers ---- */

typedef const struct task *task_at_function(const struct scheduler *s, worker_id worker,
                                            uint32_t index);

static json_t *show_keys(const struct scheduler *s, worker_id worker, uint32_t count,
                         task_at_function *at)
{
    json_t *keys = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(keys, driver_show_key(at(s, worker, i)->key));
    }
    return keys;
}

static json_t *show_executing(const struct scheduler *s, const struct worker_view *view)
{
    json_t *executing = json_object();
    for (uint32_t i = 0; i < view->executing_count; i++) {
        double seconds;
        const struct task *task = view_worker_executes(s, view->id, i, &seconds);
        if (task != NULL) {
            put(executing, span_of(task->key.data + 1, task->key.size - 1), json_real(seconds));
        }
    }
    return executing;
}

static json_t *show_memory(const struct memory_view *memory)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "process", (json_int_t)memory->process, "managed",
                     (json_int_t)memory->managed, "unmanaged_old",
                     (json_int_t)memory->unmanaged_old, "unmanaged_recent",
                     (json_int_t)memory->unmanaged_recent, "spilled", (json_int_t)memory->spilled,
                     "optimistic", (json_int_t)memory->optimistic);
}

/* The level in which stealing lists each of its tasks. */
static json_t *show_stealable(const struct scheduler *s, const struct worker *worker)
{
    json_t *levels = json_object();
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        for (uint32_t i = 0; i < worker->stealable[level].count; i++) {
            const struct task *task = task_at(s, worker->stealable[level].items[i]);
            put(levels, span_of(task->key.data + 1, task->key.size - 1),
                json_integer((json_int_t)level));
        }
    }
    return levels;
}

static json_t *show_worker(const struct scheduler *s, worker_id id)
{
    struct worker_view view;
    view_worker(s, id, &view);
    const struct worker *worker = worker_at(s, id);
    json_t *actors = json_array();
    for (uint32_t i = 0; i < worker->actors.count; i++) {
        json_array_append_new(actors, driver_show_key(task_at(s, worker->actors.items[i])->key));
    }
    return json_pack(
        "{s:s,s:f,s:I,s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:f,s:f,s:I}", "status",
        worker_status_name(view.status), "occupancy", view.occupancy, "nbytes",
        (json_int_t)view.nbytes, "idle", view.idle, "saturated", view.saturated, "resources",
        show_resources(view.resources), "used", show_resources(view.used_resources), "processing",
        show_keys(s, id, view.processing_count, view_worker_processes), "has_what",
        show_keys(s, id, view.has_what_count, view_worker_has), "long_running",
        show_keys(s, id, view.long_running_count, view_worker_long_runs), "actors", actors,
        "executing", show_executing(s, &view), "memory", show_memory(&view.memory), "stealable",
        show_stealable(s, worker), "time_delay", view.time_delay, "in_flight_occupancy",
        worker->steal_in_flight_occupancy, "in_flight_tasks",
        (json_int_t)worker->steal_in_flight_tasks);
}

static json_t *show_workers(const struct scheduler *s)
{
    json_t *workers = json_object();
    for (uint32_t i = 0; i < view_worker_count(s); i++) {
        worker_id worker = view_worker_at(s, i);
        put(workers, view_worker_address(s, worker), show_worker(s, worker));
    }
    return workers;
}

/* ---- groups, prefixes, spans, computations ---- */

static json_t *show_prefixes(const struct scheduler *s)
{
    json_t *prefixes = json_object();
    struct prefix_view view;
    for (uint32_t i = 0; view_prefix(s, i, &view); i++) {
        json_t *durations = json_object();
        for (uint32_t j = 0; j < view.duration_count; j++) {
            struct action_duration one = view_prefix_duration(s, i, j);
            put(durations, one.action, json_real(one.seconds));
        }
        json_t *groups = json_array();
        for (uint32_t j = 0; j < view.group_count; j++) {
            json_array_append_new(groups, driver_show_text(view_prefix_group(s, i, j)));
        }
        put(prefixes, view.name,
            json_pack("{s:f,s:f,s:f,s:o,s:o,s:o,s:I,s:I,s:I,s:o}", "duration_average",
                      view.duration_average, "max_exec_time", view.max_exec_time, "duration",
                      view.duration, "durations", durations, "states",
                      show_states(view.state_counts), "arrivals",
                      show_totals(view.state_counts_total), "size", (json_int_t)view.size, "nbytes",
                      (json_int_t)view.nbytes_total, "suspicious", (json_int_t)view.suspicious,
                      "groups", groups));
    }
    return prefixes;
}

static json_t *show_group(const struct scheduler *s, const struct group_view *view)
{
    json_t *durations = json_object();
    json_t *types = json_object();
    json_t *dependencies = json_array();
    for (uint32_t i = 0; i < view->duration_count; i++) {
        struct action_duration one = view_group_duration(s, view->name, i);
        put(durations, one.action, json_real(one.seconds));
    }
    for (uint32_t i = 0; i < view->type_count; i++) {
        uint32_t count;
        struct span type = view_group_type(s, view->name, i, &count);
        put(types, type, json_integer((json_int_t)count));
    }
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        json_array_append_new(dependencies,
                              driver_show_text(view_group_dependency(s, view->name, i)));
    }
    return json_pack("{s:o,s:I,s:o,s:f,s:o,s:f,s:f,s:I,s:o,s:o,s:I}", "prefix",
                     driver_show_text(view->prefix), "size", (json_int_t)view->size, "states",
                     show_states(view->state_counts), "duration", view->duration, "durations",
                     durations, "start", view->start, "stop", view->stop, "nbytes",
                     (json_int_t)view->nbytes_total, "types", types, "dependencies", dependencies,
                     "span", driver_span_number(s, view->span_id));
}

static json_t *show_groups(const struct scheduler *s)
{
    json_t *groups = json_object();
    struct group_view view;
    uint32_t cursor = 0;
    while (view_group_next(s, &cursor, &view)) {
        put(groups, view.name, show_group(s, &view));
    }
    return groups;
}

static json_t *show_spans(const struct scheduler *s)
{
    json_t *spans = json_array();
    struct span_view view;
    for (uint32_t i = 0; spans_at(s, i, &view); i++) {
        json_t *metrics = json_object();
        struct resource metric;
        for (uint32_t j = 0; spans_metric_at(s, i, j, &metric); j++) {
            json_t *name = driver_show_key(metric.name);
            json_object_set_new(metrics, json_string_value(name), json_real(metric.amount));
            json_decref(name);
        }
        json_array_append_new(
            spans, json_pack("{s:o,s:I,s:f,s:f,s:f,s:o,s:f,s:I,s:b,s:I,s:o}", "name",
                             show_texts(view.name), "parent", driver_span_number(s, view.parent_id),
                             "enqueued", view.enqueued, "start", view.start, "stop", view.stop,
                             "states", show_totals(view.state_counts), "duration", view.duration,
                             "nbytes", (json_int_t)view.nbytes_total, "done", view.done, "code",
                             (json_int_t)view.code_count, "metrics", metrics));
    }
    return spans;
}

static json_t *show_computations(const struct scheduler *s)
{
    json_t *computations = json_array();
    struct computation_view view;
    for (uint32_t i = 0; computations_at(s, i, &view); i++) {
        json_t *groups = json_array();
        for (uint32_t j = 0; j < view.group_count; j++) {
            struct group_view group;
            view_group(view.groups[j], &group);
            json_array_append_new(groups, driver_show_text(group.name));
        }
        json_array_append_new(computations,
                              json_pack("{s:f,s:f,s:I,s:o,s:o}", "start", view.start, "stop",
                                        view.stop, "code", (json_int_t)view.code_count, "groups",
                                        groups, "states", show_totals(view.state_counts)));
    }
    return computations;
}

/* ---- plans ---- */

static json_t *show_rebalance(struct driver *driver)
{
    const struct scheduler *s = driver->s;
    struct balance_plan plan = balance_rebalance(s, &(struct balance_scope){0}, &driver->arena);
    json_t *moves = json_array();
    for (uint32_t i = 0; i < plan.count; i++) {
        const struct balance_move *move = &plan.moves[i];
        json_array_append_new(
            moves, json_pack("[o,o,o]", driver_show_text(view_worker_address(s, move->sender)),
                             driver_show_text(view_worker_address(s, move->recipient)),
                             driver_show_key(move->task->key)));
    }
    return moves;
}

static json_t *show_closing(struct driver *driver, struct close_request request)
{
    uint32_t count;
    const worker_id *workers =
        balance_workers_to_close(driver->s, &request, &driver->arena, &count);
    json_t *closing = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(closing,
                              driver_show_text(view_worker_address(driver->s, workers[i])));
    }
    return closing;
}

/* The groups of show_closing's by_host. */
static const struct span *host_groups(struct driver *driver)
{
    const struct scheduler *s = driver->s;
    struct span *hosts = arena_array(&driver->arena, struct span, s->workers_sorted.count + 1);
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        hosts[i] = worker_at(s, s->workers_sorted.items[i])->host;
    }
    return hosts;
}

static json_t *show_plans(struct driver *driver)
{
    struct close_request two = CLOSE_REQUEST_DEFAULT;
    struct close_request minimum = CLOSE_REQUEST_DEFAULT;
    struct close_request target = CLOSE_REQUEST_DEFAULT;
    struct close_request by_host = CLOSE_REQUEST_DEFAULT;
    two.n = 2;
    minimum.minimum = 2;
    minimum.memory_ratio = 1.5;
    target.target = 3;
    by_host.group_of = host_groups(driver);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:I}", "close",
                     show_closing(driver, CLOSE_REQUEST_DEFAULT), "close_two",
                     show_closing(driver, two), "close_minimum", show_closing(driver, minimum),
                     "close_target", show_closing(driver, target), "close_by_host",
                     show_closing(driver, by_host), "rebalance", show_rebalance(driver), "target",
                     (json_int_t)adapt_target(driver->s, TARGET_DURATION));
}

/* ---- all ---- */

/* Empty once it is gone. */
static json_t *show_address(const struct scheduler *s, worker_id id)
{
    const struct worker *worker = s->workers.items[id];
    return driver_show_text(worker == NULL || !worker->known ? (struct span){0} : worker->address);
}

/* Requests to victims that are not answered: key → victim and thief. */
static json_t *show_flights(const struct scheduler *s)
{
    json_t *flights = json_object();
    for (uint32_t i = 0; i < s->steal->flights.count; i++) {
        const struct flight *flight = &s->steal->flights.items[i];
        struct span key = task_at(s, flight->task)->key;
        put(flights, span_of(key.data + 1, key.size - 1),
            json_pack("[o,o]", show_address(s, flight->victim), show_address(s, flight->thief)));
    }
    return flights;
}

static json_t *show_steals(const struct scheduler *s)
{
    json_t *counts = json_array();
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        json_array_append_new(counts, json_integer((json_int_t)s->steal->count[level]));
    }
    return counts;
}

json_t *driver_look(struct driver *driver)
{
    const struct scheduler *s = driver->s;
    struct totals_view totals;
    view_totals(s, &totals);
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:f,s:f,s:I,s:I,s:I}", "tasks",
        show_tasks(driver), "workers", show_workers(s), "prefixes", show_prefixes(s), "groups",
        show_groups(s), "spans", show_spans(s), "computations", show_computations(s), "plans",
        show_plans(driver), "in_flight", show_flights(s), "steals", show_steals(s), "queued",
        (json_int_t)totals.queued_count, "unrunnable", (json_int_t)totals.unrunnable_count,
        "occupancy", totals.occupancy, "bandwidth", totals.bandwidth, "replicated",
        (json_int_t)totals.replicated_count, "nthreads", (json_int_t)totals.nthreads,
        "memory_limit", (json_int_t)totals.memory_limit);
}

/* By level, in the order in which they are looked at. */
static json_t *order_stealable(const struct scheduler *s, worker_id id)
{
    const struct worker *worker = worker_at(s, id);
    json_t *levels = json_array();
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        json_t *keys = json_array();
        for (uint32_t i = worker->stealable[level].count; i > 0; i--) {
            const struct task *task = task_at(s, worker->stealable[level].items[i - 1]);
            json_array_append_new(keys, driver_show_key(task->key));
        }
        json_array_append_new(levels, keys);
    }
    return levels;
}

/* By client, in the order in which they end when the client goes. */
static json_t *order_wishes(const struct scheduler *s)
{
    json_t *clients = json_object();
    struct client_view view;
    uint32_t cursor = 0;
    while (view_client_next(s, &cursor, &view)) {
        json_t *keys = json_array();
        for (uint32_t i = view.wants_count; i > 0; i--) {
            json_array_append_new(keys, driver_show_key(view_client_wants(s, view.id, i - 1)->key));
        }
        put(clients, view.name, keys);
    }
    return clients;
}

/* key → its dependencies and dependents. */
static json_t *order_edges(struct driver *driver)
{
    json_t *edges = json_object();
    uint32_t count;
    const struct task *const *tasks = view_tasks(driver->s, &driver->arena, &count);
    for (uint32_t i = 0; i < count; i++) {
        json_t *shown = show_edges(driver->s, tasks[i]);
        put(edges, span_of(tasks[i]->key.data + 1, tasks[i]->key.size - 1),
            json_pack("[O,O]", json_object_get(shown, "dependencies"),
                      json_object_get(shown, "dependents")));
        json_decref(shown);
    }
    return edges;
}

static json_t *order_queued(const struct scheduler *s)
{
    json_t *queued = json_array();
    uint32_t cursor = 0;
    for (const struct task *task; (task = queue_next(s, &cursor)) != NULL;) {
        json_array_append_new(queued, driver_show_key(task->key));
    }
    return queued;
}

json_t *driver_orders(struct driver *driver)
{
    const struct scheduler *s = driver->s;
    json_t *workers = json_object();
    for (uint32_t i = 0; i < view_worker_count(s); i++) {
        worker_id id = view_worker_at(s, i);
        const struct worker *worker = worker_at(s, id);
        put(workers, worker->address,
            json_pack("{s:o,s:o,s:o}", "processing",
                      show_keys(s, id, worker->processing.count, view_worker_processes), "has_what",
                      show_keys(s, id, worker->has_what.count, view_worker_has), "stealable",
                      order_stealable(s, id)));
    }
    json_t *replicated = json_array();
    for (uint32_t i = 0; i < s->replicated.count; i++) {
        json_array_append_new(replicated, driver_show_key(task_at(s, s->replicated.items[i])->key));
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:o}", "workers", workers, "replicated", replicated,
                     "clients", order_wishes(s), "queued", order_queued(s), "edges",
                     order_edges(driver));
}
