/* ws.c: websocket framing (RFC 6455).
 *
 *   byte 0      FIN(1) RSV(3) OPCODE(4)      0 continuation, 2 binary, 8 close, 9 ping, 10 pong
 *   byte 1      MASK(1) LENGTH(7)            126: 2 more bytes, 127: 8 more bytes, big-endian
 *   4 bytes     mask, if MASK                 a client's frames have it, a server's never
 *   payload     XOR mask
 *
 * Large payload is read straight into the message it belongs to; the rest goes through one chunk.
 * A message's buffer grows as bytes arrive, so a length that lies reserves no memory. What breaks
 * the rules is answered with a close frame that says why. No extension is ever agreed upon. */
#include "io/ws.h"

#include <endian.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/limits.h"

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

enum { STATUS_NORMAL = 1000, STATUS_PROTOCOL = 1002, STATUS_TYPE = 1003, STATUS_TOO_BIG = 1009 };

#define HEADER_MAX 14u
/* Reserved for a message at first; stock's messages (shards of 8 MiB) fit without growing. */
#define RESERVE_MAX (8u * 1024 * 1024)
/* Below this, payload is read together with what follows it. */
#define DIRECT_MIN (16u * 1024)
/* A peer that does not read gets no more pongs. */
#define PONG_QUEUE_MAX (64u * 1024)

void io_ws_create(struct io_stream *stream, bool client, const char *path)
{
    struct io_ws *ws = mem_zalloc(1, sizeof *ws);
    ws->client = client;
    const char *wanted = path != NULL ? path : "/";
    ws->path = mem_copy(wanted, strlen(wanted) + 1);
    stream->ws = ws;
}

static void release_in(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    if (ws->in != NULL && ws->in_start == ws->in_end) {
        io_loop_give_chunk(stream->loop, ws->in);
        ws->in = NULL;
        ws->in_start = 0;
        ws->in_end = 0;
    }
}

void io_ws_destroy(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    if (ws == NULL) {
        return;
    }
    ws->in_start = ws->in_end;
    release_in(stream);
    stream->ws = NULL;
    buf_unref(ws->message);
    mem_free(ws->path);
    mem_free(ws);
}

/* XOR `size` bytes with the mask, which begins at payload byte `offset`. */
static void apply_mask(uint8_t *data, size_t size, const uint8_t mask[4], uint64_t offset)
{
    uint8_t turned[8];
    for (size_t i = 0; i < sizeof turned; i++) {
        turned[i] = mask[(offset + i) % 4];
    }
    uint64_t wide_mask;
    memcpy(&wide_mask, turned, sizeof wide_mask);
    size_t i = 0;
    for (; i + sizeof wide_mask <= size; i += sizeof wide_mask) {
        uint64_t word;
        memcpy(&word, data + i, sizeof word);
        word ^= wide_mask;
        memcpy(data + i, &word, sizeof word);
    }
    for (; i < size; i++) {
        data[i] ^= turned[i % 8];
    }
}

/* ---- sending ---- */

static size_t put_header(uint8_t *out, uint8_t opcode, uint64_t size, const uint8_t *mask)
{
    uint8_t mask_bit = mask != NULL ? 0x80 : 0;
    size_t used = 2;
    out[0] = 0x80 | opcode;
    if (size < 126) {
        out[1] = mask_bit | (uint8_t)size;
    } else if (size <= UINT16_MAX) {
        uint16_t big = htobe16((uint16_t)size);
        out[1] = mask_bit | 126;
        memcpy(out + used, &big, sizeof big);
        used += sizeof big;
    } else {
        uint64_t big = htobe64(size);
        out[1] = mask_bit | 127;
        memcpy(out + used, &big, sizeof big);
        used += sizeof big;
    }
    if (mask != NULL) {
        memcpy(out + used, mask, 4);
        used += 4;
    }
    return used;
}

