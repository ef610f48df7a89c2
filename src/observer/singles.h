/* singles.h: tasks that are a group of their own (keys like inc-1, which client.submit and map make), as one row a prefix.
 *
 * They are not told one by one: of those there are as many groups as tasks. What is left of a prefix without the groups
 * that were told is theirs, and stands among the groups with a number that no group has. */
#ifndef CASK_OBSERVER_SINGLES_H
#define CASK_OBSERVER_SINGLES_H

#include "observer/tables.h"

#define SINGLES_BIT 0x80000000u

struct single_row {
    uint32_t id, prefix;
    uint64_t tick; /* the prefix's */
    uint32_t size, states[RECORD_STATES];
    uint64_t runs, failures;
    int64_t nbytes;
    double seconds;
};
struct single_rows VEC(struct single_row);

/* By prefix, those with tasks or runs; the caller frees with vec_fini. O(groups + prefixes). */
void singles_list(const struct tables *tables, struct single_rows *out);
/* The group that a run is shown under. */
static inline uint32_t singles_group(uint32_t group, uint32_t prefix)
{
    return group != 0 ? group : prefix == 0 ? 0 : SINGLES_BIT | prefix;
}

#endif
