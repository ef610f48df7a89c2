/* core_driver_events.c: a line of JSON becomes an event of the core. The rows of `makers` name the ops. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/core_driver.h"

const char *driver_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL) {
        fprintf(stderr, "core_driver: no text %s\n", name);
        exit(1);
    }
    return text;
}

double driver_real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static bool get_flag(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

struct span driver_key(struct driver *driver, const char *text)
{
    size_t size = strlen(text);
    if (size > 31) {
        fprintf(stderr, "core_driver: the key %s is too long\n", text);
        exit(1);
    }
    uint8_t *bytes = arena_alloc(&driver->arena, size + 1);
    bytes[0] = (uint8_t)(0xa0 | size);
    memcpy(bytes + 1, text, size);
    return span_of(bytes, size + 1);
}

static struct span_list make_list(struct driver *driver, const json_t *list, bool as_keys)
{
    uint32_t count = (uint32_t)json_array_size(list);
    struct span *items = arena_array(&driver->arena, struct span, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        items[i] = as_keys ? driver_key(driver, text) : span_of_text(text);
    }
    return (struct span_list){items, count};
}

static struct span_list make_keys(struct driver *driver, const json_t *list)
{
    return make_list(driver, list, true);
}

static struct resource_list make_resources(struct driver *driver, json_t *object)
{
    struct resource *items =
        arena_array(&driver->arena, struct resource, json_object_size(object) + 1);
    uint32_t count = 0;
    const char *name;
    json_t *amount;
    json_object_foreach(object, name, amount)
    {
        items[count++] = (struct resource){span_of_text(name), json_number_value(amount)};
    }
    return (struct resource_list){items, count};
}

static worker_id find_worker(const struct driver *driver, const char *address)
{
    return view_worker_by_address(driver->s, span_of_text(address));
}

static worker_id get_worker(const struct driver *driver)
{
    return find_worker(driver, driver_text(driver->line, "worker"));
}

static client_id get_client(const struct driver *driver)
{
    return view_client_find(driver->s, span_of_text(driver_text(driver->line, "client")));
}

static struct span get_key(struct driver *driver)
{
    return driver_key(driver, driver_text(driver->line, "key"));
}

static struct span_list get_keys(struct driver *driver)
{
    return make_keys(driver, json_object_get(driver->line, "keys"));
}

/* Msgpack of a short string, for the time of the step. */
static struct blob *make_blob(struct driver *driver, const char *text)
{
    driver->blob = blob_create(slice_copy(driver_key(driver, text)), 0);
    return driver->blob;
}

/* The run that the core itself started; "stale": another. */
static int64_t get_run(const struct driver *driver, struct span key)
{
    const struct task *task = view_task_find(driver->s, key);
    struct task_view view = {0};
    if (task != NULL) {
        view_task(driver->s, task, &view);
    }
    return view.run_id + (get_flag(driver->line, "stale") ? 1000000 : 0);
}

/* ---- clients ---- */

static void make_client_add(struct driver *driver, struct event *event)
{
    event->of.client_add.name = span_of_text(driver_text(driver->line, "client"));
}

static void make_client_remove(struct driver *driver, struct event *event)
{
    event->of.client_remove.client = get_client(driver);
}

static void make_client_desires(struct driver *driver, struct event *event)
{
    event->of.client_desires = (struct event_client_desires){
        span_of_text(driver_text(driver->line, "client")), get_keys(driver)};
}

static void make_client_releases(struct driver *driver, struct event *event)
{
    event->of.client_releases = (struct event_client_releases){
        span_of_text(driver_text(driver->line, "client")), get_keys(driver)};
}

static void make_cancel(struct driver *driver, struct event *event)
{
    event->of.cancel = (struct event_cancel){
        .client = get_client(driver),
        .keys = get_keys(driver),
        .force = get_flag(driver->line, "force"),
    };
}

static void make_retry(struct driver *driver, struct event *event)
{
    event->of.retry = (struct event_retry){get_client(driver), get_keys(driver)};
}

static void make_report_key(struct driver *driver, struct event *event)
{
    event->of.report_key = (struct event_report_key){get_client(driver), get_key(driver)};
}

