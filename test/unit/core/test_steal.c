/* test_steal.c: work moves from loaded workers to idle ones, confirmed by the worker that gives. */
#include "support/story_replies.h"

#include "core/scheduler/internal.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/steal.h"

static void open_stealing(struct stage *stage)
{
    stage_prepare(stage);
    stage->config.work_stealing = true;
    stage->config.worker_saturation = INFINITY;
    stage_begin(stage);
}

/* "x0 x1 … x<count − 1>", each with the same suffix. */
static const char *many(struct stage *stage, const char *prefix, uint32_t count, const char *suffix)
{
    struct text text = {0};
    for (uint32_t i = 0; i < count; i++) {
        text_printf(&text, "%s%s-%u%s", i == 0 ? "" : " ", prefix, i, suffix);
    }
    text_add_char(&text, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&text));
    text_fini(&text);
    return (const char *)copy.data;
}

static void answer(struct stage *stage, worker_id victim, const char *key, const char *stimulus,
                   const char *state)
{
    struct event event = {
        .kind = EVENT_STEAL_RESPONSE,
        .stimulus = span_of_text(stimulus),
        .of.steal_response = {victim, stage_key(stage, key), span_of_text(state)}};
    stage_step(stage, &event);
}

/* The i-th steal request of the last step: its key and stimulus as texts; NULL: there are fewer. */
static const char *request_at(struct stage *stage, uint32_t index, const char **out_stimulus)
{
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        const struct action *action = &stage->step.actions[i];
        if (action->kind != ACTION_STEAL_REQUEST || index-- > 0) {
            continue;
        }
        struct span parts[2] = {action->of.steal_request.key, action->of.steal_request.stimulus};
        parts[0] = (struct span){parts[0].data + 1, parts[0].size - 1};
        char *texts[2];
        for (int j = 0; j < 2; j++) {
            texts[j] = arena_alloc(&stage->arena, parts[j].size + 1);
            memcpy(texts[j], parts[j].data, parts[j].size);
            texts[j][parts[j].size] = '\0';
        }
        *out_stimulus = texts[1];
        return texts[0];
    }
    return NULL;
}

/* Let `key` take `seconds`: its prefix is known then. */
static void measure(struct stage *stage, client_id client, worker_id worker, const char *key,
                    double seconds)
{
    stage_graph(stage, client, key, key);
    stage_finish_run(stage, worker, key, stage_view(stage, key).run_id, seconds, 8);
    stage_forget_transcript(stage);
}

/* Worker "a" has ten tasks of a second each: "x-0" runs, the others wait for another worker. */
static worker_id open_busy(struct stage *stage)
{
    open_stealing(stage);
    worker_id a = stage_worker(stage, "a", 1);
    client_id c = stage_client(stage, "c");
    measure(stage, c, a, "x-100", 1);
    stage_graph(stage, c, many(stage, "x", 10, ""), many(stage, "x", 10, ""));
    return a;
}

/* One worker has ten tasks of a second each, then a second worker comes: it is given half of them. */
static void test_new_worker(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_busy(&stage);
    assert_true(isinf(steal_next_tick(stage.s)));
    stage_forget_transcript(&stage);
    worker_id b = stage_worker(&stage, "b", 1);
    assert_true(steal_next_tick(stage.s) <= stage.time);
    stage_tick(&stage, 1);
    const char *stimulus;
    const char *key = request_at(&stage, 0, &stimulus);
    assert_string_equal(key, "x-0"); /* what was sent last is begun last */
    assert_string_equal(stimulus, "steal-0");
    assert_int_equal(stage.notices[NOTICE_STEAL], 1);
    stage_forget_transcript(&stage);
    answer(&stage, a, "x-0", "steal-0", "ready");
    stage_expect(&stage, "compute x-0@b\n");
    assert_int_equal(stage_view(&stage, "x-0").processing_on, b);
    uint64_t count[STEAL_LEVELS];
    double cost[STEAL_LEVELS];
    steal_totals(stage.s, count, cost);
    assert_true(count[0] >= 1);
    assert_true(cost[0] >= 1);
    stage_close(&stage);
}

