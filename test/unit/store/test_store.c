/* The store with a loop, threads and real files: values leave memory and come back, and what the user of the
 * store is asked and told meanwhile. */
#include "unit/store/spill_support.h"

#include "io/io.h"
#include "store/spill.h"
#include "store/store_internal.h"

struct asked {
    struct store_waiter waiter;
    struct test *test;
    struct store_value *value;
    int code;
    uint32_t answers;
};

/* Executors that export at once, if they may, and all that was told. */
struct test {
    struct io_loop *loop;
    struct store *store;
    struct io_timer *late;
    struct faults faults;
    struct text log;
    bool (*until)(struct test *test);
    bool is_silent; /* executors do not answer */
    uint32_t exports, releases, lost, troubles;
    uint32_t answers_wanted, answers;
};

static size_t size_of_handle(uint64_t handle)
{
    return 1000 + (size_t)handle;
}

static void on_export(void *user, uint32_t executor, uint64_t handle)
{
    struct test *test = user;
    test->exports++;
    if (!test->is_silent) {
        store_exported(test->store, executor, handle,
                       sized_value(size_of_handle(handle), true, handle));
    }
}

static void on_release(void *user, uint64_t handle)
{
    (void)handle;
    ((struct test *)user)->releases++;
}

static void on_lost(void *user, struct span key, int code, const char *why)
{
    struct test *test = user;
    test->lost++;
    text_printf(&test->log, "lost %.*s: %s; ", (int)key.size, key.data, error_name(code));
    assert_true(strlen(why) > 0);
}

static void on_trouble(void *user, int code, const char *why)
{
    struct test *test = user;
    test->troubles++;
    text_printf(&test->log, "trouble: %s; ", error_name(code));
    assert_true(strlen(why) > 0);
}

static const struct store_events events = {on_export, on_release, on_lost, on_trouble};

static void on_turn(void *user)
{
    struct test *test = user;
    if (test->until(test)) {
        io_loop_stop(test->loop);
    }
}

static void on_late(void *user)
{
    (void)user;
    fprintf(stderr, "the condition did not come to hold in 60 s\n");
    abort();
}

static struct test *new_test(struct store_options options)
{
    struct test *test = mem_zalloc(1, sizeof *test);
    faults_init(&test->faults);
    test->loop = io_loop_create();
    test->late = io_timer_create(test->loop, on_late, test);
    io_timer_start(test->late, 60, 0);
    options.directory = spill_directory();
    options.system = &test->faults.system;
    test->store = store_create(test->loop, &options, &events, test);
    io_loop_on_turn(test->loop, on_turn, test);
    return test;
}

static void end_test(struct test *test)
{
    if (test->store != NULL) {
        table_check(&test->store->table);
        store_destroy(test->store);
    }
    io_timer_destroy(test->late);
    io_loop_destroy(test->loop);
    assert_int_equal(spill_files(NULL), -1);
    text_fini(&test->log);
    mem_free(test);
}

static void run_until(struct test *test, bool (*until)(struct test *test))
{
    test->until = until;
    io_loop_run(test->loop);
}

static bool is_quiet(struct test *test)
{
    return test->store->table.in_flight == 0 && test->store->table.leaving_bytes == 0 &&
           test->store->table.actions.count == 0 && !test->store->is_writing;
}

static bool all_answered(struct test *test)
{
    return test->answers >= test->answers_wanted;
}

static bool troubled(struct test *test)
{
    return test->troubles > 0;
}

static struct span name_of(uint32_t key)
{
    static char name[16];
    snprintf(name, sizeof name, "key-%u", key);
    return span_of_text(name);
}

static void put_value(struct test *test, uint32_t key, size_t size)
{
    store_put(test->store, &(struct store_item){.key = name_of(key),
                                                .nbytes = size,
                                                .executor = STORE_NO_EXECUTOR,
                                                .handle = key,
                                                .value = sized_value(size, true, key)});
}

static void put_live(struct test *test, uint32_t key, uint32_t executor)
{
    store_put(test->store, &(struct store_item){.key = name_of(key),
                                                .nbytes = size_of_handle(key),
                                                .type = SPAN("builtins.bytes"),
                                                .executor = executor,
                                                .handle = key});
}

