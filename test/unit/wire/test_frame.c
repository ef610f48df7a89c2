/* Frames: messages come out whole however the bytes arrive, and no length is believed too early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "golden.h"

static void add_number(struct text *out, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        text_add_char(out, (char)(value >> (8 * i)));
    }
}

/* Feed `bytes` in pieces of `step`; count messages, and check that each is `expected` if given. */
static unsigned feed(struct frame_reader *reader, struct span bytes, size_t step,
                     const struct frames *expected)
{
    struct frames frames = {0};
    unsigned count = 0;
    while (bytes.size > 0) {
        size_t size = bytes.size < step ? bytes.size : step;
        size_t fed = frame_reader_feed(reader, span_of(bytes.data, size));
        int code;
        bytes = span_of(bytes.data + fed, bytes.size - fed);
        while ((code = frame_reader_next(reader, &frames)) == 1) {
            count++;
            if (expected != NULL) {
                assert_int_equal(frames.count, expected->count);
                for (uint32_t i = 0; i < frames.count; i++) {
                    assert_true(
                        span_equal(slice_span(frames.items[i]), slice_span(expected->items[i])));
                }
            }
        }
        assert_int_equal(code, 0);
    }
    frames_fini(&frames);
    return count;
}

/* Every recorded message arrives byte by byte, in sevens, and in one piece. */
static void check_pieces(void *context, const struct golden *golden)
{
    (void)context;
    static const size_t steps[] = {1, 7, 4096, SIZE_MAX};
    struct frames whole = {0};
    golden_frames(golden, &whole);
    for (unsigned i = 0; i < 4; i++) {
        struct frame_reader reader;
        frame_reader_init(&reader);
        assert_int_equal(feed(&reader, text_span(&golden->bytes), steps[i], &whole), 1);
        assert_true(frame_reader_idle(&reader));
        assert_null(reader.buf);
        frame_reader_fini(&reader);
    }
    frames_fini(&whole);
}

static void test_pieces(void **state)
{
    (void)state;
    golden_each(check_pieces, NULL);
}

static void join(void *context, const struct golden *golden)
{
    text_add(context, text_span(&golden->bytes));
}

/* One connection carries all of them without a pause; half read ones are finished later. */
static void test_all_in_one_stream(void **state)
{
    (void)state;
    struct text all = {0};
    struct buf *spare = NULL;
    unsigned count = golden_each(join, &all);
    static const size_t steps[] = {100, 1000, 65536};
    for (unsigned i = 0; i < 3; i++) {
        struct frame_reader reader;
        frame_reader_init(&reader);
        reader.spare = &spare;
        assert_int_equal(feed(&reader, text_span(&all), steps[i], NULL), count);
        assert_true(frame_reader_idle(&reader));
        frame_reader_fini(&reader);
    }
    assert_non_null(spare); /* the idle reader left its buffer for the next */
    buf_unref(spare);
    text_fini(&all);
}

/* A message of `count` frames of the given sizes, filled with their numbers. */
static void build(struct frames *message, const size_t *sizes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct buf *buf = buf_create(sizes[i]);
        memset(buf->data, (int)i + 1, sizes[i]);
        buf->size = sizes[i];
        frames_add(message, slice_create(buf, span_of(buf->data, sizes[i])));
        buf_unref(buf);
    }
}

static void expect_round_trip(const size_t *sizes, uint32_t count, size_t step)
{
    struct frames message = {0};
    struct frames chunks = {0};
    struct text bytes = {0};
    struct frame_reader reader;
    build(&message, sizes, count);
    frame_encode(&message, &chunks);
    for (uint32_t i = 0; i < chunks.count; i++) {
        text_add(&bytes, slice_span(chunks.items[i]));
    }
    assert_int_equal(bytes.size, 8 * (2 + (uint64_t)count) + frames_size(&message));
    for (uint32_t i = 0; i < chunks.count; i++) { /* again: it must start where the first ends */
        text_add(&bytes, slice_span(chunks.items[i]));
    }
    frame_reader_init(&reader);
    assert_int_equal(feed(&reader, text_span(&bytes), step, &message), 2);
    assert_true(frame_reader_idle(&reader));
    frame_reader_fini(&reader);
    text_fini(&bytes);
    frames_fini(&message);
    frames_fini(&chunks);
}

