/* graph_plan.h: all that can be found out about a graph without looking at the scheduler: which of its
 * keys are wanted, what is culled, the order of its tasks, the walk that Dask makes from the wanted keys.
 *
 * For a large graph this is half of the work, and the half that needs no scheduler: a node may have it
 * done by a thread and send the event with the plan (graph_info.plan). Without one the event makes it. */
#ifndef CASK_CORE_SCHEDULER_GRAPH_PLAN_H
#define CASK_CORE_SCHEDULER_GRAPH_PLAN_H

#include "core/scheduler/events.h"

/* What taking the graph in writes down; made here because a million new pages take milliseconds. */
struct graph_room {
    task_id *ids;       /* by number; TASK_NONE: not known */
    uint8_t *is_new;    /* by number: made (or given its run_spec) now */
    uint8_t *is_needed; /* by number: wanted, or an input of one that is needed; and released */
    uint32_t *new_dependents; /* by key: edges to come */
    task_id *firsts;          /* the first touched task of each group */
    task_id *made;            /* the first task of each group that the graph makes */
    struct span *keys;        /* of the touched tasks, for the notice */
    task_id *to_move;         /* wanted and released, but not in plan->in_order */
};

/* Keys are numbered as in graph_info; wanted keys that are not in it follow from key_count on. */
struct graph_plan {
    struct arena arena; /* of all arrays here */
    uint32_t number_count;
    uint64_t *hashes;    /* by number: span_hash of the key */
    uint32_t *wanted;    /* numbers of graph->wanted */
    const uint8_t *kept; /* task_count: not culled; NULL: all */
    uint32_t kept_count;
    uint32_t *touched; /* numbers reached from the wanted ones, in Dask's order of discovery */
    uint32_t touched_count;
    const int64_t *priorities; /* by task number; GRAPH_NO_PRIORITY: none */
    /* kept_count tasks in order of priority, each after what it depends on; NULL: the priorities came with
     * the graph and are not of this kind. */
    uint32_t *in_order;
    struct graph_room
        room;            /* written by the steps that take the graph in; so a plan is for one use */
    struct span refused; /* why the graph cannot be run (a cycle); empty: it can */
};

/* Reads nothing but the graph, which must not change nor go until the plan has been used and destroyed.
 * Any thread. About half a microsecond a task. */
struct graph_plan *graph_plan_create(const struct graph_info *graph);
void graph_plan_destroy(struct graph_plan *plan);

#endif
