/* byte_ring.h: the bytes of a story: pieces one after the other, each whole; new ones overwrite the oldest.
 * Places are counted over all time, so whoever keeps one can tell whether its bytes still stand. */
#ifndef CASK_CORE_BYTE_RING_H
#define CASK_CORE_BYTE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"

struct byte_ring {
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t next; /* place of the next piece; at next % capacity */
};

static inline void byte_ring_init(struct byte_ring *ring, uint64_t capacity)
{
    *ring = (struct byte_ring){.bytes = mem_alloc(capacity), .capacity = capacity};
}

static inline void byte_ring_fini(struct byte_ring *ring)
{
    mem_free(ring->bytes);
}

/* Too large to be kept: it would overwrite much of what others keep. */
static inline bool byte_ring_refuses(const struct byte_ring *ring, uint64_t size)
{
    return size > ring->capacity / 4;
}

/* The place of a new piece of `size` bytes, which byte_ring_refuses does not. */
static inline uint64_t byte_ring_take(struct byte_ring *ring, uint64_t size)
{
    uint64_t at = ring->next % ring->capacity;
    if (at + size > ring->capacity) {
        ring->next += ring->capacity - at; /* the piece at the end stays unused */
    }
    uint64_t place = ring->next;
    ring->next += size;
    return place;
}

static inline uint8_t *byte_ring_at(const struct byte_ring *ring, uint64_t place)
{
    return ring->bytes + place % ring->capacity;
}

/* The piece that begins at `place` has not been overwritten. */
static inline bool byte_ring_has(const struct byte_ring *ring, uint64_t place)
{
    return place + ring->capacity >= ring->next;
}

#endif
