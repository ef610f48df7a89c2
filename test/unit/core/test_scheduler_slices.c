/* test_scheduler_slices.c: a large graph comes in, and much is let go, in slices, other events between them. */
#include "support/story.h"

static void more(struct stage *stage)
{
    struct event event = {.kind = EVENT_GO_ON};
    stage_step(stage, &event);
}

/* At most `steps`. */
static void some(struct stage *stage, uint32_t steps)
{
    for (uint32_t i = 0; i < steps && stage->step.graph_pending; i++) {
        more(stage);
    }
}

static void all(struct stage *stage)
{
    while (stage->step.graph_pending) {
        more(stage);
    }
}

static const int64_t order[] = {0, 1, 2, 3, 4, 5, 6, 7};

static struct graph_info sliced(uint32_t slice)
{
    return (struct graph_info){.slice = slice, .priorities = order};
}

/* Piece by piece, and in the end all is as if it had come at once. */
static void test_same_as_at_once(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph_with(&stage, me, "w x:w y:w z:x,y", "y z", sliced(1));
    uint32_t steps = 1;
    while (stage.step.graph_pending) {
        more(&stage);
        steps++;
    }
    assert_true(steps > 20);
    stage_expect(&stage, "compute w@a\n");
    assert_int_equal(stage.notices[NOTICE_GRAPH_ADDED], 1);
    stage_finish(&stage, a, "w");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_finish(&stage, a, "z");
    stage_expect(&stage, "compute x@a <- w(8)@a\ncompute y@a <- w(8)@a\nmemory me: y\nfree a: w\n"
                         "compute z@a <- x(8)@a y(8)@a\nmemory me: z\nfree a: x\n");
    stage_release(&stage, "me", "y z");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* A small graph is not cut up, whatever the slice. */
static void test_small_graph(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph_with(&stage, me, "x y:x", "y", sliced(2));
    assert_false(stage.step.graph_pending);
    stage_expect(&stage, "compute x@a\n");
    stage_close(&stage);
}

/* Meanwhile the last user of an old result is done: the result stays, as the graph builds on it. */
static void test_keeps_what_it_needs(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    client_id you = stage_client(&stage, "you");
    stage_graph(&stage, you, "old user:old", "user");
    stage_finish(&stage, a, "old");
    stage_forget_transcript(&stage);
    stage_graph_with(&stage, me, "x:old y:x z:y", "z", sliced(2));
    more(&stage); /* looked up */
    stage_finish(&stage, a, "user");
    stage_release(&stage, "you", "user");
    stage_expect(&stage, "memory you: user\nfree a: user\n");
    all(&stage);
    stage_expect(&stage, "compute x@a <- old(8)@a\nmemory me: old\n");
    stage_finish(&stage, a, "x");
    assert_string_equal(stage_state(&stage, "old"), "released");
    stage_close(&stage);
}

/* It turns out that the graph does not need it after all: it goes when the graph has come in. */
static void test_lets_go_what_it_kept(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    client_id you = stage_client(&stage, "you");
    stage_graph(&stage, you, "old", "old");
    stage_finish(&stage, a, "old");
    stage_graph(&stage, me, "x:old", "x");
    stage_finish(&stage, a, "x");
    stage_forget_transcript(&stage);
    stage_graph_with(&stage, me, "x:old y z", "x y z", sliced(2));
    more(&stage);
    more(&stage);
    stage_release(&stage, "you", "old");
    stage_expect(&stage, "");
    all(&stage);
    stage_expect(&stage, "memory me: x\ncompute y@a\ncompute z@a\nmemory me: x\nmemory me: old\n"
                         "free a: old\n");
    assert_string_equal(stage_state(&stage, "old"), "released");
    stage_close(&stage);
}

/* Data that the graph needs is lost for good before its tasks begin: it is cancelled, nothing is left. */
static void test_lost_meanwhile(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    client_id you = stage_client(&stage, "you");
    struct span key = stage_key(&stage, "data");
    int64_t size = 5;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {you, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    stage_graph_with(&stage, me, "x:data y:x z:y", "z", sliced(2));
    for (uint32_t i = 0; i < 6; i++) {
        more(&stage);
    }
    assert_string_equal(stage_state(&stage, "y"), "released");
    stage_forget_transcript(&stage);
    event = (struct event){.kind = EVENT_RELEASE_WORKER_DATA, .of.release_worker_data = {a, key}};
    stage_step(&stage, &event);
    stage_expect(&stage, "lost you: data\ncancelled you: data (already forgotten)\n");
    all(&stage);
    stage_expect(&stage, "cancelled me: z (lost dependencies)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* An input that is not there is found at once, before any task is made. */
static void test_missing_input(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id me = stage_client(&stage, "me");
    stage_graph_with(&stage, me, "w:ghost x:w y:x z:y", "z", sliced(1));
    all(&stage);
    stage_expect(&stage, "cancelled me: z (lost dependencies)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* The client goes away while its graph comes in. */
static void test_client_leaves(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40; steps++) {
        struct stage stage;
        stage_open(&stage);
        stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        stage_graph_with(&stage, me, "w x:w y:w z:x,y", "y z", sliced(1));
        some(&stage, steps);
        struct event leave = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {me}};
        stage_step(&stage, &leave);
        all(&stage);
        assert_int_equal(view_task_count(stage.s), 0);
        stage_close(&stage);
    }
}

/* Another graph that needs what is half made waits until it is made; it can be told so at any time. */
static void test_later(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    client_id you = stage_client(&stage, "you");
    stage_graph_with(&stage, me, "x y:x z:y", "z", sliced(1));
    while (stage_task(&stage, "y") == NULL) {
        more(&stage);
    }
    uint32_t tries = 0;
    for (; stage.step.graph_pending; tries++) {
        stage_graph(&stage, you, "x y:x", "y");
        assert_true(stage.step.graph_later);
        more(&stage);
    }
    assert_true(tries > 10);
    stage_expect(&stage, "compute x@a\n");
    stage_graph(&stage, you, "x y:x", "y");
    assert_false(stage.step.graph_later);
    assert_int_equal(stage_view(&stage, "y").wanter_count, 1);
    stage_close(&stage);
}

/* A large graph after a large one: it waits, whatever it touches. */
static void test_large_after_large(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    client_id you = stage_client(&stage, "you");
    stage_graph_with(&stage, me, "x y:x z:y", "z", sliced(1));
    stage_graph_with(&stage, you, "u v:u w:v", "w", sliced(1));
    assert_true(stage.step.graph_later && stage.step.graph_pending);
    all(&stage);
    stage_graph_with(&stage, you, "u v:u w:v", "w", sliced(1));
    assert_false(stage.step.graph_later);
    all(&stage);
    stage_expect(&stage, "compute x@a\ncompute u@a\n");
    stage_close(&stage);
}

/* Small graphs about other things overtake it at every place, whether they know tasks or make them. */
static void test_overtaken(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 30; steps++) {
        struct stage stage;
        stage_open(&stage);
        worker_id a = stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        client_id you = stage_client(&stage, "you");
        stage_graph(&stage, you, "old", "old");
        stage_finish(&stage, a, "old");
        stage_graph_with(&stage, me, "x y:x z:y", "z", sliced(1));
        some(&stage, steps);
        bool was_pending = stage.step.graph_pending;
        stage_forget_transcript(&stage);
        stage_graph(&stage, you, "new:old", "new");
        assert_false(stage.step.graph_later);
        stage_expect(&stage, "compute new@a <- old(8)@a\nmemory you: old\n");
        assert_int_equal(stage.step.graph_pending, was_pending);
        all(&stage);
        assert_string_equal(stage_state(&stage, "x"), "processing");
        stage_close(&stage);
    }
}

/* A key of the graph comes to be known between its look-up and its making: it is one task. */
static void test_made_by_others(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 30; steps++) {
        struct stage stage;
        stage_open(&stage);
        worker_id a = stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        client_id you = stage_client(&stage, "you");
        struct span key = stage_key(&stage, "y");
        int64_t size = 5;
        stage_graph_with(&stage, me, "x y:x z:y", "z", sliced(1));
        some(&stage, steps);
        struct event event = {.kind = EVENT_DATA_PLACED,
                              .of.data_placed = {you, {&key, 1}, {&a, 1}, {&size, 1}}};
        stage_step(&stage, &event);
        all(&stage);
        assert_string_equal(stage_state(&stage, "y"), "memory");
        assert_int_equal(stage_view(&stage, "y").wanter_count, 1);
        stage_close(&stage);
    }
}

/* The cluster is restarted in the middle: nothing of the graph is left, and another may come at once. */
static void test_restart(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40; steps++) {
        struct stage stage;
        stage_open(&stage);
        stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        stage_graph_with(&stage, me, "w x:w y:w z:x,y", "y z", sliced(1));
        some(&stage, steps);
        struct event restart = {.kind = EVENT_RESTART, .of.restart = {me}};
        stage_step(&stage, &restart);
        assert_false(stage.step.graph_pending);
        assert_int_equal(view_task_count(stage.s), 0);
        stage_forget_transcript(&stage);
        stage_graph_with(&stage, me, "w x:w y:w z:x,y", "y z", sliced(1));
        all(&stage);
        stage_expect(&stage, "compute w@a\n");
        stage_close(&stage);
    }
}

/* A worker dies in the middle, with a result that the graph builds on and tasks of it that have begun. */
static void test_worker_dies(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40; steps++) {
        struct stage stage;
        stage_open(&stage);
        worker_id a = stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        stage_graph(&stage, me, "old", "old");
        stage_finish(&stage, a, "old");
        stage_graph_with(&stage, me, "old x:old y:x z:y", "z", sliced(1));
        some(&stage, steps);
        stage_worker(&stage, "b", 8);
        stage_worker_lost(&stage, a, "");
        all(&stage);
        assert_string_equal(stage_state(&stage, "old"), "processing");
        assert_string_equal(stage_state(&stage, "x"), "waiting");
        assert_string_equal(stage_state(&stage, "z"), "waiting");
        stage_close(&stage);
    }
}

