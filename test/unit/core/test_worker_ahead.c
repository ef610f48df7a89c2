/* test_worker_ahead.c: tasks that the worker is told of before their inputs, which it computes itself. The scheduler
 * takes such a task back when that comes to nothing; until then it waits, and disturbs nothing. */
#include "support/worker_story.h"

static void compute_ahead(struct wstage *stage, const char *key, const char *inputs)
{
    stage->ahead = true;
    wstage_compute(stage, key, inputs);
    stage->ahead = false;
}

/* x runs, y waits for it and for z, which is here. */
static void open_waiting(struct wstage *stage)
{
    wstage_open(stage, NULL);
    wstage_scatter(stage, "z(8)");
    wstage_compute(stage, "x", "");
    compute_ahead(stage, "y", "x z");
    wstage_expect(stage, "keep z\nexecute x\n");
    wstage_state(stage, "x", "executing");
    wstage_state(stage, "y", "waiting");
}

/* A chain is run to its end without another word of the scheduler. */
static void test_chain(void **state)
{
    (void)state;
    struct wstage stage;
    open_waiting(&stage);
    compute_ahead(&stage, "v", "y");
    compute_ahead(&stage, "w", "v x");
    wstage_expect(&stage, "");
    wstage_succeed(&stage, "x", 1, 5);
    wstage_expect(&stage, "keep x\nfinished x #1 (5)\nexecute y <- x,z\n");
    wstage_succeed(&stage, "y", 2, 5);
    wstage_expect(&stage, "keep y\nfinished y #2 (5)\nexecute v <- y\n");
    wstage_succeed(&stage, "v", 3, 5);
    wstage_expect(&stage, "keep v\nfinished v #3 (5)\nexecute w <- v,x\n");
    wstage_close(&stage);
}

/* A task that is ready and more urgent goes first, as always. */
static void test_priority(void **state)
{
    (void)state;
    struct wstage stage;
    open_waiting(&stage);
    stage.priority.order = -1;
    wstage_compute(&stage, "urgent", "");
    stage.priority.order = 1;
    wstage_compute(&stage, "later", "");
    wstage_succeed(&stage, "x", 1, 5);
    wstage_state(&stage, "urgent", "executing");
    wstage_succeed(&stage, "urgent", 3, 5);
    wstage_state(&stage, "y", "executing");
    wstage_state(&stage, "later", "ready");
    text_fini(&stage.transcript);
    wstage_close(&stage);
}

/* Its input fails, or is to be placed anew: it waits until it is taken back, and nothing is left of it. */
static void test_input_comes_to_nothing(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct wstage stage;
        open_waiting(&stage);
        if (fails) {
            wstage_fail(&stage, "x", 1);
        } else {
            wstage_reschedule(&stage, "x");
        }
        wstage_state(&stage, "y", "waiting");
        wstage_free(&stage, "y");
        wstage_state(&stage, "y", NULL);
        wstage_free(&stage, "x");
        wstage_state(&stage, "x", NULL);
        text_fini(&stage.transcript);
        wstage_free(&stage, "z");
        assert_int_equal(wstage_summary(&stage).task_count, 0);
        text_fini(&stage.transcript);
        wstage_close(&stage);
    }
}

/* Both are taken back while the input runs, in either order: its end is awaited, and thrown away. */
static void test_input_cancelled(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct wstage stage;
        open_waiting(&stage);
        wstage_free(&stage, first ? "y" : "x");
        wstage_free(&stage, first ? "x" : "y");
        wstage_expect(&stage, "");
        wstage_state(&stage, "x", "cancelled(executing)");
        wstage_state(&stage, "y", NULL);
        wstage_succeed(&stage, "x", 1, 5);
        wstage_expect(&stage, "refuse x\n");
        wstage_state(&stage, "x", NULL);
        wstage_close(&stage);
    }
}

/* Taken back alone: its input, wanted for itself, runs on. Then it is sent again, for good. */
static void test_taken_back(void **state)
{
    (void)state;
    struct wstage stage;
    open_waiting(&stage);
    wstage_free(&stage, "y");
    wstage_state(&stage, "x", "executing");
    wstage_succeed(&stage, "x", 1, 5);
    wstage_expect(&stage, "keep x\nfinished x #1 (5)\n");
    wstage_compute(&stage, "y", "x z");
    wstage_expect(&stage, "execute y <- x,z\n");
    wstage_close(&stage);
}

/* It was told of its input's input as well, and a value is lost meanwhile: that one is asked for, the run is not
 * disturbed. */
static void test_value_lost(void **state)
{
    (void)state;
    struct wstage stage;
    open_waiting(&stage);
    wstage_tell_keys(&stage, WORKER_EVENT_DATA_LOST, "z");
    wstage_state(&stage, "z", "missing");
    wstage_state(&stage, "x", "executing");
    wstage_state(&stage, "y", "waiting");
    text_fini(&stage.transcript);
    wstage_free(&stage, "y");
    wstage_state(&stage, "z", NULL);
    wstage_state(&stage, "x", "executing");
    wstage_close(&stage);
}

/* The input is to be computed here once a transfer that nobody wants any more has ended: that stays so. */
static void test_input_flies(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "x@r2");
    wstage_free(&stage, "x");
    wstage_compute(&stage, "x", "");
    compute_ahead(&stage, "y", "x");
    wstage_state(&stage, "x", "resumed(flight->waiting)");
    text_fini(&stage.transcript);
    wstage_gather_failed(&stage, "r2");
    wstage_expect(&stage, "execute x\n");
    wstage_succeed(&stage, "x", 1, 5);
    wstage_expect(&stage, "keep x\nfinished x #1 (5)\nexecute y <- x\n");
    wstage_close(&stage);
}

/* So it is with the task itself: when its own transfer has ended it waits, and the input runs on. */
static void test_it_flies(void **state)
{
    (void)state;
    struct wstage stage;
    wstage_open(&stage, NULL);
    wstage_acquire(&stage, "y@r2");
    wstage_free(&stage, "y");
    wstage_compute(&stage, "x", "");
    compute_ahead(&stage, "y", "x");
    wstage_state(&stage, "y", "resumed(flight->waiting)");
    text_fini(&stage.transcript);
    wstage_gather_failed(&stage, "r2");
    wstage_state(&stage, "y", "waiting");
    wstage_state(&stage, "x", "executing");
    text_fini(&stage.transcript);
    wstage_succeed(&stage, "x", 1, 5);
    wstage_expect(&stage, "keep x\nfinished x #1 (5)\nexecute y <- x\n");
    wstage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_input_comes_to_nothing),
        cmocka_unit_test(test_input_cancelled),
        cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_value_lost),
        cmocka_unit_test(test_input_flies),
        cmocka_unit_test(test_it_flies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
