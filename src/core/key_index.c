/* key_index.c: linear probing with backward shift, so no tombstones gather however many keys come and go. */
#include "core/key_index.h"

#include "base/alloc.h"
#include "base/assert.h"

#define CAPACITY_MIN 64u

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}

void key_index_init(struct key_index *index, key_of_id *key_of, const void *context)
{
    ASSERT(key_of != NULL);
    *index = (struct key_index){.key_of = key_of, .context = context};
}

void key_index_fini(struct key_index *index)
{
    mem_free(index->slots);
    *index = (struct key_index){0};
}

uint32_t key_index_find(const struct key_index *index, struct span key, uint64_t hash)
{
    if (index->count == 0) {
        return KEY_INDEX_NONE;
    }
    uint32_t tag = tag_of(hash);
    uint32_t mask = index->capacity - 1;
    for (uint32_t at = tag & mask; index->slots[at].id != KEY_INDEX_NONE; at = (at + 1) & mask) {
        if (index->slots[at].tag == tag &&
            span_equal(index->key_of(index->context, index->slots[at].id), key)) {
            return index->slots[at].id;
        }
    }
    return KEY_INDEX_NONE;
}

static void place(struct key_index *index, struct key_index_slot slot)
{
    uint32_t mask = index->capacity - 1;
    uint32_t at = slot.tag & mask;
    while (index->slots[at].id != KEY_INDEX_NONE) {
        at = (at + 1) & mask;
    }
    index->slots[at] = slot;
}

static void grow(struct key_index *index)
{
    struct key_index old = *index;
    ASSERT(old.capacity < 1u << 31);
    index->capacity = old.capacity == 0 ? CAPACITY_MIN : old.capacity * 2;
    index->slots = mem_resize(NULL, index->capacity, sizeof *index->slots);
    memset(index->slots, 0xff, (size_t)index->capacity * sizeof *index->slots);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].id != KEY_INDEX_NONE) {
            place(index, old.slots[i]);
        }
    }
    mem_free(old.slots);
}

void key_index_add(struct key_index *index, uint64_t hash, uint32_t id)
{
    ASSERT(id != KEY_INDEX_NONE);
    if ((uint64_t)index->count * 3 / 2 + 1 >= index->capacity) {
        grow(index);
    }
    place(index, (struct key_index_slot){.tag = tag_of(hash), .id = id});
    index->count++;
}

void key_index_remove(struct key_index *index, uint64_t hash, uint32_t id)
{
    ASSERT(index->count > 0);
    uint32_t mask = index->capacity - 1;
    uint32_t hole = tag_of(hash) & mask;
    while (index->slots[hole].id != id) {
        ASSERT(index->slots[hole].id != KEY_INDEX_NONE);
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; index->slots[at].id != KEY_INDEX_NONE;
         at = (at + 1) & mask) {
        uint32_t home = index->slots[at].tag & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            index->slots[hole] = index->slots[at];
            hole = at;
        }
    }
    index->slots[hole].id = KEY_INDEX_NONE;
    index->count--;
}
