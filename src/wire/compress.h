/* compress.h: the compressions that peers may agree on, by name.
 *
 * zlib is a zlib stream, snappy a raw block, zstd a frame, lz4 a block behind its uncompressed size
 * (4 bytes, little-endian). Source: distributed/protocol/compression.py, protocol.md 2.6. */
#ifndef CASK_WIRE_COMPRESS_H
#define CASK_WIRE_COMPRESS_H

#include "base/assert.h"
#include "base/buf.h"
#include "base/error.h"

enum compress_method {
    COMPRESS_NONE,
    COMPRESS_LZ4,
    COMPRESS_ZSTD,
    COMPRESS_ZLIB,
    COMPRESS_SNAPPY,
};

/* "lz4" …; NULL for COMPRESS_NONE. */
const char *compress_name(enum compress_method method);
/* The method of a name; false if it is unknown. */
bool compress_find(struct span name, enum compress_method *out_method);

/* Decompress into an owned slice of at most `size_max` bytes. ERR_MALFORMED: not that format;
 * ERR_LIMIT: it would grow beyond size_max or LIMIT_COMPRESSION_RATIO_MAX. */
int compress_decode(enum compress_method method, struct span bytes, uint64_t size_max,
                    struct slice *out_bytes) MUST_USE;

/* Compress if it pays, by stock's rule: 10,000 bytes to 2 GiB, and a sample of five places as well as
 * the whole shrink to 70 %. false: send it as it is. `seed` chooses the places. */
bool compress_encode(enum compress_method method, struct span bytes, uint64_t seed,
                     struct slice *out_bytes);

#endif
