/* The builder, and the parsers of sizes and durations held against Dask's answers. */
#include "base/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct case_of_text {
    const char *text;
    double value; /* NAN: dask.utils raises */
};

/* Answers of dask.utils.parse_bytes 2026.8.0. */
static const struct case_of_text BYTES[] = {
    {"100", 100.0},
    {"100 MB", 100000000.0},
    {"100M", 100000000.0},
    {"5kB", 5000.0},
    {"5.4 kB", 5400.0},
    {"1kiB", 1024.0},
    {"1e6", 1000000.0},
    {"1e6 kB", 1000000000.0},
    {"MB", 1000000.0},
    {"64 MiB", 67108864.0},
    {"1GB", 1000000000.0},
    {"", 1.0},
    {"  ", 1.0},
    {"2.5GiB", 2684354560.0},
    {"1_000 kB", 1000000.0},
    {"1__0", NAN},
    {"_1", NAN},
    {"1_", NAN},
    {"-5 kB", -5000.0},
    {"+3k", 3000.0},
    {"1e-3MB", 1000.0},
    {"1E2b", 100.0},
    {".5k", 500.0},
    {"5.k", 5000.0},
    {"5.", 5.0},
    {"0x10", NAN},
    {"inf", NAN},
    {"nan", NAN},
    {"5 foos", NAN},
    {"1e", NAN},
    {"1e5e", NAN},
    {"k5", NAN},
    {"1e999", NAN},
    {"1 e 3", 1000.0},
    {"\0117 kB", 7000.0},
    {"3PiB", 3377699720527872.0},
    {"7ki", 7168.0},
    {"8 p", 8000000000000000.0},
    {"b", 1.0},
    {"1.9 B", 1.0},
    {"1e18", 1e+18},
    {"12 34", 1234.0},
    {"1.2.3", NAN},
    {"--1", NAN},
    {"5 K i B", 5120.0},
    {"\331\241kB", NAN},
};

/* Answers of dask.utils.parse_timedelta 2026.8.0. */
static const struct case_of_text SECONDS[] = {
    {"100 ms", 0.1},
    {"5s", 5.0},
    {"2h", 7200.0},
    {"1 day", 86400.0},
    {"30", 30.0},
    {"3.5 seconds", 3.5},
    {"300ms", 0.3},
    {"2 weeks", 1209600.0},
    {"5 MINUTES", 300.0},
    {"1us", 1e-06},
    {"10 ns", 1e-08},
    {"h", 3600.0},
    {"ms", 0.001},
    {"", NAN},
    {".5s", 1.5},
    {"-5s", NAN},
    {"+1s", NAN},
    {"1e3 ms", 1.0},
    {"1_0s", 10.0},
    {"1e", NAN},
    {"5 fortnights", NAN},
    {"0.1", 0.1},
    {"500 milliseconds", 0.5},
    {"1 Day", 86400.0},
    {"7d", 604800.0},
    {"s5", NAN},
    {"1.s", 1.0},
    {"1..s", NAN},
    {"inf", NAN},
    {"1e400", NAN},
    {"nanosecond", 1e-09},
    {"2 w", 1209600.0},
    {"60m", 3600.0},
    {"1 e 2 s", 100.0},
    {" ", NAN},
    {"5\011s", 5.0},
};

/* Answers of dask.utils.format_bytes 2026.8.0. */
static const struct {
    double bytes;
    const char *text;
} SIZES[] = {
    {0, "0 B"},
    {1, "1 B"},
    {921, "921 B"},
    {922, "0.90 kiB"},
    {1000, "0.98 kiB"},
    {1234, "1.21 kiB"},
    {12345678, "11.77 MiB"},
    {1234567890, "1.15 GiB"},
    {1234567890000, "1.12 TiB"},
    {1234567890000000, "1.10 PiB"},
    {1000000000000000000, "888.18 PiB"},
    {-5, "-5 B"},
    {943718, "921.60 kiB"},
    {943719, "0.90 MiB"},
    {0.5, "0.5 B"},
    {12.25, "12.25 B"},
};

typedef bool (*parse_fn)(struct span text, double *out);

static void compare(const struct case_of_text *cases, size_t count, parse_fn parse)
{
    for (size_t i = 0; i < count; i++) {
        double value = -12345;
        bool parsed = parse(span_of_text(cases[i].text), &value);
        if (parsed == (isnan(cases[i].value) != 0) || (parsed && value != cases[i].value) ||
            (!parsed && value != -12345)) {
            fail_msg("'%s' gave %d, %.17g; Dask says %.17g", cases[i].text, parsed, value,
                     cases[i].value);
        }
    }
}

/* Settings come from Dask's YAML files and environment; they must mean what Dask makes of them. */
static void test_parse_as_dask(void **state)
{
    (void)state;
    compare(BYTES, sizeof BYTES / sizeof BYTES[0], text_parse_bytes);
    compare(SECONDS, sizeof SECONDS / sizeof SECONDS[0], text_parse_seconds);
}

/* Longer than any number, or with a NUL inside: refused, not cut. */
static void test_parse_hostile(void **state)
{
    (void)state;
    static char digits[100000];
    double value;
    memset(digits, '1', sizeof digits);
    assert_false(text_parse_bytes(span_of(digits, sizeof digits), &value));
    assert_false(text_parse_seconds(span_of(digits, sizeof digits), &value));
    assert_true(text_parse_bytes(span_of(digits, 256), &value));
    assert_false(text_parse_bytes(span_of(digits, 257), &value));
    memset(digits, 'k', 256);
    assert_false(text_parse_bytes(span_of(digits, 256), &value));
    assert_false(text_parse_bytes(span_of("1\0kB", 4), &value));
    assert_true(text_parse_bytes((struct span){0}, &value));
}

static void test_bytes_size_as_dask(void **state)
{
    (void)state;
    struct text text = {0};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        text_clear(&text);
        text_add_bytes_size(&text, SIZES[i].bytes);
        assert_string_equal(text_cstr(&text), SIZES[i].text);
    }
    text_fini(&text);
}

static void test_builder(void **state)
{
    (void)state;
    struct text text = {0};
    assert_string_equal(text_cstr(&text), "");
    text_clear(&text);
    text_add(&text, (struct span){0});
    assert_string_equal(text_cstr(&text), "");
    text_add_cstr(&text, "ab");
    text_add_char(&text, '\0');
    text_printf(&text, "%d-%s", 12, "c");
    assert_int_equal(text.size, 7);
    assert_memory_equal(text.data, "ab\00012-c", 8);
    text_clear(&text);
    assert_int_equal(text_span(&text).size, 0);
    text_fini(&text);
    assert_null(text.data);
}

/* A formatted piece may be longer than the room that is left, or fit it to the byte. */
static void test_printf_grows(void **state)
{
    (void)state;
    for (int length = 0; length < 300; length++) {
        struct text text = {0};
        text_printf(&text, "%*s", length, "");
        text_printf(&text, "%0*d", 200, 7);
        assert_int_equal(text.size, (size_t)length + 200);
        assert_int_equal(strlen(text.data), text.size);
        assert_int_equal(text.data[text.size - 1], '7');
        text_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_as_dask),      cmocka_unit_test(test_parse_hostile),
        cmocka_unit_test(test_bytes_size_as_dask), cmocka_unit_test(test_builder),
        cmocka_unit_test(test_printf_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
