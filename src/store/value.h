/* value.h: a serialised value: what a peer is sent, an executor is given, a spill file holds.
 *
 * Immutable and reference-counted; counts are not atomic, so it belongs to the loop's thread. Its
 * frames lie in the heap or in one segment (store/segment.h), which executors map as well. */
#ifndef CASK_STORE_VALUE_H
#define CASK_STORE_VALUE_H

#include "base/blob.h"
#include "exec/channel.h"
#include "store/segment.h"

struct store_value {
    uint32_t refs;
    int segment;         /* memfd that holds some of the frames, or -1; kept by their owner */
    struct span mapping; /* the segment's bytes */
    uint64_t size;       /* bytes of blob */
    struct blob *blob;   /* for payload_put() */
};

/* A value whose frames are where they are, in the heap or in a segment. Takes the blob's reference; gives one. */
struct store_value *store_value_create(struct blob *take_blob);
/* What an executor exported: as channel_reader_next() gave it, so its frames are known to lie in the
 * segment. Takes the segment (and sets payload->segment to -1), copies the rest. ERR_IO: it cannot be
 * mapped; ERR_MALFORMED: there is no value; then the segment is still the caller's. `segments` may be NULL: not counted. */
MUST_USE int store_value_open(struct executor_payload *payload, struct store_segments *segments,
                              struct store_value **out_value, struct text *why);
/* The same of a payload in the segment that its executor was lent (store_segment_take). Who wrote it might still do
 * so: what this process reads itself is copied. ERR_MALFORMED: a frame lies outside. */
MUST_USE int store_value_open_lent(const struct executor_payload *payload, struct buf *segment,
                                   struct store_value **out_value, struct text *why);
/* The value as an executor is given it (PUT, RUN, ANSWER). Borrows; `frames` has room for
 * value->blob->frame_count. */
void store_value_payload(const struct store_value *value, struct executor_frame *frames,
                         struct executor_payload *out_payload);
struct store_value *store_value_ref(struct store_value *value);
/* The last reference frees; NULL is allowed. Slices of its frames live on by themselves. */
void store_value_unref(struct store_value *value);

/* A value of a blob with frames in that segment. Takes the blob's reference. */
struct store_value *store_value_in_segment(struct blob *take_blob, int segment,
                                           struct span mapping);

#endif
