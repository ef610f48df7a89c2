/* test_spans.c: spans and computations: what belongs to which, and what is left when tasks are forgotten. */
#include "support/story_replies.h"

#include "core/scheduler/computations.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/spans.h"

/* A graph whose tasks are annotated with a span; its names and ids are words from the root down. */
static void graph_in_span(struct stage *stage, client_id client, const char *words,
                          const char *wanted, struct annotation_info span)
{
    stage_graph_with(stage, client, words, wanted,
                     (struct graph_info){.annotations = &span, .annotation_count = 1});
}

static const struct group *group_of(struct stage *stage, const char *key)
{
    return task_find(stage->s, stage_key(stage, key))->group;
}

/* "a/b" */
static const char *name_of(struct stage *stage, const struct span_view *view)
{
    struct text out = {0};
    for (uint32_t i = 0; i < view->name.count; i++) {
        text_add_cstr(&out, i == 0 ? "" : "/");
        text_add(&out, view->name.items[i]);
    }
    text_add_char(&out, '\0');
    struct span copy = arena_copy(&stage->arena, text_span(&out));
    text_fini(&out);
    return (const char *)copy.data;
}

/* Without annotations: the default span, the same one while it is at work, then a new one. */
static void test_default_span(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x-1", "x-1");
    stage_graph(&stage, c, "y-1", "y-1");
    assert_int_equal(spans_count(stage.s), 1);
    struct span_view view;
    assert_true(spans_at(stage.s, 0, &view));
    assert_string_equal(name_of(&stage, &view), "default");
    assert_int_equal(view.id.size, 36);
    assert_true(view.id.data[8] == '-' && view.id.data[14] == '4');
    assert_true(span_equal(spans_id(group_of(&stage, "x-1")), view.id));
    assert_int_equal(view.parent_id.size, 0);
    assert_false(view.done);
    assert_true(view.start == 0 && view.stop == stage.time);
    assert_int_equal(view.state_counts[TASK_PROCESSING], 2);
    struct span_list names;
    struct span_list ids;
    assert_false(spans_annotation(group_of(&stage, "x-1"), &names, &ids));
    stage_finish(&stage, a, "x-1");
    stage_finish(&stage, a, "y-1");
    assert_true(spans_at(stage.s, 0, &view));
    assert_true(view.done);
    assert_true(view.duration == 1.0);
    assert_int_equal(view.nbytes_total, 16);
    assert_true(view.start > 0 && view.stop >= view.start && view.stop <= stage.time);
    stage_graph(&stage, c, "z-1", "z-1");
    assert_int_equal(spans_count(stage.s), 2);
    stage_graph(&stage, c, "x-1 x-2", "x-1 x-2"); /* the group has its span already */
    assert_int_equal(spans_count(stage.s), 2);
    struct span_view second;
    assert_true(spans_at(stage.s, 1, &second));
    assert_false(span_equal(second.id, view.id));
    assert_false(spans_at(stage.s, 2, &second));
    stage_close(&stage);
}

/* Annotated: a tree; parents count what is in their children. */
static void test_nested_spans(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id c = stage_client(&stage, "c");
    struct span names[] = {SPAN("outer"), SPAN("inner")};
    struct span ids[] = {SPAN("id-1"), SPAN("id-2")};
    graph_in_span(&stage, c, "x-1 y-1:x-1", "y-1",
                  (struct annotation_info){.span_name = {names, 2}, .span_ids = {ids, 2}});
    assert_int_equal(spans_count(stage.s), 2);
    struct span_view outer;
    struct span_view inner;
    assert_true(spans_at(stage.s, 0, &outer));
    assert_true(spans_at(stage.s, 1, &inner));
    assert_string_equal(name_of(&stage, &outer), "outer");
    assert_string_equal(name_of(&stage, &inner), "outer/inner");
    assert_true(span_equal(inner.parent_id, SPAN("id-1")));
    assert_true(span_equal(spans_id(group_of(&stage, "x-1")), SPAN("id-2")));
    struct span_list got_names;
    struct span_list got_ids;
    assert_true(spans_annotation(group_of(&stage, "y-1"), &got_names, &got_ids));
    assert_int_equal(got_names.count, 2);
    assert_true(span_equal(got_ids.items[0], SPAN("id-1")));
    graph_in_span(&stage, c, "z-1", "z-1",
                  (struct annotation_info){.span_name = {names, 1}, .span_ids = {ids, 1}});
    stage_finish(&stage, a, "x-1");
    stage_finish(&stage, a, "y-1");
    assert_true(spans_at(stage.s, 0, &outer));
    assert_true(spans_at(stage.s, 1, &inner));
    assert_false(outer.done);
    assert_true(inner.done);
    assert_int_equal(outer.state_counts[TASK_PROCESSING], 1);
    assert_int_equal(inner.state_counts[TASK_MEMORY], 1);
    stage_finish(&stage, a, "z-1");
    assert_true(spans_at(stage.s, 0, &outer));
    assert_true(outer.done);
    assert_true(outer.duration == 1.5);
    /* All forgotten: the numbers stay. */
    stage_release(&stage, "c", "y-1 z-1");
    assert_int_equal(view_task_count(stage.s), 0);
    assert_true(spans_at(stage.s, 0, &outer));
    assert_true(outer.done);
    assert_true(outer.duration == 1.5);
    assert_int_equal(outer.state_counts[TASK_FORGOTTEN], 3);
    assert_int_equal(outer.nbytes_total, 24);
    stage_close(&stage);
}

