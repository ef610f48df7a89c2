/* buf.h: reference-counted byte buffers, and slices of them: how payload travels without copies.
 *
 * A buffer is filled by who created it and is immutable from its first share on. Counts are not
 * atomic: a buffer belongs to one thread at a time; one that others share is lent to a thread by a
 * loan. Model: dqlite's and libuv's buffers. */
#ifndef CASK_BASE_BUF_H
#define CASK_BASE_BUF_H

#include "base/span.h"

enum buf_kind {
    BUF_OWN,     /* its bytes stand behind this header */
    BUF_LOAN,    /* they are those of another buffer: buf_loan */
    BUF_FOREIGN, /* they lie elsewhere: buf_foreign */
};

struct buf {
    uint32_t refs;
    enum buf_kind kind;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated behind this header */
    uint8_t data[];  /* of BUF_OWN only; slices know where their bytes are */
};

/* A part of a buffer, holding one reference to it. `owner` NULL: the bytes are static. */
struct slice {
    const uint8_t *data;
    size_t size;
    struct buf *owner;
};

/* An empty buffer with room for `capacity` bytes and one reference. */
struct buf *buf_create(size_t capacity);
/* A buffer holding a copy of `bytes`. */
struct buf *buf_copy(struct span bytes);
/* A stand-in for `parent`, to which it holds one reference: slices of its bytes are counted here, so they
 * may go to another thread while others use the parent. Who lends keeps a reference to the loan until
 * the thread is done: then the last one ends where the first began. */
struct buf *buf_loan(struct buf *parent);
/* A buffer of bytes that somebody else keeps, as a mapping: `release` lets go of them with the last
 * reference. Slices of it are made by slice_create. */
struct buf *buf_foreign(struct span bytes, void (*release)(void *user), void *user);
/* The `user` of a buffer that buf_foreign() made with this `release`, or of a loan of one; else NULL. */
void *buf_foreign_user(const struct buf *buf, void (*release)(void *user));
/* The slice, with an owner that nothing else refers to. Takes over its reference. */
struct slice slice_loan(struct slice take_slice);
/* Nothing else refers to its bytes. */
bool buf_is_alone(const struct buf *buf);
/* One more reference; returns `buf`. */
struct buf *buf_ref(struct buf *buf);
/* One reference less; the last one frees. NULL is allowed. */
void buf_unref(struct buf *buf);

/* A slice of `buf` covering `bytes`, which must lie inside it; takes its own reference. */
struct slice slice_create(struct buf *buf, struct span bytes);
/* A slice owning a fresh copy of `bytes`. */
struct slice slice_copy(struct span bytes);
/* A second slice of the same bytes. */
struct slice slice_ref(struct slice slice);
/* Give the slice's reference back and empty it. */
void slice_fini(struct slice *slice);

static inline struct span slice_span(struct slice slice)
{
    return (struct span){slice.data, slice.size};
}

#endif
