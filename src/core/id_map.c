/* id_map.c: linear probing with backward shift, so no tombstones gather. */
#include "core/id_map.h"

#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

#define EMPTY UINT32_MAX
#define CAPACITY_MIN 8u

static uint32_t slot_of(const struct id_map *map, uint32_t id)
{
    /* Fibonacci hashing: neighbouring ids land far apart. */
    return (uint32_t)(((uint64_t)id * 0x9e3779b97f4a7c15ull) >> 32) & (map->capacity - 1);
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
    uint32_t slot = slot_of(map, id);
    while (map->slots[slot].id != EMPTY) {
        if (map->slots[slot].id == id) {
            return &map->slots[slot].value;
        }
        slot = (slot + 1) & (map->capacity - 1);
    }
    return NULL;
}

static void grow(struct id_map *map)
{
    struct id_map old = *map;
    map->capacity = old.capacity == 0 ? CAPACITY_MIN : old.capacity * 2;
    ASSERT(map->capacity > old.capacity);
    map->slots = mem_resize(NULL, map->capacity, sizeof *map->slots);
    memset(map->slots, 0xff, (size_t)map->capacity * sizeof *map->slots);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].id == EMPTY) {
            continue;
        }
        uint32_t slot = slot_of(map, old.slots[i].id);
        while (map->slots[slot].id != EMPTY) {
            slot = (slot + 1) & (map->capacity - 1);
        }
        map->slots[slot] = old.slots[i];
    }
    mem_free(old.slots);
}

uint32_t *id_map_put(struct id_map *map, uint32_t id)
{
    uint32_t *found = id_map_find(map, id);
    if (found != NULL) {
        return found;
    }
    if ((uint64_t)(map->count + 1) * 4 > (uint64_t)map->capacity * 3) {
        grow(map);
    }
    uint32_t slot = slot_of(map, id);
    while (map->slots[slot].id != EMPTY) {
        slot = (slot + 1) & (map->capacity - 1);
    }
    map->slots[slot] = (struct id_pair){.id = id, .value = 0};
    map->count++;
    return &map->slots[slot].value;
}

bool id_map_remove(struct id_map *map, uint32_t id)
{
    uint32_t *found = id_map_find(map, id);
    if (found == NULL) {
        return false;
    }
    struct id_pair *pair =
        (struct id_pair *)(void *)((char *)found - offsetof(struct id_pair, value));
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
