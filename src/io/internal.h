/* internal.h: what the files of io/ share: the structs behind io.h's handles.
 *
 * A stream is a socket with up to two coats: bytes go through TLS (tls.c) if it has a session, and
 * through websocket framing (ws.c) if it has one. stream.c owns the life cycle; the others are told
 * by phase what to do. Every handle dies in a libuv close callback, so pointers stay good until
 * the loop's next turn. */
#ifndef CASK_IO_INTERNAL_H
#define CASK_IO_INTERNAL_H

#include <sys/socket.h>
#include <uv.h>

#include "io/io.h"

struct io_connection;
struct io_tls_session;
struct io_ws;
struct sockaddr;
struct iovec;

/* A chunk holds many TLS records (16 KiB each): few system calls, still small beside a socket's own
 * buffers. */
#define IO_CHUNK_SIZE (160u * 1024)
/* Chunks kept for reuse. */
#define IO_CHUNKS_KEPT 8u

struct io_posted {
    struct io_posted *next;
    void (*function)(void *user);
    void *user;
};

struct io_signal {
    uv_signal_t handle;
    struct io_signal *next;
    void (*caught)(void *user, int number);
    void *user;
};

struct io_loop {
    uv_loop_t uv;
    uv_prepare_t before_sleep;
    uv_idle_t ready_idle; /* active while a stream is in the ready list: the loop must not sleep */
    uv_async_t wake;
    uv_mutex_t mutex; /* guards the list of posted functions */
    struct io_posted *posted_first;
    struct io_posted *posted_last;
    void (*turn)(void *user);
    void *turn_user;
    struct io_turns turns;
    uint64_t turn_began, turn_slept; /* ns: the clock and all sleep so far, when the turn began */
    uint64_t cpu_before,
        busy_since; /* ns: the thread's CPU when it was last looked at, busy since then */
    bool ending;    /* io_loop_run is past its last sleep */
    struct io_stream *streams;
    struct io_listener *listeners;
    struct io_signal *signals;
    struct io_stream *ready; /* streams to pump though their socket may not be readable */
    uint8_t *chunks[IO_CHUNKS_KEPT];
    uint32_t chunk_count;
};

/* A buffer of IO_CHUNK_SIZE bytes; give it back with io_loop_give_chunk. */
uint8_t *io_loop_take_chunk(struct io_loop *loop);
void io_loop_give_chunk(struct io_loop *loop, uint8_t *chunk);
/* Pump `stream` in this turn or the next, before the loop sleeps. */
void io_loop_ready(struct io_loop *loop, struct io_stream *stream);
/* Start a libuv timer from the present, not from the time at which the turn began. */
void io_loop_start_timer(uv_timer_t *timer, uv_timer_cb due, double delay, double repeat);

/* How a transfer ended. */
enum io_flow {
    IO_FLOW_ON,      /* all was taken, there may be more */
    IO_FLOW_BLOCKED, /* the system has no more (room) now */
    IO_FLOW_ENDED,   /* the peer will send no more */
    IO_FLOW_FAILED,  /* code and text are in stream->failure */
};

/* In order: a stream only moves down. */
enum io_phase {
    IO_PHASE_CONNECTING, /* name, then attempts (connect.c) */
    IO_PHASE_TLS,        /* handshake (tls.c) */
    IO_PHASE_WS,         /* handshake (ws_http.c) */
    IO_PHASE_READY,      /* accepted, not started by its user */
    IO_PHASE_OPEN,
    IO_PHASE_FLUSHING, /* closing: sends its queue, discards what comes */
    IO_PHASE_LINGERING, /* sent all and the end; waits for the peer's end so that no reset overtakes */
    IO_PHASE_CLOSED,    /* waiting for libuv to let go */
};

struct io_write {
    struct io_write *next;
    void *owner;
    void (*done)(void *owner);
    uint32_t first; /* parts before this one are sent */
    uint32_t count;
    uint32_t descriptor_count; /* that go with the first byte; 0 once they are sent */
    int *descriptors;          /* owned */
    struct span parts[];       /* not empty, each; behind them the bytes of a copy */
};

