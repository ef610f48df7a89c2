/* history_chunk.c: see history_chunk.h.
 *
 * A column of `count` values v ≥ 0:
 *   0   u64   the smallest of them (little-endian, as all)
 *   8   u8    w, the bytes that the largest difference to it takes, 0…8
 *   9   w planes of `count` bytes: byte 0 of each difference, then byte 1 of each …
 * So a column of equal values is nine bytes, and equal high bytes stand side by side for zstd. In this order: start,
 * duration, transfer, deserialize, disk (microseconds), nbytes + 1, worker, prefix, group, lane, erred, and of the keys
 * what each shares with the one before it of the same prefix, and what else it has; then those bytes, key by key. */
#include "observer/history_chunk.h"

#include <math.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/error.h"

#define LEVEL 3
#define KEY_BYTES_MAX 16384u /* more than a record's text */
#define MICROSECONDS_MAX 1e17
/* Prefixes of which the last key is remembered. */
#define PLACES 64u

enum column {
    COLUMN_START,
    COLUMN_DURATION,
    COLUMN_TRANSFER,
    COLUMN_DESERIALIZE,
    COLUMN_DISK,
    COLUMN_NBYTES,
    COLUMN_WORKER,
    COLUMN_PREFIX,
    COLUMN_GROUP,
    COLUMN_LANE,
    COLUMN_ERRED,
    COLUMN_SHARED,
    COLUMN_OWN,
    COLUMN_COUNT
};

struct sheet {
    uint64_t values[COLUMN_COUNT][RUNS_CHUNK];
};

