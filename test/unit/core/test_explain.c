/* test_explain.c: what people are told about a task that is not running. */
#include "support/story_replies.h"

#include "core/scheduler/explain.h"

/* The summary, then the advice, each on a line. */
static const char *explained(struct stage *stage, const char *key)
{
    struct explain explain = explain_key(stage->s, stage_key(stage, key), &stage->arena);
    struct text out = {0};
    replies_add_span(&out, explain.summary);
    for (uint32_t i = 0; i < explain.advice.count; i++) {
        text_add_cstr(&out, "\n- ");
        replies_add_span(&out, explain.advice.items[i]);
    }
    text_add_char(&out, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&out));
    text_fini(&out);
    return (const char *)copy.data;
}

/* "a: reason" for each worker that may not have it. */
static const char *excluded(struct stage *stage, const char *key)
{
    struct explain explain = explain_key(stage->s, stage_key(stage, key), &stage->arena);
    struct text out = {0};
    for (uint32_t i = 0; i < explain.worker_count; i++) {
        struct worker_view view;
        assert_true(view_worker(stage->s, explain.workers[i].worker, &view));
        assert_true(explain.workers[i].eligible == (explain.workers[i].reason.size == 0));
        if (!explain.workers[i].eligible) {
            text_add_cstr(&out, out.size == 0 ? "" : "\n");
            replies_add_key(&out, view.name);
            text_add_cstr(&out, ": ");
            replies_add_span(&out, explain.workers[i].reason);
        }
    }
    text_add_char(&out, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&out));
    text_fini(&out);
    return (const char *)copy.data;
}

static void executing(struct stage *stage, worker_id worker, const char *key, double seconds)
{
    struct span keys = stage_key(stage, key);
    struct metrics_info metrics = {.bandwidth = NAN,
                                   .executing_keys = &keys,
                                   .executing_seconds = &seconds,
                                   .executing_count = 1};
    struct event event = {.kind = EVENT_WORKER_HEARTBEAT,
                          .of.worker_heartbeat = {worker, &metrics}};
    stage_step_now(stage, &event);
}

static void test_unknown(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct explain explain = explain_key(stage.s, stage_key(&stage, "x"), &stage.arena);
    assert_false(explain.known);
    assert_string_equal(
        explained(&stage, "x"),
        "The scheduler does not know 'x': it was never submitted, or nobody wanted it any more.\n"
        "- Check the key (future.key), and that a client still holds the future.");
    stage_close(&stage);
}

/* Waiting for inputs of which one runs: the running one is named with its time. */
static void test_waiting(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "y-1 y-2 y-3 x-1:y-1,y-2,y-3", "x-1");
    stage_finish(&stage, a, "y-1");
    executing(&stage, a, "y-2", 12.25);
    struct explain explain = explain_key(stage.s, stage_key(&stage, "x-1"), &stage.arena);
    assert_true(explain.known);
    assert_int_equal(explain.missing_total, 2);
    assert_int_equal(explain.missing_count, 2);
    assert_true(span_equal(explain.missing_keys.items[0], stage_key(&stage, "y-2")));
    assert_true(span_equal(explain.root_cause_key, stage_key(&stage, "y-2")));
    assert_string_equal(
        explained(&stage, "x-1"),
        "Task 'x-1' is waiting. It waits for 2 of 3 inputs; the first, 'y-2', is running on "
        "tcp://a:1 for 12.2 s.\n"
        "- Nothing is wrong as long as its inputs are being computed.");
    stage_close(&stage);
}

/* Its input runs, but what comes after can run nowhere: that is said while there is time. */
static void test_waiting_for_nothing(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    struct resource gpu = {SPAN("GPU"), 1};
    struct annotation_info needs[] = {{0}, {.resources = &gpu, .resource_count = 1}};
    uint32_t annotation_of[] = {0, 1};
    stage_graph_with(&stage, c, "y x:y", "x",
                     (struct graph_info){.annotations = needs,
                                         .annotation_count = 2,
                                         .annotation_of = annotation_of});
    executing(&stage, a, "y", 3);
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is waiting. It waits for 1 of 1 input; the first, 'y', is running on tcp://a:1 "
        "for 3.0 s. When they are there, no running worker may run it: it needs GPU=1, which no "
        "worker offers.\n"
        "- Add a worker with `--resources \"GPU=1\"`, or give one more: worker.set_resources().");
    stage_close(&stage);
}

