/* Each rule of findings.def with a case that it must find and one that it must not. */
#include "observer/findings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "observer/jot.h"
#include "observer/tables.h"
#include "unit/observer/make_record.h"
#include "wire/msgpack.h"

struct story {
    struct tables *tables;
    union any_record record;
    uint64_t dropped;
    double now;
};

/* A cluster with two workers and a prefix. */
static void *make(struct story *story, enum record_kind kind, struct span text)
{
    return make_record(&story->record, kind, text);
}

static void apply(struct story *story)
{
    tables_apply(story->tables, &story->record);
}

static void add_worker(struct story *story, uint32_t id, const char *name)
{
    struct text text = {0};
    msgpack_write_array(&text, 6);
    msgpack_write_cstr(&text, name);
    msgpack_write_cstr(&text, name);
    for (int i = 0; i < 3; i++) {
        msgpack_write_cstr(&text, "x");
    }
    msgpack_write_map(&text, 0);
    struct record_worker_added *record = make(story, RECORD_WORKER_ADDED, text_span(&text));
    record->worker = id;
    record->nthreads = 2;
    record->memory_limit = 1000;
    record->time = 1000;
    apply(story);
    text_fini(&text);
}

static struct story *begin(void)
{
    struct story *story = calloc(1, sizeof *story);
    story->tables = tables_create(1 << 20);
    story->now = 5000;
    add_worker(story, 1, "tcp://a:1");
    add_worker(story, 2, "tcp://b:1");
    struct record_prefix *prefix = make(story, RECORD_PREFIX, SPAN("inc"));
    prefix->id = 1;
    apply(story);
    return story;
}

static void end(struct story *story)
{
    tables_destroy(story->tables);
    free(story);
}

/* The finding of this kind, after a look; NULL: there is none, or it is of another kind. */
static const struct finding_row *found(struct story *story, enum finding_kind kind)
{
    story->now += 10;
    story->tables->tick++;
    findings_look(story->tables, story->dropped, story->now);
    for (uint32_t i = 0; i < story->tables->findings.rows.count; i++) {
        const struct finding_row *row = story->tables->findings.rows.items[i];
        if (row->kind == kind) {
            return row;
        }
    }
    return NULL;
}

static void says(const struct finding_row *row, const char *sentence)
{
    assert_non_null(row);
    assert_string_equal(text_cstr(&row->sentence), sentence);
}

static void add_run(struct story *story, uint32_t worker, double start, double seconds,
                    float before)
{
    struct record_run *record = make(story, RECORD_RUN, SPAN("\xa5inc-1"));
    record->worker = worker;
    record->prefix = 1;
    record->start = start;
    record->stop = start + seconds;
    record->transfer = before;
    apply(story);
}

static void sample(struct story *story, uint32_t worker, double seen, int64_t process,
                   int64_t unmanaged)
{
    struct record_worker_sample *record = make(story, RECORD_WORKER_SAMPLE, (struct span){0});
    record->worker = worker;
    record->last_seen = seen;
    record->process = process;
    record->unmanaged_old = unmanaged;
    apply(story);
}

/* What has no other case is in this one: nothing is found where nothing is wrong. */
static void test_nothing(void **state)
{
    (void)state;
    struct story *story = begin();
    for (int i = 0; i < 100; i++) {
        add_run(story, 1 + (uint32_t)i % 2, 1000 + i, 1, 0.1f);
    }
    sample(story, 1, 1000, 500, 100);
    for (int kind = 0; kind < FINDING_COUNT; kind++) {
        assert_null(found(story, (enum finding_kind)kind));
    }
    end(story);
}

static void add_victim(struct story *story, const char *certificate)
{
    struct text text = {0};
    msgpack_write_cstr(&text, "boom-1");
    text_add_cstr(&text, certificate);
    struct record_victim *record = make(story, RECORD_VICTIM, text_span(&text));
    record->worker = 1;
    record->time = 1001;
    apply(story);
    text_fini(&text);
}

static void test_process_died(void **state)
{
    (void)state;
    struct story *story = begin();
    add_victim(story, "the executor (process 7) was ended by SIGSEGV\nmore");
    const struct finding_row *row = found(story, FINDING_EXECUTOR_DIED);
    says(row, "Task boom-1 took the process that ran it along, on worker tcp://a:1: the executor "
              "(process 7) was ended by SIGSEGV.");
    assert_string_equal(text_cstr(&row->link), "info/task/boom-1.html");
    assert_null(found(story, FINDING_OUT_OF_MEMORY));
    assert_int_equal(row->count, 1);
    add_victim(story, "the executor (process 8) was ended by SIGSEGV");
    assert_int_equal(found(story, FINDING_EXECUTOR_DIED)->count, 2);
    end(story);
}

