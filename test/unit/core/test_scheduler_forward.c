/* test_scheduler_forward.c: waiting tasks that are sent ahead of their inputs, and what takes them back. */
#include "support/story.h"

#include "core/scheduler/explain.h"

/* Up to three in a row; what is longer than an eighth of this is not short. */
#define AHEAD_SECONDS 0.02

static void begin(struct stage *stage, double ahead_seconds)
{
    stage_prepare(stage);
    stage->config.ahead_seconds = ahead_seconds;
    stage->config.work_stealing = true;
    stage->config.worker_saturation = INFINITY;
    stage_begin(stage);
}

/* Of a worker of cask's own. */
static worker_id join(struct stage *stage, const char *name)
{
    return stage_worker_with(stage, name, (struct worker_info){.takes_forwarded = true});
}

/* A task of that prefix takes so long. */
static void teach(struct stage *stage, client_id client, worker_id worker, const char *key,
                  double seconds)
{
    stage_graph(stage, client, key, key);
    stage_finish_run(stage, worker, key, stage_view(stage, key).run_id, seconds, 8);
    stage_release(stage, "me", key);
    stage_forget_transcript(stage);
}

/* Short tasks are known: x…, y… and z…; nothing is there. */
static worker_id open_short(struct stage *stage)
{
    begin(stage, AHEAD_SECONDS);
    worker_id a = join(stage, "a");
    client_id me = stage_client(stage, "me");
    teach(stage, me, a, "x-0", 0.001);
    teach(stage, me, a, "y-0", 0.001);
    teach(stage, me, a, "z-0", 0.001);
    return a;
}

static void graph(struct stage *stage, const char *words, const char *wanted)
{
    struct client_view view;
    client_id me = 1;
    while (!view_client(stage->s, me, &view) || !span_equal_text(view.name, "me")) {
        me++;
    }
    stage_graph(stage, me, words, wanted);
}

/* x-1 runs at "a", y-1 and z-1 were sent after it. */
static worker_id open_chain(struct stage *stage)
{
    worker_id a = open_short(stage);
    graph(stage, "x-1 y-1:x-1 z-1:y-1", "z-1");
    stage_expect(stage, "compute x-1@a\nahead y-1@a <- x-1(?)@\nahead z-1@a <- y-1(?)@\n");
    assert_string_equal(stage_state(stage, "y-1"), "waiting");
    assert_string_equal(stage_state(stage, "z-1"), "waiting");
    return a;
}

static void finish(struct stage *stage, worker_id worker, const char *key)
{
    stage_finish_run(stage, worker, key, stage_view(stage, key).run_id, 0.001, 8);
}

/* ---- there ---- */

/* A chain of short tasks: three of them are with the worker while the first runs, and each end sends one more. */
static void test_chain(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_short(&stage);
    graph(&stage, "x-1 y-1:x-1 z-1:y-1 x-2:z-1 y-2:x-2", "y-2");
    stage_expect(&stage, "compute x-1@a\nahead y-1@a <- x-1(?)@\nahead z-1@a <- y-1(?)@\n"
                         "ahead x-2@a <- z-1(?)@\n");
    int64_t run_id = stage_view(&stage, "y-1").run_id;
    finish(&stage, a, "x-1");
    stage_expect(&stage, "ahead y-2@a <- x-2(?)@\n");
    assert_string_equal(stage_state(&stage, "y-1"), "processing");
    assert_int_equal(stage_view(&stage, "y-1").run_id, run_id);
    finish(&stage, a, "y-1");
    stage_expect(&stage, "free a: x-1\n");
    finish(&stage, a, "z-1");
    stage_expect(&stage, "free a: y-1\n");
    finish(&stage, a, "x-2");
    stage_expect(&stage, "free a: z-1\n");
    finish(&stage, a, "y-2");
    stage_expect(&stage, "memory me: y-2\nfree a: x-2\n");
    stage_close(&stage);
}

