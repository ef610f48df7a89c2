/* Payloads: values keep their frames from message to message, and nothing else's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"

static void add_frame(struct frames *message, struct span bytes)
{
    frames_add(message, slice_copy(bytes));
}

/* A sub-header that counts `count` frames. */
static void add_header(struct frames *message, uint64_t count)
{
    struct text header = {0};
    msgpack_write_map(&header, 2);
    msgpack_write_cstr(&header, "serializer");
    msgpack_write_cstr(&header, "pickle");
    msgpack_write_cstr(&header, "num-sub-frames");
    msgpack_write_uint(&header, count);
    add_frame(message, text_span(&header));
    text_fini(&header);
}

/* A message with this head, two objects of one frame and one of two: placeholders 1, 3 and 5. */
static void build(struct frames *message, struct span head)
{
    add_frame(message, head);
    add_header(message, 1);
    add_frame(message, SPAN("one"));
    add_header(message, 1);
    add_frame(message, SPAN("two"));
    add_header(message, 2);
    add_frame(message, SPAN("three"));
    add_frame(message, SPAN(""));
}

static int take(struct frames *message, struct blob **out)
{
    return payload_take(message, frames_head(message), out);
}

/* A result in the middle of a message becomes the first of the next: its number changes, not its bytes. */
static void test_one(void **state)
{
    (void)state;
    struct frames message = {0};
    struct blob *blob = NULL;
    struct outgoing out = {0};
    build(&message, SPAN("\x81\xae__Serialized__\x05"));
    assert_int_equal(take(&message, &blob), OK);
    assert_int_equal(blob->frame_count, 3);
    assert_true(span_equal(slice_span(blob->value), SPAN("\x81\xae__Serialized__\x01")));
    assert_true(span_equal(slice_span(blob->frames[1]), SPAN("three")));
    frames_fini(&message); /* the blob owns what it needs */

    outgoing_add_frame(&out, slice_copy(SPAN("before")));
    payload_put(&out, blob);
    payload_put(&out, blob);
    assert_true(span_equal(text_span(&out.head), SPAN("\x81\xae__Serialized__\x02"
                                                      "\x81\xae__Serialized__\x05")));
    assert_int_equal(out.frames.count, 7);
    assert_true(span_equal(slice_span(out.frames.items[5]), SPAN("three")));
    outgoing_fini(&out);
    blob_unref(blob);
}

/* Placeholders may be anywhere in a value: in a map of results, in a set's list, several levels down. */
static void test_nested(void **state)
{
    (void)state;
    struct frames message = {0};
    struct blob *blob = NULL;
    struct outgoing out = {0};
    build(&message,
          SPAN("\x82\xa1"
               "a\x92\x81\xab__Pickled__\x03\x05\x92\xa1x\x00\x81\xae__Serialized__\x01"));
    assert_int_equal(take(&message, &blob), OK);
    assert_int_equal(blob->frame_count, 4);
    assert_true(span_equal(slice_span(blob->frames[1]), SPAN("two")));
    assert_true(span_equal(slice_span(blob->frames[3]), SPAN("one")));
    outgoing_add_frame(&out, slice_copy(SPAN("before")));
    payload_put(&out, blob);
    assert_true(span_equal(
        text_span(&out.head),
        SPAN("\x82\xa1"
             "a\x92\x81\xab__Pickled__\x02\x05\x92\xa1x\x00\x81\xae__Serialized__\x04")));
    outgoing_fini(&out);
    blob_unref(blob);
    frames_fini(&message);
}

/* Numbers over 127 take more bytes than the one they replace. */
static void test_large_numbers(void **state)
{
    (void)state;
    struct frames message = {0};
    struct blob *blob = NULL;
    struct outgoing out = {0};
    build(&message, SPAN("\x91\x81\xae__Serialized__\x01"));
    assert_int_equal(take(&message, &blob), OK);
    for (unsigned i = 0; i < 300; i++) {
        outgoing_add_frame(&out, slice_copy(SPAN("x")));
    }
    payload_put(&out, blob);
    assert_true(span_equal(text_span(&out.head), SPAN("\x91\x81\xae__Serialized__\xcd\x01\x2d")));
    outgoing_fini(&out);
    blob_unref(blob);
    frames_fini(&message);
}

