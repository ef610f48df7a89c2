/* worker_driver: a worker core that reads events as lines of JSON from stdin and answers each with a line that
 * says what it asked for and what its state is, for test/interop/test_worker_differential.py.
 *
 * {"op": "begin"} makes a new one. Keys are strings of up to 31 bytes. Bad input ends the program: its one
 * user is a test. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/worker/view.h"

struct driver {
    struct worker_state *w;
    struct worker_step step;
    struct arena arena; /* of the event being made */
    json_t *line;
};

static _Noreturn void give_up(const char *what, const char *name)
{
    fprintf(stderr, "worker_driver: %s %s\n", what, name);
    exit(1);
}

static struct span text_of(const json_t *value)
{
    if (!json_is_string(value)) {
        give_up("no text", "");
    }
    return span_of_text(json_string_value(value));
}

static json_t *get(const struct driver *driver, const char *name)
{
    json_t *value = json_object_get(driver->line, name);
    if (value == NULL) {
        give_up("no field", name);
    }
    return value;
}

/* Canonical msgpack of a short string. */
static struct span make_key(struct driver *driver, const json_t *value)
{
    struct span text = text_of(value);
    if (text.size > 31) {
        give_up("too long:", (const char *)text.data);
    }
    uint8_t *bytes = arena_alloc(&driver->arena, text.size + 1);
    bytes[0] = (uint8_t)(0xa0 | text.size);
    memcpy(bytes + 1, text.data, text.size);
    return span_of(bytes, text.size + 1);
}

static struct span_list make_keys(struct driver *driver)
{
    const json_t *list = get(driver, "keys");
    uint32_t count = (uint32_t)json_array_size(list);
    struct span *keys = arena_array(&driver->arena, struct span, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = make_key(driver, json_array_get(list, i));
    }
    return (struct span_list){keys, count};
}

