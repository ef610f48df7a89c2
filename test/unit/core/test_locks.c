/* test_locks.c: semaphores, multi-locks and flags: who is answered when. */
#include "support/story_replies.h"

#include "core/scheduler/locks.h"

static void register_semaphore(struct stage *stage, uint64_t request, const char *name,
                               int64_t leases, double timeout)
{
    struct event event = {
        .kind = EVENT_SEMAPHORE_REGISTER,
        .of.semaphore_register = {request, stage_key(stage, name), leases, timeout}};
    stage_step_now(stage, &event);
}

static void acquire(struct stage *stage, uint64_t request, const char *name, const char *lease,
                    double seconds)
{
    struct event event = {.kind = EVENT_SEMAPHORE_ACQUIRE,
                          .of.semaphore_acquire = {request, stage_key(stage, name),
                                                   stage_key(stage, lease), stage->time + seconds}};
    stage_step_now(stage, &event);
}

static void release(struct stage *stage, uint64_t request, const char *name, const char *lease)
{
    struct event event = {
        .kind = EVENT_SEMAPHORE_RELEASE,
        .of.semaphore_release = {request, stage_key(stage, name), stage_key(stage, lease)}};
    stage_step_now(stage, &event);
}

static void value(struct stage *stage, uint64_t request, const char *name)
{
    struct event event = {.kind = EVENT_SEMAPHORE_VALUE,
                          .of.semaphore_value = {request, stage_key(stage, name)}};
    stage_step_now(stage, &event);
}

static void refresh(struct stage *stage, uint64_t request, const char *name, const char *leases)
{
    struct event event = {
        .kind = EVENT_SEMAPHORE_REFRESH,
        .of.semaphore_refresh = {request, stage_key(stage, name), stage_keys(stage, leases, ' ')}};
    stage_step_now(stage, &event);
}

static void request_gone(struct stage *stage, uint64_t request)
{
    struct event event = {.kind = EVENT_REQUEST_GONE, .of.request_gone = {request}};
    stage_step_now(stage, &event);
}

/* Two leases, three who want one: the third waits for a release, and they come in order. */
static void test_semaphore(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 2, 30);
    expect_replies(&stage, "1: nil\n");
    acquire(&stage, 2, "s", "a", INFINITY);
    expect_replies(&stage, "2: true\n");
    acquire(&stage, 3, "s", "b", INFINITY);
    expect_replies(&stage, "3: true\n");
    acquire(&stage, 4, "s", "c", INFINITY);
    expect_replies(&stage, "");
    acquire(&stage, 5, "s", "d", INFINITY);
    value(&stage, 6, "s");
    expect_replies(&stage, "6: 2\n");
    release(&stage, 7, "s", "a");
    expect_replies(&stage, "7: nil\n4: true\n");
    release(&stage, 8, "s", "c");
    expect_replies(&stage, "8: nil\n5: true\n");
    struct semaphore_view view;
    assert_true(locks_semaphore_at(stage.s, 0, &view));
    assert_int_equal(view.leases, 2);
    assert_int_equal(view.acquired_total, 4);
    assert_int_equal(view.released_total, 2);
    assert_false(locks_semaphore_at(stage.s, 1, &view));
    stage_close(&stage);
}

/* The answer to an acquire was lost: the same lease is granted again, and takes one place only. */
static void test_semaphore_idempotent(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 1, 30);
    acquire(&stage, 2, "s", "a", INFINITY);
    acquire(&stage, 3, "s", "a", INFINITY);
    expect_replies(&stage, "3: true\n");
    value(&stage, 4, "s");
    expect_replies(&stage, "4: 1\n");
    stage_close(&stage);
}

/* Time is up: at once with a timeout of 0, else when the deadline comes. */
static void test_semaphore_timeout(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 1, 0);
    acquire(&stage, 2, "s", "a", 0);
    expect_replies(&stage, "2: true\n");
    acquire(&stage, 3, "s", "b", 0);
    expect_replies(&stage, "3: false\n");
    acquire(&stage, 4, "s", "c", 7);
    acquire(&stage, 5, "s", "d", 3);
    assert_true(scheduler_next_tick(stage.s) == stage.time + 3);
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "5: false\n");
    release(&stage, 6, "s", "a");
    expect_replies(&stage, "6: nil\n4: true\n");
    assert_false(stage_tick_due(&stage));
    stage_close(&stage);
}

/* A client died with a lease: it comes back when nobody has refreshed it for lease-timeout. */
static void test_lease_timeout(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 2, 15);
    acquire(&stage, 2, "s", "dead", INFINITY);
    acquire(&stage, 3, "s", "alive", INFINITY);
    acquire(&stage, 4, "s", "next", INFINITY);
    double begun = stage.time;
    while (scheduler_next_tick(stage.s) < begun + 12) {
        assert_true(stage_tick_due(&stage));
        expect_replies(&stage, "");
    }
    stage.time = begun + 12;
    refresh(&stage, 5, "s", "alive");
    expect_replies(&stage, "5: nil\n");
    assert_true(stage_tick_due(&stage));
    assert_true(stage.time > begun + 15);
    expect_replies(&stage, "4: true\n");
    value(&stage, 6, "s");
    expect_replies(&stage, "6: 2\n");
    stage_close(&stage);
}

