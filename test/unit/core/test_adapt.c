/* test_adapt.c: how many workers the load deserves. */
#include "support/story_replies.h"

#include "core/scheduler/adapt.h"

#define MB ((int64_t)1000000)

static const char *many(struct stage *stage, uint32_t count)
{
    struct text text = {0};
    for (uint32_t i = 0; i < count; i++) {
        text_printf(&text, "%sx-%u", i == 0 ? "" : " ", i);
    }
    text_add_char(&text, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&text));
    text_fini(&text);
    return (const char *)copy.data;
}

/* No workers: none are wanted for no work, one for a little, more for more. */
static void test_no_workers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    assert_int_equal(adapt_target(stage.s, 5), 0);
    stage_graph(&stage, c, "one", "one");
    assert_int_equal(adapt_target(stage.s, 5), 1);
    stage_graph(&stage, c, many(&stage, 1000), many(&stage, 1000));
    /* 1,001 tasks of half a second each, of which the first hundred are looked at: ceil(500.5 / 5) */
    assert_int_equal(adapt_target(stage.s, 5), 101);
    assert_int_equal(adapt_target(stage.s, 1), 501);
    assert_int_equal(adapt_target(stage.s, 0.001), 1001); /* no more threads than tasks */
    stage_close(&stage);
}

/* Threads are counted in workers of the present size. */
static void test_threads(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    stage_worker(&stage, "a", 4);
    stage_graph(&stage, c, many(&stage, 400), many(&stage, 400));
    /* 5 with the worker, 395 queued: 200 s of work in 5 s: 40 threads, 10 workers */
    assert_int_equal(adapt_target(stage.s, 5), 10);
    stage_close(&stage);
}

/* More than 60 % of all memory in use: twice as many workers, whatever the work. */
static void test_memory(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    worker_id a = stage_worker_with(&stage, "a", (struct worker_info){.memory_limit = 100 * MB});
    stage_worker_with(&stage, "b", (struct worker_info){.memory_limit = 100 * MB});
    assert_int_equal(adapt_target(stage.s, 5), 0);
    struct span key = stage_key(&stage, "x");
    int64_t size = 121 * MB;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {c, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    assert_int_equal(adapt_target(stage.s, 5), 4);
    stage_close(&stage);
}

/* Less work than workers: as many as cannot be closed without loss. */
static void test_scale_down(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    const char *names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        stage_worker_with(&stage, names[i], (struct worker_info){.memory_limit = 100 * MB});
    }
    stage_graph(&stage, c, "x", "x");
    assert_int_equal(adapt_target(stage.s, 5), 1);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_workers),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_scale_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