/* One group, two annotations: the first span keeps the group. */
static void test_group_collision(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    client_id c = stage_client(&stage, "c");
    struct span name = SPAN("first");
    struct span id = SPAN("id-1");
    graph_in_span(&stage, c, "x-1", "x-1",
                  (struct annotation_info){.span_name = {&name, 1}, .span_ids = {&id, 1}});
    struct span name_2 = SPAN("second");
    struct span id_2 = SPAN("id-2");
    graph_in_span(&stage, c, "x-1 y-1", "x-1 y-1",
                  (struct annotation_info){.span_name = {&name_2, 1}, .span_ids = {&id_2, 1}});
    assert_true(span_equal(spans_id(group_of(&stage, "x-1")), SPAN("id-1")));
    assert_true(span_equal(spans_id(group_of(&stage, "y-1")), SPAN("id-2")));
    stage_close(&stage);
}

/* Code and metadata of graphs are kept with their span; the same code once. Workers' metrics add up. */
static void test_span_content(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id c = stage_client(&stage, "c");
    struct blob *code = stage_blob("code");
    struct blob *metadata = stage_blob("collections");
    struct graph_info graph = {.code = code, .span_metadata = metadata};
    stage_graph_with(&stage, c, "x-1", "x-1", graph);
    stage_graph_with(&stage, c, "y-1", "y-1", graph);
    struct span_view view;
    assert_true(spans_at(stage.s, 0, &view));
    assert_int_equal(view.code_count, 1);
    assert_true(view.code[0] == code);
    assert_int_equal(view.metadata_count, 1);
    struct span spans[] = {view.id, view.id, SPAN("unknown"), view.id};
    struct resource metrics[] = {
        {SPAN("cpu"), 1.5}, {SPAN("disk"), 2}, {SPAN("cpu"), 9}, {SPAN("cpu"), 0.25}};
    struct event event = {.kind = EVENT_SPAN_METRICS,
                          .of.span_metrics = {a, {spans, 4}, {metrics, 4}}};
    stage_step(&stage, &event);
    assert_true(spans_at(stage.s, 0, &view));
    assert_int_equal(view.metric_count, 2);
    struct resource sum;
    assert_true(spans_metric_at(stage.s, 0, 0, &sum));
    assert_true(span_equal(sum.name, SPAN("cpu")) && sum.amount == 1.75);
    assert_true(spans_metric_at(stage.s, 0, 1, &sum));
    assert_true(sum.amount == 2);
    assert_false(spans_metric_at(stage.s, 0, 2, &sum));
    blob_unref(code);
    blob_unref(metadata);
    stage_close(&stage);
}

/* Very many spans: those that are over are dropped, oldest first; the tree stays whole. */
static void test_old_spans(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.check = false;
    stage_begin(&stage);
    client_id c = stage_client(&stage, "c");
    struct span names[] = {SPAN("outer"), SPAN("inner")};
    for (int i = 0; i < 12000; i++) {
        char id[32];
        snprintf(id, sizeof id, "id-%d", i);
        struct span ids[] = {SPAN("outer-id"), span_of_text(id)};
        graph_in_span(&stage, c, "x", "x",
                      (struct annotation_info){.span_name = {names, 2}, .span_ids = {ids, 2}});
        stage_release(&stage, "c", "x");
        arena_reset(&stage.arena);
    }
    uint32_t count = spans_count(stage.s);
    assert_true(count > 5000 && count <= 10001);
    struct span_view view;
    assert_true(spans_at(stage.s, 0, &view));
    assert_true(span_equal(view.id, SPAN("outer-id")));
    assert_true(view.done);
    assert_true(spans_at(stage.s, count - 1, &view));
    assert_true(span_equal(view.id, SPAN("id-11999")));
    stage_close(&stage);
}

