/* The ring of records: what goes in comes out, whole, in order, or is counted; and a broken writer does no harm. */
#include "record/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>

#include "base/error.h"

struct pair {
    struct ring_writer writer;
    struct ring_reader reader;
    union any_record record;
};

static struct pair *open_pair(uint32_t slots)
{
    struct pair *pair = calloc(1, sizeof *pair);
    struct text why = {0};
    assert_int_equal(ring_create(slots, &pair->writer, &why), OK);
    assert_int_equal(ring_open(fcntl(pair->writer.fd, F_DUPFD_CLOEXEC, 0), &pair->reader, &why),
                     OK);
    text_fini(&why);
    return pair;
}

static void close_pair(struct pair *pair)
{
    ring_close(&pair->reader);
    ring_destroy(&pair->writer);
    free(pair);
}

static bool put(struct pair *pair, uint32_t id, const char *text)
{
    struct record_text *record = ring_reserve(&pair->writer, RECORD_TEXT, strlen(text));
    if (record != NULL) {
        record->id = id;
        ring_put_text(record, span_of_text(text));
        ring_publish(&pair->writer);
    }
    return record != NULL;
}

static void expect(struct pair *pair, uint32_t id, const char *text)
{
    assert_true(ring_next(&pair->reader, &pair->record));
    assert_int_equal(pair->record.head.kind, RECORD_TEXT);
    assert_int_equal(pair->record.text.id, id);
    assert_true(span_equal_text(record_text(&pair->record), text));
}

static void test_order(void **state)
{
    (void)state;
    struct pair *pair = open_pair(512);
    assert_false(ring_next(&pair->reader, &pair->record));
    put(pair, 1, "");
    put(pair, 2, "one that needs more than a slot: 0123456789 0123456789 0123456789 0123456789");
    expect(pair, 1, "");
    expect(pair, 2, "one that needs more than a slot: 0123456789 0123456789 0123456789 0123456789");
    assert_false(ring_next(&pair->reader, &pair->record));
    close_pair(pair);
}

/* A record that would wrap goes to the beginning; what was reserved unpublished is not seen. */
static void test_wrap(void **state)
{
    (void)state;
    struct pair *pair = open_pair(512);
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (uint32_t i = 0; i < 10000; i++) {
        const char *text = long_text + i % 990;
        assert_true(put(pair, i, text));
        expect(pair, i, text);
        ring_release(&pair->reader);
    }
    struct record_text *record = ring_reserve(&pair->writer, RECORD_TEXT, 0);
    assert_non_null(record);
    assert_false(ring_next(&pair->reader, &pair->record));
    assert_int_equal(ring_dropped(&pair->reader), 0);
    assert_int_equal(pair->reader.malformed, 0);
    close_pair(pair);
}

/* Nobody reads: the oldest stay, the newest are counted, and a GAP tells how many. */
static void test_full(void **state)
{
    (void)state;
    struct pair *pair = open_pair(512);
    uint32_t written = 0;
    while (put(pair, written, "")) {
        written++;
    }
    assert_int_equal(written, 512);
    assert_false(put(pair, 0, "longer"));
    assert_int_equal(ring_dropped(&pair->reader), 2);
    for (uint32_t i = 0; i < written; i++) {
        expect(pair, i, "");
    }
    ring_release(&pair->reader);
    put(pair, 77, "after");
    assert_true(ring_next(&pair->reader, &pair->record));
    assert_int_equal(pair->record.head.kind, RECORD_GAP);
    assert_int_equal(pair->record.gap.lost, 2);
    expect(pair, 77, "after");
    close_pair(pair);
}

static void test_clipped(void **state)
{
    (void)state;
    struct pair *pair = open_pair(512);
    char *text = malloc(40001);
    memset(text, 'y', 40000);
    text[40000] = '\0';
    assert_true(put(pair, 5, text));
    assert_true(ring_next(&pair->reader, &pair->record));
    assert_int_equal(pair->record.head.flags, RECORD_CLIPPED);
    assert_int_equal(record_text(&pair->record).size, record_text_max(RECORD_TEXT));
    free(text);
    close_pair(pair);
}

