/* arena.h: scratch memory that dies all at once. Chunks are kept for reuse, so a warm arena
 * never calls the allocator. */
#ifndef CASK_BASE_ARENA_H
#define CASK_BASE_ARENA_H

#include "base/span.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *first;   /* all chunks, oldest first */
    struct arena_chunk *current; /* the one being filled */
    size_t used;                 /* bytes handed out since the last reset */
};

void arena_init(struct arena *arena);
void arena_fini(struct arena *arena);
/* `size` uninitialised bytes, aligned to 16; valid until arena_reset(). */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));
/* A copy of `bytes` in the arena. */
struct span arena_copy(struct arena *arena, struct span bytes);
/* Forget everything handed out. Chunks beyond the first 1 MiB go back to the system. */
void arena_reset(struct arena *arena);

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define arena_array(arena, type, count) ((type *)arena_alloc((arena), sizeof(type) * (count)))

#endif
