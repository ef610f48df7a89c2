/* connection.c: accepted connections: RPC first, then perhaps a stream.
 *
 * In RPC mode one message is one call; the comm is held until the call is answered. A call may turn the
 * connection into a client's or worker's stream, a watcher of workers, or something that expects one more
 * message (register_nanny). Source: distributed core.py, Server._handle_comm, handle_stream. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "node/node.h"

#define LOGGER "distributed.core"

enum connection_mode { MODE_RPC, MODE_CLIENT, MODE_WORKER, MODE_WATCHER, MODE_EXPECT };

struct connection {
    struct node *node;
    struct comm *comm;
    enum connection_mode mode;
    struct request *request;                                /* RPC: the one being answered */
    struct stream *stream;                                  /* CLIENT, WORKER, WATCHER */
    uint32_t slot;                                          /* in node->connections */
    void (*next)(void *user, const struct frames *message); /* EXPECT */
    void *next_user;
};

static void connection_message(void *user, struct comm *comm, const struct frames *message);
static void connection_closed(void *user, struct comm *comm, int code, const char *text);

static const struct comm_events connection_events = {.message = connection_message,
                                                     .closed = connection_closed};

void connection_accept(struct node *node, struct io_stream *stream)
{
    struct connection *connection = mem_zalloc(1, sizeof *connection);
    connection->node = node;
    connection->slot = node->connections.count;
    vec_push(&node->connections, connection);
    connection->comm = comm_accept(&node->comm_settings, stream, &connection_events, connection);
}

struct comm *connection_comm(struct connection *connection)
{
    return connection->comm;
}

/* An answer is ready: send it; the next call is taken at the end of the turn, since the answer may have
 * come out of a step of the core. */
static void deliver(void *user, struct request *request, struct outgoing *answer)
{
    struct connection *connection = user;
    connection->request = NULL;
    if (request->wants_reply) {
        comm_send(connection->comm, answer);
    }
    if (request->closes) {
        comm_close(connection->comm);
    } else {
        vec_push(&connection->node->answered, connection);
    }
}

void connections_go_on(struct node *node)
{
    while (node->answered.count > 0) {
        struct connection *connection = vec_pop(&node->answered);
        comm_release(connection->comm);
    }
}

static void forget_answered(struct node *node, const struct connection *connection)
{
    for (uint32_t i = node->answered.count; i-- > 0;) {
        if (node->answered.items[i] == connection) {
            vec_swap_remove(&node->answered, i);
        }
    }
}

struct connection *connection_of(struct request *request)
{
    return !request->is_gone && request->deliver == deliver ? request->user : NULL;
}

static void take_call(struct connection *connection, const struct frames *message)
{
    struct node *node = connection->node;
    struct request *request;
    int code = request_create(node, message, deliver, connection, &request);
    if (code != OK) {
        log_warning(LOGGER, "Closing connection with %s: bad call (%s)",
                    comm_peer(connection->comm), error_meaning(code));
        comm_abort(connection->comm, "bad call");
        return;
    }
    connection->request = request;
    comm_hold(connection->comm);
    arena_reset(&node->scratch);
    rpc_dispatch(node, request);
}

/* What a batch meant for the connection. */
static void obey(struct connection *connection, enum inbound_result result, const struct text *why)
{
    if (result == INBOUND_REFUSED) {
        log_error(LOGGER, "Closing stream of %s: %s", comm_peer(connection->comm), text_cstr(why));
        comm_abort(connection->comm, text_cstr(why));
    } else if (result == INBOUND_ENDED) {
        stream_flush(connection->stream);
        comm_close(connection->comm);
    }
}

static void take_batch(struct connection *connection, const struct frames *message)
{
    struct text why = {0};
    arena_reset(&connection->node->scratch);
    obey(connection, inbound_stream(connection->node, connection->stream, message, &why), &why);
    text_fini(&why);
}

void connection_go_on(struct connection *connection)
{
    struct text why = {0};
    arena_reset(&connection->node->scratch);
    obey(connection, inbound_go_on(connection->node, connection->stream, &why), &why);
    text_fini(&why);
    if (!connection->stream->is_held) {
        comm_release(connection->comm);
    }
}

