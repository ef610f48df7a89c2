/* key_index.h: finds ids by key. Keys stay with their owner, who lends them by `key_of`. Nothing may depend on
 * the order of its slots. A key's hash is span_hash(key), here and below. */
#ifndef CASK_CORE_KEY_INDEX_H
#define CASK_CORE_KEY_INDEX_H

#include "base/span.h"

#define KEY_INDEX_NONE UINT32_MAX
#define KEY_INDEX_SHARD_BITS 8

/* The key of `id`. */
typedef struct span key_of_id(const void *context, uint32_t id);

struct key_index {
    struct key_index_shard {
        struct key_index_slot {
            uint32_t tag;
            uint32_t id; /* KEY_INDEX_NONE: empty */
        } * slots;
        uint32_t capacity; /* power of two, or 0 */
        uint32_t count;
    } shards[1u << KEY_INDEX_SHARD_BITS]; /* by the upper bits of the tag */
    uint32_t count;
    key_of_id *key_of;
    const void *context;
};

void key_index_init(struct key_index *index, key_of_id *key_of, const void *context);
void key_index_fini(struct key_index *index);
/* KEY_INDEX_NONE: not there. */
uint32_t key_index_find(const struct key_index *index, struct span key, uint64_t hash);
/* Ask memory for the slot that finding a key begins with. */
void key_index_prefetch(const struct key_index *index, uint64_t hash);
/* What stands in that slot: nearly always the id, if the key is there. For asking memory for what it names. */
uint32_t key_index_guess(const struct key_index *index, uint64_t hash);
/* The key must not be there. */
void key_index_add(struct key_index *index, uint64_t hash, uint32_t id);
/* The id must be there. */
void key_index_remove(struct key_index *index, uint64_t hash, uint32_t id);

#endif
