/* order_total.c: a table of distinct large numbers, added word by word. In regular graphs most nodes
 * of a layer share theirs, so the table stays far smaller than the graph. */
#include "core/order_total.h"

#include "core/order_internal.h"

enum {
    WORDS_MAX_LATE = 3,      /* precision once the table is large */
    WORDS_FREE = 128 * 1024, /* words before that, */
    WORDS_FREE_PER_NODE = 2, /* and as many more for each node */
    SLOTS_MIN = 1024,
};

void order_totals_init(struct order_totals *totals, uint32_t node_count)
{
    memset(totals, 0, sizeof *totals);
    uint64_t soft_max = WORDS_FREE + (uint64_t)node_count * WORDS_FREE_PER_NODE;
    totals->words_soft_max = soft_max < UINT32_MAX / 2 ? (uint32_t)soft_max : UINT32_MAX / 2;
}

void order_totals_fini(struct order_totals *totals)
{
    vec_fini(&totals->numbers);
    vec_fini(&totals->words);
    mem_free(totals->slots);
    mem_free(totals->ranks);
}

/* A number that was taken out of the table, or never was in it. */
struct view {
    const uint64_t *words; /* least first */
    uint32_t count;
    uint32_t exponent;
};

static struct view view_number(const struct order_totals *totals, uint32_t index)
{
    ASSERT(index + 1 < totals->numbers.count);
    const struct order_number *number = &totals->numbers.items[index];
    return (struct view){totals->words.items + number->offset, number[1].offset - number->offset,
                         number->exponent};
}

/* The number behind a total; *small is room for one that is its own number. */
static struct view view_total(const struct order_totals *totals, uint64_t total, uint64_t *small)
{
    if (total < ORDER_TOTAL_BIG) {
        *small = total;
        return (struct view){small, 1, 0};
    }
    return view_number(totals, (uint32_t)(total - ORDER_TOTAL_BIG));
}

/* sum += number, dropping what lies below the sum's exponent. */
static void sum_add(struct order_totals *totals, struct view number)
{
    ASSERT(number.exponent <= totals->sum_exponent);
    uint64_t carry = 0;
    uint32_t skip = totals->sum_exponent - number.exponent;
    uint32_t place = 0;
    for (uint32_t i = skip; i < number.count || carry != 0; i++, place++) {
        ASSERT(place < ORDER_TOTAL_WORDS_MAX + 2);
        uint64_t word = i < number.count ? number.words[i] : 0;
        uint64_t with_carry = word + carry;
        carry = with_carry < word;
        totals->sum[place] += with_carry;
        carry += totals->sum[place] < with_carry;
    }
    totals->sum_count = place > totals->sum_count ? place : totals->sum_count;
}

static uint64_t hash_number(struct view number)
{
    return span_hash(span_of(number.words, number.count * sizeof *number.words)) + number.exponent;
}

static uint32_t number_count(const struct order_totals *totals)
{
    return totals->numbers.count == 0 ? 0 : totals->numbers.count - 1;
}

static void grow_slots(struct order_totals *totals)
{
    uint32_t slot_count = totals->slot_count == 0 ? SLOTS_MIN : totals->slot_count * 2;
    mem_free(totals->slots);
    totals->slots = mem_zalloc(slot_count, sizeof *totals->slots);
    totals->slot_count = slot_count;
    for (uint32_t i = 0; i < number_count(totals); i++) {
        uint64_t slot = hash_number(view_number(totals, i));
        while (totals->slots[slot & (slot_count - 1)] != 0) {
            slot++;
        }
        totals->slots[slot & (slot_count - 1)] = i + 1;
    }
}

static bool numbers_equal(struct view a, struct view b)
{
    return a.count == b.count && a.exponent == b.exponent &&
           memcmp(a.words, b.words, a.count * sizeof *a.words) == 0;
}

/* Append the number to the table; returns its index. */
static uint32_t add_number(struct order_totals *totals, struct view number)
{
    if (totals->numbers.count == 0) {
        vec_push(&totals->numbers, (struct order_number){0});
    }
    uint32_t index = totals->numbers.count - 1;
    vec_reserve(&totals->words, number.count);
    memcpy(totals->words.items + totals->words.count, number.words,
           number.count * sizeof *number.words);
    totals->words.count += number.count;
    totals->numbers.items[index].exponent = number.exponent;
    vec_push(&totals->numbers, (struct order_number){.offset = totals->words.count});
    return index;
}

/* The slot of the sum, or the one it would get. */
static uint32_t *find_slot(const struct order_totals *totals)
{
    struct view sum = {totals->sum, totals->sum_count, totals->sum_exponent};
    uint64_t slot = hash_number(sum);
    uint32_t *entry = &totals->slots[slot & (totals->slot_count - 1)];
    while (*entry != 0 && !numbers_equal(view_number(totals, *entry - 1), sum)) {
        entry = &totals->slots[++slot & (totals->slot_count - 1)];
    }
    return entry;
}

