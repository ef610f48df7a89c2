/* planner.h: the Python child that materialises graphs and runs what users run on the scheduler.
 *
 * Started when the first client comes, or at the first request, and kept; requests are answered in any
 * order, none blocks the loop. It asks back over the same channel, by the scheduler's ordinary RPCs (queries), so a
 * handler may ask it while it asks us. If it dies, what was under way fails with the reason (the
 * signal, its last words) and the next request starts another; plugins that lived in it are
 * lost, and logged. Messages: docs/planner.md. */
#ifndef CASK_NODE_PLANNER_H
#define CASK_NODE_PLANNER_H

#include "wire/flat_graph.h"
#include "wire/frame.h"
#include "wire/outgoing.h"

struct node;
struct planner;
struct request;

/* Starts nothing yet, unless preload modules are configured. */
struct planner *planner_create(struct node *node);
/* A client has come: have a planner ready, a moment later, before it sends a graph, if there is none and the
 * setting cask.planner.prewarm is not off. */
void planner_prewarm(struct planner *planner);
/* Append what `cask status` tells of it: a map; docs/planner.md. */
void planner_write_status(const struct planner *planner, struct text *out);
/* The scheduler closes: plugins get their close hooks, what is under way fails, nothing new
 * starts. */
void planner_stop(struct planner *planner);
/* Kill it if it runs, free. No callback follows. */
void planner_destroy(struct planner *planner);

/* ---- graphs ---- */

/* What an update-graph carries that Python must read. Spans are values in frame 0 of `message`. */
struct planner_graph_request {
    const struct frames *message; /* borrowed for the call; references are taken */
    struct span expr_ser;
    struct span annotations;   /* {"__Pickled__": N}, or empty: they were read in C */
    struct span code;          /* the same */
    struct span span_metadata; /* the same */
    bool as_arrays;            /* not as a pickle to be cut: the answer was is_uncut */
};

/* How it went. All is borrowed for the call, but `graph` may be taken over (memcpy, then zero it
 * here). */
struct planner_graph {
    bool is_ok;
    bool is_uncut; /* not is_ok, and nothing else is set: ask again, for arrays */
    /* Annotation sets include the global annotations if those were asked for. */
    struct flat_graph *graph;
    double seconds; /* the planner spent */
    /* What was asked for, as plain msgpack; else NULL. Annotations without callables; code as a
     * list of [code, lineno_frame, lineno_relative, filename]. */
    struct blob *annotations;
    struct blob *code;
    struct blob *span_metadata;
    /* if not is_ok: bin of the pickled exception, bin of the pickled traceback or nil, texts */
    struct blob *exception;
    struct blob *traceback;
    struct span exception_text;
    struct span traceback_text;
};
typedef void planner_graph_done(void *user, struct planner_graph *result);

/* Materialise; `done` is called once, never inside this call, unless the planner is destroyed
 * first. */
void planner_materialise(struct planner *planner, const struct planner_graph_request *graph,
                         planner_graph_done *done, void *user);

/* ---- what users run ---- */

/* Have the planner answer an RPC: run_function, register_scheduler_plugin,
 * unregister_scheduler_plugin, feed, performance_report, dump_cluster_state_to_url,
 * workers_to_close (with a key), or an operation that user code added. The request is answered
 * (or raises) when the planner has answered; a feed's items go out as messages of its connection
 * until that is gone. */
void planner_forward(struct planner *planner, struct request *request);
/* User code has added an RPC operation, or a stream operation, of this name. */
bool planner_has_handler(const struct planner *planner, struct span op);
bool planner_has_stream_handler(const struct planner *planner, struct span op);
/* Give a stream message to such an operation. `map` lies in frame 0 of `message`; `peer_field`
 * ("client", "worker") and `peer` (msgpack) are added to it, as stock's streams do. */
void planner_stream_message(struct planner *planner, const struct frames *message, struct span map,
                            const char *peer_field, struct span peer);

/* ---- plugin hooks ---- */

enum planner_hook {
#define PLANNER_HOOK(ID, name) PLANNER_HOOK_##ID,
#include "node/planner_hooks.def"
    PLANNER_HOOK_COUNT
};

/* Some plugin wants to hear of this; NULL has none. Ask before doing any work for it. */
bool planner_wants(const struct planner *planner, enum planner_hook hook);
/* Where to write the fields of one event: exactly one map must be appended (payload_put may be
 * used). Only if planner_wants. Events are sent together at the next turn of the loop, in order. */
struct outgoing *planner_event(struct planner *planner, enum planner_hook hook);
/* Which of these workers (a msgpack list of addresses) do plugins allow to close? `done` gets a
 * msgpack list, or, if the planner failed, the list that was asked. Only if planner_wants. */
typedef void planner_workers_done(void *user, struct span addresses);
void planner_valid_workers(struct planner *planner, struct span addresses,
                           planner_workers_done *done, void *user);

#endif
