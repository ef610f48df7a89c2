/* alloc.h: memory that is always there. Out of memory ends the process with a report, so no caller checks
 * for NULL. Lengths that come from a peer are checked against base/limits.h *before* they reach an allocator. */
#ifndef CASK_BASE_ALLOC_H
#define CASK_BASE_ALLOC_H

#include <stddef.h>

/* `size` bytes, uninitialised. Owned by the caller; give back with mem_free(). */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));

/* `count` × `size` zeroed bytes; the product is checked for overflow. */
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));

/* Grow or shrink `memory` (NULL allowed) to `count` × `size` bytes. */
void *mem_resize(void *memory, size_t count, size_t size) __attribute__((returns_nonnull));

/* A copy of `size` bytes at `data`. */
void *mem_copy(const void *data, size_t size) __attribute__((returns_nonnull));

/* Give memory back; NULL is allowed. */
void mem_free(void *memory);

#endif
