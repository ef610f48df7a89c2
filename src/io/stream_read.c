/* stream_read.c: what is done when bytes (or the end) may have come, phase by phase. */
#include "base/error.h"
#include "io/internal.h"

/* One stream's share of a turn, so that a fast peer cannot starve the others. */
#define READ_ROUNDS_MAX 32
#define READ_BYTES_MAX (2u * 1024 * 1024)

/* Bytes that come while we are going: nobody wants them. */
static void discard(struct io_stream *stream)
{
    uint8_t *chunk = io_loop_take_chunk(stream->loop);
    size_t got;
    enum io_flow flow = IO_FLOW_ON;
    for (int round = 0; round < READ_ROUNDS_MAX && flow == IO_FLOW_ON; round++) {
        flow = io_socket_read(stream, chunk, IO_CHUNK_SIZE, &got);
    }
    io_loop_give_chunk(stream->loop, chunk);
    if (flow == IO_FLOW_FAILED || (flow == IO_FLOW_ENDED && stream->phase == IO_PHASE_LINGERING)) {
        io_stream_dispose(stream);
    } else if (flow == IO_FLOW_ENDED) {
        stream->peer_ended = true;
        io_stream_watch(stream);
    }
}

static bool is_reading(const struct io_stream *stream)
{
    return stream->phase == IO_PHASE_WS || (stream->phase == IO_PHASE_OPEN && !stream->paused);
}

/* One request for bytes, given to whom they are for. */
static enum io_flow read_once(struct io_stream *stream, size_t *out_read)
{
    uint8_t *data = NULL;
    size_t size = 0;
    if (stream->ws != NULL) {
        io_ws_space(stream, &data, &size);
    } else {
        stream->events->space(stream->user, &data, &size);
    }
    *out_read = 0;
    if (!is_reading(stream)) {
        return IO_FLOW_BLOCKED;
    }
    ASSERT(data != NULL);
    ASSERT(size > 0);
    enum io_flow flow;
    if (stream->tls != NULL) {
        flow = io_tls_session_read(stream, data, size, out_read);
    } else if (stream->events != NULL && stream->events->descriptor != NULL) {
        flow = io_socket_receive(stream, data, size, out_read);
    } else {
        flow = io_socket_read(stream, data, size, out_read);
    }
    if (*out_read > 0) {
        if (stream->ws != NULL) {
            io_ws_read(stream, *out_read);
        } else {
            stream->events->read(stream->user, *out_read);
        }
    }
    return flow;
}

/* Nothing is left to read of a stream whose writing failed, or whose reading did. */
static void end_reading(struct io_stream *stream, enum io_flow flow)
{
    if (flow == IO_FLOW_ENDED) {
        if (stream->phase == IO_PHASE_WS) {
            io_stream_note(stream, ERR_CONNECT,
                           "the peer ended the connection in the middle of "
                           "the websocket handshake");
        }
        io_stream_note(stream, ERR_CLOSED, "the peer closed the connection");
        io_stream_dispose(stream);
    } else if (flow == IO_FLOW_FAILED && stream->failure.code == ERR_TLS) {
        io_stream_drop_queue(stream);
        io_stream_depart(stream); /* an alert waits to be sent */
    } else if (flow == IO_FLOW_FAILED || stream->broken) {
        io_stream_dispose(stream);
    }
}

static void read_bytes(struct io_stream *stream)
{
    size_t total = 0;
    enum io_flow flow = IO_FLOW_ON;
    if (stream->ws != NULL && is_reading(stream)) {
        io_ws_process(stream);
    }
    for (int round = 0; round < READ_ROUNDS_MAX && total < READ_BYTES_MAX; round++) {
        if (flow != IO_FLOW_ON || !is_reading(stream)) {
            break;
        }
        size_t got = 0;
        flow = read_once(stream, &got);
        total += got;
    }
    if (stream->phase != IO_PHASE_OPEN && stream->phase != IO_PHASE_WS) {
        return;
    }
    if (stream->broken && !is_reading(stream)) {
        io_stream_dispose(stream);
    } else if (flow != IO_FLOW_ON) {
        end_reading(stream, flow);
    } else if (is_reading(stream) &&
               (stream->broken || (stream->tls != NULL && io_tls_session_buffered(stream)))) {
        io_loop_ready(stream->loop, stream); /* the socket alone would not wake us */
    }
}

static void handshake_tls(struct io_stream *stream)
{
    enum io_flow flow = io_tls_session_handshake(stream);
    if (flow == IO_FLOW_FAILED || flow == IO_FLOW_ENDED) {
        if (flow == IO_FLOW_ENDED) {
            io_stream_note(stream, ERR_TLS,
                           "the peer ended the connection in the middle of the "
                           "TLS handshake: does it speak TLS?");
        }
        io_stream_depart(stream);
        return;
    }
    if (stream->broken) {
        io_stream_dispose(stream);
        return;
    }
    io_stream_flush(stream);
    if (flow == IO_FLOW_ON && stream->phase == IO_PHASE_TLS && !stream->broken) {
        io_stream_connected(stream);
    }
}

void io_stream_pump(struct io_stream *stream)
{
    switch (stream->phase) {
    case IO_PHASE_TLS:
        handshake_tls(stream);
        break;
    case IO_PHASE_WS:
    case IO_PHASE_OPEN:
        read_bytes(stream);
        break;
    case IO_PHASE_FLUSHING:
    case IO_PHASE_LINGERING:
        discard(stream);
        break;
    default:
        break;
    }
    if (stream->phase == IO_PHASE_OPEN || stream->phase == IO_PHASE_WS) {
        if (stream->tls != NULL && !stream->broken && io_tls_session_pending(stream)) {
            io_stream_flush(stream); /* reading made the session answer */
        }
        io_stream_watch(stream);
    }
}
