/* test_worker_run.c: what a worker runs, and when: threads, priorities, resources, the ends of runs.
 * The essence of distributed's test_worker_state_machine.py and test_resources.py. */
#include "support/worker_story.h"

static struct worker_config config_with(uint32_t nthreads, const struct resource *resource)
{
    struct worker_config config;
    worker_config_init(&config);
    config.nthreads = nthreads;
    config.resources = (struct resource_list){resource, resource != NULL};
    return config;
}

static double available(const struct wstage *stage)
{
    struct span name;
    double total;
    double left;
    assert_true(worker_resource_at(stage->w, 0, &name, &total, &left));
    assert_true(span_equal_text(name, "R"));
    return left;
}

/* ---- runs ---- */

static void test_run(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "x", "");
    wstage_expect(&stage, "execute x\n");
    wstage_compute(&stage, "y", "x");
    wstage_expect(&stage, ""); /* y waits: x runs and is now to be fetched, from nobody yet */
    wstage_state(&stage, "x", "resumed(executing->fetch)");
    wstage_succeed(&stage, "x", 1, 12);
    wstage_expect(&stage, "keep x\nadd x\nexecute y <- x\n");
    assert_int_equal(wstage_summary(&stage).nbytes, 12);
    wstage_succeed(&stage, "y", 2, 30);
    wstage_expect(&stage, "keep y\nfinished y #2 (30)\n");
    assert_int_equal(wstage_summary(&stage).executed_count, 2);
    wstage_free(&stage, "y x");
    wstage_expect(&stage, "drop x\nreleased x\ndrop y\nreleased y\n");
    assert_int_equal(wstage_summary(&stage).task_count, 0);
    assert_int_equal(wstage_summary(&stage).nbytes, 0);
    wstage_close(&stage);
}

/* Of tasks whose like is quick, some are given out before a thread is free: as many as take 2 ms together. What
 * may be slow ends that: a run of which nobody knows how long it takes, and a slow one of their like. */
static void test_ahead(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = config_with(1, NULL);
    config.ahead_max = 3;
    wstage_open(&stage, &config);
    wstage_compute(&stage, "quick-1", "");
    for (int i = 2; i < 8; i++) {
        char key[] = {'q', 'u', 'i', 'c', 'k', '-', (char)('0' + i), '\0'};
        wstage_compute(&stage, key, "");
    }
    wstage_expect(&stage, "execute quick-1\n"); /* nobody knows how long they take */
    wstage_compute(&stage, "other-1", "");
    wstage_succeed_after(&stage, "quick-1", 1, 8, 0.0009);
    /* The latest is the first here. */
    wstage_expect(&stage, "keep quick-1\nfinished quick-1 #1 (8)\nexecute other-1\n");
    wstage_succeed_after(&stage, "other-1", 8, 8, 0.0001);
    /* One takes the thread; two more are 1.8 ms, and come in the order in which they are to run. */
    wstage_expect(&stage, "keep other-1\nfinished other-1 #8 (8)\n"
                          "execute quick-7\nexecute quick-6\nexecute quick-5\n");
    wstage_succeed_after(&stage, "quick-7", 7, 8, 0.0001); /* 0.7 ms now */
    wstage_expect(&stage, "keep quick-7\nfinished quick-7 #7 (8)\nexecute quick-4\n");
    wstage_succeed_after(&stage, "quick-6", 6, 8, 1.0);
    wstage_expect(&stage, "keep quick-6\nfinished quick-6 #6 (8)\n");
    assert_int_equal(wstage_summary(&stage).executing_count, 2);
    wstage_close(&stage);
}

/* A result that is here is told again to whoever asks for it again. */
static void test_compute_again(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "x", "");
    wstage_compute(&stage, "x", ""); /* runs already */
    wstage_expect(&stage, "execute x\n");
    wstage_succeed(&stage, "x", 2, 8);
    wstage_compute(&stage, "x", "");
    wstage_expect(&stage, "keep x\nfinished x #2 (8)\nfinished x #3 (8)\n");
    wstage_close(&stage);
}

