/* order_total.h: sums that outgrow 64 bits. The number of paths that end at a node grows as 3^steps
 * in a stencil, and only comparing these exactly tells its columns apart, as Python's integers do.
 *
 * A total below ORDER_TOTAL_BIG is the number itself. Others name an entry of the table; equal numbers
 * have equal names. At the end names become ranks, so that plain comparison orders all totals.
 * Beyond 4,096 bits, or 192 once the table is large, the lowest bits are dropped. */
#ifndef CASK_CORE_ORDER_TOTAL_H
#define CASK_CORE_ORDER_TOTAL_H

#include "base/vec.h"

#define ORDER_TOTAL_BIG (UINT64_C(1) << 63)

enum { ORDER_TOTAL_WORDS_MAX = 64 };

struct order_node;

/* Its words are words[offset..), up to the next number's, least first; the last is not 0. */
struct order_number {
    uint32_t offset;
    uint32_t exponent; /* words dropped below these */
};

struct order_totals {
    struct VEC(struct order_number) numbers; /* and one more: where the next one will begin */
    struct VEC(uint64_t) words;
    uint32_t *slots; /* hash table: 1 + index into numbers; 0 is empty */
    uint32_t slot_count;
    uint32_t words_soft_max; /* words in the table from which on precision falls */
    uint32_t *ranks;         /* set by order_totals_rank: rank of each number */

    /* The sum being made. */
    uint64_t sum[ORDER_TOTAL_WORDS_MAX + 2];
    uint32_t sum_count;
    uint32_t sum_exponent;
};

void order_totals_init(struct order_totals *totals, uint32_t node_count);
void order_totals_fini(struct order_totals *totals);

/* 1 + the totals of nodes[ids[0..count)]. */
uint64_t order_totals_sum(struct order_totals *totals, const struct order_node *nodes,
                          const uint32_t *ids, uint32_t count);

/* Rank the table by size, once all sums are made. */
void order_totals_rank(struct order_totals *totals);
/* What to compare instead of `total`, after order_totals_rank. */
static inline uint64_t order_totals_ranked(const struct order_totals *totals, uint64_t total)
{
    return total < ORDER_TOTAL_BIG ? total
                                   : ORDER_TOTAL_BIG + totals->ranks[total - ORDER_TOTAL_BIG];
}

#endif
