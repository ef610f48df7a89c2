/* message_decode.c: a map becomes a struct.
 *
 * Stock writes a message's fields in a fixed order, and a connection repeats the same few messages. So
 * a stream's map is first taken for the message that had as many fields the last time, in one pass that
 * only compares names. If that does not hold, and for requests, it is read in two passes: the first
 * moves over the map and notes where names and values are, the second looks each name up in the table
 * of the message that `op`, wherever it stands, names. Either way every byte is checked once. */
#include <math.h>

#include "base/limits.h"
#include "wire/message_field.h"
#include "wire/msgpack_fast.h"

enum {
    FIELDS_MAX = 128, /* of one map: six times the largest message */
    ROWS_MAX = 64,    /* of one message in the table: bits of a mask */
};

struct pair {
    struct span name;
    struct span value;
};

void message_decoder_init(struct message_decoder *decoder, enum message_port port,
                          struct arena *scratch)
{
    *decoder = (struct message_decoder){.port = port, .scratch = scratch};
}

void message_decoder_fini(struct message_decoder *decoder)
{
    text_fini(&decoder->error);
}

/* ---- Pass one: the index ------------------------------------------------------------------------ */

/* msgpack_read_str, with the usual case in place. */
static inline int name_read(struct msgpack_reader *reader, struct span *out_name)
{
    struct span name = msgpack_fast_str(reader->at, (size_t)(reader->end - reader->at));
    if (name.data == NULL) {
        return msgpack_read_str(reader, out_name);
    }
    *out_name = name;
    reader->at = name.data + name.size;
    return OK;
}

/* msgpack_read_value, with the cheap cases in place. */
static inline int value_read(struct msgpack_reader *reader, struct span *out_value)
{
    const uint8_t *at = reader->at;
    size_t left = (size_t)(reader->end - at);
    size_t size = msgpack_fast_size(at, left);
    if (size == 0) {
        struct span text = msgpack_fast_str(at, left);
        if (text.data == NULL) {
            return msgpack_read_value(reader, out_value);
        }
        size = (size_t)(text.data - at) + text.size;
    }
    *out_value = span_of(at, size);
    reader->at += size;
    return OK;
}

static int map_index(struct msgpack_reader *reader, struct pair *pairs, uint32_t *out_count)
{
    uint32_t count;
    int code = msgpack_read_map(reader, &count);
    if (code != OK) {
        return code == ERR_TYPE ? ERR_MALFORMED : code;
    }
    if (count > FIELDS_MAX) {
        return ERR_LIMIT;
    }
    for (uint32_t i = 0; i < count; i++) {
        code = name_read(reader, &pairs[i].name);
        if (code == OK) {
            code = value_read(reader, &pairs[i].value);
        }
        if (code != OK) {
            return code == ERR_TYPE ? ERR_MALFORMED : code;
        }
    }
    *out_count = count;
    return OK;
}

/* ---- Pass two: the fields ----------------------------------------------------------------------- */

/* The names of the table are short: two words that may overlap beat a call of memcmp. */
static inline bool name_is(struct span name, const char *text, size_t size)
{
    uint64_t ours[2];
    uint64_t theirs[2];
    if (name.size != size) {
        return false;
    }
    if (size < 8) {
        size_t i = 0;
        while (i < size && name.data[i] == (uint8_t)text[i]) {
            i++;
        }
        return i == size;
    }
    if (size > 16) {
        return memcmp(name.data, text, size) == 0;
    }
    memcpy(&ours[0], text, 8);
    memcpy(&ours[1], text + size - 8, 8);
    memcpy(&theirs[0], name.data, 8);
    memcpy(&theirs[1], name.data + size - 8, 8);
    return ours[0] == theirs[0] && ours[1] == theirs[1];
}

/* An int, or what Python's int() would make of a float or bool. */
static int number_decode(struct span value, int64_t *out)
{
    struct msgpack_reader reader = msgpack_reader(value);
    double real;
    bool flag;
    if (value.data[0] < 0x80) {
        *out = value.data[0];
        return OK;
    }
    int code = msgpack_read_int(&reader, out);
    if (code != ERR_TYPE) {
        return code;
    }
    if (msgpack_read_bool(&reader, &flag) == OK) {
        *out = flag ? 1 : 0;
        return OK;
    }
    code = msgpack_read_float(&reader, &real);
    if (code == OK && !(fabs(real) < 9.2e18)) {
        return ERR_TYPE;
    }
    if (code == OK) {
        *out = (int64_t)real;
    }
    return code;
}

