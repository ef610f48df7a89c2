/* sub_header.h: the msgpack map in front of a serialized object's frames; what cask reads of it.
 * Source: protocol.md 2.4, 2.7. */
#ifndef CASK_WIRE_SUB_HEADER_H
#define CASK_WIRE_SUB_HEADER_H

#include "base/assert.h"
#include "base/span.h"

struct sub_header {
    uint64_t frame_count; /* num-sub-frames */
    bool is_collection;
    struct span serializer;
    struct span type;
    struct span pickle;       /* pickled-obj */
    struct span split_counts; /* raw lists; data NULL: absent or nil */
    struct span split_offsets;
    struct span compression;
};

/* Read the sub-header `bytes`; what it gives points into them. ERR_MALFORMED, ERR_LIMIT. */
int sub_header_read(struct span bytes, struct sub_header *out_header) MUST_USE;

#endif
