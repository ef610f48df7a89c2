/* heap.c: the textbook heap; every move of an id is told to the caller. */
#include "base/heap.h"

#include "base/alloc.h"
#include "base/assert.h"

void heap_init(struct heap *heap, void *context, bool (*before)(void *, uint32_t, uint32_t),
               void (*set_place)(void *, uint32_t, uint32_t))
{
    ASSERT(before != NULL);
    ASSERT(set_place != NULL);
    *heap = (struct heap){.context = context, .before = before, .set_place = set_place};
}

void heap_fini(struct heap *heap)
{
    mem_free(heap->ids);
    *heap = (struct heap){0};
}

static void put(struct heap *heap, uint32_t place, uint32_t id)
{
    heap->ids[place] = id;
    heap->set_place(heap->context, id, place);
}

/* `id` belongs at `place` or above: let smaller ones stay, move larger ones down. */
static void sift_up(struct heap *heap, uint32_t place, uint32_t id)
{
    while (place > 0) {
        uint32_t parent = (place - 1) / 2;
        if (!heap->before(heap->context, id, heap->ids[parent])) {
            break;
        }
        put(heap, place, heap->ids[parent]);
        place = parent;
    }
    put(heap, place, id);
}

/* `id` belongs at `place` or below. 64-bit, as twice a place may exceed 32. */
static void sift_down(struct heap *heap, uint32_t place, uint32_t id)
{
    for (;;) {
        uint64_t child = (uint64_t)place * 2 + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count &&
            heap->before(heap->context, heap->ids[child + 1], heap->ids[child])) {
            child++;
        }
        if (!heap->before(heap->context, heap->ids[child], id)) {
            break;
        }
        put(heap, place, heap->ids[child]);
        place = (uint32_t)child;
    }
    put(heap, place, id);
}

void heap_add(struct heap *heap, uint32_t id)
{
    ASSERT(heap->count < HEAP_NOWHERE);
    if (heap->count == heap->capacity) {
        uint64_t grown = heap->capacity < 16 ? 16 : (uint64_t)heap->capacity * 2;
        heap->capacity = grown > HEAP_NOWHERE ? HEAP_NOWHERE : (uint32_t)grown;
        heap->ids = mem_resize(heap->ids, heap->capacity, sizeof *heap->ids);
    }
    sift_up(heap, heap->count++, id);
}

uint32_t heap_first(const struct heap *heap)
{
    ASSERT(heap->count > 0);
    return heap->ids[0];
}

void heap_remove(struct heap *heap, uint32_t place)
{
    ASSERT(place < heap->count);
    uint32_t removed = heap->ids[place];
    uint32_t last = heap->ids[--heap->count];
    heap->set_place(heap->context, removed, HEAP_NOWHERE);
    if (place == heap->count) {
        return;
    }
    if (place > 0 && heap->before(heap->context, last, heap->ids[(place - 1) / 2])) {
        sift_up(heap, place, last);
    } else {
        sift_down(heap, place, last);
    }
}
