/* What the observer writes and reads as text: JSON, HTML, columns, keys, exceptions, tracebacks. */
#include "observer/columns.h"
#include "observer/failures.h"
#include "observer/html.h"
#include "observer/jot.h"
#include "observer/routes.h"
#include "observer/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

static void expect_text(struct text *got, const char *wanted)
{
    assert_string_equal(text_cstr(got), wanted);
    text_clear(got);
}

static void test_json(void **state)
{
    (void)state;
    struct text out = {0};
    struct jot jot = jot_on(&out);
    jot_open(&jot, '{');
    jot_put_cstr(&jot, "a", "x\"\\\n</script>");
    jot_put_real(&jot, "b", NAN);
    jot_put_real(&jot, "c", 0.5);
    jot_name(&jot, "d");
    jot_open(&jot, '[');
    jot_int(&jot, 1);
    jot_bool(&jot, true);
    jot_null(&jot);
    jot_text(&jot, SPAN("caf\xc3\xa9 \xff\x80"));
    jot_close(&jot, ']');
    jot_close(&jot, '}');
    expect_text(
        &out,
        "{\"a\": \"x\\\"\\\\\\u000a</script>\", \"b\": null, \"c\": 0.5, \"d\": [1, true, null, "
        "\"caf\xc3\xa9 \\ufffd\\ufffd\"]}");
    text_fini(&out);
}

/* A key that is markup stays a key. */
static void test_html(void **state)
{
    (void)state;
    struct text out = {0};
    html_text(&out, SPAN("<img src=x onerror='a\"&'>\x01\xff"));
    expect_text(&out, "&lt;img src=x onerror=&#39;a&quot;&amp;&#39;&gt; ?");
    html_url_part(&out, SPAN("('x', 1)/\"<"));
    expect_text(&out, "%28%27x%27%2C%201%29%2F%22%3C");
    text_fini(&out);
}

static void test_columns(void **state)
{
    (void)state;
    static const enum column_type types[] = {COLUMN_U8, COLUMN_F64, COLUMN_TEXT};
    struct columns columns = {0};
    struct text out = {0};
    columns_begin(&columns, types, 3);
    for (int i = 0; i < 2; i++) {
        columns_int(&columns, 300);
        columns_real(&columns, 1.5 + i);
        columns_text(&columns, i == 0 ? SPAN("one") : SPAN(""));
    }
    const struct frame_head head = {
        .mode = MODE_UPSERT, .channel = 2, .subscription = 3, .sequence = 4, .time = 9};
    columns_write(&columns, &head, &out);
    /* head 32, three descriptions 24, one u8 for both rows → 8, f64 16, text 12 + 3 → 16 */
    assert_int_equal(out.size, 32 + 24 + 8 + 16 + 16);
    uint32_t words[24];
    memcpy(words, out.data, sizeof words);
    assert_int_equal(words[0], 1 | 1 << 8 | 2 << 16);
    assert_int_equal(words[1], 3);
    assert_int_equal(words[2], 4);
    assert_int_equal(words[3], 2);
    assert_int_equal(words[6], 3);
    assert_int_equal(words[8], COLUMN_U8 | COLUMN_SAME);
    assert_int_equal(words[9], 1);
    assert_int_equal(words[10], COLUMN_F64 | 1 << 16);
    assert_int_equal(words[11], 16);
    assert_int_equal(words[13], 15);
    assert_int_equal((uint8_t)out.data[56], 255);
    double real;
    memcpy(&real, out.data + 72, sizeof real);
    assert_true(real == 2.5);
    assert_int_equal(words[20], 0);
    assert_int_equal(words[21], 3);
    assert_int_equal(words[22], 3);
    assert_memory_equal(out.data + 92, "one", 3);
    columns_fini(&columns);
    text_fini(&out);
}

static void expect_key(const char *text, const char *wanted, size_t size)
{
    struct text key = {0};
    bool is_tuple = ask_parse_tuple(span_of_text(text), &key);
    assert_int_equal(is_tuple, wanted != NULL);
    if (wanted != NULL) {
        assert_int_equal(key.size, size);
        assert_memory_equal(key.data, wanted, size);
    }
    text_fini(&key);
}

