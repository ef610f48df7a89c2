/* key.c: a key is checked and walked without recursion: a tuple's items follow its head, so all that
 * must be kept is how many values are left. Canonical is what msgpack_write_… would write. */
#include "wire/key.h"

#include "base/limits.h"
#include "wire/msgpack_fast.h"

/* A span of `size` bytes at `reader`, the head of a str, int, float or array and a scalar's body, is
 * in shortest form. */
static bool scalar_is_shortest(const uint8_t *at)
{
    switch (at[0]) {
    case 0xcc:
    case 0xd9:
        return at[1] >= (at[0] == 0xcc ? 0x80 : 32);
    case 0xcd:
    case 0xda:
        return at[1] != 0;
    case 0xce:
    case 0xdb:
        return (at[1] | at[2]) != 0;
    case 0xcf:
        return (at[1] | at[2] | at[3] | at[4]) != 0;
    case 0xdc:
        return at[1] != 0 || at[2] >= 16;
    case 0xdd:
        return (at[1] | at[2]) != 0;
    default:
        return true;
    }
}

/* A negative int in 8 to 64 bits, or a positive one in a signed form, is in its shortest form. */
static bool signed_is_shortest(const uint8_t *at, int64_t value)
{
    switch (at[0]) {
    case 0xd0:
        return value < -32;
    case 0xd1:
        return value < INT8_MIN;
    case 0xd2:
        return value < INT16_MIN;
    default:
        return value < INT32_MIN;
    }
}

/* Move over one scalar or array head of a key. *todo: values still to come. */
static int key_step(struct msgpack_reader *reader, uint64_t *todo, bool *canonical)
{
    const uint8_t *at = reader->at;
    int64_t number;
    uint64_t wide;
    double real;
    struct span text;
    uint32_t count;
    int code;
    switch (msgpack_peek(reader)) {
    case MSGPACK_STR:
        code = msgpack_read_str(reader, &text);
        break;
    case MSGPACK_INT:
        if (*at >= 0xd0 && *at <= 0xd3) {
            code = msgpack_read_int(reader, &number);
            *canonical = *canonical && code == OK && signed_is_shortest(at, number);
            return code;
        }
        code = *at >= 0xe0 ? msgpack_read_int(reader, &number) : msgpack_read_uint(reader, &wide);
        break;
    case MSGPACK_FLOAT:
        code = msgpack_read_float(reader, &real);
        *canonical = *canonical && *at == 0xcb;
        return code;
    case MSGPACK_ARRAY:
        code = msgpack_read_array(reader, &count);
        *todo += code == OK ? count : 0;
        break;
    case MSGPACK_NONE:
        return msgpack_skip(reader); /* says what is wrong with it */
    default:
        return ERR_TYPE;
    }
    *canonical = *canonical && code == OK && scalar_is_shortest(at);
    return code;
}

/* Write one scalar or array head in canonical form; the key was checked before. */
static void key_step_write(struct msgpack_reader *reader, uint64_t *todo, struct text *out)
{
    int64_t number;
    uint64_t wide;
    double real;
    struct span text;
    uint32_t count;
    int code;
    switch (msgpack_peek(reader)) {
    case MSGPACK_STR:
        code = msgpack_read_str(reader, &text);
        msgpack_write_str(out, text);
        break;
    case MSGPACK_INT:
        code = msgpack_read_int(reader, &number);
        if (code == OK) {
            msgpack_write_int(out, number);
        } else {
            code = msgpack_read_uint(reader, &wide);
            msgpack_write_uint(out, wide);
        }
        break;
    case MSGPACK_FLOAT:
        code = msgpack_read_float(reader, &real);
        msgpack_write_float(out, real);
        break;
    default:
        code = msgpack_read_array(reader, &count);
        msgpack_write_array(out, count);
        *todo += count;
        break;
    }
    ASSERT(code == OK);
}

/* The depth of a key is bounded by msgpack_skip, which ran over it before or does so here. */
static int key_check_depth(struct span raw)
{
    bool may_nest = (raw.data[0] & 0xf0) == 0x90 || raw.data[0] == 0xdc || raw.data[0] == 0xdd;
    return may_nest ? msgpack_check(raw) : OK;
}

int key_read(struct msgpack_reader *reader, struct arena *scratch, struct span *out_key)
{
    struct msgpack_reader cursor = *reader;
    bool canonical = true;
    struct span plain = msgpack_fast_str(cursor.at, (size_t)(cursor.end - cursor.at));
    if (plain.data != NULL && (plain.size >= 32 || *cursor.at != 0xd9)) {
        reader->at = plain.data + plain.size;
        *out_key = span_of(cursor.at, (size_t)(reader->at - cursor.at));
        return OK;
    }
    for (uint64_t todo = 1; todo > 0; todo--) {
        int code = key_step(&cursor, &todo, &canonical);
        if (code != OK) {
            return code;
        }
    }
    struct span raw = span_of(reader->at, (size_t)(cursor.at - reader->at));
    if (raw.size > LIMIT_KEY_BYTES_MAX) {
        return ERR_LIMIT;
    }
    int code = key_check_depth(raw);
    if (code != OK) {
        return code;
    }
    if (canonical) {
        *out_key = raw;
    } else {
        struct text text = {0};
        struct msgpack_reader again = *reader;
        for (uint64_t todo = 1; todo > 0; todo--) {
            key_step_write(&again, &todo, &text);
        }
        *out_key = arena_copy(scratch, text_span(&text));
        text_fini(&text);
    }
    *reader = cursor;
    return OK;
}

