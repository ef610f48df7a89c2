/* A flat graph arrives in parts; what is not as docs/planner.md says is refused, never believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "node/planner_graph.h"
#include "wire/msgpack.h"

/* One message: its head, then arrays from frame 1 on. */
struct part {
    struct frames frames;
    struct text head;
};

static void part_begin(struct part *part, uint32_t pairs)
{
    memset(part, 0, sizeof *part);
    msgpack_write_map(&part->head, pairs + 1);
    msgpack_write_cstr(&part->head, "arrays_at");
    msgpack_write_int(&part->head, 1);
    frames_add(&part->frames, (struct slice){0}); /* the head, at the end */
}

static void part_int(struct part *part, const char *name, int64_t value)
{
    msgpack_write_cstr(&part->head, name);
    msgpack_write_int(&part->head, value);
}

static void part_bytes(struct part *part, struct span bytes)
{
    frames_add(&part->frames, slice_copy(bytes));
}

static void part_numbers(struct part *part, uint32_t count, const uint32_t *numbers)
{
    part_bytes(part, span_of(numbers, count * sizeof *numbers));
}

static const struct frames *part_end(struct part *part)
{
    part->frames.items[0] = slice_copy(text_span(&part->head));
    return &part->frames;
}

static void part_fini(struct part *part)
{
    frames_fini(&part->frames);
    text_fini(&part->head);
}

#define NUMBERS(...)                                                                               \
    sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[])                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* Two tasks: "a" without dependencies; "b" of "a" and of "x", which is not in the graph. They
 * share one buffer, and "b" has the annotation set 1. */
static void two_tasks(struct part *part)
{
    part_begin(part, 2);
    part_int(part, "first", 0);
    part_int(part, "count", 2);
    part_numbers(part, NUMBERS(2, 2));
    part_bytes(part, SPAN("\xa1"
                          "a\xa1"
                          "b"));
    part_numbers(part, NUMBERS(0, 2));
    part_numbers(part, NUMBERS(0, 2));
    part_numbers(part, NUMBERS(3, 4));
    part_bytes(part, SPAN("AAABBBB"));
    part_bytes(part, SPAN("\x01\x04"));
    part_numbers(part, NUMBERS(0, 1));
    part_numbers(part, NUMBERS(1, 2));
    part_numbers(part, NUMBERS(0, 0, 1));
    part_bytes(part, SPAN("shared"));
    part_bytes(part, SPAN("own"));
}

static void write_shuffle(struct text *out, int64_t task)
{
    msgpack_write_map(out, 6);
    msgpack_write_cstr(out, "task");
    msgpack_write_int(out, task);
    msgpack_write_cstr(out, "id");
    msgpack_write_cstr(out, "s-1");
    msgpack_write_cstr(out, "spec");
    msgpack_write_bin(out, SPAN("spec"));
    msgpack_write_cstr(out, "is_array");
    msgpack_write_bool(out, true);
    msgpack_write_cstr(out, "parts");
    msgpack_write_array(out, 2);
    msgpack_write_bin(out, SPAN("\x91\x00"));
    msgpack_write_bin(out, SPAN("\x91\x01"));
    msgpack_write_cstr(out, "axis_lengths");
    msgpack_write_array(out, 1);
    msgpack_write_int(out, 2);
}

static void closing(struct part *part, int64_t task_count, int64_t key_count, int64_t shuffle_task)
{
    part_begin(part, 5);
    part_int(part, "task_count", task_count);
    part_int(part, "key_count", key_count);
    msgpack_write_cstr(&part->head, "cull");
    msgpack_write_bool(&part->head, true);
    msgpack_write_cstr(&part->head, "annotation_frames");
    msgpack_write_array(&part->head, 1);
    msgpack_write_int(&part->head, 2);
    msgpack_write_cstr(&part->head, "shuffles");
    msgpack_write_array(&part->head, 1);
    write_shuffle(&part->head, shuffle_task);
    part_numbers(part, NUMBERS(2));
    part_bytes(part, SPAN("\xa1x"));
    part_bytes(part, SPAN("\x80"));
    part_bytes(part, SPAN("frame of the set"));
}