/* A frame with its payload copied behind the header, masked if we are the client. */
static size_t put_frame(const struct io_ws *ws, uint8_t *out, uint8_t opcode, struct span payload)
{
    uint8_t mask[4];
    if (ws->client) {
        io_entropy(mask, sizeof mask);
    }
    size_t used = put_header(out, opcode, payload.size, ws->client ? mask : NULL);
    if (payload.size > 0) {
        memcpy(out + used, payload.data, payload.size);
    }
    if (ws->client) {
        apply_mask(out + used, payload.size, mask, 0);
    }
    return used + payload.size;
}

/* All frames as one copied part: a client must mask what it sends anyway. */
static struct io_write *frame_copied(const struct io_ws *ws, const struct span *parts,
                                     uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += HEADER_MAX + parts[i].size;
    }
    struct io_write *write = mem_alloc(sizeof *write + sizeof write->parts[0] + size);
    *write = (struct io_write){.count = count > 0 ? 1 : 0};
    uint8_t *bytes = (uint8_t *)&write->parts[1];
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        used += put_frame(ws, bytes + used, OP_BINARY, parts[i]);
    }
    write->parts[0] = span_of(bytes, used);
    return write;
}

/* Headers of our own between the caller's parts. */
static struct io_write *frame_lent(const struct span *parts, uint32_t count)
{
    size_t slots = (size_t)count * 2;
    struct io_write *write =
        mem_alloc(sizeof *write + slots * sizeof write->parts[0] + (size_t)count * HEADER_MAX);
    *write = (struct io_write){0};
    uint8_t *bytes = (uint8_t *)&write->parts[slots];
    for (uint32_t i = 0; i < count; i++) {
        size_t used = put_header(bytes, OP_BINARY, parts[i].size, NULL);
        write->parts[write->count++] = span_of(bytes, used);
        bytes += used;
        if (parts[i].size > 0) {
            write->parts[write->count++] = parts[i];
        }
    }
    return write;
}

struct io_write *io_ws_frame(struct io_stream *stream, const struct span *parts, uint32_t count,
                             void *owner, void (*done)(void *owner))
{
    if (!stream->ws->client && done != NULL) {
        struct io_write *write = frame_lent(parts, count);
        write->owner = owner;
        write->done = done;
        return write;
    }
    struct io_write *write = frame_copied(stream->ws, parts, count);
    if (done != NULL) {
        done(owner);
    }
    return write;
}

static void send_control(struct io_stream *stream, uint8_t opcode, struct span payload)
{
    ASSERT(payload.size <= IO_WS_CONTROL_MAX);
    uint8_t frame[HEADER_MAX + IO_WS_CONTROL_MAX];
    size_t size = put_frame(stream->ws, frame, opcode, payload);
    io_stream_send(stream, span_of(frame, size));
}

void io_ws_end(struct io_stream *stream, uint16_t status)
{
    struct io_ws *ws = stream->ws;
    if (!ws->upgraded || ws->ended) {
        return;
    }
    ws->ended = true;
    uint16_t big = htobe16(status);
    send_control(stream, OP_CLOSE, span_of(&big, sizeof big));
}

/* ---- receiving ---- */

static void refuse(struct io_stream *stream, uint16_t status, int code, const char *what)
{
    io_stream_note(stream, code, "websocket: %s", what);
    io_ws_end(stream, status);
    io_stream_depart(stream);
}

static void on_close_frame(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    unsigned status = STATUS_NORMAL;
    if (ws->size >= 2) {
        status = (unsigned)ws->control[0] << 8 | ws->control[1];
    }
    if (status == STATUS_NORMAL || status == 1001) {
        io_stream_note(stream, ERR_CLOSED, "the peer closed the connection");
    } else {
        int text_size = ws->size > 2 ? (int)ws->size - 2 : 0;
        io_stream_note(stream, ERR_CLOSED, "the peer closed the websocket with status %u %.*s",
                       status, text_size, (const char *)ws->control + 2);
    }
    io_ws_end(stream, STATUS_NORMAL);
    io_stream_depart(stream);
}

