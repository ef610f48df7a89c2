/* order_roots.c: which roots each node needs, as sets of root numbers; and which leaves need the same.
 *
 * Walks the nodes with each after its dependencies. A set lives until the last dependent of the nodes
 * that share it is done, so memory holds a front of the graph, not all of it. Roots are numbered in
 * the order in which a depth-first search from the leaves meets them: what is needed together is
 * numbered together, and sets are short runs of bits. Knowing all roots of all nodes is quadratic in
 * general, hence a budget; when it is spent, sets are dropped and their sizes estimated instead.
 * Must agree with: dask/order.py, _connecting_to_roots. */
#include "core/order_internal.h"

#define SINGLE                                                                                     \
    (UINT32_C(1) << 31) /* a set reference: SINGLE + the only member, or index of a set */

struct finder {
    struct order *order;
    uint32_t *pending; /* dependents that still need the node's set */
    struct VEC(struct order_set) sets;
    uint32_t free_set;   /* first unused entry of sets; the next in its refs */
    uint32_t *slots;     /* hash table over classes: 1 + index; 0 is empty */
    uint32_t slot_count; /* power of two, at least twice the leaves */
    uint64_t *bits;      /* the union being made: one bit a root, */
    uint64_t *summary;   /* and one for each word of bits that is not 0 */
    uint64_t words_spent;
    uint64_t words_live;
    bool given_up;
};

static struct order_set view_set(const struct finder *finder, uint32_t reference)
{
    if (reference >= SINGLE) {
        uint32_t root = reference - SINGLE;
        return (struct order_set){.count = 1, .low = root, .high = root};
    }
    ASSERT(reference < finder->sets.count);
    return finder->sets.items[reference];
}

/* What a set takes, in words: its members, itself and what the allocator adds. */
static uint32_t set_cost(const struct order_set *set)
{
    return order_set_size(set) + sizeof *set / sizeof(uint64_t) + 2;
}

static void *take_words(struct finder *finder, const struct order_set *set)
{
    finder->words_live += set_cost(set);
    return mem_alloc(order_set_size(set) * sizeof(uint64_t));
}

static uint32_t add_set(struct finder *finder, struct order_set set)
{
    uint32_t index = finder->free_set;
    if (index == ORDER_NONE) {
        index = finder->sets.count;
        ASSERT(index < SINGLE);
        vec_push(&finder->sets, set);
    } else {
        finder->free_set = finder->sets.items[index].refs;
        finder->sets.items[index] = set;
    }
    return index;
}

static void drop_set(struct finder *finder, uint32_t reference)
{
    if (reference >= SINGLE) {
        return;
    }
    ASSERT(reference < finder->sets.count);
    struct order_set *set = &finder->sets.items[reference];
    ASSERT(set->refs > 0);
    if (--set->refs > 0) {
        return;
    }
    if (set->list != NULL) {
        finder->words_live -= set_cost(set);
        mem_free(set->list);
    }
    *set = (struct order_set){.refs = finder->free_set};
    finder->free_set = reference;
}

static uint32_t share_set(struct finder *finder, uint32_t reference)
{
    if (reference < SINGLE) {
        ASSERT(reference < finder->sets.count);
        finder->sets.items[reference].refs++;
    }
    return reference;
}

/* Set bits [from, to] of `bits`. */
static void set_range(uint64_t *bits, uint32_t from, uint32_t to)
{
    for (uint32_t word = from / 64; word <= to / 64; word++) {
        uint64_t mask = UINT64_MAX;
        if (word == from / 64) {
            mask &= UINT64_MAX << from % 64;
        }
        if (word == to / 64) {
            mask &= UINT64_MAX >> (63 - to % 64);
        }
        bits[word] |= mask;
    }
}

static void set_bit(struct finder *finder, uint32_t root)
{
    finder->bits[root / 64] |= UINT64_C(1) << root % 64;
    finder->summary[root / 4096] |= UINT64_C(1) << root / 64 % 64;
}

/* The union takes in `set`. */
static void unite(struct finder *finder, const struct order_set *set)
{
    finder->words_spent += order_set_size(set);
    if (set->count == 1) {
        set_bit(finder, set->low);
    } else if (order_set_is_list(set)) {
        for (uint32_t i = 0; i < set->count; i++) {
            set_bit(finder, set->list[i]);
        }
    } else {
        uint64_t *bits = finder->bits + set->low / 64;
        uint32_t word_count = order_set_word_count(set);
        for (uint32_t i = 0; i < word_count; i++) {
            bits[i] |= set->bits[i];
        }
        set_range(finder->summary, set->low / 64, set->high / 64);
    }
}

