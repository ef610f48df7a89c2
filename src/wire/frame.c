/* frame.c: a message on a stream (all integers little-endian, 8 bytes):
 *
 *   PREFIX  NFRAMES  LEN[0] … LEN[NFRAMES-1]  FRAME[0] … FRAME[NFRAMES-1]
 *
 * PREFIX is what the writer put into its first write: 8 * (1 + NFRAMES) plus the leading frames that
 * it found worth joining. It is no message length, so it is only held against the bounds that every
 * honest writer keeps. Frames may be empty. On ws, a message is one websocket message of 8 bytes
 * (NFRAMES), then one a frame.
 *
 * Reading goes through one receive buffer. A message that fits in it is cut into slices of it once it
 * is there. A larger one is collected in segments: runs of small frames, or one large frame, each in a
 * buffer of exactly its size, which grows only as bytes arrive and is read into directly. Where the reader was
 * given a memory for that, the large frames of a value are read into one piece of it. */
#include "wire/frame.h"

#include "base/limits.h"
#include "wire/sub_header.h"

enum {
    READ_SIZE = 64 * 1024,    /* receive buffer; larger messages go to segments */
    READ_ROOM_MIN = 8 * 1024, /* less room than this is not worth a read */
    DIRECT_MIN = 16 * 1024,   /* segments lacking less than this are filled by way of the buffer */
    SEGMENT_STEP = 1024 * 1024, /* a segment's first allocation; then it doubles */
    COPY_MAX = 4096,            /* outgoing frames up to this are joined, larger ones referenced */
    LENGTHS_KEPT_MAX = 4096,    /* a longer table of lengths is not kept for the next message */
    REGION_ALIGN = 64,          /* frames of a value that lie together begin at multiples of it */
    HEAD_SIZE = 16,             /* PREFIX and NFRAMES */
    FRAMES_MAX = LIMIT_FRAMES_MAX,
};

enum frame_phase { PHASE_HEAD, PHASE_LENGTHS, PHASE_BODY };

static uint64_t load_little_endian(const uint8_t *at)
{
    uint64_t value = 0;
    for (unsigned i = 8; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

static uint8_t *store_little_endian(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
    return at + 8;
}

/* ---- Lists of frames ---------------------------------------------------------------------------- */

void frames_clear(struct frames *frames)
{
    for (uint32_t i = 0; i < frames->count; i++) {
        slice_fini(&frames->items[i]);
    }
    frames->count = 0;
}

void frames_fini(struct frames *frames)
{
    frames_clear(frames);
    vec_fini(frames);
}

void frames_add(struct frames *frames, struct slice take_slice)
{
    vec_push(frames, take_slice);
}

struct span frames_head(const struct frames *frames)
{
    return frames->count > 0 ? slice_span(frames->items[0]) : (struct span){0};
}

uint64_t frames_size(const struct frames *frames)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < frames->count; i++) {
        size += frames->items[i].size;
    }
    return size;
}

/* ---- Reading ------------------------------------------------------------------------------------ */

void frame_reader_init(struct frame_reader *reader)
{
    *reader = (struct frame_reader){.message_bytes_max = LIMIT_MESSAGE_BYTES_MAX};
}

/* The message is over. */
static void region_leave(struct frame_reader *reader)
{
    buf_unref(reader->region.buf);
    reader->region = (struct frame_region){0};
}

void frame_reader_fini(struct frame_reader *reader)
{
    buf_unref(reader->buf);
    buf_unref(reader->segment);
    region_leave(reader);
    frames_fini(&reader->done);
    vec_fini(&reader->lengths);
    *reader = (struct frame_reader){0};
}

static size_t unread_size(const struct frame_reader *reader)
{
    return reader->buf == NULL ? 0 : reader->buf->size - reader->at;
}

/* An empty receive buffer, the spare one if there is one. */
static struct buf *receive_buffer(struct frame_reader *reader)
{
    if (reader->spare != NULL && *reader->spare != NULL) {
        struct buf *buf = *reader->spare;
        *reader->spare = NULL;
        return buf;
    }
    return buf_create(READ_SIZE);
}