static struct resource_list make_resources(struct driver *driver)
{
    json_t *object = get(driver, "resources");
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

/* [[key, nbytes, [address, …]], …] */
static struct worker_holding_list make_holdings(struct driver *driver)
{
    const json_t *list = get(driver, "holdings");
    uint32_t count = (uint32_t)json_array_size(list);
    struct worker_holding *items = arena_array(&driver->arena, struct worker_holding, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(list, i);
        const json_t *addresses = json_array_get(row, 2);
        uint32_t holder_count = (uint32_t)json_array_size(addresses);
        struct span *holders = arena_array(&driver->arena, struct span, holder_count + 1);
        for (uint32_t j = 0; j < holder_count; j++) {
            holders[j] = text_of(json_array_get(addresses, j));
        }
        items[i] = (struct worker_holding){
            .key = make_key(driver, json_array_get(row, 0)),
            .nbytes = json_integer_value(json_array_get(row, 1)),
            .holders = {holders, holder_count},
        };
    }
    return (struct worker_holding_list){items, count};
}

/* [[key, nbytes], …] */
static struct worker_offer_list make_offers(struct driver *driver)
{
    const json_t *list = get(driver, "offers");
    uint32_t count = (uint32_t)json_array_size(list);
    struct worker_offer *items = arena_array(&driver->arena, struct worker_offer, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(list, i);
        items[i] = (struct worker_offer){.key = make_key(driver, json_array_get(row, 0)),
                                         .nbytes = json_integer_value(json_array_get(row, 1))};
    }
    return (struct worker_offer_list){items, count};
}

/* ---- events ---- */

static struct span the_key(struct driver *driver)
{
    return make_key(driver, get(driver, "key"));
}

static task_id the_task(struct driver *driver)
{
    task_id task = worker_task_find(driver->w, the_key(driver));
    if (task == TASK_NONE) {
        give_up("no such task:", json_string_value(get(driver, "key")));
    }
    return task;
}

static int64_t integer(const struct driver *driver, const char *name)
{
    return json_integer_value(get(driver, name));
}

static void make_compute_task(struct driver *driver, struct worker_event *event)
{
    const json_t *priority = get(driver, "priority");
    event->of.compute_task = (struct worker_event_compute_task){
        .key = the_key(driver),
        .run_id = integer(driver, "run_id"),
        .priority = {json_number_value(json_array_get(priority, 0)),
                     json_number_value(json_array_get(priority, 1)),
                     json_integer_value(json_array_get(priority, 2))},
        .inputs = make_holdings(driver),
        .resources = make_resources(driver),
        .actor = json_is_true(get(driver, "actor")),
    };
}

static const struct worker_failure the_failure;

static void make_event(struct driver *driver, struct worker_event *event)
{
    switch (event->kind) {
    case WORKER_EVENT_COMPUTE_TASK:
        make_compute_task(driver, event);
        break;
    case WORKER_EVENT_FREE_KEYS:
    case WORKER_EVENT_REMOVE_REPLICAS:
    case WORKER_EVENT_DATA_LOST:
        event->of.free_keys.keys = make_keys(driver);
        break;
    case WORKER_EVENT_ACQUIRE_REPLICAS:
    case WORKER_EVENT_REFRESH_WHO_HAS:
        event->of.acquire_replicas.holdings = make_holdings(driver);
        break;
    case WORKER_EVENT_STEAL_REQUEST:
    case WORKER_EVENT_CANCEL_COMPUTE:
        event->of.steal_request.key = the_key(driver);
        break;
    case WORKER_EVENT_REMOVE_WORKER:
    case WORKER_EVENT_GATHER_BUSY:
    case WORKER_EVENT_GATHER_NETWORK_FAILURE:
    case WORKER_EVENT_RETRY_BUSY_WORKER:
        event->of.remove_worker.worker = text_of(get(driver, "worker"));
        break;
    case WORKER_EVENT_GATHER_SUCCESS:
        event->of.gather_success = (struct worker_event_gather_success){
            text_of(get(driver, "worker")), make_offers(driver)};
        break;
    case WORKER_EVENT_GATHER_FAILURE:
        event->of.gather_failure =
            (struct worker_event_gather_failure){text_of(get(driver, "worker")), &the_failure};
        break;
    case WORKER_EVENT_UPDATE_DATA:
        event->of.update_data.offers = make_offers(driver);
        break;
    case WORKER_EVENT_EXECUTE_SUCCESS:
        event->of.execute_success = (struct worker_event_execute_success){
            the_task(driver), integer(driver, "run_id"), integer(driver, "nbytes"), NULL, 0};
        break;
    case WORKER_EVENT_EXECUTE_FAILURE:
        event->of.execute_failure = (struct worker_event_execute_failure){
            the_task(driver), integer(driver, "run_id"), &the_failure, NULL};
        break;
    case WORKER_EVENT_EXECUTE_RESCHEDULE:
        event->of.execute_reschedule.task = the_task(driver);
        break;
    case WORKER_EVENT_SECEDE:
        event->of.secede = (struct worker_event_secede){
            the_task(driver), json_number_value(get(driver, "compute_duration"))};
        break;
    case WORKER_EVENT_SET_RESOURCES:
        event->of.set_resources.resources = make_resources(driver);
        break;
    default:
        break; /* nothing to say */
    }
}

/* ---- answers ---- */

static json_t *show_text(struct span text)
{
    return json_stringn(text.size == 0 ? "" : (const char *)text.data, text.size);
}

static json_t *show_key(struct span key)
{
    return key.size == 0 ? json_null() : show_text(span_of(key.data + 1, key.size - 1));
}

static json_t *show_keys(struct span_list keys)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < keys.count; i++) {
        json_array_append_new(list, show_key(keys.items[i]));
    }
    return list;
}

static json_t *show_values(struct worker_value_list values)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < values.count; i++) {
        json_array_append_new(list, show_key(values.items[i].key));
    }
    return list;
}

static json_t *show_duration(double seconds)
{
    return isnan(seconds) ? json_null() : json_real(seconds);
}

