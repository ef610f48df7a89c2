/* test_departure.c: a worker is lost that holds and processes much: piece by piece, other events in between. */
#include "support/story.h"

static void open_narrow(struct stage *stage)
{
    stage_prepare(stage);
    stage->config.step_moves_max = 1; /* one task and one result a piece */
    stage_begin(stage);
}

static void more(struct stage *stage)
{
    struct event event = {.kind = EVENT_GO_ON};
    stage_step(stage, &event);
}

static uint32_t all(struct stage *stage)
{
    uint32_t steps = 0;
    for (; stage->step.pending; steps++) {
        more(stage);
    }
    return steps;
}

/* Worker a has the results u, v, w, x, which "me" wants; b comes, and then a is lost. */
static worker_id lose_four(struct stage *stage, client_id *out_me)
{
    open_narrow(stage);
    worker_id a = stage_worker(stage, "a", 8);
    *out_me = stage_client(stage, "me");
    stage_graph(stage, *out_me, "u v w x", "u v w x");
    stage_finish(stage, a, "u");
    stage_finish(stage, a, "v");
    stage_finish(stage, a, "w");
    stage_finish(stage, a, "x");
    worker_id b = stage_worker(stage, "b", 8);
    stage_forget_transcript(stage);
    stage_worker_lost(stage, a, "its machine burned");
    return b;
}

/* The last result first, as stock's recommendations are taken; the worker is not known from the first on. */
static void test_results(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    lose_four(&stage, &me);
    stage_expect(&stage, "lost me: x\ncompute x@b\ngone a\n");
    assert_int_equal(view_worker_count(stage.s), 1);
    assert_string_equal(stage_state(&stage, "u"), "memory");
    assert_int_equal(stage_view(&stage, "u").holder_count, 0);
    assert_int_equal(stage.notices[NOTICE_WORKER_REMOVED], 1);
    assert_int_equal(all(&stage), 3);
    stage_expect(&stage,
                 "lost me: w\ncompute w@b\nlost me: v\ncompute v@b\nlost me: u\ncompute u@b\n");
    assert_int_equal(stage.notices[NOTICE_WORKER_LOSSES], 3);
    stage_close(&stage);
}

/* Before its turn has come somebody needs a result that is gone: it is made first. */
static void test_needed_meanwhile(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    worker_id b = lose_four(&stage, &me);
    stage_forget_transcript(&stage);
    stage_graph(&stage, me, "y:u,x", "y");
    stage_graph(&stage, me, "z:v", "z");
    stage_expect(&stage, "memory me: u\nlost me: v\ncompute v@b\n");
    stage_finish(&stage, b, "x");
    stage_expect(&stage, "memory me: x\nlost me: u\ncompute u@b\n");
    assert_string_equal(stage_state(&stage, "y"), "waiting");
    assert_int_equal(all(&stage), 1); /* w is left */
    stage_finish(&stage, b, "u");
    stage_expect(&stage, "lost me: w\ncompute w@b\nmemory me: u\ncompute y@b <- u(8)@b x(8)@b\n");
    stage_close(&stage);
}

/* It has come to be elsewhere in time: nothing is lost, and others are told of that holder alone. */
static void test_copied_meanwhile(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    worker_id b = lose_four(&stage, &me);
    struct span key = stage_key(&stage, "u");
    struct event event = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, {&key, 1}}};
    stage_step(&stage, &event);
    stage_forget_transcript(&stage);
    stage_graph(&stage, me, "y:u", "y");
    stage_expect(&stage, "compute y@b <- u(8)@b\nmemory me: u\n");
    assert_int_equal(stage_view(&stage, "u").holder_count, 1);
    assert_int_equal(view_task_holder(stage.s, view_task_find(stage.s, key), 0), b);
    all(&stage);
    assert_string_equal(stage_state(&stage, "u"), "memory");
    assert_string_equal(stage_state(&stage, "v"), "processing");
    stage_close(&stage);
}