struct io_write_queue {
    struct io_write *first;
    struct io_write *last;
};

struct io_failure {
    int code;
    char text[512];
};

struct io_stream {
    struct io_loop *loop;
    struct io_stream *previous;
    struct io_stream *next;
    struct io_stream *ready_next;
    const struct io_stream_events *events; /* NULL until the user took it */
    void *user;
    struct io_listener *listener;     /* until accepted */
    struct io_connection *connection; /* while connecting */
    struct io_tls_session *tls;
    struct io_ws *ws;
    uv_poll_t *poll;
    uv_timer_t deadline;
    int fd;
    int watched; /* what `poll` waits for */
    enum io_phase phase;
    uint8_t in_vain; /* events since it was paused */
    bool paused;
    bool end_matters; /* although it is paused */
    bool ready;
    bool pressed;    /* the user was told of pressure */
    bool broken;     /* writing failed: only what is left to read is still of use */
    bool peer_ended; /* seen while flushing */
    size_t queued;   /* bytes in `queue` and `early` */
    struct io_write_queue queue;
    struct io_write_queue early; /* written before the handshakes were done */
    struct io_failure failure;   /* why it closes; code 0 and "" at first */
    struct io_address peer;
    struct io_address local;
};

/* ---- stream.c ---- */

/* A stream in `phase` without a socket. */
struct io_stream *io_stream_create(struct io_loop *loop, enum io_phase phase);
/* Give it a connected or connecting socket (owned from now on). */
void io_stream_adopt(struct io_stream *stream, int fd);
/* Give the socket back to the system: a connect attempt that failed. */
void io_stream_drop_socket(struct io_stream *stream);
/* Bring poll in line with what the phase waits for. */
void io_stream_watch(struct io_stream *stream);
/* Connected: go through the handshakes that are left, then open. */
void io_stream_connected(struct io_stream *stream);
/* The websocket handshake is done. */
void io_stream_upgraded(struct io_stream *stream);
/* Send what can be sent, and move a closing stream on. */
void io_stream_flush(struct io_stream *stream);
/* Pump what can be read: called for the loop's ready list. */
void io_stream_pump(struct io_stream *stream);
/* Queue a copy of `bytes` as they are, before anything the user writes later, and send. */
void io_stream_send(struct io_stream *stream, struct span bytes);
/* Queue a prepared write and send. Takes `write`. */
void io_stream_enqueue(struct io_stream *stream, struct io_write *write);
/* Let go of everything now; `closed` follows from the loop with the reason that was noted. */
void io_stream_dispose(struct io_stream *stream);
/* Close at once with this reason, unless one is known already. */
void io_stream_fail(struct io_stream *stream, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* Note the reason, unless one is known. */
void io_stream_note(struct io_stream *stream, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* Send the queue, say goodbye, close; the reason was noted. */
void io_stream_depart(struct io_stream *stream);
/* Be late in `seconds`: while connecting the next address, in a handshake failure, later the end. */
void io_stream_deadline(struct io_stream *stream, double seconds);
/* Forget user writes that were not sent. */
void io_stream_drop_queue(struct io_stream *stream);

/* ---- socket.c ---- */

struct sockaddr_un;

/* The name of a unix socket; gives its size, 0: it is empty or too long. */
socklen_t io_socket_unix_name(const struct io_address *address, struct sockaddr_un *out_name);
/* Options every tcp socket gets; failures only cost latency, so they are not reported. */
void io_socket_tune(int fd);
/* Numeric host and port of a socket address; IPv4 mapped into IPv6 is shown as IPv4. */
void io_socket_address(const struct sockaddr *sockaddr, struct io_address *out_address);
/* Fill stream->local and stream->peer from the socket (tcp). */
void io_socket_names(struct io_stream *stream);
/* Bytes from the socket. */
enum io_flow io_socket_read(struct io_stream *stream, uint8_t *data, size_t size, size_t *out_read);
/* Bytes from the socket, and the descriptors that came with them, to the user's `descriptor`. */
enum io_flow io_socket_receive(struct io_stream *stream, uint8_t *data, size_t size,
                               size_t *out_read);
/* Bytes to the socket. */
enum io_flow io_socket_write(struct io_stream *stream, const struct iovec *parts, int count,
                             size_t *out_written);
/* The same, with the descriptors of `first`, whose bytes `parts` begin with. */
enum io_flow io_socket_send(struct io_stream *stream, const struct iovec *parts, int count,
                            const struct io_write *first, size_t *out_written);
/* "ECONNREFUSED: connection refused", written into `text`. */
#define IO_ERRNO_TEXT_MAX 160
const char *io_errno_write(int errno_value, char text[IO_ERRNO_TEXT_MAX]);
/* The same, good until the end of the block it is asked for in. */
#define io_errno_text(errno_value) io_errno_write((errno_value), (char[IO_ERRNO_TEXT_MAX]){0})
/* The code that says for the user what an errno of a connection means. */
int io_errno_code(int errno_value);

/* ---- connect.c ---- */

/* The socket of the present attempt became writable. */
void io_connection_progress(struct io_stream *stream);
/* The stream's time is over: next address, or failure. */
void io_connection_late(struct io_stream *stream);
/* Forget the attempt; name resolution ends by itself. */
void io_connection_drop(struct io_stream *stream);

/* ---- listen.c ---- */

/* `stream` finished its handshakes: hand it to the listener's user. */
void io_listener_accepted(struct io_stream *stream);
/* `stream` did not. */
void io_listener_refused(struct io_stream *stream);

/* ---- tls.c, tls_session.c ---- */

struct io_tls *io_tls_ref(struct io_tls *tls);
/* Give `stream` a session; server_name (SNI) may be NULL. */
void io_tls_session_create(struct io_stream *stream, struct io_tls *tls, bool server,
                           const char *server_name);
void io_tls_session_destroy(struct io_stream *stream);
/* ON: the handshake is done. */
enum io_flow io_tls_session_handshake(struct io_stream *stream);
enum io_flow io_tls_session_read(struct io_stream *stream, uint8_t *data, size_t size,
                                 size_t *out_read);
enum io_flow io_tls_session_write(struct io_stream *stream, const struct iovec *parts, int count,
                                  size_t *out_written);
/* Send encrypted bytes that wait. */
enum io_flow io_tls_session_flush(struct io_stream *stream);
/* Encrypted bytes wait to be sent. */
bool io_tls_session_pending(const struct io_stream *stream);
/* Bytes that were received but not yet read by the user. */
bool io_tls_session_buffered(const struct io_stream *stream);
/* Queue the goodbye, if the handshake got that far. */
void io_tls_session_end(struct io_stream *stream);

/* ---- ws.c, ws_http.c ---- */

void io_ws_create(struct io_stream *stream, bool client, const char *path);
void io_ws_destroy(struct io_stream *stream);
/* Where to read, and what was read: as the events of a byte stream. */
void io_ws_space(struct io_stream *stream, uint8_t **out_data, size_t *out_size);
void io_ws_read(struct io_stream *stream, size_t size);
/* Go on with what is buffered, after a pause or the handshake. */
void io_ws_process(struct io_stream *stream);
/* Messages framed (and masked by a client) as one write. */
struct io_write *io_ws_frame(struct io_stream *stream, const struct span *parts, uint32_t count,
                             void *owner, void (*done)(void *owner));
/* Queue a close frame. */
void io_ws_end(struct io_stream *stream, uint16_t status);
/* Begin the handshake: a client sends its request. */
void io_ws_http_begin(struct io_stream *stream);
/* Look at the head collected so far; goes on or fails when it is complete. */
void io_ws_http_read(struct io_stream *stream);

#endif