/* Nothing is unread: give the buffer up, so that idle connections cost no memory. */
static void receive_buffer_leave(struct frame_reader *reader)
{
    struct buf *buf = reader->buf;
    reader->buf = NULL;
    reader->at = 0;
    if (buf->refs == 1 && reader->spare != NULL && *reader->spare == NULL) {
        buf->size = 0;
        *reader->spare = buf;
    } else {
        buf_unref(buf);
    }
}

/* Bytes that must still fit into the receive buffer, behind what is unread. */
static size_t room_needed(const struct frame_reader *reader)
{
    if (reader->phase == PHASE_BODY && reader->segment == NULL && reader->done.count == 0 &&
        reader->body_size <= READ_SIZE && reader->body_size > unread_size(reader)) {
        return (size_t)reader->body_size - unread_size(reader);
    }
    return 1;
}

/* Move what is unread to the front: of the same buffer if nobody else refers to it, else of a new one. */
static void receive_buffer_compact(struct frame_reader *reader)
{
    struct buf *buf = reader->buf;
    size_t unread = unread_size(reader);
    if (buf->refs == 1) {
        memmove(buf->data, buf->data + reader->at, unread);
    } else {
        struct buf *fresh = receive_buffer(reader);
        memcpy(fresh->data, buf->data + reader->at, unread);
        buf_unref(buf);
        reader->buf = buf = fresh;
    }
    buf->size = unread;
    reader->at = 0;
}

/* Room in the segment for at least one more byte, at most its final size. Only one of our own has to grow. */
static void segment_grow(struct frame_reader *reader)
{
    struct buf *segment = reader->segment;
    if (reader->segment_filled < reader->segment_room) {
        return;
    }
    uint64_t grown = reader->segment_room * 2;
    if (grown > reader->segment_size) {
        grown = reader->segment_size;
    }
    ASSERT(segment->refs == 1);
    ASSERT(segment->kind == BUF_OWN);
    segment = mem_resize(segment, 1, sizeof *segment + (size_t)grown);
    segment->capacity = (size_t)grown;
    reader->segment = segment;
    reader->segment_data = segment->data;
    reader->segment_room = grown;
}

void frame_reader_space(struct frame_reader *reader, uint8_t **out_data, size_t *out_size)
{
    reader->direct =
        reader->segment != NULL && reader->segment_size - reader->segment_filled >= DIRECT_MIN;
    if (reader->direct) {
        segment_grow(reader);
        *out_data = reader->segment_data + reader->segment_filled;
        *out_size = (size_t)(reader->segment_room - reader->segment_filled);
        return;
    }
    if (reader->buf == NULL) {
        reader->buf = receive_buffer(reader);
        reader->at = 0;
    }
    size_t room = reader->buf->capacity - reader->buf->size;
    if (room < READ_ROOM_MIN || room < room_needed(reader)) {
        receive_buffer_compact(reader);
    }
    *out_data = reader->buf->data + reader->buf->size;
    *out_size = reader->buf->capacity - reader->buf->size;
    ASSERT(*out_size > 0);
}

void frame_reader_advance(struct frame_reader *reader, size_t size)
{
    if (reader->direct) {
        ASSERT(size <= reader->segment_room - reader->segment_filled);
        reader->segment_filled += size;
    } else {
        ASSERT(size <= reader->buf->capacity - reader->buf->size);
        reader->buf->size += size;
    }
}

size_t frame_reader_feed(struct frame_reader *reader, struct span bytes)
{
    uint8_t *room;
    size_t size;
    frame_reader_space(reader, &room, &size);
    size = size < bytes.size ? size : bytes.size;
    if (size > 0) {
        memcpy(room, bytes.data, size);
    }
    frame_reader_advance(reader, size);
    return size;
}