/* The rule says whose memory it was, and what it was the minute before. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct story *story = begin();
    sample(story, 1, 1000, 500, 0);
    sample(story, 1, 1001, 990, 0);
    add_victim(story, "the executor (process 7) was ended by SIGKILL (Killed): the kernel ended it "
                      "because memory was out");
    const struct finding_row *row = found(story, FINDING_OUT_OF_MEMORY);
    assert_non_null(row);
    assert_null(found(story, FINDING_EXECUTOR_DIED));
    struct text text = {0};
    struct jot jot = jot_on(&text);
    finding_put(story->tables, row, &jot);
    assert_non_null(strstr(text_cstr(&text), "(OOM)"));
    assert_non_null(strstr(text_cstr(&text), "\"keys\": [\"boom-1\"]"));
    assert_non_null(strstr(text_cstr(&text), "\"process\": [500, 990]"));
    text_fini(&text);
    end(story);
}

static void remove_worker(struct story *story, const char *reason, uint16_t flags)
{
    struct text key = {0};
    msgpack_write_cstr(&key, "inc-7");
    struct record_victim *victim = make(story, RECORD_VICTIM, text_span(&key));
    victim->worker = 1;
    apply(story);
    struct record_worker_removed *record = make(story, RECORD_WORKER_REMOVED, span_of_text(reason));
    record->head.flags = flags;
    record->worker = 1;
    record->busy = 3;
    record->lost = 2;
    record->time = 1002;
    apply(story);
    text_fini(&key);
}

static void test_worker_lost(void **state)
{
    (void)state;
    struct story *story = begin();
    sample(story, 1, 1000, 970, 0);
    remove_worker(story, "handle-worker-cleanup-1", 0);
    const struct finding_row *row = found(story, FINDING_WORKER_LOST);
    says(row, "Worker tcp://a:1 was lost: its connection broke; its memory was at 97 % of its "
              "limit, so perhaps it was killed for lack of memory (OOM). It ran 3 tasks, and had 2 "
              "results that were nowhere else.");
    assert_string_equal(text_cstr(&row->keys[0]), "inc-7");
    assert_int_equal(row->last, 1002);
    sample(story, 1, 1003, 970, 0); /* an answer that was under way */
    assert_int_equal(found(story, FINDING_WORKER_LOST)->count, 1);
    end(story);
    story = begin();
    remove_worker(story, "worker-ttl-1", 0);
    assert_non_null(strstr(text_cstr(&found(story, FINDING_WORKER_LOST)->sentence),
                           "it was not heard of for too long"));
    end(story);
    story = begin();
    remove_worker(story, "retire-1", REMOVED_EXPECTED);
    assert_null(found(story, FINDING_WORKER_LOST));
    end(story);
}

static void failure(struct story *story, uint32_t cause)
{
    struct record_text *text =
        make(story, RECORD_TEXT, SPAN("KilledWorker('Attempted to run it on 4 workers')"));
    text->id = 1;
    apply(story);
    struct record_failure *record = make(story, RECORD_FAILURE, SPAN("\xa1k"));
    record->time = 1001;
    record->prefix = 1;
    record->cause = cause;
    record->exception = 1;
    apply(story);
}

static void test_killed_worker(void **state)
{
    (void)state;
    struct story *story = begin();
    failure(story, 0);
    assert_null(found(story, FINDING_KILLED_WORKER));
    end(story);
    story = begin();
    failure(story, 1);
    const struct finding_row *row = found(story, FINDING_KILLED_WORKER);
    says(row, "Task k was given up: Attempted to run it on 4 workers.");
    assert_string_equal(text_cstr(&row->link), "failure/1");
    end(story);
}

static void stuck(struct story *story, double since)
{
    struct text text = {0};
    msgpack_write_cstr(&text, "gpu-1");
    text_add_cstr(&text, "It wants the resource GPU.");
    struct record_unrunnable *record = make(story, RECORD_UNRUNNABLE, text_span(&text));
    record->time = 2000;
    record->since = since;
    record->total = 4;
    apply(story);
    text_fini(&text);
}