static void connection_message(void *user, struct comm *comm, const struct frames *message)
{
    (void)comm;
    struct connection *connection = user;
    switch (connection->mode) {
    case MODE_RPC:
        take_call(connection, message);
        break;
    case MODE_CLIENT:
    case MODE_WORKER:
        take_batch(connection, message);
        break;
    case MODE_WATCHER:
        break; /* nothing is expected of it; what comes is dropped, as stock does */
    case MODE_EXPECT: {
        void (*next)(void *, const struct frames *) = connection->next;
        connection->next = NULL;
        connection->mode = MODE_RPC;
        next(connection->next_user, message);
        break;
    }
    }
}

/* End the request without an answer; what it was about goes on as a stream. */
static struct connection *take_over(struct request *request, enum connection_mode mode)
{
    struct connection *connection = connection_of(request);
    ASSERT(connection != NULL);
    struct outgoing nothing;
    outgoing_init(&nothing);
    request->is_gone = true;
    request_reply(request, &nothing);
    outgoing_fini(&nothing);
    connection->request = NULL;
    connection->mode = mode;
    return connection;
}

static void become_stream(struct connection *connection)
{
    connection->stream = stream_create(connection->node, connection->comm);
    connection->stream->connection = connection;
    comm_release(connection->comm);
}

void connection_become_client(struct request *request, client_id client)
{
    struct connection *connection = take_over(request, MODE_CLIENT);
    struct node *node = connection->node;
    while (node->client_streams.count <= client) {
        vec_push(&node->client_streams, NULL);
    }
    become_stream(connection);
    connection->stream->client = client;
    node->client_streams.items[client] = connection->stream;
}

void connection_become_worker(struct request *request, worker_id worker)
{
    struct connection *connection = take_over(request, MODE_WORKER);
    struct node *node = connection->node;
    while (node->worker_streams.count <= worker) {
        vec_push(&node->worker_streams, NULL);
    }
    become_stream(connection);
    comm_trust(connection->comm);
    connection->stream->worker = worker;
    node->worker_streams.items[worker] = connection->stream;
}

void connection_become_watcher(struct request *request)
{
    struct connection *connection = take_over(request, MODE_WATCHER);
    become_stream(connection);
    vec_push(&connection->node->status_watchers, connection->stream);
}

void connection_expect(struct connection *connection,
                       void (*next)(void *user, const struct frames *message), void *user)
{
    connection->mode = MODE_EXPECT;
    connection->next = next;
    connection->next_user = user;
    comm_release(connection->comm);
}

static void forget_watcher(struct node *node, const struct stream *stream)
{
    for (uint32_t i = 0; i < node->status_watchers.count; i++) {
        if (node->status_watchers.items[i] == stream) {
            vec_swap_remove(&node->status_watchers, i);
            return;
        }
    }
}

/* The stream's owner is gone: the core must know. */
static void end_stream(struct connection *connection)
{
    struct node *node = connection->node;
    struct stream *stream = connection->stream;
    connection->stream = NULL;
    arena_reset(&node->scratch);
    if (connection->mode == MODE_CLIENT) {
        node->client_streams.items[stream->client] = NULL;
        client_stream_ended(node, stream->client);
    } else if (connection->mode == MODE_WORKER) {
        node->worker_streams.items[stream->worker] = NULL;
        worker_stream_ended(node, stream->worker);
    } else {
        forget_watcher(node, stream);
    }
    stream_destroy(stream);
}

static void connection_closed(void *user, struct comm *comm, int code, const char *text)
{
    struct connection *connection = user;
    struct node *node = connection->node;
    log_debug(LOGGER, "Connection with %s closed: %s (%d)", comm_peer(comm), text, code);
    connection->comm = NULL;
    vec_swap_remove(&node->connections, connection->slot);
    if (connection->slot < node->connections.count) {
        node->connections.items[connection->slot]->slot = connection->slot;
    }
    forget_answered(node, connection);
    if (connection->request != NULL) {
        request_abandon(connection->request);
    }
    if (connection->next != NULL) {
        connection->next(connection->next_user, NULL);
    }
    if (connection->stream != NULL) {
        end_stream(connection);
    }
    mem_free(connection);
}