/* Empty frames occur in pandas' pickles; large ones go round the receive buffer; both mixed. */
static void test_sizes(void **state)
{
    (void)state;
    static const size_t empty[] = {1, 0, 0, 5, 0};
    static const size_t border[] = {65536};
    static const size_t large[] = {100, 65535, 65536, 65537, 0,     3000000,
                                   0,   17,    40000, 40000, 40000, 0};
    static const size_t only_empty[] = {0};
    static const size_t steps[] = {9, 4096, 100000, SIZE_MAX};
    for (unsigned i = 0; i < 4; i++) {
        expect_round_trip(empty, 5, steps[i]);
        expect_round_trip(border, 1, steps[i]);
        expect_round_trip(large, 12, steps[i]);
        expect_round_trip(only_empty, 1, steps[i]);
    }
}

/* A wide graph: tens of thousands of frames, whose lengths alone outgrow the receive buffer. */
static void test_many_frames(void **state)
{
    (void)state;
    size_t *sizes = malloc(50000 * sizeof *sizes);
    for (unsigned i = 0; i < 50000; i++) {
        sizes[i] = i % 3 == 0 ? 0 : i % 97;
    }
    expect_round_trip(sizes, 50000, 4096);
    expect_round_trip(sizes, 50000, SIZE_MAX);
    free(sizes);
}

/* Large frames are not copied on their way out, small ones travel in one piece. */
static void test_chunks(void **state)
{
    (void)state;
    static const size_t sizes[] = {50, 100000, 10, 20, 100000};
    struct frames message = {0};
    struct frames chunks = {0};
    build(&message, sizes, 5);
    frame_encode(&message, &chunks);
    assert_int_equal(chunks.count, 4);
    assert_ptr_equal(chunks.items[1].data, message.items[1].data);
    assert_int_equal(chunks.items[2].size, 30);
    assert_ptr_equal(chunks.items[3].data, message.items[4].data);
    frames_fini(&message);
    frames_fini(&chunks);
}

static int feed_numbers(const uint64_t *numbers, unsigned count, struct frame_reader *reader)
{
    struct text bytes = {0};
    struct frames frames = {0};
    for (unsigned i = 0; i < count; i++) {
        add_number(&bytes, numbers[i]);
    }
    size_t fed = frame_reader_feed(reader, text_span(&bytes));
    assert_int_equal(fed, bytes.size);
    int code = frame_reader_next(reader, &frames);
    text_fini(&bytes);
    frames_fini(&frames);
    return code;
}

static int first_answer(const uint64_t *numbers, unsigned count)
{
    struct frame_reader reader;
    frame_reader_init(&reader);
    int code = feed_numbers(numbers, count, &reader);
    frame_reader_fini(&reader);
    return code;
}

/* PREFIX counts what the writer sent first, not the message: anything from the lengths to all is fine. */
static void test_prefix_is_a_hint(void **state)
{
    (void)state;
    static const uint64_t prefixes[] = {24, 25, 32, 40};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t numbers[] = {prefixes[i], 2, 8, 8, 0x90, 0};
        assert_int_equal(first_answer(numbers, 6), 1);
    }
    assert_int_equal(first_answer((uint64_t[]){23, 2, 8, 8, 0, 0}, 6), ERR_MALFORMED);
    assert_int_equal(first_answer((uint64_t[]){41, 2, 8, 8, 0, 0}, 6), ERR_MALFORMED);
}

