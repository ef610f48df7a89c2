/* value.h: a serialised value: what a peer is sent, an executor is given, a spill file holds.
 *
 * Immutable and reference-counted; counts are not atomic, so it belongs to the loop's thread. Its
 * frames lie in the heap or in one segment, a sealed memfd that executors map as well. */
#ifndef CASK_STORE_VALUE_H
#define CASK_STORE_VALUE_H

#include "base/blob.h"
#include "exec/channel.h"

/* Bytes in segments that have not been given back, of one store; shared because values may outlive it. */
struct store_segments {
    uint32_t refs;
    uint64_t bytes;
};

struct store_value {
    uint32_t refs;
    int segment;         /* memfd that holds some of the frames, or -1; kept by their owner */
    struct span mapping; /* the segment's bytes */
    uint64_t size;       /* bytes of blob */
    struct blob *blob;   /* for payload_put() */
};

/* A value whose frames are in the heap. Takes the blob's reference; gives one. */
struct store_value *store_value_create(struct blob *take_blob);
/* What an executor exported: as channel_reader_next() gave it, so its frames are known to lie in the
 * segment. Takes the segment (and sets payload->segment to -1), copies the rest. ERR_IO: it cannot be
 * mapped; ERR_MALFORMED: there is no value; then the segment is still the caller's. `segments` may be NULL: not counted. */
MUST_USE int store_value_open(struct executor_payload *payload, struct store_segments *segments,
                              struct store_value **out_value, struct text *why);
/* The value as an executor is given it (PUT, RUN, ANSWER). Borrows; `frames` has room for
 * value->blob->frame_count. */
void store_value_payload(const struct store_value *value, struct executor_frame *frames,
                         struct executor_payload *out_payload);
struct store_value *store_value_ref(struct store_value *value);
/* The last reference frees; NULL is allowed. Slices of its frames live on by themselves. */
void store_value_unref(struct store_value *value);

/* ---- making a value with its frames in a segment: create, write, seal. Any thread ---- */

/* Written, not mapped while it grows: that is twice as fast, as there are no page faults, and a lack of memory is
 * an error rather than a signal. */
struct store_segment_draft {
    int fd;
    size_t size;
};

/* ERR_IO: no descriptor. */
MUST_USE int store_segment_create(size_t size, struct store_segment_draft *out_draft,
                                  struct text *why);
/* ERR_IO: no memory. */
MUST_USE int store_segment_write(const struct store_segment_draft *draft, uint64_t at,
                                 struct span bytes, struct text *why);
/* No longer writable; gives the segment, mapped. What was not written is zero. ERR_IO. Takes the draft, whatever
 * happens. */
MUST_USE int store_segment_seal(struct store_segment_draft *draft, struct span *out_mapping,
                                int *out_fd, struct text *why);
void store_segment_discard(struct store_segment_draft *draft);
/* An owner for slices of a mapped segment; with its last reference the segment goes. Takes both. */
struct buf *store_segment_buf(int take_fd, struct span take_mapping,
                              struct store_segments *segments);
/* A value of a blob with frames in that segment. Takes the blob's reference. */
struct store_value *store_value_in_segment(struct blob *take_blob, int segment,
                                           struct span mapping);

struct store_segments *store_segments_create(void);
struct store_segments *store_segments_ref(struct store_segments *segments);
void store_segments_unref(struct store_segments *segments);

#endif