/* Bits set in words[0..count): counts of eight bytes side by side, added up every 16 words. */
static uint32_t count_bits(const uint64_t *words, uint32_t count)
{
    const uint64_t every_2nd = UINT64_MAX / 3, every_4th = UINT64_MAX / 5;
    const uint64_t nibbles = UINT64_MAX / 17, bytes = UINT64_MAX / 257;
    uint32_t total = 0;
    for (uint32_t from = 0; from < count; from += 16) {
        uint64_t sums = 0; /* a byte holds at most 16 × 8 */
        uint32_t to = count - from < 16 ? count : from + 16;
        for (uint32_t i = from; i < to; i++) {
            uint64_t word = words[i] - (words[i] >> 1 & every_2nd);
            word = (word & every_4th) + (word >> 2 & every_4th);
            sums += (word + (word >> 4)) & nibbles;
        }
        sums = (sums & bytes) + (sums >> 8 & bytes);
        total += (uint32_t)(sums * (UINT64_MAX / 65535) >> 48);
    }
    return total;
}

/* The next stretch of words of the union that may hold bits, at or after *word; up to 64 of them. */
static bool next_words(const struct finder *finder, uint32_t *word, uint32_t last,
                       uint32_t *out_count)
{
    while (*word <= last) {
        uint64_t rest = finder->summary[*word / 64] >> *word % 64;
        if (rest != 0) {
            *word += (uint32_t)__builtin_ctzll(rest);
            rest = ~(finder->summary[*word / 64] >> *word % 64);
            *out_count = rest == 0 ? 64 : (uint32_t)__builtin_ctzll(rest);
            return *word <= last;
        }
        *word = (*word / 64 + 1) * 64;
    }
    return false;
}

static uint32_t count_union(const struct finder *finder, uint32_t low, uint32_t high)
{
    uint32_t count = 0;
    uint32_t stretch;
    for (uint32_t word = low / 64; next_words(finder, &word, high / 64, &stretch);
         word += stretch) {
        count += count_bits(finder->bits + word, stretch);
    }
    return count;
}

/* Move the union out of the finder into `set` (NULL: nowhere), whose numbers are filled in. */
static void empty_union(struct finder *finder, struct order_set *set, uint32_t low, uint32_t high)
{
    uint32_t stretch;
    uint32_t place = 0;
    bool list = set != NULL && order_set_is_list(set);
    if (set != NULL && !list) {
        memcpy(set->bits, finder->bits + low / 64, order_set_word_count(set) * sizeof *set->bits);
    }
    for (uint32_t word = low / 64; next_words(finder, &word, high / 64, &stretch);
         word += stretch) {
        for (uint32_t i = word; list && i < word + stretch; i++) {
            for (uint64_t left = finder->bits[i]; left != 0; left &= left - 1) {
                set->list[place++] = i * 64 + (uint32_t)__builtin_ctzll(left);
            }
        }
        memset(finder->bits + word, 0, stretch * sizeof *finder->bits);
    }
    ASSERT(!list || place == set->count);
    memset(finder->summary + low / 4096, 0,
           (high / 4096 - low / 4096 + 1) * sizeof *finder->summary);
}

/* What the sets of a node's dependencies look like. */
struct survey {
    uint32_t largest; /* reference of the largest */
    uint32_t count;   /* its members */
    uint32_t low;
    uint32_t high;
    bool all_same;
};

static struct survey survey_deps(const struct finder *finder, const uint32_t *deps,
                                 uint32_t dep_count)
{
    const uint32_t *sets = finder->order->sets;
    struct survey survey = {.low = UINT32_MAX, .all_same = true};
    uint32_t before = ORDER_NONE;
    for (uint32_t i = 0; i < dep_count; i++) {
        if (sets[deps[i]] == before) {
            continue;
        }
        struct order_set set = view_set(finder, sets[deps[i]]);
        survey.all_same = before == ORDER_NONE;
        survey.low = set.low < survey.low ? set.low : survey.low;
        survey.high = set.high > survey.high ? set.high : survey.high;
        if (set.count > survey.count) {
            survey.count = set.count;
            survey.largest = sets[deps[i]];
        }
        before = sets[deps[i]];
    }
    return survey;
}

