/* test_worker_cancelled.c: tasks that are released while they run or fly, and may be wanted again before that
 * has ended. The essence of distributed's test_cancelled_state.py. */
#include "support/worker_story.h"

/* How a run ends. */
enum ending { SUCCEEDS, FAILS, RESCHEDULES, ENDINGS };

static void end_run(struct wstage *stage, const char *key, enum ending ending)
{
    switch (ending) {
    case SUCCEEDS:
        wstage_succeed(stage, key, 1, 1);
        break;
    case FAILS:
        wstage_fail(stage, key, 1);
        break;
    default:
        wstage_reschedule(stage, key);
        break;
    }
}

/* A stage on which x runs, and has perhaps seceded. */
static void open_running(struct wstage *stage, bool seceded)
{
    wstage_open(stage, NULL);
    wstage_compute(stage, "x", "");
    wstage_expect(stage, "execute x\n");
    if (seceded) {
        wstage_secede(stage, "x", 1);
        wstage_expect(stage, "long-running x 1\n");
    }
}

static const char *running_state(bool seceded)
{
    return seceded ? "long-running" : "executing";
}

static const char *told_again(bool seceded)
{
    return seceded ? "long-running x nil\n" : "";
}

/* ---- runs ---- */

static void test_released_run(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ENDINGS; i++) {
        struct wstage stage;
        open_running(&stage, i % 2 == 1);
        wstage_free(&stage, "x");
        wstage_expect(&stage, "");
        wstage_state(&stage, "x", i % 2 == 1 ? "cancelled(long-running)" : "cancelled(executing)");
        end_run(&stage, "x", i / 2);
        wstage_expect(&stage, i / 2 == SUCCEEDS ? "refuse x\n" : "");
        wstage_state(&stage, "x", NULL);
        wstage_close(&stage);
    }
}

/* Wanted again: it never knew. */
static void test_run_to_run(void **state)
{
    (void)state;
    for (int seceded = 0; seceded < 2; seceded++) {
        struct wstage stage;
        open_running(&stage, seceded);
        wstage_free(&stage, "x");
        wstage_compute(&stage, "x", "");
        wstage_state(&stage, "x", running_state(seceded));
        text_fini(&stage.transcript);
        wstage_succeed(&stage, "x", 1, 1);
        wstage_expect(&stage, "keep x\nfinished x #1 (1)\n");
        wstage_close(&stage);
    }
}

/* Cancelled, it is to be interrupted; released, it runs on, as in Dask. */
static void test_cancel_interrupts(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ENDINGS; i++) {
        struct wstage stage;
        open_running(&stage, i % 2 == 1);
        wstage_cancel(&stage, "x nobody");
        wstage_expect(&stage, "interrupt x\n");
        wstage_state(&stage, "x", i % 2 == 1 ? "cancelled(long-running)" : "cancelled(executing)");
        end_run(&stage, "x", i / 2);
        wstage_expect(&stage, i / 2 == SUCCEEDS ? "refuse x\n" : "");
        wstage_state(&stage, "x", NULL);
        wstage_cancel(&stage, "x");
        wstage_expect(&stage, "");
        wstage_close(&stage);
    }
}

/* The INTERRUPT was heeded though the task was wanted again by then: the scheduler places it anew. */
static void test_interrupted_though_wanted(void **state)
{
    (void)state;
    struct wstage stage;
    open_running(&stage, false);
    wstage_cancel(&stage, "x");
    wstage_compute(&stage, "x", "");
    wstage_expect(&stage, "interrupt x\n");
    wstage_reschedule(&stage, "x");
    wstage_expect(&stage, "reschedule x\n");
    wstage_state(&stage, "x", NULL);
    wstage_close(&stage);
}

/* Computed elsewhere meanwhile: its own result will do, as a replica. */
static void test_run_spares_the_fetch(void **state)
{
    (void)state;
    for (int seceded = 0; seceded < 2; seceded++) {
        struct wstage stage;
        open_running(&stage, seceded);
        wstage_free(&stage, "x");
        wstage_compute(&stage, "y", "x@r2");
        wstage_expect(&stage, "");
        wstage_state(&stage, "x",
                     seceded ? "resumed(long-running->fetch)" : "resumed(executing->fetch)");
        wstage_succeed(&stage, "x", 1, 5);
        wstage_expect(&stage, "keep x\nadd x\nexecute y <- x\n");
        wstage_close(&stage);
    }
}