static void on_answer(struct store_waiter *waiter, struct store_value *value, int code,
                      const char *why)
{
    struct asked *asked = (struct asked *)waiter;
    (void)why;
    asked->value = value == NULL ? NULL : store_value_ref(value);
    asked->code = code;
    asked->answers++;
    asked->test->answers++;
}

/* Ask, wait, compare. */
static void assert_value(struct test *test, uint32_t key, size_t size)
{
    struct asked asked = {.waiter = {.answer = on_answer}, .test = test};
    struct store_value *value;
    int code = store_get(test->store, name_of(key), &asked.waiter, &value);
    if (code == STORE_LATER) {
        test->answers_wanted = test->answers + 1;
        run_until(test, all_answered);
        assert_int_equal(asked.code, OK);
        value = asked.value;
    } else {
        assert_int_equal(code, OK);
        store_value_ref(value);
    }
    struct store_value *expected = sized_value(size, true, key);
    assert_same_value(value, expected);
    store_value_unref(expected);
    store_value_unref(value);
}

static void assert_code(struct test *test, uint32_t key, int code)
{
    struct asked asked = {.waiter = {.answer = on_answer}, .test = test};
    struct store_value *value;
    assert_int_equal(store_get(test->store, name_of(key), &asked.waiter, &value), STORE_LATER);
    test->answers_wanted = test->answers + 1;
    run_until(test, all_answered);
    assert_int_equal(asked.code, code);
    assert_null(asked.value);
}

/* 400 values of 100 kB with room for 50 of them: the others go to disk, every one comes back, and memory
 * stays within its bound meanwhile. */
static void test_target(void **state)
{
    (void)state;
    enum { COUNT = 400, SIZE = 100000, ROOM = 50 * SIZE };
    struct test *test =
        new_test((struct store_options){.target_bytes = ROOM, .compression = COMPRESS_LZ4});
    for (uint32_t key = 0; key < COUNT; key++) {
        put_value(test, key, SIZE);
    }
    run_until(test, is_quiet);
    struct store_totals totals;
    store_totals(test->store, &totals);
    assert_int_equal(totals.managed_bytes, ROOM);
    assert_int_equal(totals.evictable_bytes, ROOM);
    assert_int_equal(totals.spilled_memory_bytes, COUNT * SIZE - ROOM);
    assert_true(totals.spilled_disk_bytes >= totals.spilled_memory_bytes);
    assert_int_equal(totals.disk_count, 350);
    assert_int_equal(test->releases, 350);
    assert_int_equal(totals.disk_write.count, 350);
    assert_int_equal(store_look(test->store, name_of(0), NULL), STORE_DISK);
    assert_int_equal(store_look(test->store, name_of(COUNT - 1), NULL), STORE_MEMORY);
    for (uint32_t key = 0; key < COUNT; key++) {
        assert_value(test, key, SIZE);
        table_check(&test->store->table);
    }
    run_until(test, is_quiet);
    store_totals(test->store, &totals);
    assert_int_equal(totals.managed_bytes, ROOM);
    assert_int_equal(totals.disk_read.count, COUNT); /* the last ones had gone meanwhile, too */
    assert_int_equal(totals.disk_write.count, COUNT);
    end_test(test);
}

/* Live objects are exported to be spilled; the executor then forgets them. A value larger than all the room
 * goes at once, and takes no other with it. */
static void test_live(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){.target_bytes = 4000});
    put_live(test, 1, 0);
    put_live(test, 2, 0);
    put_live(test, 5000, 1);
    run_until(test, is_quiet);
    assert_int_equal(test->exports, 1);
    struct store_info info;
    assert_int_equal(store_look(test->store, name_of(5000), &info), STORE_DISK);
    assert_true(span_equal_text(info.type, "builtins.bytes"));
    assert_int_equal(store_look(test->store, name_of(1), &info), STORE_LIVE);
    assert_int_equal(info.executor, 0);
    store_touch(test->store, name_of(1));
    put_live(test, 3, 0);
    put_live(test, 4, 0);
    run_until(test, is_quiet);
    assert_int_equal(store_look(test->store, name_of(2), NULL), STORE_DISK);
    assert_int_equal(store_look(test->store, name_of(1), NULL), STORE_LIVE);
    assert_value(test, 5000, size_of_handle(5000));
    assert_value(test, 2, size_of_handle(2));
    assert_value(test, 1, size_of_handle(1));
    end_test(test);
}