/* Nobody wants a result any more when its turn comes: it is forgotten, not made again. */
static void test_released_meanwhile(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    lose_four(&stage, &me);
    stage_forget_transcript(&stage);
    stage_release(&stage, "me", "u v w");
    all(&stage);
    stage_expect(&stage, "");
    assert_int_equal(view_task_count(stage.s), 1);
    stage_close(&stage);
}

/* A worker of the same address and name comes before the other has gone for good: it is another one. */
static void test_comes_back(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    lose_four(&stage, &me);
    stage_forget_transcript(&stage);
    worker_id again = stage_worker(&stage, "a", 8);
    assert_int_not_equal(again, WORKER_NONE);
    assert_int_equal(view_worker_count(stage.s), 2);
    all(&stage);
    struct worker_view view;
    assert_true(view_worker(stage.s, again, &view));
    assert_int_equal(view.has_what_count, 0);
    assert_int_equal(view.processing_count, 2);
    stage_close(&stage);
}

/* Two holders go, one after the other, before the first has gone for good. */
static void test_both_holders_go(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    worker_id b = lose_four(&stage, &me);
    struct span_list keys = stage_keys(&stage, "u v w", ' ');
    struct event event = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, keys}};
    stage_step(&stage, &event);
    stage_worker_lost(&stage, b, "");
    stage_worker(&stage, "c", 8);
    stage_forget_transcript(&stage);
    stage_graph(&stage, me, "y:w", "y");
    stage_expect(&stage, "lost me: w\ncompute w@c\n");
    all(&stage);
    for (const char *const *name = (const char *const[]){"u", "v", "w", "x", NULL}; *name != NULL;
         name++) {
        assert_string_equal(stage_state(&stage, *name), "processing");
    }
    stage_close(&stage);
}

/* What it processed goes piece by piece as well, and each task counts the loss. */
static void test_processing(void **state)
{
    (void)state;
    struct stage stage;
    open_narrow(&stage);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "u v w", "u v w");
    stage_worker(&stage, "b", 8);
    stage_forget_transcript(&stage);
    stage_worker_lost(&stage, a, "");
    stage_expect(&stage, "compute u@b\ngone a\n");
    assert_string_equal(stage_state(&stage, "w"), "processing");
    assert_int_equal(stage_view(&stage, "w").suspicious, 0);
    stage_finish(&stage, a, "w"); /* a last word of one that is gone: not heard */
    assert_int_equal(all(&stage), 2);
    stage_expect(&stage, "compute v@b\ncompute w@b\n");
    assert_int_equal(stage_view(&stage, "u").suspicious, 1);
    assert_int_equal(stage_view(&stage, "w").suspicious, 1);
    stage_close(&stage);
}

/* In the middle everything is restarted. */
static void test_restart(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    lose_four(&stage, &me);
    struct event restart = {.kind = EVENT_RESTART, .of.restart = {CLIENT_NONE}};
    stage_step(&stage, &restart);
    assert_int_equal(view_task_count(stage.s), 0);
    all(&stage);
    stage_close(&stage);
}

/* In the middle another worker is to retire: what is left counts for nothing, as it is lost first. */
static void test_retirement(void **state)
{
    (void)state;
    struct stage stage;
    client_id me;
    worker_id b = lose_four(&stage, &me);
    struct span key = stage_key(&stage, "u");
    struct event add = {.kind = EVENT_ADD_KEYS, .of.add_keys = {b, {&key, 1}}};
    stage_step(&stage, &add);
    stage_worker(&stage, "c", 8);
    stage_forget_transcript(&stage);
    struct event retire = {.kind = EVENT_RETIRE_BEGIN, .of.retire_begin.workers = {&b, 1}};
    stage_step(&stage, &retire);
    assert_false(stage.step.pending);
    assert_string_equal(stage_state(&stage, "v"), "processing");
    assert_non_null(strstr(text_cstr(&stage.transcript), "acquire c"));
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),          cmocka_unit_test(test_needed_meanwhile),
        cmocka_unit_test(test_copied_meanwhile), cmocka_unit_test(test_released_meanwhile),
        cmocka_unit_test(test_comes_back),       cmocka_unit_test(test_both_holders_go),
        cmocka_unit_test(test_processing),       cmocka_unit_test(test_restart),
        cmocka_unit_test(test_retirement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
