/* core_driver: a scheduler core that reads events as lines of JSON from stdin and answers each with a line
 * that says what it sent to whom and what its state is, for test/interop/test_differential.py.
 *
 * The first line is the configuration. Keys are strings of up to 31 bytes; workers go by address,
 * clients by name. Bad input ends the program: its one user is a test. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/scheduler/adapt.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/view.h"

struct driver {
    struct scheduler *s;
    struct step step;
    struct arena arena; /* of the event being made */
    json_t *line;
    json_t *sent;   /* of this step: peer → list of [op, key] */
    json_t *steals; /* key → stimulus of the last request */
};

static const char *get_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL) {
        fprintf(stderr, "core_driver: no text %s\n", name);
        exit(1);
    }
    return text;
}

static double get_real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/* Canonical msgpack of a short string. */
static struct span make_key(struct driver *driver, const char *text)
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

static struct span_list make_keys(struct driver *driver, const json_t *list)
{
    uint32_t count = (uint32_t)json_array_size(list);
    struct span *keys = arena_array(&driver->arena, struct span, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = make_key(driver, json_string_value(json_array_get(list, i)));
    }
    return (struct span_list){keys, count};
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

static worker_id get_worker(const struct driver *driver)
{
    return view_worker_by_address(driver->s, span_of_text(get_text(driver->line, "worker")));
}

static client_id get_client(const struct driver *driver)
{
    return view_client_find(driver->s, span_of_text(get_text(driver->line, "client")));
}

static struct span get_key(struct driver *driver)
{
    return make_key(driver, get_text(driver->line, "key"));
}

/* The run that the core itself started; "stale": another. */
static int64_t get_run(const struct driver *driver, struct span key)
{
    const struct task *task = view_task_find(driver->s, key);
    struct task_view view = {0};
    if (task != NULL) {
        view_task(driver->s, task, &view);
    }
    return json_is_true(json_object_get(driver->line, "stale")) ? view.run_id + 1000000
                                                                : view.run_id;
}

/* ---- events ---- */

static void make_client_add(struct driver *driver, struct event *event)
{
    event->of.client_add.name = span_of_text(get_text(driver->line, "client"));
}

static struct metrics_info *make_metrics(struct driver *driver)
{
    struct metrics_info *metrics = arena_array(&driver->arena, struct metrics_info, 1);
    *metrics = (struct metrics_info){.memory = (int64_t)get_real(driver->line, "memory"),
                                     .bandwidth = 1e8};
    return metrics;
}

static void make_worker_add(struct driver *driver, struct event *event)
{
    struct worker_info *info = arena_array(&driver->arena, struct worker_info, 1);
    struct resource_list resources =
        make_resources(driver, json_object_get(driver->line, "resources"));
    *info = (struct worker_info){
        .address = span_of_text(get_text(driver->line, "worker")),
        .name = make_key(driver, get_text(driver->line, "name")),
        .host = span_of_text(get_text(driver->line, "host")),
        .status = span_of_text(get_text(driver->line, "status")),
        .nthreads = (uint32_t)get_real(driver->line, "nthreads"),
        .memory_limit = (int64_t)get_real(driver->line, "memory_limit"),
        .resources = resources.items,
        .resource_count = resources.count,
        .metrics = make_metrics(driver),
    };
    event->of.worker_add.info = info;
}

static void make_worker_remove(struct driver *driver, struct event *event)
{
    event->of.worker_remove = (struct event_worker_remove){
        .worker = get_worker(driver),
        .expected = json_is_true(json_object_get(driver->line, "expected")),
        .cause = SPAN("lost")};
}

static void make_worker_status(struct driver *driver, struct event *event)
{
    event->of.worker_status = (struct event_worker_status){
        get_worker(driver), span_of_text(get_text(driver->line, "status"))};
}

static void make_worker_heartbeat(struct driver *driver, struct event *event)
{
    event->of.worker_heartbeat =
        (struct event_worker_heartbeat){get_worker(driver), make_metrics(driver)};
}

static struct annotation_info make_annotation(struct driver *driver, const json_t *note)
{
    struct resource_list resources = make_resources(driver, json_object_get(note, "resources"));
    return (struct annotation_info){
        .priority = get_real(note, "priority"),
        .has_priority = json_object_get(note, "priority") != NULL,
        .retries = (uint32_t)get_real(note, "retries"),
        .workers = make_keys(driver, json_object_get(note, "workers")),
        .has_workers = json_object_get(note, "workers") != NULL,
        .allow_other_workers = json_is_true(json_object_get(note, "allow_other_workers")),
        .resources = resources.items,
        .resource_count = resources.count,
    };
}

/* "tasks": a list of [key, numbers of its dependencies, priority, annotations]; a task comes before its
 * dependents. */
static void make_graph(struct driver *driver, struct event *event)
{
    json_t *tasks = json_object_get(driver->line, "tasks");
    uint32_t count = (uint32_t)json_array_size(tasks);
    struct graph_info *graph = arena_array(&driver->arena, struct graph_info, 1);
    struct span *keys = arena_array(&driver->arena, struct span, count);
    uint32_t *dep_start = arena_array(&driver->arena, uint32_t, count + 1);
    uint32_t *deps = arena_array(&driver->arena, uint32_t, (size_t)count * count + 1);
    int64_t *priorities = arena_array(&driver->arena, int64_t, count);
    struct blob **run_specs = arena_array(&driver->arena, struct blob *, count);
    struct annotation_info *notes = arena_array(&driver->arena, struct annotation_info, count + 1);
    uint32_t *annotation_of = arena_array(&driver->arena, uint32_t, count);
    struct blob *run_spec = blob_create(slice_copy(SPAN("\xa4spec")), 0);
    uint32_t dep_count = 0;
    notes[0] = (struct annotation_info){0};
    for (uint32_t i = 0; i < count; i++) {
        const json_t *task = json_array_get(tasks, i);
        const json_t *inputs = json_array_get(task, 1);
        keys[i] = make_key(driver, json_string_value(json_array_get(task, 0)));
        dep_start[i] = dep_count;
        for (uint32_t j = 0; j < json_array_size(inputs); j++) {
            deps[dep_count++] = (uint32_t)json_integer_value(json_array_get(inputs, j));
        }
        priorities[i] = json_integer_value(json_array_get(task, 2));
        run_specs[i] = run_spec;
        notes[i + 1] = make_annotation(driver, json_array_get(task, 3));
        annotation_of[i] = i + 1;
    }
    dep_start[count] = dep_count;
    *graph = (struct graph_info){
        .client = get_client(driver),
        .task_count = count,
        .key_count = count,
        .keys = keys,
        .dep_start = dep_start,
        .deps = deps,
        .run_specs = run_specs,
        .priorities = priorities,
        .annotations = notes,
        .annotation_count = count + 1,
        .annotation_of = annotation_of,
        .wanted = make_keys(driver, json_object_get(driver->line, "wanted")),
        .user_priority = get_real(driver->line, "user_priority"),
        .all_actors = json_is_true(json_object_get(driver->line, "actors")),
        .started = event->time,
    };
    event->of.graph.graph = graph;
}

static void make_task_finished(struct driver *driver, struct event *event)
{
    struct startstop *run = arena_array(&driver->arena, struct startstop, 1);
    *run = (struct startstop){.action = SPAN("compute"),
                              .start = get_real(driver->line, "start"),
                              .stop = get_real(driver->line, "stop")};
    struct span key = get_key(driver);
    event->of.task_finished = (struct event_task_finished){
        .worker = get_worker(driver),
        .key = key,
        .run_id = get_run(driver, key),
        .nbytes = (int64_t)get_real(driver->line, "nbytes"),
        .type = SPAN("type"),
        .typename_ = SPAN("int"),
        .startstops = {run, 1},
    };
}

static void make_task_erred(struct driver *driver, struct event *event)
{
    struct span key = get_key(driver);
    event->of.task_erred = (struct event_task_erred){
        .worker = get_worker(driver),
        .key = key,
        .run_id = get_run(driver, key),
        .exception = blob_create(slice_copy(SPAN("\xa4oops")), 0),
        .exception_text = SPAN("oops"),
    };
}

static void make_long_running(struct driver *driver, struct event *event)
{
    struct span key = get_key(driver);
    event->of.long_running = (struct event_long_running){
        get_worker(driver), key, get_run(driver, key), get_real(driver->line, "seconds")};
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
    event->of.add_keys = (struct event_add_keys){
        get_worker(driver), make_keys(driver, json_object_get(driver->line, "keys"))};
}

static void make_steal_response(struct driver *driver, struct event *event)
{
    const json_t *stimulus = json_object_get(driver->steals, get_text(driver->line, "key"));
    if (stimulus != NULL) {
        event->stimulus = span_of_text(json_string_value(stimulus));
    }
    event->of.steal_response = (struct event_steal_response){
        get_worker(driver), get_key(driver), span_of_text(get_text(driver->line, "state"))};
}

static void make_client_releases(struct driver *driver, struct event *event)
{
    event->of.client_releases =
        (struct event_client_releases){span_of_text(get_text(driver->line, "client")),
                                       make_keys(driver, json_object_get(driver->line, "keys"))};
}

static void make_cancel(struct driver *driver, struct event *event)
{
    event->of.cancel = (struct event_cancel){
        .client = get_client(driver),
        .keys = make_keys(driver, json_object_get(driver->line, "keys")),
        .force = json_is_true(json_object_get(driver->line, "force")),
    };
}

static void make_retry(struct driver *driver, struct event *event)
{
    event->of.retry = (struct event_retry){
        get_client(driver), make_keys(driver, json_object_get(driver->line, "keys"))};
}

static void make_data_placed(struct driver *driver, struct event *event)
{
    struct span *key = arena_array(&driver->arena, struct span, 1);
    worker_id *holder = arena_array(&driver->arena, worker_id, 1);
    int64_t *size = arena_array(&driver->arena, int64_t, 1);
    *key = get_key(driver);
    *holder = get_worker(driver);
    *size = (int64_t)get_real(driver->line, "nbytes");
    event->of.data_placed =
        (struct event_data_placed){get_client(driver), {key, 1}, {holder, 1}, {size, 1}};
}

static void make_tick(struct driver *driver, struct event *event)
{
    (void)driver;
    event->of.tick.reserved = 0;
}

static const struct {
    const char *name;
    enum event_kind kind;
    void (*make)(struct driver *driver, struct event *event);
} makers[] = {
    {"add-keys", EVENT_ADD_KEYS, make_add_keys},
    {"cancel", EVENT_CANCEL, make_cancel},
    {"client-add", EVENT_CLIENT_ADD, make_client_add},
    {"data-placed", EVENT_DATA_PLACED, make_data_placed},
    {"erred", EVENT_TASK_ERRED, make_task_erred},
    {"finished", EVENT_TASK_FINISHED, make_task_finished},
    {"graph", EVENT_GRAPH, make_graph},
    {"heartbeat", EVENT_WORKER_HEARTBEAT, make_worker_heartbeat},
    {"long-running", EVENT_LONG_RUNNING, make_long_running},
    {"release", EVENT_CLIENT_RELEASES, make_client_releases},
    {"release-data", EVENT_RELEASE_WORKER_DATA, make_release_worker_data},
    {"reschedule", EVENT_RESCHEDULE, make_reschedule},
    {"retry", EVENT_RETRY, make_retry},
    {"steal-response", EVENT_STEAL_RESPONSE, make_steal_response},
    {"tick", EVENT_TICK, make_tick},
    {"worker-add", EVENT_WORKER_ADD, make_worker_add},
    {"worker-remove", EVENT_WORKER_REMOVE, make_worker_remove},
    {"worker-status", EVENT_WORKER_STATUS, make_worker_status},
};

/* ---- what was sent ---- */

static json_t *text_of(struct span text)
{
    return json_stringn((const char *)text.data, text.size);
}

static json_t *key_text(struct span key)
{
    return json_stringn((const char *)key.data + 1, key.size - 1);
}

static void note(struct driver *driver, struct span peer, const char *op, json_t *what)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)peer.size, (const char *)peer.data);
    json_t *list = json_object_get(driver->sent, name);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(driver->sent, name, list);
    }
    json_array_append_new(list, json_pack("[s,o]", op, what));
}

