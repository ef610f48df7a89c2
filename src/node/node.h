/* node.h: the scheduler process from the inside: what its files share. Only node/ includes it.
 *
 * One turn of the loop: messages arrive (connection.c), become events (inbound.c) or RPCs (rpc_*.c); each
 * event is applied to the core at once (node_apply) and its actions are written into the batches of the
 * peers they concern (outbound.c); at the end of the turn every touched batch goes out as one message. What
 * streams say beyond the turn's share of time waits for the next (turn.c).
 * Nothing here decides; deciding is the core's. */
#ifndef CASK_NODE_NODE_H
#define CASK_NODE_NODE_H

#include "base/arena.h"
#include "base/map.h"
#include "base/prng.h"
#include "base/vec.h"
#include "core/scheduler/view.h"
#include "node/comm.h"
#include "node/config.h"
#include "node/lags.h"
#include "node/request.h"
#include "node/rpc.h"
#include "node/server.h"
#include "wire/pickle_trust.h"

struct decoded;
struct failed_inputs;
struct feed;
struct graph_queue;
struct lifecycle;
struct metadata;
struct observer_link;
struct planner;
struct publish;
struct task_stream;
struct topics;
struct turn;

/* The batch of messages on its way to one peer: what Dask calls BatchedSend. */
struct stream {
    struct comm *comm;
    struct outgoing batch;
    struct node *node;
    bool is_dirty;      /* in node->dirty_streams */
    bool is_held;       /* a graph of its client is under way, or it is late: messages wait */
    bool is_late;       /* the turn was over: it goes on in a later one (turn.h) */
    struct frames held; /* the batch whose rest waits … */
    struct message_batch rest; /* … and where it goes on */
    struct decoded *decoded;   /* instead of `rest`: what a thread decoded; NULL: none */
    struct message *part;      /* the message that is not done yet, many keys; NULL: none */
    struct text part_keys;
    worker_id worker; /* whose stream it is: a worker's … */
    client_id client; /* … or a client's */
};

struct node {
    struct io_loop *loop;
    const struct config *config;
    struct comm_settings comm_settings;
    struct rpc_pool *rpc;
    struct scheduler *core;
    struct step step;
    struct arena scratch;                  /* dies with the message being handled */
    struct arena outbound_arena;           /* dies with the actions of a step */
    bool is_stepping;                      /* inside node_apply: no second step may begin */
    struct server server;                  /* its address, connections, requests */
    struct message_decoder stream_decoder; /* uses scratch, as the server's does */
    double started;                        /* seconds since the epoch */
    struct text id;                        /* "Scheduler-<uuid>" */
    struct text scheduler_file;            /* written at start, removed at the end; empty: none */
    struct VEC(struct stream *) worker_streams; /* by worker_id; NULL: none */
    struct VEC(struct stream *) client_streams; /* by client_id; NULL: none */
    struct VEC(struct span) worker_names;       /* by worker_id: address as a msgpack str, owned */
    struct VEC(struct stream *) dirty_streams;
    struct VEC(struct stream *) status_watchers; /* subscribe_worker_status */
    double now;                                  /* time of the last event */
    struct io_timer *close_timer;                /* NULL until closing */
    uint32_t close_waits;                        /* how often it was put off */
    struct io_timer *tick_timer;
    double tick_due;                          /* when tick_timer rings; infinity: not set */
    struct pickle_trust trust;                /* names that graphs may use: see update_graph.c */
    struct map worker_plugins, nanny_plugins; /* name → struct blob * (bin of the pickle) */
    struct metadata *metadata;
    struct blob *versions;           /* of the first peer, for all to agree with; NULL: none yet */
    struct map retirements;          /* see retire.c */
    uint64_t scatter_turn;           /* items scattered so far: the next ones go on in turn */
    struct VEC(struct feed *) feeds; /* see feed.h */
    struct map memory_samplers;      /* see memory_sampler.h */
    struct publish *publish;
    struct topics *topics;
    struct task_stream *task_stream;
    struct turn *turn;
    struct lags lags;
    struct graph_queue *graph_queue;
    struct planner *planner;
    struct observer_link *observer;      /* NULL: no dashboard */
    struct failed_inputs *failed_inputs; /* NULL: nobody keeps them */
    struct lifecycle *lifecycle;
    uint32_t nannies_starting; /* open register_nanny connections */
    uint32_t graphs_under_way; /* blocks idle detection */
    bool is_closing;
    int exit_code;
};