/* ---- what is let go ---- */

static void open_narrow(struct stage *stage, uint32_t moves)
{
    stage_prepare(stage);
    stage->config.step_moves_max = moves;
    stage_begin(stage);
}

/* A chain of four, done and wanted by nobody, goes one task a step; each is freed once. */
static void test_let_go(void **state)
{
    (void)state;
    struct stage stage;
    open_narrow(&stage, 1);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "w x y z:w,x,y", "w x y z");
    stage_finish(&stage, a, "w");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_finish(&stage, a, "z");
    stage_release(&stage, "me", "w x y");
    while (stage.step.pending) {
        more(&stage);
    }
    stage_forget_transcript(&stage);
    stage_release(&stage, "me", "z");
    stage_expect(&stage, "free a: z\n");
    uint32_t steps = 0;
    for (; stage.step.pending; steps++) {
        more(&stage);
    }
    assert_int_equal(steps, 3);
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* Somebody wants it again before its turn has come: it stays. */
static void test_wanted_again(void **state)
{
    (void)state;
    struct stage stage;
    open_narrow(&stage, 1);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y", "x y");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_graph(&stage, me, "z:x,y", "z");
    stage_release(&stage, "me", "x y");
    stage_finish(&stage, a, "z");
    while (stage.step.pending) {
        stage_desire(&stage, "published", "x");
        more(&stage);
    }
    assert_string_equal(stage_state(&stage, "x"), "memory");
    assert_string_equal(stage_state(&stage, "y"), "released");
    stage_close(&stage);
}