/* Down a chain: at its end is a task that no worker may run, and that is what is explained. */
static void test_root_cause(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct resource one_gpu = {SPAN("GPU"), 1};
    stage_worker_with(&stage, "a",
                      (struct worker_info){.resources = &one_gpu, .resource_count = 1});
    stage_worker(&stage, "b", 1);
    client_id c = stage_client(&stage, "c");
    struct resource two_gpus = {SPAN("GPU"), 2};
    struct annotation_info needs[] = {{0}, {.resources = &two_gpus, .resource_count = 1}};
    uint32_t annotation_of[] = {1, 0, 0};
    stage_graph_with(&stage, c, "z y:z x:y", "x",
                     (struct graph_info){.annotations = needs,
                                         .annotation_count = 2,
                                         .annotation_of = annotation_of});
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is waiting. It waits for 1 of 1 input; the first, 'y', waits for 1 input itself. "
        "Further down, everything waits for 'z': It is ready, but no running worker may run it: it "
        "needs GPU=2: tcp://a:1 offers GPU=1 (free 1).\n"
        "- Add a worker with `--resources \"GPU=2\"`, or give one more: worker.set_resources().");
    assert_string_equal(excluded(&stage, "z"), "a: it offers GPU=1, the task needs GPU=2\n"
                                               "b: it offers GPU=0, the task needs GPU=2");
    assert_string_equal(excluded(&stage, "x"), "");
    stage_close(&stage);
}

/* Scattered data is defined by a later graph, from what an earlier one makes of it; then all of it is lost. */
static void test_circle(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    struct span x = stage_key(&stage, "x");
    int64_t size = 8;
    struct event place = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {c, {&x, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &place);
    stage_graph(&stage, c, "y:x", "y");
    stage_finish(&stage, a, "y");
    stage_graph(&stage, c, "x:y", "x");
    stage_worker_lost(&stage, a, "crash");
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is waiting. It waits for 1 of 1 input; the first, 'y', waits for 1 input itself. "
        "Further down, tasks wait for one another, and none of them can ever run.\n"
        "- Cancel these keys, and submit what they stand for under other names.");
    stage_close(&stage);
}

/* Restricted to places where no worker runs. */
static void test_restricted(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    client_id c = stage_client(&stage, "c");
    struct span places[] = {stage_key(&stage, "somewhere"), stage_key(&stage, "a")};
    struct annotation_info rules = {.workers = {places, 2}, .has_workers = true};
    stage_worker_status(&stage, a, "paused");
    stage_graph_with(&stage, c, "x", "x",
                     (struct graph_info){.annotations = &rules, .annotation_count = 1});
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is no-worker. It is ready, but no running worker may run it: it is restricted to "
        "worker tcp://a:1 or host somewhere, where none runs.\n"
        "- Start a worker there (worker tcp://a:1 or host somewhere), or resubmit with "
        "allow_other_workers=True or other `workers`.");
    assert_string_equal(excluded(&stage, "x"),
                        "a: it is paused: its memory is nearly full, or somebody paused it\n"
                        "b: the task is restricted to worker tcp://a:1 or host somewhere");
    stage_close(&stage);
}

/* Loose places are wishes: they exclude nobody. */
static void test_loose(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "b", 1);
    client_id c = stage_client(&stage, "c");
    struct span place = stage_key(&stage, "somewhere");
    struct annotation_info rules = {
        .workers = {&place, 1}, .has_workers = true, .allow_other_workers = true};
    stage_graph_with(&stage, c, "x", "x",
                     (struct graph_info){.annotations = &rules, .annotation_count = 1});
    assert_string_equal(excluded(&stage, "x"), "");
    stage_close(&stage);
}

static void test_no_workers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    struct resource gpu = {SPAN("GPU"), 1};
    struct annotation_info rules = {.resources = &gpu, .resource_count = 1};
    stage_graph_with(&stage, c, "x", "x",
                     (struct graph_info){.annotations = &rules, .annotation_count = 1});
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is no-worker. It is ready, but no running worker may run it: there is no worker "
        "at "
        "all.\n"
        "- Start a worker: cluster.scale(1), or `dask worker <address of the scheduler>`.\n"
        "- Add a worker with `--resources \"GPU=1\"`, or give one more: worker.set_resources().");
    stage_close(&stage);
}

