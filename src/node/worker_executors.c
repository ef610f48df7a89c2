/* worker_executors.c: the executors of a worker: how they begin, what they say, how they end.
 *
 * An executor is usable once it has answered HELLO and has every plugin; until then tasks wait. A new one, after
 * a death, goes the same way, so plugins are where user code expects them. */
#include <unistd.h>

#include "base/log.h"
#include "node/worker_internal.h"
#include "wire/payload.h"

#define LOGGER "distributed.worker"
#define EARLY_DEATHS_MAX 3u
#define SPARES_MAX 64       /* a slip of the pen is not to fill the machine with processes */
#define SLOTS_PER_THREAD 32 /* of the board: tasks that have seceded keep theirs */

/* ---- becoming usable --------------------------------------------------------------------------- */

static void put_cstr(struct text *map, const char *name, const char *value)
{
    msgpack_write_cstr(map, name);
    msgpack_write_cstr(map, value);
}

static void put_list(struct text *map, const char *name, const char *const *items)
{
    uint32_t count = 0;
    while (items != NULL && items[count] != NULL) {
        count++;
    }
    msgpack_write_cstr(map, name);
    msgpack_write_array(map, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_write_cstr(map, items[i]);
    }
}

static void put_resources(struct worker_node *worker, struct text *map)
{
    msgpack_write_cstr(map, "resources");
    msgpack_write_map(map, worker->resources.count);
    for (uint32_t i = 0; i < worker->resources.count; i++) {
        msgpack_write_str(map, worker->resources.items[i].name);
        msgpack_write_number(map, worker->resources.items[i].amount);
    }
}

/* Certificates that clients inside tasks connect with; nothing without TLS. */
static void put_tls(const struct worker_node *worker, struct text *map)
{
    static const char *const files[][2] = {{"ca_file", "distributed.comm.tls.ca-file"},
                                           {"cert", "distributed.comm.tls.worker.cert"},
                                           {"key", "distributed.comm.tls.worker.key"}};
    msgpack_write_cstr(map, "tls");
    msgpack_write_map(map, worker->comm_settings.tls == NULL ? 0 : 3);
    for (uint32_t i = 0; worker->comm_settings.tls != NULL && i < 3; i++) {
        const char *value = config_text(worker->config, files[i][1], NULL);
        msgpack_write_cstr(map, files[i][0]);
        if (value == NULL) {
            msgpack_write_nil(map);
        } else {
            msgpack_write_cstr(map, value);
        }
    }
}

/* What executors and the nanny's Python are told alike: COMMON_FIELDS of them. */
enum { COMMON_FIELDS = 9 };

static void put_common(struct worker_node *worker, uint32_t nthreads, struct text *map)
{
    put_cstr(map, "address", text_cstr(&worker->server.address));
    msgpack_write_cstr(map, "name");
    msgpack_write_raw(map, slice_span(worker->name));
    msgpack_write_cstr(map, "nanny");
    if (worker->nanny.address.size > 0) {
        msgpack_write_str(map, text_span(&worker->nanny.address));
    } else {
        msgpack_write_nil(map);
    }
    msgpack_write_cstr(map, "nthreads");
    msgpack_write_uint(map, nthreads);
    msgpack_write_cstr(map, "memory_limit");
    msgpack_write_uint(map, worker->options.memory_limit);
    put_cstr(map, "local_directory", text_cstr(&worker->directory));
    put_cstr(map, "scheduler", text_cstr(&worker->scheduler));
    put_cstr(map, "status", worker_phase_text(worker->status));
    put_tls(worker, map);
}

static void say_hello(struct worker_node *worker, const struct seat *seat)
{
    struct text map = {0};
    msgpack_write_map(&map, COMMON_FIELDS + 7);
    put_common(worker, seat->nthreads, &map);
    msgpack_write_cstr(&map, "scheduler_delay");
    msgpack_write_float(&map, worker->link.delay);
    put_cstr(&map, "id", text_cstr(&worker->id));
    put_resources(worker, &map);
    put_list(&map, "preload", worker->options.preload);
    put_list(&map, "preload_argv", worker->options.preload_argv);
    put_cstr(&map, "worker_class",
             worker->options.worker_class == NULL ? "" : worker->options.worker_class);
    msgpack_write_cstr(&map, "data_keys");
    msgpack_write_bool(&map, true);
    channel_add_settings(executor_out(seat->executor), EXECUTOR_HELLO, text_span(&map));
    text_fini(&map);
}

