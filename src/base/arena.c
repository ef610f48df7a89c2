/* arena.c: a list of chunks, filled one after the other.
 *
 * Chunks double in size up to 1 MiB, so a small arena stays small; what is larger than a chunk gets
 * one of its own. A reset keeps chunks up to 1 MiB together and starts at the first. */
#include "base/arena.h"

#include "base/alloc.h"
#include "base/assert.h"

enum {
    ARENA_ALIGNMENT = 16,
    ARENA_CHUNK_MIN = 4096,
    ARENA_CHUNK_MAX = 1 << 20,
    ARENA_KEEP_MAX = 1 << 20, /* bytes that survive a reset */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t capacity; /* bytes behind this header */
    size_t used;
    size_t reserved; /* keeps `data` aligned to 16 */
    uint8_t data[];
};

static_assert(sizeof(struct arena_chunk) % ARENA_ALIGNMENT == 0, "data must be aligned");

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

void arena_fini(struct arena *arena)
{
    struct arena_chunk *chunk = arena->first;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}

/* A chunk with room for `size` bytes, put behind the current one and made current. */
static void add_chunk(struct arena *arena, size_t size)
{
    struct arena_chunk *current = arena->current;
    size_t capacity = ARENA_CHUNK_MIN;
    if (current != NULL) {
        capacity =
            current->capacity < ARENA_CHUNK_MAX / 2 ? current->capacity * 2 : ARENA_CHUNK_MAX;
    }
    capacity = capacity < size ? size : capacity;

    struct arena_chunk *chunk = mem_alloc(sizeof *chunk + capacity);
    *chunk = (struct arena_chunk){.capacity = capacity};
    if (current == NULL) {
        arena->first = chunk;
    } else {
        chunk->next = current->next;
        current->next = chunk;
    }
    arena->current = chunk;
}

/* Move on to a chunk kept from before the reset that is large enough; it becomes the next one. */
static bool next_chunk(struct arena *arena, size_t size)
{
    if (arena->current == NULL) {
        return false;
    }
    struct arena_chunk **link = &arena->current->next;
    while (*link != NULL && (*link)->capacity < size) {
        link = &(*link)->next;
    }
    struct arena_chunk *chunk = *link;
    if (chunk == NULL) {
        return false;
    }
    *link = chunk->next;
    chunk->next = arena->current->next;
    arena->current->next = chunk;
    arena->current = chunk;
    return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    ASSERT(size <= SIZE_MAX / 2);
    size_t rest = size % ARENA_ALIGNMENT;
    size += rest == 0 ? 0 : ARENA_ALIGNMENT - rest;

    struct arena_chunk *chunk = arena->current;
    if (chunk == NULL || chunk->capacity - chunk->used < size) {
        if (!next_chunk(arena, size)) {
            add_chunk(arena, size);
        }
        chunk = arena->current;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += size;
    arena->used += size;
    ASSERT(chunk->used <= chunk->capacity);
    return memory;
}

struct span arena_copy(struct arena *arena, struct span bytes)
{
    void *copy = arena_alloc(arena, bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return span_of(copy, bytes.size);
}

void arena_reset(struct arena *arena)
{
    size_t kept = 0;
    struct arena_chunk **link = &arena->first;
    while (*link != NULL) {
        struct arena_chunk *chunk = *link;
        if (kept + chunk->capacity > ARENA_KEEP_MAX) {
            *link = chunk->next;
            mem_free(chunk);
            continue;
        }
        kept += chunk->capacity;
        chunk->used = 0;
        link = &chunk->next;
    }
    arena->current = arena->first;
    arena->used = 0;
}
