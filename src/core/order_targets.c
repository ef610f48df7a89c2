/* order_targets.c: the leaf to aim at next: the one that needs the fewest roots not loaded yet; among
 * these one that touches the result already; among these the least by sort key.
 *
 * Leaves that need the same roots always tie on the first, so the heap holds classes of them. A class
 * never loses a leaf while it is in the heap, for its leaves can only run once all its roots have. So
 * its key is the degree (roots not loaded), a bit that is 0 once a leaf of it touches the result, and
 * the least rank of these leaves (else of all its leaves); it only ever falls. Where the budget did
 * not allow for classes, the leaf is the first by sort key among those that touch the result.
 * Must agree with: dask/order.py, get_target, use_longest_path and leafs_per_degree. */
#include "core/order_internal.h"

#define UNTOUCHED (UINT64_C(1) << 31)
#define ONE_DEGREE (UINT64_C(1) << 32)

static void class_put(struct order *order, uint32_t place, uint32_t number)
{
    order->class_heap.items[place] = number;
    order->classes.items[number].heap_place = place;
}

static void class_rise(struct order *order, uint32_t number)
{
    const struct leaf_class *classes = order->classes.items;
    uint32_t place = classes[number].heap_place;
    while (place > 0) {
        uint32_t above = order->class_heap.items[(place - 1) / 2];
        if (classes[above].key <= classes[number].key) {
            break;
        }
        class_put(order, place, above);
        place = (place - 1) / 2;
    }
    class_put(order, place, number);
}

static void class_sink(struct order *order, uint32_t number)
{
    const struct leaf_class *classes = order->classes.items;
    const struct order_stack *heap = &order->class_heap;
    uint32_t place = classes[number].heap_place;
    for (uint32_t below; (below = 2 * place + 1) < heap->count; place = below) {
        if (below + 1 < heap->count &&
            classes[heap->items[below + 1]].key < classes[heap->items[below]].key) {
            below++;
        }
        if (classes[number].key <= classes[heap->items[below]].key) {
            break;
        }
        class_put(order, place, heap->items[below]);
    }
    class_put(order, place, number);
}

static void class_remove(struct order *order, uint32_t number)
{
    uint32_t place = order->classes.items[number].heap_place;
    ASSERT(place < order->class_heap.count && order->class_heap.items[place] == number);
    uint32_t last = vec_pop(&order->class_heap);
    if (last != number) {
        class_put(order, place, last);
        class_rise(order, last);
        class_sink(order, last);
    }
    order->classes.items[number].heap_place = ORDER_NONE;
}

static bool touched_before(void *context, uint32_t rank_a, uint32_t rank_b)
{
    (void)context;
    return rank_a < rank_b;
}

static void touched_set_place(void *context, uint32_t rank, uint32_t place)
{
    (void)context; /* only the first is ever removed: no place need be known */
    (void)rank;
    (void)place;
}

static bool is_root(const struct order *order, uint32_t node)
{
    return order_dep_count(order, node) == 0 && order->marks[node] != ORDER_DATA;
}

static uint32_t count_leaves_of(const struct order *order, uint32_t root)
{
    uint32_t leaf_count = 0;
    uint32_t number;
    struct order_set_cursor cursor = {0};
    while (order_set_next(&order->root_classes[order->sets[root]], &cursor, &number)) {
        leaf_count += order->classes.items[number].size;
    }
    return leaf_count;
}

/* Unless a graph shrinks or grows a lot, and is not symmetric, its longest path goes first. */
static bool use_longest_path(const struct order *order)
{
    double roots = order->root_total;
    double change =
        roots > order->leaf_count ? roots - order->leaf_count : order->leaf_count - roots;
    if (change / roots >= 0.8) {
        return true;
    }
    uint32_t leaf_count = 0;
    for (uint32_t node = 0; node < order->node_count; node++) {
        if (!is_root(order, node)) {
            continue;
        }
        if (!order->classes_known) {
            return false; /* a graph that exhausts the budget is not symmetric */
        }
        uint32_t leaf_count_here = count_leaves_of(order, node);
        if (leaf_count != 0 && leaf_count != leaf_count_here) {
            return false;
        }
        leaf_count = leaf_count_here;
    }
    return true;
}