static void note_worker(struct driver *driver, worker_id worker, const char *op, json_t *what)
{
    note(driver, worker == WORKER_NONE ? SPAN("*") : view_worker_address(driver->s, worker), op,
         what);
}

static void note_worker_keys(struct driver *driver, const struct action_free_keys *action,
                             const char *op)
{
    for (uint32_t i = 0; i < action->keys.count; i++) {
        note_worker(driver, action->worker, op, key_text(action->keys.items[i]));
    }
}

static void note_client(struct driver *driver, client_id client, const char *op, struct span key)
{
    struct client_view view = {.name = SPAN("**")};
    if (client != CLIENT_NONE) {
        view_client(driver->s, client, &view);
    }
    note(driver, view.name, op, key_text(key));
}

static void note_steal(struct driver *driver, const struct action_steal_request *request)
{
    json_t *key = key_text(request->key);
    json_object_set_new(driver->steals, json_string_value(key), text_of(request->stimulus));
    note_worker(driver, request->worker, "steal-request", key);
}

static void note_action(struct driver *driver, const struct action *action)
{
    switch (action->kind) {
    case ACTION_COMPUTE:
        note_worker(driver, action->of.compute.worker, "compute-task",
                    key_text(view_task_key(action->of.compute.task)));
        break;
    case ACTION_FREE_KEYS:
        note_worker_keys(driver, &action->of.free_keys, "free-keys");
        break;
    case ACTION_REMOVE_REPLICAS:
        note_worker_keys(driver, &action->of.free_keys, "remove-replicas");
        break;
    case ACTION_ACQUIRE_REPLICAS:
        for (uint32_t i = 0; i < action->of.acquire_replicas.inputs.count; i++) {
            note_worker(driver, action->of.acquire_replicas.worker, "acquire-replicas",
                        key_text(action->of.acquire_replicas.inputs.items[i].key));
        }
        break;
    case ACTION_STEAL_REQUEST:
        note_steal(driver, &action->of.steal_request);
        break;
    case ACTION_FORGET_WORKER:
        note_worker(driver, action->of.forget_worker.worker, "remove-worker",
                    text_of(view_worker_address(driver->s, action->of.forget_worker.gone)));
        break;
    case ACTION_KEY_IN_MEMORY:
        note_client(driver, action->of.key_in_memory.client, "key-in-memory",
                    action->of.key_in_memory.key);
        break;
    case ACTION_KEY_ERRED:
        note_client(driver, action->of.key_erred.client, "task-erred", action->of.key_erred.key);
        break;
    case ACTION_LOST_DATA:
        note_client(driver, action->of.lost_data.client, "lost-data", action->of.lost_data.key);
        break;
    case ACTION_KEY_RETRIED:
        note_client(driver, action->of.key_retried.client, "task-retried",
                    action->of.key_retried.key);
        break;
    case ACTION_KEYS_CANCELLED:
        for (uint32_t i = 0; i < action->of.keys_cancelled.keys.count; i++) {
            note_client(driver, action->of.keys_cancelled.client, "cancelled-keys",
                        action->of.keys_cancelled.keys.items[i]);
        }
        break;
    case ACTION_NOTICE:
    case ACTION_LOG:
        break;
    default:
        note(driver, SPAN("?"), "action", json_integer((json_int_t)action->kind));
        break;
    }
}

