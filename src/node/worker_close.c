/* worker_close.c: how a worker ends, and how it begins anew.
 *
 * An end: the scheduler hears of it, executors tear down plugins and end, the loop stops. A restart is what a
 * stock nanny does with its worker's process: all tasks and values go, and so do the executors; the process and
 * its nanny's address stay. Source: distributed worker.py close, close_gracefully; nanny.py. */
#include "base/log.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.worker"
#define EXECUTOR_GRACE 3.0

/* ---- the end ----------------------------------------------------------------------------------- */

static void stop(void *user)
{
    struct worker_node *worker = user;
    io_loop_stop(worker->loop);
}

/* The executors, or the nanny's Python, have ended; after the last, what was sent has a moment to leave. */
static void children_closed(void *user)
{
    struct worker_node *worker = user;
    if (--worker->children_closing == 0) {
        io_timer_start(worker->closing, 0.05, 0);
    }
}

static void log_closing(struct worker_node *worker, const char *reason)
{
    struct text topic = {0}, map = {0};
    msgpack_write_str(&topic, text_span(&worker->server.address));
    msgpack_write_map(&map, 2);
    msgpack_write_cstr(&map, "action");
    msgpack_write_cstr(&map, "closing-worker");
    msgpack_write_cstr(&map, "reason");
    msgpack_write_str_lossy(&map, span_of_text(reason));
    struct msg_log_event message = {.topic = text_span(&topic), .msg = {.raw = text_span(&map)}};
    message_encode(worker_to_scheduler(worker), MESSAGE_LOG_EVENT, &message);
    text_fini(&topic);
    text_fini(&map);
}

void worker_close(struct worker_node *worker, const char *reason, int exit_code)
{
    if (worker->is_closing) {
        return;
    }
    log_info(LOGGER, "Stopping worker at %s. Reason: %s", text_cstr(&worker->server.address),
             reason);
    log_closing(worker, reason);
    worker_change_status(worker, WORKER_STATUS_CLOSING, (struct span){0});
    worker->is_closing = true;
    worker->exit_code = exit_code;
    worker_restarted(worker, false);
    worker_link_close(worker);
    listen_stop(&worker->server);
    listen_stop(&worker->nanny);
    worker->closing = io_timer_create(worker->loop, stop, worker);
    worker->children_closing = 1;
    supervisor_close(worker->supervisor, EXECUTOR_GRACE, children_closed);
    worker->children_closing += worker_nanny_close(worker, EXECUTOR_GRACE, children_closed);
}

void worker_end(struct worker_node *worker, const char *reason, bool with_nanny)
{
    if (with_nanny || !worker->options.has_nanny) {
        worker_close(worker, reason, 0);
    } else {
        worker_restart(worker, reason);
    }
}

/* ---- a graceful one ---------------------------------------------------------------------------- */

struct leave {
    struct worker_node *worker;
    uint32_t life;
    bool restart;
    struct text reason;
};

static void retired(void *user, int code, const char *text, const struct frames *reply)
{
    struct leave *leave = user;
    struct worker_node *worker = leave->worker;
    (void)reply;
    if (code != OK) {
        log_warning(LOGGER, "The scheduler could not be told that this worker leaves: %s", text);
    }
    if (!worker->is_closing && leave->life == worker->life) {
        worker->is_leaving = false;
        worker_end(worker, text_cstr(&leave->reason), !leave->restart);
    }
    text_fini(&leave->reason);
    mem_free(leave);
}

void worker_close_gracefully(struct worker_node *worker, const char *reason, bool restart)
{
    if (worker->is_closing || worker->is_leaving) {
        return;
    }
    worker->is_leaving = true;
    log_info(LOGGER, "Closing worker gracefully: %s. Reason: %s",
             text_cstr(&worker->server.address), reason);
    struct leave *leave = mem_zalloc(1, sizeof *leave);
    struct text workers = {0};
    struct outgoing out;
    leave->worker = worker;
    leave->life = worker->life;
    leave->restart = restart;
    text_add_cstr(&leave->reason, reason);
    outgoing_init(&out);
    arena_reset(&worker->scratch);
    msgpack_write_array(&workers, 1);
    msgpack_write_str(&workers, text_span(&worker->server.address));
    struct msg_retire_workers message;
    message_defaults(MESSAGE_RETIRE_WORKERS, &message);
    message.workers = text_span(&workers);
    message.close_workers = false;
    message.remove = true;
    message.stimulus_id = worker_stimulus(worker, "worker-close-gracefully");
    message_encode(&out, MESSAGE_RETIRE_WORKERS, &message);
    const struct rpc_options options = {.done = retired, .user = leave};
    rpc_call(worker->rpc, text_span(&worker->scheduler), &out, &options);
    outgoing_fini(&out);
    text_fini(&workers);
}

/* ---- a new life -------------------------------------------------------------------------------- */

void worker_forget_plugins(struct map *plugins)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(plugins, &cursor)) != NULL;) {
        blob_unref(entry->value.pointer);
    }
    map_fini(plugins);
}

void worker_forget(struct worker_node *worker)
{
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        worker_calls_died(worker, i);
    }
    worker_runs_clear(worker);
    worker_gather_clear(worker);
    objects_clear(worker);
    worker_forget_plugins(&worker->plugins);
    map_fini(&worker->handlers);
    map_fini(&worker->stream_handlers);
    worker_deaths_clear(worker);
}

static void drop_connections(struct server *server)
{
    listen_stop(server);
    for (uint32_t i = 0; i < server->connections.count; i++) {
        comm_abort(connection_comm(server->connections.items[i]), "the worker restarts");
    }
    text_clear(&server->address);
}

void worker_restart(struct worker_node *worker, const char *reason)
{
    struct text why = {0};
    if (worker->is_closing) {
        return;
    }
    log_info(LOGGER, "Restarting worker at %s. Reason: %s", text_cstr(&worker->server.address),
             reason);
    log_closing(worker, reason);
    worker_change_status(worker, WORKER_STATUS_CLOSING, (struct span){0});
    worker_link_close(worker);
    worker->life++;
    worker_forget(worker);
    worker_executors_replace(worker, reason);
    drop_connections(&worker->server);
    worker->status = WORKER_STATUS_INIT;
    worker->is_leaving = false;
    text_clear(&worker->id);
    text_add_cstr(&worker->id, "Worker-");
    server_write_uuid(&worker->id);
    if (worker_listen(worker, &why) != OK) {
        log_error(LOGGER, "%s", text_cstr(&why));
        worker_close(worker, "worker-restart-failed", 1);
    } else {
        worker->resources.count = 0;
        for (uint32_t i = 0; i < worker->resources_first.count; i++) {
            vec_push(&worker->resources, worker->resources_first.items[i]);
        }
        worker_destroy(worker->core);
        worker_create_core(worker);
    }
    text_fini(&why);
}

void worker_restarted(struct worker_node *worker, bool is_fine)
{
    worker_nanny_registered(worker, is_fine);
    worker_answer_restarts(worker, is_fine);
}
