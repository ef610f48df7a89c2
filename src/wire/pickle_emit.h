/* pickle_emit.h: writes objects of a pickle's tree as pickles of their own (protocol 5).
 *
 * An object is copied as bytes; only opcodes that name the memo are rewritten. A reference to what
 * lies outside becomes that object's own bytes at its first use and a reference at the next, so what
 * was shared within one pickle stays shared, cycles included. Each pickle becomes the run_spec of a
 * task: a blob {"__Pickled__": 1} with sub-header and out-of-band buffers (protocol.md 2.7). They
 * stand behind each other in common buffers: no allocation a task but the blob. An object of
 * PICKLE_INNER_MIN bytes or more that several pickles need becomes a pickle of its own inside them,
 * sent as an out-of-band buffer: the tasks of a graph hold it once. */
#ifndef CASK_WIRE_PICKLE_EMIT_H
#define CASK_WIRE_PICKLE_EMIT_H

#include "wire/pickle.h"
#include "wire/pickle_output.h"

/* Below this, a copy in each task costs less than another frame in each message. */
#define PICKLE_INNER_MIN 2048

/* Returned when an inner pickle turns out to be needed in pieces: drop what was written and begin
 * again with `inner` false. */
#define PICKLE_EMIT_AGAIN 1

/* Where an object of the old memo stands in the new one. */
struct pickle_place {
    uint32_t epoch; /* of the pickle that it was put in */
    uint32_t index;
};

/* A run of bytes being copied. */
struct pickle_range {
    uint32_t at; /* copied up to here */
    uint32_t end;
    uint32_t fixup;
    uint32_t hole; /* the parts that are there already: holes[hole .. hole_end) */
    uint32_t hole_first;
    uint32_t hole_end;
    uint32_t wanted; /* place in the old memo of an object within that is asked for, or NO_MEMO */
};

/* A part of a range that the new pickle has already. */
struct pickle_hole {
    uint32_t start;
    uint32_t end;
    uint32_t index; /* in the new memo */
};

struct pickle_emitter {
    struct pickle_tree *tree; /* borrowed; what is found out about nodes is noted in them */
    const struct slice *buffers;
    struct pickle_output output;
    uint32_t epochs; /* used so far */
    uint64_t budget; /* bytes that may still be looked at: a bound for hostile graphs */
    struct pickle_place *places;
    struct pickle_ranges VEC(struct pickle_range) ranges;
    struct pickle_holes VEC(struct pickle_hole) holes;
    struct pickle_frames VEC(struct slice) frames; /* the pickle's buffers in order; borrowed */
    struct pickle_inside VEC(pickle_id) inside;    /* objects that are inner pickles of this one */
    struct pickle_shared VEC(struct slice) shared; /* the inner pickles; owned */
    struct {
        struct slice bytes; /* owned; empty: none */
        uint32_t epoch;
        uint32_t memo_count;
        uint32_t frame_count;
        uint32_t inside_count;
    } prefix;
};

/* `buffers`: those of the tree's pickle, at least tree->buffer_count; borrowed as `tree` is. */
void pickle_emitter_init(struct pickle_emitter *emitter, struct pickle_tree *tree,
                         const struct slice *buffers);
void pickle_emitter_fini(struct pickle_emitter *emitter);

/* Opcodes between objects go straight to emitter->output (pickle_output.h).
 * Start a pickle, with the prefix if there is one; one that was not ended is dropped. */
void pickle_emit_begin(struct pickle_emitter *emitter, bool inner);
/* What was written since pickle_emit_begin() is the prefix of all pickles from here on. */
void pickle_emit_set_prefix(struct pickle_emitter *emitter);
/* Pickles have no prefix any more. */
void pickle_emit_forget_prefix(struct pickle_emitter *emitter);
/* Finish: a run_spec, one reference. ERR_LIMIT: over 4 GiB; ERR_UNSUPPORTED as for objects. */
int pickle_emit_end(struct pickle_emitter *emitter, struct blob **out_blob) MUST_USE;

/* One object, or a reference to it if the pickle has it. ERR_UNSUPPORTED: copying would cost out of
 * all proportion; PICKLE_EMIT_AGAIN. */
int pickle_emit_object(struct pickle_emitter *emitter, pickle_id id) MUST_USE;
/* As pickle_emit_object; may become an inner pickle. */
int pickle_emit_common(struct pickle_emitter *emitter, pickle_id id) MUST_USE;

#endif