/* What a stranger may send: an HTTP request, huge counts, huge lengths, lengths that add up to more. */
static void test_hostile_lengths(void **state)
{
    (void)state;
    const uint64_t any = 1ull << 60;
    uint64_t http[2];
    memcpy(http, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(first_answer(http, 2), ERR_LIMIT);
    assert_int_equal(first_answer((uint64_t[]){16, 0}, 2), ERR_MALFORMED);
    assert_int_equal(first_answer((uint64_t[]){any, LIMIT_FRAMES_MAX + 1ull}, 2), ERR_LIMIT);
    assert_int_equal(first_answer((uint64_t[]){any, UINT64_MAX}, 2), ERR_LIMIT);
    assert_int_equal(first_answer((uint64_t[]){any, 1, LIMIT_FRAME_BYTES_MAX + 1}, 3), ERR_LIMIT);
    assert_int_equal(first_answer((uint64_t[]){any, 1, UINT64_MAX}, 3), ERR_LIMIT);
    uint64_t sums[] = {any,
                       5,
                       LIMIT_FRAME_BYTES_MAX,
                       LIMIT_FRAME_BYTES_MAX,
                       LIMIT_FRAME_BYTES_MAX,
                       LIMIT_FRAME_BYTES_MAX,
                       1};
    assert_int_equal(first_answer(sums, 7), ERR_LIMIT);

    struct frame_reader reader;
    frame_reader_init(&reader);
    reader.message_bytes_max = 1000;
    assert_int_equal(feed_numbers((uint64_t[]){16, 1, 1001}, 3, &reader), ERR_LIMIT);
    frame_reader_fini(&reader);
}

/* A length of 16 GiB that is only claimed costs one step of memory, not 16 GiB. */
static void test_memory_grows_with_bytes(void **state)
{
    (void)state;
    struct frame_reader reader;
    frame_reader_init(&reader);
    uint64_t size = LIMIT_FRAME_BYTES_MAX;
    assert_int_equal(feed_numbers((uint64_t[]){16, 1, size, 7}, 4, &reader), 0);
    assert_non_null(reader.segment);
    assert_true(reader.segment->capacity <= 1024 * 1024);
    struct frames frames = {0};
    for (unsigned i = 0; i < 40; i++) {
        uint8_t *room;
        size_t room_size;
        frame_reader_space(&reader, &room, &room_size);
        memset(room, 1, room_size < 65536 ? room_size : 65536);
        frame_reader_advance(&reader, room_size < 65536 ? room_size : 65536);
        assert_int_equal(frame_reader_next(&reader, &frames), 0);
    }
    assert_true(reader.segment->capacity <= 4 * 1024 * 1024);
    assert_false(frame_reader_idle(&reader));
    frame_reader_fini(&reader);
    frames_fini(&frames);
}

/* A message whose frames are still in use does not lose them when the buffer is used again. */
static void test_frames_outlive_the_buffer(void **state)
{
    (void)state;
    struct frame_reader reader;
    struct frames kept = {0};
    struct frames others = {0};
    frame_reader_init(&reader);
    uint64_t numbers[] = {24, 1, 8, 0x1122334455667788};
    struct span bytes = span_of(numbers, sizeof numbers);
    frame_reader_feed(&reader, bytes);
    assert_int_equal(frame_reader_next(&reader, &kept), 1);
    numbers[3] = 0;
    for (unsigned i = 0; i < 10000; i++) {
        frame_reader_feed(&reader, bytes);
        assert_int_equal(frame_reader_next(&reader, &others), 1);
        assert_int_equal(frame_reader_next(&reader, &others), 0);
    }
    numbers[3] = 0x1122334455667788;
    assert_true(span_equal(frames_head(&kept), span_of(&numbers[3], 8)));
    frame_reader_fini(&reader);
    frames_fini(&kept);
    frames_fini(&others);
}

/* On ws each frame is a websocket message of its own, behind one that says how many there are. */
static void test_ws(void **state)
{
    (void)state;
    static const size_t sizes[] = {10, 0, 5000};
    struct frames message = {0};
    struct frames chunks = {0};
    struct frames got = {0};
    struct frame_ws_reader reader;
    build(&message, sizes, 3);
    frame_encode_ws(frames_head(&message), message.items + 1, 2, &chunks);
    assert_int_equal(chunks.count, 4);
    frame_ws_reader_init(&reader);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 4; i++) {
            int code = frame_ws_reader_take(&reader, slice_ref(chunks.items[i]), &got);
            assert_int_equal(code, i == 3 ? 1 : 0);
        }
        assert_int_equal(got.count, 3);
        assert_int_equal(got.items[2].size, 5000);
    }
    assert_int_equal(frame_ws_reader_take(&reader, slice_copy(SPAN("1234567")), &got),
                     ERR_MALFORMED);
    assert_int_equal(frame_ws_reader_take(&reader, slice_copy(SPAN("\0\0\0\0\0\0\0\0")), &got),
                     ERR_MALFORMED);
    assert_int_equal(frame_ws_reader_take(&reader, slice_copy(SPAN("\1\0\0\0\0\0\0\1")), &got),
                     ERR_LIMIT);
    frame_ws_reader_fini(&reader);
    frames_fini(&message);
    frames_fini(&chunks);
    frames_fini(&got);
}