/* Requests stop when the thief is no longer idle, and the occupancy in flight counts. */
static void test_balanced_in_flight(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_busy(&stage);
    stage_worker(&stage, "b", 1);
    stage_tick(&stage, 1);
    uint32_t requests = 0;
    const char *stimulus;
    while (request_at(&stage, requests, &stimulus) != NULL) {
        requests++;
    }
    const struct worker *victim = worker_at(stage.s, a);
    assert_true(requests >= 1 && requests <= 5);
    assert_int_equal(victim->steal_in_flight_tasks, -(int)requests);
    assert_true(victim->steal_in_flight_occupancy == -1.0 * requests);
    stage_tick(&stage, 5); /* nothing is answered: what is in flight is not asked for again */
    const char *key = request_at(&stage, 0, &stimulus);
    assert_true(key == NULL || strcmp(stimulus, "steal-0") != 0);
    steal_check(stage.s);
    stage_close(&stage);
}

/* The victim had begun, or had finished: it keeps the task; the request is over. */
static void test_rejected(void **state)
{
    (void)state;
    static const char *const states[] = {"executing", "memory", "long-running", "cancelled",
                                         "resumed"};
    for (int i = 0; i < 5; i++) {
        struct stage stage;
        worker_id a = open_busy(&stage);
        stage_worker(&stage, "b", 1);
        stage_tick(&stage, 1);
        stage_forget_transcript(&stage);
        answer(&stage, a, "x-0", "steal-0", states[i]);
        stage_expect(&stage, "");
        assert_int_equal(stage_view(&stage, "x-0").processing_on, a);
        answer(&stage, a, "x-0", "steal-0", "ready");
        stage_expect(&stage, "");
        assert_int_equal(stage_view(&stage, "x-0").processing_on, a);
        stage_close(&stage);
    }
}

/* The victim does not know the task (its answer crossed something): it is scheduled anew. */
static void test_undefined(void **state)
{
    (void)state;
    static const char *const states[] = {"", "released"};
    for (int i = 0; i < 2; i++) {
        struct stage stage;
        worker_id a = open_busy(&stage);
        stage_worker(&stage, "b", 1);
        stage_tick(&stage, 1);
        stage_forget_transcript(&stage);
        answer(&stage, a, "x-0", "steal-0", states[i]);
        stage_expect(&stage, "free a: x-0\ncompute x-0@b\n");
        stage_close(&stage);
    }
}

/* The thief left before the victim gave the task up: it is scheduled anew. */
static void test_thief_gone(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_busy(&stage);
    worker_id b = stage_worker(&stage, "b", 1);
    stage_tick(&stage, 1);
    stage_worker_lost(&stage, b, "test");
    stage_forget_transcript(&stage);
    answer(&stage, a, "x-0", "steal-0", "ready");
    stage_expect(&stage, "free a: x-0\ncompute x-0@a\n");
    assert_true(worker_at(stage.s, a)->steal_in_flight_tasks <= 0);
    stage_close(&stage);
}

/* The task's rules excluded the thief before the victim gave the task up: it is scheduled anew. */
static void test_thief_excluded(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_busy(&stage);
    stage_worker(&stage, "b", 1);
    stage_tick(&stage, 1);
    struct span where = SPAN("tcp://a:1");
    struct event event = {
        .kind = EVENT_SET_RESTRICTIONS,
        .of.set_restrictions = {.key = stage_key(&stage, "x-0"), .workers = {&where, 1}}};
    stage_step(&stage, &event);
    stage_forget_transcript(&stage);
    answer(&stage, a, "x-0", "steal-0", "ready");
    stage_expect(&stage, "free a: x-0\ncompute x-0@a\n");
    stage_close(&stage);
}

