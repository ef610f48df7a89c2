/* spill_space.c: next fit among holes, which are kept sorted and merged. */
#include "store/spill_space.h"

void spill_space_fini(struct spill_space *space)
{
    vec_fini(&space->holes);
}

static void remove_hole(struct spill_space *space, uint32_t index)
{
    struct spill_hole *holes = space->holes.items;
    uint32_t behind = --space->holes.count - index;
    memmove(&holes[index], &holes[index + 1], behind * sizeof *holes);
}

static void add_hole(struct spill_space *space, uint32_t index, struct spill_hole hole)
{
    vec_reserve(&space->holes, 1);
    struct spill_hole *holes = space->holes.items;
    uint32_t behind = space->holes.count++ - index;
    memmove(&holes[index + 1], &holes[index], behind * sizeof *holes);
    holes[index] = hole;
}

/* A hole of at least `size` bytes, from the hint on and round; false: there is none. */
static bool find_hole(struct spill_space *space, uint64_t size, uint32_t *out_index)
{
    if (size > space->hole_max) {
        return false;
    }
    uint64_t largest = 0;
    uint32_t count = space->holes.count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (space->hint + i) % count;
        uint64_t hole_size = space->holes.items[index].size;
        if (hole_size >= size) {
            *out_index = index;
            return true;
        }
        largest = hole_size > largest ? hole_size : largest;
    }
    space->hole_max = largest;
    return false;
}

bool spill_space_take(struct spill_space *space, uint64_t size, uint64_t *out_offset)
{
    ASSERT(size > 0);
    uint32_t index;
    if (find_hole(space, size, &index)) {
        struct spill_hole *hole = &space->holes.items[index];
        *out_offset = hole->offset;
        hole->offset += size;
        hole->size -= size;
        space->hint = index;
        if (hole->size == 0) {
            remove_hole(space, index);
        }
    } else if (size <= space->end_max - space->end) {
        *out_offset = space->end;
        space->end += size;
    } else {
        return false;
    }
    space->used += size;
    return true;
}

/* The first hole behind `offset`. */
static uint32_t hole_behind(const struct spill_space *space, uint64_t offset)
{
    uint32_t low = 0, high = space->holes.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (space->holes.items[middle].offset > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void spill_space_give(struct spill_space *space, uint64_t offset, uint64_t size)
{
    ASSERT(size > 0);
    ASSERT(size <= space->used);
    ASSERT(offset + size <= space->end);
    space->used -= size;
    struct spill_hole freed = {offset, size};
    uint32_t index = hole_behind(space, offset);
    if (index < space->holes.count && space->holes.items[index].offset == offset + size) {
        freed.size += space->holes.items[index].size;
        remove_hole(space, index);
    }
    if (index > 0) {
        struct spill_hole before = space->holes.items[index - 1];
        ASSERT(before.offset + before.size <= offset);
        if (before.offset + before.size == offset) {
            freed = (struct spill_hole){before.offset, before.size + freed.size};
            remove_hole(space, --index);
        }
    }
    if (freed.offset + freed.size == space->end) {
        space->end = freed.offset;
    } else {
        add_hole(space, index, freed);
        space->hole_max = freed.size > space->hole_max ? freed.size : space->hole_max;
    }
}
