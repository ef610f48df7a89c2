/* Byte strings to numbers: behaves as a Python dict, order included. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

static void expect_order(const struct map *map, const char *expected)
{
    char got[256] = "";
    uint32_t cursor = 0;
    for (struct map_entry *entry = map_next(map, &cursor); entry != NULL;
         entry = map_next(map, &cursor)) {
        strncat(got, (const char *)entry->name.data, entry->name.size);
    }
    assert_string_equal(got, expected);
}

static void test_empty(void **state)
{
    (void)state;
    struct map map = {0};
    uint32_t cursor = 0;
    assert_null(map_find(&map, SPAN("x")));
    assert_false(map_remove(&map, SPAN("x")));
    assert_null(map_next(&map, &cursor));
    map_fini(&map);
}

/* Setting a known name keeps its place; removing and adding again moves it to the end. */
static void test_order_as_dict(void **state)
{
    (void)state;
    struct map map = {0};
    bool added = false;
    map_put(&map, SPAN("a"), &added)->value.number = 1;
    assert_true(added);
    map_put(&map, SPAN("b"), NULL)->value.number = 2;
    map_put(&map, SPAN("c"), NULL)->value.number = 3;
    assert_int_equal(map_put(&map, SPAN("a"), &added)->value.number, 1);
    assert_false(added);
    expect_order(&map, "abc");
    assert_true(map_remove(&map, SPAN("a")));
    assert_false(map_remove(&map, SPAN("a")));
    expect_order(&map, "bc");
    assert_int_equal(map_put(&map, SPAN("a"), NULL)->value.number, 0);
    expect_order(&map, "bca");
    map_fini(&map);
}

/* The empty name and names with NULs are names; the map keeps its own copy. */
static void test_names(void **state)
{
    (void)state;
    struct map map = {0};
    char name[3] = {'a', '\0', 'b'};
    map_put(&map, span_of(name, 3), NULL)->value.number = 1;
    map_put(&map, span_of(name, 1), NULL)->value.number = 2;
    map_put(&map, (struct span){0}, NULL)->value.number = 3;
    name[0] = 'x';
    assert_int_equal(map_find(&map, span_of("a\0b", 3))->value.number, 1);
    assert_int_equal(map_find(&map, SPAN("a"))->value.number, 2);
    assert_int_equal(map_find(&map, SPAN(""))->value.number, 3);
    assert_null(map_find(&map, span_of(name, 3)));
    map_fini(&map);
}

/* Against a plain array: many additions and removals, then every name asked for. */
static void test_churn(void **state)
{
    (void)state;
    enum { NAMES = 700 };
    static uint64_t expected[NAMES]; /* 0: absent */
    struct map map = {0};
    struct prng prng;
    uint32_t present = 0;
    prng_init(&prng, 3);
    for (uint64_t turn = 1; turn <= 50000; turn++) {
        uint32_t i = prng_below(&prng, NAMES);
        struct span name = span_of(&i, sizeof i);
        if (prng_below(&prng, 2) == 0) {
            bool added;
            map_put(&map, name, &added)->value.number = turn;
            assert_int_equal(added, expected[i] == 0);
            present += added;
            expected[i] = turn;
        } else {
            assert_int_equal(map_remove(&map, name), expected[i] != 0);
            present -= expected[i] != 0;
            expected[i] = 0;
        }
        assert_int_equal(map.count, present);
    }
    for (uint32_t i = 0; i < NAMES; i++) {
        struct map_entry *entry = map_find(&map, span_of(&i, sizeof i));
        assert_int_equal(entry == NULL ? 0 : entry->value.number, expected[i]);
    }
    assert_true(map.entry_capacity <= 4 * NAMES);
    map_fini(&map);
}

/* A worker's connections are dropped while they are walked. */
static void test_remove_while_iterating(void **state)
{
    (void)state;
    struct map map = {0};
    for (uint32_t i = 0; i < 100; i++) {
        map_put(&map, span_of(&i, sizeof i), NULL)->value.number = i;
    }
    uint32_t cursor = 0;
    uint32_t seen = 0;
    for (struct map_entry *entry = map_next(&map, &cursor); entry != NULL;
         entry = map_next(&map, &cursor)) {
        assert_int_equal(entry->value.number, seen);
        seen++;
        if (entry->value.number % 2 == 0) {
            assert_true(map_remove(&map, entry->name));
        }
    }
    assert_int_equal(seen, 100);
    assert_int_equal(map.count, 50);
    map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_order_as_dict),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_remove_while_iterating),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
