/* worker_view.h: the worker's state at one moment, for user code in executors that looks at it: msgpack, one value each. */
#ifndef CASK_NODE_WORKER_VIEW_H
#define CASK_NODE_WORKER_VIEW_H

#include "base/span.h"
#include "base/text.h"

struct worker_node;

/* `keys`: msgpack [key, …], of peers or user code; empty or malformed: all. A list of maps, of those that are known: key, prefix,
 * state, previous, next, run_id, nbytes, span_id, coming_from, annotations, priority, dependencies, dependents, who_has.
 * O(tasks and their edges). */
void worker_view_tasks(struct worker_node *worker, struct span keys, struct text *out);
/* A map of counts, resources, busy peers and bytes spilled; names as in stock's WorkerState. O(peers). */
void worker_view_whole(const struct worker_node *worker, struct text *out);
/* The last moves and other events, as in stories. */
void worker_view_log(struct worker_node *worker, struct text *out);
/* Keys of the values kept, actors excluded; `where`: "disk" (only there), "memory" (the others), or empty: all. O(values). */
void worker_view_keys(const struct worker_node *worker, struct span where, struct text *out);

#endif
