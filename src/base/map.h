/* map.h: byte strings to 64-bit values, iterated in insertion order (as a Python dict: setting a
 * known key keeps its place; removing and adding again moves it to the end).
 *
 * Open addressing over an array of entries; names are copied in. Iteration order never depends on
 * the hash, so cores may iterate. Not for tasks (the core's key table does those). */
#ifndef CASK_BASE_MAP_H
#define CASK_BASE_MAP_H

#include "base/span.h"

struct map_entry {
    struct span name; /* owned by the map; data NULL marks a removed entry */
    uint64_t hash;
    union {
        uint64_t number;
        void *pointer;
    } value;
};

struct map {
    struct map_entry *entries; /* in insertion order, with holes */
    uint32_t *slots;           /* hash table of entry indices + 1; 0 is empty */
    uint32_t entry_count;      /* entries in use, holes included */
    uint32_t entry_capacity;
    uint32_t slot_count; /* power of two, or 0 */
    uint32_t count;      /* live entries */
};

/* All zero is an empty map. Values are the caller's to free before this. */
void map_fini(struct map *map);
/* The entry of `name`, or NULL. The pointer holds until the next map_put or map_remove. */
struct map_entry *map_find(const struct map *map, struct span name);
/* The entry of `name`, added with value 0 if it was not there; *out_added (may be NULL) says so. */
struct map_entry *map_put(struct map *map, struct span name, bool *out_added);
/* Remove `name`; false if it was not there. */
bool map_remove(struct map *map, struct span name);
/* The first live entry at or after *cursor (start at 0), or NULL at the end; advances *cursor.
 * Removing the entry just given is allowed while iterating; adding is not. */
struct map_entry *map_next(const struct map *map, uint32_t *cursor);

#endif