/* A writer that died in the middle, or a stray pointer: skipped, counted, and the next record is read. */
static void test_malformed(void **state)
{
    (void)state;
    struct pair *pair = open_pair(512);
    const struct record_head heads[] = {
        {.kind = RECORD_KIND_COUNT, .slots = 1},
        {.kind = RECORD_TEXT, .slots = 0},
        {.kind = RECORD_TEXT, .slots = 9},
        {.kind = RECORD_TOTALS, .slots = 1},
        {.kind = RECORD_TEXT, .slots = 1, .text_size = 1},
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct record_head *head = ring_reserve(&pair->writer, RECORD_TEXT, 0);
        *head = heads[i];
        ring_publish(&pair->writer);
        assert_false(ring_next(&pair->reader, &pair->record));
        assert_int_equal(pair->reader.malformed, i + 1);
        put(pair, 1, "fine");
        expect(pair, 1, "fine");
        ring_release(&pair->reader);
    }
    close_pair(pair);
}

/* A second reader goes on where the first stopped; another's memory is refused. */
static void test_open(void **state)
{
    (void)state;
    struct pair *pair = open_pair(512);
    struct text why = {0};
    put(pair, 1, "first");
    put(pair, 2, "second");
    expect(pair, 1, "first");
    ring_release(&pair->reader);
    ring_close(&pair->reader);
    assert_int_equal(ring_open(fcntl(pair->writer.fd, F_DUPFD_CLOEXEC, 0), &pair->reader, &why),
                     OK);
    expect(pair, 2, "second");
    assert_int_equal(ring_signal(&pair->reader), 0);
    ring_last_words(pair->writer.shared, 11);
    assert_int_equal(ring_signal(&pair->reader), 11);
    struct ring_reader other;
    assert_int_equal(ring_open(open("/dev/null", O_RDWR), &other, &why), ERR_MALFORMED);
    text_fini(&why);
    close_pair(pair);
}

#define MANY 200000u

static void *write_many(void *user)
{
    struct pair *pair = user;
    for (uint32_t i = 0; i < MANY; i++) {
        static const char digits[] =
            "0123456789012345678901234567890123456789012345678901234567890123";
        struct span text = span_of(digits, i % 64);
        struct record_text *record = ring_reserve(&pair->writer, RECORD_TEXT, text.size);
        if (record != NULL) {
            record->id = i;
            ring_put_text(record, text);
            ring_publish(&pair->writer);
        }
    }
    return NULL;
}

/* Two threads, as the two processes: every number is read once and in order, or belongs to a GAP. */
static void test_threads(void **state)
{
    (void)state;
    struct pair *pair = open_pair(1024);
    pthread_t thread;
    uint64_t next = 0, lost = 0;
    assert_int_equal(pthread_create(&thread, NULL, write_many, pair), 0);
    bool is_done = false;
    while (!is_done || ring_waiting(&pair->reader) > 0) {
        while (ring_next(&pair->reader, &pair->record)) {
            if (pair->record.head.kind == RECORD_GAP) {
                lost += pair->record.gap.lost;
                next += pair->record.gap.lost;
                continue;
            }
            assert_int_equal(pair->record.text.id, next);
            assert_int_equal(record_text(&pair->record).size, next % 64);
            next++;
        }
        ring_release(&pair->reader);
        if (!is_done && pthread_tryjoin_np(thread, NULL) == 0) {
            is_done = true;
        }
    }
    assert_int_equal(next + pair->writer.lost, MANY);
    assert_int_equal(lost + pair->writer.lost, ring_dropped(&pair->reader));
    assert_int_equal(pair->reader.malformed, 0);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),     cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_full),      cmocka_unit_test(test_clipped),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_open),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
