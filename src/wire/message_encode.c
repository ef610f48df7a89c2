/* message_encode.c: structs become maps by the table; the messages that a scheduler sends for every
 * task are written by hand, into room that is reserved once. */
#include "wire/message_field.h"

/* ---- By the table ------------------------------------------------------------------------------- */

static bool field_is_written(const struct message_field *field, const void *body)
{
    return field->need != FIELD_OPT || !message_field_is_default(field, body);
}

static void field_encode(struct outgoing *out, const struct message_field *field, const void *body)
{
    const void *member = (const char *)body + field->offset;
    const struct span *span = member;
    struct text *head = &out->head;
    if (field->need == FIELD_NIL && message_field_is_default(field, body) &&
        field->type != FIELD_BOOL && field->type != FIELD_KEYS) {
        msgpack_write_nil(head);
        return;
    }
    switch ((enum field_type)field->type) {
    case FIELD_KEY:
    case FIELD_VALUE:
        ASSERT(span->data != NULL);
        msgpack_write_raw(head, *span);
        break;
    case FIELD_STR:
        ASSERT(span->data != NULL);
        msgpack_write_str(head, *span);
        break;
    case FIELD_BIN:
        ASSERT(span->data != NULL);
        msgpack_write_bin(head, *span);
        break;
    case FIELD_KEYS:
        key_list_write(head, member);
        break;
    case FIELD_INT:
        msgpack_write_int(head, *(const int64_t *)member);
        break;
    case FIELD_FLOAT:
        msgpack_write_float(head, *(const double *)member);
        break;
    case FIELD_BOOL:
        msgpack_write_bool(head, *(const bool *)member);
        break;
    case FIELD_PAYLOAD: {
        const struct payload *payload = member;
        ASSERT(payload->blob != NULL || payload->raw.data != NULL);
        if (payload->blob != NULL) {
            payload_put(out, payload->blob);
        } else {
            msgpack_write_raw(head, payload->raw);
        }
        break;
    }
    case FIELD_OP:
        UNREACHABLE();
    }
}

static void flag_encode(struct text *head, const char *name, bool value)
{
    msgpack_write_cstr(head, name);
    msgpack_write_bool(head, value);
}

static void op_encode(struct text *head, const struct message_info *info)
{
    msgpack_write_cstr(head, "op");
    msgpack_write_str(head, span_of(info->op, info->op_size));
}

/* The map, with `op` in its place and, for requests, the control fields around it. */
static void encode(struct outgoing *out, enum message_id id, const void *body, const bool *reply,
                   bool close)
{
    const struct message_info *info = message_info(id);
    const struct message_field *fields = message_fields(id);
    bool has_op = info->op_size > 0;
    bool op_is_first = has_op;
    uint32_t count = (has_op ? 1 : 0) + (reply != NULL ? 1 : 0) + (close ? 1 : 0);
    for (const struct message_field *field = fields; field->name != NULL; field++) {
        if (field->type == FIELD_OP) {
            op_is_first = false;
        } else if (field_is_written(field, body)) {
            count++;
        }
    }
    if (out->is_batch) {
        outgoing_item(out);
    }
    msgpack_write_map(&out->head, count);
    if (close) {
        flag_encode(&out->head, "close", true);
    }
    if (op_is_first) {
        op_encode(&out->head, info);
    }
    for (const struct message_field *field = fields; field->name != NULL; field++) {
        if (field->type == FIELD_OP) {
            op_encode(&out->head, info);
        } else if (field_is_written(field, body)) {
            msgpack_write_str(&out->head, span_of(field->name, field->name_size));
            field_encode(out, field, body);
        }
    }
    if (reply != NULL) {
        flag_encode(&out->head, "reply", *reply);
    }
}

void message_encode(struct outgoing *out, enum message_id id, const void *body)
{
    const struct message_info *info = message_info(id);
    bool reply = true;
    bool is_request = info->op_size > 0 && !message_port_is_stream((enum message_port)info->port);
    encode(out, id, body, is_request ? &reply : NULL, false);
}

void message_encode_request(struct outgoing *out, enum message_id id, const void *body, bool reply,
                            bool close)
{
    encode(out, id, body, &reply, close);
}

