/* test_amm.c: the memory manager drops replicas nobody needs, and moves data away from workers that retire. */
#include "support/story_replies.h"

#include "core/scheduler/amm.h"

/* The manager runs every 2 seconds, and only when the test lets time pass. */
static void open_amm(struct stage *stage, bool started)
{
    stage_prepare(stage);
    stage->config.amm_start = started;
    stage_begin(stage);
}

static void placed(struct stage *stage, client_id client, const char *key, const worker_id *workers,
                   uint32_t count)
{
    struct span *keys = arena_array(&stage->arena, struct span, count);
    int64_t *sizes = arena_array(&stage->arena, int64_t, count);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = stage_key(stage, key);
        sizes[i] = 1000;
    }
    struct event event = {
        .kind = EVENT_DATA_PLACED,
        .of.data_placed = {client, {keys, count}, {workers, count}, {sizes, count}}};
    stage_step_now(stage, &event);
    stage_forget_transcript(stage);
}

static void add_keys(struct stage *stage, worker_id worker, const char *keys)
{
    struct event event = {.kind = EVENT_ADD_KEYS,
                          .of.add_keys = {worker, stage_keys(stage, keys, ' ')}};
    stage_step_now(stage, &event);
}

static void heartbeat(struct stage *stage, worker_id worker, int64_t memory)
{
    struct metrics_info metrics = {.memory = memory, .bandwidth = NAN};
    struct event event = {.kind = EVENT_WORKER_HEARTBEAT,
                          .of.worker_heartbeat = {worker, &metrics}};
    stage_step_now(stage, &event);
}

static void command(struct stage *stage, const char *method)
{
    struct event event = {.kind = EVENT_AMM, .of.amm = {span_of_text(method)}};
    stage_step_now(stage, &event);
}

static void retire(struct stage *stage, uint64_t request, const worker_id *workers, uint32_t count)
{
    struct event event = {.kind = EVENT_RETIRE_BEGIN,
                          .of.retire_begin = {{workers, count}, request, true, true}};
    stage_step_now(stage, &event);
}

/* Two replicas, no task waits for them: the one on the fuller worker goes; the last one never does. */
static void test_reduce(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    for (int i = 0; i < 3; i++) {
        heartbeat(&stage, w[i], i == 1 ? 9000000 : 5000000);
    }
    placed(&stage, client, "x", w, 2);
    assert_true(amm_running(stage.s));
    while (stage.transcript.size == 0) {
        assert_true(stage_tick_due(&stage));
    }
    stage_expect(&stage, "remove-replicas b: x\n");
    assert_int_equal(stage.notices[NOTICE_REPLICATE], 1);
    assert_int_equal(stage_view(&stage, "x").holder_count, 1);
    stage_tick(&stage, 5);
    stage_expect(&stage, "");
    add_keys(&stage, w[1],
             "x"); /* the worker refused: the task is needed there. It comes up again. */
    stage_tick(&stage, 5);
    stage_expect(&stage, "remove-replicas b: x\n");
    stage_close(&stage);
}

/* Three holders, all alike: two go in one run, each worker hears once. */
static void test_reduce_many(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, false);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 3);
    placed(&stage, client, "y", w, 3);
    stage_tick(&stage, 10);
    stage_expect(&stage, "");
    command(&stage, "run_once");
    stage_expect(&stage, "remove-replicas a: x,y\nremove-replicas b: x,y\n");
    stage_close(&stage);
}

/* Replicas stay where tasks that need them are processed. */
static void test_reduce_keeps_needed(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, false);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 2);
    struct span where = stage_key(&stage, "b");
    struct annotation_info on_b = {.workers = {&where, 1}, .has_workers = true};
    stage_graph_with(&stage, client, "user-1:x", "user-1",
                     (struct graph_info){.annotations = &on_b, .annotation_count = 1});
    stage_forget_transcript(&stage);
    command(&stage, "run_once");
    stage_expect(&stage, "remove-replicas a: x\n");
    add_keys(&stage, w[0], "x");
    struct span there = stage_key(&stage, "a");
    struct annotation_info on_a = {.workers = {&there, 1}, .has_workers = true};
    stage_graph_with(&stage, client, "user-2:x", "user-2",
                     (struct graph_info){.annotations = &on_a, .annotation_count = 1});
    stage_forget_transcript(&stage);
    command(&stage, "run_once");
    stage_expect(&stage, "");
    add_keys(&stage, w[2], "x");
    command(&stage, "run_once");
    stage_expect(&stage, "remove-replicas c: x\n");
    stage_close(&stage);
}

