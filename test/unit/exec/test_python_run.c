/* RUN as the extension of Python executors reads it: what is plain is taken apart here, what is not is left to Python, and
 * nothing is read beyond the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "exec/python_run.h"

#define PICKLED "\x81\xab__Pickled__\x01"
#define PLAIN_HEADER                                                                               \
    "\x83\xabpickled-obj\xc4\x04SPEC\xab"                                                          \
    "compression\x90\xaenum-sub-frames\x00"

static void add(struct text *out, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        text_add_char(out, (char)(value >> (8 * i)));
    }
}

static void add_bytes(struct text *out, const char *bytes, size_t size)
{
    add(out, size, 4);
    text_add(out, span_of(bytes, size));
}

/* A RUN with two inputs, no annotations, and a payload of one inline frame. */
static void make_run(struct text *out, const char *value, size_t value_size, const char *frame,
                     size_t frame_size)
{
    add(out, 3, 4);
    add(out, 2, 4);
    add(out, 11, 8);
    add(out, 12, 8);
    add_bytes(out, "\xa1k", 2);
    add_bytes(out, "", 0);
    add(out, value_size, 4);
    add(out, 1, 4);
    add(out, frame_size, 8);
    add(out, UINT64_MAX, 8);
    text_add(out, span_of(value, value_size));
    text_add(out, span_of(frame, frame_size));
}

static struct python_bytes body_of(const struct text *text)
{
    return (struct python_bytes){(const uint8_t *)text->data, text->size};
}

static bool is_plain(const char *value, size_t value_size, const char *frame, size_t frame_size)
{
    struct text text = {0};
    struct python_run run;
    make_run(&text, value, value_size, frame, frame_size);
    assert_true(python_run_read(body_of(&text), &run));
    bool found = run.spec.data != NULL;
    text_fini(&text);
    return found;
}

/* Nearly every task: a pickle without buffers. */
static void test_plain(void **state)
{
    (void)state;
    struct text text = {0};
    struct python_run run;
    make_run(&text, PICKLED, sizeof PICKLED - 1, PLAIN_HEADER, sizeof PLAIN_HEADER - 1);
    assert_true(python_run_read(body_of(&text), &run));
    assert_int_equal(run.flags, 3);
    assert_int_equal(run.input_count, 2);
    assert_int_equal(run.inputs[0], 11);
    assert_int_equal(run.inputs[8], 12);
    assert_int_equal(run.key.size, 2);
    assert_int_equal(run.annotations.size, 0);
    assert_int_equal(run.payload_at, 8 + 16 + 6 + 4);
    assert_int_equal(run.spec.size, 4);
    assert_memory_equal(run.spec.data, "SPEC", 4);
    text_fini(&text);
}

#define IS_PLAIN(value, frame) is_plain(value, sizeof(value) - 1, frame, sizeof(frame) - 1)

/* Compressed, with buffers of its own, or serialised otherwise: Python's. */
static void test_not_plain(void **state)
{
    (void)state;
    assert_true(IS_PLAIN(PICKLED, "\x81\xabpickled-obj\xc4\x01S"));
    assert_false(IS_PLAIN("\x81\xaf__Serialized__\x01", PLAIN_HEADER));
    assert_false(IS_PLAIN(PICKLED, "\x82\xabpickled-obj\xc4\x01S\xab"
                                   "compression\x91\xa3lz4"));
    assert_false(IS_PLAIN(PICKLED, "\x82\xabpickled-obj\xc4\x01S\xaenum-sub-frames\x01"));
    assert_false(IS_PLAIN(PICKLED, "\x82\xabpickled-obj\xc4\x01S\xa4type\xa1t"));
    assert_false(IS_PLAIN(PICKLED, "\x81\xabpickled-obj\xc4\x02S"));
    assert_false(IS_PLAIN(PICKLED, PLAIN_HEADER "more"));
    assert_false(IS_PLAIN(PICKLED, "\x80"));
}

