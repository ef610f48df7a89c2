/* order.c: the critical path, walked until all nodes have a priority.
 *
 * Aim at a leaf; from it go back along the most valuable dependency to a root, and execute what lies
 * on that path, together with what it needs. What becomes runnable beside it waits for
 * order_paths_run. The text of dask/order.py explains the strategy; its names are kept.
 *
 * Python iterates over sets in three places where that shows in the result; here nodes come in the
 * order of their numbers: the dependencies pushed beside the critical path, the dependents that
 * become runnable, and data that was set aside. */
#include "core/order.h"

#include "core/order_internal.h"

enum {
    ROOT_WORDS_FREE = 16 << 20,
    ROOT_WORDS_PER_NODE = 128,
    ROOT_BYTES_FREE = 4 << 20,
    ROOT_BYTES_PER_NODE = 32,
    LEAF_VISITS_FREE = 32 << 20,
    LEAF_VISITS_PER_NODE = 64,
};

static void set_priority(struct order *order, uint32_t node)
{
    order->priority[node] = order->next_priority;
    order->next_priority += node < order->graph->task_count;
    order->result_count++;
}

static uint64_t number_word(const void *context, uint32_t node, uint32_t depth)
{
    (void)context;
    ASSERT(depth == 0);
    return node;
}

static uint32_t number_depth_max(const void *context, uint32_t node)
{
    (void)context;
    (void)node;
    return 0;
}

/* Data that was set aside goes right before the first task that needs it. */
static void add_data(struct order *order, uint32_t node)
{
    const struct order_graph *graph = order->graph;
    if (node >= graph->task_count) {
        return;
    }
    struct order_stack *data = &order->scratch;
    data->count = 0;
    for (uint32_t d = graph->dep_start[node]; d < graph->dep_start[node + 1]; d++) {
        uint32_t dep = graph->deps[d];
        if (order->marks[dep] == ORDER_DATA && !order_in_result(order, dep)) {
            vec_push(data, dep);
        }
    }
    struct order_words words = {NULL, number_word, number_depth_max};
    order_sort_words(&words, data->items, data->count);
    for (uint32_t i = 0; i < data->count; i++) {
        set_priority(order, data->items[i]);
    }
}

/* One dependency less for all dependents. Returns the only one, if it can run now; else ORDER_NONE. */
static uint32_t release_dependents(struct order *order, uint32_t node)
{
    uint32_t only = ORDER_NONE;
    bool alone = order_dependent_count(order, node) == 1;
    for (uint32_t d = order->dependent_start[node]; d < order->dependent_start[node + 1]; d++) {
        uint32_t dependent = order->dependents[d];
        ASSERT(order->needed[dependent] > 0);
        order->needed[dependent]--;
        order_targets_reach(order, dependent);
        if (order->needed[dependent] == 0) {
            if (alone) {
                only = dependent;
            } else {
                vec_push(&order->runnable, dependent);
            }
        }
    }
    return only;
}

void order_add_to_result(struct order *order, uint32_t node)
{
    while (node != ORDER_NONE) {
        order->reachable_count -= (order->marks[node] & ORDER_REACHABLE) != 0;
        order->marks[node] &= (uint8_t) ~(ORDER_REACHABLE | ORDER_RUNNABLE);
        if (order_in_result(order, node)) {
            return;
        }
        if (order->linked_count < order->node_count) {
            add_data(order, node);
        }
        set_priority(order, node);
        if (order_dep_count(order, node) == 0) {
            order_targets_root_loaded(order, node);
        }
        node = release_dependents(order, node);
    }
}

static uint32_t greatest(const struct order *order, const uint32_t *nodes, uint32_t count)
{
    uint32_t found = nodes[0];
    for (uint32_t i = 1; i < count; i++) {
        found = order_before(order, found, nodes[i]) ? nodes[i] : found;
    }
    return found;
}

/* Append the dependencies of `node` that are not in the result yet; returns how many. */
static uint32_t push_missing(const struct order *order, uint32_t node, struct order_stack *stack)
{
    uint32_t size_before = stack->count;
    for (uint32_t d = order->dep_start[node]; d < order->dep_start[node + 1]; d++) {
        if (!order_in_result(order, order->deps[d])) {
            vec_push(stack, order->deps[d]);
        }
    }
    return stack->count - size_before;
}

static void build_critical_path(struct order *order, uint32_t target)
{
    struct order_stack *path = &order->critical;
    const uint32_t *next = order->deps + order->dep_start[target];
    uint32_t next_count = order_dep_count(order, target);
    ASSERT(path->count == 0);
    vec_push(path, target);
    while (next_count > 0) {
        uint32_t node = greatest(order, next, next_count);
        vec_push(path, node);
        next_count = push_missing(order, node, path);
        next = path->items + path->count - next_count;
    }
}

