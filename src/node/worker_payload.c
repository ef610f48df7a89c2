/* worker_payload.c: values of executors as messages and blobs, and back.
 *
 * Both number frames alike (docs/executor.md), so nothing is rewritten: only the bytes change hands. What
 * lies in a segment is copied once, into one buffer that all frames share. */
#include <errno.h>
#include <unistd.h>

#include "base/log.h"
#include "node/share.h"
#include "node/worker_internal.h"
#include "wire/payload.h"

#define LOGGER "distributed.worker"

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

static struct buf *take_segment(void *user, size_t size, uint8_t **out_data)
{
    struct worker_node *worker = user;
    return worker->is_closing ? NULL
                              : store_segment_take(store_segments(worker->store), size, out_data);
}

void worker_share_values(struct worker_node *worker)
{
    worker->memory = (struct frame_memory){
        .take = take_segment, .user = worker, .size_min = CHANNEL_INLINE_MAX + 1};
    worker->comm_settings.memory = &worker->memory;
    if (config_bool(worker->config, "cask.worker.share-memory", true)) {
        worker->comm_settings.share = share_create(&worker->server, store_segments(worker->store));
    }
}

/* What wire/payload.h finds in it is all there is: it can be passed on as it is. */
static bool is_whole(const struct blob *blob)
{
    struct frames frames = {0};
    frames_add(&frames, (struct slice){blob->value.data, blob->value.size, NULL});
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        frames_add(&frames, (struct slice){blob->frames[i].data, blob->frames[i].size, NULL});
    }
    struct blob *found = NULL;
    bool is_same = payload_take(&frames, frames_head(&frames), &found) == OK &&
                   found->frame_count == blob->frame_count &&
                   span_equal(slice_span(found->value), slice_span(blob->value));
    blob_unref(found);
    frames_fini(&frames);
    return is_same;
}

/* In the segment that its executor was lent, or in one that the executor has made. */
static int open_exported(struct worker_node *worker, struct object *object,
                         struct executor_payload *payload, struct store_value **out_value,
                         struct text *why)
{
    struct buf *lent = object->lent;
    object->lent = NULL;
    int code;
    if (payload->segment < 0 || payload->is_sealed) {
        code = store_value_open(payload, store_segments(worker->store), out_value, why);
    } else if (store_segment_is(lent, payload->segment)) {
        code = store_value_open_lent(payload, lent, out_value, why);
    } else {
        text_add_cstr(why, "its segment is not sealed");
        code = ERR_MALFORMED;
    }
    buf_unref(lent);
    return code;
}

int worker_value_of(struct worker_node *worker, struct object *object,
                    struct executor_payload *payload, struct store_value **out_value)
{
    struct text why = {0};
    struct store_value *value;
    int code = open_exported(worker, object, payload, &value, &why);
    if (code == OK && !is_whole(value->blob)) {
        store_value_unref(value);
        text_add_cstr(&why, "its frames are not those that it names");
        code = ERR_MALFORMED;
    }
    if (code != OK) {
        log_error(LOGGER, "A value of an executor cannot be used: %s", text_cstr(&why));
    } else {
        *out_value = value;
    }
    text_fini(&why);
    return code;
}

struct executor_payload worker_payload_of_value(struct arena *scratch,
                                                const struct store_value *value)
{
    uint32_t count = value->blob->frame_count;
    struct executor_payload payload;
    store_value_payload(value, arena_array(scratch, struct executor_frame, count), &payload);
    return payload;
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
