/* spill_format.h: how a value lies in a spill file (drawn in spill_format.c). Pure. */
#ifndef CASK_STORE_SPILL_FORMAT_H
#define CASK_STORE_SPILL_FORMAT_H

#include "base/assert.h"
#include "base/blob.h"
#include "base/text.h"
#include "wire/compress.h"

struct spill_file;

/* Where a value lies on disk. */
struct spill_place {
    struct spill_file *file; /* NULL: nowhere */
    uint64_t offset;
    uint64_t size; /* bytes of the record */
    uint32_t header_size;
};

enum { SPILL_BLOCK_MAX = 1 << 20 };

/* One block of a frame: how many bytes it takes, and their check. */
struct spill_block {
    uint32_t stored; /* less than its size: compressed */
    uint64_t check;
};

/* A header that is being written. */
struct spill_header {
    uint8_t *bytes; /* owned */
    uint32_t size;
    uint32_t block_count;
    uint8_t *blocks; /* where in it the next block's row goes */
};

/* Bytes of the header of such a value. ERR_LIMIT: too many frames, or too large ones. */
MUST_USE int spill_header_measure(const struct blob *blob, uint32_t *out_size);
/* Everything but the blocks' rows and the sum; `size` is what spill_header_measure gave. */
void spill_header_begin(struct spill_header *header, const struct blob *blob, uint32_t size);
/* The next block's row. */
void spill_header_block(struct spill_header *header, struct spill_block block);
/* All blocks are there, the record takes `record_size` bytes: header->bytes can be written. */
void spill_header_end(struct spill_header *header, uint64_t serial, uint64_t record_size,
                      enum compress_method method);
void spill_header_fini(struct spill_header *header);

/* A header that was read; points into the bytes. */
struct spill_record {
    enum compress_method method;
    uint32_t frame_count;
    struct span value;
    uint64_t frames_size; /* of all frames together */
    const uint8_t *frames, *blocks;
};

/* ERR_CORRUPT: it is not the header of this value with these sizes; why says in what. Nothing of it is
 * believed before its check is right, and nothing is allocated for it. */
MUST_USE int spill_record_read(struct span header, uint64_t serial, uint64_t record_size,
                               struct spill_record *out_record, struct text *why);
uint64_t spill_record_frame(const struct spill_record *record, uint32_t index);
struct spill_block spill_record_block(const struct spill_record *record, uint32_t index);
static inline uint32_t spill_block_size(uint64_t frame_size, uint64_t at)
{
    uint64_t left = frame_size - at;
    return left < SPILL_BLOCK_MAX ? (uint32_t)left : SPILL_BLOCK_MAX;
}

#endif
