/* pickle_output.c: chunks, the sub-header around a pickle, and single opcodes. */
#include "wire/pickle_output.h"

#include "base/error.h"

enum {
    CHUNK_BYTES = 256 * 1024,
    LENGTH_AT = 14,     /* of the bin32 in HEAD */
    PICKLE_AT = 14 + 4, /* PROTO */
    NUMBER_SIZE = 5,    /* of a 32-bit number or array head in msgpack */
};

enum opcode_byte {
    OP_STOP = '.',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_LONG1 = 0x8a,
    OP_MEMOIZE = 0x94,
};

static const uint8_t HEAD[] = "\x83\xabpickled-obj\xc6\0\0\0\0\x80\x05";
static const uint8_t VALUE[] = "\x81\xab__Pickled__\x01";

void pickle_output_grow(struct pickle_output *output, size_t size)
{
    struct buf *old = output->chunk;
    size_t used = old->size - output->start;
    size_t wanted = 2 * (used + size);
    struct buf *grown = buf_create(wanted < CHUNK_BYTES ? CHUNK_BYTES : wanted);
    memcpy(grown->data, old->data + output->start, used);
    grown->size = used;
    old->size = output->start;
    output->chunk = grown;
    output->start = 0;
    buf_unref(old);
}

void pickle_output_begin(struct pickle_output *output)
{
    output->chunk->size = output->start;
    pickle_output_raw(output, span_of(HEAD, sizeof HEAD - 1));
}

struct span pickle_output_opcodes(const struct pickle_output *output)
{
    size_t start = output->start + sizeof HEAD - 1;
    return span_of(output->chunk->data + start, output->chunk->size - start);
}

static void put_little_endian(uint8_t *at, uint64_t value, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static void put_big_endian(uint8_t *at, uint32_t value)
{
    for (uint32_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

uint32_t pickle_output_memoize(struct pickle_output *output)
{
    pickle_output_byte(output, OP_MEMOIZE);
    return output->memo_count++;
}

void pickle_output_recall(struct pickle_output *output, uint32_t index)
{
    if (index <= UINT8_MAX) {
        uint8_t *at = pickle_output_room(output, 2);
        at[0] = OP_BINGET;
        at[1] = (uint8_t)index;
        return;
    }
    uint8_t *at = pickle_output_room(output, 5);
    at[0] = OP_LONG_BINGET;
    put_little_endian(at + 1, index, 4);
}

void pickle_output_int(struct pickle_output *output, int64_t value)
{
    uint8_t *at;
    if (value >= 0 && value <= UINT8_MAX) {
        at = pickle_output_room(output, 2);
        at[0] = OP_BININT1;
        at[1] = (uint8_t)value;
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
        at = pickle_output_room(output, 5);
        at[0] = OP_BININT;
        put_little_endian(at + 1, (uint64_t)value, 4);
    } else {
        at = pickle_output_room(output, 10);
        at[0] = OP_LONG1;
        at[1] = 8;
        put_little_endian(at + 2, (uint64_t)value, 8);
    }
}

static void put_number(struct pickle_output *output, uint8_t head, uint32_t number)
{
    uint8_t *at = pickle_output_room(output, NUMBER_SIZE);
    at[0] = head;
    put_big_endian(at + 1, number);
}

/* "compression": a nil for each buffer, and "num-sub-frames". */
static void put_tail(struct pickle_output *output, uint32_t frame_count)
{
    pickle_output_raw(output, SPAN("\xab"
                                   "compression"));
    if (frame_count < 16) {
        pickle_output_byte(output, (uint8_t)(0x90 | frame_count));
    } else {
        put_number(output, 0xdd, frame_count);
    }
    memset(pickle_output_room(output, frame_count), 0xc0, frame_count);
    pickle_output_raw(output, SPAN("\xae"
                                   "num-sub-frames"));
    if (frame_count < 128) {
        pickle_output_byte(output, (uint8_t)frame_count);
    } else {
        put_number(output, 0xce, frame_count);
    }
}

int pickle_output_end(struct pickle_output *output, const struct slice *frames,
                      uint32_t frame_count, struct blob **out_blob)
{
    pickle_output_byte(output, OP_STOP);
    size_t size = output->chunk->size - output->start - PICKLE_AT;
    if (size > UINT32_MAX) {
        return ERR_LIMIT;
    }
    put_tail(output, frame_count);
    uint8_t *head = output->chunk->data + output->start;
    put_big_endian(head + LENGTH_AT, (uint32_t)size);
    struct slice value = {.data = VALUE, .size = sizeof VALUE - 1};
    struct blob *blob = blob_create(value, 1 + frame_count);
    size_t frame_size = output->chunk->size - output->start;
    blob->frames[0] = slice_create(output->chunk, span_of(head, frame_size));
    for (uint32_t i = 0; i < frame_count; i++) {
        blob->frames[1 + i] = slice_ref(frames[i]);
    }
    output->start = output->chunk->size;
    *out_blob = blob;
    return 0;
}