static uint64_t microseconds(double seconds)
{
    double value = round(seconds * 1e6);
    return value > 0 && value < MICROSECONDS_MAX ? (uint64_t)value : 0;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void fill(const struct runs_chunk *chunk, uint32_t begin, struct sheet *sheet)
{
    for (uint32_t i = begin; i < chunk->count; i++) {
        uint32_t to = i - begin;
        sheet->values[COLUMN_START][to] = microseconds(chunk->start[i]);
        sheet->values[COLUMN_DURATION][to] = microseconds((double)chunk->duration[i]);
        sheet->values[COLUMN_TRANSFER][to] = microseconds((double)chunk->transfer[i]);
        sheet->values[COLUMN_DESERIALIZE][to] = microseconds((double)chunk->deserialize[i]);
        sheet->values[COLUMN_DISK][to] = microseconds((double)chunk->disk[i]);
        sheet->values[COLUMN_NBYTES][to] =
            chunk->nbytes[i] < 0 ? 0 : (uint64_t)chunk->nbytes[i] + 1;
        sheet->values[COLUMN_WORKER][to] = chunk->worker[i];
        sheet->values[COLUMN_PREFIX][to] = chunk->prefix[i];
        sheet->values[COLUMN_GROUP][to] = chunk->group[i];
        sheet->values[COLUMN_LANE][to] = chunk->lane[i];
        sheet->values[COLUMN_ERRED][to] = chunk->is_erred[i];
    }
}

/* Their lengths go into the sheet, the bytes that are new into `out`. */
static void fill_keys(const struct runs_chunk *chunk, uint32_t begin, struct sheet *sheet,
                      struct text *out)
{
    struct span last[PLACES] = {{0}};
    for (uint32_t i = begin; i < chunk->count; i++) {
        struct span key = runs_chunk_key(chunk, i), *before = &last[chunk->prefix[i] % PLACES];
        size_t most = key.size < before->size ? key.size : before->size, shared = 0;
        while (shared < most && key.data[shared] == before->data[shared]) {
            shared++;
        }
        sheet->values[COLUMN_SHARED][i - begin] = shared;
        sheet->values[COLUMN_OWN][i - begin] = key.size - shared;
        text_add(out, span_of(key.data + shared, key.size - shared));
        *before = key;
    }
}

static void put_column(const uint64_t *values, uint32_t count, struct text *out)
{
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    low = count == 0 ? 0 : low;
    uint8_t width = 0, plane[RUNS_CHUNK];
    while (width < 8 && ((high - low) >> (8 * width)) != 0) {
        width++;
    }
    text_add(out, span_of(&low, sizeof low));
    text_add_char(out, (char)width);
    for (uint8_t at = 0; at < width; at++) {
        for (uint32_t i = 0; i < count; i++) {
            plane[i] = (uint8_t)((values[i] - low) >> (8 * at));
        }
        text_add(out, span_of(plane, count));
    }
}

static bool pack(struct span bytes, struct text *out)
{
    size_t bound = ZSTD_compressBound(bytes.size);
    char *space = mem_alloc(bound);
    size_t size = ZSTD_compress(space, bound, bytes.data, bytes.size, LEVEL);
    bool pays = !ZSTD_isError(size) && size < bytes.size;
    if (pays) {
        text_add(out, span_of(space, size));
    }
    mem_free(space);
    return pays;
}

void chunk_encode(const struct runs_chunk *chunk, uint32_t begin, bool packs, struct text *out,
                  enum chunk_codec *out_codec)
{
    ASSERT(begin <= chunk->count && chunk->count <= RUNS_CHUNK);
    struct sheet *sheet = mem_alloc(sizeof *sheet);
    struct text plain = {0}, keys = {0};
    fill(chunk, begin, sheet);
    fill_keys(chunk, begin, sheet, &keys);
    for (int c = 0; c < COLUMN_COUNT; c++) {
        put_column(sheet->values[c], chunk->count - begin, &plain);
    }
    text_add(&plain, text_span(&keys));
    *out_codec = packs && pack(text_span(&plain), out) ? CHUNK_ZSTD : CHUNK_RAW;
    if (*out_codec == CHUNK_RAW) {
        text_add(out, text_span(&plain));
    }
    text_fini(&keys);
    text_fini(&plain);
    mem_free(sheet);
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* Takes it off `rest`. */
static bool take_column(struct span *rest, uint32_t count, uint64_t *out_values)
{
    uint64_t low;
    if (rest->size < 9) {
        return false;
    }
    memcpy(&low, rest->data, sizeof low);
    uint8_t width = rest->data[8];
    size_t size = 9 + (size_t)width * count;
    if (width > 8 || rest->size < size) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        out_values[i] = low;
    }
    for (uint8_t at = 0; at < width; at++) {
        const uint8_t *plane = rest->data + 9 + (size_t)at * count;
        for (uint32_t i = 0; i < count; i++) {
            out_values[i] += (uint64_t)plane[i] << (8 * at);
        }
    }
    *rest = span_of(rest->data + size, rest->size - size);
    return true;
}

static void empty(const struct sheet *sheet, uint32_t count, struct runs_chunk *chunk)
{
    chunk->count = count;
    chunk->first = 0;
    chunk->last = 0;
    for (uint32_t i = 0; i < count; i++) {
        chunk->start[i] = (double)sheet->values[COLUMN_START][i] / 1e6;
        chunk->duration[i] = (float)((double)sheet->values[COLUMN_DURATION][i] / 1e6);
        chunk->transfer[i] = (float)((double)sheet->values[COLUMN_TRANSFER][i] / 1e6);
        chunk->deserialize[i] = (float)((double)sheet->values[COLUMN_DESERIALIZE][i] / 1e6);
        chunk->disk[i] = (float)((double)sheet->values[COLUMN_DISK][i] / 1e6);
        uint64_t nbytes = sheet->values[COLUMN_NBYTES][i];
        chunk->nbytes[i] = nbytes > INT64_MAX ? INT64_MAX : (int64_t)nbytes - 1;
        chunk->worker[i] = (uint32_t)sheet->values[COLUMN_WORKER][i];
        chunk->prefix[i] = (uint32_t)sheet->values[COLUMN_PREFIX][i];
        chunk->group[i] = (uint32_t)sheet->values[COLUMN_GROUP][i];
        chunk->lane[i] = (uint16_t)sheet->values[COLUMN_LANE][i];
        chunk->is_erred[i] = sheet->values[COLUMN_ERRED][i] != 0;
        double end = chunk->start[i] + (double)chunk->duration[i];
        chunk->first = i == 0 || chunk->start[i] < chunk->first ? chunk->start[i] : chunk->first;
        chunk->last = end > chunk->last ? end : chunk->last;
    }
}

/* What all keys are together; SIZE_MAX: more than they may be. */
static size_t key_bytes(const struct sheet *sheet, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t shared = sheet->values[COLUMN_SHARED][i], own = sheet->values[COLUMN_OWN][i];
        if (shared > KEY_BYTES_MAX || own > KEY_BYTES_MAX) {
            return SIZE_MAX;
        }
        bytes += shared + own;
    }
    return bytes;
}