/* `node` cannot run: put what it needs in front of it. Returns whether that is more than one step. */
static bool walk_back(struct order *order, uint32_t node)
{
    struct order_stack *path = &order->critical;
    vec_push(path, node);
    uint32_t from = path->count;
    uint32_t missing_count = push_missing(order, node, path);
    order_sort(order, path->items + from, missing_count);

    order->scratch.count = 0;
    uint32_t unknown_count = 0;
    for (uint32_t i = from; i < from + missing_count; i++) {
        if (order_paths_known(order, path->items[i])) {
            vec_push(&order->scratch, path->items[i]);
        } else {
            path->items[from + unknown_count++] = path->items[i];
        }
    }
    path->count = from + unknown_count;
    for (uint32_t i = 0; i < order->scratch.count; i++) {
        order_paths_take(order, order->scratch.items[i], path);
    }
    return unknown_count > 1;
}

static void walk_critical_path(struct order *order)
{
    struct order_stack *path = &order->critical;
    bool walked_back = false;
    while (path->count > 0) {
        uint32_t node = vec_pop(path);
        if (order_in_result(order, node)) {
            continue;
        }
        if (order->needed[node] > 0) {
            walked_back |= walk_back(order, node);
            continue;
        }
        if (walked_back && order->runnable.count < path->count) {
            order_paths_run(order);
        }
        order_add_to_result(order, node);
    }
}

static void collect_leaves(struct order *order)
{
    order->leaf_count = 0;
    for (uint32_t node = 0; node < order->node_count; node++) {
        if (order_dependent_count(order, node) == 0 && order->marks[node] != ORDER_DATA) {
            order->leaf_count++;
        }
    }
    order->leaves = arena_array(&order->arena, uint32_t, (size_t)order->leaf_count + 1);
    uint32_t count = 0;
    for (uint32_t node = 0; node < order->node_count; node++) {
        if (order_dependent_count(order, node) == 0 && order->marks[node] != ORDER_DATA) {
            order->leaves[count++] = node;
        }
    }
}

/* Everything up to the walk; false: there is a cycle. */
static bool prepare(struct order *order)
{
    order_link(order);
    uint32_t *sorted = mem_alloc(((size_t)order->node_count + 1) * sizeof *sorted);
    bool acyclic = order_weigh(order, sorted);
    if (acyclic) {
        collect_leaves(order);
        order_find_roots(order, sorted);
        order_targets_init(order);
    }
    mem_free(sorted);
    return acyclic;
}

static void run(struct order *order)
{
    memset(order->priority, 0xff, order->node_count * sizeof *order->priority);
    order_paths_init(order);
    while (order->result_count < order->node_count) {
        build_critical_path(order, order_targets_next(order));
        walk_critical_path(order);
        order_paths_run(order);
    }
    ASSERT(order->next_priority == order->graph->task_count);
    order_paths_fini(order);
}

static void order_init(struct order *order, const struct order_graph *graph, uint32_t *out_priority)
{
    size_t node_count = graph->key_count;
    ASSERT(graph->key_count >= graph->task_count);
    ASSERT(graph->key_count < ORDER_NONE - 2);
    *order = (struct order){.graph = graph, .node_count = graph->key_count};
    arena_init(&order->arena);
    order->nodes = arena_array(&order->arena, struct order_node, node_count + 1);
    order->needed = arena_array(&order->arena, uint32_t, node_count + 1);
    order->sets = arena_array(&order->arena, uint32_t, node_count + 1);
    order->marks = arena_array(&order->arena, uint8_t, node_count + 1);
    order->priority = graph->key_count == graph->task_count
                          ? out_priority
                          : arena_array(&order->arena, uint32_t, node_count + 1);
    memset(order->nodes, 0, node_count * sizeof *order->nodes);
    memset(order->sets, 0, node_count * sizeof *order->sets);
}

static void order_fini(struct order *order)
{
    order_targets_fini(order);
    vec_fini(&order->runnable);
    vec_fini(&order->critical);
    vec_fini(&order->scratch);
    arena_fini(&order->arena);
}

bool order_compute_within(const struct order_graph *graph, const struct order_budget *budget,
                          uint32_t *out_priority)
{
    if (graph->task_count == 0) {
        return true;
    }
    struct order order;
    order_init(&order, graph, out_priority);
    order.budget = *budget;
    bool acyclic = prepare(&order);
    if (acyclic) {
        run(&order);
        memmove(out_priority, order.priority, graph->task_count * sizeof *out_priority);
    }
    order_fini(&order);
    return acyclic;
}

bool order_compute(const struct order_graph *graph, uint32_t *out_priority)
{
    uint64_t node_count = graph->key_count;
    struct order_budget budget = {
        .root_words = ROOT_WORDS_FREE + ROOT_WORDS_PER_NODE * node_count,
        .root_bytes = ROOT_BYTES_FREE + ROOT_BYTES_PER_NODE * node_count,
        .leaf_visits = LEAF_VISITS_FREE + LEAF_VISITS_PER_NODE * node_count,
    };
    return order_compute_within(graph, &budget, out_priority);
}