static void test_error_and_again(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "x", "");
    wstage_fail(&stage, "x", 1);
    wstage_expect(&stage, "execute x\nerred x #1\n");
    wstage_state(&stage, "x", "error");
    wstage_compute(&stage, "x", "");
    wstage_expect(&stage, "execute x\n");
    wstage_reschedule(&stage, "x");
    wstage_expect(&stage, "reschedule x\n");
    wstage_state(&stage, "x", NULL);
    wstage_close(&stage);
}

/* Smaller priorities first; of equal ones the newest. */
static void test_priorities(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "clog", "");
    const struct worker_priority priorities[] = {{0, 1, 5}, {0, 1, 2}, {-1, 9, 9}, {0, 1, 2}};
    const char *keys[] = {"a", "b", "c", "d"};
    for (uint32_t i = 0; i < 4; i++) {
        stage.priority = priorities[i];
        wstage_compute(&stage, keys[i], "");
    }
    wstage_expect(&stage, "execute clog\n");
    const char *order[] = {"clog", "c", "d", "b"};
    const char *next[] = {"c", "d", "b", "a"};
    for (uint32_t i = 0; i < 4; i++) {
        wstage_reschedule(&stage, order[i]);
        char expected[64];
        snprintf(expected, sizeof expected, "reschedule %s\nexecute %s\n", order[i], next[i]);
        wstage_expect(&stage, expected);
    }
    wstage_close(&stage);
}

static void test_threads(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = config_with(2, NULL);
    wstage_open(&stage, &config);
    wstage_compute(&stage, "a", "");
    wstage_compute(&stage, "b", "");
    wstage_compute(&stage, "c", "");
    wstage_expect(&stage, "execute a\nexecute b\n");
    wstage_state(&stage, "c", "ready");
    wstage_secede(&stage, "a", 0.5);
    wstage_expect(&stage, "long-running a 0.5\nexecute c\n");
    assert_int_equal(wstage_summary(&stage).executing_count, 2);
    assert_int_equal(wstage_summary(&stage).long_running_count, 1);
    wstage_secede(&stage, "a", 0.7); /* once is enough */
    wstage_succeed(&stage, "a", 1, 1);
    wstage_expect(&stage, "keep a\nfinished a #1 (1)\n");
    wstage_close(&stage);
}

static void test_pause(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_tell(&stage, WORKER_EVENT_PAUSE);
    wstage_compute(&stage, "x", "");
    wstage_compute(&stage, "z", "y@r2");
    wstage_expect(&stage, "");
    wstage_state(&stage, "x", "ready");
    wstage_state(&stage, "y", "fetch");
    wstage_tell(&stage, WORKER_EVENT_UNPAUSE);
    wstage_expect(&stage, "execute x\ngather r2 y (1)\n");
    wstage_close(&stage);
}

static void set_backpressure(struct wstage *stage, bool on)
{
    wstage_step(stage,
                (struct worker_event){.kind = WORKER_EVENT_BACKPRESSURE, .of.backpressure.on = on});
}

/* Runs that have begun go on; none begins, paused or not, before the disk has caught up. */
static void test_backpressure(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "v", "");
    wstage_expect(&stage, "execute v\n");
    set_backpressure(&stage, true);
    wstage_compute(&stage, "x", "");
    wstage_compute(&stage, "z", "y@r2");
    wstage_succeed(&stage, "v", 1, 1);
    wstage_expect(&stage, "keep v\nfinished v #1 (1)\n");
    wstage_state(&stage, "x", "ready");
    wstage_state(&stage, "y", "fetch");
    wstage_tell(&stage, WORKER_EVENT_PAUSE);
    wstage_tell(&stage, WORKER_EVENT_UNPAUSE);
    wstage_expect(&stage, "");
    set_backpressure(&stage, false);
    wstage_expect(&stage, "execute x\ngather r2 y (1)\n");
    wstage_close(&stage);
}

/* ---- the scheduler changes its mind ---- */

