/* test_shuffle.c: P2P shuffles: which worker gets which partition, when runs begin and end, and what happens
 * when a participant is lost. */
#include "support/story_replies.h"

#include "core/scheduler/internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/shuffle.h"

struct cluster {
    struct stage stage;
    worker_id a, b;
    client_id client;
};

static void open_cluster(struct cluster *cluster)
{
    stage_open(&cluster->stage);
    cluster->a = stage_worker(&cluster->stage, "a", 4);
    cluster->b = stage_worker(&cluster->stage, "b", 4);
    cluster->client = stage_client(&cluster->stage, "client");
}

/* A shuffle "s<id>": two transfer tasks, a barrier, `parts` output tasks: "t0<id> t1<id> shuffle-barrier-s<id>
 * o0<id> …". Partitions are 0, 1, …; `with`: another shuffle whose barrier the output tasks need as well. */
static void submit(struct cluster *cluster, const char *id, uint32_t parts, const char *with,
                   const struct shuffle_info *spec)
{
    struct stage *stage = &cluster->stage;
    struct text words = {0};
    struct text wanted = {0};
    text_printf(&words, "t-0%s t-1%s shuffle-barrier-s%s:t-0%s,t-1%s", id, id, id, id, id);
    for (uint32_t i = 0; i < parts; i++) {
        text_printf(&words, " o-%u%s:shuffle-barrier-s%s", i, id, id);
        if (with != NULL) {
            text_printf(&words, ",shuffle-barrier-s%s", with);
        }
        text_printf(&wanted, "%so-%u%s", i == 0 ? "" : " ", i, id);
    }
    struct text name = {0};
    text_printf(&name, "s%s", id);
    struct span *part_names = arena_array(&stage->arena, struct span, parts);
    for (uint32_t i = 0; i < parts; i++) {
        uint8_t byte = (uint8_t)i;
        part_names[i] = arena_copy(&stage->arena, span_of(&byte, 1));
    }
    struct shuffle_info info = *spec;
    info.task = 2;
    info.id = text_span(&name);
    info.spec = SPAN("pickled spec");
    info.parts = (struct span_list){part_names, parts};
    stage_graph_with(stage, cluster->client, text_cstr(&words), text_cstr(&wanted),
                     (struct graph_info){.shuffles = &info, .shuffle_count = 1});
    text_fini(&words);
    text_fini(&wanted);
    text_fini(&name);
}

static void submit_dataframe(struct cluster *cluster, const char *id, uint32_t parts)
{
    submit(cluster, id, parts, NULL, &(struct shuffle_info){.npartitions = parts});
}

static void get(struct stage *stage, uint64_t request, const char *id, worker_id worker)
{
    struct event event = {
        .kind = EVENT_SHUFFLE_GET,
        .of.shuffle_get = {.request = request, .id = span_of_text(id), .worker = worker}};
    stage_step_now(stage, &event);
}

static void get_or_create(struct stage *stage, uint64_t request, const char *id, const char *key,
                          worker_id worker)
{
    struct event event = {
        .kind = EVENT_SHUFFLE_GET,
        .of.shuffle_get = {request, span_of_text(id), stage_key(stage, key), worker, true}};
    stage_step_now(stage, &event);
}

static void barrier(struct stage *stage, uint64_t request, const char *id, int64_t run_id,
                    bool consistent)
{
    struct event event = {.kind = EVENT_SHUFFLE_BARRIER,
                          .of.shuffle_barrier = {request, span_of_text(id), run_id, consistent}};
    stage_step_now(stage, &event);
}

/* Of "s1". */
static void restrict_task(struct stage *stage, uint64_t request, int64_t run_id, const char *key,
                          worker_id worker)
{
    struct event event = {
        .kind = EVENT_SHUFFLE_RESTRICT,
        .of.shuffle_restrict = {request, SPAN("s1"), run_id, stage_key(stage, key), worker}};
    stage_step_now(stage, &event);
}

