/* comm.c: a Dask connection: io stream below, whole messages above.
 *
 * Reading is driven by the stream: bytes go straight into the frame reader's buffers, and each complete
 * message is handed on while nobody holds the flow. Writing copies heads and small frames once, into
 * chunks that the stream owns until the system has them; large frames are only referenced. */
#include "node/comm.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/vec.h"
#include "node/share.h"
#include "wire/address.h"

#define LOGGER "distributed.comm"
#define SPEAKS_TLS                                                                                 \
    "the peer speaks TLS and this end does not; addresses with TLS begin with tls:// or wss://"
#define RETRY_FIRST 0.01 /* seconds; doubled each time */

struct comm {
    const struct comm_settings *settings;
    struct io_stream *stream; /* NULL: a connect that failed before it had one */
    const struct comm_events *events;
    void *user;
    struct text peer; /* address of the other end */
    struct frame_reader reader;
    struct frame_ws_reader ws_reader;
    struct frames ws_waiting; /* ws messages that came while held */
    struct frames message;    /* the one being handed on; its array is reused */
    struct handshake theirs, agreed;
    char close_text[160];
    int close_code;
    struct VEC(struct frames *) unsent; /* chunks written before the connection is open */
    struct io_timer *retry;             /* connecting: the next attempt; NULL unless one failed */
    double retry_until;                 /* monotonic seconds: after that the connect has failed */
    double retry_delay;
    struct share_descriptors *shared; /* that wait for their messages; NULL: nothing is shared */
    bool is_open;
    bool is_ws;
    bool is_greeted; /* our handshake is sent, or waits to be */
    bool is_local;
    bool is_shaken; /* their handshake has come */
    bool is_held;
    bool is_pressed; /* too much waits to be sent */
    bool is_trusted; /* read on even then */
    bool is_draining;
    bool is_closing;
    const uint8_t *reading; /* where what the peer says first is being read to */
    uint8_t first[2];       /* … and how that began */
    bool has_spoken;
};

static void comm_on_opened(void *user);
static void comm_on_space(void *user, uint8_t **out_data, size_t *out_size);
static void comm_on_read(void *user, size_t size);
static void comm_on_message(void *user, struct buf *message);
static void comm_on_pressure(void *user, bool on);
static void comm_on_closed(void *user, int code, const char *text);
static void comm_on_descriptor(void *user, int fd);

static const struct io_stream_events stream_events = {
    .opened = comm_on_opened,
    .space = comm_on_space,
    .read = comm_on_read,
    .message = comm_on_message,
    .pressure = comm_on_pressure,
    .closed = comm_on_closed,
};

static const struct io_stream_events share_stream_events = {
    .opened = comm_on_opened,
    .space = comm_on_space,
    .read = comm_on_read,
    .descriptor = comm_on_descriptor,
    .pressure = comm_on_pressure,
    .closed = comm_on_closed,
};

static struct comm *comm_create(const struct comm_settings *settings,
                                const struct comm_events *events, void *user)
{
    struct comm *comm = mem_zalloc(1, sizeof *comm);
    comm->settings = settings;
    comm->events = events;
    comm->user = user;
    frame_reader_init(&comm->reader);
    comm->reader.memory = settings->memory;
    frame_ws_reader_init(&comm->ws_reader);
    return comm;
}

static void release_chunks(void *owner)
{
    struct frames *chunks = owner;
    frames_fini(chunks);
    mem_free(chunks);
}

static void comm_destroy(struct comm *comm)
{
    frame_reader_fini(&comm->reader);
    frame_ws_reader_fini(&comm->ws_reader);
    frames_fini(&comm->ws_waiting);
    frames_fini(&comm->message);
    text_fini(&comm->peer);
    for (uint32_t i = 0; i < comm->unsent.count; i++) {
        release_chunks(comm->unsent.items[i]);
    }
    vec_fini(&comm->unsent);
    io_timer_destroy(comm->retry);
    for (uint32_t i = 0; comm->shared != NULL && i < comm->shared->count; i++) {
        close(comm->shared->items[i]);
    }
    mem_free(comm->shared);
    mem_free(comm);
}

