/* Runs in a report: what is kept of many, how keys are written, how large it gets. */
#include "observer/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "wire/msgpack.h"

#define SHELL_BYTES 130000u /* what web/test holds it to */

static const struct report_span ALL = {0, 1e10};

static void name_group(struct tables *tables)
{
    union {
        struct record_group group;
        union any_record any;
    } record = {.group = {.id = 1, .prefix = 1}};
    struct span name = SPAN("add-0123456789abcdef");
    record.any.head =
        (struct record_head){.kind = RECORD_GROUP, .slots = 2, .text_size = (uint32_t)name.size};
    memcpy(record.any.bytes + RECORD_SLOT_BYTES, name.data, name.size);
    tables_apply(tables, &record.any);
}

/* As 8 threads have them that run tasks of some milliseconds; keys are hashes, or of the group. */
static void add_runs(struct tables *tables, uint32_t count, bool is_grouped)
{
    struct prng prng;
    struct text key = {0};
    prng_init(&prng, 1);
    name_group(tables);
    for (uint32_t i = 0; i < count; i++) {
        text_clear(&key);
        if (is_grouped) {
            msgpack_write_array(&key, 2);
            msgpack_write_cstr(&key, "add-0123456789abcdef");
            msgpack_write_int(&key, i);
        } else {
            char name[40];
            snprintf(name, sizeof name, "inc-%016llx%016llx", (unsigned long long)prng_next(&prng),
                     (unsigned long long)prng_next(&prng));
            msgpack_write_cstr(&key, name);
        }
        struct run run = {.key = text_span(&key),
                          .start = 1795342000 + i * 0.001,
                          .duration = (float)(0.004 + (double)prng_below(&prng, 4000) * 1e-6),
                          .worker = 1 + i % 4,
                          .lane = (uint16_t)(i / 4 % 2),
                          .prefix = 1,
                          .group = is_grouped ? 1 : 0,
                          .is_erred = i % 5000 == 4999};
        runs_add(&tables->runs, &run);
    }
    text_fini(&key);
}

static size_t packed_size(const struct tables *tables)
{
    struct text data = {0}, packed = {0};
    struct jot jot = jot_on(&data);
    report_put_runs(tables, ALL, &jot);
    assert_true(report_pack(text_span(&data), &packed));
    size_t size = packed.size;
    text_fini(&data);
    text_fini(&packed);
    return size;
}

static void test_columns(void **state)
{
    (void)state;
    struct tables *tables = tables_create(1 << 20);
    struct text out = {0}, key = {0};
    struct jot jot = jot_on(&out);
    name_group(tables);
    msgpack_write_array(&key, 2);
    msgpack_write_cstr(&key, "add-0123456789abcdef");
    msgpack_write_int(&key, 7);
    struct run run = {.key = text_span(&key),
                      .start = 1000.5,
                      .duration = 0.25f,
                      .worker = 3,
                      .lane = 1,
                      .prefix = 1,
                      .group = 1};
    runs_add(&tables->runs, &run);
    run.key = SPAN("\xa5inc-1");
    run.group = 0;
    run.start = 1000.25;
    run.is_erred = true;
    runs_add(&tables->runs, &run);
    run.start = 2000;
    runs_add(&tables->runs, &run);
    report_put_runs(tables, (struct report_span){1000, 1001}, &jot);
    assert_string_equal(
        text_cstr(&out),
        "{\"total\": 2, \"since\": 1000500000, \"start\": [0, -250000], \"duration\": [250000, "
        "250000], "
        "\"transfer\": [0, 0], \"deserialize\": [0, 0], \"disk\": [0, 0], \"worker\": [3, 3], "
        "\"lane\": [1, 1], \"group\": [1, 2147483649], \"prefix\": [1, 1], \"erred\": [0, 1], "
        "\"key\": [\", 7)\", \"inc-1\"]}");
    text_fini(&out);
    text_fini(&key);
    tables_destroy(tables);
}

/* Issue 5, A14: 1,000 runs 250 kB, 10,000 350 kB. */
static void test_sizes(void **state)
{
    (void)state;
    for (int is_grouped = 0; is_grouped < 2; is_grouped++) {
        struct tables *small = tables_create(64 << 20), *large = tables_create(64 << 20);
        add_runs(small, 1000, is_grouped);
        add_runs(large, 10000, is_grouped);
        size_t sizes[] = {packed_size(small), packed_size(large)};
        print_message("1,000 runs %zu bytes, 10,000 %zu\n", sizes[0], sizes[1]);
        assert_in_range(sizes[0], 1000, 220000 - SHELL_BYTES);
        assert_in_range(sizes[1], 10000, 320000 - SHELL_BYTES);
        tables_destroy(small);
        tables_destroy(large);
    }
}

/* Of very many, all that failed and some that took longest. */
static void test_many(void **state)
{
    (void)state;
    struct tables *tables = tables_create(64 << 20);
    add_runs(tables, 300000, true);
    uint64_t count = report_count_runs(&tables->runs, ALL);
    assert_int_equal(count, 300000);
    assert_false(report_keeps_all(count));
    assert_in_range(packed_size(tables), 20000, 1000000);
    struct text out = {0};
    struct jot jot = jot_on(&out);
    report_put_runs(tables, ALL, &jot);
    assert_non_null(strstr(text_cstr(&out), "{\"total\": 300000, "));
    const char *erred = strstr(text_cstr(&out), "\"erred\": [");
    uint32_t failed = 0;
    for (; *erred != ']'; erred++) {
        failed += *erred == '1';
    }
    assert_int_equal(failed, 60);
    text_fini(&out);
    tables_destroy(tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