static int head_read(struct frame_reader *reader)
{
    const uint8_t *at = reader->buf->data + reader->at;
    uint64_t prefix = load_little_endian(at);
    uint64_t count = load_little_endian(at + 8);
    if (count > FRAMES_MAX) {
        return ERR_LIMIT;
    }
    if (count == 0 || prefix < 8 * (1 + count)) {
        return ERR_MALFORMED;
    }
    reader->prefix = prefix;
    reader->frame_count = (uint32_t)count;
    reader->body_size = 0;
    reader->lengths.count = 0;
    reader->at += HEAD_SIZE;
    reader->phase = PHASE_LENGTHS;
    return OK;
}

/* Take the lengths that are there; the phase changes after the last one. */
static int lengths_read(struct frame_reader *reader)
{
    while (reader->lengths.count < reader->frame_count) {
        if (unread_size(reader) < 8) {
            return OK;
        }
        uint64_t length = load_little_endian(reader->buf->data + reader->at);
        if (length > LIMIT_FRAME_BYTES_MAX ||
            length > reader->message_bytes_max - reader->body_size) {
            return ERR_LIMIT;
        }
        reader->body_size += length;
        vec_push(&reader->lengths, length);
        reader->at += 8;
    }
    if (reader->prefix > 8 * (1 + (uint64_t)reader->frame_count) + reader->body_size) {
        return ERR_MALFORMED;
    }
    reader->phase = PHASE_BODY;
    return OK;
}

/* Cut `count` frames out of `buf` from `at` on, in the order of their lengths. */
static void frames_cut(struct frame_reader *reader, struct buf *buf, const uint8_t *at,
                       uint32_t count)
{
    vec_reserve(&reader->done, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = (size_t)reader->lengths.items[reader->done.count];
        frames_add(&reader->done, slice_create(buf, span_of(at, size)));
        at += size;
    }
}

/* ---- regions: the large frames of one value, together ---- */

/* Look at the frames that have come for where values begin: after frame 0 there are sub-headers, each with the number
 * of frames that follow it. */
static void region_walk(struct frame_reader *reader)
{
    struct frame_region *region = &reader->region;
    for (; region->walked < reader->done.count && !region->is_lost; region->walked++) {
        struct sub_header header;
        if (region->value_left > 0) {
            region->value_left--;
        } else if (region->walked > 0) {
            region->is_lost =
                sub_header_read(slice_span(reader->done.items[region->walked]), &header) != OK;
            region->value_left = region->is_lost ? 0 : header.frame_count;
        }
    }
}