int key_canonical(struct span raw, struct arena *scratch, struct span *out_key)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct span key;
    int code = key_read(&reader, scratch, &key);
    if (code != OK) {
        return code;
    }
    if (!msgpack_at_end(&reader)) {
        return ERR_MALFORMED;
    }
    *out_key = key;
    return OK;
}

struct span key_from_text(struct arena *scratch, struct span text)
{
    struct text key = {0};
    msgpack_write_str(&key, text);
    struct span copy = arena_copy(scratch, text_span(&key));
    text_fini(&key);
    return copy;
}

void key_print(struct text *out, struct span key)
{
    struct msgpack_reader reader = msgpack_reader(key);
    struct span text;
    if (msgpack_read_str(&reader, &text) == OK) {
        text_add(out, text);
    } else {
        key_repr(out, key);
    }
}

/* Where the repr of a nested tuple stands: items left, and whether "," closes it (one item only). */
struct repr_level {
    uint32_t left;
    bool single;
};

static void repr_scalar(struct text *out, struct msgpack_reader *reader)
{
    struct span text;
    int64_t number;
    uint64_t wide;
    double real;
    if (msgpack_read_str(reader, &text) == OK) {
        key_repr_text(out, text);
    } else if (msgpack_read_int(reader, &number) == OK) {
        text_printf(out, "%lld", (long long)number);
    } else if (msgpack_read_uint(reader, &wide) == OK) {
        text_printf(out, "%llu", (unsigned long long)wide);
    } else {
        int code = msgpack_read_float(reader, &real);
        ASSERT(code == OK);
        key_repr_float(out, real);
    }
}

void key_repr(struct text *out, struct span key)
{
    struct repr_level levels[LIMIT_MSGPACK_DEPTH_MAX];
    uint32_t depth = 0;
    struct msgpack_reader reader = msgpack_reader(key);
    do {
        uint32_t count = 0;
        bool opened = msgpack_read_array(&reader, &count) == OK;
        if (opened) {
            ASSERT(depth < LIMIT_MSGPACK_DEPTH_MAX);
            levels[depth++] = (struct repr_level){count, count == 1};
            text_add_char(out, '(');
        } else {
            repr_scalar(out, &reader);
        }
        /* Close what this value completed; then a comma, unless a tuple was just opened. */
        while (depth > 0 && !(opened && levels[depth - 1].left > 0)) {
            struct repr_level *level = &levels[depth - 1];
            if (!opened) {
                level->left--;
            }
            opened = false;
            if (level->left > 0) {
                text_add_cstr(out, ", ");
                break;
            }
            text_add_cstr(out, level->single ? ",)" : ")");
            depth--;
        }
    } while (depth > 0);
}

int key_list_read(struct msgpack_reader *reader, struct arena *scratch, struct key_list *out_list)
{
    struct msgpack_reader cursor = *reader;
    struct span value;
    int code = msgpack_read_value(&cursor, &value);
    if (code != OK) {
        return code;
    }
    struct msgpack_reader list = msgpack_reader(value);
    if (msgpack_peek(&list) == MSGPACK_MAP) {
        bool is_set = false;
        struct span mark;
        if (msgpack_find(value, "__Set__", &mark) == OK) {
            struct msgpack_reader mark_reader = msgpack_reader(mark);
            code = msgpack_read_bool(&mark_reader, &is_set);
        }
        if (!is_set || code != OK || msgpack_find(value, "as-list", &value) != OK) {
            return ERR_TYPE;
        }
        list = msgpack_reader(value);
    } else if (msgpack_read_nil(&list) == OK) {
        *out_list = (struct key_list){0};
        *reader = cursor;
        return OK;
    }
    uint32_t count;
    code = msgpack_read_array(&list, &count);
    if (code != OK) {
        return code;
    }
    /* Canonical as they stand: the list is the bytes themselves; else all keys are copied in a row. */
    struct key_list result = {span_of(list.at, (size_t)(list.end - list.at)), count, true};
    struct text rewritten = {0};
    bool copied = false;
    const uint8_t *begin = list.at;
    for (uint32_t i = 0; i < count && code == OK; i++) {
        const uint8_t *at = list.at;
        struct span key;
        code = key_read(&list, scratch, &key);
        if (code == OK && key.data != at && !copied) {
            copied = true;
            text_add(&rewritten, span_of(begin, (size_t)(at - begin)));
        }
        if (code == OK && copied) {
            text_add(&rewritten, key);
        }
    }
    if (copied) {
        result.keys = arena_copy(scratch, text_span(&rewritten));
        text_fini(&rewritten);
    }
    if (code == OK) {
        *out_list = result;
        *reader = cursor;
    }
    return code;
}

bool key_list_next(struct key_list *list, struct span *out_key)
{
    if (list->count == 0) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(list->keys);
    int code = msgpack_read_value(&reader, out_key);
    ASSERT(code == OK);
    list->keys = span_of(reader.at, (size_t)(reader.end - reader.at));
    list->count--;
    return true;
}

void key_list_write(struct text *out, const struct key_list *list)
{
    msgpack_write_array(out, list->count);
    struct key_list rest = *list;
    struct span key;
    while (key_list_next(&rest, &key)) {
        msgpack_write_raw(out, key);
    }
}
