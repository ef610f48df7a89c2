/* planner_internal.h: what the two halves of the planner's C side share: planner.c speaks to it,
 * planner_answers.c hears it. */
#ifndef CASK_NODE_PLANNER_INTERNAL_H
#define CASK_NODE_PLANNER_INTERNAL_H

#include "node/node.h"
#include "node/planner.h"
#include "node/planner_graph.h"
#include "node/planner_process.h"

enum pending_kind {
    PENDING_GRAPH,
    PENDING_REQUEST,
    PENDING_FEED,
    PENDING_WORKERS,
    PENDING_PRELOAD
};

/* A request that the planner has not answered. */
struct pending {
    enum pending_kind kind;
    void *user;
    planner_graph_done *graph_done;
    struct planner_graph_reader graph;
    int graph_error; /* a part was not as it must be: the rest is ignored */
    struct request *request;
    bool is_cancelled; /* a feed whose reader has gone */
    planner_workers_done *workers_done;
    struct slice workers; /* what was asked */
    struct text failure;  /* why it could not be sent; empty: it was */
};

/* An RPC that the planner asked for. */
struct query {
    struct planner *planner;
    struct request *request;
    struct slice id; /* raw msgpack; nil: no answer is wanted */
};

struct planner {
    struct node *node;
    struct planner_process *process; /* NULL: none runs */
    struct io_timer *soon;           /* sends the events, fails what could not be sent */
    struct map pending;              /* number (8 bytes) → struct pending * */
    uint64_t number_last;
    struct VEC(struct query *) queries;
    struct outgoing events; /* [name, fields] one after the other, not sent yet */
    uint32_t event_count;
    bool wants[PLANNER_HOOK_COUNT];
    struct map handlers, stream_handlers; /* names that user code added */
    struct text plugins;                  /* their names, for the log */
    bool is_stopping;
};

extern const char *const planner_hook_names[PLANNER_HOOK_COUNT];

/* ---- planner.c ---- */

/* The open request of this number, or NULL. */
struct pending *pending_find(const struct planner *planner, uint64_t number);
void pending_destroy(struct pending *pending);
/* A graph fails for a reason that is ours to put into words. */
void planner_fail_graph(struct pending *pending, const char *why);
void planner_fail_preload(struct planner *planner, const char *why);

/* ---- planner_answers.c ---- */

/* One message of the planner. */
void planner_take_message(struct planner *planner, const struct frames *message);
/* A str in a map; empty if it is absent. */
struct span planner_text_field(struct span map, const char *name);
/* The planner has gone: nobody waits for the answers to its queries. */
void planner_abandon_queries(struct planner *planner);
/* User code, with its hooks and operations, has gone. */
void planner_forget_interest(struct planner *planner);

#endif
