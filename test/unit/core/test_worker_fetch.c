/* test_worker_fetch.c: what a worker fetches, from whom, when; and what becomes of it if that fails.
 * The essence of distributed's test_worker_state_machine.py. */
#include "support/worker_story.h"

static struct worker_config limits(int64_t incoming, int64_t message, int64_t floor, uint32_t count)
{
    struct worker_config config;
    worker_config_init(&config);
    config.incoming_limit = incoming;
    config.message_limit = message;
    config.throttle_floor = floor;
    config.incoming_count_limit = count;
    return config;
}

/* ---- which peer, how much ---- */

/* By priority; then this host; then who has most; one request a peer. */
static void test_gather_priority(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = limits(WORKER_NO_LIMIT, 50000000, 10000000, 4);
    wstage_open(&stage, &config);
    wstage_tell(&stage, WORKER_EVENT_PAUSE);
    /* 4 MB each: enough for the limit of peers to count, less than a message may have */
    wstage_acquire(&stage, "x1(4000000)@r2,l2 x2(4000000)@r2 x3(4000000)@r3 x4(4000000)@r3 "
                           "x5(4000000)@r4 x6(4000000)@r5 x7(4000000)@r6 x8(4000000)@r7");
    wstage_compute(&stage, "z", "y@r7");
    wstage_tell(&stage, WORKER_EVENT_UNPAUSE);
    wstage_expect(&stage, "gather r7 y,x8 (4000001)\n"
                          "gather l2 x1 (4000000)\n"
                          "gather r3 x4,x3 (8000000)\n"
                          "gather r2 x2 (4000000)\n");
    struct worker_summary all = wstage_summary(&stage);
    assert_int_equal(all.incoming_bytes, 20000001);
    assert_int_equal(all.incoming_count, 4);
    assert_int_equal(all.state_counts[WTASK_FETCH], 3);
    wstage_close(&stage);
}

static void test_message_limit(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = limits(WORKER_NO_LIMIT, 50, 10000000, 9999);
    wstage_open(&stage, &config);
    wstage_acquire(&stage, "a(20)@r2 b(20)@r2 c(20)@r2 d(60)@r3 e(60)@r3");
    wstage_expect(&stage, "gather r2 c,b (40)\ngather r3 e (60)\n");
    wstage_gathered(&stage, "r2", "c b");
    wstage_expect(&stage, "keep b\nadd b\nkeep c\nadd c\ngather r2 a (20)\n");
    wstage_close(&stage);
}

/* The first value comes, however large; the next ones wait for room. */
static void test_incoming_limit(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = limits(150, 150, 1, 100);
    wstage_open(&stage, &config);
    wstage_acquire(&stage, "a(200)@r2 b(100)@r3");
    wstage_expect(&stage, "gather r2 a (200)\n");
    wstage_gathered(&stage, "r2", "a");
    wstage_expect(&stage, "keep a\nadd a\ngather r3 b (100)\n");
    wstage_acquire(&stage, "c(100)@r2 d(40)@r4");
    wstage_expect(&stage,
                  ""); /* by address r2 comes first, and c has no room: nothing overtakes it */
    wstage_gathered(&stage, "r3", "b");
    wstage_expect(&stage, "keep b\nadd b\ngather r2 c (100)\ngather r4 d (40)\n");
    assert_int_equal(wstage_summary(&stage).incoming_bytes, 140);
    assert_int_equal(wstage_summary(&stage).incoming_count_total, 4);
    wstage_close(&stage);
}

static void test_count_limit_and_floor(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = limits(200, WORKER_NO_LIMIT, 50, 1);
    wstage_open(&stage, &config);
    wstage_acquire(&stage, "a@r2");
    wstage_acquire(&stage, "b@r3"); /* a second peer: few bytes are under way */
    wstage_acquire(&stage, "c(100)@r4");
    wstage_expect(&stage, "gather r2 a (1)\ngather r3 b (1)\ngather r4 c (100)\n");
    wstage_acquire(&stage, "d@r5");
    wstage_expect(&stage, "");
    wstage_gathered(&stage, "r4", "c");
    wstage_expect(&stage, "keep c\nadd c\ngather r5 d (1)\n");
    wstage_close(&stage);
}

