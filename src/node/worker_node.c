/* worker_node.c: the worker process: what it is made of, its turn, its beginning and its end. */
#include "node/worker_node.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "node/comm_config.h"
#include "node/share.h"
#include "node/worker_gauges.h"
#include "node/worker_http.h"
#include "node/worker_internal.h"
#include "node/worker_transfers.h"

#define LOGGER "distributed.worker"
#define AHEAD_PER_THREAD 16

/* ---- the turn ---------------------------------------------------------------------------------- */

void worker_apply(struct worker_node *worker, struct worker_event *event)
{
    ASSERT(!worker->is_stepping);
    worker->is_stepping = true;
    event->time = io_now();
    if (event->time < worker->now) {
        event->time =
            worker->now; /* the core's time never goes back, whatever the wall clock does */
    }
    if (event->stimulus.size == 0) {
        event->stimulus = SPAN("worker");
    }
    worker->now = event->time;
    worker_step(worker->core, event, &worker->step);
    worker_outbound(worker);
    worker->is_stepping = false;
}

static void end_turn(void *user)
{
    struct worker_node *worker = user;
    if (!worker->is_closing) {
        worker_pressure_turn(worker);
        worker_send_runs(worker);
        worker_send_transitions(worker);
        worker_link_flush(worker);
        supervisor_flush(worker->supervisor);
        worker_nanny_flush(worker);
    }
    connections_go_on(&worker->server);
    connections_go_on(&worker->nanny);
}

struct span worker_stimulus(struct worker_node *worker, const char *what)
{
    char few[96];
    int size = snprintf(few, sizeof few, "%.60s-%.7f", what, io_now());
    return arena_copy(&worker->scratch, span_of(few, (size_t)size));
}

const char *worker_phase_text(enum worker_phase status)
{
    static const char *const names[] = {
        [WORKER_STATUS_INIT] = "init",
        [WORKER_STATUS_RUNNING] = "running",
        [WORKER_STATUS_PAUSED] = "paused",
        [WORKER_STATUS_CLOSING_GRACEFULLY] = "closing_gracefully",
        [WORKER_STATUS_CLOSING] = "closing",
    };
    return names[status];
}

void worker_change_status(struct worker_node *worker, enum worker_phase status,
                          struct span stimulus)
{
    bool was_running = worker->status == WORKER_STATUS_RUNNING;
    bool is_running = status == WORKER_STATUS_RUNNING;
    if (worker->status == status) {
        return;
    }
    worker->status = status;
    struct msg_worker_status message = {
        .status = span_of_text(worker_phase_text(status)),
        .stimulus_id =
            stimulus.size > 0 ? stimulus : worker_stimulus(worker, "worker-status-change"),
    };
    message_encode(worker_to_scheduler(worker), MESSAGE_WORKER_STATUS, &message);
    if (was_running != is_running && status != WORKER_STATUS_CLOSING) {
        struct worker_event event =
            worker_event_of(is_running ? WORKER_EVENT_UNPAUSE : WORKER_EVENT_PAUSE);
        event.stimulus = message.stimulus_id;
        worker_apply(worker, &event);
    }
}

/* ---- beginning --------------------------------------------------------------------------------- */

void worker_create_core(struct worker_node *worker)
{
    const struct config *settings = worker->config;
    struct worker_config config;
    worker_config_init(&config);
    config.address = text_span(&worker->server.address);
    io_entropy(&config.seed, sizeof config.seed);
    config.nthreads = worker->options.nthreads;
    config.ahead_max = worker->ahead_max = worker->options.nthreads * AHEAD_PER_THREAD;
    config.ahead_seconds = config_seconds(settings, "cask.worker.run-ahead", config.ahead_seconds);
    config.resources = (struct resource_list){worker->resources.items, worker->resources.count};
    double transfer = config_float(settings, "distributed.worker.memory.transfer", 0.1);
    if (worker->options.memory_limit > 0 && transfer > 0) {
        config.incoming_limit = (int64_t)(transfer * (double)worker->options.memory_limit);
    }
    config.message_limit =
        (int64_t)config_bytes(settings, "distributed.worker.transfer.message-bytes-limit", 50e6);
    config.incoming_count_limit =
        (uint32_t)config_int(settings, "distributed.worker.connections.outgoing", 50);
    config.default_data_size =
        (int64_t)config_bytes(settings, "distributed.scheduler.default-data-size", 1024);
    config.story_length =
        (uint32_t)config_int(settings, "distributed.admin.low-level-log-length", 1000);
    config.check = config_bool(settings, "distributed.worker.validate", false);
    worker->core = worker_create(&config);
}

