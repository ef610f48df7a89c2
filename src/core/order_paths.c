/* order_paths.c: from a runnable node forward to where something else is needed.
 *
 * A path leads from a runnable node along nodes with one dependency to a node that has more (a
 * reducer), or to a leaf. Paths to reducers are remembered until there are enough to run it. Of such a
 * path it suffices to know the first node and the last but one: in between, each node's only
 * dependency leads back. Several paths to the same reducer may be joined into one.
 * Must agree with: dask/order.py, process_runnables and known_runnable_paths. */
#include "core/order_internal.h"

enum {
    PUSHES_PER_NODE = 16, /* most nodes that remembered paths may add to the critical path, each */
};

/* A path to a reducer, or one of those joined to a path. */
struct segment {
    uint32_t first;
    uint32_t before;    /* the reducer's dependency on this path */
    uint32_t next;      /* the next segment of the same path, or ORDER_NONE */
    uint32_t tail;      /* of a path's first segment: its last */
    uint32_t next_path; /* of a path's first segment: the next path in its list */
};

/* Paths in order; each is named by its first segment. */
struct path_list {
    uint32_t head;
    uint32_t tail;
    uint32_t count;
};

/* A path still being walked. */
struct branch {
    uint32_t splits; /* splitters passed so far */
    uint32_t current;
    uint32_t first;
    uint32_t before; /* ORDER_NONE: current is first */
    uint32_t joined; /* ORDER_NONE, or the path, which ends at current */
};

struct order_paths {
    struct VEC(struct segment) segments;
    uint32_t free_segment; /* linked by next */
    struct VEC(struct path_list) known;
    uint32_t free_known; /* linked by head */
    struct VEC(struct branch) branches;
    uint32_t branch_first; /* branches before this one are done */
    struct order_stack candidates;
    struct order_stack scratch;
    uint64_t pushes_left;
};

void order_paths_init(struct order *order)
{
    struct order_paths *paths = mem_zalloc(1, sizeof *paths);
    uint64_t edge_count = order->dep_start[order->node_count];
    paths->free_segment = ORDER_NONE;
    paths->free_known = ORDER_NONE;
    paths->pushes_left = PUSHES_PER_NODE * (order->node_count + edge_count);
    order->paths = paths;
}

void order_paths_fini(struct order *order)
{
    struct order_paths *paths = order->paths;
    vec_fini(&paths->segments);
    vec_fini(&paths->known);
    vec_fini(&paths->branches);
    vec_fini(&paths->candidates);
    vec_fini(&paths->scratch);
    mem_free(paths);
}

static uint32_t add_path(struct order_paths *paths, uint32_t first, uint32_t before)
{
    uint32_t index = paths->free_segment;
    if (index == ORDER_NONE) {
        index = paths->segments.count;
        vec_reserve(&paths->segments, 1);
        paths->segments.count++;
    } else {
        paths->free_segment = paths->segments.items[index].next;
    }
    paths->segments.items[index] = (struct segment){first, before, ORDER_NONE, index, ORDER_NONE};
    return index;
}

static void free_path(struct order_paths *paths, uint32_t path)
{
    uint32_t tail = paths->segments.items[path].tail;
    paths->segments.items[tail].next = paths->free_segment;
    paths->free_segment = path;
}

static void list_append(struct order_paths *paths, struct path_list *list, uint32_t path)
{
    if (list->count == 0) {
        list->head = path;
    } else {
        paths->segments.items[list->tail].next_path = path;
    }
    paths->segments.items[path].next_path = ORDER_NONE;
    list->tail = path;
    list->count++;
}

static uint32_t list_take_first(const struct order_paths *paths, struct path_list *list)
{
    ASSERT(list->count > 0);
    uint32_t path = list->head;
    list->head = paths->segments.items[path].next_path;
    list->count--;
    return path;
}

bool order_paths_known(const struct order *order, uint32_t node)
{
    return order->nodes[node].place != 0 && order_dependent_count(order, node) > 0;
}

static struct path_list *view_known(const struct order *order, uint32_t node)
{
    ASSERT(order_paths_known(order, node));
    return &order->paths->known.items[order->nodes[node].place - 1];
}

static void set_known(struct order *order, uint32_t node, struct path_list list)
{
    struct order_paths *paths = order->paths;
    uint32_t index = paths->free_known;
    ASSERT(order->nodes[node].place == 0);
    if (index == ORDER_NONE) {
        index = paths->known.count;
        vec_push(&paths->known, list);
    } else {
        paths->free_known = paths->known.items[index].head;
        paths->known.items[index] = list;
    }
    order->nodes[node].place = index + 1;
}

