/* order_link.c: the graph's edges in both directions.
 *
 * Data that several tasks need is set aside first, as in dask: it is embedded in the tasks, and
 * without it the graph's shape is simpler. Lists come out ascending by node number whatever the
 * order in the input (which hangs on the client's hash seed), so the result does not depend on it. */
#include "core/order_internal.h"

static bool is_data(const struct order_graph *graph, uint32_t node)
{
    if (node >= graph->task_count) {
        return true;
    }
    return graph->flags != NULL && (graph->flags[node] & graph->data_mask) != 0 &&
           graph->dep_start[node] == graph->dep_start[node + 1];
}

/* start[node + 2] becomes the number of dependents of node. Returns whether all lists ascend. */
static bool count_dependents(const struct order_graph *graph, uint32_t *start)
{
    bool ascending = true;
    for (uint32_t task = 0; task < graph->task_count; task++) {
        for (uint32_t d = graph->dep_start[task]; d < graph->dep_start[task + 1]; d++) {
            ASSERT(graph->deps[d] < graph->key_count);
            start[graph->deps[d] + 2]++;
            ascending &= d == graph->dep_start[task] || graph->deps[d - 1] < graph->deps[d];
        }
    }
    return ascending;
}

/* Mark what is set aside, and turn counts into places: start[node + 1] is where node's list begins.
 * Returns whether there is anything that the input's own arrays do not show. */
static bool place_dependents(struct order *order, uint32_t *start)
{
    bool changed = order->node_count > order->graph->task_count;
    for (uint32_t node = 0; node < order->node_count; node++) {
        if (start[node + 2] > 1 && is_data(order->graph, node)) {
            order->marks[node] = ORDER_DATA;
            order->linked_count--;
            start[node + 2] = 0;
            changed = true;
        }
        start[node + 2] += start[node + 1];
    }
    return changed;
}

/* Afterwards start[node] is where node's list begins. */
static void fill_dependents(const struct order *order, uint32_t *start, uint32_t *dependents)
{
    const struct order_graph *graph = order->graph;
    for (uint32_t task = 0; task < graph->task_count; task++) {
        for (uint32_t d = graph->dep_start[task]; d < graph->dep_start[task + 1]; d++) {
            if (order->marks[graph->deps[d]] != ORDER_DATA) {
                dependents[start[graph->deps[d] + 1]++] = task;
            }
        }
    }
}

/* Dependencies from dependents: what is set aside falls out, and lists ascend. */
static void turn_around(struct order *order)
{
    uint32_t edge_count = order->dependent_start[order->node_count];
    uint32_t *start = arena_array(&order->arena, uint32_t, (size_t)order->node_count + 2);
    uint32_t *deps = arena_array(&order->arena, uint32_t, (size_t)edge_count + 1);
    memset(start, 0, ((size_t)order->node_count + 2) * sizeof *start);
    for (uint32_t edge = 0; edge < edge_count; edge++) {
        start[order->dependents[edge] + 2]++;
    }
    for (uint32_t node = 0; node < order->node_count; node++) {
        start[node + 2] += start[node + 1];
    }
    for (uint32_t node = 0; node < order->node_count; node++) {
        for (uint32_t e = order->dependent_start[node]; e < order->dependent_start[node + 1]; e++) {
            deps[start[order->dependents[e] + 1]++] = node;
        }
    }
    ASSERT(start[order->node_count] == edge_count);
    order->dep_start = start;
    order->deps = deps;
}

void order_link(struct order *order)
{
    const struct order_graph *graph = order->graph;
    size_t edge_max = graph->dep_start[graph->task_count];
    uint32_t *start = arena_array(&order->arena, uint32_t, (size_t)order->node_count + 2);
    uint32_t *dependents = arena_array(&order->arena, uint32_t, edge_max + 1);

    memset(start, 0, ((size_t)order->node_count + 2) * sizeof *start);
    memset(order->marks, 0, order->node_count);
    order->linked_count = order->node_count;
    bool ascending = count_dependents(graph, start);
    bool changed = place_dependents(order, start);
    fill_dependents(order, start, dependents);
    ASSERT(start[order->node_count] <= edge_max);
    order->dependent_start = start;
    order->dependents = dependents;
    if (changed || !ascending) {
        turn_around(order);
    } else {
        order->dep_start = graph->dep_start;
        order->deps = graph->deps;
    }
}
