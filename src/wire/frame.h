/* frame.h: Dask's messages as frames, both ways, for tcp, tls and unix streams and for ws.
 *
 * A message is frame 0 (msgpack) and the frames it refers to. The reader is fed bytes as they arrive
 * and gives messages whose frames are slices of counted buffers: small messages share one receive
 * buffer, a large frame is read straight into its own. Every length is checked against base/limits.h
 * before it is believed, and memory grows only as bytes arrive. Format: frame.c, protocol.md 1.2. */
#ifndef CASK_WIRE_FRAME_H
#define CASK_WIRE_FRAME_H

#include "base/assert.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"

/* The frames of one message, or any list of slices. All zero is empty. */
struct frames {
    struct slice *items; /* each holds a reference */
    uint32_t count;
    uint32_t capacity;
};

/* Drop the references, keep the array for reuse. */
void frames_clear(struct frames *frames);
void frames_fini(struct frames *frames);
/* Append; takes over the slice's reference. */
void frames_add(struct frames *frames, struct slice take_slice);
/* Frame 0, or an empty span. */
struct span frames_head(const struct frames *frames);
/* Bytes of all frames. */
uint64_t frames_size(const struct frames *frames);

/* Where the large frames of a value are put, all of them together: memory that others can map, say. */
struct frame_memory {
    /* `size` bytes to be filled at *out_data, and who keeps them; NULL: the heap will do. */
    struct buf *(*take)(void *user, size_t size, uint8_t **out_data);
    void *user;
    uint64_t size_min; /* of a value's frames: smaller ones are not asked for */
};

struct frame_reader {
    struct buf *buf; /* receive buffer: bytes [at, buf->size) are unread; NULL while idle */
    size_t at;
    struct buf *
        *spare;     /* optional, set after init: where an idle reader leaves its buffer and a waking
                         * one looks first; one for all readers of a thread */
    uint32_t phase; /* of enum frame_phase, frame.c */
    bool direct;    /* frame_reader_space() lent the segment, not the receive buffer */
    uint64_t prefix;
    uint32_t frame_count;
    uint64_t body_size; /* of the message being read */
    struct VEC(uint64_t) lengths;
    struct frames done;      /* frames of the current message that are complete */
    struct buf *segment;     /* who keeps where the next frames go, when they outgrow the buffer; */
    uint8_t *segment_data;   /* … where that is, */
    uint64_t segment_filled; /* … how much is there, */
    uint64_t segment_room;   /* … can be, */
    uint64_t segment_size;   /* … and will be */
    uint32_t segment_frames; /* how many frames it will hold */
    const struct frame_memory *memory; /* optional, set after init */
    struct frame_region {
        struct buf *buf; /* from `memory`, for frames of one value; NULL: none */
        uint8_t *data;
        uint64_t used;
        uint32_t frames_left; /* that go there */
        uint32_t walked;      /* frames of `done` that were looked at for where values begin */
        uint64_t value_left;  /* frames that are still to come of the value at `walked` */
        bool is_lost;         /* what was there is no value: nothing is put together */
    } region;
    uint64_t message_bytes_max; /* LIMIT_MESSAGE_BYTES_MAX; less for peers not yet known */
};

void frame_reader_init(struct frame_reader *reader);
void frame_reader_fini(struct frame_reader *reader);
/* Where to put the next bytes, and how many fit (≥ 1). Valid until the next call on `reader`. */
void frame_reader_space(struct frame_reader *reader, uint8_t **out_data, size_t *out_size);
/* `size` bytes (0 is allowed) were put there. */
void frame_reader_advance(struct frame_reader *reader, size_t size);
/* Take the next complete message into *out_frames, which is emptied first. 1: it is there; 0: more bytes
 * are needed (an idle reader then holds no buffer); ERR_MALFORMED, ERR_LIMIT: close the connection.
 * Call it until it gives 0 after each advance. */
int frame_reader_next(struct frame_reader *reader, struct frames *out_frames) MUST_USE;
/* For those who hold the bytes already (captures, tests): copy in as many of them as there is room for
 * and give their number (≥ 1). Take messages, then feed the rest. */
size_t frame_reader_feed(struct frame_reader *reader, struct span bytes);
/* The stream may end here: no message is half read. */
bool frame_reader_idle(const struct frame_reader *reader);

/* A message on its way out is frames: frame 0 and the others (wire/outgoing.h builds them). Appends to
 * `chunks` what goes to the stream, ready for writev: the lengths and all small frames are copied
 * together, large frames are only referenced. */
void frame_encode(const struct frames *message, struct frames *chunks);
/* As frame_encode, frame 0 apart from the `count` frames that follow it; copied if it has no owner. */
void frame_encode_parts(struct slice head, const struct slice *rest, uint32_t count,
                        struct frames *chunks);
/* The same for ws: each chunk is the payload of one binary websocket message. */
void frame_encode_ws(struct span head, const struct slice *rest, uint32_t count,
                     struct frames *chunks);

/* ws: whole websocket messages in, Dask messages out. */
struct frame_ws_reader {
    struct frames done;
    uint64_t size;
    uint32_t frame_count; /* 0: the count comes next */
    uint64_t message_bytes_max;
};

void frame_ws_reader_init(struct frame_ws_reader *reader);
void frame_ws_reader_fini(struct frame_ws_reader *reader);
/* One binary websocket message came; takes over its reference. 1: *out_frames is a whole message;
 * 0: more must come; ERR_MALFORMED, ERR_LIMIT: close the connection. */
int frame_ws_reader_take(struct frame_ws_reader *reader, struct slice take_message,
                         struct frames *out_frames) MUST_USE;

#endif
