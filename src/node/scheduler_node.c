/* scheduler_node.c: the scheduler process: what it is made of, its turn, its beginning and its end. */
#include "node/scheduler_node.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "node/comm_config.h"
#include "node/connection.h"
#include "node/coordination.h"
#include "node/core_config.h"
#include "node/failed_inputs.h"
#include "node/feed.h"
#include "node/graph_queue.h"
#include "node/identity.h"
#include "node/lifecycle.h"
#include "node/memory_sampler.h"
#include "node/metadata.h"
#include "node/outbound.h"
#include "node/planner.h"
#include "node/retire.h"
#include "node/task_stream.h"
#include "node/topics.h"
#include "node/turn.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.scheduler"
#define PORT_DEFAULT 8786

/* ---- the turn --------------------------------------------------------------------------------- */

static void tick(void *user)
{
    struct node *node = user;
    node->tick_due = INFINITY;
    arena_reset(&node->scratch);
    struct event event = event_of(EVENT_TICK);
    node_apply(node, &event);
}

/* Let the timer ring when the core wants it. */
static void set_tick(struct node *node, double now)
{
    double due = scheduler_next_tick(node->core);
    if (due == node->tick_due || node->is_closing) {
        return;
    }
    node->tick_due = due;
    if (isinf(due)) {
        io_timer_stop(node->tick_timer);
    } else {
        io_timer_start(node->tick_timer, due > now ? due - now : 0, 0);
    }
}

void node_apply(struct node *node, struct event *event)
{
    ASSERT(!node->is_stepping);
    node->is_stepping = true;
    event->time = io_now();
    if (event->time < node->now) {
        event->time = node->now; /* the core's time never goes back, whatever the wall clock does */
    }
    node->now = event->time;
    scheduler_step(node->core, event, &node->step);
    outbound_actions(node);
    set_tick(node, event->time);
    node->is_stepping = false;
    if (node->step.pending || graph_queue_is_building(node->graph_queue)) {
        turn_more(node->turn);
    }
}

static void end_turn(void *user)
{
    struct node *node = user;
    connections_go_on(&node->server);
    streams_flush(node);
    turn_ended(node->turn);
}

struct span node_stimulus(struct node *node, const char *what)
{
    char few[96];
    int size = snprintf(few, sizeof few, "%.60s-%.7f", what, io_now());
    return arena_copy(&node->scratch, span_of(few, (size_t)size));
}

double node_heartbeat_interval(uint32_t n)
{
    if (n <= 10) {
        return 0.5;
    }
    if (n < 50) {
        return 1;
    }
    return n < 200 ? 2 : n / 200 + 1;
}

struct span node_worker_name(struct node *node, worker_id worker)
{
    while (node->worker_names.count <= worker) {
        vec_push(&node->worker_names, (struct span){0});
    }
    struct span *name = &node->worker_names.items[worker];
    if (name->data == NULL) {
        struct text text = {0};
        msgpack_write_str(&text, view_worker_address(node->core, worker));
        *name = span_of(text.data, text.size); /* the text's memory is now the name's */
    }
    return *name;
}

/* ---- beginning -------------------------------------------------------------------------------- */

static void on_signal(void *user, int number)
{
    struct node *node = user;
    log_info(LOGGER, "Received signal %s (%d)", number == SIGINT ? "SIGINT" : "SIGTERM", number);
    node_close(node, number == SIGINT ? "signal-2" : "signal-15");
}

static void create_core(struct node *node)
{
    struct scheduler_config config;
    core_config_read(node->config, &config);
    io_entropy(&config.seed, sizeof config.seed);
    node->core = scheduler_create(&config);
    core_config_fini(&config);
    step_init(&node->step);
}

static void dispatch(void *user, struct request *request, const struct message *message)
{
    struct node *node = user;
    double began = io_monotonic();
    uint32_t kind = message->id;
    rpc_dispatch(node, request, message);
    lags_add(&node->lags, kind, began);
}

static void request_gone(void *user, struct request *request)
{
    rpc_request_gone(user, request);
}

static const struct server_events server_events = {.dispatch = dispatch, .gone = request_gone};

static void create_server(struct node *node)
{
    node->server = (struct server){
        .loop = node->loop,
        .config = node->config,
        .comm_settings = &node->comm_settings,
        .events = &server_events,
        .user = node,
        .scratch = &node->scratch,
    };
    server_init(&node->server, PORT_SCHEDULER_RPC);
}

