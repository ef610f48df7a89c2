/* Keys: one spelling for equal keys, and shown as Python shows them. */
#include "wire/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static void expect_canonical(struct span raw, struct span expected)
{
    struct arena scratch;
    struct span key;
    arena_init(&scratch);
    assert_int_equal(key_canonical(raw, &scratch, &key), OK);
    assert_true(span_equal(key, expected));
    arena_fini(&scratch);
}

/* Keys that stock wrote are used where they stand; other spellings of the same key are brought to it. */
static void test_one_spelling(void **state)
{
    (void)state;
    struct span tuple = SPAN("\x92\xa1x\x00");
    struct arena scratch;
    struct span key;
    arena_init(&scratch);
    assert_int_equal(key_canonical(tuple, &scratch, &key), OK);
    assert_ptr_equal(key.data, tuple.data);
    arena_fini(&scratch);

    expect_canonical(SPAN("\xd9\x01x"), SPAN("\xa1x"));
    expect_canonical(SPAN("\xda\x00\x01x"), SPAN("\xa1x"));
    expect_canonical(SPAN("\xdb\x00\x00\x00\x01x"), SPAN("\xa1x"));
    expect_canonical(SPAN("\xdc\x00\x02\xa1x\xcc\x00"), tuple);
    expect_canonical(SPAN("\xdd\x00\x00\x00\x02\xa1x\xd0\x00"), tuple);
    expect_canonical(SPAN("\xcf\0\0\0\0\0\0\0\x05"), SPAN("\x05"));
    expect_canonical(SPAN("\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), SPAN("\xff"));
    expect_canonical(SPAN("\xd1\xff\x7f"), SPAN("\xd1\xff\x7f"));
    expect_canonical(SPAN("\xca\x3f\xc0\0\0"), SPAN("\xcb\x3f\xf8\0\0\0\0\0\0"));
    expect_canonical(SPAN("\x90"), SPAN("\x90"));
}

static void test_what_is_no_key(void **state)
{
    (void)state;
    struct arena scratch;
    struct span key;
    arena_init(&scratch);
    assert_int_equal(key_canonical(SPAN("\xc0"), &scratch, &key), ERR_TYPE);
    assert_int_equal(key_canonical(SPAN("\xc3"), &scratch, &key), ERR_TYPE);
    assert_int_equal(key_canonical(SPAN("\xc4\x01x"), &scratch, &key), ERR_TYPE);
    assert_int_equal(key_canonical(SPAN("\x80"), &scratch, &key), ERR_TYPE);
    assert_int_equal(key_canonical(SPAN("\x92\xa1x\xc0"), &scratch, &key), ERR_TYPE);
    assert_int_equal(key_canonical(SPAN("\xa1x\x01"), &scratch, &key), ERR_MALFORMED);
    assert_int_equal(key_canonical(SPAN(""), &scratch, &key), ERR_TRUNCATED);
    assert_int_equal(key_canonical(SPAN("\xa2x"), &scratch, &key), ERR_TRUNCATED);
    assert_int_equal(key_canonical(SPAN("\xa1\xff"), &scratch, &key), ERR_MALFORMED);
    struct text deep = {0};
    for (int i = 0; i <= LIMIT_MSGPACK_DEPTH_MAX; i++) {
        msgpack_write_array(&deep, 1);
    }
    msgpack_write_int(&deep, 1);
    assert_int_equal(key_canonical(text_span(&deep), &scratch, &key), ERR_LIMIT);
    text_clear(&deep);
    char *filler = memset(malloc(LIMIT_KEY_BYTES_MAX), 'k', LIMIT_KEY_BYTES_MAX);
    msgpack_write_str(&deep, span_of(filler, LIMIT_KEY_BYTES_MAX));
    assert_int_equal(key_canonical(text_span(&deep), &scratch, &key), ERR_LIMIT);
    free(filler);
    text_fini(&deep);
    arena_fini(&scratch);
}

static void expect_repr(struct span key, const char *repr, const char *str)
{
    struct text out = {0};
    key_repr(&out, key);
    assert_string_equal(text_cstr(&out), repr);
    text_clear(&out);
    key_print(&out, key);
    assert_string_equal(text_cstr(&out), str);
    text_fini(&out);
}

/* repr() and str() as python3.11 gives them; dask.order breaks ties by str(key). */
static void test_shown_as_python_does(void **state)
{
    (void)state;
    expect_repr(SPAN("\xa5inc-1"), "'inc-1'", "inc-1");
    expect_repr(SPAN("\x92\xa1x\x00"), "('x', 0)", "('x', 0)");
    expect_repr(SPAN("\x91\xa1x"), "('x',)", "('x',)");
    expect_repr(SPAN("\x90"), "()", "()");
    expect_repr(SPAN("\x93\x90\x91\x90\x92\x01\x02"), "((), ((),), (1, 2))", "((), ((),), (1, 2))");
    expect_repr(SPAN("\xa4it's"), "\"it's\"", "it's");
    expect_repr(SPAN("\xa6\"it's\""), "'\"it\\'s\"'", "\"it's\"");
    expect_repr(SPAN("\xa6"
                     "a\\\n\t\x01\x7f"),
                "'a\\\\\\n\\t\\x01\\x7f'", "a\\\n\t\x01\x7f");
    expect_repr(SPAN("\xa7\xc3\xa9\xc2\xa0\xe2\x80\xa8"), "'é\\xa0\\u2028'",
                "é\xc2\xa0\xe2\x80\xa8");
    expect_repr(SPAN("\xff"), "-1", "-1");
    expect_repr(SPAN("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "18446744073709551615",
                "18446744073709551615");
}

static void test_floats_as_python_shows_them(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *repr;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {1795301735.7831435, "1795301735.7831435"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {1.5e-7, "1.5e-07"},
        {1e100, "1e+100"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0.30000000000000004, "0.30000000000000004"},
        {-12.25, "-12.25"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text out = {0};
        key_repr_float(&out, rows[i].value);
        assert_string_equal(text_cstr(&out), rows[i].repr);
        text_fini(&out);
    }
}

static void expect_list(struct span raw, unsigned count, bool given, const char *keys)
{
    struct arena scratch;
    struct key_list list;
    struct text out = {0};
    struct span key;
    arena_init(&scratch);
    struct msgpack_reader reader = msgpack_reader(raw);
    assert_int_equal(key_list_read(&reader, &scratch, &list), OK);
    assert_true(msgpack_at_end(&reader));
    assert_int_equal(list.count, count);
    assert_int_equal(list.given, given);
    while (key_list_next(&list, &key)) {
        key_repr(&out, key);
        text_add_char(&out, ' ');
    }
    assert_string_equal(text_cstr(&out), keys);
    text_fini(&out);
    arena_fini(&scratch);
}

/* Lists of keys arrive as lists, as sets, or as nil. */
static void test_lists(void **state)
{
    (void)state;
    expect_list(SPAN("\x92\xa1"
                     "a\x91\x01"),
                2, true, "'a' (1,) ");
    expect_list(SPAN("\x82\xa7__Set__\xc3\xa7"
                     "as-list\x91\xa1"
                     "a"),
                1, true, "'a' ");
    expect_list(SPAN("\xc0"), 0, false, "");
    expect_list(SPAN("\x90"), 0, true, "");
    /* The second key is not canonical: the whole list is written anew. */
    expect_list(SPAN("\x93\xa1"
                     "a\xd9\x01"
                     "b\xa1"
                     "c"),
                3, true, "'a' 'b' 'c' ");
    struct arena scratch;
    struct key_list list;
    arena_init(&scratch);
    struct msgpack_reader reader = msgpack_reader(SPAN("\x81\xa1"
                                                       "a\x01"));
    assert_int_equal(key_list_read(&reader, &scratch, &list), ERR_TYPE);
    reader = msgpack_reader(SPAN("\x92\xa1"
                                 "a\xc0"));
    assert_int_equal(key_list_read(&reader, &scratch, &list), ERR_TYPE);
    arena_fini(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_spelling),
        cmocka_unit_test(test_what_is_no_key),
        cmocka_unit_test(test_shown_as_python_does),
        cmocka_unit_test(test_floats_as_python_shows_them),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
