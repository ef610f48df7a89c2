/* What is compressed of a message that goes out, and that nothing else changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "wire/msgpack.h"
#include "wire/outgoing.h"
#include "wire/payload.h"
#include "wire/sub_header.h"

enum { SIZE = 300000 };

/* Zeros, or, with a seed, bytes that no codec shrinks. */
static struct slice filled(size_t size, uint32_t seed)
{
    struct buf *buf = buf_create(size);
    for (size_t i = 0; i < size; i++) {
        seed = seed == 0 ? 0 : seed * 1664525 + 1013904223;
        buf->data[i] = (uint8_t)(seed >> 24);
    }
    buf->size = size;
    return (struct slice){buf->data, size, buf};
}

/* The sub-header of a pickle, or of Serialized data, in front of `count` buffers. */
static void add_header(struct outgoing *message, bool is_pickled, uint32_t count)
{
    struct text header = {0};
    msgpack_write_map(&header, 3);
    msgpack_write_cstr(&header, is_pickled ? "pickled-obj" : "serializer");
    if (is_pickled) {
        msgpack_write_bin(&header, SPAN("\x80\x05N."));
    } else {
        msgpack_write_cstr(&header, "pickle");
    }
    msgpack_write_cstr(&header, "compression");
    msgpack_write_array(&header, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_write_nil(&header);
    }
    msgpack_write_cstr(&header, "num-sub-frames");
    msgpack_write_uint(&header, count);
    outgoing_add_frame(message, slice_copy(text_span(&header)));
    text_fini(&header);
}

/* A task with a large argument goes to a worker on another host: its buffers shrink if they can, and the peer reads
 * in the sub-header which. Data that passes through stays as it came. */
static void test_buffers_of_pickles(void **state)
{
    (void)state;
    struct outgoing message;
    outgoing_init(&message);
    add_header(&message, false, 1);
    outgoing_add_frame(&message, filled(SIZE, 0));
    add_header(&message, true, 3);
    outgoing_add_frame(&message, filled(SIZE, 0));
    outgoing_add_frame(&message, filled(SIZE, 1));
    outgoing_add_frame(&message, filled(100, 0));
    add_header(&message, true, 1);
    outgoing_add_frame(&message, filled(LIMIT_COMPRESS_BYTES_MAX + 1, 0));
    outgoing_compress(&message, COMPRESS_LZ4);
    assert_int_equal(message.frames.count, 8);
    assert_int_equal(message.frames_size, frames_size(&message.frames));
    assert_int_equal(message.frames.items[1].size, SIZE);
    assert_true(message.frames.items[3].size < SIZE / 2);
    assert_int_equal(message.frames.items[4].size, SIZE);
    assert_int_equal(message.frames.items[5].size, 100);
    assert_int_equal(message.frames.items[7].size, LIMIT_COMPRESS_BYTES_MAX + 1);
    struct sub_header header;
    assert_int_equal(sub_header_read(slice_span(message.frames.items[2]), &header), OK);
    assert_true(span_equal(header.compression, SPAN("\x93\xa3lz4\xc0\xc0")));
    assert_true(span_equal(header.pickle, SPAN("\x80\x05N.")));
    assert_int_equal(header.frame_count, 3);
    outgoing_compress(&message, COMPRESS_LZ4); /* nothing twice */
    assert_int_equal(sub_header_read(slice_span(message.frames.items[2]), &header), OK);
    assert_true(span_equal(header.compression, SPAN("\x93\xa3lz4\xc0\xc0")));
    outgoing_fini(&message);
}

/* Frames that a peer sent, with headers that lie: they pass as they are. */
static void test_odd_headers(void **state)
{
    (void)state;
    struct span odd[] = {SPAN("\xc1"), SPAN("\x81\xaenum-sub-frames\x09"),
                         SPAN("\x83\xabpickled-obj\xc4\x01.\xab"
                              "compression\x91\xc0\xaenum-sub-frames\x02"),
                         SPAN("\x83\xabpickled-obj\xc4\x01.\xab"
                              "compression\xc0\xaenum-sub-frames\x02")};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct outgoing message;
        outgoing_init(&message);
        outgoing_add_frame(&message, slice_copy(odd[i]));
        outgoing_add_frame(&message, filled(SIZE, 0));
        outgoing_add_frame(&message, filled(SIZE, 0));
        outgoing_compress(&message, COMPRESS_ZSTD);
        assert_true(span_equal(slice_span(message.frames.items[0]), odd[i]));
        assert_int_equal(message.frames.items[1].size, SIZE);
        assert_int_equal(message.frames.items[2].size, SIZE);
        outgoing_fini(&message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffers_of_pickles),
        cmocka_unit_test(test_odd_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
