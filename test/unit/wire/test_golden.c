/* Every message that stock Dask was recorded sending: read, printed, and written again as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"

/* ---- Frames and payloads ------------------------------------------------------------------------ */

static void expect_same_frames(const struct golden *golden, const struct frames *got,
                               const struct frames *expected)
{
    bool same = got->count == expected->count;
    for (uint32_t i = 0; same && i < expected->count; i++) {
        same = span_equal(slice_span(got->items[i]), slice_span(expected->items[i]));
    }
    if (!same) {
        fail_msg("%s:%u: the frames differ", golden->file, golden->line);
    }
}

/* Chunks joined are the message, but for PREFIX, where a writer may choose. */
static void expect_same_bytes(const struct golden *golden, const struct frames *chunks)
{
    struct text joined = {0};
    for (uint32_t i = 0; i < chunks->count; i++) {
        text_add(&joined, slice_span(chunks->items[i]));
    }
    assert_int_equal(joined.size, golden->bytes.size);
    assert_memory_equal(joined.data + 8, golden->bytes.data + 8, joined.size - 8);
    text_fini(&joined);
}

/* The whole of frame 0 as one value goes through payload_take and payload_put. */
static void check_payload(void *context, const struct golden *golden)
{
    (void)context;
    struct frames frames = {0};
    struct frames again = {0};
    struct frames chunks = {0};
    struct blob *blob = NULL;
    struct outgoing message = {0};
    golden_frames(golden, &frames);
    assert_int_equal(payload_take(&frames, frames_head(&frames), &blob), OK);
    payload_put(&message, blob);
    assert_int_equal(outgoing_size(&message), frames_size(&frames));
    outgoing_flush_frames(&message, &again);
    expect_same_frames(golden, &again, &frames);
    payload_put(&message, blob);
    outgoing_flush(&message, &chunks);
    expect_same_bytes(golden, &chunks);
    blob_unref(blob);
    outgoing_fini(&message);
    frames_fini(&frames);
    frames_fini(&again);
    frames_fini(&chunks);
}

static void test_payloads_pass_through(void **state)
{
    (void)state;
    assert_int_equal(golden_each(check_payload, NULL), 945);
}

/* ---- Printing ----------------------------------------------------------------------------------- */

static void check_print(void *context, const struct golden *golden)
{
    struct text *all = context;
    struct frames frames = {0};
    struct trace trace;
    trace_init(&trace, golden_ports(golden));
    golden_frames(golden, &frames);
    text_printf(all, "%s:%u ", golden->file, golden->line);
    size_t begin = all->size;
    trace_message(&trace, &frames, all);
    assert_true(all->size > begin + 1);
    if (strstr(all->data + begin, "! ") == all->data + begin) {
        fail_msg("%s:%u: %s", golden->file, golden->line, all->data + begin);
    }
    for (int port = 0; port < PORT_COUNT; port++) {
        assert_int_equal(trace.decoders[port].unknown_count, 0);
    }
    trace_fini(&trace);
    frames_fini(&frames);
}

static void test_all_are_known_and_printed(void **state)
{
    (void)state;
    struct text all = {0};
    golden_each(check_print, &all);
    if (getenv("GOLDEN_PRINT") != NULL) {
        fputs(all.data, stdout);
    }
    assert_non_null(strstr(all.data, "task-finished key='inc-1' run_id=0 nbytes=28 type=<31 bytes> "
                                     "typename='int' metadata={} thread="));
    assert_non_null(strstr(all.data, "run_spec=<pickled, 84 bytes>"));
    text_fini(&all);
}

/* ---- msgpack ------------------------------------------------------------------------------------ */

/* Write the next value again, by type. */
static void rewrite(struct msgpack_reader *reader, struct text *out)
{
    uint32_t count;
    int64_t number;
    uint64_t wide;
    double real;
    bool flag;
    struct span bytes;
    if (msgpack_read_nil(reader) == OK) {
        msgpack_write_nil(out);
    } else if (msgpack_read_bool(reader, &flag) == OK) {
        msgpack_write_bool(out, flag);
    } else if (msgpack_read_int(reader, &number) == OK) {
        msgpack_write_int(out, number);
    } else if (msgpack_read_uint(reader, &wide) == OK) {
        msgpack_write_uint(out, wide);
    } else if (msgpack_read_float(reader, &real) == OK) {
        msgpack_write_float(out, real);
    } else if (msgpack_read_str(reader, &bytes) == OK) {
        msgpack_write_str(out, bytes);
    } else if (msgpack_read_bin(reader, &bytes) == OK) {
        msgpack_write_bin(out, bytes);
    } else if (msgpack_read_array(reader, &count) == OK) {
        msgpack_write_array(out, count);
        while (count-- > 0) {
            rewrite(reader, out);
        }
    } else {
        assert_int_equal(msgpack_read_map(reader, &count), OK);
        msgpack_write_map(out, count);
        for (uint32_t i = 0; i < 2 * count; i++) {
            rewrite(reader, out);
        }
    }
}

