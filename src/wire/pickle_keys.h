/* pickle_keys.h: gives the keys of a pickled graph their numbers, each distinct key one. */
#ifndef CASK_WIRE_PICKLE_KEYS_H
#define CASK_WIRE_PICKLE_KEYS_H

#include "base/arena.h"
#include "wire/pickle_value.h"

struct pickle_keys {
    struct pickle_tree *tree;                       /* borrowed; numbers are noted in its nodes */
    struct arena *arena;                            /* borrowed: the keys' bytes */
    struct pickle_key_spans VEC(struct span) spans; /* number → canonical msgpack */
    struct pickle_key_hashes VEC(uint64_t) hashes;
    uint32_t *slots; /* open addressing: 1 + number, 0 is empty */
    uint32_t slot_count;
    struct text scratch;
};

void pickle_keys_init(struct pickle_keys *keys, struct pickle_tree *tree, struct arena *arena);
void pickle_keys_fini(struct pickle_keys *keys);
/* The number of the key at node `id`; the next free one if it is new. ERR_UNSUPPORTED: no key. */
int pickle_keys_put(struct pickle_keys *keys, pickle_id id, uint32_t *out_number) MUST_USE;
/* The number of the key at node `id`; false if it has none, or is no key. */
bool pickle_keys_find(struct pickle_keys *keys, pickle_id id, uint32_t *out_number);

#endif