/* "placed": a list of [key, worker, bytes]. */
static void make_data_placed(struct driver *driver, struct event *event)
{
    const json_t *placed = json_object_get(driver->line, "placed");
    uint32_t count = (uint32_t)json_array_size(placed);
    struct span *keys = arena_array(&driver->arena, struct span, count);
    worker_id *holders = arena_array(&driver->arena, worker_id, count);
    int64_t *sizes = arena_array(&driver->arena, int64_t, count);
    for (uint32_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(placed, i);
        keys[i] = driver_key(driver, json_string_value(json_array_get(one, 0)));
        holders[i] = find_worker(driver, json_string_value(json_array_get(one, 1)));
        sizes[i] = json_integer_value(json_array_get(one, 2));
    }
    event->of.data_placed = (struct event_data_placed){
        get_client(driver), {keys, count}, {holders, count}, {sizes, count}};
}

static void make_set_restrictions(struct driver *driver, struct event *event)
{
    const json_t *workers = json_object_get(driver->line, "workers");
    event->of.set_restrictions =
        (struct event_set_restrictions){get_key(driver), make_list(driver, workers, false)};
}

/* ---- graphs ---- */

static struct annotation_info make_annotation(struct driver *driver, const json_t *note)
{
    struct resource_list resources = make_resources(driver, json_object_get(note, "resources"));
    const json_t *span = json_object_get(note, "span");
    return (struct annotation_info){
        .priority = driver_real(note, "priority"),
        .has_priority = json_object_get(note, "priority") != NULL,
        .retries = (uint32_t)driver_real(note, "retries"),
        .workers = make_keys(driver, json_object_get(note, "workers")),
        .has_workers = json_object_get(note, "workers") != NULL,
        .allow_other_workers = get_flag(note, "allow_other_workers"),
        .resources = resources.items,
        .resource_count = resources.count,
        .span_name = make_list(driver, json_object_get(span, "name"), false),
        .span_ids = make_list(driver, json_object_get(span, "ids"), false),
    };
}

/* The tasks of a graph: [key, numbers of its dependencies, priority, annotations, makes data]. */
static void make_tasks(struct driver *driver, const json_t *tasks, struct graph_info *graph,
                       struct span *keys)
{
    uint32_t count = graph->task_count;
    uint32_t dep_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        dep_count += (uint32_t)json_array_size(json_array_get(json_array_get(tasks, i), 1));
    }
    uint32_t *dep_start = arena_array(&driver->arena, uint32_t, count + 1);
    uint32_t *deps = arena_array(&driver->arena, uint32_t, dep_count);
    int64_t *priorities = arena_array(&driver->arena, int64_t, count);
    struct blob **run_specs = arena_array(&driver->arena, struct blob *, count);
    uint8_t *flags = arena_array(&driver->arena, uint8_t, count);
    struct annotation_info *notes = arena_array(&driver->arena, struct annotation_info, count + 1);
    uint32_t *annotation_of = arena_array(&driver->arena, uint32_t, count);
    dep_count = 0;
    notes[0] = (struct annotation_info){0};
    for (uint32_t i = 0; i < count; i++) {
        const json_t *task = json_array_get(tasks, i);
        const json_t *inputs = json_array_get(task, 1);
        keys[i] = driver_key(driver, json_string_value(json_array_get(task, 0)));
        dep_start[i] = dep_count;
        for (uint32_t j = 0; j < json_array_size(inputs); j++) {
            deps[dep_count++] = (uint32_t)json_integer_value(json_array_get(inputs, j));
        }
        priorities[i] = json_integer_value(json_array_get(task, 2));
        run_specs[i] = NULL;
        notes[i + 1] = make_annotation(driver, json_array_get(task, 3));
        annotation_of[i] = i + 1;
        flags[i] = json_is_true(json_array_get(task, 4)) ? GRAPH_DATA_PRODUCER : 0;
    }
    dep_start[count] = dep_count;
    graph->dep_start = dep_start;
    graph->deps = deps;
    graph->priorities = priorities;
    graph->run_specs = run_specs;
    graph->flags = flags;
    graph->annotations = notes;
    graph->annotation_count = count + 1;
    graph->annotation_of = annotation_of;
}