/* The victim left, or the task finished, while the request was on its way: the late answer is ignored. */
static void test_late_answers(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_busy(&stage);
    worker_id b = stage_worker(&stage, "b", 1);
    stage_tick(&stage, 1);
    stage_finish(&stage, a, "x-0");
    stage_forget_transcript(&stage);
    answer(&stage, a, "x-0", "steal-0", "memory");
    answer(&stage, a, "x-0", "steal-0", "ready");
    answer(&stage, a, "never-heard-of", "steal-0", "ready");
    answer(&stage, a, "x-1", "steal-77", "ready");
    stage_expect(&stage, "");
    stage_worker_lost(&stage, a, "test");
    stage_forget_transcript(&stage);
    answer(&stage, a, "x-1", "steal-1", "ready");
    stage_expect(&stage, "");
    assert_int_equal(worker_at(stage.s, b)->steal_in_flight_tasks, 0);
    assert_true(worker_at(stage.s, b)->steal_in_flight_occupancy == 0);
    stage_close(&stage);
}

/* A state that no worker knows: nothing breaks, the task stays where it is. */
static void test_unexpected_state(void **state)
{
    (void)state;
    struct stage stage;
    worker_id a = open_busy(&stage);
    stage_worker(&stage, "b", 1);
    stage_tick(&stage, 1);
    stage_forget_transcript(&stage);
    answer(&stage, a, "x-0", "steal-0", "on holiday");
    stage_expect(&stage, "");
    assert_int_equal(stage_view(&stage, "x-0").processing_on, a);
    stage_close(&stage);
}

/* Rules bind thieves, unless they are loose. */
static void test_restricted(void **state)
{
    (void)state;
    for (int loose = 0; loose < 2; loose++) {
        struct stage stage;
        open_stealing(&stage);
        worker_id a = stage_worker(&stage, "a", 1);
        client_id c = stage_client(&stage, "c");
        measure(&stage, c, a, "x-100", 1);
        struct span where = stage_key(&stage, "tcp://a:1");
        struct annotation_info annotations = {
            .workers = {&where, 1}, .has_workers = true, .allow_other_workers = loose == 1};
        stage_graph_with(&stage, c, many(&stage, "x", 10, ""), many(&stage, "x", 10, ""),
                         (struct graph_info){.annotations = &annotations, .annotation_count = 1});
        stage_worker(&stage, "b", 1);
        stage_tick(&stage, 1);
        const char *stimulus;
        assert_true((request_at(&stage, 0, &stimulus) != NULL) == (loose == 1));
        stage_close(&stage);
    }
}

/* Resources: only a worker that offers them may steal. */
static void test_resources(void **state)
{
    (void)state;
    for (int offers = 0; offers < 2; offers++) {
        struct stage stage;
        open_stealing(&stage);
        struct resource gpu = {SPAN("GPU"), 1};
        worker_id a = stage_worker_with(
            &stage, "a", (struct worker_info){.resources = &gpu, .resource_count = 1});
        client_id c = stage_client(&stage, "c");
        measure(&stage, c, a, "x-100", 1);
        struct annotation_info annotations = {.resources = &gpu, .resource_count = 1};
        stage_graph_with(&stage, c, many(&stage, "x", 10, ""), many(&stage, "x", 10, ""),
                         (struct graph_info){.annotations = &annotations, .annotation_count = 1});
        stage_worker_with(
            &stage, "b",
            (struct worker_info){.resources = &gpu, .resource_count = (uint32_t)offers});
        stage_tick(&stage, 1);
        const char *stimulus;
        assert_true((request_at(&stage, 0, &stimulus) != NULL) == (offers == 1));
        stage_close(&stage);
    }
}