static void test_no_worker(void **state)
{
    (void)state;
    struct story *story = begin();
    stuck(story, 1999); /* one may still come */
    assert_null(found(story, FINDING_NO_WORKER));
    stuck(story, 1990);
    stuck(story, 1990);
    assert_null(found(story, FINDING_NO_WORKER)); /* since the first one, of the same sample */
    struct record_unrunnable *record = make(story, RECORD_UNRUNNABLE, (struct span){0});
    record->time = 2001;
    apply(story);
    stuck(story, 1990);
    const struct finding_row *row = found(story, FINDING_NO_WORKER);
    says(row, "No worker may run 4 tasks. Of gpu-1: It wants the resource GPU.");
    assert_true(row->is_active);
    record = make(story, RECORD_UNRUNNABLE, (struct span){0});
    record->time = 2002;
    apply(story);
    assert_false(found(story, FINDING_NO_WORKER)->is_active);
    end(story);
}

static void status(struct story *story, const char *text)
{
    struct record_worker_status *record = make(story, RECORD_WORKER_STATUS, span_of_text(text));
    record->worker = 1;
    apply(story);
}

static void test_paused(void **state)
{
    (void)state;
    struct story *story = begin();
    sample(story, 1, 1000, 800, 600);
    status(story, "running");
    assert_null(found(story, FINDING_PAUSED));
    status(story, "paused");
    says(found(story, FINDING_PAUSED),
         "Worker tcp://a:1 is paused: 800 B of 0.98 kiB are used, 75 % of it unmanaged.");
    status(story, "running");
    assert_false(found(story, FINDING_PAUSED)->is_active);
    end(story);
}

static void graph(struct story *story, int64_t bytes)
{
    struct record_graph_bytes *record = make(story, RECORD_GRAPH_BYTES, (struct span){0});
    record->time = 1001;
    record->bytes = bytes;
    apply(story);
}

static void test_large_graph(void **state)
{
    (void)state;
    struct story *story = begin();
    graph(story, 9000000);
    assert_null(found(story, FINDING_LARGE_GRAPH));
    graph(story, 30 << 20);
    says(found(story, FINDING_LARGE_GRAPH), "Client  sent a graph of 30.00 MiB.");
    end(story);
}

static void turn(struct story *story, double longest)
{
    struct record_totals *record = make(story, RECORD_TOTALS, (struct span){0});
    record->time = 1000;
    record->longest = longest;
    apply(story);
}

static void test_loop_lag(void **state)
{
    (void)state;
    struct story *story = begin();
    turn(story, 0.2);
    assert_null(found(story, FINDING_LOOP_LAG));
    turn(story, 0.5);
    says(found(story, FINDING_LOOP_LAG), "The scheduler was busy with one thing for 0.50 s.");
    turn(story, 0.5);
    assert_int_equal(found(story, FINDING_LOOP_LAG)->count, 1);
    end(story);
}

static void test_slow_worker(void **state)
{
    (void)state;
    struct story *story = begin();
    for (int i = 0; i < 10; i++) {
        add_run(story, 1, 1000, 4, 0);
        add_run(story, 2, 1000, 1, 0);
    }
    assert_null(found(story, FINDING_SLOW_WORKER));
    for (int i = 0; i < 10; i++) {
        add_run(story, 1, 1000, 10, 0);
    }
    says(found(story, FINDING_SLOW_WORKER),
         "Worker tcp://a:1 is slow with inc: 7 s each, 1 s elsewhere.");
    end(story);
}

static void test_transfers(void **state)
{
    (void)state;
    struct story *story = begin();
    for (int i = 0; i < 20; i++) {
        add_run(story, 1, 1000 + i, 1, 0.4f);
    }
    assert_null(found(story, FINDING_TRANSFER));
    for (int i = 0; i < 20; i++) {
        add_run(story, 1, 1020 + i, 1, 0.6f);
    }
    says(found(story, FINDING_TRANSFER), "33 % of the last minute's work was waiting for inputs "
                                         "from other workers.");
    for (int i = 0; i < 100; i++) {
        add_run(story, 1, 1040 + i, 1, 0);
    }
    assert_false(found(story, FINDING_TRANSFER)->is_active);
    end(story);
}

