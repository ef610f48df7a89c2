/* Spans: order, equality, and a hash that spreads what keys look like. */
#include "base/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* memcmp order with a prefix first: how Python orders bytes. */
static void test_compare(void **state)
{
    (void)state;
    assert_true(span_compare(SPAN("a"), SPAN("b")) < 0);
    assert_true(span_compare(SPAN("ab"), SPAN("a")) > 0);
    assert_true(span_compare(SPAN(""), SPAN("a")) < 0);
    assert_true(span_compare(SPAN("\xff"), SPAN("a")) > 0);
    assert_int_equal(span_compare((struct span){0}, SPAN("")), 0);
    assert_true(span_equal((struct span){0}, SPAN("")));
    assert_false(span_equal(SPAN("a"), SPAN("b")));
    assert_true(span_equal_text(SPAN("abc"), "abc"));
    assert_false(span_equal_text(SPAN("abc"), "ab"));
    assert_true(span_equal_text((struct span){0}, NULL));
}

static int order_u64(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* Keys differ in a few digits: no two of 200,000 may collide in 64 bits, nor crowd in the low ones. */
static void test_hash_spreads(void **state)
{
    (void)state;
    enum { KEYS = 200000, BUCKETS = 1 << 12 };
    uint64_t *hashes = calloc(KEYS, sizeof *hashes);
    uint32_t *buckets = calloc(BUCKETS, sizeof *buckets);
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[64];
        int size = snprintf(key, sizeof key, "('sum-aggregate-5f2c', %u, %u)", i / 400, i % 400);
        hashes[i] = span_hash(span_of(key, (size_t)size));
        buckets[hashes[i] % BUCKETS]++;
    }
    for (uint32_t i = 0; i < BUCKETS; i++) {
        assert_in_range(buckets[i], 10, 100); /* 49 on average, deviation 7 */
    }
    qsort(hashes, KEYS, sizeof *hashes, order_u64);
    for (uint32_t i = 1; i < KEYS; i++) {
        assert_true(hashes[i] != hashes[i - 1]);
    }
    free(hashes);
    free(buckets);
}

/* Every byte counts at every length, zero bytes too; nothing outside the span is read (ASan). */
static void test_hash_sees_every_byte(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 70; size++) {
        uint8_t *bytes = calloc(1, size + 1);
        uint8_t *exact = malloc(size == 0 ? 1 : size);
        uint64_t zero = span_hash(span_of(bytes, size));
        assert_true(zero != span_hash(span_of(bytes, size + 1)));
        for (size_t i = 0; i < size; i++) {
            memset(exact, 0, size);
            exact[i] = 1;
            assert_true(span_hash(span_of(exact, size)) != zero);
        }
        free(exact);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_hash_sees_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
