/* step_graph.c: a client sends a graph: whether it can be taken, and its way through the phases.
 * Must agree with: scheduler.py update_graph, _find_lost_dependencies; protocol.md 4.2. */
#include "core/scheduler/action.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

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

/* Forget what came in so far; what was there before stays. */
static void take_back(struct scheduler *s, const struct graph_work *work, struct step *step)
{
    const struct graph_plan *plan = work->plan;
    for (uint32_t i = 0; i < plan->touched_count; i++) {
        task_id id = work->ids[plan->touched[i]];
        struct task *task = id == TASK_NONE ? NULL : task_live_at(s, id);
        if (task == NULL || (task->flags & TASK_PINNED) == 0) {
            continue; /* it is what is lost, or its slot is another task's by now */
        }
        task->flags &= (uint16_t)~TASK_PINNED;
        if (task->dependents.count == 0 && task->who_wants.count == 0) {
            want(s, task, TASK_FORGOTTEN);
        } else if (task->state != TASK_RELEASED) {
            release_unneeded(s, task);
        }
    }
    transitions_run(s, step);
}

/* An input is gone: the client is told, and must submit again what makes it. */
static void cancel_lost(struct scheduler *s, struct graph_work *work, struct step *step)
{
    struct span_list keys = work->graph->wanted;
    struct client *client = client_at(s, work->client);
    action_log(step, LEVEL_INFO, "User asked for computation on lost data.");
    action_cancelled(step, client->id, keys, SPAN("lost dependencies"), (struct span){0});
    take_back(s, work, step);
    client_releases(s, client, keys.items, keys.count, step);
    struct notice *notice = action_notice(step, NOTICE_GRAPH_CANCELLED);
    notice->client = client->id;
    notice->keys = keys;
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
};
enum { PHASE_MOVES = 9 }; /* the first in which tasks begin */
#define PHASE_COUNT (sizeof phases / sizeof *phases)

static_assert(PHASE_MOVES + 3 == PHASE_COUNT, "moves, the rest of them, and settling");

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
        work->phase++;
    }
    return count;
}

/* Something is lost before its tasks began to move; later on, losses are dealt with as always. */
static bool is_in_vain(const struct graph_work *work)
{
    return work->is_lost && work->phase < PHASE_MOVES;
}

/* Its arrays stay until the step is over: a notice points to them. */
static void end_work(struct scheduler *s)
{
    vec_push(&s->built, s->building);
    s->building = NULL;
}

void graph_continue(struct scheduler *s, struct step *step, uint64_t budget)
{
    struct graph_work *work = s->building;
    struct span stimulus = step->stimulus;
    step->stimulus = arena_copy(&step->arena, work->stimulus);
    while (budget > 0 && work->phase < PHASE_COUNT && !is_in_vain(work)) {
        budget -= work_on(s, work, step, budget);
    }
    if (is_in_vain(work)) {
        cancel_lost(s, work, step);
        end_work(s);
    } else if (work->phase == PHASE_COUNT) {
        end_work(s);
    }
    step->stimulus = stimulus;
}

/* Events that may come in between: what they touch is never a task of the graph, or its pin protects it. */
static bool may_interleave(enum event_kind kind)
{
    switch (kind) {
    case EVENT_CLIENT_ADD:
    case EVENT_CLIENT_HEARTBEAT:
    case EVENT_CLIENT_REMOVE:
    case EVENT_CLIENT_DESIRES:
    case EVENT_CLIENT_RELEASES:
    case EVENT_REPORT_KEY:
    case EVENT_GRAPH_FAILED:
    case EVENT_GRAPH_CONTINUE:
    case EVENT_WORKER_ADD:
    case EVENT_WORKER_HEARTBEAT:
    case EVENT_WORKER_STATUS:
    case EVENT_WORKER_SET_STATUS:
    case EVENT_WORKER_RESOURCES:
    case EVENT_TASK_FINISHED:
    case EVENT_TASK_ERRED:
    case EVENT_RELEASE_WORKER_DATA:
    case EVENT_ADD_KEYS:
    case EVENT_LONG_RUNNING:
    case EVENT_RESCHEDULE:
    case EVENT_STEAL_RESPONSE:
    case EVENT_REFRESH_WHO_HAS:
    case EVENT_REPLICA_MISSING:
    case EVENT_SPAN_METRICS:
    case EVENT_TICK:
    case EVENT_REQUEST_GONE:
        return true;
    default:
        return kind >= EVENT_SEMAPHORE_REGISTER && kind <= EVENT_FLAG_IS_SET;
    }
}

/* Over a new connection it may take back what this graph asks for: that must be in by then. */
static bool client_comes_back(const struct scheduler *s, const struct event *event)
{
    return event->kind == EVENT_CLIENT_ADD &&
           span_equal(event->of.client_add.name, client_at(s, s->building->client)->name);
}

void graph_finish_before(struct scheduler *s, const struct event *event, struct step *step)
{
    if (s->building != NULL && (!may_interleave(event->kind) || client_comes_back(s, event))) {
        graph_continue(s, step, UINT64_MAX);
    }
}

void graph_client_removed(struct scheduler *s, const struct client *client, struct step *step)
{
    if (s->building != NULL && s->building->client == client->id) {
        take_back(s, s->building, step);
        end_work(s);
    }
}

/* ---- the events ---- */

static struct graph_work *work_create(const struct graph_info *graph, struct step *step)
{
    struct graph_work *work = mem_zalloc(1, sizeof *work);
    arena_init(&work->arena);
    work->graph = graph;
    work->client = graph->client;
    work->own_plan = graph->plan == NULL ? graph_plan_create(graph) : NULL;
    work->plan = graph->plan == NULL ? work->own_plan : graph->plan;
    work->stimulus = arena_copy(&work->arena, step->stimulus);
    uint32_t numbers = work->plan->number_count;
    uint32_t touched = work->plan->touched_count;
    work->pins = graph->slice > 0 && touched > graph->slice;
    work->ids = arena_array(&work->arena, task_id, numbers);
    work->is_new = arena_array(&work->arena, uint8_t, numbers);
    work->is_needed = arena_array(&work->arena, uint8_t, numbers);
    work->new_dependents = arena_array(&work->arena, uint32_t, graph->key_count);
    work->firsts = arena_array(&work->arena, task_id, touched);
    work->made = arena_array(&work->arena, task_id, touched);
    work->keys = arena_array(&work->arena, struct span, touched);
    work->to_move = arena_array(&work->arena, task_id, graph->wanted.count);
    memset(work->ids, 0xff, numbers * sizeof *work->ids);
    memset(work->is_new, 0, numbers);
    memset(work->is_needed, 0, numbers);
    memset(work->new_dependents, 0, graph->key_count * sizeof *work->new_dependents);
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
    ASSERT(s->building == NULL);
    if (client_find(s, graph->client) == NULL) {
        return; /* it left while its graph was being read */
    }
    struct graph_work *work = work_create(graph, step);
    struct span why = work->plan->refused;
    why = why.size > 0 ? why : annotations_refuse(s, graph, &step->arena);
    if (why.size > 0) {
        refuse(s, graph, why, step);
        graph_work_free(work);
        return;
    }
    s->building = work;
    graph_continue(s, step, work->pins ? graph->slice : UINT64_MAX);
}

void step_graph_continue(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)event;
    if (s->building != NULL) {
        graph_continue(s, step, s->building->graph->slice);
    }
}