/* "done 1: ab" | "fail a run 1: message" lines of the last step. */
static const char *shuffle_actions(struct stage *stage)
{
    struct text out = {0};
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        const struct action *action = &stage->step.actions[i];
        struct worker_view view;
        if (action->kind == ACTION_SHUFFLE_DONE) {
            text_printf(&out, "done %llu: ", (unsigned long long)action->of.shuffle_done.request);
            for (uint32_t j = 0; j < action->of.shuffle_done.participants.count; j++) {
                assert_true(
                    view_worker(stage->s, action->of.shuffle_done.participants.items[j], &view));
                replies_add_key(&out, view.name);
            }
            text_add_char(&out, '\n');
        } else if (action->kind == ACTION_SHUFFLE_FAIL) {
            assert_true(view_worker(stage->s, action->of.shuffle_fail.worker, &view));
            text_add_cstr(&out, "fail ");
            replies_add_key(&out, view.name);
            text_printf(&out, " run %lld: ", (long long)action->of.shuffle_fail.run_id);
            text_add(&out, action->of.shuffle_fail.message);
            text_add_char(&out, '\n');
        }
    }
    struct span copy =
        arena_copy(&stage->arena, (struct span){(const uint8_t *)text_cstr(&out), out.size + 1});
    text_fini(&out);
    return (const char *)copy.data;
}

/* In the last step, workers were told of the run's end, and then sent tasks. */
static bool fails_before_computing(const struct stage *stage)
{
    uint32_t fails = 0, computes = 0, late = 0;
    for (uint32_t i = 0; i < stage->step.action_count; i++) {
        enum action_kind kind = stage->step.actions[i].kind;
        computes += kind == ACTION_COMPUTE;
        fails += kind == ACTION_SHUFFLE_FAIL;
        late += kind == ACTION_SHUFFLE_FAIL && computes > 0;
    }
    return fails > 0 && computes > 0 && late == 0;
}

/* The life of a shuffle: begun by a transfer task, told to all at the barrier, over when the barrier goes. */
static void test_life(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 4);
    get(stage, 1, "s1", x.a);
    expect_replies(stage, "1: P2PConsistencyError(No active shuffle with id='s1' found)\n");
    assert_false(shuffles_participates(stage->s, x.a));
    get_or_create(stage, 2, "s1", "t-01", x.a);
    expect_replies(stage, "2: run 1: a a b b\n");
    assert_true(shuffles_participates(stage->s, x.a));
    get_or_create(stage, 3, "s1", "t-11", x.b);
    expect_replies(stage, "3: run 1: a a b b\n");
    get(stage, 4, "s1", x.b);
    expect_replies(stage, "4: run 1: a a b b\n");
    assert_false(stage_view(stage, "o-01").queueable);
    stage_finish(stage, stage_view(stage, "t-01").processing_on, "t-01");
    stage_finish(stage, stage_view(stage, "t-11").processing_on, "t-11");
    barrier(stage, 5, "s1", 1, true);
    expect_replies(stage, "");
    assert_string_equal(shuffle_actions(stage), "done 5: ab\n");
    stage_finish(stage, stage_view(stage, "shuffle-barrier-s1").processing_on,
                 "shuffle-barrier-s1");
    assert_string_equal(shuffle_actions(stage), "");
    const char *outputs[] = {"o-01", "o-11", "o-21", "o-31"};
    for (int i = 0; i < 4; i++) {
        assert_true(shuffles_participates(stage->s, x.b));
        stage_finish(stage, stage_view(stage, outputs[i]).processing_on, outputs[i]);
    }
    assert_string_equal(shuffle_actions(stage),
                        "fail a run 1: SchedulerShuffleState<s1[1]> forgotten\n"
                        "fail b run 1: SchedulerShuffleState<s1[1]> forgotten\n");
    assert_false(shuffles_participates(stage->s, x.b));
    stage_release(stage, "client", "o-01 o-11 o-21 o-31");
    assert_int_equal(view_task_count(stage->s), 0);
    get_or_create(stage, 6, "s1", "t-01", x.a);
    expect_replies(
        stage,
        "6: P2PConsistencyError(Barrier task with key 'shuffle-barrier-s1' does not exist. This "
        "may "
        "be caused by task fusion during graph generation. Please let us know that you ran into "
        "this by leaving a comment at distributed#7816.)\n");
    submit_dataframe(&x, "1", 4); /* the same one again: workers take turns in being the first */
    get_or_create(stage, 7, "s1", "t-01", x.a);
    expect_replies(stage, "7: run 2: b b a a\n");
    stage_close(stage);
}

