/* compress.c: one codec a function; the sizes that the formats themselves declare are checked before
 * memory is taken for them, and output is never let grow past the caller's bound. */
#define ZLIB_CONST /* its input pointers are const then */
#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "base/limits.h"
#include "base/prng.h"
#include "wire/compress.h"

enum {
    SAMPLE_COUNT = 5,
    SAMPLE_SIZE = 10000,
    SAMPLE_TOTAL = SAMPLE_COUNT * SAMPLE_SIZE,
    COMPRESS_SIZE_MIN = 10000,
    LZ4_HEAD = 4,
    INFLATE_STEP = 64 * 1024, /* zlib declares no size: its output buffer begins with this */
};

static const uint64_t compress_size_max = 1ull << 31;

const char *compress_name(enum compress_method method)
{
    static const char *const names[] = {NULL, "lz4", "zstd", "zlib", "snappy"};
    return names[method];
}

bool compress_find(struct span name, enum compress_method *out_method)
{
    for (enum compress_method method = COMPRESS_LZ4; method <= COMPRESS_SNAPPY; method++) {
        if (span_equal_text(name, compress_name(method))) {
            *out_method = method;
            return true;
        }
    }
    return false;
}

/* Give `buf`'s only reference to a slice of all of it. */
static struct slice slice_of_buf(struct buf *buf)
{
    return (struct slice){buf->data, buf->size, buf};
}

/* A buffer for a declared size, or NULL: it is over the caller's bound, or no honest ratio. */
static struct buf *declared_buffer(uint64_t declared, struct span bytes, uint64_t size_max)
{
    uint64_t honest = ((uint64_t)bytes.size + 64) * LIMIT_COMPRESSION_RATIO_MAX;
    return declared <= size_max && declared <= honest ? buf_create((size_t)declared) : NULL;
}

static int lz4_decode(struct span bytes, uint64_t size_max, struct slice *out_bytes)
{
    if (bytes.size < LZ4_HEAD || bytes.size - LZ4_HEAD > INT32_MAX) {
        return ERR_MALFORMED;
    }
    const uint8_t *head = bytes.data;
    uint32_t declared = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
                        (uint32_t)head[3] << 24;
    if (declared > INT32_MAX) {
        return ERR_LIMIT;
    }
    struct buf *buf = declared_buffer(declared, bytes, size_max);
    if (buf == NULL) {
        return ERR_LIMIT;
    }
    int size = LZ4_decompress_safe((const char *)bytes.data + LZ4_HEAD, (char *)buf->data,
                                   (int)(bytes.size - LZ4_HEAD), (int)declared);
    if (size < 0 || (uint32_t)size != declared) {
        buf_unref(buf);
        return ERR_MALFORMED;
    }
    buf->size = declared;
    *out_bytes = slice_of_buf(buf);
    return OK;
}

static int zstd_decode(struct span bytes, uint64_t size_max, struct slice *out_bytes)
{
    unsigned long long declared = ZSTD_getFrameContentSize(bytes.data, bytes.size);
    if (declared == ZSTD_CONTENTSIZE_ERROR || declared == ZSTD_CONTENTSIZE_UNKNOWN) {
        return ERR_MALFORMED; /* python-zstandard, as stock calls it, refuses unknown sizes too */
    }
    struct buf *buf = declared_buffer(declared, bytes, size_max);
    if (buf == NULL) {
        return ERR_LIMIT;
    }
    size_t size = ZSTD_decompress(buf->data, buf->capacity, bytes.data, bytes.size);
    if (ZSTD_isError(size) || size != declared) {
        buf_unref(buf);
        return ERR_MALFORMED;
    }
    buf->size = size;
    *out_bytes = slice_of_buf(buf);
    return OK;
}

static int snappy_decode(struct span bytes, uint64_t size_max, struct slice *out_bytes)
{
    size_t declared;
    const char *data = (const char *)bytes.data;
    if (snappy_uncompressed_length(data, bytes.size, &declared) != SNAPPY_OK) {
        return ERR_MALFORMED;
    }
    struct buf *buf = declared_buffer(declared, bytes, size_max);
    if (buf == NULL) {
        return ERR_LIMIT;
    }
    if (snappy_uncompress(data, bytes.size, (char *)buf->data, &declared) != SNAPPY_OK) {
        buf_unref(buf);
        return ERR_MALFORMED;
    }
    buf->size = declared;
    *out_bytes = slice_of_buf(buf);
    return OK;
}

/* Inflate until the stream ends, doubling the buffer up to size_max. `*buf` is replaced as it grows. */
static int zlib_run(z_stream *stream, struct span bytes, uint64_t size_max, struct buf **buf)
{
    size_t consumed = 0;
    for (;;) {
        struct buf *out = *buf;
        if (out->size == out->capacity) {
            if (out->capacity >= size_max) {
                return ERR_LIMIT;
            }
            uint64_t grown =
                (uint64_t)out->capacity * 2 < size_max ? (uint64_t)out->capacity * 2 : size_max;
            *buf = buf_create((size_t)grown);
            memcpy((*buf)->data, out->data, out->size);
            (*buf)->size = out->size;
            buf_unref(out);
            out = *buf;
        }
        size_t in_size = bytes.size - consumed;
        size_t out_size = out->capacity - out->size;
        unsigned in_step = in_size < UINT32_MAX ? (unsigned)in_size : UINT32_MAX;
        unsigned out_step = out_size < UINT32_MAX ? (unsigned)out_size : UINT32_MAX;
        stream->next_in = bytes.data + consumed;
        stream->avail_in = in_step;
        stream->next_out = out->data + out->size;
        stream->avail_out = out_step;
        int result = inflate(stream, Z_NO_FLUSH);
        consumed += in_step - stream->avail_in;
        out->size += out_step - stream->avail_out;
        if (result == Z_STREAM_END) {
            return consumed == bytes.size ? OK : ERR_MALFORMED;
        }
        bool stuck = stream->avail_in == in_step && stream->avail_out == out_step;
        if ((result != Z_OK && result != Z_BUF_ERROR) || stuck) {
            return ERR_MALFORMED;
        }
    }
}

