/* json.c: msgpack values as JSON. The nesting was bounded when the value was read; msgpack_check bounds it
 * here, so the recursion is as deep as LIMIT_MSGPACK_DEPTH_MAX at most. */
#include "wire/json.h"

#include <math.h>

#include "wire/key.h"
#include "wire/msgpack.h"

static void add_string(struct text *out, struct span string)
{
    text_add_char(out, '"');
    for (size_t i = 0; i < string.size; i++) {
        uint8_t c = string.data[i];
        if (c == '"' || c == '\\') {
            text_printf(out, "\\%c", c);
        } else if (c < 0x20) {
            text_printf(out, "\\u%04x", c);
        } else {
            text_add_char(out, (char)c);
        }
    }
    text_add_char(out, '"');
}

static void add_break(struct text *out, int indent, int depth)
{
    if (indent > 0) {
        text_printf(out, "\n%*s", indent * depth, "");
    }
}

static bool add_value(struct text *out, struct msgpack_reader *reader, int indent, int depth);

/* A map's key as a JSON string. */
static bool add_name(struct text *out, struct msgpack_reader *reader)
{
    struct span raw;
    struct text name = {0};
    if (msgpack_read_value(reader, &raw) != OK) {
        return false;
    }
    struct msgpack_reader inner = msgpack_reader(raw);
    struct span string;
    if (msgpack_read_str(&inner, &string) == OK) {
        add_string(out, string);
    } else {
        msgpack_print(&name, raw, SIZE_MAX);
        add_string(out, text_span(&name));
    }
    text_fini(&name);
    return true;
}

static bool add_items(struct text *out, struct msgpack_reader *reader, bool is_map, int indent,
                      int depth)
{
    uint32_t count;
    int code = is_map ? msgpack_read_map(reader, &count) : msgpack_read_array(reader, &count);
    if (code != OK) {
        return false;
    }
    text_add_char(out, is_map ? '{' : '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            text_add_cstr(out, indent > 0 ? "," : ", ");
        }
        add_break(out, indent, depth + 1);
        if (is_map) {
            if (!add_name(out, reader)) {
                return false;
            }
            text_add_cstr(out, ": ");
        }
        if (!add_value(out, reader, indent, depth + 1)) {
            return false;
        }
    }
    if (count > 0) {
        add_break(out, indent, depth);
    }
    text_add_char(out, is_map ? '}' : ']');
    return true;
}

static bool add_number(struct text *out, struct msgpack_reader *reader)
{
    uint64_t large;
    int64_t number;
    if (msgpack_read_int(reader, &number) == OK) {
        text_printf(out, "%lld", (long long)number);
        return true;
    }
    if (msgpack_read_uint(reader, &large) == OK) {
        text_printf(out, "%llu", (unsigned long long)large);
        return true;
    }
    return false;
}

static bool add_value(struct text *out, struct msgpack_reader *reader, int indent, int depth)
{
    struct span bytes;
    double real;
    bool truth;
    switch (msgpack_peek(reader)) {
    case MSGPACK_NIL:
        text_add_cstr(out, "null");
        return msgpack_read_nil(reader) == OK;
    case MSGPACK_BOOL:
        if (msgpack_read_bool(reader, &truth) != OK) {
            return false;
        }
        text_add_cstr(out, truth ? "true" : "false");
        return true;
    case MSGPACK_INT:
        return add_number(out, reader);
    case MSGPACK_FLOAT:
        if (msgpack_read_float(reader, &real) != OK) {
            return false;
        }
        if (isfinite(real)) {
            key_repr_float(out, real);
        } else {
            text_add_cstr(out, "null");
        }
        return true;
    case MSGPACK_STR:
        if (msgpack_read_str(reader, &bytes) != OK) {
            return false;
        }
        add_string(out, bytes);
        return true;
    case MSGPACK_BIN:
        if (msgpack_read_bin(reader, &bytes) != OK) {
            return false;
        }
        text_printf(out, "\"<%zu bytes>\"", bytes.size);
        return true;
    case MSGPACK_ARRAY:
        return add_items(out, reader, false, indent, depth);
    case MSGPACK_MAP:
        return add_items(out, reader, true, indent, depth);
    default:
        return false;
    }
}

bool json_from_msgpack(struct text *out, struct span value, int indent)
{
    struct msgpack_reader reader = msgpack_reader(value);
    return msgpack_check(value) == OK && add_value(out, &reader, indent, 0);
}
