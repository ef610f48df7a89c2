/* msgpack.h: reading and writing msgpack in place: a cursor over a span, and appends to a text.
 *
 * Nothing is built: a value is its bytes. Reads are bounds-checked and leave the cursor and the
 * output untouched when they fail with ERR_TRUNCATED (the bytes end), ERR_TYPE (another type is
 * there), ERR_MALFORMED (no msgpack, or a str that is not UTF-8) or ERR_LIMIT (nested too deep, or a
 * number that does not fit). The dialect is Dask's: protocol.md 2.1. */
#ifndef CASK_WIRE_MSGPACK_H
#define CASK_WIRE_MSGPACK_H

#include "base/assert.h"
#include "base/error.h"
#include "base/span.h"
#include "base/text.h"

enum msgpack_type {
    MSGPACK_NIL,
    MSGPACK_BOOL,
    MSGPACK_INT,
    MSGPACK_FLOAT,
    MSGPACK_STR,
    MSGPACK_BIN,
    MSGPACK_ARRAY,
    MSGPACK_MAP,
    MSGPACK_EXT,
    MSGPACK_NONE, /* no value: the bytes end here, or 0xc1 */
};

struct msgpack_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct msgpack_reader msgpack_reader(struct span bytes)
{
    return (struct msgpack_reader){bytes.data,
                                   bytes.size == 0 ? bytes.data : bytes.data + bytes.size};
}

static inline bool msgpack_at_end(const struct msgpack_reader *reader)
{
    return reader->at == reader->end;
}

/* The type of the next value; does not move. */
enum msgpack_type msgpack_peek(const struct msgpack_reader *reader);
/* "nil", "int" … */
const char *msgpack_type_name(enum msgpack_type type);

int msgpack_read_nil(struct msgpack_reader *reader) MUST_USE;
int msgpack_read_bool(struct msgpack_reader *reader, bool *out_value) MUST_USE;
/* ERR_LIMIT: the number is above INT64_MAX. */
int msgpack_read_int(struct msgpack_reader *reader, int64_t *out_value) MUST_USE;
/* ERR_LIMIT: the number is negative. */
int msgpack_read_uint(struct msgpack_reader *reader, uint64_t *out_value) MUST_USE;
/* A float or an int, as a double. */
int msgpack_read_float(struct msgpack_reader *reader, double *out_value) MUST_USE;
/* The UTF-8 bytes of a str; they point into the reader's bytes. */
int msgpack_read_str(struct msgpack_reader *reader, struct span *out_text) MUST_USE;
int msgpack_read_bin(struct msgpack_reader *reader, struct span *out_bytes) MUST_USE;
/* The number of items that follow; never more than there are bytes left. */
int msgpack_read_array(struct msgpack_reader *reader, uint32_t *out_count) MUST_USE;
/* The number of pairs that follow; never more than half the bytes left. */
int msgpack_read_map(struct msgpack_reader *reader, uint32_t *out_count) MUST_USE;

/* Move over one value of any type, checking all of it (nesting at most LIMIT_MSGPACK_DEPTH_MAX). */
int msgpack_skip(struct msgpack_reader *reader) MUST_USE;
/* As msgpack_skip; gives the value's own bytes. */
int msgpack_read_value(struct msgpack_reader *reader, struct span *out_value) MUST_USE;
/* 0 if `bytes` are exactly one well-formed value. */
int msgpack_check(struct span bytes) MUST_USE;

/* The value is absent (data NULL) or nil. */
static inline bool msgpack_is_nil(struct span value)
{
    return value.data == NULL || (value.size == 1 && value.data[0] == 0xc0);
}

/* Find `name` (a str) among the pairs of `map`; out_value is its raw value.
 * ERR_NOT_FOUND if it is not there, ERR_TYPE if `map` is no map. Cost: O(bytes). */
int msgpack_find(struct span map, const char *name, struct span *out_value) MUST_USE;

/* Every writer appends one value (or the head of one) in its shortest form, as msgpack-python. */
void msgpack_write_nil(struct text *out);
void msgpack_write_bool(struct text *out, bool value);
void msgpack_write_int(struct text *out, int64_t value);
void msgpack_write_uint(struct text *out, uint64_t value);
void msgpack_write_float(struct text *out, double value);
/* An int if `value` is integral and exactly so, else a float: what Python's own numbers look like. */
void msgpack_write_number(struct text *out, double value);
/* `value` must be UTF-8: the peer's decoder fails on anything else. */
void msgpack_write_str(struct text *out, struct span value);
/* As msgpack_write_str of a C string. */
void msgpack_write_cstr(struct text *out, const char *value);
void msgpack_write_bin(struct text *out, struct span value);
/* `count` items must follow. */
void msgpack_write_array(struct text *out, uint32_t count);
/* `count` pairs must follow. */
void msgpack_write_map(struct text *out, uint32_t count);
/* Bytes that are whole values already. */
void msgpack_write_raw(struct text *out, struct span values);

/* Text that a peer may hold in any form: bytes that are not UTF-8 become U+FFFD. */
void msgpack_write_str_lossy(struct text *out, struct span value);

/* Room for `size` more bytes at the end of `out`, for codecs that write by hand; the caller adds what
 * it wrote to out->size. */
uint8_t *msgpack_room(struct text *out, size_t size) __attribute__((returns_nonnull));

/* The value for people: Python's repr, nested, shortened: about `size_max` bytes are appended, bin
 * becomes <N bytes>. Malformed bytes are shown as such. */
void msgpack_print(struct text *out, struct span value, size_t size_max);
/* As msgpack_print; `hook` sees every map first, and says true if it printed it itself. */
void msgpack_print_hooked(struct text *out, struct span value, size_t size_max,
                          bool (*hook)(void *context, struct text *out, struct span map),
                          void *context);

/* `bytes` are valid UTF-8 (no surrogates, no overlong forms). */
bool msgpack_is_utf8(struct span bytes);
/* The bytes as text, U+FFFD for each that is not UTF-8. Not msgpack: what other writers of text need. */
void msgpack_add_utf8(struct text *out, struct span bytes);

#endif
