/* intake.h: one update-graph while it is under way: what of it can be found out without the scheduler.
 *
 * For a large graph that is nearly all of the work, and a thread does it. So an intake holds all that it is
 * made of by itself (buf.h: loans), and belongs either to the loop or to a thread. */
#ifndef CASK_NODE_INTAKE_H
#define CASK_NODE_INTAKE_H

#include "core/scheduler/graph_plan.h"
#include "node/node.h"
#include "wire/flat_graph.h"

enum {
    INTAKE_LARGE_BYTES = 64 * 1024, /* a message that a thread reads */
    INTAKE_LARGE_TASKS =
        1024, /* a graph that a thread plans, and that comes in in slices of so many */
};

struct intake {
    struct node *node;
    client_id client;
    struct frames message;          /* references held; `fields` point into it */
    struct msg_update_graph fields; /* decoded; spans that had to be copied are in `arena` */
    struct arena arena;
    struct flat_graph graph;
    struct text annotations, span_metadata, code; /* msgpack, as far as C could read them */
    struct span actors;                           /* raw msgpack: bool, list or nil */
    double started;
    int error;       /* of intake_cut */
    struct text why; /* intake_prepare: the graph cannot be taken; empty: it can */
    struct graph_info info;
    struct graph_plan *plan; /* NULL: the core makes it */
    bool is_large;           /* threads work on it; its client's stream is held */
    uint32_t done;           /* how far it was dealt with in pieces: graph_queue.c */
};

/* A copy of the message's fields; `graph` may lie in scratch memory. */
struct intake *intake_create(struct node *node, client_id client, const struct frames *message,
                             const struct msg_update_graph *graph);
/* Its flat graph as an intake of its own, to be discarded; it is left without one. */
struct intake *intake_split(struct intake *intake);
/* Small ones; see graph_queue.h for the others. */
void intake_free(struct intake *intake);
/* What is left when the loop has given all references back. Any thread. */
void intake_free_rest(struct intake *intake);

/* ---- any thread ---- */

/* Cut the graph without Python. `error` is ERR_UNSUPPORTED (or whatever is wrong with it): the planner's. */
void intake_cut(struct intake *intake);
/* From flat graph to `info`; with the plan if the graph is large. */
void intake_prepare(struct intake *intake);

#endif
