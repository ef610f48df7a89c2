/* Scratch memory: alignment, reuse, and that a warm arena takes no new chunk. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

/* Whatever sizes are asked for, the memory is aligned to 16 and holds what is written to it. */
static void test_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    struct prng prng;
    uint8_t *blocks[2000];
    size_t sizes[2000];
    arena_init(&arena);
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < 2000; i++) {
        sizes[i] = prng_below(&prng, i % 100 == 0 ? 100000 : 200);
        blocks[i] = arena_alloc(&arena, sizes[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i % 251), sizes[i]);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        for (size_t j = 0; j < sizes[i]; j++) {
            assert_int_equal(blocks[i][j], i % 251);
        }
    }
    arena_fini(&arena);
    assert_null(arena.first);
}

static void fill(struct arena *arena, void **out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = arena_alloc(arena, 24 + i % 300);
    }
}

/* A step's arena is filled and reset for every event: the same demand gets the same memory. */
static void test_warm_arena_reuses(void **state)
{
    (void)state;
    struct arena arena;
    void *first[500];
    void *again[500];
    arena_init(&arena);
    fill(&arena, first, 500);
    size_t used = arena.used;
    arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    fill(&arena, again, 500);
    assert_int_equal(arena.used, used);
    assert_memory_equal(first, again, sizeof first);
    arena_fini(&arena);
}

/* One huge graph must not pin its memory: a reset keeps at most 1 MiB. */
static void test_reset_gives_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    memset(arena_alloc(&arena, 8 << 20), 1, 8 << 20);
    arena_reset(&arena);
    assert_null(arena.first);
    void *small = arena_alloc(&arena, 10);
    memset(arena_alloc(&arena, 8 << 20), 2, 8 << 20);
    arena_reset(&arena);
    assert_ptr_equal(arena_alloc(&arena, 10), small);
    arena_fini(&arena);
}

/* After a reset the demand may come in another order; a chunk too small for it is kept for later. */
static void test_other_order_after_reset(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    arena_alloc(&arena, 4000);
    arena_alloc(&arena, 8000);
    void *large = arena_alloc(&arena, 60000);
    arena_reset(&arena);
    arena_alloc(&arena, 4000);
    assert_ptr_equal(arena_alloc(&arena, 60000), large);
    arena_fini(&arena);
}

static void test_copy(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_true(span_equal_text(arena_copy(&arena, SPAN("('x', 1)")), "('x', 1)"));
    assert_int_equal(arena_copy(&arena, (struct span){0}).size, 0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned_and_apart),
        cmocka_unit_test(test_warm_arena_reuses),
        cmocka_unit_test(test_reset_gives_back),
        cmocka_unit_test(test_other_order_after_reset),
        cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
