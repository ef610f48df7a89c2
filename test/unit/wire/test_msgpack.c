/* msgpack: what is written is shortest, what is read is checked, nothing reads past the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "wire/key.h"
#include "wire/msgpack.h"

static void expect_bytes(struct text *text, const char *bytes, size_t size)
{
    assert_int_equal(text->size, size);
    assert_memory_equal(text->data, bytes, size);
    text_clear(text);
}

#define EXPECT(text, literal) expect_bytes((text), (literal), sizeof(literal) - 1)

/* Ints take the fewest bytes, as msgpack-python writes them, at every border. */
static void test_ints_are_shortest(void **state)
{
    (void)state;
    struct text out = {0};
    static const struct {
        int64_t value;
        size_t size;
    } rows[] = {
        {0, 1},      {127, 1},    {128, 2},        {255, 2},          {256, 3},
        {65535, 3},  {65536, 5},  {UINT32_MAX, 5}, {1ll << 32, 9},    {INT64_MAX, 9},
        {-1, 1},     {-32, 1},    {-33, 2},        {-128, 2},         {-129, 3},
        {-32768, 3}, {-32769, 5}, {INT32_MIN, 5},  {-(1ll << 32), 9}, {INT64_MIN, 9},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t read = 0;
        msgpack_write_int(&out, rows[i].value);
        assert_int_equal(out.size, rows[i].size);
        struct msgpack_reader reader = msgpack_reader(text_span(&out));
        assert_int_equal(msgpack_read_int(&reader, &read), OK);
        assert_int_equal(read, rows[i].value);
        assert_true(msgpack_at_end(&reader));
        text_clear(&out);
    }
    msgpack_write_uint(&out, UINT64_MAX);
    EXPECT(&out, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    text_fini(&out);
}

static void test_other_scalars(void **state)
{
    (void)state;
    struct text out = {0};
    msgpack_write_nil(&out);
    msgpack_write_bool(&out, true);
    msgpack_write_bool(&out, false);
    msgpack_write_float(&out, 1.5);
    EXPECT(&out, "\xc0\xc3\xc2\xcb\x3f\xf8\0\0\0\0\0\0");
    msgpack_write_number(&out, 3);
    msgpack_write_number(&out, -0.01);
    EXPECT(&out, "\x03\xcb\xbf\x84\x7a\xe1\x47\xae\x14\x7b");
    msgpack_write_str(&out, SPAN("ab"));
    msgpack_write_bin(&out, SPAN("\0\xff"));
    EXPECT(&out, "\xa2"
                 "ab\xc4\x02\0\xff");
    msgpack_write_array(&out, 15);
    msgpack_write_array(&out, 16);
    msgpack_write_map(&out, 65536);
    EXPECT(&out, "\x9f\xdc\0\x10\xdf\0\x01\0\0");
    text_fini(&out);
}

/* Lengths of str and bin change their head at 32, 256 and 65,536 bytes. */
static void test_lengths_at_their_borders(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 31, 32, 255, 256, 65535, 65536, 70000};
    char *filler = memset(malloc(70000), 'x', 70000);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct text out = {0};
        struct span read;
        msgpack_write_str(&out, span_of(filler, sizes[i]));
        msgpack_write_bin(&out, span_of(filler, sizes[i]));
        struct msgpack_reader reader = msgpack_reader(text_span(&out));
        assert_int_equal(msgpack_read_str(&reader, &read), OK);
        assert_int_equal(read.size, sizes[i]);
        assert_int_equal(msgpack_read_bin(&reader, &read), OK);
        assert_int_equal(read.size, sizes[i]);
        assert_true(msgpack_at_end(&reader));
        text_fini(&out);
    }
    free(filler);
}

/* Any value cut short anywhere is told from a whole one, and the reader does not move. */
static void test_every_cut_is_noticed(void **state)
{
    (void)state;
    struct text out = {0};
    msgpack_write_map(&out, 2);
    msgpack_write_cstr(&out, "a name of more than thirty-two bytes, so");
    msgpack_write_array(&out, 3);
    msgpack_write_float(&out, 0.1);
    msgpack_write_int(&out, -70000);
    msgpack_write_bin(&out, SPAN("bytes"));
    msgpack_write_uint(&out, 300);
    msgpack_write_nil(&out);
    for (size_t size = 0; size < out.size; size++) {
        uint8_t *copy = malloc(size + 1); /* so that the sanitizer sees a read past the end */
        memcpy(copy, out.data, size);
        struct msgpack_reader reader = msgpack_reader(span_of(copy, size));
        int code = msgpack_skip(&reader);
        assert_int_equal(code, ERR_TRUNCATED);
        assert_ptr_equal(reader.at, copy);
        free(copy);
    }
    assert_int_equal(msgpack_check(text_span(&out)), OK);
    msgpack_write_nil(&out);
    assert_int_equal(msgpack_check(text_span(&out)), ERR_MALFORMED);
    text_fini(&out);
}

/* A count that claims more items than there are bytes is refused before anything is done with it. */
static void test_lying_counts(void **state)
{
    (void)state;
    uint32_t count = 7;
    struct msgpack_reader reader = msgpack_reader(SPAN("\xdd\xff\xff\xff\xff\xc0"));
    assert_int_equal(msgpack_read_array(&reader, &count), ERR_TRUNCATED);
    reader = msgpack_reader(SPAN("\xdf\xff\xff\xff\xff\xc0"));
    assert_int_equal(msgpack_read_map(&reader, &count), ERR_TRUNCATED);
    assert_int_equal(count, 7);
    assert_int_equal(msgpack_check(SPAN("\x81\xc0")), ERR_TRUNCATED);
    assert_int_equal(msgpack_check(SPAN("\xc1")), ERR_MALFORMED);
    assert_int_equal(msgpack_check(SPAN("\xc7\x01\x05\xaa")), OK);
    assert_int_equal(msgpack_check(SPAN("\xd4\x05")), ERR_TRUNCATED);
}

