/* test_scheduler_large.c: graphs large enough that anything quadratic would show: it would take minutes.
 * And the memory that a task takes. */
#include <malloc.h>

#include "base/prng.h"
#include "base/vec.h"
#include "support/story.h"

/* A graph built straight into arrays. */
struct large {
    struct stage stage;
    client_id client;
    uint32_t capacity, count, dep_count;
    struct span *keys;
    uint32_t *dep_start, *deps;
    struct blob **run_specs;
};

static void large_open(struct large *large, uint32_t capacity, uint32_t dep_capacity)
{
    memset(large, 0, sizeof *large);
    stage_prepare(&large->stage);
    large->stage.config.check = false;
    large->stage.config.work_stealing = true;
    large->stage.config.task_notices = false;
    stage_begin(&large->stage);
    large->client = stage_client(&large->stage, "me");
    large->capacity = capacity;
    large->keys = mem_zalloc(capacity, sizeof *large->keys);
    large->dep_start = mem_zalloc((size_t)capacity + 1, sizeof *large->dep_start);
    large->deps = mem_zalloc(dep_capacity, sizeof *large->deps);
    large->run_specs = mem_zalloc(capacity, sizeof *large->run_specs);
}

/* A key of `format` with one number; its inputs are the `count` tasks from `first` on. */
static void large_add(struct large *large, const char *format, uint32_t first, uint32_t count)
{
    char name[40];
    uint32_t number = large->count++;
    assert_true(number < large->capacity);
    int size = format[0] == 'u' ? snprintf(name, sizeof name, "u%u", number)
                                : snprintf(name, sizeof name, "%s-%u", format, number);
    assert_true(size > 0 && size < 32);
    large->keys[number] = stage_key(&large->stage, name);
    for (uint32_t i = 0; i < count; i++) {
        large->deps[large->dep_count++] = first + i;
    }
    large->dep_start[number + 1] = large->dep_count;
}

static void large_submit(struct large *large, uint32_t wanted_first)
{
    struct graph_info graph = {.client = large->client,
                               .task_count = large->count,
                               .key_count = large->count,
                               .keys = large->keys,
                               .dep_start = large->dep_start,
                               .deps = large->deps,
                               .run_specs = large->run_specs,
                               .wanted = {large->keys + wanted_first, large->count - wanted_first},
                               .started = large->stage.time};
    struct event event = {.kind = EVENT_GRAPH, .of.graph = {&graph}};
    large->stage.time += 1;
    event.time = large->stage.time;
    scheduler_step(large->stage.s, &event, &large->stage.step);
}

struct computes VEC(struct action_compute);

/* What workers were asked in the last step. */
static void large_collect(const struct large *large, struct computes *sent)
{
    for (uint32_t i = 0; i < large->stage.step.action_count; i++) {
        if (large->stage.step.actions[i].kind == ACTION_COMPUTE) {
            vec_push(sent, large->stage.step.actions[i].of.compute);
        }
    }
}

static void large_answer(struct large *large, const struct action_compute *run)
{
    struct startstop compute = {SPAN("compute"), 0, 0.001, {0}};
    struct event event = {.kind = EVENT_TASK_FINISHED,
                          .time = large->stage.time,
                          .of.task_finished = {.worker = run->worker,
                                               .key = view_task_key(run->task),
                                               .run_id = run->run_id,
                                               .nbytes = 8,
                                               .typename_ = SPAN("int"),
                                               .startstops = {&compute, 1}}};
    scheduler_step(large->stage.s, &event, &large->stage.step);
}

/* Workers answer all they are asked, until nothing is asked any more. How many tasks ran. */
static uint32_t large_run(struct large *large)
{
    struct computes sent = {0};
    uint32_t next = 0;
    large_collect(large, &sent);
    while (next < sent.count) {
        struct action_compute run = sent.items[next++];
        large_answer(large, &run);
        large_collect(large, &sent);
    }
    vec_fini(&sent);
    return next;
}