void worker_say_hello_to_nanny(struct worker_node *worker, struct executor *executor)
{
    struct text map = {0};
    msgpack_write_map(&map, COMMON_FIELDS + 4);
    put_common(worker, worker->options.nthreads, &map);
    put_cstr(&map, "role", "nanny");
    put_cstr(&map, "id", text_cstr(&worker->nanny_id));
    put_list(&map, "preload", worker->options.preload_nanny);
    msgpack_write_cstr(&map, "worker_pid");
    msgpack_write_int(&map, getpid());
    channel_add_settings(executor_out(executor), EXECUTOR_HELLO, text_span(&map));
    text_fini(&map);
}

void worker_update_nanny(struct worker_node *worker, struct executor *executor)
{
    struct text map = {0};
    msgpack_write_map(&map, 1);
    put_cstr(&map, "address", text_cstr(&worker->server.address));
    channel_add_settings(executor_out(executor), EXECUTOR_UPDATE, text_span(&map));
    text_fini(&map);
}

static void assigned(void *user, uint32_t index, struct executor *executor)
{
    struct worker_node *worker = user;
    struct seat *seat = &worker->seats.items[index];
    seat->executor = executor;
    seat->state = SEAT_GREETED;
    say_hello(worker, seat);
}

/* One of the calls that make a seat usable was answered; its number is the user. */
static void prepared(void *user, struct worker_node *worker, const struct frames *reply)
{
    struct seat *seat = &worker->seats.items[(uintptr_t)user];
    struct span status;
    if (seat->state != SEAT_PREPARING) {
        return; /* it has died meanwhile */
    }
    if (reply != NULL && msgpack_find(frames_head(reply), "status", &status) == OK &&
        !span_equal(status, SPAN("\xa2OK"))) {
        struct span text;
        log_error(LOGGER, "a plugin could not be added in an executor");
        if (msgpack_find(frames_head(reply), "exception_text", &text) == OK) {
            log_error(LOGGER, "%.*s", (int)text.size, (const char *)text.data);
        }
    }
    seat->answered++;
    if (--seat->preparing == 0) {
        seat->state = SEAT_USABLE;
        worker->early_deaths = 0;
    }
}

void worker_call_plugin_add(struct worker_node *worker, struct call_wish *wish, struct span name,
                            const struct blob *plugin)
{
    struct text map = {0};
    msgpack_write_map(&map, 2);
    msgpack_write_cstr(&map, "name");
    msgpack_write_raw(&map, name);
    msgpack_write_cstr(&map, "plugin");
    msgpack_write_raw(&map, slice_span(plugin->value));
    struct executor_payload arguments = worker_payload_of(&worker->scratch, plugin);
    arguments.value = text_span(&map);
    wish->arguments = &arguments;
    worker_call(worker, wish);
    text_fini(&map);
}

static void prepare(struct worker_node *worker, uint32_t index)
{
    struct seat *seat = &worker->seats.items[index];
    seat->state = SEAT_PREPARING;
    seat->preparing = 1; /* this function */
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&worker->plugins, &cursor)) != NULL;) {
        struct call_wish wish = {.seat = index,
                                 .op = SPAN("plugin-add"),
                                 .replied = prepared,
                                 .user = (void *)(uintptr_t)index};
        seat->preparing++;
        worker_call_plugin_add(worker, &wish, entry->name, entry->value.pointer);
    }
    prepared((void *)(uintptr_t)index, worker, NULL);
    seat->answered = 0;
}

void worker_executors_prepare(struct worker_node *worker)
{
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state == SEAT_WELCOME) {
            prepare(worker, i);
        }
    }
}

/* What packages it has: the scheduler compares them when we register. */
static void versions_came(void *user, struct worker_node *worker, const struct frames *reply)
{
    (void)user;
    if (reply == NULL || worker->is_closing) {
        return; /* its successor will be asked */
    }
    if (worker->versions == NULL &&
        payload_take(reply, frames_head(reply), &worker->versions) == OK) {
        worker_link_open(worker);
    }
}