/* Values come faster than the disk takes them: it is behind while as many are leaving as may, and more would have to. */
static void test_behind(void **state)
{
    (void)state;
    enum { SIZE = 1000 };
    struct test *test =
        new_test((struct store_options){.target_bytes = 10 * SIZE, .leaving_bytes_max = 2 * SIZE});
    for (uint32_t key = 0; key < 12; key++) {
        put_value(test, key, SIZE);
        assert_false(store_is_behind(test->store));
    }
    put_value(test, 12, SIZE);
    assert_true(store_is_behind(test->store));
    run_until(test, is_quiet);
    assert_false(store_is_behind(test->store));
    store_evict(test->store, 2 * SIZE); /* of memory that is not the store's */
    assert_false(store_is_behind(test->store));
    store_evict(test->store, 3 * SIZE);
    assert_true(store_is_behind(test->store));
    run_until(test, is_quiet);
    assert_false(store_is_behind(test->store));
    end_test(test);
}

/* What store_evict asks for goes even without a target; a second call replaces the first. */
static void test_evict(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){0});
    for (uint32_t key = 0; key < 10; key++) {
        put_value(test, key, 1000);
    }
    store_evict(test->store, 2500);
    run_until(test, is_quiet);
    struct store_totals totals;
    store_totals(test->store, &totals);
    assert_int_equal(totals.disk_count, 3);
    store_evict(test->store, 1000000);
    run_until(test, is_quiet);
    store_totals(test->store, &totals);
    assert_int_equal(totals.disk_count, 10);
    assert_int_equal(totals.managed_bytes, 0);
    end_test(test);
}

/* The disk is full: values stay, the user is told once, and when there is room again it goes on. */
static void test_disk_full(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){.target_bytes = 50000});
    test->faults.write_error = ENOSPC;
    for (uint32_t key = 0; key < 20; key++) {
        put_value(test, key, 10000);
    }
    run_until(test, troubled);
    run_until(test, is_quiet);
    store_evict(test->store, 0);
    run_until(test, is_quiet);
    assert_string_equal(text_cstr(&test->log), "trouble: NO_SPACE; ");
    for (uint32_t key = 0; key < 20; key++) {
        assert_value(test, key, 10000);
    }
    test->faults.write_error = 0;
    store_evict(test->store, 0);
    run_until(test, is_quiet);
    struct store_totals totals;
    store_totals(test->store, &totals);
    assert_int_equal(totals.managed_bytes, 50000);
    assert_int_equal(totals.disk_count, 15);
    assert_int_equal(test->lost, 0);
    test->faults.write_error = ENOSPC;
    put_value(test, 20, 10000);
    run_until(test, is_quiet);
    assert_int_equal(test->troubles, 2);
    end_test(test);
}

/* The disk is full, but with copies of what came back into memory: they make room. */
static void test_copies_make_room(void **state)
{
    (void)state;
    struct test *test =
        new_test((struct store_options){.target_bytes = 35000, .spilled_bytes_max = 35000});
    for (uint32_t key = 0; key < 6; key++) {
        put_value(test, key, 10000);
    }
    run_until(test, is_quiet); /* 0, 1, 2 are on disk, which is full with them */
    for (uint32_t key = 0; key < 3; key++) {
        assert_value(test, key, 10000);
        run_until(test, is_quiet);
    }
    struct store_totals totals;
    store_totals(test->store, &totals);
    assert_int_equal(totals.managed_bytes, 30000);
    assert_int_equal(totals.disk_count, 3);
    assert_int_equal(test->troubles, 0);
    end_test(test);
}

/* A byte on the disk is wrong: who asks gets a named error, the node hears that the key is lost; the disk
 * cannot be read at all: likewise. */
static void test_lost(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){0});
    put_value(test, 0, 10000);
    put_value(test, 1, 10000);
    store_evict(test->store, 20000);
    run_until(test, is_quiet);
    spoil(0, 500);
    assert_code(test, 0, ERR_CORRUPT);
    test->faults.read_error = EIO;
    assert_code(test, 1, ERR_IO);
    assert_string_equal(text_cstr(&test->log), "lost key-0: CORRUPT; lost key-1: IO; ");
    assert_int_equal(store_look(test->store, name_of(0), NULL), STORE_UNKNOWN);
    end_test(test);
}