static void write_chunks(struct comm *comm, struct frames *chunks)
{
    struct span few[16] = {{0}};
    struct span *parts =
        chunks->count <= 16 ? few : mem_alloc((size_t)chunks->count * sizeof *parts);
    for (uint32_t i = 0; i < chunks->count; i++) {
        parts[i] = slice_span(chunks->items[i]);
    }
    io_stream_write(comm->stream, parts, chunks->count, chunks, release_chunks);
    if (parts != few) {
        mem_free(parts);
    }
}

/* Descriptors go ahead: some with each of the first bytes, of which there are always enough (the lengths). */
static void write_descriptors(struct comm *comm, const struct share_descriptors *descriptors,
                              struct frames *chunks)
{
    static_assert(SHARE_DESCRIPTORS_MAX / IO_DESCRIPTORS_MAX < 16, "a byte each");
    struct slice *first = &chunks->items[0];
    ASSERT(descriptors->count == 0 || first->size >= 16);
    for (uint32_t at = 0; at < descriptors->count; at += IO_DESCRIPTORS_MAX) {
        uint32_t left = descriptors->count - at;
        io_stream_write_descriptors(comm->stream, span_of(first->data, 1), descriptors->items + at,
                                    left < IO_DESCRIPTORS_MAX ? left : IO_DESCRIPTORS_MAX);
        first->data++;
        first->size--;
    }
}

void comm_send(struct comm *comm, struct outgoing *out)
{
    struct share_descriptors descriptors = {.count = 0};
    if (comm->is_closing) {
        outgoing_clear(out);
        return;
    }
    if (comm->shared != NULL && comm->is_greeted) {
        ASSERT(comm->is_open);
        share_pack(comm->settings->share, out, &descriptors);
    }
    if (comm->agreed.compression != COMPRESS_NONE) {
        outgoing_compress(out, comm->agreed.compression);
    }
    struct frames *chunks = mem_zalloc(1, sizeof *chunks);
    if (comm->is_ws) {
        outgoing_flush_ws(out, chunks);
    } else {
        outgoing_flush(out, chunks);
    }
    if (comm->is_open) {
        write_descriptors(comm, &descriptors, chunks);
        write_chunks(comm, chunks);
    } else {
        vec_push(&comm->unsent, chunks);
    }
}

/* Nothing is compressed on one host. A connecting side does not know yet and offers what is configured:
 * the accepting side, which knows, declines. */
static void send_handshake(struct comm *comm)
{
    struct handshake ours =
        handshake_ours(comm->is_local ? COMPRESS_NONE : comm->settings->compression);
    struct outgoing out;
    outgoing_init(&out);
    if (comm->settings->share != NULL) {
        snprintf(ours.share, sizeof ours.share, "%s", share_name(comm->settings->share));
    }
    handshake_encode(&ours, &out);
    comm_send(comm, &out);
    comm->is_greeted = true;
    outgoing_fini(&out);
}

/* What the stream knows of its two ends, once it is connected. */
static void learn_ends(struct comm *comm)
{
    const struct io_address *peer = io_stream_peer(comm->stream);
    const struct io_address *local = io_stream_local(comm->stream);
    comm->is_local = strcmp(peer->host, local->host) == 0;
    comm->is_ws = peer->transport == IO_WS || peer->transport == IO_WSS;
    if (comm->peer.size == 0) {
        io_address_print(peer, &comm->peer);
    }
}

struct comm *comm_accept(const struct comm_settings *settings, struct io_stream *stream,
                         const struct comm_events *events, void *user)
{
    struct comm *comm = comm_create(settings, events, user);
    comm->stream = stream;
    comm->is_open = true;
    learn_ends(comm);
    if (settings->share != NULL && share_is_from(settings->share, stream)) {
        comm->shared = mem_zalloc(1, sizeof *comm->shared);
    }
    io_stream_start(stream, comm->shared != NULL ? &share_stream_events : &stream_events, comm);
    io_stream_expect(stream, settings->connect_timeout);
    send_handshake(comm);
    return comm;
}

static void fail_connect(void *user)
{
    struct comm *comm = user;
    comm->events->closed(comm->user, comm, comm->close_code, comm->close_text);
    comm_destroy(comm);
}

