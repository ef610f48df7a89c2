/* python_run.c: see python_run.h.
 *
 * A plain spec, by far the most, is a payload of one inline frame, and that is a sub-header of Dask's with nothing but
 * a pickle in it:
 *
 *     {"__Pickled__": 1}    {"pickled-obj": bytes, "compression": [], "num-sub-frames": 0}
 *
 * Of msgpack only what these and keys use is known; whatever else there is makes a spec not plain, which Python reads. */
#include "exec/python_run.h"

#include <string.h>

#define INLINE UINT64_MAX

static const uint8_t PICKLED[] = "\x81\xab__Pickled__\x01";

struct reader {
    const uint8_t *data;
    size_t left;
};

static bool take(struct reader *reader, size_t size, struct python_bytes *out)
{
    if (reader->left < size) {
        return false;
    }
    *out = (struct python_bytes){reader->data, size};
    reader->data += size;
    reader->left -= size;
    return true;
}

/* An unsigned number of `size` bytes. */
static bool take_number(struct reader *reader, size_t size, bool big_endian, uint64_t *out)
{
    struct python_bytes bytes;
    if (!take(reader, size, &bytes)) {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++) {
        number = number << 8 | bytes.data[big_endian ? i : size - 1 - i];
    }
    *out = number;
    return true;
}

static bool take_u32(struct reader *reader, uint32_t *out)
{
    uint64_t number;
    bool is_there = take_number(reader, 4, false, &number);
    *out = is_there ? (uint32_t)number : 0;
    return is_there;
}

static bool take_bytes(struct reader *reader, struct python_bytes *out)
{
    uint32_t size;
    return take_u32(reader, &size) && take(reader, size, out);
}

/* ---- msgpack ---- */

/* The length of a thing whose tag is `tag`: in the tag itself from `fixed` on, of `mask` bits, or in 1, 2, 4 bytes after
 * the tags from `sized` on. `sized_1` is 0 for kinds that have no length of one byte. */
struct kind {
    uint8_t fixed, mask, sized_1, sized_2, sized_4;
};

static const struct kind STRING = {0xa0, 0x1f, 0xd9, 0xda, 0xdb};
static const struct kind BINARY = {0, 0, 0xc4, 0xc5, 0xc6};
static const struct kind ARRAY = {0x90, 0x0f, 0, 0xdc, 0xdd};
static const struct kind MAP = {0x80, 0x0f, 0, 0xde, 0xdf};

static bool take_length(struct reader *reader, struct kind kind, uint64_t *out)
{
    if (reader->left == 0) {
        return false;
    }
    uint8_t tag = *reader->data;
    struct reader after = {reader->data + 1, reader->left - 1};
    bool is_there = true;
    if (kind.fixed != 0 && (tag & ~kind.mask) == kind.fixed) {
        *out = tag & kind.mask;
    } else if (tag == kind.sized_1 && kind.sized_1 != 0) {
        is_there = take_number(&after, 1, true, out);
    } else if (tag == kind.sized_2) {
        is_there = take_number(&after, 2, true, out);
    } else if (tag == kind.sized_4) {
        is_there = take_number(&after, 4, true, out);
    } else {
        is_there = false;
    }
    if (is_there) {
        *reader = after;
    }
    return is_there;
}

static bool take_long(struct reader *reader, struct kind kind, struct python_bytes *out)
{
    uint64_t size;
    struct reader after = *reader;
    if (!take_length(&after, kind, &size) || !take(&after, size, out)) {
        return false;
    }
    *reader = after;
    return true;
}

static bool take_integer(struct reader *reader, int64_t *out)
{
    uint64_t number;
    if (!take_number(reader, 1, true, &number)) {
        return false;
    }
    uint8_t tag = (uint8_t)number;
    if (tag < 0x80 || tag >= 0xe0) {
        *out = (int8_t)tag;
        return true;
    }
    bool is_signed = tag >= 0xd0 && tag <= 0xd3;
    if (!is_signed && (tag < 0xcc || tag > 0xcf)) {
        return false;
    }
    size_t size = (size_t)1 << (tag & 3);
    if (!take_number(reader, size, true, &number)) {
        return false;
    }
    if (is_signed && size < 8) {
        uint64_t sign = (uint64_t)1 << (8 * size - 1);
        number = (number ^ sign) - sign;
    }
    *out = (int64_t)number;
    return is_signed || number <= INT64_MAX;
}

bool python_key_next(struct python_bytes key, size_t *at, struct python_key_part *out)
{
    struct reader reader = {key.data + *at, key.size - *at};
    struct python_key_part part = {0};
    uint64_t count;
    if (take_long(&reader, STRING, &part.string)) {
        part.kind = PYTHON_KEY_STRING;
    } else if (take_length(&reader, ARRAY, &count)) {
        if (count > reader.left) {
            return false; /* an item has a byte at least */
        }
        part.kind = PYTHON_KEY_TUPLE;
        part.count = (uint32_t)count;
    } else if (take_integer(&reader, &part.number)) {
        part.kind = PYTHON_KEY_NUMBER;
    } else {
        return false;
    }
    *at = key.size - reader.left;
    *out = part;
    return true;
}

/* ---- the spec ---- */

static bool is_name(struct python_bytes name, const char *wanted)
{
    return name.size == strlen(wanted) && memcmp(name.data, wanted, name.size) == 0;
}

/* A sub-header with nothing but a pickle. */
static bool take_pickle(struct reader reader, struct python_bytes *out)
{
    uint64_t count, length;
    struct python_bytes name, pickle = {0};
    int64_t number;
    if (!take_length(&reader, MAP, &count)) {
        return false;
    }
    for (; count > 0; count--) {
        if (!take_long(&reader, STRING, &name)) {
            return false;
        }
        bool is_plain;
        if (is_name(name, "pickled-obj")) {
            is_plain = take_long(&reader, BINARY, &pickle);
        } else if (is_name(name, "compression")) {
            is_plain = take_length(&reader, ARRAY, &length) && length == 0;
        } else {
            is_plain =
                is_name(name, "num-sub-frames") && take_integer(&reader, &number) && number == 0;
        }
        if (!is_plain) {
            return false;
        }
    }
    *out = pickle;
    return pickle.data != NULL && reader.left == 0;
}

static bool take_spec(struct reader reader, struct python_bytes *out)
{
    uint32_t value_size, frame_count;
    uint64_t frame_size, frame_at;
    struct python_bytes value;
    return take_u32(&reader, &value_size) && take_u32(&reader, &frame_count) && frame_count == 1 &&
           take_number(&reader, 8, false, &frame_size) &&
           take_number(&reader, 8, false, &frame_at) && frame_at == INLINE &&
           take(&reader, value_size, &value) && value.size == sizeof PICKLED - 1 &&
           memcmp(value.data, PICKLED, value.size) == 0 && frame_size == reader.left &&
           take_pickle(reader, out);
}

bool python_run_read(struct python_bytes body, struct python_run *out)
{
    struct reader reader = {body.data, body.size};
    struct python_run run = {0};
    struct python_bytes inputs;
    if (!take_u32(&reader, &run.flags) || !take_u32(&reader, &run.input_count) ||
        !take(&reader, (size_t)run.input_count * 8, &inputs) || !take_bytes(&reader, &run.key) ||
        !take_bytes(&reader, &run.annotations)) {
        return false;
    }
    run.inputs = inputs.data;
    run.payload_at = body.size - reader.left;
    struct python_bytes spec;
    if (take_spec(reader, &spec)) {
        run.spec = spec;
    }
    *out = run;
    return true;
}
