/* rpc_peers.c: connections that stay: clients, workers and nannies register here.
 * Source: distributed scheduler.py add_client, add_worker, add_nanny, heartbeat_worker, remove_worker. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/connection.h"
#include "node/lifecycle.h"
#include "node/node.h"
#include "node/observer.h"
#include "node/planner.h"
#include "node/record.h"
#include "node/topics.h"
#include "node/values.h"
#include "node/versions.h"
#include "wire/address.h"

#define LOGGER "distributed.scheduler"

/* Others' packages are others than this newcomer's. */
static void record_mismatch(struct node *node, struct span who, const struct text *warning)
{
    struct recorder *recorder = observer_link_recorder(node->observer);
    if (warning->size > 0 && recorder != NULL) {
        recorder_versions(recorder, who, text_span(warning));
    }
}

/* ---- clients ---------------------------------------------------------------------------------- */

/* A client that lost its connection comes back under its id, perhaps before the old connection is seen to end, or
 * while its stream is held. It has given up its futures (Client._reconnect), so what its old stream still says
 * has no meaning, and would take away what it asks for from here on. */
static void end_former_stream(struct node *node, struct span name)
{
    client_id former = view_client_find(node->core, name);
    struct stream *stream = stream_of_client(node, former);
    if (stream != NULL) {
        client_stream_replaced(stream);
    }
}

void rpc_register_client(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_register_client *m = &message->body.register_client;
    struct connection *connection = connection_of(request);
    if (connection == NULL) {
        request_raise_builtin(request, "RuntimeError",
                              "a client registers over its own connection");
        return;
    }
    log_info(LOGGER, "Receive client connection: %.*s", (int)m->client.size,
             (const char *)m->client.data);
    end_former_stream(node, m->client);
    struct event event = event_of(EVENT_CLIENT_ADD);
    event.of.client_add.name = m->client;
    node_apply(node, &event);
    client_id client = node->step.client;
    if (client == CLIENT_NONE) {
        request->wants_reply = true;
        request_raise_builtin(request, "ValueError", "no client can have the id '%.*s': %.*s",
                              (int)m->client.size, (const char *)m->client.data,
                              (int)node->step.refused.size, (const char *)node->step.refused.data);
        return;
    }
    struct text warning = {0};
    versions_compare_client(node, m->versions, &warning);
    record_mismatch(node, m->client, &warning);
    connection_become_client(node, request, client);
    struct msg_stream_start start = {.warning = text_span(&warning), .error = SPAN("")};
    if (start.warning.data == NULL) {
        start.warning = SPAN("");
    }
    message_encode(stream_batch(stream_of_client(node, client)), MESSAGE_STREAM_START, &start);
    text_fini(&warning);
    planner_prewarm(node->planner);
}

void client_stream_ended(struct node *node, client_id client)
{
    struct client_view view;
    if (view_client(node->core, client, &view)) {
        log_info(LOGGER, "Remove client %.*s", (int)view.name.size, (const char *)view.name.data);
    }
    topics_client_gone(node->topics, client);
    struct event event = event_of(EVENT_CLIENT_REMOVE);
    event.of.client_remove.client = client;
    event.stimulus = node_stimulus(node, "remove-client");
    node_apply(node, &event);
}

/* ---- workers ---------------------------------------------------------------------------------- */

/* The answer to register-worker: everything the worker must know to begin. */
static void welcome_worker(struct node *node, struct comm *comm, struct span warning)
{
    struct outgoing out;
    outgoing_init(&out);
    struct text *head = &out.head;
    msgpack_write_map(head, 7);
    msgpack_write_cstr(head, "status");
    msgpack_write_cstr(head, "OK");
    msgpack_write_cstr(head, "time");
    msgpack_write_float(head, io_now());
    msgpack_write_cstr(head, "heartbeat-interval");
    msgpack_write_float(head, node_heartbeat_interval(view_worker_count(node->core)));
    msgpack_write_cstr(head, "worker-plugins");
    msgpack_write_map(head, node->worker_plugins.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&node->worker_plugins, &cursor)) != NULL;) {
        msgpack_write_raw(head, entry->name);
        payload_put(&out, entry->value.pointer);
    }
    msgpack_write_cstr(head, "warning");
    msgpack_write_str(head, warning);
    msgpack_write_cstr(head, "error");
    msgpack_write_cstr(head, "");
    msgpack_write_cstr(head, "cask-counts-deaths");
    msgpack_write_bool(head, true);
    comm_send(comm, &out);
    outgoing_fini(&out);
}

