/* What failed tasks were given, as the scheduler tells it: its own words must be right, those of a worker may be anything. */
#include "observer/failed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "wire/msgpack.h"

/* What the scheduler tells of a task with two inputs; `look` as msgpack, may be empty. */
static void write_told(struct text *out, struct span look)
{
    text_clear(out);
    msgpack_write_map(out, 8);
    msgpack_write_cstr(out, "key");
    msgpack_write_cstr(out, "divided");
    msgpack_write_cstr(out, "time");
    msgpack_write_float(out, 12.5);
    msgpack_write_cstr(out, "worker");
    msgpack_write_cstr(out, "tcp://10.0.0.2:4000");
    msgpack_write_cstr(out, "inputs");
    msgpack_write_array(out, 2);
    const char *keys[] = {"x", "</script>"};
    for (int i = 0; i < 2; i++) {
        msgpack_write_array(out, 3);
        msgpack_write_cstr(out, keys[i]);
        msgpack_write_int(out, i == 0 ? 28 : -1);
        msgpack_write_cstr(out, i == 0 ? "int" : "");
    }
    msgpack_write_cstr(out, "total");
    msgpack_write_uint(out, 2);
    msgpack_write_cstr(out, "spec");
    msgpack_write_bin(out, SPAN("pickle"));
    msgpack_write_cstr(out, "look");
    if (look.size > 0) {
        msgpack_write_bin(out, look);
    } else {
        msgpack_write_nil(out);
    }
    msgpack_write_cstr(out, "why");
    if (look.size > 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_cstr(out, "its worker was gone");
    }
}

static void write_look(struct text *out, const char *description, uint32_t value_count)
{
    text_clear(out);
    msgpack_write_array(out, 3);
    msgpack_write_cstr(out, description);
    msgpack_write_bin(out, SPAN("task"));
    msgpack_write_array(out, value_count);
    for (uint32_t i = 0; i < value_count; i++) {
        if (i % 2 == 0) {
            msgpack_write_bin(out, SPAN("value"));
        } else {
            msgpack_write_nil(out);
        }
    }
}

static void expect_within(const struct text *text, const char *part)
{
    if (strstr(text_cstr(text), part) == NULL) {
        fail_msg("'%s' is not in %s", part, text_cstr(text));
    }
}

/* The worker answered: what it says stands beside what the scheduler knows, and one of two inputs is there as bytes. */
static void test_answered(void **state)
{
    (void)state;
    struct text look = {0}, told = {0};
    struct failed_told out;
    write_look(&look,
               "{\"task\": {\"function\": \"quotient\", \"args\": [\"<input x>\"], \"kwargs\": "
               "{\"y\": \"1\"}, \"why\": "
               "null}, \"inputs\": [{\"type\": \"int\", \"repr\": \"0\"}, {\"why\": \"larger than "
               "1 MiB\"}], \"python\": "
               "\"3.11.2\", \"packages\": {\"numpy\": \"2.4\"}, \"log\": [[\"INFO\", \"a line\"]], "
               "\"more\": 1}",
               2);
    write_told(&told, text_span(&look));
    assert_int_equal(failed_read(text_span(&told), &out), OK);
    assert_true(span_equal(out.key, SPAN("divided")) && span_equal(out.spec, SPAN("task")));
    assert_int_equal(out.value_count, 1);
    assert_int_equal(out.values[0].place, 0);
    assert_true(span_equal(out.values[0].data, SPAN("value")));
    expect_within(&out.description,
                  "\"function\":\"quotient\",\"args\":[\"<input x>\"],\"kwargs\":{\"y\":\"1\"}");
    expect_within(
        &out.description,
        "{\"key\":\"x\",\"nbytes\":28,\"type\":\"int\",\"shape\":null,\"dtype\":null,\"repr\":"
        "\"0\",\"kept\":true,\"why\":null}");
    expect_within(
        &out.description,
        "\"nbytes\":null,\"type\":null,\"shape\":null,\"dtype\":null,\"repr\":null,\"kept\":"
        "false,\"why\":\"larger than 1 MiB\"");
    expect_within(&out.description, "\"log\":[[\"INFO\",\"a line\"]]");
    assert_null(strstr(text_cstr(&out.description), "more"));
    text_fini(&out.description);
    text_fini(&look);
    text_fini(&told);
}

