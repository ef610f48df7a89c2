/* server.h: what answers RPCs: its listeners, its connections, the calls in flight.
 *
 * A scheduler has one; a worker has two, as peers speak to it and to its nanny at addresses of their own.
 * Whose it is decides what a call means (`dispatch`); how calls come and are answered is the same for all:
 * listen.c, connection.c, request.c. Source: distributed core.py, Server. */
#ifndef CASK_NODE_SERVER_H
#define CASK_NODE_SERVER_H

#include "base/map.h"
#include "base/vec.h"
#include "node/comm.h"
#include "wire/message.h"

struct config;
struct connection;
struct request;

struct server_events {
    /* A call: answer it, now or later. `message` is its decoded form, valid for this call only. */
    void (*dispatch)(void *user, struct request *request, const struct message *message);
    /* Nobody waits for this request's answer any more; it may be answered here. May be NULL. */
    void (*gone)(void *user, struct request *request);
};

struct server {
    struct io_loop *loop;
    const struct config *config;
    const struct comm_settings *comm_settings;
    const struct server_events *events;
    void *user;
    struct arena *scratch; /* reset before each call: dies with the message being handled */
    struct message_decoder decoder;
    struct VEC(struct io_listener *) listeners;
    struct text address; /* contact address: what peers are told to connect to */
    struct VEC(struct connection *) connections;
    struct VEC(struct connection *) answered; /* see connections_go_on */
    struct map requests;                      /* number (8 bytes) → struct request * */
    uint64_t request_last;
    bool is_ending; /* the loop is about to go: what a thread still decodes is not begun with */
};

/* `server` has loop, config, comm_settings, events, user and scratch; the rest is zero. */
void server_init(struct server *server, enum message_port port);
/* Every connection is gone; requests that are still open end unanswered. */
void server_fini(struct server *server);
/* A random uuid (version 4) as text, appended: for the ids of servers. */
void server_write_uuid(struct text *out);

#endif
