/* stream.c: the life of a stream: its socket, phases and the ways it ends.
 *
 * Two ways lead out. `fail` closes at once. `depart` sends what is queued and the goodbye of each
 * coat, then the end of our side, and waits a moment for the peer's end: closing a socket with
 * unread bytes makes the kernel send a reset, which would overtake what we just sent.
 * A stream is freed in the close callback of its deadline timer, never inside a call, so code here
 * may look at `phase` after any callback of the user. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/internal.h"

#define FLUSH_SECONDS 5.0
#define IN_VAIN_MAX 16

/* ---- life ---- */

struct io_stream *io_stream_create(struct io_loop *loop, enum io_phase phase)
{
    struct io_stream *stream = mem_zalloc(1, sizeof *stream);
    stream->loop = loop;
    stream->phase = phase;
    stream->fd = -1;
    int code = uv_timer_init(&loop->uv, &stream->deadline);
    ASSERT(code == 0);
    stream->deadline.data = stream;
    stream->next = loop->streams;
    if (loop->streams != NULL) {
        loop->streams->previous = stream;
    }
    loop->streams = stream;
    return stream;
}

static void on_poll(uv_poll_t *poll, int status, int events);

void io_stream_adopt(struct io_stream *stream, int fd)
{
    ASSERT(stream->fd == -1);
    ASSERT(stream->poll == NULL);
    stream->fd = fd;
    stream->watched = 0;
    stream->poll = mem_zalloc(1, sizeof *stream->poll);
    int code = uv_poll_init(&stream->loop->uv, stream->poll, fd);
    ASSERT(code == 0);
    stream->poll->data = stream;
}

static void on_poll_closed(uv_handle_t *handle)
{
    mem_free(handle);
}

void io_stream_drop_socket(struct io_stream *stream)
{
    if (stream->poll != NULL) {
        uv_close((uv_handle_t *)stream->poll, on_poll_closed);
        stream->poll = NULL;
    }
    if (stream->fd >= 0) {
        close(stream->fd);
        stream->fd = -1;
    }
}

static void unlink_stream(struct io_stream *stream)
{
    if (stream->previous != NULL) {
        stream->previous->next = stream->next;
    } else {
        stream->loop->streams = stream->next;
    }
    if (stream->next != NULL) {
        stream->next->previous = stream->previous;
    }
}

/* The last breath: tell who cares, free. */
static void on_gone(uv_handle_t *handle)
{
    struct io_stream *stream = handle->data;
    ASSERT(stream->phase == IO_PHASE_CLOSED);
    ASSERT(!stream->ready);
    unlink_stream(stream);
    if (stream->listener != NULL) {
        io_listener_refused(stream);
    } else if (stream->events != NULL) {
        stream->events->closed(stream->user, stream->failure.code, stream->failure.text);
    }
    mem_free(stream);
}

static void take_off_ready_list(struct io_stream *stream)
{
    struct io_stream **link = &stream->loop->ready;
    while (*link != NULL && *link != stream) {
        link = &(*link)->ready_next;
    }
    if (*link == stream) {
        *link = stream->ready_next;
        stream->ready = false;
    } /* else it is in the part of the list that is being pumped: its turn comes before its end */
}

/* Let go of everything; `closed` follows from the loop. */
void io_stream_dispose(struct io_stream *stream)
{
    if (stream->phase == IO_PHASE_CLOSED) {
        return;
    }
    stream->phase = IO_PHASE_CLOSED;
    io_connection_drop(stream);
    io_stream_drop_queue(stream);
    io_stream_drop_socket(stream);
    io_tls_session_destroy(stream);
    io_ws_destroy(stream);
    if (stream->ready) {
        take_off_ready_list(stream);
    }
    uv_close((uv_handle_t *)&stream->deadline, on_gone);
}

static void note(struct io_stream *stream, int code, const char *format, va_list arguments)
{
    struct io_failure *failure = &stream->failure;
    /* The first reason is the right one, but an alert explains why the peer went. */
    bool explains = code == ERR_TLS && failure->code == ERR_CLOSED;
    if (failure->text[0] != '\0' && !explains) {
        return;
    }
    failure->code = code;
    struct text where = {0};
    io_address_print(&stream->peer, &where);
    int used = snprintf(failure->text, sizeof failure->text, "%s: ", text_cstr(&where));
    text_fini(&where);
    if (used > 0 && (size_t)used < sizeof failure->text) {
        vsnprintf(failure->text + used, sizeof failure->text - (size_t)used, format, arguments);
    }
}