/* A part and the end: every array of the flat graph. */
static void test_whole_graph(void **state)
{
    (void)state;
    struct planner_graph_reader reader;
    struct part part, end;
    planner_graph_init(&reader);
    two_tasks(&part);
    closing(&end, 2, 3, 1);
    assert_int_equal(planner_graph_add(&reader, part_end(&part)), OK);
    part_fini(&part);
    assert_int_equal(planner_graph_finish(&reader, part_end(&end)), OK);
    part_fini(&end);

    const struct flat_graph *graph = &reader.graph;
    assert_int_equal(graph->task_count, 2);
    assert_int_equal(graph->key_count, 3);
    assert_true(span_equal(graph->keys[1], SPAN("\xa1"
                                                "b")));
    assert_true(span_equal(graph->keys[2], SPAN("\xa1x")));
    assert_int_equal(graph->dep_start[1], 0);
    assert_int_equal(graph->dep_start[2], 2);
    assert_int_equal(graph->deps[1], 2);
    assert_int_equal(graph->flags[0], FLAT_DATA_PRODUCER);
    assert_int_equal(graph->annotation_of[1], 1);
    assert_int_equal(graph->annotation_set_count, 1);
    assert_true(
        span_equal(slice_span(graph->annotation_sets[0]->frames[0]), SPAN("frame of the set")));
    assert_true(graph->cull);
    assert_int_equal(graph->run_specs[0]->frame_count, 2);
    assert_true(span_equal(slice_span(graph->run_specs[0]->frames[0]), SPAN("AAA")));
    assert_true(
        span_equal(slice_span(graph->run_specs[1]->value), SPAN("\x81\xab__Pickled__\x01")));
    assert_ptr_equal(graph->run_specs[0]->frames[1].data, graph->run_specs[1]->frames[1].data);
    assert_true(span_equal(slice_span(graph->run_specs[1]->frames[2]), SPAN("own")));
    assert_int_equal(graph->shuffle_count, 1);
    assert_true(span_equal(graph->shuffles[0].id, SPAN("s-1")));
    assert_true(span_equal(graph->shuffles[0].parts[1], SPAN("\x91\x01")));
    assert_int_equal(graph->shuffles[0].axis_lengths[0], 2);
    planner_graph_fini(&reader);
}

/* Any one array of a part cut short by a byte, or longer by one. */
static void test_each_array_damaged(void **state)
{
    (void)state;
    for (uint32_t array = 1; array <= 10; array++) {
        for (int change = -1; change <= 1; change += 2) {
            struct planner_graph_reader reader;
            struct part part;
            planner_graph_init(&reader);
            two_tasks(&part);
            struct span whole = slice_span(part.frames.items[array]);
            uint8_t bytes[64] = {0};
            memcpy(bytes, whole.data, whole.size);
            slice_fini(&part.frames.items[array]);
            part.frames.items[array] = slice_copy(span_of(bytes, whole.size + (size_t)change));
            assert_int_equal(planner_graph_add(&reader, part_end(&part)), ERR_MALFORMED);
            part_fini(&part);
            planner_graph_fini(&reader);
        }
    }
}

/* Arrays of the right size that hold numbers which point nowhere. */
static void test_numbers_out_of_range(void **state)
{
    (void)state;
    static const struct {
        uint32_t array;
        uint32_t index;
        uint32_t value;
    } wrongs[] = {
        {1, 0, 0xffffffff}, /* a key longer than all */
        {3, 0, 0xffffffff}, /* more dependencies than there are */
        {4, 1, 0},          /* the same dependency twice */
        {5, 1, 0xfffffff0}, /* a run_spec longer than all */
        {9, 0, 0xffffffff}, /* more buffers than there are */
        {10, 2, 2},         /* an unknown buffer */
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        struct planner_graph_reader reader;
        struct part part;
        planner_graph_init(&reader);
        two_tasks(&part);
        struct slice *frame = &part.frames.items[wrongs[i].array];
        uint32_t numbers[4];
        size_t size = frame->size;
        memcpy(numbers, frame->data, size);
        numbers[wrongs[i].index] = wrongs[i].value;
        slice_fini(frame);
        *frame = slice_copy(span_of(numbers, size));
        assert_int_equal(planner_graph_add(&reader, part_end(&part)), ERR_MALFORMED);
        part_fini(&part);
        planner_graph_fini(&reader);
    }
}

