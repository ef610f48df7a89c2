/* io.h: the outside world as a node sees it: loop, timers, streams, processes, files, names.
 *
 * One loop thread does everything; only io_post() and the functions marked "any thread" may be
 * called elsewhere. Nothing here calls back from inside the call that asked, except `done` of
 * io_stream_write. No callback comes after the one that is called last (`closed`, `exited`).
 * Nothing a peer sends ends the process: SIGPIPE is ignored from io_loop_create() on.
 * Errors are codes of base/error.def with one sentence of text that names the object and errno.
 * The simulator links another implementation of this header. */
#ifndef CASK_IO_IO_H
#define CASK_IO_IO_H

#include "base/assert.h"
#include "base/buf.h"
#include "base/span.h"
#include "base/text.h"

struct io_loop;
struct io_timer;
struct io_stream;
struct io_listener;
struct io_process;
struct io_tls;

/* ---- loop (loop.c) ---- */

struct io_loop *io_loop_create(void);
/* Run until io_loop_stop(), or until nothing is left that could call back. */
void io_loop_run(struct io_loop *loop);
/* Make io_loop_run() return after this turn. */
void io_loop_stop(struct io_loop *loop);
/* Abort streams, listeners and signal watches that are left (`closed` is still called for each
 * stream), wait for thread-pool work, free. Timers and processes must be destroyed before. Signals that
 * were watched are ignored from then on: what the process still has to clear away is not cut short. */
void io_loop_destroy(struct io_loop *loop);

/* `turn` runs once in each turn of the loop, after every ready socket was read and every due timer
 * and posted function ran, just before the loop would sleep: the place to flush batches. */
void io_loop_on_turn(struct io_loop *loop, void (*turn)(void *user), void *user);

/* How long turns take: what others wait for who come in the middle of one. */
struct io_turns {
    uint64_t count;
    double busy;         /* seconds of all turns, sleep aside */
    double longest_busy; /* the longest, in seconds that went by … */
    double longest_cpu;  /* … and of CPU; up to 0.2 ms of the turns just before may be in it */
    uint64_t long_count; /* turns with more than 5 ms of CPU */
};
/* Since the loop began, or since the last call with `reset`. */
void io_loop_turns(struct io_loop *loop, bool reset, struct io_turns *out_turns);

/* Seconds since the epoch, wall clock. Any thread. */
double io_now(void);
/* Seconds that never go back, from an arbitrary start. Any thread. */
double io_monotonic(void);
/* Fill `size` bytes with the system's randomness. Any thread. */
void io_entropy(void *out_data, size_t size);

/* Run `function` on the loop thread, soon, in the order of posting. Any thread (the loop's too).
 * What is posted after the loop's last turn runs in io_loop_destroy(). */
void io_post(struct io_loop *loop, void (*function)(void *user), void *user);
/* Run `work` on a thread of the pool, then `done` on the loop thread. For what may block. */
void io_work(struct io_loop *loop, void (*work)(void *user), void (*done)(void *user), void *user);
/* Call `caught` on the loop thread at each `signal_number` (SIGTERM, SIGINT, SIGHUP …). */
void io_on_signal(struct io_loop *loop, int signal_number, void (*caught)(void *user, int number),
                  void *user);

/* A timer at rest. */
struct io_timer *io_timer_create(struct io_loop *loop, void (*due)(void *user), void *user);
/* Be due in `delay` seconds (ms resolution, 0 = next turn), then each `repeat` seconds (0: once).
 * Starting a running timer starts it anew. */
void io_timer_start(struct io_timer *timer, double delay, double repeat);
void io_timer_stop(struct io_timer *timer);
/* Never due again; frees. NULL is allowed. May be called inside `due`. */
void io_timer_destroy(struct io_timer *timer);

/* ---- addresses (net.c) ---- */

enum io_transport { IO_TCP, IO_TLS, IO_WS, IO_WSS, IO_UNIX };

#define IO_HOST_MAX 256

/* Where to listen or connect, or where one is. host: name, IPv4, IPv6 without brackets, "" (any;
 * listening only); for IO_UNIX the path, or "@name": a name without a file, which goes with its last user. */
struct io_address {
    enum io_transport transport;
    uint16_t port; /* 0: any free one when listening; unused for IO_UNIX */
    char host[IO_HOST_MAX];
};