static void test_steal(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "x", "");
    wstage_compute(&stage, "y", "");
    wstage_compute(&stage, "z", "w@r2");
    wstage_expect(&stage, "execute x\ngather r2 w (1)\n");
    wstage_tell_key(&stage, WORKER_EVENT_STEAL_REQUEST, "x");
    wstage_tell_key(&stage, WORKER_EVENT_STEAL_REQUEST, "y");
    wstage_tell_key(&stage, WORKER_EVENT_STEAL_REQUEST, "z");
    wstage_tell_key(&stage, WORKER_EVENT_STEAL_REQUEST, "nobody");
    wstage_expect(&stage, "steal x executing\nsteal y ready\nsteal z waiting\nsteal nobody \n");
    wstage_state(&stage, "y", NULL);
    wstage_state(&stage, "z", NULL);
    wstage_state(&stage, "w", "cancelled(flight)");
    wstage_close(&stage);
}

static void test_cancel_compute(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "x", "");
    wstage_compute(&stage, "y", "");
    wstage_tell_key(&stage, WORKER_EVENT_CANCEL_COMPUTE, "x");
    wstage_tell_key(&stage, WORKER_EVENT_CANCEL_COMPUTE, "y");
    wstage_state(&stage, "x", "executing");
    wstage_state(&stage, "y", NULL);
    wstage_close(&stage);
}

/* What a run uses stays, whatever the scheduler believes. */
static void test_remove_replicas(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_scatter(&stage, "x(7) y(9)");
    wstage_expect(&stage, "keep y\nkeep x\n");
    wstage_compute(&stage, "z", "x@l1");
    wstage_expect(&stage, "execute z <- x\n");
    wstage_tell_keys(&stage, WORKER_EVENT_REMOVE_REPLICAS, "x y z nobody");
    wstage_expect(&stage, "drop y\nreleased y\n");
    wstage_free(&stage, "z");
    wstage_expect(&stage, "");
    wstage_tell_keys(&stage, WORKER_EVENT_REMOVE_REPLICAS, "x");
    wstage_expect(&stage, "drop x\nreleased x\n");
    wstage_close(&stage);
}

/* ---- values that get lost ---- */

static void test_data_lost(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = config_with(2, NULL);
    wstage_open(&stage, &config);
    wstage_scatter(&stage, "x y");
    wstage_compute(&stage, "runs", "x@l1");
    wstage_compute(&stage, "clog", "");
    wstage_compute(&stage, "ready", "x@l1 y@l1");
    wstage_compute(&stage, "waits", "x@l1 far@r2");
    wstage_expect(&stage, "keep y\nkeep x\nexecute runs <- x\nexecute clog\ngather r2 far (1)\n");
    wstage_tell_keys(&stage, WORKER_EVENT_DATA_LOST, "x nobody");
    wstage_expect(&stage, "released x\n"); /* nothing to drop */
    wstage_state(&stage, "x", "missing");
    wstage_state(&stage, "ready", "waiting");
    wstage_state(&stage, "waits", "waiting");
    wstage_tell(&stage, WORKER_EVENT_FIND_MISSING);
    wstage_expect(&stage, "refresh x\n");
    wstage_reschedule(&stage, "runs"); /* its input is not there */
    wstage_expect(&stage, "reschedule runs\n");
    wstage_who_has(&stage, "x@r3");
    wstage_gathered(&stage, "r3", "x(5)");
    wstage_expect(&stage, "gather r3 x (1024)\nkeep x\nadd x\nexecute ready <- x,y\n");
    wstage_close(&stage);
}

/* ---- resources ---- */

static void test_resources(void **state)
{
    (void)state;
    static const struct resource one = {{(const uint8_t *)"R", 1}, 1};
    struct wstage stage;
    struct worker_config config = config_with(4, &one);
    wstage_open(&stage, &config);
    stage.resource = "R";
    stage.amount = 1;
    wstage_compute(&stage, "clog", "");
    const char *keys[] = {"x1", "x2", "x3"};
    const double priorities[] = {1, 2, 0};
    for (uint32_t i = 0; i < 3; i++) {
        stage.priority = (struct worker_priority){priorities[i], 0, 0};
        wstage_compute(&stage, keys[i], "");
        wstage_state(&stage, keys[i], "constrained");
    }
    stage.resource = NULL;
    wstage_compute(&stage, "free", "");
    wstage_expect(&stage, "execute clog\nexecute free\n");
    assert_true(available(&stage) == 0);
    wstage_succeed(&stage, "clog", 1, 1);
    wstage_succeed(&stage, "x3", 4, 1);
    wstage_expect(&stage, "keep clog\nfinished clog #1 (1)\nexecute x3\n"
                          "keep x3\nfinished x3 #4 (1)\nexecute x1\n");
    wstage_secede(&stage, "x1", 1); /* a thread is free, the resource is not */
    wstage_expect(&stage, "long-running x1 1\n");
    wstage_fail(&stage, "x1", 2);
    wstage_expect(&stage, "erred x1 #2\nexecute x2\n");
    wstage_close(&stage);
}