/* All holders are being asked already; one more is heard of. */
static void test_new_replica_while_all_are_asked(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@r2");
    wstage_acquire(&stage, "y@r2");
    wstage_expect(&stage, "gather r2 x (1)\n");
    wstage_state(&stage, "y", "fetch");
    wstage_acquire(&stage, "y@r2,r3");
    wstage_expect(&stage, "gather r3 y (1)\n");
    wstage_close(&stage);
}

/* A holder that is heard to have lost its replica is not asked. */
static void test_lose_replica_during_fetch(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "clog2@r2");
    wstage_acquire(&stage, "clog3@r3");
    wstage_acquire(&stage, "x@r2,r3");
    wstage_acquire(&stage, "x@r3");
    wstage_expect(&stage, "gather r2 clog2 (1)\ngather r3 clog3 (1)\n");
    wstage_gathered(&stage, "r2", "clog2");
    wstage_expect(&stage, "keep clog2\nadd clog2\n");
    wstage_gathered(&stage, "r3", "clog3");
    wstage_expect(&stage, "keep clog3\nadd clog3\ngather r3 x (1)\n");
    wstage_close(&stage);
}

/* Forgotten while it waits for its turn, and wanted anew: it is the new one that is fetched. */
static void test_forget_what_was_needed(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "clog@r2");
    wstage_compute(&stage, "y", "x(5)@r2");
    wstage_free(&stage, "y");
    wstage_state(&stage, "x", NULL);
    wstage_compute(&stage, "y", "x(7)@r2");
    wstage_gathered(&stage, "r2", "clog");
    wstage_expect(&stage, "gather r2 clog (1)\nkeep clog\nadd clog\ngather r2 x (7)\n");
    wstage_close(&stage);
}

/* Not to itself, whatever the scheduler says. */
static void test_holders_without_self(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@l1 y@l1,r2,r2");
    wstage_expect(&stage, "gather r2 y (1)\n");
    wstage_state(&stage, "x", "missing");
    wstage_close(&stage);
}

/* ---- how it ends ---- */

static void test_key_not_there(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "z", "x@r2,r3 y@r2");
    wstage_expect(&stage, "gather r2 y,x (2)\n");
    wstage_gathered(&stage, "r2", "");
    wstage_expect(&stage, "gather r3 x (1)\n");
    wstage_state(&stage, "y", "missing");
    wstage_tell(&stage, WORKER_EVENT_FIND_MISSING);
    wstage_expect(&stage, "refresh y\n");
    wstage_who_has(&stage, "y@r2 nobody@r2");
    wstage_expect(&stage, "gather r2 y (1)\n");
    wstage_gathered(&stage, "r2", "y");
    wstage_gathered(&stage, "r3", "x");
    wstage_expect(&stage, "keep y\nadd y\nkeep x\nadd x\nexecute z <- x,y\n");
    wstage_tell(&stage, WORKER_EVENT_FIND_MISSING);
    wstage_expect(&stage, "");
    wstage_close(&stage);
}

static void test_busy(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@r2,r3 y@r2");
    wstage_expect(&stage, "gather r2 y,x (2)\n");
    wstage_tell_peer(&stage, WORKER_EVENT_GATHER_BUSY, "r2");
    wstage_expect(&stage, "retry-later r2\nrefresh y\ngather r3 x (1)\n");
    wstage_tell_peer(&stage, WORKER_EVENT_GATHER_BUSY, "r3");
    wstage_expect(&stage, "retry-later r3\nrefresh x\n");
    wstage_who_has(&stage, "x y@r4"); /* x is gone, y has been copied */
    wstage_expect(&stage, "gather r4 y (1)\n");
    wstage_state(&stage, "x", "missing");
    wstage_tell_peer(&stage, WORKER_EVENT_RETRY_BUSY_WORKER, "r2");
    wstage_acquire(&stage, "w@r2");
    wstage_expect(&stage, "gather r2 w (1)\n");
    wstage_close(&stage);
}