static int real_decode(struct span value, double *out)
{
    struct msgpack_reader reader = msgpack_reader(value);
    bool flag;
    int code = msgpack_read_float(&reader, out);
    if (code == ERR_TYPE && msgpack_read_bool(&reader, &flag) == OK) {
        *out = flag ? 1 : 0;
        return OK;
    }
    return code;
}

static int flag_decode(struct span value, bool *out)
{
    struct msgpack_reader reader = msgpack_reader(value);
    double real;
    int code = msgpack_read_bool(&reader, out);
    if (code == ERR_TYPE && msgpack_read_float(&reader, &real) == OK) {
        *out = real != 0;
        return OK;
    }
    return code;
}

/* A str or bin that was checked with the map: no need to look at its bytes again. */
static inline bool bytes_view(struct span value, bool is_text, struct span *out)
{
    uint8_t mark = value.data[0];
    if (is_text && (mark & 0xe0) == 0xa0) {
        *out = span_of(value.data + 1, value.size - 1);
        return true;
    }
    if (mark == (is_text ? 0xd9 : 0xc4)) {
        *out = span_of(value.data + 2, value.size - 2);
        return true;
    }
    return false;
}

/* A value that was checked is a key as it stands: a str of up to 255 bytes in shortest form. */
static inline bool is_plain_key(struct span value)
{
    return (value.data[0] & 0xe0) == 0xa0 || (value.data[0] == 0xd9 && value.data[1] >= 32);
}

/* The value, which is not nil, into the field's member. */
static int field_decode(const struct message_field *field, struct span value, struct arena *scratch,
                        void *member)
{
    struct msgpack_reader reader = msgpack_reader(value);
    switch ((enum field_type)field->type) {
    case FIELD_KEY:
        if (is_plain_key(value)) {
            *(struct span *)member = value;
            return OK;
        }
        return key_read(&reader, scratch, member);
    case FIELD_KEYS:
        return key_list_read(&reader, scratch, member);
    case FIELD_STR:
        return bytes_view(value, true, member) ? OK : msgpack_read_str(&reader, member);
    case FIELD_BIN:
        return bytes_view(value, false, member) ? OK : msgpack_read_bin(&reader, member);
    case FIELD_INT:
        return number_decode(value, member);
    case FIELD_FLOAT:
        return real_decode(value, member);
    case FIELD_BOOL:
        return flag_decode(value, member);
    case FIELD_VALUE:
        *(struct span *)member = value;
        return OK;
    case FIELD_PAYLOAD:
        *(struct payload *)member = (struct payload){.raw = value};
        return OK;
    case FIELD_OP:
        break;
    }
    return OK;
}

static const char *field_wish(const struct message_field *field)
{
    static const char *const wishes[] = {
        [FIELD_KEY] = "a key (str, int, float or a tuple of them)",
        [FIELD_KEYS] = "a list or set of keys",
        [FIELD_STR] = "a str",
        [FIELD_BIN] = "bytes",
        [FIELD_INT] = "an int",
        [FIELD_FLOAT] = "a number",
        [FIELD_BOOL] = "a bool",
        [FIELD_VALUE] = "a value",
        [FIELD_PAYLOAD] = "a value",
        [FIELD_OP] = "a str",
    };
    return wishes[field->type];
}

static const char *message_title(enum message_id id)
{
    const struct message_info *info = message_info(id);
    return info->op_size > 0 ? info->op : info->name;
}

/* Decode one value; nil means the default where the table allows it. */
static int field_take(struct message_decoder *decoder, enum message_id id,
                      const struct message_field *field, struct span value, void *body)
{
    bool keeps_nil = field->type == FIELD_VALUE || field->type == FIELD_PAYLOAD;
    if (field->need != FIELD_REQ && !keeps_nil && msgpack_is_nil(value)) {
        message_field_default(field, body);
        return OK;
    }
    void *member = (char *)body + field->offset;
    int code = field_decode(field, value, decoder->scratch, member);
    if (field->need == FIELD_REQ && msgpack_is_nil(value)) {
        code = ERR_TYPE;
    }
    if (code != OK) {
        struct msgpack_reader reader = msgpack_reader(value);
        message_field_default(field, body);
        text_clear(&decoder->error);
        text_printf(&decoder->error, "%s: field '%s' must be %s, not %s", message_title(id),
                    field->name, field_wish(field), msgpack_type_name(msgpack_peek(&reader)));
        return ERR_TYPE;
    }
    return OK;
}