static uint64_t region_align(uint64_t at)
{
    return (at + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
}

/* Ask for memory for the next frame and the rest of its value. */
static void region_enter(struct frame_reader *reader)
{
    struct frame_region *region = &reader->region;
    uint32_t first = reader->done.count, count = 0;
    uint64_t size = 0;
    if (reader->memory == NULL || reader->lengths.items[first] < READ_SIZE) {
        return;
    }
    region_walk(reader);
    while (count < region->value_left && first + count < reader->frame_count) {
        size = region_align(size) + reader->lengths.items[first + count++];
    }
    if (count > 0 && size >= reader->memory->size_min) {
        region->buf = reader->memory->take(reader->memory->user, (size_t)size, &region->data);
        region->used = 0;
        region->frames_left = region->buf == NULL ? 0 : count;
    }
}

/* The next frame goes to the region, so far as possible where an array may lie. */
static void region_segment(struct frame_reader *reader)
{
    struct frame_region *region = &reader->region;
    uint64_t at = region_align(region->used);
    reader->segment = buf_ref(region->buf);
    reader->segment_data = region->data + at;
    reader->segment_filled = 0;
    reader->segment_size = reader->segment_room = reader->lengths.items[reader->done.count];
    reader->segment_frames = 1;
    region->used = at + reader->segment_size;
    if (--region->frames_left == 0) {
        buf_unref(region->buf);
        region->buf = NULL;
    }
}

/* ---- segments ---- */

/* Begin the next segment: one large frame, or small ones up to the next large one. */
static void segment_start(struct frame_reader *reader)
{
    uint64_t size = 0;
    uint32_t first = reader->done.count;
    uint32_t next = first;
    if (reader->region.frames_left == 0) {
        region_enter(reader);
    }
    if (reader->region.frames_left > 0) {
        region_segment(reader);
        return;
    }
    while (next < reader->frame_count && size < READ_SIZE) {
        uint64_t length = reader->lengths.items[next];
        if (length >= READ_SIZE && next > first) {
            break;
        }
        size += length;
        next++;
    }
    reader->segment_size = size;
    reader->segment_frames = next - first;
    reader->segment_room = size < SEGMENT_STEP ? size : SEGMENT_STEP;
    reader->segment = buf_create((size_t)reader->segment_room);
    reader->segment_data = reader->segment->data;
    reader->segment_filled = 0;
}

/* Fill the segment from the receive buffer as far as that goes. */
static void segment_fill(struct frame_reader *reader)
{
    while (unread_size(reader) > 0 && reader->segment_filled < reader->segment_size) {
        segment_grow(reader);
        size_t size = (size_t)(reader->segment_room - reader->segment_filled);
        if (size > unread_size(reader)) {
            size = unread_size(reader);
        }
        memcpy(reader->segment_data + reader->segment_filled, reader->buf->data + reader->at, size);
        reader->segment_filled += size;
        reader->at += size;
    }
}

static void segment_finish(struct frame_reader *reader)
{
    if (reader->segment->kind == BUF_OWN) {
        reader->segment->size = (size_t)reader->segment_size;
    }
    frames_cut(reader, reader->segment, reader->segment_data, reader->segment_frames);
    buf_unref(reader->segment);
    reader->segment = NULL;
}

/* Collect the message's body; true when all frames are done. */
static bool body_read(struct frame_reader *reader)
{
    if (reader->segment == NULL && reader->done.count == 0 && reader->body_size <= READ_SIZE) {
        if (unread_size(reader) < reader->body_size) {
            return false;
        }
        frames_cut(reader, reader->buf, reader->buf->data + reader->at, reader->frame_count);
        reader->at += (size_t)reader->body_size;
        return true;
    }
    while (reader->done.count < reader->frame_count) {
        if (reader->segment == NULL) {
            segment_start(reader);
        }
        segment_fill(reader);
        if (reader->segment_filled < reader->segment_size) {
            return false;
        }
        segment_finish(reader);
    }
    region_leave(reader);
    return true;
}

int frame_reader_next(struct frame_reader *reader, struct frames *out_frames)
{
    int code = OK;
    frames_clear(out_frames); /* first, so that a buffer nobody else holds can be used again */
    if (reader->phase == PHASE_HEAD && unread_size(reader) >= HEAD_SIZE) {
        code = head_read(reader);
    }
    if (code == OK && reader->phase == PHASE_LENGTHS) {
        code = lengths_read(reader);
    }
    if (code != OK) {
        return code;
    }
    bool complete = reader->phase == PHASE_BODY && body_read(reader);
    if (complete) {
        struct frames taken = reader->done;
        reader->done = *out_frames;
        *out_frames = taken;
        reader->phase = PHASE_HEAD;
        if (reader->lengths.capacity > LENGTHS_KEPT_MAX) {
            vec_fini(&reader->lengths);
        }
    }
    if (!complete && reader->buf != NULL && unread_size(reader) == 0) {
        receive_buffer_leave(reader);
    }
    return complete ? 1 : 0;
}

bool frame_reader_idle(const struct frame_reader *reader)
{
    return reader->phase == PHASE_HEAD && unread_size(reader) == 0;
}

/* ---- Writing ------------------------------------------------------------------------------------ */

/* Small frames are worth a copy; frames of static bytes (no owner) are lent like large ones. */
static bool is_copied(const struct slice *frame)
{
    return frame->size <= COPY_MAX;
}

/* What was copied to [*begin, end) and then `frame` itself go out. */
static void lend(struct buf *buf, uint8_t **begin, uint8_t *end, const struct slice *frame,
                 struct frames *chunks)
{
    if (end > *begin) {
        frames_add(chunks, slice_create(buf, span_of(*begin, (size_t)(end - *begin))));
    }
    frames_add(chunks, slice_ref(*frame));
    *begin = end;
}

void frame_encode_parts(struct slice head, const struct slice *rest, uint32_t count,
                        struct frames *chunks)
{
    bool copies_head = head.owner == NULL || is_copied(&head);
    uint64_t lengths_size = 8 * (2 + 1 + (uint64_t)count);
    uint64_t copied_size = lengths_size + (copies_head ? head.size : 0);
    uint64_t total_size = lengths_size + head.size;
    for (uint32_t i = 0; i < count; i++) {
        total_size += rest[i].size;
        copied_size += is_copied(&rest[i]) ? rest[i].size : 0;
    }
    struct buf *buf = buf_create((size_t)copied_size);
    uint8_t *at = store_little_endian(buf->data, total_size - 8);
    at = store_little_endian(at, 1 + (uint64_t)count);
    at = store_little_endian(at, head.size);
    for (uint32_t i = 0; i < count; i++) {
        at = store_little_endian(at, rest[i].size);
    }
    uint8_t *begin = buf->data;
    if (!copies_head) {
        lend(buf, &begin, at, &head, chunks);
    } else if (head.size > 0) {
        memcpy(at, head.data, head.size);
        at += head.size;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!is_copied(&rest[i])) {
            lend(buf, &begin, at, &rest[i], chunks);
        } else if (rest[i].size > 0) {
            memcpy(at, rest[i].data, rest[i].size);
            at += rest[i].size;
        }
    }
    buf->size = (size_t)copied_size;
    if (at > begin) {
        frames_add(chunks, slice_create(buf, span_of(begin, (size_t)(at - begin))));
    }
    buf_unref(buf);
}