static void suggest(struct stage *stage, worker_id worker, const char *keys, bool drop)
{
    struct event event = {.kind = EVENT_AMM_SUGGEST,
                          .of.amm_suggest = {worker, stage_keys(stage, keys, ' '), drop}};
    stage_step_now(stage, &event);
}

/* A policy elsewhere suggests what it saw a moment ago: what is impossible by now does not happen. */
static void test_suggestions(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, false);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 1);
    placed(&stage, client, "y", w, 2);
    suggest(&stage, w[0], "x", true);  /* the last replica */
    suggest(&stage, w[0], "x", false); /* has it */
    suggest(&stage, w[1], "unknown", false);
    suggest(&stage, w[1] + 7, "x", false); /* no such worker */
    stage_expect(&stage, "");
    suggest(&stage, w[0], "y x y", true); /* y once, x never */
    stage_expect(&stage, "remove-replicas a: y\n");
    suggest(&stage, w[1], "x x", false);
    stage_expect(&stage, "acquire b <- x(1000)@a\n");
    stage_close(&stage);
}

/* start, stop: the interval's runs begin and end. */
static void test_commands(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, false);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 2);
    assert_false(amm_running(stage.s));
    assert_true(isinf(amm_next_tick(stage.s)));
    command(&stage, "start");
    assert_true(amm_running(stage.s));
    assert_true(amm_next_tick(stage.s) == stage.time + 2);
    command(&stage, "start");
    command(&stage, "stop");
    assert_false(amm_running(stage.s));
    stage_tick(&stage, 5);
    stage_expect(&stage, "");
    command(&stage, "start");
    assert_true(stage_tick_due(&stage));
    stage_expect(&stage, "remove-replicas a: x\n");
    stage_close(&stage);
}

/* ---- retiring ---- */

/* A worker with data nobody else has: it is copied to the emptiest worker, then the worker may go. */
static void retire_with_data(bool started)
{
    struct stage stage;
    open_amm(&stage, started);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    heartbeat(&stage, w[1], 9000000);
    heartbeat(&stage, w[2], 1000000);
    placed(&stage, client, "x", w, 1);
    placed(&stage, client, "y", w, 2);
    retire(&stage, 1, w, 1);
    expect_replies(&stage, "");
    stage_expect(&stage,
                 "status a: closing_gracefully\nacquire c <- x(1000)@a\nremove-replicas a: y\n");
    for (int i = 0; i < 3; i++) {
        assert_true(stage_tick_due(&stage));
        expect_replies(&stage, "");
    }
    stage_forget_transcript(&stage);
    add_keys(&stage, w[2], "x");
    double arrived = stage.time;
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "1: a retired\n");
    assert_true(stage.time <= arrived + 0.5);
    assert_int_equal(stage.notices[NOTICE_RETIRED], 1);
    stage_close(&stage);
}

static void test_retire(void **state)
{
    (void)state;
    retire_with_data(true);
}

/* The manager is off: retiring has runs of its own. */
static void test_retire_without_manager(void **state)
{
    (void)state;
    retire_with_data(false);
}

/* The recipient died with the copy: the next run asks another one. */
static void test_retire_tries_again(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, false);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 1);
    retire(&stage, 1, w, 1);
    stage_expect(&stage, "status a: closing_gracefully\nacquire b <- x(1000)@a\n");
    stage_worker_lost(&stage, w[1], "test");
    stage_forget_transcript(&stage);
    while (stage.transcript.size == 0) {
        assert_true(stage_tick_due(&stage));
    }
    stage_expect(&stage, "acquire c <- x(1000)@a\n");
    add_keys(&stage, w[2], "x");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "1: a retired\n");
    stage_close(&stage);
}

/* Nobody can take its data: the worker is told to go on as before. */
static void test_retire_nowhere(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 1);
    stage_worker_status(&stage, w[1], "paused");
    retire(&stage, 1, w, 1);
    stage_expect(&stage, "status a: closing_gracefully\nstatus a: running\n");
    expect_replies(&stage, "1: a kept\n");
    stage_close(&stage);
}