/* A field that the table lacks: a control field of a request, `op`, or one that is unknown. */
static int other_take(struct message_decoder *decoder, enum message_id id, const struct pair *pair,
                      struct message *out)
{
    if (name_is(pair->name, "op", 2)) {
        return OK;
    }
    bool is_request = id == MESSAGE_UNKNOWN || !message_port_is_stream(message_info(id)->port);
    bool *flag = name_is(pair->name, "reply", 5)   ? &out->reply
                 : name_is(pair->name, "close", 5) ? &out->close
                                                   : NULL;
    if (is_request && flag != NULL) {
        return flag_decode(pair->value, flag);
    }
    if (is_request && name_is(pair->name, "serializers", 11)) {
        out->serializers = pair->value;
        return OK;
    }
    if (id != MESSAGE_UNKNOWN) {
        out->body.unknown_count++;
        decoder->unknown_count++;
        if (out->unknown_field.data == NULL) {
            out->unknown_field = pair->name;
        }
    }
    return OK;
}

/* The row of `name`: the one expected next, or any other. -1: none. */
static inline int row_find(const struct message_field *fields, int expected, struct span name)
{
    const struct message_field *field = &fields[expected];
    if (field->name != NULL && name_is(name, field->name, field->name_size)) {
        return expected;
    }
    for (int row = 0; fields[row].name != NULL; row++) {
        if (name_is(name, fields[row].name, fields[row].name_size)) {
            return row;
        }
    }
    return -1;
}

/* Rows that the map lacked get their default, if they may. */
static int rows_finish(struct message_decoder *decoder, enum message_id id, uint64_t seen,
                       void *body)
{
    int code = OK;
    const struct message_field *fields = message_fields(id);
    for (int row = 0; fields[row].name != NULL; row++) {
        if (seen >> row & 1 || fields[row].type == FIELD_OP) {
            continue;
        }
        message_field_default(&fields[row], body);
        if (fields[row].need != FIELD_OPT && code == OK) {
            text_clear(&decoder->error);
            text_printf(&decoder->error, "%s: field '%s' is missing", message_title(id),
                        fields[row].name);
            code = ERR_MISSING;
        }
    }
    return code;
}

static int pairs_decode(struct message_decoder *decoder, enum message_id id,
                        const struct pair *pairs, uint32_t count, struct message *out)
{
    const struct message_field *fields = message_fields(id);
    uint64_t seen = 0;
    int expected = 0;
    int code = OK;
    for (uint32_t i = 0; i < count; i++) {
        int row = row_find(fields, expected, pairs[i].name);
        int fault;
        if (row >= 0 && fields[row].type == FIELD_OP) {
            fault = OK;
        } else if (row >= 0) {
            fault = field_take(decoder, id, &fields[row], pairs[i].value, &out->body);
        } else {
            fault = other_take(decoder, id, &pairs[i], out);
        }
        if (row >= 0) {
            ASSERT(row < ROWS_MAX);
            seen |= 1ull << row;
            expected = row + 1;
        }
        code = code == OK ? fault : code;
    }
    int missing = rows_finish(decoder, id, seen, &out->body);
    return code == OK ? missing : code;
}

static void message_reset(struct message *out)
{
    out->id = MESSAGE_UNKNOWN;
    out->op = (struct span){0};
    out->unknown_field = (struct span){0};
    out->serializers = (struct span){0};
    out->reply = true;
    out->close = false;
    out->body.unknown_count = 0;
}

/* Take `op` out of the index. ERR_MISSING: there is none, or it is no str. */
static int op_take(struct message_decoder *decoder, const struct pair *pairs, uint32_t count,
                   struct message *out)
{
    for (uint32_t i = 0; i < count; i++) {
        struct msgpack_reader reader = msgpack_reader(pairs[i].value);
        if (name_is(pairs[i].name, "op", 2) && msgpack_read_str(&reader, &out->op) == OK) {
            out->id = message_find(decoder->port, out->op);
            decoder->guess[count % 16] = (uint16_t)out->id;
            return OK;
        }
    }
    text_clear(&decoder->error);
    text_add_cstr(&decoder->error, "the message has no 'op'");
    return ERR_MISSING;
}

/* ---- One pass: the guess ------------------------------------------------------------------------ */

/* Move over `name` if that is what comes next. */
static inline bool name_follows(struct msgpack_reader *reader, const char *name, size_t size)
{
    const uint8_t *at = reader->at;
    if ((size_t)(reader->end - at) <= size || at[0] != (0xa0 | size) ||
        !name_is(span_of(at + 1, size), name, size)) {
        return false;
    }
    reader->at += 1 + size;
    return true;
}

/* Move over "op" and the guessed message's op, if those come next. */
static inline bool op_follows(struct msgpack_reader *reader, const struct message_info *info,
                              struct message *out)
{
    struct span op;
    if (!name_follows(reader, "op", 2) || name_read(reader, &op) != OK ||
        !name_is(op, info->op, info->op_size)) {
        return false;
    }
    out->op = op;
    return true;
}