/* A reference to the set of roots that dependencies need together. */
static uint32_t unite_deps(struct finder *finder, const uint32_t *deps, uint32_t dep_count)
{
    const uint32_t *sets = finder->order->sets;
    struct survey survey = survey_deps(finder, deps, dep_count);
    if (survey.all_same || survey.count == finder->order->root_total) {
        return share_set(finder, survey.largest);
    }
    uint32_t before = ORDER_NONE;
    for (uint32_t i = 0; i < dep_count; i++) {
        if (sets[deps[i]] != before) {
            struct order_set set = view_set(finder, sets[deps[i]]);
            unite(finder, &set);
            before = sets[deps[i]];
        }
    }
    struct order_set set = {.low = survey.low, .high = survey.high, .refs = 1};
    set.count = count_union(finder, set.low, set.high);
    ASSERT(set.count >= survey.count);
    if (set.count == survey.count) {
        empty_union(finder, NULL, set.low, set.high);
        return share_set(finder, survey.largest);
    }
    set.list = take_words(finder, &set);
    empty_union(finder, &set, set.low, set.high);
    return add_set(finder, set);
}

static uint64_t hash_set(const struct order_set *set)
{
    if (set->count == 1) {
        return set->low * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    }
    size_t size = order_set_is_list(set) ? set->count * sizeof *set->list
                                         : order_set_word_count(set) * sizeof *set->bits;
    return span_hash(span_of(set->list, size));
}

/* The class of a leaf with this set of roots; takes the reference. */
static uint32_t class_of(struct finder *finder, uint32_t reference)
{
    struct order *order = finder->order;
    struct order_set set = view_set(finder, reference);
    uint64_t slot = hash_set(&set);
    uint32_t *entry = &finder->slots[slot & (finder->slot_count - 1)];
    while (*entry != 0 && !order_set_equal(&order->classes.items[*entry - 1].roots, &set)) {
        entry = &finder->slots[++slot & (finder->slot_count - 1)];
    }
    if (*entry != 0) {
        drop_set(finder, reference);
    } else {
        /* The class keeps the reference, so what it views stays where it is. */
        struct leaf_class made = {.heap_place = ORDER_NONE, .roots = set};
        vec_push(&order->classes, made);
        *entry = order->classes.count;
    }
    order->classes.items[*entry - 1].size++;
    return *entry - 1;
}

/* The union of random sets of these sizes among all roots: exact for none, near for most. */
static uint32_t estimate_root_count(const struct order *order, uint32_t node)
{
    uint32_t largest = 1;
    double missed = 1; /* share of the roots that no dependency needs */
    for (uint32_t d = order->dep_start[node]; d < order->dep_start[node + 1]; d++) {
        uint32_t count = order->nodes[order->deps[d]].root_count;
        count = count == 0 ? 1 : count;
        largest = count > largest ? count : largest;
        missed *= 1 - (double)count / order->root_total;
    }
    double estimate = order->root_total * (1 - missed) + 0.5;
    return estimate < largest ? largest : (uint32_t)estimate;
}

static void drop_classes(struct order *order)
{
    vec_fini(&order->classes);
    order->classes_known = false;
}

static void check_budget(struct finder *finder)
{
    const struct order_budget *budget = &finder->order->budget;
    if (finder->words_spent > budget->root_words ||
        finder->words_live * sizeof(uint64_t) > budget->root_bytes) {
        finder->given_up = true;
        drop_classes(finder->order);
    }
}

static void find_node(struct finder *finder, uint32_t node)
{
    struct order *order = finder->order;
    const uint32_t *deps = order->deps + order->dep_start[node];
    uint32_t dep_count = order_dep_count(order, node);
    if (dep_count == 0) {
        return; /* a root: its count is 0 by definition */
    }
    if (finder->given_up) {
        order->nodes[node].root_count = estimate_root_count(order, node);
        return;
    }
    uint32_t reference = unite_deps(finder, deps, dep_count);
    order->nodes[node].root_count = view_set(finder, reference).count;
    order->sets[node] = reference;
    for (uint32_t i = 0; i < dep_count; i++) {
        ASSERT(finder->pending[deps[i]] > 0);
        if (--finder->pending[deps[i]] == 0) {
            drop_set(finder, order->sets[deps[i]]);
        }
    }
    if (order_dependent_count(order, node) == 0) {
        order->sets[node] = class_of(finder, reference);
    }
    check_budget(finder);
}