static void check_rewrite(void *context, const struct golden *golden)
{
    (void)context;
    struct frames frames = {0};
    struct text out = {0};
    golden_frames(golden, &frames);
    struct span head = frames_head(&frames);
    assert_int_equal(msgpack_check(head), OK);
    struct msgpack_reader reader = msgpack_reader(head);
    rewrite(&reader, &out);
    assert_true(msgpack_at_end(&reader));
    assert_true(span_equal(text_span(&out), head));
    text_fini(&out);
    frames_fini(&frames);
}

static void test_msgpack_is_canonical(void **state)
{
    (void)state;
    golden_each(check_rewrite, NULL);
}

/* ---- The table ---------------------------------------------------------------------------------- */

struct tally {
    unsigned same;
    unsigned different;
};

/* Replace the payloads of a decoded message by blobs of them. */
static void payloads_take(const struct frames *frames, struct message *message)
{
    for (const struct message_field *field = message_fields(message->id); field->name; field++) {
        struct payload *payload = (struct payload *)((char *)&message->body + field->offset);
        if (field->type == FIELD_PAYLOAD && payload->raw.data != NULL) {
            struct blob *blob = NULL;
            assert_int_equal(payload_take(frames, payload->raw, &blob), OK);
            payload->blob = blob;
        }
    }
}

static void payloads_drop(struct message *message)
{
    for (const struct message_field *field = message_fields(message->id); field->name; field++) {
        struct payload *payload = (struct payload *)((char *)&message->body + field->offset);
        if (field->type == FIELD_PAYLOAD && payload->blob != NULL) {
            struct blob *blob = (struct blob *)(uintptr_t)payload->blob;
            blob_unref(blob);
        }
    }
}

static void encode_again(struct outgoing *out, const struct message *message)
{
    struct span given;
    if (msgpack_find(message->map, "reply", &given) == OK) {
        message_encode_request(out, message->id, &message->body, message->reply, message->close);
    } else {
        message_encode(out, message->id, &message->body);
    }
}

/* What was written from `begin` on decodes to what `message` says. */
static void expect_same_meaning(const struct message *message, const struct frames *frames,
                                struct outgoing *out, size_t begin)
{
    struct arena scratch;
    struct message_decoder decoder;
    struct message again;
    struct text expected = {0};
    struct text got = {0};
    struct frames written = {0};
    arena_init(&scratch);
    message_decoder_init(&decoder, message_info(message->id)->port, &scratch);
    frames_add(&written, slice_copy(text_span(&out->head)));
    for (uint32_t i = 0; i < out->frames.count; i++) {
        frames_add(&written, slice_ref(out->frames.items[i]));
    }
    struct span head = frames_head(&written);
    struct msgpack_reader reader = msgpack_reader(span_of(head.data + begin, head.size - begin));
    assert_int_equal(message_decode(&decoder, &reader, &again), OK);
    message_print(&expected, message, frames, 1000000);
    message_print(&got, &again, &written, 1000000);
    assert_string_equal(text_cstr(&got), text_cstr(&expected));
    text_fini(&expected);
    text_fini(&got);
    frames_fini(&written);
    message_decoder_fini(&decoder);
    arena_fini(&scratch);
}

static void check_item(struct trace *trace, const struct frames *frames, struct span item,
                       struct outgoing *out, struct tally *tally)
{
    struct message message;
    for (int port = 0; port < PORT_COUNT; port++) {
        struct msgpack_reader reader = msgpack_reader(item);
        if (!(trace->ports >> port & 1) ||
            message_decode(&trace->decoders[port], &reader, &message) != OK ||
            message.id == MESSAGE_UNKNOWN) {
            continue;
        }
        size_t begin = out->head.size;
        payloads_take(frames, &message);
        encode_again(out, &message);
        struct span written = span_of(out->head.data + begin, out->head.size - begin);
        tally->same += span_equal(written, item) ? 1 : 0;
        tally->different += span_equal(written, item) ? 0 : 1;
        expect_same_meaning(&message, frames, out, begin);
        payloads_drop(&message);
        return;
    }
}

static void check_table(void *context, const struct golden *golden)
{
    struct tally *tally = context;
    struct frames frames = {0};
    struct outgoing out = {0};
    struct trace trace;
    trace_init(&trace, golden_ports(golden));
    golden_frames(golden, &frames);
    struct msgpack_reader reader = msgpack_reader(frames_head(&frames));
    uint32_t count = 1;
    int code = msgpack_read_array(&reader, &count);
    assert_true(code == OK || code == ERR_TYPE);
    for (uint32_t i = 0; i < count; i++) {
        struct span item;
        assert_int_equal(msgpack_read_value(&reader, &item), OK);
        struct span op;
        if (msgpack_find(item, "op", &op) == OK) {
            check_item(&trace, &frames, item, &out, tally);
        }
    }
    outgoing_fini(&out);
    trace_fini(&trace);
    frames_fini(&frames);
}

/* What the table writes means what stock wrote, and is the same bytes, but where stock wrote a set for
 * a list, a default in full, or the control fields in other places (get_data, update-graph …). */
static void test_table_writes_as_stock(void **state)
{
    (void)state;
    struct tally tally = {0};
    golden_each(check_table, &tally);
    assert_int_equal(tally.same, 712);
    assert_int_equal(tally.different, 113);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads_pass_through),
        cmocka_unit_test(test_all_are_known_and_printed),
        cmocka_unit_test(test_msgpack_is_canonical),
        cmocka_unit_test(test_table_writes_as_stock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
