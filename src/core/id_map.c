/* id_map.c: linear probing with backward shift, so no tombstones gather. Eight neighbouring ids share a line
 * of memory: who asks for one asks for the others soon, as the inputs of a task were made together. */
#include "core/id_map.h"

#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

#define EMPTY UINT32_MAX
#define CAPACITY_MIN 8u
#define LINE_BITS 3u /* slots of a line of memory */

/* Where the search for `id` begins. */
static uint32_t slot_of(const struct id_map *map, uint32_t id)
{
    /* Fibonacci hashing: neighbouring lines land far apart, so lines that are full do not queue up. */
    uint32_t line = (uint32_t)((uint64_t)(id >> LINE_BITS) * 0x9e3779b97f4a7c15ull >> 32);
    return (line << LINE_BITS | (id & ((1u << LINE_BITS) - 1))) & (map->capacity - 1);
}

/* The slot that holds `id`, or the empty one where the search ended. */
static struct id_pair *probe(const struct id_map *map, uint32_t id)
{
    uint32_t slot = slot_of(map, id);
    while (map->slots[slot].id != id && map->slots[slot].id != EMPTY) {
        slot = (slot + 1) & (map->capacity - 1);
    }
    return &map->slots[slot];
}

void id_map_fini(struct id_map *map)
{
    mem_free(map->slots);
    *map = (struct id_map){0};
}

uint32_t *id_map_find(const struct id_map *map, uint32_t id)
{
    ASSERT(id != EMPTY);
    if (map->count == 0) {
        return NULL;
    }
    struct id_pair *pair = probe(map, id);
    return pair->id == id ? &pair->value : NULL;
}

static void grow(struct id_map *map)
{
    struct id_map old = *map;
    map->capacity = old.capacity == 0 ? CAPACITY_MIN : old.capacity * 2;
    ASSERT(map->capacity > old.capacity);
    map->slots = mem_resize(NULL, map->capacity, sizeof *map->slots);
    memset(map->slots, 0xff, (size_t)map->capacity * sizeof *map->slots);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].id != EMPTY) {
            *probe(map, old.slots[i].id) = old.slots[i];
        }
    }
    mem_free(old.slots);
}

uint32_t *id_map_put(struct id_map *map, uint32_t id)
{
    ASSERT(id != EMPTY);
    struct id_pair *pair = map->capacity == 0 ? NULL : probe(map, id);
    if (pair != NULL && pair->id == id) {
        return &pair->value;
    }
    if ((uint64_t)(map->count + 1) * 4 > (uint64_t)map->capacity * 3) {
        grow(map);
        pair = probe(map, id);
    }
    *pair = (struct id_pair){.id = id, .value = 0};
    map->count++;
    return &pair->value;
}

bool id_map_remove(struct id_map *map, uint32_t id)
{
    ASSERT(id != EMPTY);
    struct id_pair *pair = map->count == 0 ? NULL : probe(map, id);
    if (pair == NULL || pair->id != id) {
        return false;
    }
    uint32_t mask = map->capacity - 1;
    uint32_t hole = (uint32_t)(pair - map->slots);
    uint32_t next = (hole + 1) & mask;
    while (map->slots[next].id != EMPTY) {
        uint32_t home = slot_of(map, map->slots[next].id);
        /* It may move into the hole if its home is not between the hole and where it stands. */
        if (((next - home) & mask) >= ((next - hole) & mask)) {
            map->slots[hole] = map->slots[next];
            hole = next;
        }
        next = (next + 1) & mask;
    }
    map->slots[hole].id = EMPTY;
    map->count--;
    return true;
}