/* ---- By hand ------------------------------------------------------------------------------------ */

static inline uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/* A string literal that is msgpack already. */
#define PUT(at, literal) put((at), (literal), sizeof(literal) - 1)

static inline uint8_t *put_span(uint8_t *at, struct span bytes)
{
    return put(at, bytes.data, bytes.size);
}

/* At most 9 bytes. */
static inline uint8_t *put_uint(uint8_t *at, uint64_t value)
{
    if (value < 0x80) {
        *at = (uint8_t)value;
        return at + 1;
    }
    unsigned size = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;
    at[0] = (uint8_t)(size == 1 ? 0xcc : size == 2 ? 0xcd : size == 4 ? 0xce : 0xcf);
    for (unsigned i = 0; i < size; i++) {
        at[1 + i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
    return at + 1 + size;
}

/* A mark and the `width` bytes of a size. */
static inline uint8_t *put_wide(uint8_t *at, uint8_t mark, size_t size, unsigned width)
{
    *at++ = mark;
    for (unsigned i = 0; i < width; i++) {
        *at++ = (uint8_t)(size >> (8 * (width - 1 - i)));
    }
    return at;
}

/* At most 5 bytes and the text. */
static inline uint8_t *put_str(uint8_t *at, struct span text)
{
    if (text.size < 32) {
        *at++ = (uint8_t)(0xa0 | text.size);
    } else if (text.size <= UINT8_MAX) {
        at = put_wide(at, 0xd9, text.size, 1);
    } else {
        bool is_short = text.size <= UINT16_MAX;
        at = put_wide(at, is_short ? 0xda : 0xdb, text.size, is_short ? 2 : 4);
    }
    return put_span(at, text);
}

/* The head of an array or map: `fix` is its mark for up to 15, `wide` that for 16 bits, before that for
 * 32. At most 5 bytes. */
static inline uint8_t *put_count(uint8_t *at, uint32_t count, uint8_t fix, uint8_t wide)
{
    if (count < 16) {
        *at = (uint8_t)(fix | count);
        return at + 1;
    }
    bool is_short = count <= UINT16_MAX;
    return put_wide(at, is_short ? wide : (uint8_t)(wide + 1), count, is_short ? 2 : 4);
}

static inline uint8_t *put_map(uint8_t *at, uint32_t count)
{
    return put_count(at, count, 0x80, 0xde);
}

static inline uint8_t *put_array(uint8_t *at, uint32_t count)
{
    return put_count(at, count, 0x90, 0xdc);
}

/* An integral number as an int, else a float: at most 9 bytes. */
static inline uint8_t *put_number(uint8_t *at, double value)
{
    int64_t whole = value > -1e15 && value < 1e15 ? (int64_t)value : INT64_MIN;
    if ((double)whole == value && whole >= 0) {
        return put_uint(at, (uint64_t)whole);
    }
    struct text number = {0};
    msgpack_write_number(&number, value);
    at = put_span(at, text_span(&number));
    text_fini(&number);
    return at;
}

/* End of what was written into the room of `head`. */
static inline void put_done(struct text *head, const uint8_t *at)
{
    head->size = (size_t)(at - (const uint8_t *)head->data);
    head->data[head->size] = '\0';
}

/* Bytes that the fields before run_spec can take at most, besides who_has and nbytes. */
static size_t compute_task_size(const struct compute_task *task)
{
    size_t size = 256 + task->key.size + task->stimulus_id.size;
    for (uint32_t i = 0; i < task->dependency_count; i++) {
        const struct compute_task_dependency *dependency = &task->dependencies[i];
        size += 2 * dependency->key.size + 16;
        for (uint32_t j = 0; j < dependency->holder_count; j++) {
            size += dependency->holders[j].size;
        }
    }
    return size;
}

static uint8_t *put_dependencies(uint8_t *at, const struct compute_task *task)
{
    at = PUT(at, "\xa7who_has");
    at = put_map(at, task->dependency_count);
    for (uint32_t i = 0; i < task->dependency_count; i++) {
        const struct compute_task_dependency *dependency = &task->dependencies[i];
        at = put_span(at, dependency->key);
        at = put_array(at, dependency->holder_count);
        for (uint32_t j = 0; j < dependency->holder_count; j++) {
            at = put_span(at, dependency->holders[j]);
        }
    }
    at = PUT(at, "\xa6nbytes");
    at = put_map(at, task->dependency_count);
    for (uint32_t i = 0; i < task->dependency_count; i++) {
        const struct compute_task_dependency *dependency = &task->dependencies[i];
        ASSERT(dependency->nbytes >= 0);
        at = put_span(at, dependency->key);
        at = put_uint(at, (uint64_t)dependency->nbytes);
    }
    return at;
}

void message_encode_compute_task(struct outgoing *out, const struct compute_task *task)
{
    struct text *head = &out->head;
    ASSERT(task->run_id >= 0);
    if (out->is_batch) {
        outgoing_item(out);
    }
    uint8_t *at = msgpack_room(head, compute_task_size(task));
    *at++ = task->ahead ? 0x8d : 0x8c; /* a map of so many fields */
    at = PUT(at, "\xa2op\xac"
                 "compute-task\xa3key");
    at = put_span(at, task->key);
    at = PUT(at, "\xa6run_id");
    at = put_uint(at, (uint64_t)task->run_id);
    at = PUT(at, "\xa8priority\x93");
    for (unsigned i = 0; i < 3; i++) {
        at = put_number(at, task->priority[i]);
    }
    at = PUT(at, "\xabstimulus_id");
    at = put_str(at, task->stimulus_id);
    at = put_dependencies(at, task);
    at = PUT(at, "\xa8run_spec");
    put_done(head, at);
    payload_put(out, task->run_spec);

    at = msgpack_room(head, 96 + task->resource_restrictions.size);
    at = PUT(at, "\xb5resource_restrictions");
    bool restricted = task->resource_restrictions.data != NULL;
    at = restricted ? put_span(at, task->resource_restrictions) : PUT(at, "\xc0");
    at = PUT(at, "\xa5"
                 "actor");
    *at++ = task->actor ? 0xc3 : 0xc2;
    at = PUT(at, "\xab"
                 "annotations");
    if (task->annotations == NULL) {
        at = PUT(at, "\x80");
    }
    put_done(head, at);
    if (task->annotations != NULL) {
        payload_put(out, task->annotations);
    }
    at = msgpack_room(head, 32 + task->span_id.size);
    at = PUT(at, "\xa7span_id");
    at = task->span_id.data != NULL ? put_str(at, task->span_id) : PUT(at, "\xc0");
    if (task->ahead) {
        at = PUT(at, "\xaa"
                     "cask-ahead\xc3");
    }
    put_done(head, at);
}

void message_encode_key_in_memory(struct outgoing *out, struct span key, struct span type)
{
    struct text *head = &out->head;
    bool has_type = type.data != NULL;
    if (out->is_batch) {
        outgoing_item(out);
    }
    uint8_t *at = msgpack_room(head, 32 + key.size);
    *at++ = has_type ? 0x83 : 0x82;
    at = PUT(at, "\xa2op\xadkey-in-memory\xa3key");
    at = put_span(at, key);
    put_done(head, at);
    if (has_type) {
        msgpack_write_cstr(head, "type");
        msgpack_write_bin(head, type);
    }
}

void message_encode_keys(struct outgoing *out, enum message_id id, const struct span *keys,
                         uint32_t count, struct span stimulus_id)
{
    const struct message_info *info = message_info(id);
    struct text *head = &out->head;
    size_t size = 64 + info->op_size + stimulus_id.size;
    for (uint32_t i = 0; i < count; i++) {
        size += keys[i].size;
    }
    if (out->is_batch) {
        outgoing_item(out);
    }
    uint8_t *at = msgpack_room(head, size);
    at = PUT(at, "\x83\xa2op");
    at = put_str(at, span_of(info->op, info->op_size));
    at = PUT(at, "\xa4keys");
    at = put_array(at, count);
    for (uint32_t i = 0; i < count; i++) {
        at = put_span(at, keys[i]);
    }
    at = PUT(at, "\xabstimulus_id");
    at = put_str(at, stimulus_id);
    put_done(head, at);
}
