/* order_weigh.c: the numbers of the sort key that follow from paths alone, in one walk over the graph
 * with each node after its dependencies. Nodes that the walk cannot reach lie on or behind a cycle.
 * Must agree with: dask/order.py, ndependencies, and max_dependents of _connecting_to_roots. */
#include "core/order_internal.h"
#include "core/order_total.h"

static void weigh_node(struct order *order, struct order_totals *totals, uint32_t node)
{
    struct order_node *weight = &order->nodes[node];
    const uint32_t *deps = order->deps + order->dep_start[node];
    uint32_t dep_count = order_dep_count(order, node);

    weight->dep_count = dep_count;
    weight->total = order_totals_sum(totals, order->nodes, deps, dep_count);
    weight->max_dependents = dep_count == 0 ? order_dependent_count(order, node) : 0;
    for (uint32_t i = 0; i < dep_count; i++) {
        uint32_t of_dep = order->nodes[deps[i]].max_dependents;
        weight->max_dependents = weight->max_dependents < of_dep ? of_dep : weight->max_dependents;
    }
}

/* Sort the linked nodes so that each comes after its dependencies; returns how many could be. Leaves
 * order->needed at 0 for these. */
static uint32_t sort_by_dependency(struct order *order, uint32_t *out_sorted)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < order->node_count; node++) {
        order->needed[node] = order_dep_count(order, node);
        if (order->needed[node] == 0 && order->marks[node] != ORDER_DATA) {
            out_sorted[count++] = node;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = out_sorted[i];
        for (uint32_t d = order->dependent_start[node]; d < order->dependent_start[node + 1]; d++) {
            uint32_t dependent = order->dependents[d];
            ASSERT(order->needed[dependent] > 0);
            if (--order->needed[dependent] == 0) {
                out_sorted[count++] = dependent;
            }
        }
    }
    return count;
}

bool order_weigh(struct order *order, uint32_t *out_sorted)
{
    uint32_t count = sort_by_dependency(order, out_sorted);
    ASSERT(count <= order->linked_count);
    if (count < order->linked_count) {
        return false;
    }
    struct order_totals totals;
    order_totals_init(&totals, order->node_count);
    for (uint32_t i = 0; i < count; i++) {
        weigh_node(order, &totals, out_sorted[i]);
    }
    order_totals_rank(&totals);
    for (uint32_t node = 0; node < order->node_count; node++) {
        order->needed[node] = order_dep_count(order, node);
        if (order->marks[node] != ORDER_DATA) {
            order->nodes[node].total = order_totals_ranked(&totals, order->nodes[node].total);
        }
    }
    order_totals_fini(&totals);
    return true;
}
