/* test_scheduler_basics.c: the ordinary life of tasks: submitted, computed, in memory, released. */
#include "support/story.h"

/* A client submits one task to one worker, gets its result and lets it go. */
static void test_one_task(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x", "x");
    stage_expect(&stage, "compute x@a\n");
    assert_string_equal(stage_state(&stage, "x"), "processing");
    stage_finish(&stage, a, "x");
    stage_expect(&stage, "memory c: x\n");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    assert_true(span_equal(stage_view(&stage, "x").type, SPAN("int")));
    stage_release(&stage, "c", "x");
    stage_expect(&stage, "free a: x\n");
    assert_string_equal(stage_state(&stage, "x"), "gone");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* A chain: an input that nobody wants is freed as soon as its last user is done. */
static void test_chain(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x z:y", "z");
    stage_expect(&stage, "compute x@a\n");
    stage_finish(&stage, a, "x");
    stage_expect(&stage, "compute y@a <- x(8)@a\n");
    stage_finish(&stage, a, "y");
    stage_expect(&stage, "free a: x\ncompute z@a <- y(8)@a\n");
    assert_string_equal(stage_state(&stage, "x"), "released");
    stage_finish(&stage, a, "z");
    stage_expect(&stage, "memory c: z\nfree a: y\n");
    stage_release(&stage, "c", "z");
    stage_expect(&stage, "free a: z\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* Ready tasks go out in order of priority, first the first of dask.order. */
static void test_priority_order(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id c = stage_client(&stage, "c");
    int64_t priorities[] = {3, 1, 2, 0};
    stage_graph_with(&stage, c, "x:r y:r z:r r", "x y z",
                     (struct graph_info){.priorities = priorities});
    stage_finish(&stage, a, "r");
    stage_expect(&stage, "compute r@a\ncompute y@a <- r(8)@a\ncompute z@a <- r(8)@a\n"
                         "compute x@a <- r(8)@a\n");
    stage_close(&stage);
}

/* User priority goes before the age of the graph, that before the order inside it. */
static void test_priorities(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    int64_t zero[] = {0};
    stage_graph_with(&stage, c, "old", "old", (struct graph_info){.priorities = zero});
    stage_graph_with(&stage, c, "new", "new", (struct graph_info){.priorities = zero});
    stage_graph_with(&stage, c, "urgent", "urgent",
                     (struct graph_info){.priorities = zero, .user_priority = 10});
    stage_graph_with(&stage, c, "same", "same",
                     (struct graph_info){.priorities = zero, .fifo_timeout = 60});
    assert_true(stage_view(&stage, "urgent").priority_user == -10);
    assert_true(stage_view(&stage, "old").priority_generation == 1);
    assert_true(stage_view(&stage, "new").priority_generation == 2);
    assert_true(stage_view(&stage, "same").priority_generation == 3);
    assert_true(!signbit(stage_view(&stage, "old").priority_user));
    stage_expect(&stage, "");
    stage_worker(&stage, "a", 8);
    stage_expect(&stage, "compute urgent@a\ncompute old@a\ncompute new@a\ncompute same@a\n");
    stage_close(&stage);
}

/* A task submitted from inside a task goes before its parent's siblings. */
static void test_submitting_task(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    int64_t zero[] = {0};
    stage_graph_with(&stage, c, "parent", "parent", (struct graph_info){.priorities = zero});
    stage_graph_with(
        &stage, c, "child", "child",
        (struct graph_info){.priorities = zero, .submitting_task = stage_key(&stage, "parent")});
    assert_true(stage_view(&stage, "child").priority_user == 0);
    assert_true(stage_view(&stage, "child").priority_generation == -0.01);
    stage_graph_with(
        &stage, c, "orphan", "orphan",
        (struct graph_info){.priorities = zero, .submitting_task = stage_key(&stage, "nobody")});
    assert_true(stage_view(&stage, "orphan").priority_generation == 1);
    stage_close(&stage);
}

/* The same graph again: nothing is computed twice, the result is reported at once. */
static void test_resubmit(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    client_id d = stage_client(&stage, "d");
    stage_graph(&stage, c, "x y:x", "y");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_forget_transcript(&stage);
    stage_graph(&stage, d, "x y:x", "y");
    stage_expect(&stage, "memory c: y\nmemory d: y\nmemory c: y\nmemory d: y\n");
    stage_release(&stage, "c", "y");
    stage_expect(&stage, "");
    stage_release(&stage, "d", "y");
    stage_expect(&stage, "free a: y\n");
    stage_close(&stage);
}

/* A new graph builds on a result of an old one, which is only named in it. */
static void test_external_dependency(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x", "x");
    stage_finish(&stage, a, "x");
    stage_forget_transcript(&stage);
    stage_graph(&stage, c, "y:x", "y");
    stage_expect(&stage, "compute y@a <- x(8)@a\nmemory c: x\n");
    stage_close(&stage);
}

/* An input that is neither in the graph nor known: the client is told to begin anew. */
static void test_lost_dependency(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "y:x z:y", "y z");
    stage_expect(&stage, "cancelled c: y,z (lost dependencies)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    assert_int_equal(stage.notices[NOTICE_GRAPH_CANCELLED], 1);
    stage_close(&stage);
}

/* A graph of low-level tasks is culled: what the wanted keys do not need does not come in. */
static void test_cull(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph_with(&stage, c, "x y:x unused:x", "y", (struct graph_info){.cull = true});
    assert_string_equal(stage_state(&stage, "unused"), "gone");
    assert_int_equal(view_task_count(stage.s), 2);
    stage_expect(&stage, "compute x@a\n");
    stage_close(&stage);
}

/* A graph that bites its tail is refused with the reason, and leaves nothing behind. */
static void test_cycle(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x:y y:x", "x y");
    stage_expect(&stage, "erred c: x (text of x)\nerred c: y (text of y)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    static const int64_t priorities[] = {1, 0};
    stage_graph_with(&stage, c, "x:y y:x", "x y", (struct graph_info){.priorities = priorities});
    stage_expect(&stage, "erred c: x (text of x)\nerred c: y (text of y)\n");
    stage_graph_with(&stage, c, "x:y y", "x", (struct graph_info){.priorities = priorities});
    assert_int_equal(view_task_count(stage.s), 2);
    stage_close(&stage);
}

/* The same key with other inputs: the first definition stays, and people are warned. */
static void test_key_collision(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x", "y");
    stage_forget_transcript(&stage);
    stage_graph(&stage, c, "w y:w", "y");
    assert_int_equal(stage_view(&stage, "y").dependency_count, 1);
    assert_null(stage_task(&stage, "w")); /* stock keeps it, for good */
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_expect(&stage, "compute y@a <- x(8)@a\nmemory c: y\nfree a: x\n");
    stage_close(&stage);
}

/* The client disconnects while its tasks run: all is cancelled. */
static void test_client_leaves(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 2);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x z", "y z");
    stage_forget_transcript(&stage);
    struct event event = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {c}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: x\nfree a: z\n");
    assert_int_equal(view_task_count(stage.s), 0);
    assert_int_equal(view_client_find(stage.s, SPAN("c")), CLIENT_NONE);
    stage_step(&stage, &event);
    stage_close(&stage);
}

/* A client comes back under its name before its old connection is known to be dead: it has given up what it wanted,
 * as if that had been known, and what it wants from here on is not lost with the old connection. */
static void test_client_returns(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id old = stage_client(&stage, "c");
    stage_graph(&stage, old, "x", "x");
    stage_forget_transcript(&stage);
    client_id back = stage_client(&stage, "c");
    assert_int_not_equal(old, back);
    stage_expect(&stage, "free a: x\n");
    stage_graph(&stage, back, "y", "y");
    struct event event = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {old}};
    stage_step(&stage, &event);
    stage_expect(&stage, "compute y@a\n");
    stage_finish(&stage, a, "y");
    stage_expect(&stage, "memory c: y\n");
    stage_close(&stage);
}

/* fire-and-forget keeps a task alive until it is done, whoever leaves. */
static void test_fire_and_forget(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x", "y");
    stage_desire(&stage, "fire-and-forget", "y");
    stage_release(&stage, "c", "y");
    stage_expect(&stage, "compute x@a\n");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_expect(&stage, "compute y@a <- x(8)@a\nfree a: y\nfree a: x\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* The story tells each move, by key and by stimulus. */
static void test_story(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x y:x", "y");
    stage_finish(&stage, a, "x");
    uint32_t count;
    struct span key = stage_key(&stage, "x");
    const struct story_move *moves = view_story(stage.s, (struct span_list){&key, 1},
                                                (struct span_list){0}, &stage.arena, &count);
    assert_int_equal(count, 4); /* y's move to waiting recommends x */
    assert_int_equal(moves[0].start, TASK_RELEASED);
    assert_int_equal(moves[1].finish, TASK_WAITING);
    assert_int_equal(moves[3].start, TASK_PROCESSING);
    assert_int_equal(moves[3].finish, TASK_MEMORY);
    assert_int_equal(moves[3].recommendation_count, 1);
    assert_int_equal(moves[3].recommendations[0].to, TASK_PROCESSING);
    assert_true(moves[3].stimulus.size > 14 &&
                memcmp(moves[3].stimulus.data, "task-finished-", 14) == 0);
    struct span stimulus = moves[3].stimulus;
    view_story(stage.s, (struct span_list){0}, (struct span_list){&stimulus, 1}, &stage.arena,
               &count);
    assert_int_equal(count, 2);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_task),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_priority_order),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_submitting_task),
        cmocka_unit_test(test_resubmit),
        cmocka_unit_test(test_external_dependency),
        cmocka_unit_test(test_lost_dependency),
        cmocka_unit_test(test_cull),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test(test_key_collision),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_client_returns),
        cmocka_unit_test(test_fire_and_forget),
        cmocka_unit_test(test_story),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