static json_t *show_action(const struct worker_action *action)
{
    static const char *const names[] = {
#define ACTION(ID, name, FIELDS) #name,
#include "core/worker/actions.def"
    };
    const char *name = names[action->kind];
    switch (action->kind) {
    case WORKER_ACTION_EXECUTE:
        return json_pack("[s,o]", name, show_key(action->of.execute.key));
    case WORKER_ACTION_GATHER:
        return json_pack("[s,o,o,I]", name, show_text(action->of.gather.worker),
                         show_values(action->of.gather.wanted),
                         (json_int_t)action->of.gather.nbytes);
    case WORKER_ACTION_RETRY_BUSY_LATER:
        return json_pack("[s,o]", name, show_text(action->of.retry_busy_later.worker));
    case WORKER_ACTION_KEEP:
    case WORKER_ACTION_REFUSE:
    case WORKER_ACTION_DROP:
    case WORKER_ACTION_INTERRUPT:
        return json_pack("[s,o]", name, show_key(action->of.keep.key));
    case WORKER_ACTION_TASK_FINISHED:
        return json_pack("[s,o,I,I]", name, show_key(action->of.task_finished.key),
                         (json_int_t)action->of.task_finished.run_id,
                         (json_int_t)action->of.task_finished.nbytes);
    case WORKER_ACTION_TASK_ERRED:
        return json_pack("[s,o,I]", name, show_key(action->of.task_erred.key),
                         (json_int_t)action->of.task_erred.run_id);
    case WORKER_ACTION_RELEASE_WORKER_DATA:
    case WORKER_ACTION_RESCHEDULE:
        return json_pack("[s,o]", name, show_key(action->of.reschedule.key));
    case WORKER_ACTION_LONG_RUNNING:
        return json_pack("[s,o,I,o]", name, show_key(action->of.long_running.key),
                         (json_int_t)action->of.long_running.run_id,
                         show_duration(action->of.long_running.compute_duration));
    case WORKER_ACTION_ADD_KEYS:
    case WORKER_ACTION_REQUEST_REFRESH_WHO_HAS:
        return json_pack("[s,o]", name, show_keys(action->of.add_keys.keys));
    case WORKER_ACTION_STEAL_RESPONSE:
        return json_pack("[s,o,o]", name, show_key(action->of.steal_response.key),
                         action->of.steal_response.state.size == 0
                             ? json_null()
                             : show_text(action->of.steal_response.state));
    default:
        give_up("unexpected action", name);
    }
}

static json_t *show_real(double value)
{
    return isinf(value) ? json_null() : json_real(value);
}

static json_t *show_priority(const struct wtask_view *view)
{
    if (!view->has_priority) {
        return json_null();
    }
    if (isinf(view->priority.generation)) {
        return json_pack("[f]", view->priority.user);
    }
    return json_pack("[o,o,I,I]", show_real(view->priority.user),
                     show_real(view->priority.generation), (json_int_t)view->priority.order,
                     (json_int_t)view->priority_serial);
}

static json_t *show_related(const struct worker_state *w, task_id task, uint32_t count,
                            task_id (*at)(const struct worker_state *, task_id, uint32_t))
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        struct wtask_view view;
        worker_task(w, at(w, task, i), &view);
        json_array_append_new(list, show_key(view.key));
    }
    return list;
}

static json_t *show_task(const struct worker_state *w, task_id task)
{
    struct wtask_view view;
    worker_task(w, task, &view);
    json_t *holders = json_array();
    for (uint32_t i = 0; i < view.holder_count; i++) {
        json_array_append_new(holders, show_text(worker_task_holder(w, task, i)));
    }
    return json_pack(
        "{s:s,s:s,s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:i,s:i,s:o}", "state", wtask_state_name(view.state),
        "previous", wtask_state_name(view.previous), "next", wtask_state_name(view.next), "nbytes",
        (json_int_t)view.nbytes, "run_id", (json_int_t)view.run_id, "priority",
        show_priority(&view), "who_has", holders, "dependencies",
        show_related(w, task, view.dependency_count, worker_task_dependency), "dependents",
        show_related(w, task, view.dependent_count, worker_task_dependent), "waiting_for",
        (int)view.waiting_for_count, "waiters", (int)view.waiter_count, "coming_from",
        show_text(view.coming_from));
}

static json_t *show_tasks(const struct worker_state *w)
{
    json_t *tasks = json_object();
    for (task_id task = 0; task < worker_task_end(w); task++) {
        if (worker_task_is_known(w, task)) {
            struct wtask_view view;
            worker_task(w, task, &view);
            char name[32];
            snprintf(name, sizeof name, "%.*s", (int)view.key.size - 1,
                     (const char *)view.key.data + 1);
            json_object_set_new(tasks, name, show_task(w, task));
        }
    }
    return tasks;
}

