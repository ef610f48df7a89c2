/* blob.h: one value of a message that passes through cask unopened.
 *
 * `value` is msgpack. Where the wire had {"__Serialized__": N} or {"__Pickled__": N}, the value has
 * the same map with N counted from 1 over `frames` (so N = 1 is frames[0]); a sender re-bases N when
 * it appends the frames to its message (wire/payload.h). A blob is immutable and reference-counted;
 * counts are not atomic. The cores hold blobs and never look inside.
 * Source: protocol.md 2.3, 2.8. */
#ifndef CASK_BASE_BLOB_H
#define CASK_BASE_BLOB_H

#include "base/buf.h"

struct blob {
    uint32_t refs;
    uint32_t frame_count;
    struct slice value;    /* one msgpack value */
    struct slice frames[]; /* frame_count of them */
};

/* A blob of `value` with room for `frame_count` frames (zeroed); takes over value's reference.
 * The caller fills frames[] before sharing it. One reference. */
struct blob *blob_create(struct slice value, uint32_t frame_count);
struct blob *blob_ref(struct blob *blob);
/* The last reference frees the frames; NULL is allowed. */
void blob_unref(struct blob *blob);
/* Bytes of value and frames together. */
size_t blob_size(const struct blob *blob);

#endif