/* As stock: a line for each, by the address that peers use. */
static void log_addresses(const struct node *node)
{
    log_info(LOGGER, "  Scheduler at: %25s", text_cstr(&node->server.address));
    for (uint32_t i = 1; i < node->server.listeners.count; i++) {
        struct text address = {0};
        io_address_print(io_listener_address(node->server.listeners.items[i]), &address);
        log_info(LOGGER, "  Scheduler at: %25s", text_cstr(&address));
        text_fini(&address);
    }
}

/* Once everything listens: it says where. */
static int write_scheduler_file(struct node *node, const char *path, struct text *why)
{
    struct text json = {0};
    if (path == NULL || path[0] == '\0') {
        return OK;
    }
    identity_write_json(node, &json);
    int code = io_file_write(path, text_span(&json), false, why);
    text_fini(&json);
    if (code == OK) {
        text_add_cstr(&node->scheduler_file, path);
    }
    return code;
}

static void remove_scheduler_file(struct node *node)
{
    struct text why = {0};
    if (node->scheduler_file.size > 0 &&
        io_file_remove(text_cstr(&node->scheduler_file), &why) != OK) {
        log_warning(LOGGER, "%s", text_cstr(&why));
    }
    text_fini(&why);
    text_clear(&node->scheduler_file);
}

static int start_listening(struct node *node, const struct node_options *options, struct text *why)
{
    struct listen_options wanted = options->listen;
    wanted.role = "scheduler";
    wanted.port_default = PORT_DEFAULT;
    if (wanted.contact_address == NULL) {
        wanted.contact_address =
            config_text(node->config, "distributed.scheduler.contact-address", NULL);
    }
    int code = listen_all(&node->server, &wanted, why);
    if (code != OK) {
        return code;
    }
    log_addresses(node);
    return OK;
}

/* The plugin that every stock worker needs for P2P shuffles. */
static void add_shuffle_plugin(struct node *node)
{
    struct text pickle = {0}, value = {0};
    pickle_make_shuffle_plugin(&pickle);
    msgpack_write_bin(&value, text_span(&pickle));
    map_put(&node->worker_plugins, SPAN("\xa7shuffle"), NULL)->value.pointer =
        payload_value(text_span(&value));
    text_fini(&pickle);
    text_fini(&value);
}

int node_create(const struct config *config, const struct node_options *options,
                struct node **out_node, struct text *why)
{
    struct node *node = mem_zalloc(1, sizeof *node);
    node->config = config;
    node->loop = io_loop_create();
    node->started = io_now();
    node->tick_due = INFINITY;
    arena_init(&node->scratch);
    arena_init(&node->outbound_arena);
    create_server(node);
    message_decoder_init(&node->stream_decoder, PORT_SCHEDULER_STREAM, &node->scratch);
    text_add_cstr(&node->id, "Scheduler-");
    server_write_uuid(&node->id);
    create_core(node);
    int code = comm_settings_read(config, "scheduler", node->loop, &node->comm_settings, why);
    uint64_t files = io_open_files_max();
    node->rpc =
        rpc_pool_create(&node->comm_settings, (uint32_t)(files / 2 > 8192 ? 8192 : files / 2));
    node->tick_timer = io_timer_create(node->loop, tick, node);
    node->turn = turn_create(node);
    node->graph_queue = graph_queue_create(node);
    node->metadata = metadata_create();
    node->publish = publish_create();
    node->topics = topics_create(
        node, (uint32_t)config_int(config, "distributed.admin.low-level-log-length", 1000),
        config_seconds(config, "distributed.scheduler.events-cleanup-delay", 3600));
    node->task_stream = task_stream_create(node);
    node->planner = planner_create(node);
    node->lifecycle = lifecycle_create(node);
    add_shuffle_plugin(node);
    if (code == OK) {
        code = start_listening(node, options, why);
    }
    if (code == OK && options->observer.program != NULL &&
        config_bool(config, "cask.dashboard.process", true)) {
        code = observer_link_create(node, &options->observer, &node->observer, why);
    }
    node->failed_inputs = failed_inputs_create(node);
    if (code == OK) {
        code = write_scheduler_file(node, options->scheduler_file, why);
    }
    if (code != OK) {
        node_destroy(node);
        return code;
    }
    io_loop_on_turn(node->loop, end_turn, node);
    io_on_signal(node->loop, SIGINT, on_signal, node);
    io_on_signal(node->loop, SIGTERM, on_signal, node);
    tick(node); /* the core learns the time, and that it has nothing to do */
    *out_node = node;
    return OK;
}