static enum io_transport transport_of(enum address_scheme scheme)
{
    switch (scheme) {
    case ADDRESS_TCP:
        return IO_TCP;
    case ADDRESS_TLS:
        return IO_TLS;
    case ADDRESS_WS:
        return IO_WS;
    case ADDRESS_WSS:
        return IO_WSS;
    case ADDRESS_UNIX:
        return IO_UNIX;
    }
    UNREACHABLE();
}

/* Begin to connect; false with the reason in the comm if the address forbids it. */
static bool start_connect(struct comm *comm, struct span address)
{
    struct address parsed;
    if (address_parse(address, ADDRESS_TCP, 0, &parsed) != OK ||
        (parsed.scheme != ADDRESS_UNIX && parsed.port == 0)) {
        comm->close_code = ERR_ADDRESS;
        snprintf(comm->close_text, sizeof comm->close_text,
                 "'%.100s' is not an address to connect to", text_cstr(&comm->peer));
        return false;
    }
    bool is_secure = address_is_secure(parsed.scheme);
    if (is_secure ? comm->settings->tls == NULL : comm->settings->require_encryption) {
        comm->close_code = ERR_TLS;
        snprintf(comm->close_text, sizeof comm->close_text, "%.60s: %s", text_cstr(&comm->peer),
                 is_secure ? "TLS is not configured (distributed.comm.tls)"
                           : "encryption is required by configuration, this address has none");
        return false;
    }
    struct io_address target = {.transport = transport_of(parsed.scheme), .port = parsed.port};
    memcpy(target.host, parsed.host, sizeof target.host);
    struct io_connect_options options = {
        .tls = comm->settings->tls,
        .timeout = comm->retry_until - io_monotonic(),
    };
    comm->is_ws = parsed.scheme == ADDRESS_WS || parsed.scheme == ADDRESS_WSS;
    comm->stream = io_connect(comm->settings->loop, &target, &options, &stream_events, comm);
    return true;
}

struct comm *comm_connect(const struct comm_settings *settings, struct span address,
                          const struct comm_events *events, void *user)
{
    struct comm *comm = comm_create(settings, events, user);
    text_add(&comm->peer, address);
    comm->retry_until = io_monotonic() + settings->connect_timeout;
    comm->retry_delay = RETRY_FIRST;
    if (!start_connect(comm, address)) {
        comm->is_closing = true;
        io_post(settings->loop, fail_connect, comm);
        return comm;
    }
    send_handshake(comm);
    return comm;
}

struct comm *comm_connect_share(const struct comm_settings *settings, const char *name,
                                const struct comm_events *events, void *user)
{
    struct comm *comm = comm_create(settings, events, user);
    struct io_address address = {.transport = IO_UNIX};
    struct io_connect_options options = {.timeout = settings->connect_timeout};
    ASSERT(settings->share != NULL);
    snprintf(address.host, sizeof address.host, "%s", name);
    io_address_print(&address, &comm->peer);
    comm->shared = mem_zalloc(1, sizeof *comm->shared);
    comm->retry_until = io_monotonic() + settings->connect_timeout;
    comm->retry_delay = INFINITY; /* it is there, or it is not for us */
    comm->stream = io_connect(settings->loop, &address, &options, &share_stream_events, comm);
    send_handshake(comm);
    return comm;
}

static void comm_on_opened(void *user)
{
    struct comm *comm = user;
    if (comm->shared != NULL && !io_stream_is_same_user(comm->stream)) {
        comm_abort(comm, "shared memory is offered by a process of another user");
        return;
    }
    comm->is_open = true;
    learn_ends(comm);
    io_stream_expect(comm->stream, fmax(comm->retry_until - io_monotonic(), RETRY_FIRST));
    for (uint32_t i = 0; i < comm->unsent.count; i++) {
        write_chunks(comm, comm->unsent.items[i]);
    }
    comm->unsent.count = 0;
}

static void connect_again(void *user)
{
    struct comm *comm = user;
    bool is_started = start_connect(comm, text_span(&comm->peer));
    ASSERT(is_started); /* the address was good before */
}

/* A server that is just starting, or too busy to accept, is asked again until the time is over, as stock
 * does. True: another attempt will be made. */
