/* test_balance.c: plans for rebalance and replicate, and which workers to close. Expected plans were made by
 * stock's own functions on the same clusters. */
#include "support/story_replies.h"

#include "core/scheduler/balance.h"

static void heartbeat(struct stage *stage, worker_id worker, int64_t memory)
{
    struct metrics_info metrics = {.memory = memory, .bandwidth = NAN};
    struct event event = {.kind = EVENT_WORKER_HEARTBEAT,
                          .of.worker_heartbeat = {worker, &metrics}};
    stage_step_now(stage, &event);
}

static void placed(struct stage *stage, client_id client, const char *key, worker_id worker,
                   int64_t size)
{
    struct span name = stage_key(stage, key);
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {client, {&name, 1}, {&worker, 1}, {&size, 1}}};
    stage_step_now(stage, &event);
}

/* "x a>b, y a>c" */
static const char *shown(struct stage *stage, struct balance_plan plan)
{
    struct text out = {0};
    for (uint32_t i = 0; i < plan.count; i++) {
        text_add_cstr(&out, i == 0 ? "" : ", ");
        replies_add_key(&out, view_task_key(plan.moves[i].task));
        worker_id ends[] = {plan.moves[i].sender, plan.moves[i].recipient};
        for (int j = 0; j < 2; j++) {
            struct worker_view view;
            text_add_char(&out, j == 0 ? ' ' : '>');
            if (ends[j] != WORKER_NONE && view_worker(stage->s, ends[j], &view)) {
                replies_add_key(&out, view.name);
            }
        }
    }
    text_add_char(&out, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&out));
    text_fini(&out);
    return (const char *)copy.data;
}

#define MB ((int64_t)1000000)

/* Three workers of 1 GB; a is nearly full, b is in the middle, c is empty: the first data of a go to c. */
static void test_rebalance(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct worker_info info = {.memory_limit = 1000 * MB};
    worker_id a = stage_worker_with(&stage, "a", info);
    worker_id b = stage_worker_with(&stage, "b", info);
    worker_id c = stage_worker_with(&stage, "c", info);
    client_id client = stage_client(&stage, "client");
    for (int i = 0; i < 8; i++) {
        char key[16];
        snprintf(key, sizeof key, "x%d", i);
        placed(&stage, client, key, a, 100 * MB);
    }
    placed(&stage, client, "y", b, 400 * MB);
    heartbeat(&stage, a, 800 * MB);
    heartbeat(&stage, b, 400 * MB);
    heartbeat(&stage, c, 0);
    struct balance_scope all = {0};
    struct balance_plan plan = balance_rebalance(stage.s, &all, &stage.arena);
    assert_string_equal(shown(&stage, plan), "x0 a>c, x1 a>c, x2 a>c, x3 a>c");
    assert_int_equal(plan.sender_count, 1);
    assert_int_equal(plan.recipient_count, 1);
    const struct task *only[] = {stage_task(&stage, "x5"), stage_task(&stage, "y")};
    struct balance_scope some = {.tasks = only, .task_count = 2};
    assert_string_equal(shown(&stage, balance_rebalance(stage.s, &some, &stage.arena)), "x5 a>c");
    worker_id without_c[] = {a, b};
    struct balance_scope two = {.workers = without_c, .worker_count = 2};
    assert_string_equal(shown(&stage, balance_rebalance(stage.s, &two, &stage.arena)),
                        "x0 a>b, x1 a>b");
    stage_close(&stage);
}

/* Below sender-min (30 %) nothing is moved, however uneven; a recipient that holds the data is passed over and
 * gets the next (stock forgets it then, and gives all to the other). */
static void test_rebalance_limits(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct worker_info info = {.memory_limit = 1000 * MB};
    worker_id a = stage_worker_with(&stage, "a", info);
    worker_id b = stage_worker_with(&stage, "b", info);
    worker_id c = stage_worker_with(&stage, "c", info);
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", a, 100 * MB);
    placed(&stage, client, "y", a, 100 * MB);
    heartbeat(&stage, a, 290 * MB);
    struct balance_scope all = {0};
    assert_int_equal(balance_rebalance(stage.s, &all, &stage.arena).count, 0);
    placed(&stage, client, "z", a, 200 * MB);
    placed(&stage, client, "x", c, 100 * MB);
    heartbeat(&stage, a, 400 * MB);
    heartbeat(&stage, b, 0);
    heartbeat(&stage, c, 0);
    assert_string_equal(shown(&stage, balance_rebalance(stage.s, &all, &stage.arena)),
                        "x a>b, y a>c");
    stage_close(&stage);
}