/* "others": keys that tasks depend on and that are not in the graph; their numbers follow the tasks'. */
static void make_graph(struct driver *driver, struct event *event)
{
    const json_t *tasks = json_object_get(driver->line, "tasks");
    const json_t *others = json_object_get(driver->line, "others");
    const json_t *actors = json_object_get(driver->line, "actors");
    const char *submitting = json_string_value(json_object_get(driver->line, "submitting_task"));
    struct graph_info *graph = arena_array(&driver->arena, struct graph_info, 1);
    uint32_t count = (uint32_t)json_array_size(tasks);
    uint32_t other_count = (uint32_t)json_array_size(others);
    struct span *keys = arena_array(&driver->arena, struct span, count + other_count);
    for (uint32_t i = 0; i < other_count; i++) {
        keys[count + i] = driver_key(driver, json_string_value(json_array_get(others, i)));
    }
    *graph = (struct graph_info){
        .client = get_client(driver),
        .task_count = count,
        .key_count = count + other_count,
        .keys = keys,
        .cull = true,
        .wanted = make_keys(driver, json_object_get(driver->line, "wanted")),
        .submitting_task = submitting == NULL ? (struct span){0} : driver_key(driver, submitting),
        .fifo_timeout = driver_real(driver->line, "fifo_timeout"),
        .user_priority = driver_real(driver->line, "user_priority"),
        .all_actors = json_is_true(actors),
        .actors = make_keys(driver, actors),
        .code = make_blob(driver, driver_text(driver->line, "code")),
        .started = event->time,
    };
    make_tasks(driver, tasks, graph, keys);
    event->of.graph.graph = graph;
}

/* ---- workers ---- */

static struct metrics_info *make_metrics(struct driver *driver)
{
    const char *key;
    json_t *seconds;
    json_t *executing = json_object_get(driver->line, "executing");
    struct span *keys = arena_array(&driver->arena, struct span, json_object_size(executing) + 1);
    double *times = arena_array(&driver->arena, double, json_object_size(executing) + 1);
    uint32_t count = 0;
    json_object_foreach(executing, key, seconds)
    {
        keys[count] = driver_key(driver, key);
        times[count++] = json_number_value(seconds);
    }
    struct metrics_info *metrics = arena_array(&driver->arena, struct metrics_info, 1);
    *metrics = (struct metrics_info){
        .memory = (int64_t)driver_real(driver->line, "memory"),
        .spilled_memory = (int64_t)driver_real(driver->line, "spilled"),
        .spilled_disk = (int64_t)driver_real(driver->line, "spilled"),
        .bandwidth = driver_real(driver->line, "bandwidth"),
        .executing_keys = keys,
        .executing_seconds = times,
        .executing_count = count,
        .worker_time = driver_real(driver->line, "worker_time"),
    };
    return metrics;
}

static void make_worker_add(struct driver *driver, struct event *event)
{
    struct worker_info *info = arena_array(&driver->arena, struct worker_info, 1);
    struct resource_list resources =
        make_resources(driver, json_object_get(driver->line, "resources"));
    *info = (struct worker_info){
        .address = span_of_text(driver_text(driver->line, "worker")),
        .name = driver_key(driver, driver_text(driver->line, "name")),
        .host = span_of_text(driver_text(driver->line, "host")),
        .status = span_of_text(driver_text(driver->line, "status")),
        .nthreads = (uint32_t)driver_real(driver->line, "nthreads"),
        .memory_limit = (int64_t)driver_real(driver->line, "memory_limit"),
        .resources = resources.items,
        .resource_count = resources.count,
        .metrics = make_metrics(driver),
    };
    event->of.worker_add.info = info;
}

static void make_worker_remove(struct driver *driver, struct event *event)
{
    event->of.worker_remove =
        (struct event_worker_remove){.worker = get_worker(driver),
                                     .expected = get_flag(driver->line, "expected"),
                                     .close = get_flag(driver->line, "close"),
                                     .cause = SPAN("lost")};
}

static void make_worker_status(struct driver *driver, struct event *event)
{
    event->of.worker_status = (struct event_worker_status){
        get_worker(driver), span_of_text(driver_text(driver->line, "status"))};
}