/* {"status": "error", "message": why, "time": now}: the worker raises it. */
static void refuse_worker(struct node *node, struct request *request)
{
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 3);
    msgpack_write_cstr(&out.head, "status");
    msgpack_write_cstr(&out.head, "error");
    msgpack_write_cstr(&out.head, "message");
    msgpack_write_str_lossy(&out.head, node->step.refused);
    msgpack_write_cstr(&out.head, "time");
    msgpack_write_float(&out.head, io_now());
    request->wants_reply = true;
    request_reply(request, &out);
    outgoing_fini(&out);
}

/* What a worker of cask's says of itself, in a field that stock never fills. */
static bool takes_forwarded(struct span host_info)
{
    struct span value;
    return host_info.size > 0 && msgpack_find(host_info, "cask-takes-forwarded", &value) == OK &&
           span_equal(value, SPAN("\xc3"));
}

/* Fill `info` from the message; false with the exception raised. Blobs in it are the caller's. */
static bool read_worker(struct node *node, struct request *request,
                        const struct msg_register_worker *m, struct metrics_info *metrics,
                        struct worker_info *info)
{
    struct resource_list resources;
    if (m->nthreads < 1 || m->nthreads > UINT32_MAX) {
        request_raise_builtin(
            request, "ValueError", "worker %.*s has nthreads=%lld; it must be at least 1",
            (int)m->address.size, (const char *)m->address.data, (long long)m->nthreads);
        return false;
    }
    if (!values_resources(&node->scratch, m->resources, &resources)) {
        request_raise_builtin(request, "TypeError",
                              "register-worker: resources must map names to numbers");
        return false;
    }
    if (!values_metrics(node, m->metrics, (struct span){0}, m->now, metrics)) {
        request_raise_builtin(request, "TypeError", "register-worker: malformed metrics");
        return false;
    }
    struct span name = m->name;
    if (name.data == NULL) { /* default: the address */
        name = key_from_text(&node->scratch, m->address);
    }
    *info = (struct worker_info){
        .address = m->address,
        .name = name,
        .host = address_host(m->address),
        .nanny = m->nanny,
        .server_id = m->server_id,
        .local_directory = m->local_directory,
        .status = SPAN("init"), /* no task before the stream is there: see say_status */
        .nthreads = (uint32_t)m->nthreads,
        .memory_limit = m->memory_limit,
        .pid = m->pid,
        .resources = resources.items,
        .resource_count = resources.count,
        .services = msgpack_is_nil(m->services) ? NULL : values_plain(m->services),
        .versions = msgpack_is_nil(m->versions) ? NULL : values_plain(m->versions),
        .metrics = metrics,
        .takes_forwarded = takes_forwarded(m->host_info),
    };
    if (!msgpack_is_nil(m->extra.raw) &&
        payload_take(&request->message, m->extra.raw, &info->extra) != OK) {
        info->extra = NULL;
    }
    return true;
}

/* A worker that registers as "running" is so from now on; stock ones say it a moment later. */
static void say_status(struct node *node, worker_id worker, const struct msg_register_worker *m)
{
    if (!span_equal(m->status, SPAN("init"))) {
        struct event event = event_of(EVENT_WORKER_STATUS);
        event.of.worker_status.worker = worker;
        event.of.worker_status.status = m->status;
        event.stimulus = m->stimulus_id;
        node_apply(node, &event);
    }
}

void rpc_register_worker(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_register_worker *m = &message->body.register_worker;
    struct connection *connection = connection_of(request);
    if (connection == NULL) {
        request_raise_builtin(request, "RuntimeError",
                              "a worker registers over its own connection");
        return;
    }
    struct metrics_info metrics = {0};
    struct worker_info info;
    if (!read_worker(node, request, m, &metrics, &info)) {
        blob_unref(metrics.raw);
        return;
    }
    struct text warning = {0};
    versions_compare_worker(node, m->versions, m->address, &warning);
    record_mismatch(node, m->address, &warning);
    struct event event = event_of(EVENT_WORKER_ADD);
    event.of.worker_add.info = &info;
    event.stimulus = m->stimulus_id;
    bool is_known = view_worker_by_address(node->core, m->address) != WORKER_NONE;
    if (is_known) {
        request->wants_reply = true;
        request_raise_builtin(request, "ValueError", "Worker already exists %.*s",
                              (int)m->address.size, (const char *)m->address.data);
    } else {
        node_apply(node, &event);
        worker_id worker = node->step.worker;
        if (worker == WORKER_NONE) {
            refuse_worker(node, request);
        } else {
            welcome_worker(node, connection_comm(connection),
                           warning.size == 0 ? SPAN("") : text_span(&warning));
            connection_become_worker(node, request, worker);
            log_info(LOGGER, "Starting worker compute stream, %.*s", (int)m->address.size,
                     (const char *)m->address.data);
            say_status(node, worker, m);
        }
    }
    blob_unref(metrics.raw);
    blob_unref(info.services);
    blob_unref(info.versions);
    blob_unref(info.extra);
    text_fini(&warning);
}