/* ---- what it is now ---- */

static json_t *show_task(const struct scheduler *s, const struct task *task)
{
    struct task_view view;
    view_task(s, task, &view);
    json_t *holders = json_array();
    for (uint32_t i = 0; i < view.holder_count; i++) {
        json_array_append_new(holders, text_of(view_worker_address(s, view_task_holder(task, i))));
    }
    json_t *where = view.processing_on == WORKER_NONE
                        ? json_null()
                        : text_of(view_worker_address(s, view.processing_on));
    return json_pack("{s:s,s:o,s:o,s:i,s:i,s:i,s:i,s:i,s:I}", "state", task_state_name(view.state),
                     "processing_on", where, "who_has", holders, "suspicious", (int)view.suspicious,
                     "retries", (int)view.retries, "waiting_on", (int)view.waiting_on_count,
                     "waiters", (int)view.waiter_count, "who_wants", (int)view.wanter_count,
                     "nbytes", (json_int_t)view.nbytes);
}

/* By level, in the order in which they are looked at. */
static json_t *show_stealable(const struct scheduler *s, worker_id id)
{
    const struct worker *worker = worker_at(s, id);
    json_t *levels = json_array();
    for (uint32_t level = 0; level < STEAL_LEVELS; level++) {
        json_t *keys = json_array();
        for (uint32_t i = worker->stealable[level].count; i > 0; i--) {
            const struct task *task = task_at(s, worker->stealable[level].items[i - 1]);
            json_array_append_new(keys, key_text(view_task_key(task)));
        }
        json_array_append_new(levels, keys);
    }
    return levels;
}

