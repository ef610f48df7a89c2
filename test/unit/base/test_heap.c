/* The heap of ids: order, ties, removal from the middle, and the places told to the caller. */
#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

enum { ID_COUNT = 500 };

struct items {
    uint32_t priority[ID_COUNT];
    uint32_t place[ID_COUNT];
};

/* By priority, then by id, so the order is total. */
static bool before(void *context, uint32_t a, uint32_t b)
{
    const struct items *items = context;
    uint32_t pa = items->priority[a];
    uint32_t pb = items->priority[b];
    return pa != pb ? pa < pb : a < b;
}

static void set_place(void *context, uint32_t id, uint32_t place)
{
    struct items *items = context;
    items->place[id] = place;
}

static void check(const struct heap *heap, struct items *items)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        assert_int_equal(items->place[heap->ids[i]], i);
        if (i > 0) {
            assert_false(before(items, heap->ids[i], heap->ids[(i - 1) / 2]));
        }
    }
}

/* What comes out is sorted, ties by id. */
static void test_sorts(void **state)
{
    (void)state;
    static struct items items;
    struct heap heap;
    struct prng prng;
    prng_init(&prng, 7);
    heap_init(&heap, &items, before, set_place);
    for (uint32_t id = 0; id < ID_COUNT; id++) {
        items.priority[id] = prng_below(&prng, 50);
        heap_add(&heap, id);
    }
    check(&heap, &items);
    uint32_t last = heap_first(&heap);
    for (uint32_t i = 0; i < ID_COUNT; i++) {
        uint32_t id = heap_first(&heap);
        assert_true(i == 0 || before(&items, last, id));
        heap_remove(&heap, 0);
        assert_int_equal(items.place[id], HEAP_NOWHERE);
        last = id;
    }
    assert_int_equal(heap.count, 0);
    heap_fini(&heap);
}

/* Tasks are cancelled while queued: any place may be removed, the heap stays one. */
static void test_remove_anywhere(void **state)
{
    (void)state;
    static struct items items;
    struct heap heap;
    struct prng prng;
    prng_init(&prng, 8);
    heap_init(&heap, &items, before, set_place);
    for (uint32_t id = 0; id < ID_COUNT; id++) {
        items.place[id] = HEAP_NOWHERE;
    }
    for (uint32_t turn = 0; turn < 20000; turn++) {
        uint32_t id = prng_below(&prng, ID_COUNT);
        if (items.place[id] == HEAP_NOWHERE) {
            items.priority[id] = prng_below(&prng, 100);
            heap_add(&heap, id);
        } else {
            heap_remove(&heap, items.place[id]);
            assert_int_equal(items.place[id], HEAP_NOWHERE);
        }
        if (turn % 50 == 0) {
            check(&heap, &items);
        }
    }
    heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorts),
        cmocka_unit_test(test_remove_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
