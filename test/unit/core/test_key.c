/* test_key.c: prefix, group and text of keys, compared with what dask.utils.key_split,
 * distributed.utils.key_split_group, str() and repr() say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/key.h"

static struct span text_key(struct arena *arena, const char *text)
{
    size_t size = strlen(text);
    uint8_t *bytes = arena_alloc(arena, size + 2);
    bytes[0] = 0xd9;
    bytes[1] = (uint8_t)size;
    memcpy(bytes + 2, text, size);
    if (size < 32) {
        bytes[1] = (uint8_t)(0xa0 | size);
        return span_of(bytes + 1, size + 1);
    }
    return span_of(bytes, size + 2);
}

static void assert_span(struct span span, const char *expected)
{
    assert_int_equal(span.size, strlen(expected));
    assert_memory_equal(span.data, expected, span.size);
}

/* Strings of all the forms that people and collections make. */
static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *key, *prefix, *group;
    } rows[] = {
        {"x", "x", "x"},
        {"x-1", "x", "x"},
        {"x-1-2-3", "x", "x"},
        {"('x-2', 1)", "x", "x-2"},
        {"('x', 1)", "x", "x"},
        {"hello-world-1", "hello-world", "hello-world"},
        {"ae05086432ca935f6eba409a8ecd4896", "data", "data"},
        {"<module.submodule.myclass object at 0xdaf372", "myclass", "myclass"},
        {"x-abcdefab", "x", "x"},
        {"x-absolute-1", "x", "x"}, /* eight letters, the first of a to f: Dask takes it for hex */
        {"x-elephant", "x", "x"},
        {"x-tabulate", "x-tabulate", "x-tabulate"},
        {"_(x)", "x", "x"},
        {"", "Other", "Other"},
        {"-", "Other", "Other"},
        {"1,2-foo", "1-foo", "1-foo"},
        {"(foo)-bar", "foo-bar", "foo)-bar"},
        {"sum-partial-6912", "sum-partial", "sum-partial"},
        {"<>", "Other", "Other"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span key = text_key(&arena, rows[i].key);
        assert_span(key_prefix(key, &arena), rows[i].prefix);
        assert_span(key_group(key, &arena), rows[i].group);
        assert_span(key_as_text(key, &arena), rows[i].key);
    }
    arena_fini(&arena);
}

/* Tuples, numbers, and tuples in tuples. */
static void test_tuples(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    /* ("x-2", (1, (1.5,)), -256) */
    static const uint8_t nested[] = {0x93, 0xa3, 'x', '-', '2', 0x92, 0x01, 0x91, 0xcb, 0x3f,
                                     0xf8, 0,    0,   0,   0,   0,    0,    0xd1, 0xff, 0x00};
    struct span key = span_of(nested, sizeof nested);
    assert_span(key_prefix(key, &arena), "x");
    assert_span(key_group(key, &arena), "x-2");
    assert_span(key_as_text(key, &arena), "('x-2', (1, (1.5,)), -256)");
    static const uint8_t empty[] = {0x91, 0x90};
    key = span_of(empty, sizeof empty);
    assert_span(key_prefix(key, &arena), "Other");
    assert_span(key_as_repr(key, &arena), "((),)");
    static const uint8_t number[] = {0xcd, 0x01, 0x00};
    key = span_of(number, sizeof number);
    assert_span(key_prefix(key, &arena), "Other");
    assert_span(key_group(key, &arena), "Other");
    assert_span(key_as_text(key, &arena), "256");
    static const uint8_t of_number[] = {0x92, 0x07, 0xa1, 'y'};
    key = span_of(of_number, sizeof of_number);
    assert_span(key_group(key, &arena), "7");
    assert_span(key_as_text(key, &arena), "(7, 'y')");
    arena_fini(&arena);
}

/* Quotes and control characters, as repr() shows them. */
static void test_repr(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_span(key_as_repr(text_key(&arena, "x"), &arena), "'x'");
    assert_span(key_as_repr(text_key(&arena, "it's"), &arena), "\"it's\"");
    assert_span(key_as_repr(text_key(&arena, "'\""), &arena), "'\\'\"'");
    assert_span(key_as_repr(text_key(&arena, "a\nb\\\x01"), &arena), "'a\\nb\\\\\\x01'");
    arena_fini(&arena);
}

/* A key nested as deep as its length allows is rendered without recursion. */
static void test_deep(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    enum { DEPTH = 500 };
    uint8_t bytes[DEPTH + 1];
    memset(bytes, 0x91, DEPTH);
    bytes[DEPTH] = 0x01;
    struct span text = key_as_text(span_of(bytes, sizeof bytes), &arena);
    assert_int_equal(text.size, 3 * DEPTH + 1);
    assert_span(key_prefix(span_of(bytes, sizeof bytes), &arena), "Other");
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_tuples),
        cmocka_unit_test(test_repr),
        cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