/* Levels: without inputs 0; with inputs by the time to move them against the time to run. */
static void test_levels(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        int64_t nbytes;
        uint32_t level; /* 1 + level; 0: not stealable */
    } cases[] = {
        {1, 0, 1 + 3},            /* log2(0.1 / 1) + 6 = 2.68 */
        {0.1, 0, 1 + 6},          /* log2(1) + 6 */
        {10, 0, 1 + 1},           /* below 1 counts as 1 */
        {1, 100000000, 1 + 6},    /* log2(1.1) + 6 */
        {1, 25600000000, 1 + 14}, /* log2(256.1) + 6 */
        {1, 51200000000, 0},      /* level 15: too dear */
        {0.001, 8, 1 + 13},       /* log2(100) + 6 = 12.64 */
        {0.0001, 8, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stage stage;
        open_stealing(&stage);
        worker_id a = stage_worker(&stage, "a", 1);
        client_id c = stage_client(&stage, "c");
        measure(&stage, c, a, "x-100", cases[i].seconds);
        stage_graph(&stage, c, "r", "r");
        stage_finish_run(&stage, a, "r", stage_view(&stage, "r").run_id, 1, cases[i].nbytes);
        stage_graph(&stage, c, "x-1:r x-2", "x-1 x-2");
        const struct task *moved = task_find(stage.s, stage_key(&stage, "x-1"));
        assert_int_equal(moved->steal_level, cases[i].level);
        assert_int_equal(task_find(stage.s, stage_key(&stage, "x-2"))->steal_level, 1);
        stage_close(&stage);
    }
}

/* A duration was a guess: when the first task of the prefix is done, the others change levels. */
static void test_guessed_durations(void **state)
{
    (void)state;
    struct stage stage;
    open_stealing(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "r", "r");
    stage_finish(&stage, a, "r");
    stage_graph(&stage, c, "x-1:r x-2:r x-3:r", "x-1 x-2 x-3");
    const struct task *other = task_find(stage.s, stage_key(&stage, "x-2"));
    assert_int_equal(other->steal_level, 1 + 4); /* log2(0.1 / 0.5) + 6 */
    stage_finish_run(&stage, a, "x-1", stage_view(&stage, "x-1").run_id, 0.1, 8);
    assert_int_equal(other->steal_level, 1 + 6);
    stage_finish(&stage, a, "x-2");
    assert_int_equal(other->steal_level, 0);
    stage_close(&stage);
}

/* Tasks known to be fast are never stolen. */
static void test_fast_tasks(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    struct prefix_number fast = {SPAN("rechunk-split"), 1e-6};
    stage.config.default_task_durations = &fast;
    stage.config.default_task_duration_count = 1;
    stage_begin(&stage);
    stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "rechunk-split-1", "rechunk-split-1");
    assert_int_equal(task_find(stage.s, stage_key(&stage, "rechunk-split-1"))->steal_level, 0);
    stage_close(&stage);
}