/* In vain twice, before the worker has answered to the first time: still it is told to go on as before. */
static void test_retire_nowhere_twice(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 1);
    stage_worker_status(&stage, w[1], "paused");
    retire(&stage, 1, w, 1);
    stage_expect(&stage, "status a: closing_gracefully\nstatus a: running\n");
    retire(&stage, 2, w, 1);
    stage_expect(&stage, "status a: closing_gracefully\nstatus a: running\n");
    expect_replies(&stage, "2: a kept\n");
    stage_close(&stage);
}

/* All at once: the data of all but the last ones has nowhere to go. */
static void test_retire_all(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 1);
    retire(&stage, 1, w, 2);
    expect_replies(&stage, "1: a kept\n1: b retired\n");
    stage_close(&stage);
}

/* Both holders of a result retire: it is brought to a third worker. */
static void test_retire_both_holders(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 2);
    retire(&stage, 1, w, 2);
    stage_expect(&stage, "status a: closing_gracefully\nstatus b: closing_gracefully\n"
                         "acquire c <- x(1000)@a,b\nremove-replicas a: x\n");
    expect_replies(&stage, "1: a retired\n");
    add_keys(&stage, w[2], "x");
    assert_true(stage_tick_due(&stage)); /* the manager's: x goes from b */
    stage_expect(&stage, "remove-replicas b: x\n");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "1: b retired\n");
    stage_close(&stage);
}

/* An actor cannot move: its worker stays. */
static void test_retire_actor(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id client = stage_client(&stage, "client");
    stage_graph_with(&stage, client, "counter", "counter", (struct graph_info){.all_actors = true});
    stage_finish(&stage, a, "counter");
    stage_worker(&stage, "b", 1);
    stage_forget_transcript(&stage);
    retire(&stage, 1, &a, 1);
    stage_expect(&stage, "status a: closing_gracefully\nstatus a: running\n");
    expect_replies(&stage, "1: a kept\n");
    stage_close(&stage);
}

/* Nothing on it, or gone already: at once. Lost while data is being moved: that ends it as well. */
static void test_retire_at_once(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, false);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1),
                     stage_worker(&stage, "c", 1)};
    client_id client = stage_client(&stage, "client");
    retire(&stage, 1, w, 1);
    expect_replies(&stage, "1: a retired\n");
    stage_worker_lost(&stage, w[0], "test");
    retire(&stage, 2, w, 1);
    assert_int_equal(stage.step.action_count, 1);
    placed(&stage, client, "x", &w[1], 1);
    retire(&stage, 3, &w[1], 1);
    expect_replies(&stage, "");
    stage_worker_lost(&stage, w[1], "test");
    expect_replies(&stage, "3: b retired\n");
    stage_close(&stage);
}

/* The manager is stopped while a worker retires: the retirement goes on. */
static void test_retire_and_stop(void **state)
{
    (void)state;
    struct stage stage;
    open_amm(&stage, true);
    worker_id w[] = {stage_worker(&stage, "a", 1), stage_worker(&stage, "b", 1)};
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w, 1);
    retire(&stage, 1, w, 1);
    command(&stage, "stop");
    stage_forget_transcript(&stage);
    while (stage.transcript.size == 0) {
        assert_true(stage_tick_due(&stage));
    }
    stage_expect(&stage, "acquire b <- x(1000)@a\n");
    add_keys(&stage, w[1], "x");
    assert_true(stage_tick_due(&stage));
    expect_replies(&stage, "1: a retired\n");
    assert_true(isinf(amm_next_tick(stage.s)));
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_reduce_many),
        cmocka_unit_test(test_reduce_keeps_needed),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_retire),
        cmocka_unit_test(test_retire_without_manager),
        cmocka_unit_test(test_retire_tries_again),
        cmocka_unit_test(test_retire_nowhere),
        cmocka_unit_test(test_retire_nowhere_twice),
        cmocka_unit_test(test_retire_all),
        cmocka_unit_test(test_retire_both_holders),
        cmocka_unit_test(test_retire_actor),
        cmocka_unit_test(test_retire_at_once),
        cmocka_unit_test(test_retire_and_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
