/* buf.c: buffers and slices; the counting is all there is to it. */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/assert.h"

struct buf *buf_create(size_t capacity)
{
    ASSERT(capacity <= SIZE_MAX - sizeof(struct buf));
    struct buf *buf = mem_alloc(sizeof *buf + capacity);
    *buf = (struct buf){.refs = 1, .capacity = capacity};
    return buf;
}

struct buf *buf_copy(struct span bytes)
{
    struct buf *buf = buf_create(bytes.size);
    if (bytes.size > 0) {
        memcpy(buf->data, bytes.data, bytes.size);
    }
    buf->size = bytes.size;
    return buf;
}

struct buf *buf_ref(struct buf *buf)
{
    ASSERT(buf->refs > 0);
    ASSERT(buf->refs < UINT32_MAX);
    buf->refs++;
    return buf;
}

void buf_unref(struct buf *buf)
{
    if (buf == NULL) {
        return;
    }
    ASSERT(buf->refs > 0);
    if (--buf->refs == 0) {
        mem_free(buf);
    }
}

struct slice slice_create(struct buf *buf, struct span bytes)
{
    ASSERT(bytes.data >= buf->data);
    ASSERT(bytes.data + bytes.size <= buf->data + buf->capacity);
    return (struct slice){bytes.data, bytes.size, buf_ref(buf)};
}

struct slice slice_copy(struct span bytes)
{
    struct buf *buf = buf_copy(bytes);
    return (struct slice){buf->data, bytes.size, buf};
}

struct slice slice_ref(struct slice slice)
{
    if (slice.owner != NULL) {
        buf_ref(slice.owner);
    }
    return slice;
}

void slice_fini(struct slice *slice)
{
    buf_unref(slice->owner);
    *slice = (struct slice){0};
}