/* The key of each class from the leaf that comes first, and all classes into the heap. */
static void fill_heap(struct order *order)
{
    for (uint32_t number = 0; number < order->classes.count; number++) {
        struct leaf_class *leaf_class = &order->classes.items[number];
        leaf_class->key = ONE_DEGREE * leaf_class->roots.count + UINT32_MAX;
    }
    for (uint32_t rank = 0; rank < order->leaf_count; rank++) {
        uint32_t leaf = order->leaves[rank];
        if (!is_root(order, leaf)) {
            struct leaf_class *leaf_class = &order->classes.items[order->sets[leaf]];
            uint64_t key = ONE_DEGREE * leaf_class->roots.count + UNTOUCHED + rank;
            leaf_class->key = key < leaf_class->key ? key : leaf_class->key;
        }
    }
    for (uint32_t number = 0; number < order->classes.count; number++) {
        vec_push(&order->class_heap, number);
        order->classes.items[number].heap_place = number;
        class_rise(order, number);
    }
}

void order_targets_init(struct order *order)
{
    order_sort(order, order->leaves, order->leaf_count);
    order->longest_path = use_longest_path(order);
    order->leaf_low = 0;
    order->leaf_high = order->leaf_count;
    for (uint32_t rank = 0; rank < order->leaf_count; rank++) {
        order->nodes[order->leaves[rank]].place = rank;
    }
    heap_init(&order->touched, NULL, touched_before, touched_set_place);
    if (order->classes_known) {
        fill_heap(order);
    }
}

void order_targets_fini(struct order *order)
{
    heap_fini(&order->touched);
    vec_fini(&order->class_heap);
    vec_fini(&order->classes);
    mem_free(order->root_classes);
    mem_free(order->root_class_bits);
}

/* The first leaf that touches the result and is not in it; ORDER_NONE if there is none. */
static uint32_t next_touched(struct order *order)
{
    while (order->touched.count > 0) {
        uint32_t leaf = order->leaves[heap_first(&order->touched)];
        if (!order_in_result(order, leaf)) {
            return leaf;
        }
        heap_remove(&order->touched, 0);
    }
    return ORDER_NONE;
}

/* The leaf that dask's rule takes in the middle of a graph; ORDER_NONE at its start and end. */
static uint32_t next_by_degree(const struct order *order)
{
    if (order->reachable_count == 0 || order->class_heap.count == 0) {
        return ORDER_NONE;
    }
    uint64_t key = order->classes.items[order->class_heap.items[0]].key;
    uint32_t leaf = order->leaves[key & (UNTOUCHED - 1)];
    return order_in_result(order, leaf) ? ORDER_NONE : leaf;
}

uint32_t order_targets_next(struct order *order)
{
    uint32_t leaf = order->classes_known ? next_by_degree(order) : next_touched(order);
    while (leaf == ORDER_NONE) {
        ASSERT(order->leaf_low < order->leaf_high);
        leaf = order->longest_path ? order->leaves[--order->leaf_high]
                                   : order->leaves[order->leaf_low++];
        leaf = order_in_result(order, leaf) ? ORDER_NONE : leaf;
    }
    return leaf;
}

void order_targets_root_loaded(struct order *order, uint32_t root)
{
    if (!order->classes_known) {
        return;
    }
    uint32_t number;
    struct order_set_cursor cursor = {0};
    while (order_set_next(&order->root_classes[order->sets[root]], &cursor, &number)) {
        struct leaf_class *leaf_class = &order->classes.items[number];
        ASSERT(leaf_class->key >= ONE_DEGREE);
        leaf_class->key -= ONE_DEGREE;
        if (leaf_class->key < ONE_DEGREE) {
            class_remove(order, number);
        } else {
            class_rise(order, number);
        }
    }
}

void order_targets_reach(struct order *order, uint32_t node)
{
    if (order->marks[node] & ORDER_REACHABLE) {
        return;
    }
    order->marks[node] |= ORDER_REACHABLE;
    order->reachable_count++;
    if (order_dependent_count(order, node) > 0) {
        return;
    }
    if (!order->classes_known) {
        heap_add(&order->touched, order->nodes[node].place);
        return;
    }
    uint32_t number = order->sets[node];
    struct leaf_class *leaf_class = &order->classes.items[number];
    uint64_t key = leaf_class->key / ONE_DEGREE * ONE_DEGREE + order->nodes[node].place;
    if (leaf_class->heap_place != ORDER_NONE && key < leaf_class->key) {
        leaf_class->key = key;
        class_rise(order, number);
    }
}