/* It needs all its inputs there: one that is held there, one that runs, and none that is elsewhere. */
static void test_inputs_elsewhere(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_short(&stage);
    graph(&stage, "x-1", "x-1");
    finish(&stage, a, "x-1");
    stage_expect(&stage, "compute x-1@a\nmemory me: x-1\n");
    graph(&stage, "x-2 y-1:x-1,x-2", "y-1");
    stage_expect(&stage, "compute x-2@a\nahead y-1@a <- x-1(8)@a x-2(?)@\nmemory me: x-1\n");
    worker_id b = join(&stage, "b");
    graph(&stage, "x-3 z-1:x-2,x-3", "z-1");
    stage_expect(&stage, "compute x-3@b\n");
    finish(&stage, b, "x-3");
    finish(&stage, a, "x-2");
    stage_expect(&stage, "compute z-1@b <- x-2(8)@a x-3(8)@b\n");
    assert_string_equal(stage_state(&stage, "y-1"), "processing");
    stage_close(&stage);
}

static void expect_nothing_ahead(double ahead_seconds, bool takes_forwarded, double seconds)
{
    struct stage stage;
    begin(&stage, ahead_seconds);
    worker_id a =
        stage_worker_with(&stage, "a", (struct worker_info){.takes_forwarded = takes_forwarded});
    client_id me = stage_client(&stage, "me");
    teach(&stage, me, a, "x-0", 0.001);
    teach(&stage, me, a, "y-0", seconds);
    stage_graph(&stage, me, "x-1 y-1:x-1", "y-1");
    stage_expect(&stage, "compute x-1@a\n");
    finish(&stage, a, "x-1");
    stage_expect(&stage, "compute y-1@a <- x-1(8)@a\n");
    stage_close(&stage);
}

/* Not to workers that do not know it, not if it is switched off, nothing that takes its time. */
static void test_nothing_ahead(void **state)
{
    (void)state;
    expect_nothing_ahead(AHEAD_SECONDS, false, 0.001);
    expect_nothing_ahead(0, true, 0.001);
    expect_nothing_ahead(AHEAD_SECONDS, true, 0.003);
}

/* Tasks with rules of their own wait for their inputs: where they go is decided then. */
static void test_rules(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_short(&stage);
    struct span here = stage_key(&stage, "a");
    struct annotation_info rules[] = {{0}, {.workers = {&here, 1}, .has_workers = true}};
    uint32_t annotation_of[] = {0, 1};
    stage_graph_with(&stage, stage_client(&stage, "other"), "x-1 y-1:x-1", "y-1",
                     (struct graph_info){.annotations = rules,
                                         .annotation_count = 2,
                                         .annotation_of = annotation_of});
    stage_expect(&stage, "compute x-1@a\n");
    finish(&stage, a, "x-1");
    stage_expect(&stage, "compute y-1@a <- x-1(8)@a\n");
    stage_close(&stage);
}

/* A task that forty wait for: a few of them go ahead, the rest when it is there. */
static void test_room(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_short(&stage);
    struct text words = {0}, wanted = {0};
    graph(&stage, "x-2 x-3 x-4 x-5 x-6", "x-2 x-3 x-4 x-5 x-6"); /* else y… were root-ish */
    stage_forget_transcript(&stage);
    text_add_cstr(&words, "unknown-1 x-1:unknown-1");
    for (int i = 1; i <= 40; i++) {
        text_printf(&words, " y-%d:x-1", i);
        text_printf(&wanted, "%sy-%d", i == 1 ? "" : " ", i);
    }
    graph(&stage, text_cstr(&words), text_cstr(&wanted));
    stage_expect(&stage, "compute unknown-1@a\n");
    finish(&stage, a, "unknown-1");
    uint32_t ahead = 0;
    for (const char *at = text_cstr(&stage.transcript); (at = strstr(at, "ahead ")) != NULL; at++) {
        ahead++;
    }
    assert_int_equal(ahead, 4);
    stage_forget_transcript(&stage);
    finish(&stage, a, "x-1");
    struct worker_view view;
    assert_true(view_worker(stage.s, a, &view));
    assert_int_equal(view.processing_count, 45);
    stage_forget_transcript(&stage);
    text_fini(&words);
    text_fini(&wanted);
    stage_close(&stage);
}

