/* planner_internal.h: what the parts of the planner's C side share: planner.c speaks to it,
 * planner_answers.c hears it, planner_life.c starts it and sees it end. */
#ifndef CASK_NODE_PLANNER_INTERNAL_H
#define CASK_NODE_PLANNER_INTERNAL_H

#include "node/assembly.h"
#include "node/node.h"
#include "node/planner.h"
#include "node/planner_process.h"

enum pending_kind {
    PENDING_GRAPH,
    PENDING_REQUEST,
    PENDING_FEED,
    PENDING_WORKERS,
    PENDING_PRELOAD,
    PENDING_RESTORE /* what a former planner had loaded */
};

/* A request that the planner has not answered. */
struct pending {
    enum pending_kind kind;
    struct planner *planner;
    void *user;
    planner_graph_done *graph_done;
    struct assembly *graph;
    struct request *request;
    bool is_cancelled; /* a feed whose reader has gone */
    planner_workers_done *workers_done;
    struct slice workers; /* what was asked */
    struct text failure;  /* why it could not be sent; empty: it was */
    struct text what;     /* PRELOAD, RESTORE: the plugin's name, or words for it */
    bool is_plugin;
};

/* A plugin that a client registered: it comes back after the planner's end. */
struct kept_plugin {
    struct text name;
    struct blob *plugin; /* as the client sent it */
    bool is_restoring;   /* the new planner has not said yet that it has it */
    uint32_t quick_ends; /* planners in a row that ended soon after they got it */
};

struct planner_life {
    double started; /* of the process that runs, or ran last */
    bool has_run;
    bool was_asked;    /* the process that runs, or ran last, got a request */
    bool ahead_failed; /* one that was started ahead of need ended; no other until one works */
    uint32_t failures; /* ends in a row, with no request finished in between */
    double not_before; /* no start sooner */
    struct text last_end;
    struct io_timer *restart;
    struct io_timer *prewarm;               /* a start ahead of need */
    struct VEC(struct kept_plugin) plugins; /* in order of registration */
};

/* An RPC that the planner asked for. */
struct query {
    struct planner *planner;
    struct request *request;
    struct slice id; /* raw msgpack; nil: no answer is wanted */
};

/* What all planners together have done for graphs. */
struct planner_work {
    uint64_t graphs, tasks;
    double seconds; /* that graphs were being made; several at a time count each */
};

struct planner {
    struct node *node;
    struct planner_process *process; /* NULL: none runs */
    struct io_timer *soon;           /* sends the events, fails what could not be sent */
    struct map pending;              /* number (8 bytes) → struct pending * */
    uint64_t number_last;
    struct VEC(struct pending *) ending; /* graphs whose last message has come, at the threads */
    struct VEC(struct query *) queries;
    struct outgoing events; /* [name, fields] one after the other, not sent yet */
    uint32_t event_count;
    bool wants[PLANNER_HOOK_COUNT];
    struct map handlers, stream_handlers; /* names that user code added */
    struct map plugins;                   /* names of all plugins */
    struct planner_life life;
    struct planner_work work;
    bool is_stopping;
};

extern const char *const planner_hook_names[PLANNER_HOOK_COUNT];

/* ---- planner.c ---- */

struct pending *pending_add(struct planner *planner, enum pending_kind kind, uint64_t *out_number);
/* The open request of this number, or NULL. */
struct pending *pending_find(const struct planner *planner, uint64_t number);
void pending_destroy(struct pending *pending);
/* A graph fails for a reason that is ours to put into words. */
void planner_fail_graph(struct pending *pending, const char *why);
void planner_fail_preload(struct planner *planner, const struct pending *pending, const char *why);
/* Every open request fails. */
void planner_fail_all(struct planner *planner, const char *why);
/* Begin a message: {"op": op, "id": number, … `more` pairs follow. */
void planner_begin(struct outgoing *out, const char *op, uint64_t number, uint32_t more);
/* Send a request that is pending; without a process it fails soon. Ends `out`. */
void planner_send(struct planner *planner, uint64_t number, struct outgoing *out);

/* ---- planner_life.c ---- */

/* Sends the preload modules, if there are any. */
void planner_life_init(struct planner *planner);
void planner_life_fini(struct planner *planner);
/* There is a process, or one could be started; else false and `why`. A new one is told at once
 * what the former one had loaded. */
bool planner_ensure(struct planner *planner, struct text *why);
/* A request of a user came to its end: this planner works. */
void planner_finished_request(struct planner *planner);
/* A client's registration of a plugin succeeded, under this name. */
void planner_keep_plugin(struct planner *planner, struct span name, const struct request *request);
/* Plugins that the planner does not name any more were unregistered. */
void planner_forget_plugins(struct planner *planner);
/* Log that something was loaded again; `failure` says why it was not, or is NULL. */
void planner_restored(const struct pending *pending, const char *failure);
/* The same, said by the planner itself. */
void planner_restore_answered(struct planner *planner, const struct pending *pending,
                              const char *failure);

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
