/* graph_build.c: the tasks of a new graph enter the state, phase by phase: see graph.h. Nothing here fails.
 * Must agree with: scheduler.py _create_taskstate_from_graph, _generate_taskstates, _set_priorities. */
#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/computations.h"
#include "core/scheduler/exchange.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/priority.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

#define LEVEL_WARNING 30u
#define AHEAD 8u /* keys whose table slots are asked for in advance */

/* ---- definitions ---- */

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
        task_id id = work->room->ids[graph->deps[graph->dep_start[number] + j]];
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

/* ---- looking up, making ---- */

/* Others may have made tasks since the last slice. */
static void note_others(const struct scheduler *s, struct graph_work *work)
{
    work->is_stale = work->is_stale || s->task_serial != work->serial;
}

static void look_up(struct scheduler *s, struct graph_work *work, uint32_t number)
{
    struct task *task = task_find_hashed(s, graph_key(work, number), work->plan->hashes[number]);
    if (task == NULL) {
        work->is_lost = work->is_lost || !graph_has(work, number);
        return;
    }
    work->room->ids[number] = task->id;
    task->flags |= work->pins ? TASK_PINNED : 0;
}

void graph_look_up(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                   uint32_t to)
{
    (void)step;
    const struct graph_plan *plan = work->plan;
    work->serial = from == 0 ? s->task_serial : work->serial;
    note_others(s, work);
    work->serial = s->task_serial;
    for (uint32_t i = from; i < to; i++) {
        if (i + AHEAD < to) {
            task_prefetch_hashed(s, plan->hashes[plan->touched[i + AHEAD]]);
        }
        look_up(s, work, plan->touched[i]);
    }
}

static struct task *make_task(struct scheduler *s, struct graph_work *work, uint32_t number)
{
    const struct graph_info *graph = work->graph;
    struct task *task =
        task_create(s, graph_key(work, number), work->plan->hashes[number], TASK_RELEASED);
    task->flags |= work->pins ? TASK_PINNED : 0;
    work->room->ids[number] = task->id;
    work->room->is_new[number] = 1;
    work->new_count++;
    give_run_spec(graph, number, task);
    if (graph->annotation_count > 0) {
        uint32_t set = graph->annotation_of == NULL ? 0 : graph->annotation_of[number];
        annotations_apply(s, graph, work->annotations, set, task);
    }
    exchange_key_known(s, task);
    return task;
}

/* Groups are what computations and spans are about: one task of each is enough for them. Spans look at all
 * that the graph touches, a computation at those that it makes. */
static void note_first(struct graph_work *work, const struct task *task, bool is_made)
{
    if (task->group == work->group_recent) {
        return;
    }
    work->group_recent = task->group;
    if (is_made && task->group->size == 1) {
        work->room->made[work->made_count++] = task->id;
    }
    uint32_t *seen = id_map_put(&work->groups_seen, task->group->id);
    if (*seen == 0) {
        *seen = 1;
        work->room->firsts[work->first_count++] = task->id;
    }
}

void graph_make_tasks(struct scheduler *s, struct graph_work *work, struct step *step,
                      uint32_t from, uint32_t to)
{
    note_others(s, work);
    for (uint32_t i = from; i < to; i++) {
        uint32_t number = work->plan->touched[i];
        bool in_graph = graph_has(work, number);
        struct task *task;
        if (work->is_stale && work->room->ids[number] == TASK_NONE) {
            look_up(s, work, number);
        }
        bool is_made = work->room->ids[number] == TASK_NONE;
        if (is_made) {
            ASSERT(in_graph);
            task = make_task(s, work, number);
        } else {
            task = task_at(s, work->room->ids[number]);
            if (in_graph && (task->flags & TASK_HAS_RUN_SPEC) == 0) {
                work->room->is_new[number] =
                    1; /* known by its data: defined when it has its edges */
            } else if (in_graph && collides(s, work, number, task)) {
                warn_collision(work, task, step);
            }
        }
        work->room->keys[i] = task->key;
        note_first(work, task, is_made);
    }
    work->serial = s->task_serial;
}

/* ---- edges ---- */

void graph_count_edges(struct scheduler *s, struct graph_work *work, struct step *step,
                       uint32_t from, uint32_t to)
{
    (void)s;
    (void)step;
    const struct graph_info *graph = work->graph;
    for (uint32_t number = from; number < to; number++) {
        if (work->room->is_new[number] != 0) {
            for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
                work->room->new_dependents[graph->deps[j]]++;
            }
        }
    }
}

void graph_reserve_edges(struct scheduler *s, struct graph_work *work, struct step *step,
                         uint32_t from, uint32_t to)
{
    (void)step;
    for (uint32_t number = from; number < to; number++) {
        if (work->room->new_dependents[number] > 1) {
            struct task *task = task_at(s, work->room->ids[number]);
            links_reserve(&task->dependents,
                          task->dependents.count + work->room->new_dependents[number]);
        }
    }
}

