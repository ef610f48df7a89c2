/* Records added up: what a cluster's life becomes in the tables, and that no record can do harm. */
#include "observer/tables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "observer/activities.h"
#include "unit/observer/make_record.h"
#include "wire/msgpack.h"

struct story {
    struct tables *tables;
    union any_record record;
};

static struct story *begin(void)
{
    struct story *story = calloc(1, sizeof *story);
    story->tables = tables_create(1 << 20);
    return story;
}

static void end(struct story *story)
{
    tables_destroy(story->tables);
    free(story);
}

/* The story's record, of this kind, zeroed, with a text. */
static void *make(struct story *story, enum record_kind kind, struct span text)
{
    return make_record(&story->record, kind, text);
}

static void apply(struct story *story)
{
    tables_apply(story->tables, &story->record);
}

static void add_worker(struct story *story, uint32_t id, const char *address)
{
    struct text text = {0};
    msgpack_write_array(&text, 6);
    msgpack_write_cstr(&text, address);
    msgpack_write_int(&text, 7); /* a name may be a number */
    for (int i = 0; i < 3; i++) {
        msgpack_write_cstr(&text, "x");
    }
    msgpack_write_map(&text, 1);
    msgpack_write_cstr(&text, "dashboard");
    msgpack_write_int(&text, 8787);
    struct record_worker_added *record = make(story, RECORD_WORKER_ADDED, text_span(&text));
    record->worker = id;
    record->nthreads = 2;
    apply(story);
    text_fini(&text);
}

static void add_run(struct story *story, double start, double stop, uint64_t thread, bool is_erred)
{
    struct record_run *record = make(story, RECORD_RUN, SPAN("\xa5inc-1"));
    record->head.flags = is_erred ? RUN_ERRED : 0;
    record->worker = 1;
    record->prefix = 1;
    record->group = 1;
    record->start = start;
    record->stop = stop;
    record->thread = thread;
    apply(story);
}

static void test_runs(void **state)
{
    (void)state;
    struct story *story = begin();
    const struct tables *tables = story->tables;
    add_worker(story, 1, "tcp://a:1");
    struct record_prefix *prefix = make(story, RECORD_PREFIX, SPAN("inc"));
    prefix->id = 1;
    apply(story);
    struct record_group *group = make(story, RECORD_GROUP, SPAN("inc-layer"));
    group->id = 1;
    group->prefix = 1;
    apply(story);
    add_run(story, 1000.5, 1002.25, 11, false);
    add_run(story, 1001, 1002, 12, true);
    const struct worker_row *worker = tables_worker_by_address(tables, SPAN("tcp://a:1"));
    assert_non_null(worker);
    assert_string_equal(text_cstr(&worker->name), "7");
    assert_int_equal(worker->dashboard, 8787);
    assert_int_equal(worker->runs, 2);
    assert_true(worker->busy == 2.75);
    assert_string_equal(tables_prefix_name(tables, 1), "inc");
    assert_int_equal(tables_prefix(tables, 1)->runs, 2);
    assert_int_equal(tables_group(tables, 1)->runs, 2);
    struct run run;
    assert_true(runs_at(&tables->runs, 1, &run));
    assert_int_equal(run.lane, 1);
    assert_true(run.is_erred);
    assert_true(span_equal_text(run.key, "\xa5inc-1"));
    assert_false(runs_at(&tables->runs, 2, &run));
    assert_int_equal(tables_second(tables, 1002)->runs, 2);
    assert_true(tables_second(tables, 1000)->busy == 0.5);
    assert_true(tables_second(tables, 1001)->busy == 2);
    end(story);
}

/* 10,000 equal failures are one row. */
static void test_failures(void **state)
{
    (void)state;
    struct story *story = begin();
    const struct tables *tables = story->tables;
    struct record_text *text = make(story, RECORD_TEXT, SPAN("ValueError('x')"));
    text->id = 1;
    apply(story);
    text = make(story, RECORD_TEXT, SPAN("  File \"/h/a.py\", line 3, in f\n"));
    text->id = 2;
    apply(story);
    for (uint32_t i = 0; i < 10003; i++) {
        struct record_failure *record = make(story, RECORD_FAILURE, SPAN("\xa1k"));
        record->time = 1000 + i;
        record->worker = i % 3;
        record->prefix = i < 10000 ? 1 : 2;
        record->exception = 1;
        record->traceback = 2;
        apply(story);
    }
    assert_int_equal(tables->failures.count, 2);
    const struct failure_row *row = tables->failures.items[0];
    assert_int_equal(row->count, 10000);
    assert_string_equal(text_cstr(&row->type), "ValueError");
    assert_string_equal(text_cstr(&row->where), "a.py:3 in f");
    assert_int_equal(row->worker_count, 2);
    assert_int_equal(row->key_count, FAILURE_SAMPLES);
    assert_string_equal(text_cstr(&row->keys[0]), "k");
    assert_int_equal(tables->failures_seen, 10003);
    end(story);
}

/* A worker that left keeps its row and says why; the oldest of many go. */
static void test_workers_leave(void **state)
{
    (void)state;
    struct story *story = begin();
    const struct tables *tables = story->tables;
    for (uint32_t i = 1; i <= TABLE_GONE_MAX + 10; i++) {
        add_worker(story, i, "tcp://a:1");
        struct record_worker_removed *record = make(story, RECORD_WORKER_REMOVED, SPAN("lost"));
        record->worker = i;
        record->time = 1000 + i;
        apply(story);
    }
    assert_int_equal(tables->gone_count, TABLE_GONE_MAX);
    assert_null(tables_worker(tables, 1));
    const struct worker_row *row = tables_worker(tables, TABLE_GONE_MAX + 10);
    assert_string_equal(text_cstr(&row->reason), "lost");
    assert_true(row->removed > 0);
    end(story);
}