static int zlib_decode(struct span bytes, uint64_t size_max, struct slice *out_bytes)
{
    z_stream stream = {0};
    if (bytes.size == 0 || size_max == 0) {
        return bytes.size == 0 ? ERR_MALFORMED : ERR_LIMIT;
    }
    if (inflateInit(&stream) != Z_OK) {
        return ERR_IO;
    }
    struct buf *buf = buf_create(size_max < INFLATE_STEP ? (size_t)size_max : INFLATE_STEP);
    int code = zlib_run(&stream, bytes, size_max, &buf);
    inflateEnd(&stream);
    if (code != OK) {
        buf_unref(buf);
        return code;
    }
    *out_bytes = slice_of_buf(buf);
    return OK;
}

int compress_decode(enum compress_method method, struct span bytes, uint64_t size_max,
                    struct slice *out_bytes)
{
    switch (method) {
    case COMPRESS_LZ4:
        return lz4_decode(bytes, size_max, out_bytes);
    case COMPRESS_ZSTD:
        return zstd_decode(bytes, size_max, out_bytes);
    case COMPRESS_ZLIB:
        return zlib_decode(bytes, size_max, out_bytes);
    case COMPRESS_SNAPPY:
        return snappy_decode(bytes, size_max, out_bytes);
    case COMPRESS_NONE:
        break;
    }
    if (bytes.size > size_max) {
        return ERR_LIMIT;
    }
    *out_bytes = slice_copy(bytes);
    return OK;
}

/* Compress whole; NULL if the codec refuses. */
static struct buf *encode_whole(enum compress_method method, struct span bytes)
{
    const char *data = (const char *)bytes.data;
    struct buf *buf = NULL;
    size_t size = 0;
    if (method == COMPRESS_LZ4) {
        buf = buf_create(LZ4_HEAD + (size_t)LZ4_compressBound((int)bytes.size));
        for (unsigned i = 0; i < LZ4_HEAD; i++) {
            buf->data[i] = (uint8_t)(bytes.size >> (8 * i));
        }
        int done = LZ4_compress_default(data, (char *)buf->data + LZ4_HEAD, (int)bytes.size,
                                        (int)(buf->capacity - LZ4_HEAD));
        size = done > 0 ? LZ4_HEAD + (size_t)done : 0;
    } else if (method == COMPRESS_ZSTD) {
        buf = buf_create(ZSTD_compressBound(bytes.size));
        size = ZSTD_compress(buf->data, buf->capacity, bytes.data, bytes.size, 3);
        size = ZSTD_isError(size) ? 0 : size;
    } else if (method == COMPRESS_ZLIB) {
        buf = buf_create(compressBound(bytes.size));
        uLongf done = buf->capacity;
        size = compress(buf->data, &done, bytes.data, bytes.size) == Z_OK ? done : 0;
    } else {
        buf = buf_create(snappy_max_compressed_length(bytes.size));
        size = buf->capacity;
        size = snappy_compress(data, bytes.size, (char *)buf->data, &size) == SNAPPY_OK ? size : 0;
    }
    buf->size = size;
    if (size == 0) {
        buf_unref(buf);
        return NULL;
    }
    return buf;
}

/* Compress; NULL if it does not shrink to 70 %. */
static struct buf *encode_if_small(enum compress_method method, struct span bytes)
{
    struct buf *buf = encode_whole(method, bytes);
    if (buf != NULL && (double)buf->size > 0.7 * (double)bytes.size) {
        buf_unref(buf);
        return NULL;
    }
    return buf;
}

/* Pieces from five places, one after the other; overlapping ones are cut short. As byte_sample(). */
static struct buf *sample(struct span bytes, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    size_t starts[SAMPLE_COUNT];
    uint64_t range = bytes.size - SAMPLE_SIZE + 1;
    for (unsigned i = 0; i < SAMPLE_COUNT; i++) {
        size_t start = (size_t)(prng_unit(&prng) * (double)range);
        unsigned place = i;
        while (place > 0 && starts[place - 1] > start) {
            starts[place] = starts[place - 1];
            place--;
        }
        starts[place] = start;
    }
    struct buf *buf = buf_create(SAMPLE_TOTAL);
    for (unsigned i = 0; i < SAMPLE_COUNT; i++) {
        size_t size = SAMPLE_SIZE;
        if (i + 1 < SAMPLE_COUNT && starts[i + 1] - starts[i] < size) {
            size = starts[i + 1] - starts[i];
        }
        memcpy(buf->data + buf->size, bytes.data + starts[i], size);
        buf->size += size;
    }
    return buf;
}

bool compress_encode(enum compress_method method, struct span bytes, uint64_t seed,
                     struct slice *out_bytes)
{
    uint64_t size_max = method == COMPRESS_LZ4 ? LZ4_MAX_INPUT_SIZE : compress_size_max;
    if (method == COMPRESS_NONE || bytes.size < COMPRESS_SIZE_MIN || bytes.size > size_max) {
        return false;
    }
    struct buf *pieces = sample(bytes, seed);
    struct buf *tried = encode_if_small(method, span_of(pieces->data, pieces->size));
    buf_unref(pieces);
    if (tried == NULL) {
        return false;
    }
    buf_unref(tried);
    struct buf *whole = encode_if_small(method, bytes);
    if (whole == NULL) {
        return false;
    }
    *out_bytes = slice_of_buf(whole);
    return true;
}
