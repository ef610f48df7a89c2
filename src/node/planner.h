/* planner.h: the Python child that does what only Python can: graphs of collections, functions to run on
 * the scheduler, plugins. Started on first need, kept warm; if it dies, what was under way fails with the
 * reason and the next need starts it again. The scheduler never waits for it. Protocol: docs/planner.md. */
#ifndef CASK_NODE_PLANNER_H
#define CASK_NODE_PLANNER_H

#include "node/node.h"
#include "wire/flat_graph.h"

struct planner;

struct planner *planner_create(struct node *node);
/* Tell it to end; kill it if it does not within a second. */
void planner_stop(struct planner *planner);
/* Callbacks are not called any more. */
void planner_destroy(struct planner *planner);

/* Why a request failed: blobs as they go to clients ("exception", "traceback" may be NULL) and texts; valid
 * for the callback. */
struct planner_error {
    struct blob *exception, *traceback;
    struct span exception_text, traceback_text;
};

/* A graph is flat: `error` NULL, and `graph` with everything, the callee's to flat_graph_fini; or it failed.
 * extra (msgpack map) carries what update-graph's pickles held and C could not read: "annotations" (global,
 * plain values), "span_metadata", "code", "actors"; absent keys: not asked. Called exactly once. */
typedef void planner_graph_done(void *user, struct flat_graph *graph, struct span extra,
                                const struct planner_error *error);
/* `message` is the update-graph's; references are taken. expr_ser, annotations … are raw values in it; data
 * NULL: need not be read by Python. */
struct planner_graph {
    const struct frames *message;
    struct span expr_ser, keys, annotations, span_metadata, code, actors;
};
void planner_materialise(struct planner *planner, const struct planner_graph *graph, planner_graph_done *done,
                         void *user);

/* Any other request: `call` is a message (map with its op, and frames; taken); the answer's frame 0 is the
 * value to reply with. `error` as above, if it raised. Called exactly once. */
typedef void planner_call_done(void *user, const struct frames *answer, const struct planner_error *error);
void planner_call(struct planner *planner, struct outgoing *call, planner_call_done *done, void *user);

/* Transitions and other notices go to plugins only while one is registered that listens. */
bool planner_wants_notices(const struct planner *planner);
void planner_notice(struct planner *planner, const struct notice *notice);

/* Preload modules and texts (--preload, distributed.scheduler.preload): loaded at start. */
void planner_preload(struct planner *planner, const char *const *modules, const char *const *arguments);

#endif