static void welcome(struct worker_node *worker, uint32_t index,
                    const struct executor_message *message)
{
    struct seat *seat = &worker->seats.items[index];
    if (seat->state != SEAT_GREETED) {
        return;
    }
    if (message->text.size > 0) {
        log_error(LOGGER, "An executor cannot be used: %.*s", (int)message->text.size,
                  (const char *)message->text.data);
        worker_close(worker, "worker-executor-failed", 1);
        return;
    }
    seat->state = SEAT_WELCOME;
    worker_take_handlers(worker, index, message->map);
    if (worker->link.is_registered) {
        prepare(worker, index);
    } else if (worker->versions != NULL) {
        worker_link_open(worker);
    } else {
        const struct call_wish wish = {
            .seat = index, .op = SPAN("versions"), .replied = versions_came};
        worker_call(worker, &wish);
    }
}

/* ---- what they say ----------------------------------------------------------------------------- */

static void exported(struct worker_node *worker, uint32_t seat, struct object *object,
                     struct executor_message *message)
{
    const struct executor_error unusable = {
        .exception_text = SPAN("RuntimeError('an executor sent no usable value')")};
    struct store_value *value;
    if (worker_value_of(worker, object, &message->payload, &value) == OK) {
        worker_death_exported(worker, object);
        store_exported(worker->store, seat, object->handle, value);
    } else {
        object_unfit(worker, object, seat, &unusable);
    }
}

/* Messages about an object; its handle is only believed from the seat that has it. */
static void about_object(struct worker_node *worker, uint32_t index,
                         struct executor_message *message)
{
    struct object *object = object_find(&worker->objects, message->handle);
    if (object == NULL || (object->known >> index & 1) == 0) {
        return; /* given up meanwhile */
    }
    bool runs_here = object->run != NULL && worker_run_seat(object) == index;
    switch (message->op) {
    case EXECUTOR_EXPORTED:
        exported(worker, index, object, message);
        break;
    case EXECUTOR_EXPORT_FAILED:
        buf_unref(object->lent);
        object->lent = NULL;
        object_unfit(worker, object, index, &message->error);
        break;
    case EXECUTOR_DONE:
        if (runs_here) {
            worker_run_done(worker, object, message);
        }
        break;
    case EXECUTOR_FAILED:
        if (runs_here) {
            worker_run_failed(worker, object, message);
        }
        break;
    case EXECUTOR_RESCHEDULE:
    case EXECUTOR_CANCELLED:
        if (runs_here) {
            worker_run_stopped(worker, object);
        }
        break;
    case EXECUTOR_SECEDED:
        if (runs_here) {
            worker_run_seceded(worker, object, message->seconds);
        }
        break;
    case EXECUTOR_OUTPUT: /* its own stream has shown it already */
        if (runs_here) {
            worker_record_output(object, message);
        }
        break;
    default:
        break;
    }
}

static void message_came(void *user, uint32_t index, struct executor *executor,
                         struct executor_message *message)
{
    (void)executor;
    struct worker_node *worker = user;
    if (worker->is_closing || worker->seats.items[index].state == SEAT_EMPTY) {
        return;
    }
    arena_reset(&worker->scratch);
    switch (message->op) {
    case EXECUTOR_WELCOME:
        welcome(worker, index, message);
        break;
    case EXECUTOR_REPLY:
        worker_call_replied(worker, index, message);
        break;
    case EXECUTOR_ASK:
        worker_asked(worker, index, message);
        break;
    case EXECUTOR_TELL:
        worker_told(worker, index, message);
        break;
    default:
        about_object(worker, index, message);
        break;
    }
}

/* ---- ends -------------------------------------------------------------------------------------- */

/* The plugin that executors die of: they are added in order, so it is the first that was not answered for. */
static bool leave_plugin_out(struct worker_node *worker, uint32_t answered)
{
    uint32_t cursor = 0;
    struct map_entry *entry = map_next(&worker->plugins, &cursor);
    while (entry != NULL && answered-- > 0) {
        entry = map_next(&worker->plugins, &cursor);
    }
    if (entry == NULL) {
        return false;
    }
    struct text name = {0};
    msgpack_print(&name, entry->name, 200);
    log_error(LOGGER, "The plugin %s is left out: executors die when it is added",
              text_cstr(&name));
    text_fini(&name);
    blob_unref(entry->value.pointer);
    map_remove(&worker->plugins, entry->name);
    return true;
}

