/* Growing arrays by macro. */
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct pair {
    int a;
    int b;
};

static void test_push_pop(void **state)
{
    (void)state;
    struct VEC(struct pair) pairs = {0};
    for (int i = 0; i < 1000; i++) {
        vec_push(&pairs, (struct pair){i, -i});
    }
    assert_int_equal(pairs.count, 1000);
    assert_true(pairs.capacity >= 1000);
    for (int i = 999; i >= 0; i--) {
        struct pair pair = vec_pop(&pairs);
        assert_int_equal(pair.a, i);
        assert_int_equal(pair.b, -i);
    }
    vec_fini(&pairs);
    assert_null(pairs.items);
    assert_int_equal(pairs.capacity, 0);
}

/* Removing without order: the last item fills the gap, also when it is the one removed. */
static void test_swap_remove(void **state)
{
    (void)state;
    struct VEC(int) numbers = {0};
    for (int i = 0; i < 4; i++) {
        vec_push(&numbers, i);
    }
    vec_swap_remove(&numbers, 1);
    assert_int_equal(numbers.items[1], 3);
    vec_swap_remove(&numbers, 2);
    assert_int_equal(numbers.count, 2);
    assert_int_equal(numbers.items[0], 0);
    vec_fini(&numbers);
}

/* A message says how many items follow: one reservation, no further growth. */
static void test_reserve(void **state)
{
    (void)state;
    struct VEC(uint64_t) numbers = {0};
    vec_reserve(&numbers, 100);
    const uint64_t *items = numbers.items;
    for (uint64_t i = 0; i < 100; i++) {
        vec_push(&numbers, i);
    }
    assert_ptr_equal(numbers.items, items);
    vec_fini(&numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_push_pop),
        cmocka_unit_test(test_swap_remove),
        cmocka_unit_test(test_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
