/* fuzz_message.c: any bytes as messages to each port, and messages made from the table by the bytes.
 *
 * The first byte chooses: even, the rest is a stream of frames, whose messages are decoded, opened,
 * printed and encoded again to the same meaning; odd, the bytes choose a row of messages.def and the
 * values of its fields, which must come back as they were written. */
#include "wire/trace.h"

/* ---- From bytes ---------------------------------------------------------------------------------- */

static void open_payload(const struct blob *blob)
{
    struct payload_content content;
    struct slice bytes = {0};
    if (payload_open(blob, &content) == OK) {
        payload_content_fini(&content);
    }
    if (payload_bytes(blob, &bytes) == OK) {
        slice_fini(&bytes);
    }
}

/* Replace the payloads by blobs; false if one is refused. */
static bool payloads_take(const struct frames *frames, struct message *message)
{
    bool good = true;
    for (const struct message_field *field = message_fields(message->id); field->name; field++) {
        struct payload *payload = (struct payload *)((char *)&message->body + field->offset);
        struct blob *blob = NULL;
        if (field->type == FIELD_PAYLOAD && payload->raw.data != NULL) {
            good = payload_take(frames, payload->raw, &blob) == OK && good;
            payload->blob = blob;
        }
    }
    return good;
}

static void payloads_drop(struct message *message)
{
    for (const struct message_field *field = message_fields(message->id); field->name; field++) {
        struct payload *payload = (struct payload *)((char *)&message->body + field->offset);
        if (field->type == FIELD_PAYLOAD && payload->blob != NULL) {
            struct blob *blob = (struct blob *)(uintptr_t)payload->blob;
            open_payload(blob);
            blob_unref(blob);
        }
    }
}

/* What `outgoing` holds decodes to a message that prints as `message` does. */
static void check_again(const struct message *message, const struct frames *frames,
                        struct outgoing *outgoing, struct arena *scratch)
{
    struct message_decoder decoder;
    struct message again;
    struct frames written = {0};
    struct text before = {0};
    struct text after = {0};
    enum message_port port = (enum message_port)message_info(message->id)->port;
    outgoing_flush_frames(outgoing, &written);
    message_decoder_init(&decoder, port, scratch);
    struct msgpack_reader reader = msgpack_reader(frames_head(&written));
    int code = port == PORT_REPLY
                   ? message_decode_as(&decoder, message->id, frames_head(&written), &again)
                   : message_decode(&decoder, &reader, &again);
    ASSERT(code == OK);
    ASSERT(again.id == message->id);
    struct message known = *message; /* unknown fields are not written again */
    known.unknown_field = (struct span){0};
    message_print(&before, &known, frames, 1 << 20);
    message_print(&after, &again, &written, 1 << 20);
    ASSERT(span_equal(text_span(&before), text_span(&after)));
    message_decoder_fini(&decoder);
    frames_fini(&written);
    text_fini(&before);
    text_fini(&after);
}

static void check_message(struct message *message, const struct frames *frames,
                          struct arena *scratch)
{
    struct outgoing outgoing = {0};
    if (message->id != MESSAGE_UNKNOWN && payloads_take(frames, message)) {
        bool is_stream = message_port_is_stream((enum message_port)message_info(message->id)->port);
        if (is_stream) {
            message_encode(&outgoing, message->id, &message->body);
        } else {
            message_encode_request(&outgoing, message->id, &message->body, message->reply,
                                   message->close);
        }
        check_again(message, frames, &outgoing, scratch);
    }
    if (message->id != MESSAGE_UNKNOWN) {
        payloads_drop(message);
    }
    outgoing_fini(&outgoing);
}

static void check_frames(const struct frames *frames)
{
    struct arena scratch;
    struct trace trace;
    struct text lines = {0};
    arena_init(&scratch);
    trace_init(&trace, TRACE_ANY);
    trace_message(&trace, frames, &lines);
    for (int port = 0; port < PORT_REPLY; port++) {
        struct message_decoder decoder;
        struct message_batch batch;
        struct message message;
        message_decoder_init(&decoder, (enum message_port)port, &scratch);
        int code = message_batch_open(frames_head(frames), &batch) == OK ? 1 : 0;
        while (code == 1 || code == ERR_MISSING || code == ERR_TYPE) {
            code = message_batch_next(&batch, &decoder, &message);
            if (code == 1) {
                check_message(&message, frames, &scratch);
            }
        }
        message_decoder_fini(&decoder);
    }
    trace_fini(&trace);
    text_fini(&lines);
    arena_fini(&scratch);
}

static void check_stream(struct span bytes)
{
    struct frame_reader reader;
    struct frames frames = {0};
    frame_reader_init(&reader);
    int code = 0;
    while (bytes.size > 0 && code >= 0) {
        size_t fed = frame_reader_feed(&reader, bytes);
        bytes = span_of(bytes.data + fed, bytes.size - fed);
        while ((code = frame_reader_next(&reader, &frames)) == 1) {
            check_frames(&frames);
        }
    }
    frame_reader_fini(&reader);
    frames_fini(&frames);
}

/* ---- From the table ------------------------------------------------------------------------------ */

struct choices {
    struct span left;
};

static uint8_t choose(struct choices *choices)
{
    if (choices->left.size == 0) {
        return 0;
    }
    choices->left.size--;
    return *choices->left.data++;
}

