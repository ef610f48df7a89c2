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

/* What stands behind the header of a foreign buffer. */
struct foreign {
    const uint8_t *data;
    void (*release)(void *user);
    void *user;
};

struct buf *buf_foreign(struct span bytes, void (*release)(void *user), void *user)
{
    struct foreign foreign = {bytes.data, release, user};
    struct buf *buf = mem_alloc(sizeof *buf + sizeof foreign);
    *buf = (struct buf){.refs = 1, .kind = BUF_FOREIGN, .size = bytes.size, .capacity = bytes.size};
    memcpy(buf->data, &foreign, sizeof foreign);
    return buf;
}

static struct foreign foreign_of(const struct buf *buf)
{
    struct foreign foreign;
    memcpy(&foreign, buf->data, sizeof foreign);
    return foreign;
}

static struct buf *parent_of(const struct buf *loan)
{
    struct buf *parent;
    memcpy(&parent, loan->data, sizeof parent);
    return parent;
}

void *buf_foreign_user(const struct buf *buf, void (*release)(void *user))
{
    const struct buf *holder = buf->kind == BUF_LOAN ? parent_of(buf) : buf;
    struct foreign foreign = {0};
    if (holder->kind == BUF_FOREIGN) {
        foreign = foreign_of(holder);
    }
    return foreign.release == release ? foreign.user : NULL;
}

struct buf *buf_loan(struct buf *parent)
{
    while (parent->kind == BUF_LOAN) {
        parent = parent_of(parent);
    }
    struct buf *loan = mem_alloc(sizeof *loan + sizeof parent);
    *loan = (struct buf){
        .refs = 1, .kind = BUF_LOAN, .size = parent->size, .capacity = parent->capacity};
    buf_ref(parent);
    memcpy(loan->data, &parent, sizeof parent);
    return loan;
}

bool buf_is_alone(const struct buf *buf)
{
    return buf->refs == 1 && (buf->kind != BUF_LOAN || parent_of(buf)->refs == 1);
}

struct slice slice_loan(struct slice take_slice)
{
    struct slice lent = take_slice;
    if (take_slice.owner != NULL) {
        lent.owner = buf_loan(take_slice.owner);
        buf_unref(take_slice.owner);
    }
    return lent;
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
        if (buf->kind == BUF_LOAN) {
            buf_unref(parent_of(buf));
        } else if (buf->kind == BUF_FOREIGN) {
            struct foreign foreign = foreign_of(buf);
            foreign.release(foreign.user);
        }
        mem_free(buf);
    }
}

static const uint8_t *bytes_of(const struct buf *buf)
{
    const struct buf *holder = buf->kind == BUF_LOAN ? parent_of(buf) : buf;
    return holder->kind == BUF_FOREIGN ? foreign_of(holder).data : holder->data;
}

struct slice slice_create(struct buf *buf, struct span bytes)
{
    const uint8_t *data = bytes_of(buf);
    ASSERT(bytes.data >= data);
    ASSERT(bytes.data + bytes.size <= data + buf->capacity);
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
