/* value.c: values over heap and over segments.
 *
 * A segment is kept by a foreign buffer that all slices of it refer to: so it lives as long as any
 * message that is still sending from it, and is unmapped and closed with the last. */
#include "store/value.h"

#include "base/alloc.h"
#include "base/error.h"

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
    int segment = -1;
    struct span mapping = {0};
    for (uint32_t i = 0; segment < 0 && i < take_blob->frame_count; i++) {
        (void)store_segment_look(take_blob->frames[i].owner, &segment, &mapping);
    }
    return store_value_in_segment(take_blob, segment, mapping);
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

/* Whoever wrote to a segment that is not sealed might still do so: what this process reads of it (the sub-header, and
 * whatever is as small as one) is copied. */
enum { LENT_COPIED_MAX = 4096 };

static bool is_copied(const struct executor_payload *payload, uint32_t index)
{
    const struct executor_frame *frame = &payload->frames[index];
    return frame->data != NULL || frame->size == 0 ||
           (!payload->is_sealed && (index == 0 || frame->size <= LENT_COPIED_MAX));
}

static struct span frame_bytes(const struct executor_frame *frame, struct span mapping)
{
    if (frame->data != NULL || frame->size == 0) {
        return span_of(frame->data, frame->size);
    }
    ASSERT(frame->size <= mapping.size);
    ASSERT(frame->offset <= mapping.size - frame->size);
    return span_of(mapping.data + frame->offset, frame->size);
}

/* One buffer with a copy of all that does not stay in the segment, in order. */
static struct buf *copy_inline(const struct executor_payload *payload, struct span mapping)
{
    size_t size = payload->value.size;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        size += is_copied(payload, i) ? payload->frames[i].size : 0;
    }
    struct buf *buf = buf_create(size);
    memcpy(buf->data, payload->value.data, payload->value.size);
    buf->size = payload->value.size;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        struct span frame = frame_bytes(&payload->frames[i], mapping);
        if (is_copied(payload, i) && frame.size > 0) {
            memcpy(buf->data + buf->size, frame.data, frame.size);
            buf->size += frame.size;
        }
    }
    return buf;
}

/* `segment` may be NULL. */
static struct blob *blob_of_payload(const struct executor_payload *payload, struct buf *segment,
                                    struct span mapping)
{
    struct buf *copied = copy_inline(payload, mapping);
    const uint8_t *at = copied->data;
    struct slice value = slice_create(copied, span_of(at, payload->value.size));
    struct blob *blob = blob_create(value, payload->frame_count);
    at += payload->value.size;
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        if (is_copied(payload, i)) {
            blob->frames[i] = slice_create(copied, span_of(at, frame->size));
            at += frame->size;
        } else {
            ASSERT(segment != NULL);
            blob->frames[i] = slice_create(segment, frame_bytes(frame, mapping));
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
    int code = store_segment_map(payload->segment, payload->segment_size, &mapping, why);
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

int store_value_open_lent(const struct executor_payload *payload, struct buf *segment,
                          struct store_value **out_value, struct text *why)
{
    struct span mapping;
    int reader;
    bool is_segment = store_segment_look(segment, &reader, &mapping);
    ASSERT(is_segment);
    for (uint32_t i = 0; i < payload->frame_count; i++) {
        const struct executor_frame *frame = &payload->frames[i];
        if (frame->data == NULL &&
            (frame->size > mapping.size || frame->offset > mapping.size - frame->size)) {
            text_add_cstr(why, "a frame lies outside of its segment");
            return ERR_MALFORMED;
        }
    }
    if (payload->value.size == 0) {
        text_add_cstr(why, "an exported value is empty");
        return ERR_MALFORMED;
    }
    *out_value = store_value_create(blob_of_payload(payload, segment, mapping));
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