/* The peer is taken for dead: what only it had is missing, asked for or not. */
static void test_network_failure(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@r2");
    wstage_acquire(&stage, "y@r2");
    wstage_acquire(&stage, "z@r2,r3");
    wstage_expect(&stage, "gather r2 x (1)\ngather r3 z (1)\n");
    wstage_tell_peer(&stage, WORKER_EVENT_GATHER_NETWORK_FAILURE, "r2");
    wstage_state(&stage, "x", "missing");
    wstage_state(&stage, "y", "missing");
    wstage_tell_peer(&stage, WORKER_EVENT_GATHER_NETWORK_FAILURE, "r3");
    wstage_state(&stage, "z", "missing");
    wstage_expect(&stage, "");
    struct worker_peer_view peer;
    assert_true(worker_peer(stage.w, 1, &peer));
    wstage_tell(&stage, WORKER_EVENT_FIND_MISSING); /* the step after: they are forgotten */
    assert_false(worker_peer(stage.w, 0, &peer));
    assert_false(worker_peer(stage.w, 1, &peer));
    wstage_close(&stage);
}

static void test_failure(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "y", "x@r2");
    wstage_gather_failed(&stage, "r2");
    wstage_expect(&stage, "gather r2 x (1)\nerred x #-1\n");
    wstage_state(&stage, "x", "error");
    wstage_state(&stage, "y", "waiting");
    assert_int_equal(wstage_summary(&stage).incoming_bytes, 0);
    wstage_free(&stage, "y");
    wstage_expect(&stage, "");
    wstage_state(&stage, "x", NULL);
    wstage_close(&stage);
}

/* ---- peers that leave ---- */

static void test_remove_worker_in_flight(void **state)
{
    (void)state;
    for (int outcome = 0; outcome < 4; outcome++) {
        struct wstage stage;
        wstage_open(&stage, NULL);
        wstage_compute(&stage, "y", "x@r2");
        wstage_tell_peer(&stage, WORKER_EVENT_REMOVE_WORKER, "r2");
        wstage_expect(&stage, "gather r2 x (1)\n");
        wstage_state(&stage, "x", "flight");
        switch (outcome) {
        case 0:
            wstage_tell_peer(&stage, WORKER_EVENT_GATHER_NETWORK_FAILURE, "r2");
            wstage_expect(&stage, "");
            break;
        case 1:
            wstage_gathered(&stage, "r2", "");
            wstage_expect(&stage, "");
            break;
        case 2:
            wstage_tell_peer(&stage, WORKER_EVENT_GATHER_BUSY, "r2");
            wstage_expect(&stage, "retry-later r2\nrefresh x\n");
            wstage_tell_peer(&stage, WORKER_EVENT_RETRY_BUSY_WORKER, "r2");
            break;
        default:
            wstage_gathered(&stage, "r2", "x");
            wstage_expect(&stage, "keep x\nadd x\nexecute y <- x\n");
            break;
        }
        wstage_state(&stage, "x", outcome == 3 ? "memory" : "missing");
        wstage_close(&stage);
    }
}

static void test_remove_worker_in_fetch(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@r2 y@r3");
    wstage_acquire(&stage, "w@r2 z@r2,r3");
    wstage_tell_peer(&stage, WORKER_EVENT_REMOVE_WORKER, "r2");
    wstage_tell_peer(&stage, WORKER_EVENT_REMOVE_WORKER, "r9");
    wstage_state(&stage, "w", "missing");
    wstage_state(&stage, "z", "fetch");
    wstage_expect(&stage, "gather r2 x (1)\ngather r3 y (1)\n");
    wstage_gathered(&stage, "r3", "y");
    wstage_expect(&stage, "keep y\nadd y\ngather r3 z (1)\n");
    wstage_close(&stage);
}

/* ---- scattered values ---- */

