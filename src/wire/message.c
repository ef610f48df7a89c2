/* message.c: the table itself, made from messages.def, and what looks things up in it. */
#include "wire/message.h"

#include <stddef.h>

#include "wire/message_field.h"

static const struct message_info infos[MESSAGE_COUNT] = {
    [MESSAGE_UNKNOWN] = {"unknown", "", 0, PORT_COUNT},
#define MESSAGE(ID, name, op, port) [MESSAGE_##ID] = {#name, op, sizeof(op) - 1, PORT_##port},
#include "wire/messages.def"
};

static const struct {
    const char *name;
    bool is_stream;
} ports[PORT_COUNT] = {
#define PORT(id, is_stream, meaning) [PORT_##id] = {#id, is_stream},
#include "wire/messages.def"
};

const struct message_info *message_info(enum message_id id)
{
    ASSERT(id < MESSAGE_COUNT);
    return &infos[id];
}

/* LONG: one case a message, all made by the table; the typedef is what lets a row find its struct. */
const struct message_field *message_fields(enum message_id id)
{
    switch (id) {
#define MESSAGE(ID, name, op, port)                                                                \
    case MESSAGE_##ID: {                                                                           \
        typedef struct msg_##name body;                                                            \
        static const struct message_field fields[] = {
#define FIELD(type, c_name, wire, need, default_)                                                  \
    {wire, sizeof(wire) - 1, FIELD_##type, FIELD_##need, offsetof(body, c_name), default_},
#define OP_HERE {"op", 2, FIELD_OP, FIELD_REQ, 0, 0},
#define END                                                                                        \
    {NULL, 0, 0, 0, offsetof(body, unknown_count), 0},                                             \
    }                                                                                              \
    ;                                                                                              \
    return fields;                                                                                 \
    }
#include "wire/messages.def"
    case MESSAGE_UNKNOWN:
    case MESSAGE_COUNT:
        break;
    }
    UNREACHABLE();
}

const char *message_port_name(enum message_port port)
{
    ASSERT(port < PORT_COUNT);
    return ports[port].name;
}

bool message_port_is_stream(enum message_port port)
{
    ASSERT(port < PORT_COUNT);
    return ports[port].is_stream;
}

enum message_id message_find(enum message_port port, struct span op)
{
    for (unsigned id = 1; id < MESSAGE_COUNT; id++) {
        const struct message_info *info = &infos[id];
        if (info->port == port && info->op_size == op.size && op.size > 0 &&
            memcmp(info->op, op.data, op.size) == 0) {
            return (enum message_id)id;
        }
    }
    return MESSAGE_UNKNOWN;
}

void message_field_default(const struct message_field *field, void *body)
{
    void *member = (char *)body + field->offset;
    switch ((enum field_type)field->type) {
    case FIELD_KEY:
    case FIELD_STR:
    case FIELD_BIN:
    case FIELD_VALUE:
        *(struct span *)member = (struct span){0};
        break;
    case FIELD_KEYS:
        *(struct key_list *)member = (struct key_list){0};
        break;
    case FIELD_PAYLOAD:
        *(struct payload *)member = (struct payload){0};
        break;
    case FIELD_INT:
        *(int64_t *)member = field->default_value;
        break;
    case FIELD_FLOAT:
        *(double *)member = field->default_value;
        break;
    case FIELD_BOOL:
        *(bool *)member = field->default_value != 0;
        break;
    case FIELD_OP:
        break;
    }
}

void message_defaults(enum message_id id, void *body)
{
    *(uint32_t *)body = 0; /* unknown_count comes first in every struct */
    for (const struct message_field *field = message_fields(id); field->name != NULL; field++) {
        message_field_default(field, body);
    }
}

/* ---- For people --------------------------------------------------------------------------------- */

static void print_keys(struct text *out, struct key_list list, size_t size_max)
{
    size_t end = out->size + size_max;
    struct span key;
    text_add_char(out, '[');
    for (uint32_t i = 0; key_list_next(&list, &key); i++) {
        text_add_cstr(out, i > 0 ? ", " : "");
        key_repr(out, key);
        if (out->size >= end && list.count > 0) {
            text_printf(out, ", … %u more", list.count);
            break;
        }
    }
    text_add_char(out, ']');
}

static void print_field(struct text *out, const struct message_field *field, const void *body,
                        const struct frames *frames, size_t size_max)
{
    const void *member = (const char *)body + field->offset;
    const struct span *span = member;
    switch ((enum field_type)field->type) {
    case FIELD_KEY:
        key_repr(out, *span);
        break;
    case FIELD_STR:
        key_repr_text(out, *span);
        break;
    case FIELD_BIN:
        text_printf(out, "<%zu bytes>", span->size);
        break;
    case FIELD_VALUE:
        payload_print(out, frames, *span, size_max);
        break;
    case FIELD_PAYLOAD:
        payload_print(out, frames, ((const struct payload *)member)->raw, size_max);
        break;
    case FIELD_KEYS:
        print_keys(out, *(const struct key_list *)member, size_max);
        break;
    case FIELD_INT:
        text_printf(out, "%lld", (long long)*(const int64_t *)member);
        break;
    case FIELD_FLOAT:
        key_repr_float(out, *(const double *)member);
        break;
    case FIELD_BOOL:
        text_add_cstr(out, *(const bool *)member ? "True" : "False");
        break;
    case FIELD_OP:
        break;
    }
}

void message_print(struct text *out, const struct message *message, const struct frames *frames,
                   size_t value_size_max)
{
    if (message->id == MESSAGE_UNKNOWN) {
        text_add_cstr(out, "unknown ");
        payload_print(out, frames, message->map, value_size_max);
        return;
    }
    const struct message_info *info = &infos[message->id];
    text_add_cstr(out, info->op_size > 0 ? info->op : info->name);
    const void *body = &message->body;
    for (const struct message_field *field = message_fields(message->id); field->name; field++) {
        bool is_default = message_field_is_default(field, body);
        if (field->type == FIELD_OP || (field->need == FIELD_OPT && is_default)) {
            continue;
        }
        text_printf(out, " %s=", field->name);
        if (is_default && field->type <= FIELD_BIN) {
            text_add_cstr(out, "None");
        } else {
            print_field(out, field, body, frames, value_size_max);
        }
    }
    if (!message_port_is_stream(info->port) && info->op_size > 0 && !message->reply) {
        text_add_cstr(out, " reply=False");
    }
    if (message->unknown_field.data != NULL) {
        text_printf(out, " (%u unknown fields, first %.*s)", message->body.unknown_count,
                    (int)message->unknown_field.size, (const char *)message->unknown_field.data);
    }
}