/* Some of the bytes, as ASCII if they must be text. */
static struct span choose_bytes(struct choices *choices, struct arena *scratch, bool is_text)
{
    size_t size = choose(choices);
    size = size < choices->left.size ? size : choices->left.size;
    uint8_t *copy = arena_alloc(scratch, size + 1);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = choose(choices);
        copy[i] = is_text ? byte & 0x7f : byte;
    }
    return span_of(copy, size);
}

static void write_key(struct choices *choices, struct arena *scratch, struct text *out)
{
    uint8_t kind = choose(choices);
    if (kind % 4 == 0) {
        msgpack_write_array(out, 2);
        msgpack_write_str(out, choose_bytes(choices, scratch, true));
        msgpack_write_int(out, (int8_t)choose(choices));
    } else if (kind % 4 == 1) {
        msgpack_write_int(out, (int64_t)choose(choices) << (kind / 4 % 56));
    } else {
        msgpack_write_str(out, choose_bytes(choices, scratch, true));
    }
}

static struct key_list choose_keys(struct choices *choices, struct arena *scratch)
{
    struct text keys = {0};
    uint32_t count = choose(choices) % 20;
    for (uint32_t i = 0; i < count; i++) {
        write_key(choices, scratch, &keys);
    }
    struct key_list list = {arena_copy(scratch, text_span(&keys)), count, true};
    text_fini(&keys);
    return list;
}

static struct span choose_key(struct choices *choices, struct arena *scratch)
{
    struct text key = {0};
    write_key(choices, scratch, &key);
    struct span copy = arena_copy(scratch, text_span(&key));
    text_fini(&key);
    return copy;
}

static struct blob *choose_blob(struct choices *choices, struct arena *scratch)
{
    struct span bytes = choose_bytes(choices, scratch, false);
    uint8_t kind = choose(choices);
    if (kind % 3 == 0 || bytes.size == 0) {
        struct text value = {0};
        msgpack_write_bin(&value, bytes);
        struct blob *blob = payload_value(text_span(&value));
        text_fini(&value);
        return blob;
    }
    return kind % 3 == 1 ? payload_serialized_bytes(bytes) : payload_pickled(bytes);
}

static void choose_field(struct choices *choices, struct arena *scratch,
                         const struct message_field *field, void *member)
{
    uint8_t first = choose(choices);
    struct text value = {0};
    if (field->need != FIELD_REQ && first % 3 == 0) {
        return; /* the default */
    }
    switch ((enum field_type)field->type) {
    case FIELD_KEY:
        *(struct span *)member = choose_key(choices, scratch);
        break;
    case FIELD_KEYS:
        *(struct key_list *)member = choose_keys(choices, scratch);
        break;
    case FIELD_STR:
    case FIELD_BIN:
        *(struct span *)member = choose_bytes(choices, scratch, field->type == FIELD_STR);
        break;
    case FIELD_INT:
        *(int64_t *)member = (int64_t)((uint64_t)(int8_t)choose(choices) << (first % 57));
        break;
    case FIELD_FLOAT:
        *(double *)member = (int8_t)choose(choices) / 7.0;
        break;
    case FIELD_BOOL:
        *(bool *)member = first % 2 == 0;
        break;
    case FIELD_VALUE:
        msgpack_write_bin(&value, choose_bytes(choices, scratch, false));
        *(struct span *)member = arena_copy(scratch, text_span(&value));
        break;
    case FIELD_PAYLOAD:
        ((struct payload *)member)->blob = choose_blob(choices, scratch);
        break;
    case FIELD_OP:
        break;
    }
    text_fini(&value);
}

static void check_row(struct choices *choices, struct arena *scratch)
{
    unsigned id = 1 + (choose(choices) << 8 | choose(choices)) % (MESSAGE_COUNT - 1);
    struct outgoing outgoing = {0};
    struct outgoing twin = {0};
    struct frames frames = {0};
    struct message message = {.id = (enum message_id)id, .reply = true};
    message_defaults(message.id, &message.body);
    for (const struct message_field *field = message_fields(message.id); field->name; field++) {
        choose_field(choices, scratch, field, (char *)&message.body + field->offset);
    }
    message_encode(&outgoing, message.id, &message.body);
    message_encode(&twin, message.id, &message.body);
    outgoing_flush_frames(&twin, &frames);

    struct message_decoder decoder;
    struct message decoded;
    enum message_port port = (enum message_port)message_info(message.id)->port;
    message_decoder_init(&decoder, port, scratch);
    int code = message_decode_as(&decoder, message.id, frames_head(&frames), &decoded);
    ASSERT(code == OK);
    ASSERT(decoded.reply && decoded.body.unknown_count == 0);
    check_again(&decoded, &frames, &outgoing, scratch);
    message_decoder_fini(&decoder);
    payloads_drop(&message);
    frames_fini(&frames);
    outgoing_fini(&outgoing);
    outgoing_fini(&twin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct span bytes = span_of(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        check_stream(bytes);
        return 0;
    }
    struct arena scratch;
    struct choices choices = {bytes};
    arena_init(&scratch);
    while (choices.left.size > 0) {
        check_row(&choices, &scratch);
    }
    arena_fini(&scratch);
    return 0;
}
