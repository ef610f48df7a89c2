/* step_graph.c: a client sends a graph: whether it can be taken, and its way through the phases.
 * Must agree with: scheduler.py update_graph, _find_lost_dependencies; protocol.md 4.2. */
#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/step_events.h"

#define LEVEL_ERROR 40u
#define LEVEL_INFO 20u

/* ---- graphs that are not taken ---- */

static void refuse(struct scheduler *s, const struct graph_info *graph, struct span why,
                   struct step *step)
{
    struct failure_info info = {.kind = FAILURE_TEXT, .exception_text = why};
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        graph_key_failed(s, graph->client, graph->wanted.items[i], &info, step);
    }
    why = arena_copy(&step->arena, why); /* it may be the plan's, which goes */
    action_log(step, LEVEL_ERROR, "%.*s", (int)why.size, (const char *)why.data);
    struct notice *notice = action_notice(step, NOTICE_GRAPH_FAILED);
    notice->client = graph->client;
    notice->text = why;
}

/* ---- the way through the phases ---- */

enum phase_list { LIST_TOUCHED, LIST_TASKS, LIST_KEYS, LIST_WANTED, LIST_IN_ORDER, LIST_TO_MOVE };

static const struct {
    graph_phase *run;
    enum phase_list list; /* what it goes through */
} phases[] = {
    {graph_look_up, LIST_TOUCHED},      {graph_make_tasks, LIST_TOUCHED},
    {graph_count_edges, LIST_TASKS},    {graph_reserve_edges, LIST_KEYS},
    {graph_make_edges, LIST_TASKS},     {graph_set_priorities, LIST_TOUCHED},
    {graph_desire, LIST_WANTED},        {graph_blame, LIST_TOUCHED},
    {graph_note_needed, LIST_IN_ORDER}, {graph_move_needed, LIST_IN_ORDER},
    {graph_move, LIST_TO_MOVE},         {graph_settle, LIST_TOUCHED},
    {graph_cancel, LIST_WANTED},        {graph_take_back, LIST_TOUCHED},
};
enum {
    PHASE_EDGES = 2,   /* until then it is still found out which tasks are new */
    PHASE_MOVES = 9,   /* the first in which tasks begin */
    PHASE_CANCEL = 12, /* never come to but by a jump */
    PHASE_TAKE_BACK,
    PHASE_END,
};

static_assert(sizeof phases / sizeof *phases == PHASE_END, "a row for each");

static uint32_t list_size(const struct graph_work *work, enum phase_list list)
{
    switch (list) {
    case LIST_TOUCHED:
        return work->plan->touched_count;
    case LIST_TASKS:
        return work->graph->task_count;
    case LIST_KEYS:
        return work->graph->key_count;
    case LIST_WANTED:
        return work->graph->wanted.count;
    case LIST_IN_ORDER:
        return work->pins && work->plan->in_order != NULL ? work->plan->kept_count : 0;
    case LIST_TO_MOVE:
        return work->to_move_count;
    }
    UNREACHABLE();
}

static void phase_begin(struct scheduler *s, struct graph_work *work, struct step *step)
{
    if (phases[work->phase].run == graph_set_priorities) {
        graph_begin_priorities(s, work);
    } else if (phases[work->phase].run == graph_blame) {
        graph_begin_moves(s, work, step);
    }
}

/* One piece of at most `budget` places; how many it was. */
static uint32_t work_on(struct scheduler *s, struct graph_work *work, struct step *step,
                        uint64_t budget)
{
    if (work->at == 0) {
        phase_begin(s, work, step);
    }
    uint32_t size = list_size(work, phases[work->phase].list);
    uint32_t count = size - work->at < budget ? size - work->at : (uint32_t)budget;
    phases[work->phase].run(s, work, step, work->at, work->at + count);
    work->at += count;
    if (work->at == size) {
        work->at = 0;
        work->phase = work->phase + 1 == PHASE_CANCEL ? PHASE_END : work->phase + 1;
    }
    return count;
}

static void go_to(struct graph_work *work, uint32_t phase)
{
    work->phase = phase;
    work->at = 0;
}

/* Something is lost before its tasks began to move; later on, losses are dealt with as always. */
static bool is_in_vain(const struct graph_work *work)
{
    return work->is_lost && work->phase < PHASE_MOVES;
}

/* What was let go, but is still there, would be taken for known. */
static bool must_pause(const struct scheduler *s, const struct graph_work *work)
{
    return work->pins && work->phase < PHASE_EDGES && backlog_pending(s);
}

/* Its arrays stay until the step is over: a notice points to them. */
static void end_work(struct scheduler *s, struct graph_work *work)
{
    vec_push(&s->built, work);
    if (s->building == work) {
        s->building = NULL;
    }
}