static void test_run_fails_then_fetch(void **state)
{
    (void)state;
    for (enum ending ending = FAILS; ending < ENDINGS; ending++) {
        struct wstage stage;
        open_running(&stage, false);
        wstage_free(&stage, "x");
        wstage_compute(&stage, "y", "x@r2");
        end_run(&stage, "x", ending);
        wstage_expect(&stage, "gather r2 x (1)\n");
        wstage_state(&stage, "x", "flight");
        wstage_close(&stage);
    }
}

/* run → cancelled → to be fetched → cancelled → run */
static void test_run_to_fetch_to_run(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool seceded = i % 2 == 1;
        struct wstage stage;
        open_running(&stage, seceded);
        wstage_free(&stage, "x");
        wstage_compute(&stage, "y", "x@r2");
        wstage_free(&stage, i < 2 ? "y x" : "y");
        text_fini(&stage.transcript);
        wstage_compute(&stage, "x", "");
        wstage_expect(&stage, told_again(seceded));
        wstage_state(&stage, "x", running_state(seceded));
        wstage_state(&stage, "y", NULL);
        wstage_close(&stage);
    }
}

static void test_secede_while_cancelled(void **state)
{
    (void)state;
    for (int i = 0; i < 4 * ENDINGS; i++) {
        bool to_fetch = i % 2 == 1;
        bool to_run = i / 2 % 2 == 1;
        struct wstage stage;
        open_running(&stage, false);
        wstage_free(&stage, "x");
        if (to_fetch) {
            wstage_compute(&stage, "y", "x@r2");
        }
        wstage_expect(&stage, "");
        wstage_secede(&stage, "x", 1); /* the scheduler need not know … */
        wstage_expect(&stage, "");
        assert_int_equal(wstage_summary(&stage).executing_count, 0);
        assert_int_equal(wstage_summary(&stage).long_running_count, 1);
        if (to_run) {
            if (to_fetch) {
                wstage_free(&stage, "y");
            }
            wstage_expect(&stage, "");
            wstage_compute(&stage, "x", ""); /* … unless it runs for it again */
            wstage_expect(&stage, "long-running x nil\n");
        }
        end_run(&stage, "x", i / 4);
        assert_int_equal(wstage_summary(&stage).long_running_count, 0);
        wstage_close(&stage);
    }
}

/* What a cancelled run uses may go; what nothing else needs goes with it. */
static void test_inputs_of_a_cancelled_run(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ENDINGS; i++) {
        bool release_input = i % 2 == 1;
        struct wstage stage;
        wstage_open(&stage, NULL);
        wstage_scatter(&stage, "x");
        wstage_compute(&stage, "y", "x@l1");
        wstage_free(&stage, "y");
        wstage_expect(&stage, "keep x\nexecute y <- x\n");
        if (release_input) {
            wstage_free(&stage, "x");
            wstage_expect(&stage, "drop x\nreleased x\n");
            wstage_state(&stage, "x", "released");
        }
        end_run(&stage, "y", i / 2);
        wstage_state(&stage, "y", NULL);
        wstage_state(&stage, "x", release_input ? NULL : "memory");
        wstage_close(&stage);
    }
}

/* ---- flights ---- */

static void open_flying(struct wstage *stage)
{
    wstage_open(stage, NULL);
    wstage_compute(stage, "y", "x@r2");
    wstage_free(stage, "y x");
    wstage_expect(stage, "gather r2 x (1)\n");
    wstage_state(stage, "x", "cancelled(flight)");
    wstage_state(stage, "y", NULL);
}

static void test_released_flight(void **state)
{
    (void)state;
    struct wstage stage;
    open_flying(&stage);
    wstage_gathered(&stage, "r2", "x");
    wstage_expect(&stage, "refuse x\n");
    assert_int_equal(wstage_summary(&stage).task_count, 0);
    wstage_close(&stage);
    open_flying(&stage);
    wstage_gather_failed(&stage, "r2");
    wstage_expect(&stage, "");
    assert_int_equal(wstage_summary(&stage).task_count, 0);
    wstage_close(&stage);
    open_flying(&stage);
    wstage_gathered(&stage, "r2", "");
    wstage_expect(&stage, "");
    assert_int_equal(wstage_summary(&stage).task_count, 0);
    wstage_close(&stage);
}

