/* request.h: one RPC that came in and its answer, now or later.
 *
 * A handler gets a request and answers it exactly once: in the call, or after events and calls to workers,
 * by the request's pointer or its number (actions of the core name requests by number). Until then the
 * connection hands on nothing else: RPCs of one connection are answered in order. Requests also come from
 * the planner, over its channel: `deliver` is what differs. If the connection goes away the request lives
 * on, and its answer is dropped. Source: distributed core.py, Server._handle_comm; protocol.md 1.6. */
#ifndef CASK_NODE_REQUEST_H
#define CASK_NODE_REQUEST_H

#include "base/arena.h"
#include "wire/frame.h"
#include "wire/outgoing.h"

struct message;
struct request;
struct server;

typedef void request_deliver(void *user, struct request *request, struct outgoing *answer);

struct request {
    uint64_t number;
    struct server *server;
    struct frames message;   /* frame 0 is the whole call; references held until answered */
    struct span op;          /* in the message */
    struct span serializers; /* raw msgpack of the "serializers" field, or empty */
    struct arena kept;       /* request_keep */
    bool wants_reply;
    bool closes;       /* close the connection after the answer */
    bool is_gone;      /* nobody waits any more */
    bool is_with_core; /* only the core will answer it: it ends when nobody waits any more */
    request_deliver *deliver;
    void *user; /* of deliver: the connection */
};

/* Read a call out of a message. ERR_TYPE, ERR_MISSING: no map, or no op; nothing is created then. */
int request_create(struct server *server, const struct frames *message, request_deliver *deliver,
                   void *user, struct request **out_request) MUST_USE;
/* The open request of this number, or NULL. */
struct request *request_find(struct server *server, uint64_t number);
/* End those that are still open: every connection is gone. */
void requests_fini(struct server *server);
/* Its message is not needed any more: a wait may be long, and a small message holds a large buffer. */
void request_drop_message(struct request *request);
/* Decode the call and give it to the server's owner. A wrong field raises TypeError at the caller. */
void request_dispatch(struct request *request);
/* Its call once more, into the server's scratch arena; for those who go on later. */
void request_decode(struct request *request, struct message *out_message);
/* The same bytes, good until the request ends: where they lie if that is in its message, else a copy. */
struct span request_keep(struct request *request, struct span bytes);
/* The connection is gone: the answer will be dropped; the server's owner is told. */
void request_abandon(struct request *request);

/* The answers. Each ends the request. `answer` is taken and left empty. */
void request_reply(struct request *request, struct outgoing *answer);
void request_reply_nil(struct request *request);
void request_reply_ok(struct request *request);                         /* the string "OK" */
void request_reply_status(struct request *request, const char *status); /* {"status": …} */
void request_reply_bool(struct request *request, bool value);
void request_reply_int(struct request *request, int64_t value);
void request_reply_str(struct request *request, struct span text);
struct blob;
void request_reply_blob(struct request *request, const struct blob *blob);
/* The call raises at the caller: an "uncaught-error" with a pickled `module`.`name`(text). */
void request_raise(struct request *request, const char *module, const char *name,
                   const char *format, ...) PRINTF_LIKE(4, 5);
#define request_raise_builtin(request, name, ...)                                                  \
    request_raise((request), "builtins", (name), __VA_ARGS__)
/* Forward another server's answer, frames and all. */
void request_forward(struct request *request, const struct frames *reply);

#endif
