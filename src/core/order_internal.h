/* order_internal.h: what the parts of order share.
 *
 *   order_link.c     dependents, and dependencies without the data that is set aside
 *   order_weigh.c    what the sort key of dask.order compares: paths, fan-outs (order_total.c: huge sums)
 *   order_roots.c    which roots each node needs; leaves with the same roots form a class
 *   order_sort.c     the sort key
 *   order_targets.c  which leaf to aim at next
 *   order_paths.c    runnable paths, executed or remembered (process_runnables)
 *   order.c          the critical path
 *
 * A node is a key of the graph, own or external. Words are those of dask/order.py: a root has no
 * dependencies, a leaf no dependents. */
#ifndef CASK_CORE_ORDER_INTERNAL_H
#define CASK_CORE_ORDER_INTERNAL_H

#include "base/arena.h"
#include "base/heap.h"
#include "base/vec.h"
#include "core/order.h"
#include "core/order_set.h"

#define ORDER_NONE UINT32_MAX

enum {
    ORDER_DATA = 1 << 0,      /* set aside: placed right before the first task that needs it */
    ORDER_RUNNABLE = 1 << 1,  /* dask's runnable_hull */
    ORDER_REACHABLE = 1 << 2, /* dask's reachable_hull */
};

/* How much may be spent on knowing every node's roots exactly, as Python always does. Beyond, the
 * numbers of roots are estimated, and the next leaf is the first that touches the result. Beyond is
 * where Python needs minutes and over 10 GB: 10,000 roots, each needed by most of as many leaves. In
 * such graphs (random layers, squares of cells) the mean number of results alive stayed within 1 % of
 * what exact numbers give, or below. */
struct order_budget {
    uint64_t root_words;  /* 64-bit words touched by uniting sets of roots */
    uint64_t root_bytes;  /* memory of these sets at any time */
    uint64_t leaf_visits; /* pairs of a root and a class of leaves that needs it */
};

struct order_node {
    uint64_t total; /* paths that end here, counted by nodes (dask's total_dependencies) */
    uint32_t dep_count;
    uint32_t root_count;     /* roots it needs; 0 for a root itself */
    uint32_t max_dependents; /* the greatest fan-out among these roots, or its own */
    uint32_t place; /* a leaf: its index in leaves[]; others: 1 + index of its known paths, or 0 */
};

struct order_stack VEC(uint32_t);

/* Leaves that need exactly the same roots. */
struct leaf_class {
    uint64_t key;        /* degree << 32 | …: see order_targets.c */
    uint32_t size;       /* leaves */
    uint32_t heap_place; /* ORDER_NONE: not in the heap */
    struct order_set roots;
};

struct order {
    const struct order_graph *graph;
    struct order_budget budget;
    struct arena arena; /* every plain array below */
    uint32_t node_count;
    uint32_t linked_count;           /* nodes that are not set aside */
    const uint32_t *dep_start;       /* node_count + 1 */
    const uint32_t *deps;            /* ascending in each node */
    const uint32_t *dependent_start; /* node_count + 1 */
    const uint32_t *dependents;      /* ascending in each node */
    struct order_node *nodes;
    uint32_t *needed;   /* dependencies without a priority yet (dask's num_needed) */
    uint32_t *priority; /* ORDER_NONE: not in the result yet */
    uint8_t *marks;     /* ORDER_… */

    /* Roots and leaves. */
    uint32_t root_total;
    uint32_t *sets; /* a root: its number; a leaf that is none: its class */
    uint32_t leaf_count;
    uint32_t *leaves;   /* by sort key once order_targets_init has run */
    bool classes_known; /* else the budget did not suffice: there are no classes */
    struct VEC(struct leaf_class) classes;
    struct order_set
        *root_classes;         /* root_total, if classes_known: the classes that need the root */
    uint64_t *root_class_bits; /* what root_classes points into */

    /* Targets. */
    struct order_stack class_heap; /* classes with roots still to be loaded */
    struct heap touched;           /* unless classes_known: ranks of leaves that touch the result */
    uint32_t leaf_low; /* leaves[leaf_low..leaf_high) have not been taken in sorted order */
    uint32_t leaf_high;
    bool longest_path;
    uint32_t reachable_count; /* nodes marked ORDER_REACHABLE */

    /* The walk. */
    uint32_t next_priority;
    uint32_t result_count;
    struct order_stack runnable; /* dask's runnable */
    struct order_stack critical; /* dask's critical_path */
    struct order_stack scratch;
    struct order_paths *paths;
};

static inline uint32_t order_dep_count(const struct order *order, uint32_t node)
{
    return order->dep_start[node + 1] - order->dep_start[node];
}

static inline uint32_t order_dependent_count(const struct order *order, uint32_t node)
{
    return order->dependent_start[node + 1] - order->dependent_start[node];
}

static inline bool order_in_result(const struct order *order, uint32_t node)
{
    return order->priority[node] != ORDER_NONE;
}

/* order_compute() with a budget of the caller's. */
bool order_compute_within(const struct order_graph *graph, const struct order_budget *budget,
                          uint32_t *out_priority) MUST_USE;

/* Fills dep_start, deps, dependent_start, dependents, linked_count; marks data as set aside. */
void order_link(struct order *order);

/* Fills nodes but for root_count and place; out_sorted (node_count) gets the linked nodes with each
 * after its dependencies. false: there is a cycle. */
bool order_weigh(struct order *order, uint32_t *out_sorted) MUST_USE;

/* Fills root_count, root_total, sets, classes, root_classes. */
void order_find_roots(struct order *order, const uint32_t *sorted);

/* true if `a` comes before `b` by sort key. */
bool order_before(const struct order *order, uint32_t a, uint32_t b);
/* Sort `nodes` by sort key, the least first. */
void order_sort(const struct order *order, uint32_t *nodes, uint32_t count);

/* Sort `ids` by words: word(context, id, depth) for depth 0, 1, … up to depth_max(context, id), past
 * which an id's words count as 0. Stable; O(ids × words looked at). */
struct order_words {
    const void *context;
    uint64_t (*word)(const void *context, uint32_t id, uint32_t depth);
    uint32_t (*depth_max)(const void *context, uint32_t id);
};
void order_sort_words(const struct order_words *words, uint32_t *ids, uint32_t count);

/* Sorts the leaves and picks the strategy. */
void order_targets_init(struct order *order);
void order_targets_fini(struct order *order);
/* The leaf to aim at next. */
uint32_t order_targets_next(struct order *order);
/* `root` has just got its priority. */
void order_targets_root_loaded(struct order *order, uint32_t root);
/* `node` touches the result now. */
void order_targets_reach(struct order *order, uint32_t node);

/* Give `node` the next priority, and every node that then is the only one to follow. */
void order_add_to_result(struct order *order, uint32_t node);

void order_paths_init(struct order *order);
void order_paths_fini(struct order *order);
/* Walk from all runnable nodes; execute or remember where that leads. */
void order_paths_run(struct order *order);
/* Are paths remembered that end at `node`? */
bool order_paths_known(const struct order *order, uint32_t node);
/* Forget the paths that end at `node`; append their nodes to `stack`, each path's last node first. */
void order_paths_take(struct order *order, uint32_t node, struct order_stack *stack);

#endif