static void notice_cancelled(const struct graph_work *work, struct step *step)
{
    struct notice *notice = action_notice(step, NOTICE_GRAPH_CANCELLED);
    notice->client = work->client;
    notice->keys = work->graph->wanted;
}

static void run_phases(struct scheduler *s, struct graph_work *work, struct step *step,
                       uint64_t budget)
{
    struct span stimulus = step->stimulus;
    step->stimulus = arena_copy(&step->arena, work->stimulus);
    while (work->phase < PHASE_END && !must_pause(s, work)) {
        if (is_in_vain(work)) {
            action_log(step, LEVEL_INFO, "User asked for computation on lost data.");
            go_to(work, PHASE_CANCEL);
        }
        if (budget == 0) {
            break;
        }
        budget -= work_on(s, work, step, budget);
    }
    if (work->phase == PHASE_END) {
        if (work->is_cancelled) {
            notice_cancelled(work, step);
        }
        end_work(s, work);
    }
    step->stimulus = stimulus;
}

void graph_continue(struct scheduler *s, struct step *step)
{
    if (s->building != NULL) {
        run_phases(s, s->building, step, s->building->graph->slice);
    }
}

void graph_client_removed(struct scheduler *s, const struct client *client)
{
    struct graph_work *work = s->building;
    if (work != NULL && work->client == client->id && work->phase != PHASE_TAKE_BACK) {
        work->is_cancelled = false;
        go_to(work, PHASE_TAKE_BACK);
    }
}

void graph_drop(struct scheduler *s)
{
    if (s->building == NULL) {
        return;
    }
    end_work(s, s->building);
    for (task_id id = 0; id < s->task_high; id++) {
        task_at(s, id)->flags &= (uint16_t)~TASK_PINNED;
    }
}

/* ---- graphs that must wait ---- */

/* A task is pinned by the graph that is coming in, or will be made by it; or what is known of a key that
 * the graph defines is on its way out: then the graph comes after that. */
static bool must_wait(const struct scheduler *s, const struct graph_info *graph,
                      const struct graph_plan *plan)
{
    bool is_sliced = graph->slice > 0 && plan->touched_count > graph->slice;
    if (is_sliced) {
        return s->building != NULL; /* what is on its way out it waits for itself */
    }
    for (uint32_t i = 0; i < plan->touched_count; i++) {
        uint32_t number = plan->touched[i];
        bool is_defined =
            number < graph->task_count && (plan->kept == NULL || plan->kept[number] != 0);
        struct span key = number < graph->key_count
                              ? graph->keys[number]
                              : graph->wanted.items[number - graph->key_count];
        const struct task *task = task_find_hashed(s, key, plan->hashes[number]);
        if (task == NULL ? s->building != NULL && !is_defined
                         : (task->flags & TASK_PINNED) != 0 || (is_defined && backlog_pending(s))) {
            return true;
        }
    }
    return false;
}

/* ---- the events ---- */

static struct graph_work *work_create(const struct graph_info *graph, struct graph_plan *plan,
                                      const struct step *step)
{
    struct graph_work *work = mem_zalloc(1, sizeof *work);
    arena_init(&work->arena);
    work->graph = graph;
    work->client = graph->client;
    work->own_plan = graph->plan == NULL ? plan : NULL;
    work->plan = plan;
    work->room = &plan->room;
    work->stimulus = arena_copy(&work->arena, step->stimulus);
    work->pins = graph->slice > 0 && plan->touched_count > graph->slice;
    work->annotations = annotations_begin(graph, &work->arena);
    work->annotation_count = graph->annotation_count;
    return work;
}

void graph_work_free(struct graph_work *work)
{
    if (work != NULL) {
        annotations_end(work->annotations, work->annotation_count);
        id_map_fini(&work->groups_seen);
        graph_plan_destroy(work->own_plan);
        arena_fini(&work->arena);
        mem_free(work);
    }
}

void step_graph(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct graph_info *graph = event->of.graph.graph;
    if (client_find(s, graph->client) == NULL) {
        return; /* it left while its graph was being read */
    }
    struct graph_plan *plan = graph->plan == NULL ? graph_plan_create(graph) : graph->plan;
    if ((s->building != NULL || backlog_pending(s)) && must_wait(s, graph, plan)) {
        step->graph_later = true;
        if (graph->plan == NULL) {
            graph_plan_destroy(plan);
        }
        return;
    }
    struct graph_work *work = work_create(graph, plan, step);
    struct span why = work->plan->refused;
    why = why.size > 0 ? why : annotations_refuse(s, graph, &step->arena);
    if (why.size > 0) {
        refuse(s, graph, why, step);
        graph_work_free(work);
        return;
    }
    if (work->pins) {
        s->building = work;
    }
    run_phases(s, work, step, work->pins ? graph->slice : UINT64_MAX);
}