static void add_edges(struct scheduler *s, const struct graph_work *work, uint32_t number)
{
    const struct graph_info *graph = work->graph;
    struct task *task = task_at(s, work->room->ids[number]);
    uint32_t count = graph->dep_start[number + 1] - graph->dep_start[number];
    bool had_some = task->dependencies.count > 0;
    links_reserve(&task->dependencies, task->dependencies.count + count);
    for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
        struct task *dependency = task_at(s, work->room->ids[graph->deps[j]]);
        if (had_some && links_find(&task->dependencies, dependency->id) != LINK_NOT_FOUND) {
            continue;
        }
        links_add(&task->dependencies, task->id, &dependency->dependents, dependency->id, 0);
        group_add_dependency(task->group, dependency->group);
    }
}

void graph_make_edges(struct scheduler *s, struct graph_work *work, struct step *step,
                      uint32_t from, uint32_t to)
{
    (void)step;
    for (uint32_t number = from; number < to; number++) {
        if (work->room->is_new[number] == 0) {
            continue;
        }
        add_edges(s, work, number);
        struct task *task = task_at(s, work->room->ids[number]);
        if ((task->flags & TASK_HAS_RUN_SPEC) == 0) {
            give_run_spec(work->graph, number, task);
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

void graph_begin_priorities(struct scheduler *s, struct graph_work *work)
{
    computations_graph(s, work->graph, work->room->made, work->made_count);
    work->generation = generation_of(s, work->graph);
}

void graph_set_priorities(struct scheduler *s, struct graph_work *work, struct step *step,
                          uint32_t from, uint32_t to)
{
    (void)step;
    for (uint32_t i = from; i < to; i++) {
        uint32_t number = work->plan->touched[i];
        struct task *task = task_at(s, work->room->ids[number]);
        if (!graph_has(work, number) || (task->flags & TASK_HAS_PRIORITY) != 0 ||
            work->plan->priorities[number] == GRAPH_NO_PRIORITY) {
            continue;
        }
        double user = work->graph->user_priority;
        if (task->extra != NULL && task->extra->annotations != NULL &&
            task->extra->annotations->has_priority) {
            user = task->extra->annotations->priority;
        }
        task->priority_user = 0 - user; /* not −user: minus zero is another number to msgpack */
        task->priority_generation = work->generation;
        task->priority_order = work->plan->priorities[number];
        task->flags |= TASK_HAS_PRIORITY;
    }
}

/* ---- what the client wants ---- */

/* The tasks begin in the order of the plan, not each with all that it needs. */
static bool goes_in_order(const struct graph_work *work)
{
    return work->pins && work->plan->in_order != NULL;
}

void graph_desire(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                  uint32_t to)
{
    struct client *client = client_at(s, work->client);
    for (uint32_t i = from; i < to; i++) {
        uint32_t number = work->plan->wanted[i];
        struct task *task = task_at(s, work->room->ids[number]);
        client_desires_task(s, client, task, step);
        if (task->state != TASK_RELEASED) {
            continue;
        }
        work->room->is_needed[number] = 1;
        if (goes_in_order(work) && graph_has(work, number)) {
            continue;
        }
        if (work->to_move_count > 0) {
            const struct task *last = task_at(s, work->room->to_move[work->to_move_count - 1]);
            work->is_unsorted = work->is_unsorted || priority_compare(last, task) > 0;
        }
        work->room->to_move[work->to_move_count++] = task->id;
    }
}

static void make_actors(struct scheduler *s, const struct graph_work *work)
{
    const struct graph_info *graph = work->graph;
    for (uint32_t i = 0; graph->all_actors && i < graph->wanted.count; i++) {
        task_at(s, work->room->ids[work->plan->wanted[i]])->flags |= TASK_ACTOR;
    }
    for (uint32_t i = 0; i < graph->actors.count; i++) {
        struct task *task = task_find(s, graph->actors.items[i]);
        if (task != NULL) {
            task->flags |= TASK_ACTOR;
        }
    }
}

/* What came, for plugins and the event log; they see it before its tasks move. */
static void notice_graph(const struct graph_work *work, struct step *step)
{
    struct notice *notice = action_notice(step, NOTICE_GRAPH_ADDED);
    notice->client = work->client;
    notice->number = work->plan->kept_count;
    notice->number2 = work->new_count;
    notice->number3 = work->collision_count;
    notice->keys = work->graph->wanted;
    notice->more_keys = (struct span_list){work->room->keys, work->plan->touched_count};
}

void graph_begin_moves(struct scheduler *s, struct graph_work *work, struct step *step)
{
    make_actors(s, work);
    if (work->is_unsorted) {
        priority_sort(s, work->room->to_move, work->to_move_count, false, &work->arena);
    }
    spans_graph(s, work->graph, work->room->firsts, work->first_count);
    shuffles_graph(s, work->graph);
    work->is_whole = true;
    notice_graph(work, step);
}

/* ---- beginning ---- */

/* A touched task; NULL if it was forgotten meanwhile (its slot may be another task's). */
static struct task *touched_task(const struct scheduler *s, const struct graph_work *work,
                                 task_id id)
{
    struct task *task = task_live_at(s, id);
    return task == NULL || (work->pins && (task->flags & TASK_PINNED) == 0) ? NULL : task;
}

void graph_blame(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                 uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        struct task *task = task_at(s, work->room->ids[work->plan->touched[i]]);
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
    transitions_run(s, step);
}

void graph_move(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                uint32_t to)
{
    for (uint32_t i = to; i > from; i--) {
        struct task *task = touched_task(s, work, work->room->to_move[i - 1]);
        if (task != NULL && task->state == TASK_RELEASED) {
            want(s, task, TASK_WAITING);
        }
    }
    transitions_run(s, step);
}

/* A graph in slices does not begin at the wanted tasks, whose move would make all others follow at once, but
 * at the roots. These may be done before those that need them begin: their pins keep the results. */
void graph_note_needed(struct scheduler *s, struct graph_work *work, struct step *step,
                       uint32_t from, uint32_t to)
{
    (void)step;
    const struct graph_info *graph = work->graph;
    for (uint32_t i = from; i < to; i++) {
        uint32_t number = work->plan->in_order[work->plan->kept_count - 1 - i];
        if (work->room->is_needed[number] == 0) {
            continue;
        }
        for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
            const struct task *input = touched_task(s, work, work->room->ids[graph->deps[j]]);
            if (input != NULL && input->state == TASK_RELEASED) {
                work->room->is_needed[graph->deps[j]] = 1;
            }
        }
    }
}

void graph_move_needed(struct scheduler *s, struct graph_work *work, struct step *step,
                       uint32_t from, uint32_t to)
{
    for (uint32_t i = to; i > from; i--) {
        uint32_t number = work->plan->in_order[i - 1];
        struct task *task = work->room->is_needed[number] == 0
                                ? NULL
                                : touched_task(s, work, work->room->ids[number]);
        if (task != NULL && task->state == TASK_RELEASED) {
            want(s, task, TASK_WAITING);
        }
    }
    transitions_run(s, step);
}

/* The task stays as long as somebody needs it, as any other. */
static void unpin(struct scheduler *s, struct task *task)
{
    task->flags &= (uint16_t)~TASK_PINNED;
    if (task->dependents.count == 0 && task->who_wants.count == 0) {
        let_go(s, task, TASK_FORGOTTEN);
    } else if (task->state != TASK_RELEASED) {
        release_unneeded(s, task);
    }
}

/* An input of a definition that was not taken, as its key had another one: nobody will ever need it. (Stock
 * keeps it for good.) */
static void forget_orphan(struct scheduler *s, struct task *task)
{
    if (task->dependents.count == 0 && task->who_wants.count == 0) {
        want(s, task, TASK_FORGOTTEN);
    }
}

void graph_settle(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                  uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        uint32_t number = work->plan->touched[i];
        struct task *task = touched_task(s, work, work->room->ids[number]);
        if (task == NULL) {
            continue;
        }
        report_on_task(s, task, work->client, step);
        if (work->pins) {
            unpin(s, task);
            if (task->state == TASK_RELEASED && task->who_wants.count > 0) {
                want(s, task, TASK_WAITING); /* somebody else came to want it meanwhile */
            }
        } else if (work->collision_count > 0 && work->room->is_new[number] != 0) {
            forget_orphan(s, task);
        }
    }
    transitions_run(s, step);
}

/* ---- in vain ---- */

void graph_cancel(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                  uint32_t to)
{
    struct client *client = client_at(s, work->client);
    struct span_list keys = {work->graph->wanted.items + from, to - from};
    work->is_cancelled = true;
    if (keys.count > 0) {
        action_cancelled(step, client->id, keys, SPAN("lost dependencies"), (struct span){0});
        client_releases(s, client, keys.items, keys.count, step);
    }
}

void graph_take_back(struct scheduler *s, struct graph_work *work, struct step *step, uint32_t from,
                     uint32_t to)
{
    for (uint32_t i = from; work->pins && i < to; i++) {
        uint32_t number = work->plan->touched[i];
        task_id id = work->room->ids[number];
        struct task *task = id == TASK_NONE ? NULL : touched_task(s, work, id);
        if (task == NULL) {
            continue;
        }
        bool is_whole = work->is_whole || work->room->is_new[number] == 0;
        if (task->state == TASK_RELEASED && !is_whole) {
            /* Without all its edges, or its shuffle, it must not run, whoever wants it, or may come to while it waits
             * to go. */
            task->flags &= (uint16_t)~TASK_PINNED;
            want(s, task, TASK_FORGOTTEN);
            continue;
        }
        unpin(s, task);
        if (task->state == TASK_RELEASED && task->who_wants.count > 0) {
            want(s, task, TASK_WAITING); /* somebody else came to want it */
        }
    }
    transitions_run(s, step);
}