/* "GPU=2 MEM=10e9"; the setting distributed.worker.resources is a mapping. */
static int read_resources(struct worker_node *worker, struct text *why)
{
    const char *name, *value;
    if (worker->options.resources == NULL) {
        for (uint32_t i = 0;
             config_child(worker->config, "distributed.worker.resources", i, &name, &value); i++) {
            vec_push(&worker->resources,
                     ((struct resource){span_of_text(name), value == NULL ? 0 : atof(value)}));
        }
        return OK;
    }
    text_add_cstr(&worker->resource_names, worker->options.resources);
    for (char *at = worker->resource_names.data; *at != '\0';) {
        at += strspn(at, " ,");
        size_t size = strcspn(at, " ,");
        char *equals = memchr(at, '=', size), *end;
        if (size == 0) {
            break;
        }
        double amount = equals == NULL ? 0 : strtod(equals + 1, &end);
        if (equals == NULL || equals == at || end != at + size || !(amount >= 0)) {
            text_printf(why, "--resources %s: write NAME=NUMBER, several with spaces between",
                        worker->options.resources);
            return ERR_CONFIG;
        }
        vec_push(&worker->resources,
                 ((struct resource){span_of(at, (size_t)(equals - at)), amount}));
        at += size;
    }
    return OK;
}

int worker_listen(struct worker_node *worker, struct text *why)
{
    struct listen_options wanted = worker->options.listen;
    wanted.role = "worker";
    wanted.port_default = 0;
    int code = listen_all(&worker->server, &wanted, why);
    if (code == OK) {
        log_info(LOGGER, "      Start worker at: %26s", text_cstr(&worker->server.address));
        log_info(LOGGER, "Waiting to connect to: %26s", text_cstr(&worker->scheduler));
    }
    if (code == OK && worker->name.size == 0) {
        struct text name = {0};
        msgpack_write_str(&name, text_span(&worker->server.address));
        worker->name = slice_copy(text_span(&name));
        text_fini(&name);
    }
    return code;
}

static int listen_as_nanny(struct worker_node *worker, struct text *why)
{
    struct listen_options wanted = worker->options.listen;
    wanted.role = "worker";
    wanted.port_default = 0;
    wanted.port = worker->options.nanny_port;
    wanted.contact_address = NULL;
    int code = listen_all(&worker->nanny, &wanted, why);
    if (code == OK) {
        log_info("distributed.nanny", "        Start Nanny at: '%s'",
                 text_cstr(&worker->nanny.address));
    }
    return code;
}

static void on_signal(void *user, int number)
{
    struct worker_node *worker = user;
    log_info(LOGGER, "Received signal %s (%d)", number == SIGINT ? "SIGINT" : "SIGTERM", number);
    if (worker->is_closing) {
        io_loop_stop(worker->loop); /* asked twice: at once */
    }
    worker_close(worker, number == SIGINT ? "signal-2" : "signal-15", 0);
}

static void lifetime_over(void *user)
{
    struct worker_node *worker = user;
    worker_close_gracefully(worker, "worker-lifetime-reached", worker->options.lifetime_restart);
}

static void create_servers(struct worker_node *worker)
{
    struct server server = {
        .loop = worker->loop,
        .config = worker->config,
        .comm_settings = &worker->comm_settings,
        .events = &worker_server_events,
        .user = worker,
        .scratch = &worker->scratch,
    };
    worker->server = server;
    worker->nanny = server;
    worker->nanny.events = &worker_nanny_events;
    server_init(&worker->server, PORT_WORKER_RPC);
    server_init(&worker->nanny, PORT_NANNY_RPC);
}

static void write_identity(struct worker_node *worker)
{
    text_add_cstr(&worker->id, "Worker-");
    server_write_uuid(&worker->id);
    text_add_cstr(&worker->nanny_id, "Nanny-");
    server_write_uuid(&worker->nanny_id);
    text_add_cstr(&worker->scheduler, worker->options.scheduler);
    if (worker->options.name != NULL) {
        struct text name = {0};
        char *end;
        long long number = strtoll(worker->options.name, &end, 10);
        if (end != worker->options.name && *end == '\0') { /* as stock: a number is one */
            msgpack_write_int(&name, number);
        } else {
            msgpack_write_cstr(&name, worker->options.name);
        }
        worker->name = slice_copy(text_span(&name));
        text_fini(&name);
    }
}

static void create_parts(struct worker_node *worker)
{
    arena_init(&worker->scratch);
    arena_init(&worker->lasting);
    worker_step_init(&worker->step);
    objects_init(&worker->objects);
    create_servers(worker);
    worker_link_init(worker);
    uint64_t files = io_open_files_max();
    worker->rpc =
        rpc_pool_create(&worker->comm_settings, (uint32_t)(files / 2 > 512 ? 512 : files / 2));
    worker->gauges = worker_gauges_create();
    worker->transfers = worker_transfers_create();
    worker_nanny_create(worker);
    worker->lifetime = io_timer_create(worker->loop, lifetime_over, worker);
    worker_ahead_create(worker);
    worker_limits_create(worker);
    write_identity(worker);
}