static void test_scatter_while_in_flight(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "y", "x(8)@r2");
    wstage_expect(&stage, "gather r2 x (8)\n");
    wstage_scatter(&stage, "x(9)");
    wstage_expect(&stage, "keep x\nadd x\nexecute y <- x\n");
    wstage_gathered(&stage, "r2", "x(8)");
    wstage_expect(&stage, "refuse x\n");
    wstage_state(&stage, "x", "memory");
    wstage_close(&stage);
}

/* … and freed, all before the peer has answered. */
static void test_forgotten_while_in_flight(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@r2 y@r2");
    wstage_scatter(&stage, "x");
    wstage_free(&stage, "x");
    wstage_expect(&stage, "gather r2 y,x (2)\nkeep x\nadd x\ndrop x\nreleased x\n");
    wstage_state(&stage, "x", NULL);
    wstage_scatter(&stage, "x"); /* another task by that name, perhaps in the same place */
    wstage_expect(&stage, "keep x\n");
    wstage_gathered(&stage, "r2", "x y");
    wstage_expect(&stage, "keep y\nadd y\nrefuse x\n");
    wstage_close(&stage);
}

static void test_scatter_what_is_there(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "run", "");
    wstage_scatter(&stage, "x(3)");
    wstage_scatter(&stage, "x(5) run(5)");
    wstage_expect(&stage, "execute run\nkeep x\nrefuse x\nrefuse run\n");
    assert_int_equal(wstage_summary(&stage).nbytes, 3);
    wstage_close(&stage);
}

/* ---- answers nobody asked for ---- */

static void test_unasked_answers(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_scatter(&stage, "x");
    wstage_expect(&stage, "keep x\n");
    wstage_gathered(&stage, "r2", "x y");
    wstage_expect(&stage, "refuse x\nrefuse y\n");
    wstage_acquire(&stage, "y@r2");
    wstage_expect(&stage, "gather r2 y (1)\n");
    wstage_gathered(&stage, "r3", "y");
    wstage_expect(&stage, "refuse y\n");
    wstage_gathered(&stage, "r2", "x y y other");
    wstage_expect(&stage, "keep y\nadd y\nrefuse x\nrefuse y\nrefuse other\n");
    wstage_tell_peer(&stage, WORKER_EVENT_GATHER_BUSY, "r2");
    wstage_tell_peer(&stage, WORKER_EVENT_GATHER_NETWORK_FAILURE, "r2");
    wstage_gather_failed(&stage, "r2");
    wstage_tell_peer(&stage, WORKER_EVENT_RETRY_BUSY_WORKER, "r7");
    wstage_expect(&stage, "");
    wstage_close(&stage);
}

/* Sizes as nobody can have them count as the nearest that are possible. */
static void test_sizes_out_of_bounds(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = limits(1000, 1000, 1, 9);
    wstage_open(&stage, &config);
    wstage_acquire(&stage, "x(9223372036854775807)@r2 y(-5)@r2 z(9223372036854775807)@r3");
    assert_true(wstage_summary(&stage).incoming_bytes > 0);
    wstage_gathered(&stage, "r3", "z");
    wstage_gathered(&stage, "r2", "x y");
    wstage_gathered(&stage, "r2", "x y");
    wstage_free(&stage, "x y z");
    assert_int_equal(wstage_summary(&stage).nbytes, 0);
    wstage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gather_priority),
        cmocka_unit_test(test_message_limit),
        cmocka_unit_test(test_incoming_limit),
        cmocka_unit_test(test_count_limit_and_floor),
        cmocka_unit_test(test_new_replica_while_all_are_asked),
        cmocka_unit_test(test_lose_replica_during_fetch),
        cmocka_unit_test(test_forget_what_was_needed),
        cmocka_unit_test(test_holders_without_self),
        cmocka_unit_test(test_key_not_there),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_network_failure),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_remove_worker_in_flight),
        cmocka_unit_test(test_remove_worker_in_fetch),
        cmocka_unit_test(test_scatter_while_in_flight),
        cmocka_unit_test(test_forgotten_while_in_flight),
        cmocka_unit_test(test_scatter_what_is_there),
        cmocka_unit_test(test_unasked_answers),
        cmocka_unit_test(test_sizes_out_of_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