/* "tls://[::1]:8786", "unix:///tmp/x": for texts and as the address Dask peers know. */
void io_address_print(const struct io_address *address, struct text *out_text);

bool io_address_is_abstract(const struct io_address *address);
/* Numeric address of `host` (a numeric one is given back as it is). `resolved` is called once:
 * code 0 and the first address as text, or ERR_ADDRESS and why. */
void io_resolve(struct io_loop *loop, const char *host,
                void (*resolved)(void *user, int code, const char *text), void *user);
/* IPv4 address of a network interface, as --interface wants; else ERR_NOT_FOUND and why (it lists
 * the interfaces there are). Source: distributed utils.get_ip_interface. */
MUST_USE int io_interface_address(const char *name, char out_host[IO_HOST_MAX], struct text *why);
/* The address this machine shows towards numeric address `target` (NULL: the internet; an IPv6
 * target asks for IPv6); without a route, the address of the host name, else loopback.
 * Source: distributed utils.get_ip. */
void io_outward_address(const char *target, char out_host[IO_HOST_MAX]);
void io_host_name(char out_name[IO_HOST_MAX]);
/* True for a numeric IPv4 or IPv6 address. */
bool io_is_numeric(const char *host);
/* Raise the limit of open files to what the system allows; gives it. */
uint64_t io_open_files_max(void);

/* ---- tls (tls.c) ---- */

/* Each of ca, cert, key is a file's path, or PEM text if it contains a newline (as Dask). */
struct io_tls_options {
    const char *ca;      /* required */
    const char *cert;    /* required */
    const char *key;     /* NULL: it is in cert */
    const char *ciphers; /* NULL: OpenSSL's default. For TLS 1.2, as in Dask */
    int version_min;     /* 12, 13; 0: 12 */
    int version_max;     /* 12, 13; 0: no bound */
};

/* One role's identity, for listening and connecting alike: both sides must show a certificate
 * that the CA signed; host names are not compared (as Dask). ERR_TLS: why names the file. */
MUST_USE int io_tls_create(const struct io_tls_options *options, struct io_tls **out_tls,
                           struct text *why);
/* Streams and listeners keep what they need; NULL is allowed. */
void io_tls_destroy(struct io_tls *tls);

/* ---- streams (stream.c) ---- */

/* What a stream tells its user. `space` and `read` for tcp, tls, unix and pipes; `message` for ws
 * and wss. */
struct io_stream_events {
    /* The connect succeeded (TLS and websocket handshakes included). Not for accepted streams.
     * May be NULL. */
    void (*opened)(void *user);
    /* Where shall the next bytes go: at least 1 byte, valid until the `read` that follows, `closed`,
     * or the end of this callback's turn, whichever is first. */
    void (*space)(void *user, uint8_t **out_data, size_t *out_size);
    /* `size` ≥ 1 bytes are in the space given last. */
    void (*read)(void *user, size_t size);
    /* A descriptor came with the bytes that the next `read` tells of (unix sockets only); it is given
     * to the callee. NULL: such descriptors are closed unseen. */
    void (*descriptor)(void *user, int fd);
    /* One whole binary message; its reference is given to the callee. */
    void (*message)(void *user, struct buf *message);
    /* Bytes waiting rose above LIMIT_SEND_QUEUE_HIGH (on), or fell below half of it again. May be
     * NULL. Called inside io_stream_write or from the loop. */
    void (*pressure)(void *user, bool on);
    /* The stream is gone, and its pointer with it; called exactly once, last of all, never inside
     * a call. code 0: we closed it; ERR_CLOSED: the peer did; else what failed. `text` says it in
     * one sentence. */
    void (*closed)(void *user, int code, const char *text);
};

struct io_connect_options {
    struct io_tls *tls; /* for IO_TLS and IO_WSS; borrowed for the call */
    double timeout;     /* seconds for all: name, connect, handshakes; 0: LIMIT_HANDSHAKE_SECONDS */
    const char *server_name; /* TLS SNI, or NULL */
    const char *path;        /* websocket: the request's path; NULL: "/" */
};

/* Connect; `opened` or `closed` follows. Writes before `opened` wait. Reading begins by itself.
 * The stream belongs to the loop: valid until `closed`. `options` may be NULL without TLS. */
struct io_stream *io_connect(struct io_loop *loop, const struct io_address *address,
                             const struct io_connect_options *options,
                             const struct io_stream_events *events, void *user);