static bool try_again(struct comm *comm, int code)
{
    double left = comm->retry_until - io_monotonic();
    if (comm->is_open || comm->is_closing || code != ERR_CONNECT || left < comm->retry_delay) {
        return false;
    }
    if (comm->retry == NULL) {
        comm->retry = io_timer_create(comm->settings->loop, connect_again, comm);
    }
    io_timer_start(comm->retry, comm->retry_delay, 0);
    comm->retry_delay *= 2;
    return true;
}

void comm_use(struct comm *comm, const struct comm_events *events, void *user)
{
    comm->events = events;
    comm->user = user;
}

/* An alert or a ClientHello where a message of Dask's should be. */
static bool speaks_tls(const struct comm *comm)
{
    return !comm->is_shaken && (comm->first[0] == 0x15 || comm->first[0] == 0x16) &&
           comm->first[1] == 0x03;
}

/* Close because of what the peer sent. */
static void refuse(struct comm *comm, int code, const char *what)
{
    log_warning(LOGGER, "Closing connection with %s: %s (%s)", comm_peer(comm), what,
                error_meaning(code));
    comm_abort(comm, what);
    comm->close_code = code;
}

static void take_handshake(struct comm *comm)
{
    struct text why = {0};
    int code = handshake_decode(frames_head(&comm->message), &comm->theirs, &why);
    if (code != OK) {
        refuse(comm, code, text_cstr(&why));
    } else {
        struct handshake ours =
            handshake_ours(comm->is_local ? COMPRESS_NONE : comm->settings->compression);
        comm->agreed = handshake_agree(&ours, &comm->theirs);
        comm->is_shaken = true;
        io_stream_expect(comm->stream, 0);
        if (comm->events->ready != NULL) {
            comm->events->ready(comm->user, comm);
        }
    }
    text_fini(&why);
}

/* Take the descriptors of a message that came. */
static bool unpack(struct comm *comm)
{
    struct text why = {0};
    int code = comm->shared == NULL || !comm->is_shaken
                   ? OK
                   : share_unpack(comm->settings->share, &comm->message, comm->shared, &why);
    if (code != OK) {
        refuse(comm, code, text_cstr(&why));
    }
    text_fini(&why);
    return code == OK;
}

/* The next whole message into comm->message: 1, 0 or an error, as frame_reader_next. */
static int next_message(struct comm *comm)
{
    if (!comm->is_ws) {
        return frame_reader_next(&comm->reader, &comm->message);
    }
    int code = 0;
    uint32_t taken = 0;
    while (code == 0 && taken < comm->ws_waiting.count) {
        struct slice slice = comm->ws_waiting.items[taken++];
        code = frame_ws_reader_take(&comm->ws_reader, slice, &comm->message);
    }
    comm->ws_waiting.count -= taken;
    memmove(comm->ws_waiting.items, comm->ws_waiting.items + taken,
            comm->ws_waiting.count * sizeof *comm->ws_waiting.items);
    return code;
}

/* Hand on what has come, one message after the other, until held or closed. */
static void drain(struct comm *comm)
{
    if (comm->is_draining) {
        return;
    }
    comm->is_draining = true;
    while (!comm->is_held && !comm->is_closing) {
        int got = next_message(comm);
        if (got < 0) {
            refuse(comm, got, speaks_tls(comm) ? SPEAKS_TLS : "malformed message");
            break;
        }
        if (got == 0) {
            break;
        }
        if (!unpack(comm)) {
            break;
        }
        if (!comm->is_shaken) {
            take_handshake(comm);
        } else {
            comm->events->message(comm->user, comm, &comm->message);
        }
        frames_clear(&comm->message);
    }
    comm->is_draining = false;
}

static void comm_on_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct comm *comm = user;
    frame_reader_space(&comm->reader, out_data, out_size);
    comm->reading = *out_data;
}

static void comm_on_read(void *user, size_t size)
{
    struct comm *comm = user;
    if (!comm->has_spoken && size >= sizeof comm->first) {
        memcpy(comm->first, comm->reading, sizeof comm->first);
    }
    comm->has_spoken = true;
    frame_reader_advance(&comm->reader, size);
    drain(comm);
}

static void comm_on_descriptor(void *user, int fd)
{
    struct comm *comm = user;
    if (comm->shared->count < SHARE_DESCRIPTORS_MAX) {
        comm->shared->items[comm->shared->count++] = fd;
    } else {
        close(fd);
        refuse(comm, ERR_LIMIT, "more descriptors than one message has");
    }
}

