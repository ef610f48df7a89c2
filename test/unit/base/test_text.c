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

/* Answers of Python's repr(). */
static const struct {
    double real;
    const char *text;
} REALS[] = {
    {0x0.0p+0, "0.0"},
    {-0x0.0p+0, "-0.0"},
    {0x1.0000000000000p+0, "1.0"},
    {0x1.999999999999ap-4, "0.1"},
    {0x1.1c37937e08000p+53, "1e+16"},
    {0x1.c6bf526340000p+49, "1000000000000000.0"},
    {0x1.b69b4ba630f35p+56, "1.2345678901234568e+17"},
    {0x1.1c37937e07fffp+53, "9999999999999998.0"},
    {0x1.a36e2eb1c432dp-14, "0.0001"},
    {0x1.4f8b588e368f1p-17, "1e-05"},
    {0x1.02e4b6ce5dc68p-13, "0.00012345"},
    {0x1.4000000000000p+1, "2.5"},
    {-0x1.1eb2d66005835p+997, "-1.5e+300"},
    {0x0.0000000000001p-1022, "5e-324"},
    {0x1.fffffffffffffp+1023, "1.7976931348623157e+308"},
    {0x1.5555555555555p-2, "0.3333333333333333"},
    {0x1.0f0cf064dd592p+73, "1e+22"},
    {0x1.52d02c7e14af6p+76, "1e+23"},
    {0x1.86a0000000000p+16, "100000.0"},
    {INFINITY, "inf"},
    {-INFINITY, "-inf"},
    {NAN, "nan"},
    {0x1.2d68720000000p+20, "1234567.125"},
    {0x1.0000000000002p+52, "4503599627370498.0"},
    {-0x1.750923ceb3ffdp-644, "-1.996150245444706e-194"},
    {0x1.363698b529b4ap-489, "7.581454333883296e-148"},
    {-0x1.b5bf55eb561a4p+680, "-8.57789382212775e+204"},
    {0x1.b929e9a9a80fdp+918, "3.818526826307957e+276"},
    {-0x1.2b8fda02f34a6p-692, "-5.694946403451123e-209"},
    {-0x1.8923d10c67fd9p-591, "-1.8948713508859093e-178"},
    {-0x1.8529f035efa25p+651, "-1.4204294611674214e+196"},
    {0x1.f9c58d6645fa9p+898, "4.1749440189827914e+270"},
    {-0x1.038ec42650644p-815, "-4.64031489464657e-246"},
    {0x1.624273bfd1d33p-238, "3.132872124271458e-72"},
    {-0x1.70386fee29476p-134, "-6.604630556388117e-41"},
    {-0x1.d43b578633074p-856, "-3.80666497140512e-258"},
    {-0x1.4a0d7d6225675p-820, "-1.8439403708362157e-247"},
    {0x1.a9c8279f248b0p+603, "5.521213857875556e+181"},
    {-0x1.bf1e1a399f82ap+455, "-1.6249118851359539e+137"},
    {0x1.f3d86268ecc45p-74, "1.0336557535322433e-22"},
    {0x1.0b944a2863a7fp-402, "1.0119387358662577e-121"},
    {-0x1.38db4de383784p+721, "-1.3481316636868863e+217"},
    {0x1.2e49085ef3430p+574, "7.301205141223863e+172"},
    {0x1.0a813bdc2ae99p-961, "5.341205273155281e-290"},
    {-0x1.8da3eabe19f58p+112, "-8.06510345245033e+33"},
    {0x1.e6f2410645d51p-371, "3.954692477478851e-112"},
    {-0x1.e8722c21b6092p+850, "-1.4324283043268515e+256"},
    {0x1.438d297524d6ap-848, "6.733905439805261e-256"},
    {-0x1.317d94d1fe09fp+124, "-2.5379162140977794e+37"},
    {-0x1.5844307f062cep+302, "-1.0957546420825773e+91"},
    {0x1.9794cdd933160p+80, "1.924748109593872e+24"},
    {-0x1.1811779061596p-635, "-7.673202078781141e-192"},
    {-0x1.f624fb804d820p+697, "-1.2897207595236137e+210"},
    {0x1.a50eee0f9e038p+564, "9.931614240149944e+169"},
    {0x1.5cb22f7ced917p+19, "714129.484"},
    {0x1.c1c1556041893p+19, "921098.668"},
    {0x1.81b4d9db22d0ep+18, "394963.404"},
    {0x1.871198ac08312p+19, "800908.771"},
    {0x1.b233439581062p+18, "444621.056"},
    {0x1.c8d4571a9fbe7p+19, "935586.722"},
    {0x1.ad22551eb851fp+19, "878866.66"},
    {0x1.7cae4f5c28f5cp+16, "97454.31"},
    {0x1.09906e147ae14p+17, "135968.86"},
    {0x1.a7cd7872b020cp+17, "216986.941"},
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

/* Floats inside keys and logs read as in Python. */
static void test_real_as_python(void **state)
{
    (void)state;
    struct text text = {0};
    for (size_t i = 0; i < sizeof REALS / sizeof REALS[0]; i++) {
        text_clear(&text);
        text_add_real(&text, REALS[i].real);
        assert_string_equal(text_cstr(&text), REALS[i].text);
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
        cmocka_unit_test(test_parse_as_dask),
        cmocka_unit_test(test_parse_hostile),
        cmocka_unit_test(test_bytes_size_as_dask),
        cmocka_unit_test(test_real_as_python),
        cmocka_unit_test(test_builder),
        cmocka_unit_test(test_printf_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