/* str(key) of a tuple, and what only looks like one. */
static void test_keys(void **state)
{
    (void)state;
    expect_key("('x', 0, -1)", "\x93\xa1x\x00\xff", 5);
    expect_key("('x',)", "\x91\xa1x", 3);
    expect_key("(\"it's\", (1, 2))", "\x92\xa4it's\x92\x01\x02", 9);
    expect_key("()", "\x90", 1);
    expect_key("('x', 0", NULL, 0);
    expect_key("('x', 0) ", NULL, 0);
    expect_key("('x', [0])", NULL, 0);
    expect_key("x", NULL, 0);
    expect_key("('x'", NULL, 0);
    expect_key("((((((((((((((((((((1))))))))))))))))))))", NULL, 0);
}

static void test_failures(void **state)
{
    (void)state;
    struct text type = {0}, message = {0}, where = {0};
    failure_read_exception(SPAN("ValueError('not this')"), &type, &message);
    expect_text(&type, "ValueError");
    expect_text(&message, "not this");
    failure_read_exception(SPAN("module.Odd(1, 2)"), &type, &message);
    expect_text(&type, "module.Odd");
    expect_text(&message, "1, 2");
    failure_read_exception(SPAN("E('a', 'b')"), &type, &message);
    expect_text(&type, "E");
    expect_text(&message, "'a', 'b'");
    failure_read_exception(SPAN("E(\"it's \\'so\\', \\xe9 \\u20ac \\U0001f600\\n\\ttab\")"), &type,
                           &message);
    expect_text(&type, "E");
    expect_text(&message, "it's 'so', \u00e9 \u20ac \U0001f600\n\ttab");
    failure_read_exception(SPAN("E('\\x1b[2J \\ud800 \\q \\x')"), &type, &message);
    expect_text(&type, "E");
    expect_text(&message, "\\x1b[2J \\ud800 \\q \\x");
    failure_read_exception(SPAN("E('cut o"), &type, &message);
    expect_text(&type, "E");
    expect_text(&message, "cut o");
    failure_read_exception(SPAN("<strange>"), &type, &message);
    expect_text(&type, "Exception");
    expect_text(&message, "<strange>");
    failure_read_place(
        SPAN("Traceback\n  File \"/home/me/work.py\", line 12, in load\n    x\n"
             "  File \"/usr/lib/python3.11/site-packages/pandas/io.py\", line 3, in read\n"),
        &where);
    expect_text(&where, "work.py:12 in load");
    failure_read_place(
        SPAN("  File \"/x/site-packages/a.py\", line 1, in f\n  File \"/x/site-packages/b.py\", "
             "line 2, in g"),
        &where);
    expect_text(&where, "b.py:2 in g");
    failure_read_place(
        SPAN("tcp://h:1 (name: 'w'), 2026-01-01 00:00:00 UTC: the executor (process 1) was ended "
             "by\n"
             "    Python frames:\n"
             "      Current thread 0x1 (most recent call first):\n"
             "        File \"/usr/lib/python3.11/ctypes/__init__.py\", line 519 in string_at\n"
             "        File \"/home/me/run.py\", line 8 in inner\n"
             "        File \"/home/me/run.py\", line 9 in work\n"
             "      Thread 0x2 (most recent call first):\n"
             "        File \"/home/me/other.py\", line 1 in f\n"),
        &where);
    expect_text(&where, "run.py:8 in inner");
    failure_read_place(SPAN("Thread 0x1 (most recent call first):\n"
                            "  File \"<frozen runpy>\", line 1 in g\n  File "
                            "\"/x/site-packages/a.py\", line 2 in f"),
                       &where);
    expect_text(&where, "<frozen runpy>:1 in g");
    failure_read_place(SPAN("File \"no end"), &where);
    expect_text(&where, "");
    text_fini(&type);
    text_fini(&message);
    text_fini(&where);
}

static void test_stats(void **state)
{
    (void)state;
    struct stats stats = {0};
    assert_true(stats_quantile(&stats, 0.5) == 0);
    for (int i = 1; i <= 100; i++) {
        stats_add(&stats, i * 0.01);
    }
    stats_add(&stats, NAN);
    double median = stats_quantile(&stats, 0.5);
    assert_true(median >= 0.5 && median <= 0.5 * 1.5);
    assert_true(stats_quantile(&stats, 0.001) >= 0.0);
    assert_true(stats_quantile(&stats, 1) <= 1.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),     cmocka_unit_test(test_html),
        cmocka_unit_test(test_columns),  cmocka_unit_test(test_keys),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_stats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
