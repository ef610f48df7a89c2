/* heap.h: a binary min-heap of 32-bit ids under a caller's order, with O(log n) removal from the
 * middle. The caller stores each id's place (set_place), so no search is needed. Deterministic. */
#ifndef CASK_BASE_HEAP_H
#define CASK_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct heap {
    uint32_t *ids;
    uint32_t count;
    uint32_t capacity;
    void *context;
    /* true if `a` comes before `b`; a total order. */
    bool (*before)(void *context, uint32_t a, uint32_t b);
    /* `id` is now at `place` (HEAP_NOWHERE when removed). */
    void (*set_place)(void *context, uint32_t id, uint32_t place);
};

#define HEAP_NOWHERE UINT32_MAX

void heap_init(struct heap *heap, void *context, bool (*before)(void *, uint32_t, uint32_t),
               void (*set_place)(void *, uint32_t, uint32_t));
void heap_fini(struct heap *heap);
void heap_add(struct heap *heap, uint32_t id);
/* The first id; the heap must not be empty. */
uint32_t heap_first(const struct heap *heap);
/* Remove the id at `place`. */
void heap_remove(struct heap *heap, uint32_t place);

#endif
