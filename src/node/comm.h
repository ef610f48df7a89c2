/* comm.h: one Dask connection over an io stream: handshake first, then whole messages both ways.
 *
 * Both sides write their handshake at once and read the other's; messages to send follow ours without
 * waiting for theirs. Incoming messages are handed over one by one; the receiver may hold the flow (comm_hold) while
 * it works on one, as RPC needs. A malformed message closes the comm with a reason; nothing else is
 * disturbed. Source: protocol.md 1; distributed comm/core.py, comm/tcp.py. */
#ifndef CASK_NODE_COMM_H
#define CASK_NODE_COMM_H

#include "io/io.h"
#include "wire/handshake.h"
#include "wire/outgoing.h"

struct comm;
struct share;

struct comm_events {
    /* The handshake is done. May be NULL. */
    void (*ready)(void *user, struct comm *comm);
    /* One message; borrowed for the call (take references to frames to keep them). */
    void (*message)(void *user, struct comm *comm, const struct frames *message);
    /* The comm is gone; called exactly once, last. code and text as io_stream_events.closed. */
    void (*closed)(void *user, struct comm *comm, int code, const char *text);
};

/* What the comms of one process share. */
struct comm_settings {
    struct io_loop *loop;
    struct io_tls *tls;                /* NULL: none */
    enum compress_method compression;  /* distributed.comm.compression */
    double connect_timeout;            /* distributed.comm.timeouts.connect, seconds */
    bool require_encryption;           /* distributed.comm.require-encryption */
    const struct frame_memory *memory; /* where large frames are put; NULL: the heap */
    struct share *share; /* how values go to processes of this host; NULL: as to all others */
};

/* Take an accepted stream. `user` may be set later by comm_use. */
struct comm *comm_accept(const struct comm_settings *settings, struct io_stream *stream,
                         const struct comm_events *events, void *user);
/* Connect to "tcp://…" and friends; a refused connection is tried again until settings->connect_timeout is
 * over. The failure of a bad address comes through `closed`, too. */
struct comm *comm_connect(const struct comm_settings *settings, struct span address,
                          const struct comm_events *events, void *user);
/* Connect to what a peer offered (comm_offer), once; its process must be of our user. Not before settings->share. */
struct comm *comm_connect_share(const struct comm_settings *settings, const char *name,
                                const struct comm_events *events, void *user);
/* From now on others are told. `events` must outlive the comm. */
void comm_use(struct comm *comm, const struct comm_events *events, void *user);

/* Send a message: takes what is in `out` and leaves it empty. Order is kept. */
void comm_send(struct comm *comm, struct outgoing *out);
/* Read on even while the peer is slow to read. For workers: two servers that both stop reading until the
 * other reads would wait for ever. */
void comm_trust(struct comm *comm);
/* Bytes accepted and not yet taken by the system. */
size_t comm_queued(const struct comm *comm);
/* Stop and resume the handing over of messages (and, with it, reading). */
void comm_hold(struct comm *comm);
void comm_release(struct comm *comm);
/* While held: `closed` comes when the peer is gone, if it said nothing more before. */
void comm_watch_end(struct comm *comm);
/* Close after what is queued is sent; abort closes at once. `closed` follows. */
void comm_close(struct comm *comm);
void comm_abort(struct comm *comm, const char *reason);
/* "tcp://host:port" of the other end; valid until closed. */
const char *comm_peer(const struct comm *comm);
/* Connected; false while connecting. */
bool comm_is_open(const struct comm *comm);
/* What the peer offers in its handshake (node/share.h); "" before it has come, and if it offers nothing. */
const char *comm_offer(const struct comm *comm);
/* Large frames are not sent here, but shared. */
bool comm_is_share(const struct comm *comm);
/* The handshake has come. */
bool comm_is_shaken(const struct comm *comm);
/* Both ends show the same host address: nothing is compressed then. */
bool comm_is_local(const struct comm *comm);

#endif