static void comm_on_message(void *user, struct buf *message)
{
    struct comm *comm = user;
    struct slice slice = {message->data, message->size, message};
    frames_add(&comm->ws_waiting, slice);
    drain(comm);
}

/* A peer that does not read what we send is not listened to either, until it does. */
static void comm_on_pressure(void *user, bool on)
{
    struct comm *comm = user;
    comm->is_pressed = on;
    if (comm->stream == NULL || comm->is_closing || comm->is_held) {
        return;
    }
    if (on && !comm->is_trusted) {
        io_stream_pause(comm->stream);
    } else {
        io_stream_resume(comm->stream);
    }
}

static void comm_on_closed(void *user, int code, const char *text)
{
    struct comm *comm = user;
    char timed_out[320];
    comm->stream = NULL;
    if (try_again(comm, code)) {
        return;
    }
    if (comm->close_code != 0) {
        code = comm->close_code;
        text = comm->close_text;
    } else if (speaks_tls(comm)) {
        text = SPEAKS_TLS;
    } else if (comm->is_open && !comm->has_spoken && !comm->is_ws && code == ERR_CLOSED) {
        text = "the peer closed the connection before it said anything; does it expect TLS?";
    } else if (!comm->is_open && code == ERR_CONNECT) {
        snprintf(timed_out, sizeof timed_out,
                 "Timed out trying to connect to %.80s after %g s: %.160s", comm_peer(comm),
                 comm->settings->connect_timeout, text);
        text = timed_out;
    }
    comm->is_closing = true;
    comm->events->closed(comm->user, comm, code, text);
    comm_destroy(comm);
}

void comm_trust(struct comm *comm)
{
    comm->is_trusted = true;
    if (comm->is_pressed && !comm->is_held && comm->stream != NULL && !comm->is_closing) {
        io_stream_resume(comm->stream);
    }
}

size_t comm_queued(const struct comm *comm)
{
    return comm->stream == NULL ? 0 : io_stream_queued(comm->stream);
}

void comm_hold(struct comm *comm)
{
    if (!comm->is_held) {
        comm->is_held = true;
        if (comm->stream != NULL && !comm->is_closing) {
            io_stream_pause(comm->stream);
        }
    }
}

void comm_watch_end(struct comm *comm)
{
    if (comm->is_held && comm->stream != NULL && !comm->is_closing && comm->ws_waiting.count == 0 &&
        frame_reader_idle(&comm->reader)) {
        io_stream_watch_end(comm->stream);
    }
}

void comm_release(struct comm *comm)
{
    if (comm->is_held) {
        comm->is_held = false;
        if (comm->stream != NULL && !comm->is_closing) {
            if (!comm->is_pressed || comm->is_trusted) {
                io_stream_resume(comm->stream);
            }
            drain(comm);
        }
    }
}

void comm_close(struct comm *comm)
{
    if (comm->stream == NULL) {
        comm_abort(comm, "closed before it was connected");
    } else if (!comm->is_closing) {
        comm->is_closing = true;
        io_stream_close(comm->stream);
    }
}

void comm_abort(struct comm *comm, const char *reason)
{
    if (comm->close_code == 0) {
        comm->close_code = ERR_CLOSED;
        snprintf(comm->close_text, sizeof comm->close_text, "%s", reason);
    }
    bool is_waiting =
        comm->stream == NULL && !comm->is_closing; /* between two attempts to connect */
    comm->is_closing = true;
    if (comm->stream != NULL) {
        io_stream_abort(comm->stream);
    } else if (is_waiting) {
        io_timer_stop(comm->retry);
        io_post(comm->settings->loop, fail_connect, comm);
    }
}

const char *comm_offer(const struct comm *comm)
{
    return comm->theirs.share;
}

bool comm_is_share(const struct comm *comm)
{
    return comm->shared != NULL;
}

bool comm_is_shaken(const struct comm *comm)
{
    return comm->is_shaken;
}

const char *comm_peer(const struct comm *comm)
{
    return text_cstr(&comm->peer);
}

bool comm_is_open(const struct comm *comm)
{
    return comm->is_open;
}

bool comm_is_local(const struct comm *comm)
{
    return comm->is_local;
}
