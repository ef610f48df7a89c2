/* Segments: used again once nobody else has them, and never before. */
#include "unit/store/support.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

enum { SIZE = 1 << 20 };

struct bench {
    struct io_loop *loop;
    struct store_segments *segments;
};

static int setup(void **state)
{
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    bench->loop = io_loop_create();
    bench->segments = store_segments_create(&(struct store_segments_options){
        .loop = bench->loop, .idle_bytes_max = 4 * SIZE, .idle_seconds = 0.01, .count_max = 6});
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    store_segments_close(bench->segments);
    assert_int_equal(store_segments_bytes(bench->segments), 0);
    store_segments_unref(bench->segments);
    io_loop_destroy(bench->loop);
    mem_free(bench);
    return 0;
}

static struct buf *take(struct bench *bench, size_t size)
{
    uint8_t *data;
    struct buf *segment = store_segment_take(bench->segments, size, &data);
    assert_non_null(segment);
    return segment;
}

/* A descriptor as others are given it. */
static int reader_of(const struct buf *segment)
{
    struct span mapping;
    int fd;
    assert_true(store_segment_look(segment, &fd, &mapping));
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static ino_t file_of(const struct buf *segment)
{
    struct stat status;
    struct span mapping;
    int fd;
    assert_true(store_segment_look(segment, &fd, &mapping));
    assert_int_equal(fstat(fd, &status), 0);
    return status.st_ino;
}

/* Let go of it; tells whether the next one is the same memory. */
static bool is_used_again(struct bench *bench, struct buf *segment)
{
    ino_t file = file_of(segment);
    buf_unref(segment);
    struct buf *next = take(bench, SIZE);
    bool is_same = file_of(next) == file;
    buf_unref(next);
    return is_same;
}

/* The usual case: a value is sent and dropped, the next one of its size goes into the same pages. */
static void test_used_again(void **state)
{
    struct bench *bench = *state;
    uint8_t *data;
    struct buf *segment = store_segment_take(bench->segments, SIZE, &data);
    memset(data, 7, SIZE);
    assert_true(store_segments_bytes(bench->segments) >= SIZE);
    assert_true(is_used_again(bench, segment));
    assert_true(store_segments_bytes(bench->segments) < 2 * SIZE);
    segment = store_segment_take(bench->segments, SIZE - 100, &data);
    assert_int_equal(data[0], 7); /* no page was cleared */
    buf_unref(segment);
}

/* Another process has a descriptor of it, then a mapping only (what an executor's array is), then nothing. */
static void test_not_while_somebody_has_it(void **state)
{
    struct bench *bench = *state;
    struct buf *segment = take(bench, SIZE);
    ino_t file = file_of(segment);
    int fd = reader_of(segment);
    assert_false(is_used_again(bench, segment));
    void *mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_true(mapped != MAP_FAILED);
    close(fd);
    segment = take(bench, SIZE);
    assert_int_not_equal(file_of(segment), file);
    assert_int_equal(munmap(mapped, SIZE), 0);
    struct buf *other = take(bench, SIZE);
    assert_int_equal(file_of(other), file);
    buf_unref(other);
    buf_unref(segment);
}

/* An executor that was lent it still has it open to write: it would write into the next value. */
static void test_not_while_somebody_writes(void **state)
{
    struct bench *bench = *state;
    struct buf *segment = take(bench, SIZE);
    int fd = store_segment_writer(segment);
    assert_true(store_segment_is(segment, fd));
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    assert_false(is_used_again(bench, segment));
    close(fd);
    assert_true(is_used_again(bench, take(bench, SIZE)));
}

/* Who is given it can neither change it nor its size. */
static void test_others_only_read(void **state)
{
    struct bench *bench = *state;
    struct buf *segment = take(bench, SIZE);
    int fd = reader_of(segment);
    struct buf *other = take(bench, SIZE);
    assert_false(store_segment_is(other, fd));
    assert_true(write(fd, "x", 1) < 0);
    assert_true(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    int seals = fcntl(fd, F_GET_SEALS);
    assert_int_equal(seals & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
    int writer = store_segment_writer(segment);
    assert_int_not_equal(ftruncate(writer, 1), 0);
    close(writer);
    close(fd);
    buf_unref(other);
    buf_unref(segment);
}

/* Pages are a cost while they wait: so few, not for long, and at once when memory is short. */
static void test_waits_within_bounds(void **state)
{
    struct bench *bench = *state;
    struct buf *segments[6];
    uint8_t *data;
    for (int i = 0; i < 6; i++) {
        segments[i] = take(bench, SIZE);
    }
    assert_null(store_segment_take(bench->segments, SIZE, &data)); /* count_max */
    for (int i = 0; i < 6; i++) {
        buf_unref(segments[i]);
    }
    assert_int_equal(store_segments_bytes(bench->segments), 4 * SIZE);
    store_segments_trim(bench->segments);
    assert_int_equal(store_segments_bytes(bench->segments), 0);
    buf_unref(take(bench, SIZE));
    assert_int_equal(store_segments_bytes(bench->segments), SIZE);
    io_loop_run(bench->loop); /* until its timer rests */
    assert_int_equal(store_segments_bytes(bench->segments), 0);
}

/* Many small values were sent, now it is large ones: those are used again, too. */
static void test_newest_wait(void **state)
{
    struct bench *bench = *state;
    struct buf *small[3];
    for (int i = 0; i < 3; i++) {
        small[i] = take(bench, SIZE);
    }
    struct buf *large = take(bench, 2 * SIZE);
    for (int i = 0; i < 3; i++) {
        buf_unref(small[i]);
    }
    ino_t file = file_of(large);
    buf_unref(large);
    assert_int_equal(store_segments_bytes(bench->segments), 4 * SIZE);
    large = take(bench, 2 * SIZE);
    assert_int_equal(file_of(large), file);
    buf_unref(large);
    buf_unref(take(bench, 5 * SIZE)); /* more than all that may wait: nothing makes room for it */
    assert_int_equal(store_segments_bytes(bench->segments), 4 * SIZE);
}

/* Of many values the last to be let go here are those that others still have: older ones are used meanwhile. */
static void test_older_are_free(void **state)
{
    struct store_segments *segments = store_segments_create(
        &(struct store_segments_options){.loop = ((struct bench *)*state)->loop,
                                         .idle_bytes_max = 64 * SIZE,
                                         .idle_seconds = 0.01,
                                         .count_max = 64});
    struct bench bench = {.segments = segments};
    struct buf *taken[40];
    int held[39];
    for (int i = 0; i < 40; i++) {
        taken[i] = take(&bench, SIZE);
    }
    ino_t oldest = file_of(taken[0]);
    buf_unref(taken[0]);
    for (int i = 0; i < 39; i++) {
        held[i] = reader_of(taken[i + 1]);
        buf_unref(taken[i + 1]);
    }
    struct buf *segment = take(&bench, SIZE);
    assert_int_equal(file_of(segment), oldest);
    buf_unref(segment);
    for (int i = 0; i < 39; i++) {
        close(held[i]);
    }
    store_segments_close(segments);
    store_segments_unref(segments);
}

/* A small value does not get the memory of a large one: the rest of its pages would be lost meanwhile. */
static void test_sizes(void **state)
{
    struct bench *bench = *state;
    struct buf *large = take(bench, 3 * SIZE);
    ino_t file = file_of(large);
    buf_unref(large);
    struct buf *small = take(bench, SIZE);
    assert_int_not_equal(file_of(small), file);
    large = take(bench, 3 * SIZE - SIZE / 8);
    assert_int_equal(file_of(large), file);
    buf_unref(large);
    buf_unref(small);
}

/* The store is gone, a message is still being sent from the segment: it goes with the message. */
static void test_outlives_the_store(void **state)
{
    struct bench *bench = *state;
    struct buf *segment = take(bench, SIZE);
    store_segments_close(bench->segments);
    uint8_t *data;
    assert_null(store_segment_take(bench->segments, SIZE, &data));
    buf_unref(segment);
    assert_int_equal(store_segments_bytes(bench->segments), 0);
}

/* What an executor wrote into a segment that it was lent: what this process reads itself does not change, whoever still
 * writes there. */
static void test_lent(void **state)
{
    struct bench *bench = *state;
    struct buf *segment = take(bench, SIZE);
    struct text why = {0};
    int fd = store_segment_writer(segment);
    assert_int_equal(pwrite(fd, "head", 4, 0), 4);
    assert_int_equal(pwrite(fd, "body", 4, 64), 4);
    const struct executor_frame frames[] = {{NULL, 0, 4}, {NULL, 64, 8192}};
    struct executor_payload payload = {
        .value = SERIALIZED, .frame_count = 2, .frames = frames, .segment = fd};
    struct store_value *value;
    assert_int_equal(store_value_open_lent(&payload, segment, &value, &why), OK);
    assert_int_equal(pwrite(fd, "HEAD", 4, 0), 4);
    assert_int_equal(pwrite(fd, "BODY", 4, 64), 4);
    assert_true(span_equal_text(slice_span(value->blob->frames[0]), "head"));
    assert_memory_equal(value->blob->frames[1].data, "BODY", 4);
    struct executor_frame given[2];
    store_value_payload(value, given, &payload);
    assert_non_null(given[0].data);
    assert_null(given[1].data);
    assert_int_equal(given[1].offset, 64);
    assert_true(store_segment_is(segment, payload.segment));
    store_value_unref(value);

    const struct executor_frame outside[] = {{NULL, 8 * SIZE, 8192}};
    payload = (struct executor_payload){
        .value = SERIALIZED, .frame_count = 1, .frames = outside, .segment = fd};
    assert_int_equal(store_value_open_lent(&payload, segment, &value, &why), ERR_MALFORMED);
    text_fini(&why);
    close(fd);
    buf_unref(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_while_somebody_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_while_somebody_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_only_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waits_within_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newest_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_are_free, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outlives_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lent, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
