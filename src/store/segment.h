/* segment.h: shared memory (memfds) that values lie in, so that executors and other workers of the host map
 * them where they are.
 *
 * What a new page costs (the system has to find and to clear it) is four times what copying into it
 * costs. So a segment that nobody uses any more is kept for a moment and written again: one that this
 * process made, that is. The system itself says whether somebody still has it (segment.c). A segment
 * never changes its size: who maps it cannot be hurt by that.
 *
 * Everything belongs to the loop's thread, but for drafts. */
#ifndef CASK_STORE_SEGMENT_H
#define CASK_STORE_SEGMENT_H

#include "base/assert.h"
#include "base/buf.h"
#include "base/text.h"

struct io_loop;

/* The segments of one store: their sum, and those that wait to be used again. Counted, as values may outlive the
 * store. */
struct store_segments;

struct store_segments_options {
    struct io_loop *loop;    /* NULL: nothing is kept */
    uint64_t idle_bytes_max; /* kept at most … */
    double idle_seconds;     /* … and for so long, or up to twice as long */
    uint32_t count_max;      /* of segments to be written: each takes two descriptors */
};

struct store_segments *store_segments_create(const struct store_segments_options *options);
struct store_segments *store_segments_ref(struct store_segments *segments);
void store_segments_unref(struct store_segments *segments);
/* From now on nothing is kept; before the loop goes. */
void store_segments_close(struct store_segments *segments);
/* Give back what waits: memory is short. */
void store_segments_trim(struct store_segments *segments);
/* Bytes of all that have not been given back, those that wait included. */
uint64_t store_segments_bytes(const struct store_segments *segments);

/* An owner for slices of a mapped segment of others; with its last reference the segment goes. Takes both.
 * `segments` may be NULL: not counted. */
struct buf *store_segment_buf(int take_fd, struct span take_mapping,
                              struct store_segments *segments);

/* A segment of at least `size` bytes to be written, an owner as above; what is in it is of no meaning. Nothing may
 * be written once others were given a descriptor. NULL: there is none to be had, be it for lack of
 * descriptors or because this system cannot say who uses it. */
struct buf *store_segment_take(struct store_segments *segments, size_t size, uint8_t **out_data);
/* A new descriptor through which another process writes it; -1: none. */
int store_segment_writer(const struct buf *segment);
/* `fd` is this segment. */
bool store_segment_is(const struct buf *segment, int fd);

/* Of a buffer that is a segment's: a descriptor that can only read (its keeper's), and all its bytes. */
bool store_segment_look(const struct buf *buf, int *out_fd, struct span *out_mapping);

/* ---- drafts: create, write, seal. Any thread ---- */

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
/* Map a segment of others, to read. ERR_IO. */
MUST_USE int store_segment_map(int fd, size_t size, struct span *out_mapping, struct text *why);

#endif