void io_stream_note(struct io_stream *stream, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note(stream, code, format, arguments);
    va_end(arguments);
}

void io_stream_fail(struct io_stream *stream, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note(stream, code, format, arguments);
    va_end(arguments);
    io_stream_dispose(stream);
}

static void on_deadline(uv_timer_t *timer)
{
    struct io_stream *stream = timer->data;
    if (stream->phase == IO_PHASE_CONNECTING) {
        io_connection_late(stream);
    } else if (stream->phase < IO_PHASE_READY) {
        io_stream_fail(stream, ERR_TIMEOUT, "no %s handshake in time",
                       stream->phase == IO_PHASE_TLS ? "TLS" : "websocket");
    } else if (stream->phase == IO_PHASE_OPEN) {
        io_stream_fail(stream, ERR_TIMEOUT, "nothing was said in time");
    } else {
        io_stream_dispose(stream);
    }
}

void io_stream_deadline(struct io_stream *stream, double seconds)
{
    io_loop_start_timer(&stream->deadline, on_deadline, seconds, 0);
}

/* ---- what the socket is watched for ---- */

static bool has_output(const struct io_stream *stream)
{
    return stream->queue.first != NULL || (stream->tls != NULL && io_tls_session_pending(stream));
}

static bool wants_input(const struct io_stream *stream)
{
    switch (stream->phase) {
    case IO_PHASE_TLS:
    case IO_PHASE_WS:
    case IO_PHASE_LINGERING:
        return true;
    case IO_PHASE_OPEN:
        return !stream->paused || stream->in_vain < IN_VAIN_MAX;
    case IO_PHASE_FLUSHING:
        return !stream->peer_ended;
    default:
        return false;
    }
}

void io_stream_watch(struct io_stream *stream)
{
    if (stream->poll == NULL) {
        return;
    }
    int events = 0;
    if (stream->phase == IO_PHASE_CONNECTING) {
        events = UV_WRITABLE;
    } else {
        events = (wants_input(stream) ? UV_READABLE : 0) |
                 (has_output(stream) && !stream->broken ? UV_WRITABLE : 0) |
                 (stream->end_matters && stream->phase == IO_PHASE_OPEN ? UV_DISCONNECT : 0);
    }
    if (events == stream->watched) {
        return;
    }
    stream->watched = events;
    int code =
        events == 0 ? uv_poll_stop(stream->poll) : uv_poll_start(stream->poll, events, on_poll);
    ASSERT(code == 0);
}

/* Bytes came for a stream that is paused: left where they are. To change what is watched costs three system calls;
 * to be told of the same bytes again, far less than one. */
static bool is_in_vain(struct io_stream *stream)
{
    return stream->phase == IO_PHASE_OPEN && stream->paused && !stream->broken &&
           ++stream->in_vain < IN_VAIN_MAX;
}