/* In the queue: its place, and why the workers take no more. */
static void test_queued(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    int64_t priorities[] = {0, 1, 2, 3, 4};
    stage_graph_with(&stage, c, "x-1 x-2 x-3 x-4 x-5", "x-1 x-2 x-3 x-4 x-5",
                     (struct graph_info){.priorities = priorities});
    assert_string_equal(stage_state(&stage, "x-4"), "queued");
    struct explain explain = explain_key(stage.s, stage_key(&stage, "x-4"), &stage.arena);
    assert_int_equal(explain.queue_place, 2);
    assert_string_equal(
        explained(&stage, "x-4"),
        "Task 'x-4' is queued. It is ready and comes as number 2 of 3 in the queue of root tasks. "
        "1 running worker with as many tasks at once as allowed: threads × 1.1 "
        "(distributed.scheduler.worker-saturation).\n"
        "- Nothing is wrong: it runs when its turn comes. More workers or threads make that "
        "sooner.\n"
        "- To have it sooner than others, submit it with a higher `priority`.");
    stage_close(&stage);
}

/* On a worker: running, waiting there for a thread or data, or on a paused one. */
static void test_processing(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x", "x");
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is processing. It was sent to tcp://a:1, which has 1 task for 1 thread.\n"
        "- It begins when its worker has a free thread; idle workers may steal it.");
    stage_worker_status(&stage, a, "paused");
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is processing. It was sent to tcp://a:1, which has 1 task for 1 thread. That "
        "worker is paused: it starts nothing until memory is free.\n"
        "- Free memory on that worker (release futures, rebalance), or give it more.");
    executing(&stage, a, "x", 3);
    assert_string_equal(explained(&stage, "x"),
                        "Task 'x' is processing. It is running on tcp://a:1 for 3.0 s.\n"
                        "- See where it is: client.call_stack(keys=[…]).");
    stage_close(&stage);
}

static void test_to_fetch(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    client_id c = stage_client(&stage, "c");
    struct span key = stage_key(&stage, "y");
    int64_t size = 5 << 20;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {c, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    struct span where = stage_key(&stage, "b");
    struct annotation_info rules = {.workers = {&where, 1}, .has_workers = true};
    stage_graph_with(&stage, c, "x:y", "x",
                     (struct graph_info){.annotations = &rules, .annotation_count = 1});
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is processing. It was sent to tcp://b:1, which has 1 task for 1 thread. 1 of its "
        "inputs (5.00 MiB) must be brought there from other workers first.\n"
        "- It begins when its worker has a free thread; idle workers may steal it.");
    assert_string_equal(explained(&stage, "y"),
                        "Task 'y' is memory. It is done: its result (5.00 MiB) is on "
                        "tcp://a:1.");
    stage_close(&stage);
}

/* Failed: by itself, by an input, or by killing its workers. */
static void test_erred(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.allowed_failures = 0;
    stage_begin(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x killer", "y killer");
    stage_erred(&stage, a, "x");
    assert_string_equal(
        explained(&stage, "y"),
        "Task 'y' is erred. It could not run because 'x' failed on tcp://a:1: ValueError('oops').\n"
        "- Correct the cause, then future.retry() or client.retry([…]).\n"
        "- Debug it here: client.recreate_error_locally(future).");
    assert_string_equal(explained(&stage, "x"),
                        "Task 'x' is erred. It failed on tcp://a:1: ValueError('oops').\n"
                        "- Correct the cause, then future.retry() or client.retry([…]).\n"
                        "- Debug it here: client.recreate_error_locally(future).");
    stage_worker_lost(&stage, a, "connection lost");
    const char *killed = explained(&stage, "killer");
    assert_non_null(strstr(killed, "too many workers died while it was on them"));
    assert_non_null(strstr(killed, "connection lost"));
    stage_close(&stage);
}

/* Known, but not wanted or without code. */
static void test_released(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x z:y", "z");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    assert_string_equal(stage_state(&stage, "x"), "released");
    assert_string_equal(
        explained(&stage, "x"),
        "Task 'x' is released. Nobody wants its result now, so it is not computed.\n"
        "- Keep a future of it: client.compute, client.persist or client.submit.");
    stage_close(&stage);
}

/* A task that has taken workers down says so before it fails. */
static void test_deaths(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x", "x");
    stage_worker_lost(&stage, a, "killed by signal 9");
    stage_worker(&stage, "b", 1);
    assert_non_null(
        strstr(explained(&stage, "x"), "1 worker died with it; at more than 3 it fails."));
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_waiting_for_nothing),
        cmocka_unit_test(test_root_cause),
        cmocka_unit_test(test_circle),
        cmocka_unit_test(test_restricted),
        cmocka_unit_test(test_loose),
        cmocka_unit_test(test_no_workers),
        cmocka_unit_test(test_queued),
        cmocka_unit_test(test_processing),
        cmocka_unit_test(test_to_fetch),
        cmocka_unit_test(test_erred),
        cmocka_unit_test(test_released),
        cmocka_unit_test(test_deaths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
