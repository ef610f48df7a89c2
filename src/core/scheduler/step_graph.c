/* step_graph.c: a client sends a graph. First everything is found out, then graph_build.c changes the
 * state: so a graph that cannot be taken leaves nothing behind.
 * Must agree with: scheduler.py update_graph, _find_lost_dependencies, _generate_taskstates (its walk);
 * protocol.md 4.2. */
#include "base/text.h"
#include "core/cull.h"
#include "core/order.h"
#include "core/scheduler/action.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/wants.h"

#define LEVEL_ERROR 40u
#define LEVEL_INFO 20u
#define AHEAD 8u /* keys whose table slots are asked for in advance */

struct span graph_key(const struct graph_work *work, uint32_t number)
{
    const struct graph_info *graph = work->graph;
    return number < graph->key_count ? graph->keys[number]
                                     : graph->wanted.items[number - graph->key_count];
}

/* ---- numbers of the wanted keys ---- */

/* A small table of the wanted keys: the graph's many keys are looked up in it, not the other way round. */
struct wanted_table {
    uint32_t *slots; /* 1 + place in graph->wanted; 0 empty */
    uint32_t mask;
};

static struct wanted_table wanted_table_make(struct span_list wanted, struct arena *arena)
{
    uint32_t capacity = 8;
    while (capacity < 2 * (uint64_t)wanted.count) {
        capacity *= 2;
    }
    struct wanted_table table = {arena_array(arena, uint32_t, capacity), capacity - 1};
    memset(table.slots, 0, capacity * sizeof *table.slots);
    for (uint32_t i = 0; i < wanted.count; i++) {
        uint32_t slot = (uint32_t)span_hash(wanted.items[i]) & table.mask;
        while (table.slots[slot] != 0) {
            slot = (slot + 1) & table.mask;
        }
        table.slots[slot] = i + 1;
    }
    return table;
}

/* work->hashes and work->wanted. */
static void number_keys(struct graph_work *work, struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    struct wanted_table table = wanted_table_make(graph->wanted, arena);
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        work->wanted[i] = graph->key_count + i; /* unless it turns up in the graph */
        work->hashes[graph->key_count + i] = span_hash(graph->wanted.items[i]);
    }
    for (uint32_t number = 0; number < graph->key_count; number++) {
        struct span key = graph->keys[number];
        uint64_t hash = span_hash(key);
        work->hashes[number] = hash;
        uint32_t slot = (uint32_t)hash & table.mask;
        for (; table.slots[slot] != 0; slot = (slot + 1) & table.mask) {
            uint32_t place = table.slots[slot] - 1;
            if (span_equal(graph->wanted.items[place], key)) {
                work->wanted[place] = number; /* and on: a key may be wanted twice */
            }
        }
    }
}

/* work->ids: what is known already. */
static void look_up(const struct scheduler *s, struct graph_work *work)
{
    for (uint32_t number = 0; number < work->number_count; number++) {
        if (number + AHEAD < work->number_count) {
            task_prefetch_hashed(s, work->hashes[number + AHEAD]);
        }
        const struct task *task =
            task_find_hashed(s, graph_key(work, number), work->hashes[number]);
        work->ids[number] = task == NULL ? TASK_NONE : task->id;
    }
}

/* ---- culling, ordering ---- */

static void cull(struct graph_work *work, struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    work->kept_count = graph->task_count;
    if (!graph->cull) {
        return;
    }
    uint8_t *kept = arena_array(arena, uint8_t, graph->task_count);
    struct cull_graph shape = {graph->task_count, graph->dep_start, graph->deps};
    work->kept_count = cull_mark(&shape, work->wanted, graph->wanted.count, kept);
    if (work->kept_count < graph->task_count) {
        work->kept = kept;
    }
}

/* The kept part of the graph as dask.order wants it; numbers[i] is the graph's number of its task i. */
static struct order_graph order_graph_of(const struct graph_work *work, uint32_t *numbers,
                                         struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    uint32_t *local = arena_array(arena, uint32_t, graph->key_count);
    struct order_graph shape = {.data_mask = GRAPH_NOT_A_TASK, .task_count = work->kept_count};
    uint64_t dep_count = 0;
    for (uint32_t number = 0; number < graph->key_count; number++) {
        if (graph_has(work, number)) {
            local[number] = shape.key_count;
            numbers[shape.key_count++] = number;
            dep_count += graph->dep_start[number + 1] - graph->dep_start[number];
        } else if (number >= graph->task_count) {
            local[number] = shape.key_count;
            numbers[shape.key_count++] = number;
        }
    }
    uint32_t *dep_start = arena_array(arena, uint32_t, shape.task_count + 1);
    uint32_t *deps = arena_array(arena, uint32_t, dep_count);
    uint8_t *flags = arena_array(arena, uint8_t, shape.task_count);
    struct span *names = arena_array(arena, struct span, shape.key_count);
    uint32_t edge = 0;
    for (uint32_t i = 0; i < shape.key_count; i++) {
        uint32_t number = numbers[i];
        names[i] = key_as_text(graph->keys[number], arena);
        if (i >= shape.task_count) {
            continue;
        }
        dep_start[i] = edge;
        flags[i] = graph->flags == NULL ? 0 : graph->flags[number];
        for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
            deps[edge++] = local[graph->deps[j]];
        }
    }
    dep_start[shape.task_count] = edge;
    shape.dep_start = dep_start;
    shape.deps = deps;
    shape.flags = flags;
    shape.names = names;
    return shape;
}