static void large_close(struct large *large)
{
    struct event event = {.kind = EVENT_CLIENT_REMOVE,
                          .time = large->stage.time,
                          .of.client_remove = {large->client}};
    scheduler_step(large->stage.s, &event, &large->stage.step);
    event = (struct event){.kind = EVENT_GO_ON, .time = large->stage.time};
    while (large->stage.step.pending) {
        scheduler_step(large->stage.s, &event, &large->stage.step);
    }
    assert_int_equal(view_task_count(large->stage.s), 0);
    scheduler_check(large->stage.s);
    mem_free(large->keys);
    mem_free(large->dep_start);
    mem_free(large->deps);
    mem_free(large->run_specs);
    stage_close(&large->stage);
}

/* 300,000 results into one task, on a hundred workers. */
static void test_fan_in(void **state)
{
    (void)state;
    enum { LEAVES = 300000 };
    struct large large;
    large_open(&large, LEAVES + 1, LEAVES);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        stage_worker(&large.stage, name, 2);
    }
    for (uint32_t i = 0; i < LEAVES; i++) {
        large_add(&large, "leaf", 0, 0);
    }
    large_add(&large, "merge", 0, LEAVES);
    large_submit(&large, LEAVES);
    assert_int_equal(large_run(&large), LEAVES + 1);
    large_close(&large);
}

/* One result into 300,000 tasks; then the worker that holds it dies, and all begins anew. */
static void test_fan_out(void **state)
{
    (void)state;
    enum { LEAVES = 300000 };
    struct large large;
    large_open(&large, LEAVES + 1, LEAVES);
    worker_id a = stage_worker(&large.stage, "a", 4);
    large_add(&large, "root", 0, 0);
    for (uint32_t i = 0; i < LEAVES; i++) {
        large_add(&large, "leaf", 0, 1);
    }
    large_submit(&large, 1);
    stage_worker(&large.stage, "b", 4);
    stage_worker_lost(&large.stage, a, "");
    assert_string_equal(stage_state(&large.stage, "root-0"), "processing");
    assert_int_equal(large_run(&large), LEAVES + 1);
    large_close(&large);
}

/* 100,000 tasks whose keys share no prefix: as many groups and prefixes, all sent to one worker at once;
 * and one task that depends on all of those groups. */
static void test_unique_prefixes(void **state)
{
    (void)state;
    enum { LEAVES = 100000 };
    struct large large;
    large_open(&large, LEAVES + 1, LEAVES);
    stage_worker(&large.stage, "a", 4);
    for (uint32_t i = 0; i < LEAVES; i++) {
        large_add(&large, "u", 0, 0);
    }
    large_add(&large, "u", 0, LEAVES);
    for (int turn = 0; turn < 2; turn++) { /* the second time, all durations are known */
        large_submit(&large, LEAVES);
        assert_int_equal(large_run(&large), LEAVES + 1);
        struct span key = large.keys[LEAVES];
        struct event event = {.kind = EVENT_CLIENT_RELEASES,
                              .time = large.stage.time,
                              .of.client_releases = {SPAN("me"), {&key, 1}}};
        scheduler_step(large.stage.s, &event, &large.stage.step);
        assert_int_equal(view_task_count(large.stage.s), 0);
    }
    large_close(&large);
}

/* A task with two dependencies takes less than 400 bytes, its key and edges included. */
static void test_bytes_a_task(void **state)
{
    (void)state;
    enum { TASKS = 200000 };
    struct large large;
    large_open(&large, TASKS, 2 * TASKS);
    large_add(&large, "first", 0, 0);
    large_add(&large, "second", 0, 0);
    for (uint32_t i = 2; i < TASKS; i++) {
        large_add(&large, "stage", i - 2, 2);
    }
    struct mallinfo2 before = mallinfo2();
    large_submit(&large, TASKS - 1);
    stage_tick(&large.stage, 0); /* the scratch of the graph is given back */
    struct mallinfo2 after = mallinfo2();
    size_t bytes = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    assert_int_equal(view_task_count(large.stage.s), TASKS);
#ifndef __SANITIZE_ADDRESS__
    assert_true(bytes / TASKS < 400);
    assert_true(bytes / TASKS > 200); /* else this measures nothing */
#else
    (void)bytes; /* the sanitizer's allocator does not tell */
#endif
    large_close(&large);
}

