/* The parts of order that have corners of their own: sorting by words, huge sums, sets of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/order_internal.h"
#include "core/order_set.h"
#include "core/order_total.h"

enum { ROW_COUNT = 600, ROW_WORDS = 4 };

struct table {
    uint64_t words[ROW_COUNT][ROW_WORDS];
    uint32_t depth_max[ROW_COUNT];
};

static uint64_t table_word(const void *context, uint32_t row, uint32_t depth)
{
    const struct table *table = context;
    return table->words[row][depth];
}

static uint32_t table_depth_max(const void *context, uint32_t row)
{
    const struct table *table = context;
    return table->depth_max[row];
}

/* Rows that agree on their first words, some shorter than others, in runs both short and long: the
 * result ascends, and equal rows keep their order. */
static void test_sort_words(void **state)
{
    (void)state;
    struct table table = {0};
    struct prng prng;
    prng_init(&prng, 1);
    uint32_t rows[ROW_COUNT];
    for (uint32_t row = 0; row < ROW_COUNT; row++) {
        rows[row] = row;
        table.depth_max[row] = prng_below(&prng, ROW_WORDS);
        for (uint32_t depth = 0; depth <= table.depth_max[row]; depth++) {
            table.words[row][depth] = (uint64_t)prng_below(&prng, 3) << prng_below(&prng, 2) * 40;
        }
    }
    struct order_words words = {&table, table_word, table_depth_max};
    order_sort_words(&words, rows, ROW_COUNT);
    for (uint32_t i = 1; i < ROW_COUNT; i++) {
        const uint64_t *a = table.words[rows[i - 1]];
        const uint64_t *b = table.words[rows[i]];
        uint32_t depth = 0;
        while (depth < ROW_WORDS && a[depth] == b[depth]) {
            depth++;
        }
        assert_true(depth == ROW_WORDS ? rows[i - 1] < rows[i] : a[depth] < b[depth]);
    }
}

static uint64_t sum_of(struct order_totals *totals, uint64_t a, uint64_t b)
{
    const struct order_node nodes[] = {{.total = a}, {.total = b}};
    const uint32_t ids[] = {0, 1};
    return order_totals_sum(totals, nodes, ids, 2);
}

/* A ladder in which each rung needs the one below twice has 2^n - 1 paths at rung n, and one that
 * needs another root beside has a few more: told apart exactly at rung 1,000. */
static void test_totals_are_exact(void **state)
{
    (void)state;
    struct order_totals totals;
    order_totals_init(&totals, 1 << 20);
    uint64_t plain = 1;
    uint64_t same = 1;
    uint64_t more = 2;
    for (int rung = 0; rung < 1000; rung++) {
        plain = sum_of(&totals, plain, plain);
        same = sum_of(&totals, same, same);
        more = sum_of(&totals, more, plain);
        assert_true(plain == same);
        assert_true(more != plain);
    }
    uint64_t next = sum_of(&totals, plain, 0);
    assert_true(plain >= ORDER_TOTAL_BIG);
    order_totals_rank(&totals);
    assert_true(order_totals_ranked(&totals, plain) < order_totals_ranked(&totals, next));
    assert_true(order_totals_ranked(&totals, next) < order_totals_ranked(&totals, more));
    assert_true(order_totals_ranked(&totals, 5) == 5);
    order_totals_fini(&totals);
}

/* So many rungs that low bits are dropped: numbers still grow from rung to rung, and two equal
 * ladders stay equal when the precision falls while one of them is a rung ahead. */
static void test_totals_beyond_precision(void **state)
{
    (void)state;
    enum { RUNGS = 9000 };
    struct order_totals totals;
    order_totals_init(&totals, 10);
    uint64_t *rungs = mem_zalloc(RUNGS, sizeof *rungs);
    rungs[0] = 1;
    uint64_t other = 1;
    for (uint32_t rung = 1; rung < RUNGS; rung++) {
        rungs[rung] = sum_of(&totals, rungs[rung - 1], rungs[rung - 1]);
        other = sum_of(&totals, other, other);
        assert_true(other == rungs[rung]);
    }
    uint64_t with_small = sum_of(&totals, rungs[RUNGS - 1], 1);
    order_totals_rank(&totals);
    for (uint32_t rung = 1; rung < RUNGS; rung++) {
        assert_true(order_totals_ranked(&totals, rungs[rung - 1]) <
                    order_totals_ranked(&totals, rungs[rung]));
    }
    assert_true(order_totals_ranked(&totals, with_small) >=
                order_totals_ranked(&totals, rungs[RUNGS - 1]));
    mem_free(rungs);
    order_totals_fini(&totals);
}

static void check_members(const struct order_set *set, const uint32_t *expected, uint32_t count)
{
    struct order_set_cursor cursor = {0};
    uint32_t member;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(order_set_next(set, &cursor, &member));
        assert_int_equal(member, expected[i]);
    }
    assert_false(order_set_next(set, &cursor, &member));
}

/* The three forms of a set: one member, a list, a run of bits that starts in the middle of a word. */
static void test_set_members(void **state)
{
    (void)state;
    struct order_set one = {.count = 1, .low = 77, .high = 77};
    check_members(&one, (const uint32_t[]){77}, 1);

    uint32_t list[] = {3, 700, 7000};
    struct order_set thin = {.list = list, .count = 3, .low = 3, .high = 7000};
    assert_true(order_set_is_list(&thin));
    check_members(&thin, list, 3);

    uint64_t bits[] = {UINT64_C(1) << 63, 0, 7};
    struct order_set thick = {.bits = bits, .count = 4, .low = 127, .high = 194};
    assert_true(order_set_is_list(&thick));
    uint64_t more_bits[] = {UINT64_C(7) << 61, 0, 7};
    thick = (struct order_set){.bits = more_bits, .count = 6, .low = 125, .high = 194};
    assert_false(order_set_is_list(&thick));
    check_members(&thick, (const uint32_t[]){125, 126, 127, 192, 193, 194}, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sort_words),
        cmocka_unit_test(test_totals_are_exact),
        cmocka_unit_test(test_totals_beyond_precision),
        cmocka_unit_test(test_set_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
