/* order_set.h: sets of small numbers that share little or nearly all: a sorted list while they are
 * thin, a run of bits once that is smaller. Which of both follows from count, low and high alone, so
 * equal sets have equal bytes. */
#ifndef CASK_CORE_ORDER_SET_H
#define CASK_CORE_ORDER_SET_H

#include "base/assert.h"
#include "base/span.h"

struct order_set {
    union {
        uint32_t *list; /* count members, ascending; not used for one member, which is low */
        uint64_t *bits; /* from word low / 64 to word high / 64 */
    };
    uint32_t count; /* ≥ 1 in a set that is in use */
    uint32_t low;   /* least member */
    uint32_t high;  /* greatest member */
    uint32_t refs;  /* for the user */
};

static inline uint32_t order_set_word_count(const struct order_set *set)
{
    return set->high / 64 - set->low / 64 + 1;
}

static inline bool order_set_is_list(const struct order_set *set)
{
    return set->count < 2 * (uint64_t)order_set_word_count(set);
}

/* 64-bit words that its members take. */
static inline uint32_t order_set_size(const struct order_set *set)
{
    return order_set_is_list(set) ? set->count / 2 + 1 : order_set_word_count(set);
}

static inline bool order_set_equal(const struct order_set *a, const struct order_set *b)
{
    if (a->count != b->count || a->low != b->low || a->high != b->high) {
        return false;
    }
    if (a->count == 1) {
        return true;
    }
    size_t size = order_set_is_list(a) ? a->count * sizeof *a->list
                                       : order_set_word_count(a) * sizeof *a->bits;
    return memcmp(a->list, b->list, size) == 0;
}

struct order_set_cursor {
    uint32_t place; /* in list or bits */
    uint64_t left;  /* members of the current word not given yet */
};

/* The next member, ascending; false at the end. *cursor starts as all zero. */
static inline bool order_set_next(const struct order_set *set, struct order_set_cursor *cursor,
                                  uint32_t *out_member)
{
    if (order_set_is_list(set)) {
        if (cursor->place == set->count) {
            return false;
        }
        *out_member = set->count == 1 ? set->low : set->list[cursor->place];
        cursor->place++;
        return true;
    }
    uint32_t word_count = order_set_word_count(set);
    while (cursor->left == 0) {
        if (cursor->place == word_count) {
            return false;
        }
        cursor->left = set->bits[cursor->place++];
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(cursor->left);
    cursor->left &= cursor->left - 1;
    *out_member = (set->low / 64 + cursor->place - 1) * 64 + bit;
    return true;
}

#endif
