/* cull.h: which tasks of a graph the wanted ones need. Pure.
 * Must agree with: distributed/scheduler.py, _cull (names that are no task are skipped). */
#ifndef CASK_CORE_CULL_H
#define CASK_CORE_CULL_H

#include "base/span.h"

/* Task i needs deps[dep_start[i]..dep_start[i + 1]). */
struct cull_graph {
    uint32_t task_count;
    const uint32_t *dep_start; /* task_count + 1 */
    const uint32_t *deps;      /* numbers ≥ task_count are not in the graph: skipped */
};

/* out_keep[i] becomes 1 if task i is wanted or needed by one that is, else 0 (room for
 * task_count). Wanted numbers ≥ task_count are skipped. How many are kept. O(tasks + deps). */
uint32_t cull_mark(const struct cull_graph *graph, const uint32_t *wanted, uint32_t wanted_count,
                   uint8_t *out_keep);

#endif