/* A barrier runs again, in another run of the shuffle: what was transferred in the last one is lost with it. */
static void test_rescheduled_barrier_transfers_again(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 4);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    expect_replies(stage, "1: run 1: a a b b\n");
    stage_finish(stage, stage_view(stage, "t-01").processing_on, "t-01");
    stage_finish(stage, stage_view(stage, "t-11").processing_on, "t-11");
    struct event event = {.kind = EVENT_RESCHEDULE,
                          .of.reschedule = {WORKER_NONE, stage_key(stage, "shuffle-barrier-s1")}};
    stage_step(stage, &event);
    assert_string_equal(stage_state(stage, "shuffle-barrier-s1"), "waiting");
    assert_string_equal(stage_state(stage, "t-01"), "processing");
    assert_string_equal(stage_state(stage, "t-11"), "processing");
    assert_false(shuffles_participates(stage->s, x.a));
    stage_close(stage);
}

/* What a task that is not at work, a stale run or an unknown shuffle are told. */
static void test_mistakes(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 4);
    get_or_create(stage, 1, "s1", "o-01", x.a);
    expect_replies(
        stage, "1: P2PConsistencyError(Expected <TaskState 'o-01' waiting> to be processing, is "
               "waiting.)\n");
    get_or_create(stage, 2, "s1", "never", x.a);
    expect_replies(stage, "2: KeyError(never)\n");
    barrier(stage, 3, "s1", 1, true);
    expect_replies(stage, "3: KeyError(s1)\n");
    get_or_create(stage, 4, "s1", "t-01", x.a);
    barrier(stage, 5, "s1", 7, true);
    expect_replies(stage, "5: ValueError(run_id=7 does not match SchedulerShuffleState<s1[1]>)\n");
    restrict_task(stage, 6, 0, "o-01", x.a);
    expect_replies(stage, "6: P2PConsistencyError(Request stale, expected run_id=0 for "
                          "SchedulerShuffleState<s1[1]>)\n");
    restrict_task(stage, 7, 2, "o-01", x.a);
    expect_replies(stage, "7: P2PConsistencyError(Request invalid, expected run_id=2 for "
                          "SchedulerShuffleState<s1[1]>)\n");
    restrict_task(stage, 8, 1, "never", x.a);
    expect_replies(stage, "8: KeyError(never)\n");
    get_or_create(stage, 9, "s1", "t-01", 77);
    expect_replies(stage, "9: P2PConsistencyError(Scheduler is unaware of this worker)\n");
    stage_close(stage);
}

/* Output tasks are bound to their worker, and freed when the run ends. */
static void test_restrict(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 2);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    restrict_task(stage, 2, 1, "o-01", x.b);
    expect_replies(stage, "2: OK\n");
    assert_int_equal(stage_view(stage, "o-01").worker_restrictions.count, 1);
    assert_true(
        span_equal(stage_view(stage, "o-01").worker_restrictions.items[0], SPAN("tcp://b:1")));
    restrict_task(stage, 3, 1, "o-01", x.a); /* the first word counts */
    expect_replies(stage, "3: OK\n");
    assert_true(
        span_equal(stage_view(stage, "o-01").worker_restrictions.items[0], SPAN("tcp://b:1")));
    stage_worker_lost(stage, x.b, "test");
    assert_int_equal(stage_view(stage, "o-01").worker_restrictions.count, 0);
    stage_close(stage);
}

/* A participant is lost: the others are told, and everything runs again with a new run id. */
static void test_participant_lost(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 2);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    get_or_create(stage, 2, "s1", "t-11", x.b);
    worker_id first = stage_view(stage, "t-01").processing_on;
    stage_finish(stage, first, "t-01");
    stage_forget_transcript(stage);
    worker_id lost = first == x.a ? x.b : x.a;
    stage_worker_lost(stage, lost, "test");
    char expected[128];
    snprintf(expected, sizeof expected,
             "fail %s run 1: Worker tcp://%s:1 left during active SchedulerShuffleState<s1[1]>\n",
             first == x.a ? "a" : "b", first == x.a ? "b" : "a");
    assert_string_equal(shuffle_actions(stage), expected);
    assert_string_equal(stage_state(stage, "t-01"), "processing");
    assert_string_equal(stage_state(stage, "t-11"), "processing");
    assert_false(shuffles_participates(stage->s, first));
    get_or_create(stage, 3, "s1", "t-01", first);
    expect_replies(stage, first == x.a ? "3: run 2: a a\n" : "3: run 2: b b\n");
    stage_close(stage);
}