static void write_attempt(struct text *told, const char *output_name)
{
    msgpack_write_cstr(told, "attempts");
    msgpack_write_array(told, 2);
    msgpack_write_map(told, 4);
    msgpack_write_cstr(told, "status");
    msgpack_write_cstr(told, "failed");
    msgpack_write_cstr(told, "rss_peak");
    msgpack_write_uint(told, 1024);
    msgpack_write_cstr(told, output_name);
    msgpack_write_cstr(told, "</script>\n");
    msgpack_write_cstr(told, "more");
    msgpack_write_int(told, 1);
    msgpack_write_cstr(told, "no record");
}

/* What its runs cost goes on with the fields that are known here; what is no list is as nothing. */
static void test_attempts(void **state)
{
    (void)state;
    struct text told = {0};
    struct failed_told out;
    write_told(&told, SPAN(""));
    told.data[0] += 1; /* one pair more */
    write_attempt(&told, "output");
    assert_int_equal(failed_read(text_span(&told), &out), OK);
    expect_within(&out.description, "\"rss_peak\":1024,");
    expect_within(&out.description, "\"cpu_user\":null,");
    expect_within(&out.description, "\"status\":\"failed\",\"output\":\"</script>\\n\"}");
    assert_null(strstr(text_cstr(&out.description), "more"));
    text_fini(&out.description);
    write_told(&told, SPAN(""));
    assert_int_equal(failed_read(text_span(&told), &out), OK);
    expect_within(&out.description, "\"attempts\":null");
    text_fini(&out.description);
    text_fini(&told);
}

/* Nobody could be asked: the task is as the scheduler has it, and each input says why it is not there. */
static void test_nobody_asked(void **state)
{
    (void)state;
    struct text told = {0};
    struct failed_told out;
    write_told(&told, SPAN(""));
    assert_int_equal(failed_read(text_span(&told), &out), OK);
    assert_true(span_equal(out.spec, SPAN("pickle")));
    assert_int_equal(out.value_count, 0);
    expect_within(&out.description, "\"kept\":false,\"why\":\"its worker was gone\"");
    text_fini(&out.description);
    text_fini(&told);
}

/* A worker may answer anything: types that are not expected, more values than inputs, no JSON, half a message. */
static void test_nonsense(void **state)
{
    (void)state;
    static const char *const descriptions[] = {
        "",
        "[]",
        "{\"task\": [], \"inputs\": {\"0\": 1}, \"python\": 3, \"packages\": [1], \"log\": [1, "
        "[2]]}",
        "{\"task\": {\"args\": [1, {}], \"kwargs\": {\"a\": []}}, \"inputs\": [1, 2, 3], \"log\": "
        "{}}",
        "{\"inputs\": [{\"type\": {}, \"repr\": [1]}]}",
    };
    struct text look = {0}, told = {0};
    struct failed_told out;
    for (size_t i = 0; i < sizeof descriptions / sizeof descriptions[0]; i++) {
        write_look(&look, descriptions[i], 1000);
        write_told(&told, text_span(&look));
        assert_int_equal(failed_read(text_span(&told), &out), OK);
        assert_true(out.value_count <= 2);
        expect_within(&out.description, "\"python\":null,\"packages\":{}");
        text_fini(&out.description);
    }
    size_t whole = look.size;
    for (size_t size = 1; size < whole; size++) {
        write_told(&told, span_of(look.data, size));
        assert_int_equal(failed_read(text_span(&told), &out), OK);
        text_fini(&out.description);
    }
    for (size_t size = 0; size < told.size; size++) {
        int code = failed_read(span_of(told.data, size), &out);
        assert_true(code == OK ||
                    code == ERR_MALFORMED); /* what is lost at its end may not matter */
        text_fini(&out.description);
    }
    assert_int_equal(failed_read(SPAN("\x80"), &out), ERR_MALFORMED);
    text_fini(&look);
    text_fini(&told);
}

/* A key that fails again replaces what was known of it, and the oldest go when there are too many. */
static void test_rows(void **state)
{
    (void)state;
    struct failed_rows rows = {0};
    for (uint32_t i = 0; i < FAILED_ROWS_MAX + 5; i++) {
        char key[16];
        struct text description = {0};
        text_printf(&description, "{\"n\":%u}", i);
        snprintf(key, sizeof key, "key-%u", i < 3 ? 0 : i);
        failed_rows_put(&rows, span_of_text(key), i, &description);
        assert_int_equal(description.size, 0);
    }
    assert_int_equal(rows.count, FAILED_ROWS_MAX);
    assert_null(failed_rows_find(&rows, SPAN("key-0")));
    const struct failed_row *row = failed_rows_find(&rows, SPAN("key-7"));
    assert_non_null(row);
    assert_string_equal(text_cstr(&row->description), "{\"n\":7}");
    failed_rows_fini(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),     cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_nobody_asked), cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