static struct path_list take_known(struct order *order, uint32_t node)
{
    struct path_list *known = view_known(order, node);
    struct path_list list = *known;
    known->head = order->paths->free_known;
    order->paths->free_known = order->nodes[node].place - 1;
    order->nodes[node].place = 0;
    return list;
}

/* Append the nodes from `before` back to `first` to `stack`; if `pending_only`, leave out those that
 * have a priority, which come first on the path. */
static void push_back_to(const struct order *order, struct segment segment, bool pending_only,
                         struct order_stack *stack)
{
    uint32_t node = segment.before;
    if (node == ORDER_NONE) {
        return;
    }
    while (!pending_only || !order_in_result(order, node)) {
        vec_push(stack, node);
        if (node == segment.first) {
            break;
        }
        ASSERT(order_dep_count(order, node) == 1);
        node = order->deps[order->dep_start[node]];
    }
}

/* Execute a segment and the node behind it. If `careful`, stop before a node that needs others and
 * say false. */
static bool execute_segment(struct order *order, struct segment segment, uint32_t last,
                            bool careful)
{
    struct order_stack *scratch = &order->paths->scratch;
    scratch->count = 0;
    vec_push(scratch, last);
    push_back_to(order, segment, true, scratch);
    while (scratch->count > 0) {
        uint32_t node = vec_pop(scratch);
        if (careful && order->needed[node] > 0) {
            return false;
        }
        order_add_to_result(order, node);
    }
    return true;
}

static bool execute_path(struct order *order, uint32_t path, uint32_t last, bool careful)
{
    for (uint32_t s = path; s != ORDER_NONE; s = order->paths->segments.items[s].next) {
        if (!execute_segment(order, order->paths->segments.items[s], last, careful)) {
            return false;
        }
    }
    return true;
}

static void execute_branch(struct order *order, struct branch branch)
{
    if (branch.joined == ORDER_NONE) {
        struct segment segment = {.first = branch.first, .before = branch.before};
        (void)execute_segment(order, segment, branch.current, false); /* true: not careful */
        return;
    }
    (void)execute_path(order, branch.joined, branch.current, false);
    free_path(order->paths, branch.joined);
}

/* Execute paths to `last` until all are done. One that must wait for others goes behind them. */
static void execute_list(struct order *order, struct path_list list, uint32_t last)
{
    uint32_t stalled = 0; /* paths put back since something was executed */
    while (list.count > 0) {
        uint32_t path = list_take_first(order->paths, &list);
        uint32_t result_count = order->result_count;
        bool done = execute_path(order, path, last, true);
        stalled = order->result_count > result_count ? 0 : stalled + 1;
        if (done || stalled > list.count + 1) { /* Python would go round for ever */
            free_path(order->paths, path);
        } else {
            list_append(order->paths, &list, path);
        }
    }
}

/* One path out of all those of the list. */
static uint32_t join_list(struct order_paths *paths, struct path_list list)
{
    uint32_t joined = list_take_first(paths, &list);
    struct segment *segments = paths->segments.items;
    while (list.count > 0) {
        uint32_t path = list_take_first(paths, &list);
        segments[segments[joined].tail].next = path;
        segments[joined].tail = segments[path].tail;
    }
    return joined;
}

/* Keep the paths whose way to the reducer has not been executed yet. */
static struct path_list prune_list(const struct order *order, struct path_list list)
{
    struct order_paths *paths = order->paths;
    struct path_list pruned = {0};
    while (list.count > 0) {
        uint32_t path = list_take_first(paths, &list);
        uint32_t tail = paths->segments.items[path].tail;
        if (order_in_result(order, paths->segments.items[tail].before)) {
            free_path(paths, path);
        } else {
            list_append(paths, &pruned, path);
        }
    }
    return pruned;
}

static uint32_t path_of(struct order_paths *paths, struct branch branch)
{
    return branch.joined != ORDER_NONE ? branch.joined
                                       : add_path(paths, branch.first, branch.before);
}

/* One more path to a reducer that others lead to; run it if these are all. */
static void meet_at_reducer(struct order *order, struct branch branch)
{
    struct order_paths *paths = order->paths;
    uint32_t reducer = branch.current;
    uint32_t path = path_of(paths, branch);
    list_append(paths, view_known(order, reducer), path);
    order->marks[reducer] &= (uint8_t)~ORDER_RUNNABLE;
    if (view_known(order, reducer)->count < order->needed[reducer]) {
        return;
    }
    struct path_list list = prune_list(order, take_known(order, reducer));
    if (list.count < order->needed[reducer]) {
        set_known(order, reducer, list);
    } else if (branch.splits > 1 && list.count > 0) {
        struct branch joined = {branch.splits - 1, reducer, ORDER_NONE, ORDER_NONE, ORDER_NONE};
        joined.joined = join_list(paths, list);
        vec_push(&paths->branches, joined);
    } else {
        execute_list(order, list, reducer);
    }
}