/* Text that only looks like a placeholder is text. */
static void test_plain(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {"\xc0", 1},
        {"\x92\xae__Serialized__\x01", 17},
        {"\x81\x01\xae__Serialized__", 17},
        {"\x82\xa7__Set__\xc3\xa7"
         "as-list\x91\x01",
         20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct frames message = {0};
        struct blob *blob = NULL;
        build(&message, span_of(rows[i].bytes, rows[i].size));
        assert_int_equal(take(&message, &blob), OK);
        assert_int_equal(blob->frame_count, 0);
        assert_true(span_equal(slice_span(blob->value), span_of(rows[i].bytes, rows[i].size)));
        blob_unref(blob);
        frames_fini(&message);
    }
}

static void expect_refused(struct span head)
{
    struct frames message = {0};
    struct blob *blob = NULL;
    build(&message, head);
    assert_int_equal(take(&message, &blob), ERR_MALFORMED);
    assert_null(blob);
    frames_fini(&message);
}

/* Numbers that point nowhere, at a frame that is no header, or twice at the same; and maps that only a
 * stock reader would take for placeholders. */
static void test_refused(void **state)
{
    (void)state;
    expect_refused(SPAN("\x81\xae__Serialized__\x08"));
    expect_refused(SPAN("\x81\xae__Serialized__\xce\x00\x40\x00\x00"));
    expect_refused(SPAN("\x81\xae__Serialized__\x02"));
    expect_refused(SPAN("\x91\x81\xae__Serialized__\x07"));
    expect_refused(SPAN("\x93\x81\xae__Serialized__\x05\x81\xae__Serialized__\x05"
                        "\x81\xae__Serialized__\x05"));
    expect_refused(SPAN("\x82\xae__Serialized__\x01\xa1x\x01"));
    expect_refused(SPAN("\x82\xa1x\x01\xab__Pickled__\x01"));
    expect_refused(SPAN("\x91\x81\xae__Serialized__\xcb\x3f\xf0\0\0\0\0\0\0"));
    expect_refused(SPAN("\x81\xae__Serialized__\xcf\xff\xff\xff\xff\xff\xff\xff\xff"));

    struct frames message = {0};
    struct blob *blob = NULL;
    add_frame(&message, SPAN("\x81\xae__Serialized__\x01"));
    add_header(&message, 2);
    add_frame(&message, SPAN("only one"));
    assert_int_equal(take(&message, &blob), ERR_MALFORMED);
    frames_fini(&message);
}

/* A placeholder in a map of non-minimal heads is still one. */
static void test_wide_heads(void **state)
{
    (void)state;
    struct frames message = {0};
    struct blob *blob = NULL;
    build(&message, SPAN("\xde\x00\x01\xd9\x0e__Serialized__\xcd\x00\x03"));
    assert_int_equal(take(&message, &blob), OK);
    assert_int_equal(blob->frame_count, 2);
    assert_true(span_equal(slice_span(blob->frames[1]), SPAN("two")));
    blob_unref(blob);
    frames_fini(&message);
}

/* A few bytes that are kept do not keep 64 KiB of receive buffer; large slices are not copied. */
static void test_small_slices_do_not_pin(void **state)
{
    (void)state;
    struct buf *buf = buf_create(100000);
    struct span head = SPAN("\x92\xa5hello\x81\xab__Pickled__\x01");
    memcpy(buf->data, head.data, head.size);
    struct text header = {0};
    msgpack_write_map(&header, 1);
    msgpack_write_cstr(&header, "num-sub-frames");
    msgpack_write_uint(&header, 1);
    memcpy(buf->data + 100, header.data, header.size);
    memset(buf->data + 1000, 'x', 50000);
    struct frames message = {0};
    frames_add(&message, slice_create(buf, span_of(buf->data, head.size)));
    frames_add(&message, slice_create(buf, span_of(buf->data + 100, header.size)));
    frames_add(&message, slice_create(buf, span_of(buf->data + 1000, 50000)));
    struct blob *plain = NULL;
    struct blob *large = NULL;
    assert_int_equal(payload_take(&message, span_of(buf->data + 1, 6), &plain), OK);
    assert_int_equal(payload_take(&message, span_of(buf->data + 7, 14), &large), OK);
    assert_ptr_not_equal(plain->value.owner, buf);
    assert_ptr_not_equal(large->frames[0].owner, buf);
    assert_ptr_equal(large->frames[1].data, buf->data + 1000);
    assert_true(span_equal(slice_span(plain->value), SPAN("\xa5hello")));
    blob_unref(plain);
    blob_unref(large);
    frames_fini(&message);
    buf_unref(buf);
    text_fini(&header);
}

