/* Which tasks the wanted ones need. */
#include "core/cull.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* 0 and 1 are roots, 2 needs 0, 3 needs 1 and 2, 4 needs 2 and a key that is not in the graph. */
static const uint32_t dep_start[] = {0, 0, 0, 1, 3, 5};
static const uint32_t deps[] = {0, 1, 2, 2, 5};
static const struct cull_graph graph = {5, dep_start, deps};

static void check_kept(const uint32_t *wanted, uint32_t wanted_count, const char *expected)
{
    uint8_t keep[5];
    char found[6] = {0};
    uint32_t count = cull_mark(&graph, wanted, wanted_count, keep);
    for (uint32_t task = 0; task < 5; task++) {
        found[task] = keep[task] ? 'x' : '.';
        count -= keep[task];
    }
    assert_string_equal(found, expected);
    assert_int_equal(count, 0);
}

/* A client computes one key of a larger dict: only what it needs is kept. */
static void test_keeps_what_is_needed(void **state)
{
    (void)state;
    check_kept((const uint32_t[]){3}, 1, "xxxx.");
    check_kept((const uint32_t[]){4}, 1, "x.x.x");
    check_kept((const uint32_t[]){1}, 1, ".x...");
    check_kept((const uint32_t[]){3, 4, 3}, 3, "xxxxx");
}

/* Wanted keys that are not in the graph (futures of earlier ones) are no error. */
static void test_skips_unknown(void **state)
{
    (void)state;
    check_kept((const uint32_t[]){5, 9, 0}, 3, "x....");
    check_kept(NULL, 0, ".....");
}

static void test_empty_graph(void **state)
{
    (void)state;
    const struct cull_graph empty = {0, (const uint32_t[]){0}, NULL};
    assert_int_equal(cull_mark(&empty, (const uint32_t[]){0}, 1, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_what_is_needed),
        cmocka_unit_test(test_skips_unknown),
        cmocka_unit_test(test_empty_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
