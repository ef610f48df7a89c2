/* map.c: an array of entries in insertion order, and a hash table of indices into it.
 *
 * A removed entry leaves a hole (name.data NULL) to which its slot still points, so probing goes on
 * past it. Holes vanish when the array is full: it is then packed in place, or doubled. Slots are
 * at least twice the entries, so a probe always meets an empty one. */
#include "base/map.h"

#include "base/alloc.h"
#include "base/assert.h"

enum {
    MAP_ENTRIES_MIN = 8,
    MAP_ENTRIES_MAX = 1 << 30, /* slots must fit 32 bits */
};

void map_fini(struct map *map)
{
    for (uint32_t i = 0; i < map->entry_count; i++) {
        mem_free((void *)(uintptr_t)map->entries[i].name.data);
    }
    mem_free(map->entries);
    mem_free(map->slots);
    *map = (struct map){0};
}

/* The slot that holds `name`, or the empty one where the search ended. */
static uint32_t *find_slot(const struct map *map, struct span name, uint64_t hash)
{
    uint32_t mask = map->slot_count - 1;
    for (uint32_t at = (uint32_t)hash & mask;; at = (at + 1) & mask) {
        uint32_t *slot = &map->slots[at];
        if (*slot == 0) {
            return slot;
        }
        const struct map_entry *entry = &map->entries[*slot - 1];
        if (entry->hash == hash && entry->name.data != NULL && span_equal(entry->name, name)) {
            return slot;
        }
    }
}

struct map_entry *map_find(const struct map *map, struct span name)
{
    if (map->count == 0) {
        return NULL;
    }
    uint32_t slot = *find_slot(map, name, span_hash(name));
    return slot == 0 ? NULL : &map->entries[slot - 1];
}

/* Close the holes; the order stays. */
static void pack(struct map *map)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < map->entry_count; i++) {
        if (map->entries[i].name.data != NULL) {
            map->entries[live++] = map->entries[i];
        }
    }
    ASSERT(live == map->count);
    map->entry_count = live;
}

/* Enter every entry into an emptied table; there must be no holes. */
static void fill_slots(struct map *map)
{
    uint32_t mask = map->slot_count - 1;
    memset(map->slots, 0, (size_t)map->slot_count * sizeof *map->slots);
    for (uint32_t i = 0; i < map->entry_count; i++) {
        uint32_t at = (uint32_t)map->entries[i].hash & mask;
        while (map->slots[at] != 0) {
            at = (at + 1) & mask;
        }
        map->slots[at] = i + 1;
    }
}

/* Make room for one more entry. */
static void make_room(struct map *map)
{
    pack(map);
    /* Half full after packing is enough: the next packing is then far away. */
    if (map->entry_capacity == 0 || map->count > map->entry_capacity / 2) {
        ASSERT(map->entry_capacity <= MAP_ENTRIES_MAX / 2);
        map->entry_capacity = map->entry_capacity == 0 ? MAP_ENTRIES_MIN : map->entry_capacity * 2;
        map->entries = mem_resize(map->entries, map->entry_capacity, sizeof *map->entries);
        map->slot_count = map->entry_capacity * 2;
        map->slots = mem_resize(map->slots, map->slot_count, sizeof *map->slots);
    }
    fill_slots(map);
}

struct map_entry *map_put(struct map *map, struct span name, bool *out_added)
{
    uint64_t hash = span_hash(name);
    uint32_t *slot = map->slot_count == 0 ? NULL : find_slot(map, name, hash);
    bool added = slot == NULL || *slot == 0;
    if (out_added != NULL) {
        *out_added = added;
    }
    if (!added) {
        return &map->entries[*slot - 1];
    }
    if (map->entry_count == map->entry_capacity) {
        make_room(map);
        slot = find_slot(map, name, hash);
    }
    ASSERT(slot != NULL);
    ASSERT(*slot == 0);
    struct map_entry *entry = &map->entries[map->entry_count++];
    *entry = (struct map_entry){
        .name = span_of(mem_copy(name.data, name.size), name.size),
        .hash = hash,
    };
    *slot = map->entry_count;
    map->count++;
    return entry;
}

bool map_remove(struct map *map, struct span name)
{
    struct map_entry *entry = map_find(map, name);
    if (entry == NULL) {
        return false;
    }
    mem_free((void *)(uintptr_t)entry->name.data);
    entry->name = (struct span){0};
    map->count--;
    return true;
}

struct map_entry *map_next(const struct map *map, uint32_t *cursor)
{
    while (*cursor < map->entry_count) {
        struct map_entry *entry = &map->entries[(*cursor)++];
        if (entry->name.data != NULL) {
            return entry;
        }
    }
    return NULL;
}
