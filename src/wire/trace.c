/* trace.c: a conversation read from the side does not say what a message is an answer to, so each map
 * is tried at the ports that the direction allows; the first that knows its op prints it. */
#include "wire/trace.h"

enum { VALUE_SIZE_MAX = 400 };

void trace_init(struct trace *trace, uint32_t ports)
{
    *trace = (struct trace){.ports = ports, .value_size_max = VALUE_SIZE_MAX};
    arena_init(&trace->scratch);
    for (int port = 0; port < PORT_COUNT; port++) {
        message_decoder_init(&trace->decoders[port], (enum message_port)port, &trace->scratch);
    }
}

void trace_fini(struct trace *trace)
{
    for (int port = 0; port < PORT_COUNT; port++) {
        message_decoder_fini(&trace->decoders[port]);
    }
    arena_fini(&trace->scratch);
    *trace = (struct trace){0};
}

static bool op_is_known(const struct trace *trace, struct span map, int port)
{
    struct span value;
    struct span op;
    if (!(trace->ports >> port & 1) || msgpack_find(map, "op", &value) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(value);
    return msgpack_read_str(&reader, &op) == OK &&
           message_find((enum message_port)port, op) != MESSAGE_UNKNOWN;
}

/* One map that has an op, at the first port that knows it and finds all its fields right. */
static bool known_print(struct trace *trace, struct span map, const struct frames *frames,
                        struct text *out)
{
    const char *fault = NULL;
    for (int port = 0; port < PORT_COUNT; port++) {
        if (!op_is_known(trace, map, port)) {
            continue;
        }
        struct msgpack_reader reader = msgpack_reader(map);
        struct message message;
        if (message_decode(&trace->decoders[port], &reader, &message) == OK) {
            message_print(out, &message, frames, trace->value_size_max);
            return true;
        }
        fault = text_cstr(&trace->decoders[port].error);
    }
    if (fault != NULL) {
        text_printf(out, "! %s: ", fault);
    }
    return false;
}

static void value_print(struct trace *trace, struct span value, const struct frames *frames,
                        struct text *out)
{
    struct msgpack_reader reader = msgpack_reader(value);
    bool is_map = msgpack_peek(&reader) == MSGPACK_MAP;
    if (!is_map || !known_print(trace, value, frames, out)) {
        payload_print(out, frames, value, trace->value_size_max);
    }
    text_add_char(out, '\n');
}

/* A batch of maps: each on its own line. false: it is no such thing. */
static bool batch_print(struct trace *trace, struct span head, const struct frames *frames,
                        struct text *out)
{
    struct msgpack_reader reader = msgpack_reader(head);
    uint32_t count;
    if (msgpack_read_array(&reader, &count) != OK || msgpack_peek(&reader) != MSGPACK_MAP) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span item;
        int code = msgpack_read_value(&reader, &item);
        ASSERT(code == OK); /* the whole head was checked before */
        value_print(trace, item, frames, out);
    }
    return true;
}

void trace_message(struct trace *trace, const struct frames *message, struct text *out)
{
    struct span head = frames_head(message);
    int code = msgpack_check(head);
    arena_reset(&trace->scratch);
    if (code != OK) {
        text_printf(out, "! frame 0 (%zu bytes): %s\n", head.size, error_meaning(code));
    } else if (!batch_print(trace, head, message, out)) {
        value_print(trace, head, message, out);
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int trace_unhex(struct span hex, struct text *out)
{
    struct text bytes = {0};
    int high = -1;
    for (size_t i = 0; i < hex.size; i++) {
        uint8_t c = hex.data[i];
        int digit = hex_digit(c);
        bool is_blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
        if (digit < 0 && (!is_blank || high >= 0)) {
            text_fini(&bytes);
            return ERR_MALFORMED;
        }
        if (digit >= 0 && high >= 0) {
            text_add_char(&bytes, (char)(high << 4 | digit));
            high = -1;
        } else if (digit >= 0) {
            high = digit;
        }
    }
    if (high < 0) {
        text_add(out, text_span(&bytes));
    }
    text_fini(&bytes);
    return high < 0 ? OK : ERR_MALFORMED;
}
