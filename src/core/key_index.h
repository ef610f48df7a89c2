/* key_index.h: finds ids by key: open addressing, the upper hash bits beside the id. Keys stay with their
 * owner, who lends them by `key_of`. Nothing may depend on the order of its slots. All zero is empty. */
#ifndef CASK_CORE_KEY_INDEX_H
#define CASK_CORE_KEY_INDEX_H

#include "base/span.h"

#define KEY_INDEX_NONE UINT32_MAX

/* The key of `id`. */
typedef struct span key_of_id(const void *context, uint32_t id);

struct key_index {
    struct key_index_slot {
        uint32_t tag;
        uint32_t id; /* KEY_INDEX_NONE: empty */
    } * slots;
    uint32_t capacity; /* power of two, or 0 */
    uint32_t count;
    key_of_id *key_of;
    const void *context;
};

void key_index_init(struct key_index *index, key_of_id *key_of, const void *context);
void key_index_fini(struct key_index *index);
/* KEY_INDEX_NONE: not there. `hash` is span_hash(key), here and below. */
uint32_t key_index_find(const struct key_index *index, struct span key, uint64_t hash);
/* The key must not be there. */
void key_index_add(struct key_index *index, uint64_t hash, uint32_t id);
/* The id must be there. */
void key_index_remove(struct key_index *index, uint64_t hash, uint32_t id);

#endif
