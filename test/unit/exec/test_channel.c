/* The channel's two halves: what an executor sends is read only if it is well-formed; what a worker
 * sends has the layout of docs/executor.md. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "exec/channel.h"

/* ---- bytes as an executor writes them ---- */

static void add(struct text *out, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        text_add_char(out, (char)(value >> (8 * i)));
    }
}

static void add_bytes(struct text *out, struct span bytes)
{
    add(out, bytes.size, 4);
    text_add(out, bytes);
}

static void add_message(struct text *out, enum executor_op op, uint32_t fds, uint64_t handle,
                        const struct text *body)
{
    add(out, body->size, 4);
    add(out, op, 2);
    add(out, fds, 2);
    add(out, handle, 8);
    text_add(out, text_span(body));
}

static void feed(struct channel_reader *reader, struct span bytes)
{
    while (bytes.size > 0) {
        uint8_t *space;
        size_t size;
        channel_reader_space(reader, &space, &size);
        size = size < bytes.size ? size : bytes.size;
        memcpy(space, bytes.data, size);
        channel_reader_advance(reader, size);
        bytes.data += size;
        bytes.size -= size;
    }
}

static void add_run(struct text *body)
{
    const double times[3] = {1.5, 2.5, 4.0};
    for (int i = 0; i < 3; i++) {
        uint64_t bits;
        memcpy(&bits, &times[i], sizeof bits);
        add(body, bits, 8);
    }
    add(body, 77, 8); /* thread */
    add(body, 0, 8);
    add(body, 0, 8);
    for (uint64_t i = 0; i < 6; i++) {
        add(body, 100 + i, 8);
    }
    add_bytes(body, SPAN("\x90"));
}

/* ---- reading ---- */

/* DONE with a small result, in pieces of every size: each field arrives, and only when all is there. */
static void test_done(void **state)
{
    (void)state;
    struct text body = {0}, bytes = {0};
    add_run(&body);
    add(&body, 28, 8);
    add_bytes(&body, SPAN("pickle"));
    add_bytes(&body, SPAN("int"));
    add(&body, 5, 4); /* payload: value of 5 bytes, 2 inline frames */
    add(&body, 2, 4);
    add(&body, 3, 8);
    add(&body, UINT64_MAX, 8);
    add(&body, 0, 8);
    add(&body, UINT64_MAX, 8);
    text_add(&body, SPAN("valueabc"));
    add_message(&bytes, EXECUTOR_DONE, 0, 9, &body);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        struct channel_reader reader = {0};
        struct executor_message message;
        feed(&reader, span_of(bytes.data, cut));
        assert_int_equal(channel_reader_next(&reader, &message), 0);
        feed(&reader, span_of(bytes.data + cut, bytes.size - cut));
        assert_int_equal(channel_reader_next(&reader, &message), 1);
        assert_int_equal(message.op, EXECUTOR_DONE);
        assert_int_equal(message.handle, 9);
        assert_true(message.ledger.start == 2.5);
        assert_int_equal(message.ledger.written_bytes, 105);
        assert_int_equal(message.nbytes, 28);
        assert_true(span_equal_text(message.text, "int"));
        assert_true(span_equal_text(message.payload.value, "value"));
        assert_int_equal(message.payload.frame_count, 2);
        assert_memory_equal(message.payload.frames[0].data, "abc", 3);
        assert_int_equal(message.payload.frames[1].size, 0);
        assert_int_equal(message.payload.segment, -1);
        assert_int_equal(channel_reader_next(&reader, &message), 0);
        channel_reader_fini(&reader);
    }
    text_fini(&body);
    text_fini(&bytes);
}

static int read_one(const struct text *bytes, int fd, struct executor_payload *out_payload)
{
    struct channel_reader reader = {0};
    struct executor_message message;
    if (fd >= 0) {
        assert_true(channel_reader_descriptor(&reader, fcntl(fd, F_DUPFD_CLOEXEC, 0)));
    }
    feed(&reader, text_span(bytes));
    int got = channel_reader_next(&reader, &message);
    if (got == 1) {
        *out_payload = message.payload;
    } else {
        assert_true(got == 0 || reader.why.size > 0);
    }
    channel_reader_fini(&reader);
    return got;
}

static void add_segment_message(struct text *bytes, uint64_t size, uint64_t offset)
{
    struct text body = {0};
    add(&body, 1, 4);
    add(&body, 1, 4);
    add(&body, size, 8);
    add(&body, offset, 8);
    text_add_char(&body, 'v');
    add_message(bytes, EXECUTOR_EXPORTED, 1, 1, &body);
    text_fini(&body);
}