/* Runs are bounded in bytes; numbers go on, and rows of lists are a ring. */
static void test_bounds(void **state)
{
    (void)state;
    struct story *story = begin();
    const struct tables *tables = story->tables;
    for (uint32_t i = 0; i < 60000; i++) {
        add_run(story, 1000, 1001, 1, false);
    }
    assert_int_equal(tables->runs.next, 60000);
    assert_true(runs_first(&tables->runs) > 0);
    assert_true(tables->runs.bytes < 2u << 20);
    for (uint32_t i = 0; i < TABLE_LINES_MAX + 7; i++) {
        struct record_log *record = make(story, RECORD_LOG, SPAN("logger\0line"));
        record->time = i;
        apply(story);
    }
    assert_int_equal(lines_first(&tables->logs), 7);
    const struct line_row *row = lines_at(&tables->logs, 7);
    assert_true(row->time == 7);
    assert_string_equal(text_cstr(&row->name), "logger");
    assert_string_equal(text_cstr(&row->text), "line");
    assert_null(lines_at(&tables->logs, 6));
    end(story);
}

/* A new beginning voids what was known, and goes on from there. */
static void test_begin_anew(void **state)
{
    (void)state;
    struct story *story = begin();
    const struct tables *tables = story->tables;
    add_worker(story, 1, "tcp://a:1");
    add_run(story, 1000, 1001, 1, false);
    make(story, RECORD_BEGIN, SPAN("\x81\xa2id\xa1S"));
    apply(story);
    assert_null(tables_worker(tables, 1));
    assert_string_equal(text_cstr(&tables->cluster_id), "S");
    add_run(story, 1000, 1001, 1, false);
    struct run run;
    assert_true(runs_at(&tables->runs, tables->runs.next - 1, &run));
    tables_died(story->tables, 2000, "killed");
    assert_int_equal(tables->state, CLUSTER_DIED);
    end(story);
}

/* What heartbeats say of activities adds up by name; names that are none, and what breaks off, do no harm. */
static void test_activities(void **state)
{
    (void)state;
    struct story *story = begin();
    const struct tables *tables = story->tables;
    const struct span cpu = SPAN("\x94\xa7"
                                 "execute\xa3inc\xaathread-cpu\xa7seconds\x03");
    for (int i = 0; i < 2; i++) {
        make(story, RECORD_ACTIVITIES, cpu);
        apply(story);
    }
    make(story, RECORD_ACTIVITIES, /* without a function; one of five parts; one that is cut off */
         SPAN("\x93\xa8get-data\xa9serialize\xa7seconds\x05\x95\x01\x02\x03\x04\x05\x01\x94\xa1"));
    apply(story);
    make(story, RECORD_ACTIVITIES,
         SPAN("\x94\xa7"
              "execute\xc0\x91\x01\xa7seconds\x01"));
    apply(story);
    assert_int_equal(tables->activities.count, 3);
    const struct activity_row *row = tables->activities.items[0];
    assert_string_equal(text_cstr(&row->function), "inc");
    assert_true(row->total == 6);
    row = tables->activities.items[1];
    assert_string_equal(text_cstr(&row->context), "get-data");
    assert_string_equal(text_cstr(&row->function), "");
    assert_true(row->total == 5);
    row = tables->activities.items[2];
    assert_string_equal(text_cstr(&row->activity), "(1,)");
    end(story);
}

/* A hundred thousand names are a few thousand rows, and nothing is lost of the sum. */
static void test_activities_are_bounded(void **state)
{
    (void)state;
    struct story *story = begin();
    for (uint32_t i = 0; i < 100000; i++) {
        struct text text = {0}, name = {0};
        text_printf(&name, "f%u", i);
        msgpack_write_array(&text, 4);
        msgpack_write_cstr(&text, "execute");
        msgpack_write_cstr(&text, text_cstr(&name));
        msgpack_write_cstr(&text, "thread-cpu");
        msgpack_write_cstr(&text, "seconds");
        msgpack_write_int(&text, 1);
        make(story, RECORD_ACTIVITIES, text_span(&text));
        apply(story);
        text_fini(&text);
        text_fini(&name);
    }
    double sum = 0;
    assert_in_range(story->tables->activities.count, 1000, 5000);
    for (uint32_t i = 0; i < story->tables->activities.count; i++) {
        sum += story->tables->activities.items[i]->total;
    }
    assert_true(sum == 100000);
    end(story);
}

/* Any bytes that pass record_check(). */
static void test_garbage(void **state)
{
    (void)state;
    struct story *story = begin();
    struct prng prng;
    prng_init(&prng, 5);
    for (int i = 0; i < 20000; i++) {
        uint32_t kind = (uint32_t)(prng_below(&prng, RECORD_KIND_COUNT));
        uint32_t own = record_struct_slots(kind), text_slots = (uint32_t)(prng_below(&prng, 4));
        for (size_t at = 0; at < (own + text_slots) * RECORD_SLOT_BYTES; at += 8) {
            uint64_t large = (uint64_t)prng_next(&prng) << 32 | prng_next(&prng);
            uint64_t word = prng_below(&prng, 4) == 0 ? large : prng_below(&prng, 8);
            memcpy(story->record.bytes + at, &word, sizeof word);
        }
        story->record.head = (struct record_head){.kind = (uint8_t)kind,
                                                  .slots = (uint8_t)(own + text_slots),
                                                  .text_size = text_slots * RECORD_SLOT_BYTES};
        assert_true(record_check(&story->record.head));
        apply(story);
    }
    end(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),          cmocka_unit_test(test_failures),
        cmocka_unit_test(test_workers_leave), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_begin_anew),    cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_activities),    cmocka_unit_test(test_activities_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
