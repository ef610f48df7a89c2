/* listen.h: where a server listens, and what peers are told of it.
 * Source: distributed cli/dask_scheduler.py, core.py Server.listen, comm/addressing.py. */
#ifndef CASK_NODE_LISTEN_H
#define CASK_NODE_LISTEN_H

#include "node/server.h"

/* As the options of `dask scheduler` and `dask worker` mean it. NULL: not given. */
struct listen_options {
    const char *role;      /* "scheduler", "worker": whose certificate it is */
    const char *host;      /* --host: name, address or URI; may be "tls://…" */
    const char *interface; /* --interface; several, separated by commas */
    const char *protocol;  /* --protocol: tcp, tls, ws, wss, unix; several, separated by commas */
    const char *port;      /* --port; several, separated by commas: one listener each */
    uint16_t port_default; /* of the first listener, without a port; 0: any */
    const char *contact_address; /* instead of the first listener's */
};

/* Open the listeners the options ask for, set server->address, warn loudly when one is beyond loopback
 * without TLS. A port in use: the code and why. */
int listen_all(struct server *server, const struct listen_options *options,
               struct text *why) MUST_USE;
/* Close them. May be called twice. */
void listen_stop(struct server *server);

#endif
