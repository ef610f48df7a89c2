/* Values: from executors' payloads and back, in the heap and in segments. */
#include "unit/store/support.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* A sealed segment with these bytes, as executors send them. */
static int make_segment(struct span bytes)
{
    struct store_segment_draft draft;
    struct text why = {0};
    assert_int_equal(store_segment_create(bytes.size, &draft, &why), OK);
    assert_int_equal(store_segment_write(&draft, 0, bytes, &why), OK);
    struct span mapping;
    int fd;
    assert_int_equal(store_segment_seal(&draft, &mapping, &fd, &why), OK);
    assert_true(span_equal(mapping, bytes));
    munmap((void *)(uintptr_t)mapping.data, mapping.size);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A small result comes inline: copied, as the reader's bytes go. */
static void test_inline(void **state)
{
    (void)state;
    char bytes[] = "headbody";
    const struct executor_frame frames[] = {{(const uint8_t *)bytes, 0, 4},
                                            {(const uint8_t *)bytes + 4, 0, 0},
                                            {(const uint8_t *)bytes + 4, 0, 4}};
    struct executor_payload payload = {
        .value = SERIALIZED, .frame_count = 3, .frames = frames, .segment = -1};
    struct store_value *value;
    struct text why = {0};
    assert_int_equal(store_value_open(&payload, NULL, &value, &why), OK);
    memset(bytes, 'x', sizeof bytes);
    assert_true(span_equal(slice_span(value->blob->value), SERIALIZED));
    assert_true(span_equal_text(slice_span(value->blob->frames[0]), "head"));
    assert_int_equal(value->blob->frames[1].size, 0);
    assert_true(span_equal_text(slice_span(value->blob->frames[2]), "body"));
    assert_int_equal(value->size, SERIALIZED.size + 8);

    struct executor_frame given[3];
    store_value_payload(value, given, &payload);
    assert_int_equal(payload.segment, -1);
    assert_int_equal(payload.frame_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_non_null(given[i].data); /* inline, the empty one too */
    }
    assert_memory_equal(given[2].data, "body", 4);
    store_value_unref(value);
}

/* A large one lies in a segment, and stays there: another executor is given the same memory. It goes with
 * the last message that is being sent from it, not before. */
static void test_segment(void **state)
{
    (void)state;
    struct store_segments *segments = store_segments_create(&(struct store_segments_options){0});
    int fd = make_segment(SPAN("0123456789"));
    const struct executor_frame frames[] = {{(const uint8_t *)"head", 0, 4}, {NULL, 2, 8}};
    struct executor_payload payload = {.value = SERIALIZED,
                                       .frame_count = 2,
                                       .frames = frames,
                                       .segment = fd,
                                       .segment_size = 10,
                                       .is_sealed = true};
    struct store_value *value;
    struct text why = {0};
    assert_int_equal(store_value_open(&payload, segments, &value, &why), OK);
    assert_int_equal(payload.segment, -1);
    assert_int_equal(store_segments_bytes(segments), 10);
    assert_true(span_equal_text(slice_span(value->blob->frames[1]), "23456789"));

    struct executor_frame given[2];
    store_value_payload(value, given, &payload);
    assert_int_equal(payload.segment, fd);
    assert_int_equal(payload.segment_size, 10);
    assert_memory_equal(given[0].data, "head", 4);
    assert_null(given[1].data);
    assert_int_equal(given[1].offset, 2);
    assert_int_equal(given[1].size, 8);

    struct slice sent = slice_ref(value->blob->frames[1]);
    store_value_unref(value);
    assert_true(is_open(fd));
    assert_true(span_equal_text(slice_span(sent), "23456789"));
    assert_int_equal(store_segments_bytes(segments), 10);
    slice_fini(&sent);
    assert_false(is_open(fd));
    assert_int_equal(store_segments_bytes(segments), 0);
    store_segments_unref(segments);
}

/* A segment that no frame lies in is not kept. */
static void test_segment_of_nothing(void **state)
{
    (void)state;
    int fd = make_segment(SPAN("unused"));
    const struct executor_frame frame = {(const uint8_t *)"head", 0, 4};
    struct executor_payload payload = {
        .value = SERIALIZED, .frame_count = 1, .frames = &frame, .segment = fd, .segment_size = 6};
    struct store_value *value;
    struct text why = {0};
    assert_int_equal(store_value_open(&payload, NULL, &value, &why), OK);
    assert_false(is_open(fd));
    assert_int_equal(value->segment, -1);
    store_value_unref(value);
}

/* What an executor sends without a value is no value; its segment is still the caller's. */
static void test_no_value(void **state)
{
    (void)state;
    struct executor_payload payload = EXECUTOR_NO_PAYLOAD;
    payload.segment = make_segment(SPAN("x"));
    struct store_value *value = NULL;
    struct text why = {0};
    assert_int_equal(store_value_open(&payload, NULL, &value, &why), ERR_MALFORMED);
    assert_null(value);
    assert_true(is_open(payload.segment));
    close(payload.segment);
    text_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_segment),
        cmocka_unit_test(test_segment_of_nothing),
        cmocka_unit_test(test_no_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