static json_t *show_peers(const struct worker_state *w)
{
    json_t *peers = json_object();
    for (uint32_t i = 0; i < worker_peer_end(w); i++) {
        struct worker_peer_view view;
        if (!worker_peer(w, i, &view) ||
            view.has_count + view.in_flight + view.busy + view.in_flight_count == 0) {
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)view.address.size,
                 (const char *)view.address.data);
        json_object_set_new(peers, name,
                            json_pack("{s:i,s:i,s:b,s:b}", "has", (int)view.has_count, "needed",
                                      (int)view.needed_count, "in_flight", view.in_flight, "busy",
                                      view.busy));
    }
    return peers;
}

static json_t *show_resources(const struct worker_state *w)
{
    json_t *resources = json_object();
    struct span name;
    double total;
    double available;
    for (uint32_t i = 0; worker_resource_at(w, i, &name, &total, &available); i++) {
        char text[32];
        snprintf(text, sizeof text, "%.*s", (int)name.size, (const char *)name.data);
        json_object_set_new(resources, text, json_real(available));
    }
    return resources;
}

static void answer(struct driver *driver)
{
    json_t *actions = json_array();
    for (uint32_t i = 0; i < driver->step.action_count; i++) {
        json_array_append_new(actions, show_action(&driver->step.actions[i]));
    }
    struct worker_summary all;
    worker_summarise(driver->w, &all);
    json_t *whole = json_pack(
        "{s:o,s:o,s:o,s:o,s:b,s:i,s:i,s:i,s:I,s:I,s:i,s:I,s:I}", "actions", actions, "tasks",
        show_tasks(driver->w), "peers", show_peers(driver->w), "resources",
        show_resources(driver->w), "running", all.running, "executing", (int)all.executing_count,
        "long_running", (int)all.long_running_count, "in_flight", (int)all.in_flight_task_count,
        "executed", (json_int_t)all.executed_count, "nbytes", (json_int_t)all.nbytes, "incoming",
        (int)all.incoming_count, "incoming_total", (json_int_t)all.incoming_count_total,
        "incoming_bytes", (json_int_t)all.incoming_bytes);
    char *text = json_dumps(whole, JSON_REAL_PRECISION(17));
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(whole);
}

static void apply(struct driver *driver)
{
    static const char *const names[] = {
#define EVENT(ID, name, FIELDS) #name,
#include "core/worker/events.def"
    };
    const char *op = json_string_value(get(driver, "op"));
    struct worker_event event = {.time = json_number_value(get(driver, "time")),
                                 .stimulus = SPAN("test")};
    while (event.kind < WORKER_EVENT_KIND_COUNT && strcmp(names[event.kind], op) != 0) {
        event.kind++;
    }
    if (event.kind == WORKER_EVENT_KIND_COUNT) {
        give_up("unknown event", op);
    }
    make_event(driver, &event);
    worker_step(driver->w, &event, &driver->step);
    answer(driver);
}

static int64_t limit(const struct driver *driver, const char *name)
{
    const json_t *value = get(driver, name);
    return json_is_null(value) ? WORKER_NO_LIMIT : json_integer_value(value);
}

static void begin(struct driver *driver)
{
    struct worker_config config;
    worker_config_init(&config);
    config.address = text_of(get(driver, "address"));
    config.nthreads = (uint32_t)integer(driver, "nthreads");
    config.incoming_limit = limit(driver, "incoming_limit");
    config.message_limit = limit(driver, "message_limit");
    config.throttle_floor = limit(driver, "throttle_floor");
    config.incoming_count_limit = (uint32_t)integer(driver, "incoming_count_limit");
    config.resources = make_resources(driver);
    config.draws_lots = false;
    config.check = true;
    worker_destroy(driver->w);
    driver->w = worker_create(&config);
}

int main(void)
{
    static char buffer[1 << 20];
    struct driver driver = {0};
    arena_init(&driver.arena);
    worker_step_init(&driver.step);
    while (fgets(buffer, sizeof buffer, stdin) != NULL) {
        driver.line = json_loads(buffer, 0, NULL);
        if (driver.line == NULL) {
            give_up("not JSON:", buffer);
        }
        if (strcmp(json_string_value(get(&driver, "op")), "begin") == 0) {
            begin(&driver);
        } else {
            apply(&driver);
        }
        json_decref(driver.line);
        arena_reset(&driver.arena);
    }
    worker_destroy(driver.w);
    worker_step_fini(&driver.step);
    arena_fini(&driver.arena);
    return 0;
}
