/* msgpack.c: every read goes through head_read(), which knows the format:
 *
 *   00-7f  int 0..127          c0  nil              cc-cf  uint 8, 16, 32, 64
 *   80-8f  map, 0..15 pairs    c2  false, c3 true   d0-d3  int 8, 16, 32, 64
 *   90-9f  array, 0..15        c4-c6  bin 8-32      d4-d8  ext of 1, 2, 4, 8, 16 bytes
 *   a0-bf  str, 0..31 bytes    c7-c9  ext 8-32      d9-db  str 8, 16, 32
 *   e0-ff  int -32..-1         ca  float32, cb 64   dc-dd  array 16, 32   de-df  map 16, 32
 *
 * Numbers are big-endian; c1 is no value. A container's count is held against the bytes that are left
 * (each item takes one at least), so no loop runs longer than its input. */
#include "wire/msgpack.h"

#include <endian.h>
#include <math.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "wire/msgpack_fast.h"

struct head {
    uint8_t type;    /* enum msgpack_type */
    uint8_t size;    /* of the head itself */
    uint32_t length; /* bytes behind the head, or items of an array, or pairs of a map */
};

static uint64_t load_big_endian(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    if (size == sizeof value) {
        memcpy(&value, at, sizeof value);
        return be64toh(value);
    }
    for (unsigned i = 0; i < size; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* The head whose length stands in `length_size` bytes behind the first; `extra` bytes are part of it. */
static int head_with_length(const struct msgpack_reader *reader, enum msgpack_type type,
                            unsigned length_size, unsigned extra, struct head *out)
{
    size_t left = (size_t)(reader->end - reader->at);
    if (left < 1 + length_size + extra) {
        return ERR_TRUNCATED;
    }
    *out = (struct head){(uint8_t)type, (uint8_t)(1 + length_size + extra),
                         (uint32_t)load_big_endian(reader->at + 1, length_size)};
    return OK;
}

static int head_of_mark(const struct msgpack_reader *reader, struct head *out)
{
    uint8_t mark = *reader->at;
    switch (mark) {
    case 0xc0:
        *out = (struct head){MSGPACK_NIL, 1, 0};
        return OK;
    case 0xc2:
    case 0xc3:
        *out = (struct head){MSGPACK_BOOL, 1, 0};
        return OK;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return head_with_length(reader, MSGPACK_BIN, 1u << (mark - 0xc4), 0, out);
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return head_with_length(reader, MSGPACK_EXT, 1u << (mark - 0xc7), 1, out);
    case 0xca:
    case 0xcb:
        *out = (struct head){MSGPACK_FLOAT, 1, mark == 0xca ? 4 : 8};
        return OK;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        *out = (struct head){MSGPACK_INT, 1, 1u << (mark & 3)};
        return OK;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        *out = (struct head){MSGPACK_EXT, 2, 1u << (mark - 0xd4)};
        return OK;
    case 0xd9:
    case 0xda:
    case 0xdb:
        return head_with_length(reader, MSGPACK_STR, 1u << (mark - 0xd9), 0, out);
    case 0xdc:
    case 0xdd:
        return head_with_length(reader, MSGPACK_ARRAY, 2u << (mark - 0xdc), 0, out);
    case 0xde:
    case 0xdf:
        return head_with_length(reader, MSGPACK_MAP, 2u << (mark - 0xde), 0, out);
    default:
        return ERR_MALFORMED;
    }
}

/* The next head; what follows it is in the bytes (a scalar's whole, a byte per item of a container). */
static inline int head_read(const struct msgpack_reader *reader, struct head *out)
{
    if (reader->at == reader->end) {
        return ERR_TRUNCATED;
    }
    uint8_t mark = *reader->at;
    struct head head;
    if (mark < 0x80 || mark >= 0xe0) {
        *out = (struct head){MSGPACK_INT, 1, 0};
        return OK;
    }
    if (mark < 0x90) {
        head = (struct head){MSGPACK_MAP, 1, mark & 15};
    } else if (mark < 0xa0) {
        head = (struct head){MSGPACK_ARRAY, 1, mark & 15};
    } else if (mark < 0xc0) {
        head = (struct head){MSGPACK_STR, 1, mark & 31};
    } else {
        int code = head_of_mark(reader, &head);
        if (code != OK) {
            return code;
        }
    }
    uint64_t need = head.type == MSGPACK_MAP ? 2 * (uint64_t)head.length : head.length;
    if ((uint64_t)(reader->end - reader->at) < head.size + need) {
        return ERR_TRUNCATED;
    }
    *out = head;
    return OK;
}

enum msgpack_type msgpack_peek(const struct msgpack_reader *reader)
{
    struct head head;
    return head_read(reader, &head) == OK ? (enum msgpack_type)head.type : MSGPACK_NONE;
}

const char *msgpack_type_name(enum msgpack_type type)
{
    static const char *const names[] = {
        [MSGPACK_NIL] = "nil",      [MSGPACK_BOOL] = "bool", [MSGPACK_INT] = "int",
        [MSGPACK_FLOAT] = "float",  [MSGPACK_STR] = "str",   [MSGPACK_BIN] = "bytes",
        [MSGPACK_ARRAY] = "list",   [MSGPACK_MAP] = "map",   [MSGPACK_EXT] = "ext",
        [MSGPACK_NONE] = "nothing",
    };
    return names[type];
}

/* The next head if it is of `type`. */
static int head_expect(const struct msgpack_reader *reader, enum msgpack_type type,
                       struct head *out)
{
    struct head head;
    int code = head_read(reader, &head);
    if (code != OK) {
        return code;
    }
    if (head.type != type) {
        return ERR_TYPE;
    }
    *out = head;
    return OK;
}

int msgpack_read_nil(struct msgpack_reader *reader)
{
    struct head head;
    int code = head_expect(reader, MSGPACK_NIL, &head);
    if (code == OK) {
        reader->at++;
    }
    return code;
}

int msgpack_read_bool(struct msgpack_reader *reader, bool *out_value)
{
    struct head head;
    int code = head_expect(reader, MSGPACK_BOOL, &head);
    if (code == OK) {
        *out_value = *reader->at++ == 0xc3;
    }
    return code;
}

/* An int's 64 bits; *out_negative says how to read them. */
static int integer_read(struct msgpack_reader *reader, uint64_t *out_bits, bool *out_negative)
{
    struct head head;
    int code = head_expect(reader, MSGPACK_INT, &head);
    if (code != OK) {
        return code;
    }
    uint8_t mark = *reader->at;
    uint64_t bits;
    if (head.length == 0) {
        bits = (uint64_t)(int64_t)(int8_t)mark;
    } else {
        bits = load_big_endian(reader->at + 1, head.length);
        if (mark >= 0xd0) {
            unsigned unused = 64 - 8 * head.length;
            bits = (uint64_t)((int64_t)(bits << unused) >> unused);
        }
    }
    *out_bits = bits;
    *out_negative = (mark >= 0xd0 || head.length == 0) && (int64_t)bits < 0;
    reader->at += 1 + head.length;
    return OK;
}

int msgpack_read_int(struct msgpack_reader *reader, int64_t *out_value)
{
    struct msgpack_reader cursor = *reader;
    uint64_t bits;
    bool negative;
    int code = integer_read(&cursor, &bits, &negative);
    if (code != OK) {
        return code;
    }
    if (!negative && bits > INT64_MAX) {
        return ERR_LIMIT;
    }
    *out_value = (int64_t)bits;
    *reader = cursor;
    return OK;
}

int msgpack_read_uint(struct msgpack_reader *reader, uint64_t *out_value)
{
    struct msgpack_reader cursor = *reader;
    uint64_t bits;
    bool negative;
    int code = integer_read(&cursor, &bits, &negative);
    if (code != OK) {
        return code;
    }
    if (negative) {
        return ERR_LIMIT;
    }
    *out_value = bits;
    *reader = cursor;
    return OK;
}

int msgpack_read_float(struct msgpack_reader *reader, double *out_value)
{
    struct head head;
    int code = head_read(reader, &head);
    if (code != OK) {
        return code;
    }
    if (head.type == MSGPACK_INT) {
        uint64_t bits;
        bool negative;
        code = integer_read(reader, &bits, &negative);
        ASSERT(code == OK);
        *out_value = negative ? (double)(int64_t)bits : (double)bits;
        return OK;
    }
    if (head.type != MSGPACK_FLOAT) {
        return ERR_TYPE;
    }
    uint64_t bits = load_big_endian(reader->at + 1, head.length);
    if (head.length == 8) {
        memcpy(out_value, &bits, sizeof *out_value);
    } else {
        uint32_t bits32 = (uint32_t)bits;
        float single;
        memcpy(&single, &bits32, sizeof single);
        *out_value = (double)single;
    }
    reader->at += 1 + head.length;
    return OK;
}

/* The bytes behind the head, if it is of `type`. */
static int body_read(struct msgpack_reader *reader, enum msgpack_type type, struct span *out)
{
    struct head head;
    int code = head_expect(reader, type, &head);
    if (code != OK) {
        return code;
    }
    struct span body = span_of(reader->at + head.size, head.length);
    if (type == MSGPACK_STR && !msgpack_is_utf8(body)) {
        return ERR_MALFORMED;
    }
    reader->at += head.size + head.length;
    *out = body;
    return OK;
}

int msgpack_read_str(struct msgpack_reader *reader, struct span *out_text)
{
    return body_read(reader, MSGPACK_STR, out_text);
}

int msgpack_read_bin(struct msgpack_reader *reader, struct span *out_bytes)
{
    return body_read(reader, MSGPACK_BIN, out_bytes);
}

static int count_read(struct msgpack_reader *reader, enum msgpack_type type, uint32_t *out_count)
{
    struct head head;
    int code = head_expect(reader, type, &head);
    if (code == OK) {
        reader->at += head.size;
        *out_count = head.length;
    }
    return code;
}

int msgpack_read_array(struct msgpack_reader *reader, uint32_t *out_count)
{
    return count_read(reader, MSGPACK_ARRAY, out_count);
}

int msgpack_read_map(struct msgpack_reader *reader, uint32_t *out_count)
{
    return count_read(reader, MSGPACK_MAP, out_count);
}

/* Move over a scalar or the head of a container; *out_inside values follow inside it. */
static inline int step(struct msgpack_reader *reader, uint64_t *out_inside)
{
    size_t left = (size_t)(reader->end - reader->at);
    size_t size = msgpack_fast_size(reader->at, left);
    *out_inside = 0;
    if (size > 0) {
        reader->at += size;
        return OK;
    }
    struct span text = msgpack_fast_str(reader->at, left);
    if (text.data != NULL) {
        reader->at = text.data + text.size;
        return OK;
    }
    struct head head;
    int code = head_read(reader, &head);
    if (code != OK) {
        return code;
    }
    const uint8_t *body = reader->at + head.size;
    reader->at = body;
    if (head.type == MSGPACK_ARRAY || head.type == MSGPACK_MAP) {
        *out_inside = head.type == MSGPACK_MAP ? 2 * (uint64_t)head.length : head.length;
        return OK;
    }
    reader->at += head.length;
    bool is_broken = head.type == MSGPACK_STR && !msgpack_is_utf8(span_of(body, head.length));
    return is_broken ? ERR_MALFORMED : OK;
}

int msgpack_skip(struct msgpack_reader *reader)
{
    uint64_t
        above[LIMIT_MSGPACK_DEPTH_MAX]; /* values left in the containers around the current one */
    uint32_t depth = 0;
    uint64_t left = 1; /* values left in the current container */
    struct msgpack_reader cursor = *reader;

    for (;;) {
        uint64_t inside;
        int code = step(&cursor, &inside);
        if (code != OK) {
            return code;
        }
        left--;
        if (inside > 0) {
            if (depth == LIMIT_MSGPACK_DEPTH_MAX) {
                return ERR_LIMIT;
            }
            above[depth++] = left;
            left = inside;
        }
        while (left == 0) {
            if (depth == 0) {
                *reader = cursor;
                return OK;
            }
            left = above[--depth];
        }
    }
}

int msgpack_read_value(struct msgpack_reader *reader, struct span *out_value)
{
    const uint8_t *begin = reader->at;
    int code = msgpack_skip(reader);
    if (code == OK) {
        *out_value = span_of(begin, (size_t)(reader->at - begin));
    }
    return code;
}

int msgpack_check(struct span bytes)
{
    struct msgpack_reader reader = msgpack_reader(bytes);
    int code = msgpack_skip(&reader);
    if (code != OK) {
        return code;
    }
    return msgpack_at_end(&reader) ? OK : ERR_MALFORMED;
}

int msgpack_find(struct span map, const char *name, struct span *out_value)
{
    struct msgpack_reader reader = msgpack_reader(map);
    struct span wanted = span_of_text(name);
    uint32_t count;
    int code = msgpack_read_map(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span key = {0};
        struct span value;
        bool is_text = msgpack_peek(&reader) == MSGPACK_STR;
        code = is_text ? msgpack_read_str(&reader, &key) : msgpack_skip(&reader);
        if (code != OK) {
            break;
        }
        code = msgpack_read_value(&reader, &value);
        if (code == OK && is_text && span_equal(key, wanted)) {
            *out_value = value;
            return OK;
        }
    }
    return code == OK ? ERR_NOT_FOUND : code;
}

/* ---- UTF-8 ------------------------------------------------------------------------------------- */

/* Length of the well-formed character at `at` (2 to 4 bytes, RFC 3629), or 0. */
static unsigned utf8_character(const uint8_t *at, size_t left)
{
    uint8_t lead = at[0];
    unsigned size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || left < size) {
        return 0;
    }
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (unsigned i = 2; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

bool msgpack_is_utf8(struct span bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;
    while (left > 0) {
        uint64_t word;
        if (left >= sizeof word) {
            memcpy(&word, at, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                at += sizeof word;
                left -= sizeof word;
                continue;
            }
        }
        unsigned size = *at < 0x80 ? 1 : utf8_character(at, left);
        if (size == 0) {
            return false;
        }
        at += size;
        left -= size;
    }
    return true;
}

/* ---- Writing ----------------------------------------------------------------------------------- */

static void room_grow(struct text *out, size_t size)
{
    ASSERT(size < SIZE_MAX / 4 - out->size);
    size_t need = out->size + size + 1;
    size_t grown = out->capacity < 256 ? 256 : out->capacity * 2;
    out->capacity = grown < need ? need : grown;
    out->data = mem_resize(out->data, out->capacity, 1);
}

uint8_t *msgpack_room(struct text *out, size_t size)
{
    if (out->capacity <= size || out->capacity - size <= out->size) {
        room_grow(out, size);
    }
    return (uint8_t *)out->data + out->size;
}

static void room_used(struct text *out, size_t size)
{
    out->size += size;
    out->data[out->size] = '\0';
}

static void store_big_endian(uint8_t *at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

/* One mark and `size` bytes of big-endian number. */
static void write_marked(struct text *out, uint8_t mark, uint64_t value, unsigned size)
{
    uint8_t *at = msgpack_room(out, 9);
    at[0] = mark;
    store_big_endian(at + 1, value, size);
    room_used(out, 1 + size);
}

void msgpack_write_nil(struct text *out)
{
    write_marked(out, 0xc0, 0, 0);
}

void msgpack_write_bool(struct text *out, bool value)
{
    write_marked(out, value ? 0xc3 : 0xc2, 0, 0);
}

void msgpack_write_uint(struct text *out, uint64_t value)
{
    if (value < 0x80) {
        write_marked(out, (uint8_t)value, 0, 0);
    } else if (value <= UINT8_MAX) {
        write_marked(out, 0xcc, value, 1);
    } else if (value <= UINT16_MAX) {
        write_marked(out, 0xcd, value, 2);
    } else if (value <= UINT32_MAX) {
        write_marked(out, 0xce, value, 4);
    } else {
        write_marked(out, 0xcf, value, 8);
    }
}

void msgpack_write_int(struct text *out, int64_t value)
{
    if (value >= 0) {
        msgpack_write_uint(out, (uint64_t)value);
    } else if (value >= -32) {
        write_marked(out, (uint8_t)value, 0, 0);
    } else if (value >= INT8_MIN) {
        write_marked(out, 0xd0, (uint64_t)value, 1);
    } else if (value >= INT16_MIN) {
        write_marked(out, 0xd1, (uint64_t)value, 2);
    } else if (value >= INT32_MIN) {
        write_marked(out, 0xd2, (uint64_t)value, 4);
    } else {
        write_marked(out, 0xd3, (uint64_t)value, 8);
    }
}

void msgpack_write_float(struct text *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    write_marked(out, 0xcb, bits, 8);
}

void msgpack_write_number(struct text *out, double value)
{
    const double exact = 9007199254740992.0; /* 2^53: up to here every integer is a double */
    if (value >= -exact && value <= exact && value == floor(value)) {
        msgpack_write_int(out, (int64_t)value);
    } else {
        msgpack_write_float(out, value);
    }
}

/* The head of a str or bin, and the bytes. */
static void write_bytes(struct text *out, const uint8_t *head, unsigned head_size,
                        struct span bytes)
{
    uint8_t *at = msgpack_room(out, head_size + bytes.size);
    if (head_size > 0) {
        memcpy(at, head, head_size);
    }
    if (bytes.size > 0) {
        memcpy(at + head_size, bytes.data, bytes.size);
    }
    room_used(out, head_size + bytes.size);
}

void msgpack_write_str(struct text *out, struct span value)
{
    ASSERT(value.size <= UINT32_MAX);
    uint8_t head[5];
    unsigned size = 1;
    if (value.size < 32) {
        head[0] = (uint8_t)(0xa0 | value.size);
    } else {
        size = value.size <= UINT8_MAX ? 2 : value.size <= UINT16_MAX ? 3 : 5;
        head[0] = size == 2 ? 0xd9 : size == 3 ? 0xda : 0xdb;
        store_big_endian(head + 1, value.size, size - 1);
    }
    write_bytes(out, head, size, value);
}

void msgpack_write_cstr(struct text *out, const char *value)
{
    msgpack_write_str(out, span_of_text(value));
}

void msgpack_write_bin(struct text *out, struct span value)
{
    ASSERT(value.size <= UINT32_MAX);
    uint8_t head[5];
    unsigned size = value.size <= UINT8_MAX ? 2 : value.size <= UINT16_MAX ? 3 : 5;
    head[0] = size == 2 ? 0xc4 : size == 3 ? 0xc5 : 0xc6;
    store_big_endian(head + 1, value.size, size - 1);
    write_bytes(out, head, size, value);
}

/* fix: the mark for up to 15; wide: the mark for 16 bits, the next one is for 32. */
static void write_count(struct text *out, uint32_t count, uint8_t fix, uint8_t wide)
{
    if (count < 16) {
        write_marked(out, (uint8_t)(fix | count), 0, 0);
    } else if (count <= UINT16_MAX) {
        write_marked(out, wide, count, 2);
    } else {
        write_marked(out, (uint8_t)(wide + 1), count, 4);
    }
}

void msgpack_write_array(struct text *out, uint32_t count)
{
    write_count(out, count, 0x90, 0xdc);
}

void msgpack_write_map(struct text *out, uint32_t count)
{
    write_count(out, count, 0x80, 0xde);
}

void msgpack_write_raw(struct text *out, struct span values)
{
    write_bytes(out, NULL, 0, values);
}

void msgpack_add_utf8(struct text *out, struct span value)
{
    for (size_t i = 0; i < value.size;) {
        unsigned size = value.data[i] < 0x80 ? 1 : utf8_character(value.data + i, value.size - i);
        if (size == 0) {
            text_add_cstr(out, "\xef\xbf\xbd");
            size = 1;
        } else {
            text_add(out, span_of(value.data + i, size));
        }
        i += size;
    }
}

void msgpack_write_str_lossy(struct text *out, struct span value)
{
    if (msgpack_is_utf8(value)) {
        msgpack_write_str(out, value);
        return;
    }
    struct text fixed = {0};
    msgpack_add_utf8(&fixed, value);
    msgpack_write_str(out, text_span(&fixed));
    text_fini(&fixed);
}
