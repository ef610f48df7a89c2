/* computations.h: what users see as "one computation": a run of graphs while work is unfinished, with the
 * code that submitted them and the groups they made. Must agree with: scheduler.py Computation. */
#ifndef CASK_CORE_SCHEDULER_COMPUTATIONS_H
#define CASK_CORE_SCHEDULER_COMPUTATIONS_H

#include "core/scheduler/scheduler.h"
#include "core/scheduler/states.h"

struct computations;
struct group;

struct computations *computations_create(const struct scheduler_config *config);
void computations_destroy(struct computations *computations);
/* A new graph: reuse the last computation if work is unfinished, else begin one. Then note the groups that the
 * graph made, of each its first task in `made`. Called before any of its tasks moves. */
void computations_graph(struct scheduler *s, const struct graph_info *graph, const task_id *made,
                        uint32_t count);
struct computation_view {
    struct span id;           /* uuid */
    double start, stop;       /* stop −1: it has no groups */
    struct blob *const *code; /* msgpack lists of source codes */
    uint32_t code_count;
    struct group *const
        *groups; /* those of a long computation that are forgotten are left out, not their counts */
    uint32_t group_count;
    uint64_t state_counts[TASK_STATE_COUNT];
};
uint32_t computations_count(const struct scheduler *s);
/* `index` 0: the oldest kept. O(its groups). */
bool computations_at(const struct scheduler *s, uint32_t index, struct computation_view *out);

#endif