/* ---- Opening ------------------------------------------------------------------------------------ */

static void expect_content(struct blob *blob, struct span expected)
{
    struct slice bytes = {0};
    assert_int_equal(payload_bytes(blob, &bytes), OK);
    assert_true(span_equal(slice_span(bytes), expected));
    slice_fini(&bytes);
    blob_unref(blob);
}

/* Exceptions arrive as Serialize(bytes), as pickles, as ToPickle or as plain bytes. */
static void test_bytes_in_all_forms(void **state)
{
    (void)state;
    expect_content(payload_serialized_bytes(SPAN("pickle")), SPAN("pickle"));
    expect_content(payload_serialized_bytes(SPAN("")), SPAN(""));
    expect_content(payload_serialized_pickle(SPAN("\x80\x05N.")), SPAN("\x80\x05N."));
    expect_content(payload_pickled(SPAN("\x80\x05N.")), SPAN("\x80\x05N."));
    expect_content(payload_value(SPAN("\xc4\x02xy")), SPAN("xy"));
    struct slice bytes = {0};
    struct blob *nil = payload_nil();
    assert_int_equal(payload_bytes(nil, &bytes), ERR_TYPE);
    blob_unref(nil);
}

/* Find what stock made of an exception's bytes (its traceback has another length) in task-erred. */
static void check_stock(void *context, const struct golden *golden)
{
    unsigned *found = context;
    struct frames frames = {0};
    golden_frames(golden, &frames);
    for (uint32_t i = 1; i + 1 < frames.count && strcmp(golden->file, "06-task-erred.hex") == 0;
         i++) {
        struct blob *ours = payload_serialized_bytes(slice_span(frames.items[i + 1]));
        if (span_equal(slice_span(ours->frames[0]), slice_span(frames.items[i]))) {
            *found += 1;
        }
        blob_unref(ours);
    }
    frames_fini(&frames);
}

/* Serialize(bytes) has the very header that stock writes. */
static void test_as_stock_makes_it(void **state)
{
    (void)state;
    unsigned found = 0;
    golden_each(check_stock, &found);
    assert_int_equal(found, 4);
}

/* The header of a payload of `parts` wire frames, split and compressed as told. */
static struct blob *blob_with_header(struct span header, const struct span *parts, uint32_t count)
{
    struct blob *blob = blob_create(slice_copy(SPAN("\x81\xae__Serialized__\x01")), 1 + count);
    blob->frames[0] = slice_copy(header);
    for (uint32_t i = 0; i < count; i++) {
        blob->frames[1 + i] = slice_copy(parts[i]);
    }
    return blob;
}

/* Two logical frames on three wire frames, of which one is compressed. */
static void test_split_and_compressed(void **state)
{
    (void)state;
    static const struct span zlib = {
        (const uint8_t *)"\x78\x9c\x4b\x4c\x4a\x4e\x1c\x08\x04\x00\xdb\xf6\x2d\xf1", 14};
    struct span parts[] = {SPAN("ab"), zlib, SPAN("buffer")};
    struct span header = SPAN("\x85\xaaserializer\xa6pickle\xb4split-num-sub-frames\x92\x02\x01"
                              "\xadsplit-offsets\x92\x00\x02\xab"
                              "compression\x93\xc0\xa4zlib\xc0"
                              "\xaenum-sub-frames\x03");
    struct blob *blob = blob_with_header(header, parts, 3);
    struct payload_content content;
    assert_int_equal(payload_open(blob, &content), OK);
    assert_int_equal(content.parts.count, 2);
    assert_int_equal(content.parts.items[0].size, 122);
    assert_memory_equal(content.parts.items[0].data, "ababcabc", 8);
    assert_true(span_equal(slice_span(content.parts.items[1]), SPAN("buffer")));
    payload_content_fini(&content);
    blob_unref(blob);
}