/* All of a frame's payload is there. */
static void finish_frame(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    ws->in_payload = false;
    switch (ws->opcode) {
    case OP_PING:
        if (stream->queued <= PONG_QUEUE_MAX) {
            send_control(stream, OP_PONG, span_of(ws->control, (size_t)ws->size));
        }
        return;
    case OP_PONG:
        return;
    case OP_CLOSE:
        on_close_frame(stream);
        return;
    default:
        break;
    }
    ws->fragmented = !ws->final;
    if (ws->final) {
        struct buf *message = ws->message;
        ws->message = NULL;
        stream->events->message(stream->user, message);
    }
}

/* What is wrong with the header just read; NULL if nothing is. */
static const char *header_fault(const struct io_ws *ws, uint8_t first, uint16_t *out_status)
{
    bool control = (ws->opcode & 8) != 0;
    *out_status = STATUS_PROTOCOL;
    if ((first & 0x70) != 0) {
        return "an extension is used that was not agreed upon";
    }
    if (ws->masked == ws->client) {
        return ws->client ? "the server masks its frames" : "the client does not mask its frames";
    }
    if (control && (!ws->final || ws->size > IO_WS_CONTROL_MAX)) {
        return "a control frame is too long or fragmented";
    }
    switch (ws->opcode) {
    case OP_TEXT:
        *out_status = STATUS_TYPE;
        return "text messages are not accepted, only binary ones";
    case OP_CONTINUATION:
        if (!ws->fragmented) {
            return "a continuation without a beginning";
        }
        break;
    case OP_BINARY:
        if (ws->fragmented) {
            return "a message begins inside another";
        }
        break;
    case OP_CLOSE:
    case OP_PING:
    case OP_PONG:
        return NULL;
    default:
        return "an unknown kind of frame";
    }
    uint64_t so_far = ws->message != NULL ? ws->message->size : 0;
    if (ws->size > LIMIT_FRAME_BYTES_MAX || so_far + ws->size > LIMIT_FRAME_BYTES_MAX) {
        *out_status = STATUS_TOO_BIG;
        return "a message exceeds the limit of LIMIT_FRAME_BYTES_MAX";
    }
    return NULL;
}

/* Read a header from `in`; 0 if it is not complete yet, else its size. */
static size_t parse_header(struct io_ws *ws)
{
    const uint8_t *bytes = ws->in + ws->in_start;
    size_t have = ws->in_end - ws->in_start;
    if (have < 2) {
        return 0;
    }
    uint8_t length = bytes[1] & 0x7f;
    size_t length_size = length == 126 ? 2 : length == 127 ? 8 : 0;
    bool masked = (bytes[1] & 0x80) != 0;
    size_t size = 2 + length_size + (masked ? 4 : 0);
    if (have < size) {
        return 0;
    }
    ws->final = (bytes[0] & 0x80) != 0;
    ws->opcode = bytes[0] & 0x0f;
    ws->masked = masked;
    ws->size = length;
    if (length_size == 2) {
        uint16_t big;
        memcpy(&big, bytes + 2, sizeof big);
        ws->size = be16toh(big);
    } else if (length_size == 8) {
        uint64_t big;
        memcpy(&big, bytes + 2, sizeof big);
        ws->size = be64toh(big);
    }
    if (masked) {
        memcpy(ws->mask, bytes + size - 4, 4);
    }
    return size;
}

/* Begin the next frame; false if its header is not there yet, or is refused. */
static bool begin_frame(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    size_t size = ws->in == NULL ? 0 : parse_header(ws);
    if (size == 0) {
        return false;
    }
    uint16_t status;
    const char *fault = header_fault(ws, ws->in[ws->in_start], &status);
    ws->in_start += size;
    if (fault != NULL) {
        refuse(stream, status, status == STATUS_TOO_BIG ? ERR_LIMIT : ERR_MALFORMED, fault);
        return false;
    }
    ws->in_payload = true;
    ws->offset = 0;
    return true;
}