/* No descriptor is free to read it now: the value is not lost. */
static void test_busy(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){0});
    put_value(test, 0, 17000000);
    store_evict(test->store, 1);
    run_until(test, is_quiet);
    test->faults.open_error = EMFILE;
    assert_code(test, 0, ERR_BUSY);
    test->faults.open_error = 0;
    assert_value(test, 0, 17000000);
    end_test(test);
}

/* Nobody waits any more; and one whose key is dropped while it is read is told. */
static void test_cancel_and_drop(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){0});
    put_value(test, 0, 10000);
    put_value(test, 1, 10000);
    store_evict(test->store, 20000);
    run_until(test, is_quiet);
    struct asked asked[2] = {{.waiter = {.answer = on_answer}, .test = test},
                             {.waiter = {.answer = on_answer}, .test = test}};
    struct store_value *value;
    for (uint32_t key = 0; key < 2; key++) {
        assert_int_equal(store_get(test->store, name_of(key), &asked[key].waiter, &value),
                         STORE_LATER);
    }
    store_cancel(test->store, &asked[0].waiter);
    assert_true(store_drop(test->store, name_of(1)));
    assert_false(store_drop(test->store, name_of(1)));
    test->answers_wanted = 1;
    run_until(test, all_answered);
    run_until(test, is_quiet);
    assert_int_equal(asked[0].answers, 0);
    assert_int_equal(asked[1].code, ERR_NOT_FOUND);
    assert_int_equal(store_get(test->store, name_of(1), &asked[1].waiter, &value), ERR_NOT_FOUND);
    end_test(test);
}

static void note_lost(void *user, struct span key, uint64_t handle)
{
    (void)handle;
    text_printf(user, "%.*s ", (int)key.size, key.data);
}

/* An executor dies with an export under way: what was only there is named; what was on disk is still there. */
static void test_executor_lost(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){0});
    put_live(test, 1, 0);
    store_evict(test->store, 1);
    run_until(test, is_quiet);
    put_live(test, 2, 0);
    put_live(test, 3, 0);
    put_live(test, 4, 1);
    test->is_silent = true;
    store_evict(test->store, 1);
    struct text lost = {0};
    store_executor_lost(test->store, 0, note_lost, &lost);
    assert_string_equal(text_cstr(&lost), "key-2 key-3 ");
    text_fini(&lost);
    store_exported(test->store, 0, 2, sized_value(10, true, 1)); /* too late */
    assert_value(test, 1, size_of_handle(1));
    uint32_t cursor = 0, count = 0;
    struct span key;
    struct store_info info;
    while (store_next(test->store, &cursor, &key, &info)) {
        count++;
    }
    assert_int_equal(count, 2);
    end_test(test);
}

/* Destroyed while threads write and read, and inside an answer. */
static void destroy_in_answer(struct store_waiter *waiter, struct store_value *value, int code,
                              const char *why)
{
    on_answer(waiter, value, code, why);
    struct test *test = ((struct asked *)waiter)->test;
    store_destroy(test->store);
    test->store = NULL;
}

static void test_destroy(void **state)
{
    (void)state;
    struct test *test = new_test((struct store_options){0});
    for (uint32_t key = 0; key < 100; key++) {
        put_value(test, key, 100000);
    }
    store_evict(test->store, UINT64_MAX);
    end_test(test);

    test = new_test((struct store_options){0});
    put_value(test, 0, 10000);
    store_evict(test->store, 1);
    run_until(test, is_quiet);
    struct asked asked = {.waiter = {.answer = destroy_in_answer}, .test = test};
    struct store_value *value;
    assert_int_equal(store_get(test->store, name_of(0), &asked.waiter, &value), STORE_LATER);
    test->answers_wanted = 1;
    run_until(test, all_answered);
    assert_int_equal(asked.code, OK);
    store_value_unref(asked.value);
    end_test(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_behind),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_copies_make_room),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_cancel_and_drop),
        cmocka_unit_test(test_executor_lost),
        cmocka_unit_test(test_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