/* Mistakes: another number of leases, an unknown name, a release too much. */
static void test_semaphore_mistakes(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 2, 30);
    register_semaphore(&stage, 2, "s", 2, 30);
    expect_replies(&stage, "2: nil\n");
    register_semaphore(&stage, 3, "s", 3, 30);
    expect_replies(&stage, "3: ValueError(Inconsistent max leases: 3, expected: 2)\n");
    acquire(&stage, 4, "other", "a", 1);
    expect_replies(&stage, "4: RuntimeError(Semaphore or Lock `other` not known.)\n");
    release(&stage, 5, "other", "a");
    expect_replies(&stage, "5: nil\n");
    release(&stage, 6, "s", "never-acquired");
    expect_replies(&stage, "6: nil\n");
    value(&stage, 7, "other");
    expect_replies(&stage, "7: 0\n");
    stage_close(&stage);
}

/* A lease that had timed out is refreshed after all: it counts again, even if that is one too many. */
static void test_refresh_unknown(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 1, 30);
    acquire(&stage, 2, "s", "a", INFINITY);
    refresh(&stage, 3, "s", "b");
    value(&stage, 4, "s");
    expect_replies(&stage, "4: 2\n");
    release(&stage, 5, "s", "a");
    acquire(&stage, 6, "s", "c", 0);
    expect_replies(&stage, "6: false\n");
    stage_close(&stage);
}

/* Closed while some wait: they are told, and the name may be used anew. */
static void test_semaphore_close(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 1, 30);
    acquire(&stage, 2, "s", "a", INFINITY);
    acquire(&stage, 3, "s", "b", INFINITY);
    struct event event = {.kind = EVENT_SEMAPHORE_CLOSE,
                          .of.semaphore_close = {4, stage_key(&stage, "s")}};
    stage_step(&stage, &event);
    expect_replies(&stage, "4: nil\n3: RuntimeError(Semaphore or Lock `s` not known.)\n");
    assert_false(stage_tick_due(&stage));
    register_semaphore(&stage, 5, "s", 3, 30);
    expect_replies(&stage, "5: nil\n");
    value(&stage, 6, "s");
    expect_replies(&stage, "6: 0\n");
    stage_close(&stage);
}

/* The connection of the first in line is gone: the second gets the lease. */
static void test_semaphore_request_gone(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    register_semaphore(&stage, 1, "s", 1, 30);
    acquire(&stage, 2, "s", "a", INFINITY);
    acquire(&stage, 3, "s", "b", 100);
    acquire(&stage, 4, "s", "c", 100);
    request_gone(&stage, 3);
    request_gone(&stage, 99);
    release(&stage, 5, "s", "a");
    expect_replies(&stage, "5: nil\n4: true\n");
    stage_close(&stage);
}

/* ---- multi-locks ---- */

/* `wanted`: "2 of x y z" */
static void multi_acquire(struct stage *stage, uint64_t request, const char *wanted, const char *id,
                          double seconds)
{
    char *locks;
    unsigned long count = strtoul(wanted, &locks, 10);
    locks += strlen(" of ");
    struct event event = {.kind = EVENT_MULTI_LOCK_ACQUIRE,
                          .of.multi_lock_acquire = {request, stage_keys(stage, locks, ' '),
                                                    stage_key(stage, id), stage->time + seconds,
                                                    (uint32_t)count}};
    stage_step_now(stage, &event);
}

static void multi_release(struct stage *stage, uint64_t request, const char *id)
{
    struct event event = {.kind = EVENT_MULTI_LOCK_RELEASE,
                          .of.multi_lock_release = {request, stage_key(stage, id)}};
    stage_step_now(stage, &event);
}

/* Overlapping sets of locks: each goes on once it has all of its own. */
static void test_multi_lock(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    multi_acquire(&stage, 1, "2 of x y", "one", INFINITY);
    expect_replies(&stage, "1: true\n");
    multi_acquire(&stage, 2, "2 of y z", "two", INFINITY);
    multi_acquire(&stage, 3, "2 of z x", "three", INFINITY);
    expect_replies(&stage, "");
    multi_release(&stage, 4, "one");
    expect_replies(&stage, "2: true\n4: nil\n");
    multi_release(&stage, 5, "two");
    expect_replies(&stage, "3: true\n5: nil\n");
    multi_release(&stage, 6, "three");
    expect_replies(&stage, "6: nil\n");
    stage_close(&stage);
}

