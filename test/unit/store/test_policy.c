/* What is done at which level of memory: stock's thresholds, one situation a test. The limit is 1000. */
#include "unit/store/support.h"

#include "store/policy.h"

static const struct policy_settings usual = {1000, 0.6, 0.7, 0.8, 0.95};

static struct policy_decision decide(const struct policy_settings *settings,
                                     struct policy_state *state, struct policy_view view)
{
    struct policy_decision decision;
    policy_decide(settings, state, &view, &decision);
    return decision;
}

/* Up to 70 % nothing happens; above it as much is spilled as is over 60 %, and so on until it is there, what is
 * on its way not counted twice. */
static void test_spill_hysteresis(void **state)
{
    (void)state;
    struct policy_state memory = {0};
    static const struct {
        uint64_t memory, leaving, evict;
    } steps[] = {
        {700, 0, 0},  {701, 0, 101}, {720, 101, 19}, {690, 60, 30}, {650, 90, 0},
        {660, 0, 0}, /* the last has just left: executors are still freeing */
        {640, 0, 40}, {601, 0, 1},   {600, 0, 0},    {699, 0, 0},   {750, 0, 150},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct policy_decision decision =
            decide(&usual, &memory,
                   (struct policy_view){
                       .memory = steps[i].memory, .leaving = steps[i].leaving, .evictable = 500});
        assert_int_equal(decision.evict_bytes, steps[i].evict);
        assert_int_equal(decision.run, POLICY_AS_IT_IS);
        assert_false(decision.is_unmanaged_high);
    }
}

/* Without a target spilling goes on to its own threshold; without that, memory does not spill, but values over
 * the target still do as they are put; without both nothing does. */
static void test_thresholds_off(void **state)
{
    (void)state;
    struct policy_settings settings = usual;
    settings.target = POLICY_OFF;
    uint64_t target = 1;
    assert_true(policy_spills(&settings, &target));
    assert_int_equal(target, 0);
    struct policy_state memory = {0};
    struct policy_view high = {.memory = 900, .evictable = 900};
    assert_int_equal(decide(&settings, &memory, high).evict_bytes, 200);

    settings = usual;
    settings.spill = POLICY_OFF;
    assert_true(policy_spills(&settings, &target));
    assert_int_equal(target, 600);
    assert_int_equal(decide(&settings, &memory, high).evict_bytes, 0);

    settings.target = POLICY_OFF;
    assert_false(policy_spills(&settings, &target));
    settings.pause = POLICY_OFF;
    settings.terminate = POLICY_OFF;
    struct policy_executor executor = {900, 0, false};
    high.memory = 5000;
    high.executors = &executor;
    high.executor_count = 1;
    struct policy_decision decision = decide(&settings, &memory, high);
    assert_int_equal(decision.run, POLICY_AS_IT_IS);
    assert_int_equal(decision.blame, POLICY_NOBODY);

    settings = usual;
    settings.limit = 0;
    assert_false(policy_spills(&settings, &target));
    decision = decide(&settings, &memory, high);
    assert_int_equal(decision.evict_bytes, 0);
    assert_int_equal(decision.run, POLICY_AS_IT_IS);
    assert_int_equal(decision.blame, POLICY_NOBODY);
}

/* Nothing is left that could be spilled: said, as it may be a leak. */
static void test_unmanaged(void **state)
{
    (void)state;
    struct policy_state memory = {0};
    struct policy_view view = {.memory = 710, .evictable = 1};
    assert_false(decide(&usual, &memory, view).is_unmanaged_high);
    view.evictable = 0;
    assert_true(decide(&usual, &memory, view).is_unmanaged_high);
    view.leaving = 10;
    assert_false(decide(&usual, &memory, view).is_unmanaged_high);
}

/* Paused above 80 %, resumed at 80 % or below: once each. */
static void test_pause(void **state)
{
    (void)state;
    struct policy_state memory = {0};
    struct policy_view view = {.memory = 800};
    assert_int_equal(decide(&usual, &memory, view).run, POLICY_AS_IT_IS);
    view.memory = 801;
    assert_int_equal(decide(&usual, &memory, view).run, POLICY_PAUSE);
    view.is_paused = true;
    assert_int_equal(decide(&usual, &memory, view).run, POLICY_AS_IT_IS);
    view.memory = 800;
    assert_int_equal(decide(&usual, &memory, view).run, POLICY_RESUME);
}

/* Above 95 % one executor is ended: the one that grew most, if that is enough; never a second one before the
 * first is gone; never one that has next to nothing. */
static void test_blame(void **state)
{
    (void)state;
    struct policy_state memory = {0};
    struct policy_executor executors[] = {
        {400, 390, false}, {200, 50, false}, {300, 280, false}, {20, 0, false}};
    struct policy_view view = {.memory = 950, .executors = executors, .executor_count = 4};
    assert_int_equal(decide(&usual, &memory, view).blame, POLICY_NOBODY);
    view.memory = 960;
    assert_int_equal(decide(&usual, &memory, view).blame, 1);
    view.memory = 1200; /* ending the one that grew would not be enough */
    assert_int_equal(decide(&usual, &memory, view).blame, 2);
    view.memory = 2000; /* none would: the largest */
    assert_int_equal(decide(&usual, &memory, view).blame, 0);
    executors[3].is_dying = true;
    assert_int_equal(decide(&usual, &memory, view).blame, POLICY_NOBODY);
    view.executors = (struct policy_executor[]){{49, 0, false}};
    view.executor_count = 1;
    assert_int_equal(decide(&usual, &memory, view).blame, POLICY_NOBODY);
}

/* As long as spilling may be enough it is waited for, at most ten intervals, and never above the limit. */
static void test_blame_waits_for_the_disk(void **state)
{
    (void)state;
    struct policy_state memory = {0};
    struct policy_executor executor = {900, 100, false};
    struct policy_view view = {
        .memory = 960, .leaving = 5, .evictable = 5, .executors = &executor, .executor_count = 1};
    assert_int_equal(decide(&usual, &memory, view).blame,
                     0); /* ten bytes: not more than the excess */
    view.evictable = 6;
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 10; i++) {
            assert_int_equal(decide(&usual, &memory, view).blame, POLICY_NOBODY);
        }
        assert_int_equal(decide(&usual, &memory, view).blame, 0);
        view.memory = 950; /* it was enough: the next time is another one */
        assert_int_equal(decide(&usual, &memory, view).blame, POLICY_NOBODY);
        view.memory = 960;
    }
    view.memory = 1001;
    view.evictable = 500;
    assert_int_equal(decide(&usual, &memory, view).blame, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spill_hysteresis),
        cmocka_unit_test(test_thresholds_off),
        cmocka_unit_test(test_unmanaged),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_blame),
        cmocka_unit_test(test_blame_waits_for_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
