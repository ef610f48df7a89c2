/* history_chunk.h: runs as they are kept on disk: columns, each as narrow as its values allow. */
#ifndef CASK_OBSERVER_HISTORY_CHUNK_H
#define CASK_OBSERVER_HISTORY_CHUNK_H

#include "base/assert.h"
#include "observer/runs.h"

enum chunk_codec { CHUNK_RAW, CHUNK_ZSTD };

/* A chunk as it goes into a row of run_chunks. */
struct chunk_row {
    enum chunk_codec codec;
    uint32_t count;
    struct span data;
};

/* Append runs [begin, chunk->count) of the chunk; with `packs`, compressed if that makes them smaller, which out_codec
 * says. */
void chunk_encode(const struct runs_chunk *chunk, uint32_t begin, bool packs, struct text *out,
                  enum chunk_codec *out_codec);
/* Fill `chunk` (allocated by the caller; its keys are replaced) with the row's runs. ERR_CORRUPT: it is not what
 * chunk_encode made. */
int chunk_decode(const struct chunk_row *row, struct runs_chunk *chunk) MUST_USE;

#endif
