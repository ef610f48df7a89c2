/* rpc.h: calls to other servers (workers, nannies), over pooled connections.
 *
 * One call at a time uses a connection; idle ones are kept by address and used again; more are opened for
 * concurrency, up to a limit, beyond which calls wait their turn. A connection on which anything went wrong
 * is dropped. Source: distributed core.py, ConnectionPool, send_recv; protocol.md 1.6, 1.8. */
#ifndef CASK_NODE_RPC_H
#define CASK_NODE_RPC_H

#include "node/comm.h"

struct rpc_pool;

/* The answer: code 0 and the message (borrowed for the call), or an error with a sentence of text.
 * Called exactly once, never inside rpc_call. */
typedef void rpc_done(void *user, int code, const char *text, const struct frames *reply);

struct rpc_pool *rpc_pool_create(const struct comm_settings *settings, uint32_t connections_max);
/* Ends what is under way (ERR_CLOSED), closes all; frees itself once the last comm is gone. */
void rpc_pool_destroy(struct rpc_pool *pool);

struct rpc_options {
    double timeout; /* seconds for the whole call; 0: none */
    bool
        shares; /* over what the server offers to processes of its host (node/share.h), if it is for us */
    bool acknowledge; /* a reply with status "OK" is answered by the message "OK" (get_data) */
    rpc_done *done;
    void *user; /* of done */
};

/* Send `request` (a map with its op; taken, left empty) to the server at `address`. */
void rpc_call(struct rpc_pool *pool, struct span address, struct outgoing *request,
              const struct rpc_options *options);
/* `address` is gone: close its connections; calls that were under way fail with ERR_CLOSED. */
void rpc_pool_forget(struct rpc_pool *pool, struct span address);

#endif
