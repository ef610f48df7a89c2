/* runs.h: the last runs, as columns in chunks: what the task stream, the list of runs and the page of a task show.
 *
 * Runs are numbered from 0 as they come; when the bytes are used up the oldest chunk goes. */
#ifndef CASK_OBSERVER_RUNS_H
#define CASK_OBSERVER_RUNS_H

#include "base/text.h"
#include "base/vec.h"

#define RUNS_CHUNK 4096u

struct run {
    uint64_t n;
    struct span key; /* canonical msgpack; in the chunk */
    double start;
    float duration, transfer, deserialize, disk;
    uint32_t worker, prefix, group;
    uint16_t lane; /* the thread's place in its worker */
    uint8_t is_erred;
    int64_t nbytes;
};

struct runs_chunk {
    double start[RUNS_CHUNK];
    int64_t nbytes[RUNS_CHUNK];
    float duration[RUNS_CHUNK], transfer[RUNS_CHUNK], deserialize[RUNS_CHUNK], disk[RUNS_CHUNK];
    uint32_t worker[RUNS_CHUNK], prefix[RUNS_CHUNK], group[RUNS_CHUNK];
    uint32_t key_end[RUNS_CHUNK]; /* in keys; a key begins where the one before ends */
    uint16_t lane[RUNS_CHUNK];
    uint8_t is_erred[RUNS_CHUNK];
    uint32_t count;
    double first, last; /* the earliest start, the latest end */
    struct text keys;
};

struct runs {
    struct VEC(struct runs_chunk *) chunks; /* from index `first` on; those before are gone */
    uint64_t first_chunk;                   /* number of chunks.items[0] */
    uint64_t next;                          /* number of the next run */
    size_t bytes, bytes_max;
};

/* Empty it; the limit stays. */
void runs_clear(struct runs *runs);
/* Take a run in; its `n` is given by us, its key is copied. */
void runs_add(struct runs *runs, const struct run *run);
/* Take a whole chunk (RUNS_CHUNK runs) in; there must be none that is not full. It becomes ours. */
void runs_take_chunk(struct runs *runs, struct runs_chunk *chunk);
/* The oldest that is kept; == runs->next: none. */
uint64_t runs_first(const struct runs *runs);
/* false: no longer, or not yet. */
bool runs_at(const struct runs *runs, uint64_t n, struct run *out_run);
/* The chunk of run n, for those who look at many; NULL: gone. */
const struct runs_chunk *runs_chunk_of(const struct runs *runs, uint64_t n);
/* Row `i` of a chunk, as run number n; its key stays in the chunk. */
void runs_chunk_run(const struct runs_chunk *chunk, uint32_t i, uint64_t n, struct run *out_run);
struct span runs_chunk_key(const struct runs_chunk *chunk, uint32_t i);

#endif