/* Replicating to four of five workers: each round at most twice as many copies as there are holders. */
static void test_replicate(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id w[5];
    const char *names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++) {
        w[i] = stage_worker(&stage, names[i], 1);
    }
    client_id client = stage_client(&stage, "client");
    placed(&stage, client, "x", w[0], 8);
    const struct task *tasks[] = {stage_task(&stage, "x")};
    struct balance_scope scope = {.tasks = tasks, .task_count = 1, .n = 4, .branching = 2};
    struct prng prng;
    prng_init(&prng, 7);
    struct balance_plan plan = balance_replicate(stage.s, &scope, &prng, &stage.arena);
    assert_int_equal(plan.count, 2);
    for (uint32_t i = 0; i < plan.count; i++) {
        assert_int_equal(plan.moves[i].sender, WORKER_NONE);
        assert_int_not_equal(plan.moves[i].recipient, w[0]);
        placed(&stage, client, "x", plan.moves[i].recipient, 8);
    }
    assert_int_not_equal(plan.moves[0].recipient, plan.moves[1].recipient);
    plan = balance_replicate(stage.s, &scope, &prng, &stage.arena);
    assert_int_equal(plan.count, 1);
    placed(&stage, client, "x", plan.moves[0].recipient, 8);
    assert_int_equal(balance_replicate(stage.s, &scope, &prng, &stage.arena).count, 0);
    scope.n = 1;
    plan = balance_surplus(stage.s, &scope, &prng, &stage.arena);
    assert_int_equal(plan.count, 3);
    assert_int_equal(plan.moves[0].recipient, WORKER_NONE);
    scope.workers = &w[0];
    scope.worker_count = 1;
    assert_int_equal(balance_surplus(stage.s, &scope, &prng, &stage.arena).count, 0);
    stage_close(&stage);
}

static const char *closing(struct stage *stage, struct close_request request)
{
    uint32_t count;
    const worker_id *workers = balance_workers_to_close(stage->s, &request, &stage->arena, &count);
    struct text out = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct worker_view view;
        assert_true(view_worker(stage->s, workers[i], &view));
        replies_add_key(&out, view.name);
    }
    text_add_char(&out, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&out));
    text_fini(&out);
    return (const char *)copy.data;
}

/* Idle workers close, those with little data first, as long as twice the memory needed remains. */
static void test_workers_to_close(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id w[4];
    const char *names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        w[i] = stage_worker_with(&stage, names[i], (struct worker_info){.memory_limit = 100 * MB});
    }
    client_id client = stage_client(&stage, "client");
    struct close_request request = CLOSE_REQUEST_DEFAULT;
    assert_string_equal(closing(&stage, request), "dcba");
    placed(&stage, client, "x", w[0], 60 * MB);
    placed(&stage, client, "y", w[3], 10 * MB);
    assert_string_equal(closing(&stage, request), "cb");
    request.minimum = 3;
    assert_string_equal(closing(&stage, request), "c");
    request = CLOSE_REQUEST_DEFAULT;
    request.n = 3;
    assert_string_equal(closing(&stage, request), "cbd");
    request = CLOSE_REQUEST_DEFAULT;
    request.target = 3;
    assert_string_equal(closing(&stage, request), "c");
    request.target = 9;
    assert_string_equal(closing(&stage, request), "");
    request = CLOSE_REQUEST_DEFAULT;
    request.memory_ratio = 1;
    assert_string_equal(closing(&stage, request), "cbd");
    struct span groups[] = {SPAN("one"), SPAN("two"), SPAN("two"), SPAN("one")};
    request = CLOSE_REQUEST_DEFAULT;
    request.group_of = groups;
    assert_string_equal(closing(&stage, request), "bc");
    request.n = 1;
    assert_string_equal(closing(&stage, request), "");
    const bool kept[] = {false, false, true, false};
    request = CLOSE_REQUEST_DEFAULT;
    request.is_kept = kept;
    assert_string_equal(closing(&stage, request), "b"); /* what c could hold does not count */
    request.n = 1;
    assert_string_equal(closing(&stage, request), "b");
    request.n = 4;
    assert_string_equal(closing(&stage, request), "bda");
    stage_close(&stage);
}

/* Busy workers close only on demand, idle ones first; with all of them busy there is nothing to close. */
static void test_workers_to_close_busy(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    const char *names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        stage_worker_with(&stage, names[i], (struct worker_info){.memory_limit = 100 * MB});
    }
    client_id client = stage_client(&stage, "client");
    struct span where = stage_key(&stage, "b");
    struct annotation_info on_b = {.workers = {&where, 1}, .has_workers = true};
    stage_graph_with(&stage, client, "x", "x",
                     (struct graph_info){.annotations = &on_b, .annotation_count = 1});
    struct close_request request = CLOSE_REQUEST_DEFAULT;
    assert_string_equal(closing(&stage, request), "ca");
    request.n = 3;
    assert_string_equal(closing(&stage, request), "cab");
    struct event event = {.kind = EVENT_LONG_RUNNING,
                          .of.long_running = {stage_view(&stage, "x").processing_on,
                                              stage_key(&stage, "x"),
                                              stage_view(&stage, "x").run_id, NAN}};
    stage_step(&stage, &event);
    assert_string_equal(closing(&stage, request), "ca");
    stage_graph(&stage, client, "y-1 y-2 y-3 y-4 y-5 y-6", "y-1 y-2 y-3 y-4 y-5 y-6");
    assert_string_equal(closing(&stage, CLOSE_REQUEST_DEFAULT), "");
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rebalance),
        cmocka_unit_test(test_rebalance_limits),
        cmocka_unit_test(test_replicate),
        cmocka_unit_test(test_workers_to_close),
        cmocka_unit_test(test_workers_to_close_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