/* ---- scheduler_node.c ---- */

/* Apply an event: step, carry out the actions, set the next tick. `event` needs kind and fields only:
 * time (now) and, if empty, the stimulus are filled in. node->step holds the outcome until the next. */
void node_apply(struct node *node, struct event *event);
/* An event of this kind, zeroed otherwise. */
static inline struct event event_of(enum event_kind kind)
{
    struct event event;
    memset(&event, 0, sizeof event);
    event.kind = kind;
    return event;
}
/* A worker's address as a msgpack str, encoded once; valid as long as the worker is known. */
struct span node_worker_name(struct node *node, worker_id worker);
/* "<what>-<time>" in the scratch arena, as stock names stimuli. */
struct span node_stimulus(struct node *node, const char *what);
/* Begin an orderly close: workers and clients are told, then the loop stops. */
void node_close(struct node *node, const char *reason);

/* distributed.scheduler.utils heartbeat_interval: seconds between heartbeats for `n` peers. */
double node_heartbeat_interval(uint32_t n);

/* ---- stream.c ---- */

struct stream *stream_create(struct node *node, struct comm *comm);
void stream_destroy(struct stream *stream);
/* Where to write the next map (after outgoing_item or by encode_…); it goes out at the end of the turn. */
struct outgoing *stream_batch(struct stream *stream);
void stream_flush(struct stream *stream);
/* All dirty ones; the loop's turn hook. */
void streams_flush(struct node *node);
/* Take no further message of this stream until stream_release, not even the rest of this batch. */
void stream_hold(struct stream *stream);
void stream_release(struct stream *stream); /* peer_stream.c */
/* The stream of a worker or client, or NULL if it has none (any more). */
struct stream *stream_of_worker(struct node *node, worker_id worker);
struct stream *stream_of_client(struct node *node, client_id client);

/* ---- peer_stream.c: what connections turn into ---- */

/* The RPC takes the connection over: from now on it is a client's, worker's … stream. The request ends
 * without an answer. It must have come over a connection (connection_of). */
void connection_become_client(struct node *node, struct request *request, client_id client);
void connection_become_worker(struct node *node, struct request *request, worker_id worker);
void connection_become_watcher(struct node *node, struct request *request);
/* The client has come back over another connection: its stream ends now, as if its end had been seen, and what is
 * unread of it goes. */
void client_stream_replaced(struct stream *stream);

/* ---- rpc_peers.c: a stream's connection is gone ---- */

void client_stream_ended(struct node *node, client_id client);
void worker_stream_ended(struct node *node, worker_id worker);

/* ---- inbound.c: stream messages → events ---- */

/* One message. 1: go on; 0: the stream ends in good order; −1: it is refused, `why` says the reason. */
int inbound_message(struct node *node, struct stream *stream, const struct frames *frames,
                    const struct message *message, struct text *why);

/* ---- batch.c: the messages of a stream, one after the other ---- */

enum inbound_result { INBOUND_GOES_ON, INBOUND_ENDED, INBOUND_REFUSED };

/* One message (a batch) of a client's or worker's stream. REFUSED: close the connection, `why` says the
 * reason; ENDED: the peer said goodbye. A batch may be held in the middle (stream_hold). */
enum inbound_result inbound_stream(struct node *node, struct stream *stream,
                                   const struct frames *frames, struct text *why);
/* The rest of a held batch. */
enum inbound_result inbound_go_on(struct node *node, struct stream *stream, struct text *why);
/* The stream ends: what is held of it goes. */
void batch_forget(struct stream *stream);

/* ---- graph intake: update_graph.c ---- */

/* One update-graph of a client; that client's stream is held until it is applied. */
void update_graph(struct node *node, struct stream *stream, const struct frames *message,
                  const struct msg_update_graph *graph);

/* ---- rpc.def: every RPC by name ---- */

/* Answers `request`, now or later, as server_events.dispatch (the frames behind `message` live as long as the
 * request: request_decode gives it again). */
typedef void rpc_handler(struct node *node, struct request *request, const struct message *message);
#define RPC(ID, function) rpc_handler function;
#include "node/rpc.def"

/* Run a call's handler. An unknown op is answered nil with a warning, as stock does. */
void rpc_dispatch(struct node *node, struct request *request, const struct message *message);
/* Nobody waits for an answer any more: the core may. */
void rpc_request_gone(struct node *node, struct request *request);

#endif