static void test_depth_is_limited(void **state)
{
    (void)state;
    struct text out = {0};
    for (int i = 0; i < LIMIT_MSGPACK_DEPTH_MAX; i++) {
        msgpack_write_array(&out, 1);
    }
    msgpack_write_nil(&out);
    assert_int_equal(msgpack_check(text_span(&out)), OK);
    text_clear(&out);
    for (int i = 0; i < LIMIT_MSGPACK_DEPTH_MAX + 1; i++) {
        msgpack_write_array(&out, 1);
    }
    msgpack_write_nil(&out);
    assert_int_equal(msgpack_check(text_span(&out)), ERR_LIMIT);
    text_fini(&out);
}

/* Python refuses these as UTF-8, so a peer would close: overlong, surrogates, cut, too large. */
static void test_utf8(void **state)
{
    (void)state;
    assert_true(msgpack_is_utf8(SPAN("plain text that is longer than eight bytes")));
    assert_true(msgpack_is_utf8(SPAN("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")));
    static const char *const broken[] = {
        "\xc0\x80", "\xed\xa0\x80", "\xe2\x82",         "\xf4\x90\x80\x80",
        "\xff",     "12345678\x80", "\xf0\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct text out = {0};
        struct span read;
        assert_false(msgpack_is_utf8(span_of_text(broken[i])));
        msgpack_write_str(&out, span_of_text(broken[i]));
        struct msgpack_reader reader = msgpack_reader(text_span(&out));
        assert_int_equal(msgpack_read_str(&reader, &read), ERR_MALFORMED);
        assert_int_equal(msgpack_check(text_span(&out)), ERR_MALFORMED);
        text_clear(&out);
        msgpack_write_str_lossy(&out, span_of_text(broken[i]));
        assert_int_equal(msgpack_check(text_span(&out)), OK);
        text_fini(&out);
    }
}

static void test_types_are_not_mixed_up(void **state)
{
    (void)state;
    struct msgpack_reader reader = msgpack_reader(SPAN("\xa1x"));
    int64_t number = 5;
    bool flag;
    double real;
    struct span bytes;
    assert_int_equal(msgpack_read_int(&reader, &number), ERR_TYPE);
    assert_int_equal(msgpack_read_bool(&reader, &flag), ERR_TYPE);
    assert_int_equal(msgpack_read_float(&reader, &real), ERR_TYPE);
    assert_int_equal(msgpack_read_bin(&reader, &bytes), ERR_TYPE);
    assert_int_equal(msgpack_read_nil(&reader), ERR_TYPE);
    assert_int_equal(number, 5);
    reader = msgpack_reader(SPAN("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"));
    assert_int_equal(msgpack_read_int(&reader, &number), ERR_LIMIT);
    reader = msgpack_reader(SPAN("\xff"));
    uint64_t wide;
    assert_int_equal(msgpack_read_uint(&reader, &wide), ERR_LIMIT);
    assert_int_equal(msgpack_read_float(&reader, &real), OK);
    assert_true(real == -1);
    reader = msgpack_reader(SPAN("\xca\x3f\xc0\0\0"));
    assert_int_equal(msgpack_read_float(&reader, &real), OK);
    assert_true(real == 1.5);
}

static void test_find(void **state)
{
    (void)state;
    struct span value;
    struct span map = SPAN("\x83\x01\xc0\xa1"
                           "a\x91\x05\xa1"
                           "b\xc3");
    assert_int_equal(msgpack_find(map, "a", &value), OK);
    assert_true(span_equal(value, SPAN("\x91\x05")));
    assert_int_equal(msgpack_find(map, "c", &value), ERR_NOT_FOUND);
    assert_int_equal(msgpack_find(SPAN("\x91\x05"), "a", &value), ERR_TYPE);
    assert_int_equal(msgpack_find(SPAN("\x81\xa1"
                                       "a"),
                                  "a", &value),
                     ERR_TRUNCATED);
}

static void expect_print(struct span value, size_t size_max, const char *expected)
{
    struct text out = {0};
    msgpack_print(&out, value, size_max);
    assert_string_equal(text_cstr(&out), expected);
    text_fini(&out);
}

static void test_print(void **state)
{
    (void)state;
    expect_print(SPAN("\x82\xa1"
                      "a\x93\x01\xc0\xc3\xa1"
                      "b\xc4\x02xy"),
                 100, "{'a': [1, None, True], 'b': <2 bytes>}");
    expect_print(SPAN("\x94\x01\x02\x03\x04"), 3, "[1, 2… 2 more]");
    expect_print(SPAN("\x93"), 100, "<1 bytes, TRUNCATED>");
    expect_print(SPAN("\x80"), 100, "{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ints_are_shortest),
        cmocka_unit_test(test_other_scalars),
        cmocka_unit_test(test_lengths_at_their_borders),
        cmocka_unit_test(test_every_cut_is_noticed),
        cmocka_unit_test(test_lying_counts),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_types_are_not_mixed_up),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