/* The reason why a graph with a cycle cannot be run, as dask.order words it. */
static struct span cycle_text(const struct order_graph *shape, struct arena *arena)
{
    uint32_t *keys = arena_array(arena, uint32_t, shape->task_count + 1);
    uint32_t count = order_find_cycle(shape, keys);
    struct text text = {0};
    text_add_cstr(&text, "Cycle detected between the following keys:");
    for (uint32_t i = 0; i < count; i++) {
        text_add_cstr(&text, "\n  -> ");
        text_add(&text, shape->names[keys[i]]);
    }
    struct span copy = arena_copy(arena, text_span(&text));
    text_fini(&text);
    return copy;
}

/* work->priorities. Empty: fine; else why not. */
static struct span order(struct graph_work *work, struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    work->priorities = graph->priorities;
    if (graph->priorities != NULL || work->kept_count == 0) {
        return (struct span){0};
    }
    uint32_t *numbers = arena_array(arena, uint32_t, graph->key_count);
    struct order_graph shape = order_graph_of(work, numbers, arena);
    uint32_t *places = arena_array(arena, uint32_t, shape.task_count);
    if (!order_compute(&shape, places)) {
        return cycle_text(&shape, arena);
    }
    int64_t *priorities = arena_array(arena, int64_t, graph->task_count);
    for (uint32_t i = 0; i < shape.task_count; i++) {
        priorities[numbers[i]] = places[i];
    }
    work->priorities = priorities;
    return (struct span){0};
}

/* ---- the walk from the wanted keys ---- */

/* work->touched, in the order in which Dask's stack meets them. False: something needed is neither in the
 * graph nor known. */
static bool discover(struct graph_work *work, struct arena *arena)
{
    const struct graph_info *graph = work->graph;
    uint8_t *visited = arena_array(arena, uint8_t, work->number_count);
    memset(visited, 0, work->number_count);
    struct VEC(uint32_t) stack = {0};
    vec_reserve(&stack, graph->wanted.count);
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        vec_push(&stack, work->wanted[i]);
    }
    bool complete = true;
    while (stack.count > 0) {
        uint32_t number = vec_pop(&stack);
        if (visited[number] != 0) {
            continue;
        }
        visited[number] = 1;
        work->touched[work->touched_count++] = number;
        if (!graph_has(work, number)) {
            complete = complete && work->ids[number] != TASK_NONE;
            continue;
        }
        for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
            if (visited[graph->deps[j]] == 0) {
                vec_push(&stack, graph->deps[j]);
            }
        }
    }
    vec_fini(&stack);
    return complete;
}

/* ---- the event ---- */

static void refuse(struct scheduler *s, const struct graph_work *work, struct span why,
                   struct step *step)
{
    struct failure_info info = {.kind = FAILURE_TEXT, .exception_text = why};
    for (uint32_t i = 0; i < work->graph->wanted.count; i++) {
        graph_key_failed(s, work->client->id, work->graph->wanted.items[i], &info, step);
    }
    action_log(step, LEVEL_ERROR, "%.*s", (int)why.size, (const char *)why.data);
    struct notice *notice = action_notice(step, NOTICE_GRAPH_FAILED);
    notice->client = work->client->id;
    notice->text = why;
}

/* An input is gone: the client is told, and must submit again what makes it. */
static void cancel_lost(struct scheduler *s, const struct graph_work *work, struct step *step)
{
    struct span_list keys = work->graph->wanted;
    action_log(step, LEVEL_INFO, "User asked for computation on lost data.");
    action_cancelled(step, work->client->id, keys, SPAN("lost dependencies"), (struct span){0});
    client_releases(s, work->client, keys.items, keys.count, step);
    struct notice *notice = action_notice(step, NOTICE_GRAPH_CANCELLED);
    notice->client = work->client->id;
    notice->keys = keys;
}

void step_graph(struct scheduler *s, const struct event *event, struct step *step)
{
    const struct graph_info *graph = event->of.graph.graph;
    struct graph_work work = {.graph = graph, .client = client_find(s, graph->client)};
    if (work.client == NULL) {
        return; /* it left while its graph was being read */
    }
    struct arena *arena = &step->arena;
    ASSERT((uint64_t)graph->key_count + graph->wanted.count < UINT32_MAX);
    work.number_count = graph->key_count + graph->wanted.count;
    work.wanted = arena_array(arena, uint32_t, graph->wanted.count);
    work.hashes = arena_array(arena, uint64_t, work.number_count);
    work.ids = arena_array(arena, task_id, work.number_count);
    work.is_new = arena_array(arena, uint8_t, work.number_count);
    work.touched = arena_array(arena, uint32_t, work.number_count);
    memset(work.is_new, 0, work.number_count);
    number_keys(&work, arena);
    cull(&work, arena);
    struct span why = order(&work, arena);
    why = why.size > 0 ? why : annotations_refuse(s, graph, arena);
    if (why.size > 0) {
        refuse(s, &work, why, step);
        return;
    }
    look_up(s, &work);
    if (!discover(&work, arena)) {
        cancel_lost(s, &work, step);
        return;
    }
    graph_build(s, &work, step);
}
