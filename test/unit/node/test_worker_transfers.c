/* test_worker_transfers.c: a worker remembers its last transfers, each way, and not without bounds. */
#include "node/worker_transfers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "wire/msgpack.h"

static void add(struct worker_transfers *transfers, enum transfer_way way, const char *key,
                int64_t bytes)
{
    struct text sizes = {0}, name = {0};
    msgpack_write_cstr(&name, key);
    transfer_add_size(&sizes, text_span(&name), bytes);
    const struct transfer transfer = {.peer = SPAN("tcp://10.0.0.1:5"),
                                      .sizes = text_span(&sizes),
                                      .key_count = 1,
                                      .bytes = bytes,
                                      .sent = bytes / 2,
                                      .start = 8.0,
                                      .stop = 12.0};
    worker_transfers_add(transfers, way, &transfer);
    text_fini(&sizes);
    text_fini(&name);
}

static void check(const struct worker_transfers *transfers, enum transfer_way way,
                  const char *expected)
{
    struct text list = {0}, shown = {0};
    worker_transfers_write(transfers, way, &list);
    msgpack_print(&shown, text_span(&list), 10000);
    assert_string_equal(text_cstr(&shown), expected);
    text_fini(&list);
    text_fini(&shown);
}

static uint32_t count(const struct worker_transfers *transfers, enum transfer_way way)
{
    struct text list = {0};
    worker_transfers_write(transfers, way, &list);
    struct msgpack_reader reader = msgpack_reader(text_span(&list));
    uint32_t found;
    assert_int_equal(msgpack_read_array(&reader, &found), 0);
    text_fini(&list);
    return found;
}

/* A dump is asked for: what came and what went, each with stock's fields. */
static void test_fields(void **state)
{
    (void)state;
    struct worker_transfers *transfers = worker_transfers_create();
    check(transfers, TRANSFER_INCOMING, "[]");
    add(transfers, TRANSFER_INCOMING, "x", 100);
    add(transfers, TRANSFER_OUTGOING, "y", 60);
    check(transfers, TRANSFER_INCOMING,
          "[{'start': 8.0, 'stop': 12.0, 'middle': 10.0, 'duration': 4.0, 'bandwidth': 25.0, "
          "'who': 'tcp://10.0.0.1:5', 'keys': {'x': 100}, 'total': 100}]");
    check(transfers, TRANSFER_OUTGOING,
          "[{'start': 8.0, 'stop': 12.0, 'middle': 10.0, 'duration': 4.0, 'bandwidth': 15.0, "
          "'who': 'tcp://10.0.0.1:5', 'keys': {'y': 60}, 'total': 60, 'compressed': 30}]");
    worker_transfers_destroy(transfers);
}

/* A worker that runs for weeks: only the last 1000 are there, the oldest first. */
static void test_many(void **state)
{
    (void)state;
    struct worker_transfers *transfers = worker_transfers_create();
    char key[16];
    for (int i = 0; i < 1500; i++) {
        snprintf(key, sizeof key, "x-%d", i);
        add(transfers, TRANSFER_OUTGOING, key, i);
    }
    assert_int_equal(count(transfers, TRANSFER_OUTGOING), 1000);
    assert_int_equal(count(transfers, TRANSFER_INCOMING), 0);
    struct text list = {0}, shown = {0};
    worker_transfers_write(transfers, TRANSFER_OUTGOING, &list);
    msgpack_print(&shown, text_span(&list), 300);
    assert_non_null(strstr(text_cstr(&shown), "{'x-500': 500}"));
    text_fini(&list);
    text_fini(&shown);
    worker_transfers_destroy(transfers);
}

/* Transfers of keys of 100 KB: their entries never take more than a megabyte, and one that alone does is left out. */
static void test_large_entries(void **state)
{
    (void)state;
    struct worker_transfers *transfers = worker_transfers_create();
    char *key = mem_zalloc(2u << 20, 1);
    memset(key, 'k', 100000);
    for (int i = 0; i < 30; i++) {
        add(transfers, TRANSFER_INCOMING, key, 1);
    }
    assert_int_equal(count(transfers, TRANSFER_INCOMING), 10);
    memset(key, 'k', (2u << 20) - 1);
    add(transfers, TRANSFER_INCOMING, key, 1);
    assert_int_equal(count(transfers, TRANSFER_INCOMING), 0);
    add(transfers, TRANSFER_INCOMING, "x", 1);
    assert_int_equal(count(transfers, TRANSFER_INCOMING), 1);
    mem_free(key);
    worker_transfers_destroy(transfers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_large_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