void worker_stream_ended(struct node *node, worker_id worker)
{
    struct worker_view view;
    if (!view_worker(node->core, worker, &view)) {
        return; /* it said goodbye before */
    }
    struct span address = arena_copy(&node->scratch, view.address);
    struct event event = event_of(EVENT_WORKER_REMOVE);
    event.of.worker_remove.worker = worker;
    event.of.worker_remove.close = true;
    event.of.worker_remove.cause = SPAN("its connection to the scheduler ended");
    event.stimulus = node_stimulus(node, "handle-worker-cleanup");
    node_apply(node, &event);
    rpc_pool_forget(node->rpc, address);
}

void rpc_heartbeat_worker(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_heartbeat_worker *m = &message->body.heartbeat_worker;
    worker_id worker = view_worker_by_address(node->core, m->address);
    if (worker == WORKER_NONE) {
        request_reply_status(request, "missing");
        return;
    }
    struct metrics_info metrics = {0};
    struct resource_list resources;
    if (!values_metrics(node, m->metrics, m->executing, m->now, &metrics) ||
        !values_resources(&node->scratch, m->resources, &resources)) {
        blob_unref(metrics.raw);
        request_raise_builtin(request, "TypeError", "heartbeat_worker: malformed metrics");
        return;
    }
    struct event event = event_of(EVENT_WORKER_HEARTBEAT);
    event.of.worker_heartbeat.worker = worker;
    event.of.worker_heartbeat.metrics = &metrics;
    node_apply(node, &event);
    if (resources.count > 0) {
        event = event_of(EVENT_WORKER_RESOURCES);
        event.of.worker_resources.worker = worker;
        event.of.worker_resources.resources = resources;
        node_apply(node, &event);
    }
    lifecycle_heartbeat_extensions(node, worker, &request->message, m->extensions.raw);
    struct recorder *recorder = observer_link_recorder(node->observer);
    if (recorder != NULL) {
        recorder_heartbeat(recorder, worker, m->metrics);
    }
    blob_unref(metrics.raw);
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 3);
    msgpack_write_cstr(&out.head, "status");
    msgpack_write_cstr(&out.head, "OK");
    msgpack_write_cstr(&out.head, "time");
    msgpack_write_float(&out.head, io_now());
    msgpack_write_cstr(&out.head, "heartbeat-interval");
    msgpack_write_float(&out.head, node_heartbeat_interval(view_worker_count(node->core)));
    request_reply(request, &out);
    outgoing_fini(&out);
}

void rpc_unregister(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_unregister *m = &message->body.unregister;
    worker_id worker = view_worker_by_address(node->core, m->address);
    if (worker == WORKER_NONE) {
        request_reply_str(request, SPAN("already-removed"));
        return;
    }
    struct event event = event_of(EVENT_WORKER_REMOVE);
    event.of.worker_remove.worker = worker;
    event.of.worker_remove.expected = m->expected;
    event.of.worker_remove.close = true;
    event.of.worker_remove.cause = SPAN("its nanny reported its process gone");
    event.stimulus = m->stimulus_id;
    node_apply(node, &event);
    request_reply_ok(request);
}

/* ---- watchers and the rest --------------------------------------------------------------------- */

void rpc_connection_stream(struct node *node, struct request *request,
                           const struct message *message)
{
    (void)node;
    (void)message;
    /* A bare stream has neither a client's nor a worker's identity, so nothing it could say has a meaning. */
    request_raise_builtin(
        request, "ValueError",
        "a stream belongs to a client or a worker: use register-client or register-worker");
}

void rpc_close(struct node *node, struct request *request, const struct message *message)
{
    (void)node;
    (void)message;
    request->closes = true;
    request_reply_ok(request);
}

void rpc_terminate(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_terminate *m = &message->body.terminate;
    struct text reason = {0};
    text_add(&reason, m->reason.data == NULL ? SPAN("unknown") : m->reason);
    request_reply_nil(request);
    node_close(node, text_cstr(&reason));
    text_fini(&reason);
}