/* A worker that takes no part is lost: nothing happens to the shuffle. */
static void test_bystander_lost(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 2);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    worker_id c = stage_worker(stage, "c", 1);
    assert_false(shuffles_participates(stage->s, c));
    stage_worker_lost(stage, c, "test");
    assert_string_equal(shuffle_actions(stage), "");
    assert_true(shuffles_participates(stage->s, x.a));
    stage_close(stage);
}

/* The barrier found that inputs ran twice: all runs again, and no transfer joins the run that has ended. */
static void test_inconsistent(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 2);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    stage_finish(stage, stage_view(stage, "t-01").processing_on, "t-01");
    stage_finish(stage, stage_view(stage, "t-11").processing_on, "t-11");
    barrier(stage, 2, "s1", 1, false);
    expect_replies(stage, "2: nil\n");
    assert_string_equal(shuffle_actions(stage),
                        "fail a run 1: SchedulerShuffleState<s1[1]> forgotten\n"
                        "fail b run 1: SchedulerShuffleState<s1[1]> forgotten\n");
    assert_true(fails_before_computing(stage));
    assert_string_equal(stage_state(stage, "t-01"), "processing");
    assert_string_equal(stage_state(stage, "shuffle-barrier-s1"), "waiting");
    assert_false(shuffles_participates(stage->s, x.a));
    stage_close(stage);
}

/* A transfer task fails for good: the run ends, nothing restarts, and the event is told once. */
static void test_erred(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 2);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    stage_erred(stage, stage_view(stage, "t-01").processing_on, "t-01");
    assert_string_equal(stage_state(stage, "o-01"), "erred");
    assert_int_equal(stage->notices[NOTICE_SHUFFLE], 1);
    assert_false(shuffles_participates(stage->s, x.a));
    stage_worker_lost(stage, x.b, "test");
    assert_string_equal(stage_state(stage, "o-01"), "erred");
    stage_close(stage);
}

/* Two shuffles whose output tasks are the same (a join) put the same partition on the same worker. */
static void test_shared_outputs(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 4);
    submit(&x, "2", 4, "1", &(struct shuffle_info){.npartitions = 4});
    get_or_create(stage, 1, "s1", "t-01", x.a);
    expect_replies(stage, "1: run 1: a a b b\n");
    get_or_create(stage, 2, "s2", "t-02", x.a); /* alone it would be b b a a */
    expect_replies(stage, "2: run 2: a a b b\n");
    stage_close(stage);
}

/* Arrays: partitions are chunk coordinates; stock's formula spreads them by the first axis. */
static void test_array(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    uint32_t lengths[] = {2, 3};
    submit(&x, "1", 6, NULL,
           &(struct shuffle_info){.is_array = true, .axis_lengths = lengths, .axis_count = 2});
    get_or_create(stage, 1, "s1", "t-01", x.a);
    /* ix = p0 + 2·p1 for (0,0) (0,1) (0,2) (1,0) (1,1) (1,2): 0 2 4 1 3 5; worker 2·ix // 6 */
    expect_replies(stage, "1: run 1: a a b a b b\n");
    stage_close(stage);
}

/* The barrier is restricted: partitions go to those workers only. */
static void test_restricted_barrier(void **state)
{
    (void)state;
    struct cluster x;
    open_cluster(&x);
    struct stage *stage = &x.stage;
    submit_dataframe(&x, "1", 2);
    struct span where = SPAN("tcp://b:1");
    struct event event = {
        .kind = EVENT_SET_RESTRICTIONS,
        .of.set_restrictions = {stage_key(stage, "shuffle-barrier-s1"), {&where, 1}}};
    stage_step(stage, &event);
    get_or_create(stage, 1, "s1", "t-01", x.a);
    expect_replies(stage, "1: run 1: b b\n");
    assert_true(shuffles_participates(stage->s, x.a)); /* it asked */
    stage_close(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_rescheduled_barrier_transfers_again),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_restrict),
        cmocka_unit_test(test_participant_lost),
        cmocka_unit_test(test_bystander_lost),
        cmocka_unit_test(test_inconsistent),
        cmocka_unit_test(test_erred),
        cmocka_unit_test(test_shared_outputs),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_restricted_barrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
