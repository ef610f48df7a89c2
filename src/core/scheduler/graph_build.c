/* graph_build.c: the tasks of a new graph enter the state. Nothing here can fail.
 * Must agree with: scheduler.py _create_taskstate_from_graph, _generate_taskstates, _set_priorities. */
#include "core/scheduler/action.h"
#include "core/scheduler/computations.h"
#include "core/scheduler/exchange.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

#define LEVEL_WARNING 30u

/* ---- tasks ---- */

static void give_run_spec(const struct graph_info *graph, uint32_t number, struct task *task)
{
    if (graph->run_specs[number] != NULL) {
        task->run_spec = blob_ref(graph->run_specs[number]);
    }
    task->flags |= TASK_HAS_RUN_SPEC;
    if (graph->flags != NULL && (graph->flags[number] & GRAPH_DATA_PRODUCER) != 0) {
        task->flags |= TASK_DATA_PRODUCER;
    }
}

/* Does the known task have other dependencies than the graph says? */
static bool collides(struct scheduler *s, const struct graph_work *work, uint32_t number,
                     const struct task *task)
{
    const struct graph_info *graph = work->graph;
    uint32_t count = graph->dep_start[number + 1] - graph->dep_start[number];
    if (count != task->dependencies.count) {
        return true;
    }
    uint32_t mark = traversal_begin(s);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        task_at(s, links_items(&task->dependencies)[i].other)->mark = mark;
    }
    for (uint32_t j = 0; j < count; j++) {
        task_id id = work->ids[graph->deps[graph->dep_start[number] + j]];
        if (id == TASK_NONE || task_at(s, id)->mark != mark) {
            return true;
        }
    }
    return false;
}

static void warn_collision(struct graph_work *work, const struct task *task, struct step *step)
{
    if (work->collision_count++ > 0) {
        return; /* once a graph is enough */
    }
    struct span key = key_as_repr(task->key, &step->arena);
    action_log(step, LEVEL_WARNING,
               "Detected different `run_spec` for key %.*s between two consecutive calls to "
               "`update_graph`. "
               "This can cause failures and deadlocks down the line. Please ensure unique key "
               "names. If you "
               "are using a standard dask collections, consider releasing all the data before "
               "resubmitting "
               "another computation. More details and help can be found at "
               "https://github.com/dask/dask/issues/9888.",
               (int)key.size, (const char *)key.data);
}

static void make_tasks(struct scheduler *s, struct graph_work *work, struct step *step)
{
    const struct graph_info *graph = work->graph;
    struct annotation_use *uses = annotations_begin(graph, &step->arena);
    task_reserve(s, work->touched_count);
    for (uint32_t i = 0; i < work->touched_count; i++) {
        uint32_t number = work->touched[i];
        bool in_graph = graph_has(work, number);
        if (work->ids[number] == TASK_NONE) {
            ASSERT(in_graph);
            struct task *task =
                task_create(s, graph_key(work, number), work->hashes[number], TASK_RELEASED);
            work->ids[number] = task->id;
            work->is_new[number] = 1;
            work->new_count++;
            give_run_spec(graph, number, task);
            if (graph->annotation_count > 0) {
                uint32_t set = graph->annotation_of == NULL ? 0 : graph->annotation_of[number];
                annotations_apply(s, graph, uses, set, task);
            }
            exchange_key_known(s, task);
            continue;
        }
        struct task *task = task_at(s, work->ids[number]);
        if (in_graph && (task->flags & TASK_HAS_RUN_SPEC) == 0) {
            give_run_spec(graph, number,
                          task); /* it was known by its data, or by somebody's wish */
            work->is_new[number] = 1;
        } else if (in_graph && collides(s, work, number, task)) {
            warn_collision(work, task, step);
        }
    }
    annotations_end(graph, uses);
}

/* ---- edges ---- */

static void reserve_dependents(struct scheduler *s, struct graph_work *work, struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    uint32_t *counts = arena_array(arena, uint32_t, graph->key_count);
    memset(counts, 0, graph->key_count * sizeof *counts);
    for (uint32_t number = 0; number < graph->task_count; number++) {
        if (work->is_new[number] != 0) {
            for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
                counts[graph->deps[j]]++;
            }
        }
    }
    for (uint32_t number = 0; number < graph->key_count; number++) {
        if (counts[number] > 1) {
            struct task *task = task_at(s, work->ids[number]);
            links_reserve(&task->dependents, task->dependents.count + counts[number]);
        }
    }
}

static void add_edges(struct scheduler *s, const struct graph_work *work, uint32_t number)
{
    const struct graph_info *graph = work->graph;
    struct task *task = task_at(s, work->ids[number]);
    uint32_t count = graph->dep_start[number + 1] - graph->dep_start[number];
    bool had_some = task->dependencies.count > 0;
    links_reserve(&task->dependencies, task->dependencies.count + count);
    for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
        struct task *dependency = task_at(s, work->ids[graph->deps[j]]);
        if (had_some && links_find(&task->dependencies, dependency->id) != LINK_NOT_FOUND) {
            continue;
        }
        links_add(&task->dependencies, task->id, &dependency->dependents, dependency->id, 0);
        group_add_dependency(task->group, dependency->group);
    }
}

