/* key_index.c: open addressing, a part of the hash beside the id; removing shifts back what follows, so no
 * tombstones gather however many keys come and go.
 *
 * It is many small tables, each of which grows for itself: one table would make all wait when it grows. */
#include "core/key_index.h"

#include "base/alloc.h"
#include "base/assert.h"

#define SHARDS (1u << KEY_INDEX_SHARD_BITS)
#define CAPACITY_MIN 8u
#define CAPACITY_MAX (1u << (32 - KEY_INDEX_SHARD_BITS)) /* so many tags has a shard */

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}

static uint32_t shard_of(uint32_t tag)
{
    return tag >> (32 - KEY_INDEX_SHARD_BITS);
}

void key_index_init(struct key_index *index, key_of_id *key_of, const void *context)
{
    ASSERT(key_of != NULL);
    *index = (struct key_index){.key_of = key_of, .context = context};
}

void key_index_fini(struct key_index *index)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        mem_free(index->shards[i].slots);
    }
    *index = (struct key_index){0};
}

uint32_t key_index_find(const struct key_index *index, struct span key, uint64_t hash)
{
    uint32_t tag = tag_of(hash);
    const struct key_index_shard *shard = &index->shards[shard_of(tag)];
    if (shard->count == 0) {
        return KEY_INDEX_NONE;
    }
    uint32_t mask = shard->capacity - 1;
    for (uint32_t at = tag & mask; shard->slots[at].id != KEY_INDEX_NONE; at = (at + 1) & mask) {
        if (shard->slots[at].tag == tag &&
            span_equal(index->key_of(index->context, shard->slots[at].id), key)) {
            return shard->slots[at].id;
        }
    }
    return KEY_INDEX_NONE;
}

void key_index_prefetch(const struct key_index *index, uint64_t hash)
{
    uint32_t tag = tag_of(hash);
    const struct key_index_shard *shard = &index->shards[shard_of(tag)];
    if (shard->capacity > 0) {
        __builtin_prefetch(&shard->slots[tag & (shard->capacity - 1)]);
    }
}

uint32_t key_index_guess(const struct key_index *index, uint64_t hash)
{
    uint32_t tag = tag_of(hash);
    const struct key_index_shard *shard = &index->shards[shard_of(tag)];
    return shard->capacity == 0 ? KEY_INDEX_NONE : shard->slots[tag & (shard->capacity - 1)].id;
}

static void place(struct key_index_shard *shard, struct key_index_slot slot)
{
    uint32_t mask = shard->capacity - 1;
    uint32_t at = slot.tag & mask;
    while (shard->slots[at].id != KEY_INDEX_NONE) {
        at = (at + 1) & mask;
    }
    shard->slots[at] = slot;
}

static void grow(struct key_index_shard *shard)
{
    struct key_index_shard old = *shard;
    ASSERT(old.capacity < CAPACITY_MAX);
    shard->capacity = old.capacity == 0 ? CAPACITY_MIN : old.capacity * 2;
    shard->slots = mem_resize(NULL, shard->capacity, sizeof *shard->slots);
    memset(shard->slots, 0xff, (size_t)shard->capacity * sizeof *shard->slots);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].id != KEY_INDEX_NONE) {
            place(shard, old.slots[i]);
        }
    }
    mem_free(old.slots);
}

void key_index_add(struct key_index *index, uint64_t hash, uint32_t id)
{
    ASSERT(id != KEY_INDEX_NONE);
    uint32_t tag = tag_of(hash);
    struct key_index_shard *shard = &index->shards[shard_of(tag)];
    if (((uint64_t)shard->count + 1) * 3 / 2 >= shard->capacity) {
        grow(shard);
    }
    place(shard, (struct key_index_slot){.tag = tag, .id = id});
    shard->count++;
    index->count++;
}

void key_index_remove(struct key_index *index, uint64_t hash, uint32_t id)
{
    uint32_t tag = tag_of(hash);
    struct key_index_shard *shard = &index->shards[shard_of(tag)];
    ASSERT(shard->count > 0);
    uint32_t mask = shard->capacity - 1;
    uint32_t hole = tag & mask;
    while (shard->slots[hole].id != id) {
        ASSERT(shard->slots[hole].id != KEY_INDEX_NONE);
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; shard->slots[at].id != KEY_INDEX_NONE;
         at = (at + 1) & mask) {
        uint32_t home = shard->slots[at].tag & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            shard->slots[hole] = shard->slots[at];
            hole = at;
        }
    }
    shard->slots[hole].id = KEY_INDEX_NONE;
    shard->count--;
    index->count--;
}