/* The key is defined anew before its old task has gone: the new definition waits for that. */
static void test_defined_anew(void **state)
{
    (void)state;
    struct stage stage;
    open_narrow(&stage, 1);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y z:x,y", "z");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_finish(&stage, a, "z");
    while (stage.step.pending) {
        more(&stage);
    }
    stage_release(&stage, "me", "z");
    assert_true(stage.step.pending);
    stage_graph(&stage, me, "x", "x");
    assert_true(stage.step.graph_later);
    stage_graph(&stage, me, "other", "other");
    assert_false(stage.step.graph_later);
    stage_graph_with(&stage, me, "x u:x", "u", sliced(1));
    assert_true(stage.step.graph_pending && !stage.step.graph_later);
    stage_forget_transcript(&stage);
    all(&stage);
    stage_expect(&stage, "compute x@a\n");
    stage_close(&stage);
}

/* A client with many wishes leaves, and comes back under its name while they are taken back. */
static void test_leaves_slowly(void **state)
{
    (void)state;
    struct stage stage;
    open_narrow(&stage, 1);
    worker_id a = stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y z", "x y z");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    struct event leave = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {me}};
    stage_step(&stage, &leave);
    assert_true(stage.step.pending);
    client_id back = stage_client(&stage, "me");
    assert_int_not_equal(back, me);
    stage_forget_transcript(&stage);
    stage_finish(&stage, a, "z"); /* nobody is told */
    stage_graph(&stage, back, "q", "q");
    stage_expect(&stage, "free a: z\ncompute q@a\n");
    while (stage.step.pending) {
        more(&stage);
    }
    assert_int_equal(view_task_count(stage.s), 1);
    stage_close(&stage);
}

/* Somebody comes to want a task of the graph before it has begun. */
static void test_wanted_meanwhile(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph_with(&stage, me, "x y:x z:y", "z", sliced(1));
    while (stage_task(&stage, "x") == NULL) {
        more(&stage);
    }
    stage_desire(&stage, "published-x", "x");
    stage_expect(&stage, "");
    stage_release(&stage, "published-x", "x");
    stage_desire(&stage, "published-x", "x");
    all(&stage);
    stage_expect(&stage, "compute x@a\n");
    assert_int_equal(stage_view(&stage, "x").wanter_count, 1);
    stage_close(&stage);
}

