/* id_map.h: 32-bit ids to 32-bit values; open addressing, no allocation but for growth. Nothing may
 * depend on the order of its slots. All zero is an empty map; UINT32_MAX is not a valid id. */
#ifndef CASK_CORE_ID_MAP_H
#define CASK_CORE_ID_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct id_map {
    struct id_pair {
        uint32_t id; /* UINT32_MAX: empty slot */
        uint32_t value;
    } * slots;
    uint32_t capacity; /* power of two, or 0 */
    uint32_t count;
};

void id_map_fini(struct id_map *map);
/* The value of `id`, or NULL. Good until the next put or remove. */
uint32_t *id_map_find(const struct id_map *map, uint32_t id);
/* The value of `id`, put in as 0 if it was not there. */
uint32_t *id_map_put(struct id_map *map, uint32_t id);
/* false: it was not there. */
bool id_map_remove(struct id_map *map, uint32_t id);

#endif