static json_t *show_worker(const struct scheduler *s, worker_id worker)
{
    struct worker_view view;
    view_worker(s, worker, &view);
    json_t *used = json_object();
    for (uint32_t i = 0; i < view.used_resources.count; i++) {
        const struct resource *item = &view.used_resources.items[i];
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)item->name.size, (const char *)item->name.data);
        json_object_set_new(used, name, json_real(item->amount));
    }
    json_t *processing = json_array();
    for (uint32_t i = 0; i < view.processing_count; i++) {
        const struct task *task = view_worker_processes(s, worker, i);
        json_array_append_new(processing, key_text(view_task_key(task)));
    }
    json_t *has = json_array();
    for (uint32_t i = 0; i < view.has_what_count; i++) {
        json_array_append_new(has, key_text(view_task_key(view_worker_has(s, worker, i))));
    }
    return json_pack("{s:o,s:f,s:I,s:b,s:b,s:o,s:o,s:o,s:i}", "stealable",
                     show_stealable(s, worker), "occupancy", view.occupancy, "nbytes",
                     (json_int_t)view.nbytes, "idle", view.idle, "saturated", view.saturated,
                     "used", used, "processing", processing, "has_what", has, "long_running",
                     (int)view.long_running_count);
}

static json_t *show_prefixes(const struct scheduler *s)
{
    json_t *prefixes = json_object();
    for (uint32_t i = 0; i < view_prefix_count(s); i++) {
        struct prefix_view view;
        if (view_prefix(s, i, &view)) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)view.name.size, (const char *)view.name.data);
            json_object_set_new(prefixes, name, json_real(view.duration_average));
        }
    }
    return prefixes;
}

