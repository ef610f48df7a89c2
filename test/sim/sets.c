/* sets.c: small sets of numbers, in order of arrival. */
#include "sim/sim.h"

bool set_has(const struct numbers *set, uint32_t number)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->items[i] == number) {
            return true;
        }
    }
    return false;
}

bool set_add(struct numbers *set, uint32_t number)
{
    if (set_has(set, number)) {
        return false;
    }
    vec_push(set, number);
    return true;
}

bool set_remove(struct numbers *set, uint32_t number)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->items[i] == number) {
            memmove(set->items + i, set->items + i + 1, (set->count - i - 1) * sizeof *set->items);
            set->count--;
            return true;
        }
    }
    return false;
}
