/* graph.h: a new graph on its way into the scheduler: what step_graph.c finds out (which tasks, in which
 * order, is anything lost) and graph_build.c then makes of it. All arrays are in the step's arena. */
#ifndef CASK_CORE_SCHEDULER_GRAPH_H
#define CASK_CORE_SCHEDULER_GRAPH_H

#include "core/scheduler/internal.h"

/* Keys are numbered as in graph_info; wanted keys that are not in it follow from key_count on. */
struct graph_work {
    const struct graph_info *graph;
    struct client *client;
    uint32_t number_count;
    const uint8_t *kept; /* task_count: not culled; NULL: all */
    uint32_t kept_count;
    uint32_t *wanted;  /* numbers of graph->wanted */
    uint64_t *hashes;  /* by number */
    task_id *ids;      /* by number; TASK_NONE: not known yet */
    uint8_t *is_new;   /* by number: made (or given its run_spec) now */
    uint32_t *touched; /* numbers reached from the wanted ones, in Dask's order of discovery */
    uint32_t touched_count;
    const int64_t *priorities; /* by task number; GRAPH_NO_PRIORITY: none */
    uint32_t new_count, collision_count;
};

/* Is `number` a task of this graph (and not culled)? */
static inline bool graph_has(const struct graph_work *work, uint32_t number)
{
    return number < work->graph->task_count && (work->kept == NULL || work->kept[number] != 0);
}

struct span graph_key(const struct graph_work *work, uint32_t number);

/* Tasks, edges, annotations, priorities; then what the client wants, and the moves that follow. */
void graph_build(struct scheduler *s, struct graph_work *work, struct step *step);

/* One annotation set of a graph, worked out on first need and shared by the tasks that carry it. */
struct annotation_use {
    struct annotations *annotations;   /* NULL: nothing to keep */
    struct restrictions *restrictions; /* NULL: none */
    bool ready;
};
/* graph->annotation_count of them, in the arena. */
struct annotation_use *annotations_begin(const struct graph_info *graph, struct arena *arena);
/* Give set `index` to a new task. */
void annotations_apply(struct scheduler *s, const struct graph_info *graph,
                       struct annotation_use *uses, uint32_t index, struct task *task);
void annotations_end(const struct graph_info *graph, struct annotation_use *uses);
/* A set whose `workers` cannot be told to be a worker or a host (an integer that is no worker's name); its
 * text for people. Empty: all sets are fine. */
struct span annotations_refuse(const struct scheduler *s, const struct graph_info *graph,
                               struct arena *arena);

#endif