/* Several in a row that were never usable: what they are given to begin with kills them. */
static void note_early_death(struct worker_node *worker, const struct seat *seat)
{
    bool is_early = seat->state == SEAT_GREETED || seat->state == SEAT_PREPARING;
    if (!is_early || ++worker->early_deaths < EARLY_DEATHS_MAX) {
        return;
    }
    worker->early_deaths = 0;
    if (seat->state == SEAT_GREETED || !leave_plugin_out(worker, seat->answered)) {
        log_error(LOGGER, "Executors die before they can be used");
        worker_close(worker, "worker-executor-failed", 1);
    }
}

static void died(void *user, uint32_t index, const struct executor_death *death)
{
    struct worker_node *worker = user;
    struct seat *seat = &worker->seats.items[index];
    struct text report = {0};
    worker_death_print(worker, death, &report);
    log_error(LOGGER, "%s", text_cstr(&report));
    text_fini(&report);
    note_early_death(worker, seat);
    seat->executor = NULL;
    seat->state = SEAT_EMPTY;
    seat->preparing = 0;
    seat->beats = false;
    seat->listens = false;
    worker_look_for_listeners(worker);
    arena_reset(&worker->scratch);
    worker_shuffles_died(worker, index);
    worker_calls_died(worker, index);
    worker_runs_died(worker, index, death);
    seat->running = 0;
}

static void start_failed(void *user, uint32_t count, const struct executor_death *death)
{
    struct worker_node *worker = user;
    struct text report = {0};
    worker_death_print(worker, death, &report);
    log_error(LOGGER, "An executor did not start (%u in a row): %s", count, text_cstr(&report));
    text_fini(&report);
    if (!worker->link.is_registered && count >= 3) {
        worker_close(worker, "worker-executor-failed", 1);
    }
}

static void cannot_fork(void *user, const char *why)
{
    (void)user;
    log_info(LOGGER, "Each executor is started for itself, as none can be forked: %s", why);
}

static const struct supervisor_events supervisor_events = {
    .assigned = assigned,
    .message = message_came,
    .died = died,
    .start_failed = start_failed,
    .cannot_fork = cannot_fork,
};

/* The same settings to all that were greeted. */
static void update_all(struct worker_node *worker, struct span map)
{
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state >= SEAT_WELCOME) {
            channel_add_settings(executor_out(worker->seats.items[i].executor), EXECUTOR_UPDATE,
                                 map);
        }
    }
}

void worker_update_resources(struct worker_node *worker)
{
    struct text map = {0};
    msgpack_write_map(&map, 1);
    put_resources(worker, &map);
    update_all(worker, text_span(&map));
    text_fini(&map);
}

void worker_executors_replace(struct worker_node *worker, const char *reason)
{
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        struct seat *seat = &worker->seats.items[i];
        seat->state = SEAT_EMPTY; /* what it still says is of no interest */
        text_clear(&seat->shuffles);
        if (seat->executor != NULL) {
            executor_kill(seat->executor, EXECUTOR_END_ASKED, reason);
        }
    }
}

/* ---- the start --------------------------------------------------------------------------------- */

bool worker_executors_are_there(const struct worker_node *worker)
{
    bool is_one_there = false;
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        is_one_there = is_one_there || worker->seats.items[i].state >= SEAT_WELCOME;
    }
    return is_one_there && worker->versions != NULL;
}

static void make_seats(struct worker_node *worker)
{
    uint32_t count = worker->options.executors;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t nthreads = worker->options.nthreads / count;
        nthreads += i < worker->options.nthreads % count;
        vec_push(&worker->seats, ((struct seat){.nthreads = nthreads}));
    }
}

int worker_executors_start(struct worker_node *worker, struct text *why)
{
    struct text python = {0}, texts = {0};
    const char **environment = worker_environment(worker, (struct span){0}, &python, &texts);
    make_seats(worker);
    int64_t spares = config_int(worker->config, "cask.worker.spares", 1);
    uint32_t spare_count = spares < 0 ? 0 : spares > SPARES_MAX ? SPARES_MAX : (uint32_t)spares;
    struct supervisor_options options = {
        .executor = {.python = text_cstr(&python),
                     .environment = environment,
                     .cgroups = worker->cgroups,
                     .slot_count = worker->seats.items[0].nthreads * SLOTS_PER_THREAD},
        .executor_count = worker->seats.count,
        .spare_count = spare_count,
        .forks = spare_count > 0,
        .events = &supervisor_events,
        .user = worker,
    };
    int code = supervisor_create(worker->loop, &options, &worker->supervisor, why);
    mem_free(environment);
    text_fini(&python);
    text_fini(&texts);
    return code;
}