/* Queue a branch for each dependent that has no other dependency. */
static void split_branch(struct order *order, struct branch branch)
{
    struct order_stack *scratch = &order->paths->scratch;
    uint32_t node = branch.current;
    scratch->count = 0;
    for (uint32_t d = order->dependent_start[node]; d < order->dependent_start[node + 1]; d++) {
        if (order_dep_count(order, order->dependents[d]) == 1) {
            vec_push(scratch, order->dependents[d]);
        }
    }
    order_sort(order, scratch->items, scratch->count);
    for (uint32_t i = 0; i < scratch->count; i++) {
        vec_push(&order->paths->branches, (struct branch){branch.splits + 1, scratch->items[i],
                                                          branch.first, node, ORDER_NONE});
    }
}

/* Where the branch has walked as far as it can: at a leaf or a reducer. */
static void end_branch(struct order *order, struct branch branch)
{
    uint32_t node = branch.current;
    if (order_dependent_count(order, node) > 0 && order_paths_known(order, node)) {
        meet_at_reducer(order, branch);
    } else if (order->needed[node] <= 1) {
        execute_branch(order, branch);
    } else {
        order->marks[node] &= (uint8_t)~ORDER_RUNNABLE;
        if (order_dependent_count(order, node) == 0) {
            ASSERT(branch.joined == ORDER_NONE); /* joined paths end at reducers that have some */
            return;
        }
        struct path_list list = {0};
        list_append(order->paths, &list, path_of(order->paths, branch));
        set_known(order, node, list);
    }
}

static void walk_branch(struct order *order, struct branch branch)
{
    for (;;) {
        uint32_t node = branch.current;
        uint32_t dependent_count = order_dependent_count(order, node);
        bool only_way = branch.joined == ORDER_NONE &&
                        (branch.before == ORDER_NONE || order_dep_count(order, node) == 1);
        order->marks[node] |= ORDER_RUNNABLE;
        if (dependent_count == 0 || !only_way) {
            end_branch(order, branch);
            return;
        }
        if (dependent_count > 1) {
            split_branch(order, branch);
            return;
        }
        branch.before = node;
        branch.current = order->dependents[order->dependent_start[node]];
    }
}

static void walk_from(struct order *order, uint32_t node)
{
    struct order_paths *paths = order->paths;
    paths->branches.count = 0;
    vec_push(&paths->branches, (struct branch){0, node, node, ORDER_NONE, ORDER_NONE});
    for (uint32_t i = 0; i < paths->branches.count; i++) {
        walk_branch(order, paths->branches.items[i]);
    }
}

void order_paths_run(struct order *order)
{
    struct order_stack *candidates = &order->paths->candidates;
    while (order->runnable.count > 0) {
        struct order_stack swapped = *candidates;
        *candidates = order->runnable;
        order->runnable = swapped;
        order->runnable.count = 0;
        while (candidates->count > 0) {
            uint32_t node = vec_pop(candidates);
            if ((order->marks[node] & ORDER_RUNNABLE) || order_in_result(order, node)) {
                continue;
            }
            if (order_dependent_count(order, node) == 0) {
                order_add_to_result(order, node);
            } else {
                walk_from(order, node);
            }
        }
    }
}

/* All nodes of a path to `last`, the last one first. */
static void push_path(struct order *order, uint32_t path, uint32_t last, struct order_stack *stack)
{
    const struct segment *segments = order->paths->segments.items;
    struct order_stack *scratch = &order->paths->scratch;
    uint32_t size_before = stack->count;
    scratch->count = 0;
    for (uint32_t s = path; s != ORDER_NONE; s = segments[s].next) {
        vec_push(scratch, s);
    }
    while (scratch->count > 0) {
        vec_push(stack, last);
        push_back_to(order, segments[vec_pop(scratch)], false, stack);
    }
    uint32_t pushes = stack->count - size_before;
    uint64_t left = order->paths->pushes_left;
    order->paths->pushes_left = left > pushes ? left - pushes : 0;
}

void order_paths_take(struct order *order, uint32_t node, struct order_stack *stack)
{
    struct path_list list = take_known(order, node);
    while (list.count > 0) {
        uint32_t path = list_take_first(order->paths, &list);
        if (order->paths->pushes_left > 0) {
            push_path(order, path, node, stack);
        }
        free_path(order->paths, path);
    }
}