/* Each prefix of a RUN, in memory that ends there: refused up to the payload, not plain after that. */
static void test_cut_short(void **state)
{
    (void)state;
    struct text text = {0};
    struct python_run run;
    make_run(&text, PICKLED, sizeof PICKLED - 1, PLAIN_HEADER, sizeof PLAIN_HEADER - 1);
    for (size_t size = 0; size < text.size; size++) {
        uint8_t *exact = malloc(size + (size == 0));
        assert_non_null(exact);
        memcpy(exact, text.data, size);
        bool is_read = python_run_read((struct python_bytes){exact, size}, &run);
        assert_int_equal(is_read, size >= 8 + 16 + 6 + 4);
        assert_true(!is_read || run.spec.data == NULL);
        free(exact);
    }
    text_fini(&text);
}

/* A count that would reach beyond the message, were it believed. */
static void test_counts(void **state)
{
    (void)state;
    struct python_run run;
    const uint8_t inputs[] = {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4};
    assert_false(python_run_read((struct python_bytes){inputs, sizeof inputs}, &run));
    struct python_key_part part;
    size_t at = 0;
    const uint8_t tuple[] = {0xdd, 0xff, 0xff, 0xff, 0xff, 1};
    assert_false(python_key_next((struct python_bytes){tuple, sizeof tuple}, &at, &part));
    assert_int_equal(at, 0);
}

static int64_t number_of(const char *bytes, size_t size)
{
    struct python_key_part part;
    size_t at = 0;
    assert_true(python_key_next((struct python_bytes){(const uint8_t *)bytes, size}, &at, &part));
    assert_int_equal(part.kind, PYTHON_KEY_NUMBER);
    assert_int_equal(at, size);
    return part.number;
}

#define NUMBER(bytes) number_of(bytes, sizeof(bytes) - 1)

/* All ways to write a number, and what a key may not be. */
static void test_keys(void **state)
{
    (void)state;
    assert_int_equal(NUMBER("\x05"), 5);
    assert_int_equal(NUMBER("\xff"), -1);
    assert_int_equal(NUMBER("\xcc\xff"), 255);
    assert_int_equal(NUMBER("\xcd\x01\x02"), 258);
    assert_int_equal(NUMBER("\xce\xff\xff\xff\xff"), UINT32_MAX);
    assert_int_equal(NUMBER("\xd0\x80"), -128);
    assert_int_equal(NUMBER("\xd1\xff\xfe"), -2);
    assert_int_equal(NUMBER("\xd2\x80\x00\x00\x00"), INT32_MIN);
    assert_int_equal(NUMBER("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), INT64_MIN);
    struct python_key_part part;
    size_t at = 0;
    const uint8_t key[] = {0x92, 0xa2, 'a', 'b', 0xd9, 1, 'c'};
    struct python_bytes bytes = {key, sizeof key};
    assert_true(python_key_next(bytes, &at, &part));
    assert_true(part.kind == PYTHON_KEY_TUPLE && part.count == 2);
    assert_true(python_key_next(bytes, &at, &part));
    assert_true(part.kind == PYTHON_KEY_STRING && part.string.size == 2);
    assert_true(python_key_next(bytes, &at, &part));
    assert_true(part.string.size == 1 && part.string.data[0] == 'c' && at == sizeof key);
    assert_false(python_key_next(bytes, &at, &part));
    static const char *const others[] = {
        "\xc0", "\xcb", "\xc4", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\xd9\x05x", "\xcd\x01"};
    static const size_t sizes[] = {1, 1, 1, 9, 3, 2};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        at = 0;
        bytes = (struct python_bytes){(const uint8_t *)others[i], sizes[i]};
        assert_false(python_key_next(bytes, &at, &part));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),     cmocka_unit_test(test_not_plain),
        cmocka_unit_test(test_cut_short), cmocka_unit_test(test_counts),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