int node_run(struct node *node)
{
    io_loop_run(node->loop);
    return node->exit_code;
}

/* ---- end -------------------------------------------------------------------------------------- */

/* The observer ends when the history is written; it gets so many tenths of a second, then goes on alone. */
#define OBSERVER_WAITS 20u

static void stop_loop(void *user)
{
    struct node *node = user;
    if (observer_link_is_ending(node->observer) && node->close_waits < OBSERVER_WAITS) {
        node->close_waits++;
        io_timer_start(node->close_timer, 0.1, 0);
        return;
    }
    io_loop_stop(node->loop);
}

void node_close(struct node *node, const char *reason)
{
    if (node->is_closing) {
        io_loop_stop(node->loop); /* asked twice: at once */
        return;
    }
    node->is_closing = true;
    log_info(LOGGER, "Scheduler closing due to %s...", reason);
    observer_link_closing(node->observer, reason);
    listen_stop(&node->server);
    remove_scheduler_file(node);
    struct msg_worker_close close;
    struct msg_worker_close_stream close_stream = {0};
    message_defaults(MESSAGE_WORKER_CLOSE, &close);
    close.reason = SPAN("scheduler-close");
    for (uint32_t i = 0; i < node->worker_streams.count; i++) {
        struct stream *stream = node->worker_streams.items[i];
        if (stream != NULL) {
            message_encode(stream_batch(stream), MESSAGE_WORKER_CLOSE, &close);
            message_encode(stream_batch(stream), MESSAGE_WORKER_CLOSE_STREAM, &close_stream);
        }
    }
    streams_flush(node);
    planner_stop(node->planner);
    io_timer_stop(node->tick_timer);
    node->close_timer = io_timer_create(node->loop, stop_loop, node);
    io_timer_start(node->close_timer, 0.1, 0); /* what was sent has a moment to leave */
}

static void free_plugins(struct map *plugins)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(plugins, &cursor)) != NULL;) {
        blob_unref(entry->value.pointer);
    }
    map_fini(plugins);
}

void node_destroy(struct node *node)
{
    listen_stop(&node->server);
    remove_scheduler_file(node);
    rpc_pool_destroy(node->rpc);
    lifecycle_destroy(node->lifecycle);
    failed_inputs_destroy(node->failed_inputs);
    node->failed_inputs = NULL;
    observer_link_destroy(node->observer);
    node->observer = NULL;
    planner_destroy(node->planner);
    node->planner = NULL; /* plugins hear nothing of what follows */
    memory_samplers_fini(node);
    feeds_fini(node);
    io_timer_destroy(node->tick_timer);
    io_timer_destroy(node->close_timer);
    node->is_closing = true;
    node->server.is_ending = true;
    turn_stop(node->turn);
    io_loop_destroy(node->loop); /* closes every connection, each of which tells the core */
    task_stream_destroy(node->task_stream);
    topics_destroy(node->topics);
    publish_destroy(node->publish);
    scheduler_destroy(node->core);
    graph_queue_destroy(node->graph_queue);
    turn_destroy(node->turn);
    step_fini(&node->step);
    io_tls_destroy(node->comm_settings.tls);
    pickle_trust_fini(&node->trust);
    free_plugins(&node->worker_plugins);
    free_plugins(&node->nanny_plugins);
    retirements_fini(&node->retirements);
    metadata_destroy(node->metadata);
    blob_unref(node->versions);
    for (uint32_t i = 0; i < node->worker_names.count; i++) {
        mem_free((void *)(uintptr_t)node->worker_names.items[i].data);
    }
    vec_fini(&node->worker_names);
    vec_fini(&node->worker_streams);
    vec_fini(&node->client_streams);
    vec_fini(&node->dirty_streams);
    vec_fini(&node->status_watchers);
    server_fini(&node->server);
    message_decoder_fini(&node->stream_decoder);
    arena_fini(&node->scratch);
    arena_fini(&node->outbound_arena);
    text_fini(&node->id);
    text_fini(&node->scheduler_file);
    mem_free(node);
}