/* Whether the peer of a paused stream has closed it, and all that it said has been read. */
static bool has_ended(struct io_stream *stream)
{
    uint8_t next;
    stream->end_matters = recv(stream->fd, &next, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
    return stream->end_matters;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct io_stream *stream = poll->data;
    if (status < 0) { /* an error of the socket: libuv no longer watches it */
        stream->watched = 0;
    }
    if (stream->phase == IO_PHASE_CONNECTING) {
        io_connection_progress(stream);
        return;
    }
    /* The next call on the socket says what is wrong; maybe the one after, as bytes that came before a reset are
     * read first. */
    if (((events & UV_WRITABLE) != 0 || status < 0) && stream->phase <= IO_PHASE_FLUSHING) {
        io_stream_flush(stream);
    }
    if (stream->poll == poll &&
        (status < 0 || ((events & UV_READABLE) != 0 && !is_in_vain(stream)))) {
        io_stream_pump(stream);
    }
    if ((events & UV_DISCONNECT) != 0 && stream->poll == poll && stream->end_matters &&
        stream->phase == IO_PHASE_OPEN) {
        if (has_ended(stream)) {
            io_stream_note(stream, ERR_CLOSED, "the peer closed the connection");
            io_stream_dispose(stream);
        } else {
            io_stream_watch(stream);
        }
    }
    if (status < 0 && stream->poll == poll) {
        io_stream_watch(stream);
    }
}

/* ---- moving on ---- */

void io_stream_connected(struct io_stream *stream)
{
    if (stream->tls != NULL && stream->phase < IO_PHASE_TLS) {
        stream->phase = IO_PHASE_TLS;
        io_stream_pump(stream);
    } else if (stream->ws != NULL && stream->phase < IO_PHASE_WS) {
        stream->phase = IO_PHASE_WS;
        io_ws_http_begin(stream);
        io_loop_ready(stream->loop, stream);
        io_stream_watch(stream);
    } else {
        io_stream_upgraded(stream);
    }
}

void io_stream_upgraded(struct io_stream *stream)
{
    uv_timer_stop(&stream->deadline);
    if (stream->listener != NULL) {
        stream->phase = IO_PHASE_READY;
        io_stream_watch(stream);
        io_listener_accepted(stream);
        return;
    }
    stream->phase = IO_PHASE_OPEN;
    if (stream->early.first != NULL) {
        if (stream->queue.last == NULL) {
            stream->queue = stream->early;
        } else {
            stream->queue.last->next = stream->early.first;
            stream->queue.last = stream->early.last;
        }
        stream->early = (struct io_write_queue){0};
    }
    if (stream->events->opened != NULL) {
        stream->events->opened(stream->user);
    }
    if (stream->phase == IO_PHASE_OPEN) {
        io_stream_flush(stream);
    }
    if (stream->phase == IO_PHASE_OPEN && (stream->tls != NULL || stream->ws != NULL)) {
        io_loop_ready(stream->loop, stream); /* more than the handshake may have come */
    }
}

void io_stream_start(struct io_stream *stream, const struct io_stream_events *events, void *user)
{
    ASSERT(events->closed != NULL);
    ASSERT(stream->events == NULL);
    stream->events = events;
    stream->user = user;
    if (stream->phase != IO_PHASE_READY) {
        ASSERT(stream->phase == IO_PHASE_CLOSED);
        return;
    }
    ASSERT(stream->ws != NULL ? events->message != NULL : events->read != NULL);
    stream->phase = IO_PHASE_OPEN;
    io_loop_ready(stream->loop, stream);
    io_stream_watch(stream);
}

void io_stream_expect(struct io_stream *stream, double seconds)
{
    if (stream->phase != IO_PHASE_OPEN) {
        return; /* it is closing, and the deadline is that of its end */
    }
    if (seconds > 0) {
        io_stream_deadline(stream, seconds);
    } else {
        uv_timer_stop(&stream->deadline);
    }
}

/* Most pauses end within a few turns, so the socket stays watched at first: see is_in_vain(). */
void io_stream_pause(struct io_stream *stream)
{
    stream->paused = true;
    stream->in_vain = 0;
}

void io_stream_watch_end(struct io_stream *stream)
{
    if (stream->phase == IO_PHASE_OPEN && stream->paused && !stream->broken) {
        stream->end_matters = true;
        io_stream_watch(stream);
    }
}

void io_stream_resume(struct io_stream *stream)
{
    if (!stream->paused) {
        return;
    }
    stream->paused = false;
    stream->end_matters = false;
    if (stream->phase == IO_PHASE_OPEN && (stream->tls != NULL || stream->ws != NULL)) {
        io_loop_ready(stream->loop, stream); /* bytes may wait above the socket */
    }
    io_stream_watch(stream);
}

/* ---- ending ---- */

void io_stream_depart(struct io_stream *stream)
{
    if (stream->phase >= IO_PHASE_FLUSHING) {
        return;
    }
    if (stream->phase == IO_PHASE_CONNECTING || stream->broken) {
        io_stream_dispose(stream);
        return;
    }
    stream->phase = IO_PHASE_FLUSHING;
    io_stream_deadline(stream, FLUSH_SECONDS);
    io_stream_flush(stream);
}

void io_stream_close(struct io_stream *stream)
{
    if (stream->phase >= IO_PHASE_FLUSHING) {
        return;
    }
    io_stream_note(stream, OK, "closed by this side");
    if (stream->phase < IO_PHASE_READY) {
        io_stream_dispose(stream);
        return;
    }
    if (stream->ws != NULL && !stream->broken) {
        io_ws_end(stream, 1000);
    }
    io_stream_depart(stream);
}

void io_stream_abort(struct io_stream *stream)
{
    io_stream_note(stream, OK, "closed by this side");
    io_stream_dispose(stream);
}

const struct io_address *io_stream_peer(const struct io_stream *stream)
{
    return &stream->peer;
}

const struct io_address *io_stream_local(const struct io_stream *stream)
{
    return &stream->local;
}