static int finish_with(int64_t task_count, int64_t key_count, int64_t shuffle_task)
{
    struct planner_graph_reader reader;
    struct part part, end;
    planner_graph_init(&reader);
    two_tasks(&part);
    closing(&end, task_count, key_count, shuffle_task);
    int code = planner_graph_add(&reader, part_end(&part));
    assert_int_equal(code, OK);
    code = planner_graph_finish(&reader, part_end(&end));
    part_fini(&part);
    part_fini(&end);
    planner_graph_fini(&reader);
    return code;
}

/* The end contradicts the parts. */
static void test_end_that_does_not_fit(void **state)
{
    (void)state;
    assert_int_equal(finish_with(2, 3, 0), OK);
    assert_int_equal(finish_with(3, 3, 0), ERR_MALFORMED);
    assert_int_equal(finish_with(2, 4, 0), ERR_MALFORMED);
    assert_int_equal(finish_with(2, 2, 0), ERR_MALFORMED);
    assert_int_equal(finish_with(2, 3, 2), ERR_MALFORMED); /* a shuffle of no task */
}

/* The end as {pickle_at, cull}, with `pickle` in frame 1. */
static int finish_pickled(struct planner_graph_reader *reader, struct span pickle, int64_t at)
{
    struct part end;
    memset(&end, 0, sizeof end);
    frames_add(&end.frames, (struct slice){0});
    msgpack_write_map(&end.head, 2);
    part_int(&end, "pickle_at", at);
    msgpack_write_cstr(&end.head, "cull");
    msgpack_write_bool(&end.head, false);
    part_bytes(&end, pickle);
    int code = planner_graph_finish(reader, part_end(&end));
    part_fini(&end);
    return code;
}

/* Instead of parts: a pickle, which is read as those of clients. */
static void test_pickled_graph(void **state)
{
    (void)state;
    const struct {
        struct span pickle;
        int64_t at;
        int expected;
    } cases[] = {
        {SPAN("\x80\x05}\x94."), 1, OK},           {SPAN("\x80\x05N."), 1, ERR_UNSUPPORTED},
        {SPAN("\x80\x05\x97."), 1, ERR_MALFORMED}, /* of a buffer that did not come */
        {SPAN("\x80\x05}"), 1, ERR_TRUNCATED},     {SPAN("\x80\x05}\x94."), 2, ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct planner_graph_reader reader;
        planner_graph_init(&reader);
        assert_int_equal(finish_pickled(&reader, cases[i].pickle, cases[i].at), cases[i].expected);
        assert_false(reader.graph.cull);
        planner_graph_fini(&reader);
    }
}

/* It is parts or a pickle. */
static void test_pickle_behind_parts(void **state)
{
    (void)state;
    struct planner_graph_reader reader;
    struct part part;
    planner_graph_init(&reader);
    two_tasks(&part);
    assert_int_equal(planner_graph_add(&reader, part_end(&part)), OK);
    assert_int_equal(finish_pickled(&reader, SPAN("\x80\x05}\x94."), 1), ERR_MALFORMED);
    part_fini(&part);
    planner_graph_fini(&reader);
}

/* Parts must come in order, without a gap. */
static void test_part_out_of_order(void **state)
{
    (void)state;
    struct planner_graph_reader reader;
    struct part part;
    planner_graph_init(&reader);
    two_tasks(&part);
    assert_int_equal(planner_graph_add(&reader, part_end(&part)), OK);
    assert_int_equal(planner_graph_add(&reader, &part.frames), ERR_MALFORMED);
    part_fini(&part);
    planner_graph_fini(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_graph),          cmocka_unit_test(test_each_array_damaged),
        cmocka_unit_test(test_numbers_out_of_range), cmocka_unit_test(test_end_that_does_not_fit),
        cmocka_unit_test(test_pickled_graph),        cmocka_unit_test(test_pickle_behind_parts),
        cmocka_unit_test(test_part_out_of_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