/* Who asks why it waits is told, and its story has it. */
static void test_told(void **state)
{
    (void)state;
    struct stage stage;
    open_chain(&stage);
    struct explain why = explain_key(stage.s, stage_key(&stage, "y-1"), &stage.arena);
    struct text text = {0};
    text_add(&text, why.summary);
    assert_non_null(strstr(text_cstr(&text), "It was sent to tcp://a:1 already"));
    text_fini(&text);
    stage_close(&stage);
}

/* ---- back ---- */

/* Its input fails: so does what was sent after it, and the worker forgets it. */
static void test_input_errs(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    stage_erred(&stage, a, "x-1");
    stage_expect(&stage, "free a: y-1\nfree a: z-1\nerred me: z-1 (user of x-1)\n");
    stage_close(&stage);
}

/* Its input is rescheduled: both are sent anew. */
static void test_input_rescheduled(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    struct event event = {.kind = EVENT_RESCHEDULE, .of.reschedule = {a, stage_key(&stage, "x-1")}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: y-1\nfree a: z-1\nfree a: x-1\ncompute x-1@a\n"
                         "ahead y-1@a <- x-1(?)@\nahead z-1@a <- y-1(?)@\n");
    stage_close(&stage);
}

/* Its input secedes: that may take as long as it likes. */
static void test_input_secedes(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    struct event event = {
        .kind = EVENT_LONG_RUNNING,
        .of.long_running = {a, stage_key(&stage, "x-1"), stage_view(&stage, "x-1").run_id, NAN}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: y-1\nfree a: z-1\n");
    finish(&stage, a, "x-1");
    stage_expect(&stage, "compute y-1@a <- x-1(8)@a\nahead z-1@a <- y-1(?)@\n");
    stage_close(&stage);
}

/* A replica that it needs is lost there. */
static void test_replica_lost(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_short(&stage);
    graph(&stage, "x-1", "x-1");
    finish(&stage, a, "x-1");
    graph(&stage, "x-2 y-1:x-1,x-2", "y-1");
    stage_forget_transcript(&stage);
    struct event event = {.kind = EVENT_RELEASE_WORKER_DATA,
                          .of.release_worker_data = {a, stage_key(&stage, "x-1")}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: y-1\nlost me: x-1\ncompute x-1@a\n"
                         "ahead y-1@a <- x-1(8)@ x-2(?)@\n");
    stage_close(&stage);
}

/* The client wants it no longer. */
static void test_released(void **state)
{
    (void)state;
    struct stage stage;
    open_chain(&stage);
    stage_release(&stage, "me", "z-1");
    stage_expect(&stage, "free a: z-1\nfree a: y-1\nfree a: x-1\n");
    assert_string_equal(stage_state(&stage, "x-1"), "gone");
    stage_close(&stage);
}

/* The worker pauses: it keeps what it processes, as ever, and no more. */
static void test_worker_pauses(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    stage_worker_status(&stage, a, "paused");
    stage_expect(&stage, "free a: z-1\nfree a: y-1\n");
    finish(&stage, a, "x-1");
    assert_string_equal(stage_state(&stage, "y-1"), "no-worker");
    stage_worker_status(&stage, a, "running");
    stage_expect(&stage, "compute y-1@a <- x-1(8)@a\nahead z-1@a <- y-1(?)@\n");
    stage_close(&stage);
}

/* The worker is lost: everything begins anew at another. */
static void test_worker_lost(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    stage_worker(&stage, "b", 1);
    stage_worker_lost(&stage, a, "gone");
    stage_expect(&stage, "compute x-1@b\ngone a\n");
    assert_string_equal(stage_state(&stage, "y-1"), "waiting");
    stage_close(&stage);
}

/* Its input is stolen: it will be needed where that goes. */
static void test_input_stolen(void **state)
{
    (void)state;
    struct stage stage;
    begin(&stage, 80);
    worker_id a = join(&stage, "a");
    client_id me = stage_client(&stage, "me");
    teach(&stage, me, a, "x-0", 1);
    teach(&stage, me, a, "y-0", 1);
    stage_graph(&stage, me, "x-1 x-2 x-3 x-4 x-5 y-1:x-1 y-5:x-5", "y-1 x-2 x-3 x-4 y-5");
    join(&stage, "b");
    stage_forget_transcript(&stage);
    stage_tick(&stage, 1);
    const struct action *request = &stage.step.actions[0];
    while (request->kind != ACTION_STEAL_REQUEST) {
        request++;
        assert_true(request < stage.step.actions + stage.step.action_count);
    }
    struct event event = {
        .kind = EVENT_STEAL_RESPONSE,
        .stimulus = arena_copy(&stage.arena, request->of.steal_request.stimulus),
        .of.steal_response = {a, arena_copy(&stage.arena, request->of.steal_request.key),
                              SPAN("ready")}};
    stage_forget_transcript(&stage);
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: y-5\ncompute x-5@b\n");
    stage_close(&stage);
}

/* It may run elsewhere only, from now on. */
static void test_restricted(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    worker_id b = join(&stage, "b");
    struct span there = SPAN("tcp://b:1");
    struct event event = {
        .kind = EVENT_SET_RESTRICTIONS,
        .of.set_restrictions = {.key = stage_key(&stage, "y-1"), .workers = {&there, 1}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: y-1\nfree a: z-1\n");
    finish(&stage, a, "x-1");
    stage_expect(&stage, "compute y-1@b <- x-1(8)@a\nahead z-1@b <- y-1(?)@\n");
    finish(&stage, b, "y-1");
    stage_expect(&stage, "free a: x-1\n");
    stage_close(&stage);
}

/* Its inputs, now that they are there, are larger than the worker: it fails, and the worker forgets it. */
static void test_inputs_too_large(void **state)
{
    (void)state;
    struct stage stage;
    begin(&stage, AHEAD_SECONDS);
    worker_id a = stage_worker_with(
        &stage, "a", (struct worker_info){.takes_forwarded = true, .memory_limit = 1000});
    client_id me = stage_client(&stage, "me");
    teach(&stage, me, a, "x-0", 0.001);
    teach(&stage, me, a, "y-0", 0.001);
    stage_graph(&stage, me, "x-1 y-1:x-1", "y-1");
    stage_expect(&stage, "compute x-1@a\nahead y-1@a <- x-1(?)@\n");
    stage_finish_run(&stage, a, "x-1", stage_view(&stage, "x-1").run_id, 0.001, 1001);
    stage_expect(&stage, "free a: y-1\nerred me: y-1 (memory of y-1)\nfree a: x-1\n");
    stage_close(&stage);
}

/* It was withdrawn and forwarded again while the worker ended its first run, whose word comes now: the second one is
 * withdrawn as well, since the worker is told to forget what it has. */
static void test_word_of_an_earlier_run(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_chain(&stage);
    int64_t earlier = stage_view(&stage, "y-1").run_id;
    struct event event = {.kind = EVENT_RESCHEDULE, .of.reschedule = {a, stage_key(&stage, "x-1")}};
    stage_step(&stage, &event);
    stage_forget_transcript(&stage);
    assert_true(stage_view(&stage, "y-1").run_id > earlier);
    stage_finish_run(&stage, a, "y-1", earlier, 0.001, 8);
    stage_expect(&stage, "free a: y-1\nfree a: z-1\nfree a: y-1\n");
    stage_erred_run(&stage, a, "y-1", earlier);
    stage_expect(&stage, "");
    finish(&stage, a, "x-1");
    stage_expect(&stage, "compute y-1@a <- x-1(8)@a\nahead z-1@a <- y-1(?)@\n");
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_inputs_elsewhere),
        cmocka_unit_test(test_nothing_ahead),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_input_errs),
        cmocka_unit_test(test_input_rescheduled),
        cmocka_unit_test(test_input_secedes),
        cmocka_unit_test(test_replica_lost),
        cmocka_unit_test(test_released),
        cmocka_unit_test(test_worker_pauses),
        cmocka_unit_test(test_worker_lost),
        cmocka_unit_test(test_input_stolen),
        cmocka_unit_test(test_restricted),
        cmocka_unit_test(test_inputs_too_large),
        cmocka_unit_test(test_word_of_an_earlier_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