static int64_t order_of(const struct large *large, const struct task *task)
{
    struct task_view view;
    view_task(large->stage.s, task, &view);
    return view.priority_order;
}

/* Roots wait for one worker. Their order of arrival is that of the wanted task's inputs, which is anything:
 * up, down, or mixed. They are sent in order of priority all the same. */
static void check_queue_order(const uint32_t *inputs, uint32_t count)
{
    struct large large;
    large_open(&large, count + 1, count);
    stage_worker(&large.stage, "a", 1);
    for (uint32_t i = 0; i < count; i++) {
        large_add(&large, "leaf", 0, 0);
    }
    large_add(&large, "merge", 0, count);
    memcpy(large.deps, inputs, count * sizeof *inputs);
    large_submit(&large, count);
    scheduler_check(large.stage.s);
    struct computes sent = {0};
    large_collect(&large, &sent);
    uint32_t at_once = sent.count;
    for (uint32_t next = 0; next < sent.count; next++) {
        struct action_compute run = sent.items[next];
        large_answer(&large, &run);
        large_collect(&large, &sent);
        if (next % 500 == 0) {
            scheduler_check(large.stage.s);
        }
    }
    assert_int_equal(sent.count, count + 1);
    for (uint32_t i = at_once + 1; i < sent.count; i++) {
        assert_true(order_of(&large, sent.items[i - 1].task) <
                    order_of(&large, sent.items[i].task));
    }
    vec_fini(&sent);
    large_close(&large);
}

static void test_queue_order(void **state)
{
    (void)state;
    enum { ROOTS = 5000 };
    static uint32_t inputs[ROOTS];
    for (uint32_t i = 0; i < ROOTS; i++) {
        inputs[i] = i;
    }
    check_queue_order(inputs, ROOTS);
    for (uint32_t i = 0; i < ROOTS; i++) {
        inputs[i] = ROOTS - 1 - i;
    }
    check_queue_order(inputs, ROOTS);
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t i = ROOTS - 1; i > 0; i--) {
        uint32_t other = prng_below(&prng, i + 1);
        uint32_t swapped = inputs[i];
        inputs[i] = inputs[other];
        inputs[other] = swapped;
    }
    check_queue_order(inputs, ROOTS);
}

/* The first task that was sent is answered when thousands of others came and went, and its place among the
 * newest runs is long another's. */
static void test_slow_run(void **state)
{
    (void)state;
    enum { ROOTS = 5000 };
    struct large large;
    large_open(&large, ROOTS + 1, ROOTS);
    stage_worker(&large.stage, "a", 1);
    stage_worker(&large.stage, "b", 1);
    for (uint32_t i = 0; i < ROOTS; i++) {
        large_add(&large, "leaf", 0, 0);
    }
    large_add(&large, "merge", 0, ROOTS);
    large_submit(&large, ROOTS);
    struct computes sent = {0};
    large_collect(&large, &sent);
    struct action_compute slow = sent.items[0];
    for (uint32_t next = 1; next < sent.count; next++) {
        struct action_compute run = sent.items[next];
        large_answer(&large, &run);
        large_collect(&large, &sent);
    }
    assert_int_equal(sent.count, ROOTS);
    assert_int_equal(view_task_state(slow.task), TASK_PROCESSING);
    large_answer(&large, &slow);
    assert_int_equal(view_task_state(slow.task), TASK_MEMORY);
    assert_int_equal(large_run(&large), 1);
    vec_fini(&sent);
    large_close(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fan_in),          cmocka_unit_test(test_fan_out),
        cmocka_unit_test(test_unique_prefixes), cmocka_unit_test(test_bytes_a_task),
        cmocka_unit_test(test_queue_order),     cmocka_unit_test(test_slow_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