/* Room for some of the frame's payload in `message`: what is left of it, or a reasonable piece. */
static size_t reserve(struct io_ws *ws)
{
    uint64_t left = ws->size - ws->offset;
    size_t used = ws->message != NULL ? ws->message->size : 0;
    if (ws->message == NULL || (used == ws->message->capacity && left > 0)) {
        uint64_t step = used > RESERVE_MAX ? used : RESERVE_MAX;
        struct buf *grown = buf_create(used + (size_t)(left < step ? left : step));
        if (used > 0) {
            memcpy(grown->data, ws->message->data, used);
        }
        grown->size = used;
        buf_unref(ws->message);
        ws->message = grown;
    }
    size_t room = ws->message->capacity - used;
    return left < room ? (size_t)left : room;
}

/* `size` payload bytes were put at the message's end. */
static void take_payload(struct io_ws *ws, size_t size)
{
    if (ws->masked) {
        apply_mask(ws->message->data + ws->message->size, size, ws->mask, ws->offset);
    }
    ws->message->size += size;
    ws->offset += size;
}

/* Move what `in` has of the frame's payload to where it belongs; true if that is all of it. */
static bool continue_frame(struct io_ws *ws)
{
    bool control = (ws->opcode & 8) != 0;
    do {
        uint64_t left = ws->size - ws->offset;
        size_t have = ws->in_end - ws->in_start;
        size_t size = left < have ? (size_t)left : have;
        if (!control) {
            size_t room = reserve(ws);
            size = size < room ? size : room;
        }
        if (size == 0) {
            break;
        }
        if (control) {
            memcpy(ws->control + ws->offset, ws->in + ws->in_start, size);
            if (ws->masked) {
                apply_mask(ws->control + ws->offset, size, ws->mask, ws->offset);
            }
            ws->offset += size;
        } else {
            memcpy(ws->message->data + ws->message->size, ws->in + ws->in_start, size);
            take_payload(ws, size);
        }
        ws->in_start += size;
    } while (ws->offset < ws->size);
    return ws->offset == ws->size;
}

void io_ws_process(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    while (stream->phase == IO_PHASE_OPEN && !stream->paused) {
        if (!ws->in_payload && !begin_frame(stream)) {
            break;
        }
        if (!continue_frame(ws)) {
            break;
        }
        finish_frame(stream);
    }
    if (stream->ws != NULL) {
        release_in(stream);
    }
}

void io_ws_space(struct io_stream *stream, uint8_t **out_data, size_t *out_size)
{
    struct io_ws *ws = stream->ws;
    bool is_data = ws->in_payload && (ws->opcode & 8) == 0;
    ws->direct = is_data && ws->in == NULL && ws->size - ws->offset >= DIRECT_MIN;
    if (ws->direct) {
        *out_size = reserve(ws);
        *out_data = ws->message->data + ws->message->size;
        return;
    }
    if (ws->in == NULL) {
        ws->in = io_loop_take_chunk(stream->loop);
    } else if (ws->in_start > 0) {
        memmove(ws->in, ws->in + ws->in_start, ws->in_end - ws->in_start);
        ws->in_end -= ws->in_start;
        ws->in_start = 0;
    }
    *out_data = ws->in + ws->in_end;
    *out_size = IO_CHUNK_SIZE - ws->in_end;
}

void io_ws_read(struct io_stream *stream, size_t size)
{
    struct io_ws *ws = stream->ws;
    if (ws->direct) {
        take_payload(ws, size);
        if (ws->offset == ws->size) {
            finish_frame(stream);
        }
        return;
    }
    ws->in_end += size;
    if (stream->phase == IO_PHASE_WS) {
        io_ws_http_read(stream);
    }
    if (stream->ws != NULL && ws->upgraded) {
        io_ws_process(stream);
    }
}
