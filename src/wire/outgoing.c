/* outgoing.c: in a batch, the head keeps a gap in front for the array's own head, which is put there,
 * as short as it can be, when the batch is flushed. */
#include "wire/outgoing.h"

#include "base/alloc.h"
#include "wire/msgpack.h"

enum {
    BATCH_GAP = 5,              /* the longest head of an array */
    HEAD_KEPT_MAX = 256 * 1024, /* a larger head's memory is given back after a flush */
};

void outgoing_init(struct outgoing *message)
{
    *message = (struct outgoing){0};
}

void outgoing_fini(struct outgoing *message)
{
    text_fini(&message->head);
    frames_fini(&message->frames);
    *message = (struct outgoing){0};
}

void outgoing_clear(struct outgoing *message)
{
    bool is_batch = message->is_batch;
    if (message->head.capacity > HEAD_KEPT_MAX) {
        text_fini(&message->head);
    }
    text_clear(&message->head);
    frames_clear(&message->frames);
    message->frames_size = 0;
    message->item_count = 0;
    message->is_batch = false;
    if (is_batch) {
        outgoing_start_batch(message);
    }
}

void outgoing_start_batch(struct outgoing *message)
{
    ASSERT(message->head.size == 0);
    message->is_batch = true;
    text_add(&message->head, span_of("\0\0\0\0", BATCH_GAP));
}

uint32_t outgoing_add_frame(struct outgoing *message, struct slice take_frame)
{
    message->frames_size += take_frame.size;
    frames_add(&message->frames, take_frame);
    return message->frames.count;
}

/* Frame 0; of a batch with its array's head put into the gap. */
static struct span head_finish(struct outgoing *message)
{
    struct span head = text_span(&message->head);
    if (!message->is_batch) {
        return head;
    }
    struct text array = {0};
    msgpack_write_array(&array, message->item_count);
    size_t gap = BATCH_GAP - array.size;
    memcpy(message->head.data + gap, array.data, array.size);
    text_fini(&array);
    return span_of(head.data + gap, head.size - gap);
}

static void free_head(void *memory)
{
    mem_free(memory);
}

/* The head; a large one takes its memory along instead of being copied. */
static struct slice head_slice(struct outgoing *message)
{
    struct span bytes = head_finish(message);
    struct slice head = {.data = bytes.data, .size = bytes.size};
    if (message->head.capacity > HEAD_KEPT_MAX) {
        struct buf *buf = buf_foreign(bytes, free_head, message->head.data);
        head = slice_create(buf, bytes);
        buf_unref(buf);
        message->head = (struct text){0};
    }
    return head;
}

void outgoing_flush(struct outgoing *message, struct frames *chunks)
{
    struct slice head = head_slice(message);
    frame_encode_parts(head, message->frames.items, message->frames.count, chunks);
    slice_fini(&head);
    outgoing_clear(message);
}

void outgoing_flush_ws(struct outgoing *message, struct frames *chunks)
{
    frame_encode_ws(head_finish(message), message->frames.items, message->frames.count, chunks);
    outgoing_clear(message);
}

void outgoing_flush_frames(struct outgoing *message, struct frames *out_frames)
{
    frames_clear(out_frames);
    frames_add(out_frames, slice_copy(head_finish(message)));
    for (uint32_t i = 0; i < message->frames.count; i++) {
        frames_add(out_frames, slice_ref(message->frames.items[i]));
    }
    outgoing_clear(message);
}