/* The client leaves in the middle, and somebody comes to want a key of its graph while that is taken back: it is
 * there with all that it needs, or not at all. */
static void test_wanted_while_taken_back(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40 * 12; steps++) {
        struct stage stage;
        open_narrow(&stage, 1);
        stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        stage_graph(&stage, me, "k l m n o p",
                    "k l m n o p"); /* what it wants goes piece by piece */
        struct span actor = stage_key(&stage, "x");
        struct graph_info graph = sliced(3);
        graph.actors = (struct span_list){&actor, 1};
        stage_graph_with(&stage, me, "v w:v x:w y:w z:x,y", "y z", graph);
        for (uint32_t i = 0; i < steps / 12 && stage.step.graph_pending; i++) {
            more(&stage);
        }
        struct event leave = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {me}};
        stage_step(&stage, &leave);
        for (uint32_t i = 0; i < steps % 12 && stage.step.pending; i++) {
            more(&stage);
        }
        stage_desire(&stage, "published", "x");
        while (stage.step.pending) {
            more(&stage);
        }
        if (stage_task(&stage, "x") != NULL) {
            assert_int_equal(stage_view(&stage, "x").dependency_count, 1);
            assert_int_equal(stage_view(&stage, "w").dependency_count, 1);
            assert_true(stage_view(&stage, "x").actor);
        }
        stage_release(&stage, "published", "x");
        while (stage.step.pending) {
            more(&stage);
        }
        assert_int_equal(view_task_count(stage.s), 0);
        stage_close(&stage);
    }
}

/* The client registers again, over a new connection, in the middle of its graph: it has given that up, and what
 * it asks for from here on is not mixed up with it. */
static void test_client_registers_again(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40; steps++) {
        struct stage stage;
        open_narrow(&stage, 1);
        worker_id a = stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        stage_graph(&stage, me, "old", "old");
        stage_graph_with(&stage, me, "x y:x z:y", "z", sliced(1));
        some(&stage, steps);
        client_id again = stage_client(&stage, "me");
        assert_true(again != me);
        while (stage.step.pending) {
            more(&stage);
        }
        assert_int_equal(view_task_count(stage.s), 0);
        stage_graph(&stage, again, "x y:x", "y");
        struct event late = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {me}};
        stage_step(&stage, &late); /* the old connection is seen to end */
        stage_finish(&stage, a, "x");
        stage_forget_transcript(&stage);
        stage_finish(&stage, a, "y");
        stage_expect(&stage, "memory me: y\n");
        stage_close(&stage);
    }
}

/* A key comes with another definition than it has: nothing is left of what that one needs. */
static void test_collision_leaves_no_orphan(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 8);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x", "x");
    stage_graph(&stage, me, "u v:u x:v", "x");
    assert_int_equal(view_task_count(stage.s), 1);
    stage_release(&stage, "me", "x");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* The client leaves in the middle, and then the cluster is restarted: what is let go late, as its dependent went
 * only now, is gone as well. */
static void test_restart_after_leaving(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40; steps++) {
        struct stage stage;
        open_narrow(&stage, 1);
        stage_worker(&stage, "a", 8);
        client_id me = stage_client(&stage, "me");
        stage_graph_with(&stage, me, "w x:w y:w z:x,y", "y z", sliced(1));
        some(&stage, steps);
        struct event leave = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {me}};
        stage_step(&stage, &leave);
        struct event restart = {.kind = EVENT_RESTART, .of.restart = {CLIENT_NONE}};
        stage_step(&stage, &restart);
        assert_false(stage.step.graph_pending);
        assert_int_equal(view_task_count(stage.s), 0);
        stage_close(&stage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_at_once),
        cmocka_unit_test(test_small_graph),
        cmocka_unit_test(test_keeps_what_it_needs),
        cmocka_unit_test(test_lets_go_what_it_kept),
        cmocka_unit_test(test_lost_meanwhile),
        cmocka_unit_test(test_missing_input),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_client_registers_again),
        cmocka_unit_test(test_collision_leaves_no_orphan),
        cmocka_unit_test(test_wanted_while_taken_back),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_large_after_large),
        cmocka_unit_test(test_overtaken),
        cmocka_unit_test(test_made_by_others),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_worker_dies),
        cmocka_unit_test(test_wanted_meanwhile),
        cmocka_unit_test(test_let_go),
        cmocka_unit_test(test_wanted_again),
        cmocka_unit_test(test_defined_anew),
        cmocka_unit_test(test_leaves_slowly),
        cmocka_unit_test(test_restart_after_leaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
