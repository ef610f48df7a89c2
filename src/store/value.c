/* value.c: values over heap and over segments.
 *
 * A segment is kept by a foreign buffer that all slices of it refer to: so it lives as long as any
 * message that is still sending from it, and is unmapped and closed with the last. */
#include "store/value.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

struct segment {
    int fd;
    struct span mapping;
    struct store_segments *segments; /* NULL: not counted */
};

struct store_segments *store_segments_create(void)
{
    struct store_segments *segments = mem_zalloc(1, sizeof *segments);
    segments->refs = 1;
    return segments;
}

struct store_segments *store_segments_ref(struct store_segments *segments)
{
    ASSERT(segments->refs > 0);
    segments->refs++;
    return segments;
}

void store_segments_unref(struct store_segments *segments)
{
    ASSERT(segments->refs > 0);
    if (--segments->refs == 0) {
        ASSERT(segments->bytes == 0);
        mem_free(segments);
    }
}

/* ---- segments ---- */

static void unmap(struct span mapping)
{
    if (mapping.size > 0) {
        int code = munmap((void *)(uintptr_t)mapping.data, mapping.size);
        ASSERT(code == 0);
    }
}

static void release_segment(void *user)
{
    struct segment *segment = user;
    unmap(segment->mapping);
    close(segment->fd);
    if (segment->segments != NULL) {
        ASSERT(segment->segments->bytes >= segment->mapping.size);
        segment->segments->bytes -= segment->mapping.size;
        store_segments_unref(segment->segments);
    }
    mem_free(segment);
}

struct buf *store_segment_buf(int take_fd, struct span take_mapping,
                              struct store_segments *segments)
{
    struct segment *segment = mem_alloc(sizeof *segment);
    *segment = (struct segment){take_fd, take_mapping, segments};
    if (segments != NULL) {
        store_segments_ref(segments);
        segments->bytes += take_mapping.size;
    }
    return buf_foreign(take_mapping, release_segment, segment);
}

static int refuse(const char *what, struct text *why)
{
    text_printf(why, "cannot %s a segment of shared memory: %s", what, strerrordesc_np(errno));
    return ERR_IO;
}

static int map_segment(int fd, size_t size, struct span *out_mapping, struct text *why)
{
    void *bytes = NULL;
    if (size > 0) {
        bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) {
            return refuse("map", why);
        }
    }
    *out_mapping = span_of(bytes, size);
    return OK;
}

int store_segment_create(size_t size, struct store_segment_draft *out_draft, struct text *why)
{
    int fd = memfd_create("cask-value", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return refuse("make", why);
    }
    if (ftruncate(fd, (off_t)size) != 0) {
        int code = refuse("size", why);
        close(fd);
        return code;
    }
    *out_draft = (struct store_segment_draft){fd, size};
    return OK;
}

int store_segment_write(const struct store_segment_draft *draft, uint64_t at, struct span bytes,
                        struct text *why)
{
    ASSERT(bytes.size <= draft->size);
    ASSERT(at <= draft->size - bytes.size);
    while (bytes.size > 0) {
        ssize_t put = pwrite(draft->fd, bytes.data, bytes.size, (off_t)at);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return refuse("fill", why);
        }
        bytes = span_of(bytes.data + put, bytes.size - (size_t)put);
        at += (uint64_t)put;
    }
    return OK;
}

void store_segment_discard(struct store_segment_draft *draft)
{
    close(draft->fd);
}

int store_segment_seal(struct store_segment_draft *draft, struct span *out_mapping, int *out_fd,
                       struct text *why)
{
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    int code = fcntl(draft->fd, F_ADD_SEALS, seals) == 0 ? OK : refuse("seal", why);
    if (code == OK) {
        code = map_segment(draft->fd, draft->size, out_mapping, why);
    }
    if (code != OK) {
        close(draft->fd);
        return code;
    }
    *out_fd = draft->fd;
    return OK;
}

/* ---- values ---- */

struct store_value *store_value_in_segment(struct blob *take_blob, int segment, struct span mapping)
{
    struct store_value *value = mem_alloc(sizeof *value);
    *value = (struct store_value){
        .refs = 1,
        .segment = segment,
        .mapping = mapping,
        .size = blob_size(take_blob),
        .blob = take_blob,
    };
    return value;
}

