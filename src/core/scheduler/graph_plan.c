/* graph_plan.c: see graph_plan.h.
 * Must agree with: scheduler.py _cull, _generate_taskstates (its walk); dask.order. */
#include "core/scheduler/graph_plan.h"

#include "base/alloc.h"
#include "base/text.h"
#include "base/vec.h"
#include "core/cull.h"
#include "core/key.h"
#include "core/order.h"

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

/* plan->hashes and plan->wanted. */
static void number_keys(struct graph_plan *plan, const struct graph_info *graph)
{
    plan->hashes = arena_array(&plan->arena, uint64_t, plan->number_count);
    plan->wanted = arena_array(&plan->arena, uint32_t, graph->wanted.count);
    struct wanted_table table = wanted_table_make(graph->wanted, &plan->arena);
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        plan->wanted[i] = graph->key_count + i; /* unless it turns up in the graph */
        plan->hashes[graph->key_count + i] = span_hash(graph->wanted.items[i]);
    }
    for (uint32_t number = 0; number < graph->key_count; number++) {
        struct span key = graph->keys[number];
        uint64_t hash = span_hash(key);
        plan->hashes[number] = hash;
        uint32_t slot = (uint32_t)hash & table.mask;
        for (; table.slots[slot] != 0; slot = (slot + 1) & table.mask) {
            uint32_t place = table.slots[slot] - 1;
            if (span_equal(graph->wanted.items[place], key)) {
                plan->wanted[place] = number; /* and on: a key may be wanted twice */
            }
        }
    }
}

/* ---- culling, ordering ---- */

static bool keeps(const struct graph_plan *plan, const struct graph_info *graph, uint32_t number)
{
    return number < graph->task_count && (plan->kept == NULL || plan->kept[number] != 0);
}

static void cull(struct graph_plan *plan, const struct graph_info *graph)
{
    plan->kept_count = graph->task_count;
    if (!graph->cull) {
        return;
    }
    uint8_t *kept = arena_array(&plan->arena, uint8_t, graph->task_count);
    struct cull_graph shape = {graph->task_count, graph->dep_start, graph->deps};
    plan->kept_count = cull_mark(&shape, plan->wanted, graph->wanted.count, kept);
    if (plan->kept_count < graph->task_count) {
        plan->kept = kept;
    }
}

