/* Log lines: Python's format, Dask's levels, the ring that get_logs reads. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>
#include <unistd.h>

/* What is written to stderr between begin and end. */
static FILE *captured;
static int stderr_copy;

static void capture_begin(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    stderr_copy = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

static void capture_end(char *out, size_t size)
{
    dup2(stderr_copy, STDERR_FILENO);
    close(stderr_copy);
    rewind(captured);
    out[fread(out, 1, size - 1, captured)] = '\0';
    fclose(captured);
}

/* The line must look to a log reader as stock's does, comma before the milliseconds. */
static void test_format(void **state)
{
    (void)state;
    char out[4096];
    capture_begin();
    log_info("distributed.scheduler", "Scheduler at: %s", "tcp://127.0.0.1:8786");
    capture_end(out, sizeof out);

    struct log_line line;
    assert_true(log_recent(0, &line));
    char expected[256];
    char date[32];
    time_t second = (time_t)line.time;
    struct tm local;
    localtime_r(&second, &local);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(expected, sizeof expected,
             "%s,%.3s - distributed.scheduler - INFO - Scheduler at: tcp://127.0.0.1:8786\n", date,
             out + 20);
    assert_string_equal(out, expected);
    assert_int_equal(strspn(out + 20, "0123456789"), 3);
    assert_int_equal(strlen(line.text), strlen(out) - 1);
    assert_memory_equal(line.text, out, strlen(line.text));
    assert_int_equal(line.level, LOG_INFO);
}

/* A client may call itself what it wants: it neither forges lines nor commands a terminal. */
static void test_harmless(void **state)
{
    (void)state;
    char out[4096];
    capture_begin();
    log_info("distributed.scheduler", "client %s",
             "a\n2026-01-01 00:00:00,000 - forged\x1b[31m\x7f\xc2\x9b\t\xc3\xa4\xc2\xa0");
    capture_end(out, sizeof out);
    assert_string_equal(
        out + strcspn(out, "c"),
        "cheduler - INFO - client a\n"
        "    2026-01-01 00:00:00,000 - forged\\x1b[31m\\x7f\\x9b\t\xc3\xa4\xc2\xa0\n");
}

/* Stock's levels without configuration, then as a `logging:` section sets them. */
static void test_levels(void **state)
{
    (void)state;
    char out[4096];
    capture_begin();
    log_debug("distributed.core", "no 1");
    log_info("distributed.client", "no 2");
    log_info("distributed.clientele", "yes 1");
    log_info("tornado.application", "no 3");
    log_warning("other", "yes 2");
    log_set_level("distributed.core", LOG_DEBUG);
    log_set_level("distributed", LOG_ERROR);
    log_debug("distributed.core", "yes 3");
    log_debug("distributed.core.rpc", "yes 4");
    log_warning("distributed.worker", "no 4");
    log_set_level("distributed.core", (enum log_level)0);
    log_warning("distributed.core", "no 5");
    log_set_level("distributed", LOG_INFO);
    capture_end(out, sizeof out);
    for (int i = 1; i <= 5; i++) {
        char text[16];
        snprintf(text, sizeof text, "no %d", i);
        assert_null(strstr(out, text));
        snprintf(text, sizeof text, "yes %d", i);
        assert_true(i == 5 || strstr(out, text) != NULL);
    }
}

static void test_parse_level(void **state)
{
    (void)state;
    enum log_level level = LOG_DEBUG;
    assert_true(log_parse_level(SPAN("info"), &level));
    assert_int_equal(level, LOG_INFO);
    assert_true(log_parse_level(SPAN("WARN"), &level));
    assert_int_equal(level, LOG_WARNING);
    assert_true(log_parse_level(SPAN("Critical"), &level));
    assert_int_equal(level, LOG_CRITICAL);
    assert_true(log_parse_level(SPAN("35"), &level));
    assert_int_equal(level, 35);
    assert_false(log_parse_level(SPAN(""), &level));
    assert_false(log_parse_level(SPAN("loud"), &level));
    assert_false(log_parse_level(SPAN("99999"), &level));
    assert_false(log_parse_level(SPAN("a very long word indeed"), &level));
    assert_int_equal(level, 35);
    assert_string_equal(log_level_name(LOG_ERROR), "ERROR");
}

/* The ring forgets the oldest; index 0 is the newest. */
static void test_ring(void **state)
{
    (void)state;
    char out[4096];
    struct log_line line;
    capture_begin();
    log_set_ring(3);
    assert_false(log_recent(0, &line));
    for (int i = 0; i < 5; i++) {
        log_info("cask", "line %d", i);
    }
    for (uint32_t i = 0; i < 3; i++) {
        char text[16];
        snprintf(text, sizeof text, "line %u", 4 - i);
        assert_true(log_recent(i, &line));
        assert_non_null(strstr(line.text, text));
    }
    assert_false(log_recent(3, &line));
    log_set_ring(0);
    log_info("cask", "still written");
    assert_false(log_recent(0, &line));
    capture_end(out, sizeof out);
    assert_non_null(strstr(out, "still written"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format), cmocka_unit_test(test_harmless),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_parse_level),
        cmocka_unit_test(test_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