/* Everything that may fail. */
static int begin(struct worker_node *worker, struct text *why)
{
    int code = read_resources(worker, why);
    for (uint32_t i = 0; i < worker->resources.count; i++) {
        vec_push(&worker->resources_first, worker->resources.items[i]);
    }
    if (code == OK && worker->options.has_nanny) {
        code = listen_as_nanny(worker, why);
    }
    code = code == OK ? worker_listen(worker, why) : code;
    code = code == OK ? worker_http_open(worker, why) : code;
    code = code == OK ? worker_directory_make(worker, why) : code;
    if (code == OK) {
        worker_store_create(worker);
        worker_share_values(worker);
        worker_pressure_create(worker);
    }
    if (code == OK) {
        worker_cgroups_open(worker);
        code = worker_executors_start(worker, why);
    }
    if (code == OK) {
        worker_nanny_begin(worker);
    }
    return code;
}

static void log_start(const struct worker_node *worker)
{
    log_info(LOGGER, "-------------------------------------------------");
    log_info(LOGGER, "              Threads: %26u", worker->options.nthreads);
    if (worker->options.memory_limit > 0) {
        struct text size = {0};
        text_add_bytes_size(&size, (double)worker->options.memory_limit);
        log_info(LOGGER, "               Memory: %26s", text_cstr(&size));
        text_fini(&size);
    }
    log_info(LOGGER, "      Local Directory: %s", text_cstr(&worker->directory));
    log_info(LOGGER, "-------------------------------------------------");
}

int worker_node_create(const struct config *config, const struct worker_options *options,
                       struct worker_node **out_worker, struct text *why)
{
    struct worker_node *worker = mem_zalloc(1, sizeof *worker);
    worker->config = config;
    worker->options = *options;
    worker->started = io_now();
    worker->loop = io_loop_create();
    int code = comm_settings_read(config, "worker", worker->loop, &worker->comm_settings, why);
    create_parts(worker);
    code = code == OK ? begin(worker, why) : code;
    if (code != OK) {
        worker_node_destroy(worker);
        return code;
    }
    worker_create_core(worker);
    log_start(worker);
    io_loop_on_turn(worker->loop, end_turn, worker);
    io_on_signal(worker->loop, SIGINT, on_signal, worker);
    io_on_signal(worker->loop, SIGTERM, on_signal, worker);
    *out_worker = worker;
    return OK;
}

int worker_node_run(struct worker_node *worker)
{
    io_loop_run(worker->loop);
    return worker->exit_code;
}

/* ---- end --------------------------------------------------------------------------------------- */

void worker_node_destroy(struct worker_node *worker)
{
    worker->is_closing = true;
    worker->server.is_ending = worker->nanny.is_ending = true;
    listen_stop(&worker->server);
    listen_stop(&worker->nanny);
    worker_http_stop(worker);
    worker_link_close(worker);
    rpc_pool_destroy(worker->rpc);
    worker_forget(worker);
    supervisor_destroy(worker->supervisor);
    worker_nanny_destroy(worker);
    worker_cgroups_close(worker);
    io_timer_destroy(worker->lifetime);
    io_timer_destroy(worker->ahead);
    worker_limits_destroy(worker);
    worker_records_destroy(worker);
    io_timer_destroy(worker->closing);
    worker_link_fini(worker);
    worker_pressure_destroy(worker);
    store_destroy(worker->store);
    struct share *share = worker->comm_settings.share;
    share_stop(share);
    io_loop_destroy(worker->loop); /* closes every connection, waits for threads */
    share_destroy(share);
    worker_http_destroy(worker->http);
    worker_directory_remove(worker);
    server_fini(&worker->server);
    server_fini(&worker->nanny);
    if (worker->core != NULL) {
        worker_destroy(worker->core);
    }
    worker_step_fini(&worker->step);
    objects_fini(&worker->objects);
    worker_gauges_destroy(worker->gauges);
    worker_transfers_destroy(worker->transfers);
    io_tls_destroy(worker->comm_settings.tls);
    blob_unref(worker->versions);
    slice_fini(&worker->name);
    vec_fini(&worker->resources);
    vec_fini(&worker->resources_first);
    arena_fini(&worker->lasting);
    text_fini(&worker->moves);
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        text_fini(&worker->seats.items[i].shuffles);
    }
    vec_fini(&worker->seats);
    vec_fini(&worker->runs);
    vec_fini(&worker->offered);
    vec_fini(&worker->retries);
    vec_fini(&worker->restarts);
    map_fini(&worker->calls);
    arena_fini(&worker->scratch);
    text_fini(&worker->id);
    text_fini(&worker->nanny_id);
    text_fini(&worker->scheduler);
    text_fini(&worker->directory);
    text_fini(&worker->resource_names);
    mem_free(worker);
}
