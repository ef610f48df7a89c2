/* outgoing.h: a message being written: its msgpack head and the frames that head refers to.
 *
 * In stream mode a message is a batch: an array of maps that share one list of frames. The array's
 * head is written last, when the number of maps is known. */
#ifndef CASK_WIRE_OUTGOING_H
#define CASK_WIRE_OUTGOING_H

#include "base/text.h"
#include "wire/compress.h"
#include "wire/frame.h"

struct outgoing {
    struct text head;     /* frame 0 as far as it is written (in a batch, behind a gap) */
    struct frames frames; /* frames 1, 2, … */
    uint64_t frames_size; /* bytes in `frames` */
    uint32_t item_count;  /* maps in the batch */
    bool is_batch;
};

/* All zero is an empty message of one value. */
void outgoing_init(struct outgoing *message);
void outgoing_fini(struct outgoing *message);
/* Empty again, memory kept. */
void outgoing_clear(struct outgoing *message);
/* Make the empty message a batch. */
void outgoing_start_batch(struct outgoing *message);
/* One more map follows in the head. message_encode() and encode_…() call it; only who writes a map by
 * hand into a batch must. */
static inline void outgoing_item(struct outgoing *message)
{
    message->item_count++;
}
/* Bytes written so far. */
static inline uint64_t outgoing_size(const struct outgoing *message)
{
    return message->head.size + message->frames_size;
}
/* Append a frame, taking over its reference; gives its number (≥ 1). */
uint32_t outgoing_add_frame(struct outgoing *message, struct slice take_frame);
/* Compress the buffers of pickles as the peer agreed to (outgoing_compress.c), in place; call before a flush. */
void outgoing_compress(struct outgoing *message, enum compress_method method);
/* Everything as stream bytes, appended to `chunks`; the message is empty (and a batch, if it was one)
 * afterwards. Copies the head and small frames, references large ones. */
void outgoing_flush(struct outgoing *message, struct frames *chunks);
/* The same for ws. */
void outgoing_flush_ws(struct outgoing *message, struct frames *chunks);
/* The same as a message's frames (frame 0 first), for in-process peers and tests. */
void outgoing_flush_frames(struct outgoing *message, struct frames *out_frames);

#endif
