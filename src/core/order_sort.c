/* order_sort.c: the sort key of dask.order, and sorting by it.
 *
 * Long lists are sorted by words from the most significant on: first the numbers, then the name eight
 * bytes at a time. In most graphs thousands of keys tie on all numbers and share a long prefix, which
 * costs one pass a word; comparing whole names pairwise would cost several times as much. */
#include "core/order_internal.h"

enum {
    INSERTION_MAX = 24, /* lists up to this length are sorted by insertion */
    NUMBER_WORDS = 3,   /* words of the sort key before the name */
};

bool order_before(const struct order *order, uint32_t a, uint32_t b)
{
    const struct order_node *node_a = &order->nodes[a];
    const struct order_node *node_b = &order->nodes[b];
    if (node_a->total != node_b->total) {
        return node_a->total < node_b->total;
    }
    if (node_a->dep_count != node_b->dep_count) {
        return node_a->dep_count < node_b->dep_count;
    }
    if (node_a->root_count != node_b->root_count) {
        return node_a->root_count < node_b->root_count;
    }
    if (node_a->max_dependents != node_b->max_dependents) {
        return node_a->max_dependents > node_b->max_dependents;
    }
    int names = span_compare(order->graph->names[a], order->graph->names[b]);
    return names != 0 ? names < 0 : a < b;
}

struct item {
    uint64_t word;
    uint32_t id;
};

/* Items [from, to) agree on all words before `depth`. */
struct run {
    uint32_t from;
    uint32_t to;
    uint32_t depth;
};

struct sorter {
    const struct order_words *words;
    struct item *items;
    struct item *spare;
    struct VEC(struct run) runs; /* still to be sorted */
};

/* Read the words at run.depth. Returns the bits in which they differ; *out_deeper: is there any word
 * at this depth or below? */
static uint64_t load_words(struct sorter *sorter, struct run run, bool *out_deeper)
{
    const struct order_words *words = sorter->words;
    uint64_t differ = 0;
    *out_deeper = false;
    for (uint32_t i = run.from; i < run.to; i++) {
        struct item *item = &sorter->items[i];
        bool has_word = run.depth <= words->depth_max(words->context, item->id);
        item->word = has_word ? words->word(words->context, item->id, run.depth) : 0;
        *out_deeper |= has_word;
        differ |= item->word ^ sorter->items[run.from].word;
    }
    return differ;
}

static void sort_by_insertion(struct item *items, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct item item = items[i];
        uint32_t place = i;
        for (; place > 0 && items[place - 1].word > item.word; place--) {
            items[place] = items[place - 1];
        }
        items[place] = item;
    }
}

/* One pass of a radix sort: items to spare, stably, by the byte at `shift`. */
static void distribute(const struct item *items, struct item *spare, uint32_t count, uint32_t shift)
{
    uint32_t place[256] = {0};
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        place[items[i].word >> shift & 255]++;
    }
    for (uint32_t digit = 0; digit < 256; digit++) {
        uint32_t digit_count = place[digit];
        place[digit] = sum;
        sum += digit_count;
    }
    for (uint32_t i = 0; i < count; i++) {
        spare[place[items[i].word >> shift & 255]++] = items[i];
    }
}

/* `differ`: bits in which the words differ; the bytes without any need no pass. */
static void sort_by_radix(struct sorter *sorter, struct run run, uint64_t differ)
{
    uint32_t count = run.to - run.from;
    struct item *items = sorter->items + run.from;
    for (uint32_t shift = 0; shift < 64; shift += 8) {
        if ((differ >> shift & 255) != 0) {
            distribute(items, sorter->spare, count, shift);
            memcpy(items, sorter->spare, count * sizeof *items);
        }
    }
}

/* Queue each stretch of equal words for the next depth. */
static void split_run(struct sorter *sorter, struct run run)
{
    uint32_t from = run.from;
    for (uint32_t i = run.from + 1; i <= run.to; i++) {
        if (i == run.to || sorter->items[i].word != sorter->items[from].word) {
            if (i - from > 1) {
                vec_push(&sorter->runs, (struct run){from, i, run.depth + 1});
            }
            from = i;
        }
    }
}

static void sort_run(struct sorter *sorter, struct run run)
{
    bool deeper;
    uint64_t differ = load_words(sorter, run, &deeper);
    if (differ != 0) {
        if (run.to - run.from <= INSERTION_MAX) {
            sort_by_insertion(sorter->items + run.from, run.to - run.from);
        } else {
            sort_by_radix(sorter, run, differ);
        }
    }
    if (deeper) {
        split_run(sorter, run);
    }
}

void order_sort_words(const struct order_words *words, uint32_t *ids, uint32_t count)
{
    if (count < 2) {
        return;
    }
    struct sorter sorter = {.words = words};
    sorter.items = mem_alloc(count * sizeof *sorter.items);
    sorter.spare = mem_alloc(count * sizeof *sorter.spare);
    for (uint32_t i = 0; i < count; i++) {
        sorter.items[i].id = ids[i];
    }
    vec_push(&sorter.runs, (struct run){0, count, 0});
    while (sorter.runs.count > 0) {
        struct run run = vec_pop(&sorter.runs);
        ASSERT(run.from < run.to && run.to <= count);
        sort_run(&sorter, run);
    }
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = sorter.items[i].id;
    }
    vec_fini(&sorter.runs);
    mem_free(sorter.spare);
    mem_free(sorter.items);
}

static uint32_t key_depth_max(const void *context, uint32_t node)
{
    const struct order *order = context;
    return NUMBER_WORDS + (uint32_t)(order->graph->names[node].size / 8);
}

static uint64_t name_word(struct span name, size_t offset)
{
    uint64_t word = 0;
    if (name.size - offset >= sizeof word) {
        memcpy(&word, name.data + offset, sizeof word);
        return __builtin_bswap64(word); /* the first byte weighs most */
    }
    for (size_t i = 0; i < sizeof word; i++) {
        word = word << 8 | (offset + i < name.size ? name.data[offset + i] : 0);
    }
    return word;
}

static uint64_t key_word(const void *context, uint32_t node, uint32_t depth)
{
    const struct order *order = context;
    const struct order_node *numbers = &order->nodes[node];
    switch (depth) {
    case 0:
        return numbers->total;
    case 1:
        return (uint64_t)numbers->dep_count << 32 | numbers->root_count;
    case 2:
        return UINT32_MAX - numbers->max_dependents;
    default:
        return name_word(order->graph->names[node], (size_t)(depth - NUMBER_WORDS) * 8);
    }
}

void order_sort(const struct order *order, uint32_t *nodes, uint32_t count)
{
    if (count > INSERTION_MAX) {
        struct order_words words = {order, key_word, key_depth_max};
        order_sort_words(&words, nodes, count);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        uint32_t node = nodes[i];
        uint32_t place = i;
        for (; place > 0 && order_before(order, node, nodes[place - 1]); place--) {
            nodes[place] = nodes[place - 1];
        }
        nodes[place] = node;
    }
}
