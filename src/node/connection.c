/* connection.c: accepted connections: RPC first, then perhaps something else. */
#include "node/connection.h"

#include "base/alloc.h"
#include "base/log.h"

#define LOGGER "distributed.core"

struct connection {
    struct server *server;
    struct comm *comm;
    const struct connection_role *role; /* NULL: RPC */
    void *role_user;
    struct request *request;                                /* RPC: the one being answered */
    uint32_t slot;                                          /* in server->connections */
    void (*next)(void *user, const struct frames *message); /* see connection_expect */
    void *next_user;
};

static void connection_message(void *user, struct comm *comm, const struct frames *message);
static void connection_closed(void *user, struct comm *comm, int code, const char *text);

static const struct comm_events connection_events = {.message = connection_message,
                                                     .closed = connection_closed};

void connection_accept(struct server *server, struct io_stream *stream)
{
    struct connection *connection = mem_zalloc(1, sizeof *connection);
    connection->server = server;
    connection->slot = server->connections.count;
    vec_push(&server->connections, connection);
    connection->comm = comm_accept(server->comm_settings, stream, &connection_events, connection);
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
        vec_push(&connection->server->answered, connection);
    }
}

void connections_go_on(struct server *server)
{
    while (server->answered.count > 0) {
        struct connection *connection = vec_pop(&server->answered);
        comm_release(connection->comm);
    }
}

static void forget_answered(struct server *server, const struct connection *connection)
{
    for (uint32_t i = server->answered.count; i-- > 0;) {
        if (server->answered.items[i] == connection) {
            vec_swap_remove(&server->answered, i);
        }
    }
}

struct connection *connection_of(struct request *request)
{
    return !request->is_gone && request->deliver == deliver ? request->user : NULL;
}

static void take_call(struct connection *connection, const struct frames *message)
{
    struct request *request;
    int code = request_create(connection->server, message, deliver, connection, &request);
    if (code != OK) {
        log_warning(LOGGER, "Closing connection with %s: bad call (%s)",
                    comm_peer(connection->comm), error_meaning(code));
        comm_abort(connection->comm, "bad call");
        return;
    }
    connection->request = request;
    comm_hold(connection->comm);
    arena_reset(connection->server->scratch);
    request_dispatch(request);
    if (connection->request !=
        NULL) { /* it waits: for a lock, perhaps, that must not go to who left */
        comm_watch_end(connection->comm);
    }
}

static void connection_message(void *user, struct comm *comm, const struct frames *message)
{
    (void)comm;
    struct connection *connection = user;
    void (*next)(void *, const struct frames *) = connection->next;
    if (connection->role != NULL) {
        connection->role->message(connection->role_user, message);
    } else if (next != NULL) {
        connection->next = NULL;
        next(connection->next_user, message);
    } else {
        take_call(connection, message);
    }
}

void connection_take(struct request *request, const struct connection_role *role, void *user)
{
    struct connection *connection = connection_of(request);
    ASSERT(connection != NULL);
    struct outgoing nothing;
    outgoing_init(&nothing);
    request->is_gone = true;
    request_reply(request, &nothing);
    outgoing_fini(&nothing);
    connection->request = NULL;
    connection->role = role;
    connection->role_user = user;
    comm_release(connection->comm);
}

void connection_expect(struct connection *connection,
                       void (*next)(void *user, const struct frames *message), void *user)
{
    connection->next = next;
    connection->next_user = user;
    comm_release(connection->comm);
}

static void connection_closed(void *user, struct comm *comm, int code, const char *text)
{
    struct connection *connection = user;
    struct server *server = connection->server;
    log_debug(LOGGER, "Connection with %s closed: %s (%d)", comm_peer(comm), text, code);
    connection->comm = NULL;
    vec_swap_remove(&server->connections, connection->slot);
    if (connection->slot < server->connections.count) {
        server->connections.items[connection->slot]->slot = connection->slot;
    }
    forget_answered(server, connection);
    if (connection->request != NULL) {
        request_abandon(connection->request);
    }
    if (connection->next != NULL) {
        connection->next(connection->next_user, NULL);
    }
    if (connection->role != NULL) {
        connection->role->closed(connection->role_user);
    }
    mem_free(connection);
}
