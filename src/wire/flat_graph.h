/* flat_graph.h: a task graph as arrays: what the C pickle reader cuts out of a client's pickle, and
 * what the planner streams back. The scheduler core takes these arrays in one event.
 *
 * Tasks are numbered 0..task_count-1 in the order of the graph (the insertion order of the Python
 * dict). Keys task_count..key_count-1 are only depended on: they must be known to the scheduler
 * already. Everything but the run_specs lives in the graph's arena.
 * Source: dask._task_spec (GraphNode), protocol.md 4.2, 8.4. */
#ifndef CASK_WIRE_FLAT_GRAPH_H
#define CASK_WIRE_FLAT_GRAPH_H

#include "base/arena.h"
#include "base/blob.h"

enum {
    FLAT_DATA_PRODUCER = 1 << 0, /* GraphNode.data_producer: root-ish whatever its group's size */
    FLAT_NOT_A_TASK = 1 << 1,    /* DataNode: dask.order treats it as data (dask.core.istask) */
    FLAT_P2P_BARRIER = 1 << 2,   /* P2PBarrierTask: `shuffles` has a row for it */
};

/* What the shuffle extension must know of one P2PBarrierTask; protocol.md 8.5. */
struct flat_shuffle {
    uint32_t task;    /* the barrier task's number */
    struct span id;   /* UTF-8 shuffle id */
    struct span spec; /* pickle of the ShuffleSpec, no out-of-band buffers */
    bool is_array;    /* ArrayRechunkSpec; else DataFrameShuffleSpec */
    uint32_t part_count;
    const struct span
        *parts; /* canonical msgpack of each output partition, in order (int or [int…]) */
    uint32_t axis_count;          /* array: number of axes of `new` */
    const uint32_t *axis_lengths; /* array: chunks along each axis of `new` */
    uint32_t npartitions;         /* dataframe: its npartitions */
};

struct flat_graph {
    struct arena arena;
    uint32_t task_count;
    uint32_t key_count; /* ≥ task_count */
    struct span *keys;  /* key_count: canonical msgpack (tuples as arrays, ints minimal) */
    uint32_t *
        dep_start; /* task_count + 1: task i's dependencies are deps[dep_start[i]..dep_start[i+1]) */
    uint32_t *deps;          /* key numbers, ascending within a task, so each at most once */
    struct blob **run_specs; /* task_count: {"__Pickled__": 1} with sub-header and buffers; owned */
    uint8_t *flags;          /* task_count: FLAT_… */
    uint32_t annotation_set_count;
    struct blob **annotation_sets; /* msgpack maps of per-task annotations; owned */
    uint32_t
        *annotation_of; /* task_count: 0 none, else 1 + index of its set; NULL: no task has any */
    uint32_t shuffle_count;
    struct flat_shuffle *shuffles;
    int64_t *priorities; /* task_count: internal priorities, or NULL: order them */
    struct span foreign; /* names that must be proven before it is used; see pickle_trust.h */
    bool cull;           /* keep only what the wanted keys reach (an LLGExpr, or delayed's) */
    bool is_delayed;     /* optimization.fuse.delayed is about it, and has not been looked at */
};

void flat_graph_init(struct flat_graph *graph);
/* Drops the run_specs, the annotation sets and the arena. */
void flat_graph_fini(struct flat_graph *graph);

#endif