/* Decode a stream's map as the message that had as many fields last. false: it is another one, or has
 * other fields or faults; nothing was moved then. */
static bool guess_decode(struct message_decoder *decoder, struct msgpack_reader *reader,
                         struct message *out)
{
    struct msgpack_reader cursor = *reader;
    uint32_t left;
    if (!message_port_is_stream(decoder->port) || msgpack_read_map(&cursor, &left) != OK ||
        decoder->guess[left % 16] == MESSAGE_UNKNOWN) {
        return false;
    }
    enum message_id id = (enum message_id)decoder->guess[left % 16];
    const struct message_info *info = message_info(id);
    message_reset(out);
    bool has_op = op_follows(&cursor, info, out);
    left -= has_op ? 1 : 0;
    for (const struct message_field *field = message_fields(id); field->name != NULL; field++) {
        struct span value;
        if (field->type == FIELD_OP && !has_op) {
            has_op = op_follows(&cursor, info, out);
            left--;
        } else if (left > 0 && name_follows(&cursor, field->name, field->name_size)) {
            if (value_read(&cursor, &value) != OK ||
                field_take(decoder, id, field, value, &out->body) != OK) {
                return false;
            }
            left--;
        } else if (field->type == FIELD_OP || field->need == FIELD_OPT) {
            message_field_default(field, &out->body);
        } else {
            return false;
        }
    }
    if (left > 0 || !has_op) {
        return false;
    }
    out->id = id;
    out->map = span_of(reader->at, (size_t)(cursor.at - reader->at));
    *reader = cursor;
    return true;
}

int message_decode(struct message_decoder *decoder, struct msgpack_reader *reader,
                   struct message *out_message)
{
    if (guess_decode(decoder, reader, out_message)) {
        return OK;
    }
    struct pair pairs[FIELDS_MAX];
    uint32_t count;
    const uint8_t *begin = reader->at;
    int code = map_index(reader, pairs, &count);
    if (code != OK) {
        text_clear(&decoder->error);
        text_printf(&decoder->error, "not a message: %s", error_meaning(code));
        return code;
    }
    message_reset(out_message);
    out_message->map = span_of(begin, (size_t)(reader->at - begin));
    code = op_take(decoder, pairs, count, out_message);
    if (code != OK) {
        return code;
    }
    if (out_message->id != MESSAGE_UNKNOWN) {
        return pairs_decode(decoder, out_message->id, pairs, count, out_message);
    }
    decoder->unknown_count++;
    for (uint32_t i = 0; i < count && code == OK; i++) {
        code = other_take(decoder, MESSAGE_UNKNOWN, &pairs[i], out_message);
    }
    return code;
}

int message_decode_as(struct message_decoder *decoder, enum message_id id, struct span bytes,
                      struct message *out_message)
{
    struct pair pairs[FIELDS_MAX];
    uint32_t count;
    struct msgpack_reader reader = msgpack_reader(bytes);
    int code = map_index(&reader, pairs, &count);
    if (code == OK && !msgpack_at_end(&reader)) {
        code = ERR_MALFORMED;
    }
    if (code != OK) {
        text_clear(&decoder->error);
        text_printf(&decoder->error, "%s: %s", message_title(id), error_meaning(code));
        return code;
    }
    message_reset(out_message);
    out_message->id = id;
    out_message->map = bytes;
    return pairs_decode(decoder, id, pairs, count, out_message);
}

/* ---- Batches ------------------------------------------------------------------------------------ */

int message_batch_open(struct span frame0, struct message_batch *out_batch)
{
    struct msgpack_reader reader = msgpack_reader(frame0);
    uint32_t count = 1;
    if (msgpack_peek(&reader) != MSGPACK_MAP) {
        int code = msgpack_read_array(&reader, &count);
        if (code != OK) {
            return code == ERR_TYPE ? ERR_MALFORMED : code;
        }
    }
    *out_batch = (struct message_batch){reader, count};
    return OK;
}

int message_batch_next(struct message_batch *batch, struct message_decoder *decoder,
                       struct message *out_message)
{
    struct msgpack_reader *reader = &batch->reader;
    if (batch->left == 0) {
        return msgpack_at_end(reader) ? 0 : ERR_MALFORMED;
    }
    int code = 0; /* the end, if the string "OK" comes next */
    if (msgpack_peek(reader) != MSGPACK_STR) {
        code = message_decode(decoder, reader, out_message);
        code = code == OK ? 1 : code;
    }
    if (code == 1 || code == ERR_MISSING || code == ERR_TYPE) {
        batch->left--;
    } else {
        batch->left = 0;
        reader->at = reader->end;
    }
    return code;
}