static void test_flight_to_flight(void **state)
{
    (void)state;
    struct wstage stage;
    open_flying(&stage);
    wstage_compute(&stage, "z", "x@r2");
    wstage_expect(&stage, "");
    wstage_state(&stage, "x", "flight");
    wstage_gathered(&stage, "r2", "x");
    wstage_expect(&stage, "keep x\nadd x\nexecute z <- x\n");
    wstage_close(&stage);
}

/* To be computed now: what comes will do, as the result of that computation. */
static void test_flight_spares_the_run(void **state)
{
    (void)state;
    struct wstage stage;
    open_flying(&stage);
    wstage_compute(&stage, "x", "");
    wstage_state(&stage, "x", "resumed(flight->waiting)");
    wstage_gathered(&stage, "r2", "x(4)");
    wstage_expect(&stage, "keep x\nfinished x #2 (1)\n");
    wstage_close(&stage);
}

static void test_flight_fails_then_run(void **state)
{
    (void)state;
    for (int clogged = 0; clogged < 2; clogged++) {
        struct wstage stage;
        open_flying(&stage);
        wstage_compute(&stage, "x", "");
        if (clogged) {
            wstage_compute(&stage, "clog", "");
            wstage_expect(&stage, "execute clog\n");
        }
        wstage_tell_peer(&stage, WORKER_EVENT_GATHER_NETWORK_FAILURE, "r2");
        wstage_expect(&stage, clogged ? "" : "execute x\n");
        wstage_state(&stage, "x", clogged ? "ready" : "executing");
        wstage_close(&stage);
    }
}

/* flight → cancelled → to be computed → cancelled → flight */
static void test_flight_to_run_to_flight(void **state)
{
    (void)state;
    struct wstage stage;
    open_flying(&stage);
    wstage_compute(&stage, "x", "");
    wstage_free(&stage, "x");
    wstage_state(&stage, "x", "cancelled(flight)");
    wstage_compute(&stage, "y", "x@r2");
    wstage_state(&stage, "x", "flight");
    wstage_expect(&stage, "");
    wstage_close(&stage);
}

/* Its inputs are not looked at before it is known whether they are needed. */
static void test_flight_to_run_with_inputs(void **state)
{
    (void)state;
    struct wstage stage;
    open_flying(&stage);
    wstage_compute(&stage, "x", "w@r3");
    wstage_state(&stage, "w", "released");
    wstage_expect(&stage, "");
    wstage_gathered(&stage, "r2", "");
    wstage_expect(&stage, "gather r3 w (1)\n");
    wstage_gathered(&stage, "r3", "w");
    wstage_expect(&stage, "keep w\nadd w\nexecute x <- w\n");
    wstage_close(&stage);
}

/* A value scattered while a cancelled flight is under way is refused, as stock does; for one that is to be
 * computed it is the result. */
static void test_scatter_on_second_thoughts(void **state)
{
    (void)state;
    struct wstage stage;
    open_flying(&stage);
    wstage_scatter(&stage, "x");
    wstage_expect(&stage, "refuse x\n");
    wstage_compute(&stage, "x", "");
    wstage_scatter(&stage, "x(6)");
    wstage_expect(&stage, "keep x\nfinished x #2 (1)\n");
    wstage_gathered(&stage, "r2", "x");
    wstage_expect(&stage, "refuse x\n");
    wstage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_released_run),
        cmocka_unit_test(test_run_to_run),
        cmocka_unit_test(test_cancel_interrupts),
        cmocka_unit_test(test_interrupted_though_wanted),
        cmocka_unit_test(test_run_spares_the_fetch),
        cmocka_unit_test(test_run_fails_then_fetch),
        cmocka_unit_test(test_run_to_fetch_to_run),
        cmocka_unit_test(test_secede_while_cancelled),
        cmocka_unit_test(test_inputs_of_a_cancelled_run),
        cmocka_unit_test(test_released_flight),
        cmocka_unit_test(test_flight_to_flight),
        cmocka_unit_test(test_flight_spares_the_run),
        cmocka_unit_test(test_flight_fails_then_run),
        cmocka_unit_test(test_flight_to_run_to_flight),
        cmocka_unit_test(test_flight_to_run_with_inputs),
        cmocka_unit_test(test_scatter_on_second_thoughts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
