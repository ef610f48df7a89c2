/* runs.c: see runs.h. */
#include "observer/runs.h"

#include "base/alloc.h"

static void chunk_free(struct runs *runs, struct runs_chunk *chunk)
{
    runs->bytes -= sizeof *chunk + chunk->keys.capacity;
    text_fini(&chunk->keys);
    mem_free(chunk);
}

void runs_clear(struct runs *runs)
{
    for (uint32_t i = 0; i < runs->chunks.count; i++) {
        chunk_free(runs, runs->chunks.items[i]);
    }
    vec_fini(&runs->chunks);
    *runs = (struct runs){.bytes_max = runs->bytes_max};
}

/* Another chunk; the oldest go when there is no room for it. */
static void put_chunk(struct runs *runs, struct runs_chunk *chunk)
{
    while (runs->chunks.count > 1 && runs->bytes > runs->bytes_max) {
        chunk_free(runs, runs->chunks.items[0]);
        runs->chunks.count--;
        memmove(runs->chunks.items, runs->chunks.items + 1,
                runs->chunks.count * sizeof *runs->chunks.items);
        runs->first_chunk++;
    }
    vec_push(&runs->chunks, chunk);
    runs->bytes += sizeof *chunk + chunk->keys.capacity;
}

/* The chunk that the next run goes into. */
static struct runs_chunk *open_chunk(struct runs *runs)
{
    if (runs->next % RUNS_CHUNK == 0) {
        put_chunk(runs, mem_zalloc(1, sizeof(struct runs_chunk)));
    }
    return runs->chunks.items[runs->chunks.count - 1];
}

void runs_take_chunk(struct runs *runs, struct runs_chunk *chunk)
{
    ASSERT(runs->next % RUNS_CHUNK == 0 && chunk->count == RUNS_CHUNK);
    put_chunk(runs, chunk);
    runs->next += RUNS_CHUNK;
}

void runs_add(struct runs *runs, const struct run *run)
{
    struct runs_chunk *chunk = open_chunk(runs);
    uint32_t i = chunk->count++;
    double end = run->start + (double)run->duration;
    chunk->first = i == 0 || run->start < chunk->first ? run->start : chunk->first;
    chunk->last = i == 0 || end > chunk->last ? end : chunk->last;
    chunk->start[i] = run->start;
    chunk->nbytes[i] = run->nbytes;
    chunk->duration[i] = run->duration;
    chunk->transfer[i] = run->transfer;
    chunk->deserialize[i] = run->deserialize;
    chunk->disk[i] = run->disk;
    chunk->worker[i] = run->worker;
    chunk->prefix[i] = run->prefix;
    chunk->group[i] = run->group;
    chunk->lane[i] = run->lane;
    chunk->is_erred[i] = run->is_erred;
    size_t capacity = chunk->keys.capacity;
    text_add(&chunk->keys, run->key);
    runs->bytes += chunk->keys.capacity - capacity;
    chunk->key_end[i] = (uint32_t)chunk->keys.size; /* 4096 keys of at most 16 kB */
    runs->next++;
}

uint64_t runs_first(const struct runs *runs)
{
    return runs->chunks.count == 0 ? runs->next : runs->first_chunk * RUNS_CHUNK;
}

const struct runs_chunk *runs_chunk_of(const struct runs *runs, uint64_t n)
{
    if (n < runs_first(runs) || n >= runs->next) {
        return NULL;
    }
    return runs->chunks.items[n / RUNS_CHUNK - runs->first_chunk];
}

struct span runs_chunk_key(const struct runs_chunk *chunk, uint32_t i)
{
    uint32_t begin = i == 0 ? 0 : chunk->key_end[i - 1];
    return span_of(chunk->keys.data + begin, chunk->key_end[i] - begin);
}

void runs_chunk_run(const struct runs_chunk *chunk, uint32_t i, uint64_t n, struct run *out_run)
{
    *out_run = (struct run){
        .n = n,
        .key = runs_chunk_key(chunk, i),
        .start = chunk->start[i],
        .duration = chunk->duration[i],
        .transfer = chunk->transfer[i],
        .deserialize = chunk->deserialize[i],
        .disk = chunk->disk[i],
        .worker = chunk->worker[i],
        .prefix = chunk->prefix[i],
        .group = chunk->group[i],
        .lane = chunk->lane[i],
        .is_erred = chunk->is_erred[i],
        .nbytes = chunk->nbytes[i],
    };
}

bool runs_at(const struct runs *runs, uint64_t n, struct run *out_run)
{
    const struct runs_chunk *chunk = runs_chunk_of(runs, n);
    if (chunk != NULL) {
        runs_chunk_run(chunk, (uint32_t)(n % RUNS_CHUNK), n, out_run);
    }
    return chunk != NULL;
}
