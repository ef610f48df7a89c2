/* spill_format.c: a value as a record of a spill file.
 *
 * Records lie anywhere in a file, in any order, with what was freed between them; which lies where only
 * the process knows that wrote them, and no other ever reads them. Numbers are little-endian.
 *
 *    0  u32 magic            "cskr"
 *    4  u16 version          1
 *    6  u16 method           of compressed blocks: enum compress_method
 *    8  u64 record_size      header and blocks
 *   16  u64 check            span_hash of the header from byte 24 on
 *   24  u64 serial           of the value: one that lies where another should is found out
 *   32  u32 header_size
 *   36  u32 value_size       of the blob's msgpack value
 *   40  u32 frame_count
 *   44  u32 block_count
 *   48  frame_count × u64    bytes of a frame
 *       block_count × 12     u64 check: span_hash of the block as it is stored; u32 stored: its bytes
 *       value
 *   header_size:
 *       the blocks
 *
 * A block is up to SPILL_BLOCK_MAX bytes of one frame: a frame of n bytes has ⌈n / SPILL_BLOCK_MAX⌉, all but
 * the last full. One that is stored in fewer bytes than it has is compressed. So a value of any size is
 * written and read with buffers of one block, and a wrong byte is found wherever it is. */
#include "store/spill_format.h"

#include <endian.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"

enum {
    MAGIC = 0x726b7363, /* "cskr" */
    VERSION = 1,
    HEAD_SIZE = 48,
    FRAME_ROW = 8,
    BLOCK_ROW = 12,
    CHECK_FROM = 24,
    HEADER_SIZE_MAX = 1 << 30,
};

static void store32(uint8_t *at, uint32_t number)
{
    number = htole32(number);
    memcpy(at, &number, sizeof number);
}

static void store64(uint8_t *at, uint64_t number)
{
    number = htole64(number);
    memcpy(at, &number, sizeof number);
}

static uint32_t load32(const uint8_t *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return le32toh(number);
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return le64toh(number);
}

static uint64_t blocks_of(uint64_t frame_size)
{
    return frame_size / SPILL_BLOCK_MAX + (frame_size % SPILL_BLOCK_MAX != 0);
}

/* ---- writing ---- */

int spill_header_measure(const struct blob *blob, uint32_t *out_size)
{
    uint64_t size = HEAD_SIZE + (uint64_t)blob->frame_count * FRAME_ROW;
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        if (blob->frames[i].size > LIMIT_FRAME_BYTES_MAX) {
            return ERR_LIMIT;
        }
        size += blocks_of(blob->frames[i].size) * BLOCK_ROW;
    }
    if (blob->frame_count > LIMIT_FRAMES_MAX || size > HEADER_SIZE_MAX ||
        blob->value.size > HEADER_SIZE_MAX - size) {
        return ERR_LIMIT;
    }
    *out_size = (uint32_t)(size + blob->value.size);
    return OK;
}

void spill_header_begin(struct spill_header *header, const struct blob *blob, uint32_t size)
{
    uint8_t *bytes = mem_alloc(size);
    uint8_t *at = bytes + HEAD_SIZE;
    for (uint32_t i = 0; i < blob->frame_count; i++, at += FRAME_ROW) {
        store64(at, blob->frames[i].size);
    }
    if (blob->value.size > 0) {
        memcpy(bytes + size - blob->value.size, blob->value.data, blob->value.size);
    }
    store32(bytes, MAGIC);
    store32(bytes + 32, size);
    store32(bytes + 36, (uint32_t)blob->value.size);
    store32(bytes + 40, blob->frame_count);
    *header = (struct spill_header){.bytes = bytes, .size = size, .blocks = at};
}

void spill_header_block(struct spill_header *header, struct spill_block block)
{
    ASSERT(header->blocks + BLOCK_ROW <= header->bytes + header->size);
    store64(header->blocks, block.check);
    store32(header->blocks + 8, block.stored);
    header->blocks += BLOCK_ROW;
    header->block_count++;
}