struct io_listen_events {
    /* A peer came and finished its handshakes. Call io_stream_start (now, or later) or
     * io_stream_abort. */
    void (*accepted)(void *user, struct io_stream *stream);
    /* A peer was turned away (failed TLS or websocket handshake, no file descriptor left …): a
     * text for the log. A lack of descriptors is told once, until all who waited were accepted.
     * May be NULL. */
    void (*refused)(void *user, int code, const char *text);
};

/* Listen. Backlog 2048; "" means IPv4 and IPv6. A host name is resolved here and may block; numeric
 * hosts never do. A unix path whose server is dead is taken over; its mode is 0600. `tls` for
 * IO_TLS and IO_WSS. ERR_BUSY (in use), ERR_ADDRESS, ERR_IO. */
MUST_USE int io_listen(struct io_loop *loop, const struct io_address *address, struct io_tls *tls,
                       struct io_listener **out_listener, struct text *why);
/* A bound and listening TCP socket for another process, non-blocking; `address` gets its real port. Errors as
 * io_listen. */
MUST_USE int io_listen_socket(struct io_address *address, int *out_fd, struct text *why);
/* Begin to accept. */
void io_listener_start(struct io_listener *listener, const struct io_listen_events *events,
                       void *user);
/* Peers must finish their TLS and websocket handshakes in `seconds`, instead of LIMIT_HANDSHAKE_SECONDS. */
void io_listener_expect(struct io_listener *listener, double seconds);
/* The address bound, with its real port. */
const struct io_address *io_listener_address(const struct io_listener *listener);
/* Stop listening, remove a unix path, drop peers still in handshake, free; no callback follows.
 * Accepted streams live on. */
void io_listener_close(struct io_listener *listener);

/* Take an accepted stream, or a process's: from now on `events` are called. `events` must outlive
 * the stream (make it static const). */
void io_stream_start(struct io_stream *stream, const struct io_stream_events *events, void *user);

/* Write `count` parts, as writev. Tries at once and queues the rest. The bytes must stay until
 * `done` is called, exactly once, when they were written or dropped; maybe before this returns.
 * `done` only gives references back: it must not call into io. `done` NULL: the bytes are copied.
 * The array itself is borrowed for the call.
 * On ws and wss each part is one binary message (an empty part is an empty message).
 * On a closing stream the bytes are dropped. A failing write ends in `closed`; so does a queue that
 * was already above LIMIT_SEND_QUEUE_MAX. */
void io_stream_write(struct io_stream *stream, const struct span *parts, uint32_t count,
                     void *owner, void (*done)(void *owner));
#define IO_DESCRIPTORS_MAX 16
/* Write a copy of `bytes` (at least 1) on a unix socket, with `count` descriptors attached to the
 * first of them. The descriptors are taken: closed once they are sent or dropped. */
void io_stream_write_descriptors(struct io_stream *stream, struct span bytes,
                                 const int *descriptors, uint32_t count);
/* Bytes accepted by io_stream_write that the system has not taken yet. */
size_t io_stream_queued(const struct io_stream *stream);
/* Stop and go on reading: back-pressure on the peer. Not counted: one resume undoes all pauses. */
void io_stream_pause(struct io_stream *stream);
void io_stream_resume(struct io_stream *stream);
/* Of a stream that is paused, until it is resumed: close it when the peer does, if no bytes came before that are still
 * unread. (With TLS and WebSocket a goodbye does, as a rule.) */
void io_stream_watch_end(struct io_stream *stream);
/* Close an open stream with ERR_TIMEOUT unless this is called again within `seconds`; 0: no longer. For the user's
 * own handshake: without it, peers that say nothing would pile up. */
void io_stream_expect(struct io_stream *stream, double seconds);
/* Send what is queued, say goodbye, close. At most 5 s pass. Nothing is read any more. */
void io_stream_close(struct io_stream *stream);
/* Close at once; what is queued is dropped. Also ends a close that lasts. */
void io_stream_abort(struct io_stream *stream);
/* Numeric addresses of both ends (connected streams); on unix sockets both are the path. */
const struct io_address *io_stream_peer(const struct io_stream *stream);
const struct io_address *io_stream_local(const struct io_stream *stream);
/* On a connected unix socket: the system says that the other end is a process of our user. */
bool io_stream_is_same_user(const struct io_stream *stream);

