/* test_scheduler_clients.c: cancelling, scattering, restarting, pseudo-clients, workers' status. */
#include "support/story.h"

static void cancel(struct stage *stage, client_id client, const char *keys, bool force)
{
    struct event event = {.kind = EVENT_CANCEL,
                          .of.cancel = {client, stage_keys(stage, keys, ' '), force,
                                        SPAN("scheduler says"), SPAN("message")}};
    stage_step(stage, &event);
}

/* Cancelling a key cancels what depends on it, all being this client's alone. */
static void test_cancel(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y:x z:y", "x y z");
    stage_forget_transcript(&stage);
    cancel(&stage, me, "x", false);
    stage_expect(&stage, "free a: x\ncancelled *: z,y,x (scheduler says)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    assert_int_equal(stage.notices[NOTICE_CANCELLED], 1);
    stage_close(&stage);
}

/* What another client wants as well is not cancelled, unless by force. */
static void test_cancel_shared(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    client_id you = stage_client(&stage, "you");
    stage_graph(&stage, me, "x", "x");
    stage_graph(&stage, you, "x", "x");
    stage_forget_transcript(&stage);
    cancel(&stage, me, "x", false);
    stage_expect(&stage, "cancelled *:  (scheduler says)\n");
    assert_string_equal(stage_state(&stage, "x"), "processing");
    cancel(&stage, me, "x", true);
    stage_expect(&stage, "free a: x\ncancelled *: x (scheduler says)\n");
    assert_string_equal(stage_state(&stage, "x"), "gone");
    stage_close(&stage);
}

/* A diamond above the cancelled key: each task once, dependents first; an unwanted one in between is kept
 * out of the list and forgotten all the same. */
static void test_cancel_diamond(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "w x:w y:w z:x,y", "w x y z");
    stage_forget_transcript(&stage);
    cancel(&stage, me, "w unknown", false);
    stage_expect(&stage, "free a: w\ncancelled *: z,x,y,w (scheduler says)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* A chain of 200,000 dependents is cancelled without a stack of that depth. */
static void test_cancel_long_chain(void **state)
{
    (void)state;
    enum { LENGTH = 200000 };
    struct stage stage;
    stage_prepare(&stage);
    stage.config.check = false;
    stage_begin(&stage);
    client_id me = stage_client(&stage, "me");
    struct span *keys = mem_zalloc(LENGTH, sizeof *keys);
    uint32_t *dep_start = mem_zalloc(LENGTH + 1, sizeof *dep_start);
    uint32_t *deps = mem_zalloc(LENGTH, sizeof *deps);
    struct blob **run_specs = mem_zalloc(LENGTH, sizeof *run_specs);
    for (uint32_t i = 0; i < LENGTH; i++) {
        char name[32];
        snprintf(name, sizeof name, "x-%u", i);
        keys[i] = stage_key(&stage, name);
        dep_start[i + 1] = i;
        deps[i] = i;
    }
    for (uint32_t i = 1; i <= LENGTH; i++) {
        dep_start[i] = i - 1; /* task i − 1 depends on the one before it; the first on none */
    }
    struct graph_info graph = {.client = me,
                               .task_count = LENGTH,
                               .key_count = LENGTH,
                               .keys = keys,
                               .dep_start = dep_start,
                               .deps = deps,
                               .run_specs = run_specs,
                               .wanted = {keys, LENGTH}};
    struct event event = {.kind = EVENT_GRAPH, .of.graph = {&graph}};
    stage_step(&stage, &event);
    assert_int_equal(view_task_count(stage.s), LENGTH);
    cancel(&stage, me, "x-0", false);
    event = (struct event){.kind = EVENT_GO_ON};
    while (stage.step.pending) {
        stage_step(&stage, &event);
    }
    assert_int_equal(view_task_count(stage.s), 0);
    mem_free(keys);
    mem_free(dep_start);
    mem_free(deps);
    mem_free(run_specs);
    stage_close(&stage);
}

/* report-key: how a key stands, if it is done; an unknown one is cancelled. */
static void test_report_key(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x", "x");
    stage_forget_transcript(&stage);
    struct event event = {.kind = EVENT_REPORT_KEY, .of.report_key = {me, stage_key(&stage, "x")}};
    stage_step(&stage, &event);
    stage_expect(&stage, "");
    stage_finish(&stage, a, "x");
    stage_step(&stage, &event);
    stage_expect(&stage, "memory me: x\nmemory me: x\n");
    event.of.report_key.key = stage_key(&stage, "ghost");
    stage_step(&stage, &event);
    stage_expect(&stage, "cancelled me: ghost ()\n");
    stage_close(&stage);
}

/* Scatter to two workers: the key is in memory with two holders, and goes with its last wish. */
static void test_scatter(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    worker_id b = stage_worker(&stage, "b", 1);
    client_id me = stage_client(&stage, "me");
    struct span key = stage_key(&stage, "data");
    struct span keys[] = {key, key};
    worker_id holders[] = {a, b};
    int64_t sizes[] = {100, 100};
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {me, {keys, 2}, {holders, 2}, {sizes, 2}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "memory me: data\n");
    struct task_view view = stage_view(&stage, "data");
    assert_int_equal(view.holder_count, 2);
    assert_int_equal(view.nbytes, 100);
    assert_null(view.run_spec);
    struct worker_view worker;
    view_worker(stage.s, b, &worker);
    assert_int_equal(worker.nbytes, 100);
    stage_release(&stage, "me", "data");
    stage_expect(&stage, "free a: data\nfree b: data\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* Data is scattered under the key of a task that is under way: its value is there now, the work is stopped
 * and those who waited go on. */
static void test_scatter_over_task(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "w x:w y:x", "y");
    stage_expect(&stage, "compute w@a\n");
    struct span key = stage_key(&stage, "x");
    int64_t size = 5;
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {me, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &event);
    stage_expect(&stage, "memory me: x\ncompute y@a <- x(5)@a\nfree a: w\n");
    stage_close(&stage);
}

/* The client's scatter arrives when both client and worker are gone: nothing stays behind. */
static void test_scatter_too_late(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    struct span key = stage_key(&stage, "data");
    int64_t size = 5;
    struct event leave = {.kind = EVENT_CLIENT_REMOVE, .of.client_remove = {me}};
    struct event event = {.kind = EVENT_DATA_PLACED,
                          .of.data_placed = {me, {&key, 1}, {&a, 1}, {&size, 1}}};
    stage_step(&stage, &leave);
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: data\n");
    stage_worker_lost(&stage, a, "");
    client_id you = stage_client(&stage, "you");
    event.of.data_placed.client = you;
    stage_forget_transcript(&stage);
    stage_step(&stage, &event);
    stage_expect(&stage, "cancelled you: data (lost with its worker)\n");
    assert_int_equal(view_task_count(stage.s), 0);
    stage_close(&stage);
}

/* A published or queued key is wanted by its holder's name; a released key that is wanted is computed. */
static void test_pseudo_client(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y:x", "y");
    stage_desire(&stage, "published-x", "x ghost");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    stage_expect(&stage, "compute x@a\ncompute y@a <- x(8)@a\nmemory me: y\n");
    stage_release(&stage, "me", "y");
    stage_expect(&stage, "free a: y\n");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    stage_release(&stage, "published-x", "x");
    stage_expect(&stage, "free a: x\n");
    stage_release(&stage, "nobody", "x");
    stage_graph(&stage, me, "u v:u", "v");
    stage_finish(&stage, a, "u");
    stage_finish(&stage, a, "v");
    stage_forget_transcript(&stage);
    assert_string_equal(stage_state(&stage, "u"), "released");
    stage_desire(&stage, "me", "u");
    stage_expect(&stage, "compute u@a\n");
    stage_close(&stage);
}

/* Client.restart: all keys are forgotten, clients are told; workers are the node's to restart. */
static void test_restart(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y:x", "x y");
    stage_finish(&stage, a, "x");
    stage_desire(&stage, "fire-and-forget", "y");
    stage_forget_transcript(&stage);
    struct event event = {.kind = EVENT_RESTART, .of.restart = {me}};
    stage_step(&stage, &event);
    stage_expect(&stage, "free a: y\nfree a: x\nrestart clients\n");
    assert_int_equal(view_task_count(stage.s), 0);
    assert_int_equal(view_prefix_count(stage.s), 0);
    stage_graph(&stage, me, "x", "x");
    stage_expect(&stage, "compute x@a\n");
    stage_close(&stage);
}

/* A worker registers as "init" and gets work once it says that it runs; paused, it gets none. */
static void test_worker_status(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id me = stage_client(&stage, "me");
    worker_id a =
        stage_worker_with(&stage, "a", (struct worker_info){.status = SPAN("init"), .nthreads = 4});
    stage_graph(&stage, me, "x", "x");
    stage_expect(&stage, "");
    stage_worker_status(&stage, a, "running");
    stage_expect(&stage, "compute x@a\n");
    stage_worker_status(&stage, a, "paused");
    stage_graph(&stage, me, "y", "y");
    stage_expect(&stage, "");
    stage_worker_status(&stage, a, "nonsense");
    struct worker_view view;
    view_worker(stage.s, a, &view);
    assert_int_equal(view.status, WORKER_PAUSED);
    assert_int_equal(view.slots_free, 0);
    stage_worker_status(&stage, a, "running");
    stage_expect(&stage, "compute y@a\n");
    stage_close(&stage);
}

/* The ids under which the scheduler itself holds keys are no client's; what they hold stays. */
static void test_client_refused(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x y", "x y");
    stage_desire(&stage, "published-x", "x");
    stage_desire(&stage, "fire-and-forget", "y");
    static const char *const taken[] = {"fire-and-forget", "published-x"};
    for (int i = 0; i < 2; i++) {
        struct event event = {.kind = EVENT_CLIENT_ADD,
                              .of.client_add = {.name = span_of_text(taken[i])}};
        stage_step(&stage, &event);
        assert_int_equal(stage.step.client, CLIENT_NONE);
        assert_true(stage.step.refused.size > 0);
    }
    stage_release(&stage, "me", "x y");
    stage_finish(&stage, a, "x");
    stage_finish(&stage, a, "y");
    assert_string_equal(stage_state(&stage, "x"), "memory");
    assert_string_equal(stage_state(&stage, "y"), "gone");
    stage_close(&stage);
}

/* An address or a name that is taken, or no thread at all: refused, with the reason. */
static void test_worker_refused(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage_worker(&stage, "a", 1);
    struct worker_info info = {
        .address = SPAN("tcp://a:1"), .name = stage_key(&stage, "b"), .nthreads = 1};
    struct event event = {.kind = EVENT_WORKER_ADD, .of.worker_add = {&info}};
    stage_step(&stage, &event);
    assert_true(span_equal(stage.step.refused, SPAN("Worker already exists tcp://a:1")));
    info = (struct worker_info){
        .address = SPAN("tcp://b:1"), .name = stage_key(&stage, "a"), .nthreads = 1};
    stage_step(&stage, &event);
    assert_true(span_equal(stage.step.refused, SPAN("name taken, a")));
    info.name = stage_key(&stage, "b");
    info.nthreads = 0;
    stage_step(&stage, &event);
    assert_true(stage.step.refused.size > 0);
    assert_int_equal(stage.step.worker, WORKER_NONE);
    assert_int_equal(view_worker_count(stage.s), 1);
    stage_close(&stage);
}

/* Memory: managed is what Dask holds there, the least unmanaged of half a minute is old. */
static void test_worker_memory(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct metrics_info metrics = {.memory = 1000, .bandwidth = NAN};
    worker_id a = stage_worker_with(&stage, "a", (struct worker_info){.metrics = &metrics});
    client_id me = stage_client(&stage, "me");
    stage_graph(&stage, me, "x", "x");
    stage_finish_run(&stage, a, "x", stage_view(&stage, "x").run_id, 0.5, 300);
    metrics = (struct metrics_info){
        .memory = 1500, .bandwidth = NAN, .spilled_memory = 100, .spilled_disk = 60};
    struct event event = {.kind = EVENT_WORKER_HEARTBEAT, .of.worker_heartbeat = {a, &metrics}};
    stage_step(&stage, &event);
    struct worker_view view;
    view_worker(stage.s, a, &view);
    assert_int_equal(view.memory.process, 1500);
    assert_int_equal(view.memory.managed, 200);
    assert_int_equal(view.memory.unmanaged_old, 1000);
    assert_int_equal(view.memory.unmanaged_recent, 300);
    assert_int_equal(view.memory.spilled, 60);
    assert_int_equal(view.memory.optimistic, 1200);
    stage.time += 40; /* the low measure of the beginning is forgotten */
    stage_step(&stage, &event);
    view_worker(stage.s, a, &view);
    assert_int_equal(view.memory.unmanaged_old, 1300);
    stage_close(&stage);
}

/* Idle since when: since the last thing that happened, and not while anything runs. */
static void test_idle_since(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id me = stage_client(&stage, "me");
    assert_true(view_idle_since(stage.s) > 0);
    stage_graph(&stage, me, "x", "x");
    assert_true(view_idle_since(stage.s) == 0);
    stage_finish(&stage, a, "x");
    double since = view_idle_since(stage.s);
    assert_true(since == stage.time);
    stage_tick(&stage, 10);
    assert_true(view_idle_since(stage.s) == since);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_shared),
        cmocka_unit_test(test_cancel_diamond),
        cmocka_unit_test(test_cancel_long_chain),
        cmocka_unit_test(test_report_key),
        cmocka_unit_test(test_scatter),
        cmocka_unit_test(test_scatter_over_task),
        cmocka_unit_test(test_scatter_too_late),
        cmocka_unit_test(test_pseudo_client),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_worker_status),
        cmocka_unit_test(test_client_refused),
        cmocka_unit_test(test_worker_refused),
        cmocka_unit_test(test_worker_memory),
        cmocka_unit_test(test_idle_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