static void make_edges(struct scheduler *s, struct graph_work *work, struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    reserve_dependents(s, work, arena);
    for (uint32_t number = 0; number < graph->task_count; number++) {
        if (work->is_new[number] != 0) {
            add_edges(s, work, number);
        }
    }
}

/* ---- priorities ---- */

/* The generation of this graph's tasks: earlier graphs go first, those of one short time together. */
static double generation_of(struct scheduler *s, const struct graph_info *graph)
{
    if (graph->submitting_task.size > 0) {
        const struct task *parent = task_find(s, graph->submitting_task);
        /* Dask takes the user priority here, not the generation; the order of tasks hangs on it. */
        return parent == NULL ? s->generation : parent->priority_user - 0.01;
    }
    if (s->last_graph_time + graph->fifo_timeout < graph->started) {
        s->generation++;
        s->last_graph_time = graph->started;
    }
    return s->generation;
}

static void set_priorities(struct scheduler *s, struct graph_work *work)
{
    const struct graph_info *graph = work->graph;
    double generation = generation_of(s, graph);
    for (uint32_t i = 0; i < work->touched_count; i++) {
        uint32_t number = work->touched[i];
        struct task *task = task_at(s, work->ids[number]);
        if (!graph_has(work, number) || (task->flags & TASK_HAS_PRIORITY) != 0 ||
            work->priorities[number] == GRAPH_NO_PRIORITY) {
            continue;
        }
        double user = graph->user_priority;
        if (task->extra != NULL && task->extra->annotations != NULL &&
            task->extra->annotations->has_priority) {
            user = task->extra->annotations->priority;
        }
        task->priority_user = 0 - user; /* not −user: minus zero is another number to msgpack */
        task->priority_generation = generation;
        task->priority_order = work->priorities[number];
        task->flags |= TASK_HAS_PRIORITY;
    }
}

/* ---- what the client wants ---- */

static void make_actors(struct scheduler *s, const struct graph_work *work)
{
    const struct graph_info *graph = work->graph;
    for (uint32_t i = 0; graph->all_actors && i < graph->wanted.count; i++) {
        task_at(s, work->ids[work->wanted[i]])->flags |= TASK_ACTOR;
    }
    for (uint32_t i = 0; i < graph->actors.count; i++) {
        struct task *task = task_find(s, graph->actors.items[i]);
        if (task != NULL) {
            task->flags |= TASK_ACTOR;
        }
    }
}

/* Wanted tasks are to be computed, first the first in priority; what depends on a failed task fails. */
static void recommend(struct scheduler *s, const struct graph_work *work, const task_id *touched,
                      struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    task_id *released = arena_array(arena, task_id, graph->wanted.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        task_id id = work->ids[work->wanted[i]];
        if (task_at(s, id)->state == TASK_RELEASED) {
            released[count++] = id;
        }
    }
    sort_by_priority(s, released, count, true, arena);
    for (uint32_t i = 0; i < count; i++) {
        want(s, task_at(s, released[i]), TASK_WAITING);
    }
    for (uint32_t i = 0; i < work->touched_count; i++) {
        struct task *task = task_at(s, touched[i]);
        const struct link *inputs = links_items(&task->dependencies);
        for (uint32_t j = 0; j < task->dependencies.count && task->state != TASK_MEMORY; j++) {
            struct failure *failure = task_failure(task_at(s, inputs[j].other));
            if (failure != NULL) {
                task_blame(s, task, failure);
                want(s, task, TASK_ERRED);
                break;
            }
        }
    }
}

/* What came, for plugins and the event log; they see it before its tasks move. */
static void notice_graph(struct scheduler *s, const struct graph_work *work, const task_id *touched,
                         struct step *step)
{
    struct span *keys = arena_array(&step->arena, struct span, work->touched_count);
    for (uint32_t i = 0; i < work->touched_count; i++) {
        keys[i] = task_at(s, touched[i])->key;
    }
    struct notice *notice = action_notice(step, NOTICE_GRAPH_ADDED);
    notice->client = work->client->id;
    notice->number = work->kept_count;
    notice->number2 = work->new_count;
    notice->number3 = work->collision_count;
    notice->keys = work->graph->wanted;
    notice->more_keys = (struct span_list){keys, work->touched_count};
}

void graph_build(struct scheduler *s, struct graph_work *work, struct step *step)
{
    const struct graph_info *graph = work->graph;
    make_tasks(s, work, step);
    make_edges(s, work, &step->arena);
    task_id *touched = arena_array(&step->arena, task_id, work->touched_count);
    for (uint32_t i = 0; i < work->touched_count; i++) {
        touched[i] = work->ids[work->touched[i]];
    }
    computations_graph(s, graph, touched, work->touched_count);
    set_priorities(s, work);
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        client_desires_task(s, work->client, task_at(s, work->ids[work->wanted[i]]), step);
    }
    make_actors(s, work);
    recommend(s, work, touched, &step->arena);
    spans_graph(s, graph, touched, work->touched_count);
    shuffles_graph(s, graph);
    notice_graph(s, work, touched, step);
    transitions_run(s, step);
    for (uint32_t i = 0; i < work->touched_count; i++) {
        report_on_task(s, task_at(s, touched[i]), work->client->id, step);
    }
}
