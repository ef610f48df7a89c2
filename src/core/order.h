/* order.h: the static order of a graph's tasks, the tie-breaker of their priorities. Executed one at
 * a time in this order, a graph keeps few results alive.
 *
 * Must agree with: dask/order.py, order(). Where Python's result hangs on the iteration order of a
 * set of strings (so differs from run to run), the rule here is: keys in the order of their numbers.
 * One difference remains, for graphs in which Python would need minutes and gigabytes: see
 * order_budget. Pure. */
#ifndef CASK_CORE_ORDER_H
#define CASK_CORE_ORDER_H

#include "base/assert.h"
#include "base/span.h"

/* Keys 0..task_count-1 are the graph's own, in the order of the Python dict; task_count..key_count-1
 * are only depended on. All arrays are the caller's. */
struct order_graph {
    uint32_t task_count;
    uint32_t key_count; /* ≥ task_count */
    const uint32_t
        *dep_start;       /* task_count + 1: task i needs deps[dep_start[i]..dep_start[i + 1]) */
    const uint32_t *deps; /* key numbers, each at most once a task */
    const uint8_t *flags; /* task_count, or NULL: no data among the tasks */
    uint8_t data_mask;    /* flags & data_mask: the key is plain data (a DataNode). With
                                * dependencies it counts as a task all the same. */
    const struct span *names; /* key_count: str(key) in UTF-8, which breaks the last ties */
};

/* Give every task its place, 0 first. out_priority: room for task_count. false, and out_priority is
 * worthless, if the graph has a cycle. 0.05 to 0.9 µs and 50 to 115 bytes of scratch memory a task. */
bool order_compute(const struct order_graph *graph, uint32_t *out_priority) MUST_USE;

/* One cycle of a graph for which order_compute said false: out_keys (room for task_count + 1) gets
 * key, its dependency, …, and the first key again at the end. How many, or 0 if there is none. */
uint32_t order_find_cycle(const struct order_graph *graph, uint32_t *out_keys);

#endif
