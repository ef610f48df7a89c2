/* graph.h: a new graph on its way into the scheduler, phase by phase: look up what is known, make tasks,
 * edges, priorities, note what the client wants, begin. Nothing is done by a phase that a later one could
 * find to be wrong, so a graph that cannot be taken leaves nothing behind.
 *
 * A large graph is taken in slices (graph_info.slice), other events coming in between. What it touches
 * is pinned for that time (TASK_PINNED): nothing of it is released for want of users, and until its edges
 * are made nobody else lets it begin. Small graphs may overtake it unless they touch what it touches. */
#ifndef CASK_CORE_SCHEDULER_GRAPH_H
#define CASK_CORE_SCHEDULER_GRAPH_H

#include "core/scheduler/graph_plan.h"
#include "core/scheduler/internal.h"

struct graph_work {
    const struct graph_info *graph;
    struct graph_plan *plan;
    struct graph_plan *own_plan; /* made here, if the event brought none */
    struct arena arena;          /* of all arrays here */
    client_id client;
    struct graph_room *room; /* the plan's */
    struct annotation_use *annotations;
    uint32_t annotation_count;
    uint32_t first_count; /* of room->firsts */
    uint32_t made_count;  /* of room->made */
    struct id_map groups_seen;
    const struct group *group_recent;
    uint32_t to_move_count;
    double generation;
    struct span stimulus; /* of the graph's event */
    uint32_t new_count, collision_count;
    bool pins;          /* taken in slices: touched tasks are pinned */
    bool is_lost;       /* something needed is not there (any more) … */
    bool is_whole;      /* its tasks have all that they need to run */
    bool is_cancelled;  /* … and the client has been told */
    bool is_stale;      /* others made tasks since it was looked up which tasks are known */
    uint32_t serial;    /* s->task_serial after its own last task */
    bool is_unsorted;   /* to_move did not come in order of priority */
    uint32_t phase, at; /* where it stands */
};

/* Is `number` a task of this graph (and not culled)? */
static inline bool graph_has(const struct graph_work *work, uint32_t number)
{
    const uint8_t *kept = work->plan->kept;
    return number < work->graph->task_count && (kept == NULL || kept[number] != 0);
}

static inline struct span graph_key(const struct graph_work *work, uint32_t number)
{
    const struct graph_info *graph = work->graph;
    return number < graph->key_count ? graph->keys[number]
                                     : graph->wanted.items[number - graph->key_count];
}

/* ---- phases (graph_build.c): each works on places [from, to) of its list ---- */

typedef void graph_phase(struct scheduler *s, struct graph_work *work, struct step *step,
                         uint32_t from, uint32_t to);
graph_phase graph_look_up;        /* touched: what is known already */
graph_phase graph_make_tasks;     /* touched */
graph_phase graph_count_edges;    /* tasks: how many new dependents each key gets */
graph_phase graph_reserve_edges;  /* keys */
graph_phase graph_make_edges;     /* tasks */
graph_phase graph_set_priorities; /* touched */
graph_phase graph_desire;         /* wanted: they are the client's now */
graph_phase graph_blame;          /* touched: what depends on a failed task fails */
graph_phase graph_note_needed;    /* in_order, from its end: what the wanted tasks need */
graph_phase graph_move_needed;    /* in_order: that is to be computed */
graph_phase graph_move;      /* to_move: they are to be computed, first the first in priority */
graph_phase graph_settle;    /* touched: unpinned, and reported if done */
graph_phase graph_cancel;    /* wanted: something is lost: the client is told */
graph_phase graph_take_back; /* touched: what came in is forgotten; what was there before stays */
/* Between making edges and setting priorities: the computation it belongs to, its generation. */
void graph_begin_priorities(struct scheduler *s, struct graph_work *work);
/* Before its tasks move: actors, spans, shuffles, what to move. */
void graph_begin_moves(struct scheduler *s, struct graph_work *work, struct step *step);

/* ---- the way through the phases (step_graph.c) ---- */

/* Take in the next slice of the graph that is coming in, if there is one. */
void graph_continue(struct scheduler *s, struct step *step);
/* The client left: what came of its graph so far is forgotten. */
void graph_client_removed(struct scheduler *s, const struct client *client);
/* All tasks are about to be forgotten, those that came with the graph as well. */
void graph_drop(struct scheduler *s);
void graph_work_free(struct graph_work *work);

/* ---- annotations (annotate.c) ---- */

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
void annotations_end(struct annotation_use *uses, uint32_t count);
/* A set whose `workers` cannot be told to be a worker or a host (an integer that is no worker's name); its
 * text for people. Empty: all sets are fine. */
struct span annotations_refuse(const struct scheduler *s, const struct graph_info *graph,
                               struct arena *arena);

#endif
