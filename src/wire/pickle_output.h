/* pickle_output.h: where cut pickles are written: one behind the other into chunks of bytes, each
 * ready as the frame that follows {"__Pickled__": 1}: {"pickled-obj": bin, "compression": [nil …],
 * "num-sub-frames": n} (protocol.md 2.7). */
#ifndef CASK_WIRE_PICKLE_OUTPUT_H
#define CASK_WIRE_PICKLE_OUTPUT_H

#include "base/assert.h"
#include "base/blob.h"

struct pickle_output {
    struct buf *chunk;   /* the pickle at hand is its newest bytes */
    size_t start;        /* where the pickle's frame begins */
    uint32_t epoch;      /* tells this pickle's memo from others' (pickle_emit.c) */
    uint32_t base_epoch; /* of its prefix; else epoch again */
    uint32_t memo_count; /* objects in its memo */
    bool inner;          /* large shared objects become inner pickles */
};

/* Move the pickle at hand to a new chunk with room for `size` more bytes. Blobs keep the old one. */
void pickle_output_grow(struct pickle_output *output, size_t size);

/* Room for `size` more bytes, to be filled now. */
static inline uint8_t *pickle_output_room(struct pickle_output *output, size_t size)
{
    if (output->chunk->capacity - output->chunk->size < size) {
        pickle_output_grow(output, size);
    }
    uint8_t *at = output->chunk->data + output->chunk->size;
    output->chunk->size += size;
    return at;
}

static inline void pickle_output_byte(struct pickle_output *output, uint8_t byte)
{
    *pickle_output_room(output, 1) = byte;
}

static inline void pickle_output_raw(struct pickle_output *output, struct span bytes)
{
    memcpy(pickle_output_room(output, bytes.size), bytes.data, bytes.size);
}

/* Drop what was not ended, and start a frame: its head, and PROTO 5. */
void pickle_output_begin(struct pickle_output *output);
/* The opcodes since then, without PROTO. */
struct span pickle_output_opcodes(const struct pickle_output *output);
/* Finish the frame; gives a run_spec with it and references to `frames`. ERR_LIMIT: over 4 GiB. */
int pickle_output_end(struct pickle_output *output, const struct slice *frames,
                      uint32_t frame_count, struct blob **out_blob) MUST_USE;

/* Put the newest object into the memo; gives its index. */
uint32_t pickle_output_memoize(struct pickle_output *output);
/* Fetch an object from the memo. */
void pickle_output_recall(struct pickle_output *output, uint32_t index);
/* An int constant. */
void pickle_output_int(struct pickle_output *output, int64_t value);

#endif