/* The kept part of the graph as dask.order wants it; numbers[i] is the graph's number of its key i. */
static struct order_graph order_graph_of(const struct graph_plan *plan,
                                         const struct graph_info *graph, uint32_t *numbers,
                                         struct arena *arena)
{
    uint32_t *local = arena_array(arena, uint32_t, graph->key_count);
    struct order_graph shape = {.data_mask = GRAPH_NOT_A_TASK, .task_count = plan->kept_count};
    uint64_t dep_count = 0;
    for (uint32_t number = 0; number < graph->key_count; number++) {
        bool kept = keeps(plan, graph, number);
        if (kept || number >= graph->task_count) {
            local[number] = shape.key_count;
            numbers[shape.key_count++] = number;
        }
        dep_count += kept ? graph->dep_start[number + 1] - graph->dep_start[number] : 0;
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

/* Priorities that came with the graph: mostly the tasks have them in their order, each after its inputs. If so,
 * plan->in_order, and there is no cycle. */
static void take_order(struct graph_plan *plan, const struct graph_info *graph)
{
    int64_t last = GRAPH_NO_PRIORITY;
    uint32_t count = 0;
    uint32_t *in_order = arena_array(&plan->arena, uint32_t, plan->kept_count);
    for (uint32_t number = 0; number < graph->task_count; number++) {
        if (!keeps(plan, graph, number)) {
            continue;
        }
        if (graph->priorities[number] <= last) {
            return;
        }
        for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
            if (graph->deps[j] >= number && graph->deps[j] < graph->task_count) {
                return;
            }
        }
        last = graph->priorities[number];
        in_order[count++] = number;
    }
    plan->in_order = in_order;
}

/* The scheduler's own order, unless the graph says one; or plan->refused: without a cycle there is always one. */
static void find_order(struct graph_plan *plan, const struct graph_info *graph)
{
    struct arena scratch;
    arena_init(&scratch);
    uint32_t *numbers = arena_array(&scratch, uint32_t, graph->key_count);
    struct order_graph shape = order_graph_of(plan, graph, numbers, &scratch);
    uint32_t *places = arena_array(&scratch, uint32_t, shape.task_count + 1);
    bool is_given = graph->priorities != NULL;
    bool is_fine = is_given ? order_find_cycle(&shape, places) == 0 : order_compute(&shape, places);
    if (!is_fine) {
        plan->refused = arena_copy(&plan->arena, cycle_text(&shape, &scratch));
    } else if (!is_given) {
        int64_t *priorities = arena_array(&plan->arena, int64_t, graph->task_count);
        plan->in_order = arena_array(&plan->arena, uint32_t, shape.task_count);
        for (uint32_t i = 0; i < shape.task_count; i++) {
            priorities[numbers[i]] = places[i];
            plan->in_order[places[i]] = numbers[i];
        }
        plan->priorities = priorities;
    }
    arena_fini(&scratch);
}

/* plan->priorities, or plan->refused. */
static void order(struct graph_plan *plan, const struct graph_info *graph)
{
    plan->priorities = graph->priorities;
    if (plan->kept_count == 0) {
        return;
    }
    if (graph->priorities != NULL) {
        take_order(plan, graph);
    }
    if (plan->in_order == NULL) {
        find_order(plan, graph);
    }
}

/* ---- the walk from the wanted keys ---- */

/* plan->touched, in the order in which Dask's stack meets them. */
static void discover(struct graph_plan *plan, const struct graph_info *graph)
{
    plan->touched = arena_array(&plan->arena, uint32_t, plan->number_count);
    uint8_t *visited = mem_zalloc((size_t)plan->number_count + 1, sizeof *visited);
    struct VEC(uint32_t) stack = {0};
    vec_reserve(&stack, graph->wanted.count);
    for (uint32_t i = 0; i < graph->wanted.count; i++) {
        vec_push(&stack, plan->wanted[i]);
    }
    while (stack.count > 0) {
        uint32_t number = vec_pop(&stack);
        if (visited[number] != 0) {
            continue;
        }
        visited[number] = 1;
        plan->touched[plan->touched_count++] = number;
        if (!keeps(plan, graph, number)) {
            continue;
        }
        for (uint32_t j = graph->dep_start[number]; j < graph->dep_start[number + 1]; j++) {
            if (visited[graph->deps[j]] == 0) {
                vec_push(&stack, graph->deps[j]);
            }
        }
    }
    vec_fini(&stack);
    mem_free(visited);
}

static void make_room(struct graph_plan *plan, const struct graph_info *graph)
{
    struct graph_room *room = &plan->room;
    uint32_t numbers = plan->number_count;
    uint32_t touched = plan->touched_count;
    room->ids = arena_array(&plan->arena, task_id, numbers);
    room->is_new = arena_array(&plan->arena, uint8_t, numbers);
    room->is_needed = arena_array(&plan->arena, uint8_t, numbers);
    room->new_dependents = arena_array(&plan->arena, uint32_t, graph->key_count);
    room->firsts = arena_array(&plan->arena, task_id, touched);
    room->made = arena_array(&plan->arena, task_id, touched);
    room->keys = arena_array(&plan->arena, struct span, touched);
    room->to_move = arena_array(&plan->arena, task_id, graph->wanted.count);
    memset(room->ids, 0xff, numbers * sizeof *room->ids);
    memset(room->is_new, 0, numbers);
    memset(room->is_needed, 0, numbers);
    memset(room->new_dependents, 0, graph->key_count * sizeof *room->new_dependents);
    memset(room->firsts, 0, touched * sizeof *room->firsts);
    memset(room->made, 0, touched * sizeof *room->made);
    memset(room->keys, 0, touched * sizeof *room->keys);
    memset(room->to_move, 0, graph->wanted.count * sizeof *room->to_move);
}

struct graph_plan *graph_plan_create(const struct graph_info *graph)
{
    ASSERT((uint64_t)graph->key_count + graph->wanted.count < UINT32_MAX);
    struct graph_plan *plan = mem_zalloc(1, sizeof *plan);
    arena_init(&plan->arena);
    plan->number_count = graph->key_count + graph->wanted.count;
    number_keys(plan, graph);
    cull(plan, graph);
    order(plan, graph);
    discover(plan, graph);
    make_room(plan, graph);
    return plan;
}

void graph_plan_destroy(struct graph_plan *plan)
{
    if (plan != NULL) {
        arena_fini(&plan->arena);
        mem_free(plan);
    }
}
