/* trace_proxy.h: stands between peers and a server, passes every byte on unchanged, and shows each message.
 *
 * What cannot be read as Dask's protocol is passed on all the same. Both sides are streams of bytes (tcp, tls, unix),
 * or both are websockets (ws, wss). */
#ifndef CASK_NODE_TRACE_PROXY_H
#define CASK_NODE_TRACE_PROXY_H

#include "io/io.h"
#include "node/config.h"
#include "wire/frame.h"

struct trace_proxy;

/* Something that happened on a connection. */
struct trace_event {
    uint32_t connection;          /* 1, 2, … in order of arrival */
    bool to_server;               /* else from it */
    double time;                  /* seconds since the epoch */
    const struct frames *message; /* a message; NULL: see note */
    const char *note;             /* "opened from tcp://…", "closed: …" */
};
/* Borrowed for the call. */
typedef void trace_seen(void *user, const struct trace_event *event);

struct trace_proxy_options {
    const struct config *config; /* has the certificates, of the scheduler's role */
    const char *from, *to;       /* addresses: listen at one, connect each peer to the other */
};

/* An error code and why: ERR_ADDRESS, ERR_UNSUPPORTED (one side is a websocket, the other is not), ERR_TLS, or
 * of io_listen. */
int trace_proxy_create(struct io_loop *loop, const struct trace_proxy_options *options,
                       struct trace_proxy **out_proxy, struct text *why) MUST_USE;
/* Call `seen` with what happens; set it before the loop runs. */
void trace_proxy_watch(struct trace_proxy *proxy, trace_seen *seen, void *user);
/* Where it listens, with its real port, appended. */
void trace_proxy_address(const struct trace_proxy *proxy, struct text *out);
/* After the loop stopped and before it is destroyed: aborts what is left. Connections end with the loop. */
void trace_proxy_stop(struct trace_proxy *proxy);
/* After the loop is destroyed. */
void trace_proxy_destroy(struct trace_proxy *proxy);

#endif