static void test_spill(void **state)
{
    (void)state;
    struct story *story = begin();
    for (int i = 0; i < 20; i++) {
        struct record_run *record = make(story, RECORD_RUN, SPAN("\xa5inc-1"));
        record->worker = 1;
        record->start = 1000 + i;
        record->stop = 1001 + i;
        record->disk = i < 10 ? 0.1f : 1;
        apply(story);
        if (i == 9) {
            assert_null(found(story, FINDING_SPILL));
        }
    }
    says(found(story, FINDING_SPILL),
         "35 % of the last minute's work was reading and writing spilled data.");
    end(story);
}

static void test_clock_skew(void **state)
{
    (void)state;
    struct story *story = begin();
    for (int i = 0; i < 2; i++) {
        struct record_worker_sample *record = make(story, RECORD_WORKER_SAMPLE, (struct span){0});
        record->worker = 1;
        record->time_delay = i == 0 ? 0.5 : -3;
        apply(story);
        assert_true((found(story, FINDING_CLOCK_SKEW) != NULL) == (i == 1));
    }
    says(found(story, FINDING_CLOCK_SKEW),
         "The clock of worker tcp://a:1 is 3.0 s ahead of the scheduler's.");
    end(story);
}

static void test_versions(void **state)
{
    (void)state;
    struct story *story = begin();
    assert_null(found(story, FINDING_VERSIONS));
    make(story, RECORD_VERSIONS, SPAN("tcp://a:1\0numpy 1, 2"));
    apply(story);
    says(found(story, FINDING_VERSIONS),
         "tcp://a:1 has other versions of packages than the cluster.\nnumpy 1, 2");
    end(story);
}

static void test_records_lost(void **state)
{
    (void)state;
    struct story *story = begin();
    assert_null(found(story, FINDING_RECORDS_LOST));
    story->dropped = 12;
    says(found(story, FINDING_RECORDS_LOST),
         "12 records of what happened found no room and are lost.");
    end(story);
}

static void test_scheduler_died(void **state)
{
    (void)state;
    struct story *story = begin();
    make(story, RECORD_END, SPAN("asked"));
    apply(story);
    assert_null(found(story, FINDING_SCHEDULER_DIED));
    end(story);
    story = begin();
    tables_died(story->tables, 2000, "killed");
    says(found(story, FINDING_SCHEDULER_DIED), "It died: killed.");
    end(story);
}

/* cask.findings: another threshold, a rule that is off. */
static void test_settings(void **state)
{
    (void)state;
    struct story *story = begin();
    struct text settings = {0};
    msgpack_write_map(&settings, 3);
    msgpack_write_cstr(&settings, "large-graph");
    msgpack_write_int(&settings, 100);
    msgpack_write_cstr(&settings, "process-died");
    msgpack_write_bool(&settings, false);
    msgpack_write_cstr(&settings, "nonsense");
    msgpack_write_cstr(&settings, "x");
    findings_configure(&story->tables->findings, text_span(&settings));
    findings_configure(&story->tables->findings, SPAN("\xc0"));
    graph(story, 200);
    add_victim(story, "the executor exited");
    assert_non_null(found(story, FINDING_LARGE_GRAPH));
    assert_null(found(story, FINDING_EXECUTOR_DIED));
    text_fini(&settings);
    end(story);
}

/* No cluster is wrong in so many ways that memory is used up, and nothing comes twice. */
static void test_bound(void **state)
{
    (void)state;
    struct story *story = begin();
    for (uint32_t i = 0; i < 2 * FINDINGS_MAX; i++) {
        struct text text = {0};
        text_printf(&text, "client %u", i);
        text_add_char(&text, '\0');
        make(story, RECORD_VERSIONS, text_span(&text));
        apply(story);
        text_fini(&text);
    }
    assert_non_null(found(story, FINDING_VERSIONS));
    assert_int_equal(story->tables->findings.rows.count, FINDINGS_MAX);
    assert_int_equal(story->tables->findings.places.count, FINDINGS_MAX);
    end(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),       cmocka_unit_test(test_process_died),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_worker_lost),
        cmocka_unit_test(test_killed_worker), cmocka_unit_test(test_no_worker),
        cmocka_unit_test(test_paused),        cmocka_unit_test(test_large_graph),
        cmocka_unit_test(test_loop_lag),      cmocka_unit_test(test_slow_worker),
        cmocka_unit_test(test_transfers),     cmocka_unit_test(test_spill),
        cmocka_unit_test(test_clock_skew),    cmocka_unit_test(test_versions),
        cmocka_unit_test(test_records_lost),  cmocka_unit_test(test_scheduler_died),
        cmocka_unit_test(test_settings),      cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