/* A task that seceded is no longer listed. */
static void test_seceded(void **state)
{
    (void)state;
    struct stage stage;
    open_stealing(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x-1 x-2", "x-1 x-2");
    struct event event = {
        .kind = EVENT_LONG_RUNNING,
        .of.long_running = {a, stage_key(&stage, "x-1"), stage_view(&stage, "x-1").run_id, NAN}};
    stage_step(&stage, &event);
    assert_int_equal(task_find(stage.s, stage_key(&stage, "x-1"))->steal_level, 0);
    assert_int_equal(task_find(stage.s, stage_key(&stage, "x-2"))->steal_level, 1);
    stage_close(&stage);
}

/* Inputs that are dear to move stay, cheap ones go: levels are gone through from cheap to dear. */
static void test_cheap_first(void **state)
{
    (void)state;
    struct stage stage;
    open_stealing(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    measure(&stage, c, a, "x-100", 1);
    stage_graph(&stage, c, "big small", "big small");
    stage_finish_run(&stage, a, "big", stage_view(&stage, "big").run_id, 1, 400000000);
    stage_finish_run(&stage, a, "small", stage_view(&stage, "small").run_id, 1, 100);
    stage_graph(&stage, c, "x-0:big x-1:big x-2:small x-3:big x-4:big", "x-0 x-1 x-2 x-3 x-4");
    stage_worker(&stage, "b", 1);
    stage_tick(&stage, 1);
    const char *stimulus;
    assert_string_equal(request_at(&stage, 0, &stimulus), "x-2");
    stage_close(&stage);
}

/* Nothing to do: nobody idle, all idle, or off. The next tick is never. */
static void test_quiet(void **state)
{
    (void)state;
    struct stage stage;
    open_stealing(&stage);
    assert_true(isinf(steal_next_tick(stage.s)));
    stage_worker(&stage, "a", 1);
    stage_worker(&stage, "b", 1);
    assert_true(isinf(steal_next_tick(stage.s)));
    stage_close(&stage);
    stage_open(&stage); /* work_stealing false */
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    measure(&stage, c, a, "x-100", 1);
    stage_graph(&stage, c, many(&stage, "x", 10, ""), many(&stage, "x", 10, ""));
    stage_worker(&stage, "b", 1);
    assert_true(isinf(steal_next_tick(stage.s)));
    stage_tick(&stage, 1);
    const char *stimulus;
    assert_null(request_at(&stage, 0, &stimulus));
    stage_close(&stage);
}

/* Many saturated workers, one idle: stealing goes on until the thief has enough; all that is listed agrees. */
static void test_many_victims(void **state)
{
    (void)state;
    struct stage stage;
    open_stealing(&stage);
    client_id c = stage_client(&stage, "c");
    worker_id first = stage_worker(&stage, "w0", 1);
    measure(&stage, c, first, "x-100", 1);
    for (int i = 1; i < 25; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        stage_worker(&stage, name, 1);
    }
    for (int i = 0; i < 25; i++) {
        char name[16];
        char prefix[32];
        char address[32];
        snprintf(name, sizeof name, "w%d", i);
        snprintf(prefix, sizeof prefix, "x-%d", i);
        snprintf(address, sizeof address, "tcp://%s:1", name);
        struct span where = stage_key(&stage, address);
        struct annotation_info annotations = {
            .workers = {&where, 1}, .has_workers = true, .allow_other_workers = true};
        stage_graph_with(&stage, c, many(&stage, prefix, 4, ""), many(&stage, prefix, 4, ""),
                         (struct graph_info){.annotations = &annotations, .annotation_count = 1});
    }
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "z%d", i);
        stage_worker(&stage, name, 4);
    }
    uint32_t moved = 0;
    for (int round = 0; round < 10; round++) {
        stage_tick(&stage, 2);
        const char *keys[100];
        const char *stimuli[100];
        uint32_t count = 0;
        while (count < 100 && (keys[count] = request_at(&stage, count, &stimuli[count])) != NULL) {
            count++;
        }
        for (uint32_t i = 0; i < count; i++) {
            answer(&stage, stage_view(&stage, keys[i]).processing_on, keys[i], stimuli[i], "ready");
            moved++;
        }
    }
    assert_true(moved >= 20);
    for (uint32_t i = 0; i < stage.s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(stage.s, stage.s->workers_sorted.items[i]);
        assert_int_equal(worker->steal_in_flight_tasks, 0);
        assert_true(worker->steal_in_flight_occupancy == 0);
    }
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_worker),   cmocka_unit_test(test_balanced_in_flight),
        cmocka_unit_test(test_rejected),     cmocka_unit_test(test_undefined),
        cmocka_unit_test(test_thief_gone),   cmocka_unit_test(test_thief_excluded),
        cmocka_unit_test(test_late_answers), cmocka_unit_test(test_unexpected_state),
        cmocka_unit_test(test_restricted),   cmocka_unit_test(test_resources),
        cmocka_unit_test(test_levels),       cmocka_unit_test(test_guessed_durations),
        cmocka_unit_test(test_fast_tasks),   cmocka_unit_test(test_seceded),
        cmocka_unit_test(test_cheap_first),  cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_many_victims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