static void answer(struct driver *driver)
{
    json_t *tasks = json_object();
    uint32_t count;
    const struct task *const *list = view_tasks(driver->s, &driver->arena, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct span key = view_task_key(list[i]);
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)key.size - 1, (const char *)key.data + 1);
        json_object_set_new(tasks, name, show_task(driver->s, list[i]));
    }
    json_t *workers = json_object();
    for (uint32_t i = 0; i < view_worker_count(driver->s); i++) {
        worker_id worker = view_worker_at(driver->s, i);
        struct span address = view_worker_address(driver->s, worker);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)address.size, (const char *)address.data);
        json_object_set_new(workers, name, show_worker(driver->s, worker));
    }
    struct totals_view totals;
    view_totals(driver->s, &totals);
    json_t *all =
        json_pack("{s:O,s:o,s:o,s:o,s:i,s:i,s:f,s:i}", "sent", driver->sent, "tasks", tasks,
                  "workers", workers, "prefixes", show_prefixes(driver->s), "queued",
                  (int)totals.queued_count, "unrunnable", (int)totals.unrunnable_count, "occupancy",
                  totals.occupancy, "target", (int)adapt_target(driver->s, 5.0));
    char *text = json_dumps(all, JSON_REAL_PRECISION(17));
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(all);
}

static void apply(struct driver *driver)
{
    const char *name = get_text(driver->line, "op");
    struct event event = {.time = get_real(driver->line, "time"), .stimulus = SPAN("test")};
    size_t i = 0;
    while (i < sizeof makers / sizeof *makers && strcmp(makers[i].name, name) != 0) {
        i++;
    }
    if (i == sizeof makers / sizeof *makers) {
        fprintf(stderr, "core_driver: unknown event %s\n", name);
        exit(1);
    }
    event.kind = makers[i].kind;
    makers[i].make(driver, &event);
    scheduler_step(driver->s, &event, &driver->step);
    driver->sent = json_object();
    for (uint32_t j = 0; j < driver->step.action_count; j++) {
        note_action(driver, &driver->step.actions[j]);
    }
    answer(driver);
    json_decref(driver->sent);
}

static void configure(const json_t *line, struct scheduler_config *config)
{
    scheduler_config_init(config);
    config->check = true;
    config->amm_start = false;
    config->worker_ttl = INFINITY;
    config->work_stealing = json_is_true(json_object_get(line, "stealing"));
    double saturation = get_real(line, "saturation");
    config->worker_saturation = saturation == 0 ? INFINITY : saturation;
}

int main(void)
{
    static char buffer[1 << 20];
    struct driver driver = {0};
    arena_init(&driver.arena);
    step_init(&driver.step);
    driver.steals = json_object();
    while (fgets(buffer, sizeof buffer, stdin) != NULL) {
        driver.line = json_loads(buffer, 0, NULL);
        if (driver.line == NULL) {
            fprintf(stderr, "core_driver: not JSON: %s\n", buffer);
            return 1;
        }
        if (strcmp(get_text(driver.line, "op"), "begin") == 0) {
            struct scheduler_config config;
            configure(driver.line, &config);
            if (driver.s != NULL) {
                scheduler_destroy(driver.s);
            }
            driver.s = scheduler_create(&config);
        } else {
            apply(&driver);
        }
        json_decref(driver.line);
        arena_reset(&driver.arena);
    }
    if (driver.s != NULL) {
        scheduler_destroy(driver.s);
    }
    json_decref(driver.steals);
    step_fini(&driver.step);
    arena_fini(&driver.arena);
    return 0;
}