struct store_value *store_value_create(struct blob *take_blob)
{
    return store_value_in_segment(take_blob, -1, (struct span){0});
}

struct store_value *store_value_ref(struct store_value *value)
{
    ASSERT(value->refs > 0);
    ASSERT(value->refs < UINT32_MAX);
    value->refs++;
    return value;
}

void store_value_unref(struct store_value *value)
{
    if (value == NULL) {
        return;
    }
    ASSERT(value->refs > 0);
    if (--value->refs == 0) {
        blob_unref(value->blob);
        mem_free(value);
    }
}

/* One buffer with a copy of all that does not lie in the segment, in order. */
static struct buf *copy_inline(const struct executor_payload *payload)
{
    size_t size = payload->value.size;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        size += payload->frames[i].data != NULL ? payload->frames[i].size : 0;
    }
    struct buf *buf = buf_create(size);
    memcpy(buf->data, payload->value.data, payload->value.size);
    buf->size = payload->value.size;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        if (frame->data != NULL) {
            memcpy(buf->data + buf->size, frame->data, frame->size);
            buf->size += frame->size;
        }
    }
    return buf;
}

/* `segment` may be NULL. */
static struct blob *blob_of_payload(const struct executor_payload *payload, struct buf *segment,
                                    struct span mapping)
{
    struct buf *copied = copy_inline(payload);
    const uint8_t *at = copied->data;
    struct slice value = slice_create(copied, span_of(at, payload->value.size));
    struct blob *blob = blob_create(value, payload->frame_count);
    at += payload->value.size;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        if (frame->data == NULL && frame->size > 0) {
            ASSERT(segment != NULL);
            ASSERT(frame->size <= mapping.size);
            ASSERT(frame->offset <= mapping.size - frame->size);
            blob->frames[i] =
                slice_create(segment, span_of(mapping.data + frame->offset, frame->size));
        } else {
            blob->frames[i] = slice_create(copied, span_of(at, frame->size));
            at += frame->size;
        }
    }
    buf_unref(copied);
    return blob;
}

int store_value_open(struct executor_payload *payload, struct store_segments *segments,
                     struct store_value **out_value, struct text *why)
{
    if (payload->value.size == 0) {
        text_add_cstr(why, "an exported value is empty");
        return ERR_MALFORMED;
    }
    if (payload->segment < 0) {
        *out_value = store_value_create(blob_of_payload(payload, NULL, (struct span){0}));
        return OK;
    }
    struct span mapping;
    int code = map_segment(payload->segment, payload->segment_size, &mapping, why);
    if (code != OK) {
        return code;
    }
    struct buf *segment = store_segment_buf(payload->segment, mapping, segments);
    struct blob *blob = blob_of_payload(payload, segment, mapping);
    *out_value = store_value_in_segment(blob, payload->segment, mapping);
    payload->segment = -1;
    /* The frames keep it; a segment that none lies in goes here, with its descriptor. */
    if (buf_is_alone(segment)) {
        (*out_value)->segment = -1;
        (*out_value)->mapping = (struct span){0};
    }
    buf_unref(segment);
    return OK;
}

static bool is_inside(struct span outer, struct slice frame)
{
    return frame.data >= outer.data && frame.data < outer.data + outer.size;
}

void store_value_payload(const struct store_value *value, struct executor_frame *frames,
                         struct executor_payload *out_payload)
{
    static const uint8_t nothing[1]; /* an empty frame is inline too: its data is not NULL */
    const struct blob *blob = value->blob;
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        struct slice frame = blob->frames[i];
        if (frame.size == 0) {
            frames[i] = (struct executor_frame){nothing, 0, 0};
        } else if (is_inside(value->mapping, frame)) {
            uint64_t offset = (uint64_t)(frame.data - value->mapping.data);
            frames[i] = (struct executor_frame){NULL, offset, frame.size};
        } else {
            frames[i] = (struct executor_frame){frame.data, 0, frame.size};
        }
    }
    *out_payload = (struct executor_payload){
        .value = slice_span(blob->value),
        .frame_count = blob->frame_count,
        .frames = frames,
        .segment = value->segment,
        .segment_size = value->mapping.size,
    };
}
