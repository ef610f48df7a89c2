/* Compression: what Python's libraries made can be read, what we make can be read back, bombs cannot. */
#include "wire/compress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct span python_lz4 = {
    (const uint8_t *)"\x78\x00\x00\x00\x3f\x61\x62\x63\x03\x00\x5d\x50\x62\x63\x61\x62\x63", 17};
static const struct span python_zstd = {
    (const uint8_t *)"\x28\xb5\x2f\xfd\x20\x78\x55\x00\x00\x18\x61\x62\x63\x01\x00\xd2\xd4\x0d\x01",
    19};
static const struct span python_zlib = {
    (const uint8_t *)"\x78\x9c\x4b\x4c\x4a\x4e\x1c\x08\x04\x00\xdb\xf6\x2d\xf1", 14};

/* "abc" * 40 as lz4.block, zstandard and zlib compress it, the way distributed calls them. */
static void test_from_python(void **state)
{
    (void)state;
    const struct span inputs[] = {python_lz4, python_zstd, python_zlib};
    const enum compress_method methods[] = {COMPRESS_LZ4, COMPRESS_ZSTD, COMPRESS_ZLIB};
    for (unsigned i = 0; i < 3; i++) {
        struct slice out = {0};
        assert_int_equal(compress_decode(methods[i], inputs[i], 120, &out), OK);
        assert_int_equal(out.size, 120);
        for (unsigned j = 0; j < 120; j++) {
            assert_int_equal(out.data[j], "abc"[j % 3]);
        }
        slice_fini(&out);
        assert_int_equal(compress_decode(methods[i], inputs[i], 119, &out), ERR_LIMIT);
        for (size_t size = 0; size < inputs[i].size; size++) {
            int code = compress_decode(methods[i], span_of(inputs[i].data, size), 1000, &out);
            assert_int_equal(code, ERR_MALFORMED);
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    enum compress_method method = COMPRESS_NONE;
    assert_true(compress_find(SPAN("zstd"), &method));
    assert_int_equal(method, COMPRESS_ZSTD);
    assert_string_equal(compress_name(COMPRESS_SNAPPY), "snappy");
    assert_false(compress_find(SPAN("blosc"), &method));
    assert_null(compress_name(COMPRESS_NONE));
}

/* Compressible data shrinks and comes back; noise and short data are left alone. */
static void test_when_it_pays(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    uint8_t *regular = malloc(SIZE);
    uint8_t *noise = malloc(SIZE);
    uint32_t random = 1;
    for (unsigned i = 0; i < SIZE; i++) {
        random = random * 1664525 + 1013904223;
        regular[i] = (uint8_t)(i / 1000);
        noise[i] = (uint8_t)(random >> 24);
    }
    for (enum compress_method method = COMPRESS_LZ4; method <= COMPRESS_SNAPPY; method++) {
        struct slice small = {0};
        struct slice back = {0};
        assert_true(compress_encode(method, span_of(regular, SIZE), 7, &small));
        assert_true(small.size < SIZE / 2);
        assert_int_equal(compress_decode(method, slice_span(small), SIZE, &back), OK);
        assert_true(span_equal(slice_span(back), span_of(regular, SIZE)));
        slice_fini(&back);
        assert_int_equal(compress_decode(method, slice_span(small), SIZE - 1, &back), ERR_LIMIT);
        slice_fini(&small);
        assert_false(compress_encode(method, span_of(noise, SIZE), 7, &small));
        assert_false(compress_encode(method, span_of(regular, 9999), 7, &small));
        assert_true(compress_encode(method, span_of(regular, 10000), 7, &small));
        slice_fini(&small);
    }
    assert_false(compress_encode(COMPRESS_NONE, span_of(regular, SIZE), 7, &(struct slice){0}));
    free(regular);
    free(noise);
}

/* A header that declares gigabytes for a few bytes is not believed. */
static void test_bombs(void **state)
{
    (void)state;
    struct slice out = {0};
    const uint64_t max = 1ull << 40;
    assert_int_equal(compress_decode(COMPRESS_LZ4, SPAN("\xff\xff\xff\x7f\x10x"), max, &out),
                     ERR_LIMIT);
    assert_int_equal(compress_decode(COMPRESS_LZ4, SPAN("\xff\xff\xff\xff\x10x"), max, &out),
                     ERR_LIMIT);
    assert_int_equal(compress_decode(COMPRESS_SNAPPY, SPAN("\xff\xff\xff\xff\x0fx"), max, &out),
                     ERR_LIMIT);
    struct span zstd = SPAN("\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x01\x00\x00");
    assert_int_equal(compress_decode(COMPRESS_ZSTD, zstd, max, &out), ERR_LIMIT);
    assert_null(out.owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_python),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_when_it_pays),
        cmocka_unit_test(test_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