/* Cancelled and wanted again with other resources: it gives back what it took. */
static void test_resources_of_a_resumed_run(void **state)
{
    (void)state;
    static const struct resource one = {{(const uint8_t *)"R", 1}, 1};
    struct wstage stage;
    struct worker_config config = config_with(1, &one);
    wstage_open(&stage, &config);
    stage.resource = "R";
    stage.amount = 1;
    wstage_compute(&stage, "x", "");
    wstage_free(&stage, "x");
    stage.amount = 0.4;
    wstage_compute(&stage, "x", "");
    wstage_expect(&stage, "execute x\n");
    wstage_state(&stage, "x", "executing");
    assert_true(available(&stage) == 0);
    wstage_succeed(&stage, "x", 2, 1);
    assert_true(available(&stage) == 1);
    wstage_close(&stage);
}

/* Constrained tasks come before ready ones only if they are first and can run; new totals count at once. */
static void test_resources_and_priorities(void **state)
{
    (void)state;
    static const struct resource one = {{(const uint8_t *)"R", 1}, 1};
    struct wstage stage;
    struct worker_config config = config_with(1, &one);
    wstage_open(&stage, &config);
    wstage_compute(&stage, "clog", "");
    stage.resource = "R";
    stage.amount = 1;
    wstage_compute(&stage, "a", "");
    stage.amount = 2;
    wstage_compute(&stage, "b", "");
    stage.resource = NULL;
    stage.priority.user = 1;
    wstage_compute(&stage, "c", "");
    wstage_succeed(&stage, "clog", 1, 1); /* b is first of the constrained, but needs too much */
    wstage_expect(&stage, "execute clog\nkeep clog\nfinished clog #1 (1)\nexecute c\n");
    wstage_succeed(&stage, "c", 4, 1);
    wstage_expect(&stage, "keep c\nfinished c #4 (1)\n");
    static const struct resource two = {{(const uint8_t *)"R", 1}, 2};
    wstage_step(&stage, (struct worker_event){.kind = WORKER_EVENT_SET_RESOURCES,
                                              .of.set_resources.resources = {&two, 1}});
    wstage_expect(&stage, "execute b\n");
    wstage_close(&stage);
}

/* ---- not believed ---- */

/* An executor may say anything about tasks that do not run. */
static void test_executor_that_lies(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_scatter(&stage, "x(3)");
    wstage_expect(&stage, "keep x\n");
    wstage_succeed(&stage, "x", 1, 99);
    wstage_fail(&stage, "x", 1);
    wstage_reschedule(&stage, "x");
    wstage_secede(&stage, "x", 1);
    wstage_step(&stage, (struct worker_event){.kind = WORKER_EVENT_EXECUTE_SUCCESS,
                                              .of.execute_success.task = 12345});
    wstage_state(&stage, "x", "memory");
    assert_int_equal(wstage_summary(&stage).nbytes, 3);
    assert_int_equal(wstage_summary(&stage).executed_count, 0);
    wstage_close(&stage);
}

/* ---- looks ---- */