/* Any two of three locks: free ones first; the rest is left to others. */
static void test_multi_lock_some(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    multi_acquire(&stage, 1, "1 of x", "one", INFINITY);
    multi_acquire(&stage, 2, "2 of x y z", "two", INFINITY);
    expect_replies(&stage, "2: true\n");
    multi_acquire(&stage, 3, "1 of x y z", "three", INFINITY);
    expect_replies(&stage, "");
    multi_release(&stage, 4, "one");
    expect_replies(&stage, "3: true\n4: nil\n");
    /* It stands in the lines of y and z as well, and gets them without asking again. */
    multi_release(&stage, 5, "two");
    expect_replies(&stage, "5: nil\n");
    multi_acquire(&stage, 6, "1 of y", "four", 0);
    expect_replies(&stage, "6: false\n");
    multi_release(&stage, 7, "three");
    multi_acquire(&stage, 8, "1 of y", "four", 0);
    expect_replies(&stage, "8: true\n");
    stage_close(&stage);
}

/* Time is up, or the connection is gone: what was held goes to the next. */
static void test_multi_lock_gives_up(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    multi_acquire(&stage, 1, "1 of x", "one", INFINITY);
    multi_acquire(&stage, 2, "2 of x y", "two", 5);
    multi_acquire(&stage, 3, "1 of y", "three", INFINITY);
    expect_replies(&stage, "");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "2: false\n3: true\n");
    multi_acquire(&stage, 4, "2 of x y", "four", INFINITY);
    multi_acquire(&stage, 5, "1 of x", "five", INFINITY);
    request_gone(&stage, 4);
    multi_release(&stage, 6, "one");
    expect_replies(&stage, "5: true\n6: nil\n");
    stage_close(&stage);
}

/* What makes no sense is refused, and changes nothing. */
static void test_multi_lock_mistakes(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    multi_release(&stage, 1, "nobody");
    expect_replies(&stage, "1: KeyError(nobody)\n");
    multi_acquire(&stage, 2, "3 of x y", "one", INFINITY);
    expect_replies(
        &stage,
        "2: ValueError(MultiLock 'one' must ask for at least one and at most all of its locks)\n");
    multi_acquire(&stage, 3, "2 of x y", "one", INFINITY);
    multi_acquire(&stage, 4, "2 of x y", "one", INFINITY);
    expect_replies(
        &stage,
        "4: ValueError(MultiLock 'one' has asked for its locks already: release them first)\n");
    stage_close(&stage);
}

/* ---- flags ---- */

static void flag(struct stage *stage, enum event_kind kind, uint64_t request, double seconds)
{
    struct event event = {.kind = kind,
                          .of.flag_wait = {request, stage_key(stage, "f"), stage->time + seconds}};
    stage_step_now(stage, &event);
}

/* Waiting for a flag: set wakes all, a set flag keeps nobody waiting, clear makes them wait again. */
static void test_flag(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    flag(&stage, EVENT_FLAG_IS_SET, 1, 0);
    expect_replies(&stage, "1: false\n");
    flag(&stage, EVENT_FLAG_WAIT, 2, INFINITY);
    flag(&stage, EVENT_FLAG_WAIT, 3, 10);
    flag(&stage, EVENT_FLAG_WAIT, 4, 0);
    expect_replies(&stage, "4: false\n");
    flag(&stage, EVENT_FLAG_CLEAR, 5, 0);
    expect_replies(&stage, "5: nil\n");
    flag(&stage, EVENT_FLAG_SET, 6, 0);
    expect_replies(&stage, "6: nil\n2: true\n3: true\n");
    flag(&stage, EVENT_FLAG_WAIT, 7, INFINITY);
    expect_replies(&stage, "7: true\n");
    flag(&stage, EVENT_FLAG_IS_SET, 8, 0);
    expect_replies(&stage, "8: true\n");
    flag(&stage, EVENT_FLAG_CLEAR, 9, 0);
    flag(&stage, EVENT_FLAG_WAIT, 10, 2);
    flag(&stage, EVENT_FLAG_WAIT, 11, 2);
    request_gone(&stage, 11);
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "10: false\n");
    assert_false(stage_tick_due(&stage));
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_semaphore),
        cmocka_unit_test(test_semaphore_idempotent),
        cmocka_unit_test(test_semaphore_timeout),
        cmocka_unit_test(test_lease_timeout),
        cmocka_unit_test(test_semaphore_mistakes),
        cmocka_unit_test(test_refresh_unknown),
        cmocka_unit_test(test_semaphore_close),
        cmocka_unit_test(test_semaphore_request_gone),
        cmocka_unit_test(test_multi_lock),
        cmocka_unit_test(test_multi_lock_some),
        cmocka_unit_test(test_multi_lock_gives_up),
        cmocka_unit_test(test_multi_lock_mistakes),
        cmocka_unit_test(test_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