/* ---- memory of others ---- */

static uint32_t taken_count, released_count;
static size_t taken_size;

static void release_taken(void *user)
{
    released_count++;
    mem_free(user);
}

static struct buf *take_memory(void *user, size_t size, uint8_t **out_data)
{
    (void)user;
    taken_count++;
    taken_size = size;
    *out_data = mem_alloc(size);
    return buf_foreign(span_of(*out_data, size), release_taken, *out_data);
}

/* Two values behind frame 0: the sub-header of the first has 3 frames, that of the second as many as its text says. */
static void build_values(struct frames *message, const size_t sizes[3], const char *second)
{
    const size_t head = 20, last = 70000;
    build(message, &head, 1);
    frames_add(message, slice_copy(SPAN("\x81\xaenum-sub-frames\x03")));
    build(message, sizes, 3);
    frames_add(message, slice_copy(span_of_text(second)));
    build(message, &last, 1);
}

static void read_values(const size_t sizes[3], const char *second, size_t step,
                        struct frames *out_message)
{
    static const struct frame_memory memory = {.take = take_memory, .size_min = 100000};
    struct frames sent = {0}, chunks = {0};
    struct text bytes = {0};
    struct frame_reader reader;
    build_values(&sent, sizes, second);
    frame_encode(&sent, &chunks);
    for (uint32_t i = 0; i < chunks.count; i++) {
        text_add(&bytes, slice_span(chunks.items[i]));
    }
    frame_reader_init(&reader);
    reader.memory = &memory;
    taken_count = released_count = 0;
    struct span left = text_span(&bytes);
    int code = 0;
    while (code == 0) {
        size_t size = left.size < step ? left.size : step;
        assert_true(size > 0);
        size_t fed = frame_reader_feed(&reader, span_of(left.data, size));
        left = span_of(left.data + fed, left.size - fed);
        code = frame_reader_next(&reader, out_message);
    }
    assert_int_equal(code, 1);
    assert_int_equal(out_message->count, sent.count);
    for (uint32_t i = 0; i < sent.count; i++) {
        assert_true(span_equal(slice_span(out_message->items[i]), slice_span(sent.items[i])));
    }
    frame_reader_fini(&reader);
    frames_fini(&sent);
    frames_fini(&chunks);
    text_fini(&bytes);
}

/* A worker receives arrays: all large frames of one value lie in one piece of memory, each where an array may lie. A
 * small value (the second) does not. */
static void test_values_lie_together(void **state)
{
    (void)state;
    static const size_t sizes[] = {70001, 17, 200000};
    static const size_t steps[] = {1000, 65536, SIZE_MAX};
    for (unsigned i = 0; i < 3; i++) {
        struct frames message = {0};
        read_values(sizes, "\x81\xaenum-sub-frames\x01", steps[i], &message);
        assert_int_equal(taken_count, 1);
        const struct slice *frames = message.items + 2;
        assert_int_equal(frames[1].data - frames[0].data, 70016);
        assert_int_equal(frames[2].data - frames[0].data, 70016 + 64);
        assert_int_equal(taken_size, 70016 + 64 + 200000);
        assert_int_equal(released_count, 0);
        frames_fini(&message);
        assert_int_equal(released_count, 1);
    }
}

/* What does not look like a value is put nowhere special; what it is, its reader finds out. */
static void test_no_value(void **state)
{
    (void)state;
    static const size_t sizes[] = {10, 20, 30};
    struct frames message = {0};
    read_values(sizes, "\xff no header", 5000, &message);
    assert_int_equal(taken_count, 0);
    frames_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_all_in_one_stream),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many_frames),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_prefix_is_a_hint),
        cmocka_unit_test(test_hostile_lengths),
        cmocka_unit_test(test_memory_grows_with_bytes),
        cmocka_unit_test(test_frames_outlive_the_buffer),
        cmocka_unit_test(test_ws),
        cmocka_unit_test(test_values_lie_together),
        cmocka_unit_test(test_no_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