static void test_tasks(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = config_with(2, NULL);
    wstage_open(&stage, &config);
    wstage_scatter(&stage, "x(3)");
    stage.priority = (struct worker_priority){1, 2, 3};
    wstage_compute(&stage, "y", "x@l1");
    wstage_compute(&stage, "z", "w@r2");
    wstage_compute(&stage, "v", "");
    wstage_secede(&stage, "v", 1);
    assert_true(worker_task_in_memory(stage.w, wstage_task(&stage, "x")));
    assert_false(worker_task_in_memory(stage.w, wstage_task(&stage, "y")));
    assert_false(worker_task_in_memory(stage.w, wstage_task(&stage, "nobody")));
    assert_int_equal(worker_task_running(stage.w, 0), wstage_task(&stage, "y"));
    assert_int_equal(worker_task_running(stage.w, 1), wstage_task(&stage, "v"));
    struct wtask_view view;
    worker_task(stage.w, wstage_task(&stage, "y"), &view);
    assert_int_equal(view.run_id, 1);
    assert_int_equal(view.priority.order, 3);
    assert_int_equal(view.dependency_count, 1);
    assert_true(view.started == 1001);
    worker_task(stage.w, wstage_task(&stage, "w"), &view);
    assert_true(view.in_flight);
    assert_true(span_equal_text(view.coming_from, "tcp://127.0.0.2:1"));
    assert_int_equal(view.waiter_count, 1);
    uint32_t known = 0;
    for (task_id id = 0; id < worker_task_end(stage.w) + 1; id++) {
        known += worker_task_is_known(stage.w, id);
    }
    assert_int_equal(known, wstage_summary(&stage).task_count);
    wstage_close(&stage);
}

static void test_prefixes(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_compute(&stage, "inc-1", ""); /* at 1000 */
    wstage_compute(&stage, "inc-2", "");
    wstage_succeed(&stage, "inc-1", 1, 1); /* at 1002 */
    struct worker_prefix_view view;
    uint32_t i = 0;
    do {
        assert_true(worker_prefix(stage.w, i++, 1010, &view));
    } while (!span_equal_text(view.name, "inc"));
    assert_int_equal(view.counts[WTASK_EXECUTING], 1);
    assert_int_equal(view.counts[WTASK_MEMORY], 1);
    assert_true(view.seconds[WTASK_EXECUTING] == 2 + 8);
    assert_true(view.seconds[WTASK_READY] == 1);
    assert_true(view.seconds[WTASK_MEMORY] == 8);
    wstage_close(&stage);
}

static void test_story(void **state)
{
    (void)state;
    struct wstage stage;
    struct worker_config config = config_with(1, NULL);
    config.story_length = 5;
    wstage_open(&stage, &config);
    wstage_compute(&stage, "y", "");
    wstage_compute(&stage, "x", "");
    wstage_succeed(&stage, "y", 1, 1);
    struct span key = wstage_key(&stage, "x", 1);
    uint32_t count;
    const struct wstory_entry *story = worker_story(stage.w, (struct span_list){&key, 1},
                                                    (struct span_list){0}, &stage.arena, &count);
    assert_int_equal(count, 3); /* of the five last */
    assert_int_equal(story[0].start, WTASK_RELEASED);
    assert_int_equal(story[0].finish, WTASK_WAITING);
    assert_int_equal(story[2].wanted, WTASK_EXECUTING);
    assert_true(span_equal_text(story[2].stimulus, "test"));
    worker_story(stage.w, (struct span_list){0}, (struct span_list){0}, &stage.arena, &count);
    assert_int_equal(count, 5);
    wstage_close(&stage);
}

static void test_transitions_are_told(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    worker_want_transitions(stage.w, true);
    wstage_scatter(&stage, "x");
    wstage_expect(&stage, "keep x\ntransition x\n");
    wstage_free(&stage, "x");
    wstage_expect(&stage, "drop x\nreleased x\ntransition x\ntransition x\n");
    wstage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_compute_again),
        cmocka_unit_test(test_error_and_again),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_steal),
        cmocka_unit_test(test_cancel_compute),
        cmocka_unit_test(test_remove_replicas),
        cmocka_unit_test(test_data_lost),
        cmocka_unit_test(test_resources),
        cmocka_unit_test(test_resources_of_a_resumed_run),
        cmocka_unit_test(test_resources_and_priorities),
        cmocka_unit_test(test_executor_that_lies),
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_story),
        cmocka_unit_test(test_transitions_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
