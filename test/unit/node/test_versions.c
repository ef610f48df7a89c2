/* test_versions.c: the warning about packages that differ, word for word as stock's error_message. */
#include "node/versions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* A node that has nothing but what versions.c looks at. */
static void set_up(struct node *node)
{
    struct scheduler_config config;
    memset(node, 0, sizeof *node);
    scheduler_config_init(&config);
    node->core = scheduler_create(&config);
    step_init(&node->step);
}

static void tear_down(struct node *node)
{
    blob_unref(node->versions);
    step_fini(&node->step);
    scheduler_destroy(node->core);
}

/* {"host": {}, "packages": {"dask": …, "numpy": …}}; NULL: None. */
static void versions(struct text *out, const char *dask, const char *numpy)
{
    const char *values[] = {dask, numpy}, *names[] = {"dask", "numpy"};
    msgpack_write_map(out, 2);
    msgpack_write_cstr(out, "host");
    msgpack_write_map(out, 0);
    msgpack_write_cstr(out, "packages");
    msgpack_write_map(out, 2);
    for (int i = 0; i < 2; i++) {
        msgpack_write_cstr(out, names[i]);
        if (values[i] == NULL) {
            msgpack_write_nil(out);
        } else {
            msgpack_write_cstr(out, values[i]);
        }
    }
}

static void add_worker(struct node *node, const char *address, const struct text *spoken)
{
    struct metrics_info metrics = {0};
    struct blob *blob = payload_value(text_span(spoken));
    struct text name = {0};
    msgpack_write_cstr(&name, address);
    struct worker_info info = {
        .address = span_of_text(address),
        .name = text_span(&name),
        .host = SPAN("127.0.0.1"),
        .status = SPAN("running"),
        .nthreads = 1,
        .versions = blob,
        .metrics = &metrics,
    };
    struct event event = event_of(EVENT_WORKER_ADD);
    event.of.worker_add.info = &info;
    event.time = 1;
    scheduler_step(node->core, &event, &node->step);
    assert_int_not_equal(node->step.worker, WORKER_NONE);
    blob_unref(blob);
    text_fini(&name);
}

static void check_client(struct node *node, const struct text *spoken, const char *expected)
{
    struct text warning = {0};
    versions_compare_client(node, text_span(spoken), &warning);
    assert_string_equal(text_cstr(&warning), expected);
    text_fini(&warning);
}

/* All say the same: nobody is warned. */
static void test_equal(void **state)
{
    (void)state;
    struct node node;
    struct text same = {0};
    set_up(&node);
    versions(&same, "2026.8.0", NULL);
    check_client(&node, &same, "");
    add_worker(&node, "tcp://127.0.0.1:1", &same);
    check_client(&node, &same, "");
    text_fini(&same);
    tear_down(&node);
}

/* A client whose packages are others than those of the workers. */
static void test_different(void **state)
{
    (void)state;
    struct node node;
    struct text first = {0}, other = {0};
    set_up(&node);
    versions(&first, "2026.8.0", "2.4.6");
    versions(&other, "2026.7.1", NULL);
    check_client(&node, &first, "");
    add_worker(&node, "tcp://127.0.0.1:1", &first);
    check_client(&node, &other,
                 "Mismatched versions found\n\n"
                 "+---------+----------+-----------+----------+\n"
                 "| Package | Client   | Scheduler | Workers  |\n"
                 "+---------+----------+-----------+----------+\n"
                 "| dask    | 2026.7.1 | 2026.8.0  | 2026.8.0 |\n"
                 "| numpy   | None     | 2.4.6     | 2.4.6    |\n"
                 "+---------+----------+-----------+----------+");
    text_fini(&first);
    text_fini(&other);
    tear_down(&node);
}

/* numpy on the scheduler does not matter, that workers differ among themselves does. */
static void test_workers_differ(void **state)
{
    (void)state;
    struct node node;
    struct text a = {0}, b = {0};
    set_up(&node);
    versions(&a, "2026.8.0", "1");
    versions(&b, "2026.8.0", "2");
    check_client(&node, &a, "");
    add_worker(&node, "tcp://127.0.0.1:1", &b);
    check_client(&node, &b, "");
    add_worker(&node, "tcp://127.0.0.1:2", &a);
    check_client(&node, &b,
                 "Mismatched versions found\n\n"
                 "+---------+--------+-----------+------------+\n"
                 "| Package | Client | Scheduler | Workers    |\n"
                 "+---------+--------+-----------+------------+\n"
                 "| numpy   | 2      | 1         | {'2', '1'} |\n"
                 "+---------+--------+-----------+------------+");
    text_fini(&a);
    text_fini(&b);
    tear_down(&node);
}

/* A peer that says nothing, or nonsense. */
static void test_silent(void **state)
{
    (void)state;
    struct node node;
    struct text known = {0}, silent = {0};
    set_up(&node);
    msgpack_write_int(&silent, 7);
    check_client(&node, &silent, "");
    assert_null(node.versions);
    versions(&known, "1", "1");
    check_client(&node, &known, "");
    add_worker(&node, "tcp://127.0.0.1:1", &known);
    struct text warning = {0};
    versions_compare_worker(&node, text_span(&silent), SPAN("tcp://127.0.0.1:9"), &warning);
    assert_non_null(
        strstr(text_cstr(&warning), "| Package | tcp://127.0.0.1:9 | Scheduler | Workers |\n"));
    assert_non_null(
        strstr(text_cstr(&warning), "| dask    | UNKNOWN           | 1         | 1       |\n"));
    text_fini(&warning);
    text_fini(&known);
    text_fini(&silent);
    tear_down(&node);
}

/* get_versions of the scheduler: what was agreed on, and nil for packages asked for beyond that. */
static void test_ours(void **state)
{
    (void)state;
    struct node node;
    struct text known = {0}, more = {0}, out = {0}, shown = {0};
    set_up(&node);
    versions(&known, "1", NULL);
    check_client(&node, &known, "");
    msgpack_write_array(&more, 2);
    msgpack_write_cstr(&more, "dask");
    msgpack_write_cstr(&more, "other");
    versions_write(&node, text_span(&more), &out);
    msgpack_print(&shown, text_span(&out), 1000);
    assert_string_equal(text_cstr(&shown),
                        "{'host': {}, 'packages': {'dask': '1', 'numpy': None, 'other': None}}");
    text_fini(&known);
    text_fini(&more);
    text_fini(&out);
    text_fini(&shown);
    tear_down(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),          cmocka_unit_test(test_different),
        cmocka_unit_test(test_workers_differ), cmocka_unit_test(test_silent),
        cmocka_unit_test(test_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