static int memfd_of(size_t size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* A frame in a segment must lie inside it, and the segment must not be able to change: else whoever
 * maps it could be ended by SIGBUS. */
static void test_segments(void **state)
{
    (void)state;
    const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int sealed = memfd_of(4096, all);
    int open_ended = memfd_of(4096, F_SEAL_GROW);
    struct {
        uint64_t size, offset;
        int fd, expected;
    } cases[] = {
        {4096, 0, sealed, 1},
        {64, 4032, sealed, 1},
        {65, 4032, sealed, ERR_MALFORMED},
        {1, 4096, sealed, ERR_MALFORMED},
        {UINT64_MAX, 1, sealed, ERR_MALFORMED},
        {1, UINT64_MAX - 1, sealed, ERR_MALFORMED},
        {64, 0, open_ended, ERR_MALFORMED},
        {64, 0, STDIN_FILENO, ERR_MALFORMED},
        {64, 0, -1, ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text bytes = {0};
        struct executor_payload payload;
        add_segment_message(&bytes, cases[i].size, cases[i].offset);
        assert_int_equal(read_one(&bytes, cases[i].fd, &payload), cases[i].expected);
        if (cases[i].expected == 1) {
            assert_true(payload.segment >= 0);
            assert_int_equal(payload.segment_size, 4096);
            close(payload.segment);
        }
        text_fini(&bytes);
    }
    close(sealed);
    close(open_ended);
}

/* Lengths that lie, ops that only a worker sends, descriptors too many: refused, with a reason. */
static void test_malformed(void **state)
{
    (void)state;
    struct text empty = {0}, lying = {0}, long_tail = {0}, nan = {0};
    add(&lying, UINT32_MAX, 4);
    text_add(&lying, SPAN("abc"));
    add(&long_tail, 1, 4);
    text_add(&long_tail, SPAN("ab"));
    add(&nan, 0x7ff8000000000000u, 8);
    struct {
        enum executor_op op;
        uint32_t fds;
        const struct text *body;
        int expected;
    } cases[] = {
        {EXECUTOR_READY, 0, &lying, ERR_MALFORMED},
        {EXECUTOR_READY, 0, &empty, ERR_MALFORMED},
        {EXECUTOR_READY, 0, &long_tail, ERR_MALFORMED},
        {EXECUTOR_DONE, 0, &empty, ERR_MALFORMED},
        {EXECUTOR_SECEDED, 0, &nan, ERR_MALFORMED},
        {EXECUTOR_RUN, 0, &empty, ERR_MALFORMED},
        {(enum executor_op)0, 0, &empty, ERR_MALFORMED},
        {(enum executor_op)65535, 0, &empty, ERR_MALFORMED},
        {EXECUTOR_RESCHEDULE, CHANNEL_FDS_MAX + 1, &empty, ERR_LIMIT},
        {EXECUTOR_FORKED, 0, &empty, ERR_MALFORMED},
        {EXECUTOR_RESCHEDULE, 0, &empty, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text bytes = {0};
        struct executor_payload payload;
        add_message(&bytes, cases[i].op, cases[i].fds, 1, cases[i].body);
        assert_int_equal(read_one(&bytes, -1, &payload), cases[i].expected);
        text_fini(&bytes);
    }
    struct text huge = {0};
    struct executor_payload payload;
    add(&huge, CHANNEL_BODY_MAX + 1, 4);
    add(&huge, EXECUTOR_READY, 4);
    add(&huge, 0, 8);
    assert_int_equal(read_one(&huge, -1, &payload), ERR_LIMIT);
    text_fini(&huge);
    text_fini(&lying);
    text_fini(&long_tail);
    text_fini(&nan);
}

/* Descriptors that no message asks for do not pile up. */
static void test_descriptors_pile_up(void **state)
{
    (void)state;
    struct channel_reader reader = {0};
    for (int i = 0; i < CHANNEL_FDS_WAITING_MAX; i++) {
        assert_true(channel_reader_descriptor(&reader, dup(STDIN_FILENO)));
    }
    assert_false(channel_reader_descriptor(&reader, dup(STDIN_FILENO)));
    channel_reader_fini(&reader);
}

/* ---- writing ---- */

static uint64_t number_at(const struct text *bytes, size_t at, uint32_t size)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < size; i++) {
        value |= (uint64_t)(uint8_t)bytes->data[at + i] << (8 * i);
    }
    return value;
}

/* RUN as docs/executor.md draws it. */
static void test_run_layout(void **state)
{
    (void)state;
    struct channel_writer writer = {0};
    const uint64_t inputs[] = {5, 6};
    const struct executor_frame frame = {.data = (const uint8_t *)"frame", .size = 5};
    struct executor_run run = {
        .handle = 7,
        .wants_small = true,
        .inputs = inputs,
        .input_count = 2,
        .key = SPAN("\xa1k"),
        .run_spec = {.value = SPAN("v"), .frame_count = 1, .frames = &frame, .segment = -1},
    };
    assert_int_equal(channel_add_run(&writer, &run), OK);
    const struct text *bytes = &writer.bytes;
    assert_int_equal(bytes->size, 16 + 8 + 16 + 6 + 4 + 8 + 16 + 1 + 5);
    assert_int_equal(number_at(bytes, 0, 4), bytes->size - 16);
    assert_int_equal(number_at(bytes, 4, 2), EXECUTOR_RUN);
    assert_int_equal(number_at(bytes, 6, 2), 0);
    assert_int_equal(number_at(bytes, 8, 8), 7);
    assert_int_equal(number_at(bytes, 16, 4), 2);
    assert_int_equal(number_at(bytes, 20, 4), 2);
    assert_int_equal(number_at(bytes, 32, 8), 6);
    assert_memory_equal(bytes->data + 40, "\x02\0\0\0\xa1k\0\0\0\0\x01\0\0\0\x01\0\0\0", 18);
    assert_int_equal(number_at(bytes, 58, 8), 5);
    assert_int_equal(number_at(bytes, 66, 8), UINT64_MAX);
    assert_memory_equal(bytes->data + 74, "vframe", 6);
    channel_writer_fini(&writer);
}

/* Large frames go into a sealed segment, shards of 64 bytes' multiples without a gap between. */
static void test_large_goes_to_segment(void **state)
{
    (void)state;
    struct channel_writer writer = {0};
    static uint8_t large[CHANNEL_INLINE_MAX];
    memset(large, 7, sizeof large);
    const struct executor_frame frames[] = {
        {.data = (const uint8_t *)"head", .size = 4},
        {.data = large, .size = sizeof large},
        {.data = (const uint8_t *)"tail", .size = 4},
    };
    struct executor_payload payload = {
        .value = SPAN("v"), .frame_count = 3, .frames = frames, .segment = -1};
    assert_int_equal(channel_add_put(&writer, 1, SPAN("\xa1k"), &payload), OK);
    assert_int_equal(writer.attached.count, 1);
    assert_int_equal(number_at(&writer.bytes, 6, 2), 1);
    assert_int_equal(number_at(&writer.bytes, 16 + 6 + 8 + 8, 8), 0);
    assert_int_equal(number_at(&writer.bytes, 16 + 6 + 8 + 16 + 8, 8), 64);
    assert_int_equal(number_at(&writer.bytes, 16 + 6 + 8 + 32 + 8, 8), 64 + sizeof large);
    char tail[4];
    int fd = writer.attached.items[0].fd;
    assert_int_equal(pread(fd, tail, 4, 64 + sizeof large), 4);
    assert_memory_equal(tail, "tail", 4);
    assert_int_equal(ftruncate(fd, 0), -1);
    channel_writer_fini(&writer);
}

/* What does not fit is refused and leaves nothing behind. */
static void test_too_large(void **state)
{
    (void)state;
    struct channel_writer writer = {0};
    const struct executor_frame frame = {.data = (const uint8_t *)"", .size = 0};
    struct executor_payload payload = {.value = {(const uint8_t *)"", CHANNEL_BODY_MAX + 1ull},
                                       .frame_count = 1,
                                       .frames = &frame,
                                       .segment = -1};
    channel_add_export(&writer, 3, -1);
    size_t before = writer.bytes.size;
    assert_int_equal(channel_add_call(&writer, 1, true, SPAN("run"), &payload), ERR_LIMIT);
    assert_int_equal(writer.bytes.size, before);
    assert_int_equal(writer.attached.count, 0);
    channel_writer_fini(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_done),       cmocka_unit_test(test_segments),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_descriptors_pile_up),
        cmocka_unit_test(test_run_layout), cmocka_unit_test(test_large_goes_to_segment),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