/* ---- processes (process.c) ---- */

enum io_stdio { IO_INHERIT, IO_NULL, IO_PIPE };

struct io_process_options {
    const char *const *argv;        /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *environment; /* NULL-terminated "NAME=value" added to ours; NULL: none */
    const char *directory;          /* working directory; NULL: ours */
    enum io_stdio stdio[3];
    bool channel;   /* one end of a socket pair becomes its fd 3 */
    bool own_group; /* a process group of its own: Ctrl-C does not reach it; kill takes the group */
    bool survives;  /* the kernel does not kill it when this process ends */
    /* Called once, with the exit status, or the number of the signal that ended it (else 0). */
    void (*exited)(void *user, int status, int signal_number);
    void *user;
};

/* Start a child that the kernel kills (SIGKILL) when this process ends, unless it `survives`. The options are
 * borrowed for the call. ERR_NOT_FOUND (no such program), ERR_IO. */
MUST_USE int io_process_spawn(struct io_loop *loop, const struct io_process_options *options,
                              struct io_process **out_process, struct text *why);
/* Both ends of what a process is born with, of one that another makes: index 0 … 2 its standard streams, 3 its
 * channel; -1: none. */
struct io_process_ends {
    int ours[4], theirs[4];
    int pid; /* once it is there */
};
/* Open what the options ask for; IO_INHERIT: nothing. ERR_IO. */
MUST_USE int io_process_open_ends(const struct io_process_options *options,
                                  struct io_process_ends *out_ends, struct text *why);
/* Close ends of one side; taken ones are -1. */
void io_process_close_ends(int ends[4]);
/* Watch ends->pid, which another child of ours has made as our child (CLONE_PARENT), with the options that it would have
 * been spawned with. Takes our ends. ERR_NOT_FOUND: it is no child of ours. ERR_IO. */
MUST_USE int io_process_adopt(struct io_loop *loop, const struct io_process_options *options,
                              struct io_process_ends *ends, struct io_process **out_process,
                              struct text *why);
/* The children of ours that are in the process group of `leader`, which has ended, are killed: those that it has made and
 * nobody has adopted. */
void io_process_end_group(int leader);
int io_process_id(const struct io_process *process);
/* Our end of fd 0, 1, 2 (IO_PIPE) or 3 (channel): take it once, io_stream_start it, close it.
 * Ends that nobody took are closed by io_process_destroy. */
struct io_stream *io_process_take_stream(struct io_process *process, int fd);
/* What it used, once it has exited. */
struct io_usage {
    double cpu_user, cpu_system; /* seconds */
    uint64_t rss_peak;           /* bytes */
};
void io_process_usage(const struct io_process *process, struct io_usage *out_usage);
/* What a process that runs has used so far: its CPU, in seconds, and the bytes that are resident. False: no knowing. */
bool io_process_look(int pid, double *out_cpu, uint64_t *out_resident);
/* When it started, in ticks since the system did: with the id it names a process for ever. 0: there is none. */
uint64_t io_process_started(int pid);
/* Send a signal; nothing happens when it has exited. */
void io_process_kill(struct io_process *process, int signal_number);
/* Forget it, which `survives`, without killing it, and free; `exited` is not called any more. */
void io_process_let_go(struct io_process *process);
/* Kill it if it still runs, forget it, free; `exited` is not called any more. May be called inside
 * `exited`. NULL is allowed. */
void io_process_destroy(struct io_process *process);

/* ---- files (file.c): these block; for small files, or inside io_work. Any thread. ---- */

/* The whole file, at most `size_max` bytes (ERR_LIMIT), as a buffer given to the caller.
 * ERR_NOT_FOUND, ERR_IO. */
MUST_USE int io_file_read(const char *path, size_t size_max, struct buf **out_content,
                          struct text *why);
/* Replace the file (mode 0600) as a whole or not at all: temporary file beside it, then rename.
 * `sync`: on disk before it returns. */
MUST_USE int io_file_write(const char *path, struct span content, bool sync, struct text *why);
/* Remove a file; ERR_NOT_FOUND if there is none. */
MUST_USE int io_file_remove(const char *path, struct text *why);
/* Make a directory (mode 0700) and its missing parents; fine if it exists. */
MUST_USE int io_directory_create(const char *path, struct text *why);

#endif
