/* history_batch.h: what goes from the observer's loop to the thread that writes: rows, and runs to be packed. */
#ifndef CASK_OBSERVER_HISTORY_BATCH_H
#define CASK_OBSERVER_HISTORY_BATCH_H

#include "base/vec.h"
#include "observer/history_file.h"
#include "observer/runs.h"

/* Runs [begin, chunk->count) of a copied chunk, whose first run has number `first`. */
struct batch_runs {
    uint64_t first;
    uint32_t begin;
    struct runs_chunk *chunk; /* owned */
};

/* All zero is an empty one. */
struct batch {
    struct text rows;
    struct VEC(struct batch_runs) runs;
    uint64_t tail; /* of the ring: what came before it is in the file once this is */
};

void batch_fini(struct batch *batch);
/* A row begins; then its values, in order; then batch_end. */
void batch_begin(struct batch *batch, enum history_statement statement);
void batch_int(struct batch *batch, int64_t value);
void batch_real(struct batch *batch, double value);
void batch_text(struct batch *batch, struct span text);
void batch_blob(struct batch *batch, struct span bytes);
void batch_end(struct batch *batch);
/* A row of meta. */
void batch_meta_int(struct batch *batch, const char *name, int64_t value);
void batch_meta_real(struct batch *batch, const char *name, double value);
void batch_meta_text(struct batch *batch, const char *name, struct span text);
void batch_add_runs(struct batch *batch, const struct runs_chunk *chunk, uint64_t first,
                    uint32_t begin);

/* Write it all, in one transaction; on failure nothing of it is in the file. ERR_NO_SPACE, ERR_IO … and why. */
int batch_write(const struct batch *batch, sqlite3 *file, struct text *why) MUST_USE;

#endif