void spill_header_end(struct spill_header *header, uint64_t serial, uint64_t record_size,
                      enum compress_method method)
{
    uint8_t *bytes = header->bytes;
    ASSERT(header->blocks + load32(bytes + 36) == bytes + header->size);
    store32(bytes + 4, VERSION | (uint32_t)method << 16);
    store64(bytes + 8, record_size);
    store64(bytes + 24, serial);
    store32(bytes + 44, header->block_count);
    store64(bytes + 16, span_hash(span_of(bytes + CHECK_FROM, header->size - CHECK_FROM)));
}

void spill_header_fini(struct spill_header *header)
{
    mem_free(header->bytes);
    *header = (struct spill_header){0};
}

/* ---- reading ---- */

static int corrupt(struct text *why, const char *what)
{
    text_printf(why, "%s is not what was written", what);
    return ERR_CORRUPT;
}

uint64_t spill_record_frame(const struct spill_record *record, uint32_t index)
{
    ASSERT(index < record->frame_count);
    return load64(record->frames + (size_t)index * FRAME_ROW);
}

struct spill_block spill_record_block(const struct spill_record *record, uint32_t index)
{
    const uint8_t *row = record->blocks + (size_t)index * BLOCK_ROW;
    return (struct spill_block){.check = load64(row), .stored = load32(row + 8)};
}

/* Frames and blocks fit each other, and the record. */
static bool rows_are_right(struct spill_record *record, uint32_t block_count, uint64_t blocks_size)
{
    uint64_t stored = 0, next = 0;
    for (uint32_t i = 0; i < record->frame_count; i++) {
        uint64_t size = spill_record_frame(record, i);
        if (size > LIMIT_FRAME_BYTES_MAX || blocks_of(size) > block_count - next) {
            return false;
        }
        record->frames_size += size;
        for (uint64_t at = 0; at < size; at += SPILL_BLOCK_MAX) {
            struct spill_block block = spill_record_block(record, (uint32_t)next++);
            if (block.stored == 0 || block.stored > spill_block_size(size, at)) {
                return false;
            }
            stored += block.stored;
        }
    }
    return next == block_count && stored == blocks_size;
}

int spill_record_read(struct span header, uint64_t serial, uint64_t record_size,
                      struct spill_record *out_record, struct text *why)
{
    const uint8_t *bytes = header.data;
    if (header.size < HEAD_SIZE || header.size > record_size || load32(bytes) != MAGIC ||
        (load32(bytes + 4) & 0xffff) != VERSION || load32(bytes + 32) != header.size) {
        return corrupt(why, "the head of its record");
    }
    if (load64(bytes + 16) != span_hash(span_of(bytes + CHECK_FROM, header.size - CHECK_FROM))) {
        return corrupt(why, "the header of its record");
    }
    if (load64(bytes + 24) != serial || load64(bytes + 8) != record_size) {
        return corrupt(why, "the record, which is another value's,");
    }
    uint32_t method = load32(bytes + 4) >> 16;
    uint64_t value_size = load32(bytes + 36);
    uint32_t frame_count = load32(bytes + 40), block_count = load32(bytes + 44);
    uint64_t frames_size = (uint64_t)frame_count * FRAME_ROW;
    uint64_t blocks_size = (uint64_t)block_count * BLOCK_ROW;
    if (HEAD_SIZE + frames_size + blocks_size + value_size != header.size ||
        method > COMPRESS_SNAPPY || frame_count > LIMIT_FRAMES_MAX) {
        return corrupt(why, "the layout of its record");
    }
    struct spill_record record = {
        .method = (enum compress_method)method,
        .frame_count = frame_count,
        .value = span_of(bytes + header.size - value_size, value_size),
        .frames = bytes + HEAD_SIZE,
        .blocks = bytes + HEAD_SIZE + frames_size,
    };
    if (!rows_are_right(&record, block_count, record_size - header.size)) {
        return corrupt(why, "the layout of its record");
    }
    *out_record = record;
    return OK;
}