/* ---- computations ---- */

/* While work is unfinished graphs belong to the same computation; the next one begins a new one. */
static void test_computations(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.computations_max = 2;
    stage_begin(&stage);
    worker_id a = stage_worker(&stage, "a", 4);
    client_id c = stage_client(&stage, "c");
    struct blob *code = stage_blob("code");
    stage_graph_with(&stage, c, "x-1", "x-1", (struct graph_info){.code = code});
    stage_graph_with(&stage, c, "y-1 x-2", "y-1 x-2", (struct graph_info){.code = code});
    assert_int_equal(computations_count(stage.s), 1);
    struct computation_view view;
    assert_true(computations_at(stage.s, 0, &view));
    assert_int_equal(view.id.size, 36);
    assert_int_equal(view.code_count, 1);
    assert_int_equal(view.group_count, 2);
    assert_int_equal(view.state_counts[TASK_PROCESSING], 3);
    stage_finish(&stage, a, "x-1");
    stage_finish(&stage, a, "x-2");
    stage_finish(&stage, a, "y-1");
    assert_true(computations_at(stage.s, 0, &view));
    assert_int_equal(view.state_counts[TASK_MEMORY], 3);
    assert_true(view.stop > view.start && view.stop <= stage.time);
    stage_release(&stage, "c", "x-1 x-2 y-1");
    assert_true(computations_at(stage.s, 0, &view));
    assert_int_equal(view.state_counts[TASK_FORGOTTEN], 3);
    for (int i = 0; i < 2; i++) {
        stage_graph(&stage, c, "z-1", "z-1");
        stage_finish(&stage, a, "z-1");
        stage_release(&stage, "c", "z-1");
    }
    assert_int_equal(computations_count(stage.s), 2);
    assert_true(computations_at(stage.s, 0, &view));
    assert_int_equal(view.code_count, 0);
    assert_false(computations_at(stage.s, 2, &view));
    blob_unref(code);
    stage_close(&stage);
}

/* A group belongs to the computation whose graph made it, also if later graphs depend on it or add to it. */
static void test_computation_of_group(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    worker_id a = stage_worker(&stage, "a", 1);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "x-1", "x-1");
    stage_finish(&stage, a, "x-1");
    stage_graph(&stage, c, "x-2 y-1:x-1", "x-2 y-1");
    struct computation_view view;
    assert_true(computations_at(stage.s, 1, &view));
    assert_int_equal(view.group_count, 1);
    assert_int_equal(view.state_counts[TASK_PROCESSING], 1);
    assert_true(computations_at(stage.s, 0, &view));
    assert_int_equal(view.group_count, 1);
    assert_int_equal(view.state_counts[TASK_MEMORY], 1);
    stage_close(&stage);
}

/* A computation that never ends does not hold on to all its groups. */
static void test_long_computation(void **state)
{
    (void)state;
    struct stage stage;
    stage_prepare(&stage);
    stage.config.check = false;
    stage_begin(&stage);
    client_id c = stage_client(&stage, "c");
    stage_graph(&stage, c, "holds-it-open", "holds-it-open");
    for (int i = 0; i < 2000; i++) {
        char key[32];
        snprintf(key, sizeof key, "('g%d', 1)", i);
        stage_graph(&stage, c, key, "");
        snprintf(key, sizeof key, "group%cx%d", 'a' + i % 26, i);
        stage_graph(&stage, c, key, key);
        stage_release(&stage, "c", key);
        arena_reset(&stage.arena);
    }
    assert_int_equal(computations_count(stage.s), 1);
    struct computation_view view;
    assert_true(computations_at(stage.s, 0, &view));
    assert_true(view.group_count < 600);
    assert_true(view.state_counts[TASK_FORGOTTEN] >= 2000);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_span),
        cmocka_unit_test(test_nested_spans),
        cmocka_unit_test(test_group_collision),
        cmocka_unit_test(test_span_content),
        cmocka_unit_test(test_old_spans),
        cmocka_unit_test(test_computations),
        cmocka_unit_test(test_computation_of_group),
        cmocka_unit_test(test_long_computation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