void frame_encode(const struct frames *message, struct frames *chunks)
{
    ASSERT(message->count > 0);
    frame_encode_parts(message->items[0], message->items + 1, message->count - 1, chunks);
}

void frame_encode_ws(struct span head, const struct slice *rest, uint32_t count,
                     struct frames *chunks)
{
    uint8_t number[8];
    store_little_endian(number, 1 + (uint64_t)count);
    frames_add(chunks, slice_copy(span_of(number, sizeof number)));
    frames_add(chunks, slice_copy(head));
    for (uint32_t i = 0; i < count; i++) {
        frames_add(chunks, slice_ref(rest[i]));
    }
}

/* ---- ws ----------------------------------------------------------------------------------------- */

void frame_ws_reader_init(struct frame_ws_reader *reader)
{
    *reader = (struct frame_ws_reader){.message_bytes_max = LIMIT_MESSAGE_BYTES_MAX};
}

void frame_ws_reader_fini(struct frame_ws_reader *reader)
{
    frames_fini(&reader->done);
    *reader = (struct frame_ws_reader){0};
}

static int ws_count_read(struct frame_ws_reader *reader, struct span message)
{
    if (message.size != 8) {
        return ERR_MALFORMED;
    }
    uint64_t count = load_little_endian(message.data);
    if (count == 0 || count > FRAMES_MAX) {
        return count == 0 ? ERR_MALFORMED : ERR_LIMIT;
    }
    reader->frame_count = (uint32_t)count;
    reader->size = 0;
    return 0;
}

int frame_ws_reader_take(struct frame_ws_reader *reader, struct slice take_message,
                         struct frames *out_frames)
{
    if (reader->frame_count == 0) {
        int code = ws_count_read(reader, slice_span(take_message));
        slice_fini(&take_message);
        return code;
    }
    if (take_message.size > reader->message_bytes_max - reader->size) {
        slice_fini(&take_message);
        return ERR_LIMIT;
    }
    reader->size += take_message.size;
    frames_add(&reader->done, take_message);
    if (reader->done.count < reader->frame_count) {
        return 0;
    }
    struct frames taken = reader->done;
    frames_clear(out_frames);
    reader->done = *out_frames;
    *out_frames = taken;
    reader->frame_count = 0;
    return 1;
}
