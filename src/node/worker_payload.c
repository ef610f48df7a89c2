/* worker_payload.c: values of executors as messages and blobs, and back.
 *
 * Both number frames alike (docs/executor.md), so nothing is rewritten: only the bytes change hands. What
 * lies in a segment is copied once, into one buffer that all frames share. */
#include <errno.h>
#include <unistd.h>

#include "base/limits.h"
#include "node/worker_internal.h"
#include "wire/payload.h"

/* Bytes [0, size) of the segment. */
static struct buf *read_segment(int segment, uint64_t size)
{
    struct buf *buf = buf_create(size);
    while (buf->size < size) {
        ssize_t got = pread(segment, buf->data + buf->size, size - buf->size, (off_t)buf->size);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            buf_unref(buf);
            return NULL;
        }
        buf->size += got > 0 ? (size_t)got : 0;
    }
    return buf;
}

int worker_frames_of(const struct executor_payload *payload, struct frames *out_frames)
{
    struct buf *segment = NULL;
    uint64_t size = 0;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        if (frame->data == NULL && frame->size > 0 && frame->offset + frame->size > size) {
            size = frame->offset + frame->size;
        }
    }
    if (size > 0 && (segment = read_segment(payload->segment, size)) == NULL) {
        return ERR_IO;
    }
    frames_add(out_frames, slice_copy(payload->value.size > 0 ? payload->value : SPAN("\xc0")));
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        bool is_there = frame->data == NULL && frame->size > 0;
        struct slice slice =
            is_there ? slice_create(segment, span_of(segment->data + frame->offset, frame->size))
                     : slice_copy(span_of(frame->data, frame->size));
        frames_add(out_frames, slice);
    }
    buf_unref(segment);
    return OK;
}

int worker_blob_of(const struct executor_payload *payload, struct blob **out_blob)
{
    struct frames frames = {0};
    int code = worker_frames_of(payload, &frames);
    if (code == OK) {
        code = payload_take(&frames, frames_head(&frames), out_blob);
    }
    frames_fini(&frames);
    return code;
}

struct executor_payload worker_payload_of(struct arena *scratch, const struct blob *blob)
{
    struct executor_frame *frames = arena_array(scratch, struct executor_frame, blob->frame_count);
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        frames[i] =
            (struct executor_frame){.data = blob->frames[i].data, .size = blob->frames[i].size};
        if (frames[i].data == NULL) {
            frames[i].data = (const uint8_t *)""; /* empty, but not in a segment */
        }
    }
    return (struct executor_payload){.value = slice_span(blob->value),
                                     .frame_count = blob->frame_count,
                                     .frames = frames,
                                     .segment = -1};
}