static bool empty_keys(const struct sheet *sheet, struct span bytes, struct runs_chunk *chunk)
{
    struct last {
        uint32_t begin, size;
    } last[PLACES] = {{0, 0}};
    size_t whole = key_bytes(sheet, chunk->count);
    if (whole > (size_t)RUNS_CHUNK * KEY_BYTES_MAX) {
        return false;
    }
    char *space = mem_alloc(whole + 1), *at = space;
    bool fine = true;
    for (uint32_t i = 0; i < chunk->count && fine; i++) {
        size_t shared = sheet->values[COLUMN_SHARED][i], own = sheet->values[COLUMN_OWN][i];
        struct last *before = &last[chunk->prefix[i] % PLACES];
        fine = shared <= before->size && own <= bytes.size;
        if (fine) {
            memcpy(at, space + before->begin, shared);
            memcpy(at + shared, bytes.data, own);
            bytes = span_of(bytes.data + own, bytes.size - own);
            *before = (struct last){(uint32_t)(at - space), (uint32_t)(shared + own)};
            at += shared + own;
            chunk->key_end[i] = (uint32_t)(at - space);
        }
    }
    text_clear(&chunk->keys);
    text_add(&chunk->keys, span_of(space, (size_t)(at - space)));
    mem_free(space);
    return fine && bytes.size == 0;
}

static bool unpack(struct span bytes, struct text *out)
{
    /* As wide as columns get, and all that keys can be. */
    const unsigned long long most = (9 + 8 * (unsigned long long)RUNS_CHUNK) * COLUMN_COUNT +
                                    (size_t)RUNS_CHUNK * KEY_BYTES_MAX;
    unsigned long long size = ZSTD_getFrameContentSize(bytes.data, bytes.size);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > most) {
        return false;
    }
    char *space = mem_alloc((size_t)size + 1);
    size_t got = ZSTD_decompress(space, (size_t)size, bytes.data, bytes.size);
    bool fine = !ZSTD_isError(got) && got == size;
    if (fine) {
        text_add(out, span_of(space, got));
    }
    mem_free(space);
    return fine;
}

int chunk_decode(const struct chunk_row *row, struct runs_chunk *chunk)
{
    struct text plain = {0};
    struct span rest = row->data;
    bool fine = row->count <= RUNS_CHUNK;
    if (fine && row->codec == CHUNK_ZSTD) {
        fine = unpack(row->data, &plain);
        rest = text_span(&plain);
    }
    struct sheet *sheet = mem_alloc(sizeof *sheet);
    for (int c = 0; c < COLUMN_COUNT && fine; c++) {
        fine = take_column(&rest, row->count, sheet->values[c]);
    }
    if (fine) {
        empty(sheet, row->count, chunk);
        fine = empty_keys(sheet, rest, chunk);
    }
    mem_free(sheet);
    text_fini(&plain);
    return fine ? OK : ERR_CORRUPT;
}