static void make_worker_resources(struct driver *driver, struct event *event)
{
    event->of.worker_resources = (struct event_worker_resources){
        get_worker(driver), make_resources(driver, json_object_get(driver->line, "resources"))};
}

static void make_worker_heartbeat(struct driver *driver, struct event *event)
{
    event->of.worker_heartbeat =
        (struct event_worker_heartbeat){get_worker(driver), make_metrics(driver)};
}

/* Canonical msgpack of a list of strings. */
static struct span make_tuple(struct driver *driver, const json_t *parts)
{
    struct span_list items = make_keys(driver, parts);
    size_t size = 1;
    for (uint32_t i = 0; i < items.count; i++) {
        size += items.items[i].size;
    }
    uint8_t *bytes = arena_alloc(&driver->arena, size);
    uint8_t *at = bytes;
    *at++ = (uint8_t)(0x90 | items.count);
    for (uint32_t i = 0; i < items.count; i++) {
        memcpy(at, items.items[i].data, items.items[i].size);
        at += items.items[i].size;
    }
    return span_of(bytes, size);
}

/* "metrics": a list of [number of a span, parts of the name, amount]. */
static void make_span_metrics(struct driver *driver, struct event *event)
{
    const json_t *list = json_object_get(driver->line, "metrics");
    uint32_t count = (uint32_t)json_array_size(list);
    struct span *spans = arena_array(&driver->arena, struct span, count);
    struct resource *metrics = arena_array(&driver->arena, struct resource, count);
    for (uint32_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        struct span_view view;
        uint32_t number = (uint32_t)json_integer_value(json_array_get(one, 0));
        spans[i] = spans_at(driver->s, number, &view) ? view.id : (struct span){0};
        metrics[i] = (struct resource){make_tuple(driver, json_array_get(one, 1)),
                                       json_number_value(json_array_get(one, 2))};
    }
    event->of.span_metrics =
        (struct event_span_metrics){get_worker(driver), {spans, count}, {metrics, count}};
}

/* ---- what workers say of tasks ---- */

/* "startstops": a list of [action, start, stop]. */
static struct startstop_list make_startstops(struct driver *driver)
{
    const json_t *list = json_object_get(driver->line, "startstops");
    uint32_t count = (uint32_t)json_array_size(list);
    struct startstop *items = arena_array(&driver->arena, struct startstop, count);
    for (uint32_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        items[i] =
            (struct startstop){.action = span_of_text(json_string_value(json_array_get(one, 0))),
                               .start = json_number_value(json_array_get(one, 1)),
                               .stop = json_number_value(json_array_get(one, 2))};
    }
    return (struct startstop_list){items, count};
}

static void make_task_finished(struct driver *driver, struct event *event)
{
    struct span key = get_key(driver);
    event->of.task_finished = (struct event_task_finished){
        .worker = get_worker(driver),
        .key = key,
        .run_id = get_run(driver, key),
        .nbytes = (int64_t)driver_real(driver->line, "nbytes"),
        .type = SPAN("type"),
        .typename_ = span_of_text(driver_text(driver->line, "typename")),
        .startstops = make_startstops(driver),
    };
}

static void make_task_erred(struct driver *driver, struct event *event)
{
    struct span key = get_key(driver);
    event->of.task_erred = (struct event_task_erred){
        .worker = get_worker(driver),
        .key = key,
        .run_id = get_run(driver, key),
        .exception = make_blob(driver, "oops"),
        .exception_text = SPAN("oops"),
    };
}

static void make_long_running(struct driver *driver, struct event *event)
{
    struct span key = get_key(driver);
    const json_t *seconds = json_object_get(driver->line, "seconds");
    event->of.long_running =
        (struct event_long_running){get_worker(driver), key, get_run(driver, key),
                                    json_is_number(seconds) ? json_number_value(seconds) : NAN};
}

static void make_reschedule(struct driver *driver, struct event *event)
{
    event->of.reschedule = (struct event_reschedule){get_worker(driver), get_key(driver)};
}

static void make_release_worker_data(struct driver *driver, struct event *event)
{
    event->of.release_worker_data =
        (struct event_release_worker_data){get_worker(driver), get_key(driver)};
}

static void make_add_keys(struct driver *driver, struct event *event)
{
    event->of.add_keys = (struct event_add_keys){get_worker(driver), get_keys(driver)};
}

