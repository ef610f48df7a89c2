/* proxy.h: what lies below /proxy: which worker is meant, for its pages (proxy.c) and its WebSockets (proxy_socket.c). */
#ifndef CASK_OBSERVER_PROXY_H
#define CASK_OBSERVER_PROXY_H

#include "observer/process.h"

/* PORT/HOST/PATH; out_path begins with a slash. False: it is not that. */
bool proxy_cut(struct span part, uint32_t *out_port, struct span *out_host, struct span *out_path);
/* The worker that has its dashboard there; NULL: none that is registered. */
const struct worker_row *proxy_find_worker(const struct tables *tables, struct span host,
                                           uint32_t port);
/* "host:port", as a Host header says it. */
void proxy_put_host(struct text *out, const struct worker_row *row);
/* A path that was decoded, encoded. */
void proxy_put_path(struct text *out, struct span path);
/* "name=value" behind `before`, which becomes '&'; nothing of a token, which is for us. */
void proxy_put_argument(struct text *out, struct span argument, char *before);

/* What a browser asks that wants a WebSocket of a worker's page. */
struct proxy_upgrade {
    struct span part;  /* PORT/HOST/PATH, decoded */
    struct text query; /* "?name=value&…", encoded */
    struct text key, protocols;
};

/* Pass it on: the connection of `wsi` is taken away from it, which is to be closed then. 0, or the HTTP status that says
 * why not. */
int proxy_socket_open(struct observer *observer, struct lws *wsi,
                      const struct proxy_upgrade *upgrade) MUST_USE;
/* The library's callback of its connections, to browsers and to workers. */
int proxy_socket_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                       size_t size);

#endif