/* Number the roots as a depth-first search from the leaves meets them. */
static void number_roots(struct finder *finder)
{
    struct order *order = finder->order;
    uint32_t *stack = mem_alloc(((size_t)order->node_count + 1) * sizeof *stack);
    memset(finder->pending, 0,
           order->node_count * sizeof *finder->pending); /* 1: was on the stack */
    order->root_total = 0;
    for (uint32_t leaf = 0; leaf < order->node_count; leaf++) {
        if (order_dependent_count(order, leaf) > 0 || order->marks[leaf] == ORDER_DATA) {
            continue;
        }
        uint32_t depth = 1;
        stack[0] = leaf;
        while (depth > 0) {
            uint32_t node = stack[--depth];
            if (order_dep_count(order, node) == 0) {
                order->sets[node] = SINGLE + order->root_total++;
            }
            for (uint32_t d = order->dep_start[node + 1]; d > order->dep_start[node]; d--) {
                uint32_t dep = order->deps[d - 1];
                if (finder->pending[dep] == 0) {
                    finder->pending[dep] = 1;
                    stack[depth++] = dep;
                }
            }
        }
    }
    ASSERT(order->root_total < SINGLE - 1); /* so that no reference is ORDER_NONE */
    mem_free(stack);
}

static void finder_init(struct finder *finder, struct order *order)
{
    *finder = (struct finder){.order = order, .free_set = ORDER_NONE, .slot_count = 16};
    finder->pending = mem_alloc(((size_t)order->node_count + 1) * sizeof *finder->pending);
    number_roots(finder);
    for (uint32_t node = 0; node < order->node_count; node++) {
        finder->pending[node] = order_dependent_count(order, node);
    }
    finder->bits = mem_zalloc(order->root_total / 64 + 1, sizeof *finder->bits);
    finder->summary = mem_zalloc(order->root_total / 4096 + 1, sizeof *finder->summary);
    while (finder->slot_count < 2 * (uint64_t)order->leaf_count) {
        finder->slot_count *= 2;
    }
    finder->slots = mem_zalloc(finder->slot_count, sizeof *finder->slots);
}

static void finder_fini(struct finder *finder)
{
    for (uint32_t i = 0; i < finder->sets.count; i++) {
        mem_free(finder->sets.items[i].list);
    }
    vec_fini(&finder->sets);
    mem_free(finder->slots);
    mem_free(finder->summary);
    mem_free(finder->bits);
    mem_free(finder->pending);
}

/* Reserve each root's set of classes, whose count, low and high are known, in one piece of memory. */
static void place_root_classes(struct order *order)
{
    size_t word_count = 1;
    for (uint32_t root = 0; root < order->root_total; root++) {
        struct order_set *set = &order->root_classes[root];
        word_count += set->count > 1 ? order_set_size(set) : 0;
    }
    order->root_class_bits = mem_zalloc(word_count, sizeof *order->root_class_bits);
    word_count = 0;
    for (uint32_t root = 0; root < order->root_total; root++) {
        struct order_set *set = &order->root_classes[root];
        if (set->count > 1) {
            set->bits = order->root_class_bits + word_count;
            word_count += order_set_size(set);
        }
    }
}

static void count_root_class(struct order_set *set, uint32_t class_number)
{
    set->low = set->count == 0 ? class_number : set->low;
    set->high = class_number;
    set->count++;
}

static void fill_root_class(struct order_set *set, uint32_t class_number)
{
    if (set->count == 1) {
        return;
    }
    if (order_set_is_list(set)) {
        set->list[set->refs++] = class_number; /* refs: how many are filled in */
    } else {
        set->bits[class_number / 64 - set->low / 64] |= UINT64_C(1) << class_number % 64;
    }
}

static void for_each_root(struct order *order,
                          void (*visit)(struct order_set *set, uint32_t number))
{
    for (uint32_t number = 0; number < order->classes.count; number++) {
        const struct order_set *roots = &order->classes.items[number].roots;
        struct order_set_cursor cursor = {0};
        uint32_t root;
        while (order_set_next(roots, &cursor, &root)) {
            visit(&order->root_classes[root], number);
        }
    }
}

/* From the roots of each class to the classes of each root. */
static void turn_classes(struct order *order)
{
    uint64_t visits = 0;
    for (uint32_t number = 0; number < order->classes.count; number++) {
        visits += order->classes.items[number].roots.count;
    }
    if (visits > order->budget.leaf_visits) {
        drop_classes(order);
        return;
    }
    order->root_classes = mem_zalloc((size_t)order->root_total + 1, sizeof *order->root_classes);
    for_each_root(order, count_root_class);
    place_root_classes(order);
    for_each_root(order, fill_root_class);
}

void order_find_roots(struct order *order, const uint32_t *sorted)
{
    struct finder finder;
    finder_init(&finder, order);
    order->classes_known = true;
    for (uint32_t i = 0; i < order->linked_count; i++) {
        find_node(&finder, sorted[i]);
    }
    if (order->classes_known) {
        turn_classes(order);
    }
    finder_fini(&finder);
    for (uint32_t node = 0; node < order->node_count; node++) {
        if (order->sets[node] >= SINGLE) {
            order->sets[node] -= SINGLE;
        }
    }
}