static void expect_open(struct span header, int expected)
{
    struct span parts[] = {SPAN("ab"), SPAN("cd")};
    struct blob *blob = blob_with_header(header, parts, 2);
    struct payload_content content;
    assert_int_equal(payload_open(blob, &content), expected);
    blob_unref(blob);
}

/* Split lists that lie, and compressions that nobody has. */
static void test_broken_headers(void **state)
{
    (void)state;
    expect_open(SPAN("\x83\xb4split-num-sub-frames\x91\x02\xadsplit-offsets\x91\x01"
                     "\xaenum-sub-frames\x02"),
                ERR_MALFORMED);
    expect_open(SPAN("\x83\xb4split-num-sub-frames\x92\x02\x02\xadsplit-offsets\x92\x00\x00"
                     "\xaenum-sub-frames\x02"),
                ERR_MALFORMED);
    expect_open(SPAN("\x83\xb4split-num-sub-frames\x91\x02\xadsplit-offsets\x90"
                     "\xaenum-sub-frames\x02"),
                ERR_MALFORMED);
    expect_open(SPAN("\x82\xab"
                     "compression\x92\xa6"
                     "blosc2\xc0\xaenum-sub-frames\x02"),
                ERR_UNSUPPORTED);
    expect_open(SPAN("\x82\xab"
                     "compression\x92\xa4zlib\xc0\xaenum-sub-frames\x02"),
                ERR_MALFORMED);
    expect_open(SPAN("\x81\xa1x\x01"), ERR_MALFORMED);
    expect_open(SPAN("\x90"), ERR_MALFORMED);
    expect_open(SPAN(""), ERR_MALFORMED);
}

static void test_print(void **state)
{
    (void)state;
    struct frames message = {0};
    struct text out = {0};
    build(&message, SPAN("\x92\x81\xae__Serialized__\x05\x81\xab__Pickled__\x09"));
    payload_print(&out, &message, frames_head(&message), 1000);
    assert_string_equal(text_cstr(&out),
                        "[<serialized pickle, 5 bytes>, <frame 9, which is missing or broken>]");
    text_fini(&out);
    frames_fini(&message);
}

/* ---- Batches ------------------------------------------------------------------------------------ */

/* The array's head grows with the batch, and is as short as it can be. */
static void test_batches(void **state)
{
    (void)state;
    static const unsigned sizes[] = {0, 1, 15, 16, 70000};
    for (unsigned i = 0; i < 5; i++) {
        struct outgoing out = {0};
        struct frames frames = {0};
        struct text expected = {0};
        outgoing_start_batch(&out);
        msgpack_write_array(&expected, sizes[i]);
        for (unsigned j = 0; j < sizes[i]; j++) {
            outgoing_item(&out);
            msgpack_write_map(&out.head, 0);
            msgpack_write_map(&expected, 0);
        }
        outgoing_flush_frames(&out, &frames);
        assert_true(span_equal(frames_head(&frames), text_span(&expected)));
        outgoing_flush_frames(&out, &frames); /* empty, and a batch again */
        assert_true(span_equal(frames_head(&frames), SPAN("\x90")));
        text_fini(&expected);
        frames_fini(&frames);
        outgoing_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_large_numbers),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wide_heads),
        cmocka_unit_test(test_small_slices_do_not_pin),
        cmocka_unit_test(test_bytes_in_all_forms),
        cmocka_unit_test(test_as_stock_makes_it),
        cmocka_unit_test(test_split_and_compressed),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
