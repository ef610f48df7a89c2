/* order_total.c: a table of distinct large numbers, added word by word. In regular graphs most nodes
 * of a layer share theirs, so the table stays far smaller than the graph. */
#include "core/order_total.h"

#include "core/order_internal.h"

enum {
    WORDS_MAX_LATE = 4,      /* precision once the table is large */
    WORDS_FREE = 64 * 1024,  /* words before that, */
    WORDS_FREE_PER_NODE = 4, /* and as many more for each node */
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

/* The words of a total, least first; *small is room for one that is its own number. */
static struct order_number view_number(const struct order_totals *totals, uint64_t total,
                                       uint64_t *small, const uint64_t **out_words)
{
    if (total < ORDER_TOTAL_BIG) {
        *small = total;
        *out_words = small;
        return (struct order_number){0, 1, 0};
    }
    ASSERT(total - ORDER_TOTAL_BIG < totals->numbers.count);
    struct order_number number = totals->numbers.items[total - ORDER_TOTAL_BIG];
    *out_words = totals->words.items + number.offset;
    return number;
}

/* sum += words, dropping what lies below the sum's exponent. */
static void sum_add(struct order_totals *totals, struct order_number number, const uint64_t *words)
{
    ASSERT(number.exponent <= totals->sum_exponent);
    uint64_t carry = 0;
    uint32_t skip = totals->sum_exponent - number.exponent;
    uint32_t place = 0;
    for (uint32_t i = skip; i < number.count || carry != 0; i++, place++) {
        ASSERT(place < ORDER_TOTAL_WORDS_MAX + 2);
        uint64_t word = i < number.count ? words[i] : 0;
        uint64_t with_carry = word + carry;
        carry = with_carry < word;
        totals->sum[place] += with_carry;
        carry += totals->sum[place] < with_carry;
    }
    totals->sum_count = place > totals->sum_count ? place : totals->sum_count;
}

/* Drop the lowest words of a sum that is too long. */
static void sum_trim(struct order_totals *totals)
{
    bool late = totals->words.count >= totals->words_soft_max;
    uint32_t count_max = late ? WORDS_MAX_LATE : ORDER_TOTAL_WORDS_MAX;
    if (totals->sum_count > count_max) {
        uint32_t dropped = totals->sum_count - count_max;
        memmove(totals->sum, totals->sum + dropped, count_max * sizeof *totals->sum);
        totals->sum_count = count_max;
        totals->sum_exponent += dropped;
    }
}

static uint64_t hash_words(const uint64_t *words, uint32_t count, uint32_t exponent)
{
    return span_hash(span_of(words, count * sizeof *words)) + exponent;
}

static void grow_slots(struct order_totals *totals)
{
    uint32_t slot_count = totals->slot_count == 0 ? SLOTS_MIN : totals->slot_count * 2;
    mem_free(totals->slots);
    totals->slots = mem_zalloc(slot_count, sizeof *totals->slots);
    totals->slot_count = slot_count;
    for (uint32_t i = 0; i < totals->numbers.count; i++) {
        struct order_number number = totals->numbers.items[i];
        const uint64_t *words = totals->words.items + number.offset;
        uint64_t slot = hash_words(words, number.count, number.exponent);
        while (totals->slots[slot & (slot_count - 1)] != 0) {
            slot++;
        }
        totals->slots[slot & (slot_count - 1)] = i + 1;
    }
}

static bool is_sum(const struct order_totals *totals, struct order_number number)
{
    return number.count == totals->sum_count && number.exponent == totals->sum_exponent &&
           memcmp(totals->words.items + number.offset, totals->sum,
                  number.count * sizeof *totals->sum) == 0;
}

/* The sum's name; it is added to the table if it is new. */
static uint64_t sum_name(struct order_totals *totals)
{
    if (totals->numbers.count >= totals->slot_count / 2) {
        grow_slots(totals);
    }
    uint64_t slot = hash_words(totals->sum, totals->sum_count, totals->sum_exponent);
    uint32_t *entry = &totals->slots[slot & (totals->slot_count - 1)];
    while (*entry != 0) {
        if (is_sum(totals, totals->numbers.items[*entry - 1])) {
            return ORDER_TOTAL_BIG + *entry - 1;
        }
        entry = &totals->slots[++slot & (totals->slot_count - 1)];
    }
    struct order_number number = {totals->words.count, totals->sum_count, totals->sum_exponent};
    vec_reserve(&totals->words, totals->sum_count);
    memcpy(totals->words.items + number.offset, totals->sum,
           totals->sum_count * sizeof *totals->sum);
    totals->words.count += totals->sum_count;
    vec_push(&totals->numbers, number);
    *entry = totals->numbers.count;
    return ORDER_TOTAL_BIG + totals->numbers.count - 1;
}

static uint64_t sum_large(struct order_totals *totals, const struct order_node *nodes,
                          const uint32_t *ids, uint32_t count)
{
    uint64_t small = 1;
    const uint64_t *words;
    memset(totals->sum, 0, sizeof totals->sum);
    totals->sum_count = 0;
    totals->sum_exponent = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct order_number number = view_number(totals, nodes[ids[i]].total, &small, &words);
        if (number.exponent > totals->sum_exponent) {
            totals->sum_exponent = number.exponent;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct order_number number = view_number(totals, nodes[ids[i]].total, &small, &words);
        sum_add(totals, number, words);
    }
    struct order_number one = view_number(totals, 1, &small, &words);
    sum_add(totals, one, words);
    sum_trim(totals);
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

static uint32_t number_depth_max(const void *context, uint32_t id)
{
    const struct order_totals *totals = context;
    return totals->numbers.items[id].count;
}

/* The size in words, then the words from the greatest on. */
static uint64_t number_word(const void *context, uint32_t id, uint32_t depth)
{
    const struct order_totals *totals = context;
    struct order_number number = totals->numbers.items[id];
    return depth == 0 ? (uint64_t)number.count + number.exponent
                      : totals->words.items[number.offset + number.count - depth];
}

void order_totals_rank(struct order_totals *totals)
{
    uint32_t count = totals->numbers.count;
    if (count == 0) {
        return;
    }
    uint32_t *sorted = mem_alloc(count * sizeof *sorted);
    for (uint32_t i = 0; i < count; i++) {
        sorted[i] = i;
    }
    struct order_words words = {totals, number_word, number_depth_max};
    order_sort_words(&words, sorted, count);
    totals->ranks = mem_alloc(count * sizeof *totals->ranks);
    for (uint32_t rank = 0; rank < count; rank++) {
        totals->ranks[sorted[rank]] = rank;
    }
    mem_free(sorted);
}
