/* The loop: turns, timers, posts from other threads, pool work, signals. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "unit/io/support.h"

struct counts {
    struct io_loop *loop;
    struct io_timer *timer;
    uint32_t due;
    uint32_t turns;
    uint32_t posted;
    uint32_t next_expected;
    uint32_t wanted;
    int signal_number;
    pthread_t loop_thread;
    pthread_t work_thread;
    bool worked;
};

static void on_due(void *user)
{
    struct counts *counts = user;
    counts->due++;
    if (counts->due == counts->wanted) {
        io_timer_destroy(counts->timer);
        counts->timer = NULL;
    }
}

/* A repeating timer that ends itself: the loop then has nothing left and returns. */
static void test_timer_repeats(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create(), .wanted = 3};
    counts.timer = io_timer_create(counts.loop, on_due, &counts);
    double start = io_monotonic();
    io_timer_start(counts.timer, 0.02, 0.01);
    io_loop_run(counts.loop);
    assert_int_equal(counts.due, 3);
    assert_true(io_monotonic() - start >= 0.039);
    io_loop_destroy(counts.loop);
}

/* A timer started after a long computation counts from then, not from the turn's beginning. */
static void test_timer_counts_from_now(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create(), .wanted = 1};
    counts.timer = io_timer_create(counts.loop, on_due, &counts);
    usleep(100000);
    double start = io_monotonic();
    io_timer_start(counts.timer, 0.05, 0);
    io_loop_run(counts.loop);
    assert_true(io_monotonic() - start >= 0.049);
    io_loop_destroy(counts.loop);
}

static void on_turn(void *user)
{
    struct counts *counts = user;
    counts->turns++;
}

static void count_post(void *user)
{
    struct counts *counts = user;
    counts->posted++;
}

static bool has_posted(void *user)
{
    const struct counts *counts = user;
    return counts->posted >= counts->wanted;
}

/* What is posted runs before the turn's hook, however much was posted. */
static void test_turn_follows_posts(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create()};
    struct io_timer *end = io_timer_create(counts.loop, on_turn, &counts);
    io_loop_on_turn(counts.loop, on_turn, &counts);
    for (int i = 0; i < 100; i++) {
        io_post(counts.loop, count_post, &counts);
    }
    io_timer_start(end, 0.01, 0);
    io_loop_run(counts.loop);
    assert_int_equal(counts.posted, 100);
    assert_true(counts.turns >= 1);
    assert_true(counts.turns < 20);
    io_timer_destroy(end);
    io_loop_destroy(counts.loop);
}

struct ticket {
    struct counts *counts;
    uint32_t number;
};

static void take_ticket(void *user)
{
    struct ticket *ticket = user;
    struct counts *counts = ticket->counts;
    assert_true(pthread_equal(pthread_self(), counts->loop_thread));
    assert_int_equal(ticket->number, counts->next_expected);
    counts->next_expected++;
    counts->posted++;
    mem_free(ticket);
}

static void *post_tickets(void *user)
{
    struct counts *counts = user;
    for (uint32_t i = 0; i < 10000; i++) {
        struct ticket *ticket = mem_alloc(sizeof *ticket);
        *ticket = (struct ticket){counts, i};
        io_post(counts->loop, take_ticket, ticket);
    }
    return NULL;
}

/* Another thread posts 10,000 functions: each runs once, on the loop's thread, in order. */
static void test_post_from_thread(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create(), .wanted = 10000};
    counts.loop_thread = pthread_self();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_tickets, &counts), 0);
    run_until(counts.loop, has_posted, &counts);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(counts.posted, 10000);
    io_loop_destroy(counts.loop);
}

/* What is posted and never ran runs when the loop is destroyed, so owners can free. */
static void test_post_before_destroy(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create()};
    io_post(counts.loop, count_post, &counts);
    io_loop_destroy(counts.loop);
    assert_int_equal(counts.posted, 1);
}

static void do_work(void *user)
{
    struct counts *counts = user;
    counts->work_thread = pthread_self();
    usleep(20000);
    counts->worked = true;
}

static void work_done(void *user)
{
    struct counts *counts = user;
    assert_true(counts->worked);
    assert_true(pthread_equal(pthread_self(), counts->loop_thread));
    assert_false(pthread_equal(counts->work_thread, counts->loop_thread));
    counts->posted++;
}

/* Blocking work runs beside the loop and is reported on it; destroying the loop waits for it. */
static void test_work(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create()};
    counts.loop_thread = pthread_self();
    io_work(counts.loop, do_work, work_done, &counts);
    io_loop_run(counts.loop);
    assert_int_equal(counts.posted, 1);
    counts.worked = false;
    io_work(counts.loop, do_work, work_done, &counts);
    io_loop_destroy(counts.loop);
    assert_int_equal(counts.posted, 2);
}

static void on_signal(void *user, int number)
{
    struct counts *counts = user;
    counts->signal_number = number;
    counts->posted++;
}

static void raise_term(void *user)
{
    (void)user;
    kill(getpid(), SIGTERM);
}

/* SIGTERM reaches the loop as a call. */
static void test_signal(void **state)
{
    (void)state;
    struct counts counts = {.loop = io_loop_create(), .wanted = 1};
    io_on_signal(counts.loop, SIGTERM, on_signal, &counts);
    io_on_signal(counts.loop, SIGINT, on_signal, &counts);
    io_post(counts.loop, raise_term, NULL);
    run_until(counts.loop, has_posted, &counts);
    assert_int_equal(counts.signal_number, SIGTERM);
    io_loop_destroy(counts.loop);
}

static void test_clocks_and_entropy(void **state)
{
    (void)state;
    double wall = io_now();
    assert_true(wall > 1.5e9);
    double before = io_monotonic();
    assert_true(io_monotonic() >= before);
    uint8_t first[300] = {0};
    uint8_t second[300] = {0};
    io_entropy(first, sizeof first);
    io_entropy(second, sizeof second);
    assert_memory_not_equal(first, second, sizeof first);
    io_entropy(first, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timer_repeats),
        cmocka_unit_test(test_timer_counts_from_now),
        cmocka_unit_test(test_turn_follows_posts),
        cmocka_unit_test(test_post_from_thread),
        cmocka_unit_test(test_post_before_destroy),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_clocks_and_entropy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