static void make_refresh_who_has(struct driver *driver, struct event *event)
{
    event->of.refresh_who_has =
        (struct event_refresh_who_has){get_worker(driver), get_keys(driver)};
}

static void make_steal_response(struct driver *driver, struct event *event)
{
    const json_t *stimulus = json_object_get(driver->steals, driver_text(driver->line, "key"));
    if (stimulus != NULL && !get_flag(driver->line, "stale")) {
        event->stimulus = span_of_text(json_string_value(stimulus));
    }
    event->of.steal_response = (struct event_steal_response){
        get_worker(driver), get_key(driver), span_of_text(driver_text(driver->line, "state"))};
}

/* ---- time, memory ---- */

static void make_tick(struct driver *driver, struct event *event)
{
    (void)driver;
    event->of.tick.reserved = 0;
}

static void make_amm(struct driver *driver, struct event *event)
{
    event->of.amm.method = span_of_text(driver_text(driver->line, "method"));
}

static void make_retire(struct driver *driver, struct event *event)
{
    const json_t *list = json_object_get(driver->line, "workers");
    uint32_t count = (uint32_t)json_array_size(list);
    worker_id *workers = arena_array(&driver->arena, worker_id, count);
    for (uint32_t i = 0; i < count; i++) {
        workers[i] = find_worker(driver, json_string_value(json_array_get(list, i)));
    }
    event->of.retire_begin = (struct event_retire_begin){
        .workers = {workers, count}, .request = ++driver->requests, .remove = true};
}

static const struct {
    const char *name;
    enum event_kind kind;
    void (*make)(struct driver *driver, struct event *event);
} makers[] = {
    {"add-keys", EVENT_ADD_KEYS, make_add_keys},
    {"amm", EVENT_AMM, make_amm},
    {"cancel", EVENT_CANCEL, make_cancel},
    {"client-add", EVENT_CLIENT_ADD, make_client_add},
    {"client-remove", EVENT_CLIENT_REMOVE, make_client_remove},
    {"data-placed", EVENT_DATA_PLACED, make_data_placed},
    {"desire", EVENT_CLIENT_DESIRES, make_client_desires},
    {"erred", EVENT_TASK_ERRED, make_task_erred},
    {"finished", EVENT_TASK_FINISHED, make_task_finished},
    {"graph", EVENT_GRAPH, make_graph},
    {"heartbeat", EVENT_WORKER_HEARTBEAT, make_worker_heartbeat},
    {"long-running", EVENT_LONG_RUNNING, make_long_running},
    {"refresh-who-has", EVENT_REFRESH_WHO_HAS, make_refresh_who_has},
    {"release", EVENT_CLIENT_RELEASES, make_client_releases},
    {"release-data", EVENT_RELEASE_WORKER_DATA, make_release_worker_data},
    {"report-key", EVENT_REPORT_KEY, make_report_key},
    {"reschedule", EVENT_RESCHEDULE, make_reschedule},
    {"resources", EVENT_WORKER_RESOURCES, make_worker_resources},
    {"retire", EVENT_RETIRE_BEGIN, make_retire},
    {"retry", EVENT_RETRY, make_retry},
    {"set-restrictions", EVENT_SET_RESTRICTIONS, make_set_restrictions},
    {"span-metrics", EVENT_SPAN_METRICS, make_span_metrics},
    {"steal-response", EVENT_STEAL_RESPONSE, make_steal_response},
    {"tick", EVENT_TICK, make_tick},
    {"worker-add", EVENT_WORKER_ADD, make_worker_add},
    {"worker-remove", EVENT_WORKER_REMOVE, make_worker_remove},
    {"worker-status", EVENT_WORKER_STATUS, make_worker_status},
};

bool driver_make_event(struct driver *driver, struct event *event)
{
    const char *name = driver_text(driver->line, "op");
    size_t i = 0;
    while (i < sizeof makers / sizeof *makers && strcmp(makers[i].name, name) != 0) {
        i++;
    }
    if (i == sizeof makers / sizeof *makers) {
        return false;
    }
    event->kind = makers[i].kind;
    makers[i].make(driver, event);
    return true;
}