/* Drop the lowest words of a sum that is too long; false if it is not. */
static bool sum_trim(struct order_totals *totals)
{
    bool late = totals->words.count >= totals->words_soft_max;
    uint32_t count_max = late ? WORDS_MAX_LATE : ORDER_TOTAL_WORDS_MAX;
    if (totals->sum_count <= count_max) {
        return false;
    }
    uint32_t dropped = totals->sum_count - count_max;
    memmove(totals->sum, totals->sum + dropped, count_max * sizeof *totals->sum);
    totals->sum_count = count_max;
    totals->sum_exponent += dropped;
    return true;
}

/* The sum's name; it is added to the table if it is new. A sum that is there already keeps its full
 * length: equal nodes stay equal when precision falls between the two. */
static uint64_t sum_name(struct order_totals *totals)
{
    if (number_count(totals) >= totals->slot_count / 2) {
        grow_slots(totals);
    }
    uint32_t *entry = find_slot(totals);
    if (*entry == 0 && sum_trim(totals)) {
        entry = find_slot(totals);
    }
    if (*entry == 0) {
        struct view sum = {totals->sum, totals->sum_count, totals->sum_exponent};
        *entry = add_number(totals, sum) + 1;
    }
    return ORDER_TOTAL_BIG + *entry - 1;
}

static uint64_t sum_large(struct order_totals *totals, const struct order_node *nodes,
                          const uint32_t *ids, uint32_t count)
{
    uint64_t small;
    memset(totals->sum, 0, sizeof totals->sum);
    totals->sum_count = 0;
    totals->sum_exponent = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct view number = view_total(totals, nodes[ids[i]].total, &small);
        if (number.exponent > totals->sum_exponent) {
            totals->sum_exponent = number.exponent;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        sum_add(totals, view_total(totals, nodes[ids[i]].total, &small));
    }
    sum_add(totals, view_total(totals, 1, &small));
    return sum_name(totals);
}

uint64_t order_totals_sum(struct order_totals *totals, const struct order_node *nodes,
                          const uint32_t *ids, uint32_t count)
{
    uint64_t sum = 1;
    for (uint32_t i = 0; i < count; i++) {
        sum += nodes[ids[i]].total; /* both are below 2^63, or we leave */
        if (nodes[ids[i]].total >= ORDER_TOTAL_BIG || sum >= ORDER_TOTAL_BIG) {
            return sum_large(totals, nodes, ids, count);
        }
    }
    return sum;
}

static uint32_t number_depth_max(const void *context, uint32_t index)
{
    return view_number(context, index).count - 1;
}

/* The words from the greatest on. */
static uint64_t number_word(const void *context, uint32_t index, uint32_t depth)
{
    struct view number = view_number(context, index);
    return number.words[number.count - 1 - depth];
}

static uint32_t number_size(const struct order_totals *totals, uint32_t index)
{
    struct view number = view_number(totals, index);
    return number.count + number.exponent;
}

/* All numbers by their size in words; out_start[size + 1] is where the larger ones begin. */
static void sort_by_size(const struct order_totals *totals, uint32_t *out_sorted,
                         uint32_t *out_start, uint32_t size_max)
{
    uint32_t count = number_count(totals);
    for (uint32_t i = 0; i < count; i++) {
        out_start[number_size(totals, i) + 2]++;
    }
    for (uint32_t size = 0; size <= size_max; size++) {
        out_start[size + 2] += out_start[size + 1];
    }
    for (uint32_t i = 0; i < count; i++) {
        out_sorted[out_start[number_size(totals, i) + 1]++] = i;
    }
}

void order_totals_rank(struct order_totals *totals)
{
    uint32_t count = number_count(totals);
    uint32_t size_max = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = number_size(totals, i);
        size_max = size > size_max ? size : size_max;
    }
    mem_free(totals->slots);
    totals->slots = NULL;
    totals->slot_count = 0;

    /* Size by size: sorting all at once would take several times the memory. */
    uint32_t *sorted = mem_alloc(((size_t)count + 1) * sizeof *sorted);
    uint32_t *start = mem_zalloc((size_t)size_max + 3, sizeof *start);
    sort_by_size(totals, sorted, start, size_max);
    struct order_words words = {totals, number_word, number_depth_max};
    for (uint32_t size = 0; size <= size_max; size++) {
        order_sort_words(&words, sorted + start[size], start[size + 1] - start[size]);
    }
    totals->ranks = mem_alloc(((size_t)count + 1) * sizeof *totals->ranks);
    for (uint32_t rank = 0; rank < count; rank++) {
        totals->ranks[sorted[rank]] = rank;
    }
    mem_free(start);
    mem_free(sorted);
}
