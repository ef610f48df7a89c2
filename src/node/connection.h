/* connection.h: accepted connections: RPC first, then perhaps something else.
 *
 * In RPC mode one message is one call; the comm is held until the call is answered. A call may take the
 * connection over: what comes then goes to its new role (a client's or worker's stream, say). Or it expects
 * one more message before the next call. Source: distributed core.py, Server._handle_comm, handle_stream. */
#ifndef CASK_NODE_CONNECTION_H
#define CASK_NODE_CONNECTION_H

#include "node/request.h"
#include "node/server.h"

/* What a connection is after a call has taken it over. */
struct connection_role {
    void (*message)(void *user, const struct frames *message);
    /* The connection is gone; called once, last. */
    void (*closed)(void *user);
};

void connection_accept(struct server *server, struct io_stream *stream);
/* Connections whose call was answered in this turn take their next one. Call it at the end of a turn. */
void connections_go_on(struct server *server);
/* The connection a request came over; NULL for the planner's or a gone one. */
struct connection *connection_of(struct request *request);
struct comm *connection_comm(struct connection *connection);
/* The request ends without an answer; from now on its connection is `role`'s. */
void connection_take(struct request *request, const struct connection_role *role, void *user);
/* The next message of this connection goes to `next` (register_nanny's second half); closed: NULL. */
void connection_expect(struct connection *connection,
                       void (*next)(void *user, const struct frames *message), void *user);

#endif
