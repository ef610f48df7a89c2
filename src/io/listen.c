/* listen.c: listening sockets and the peers that come through them.
 *
 * A peer is shown to the user only after its handshakes, which must be done in
 * LIMIT_HANDSHAKE_SECONDS unless the user says otherwise. When file descriptors run out, accepting pauses instead of spinning: the
 * peer waits in the kernel's backlog. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/limits.h"
#include "io/internal.h"

/* As stock (tornado's bind_sockets is called with it). */
#define BACKLOG 2048
/* Peers taken in one turn. */
#define ACCEPTS_MAX 64
#define ACCEPT_PAUSE_SECONDS 0.1
/* Descriptors that peers do not get: at most this many, at most an eighth. */
#define KEPT_MAX 64

struct io_listener {
    struct io_loop *loop;
    struct io_listener *previous;
    struct io_listener *next;
    const struct io_listen_events *events;
    void *user;
    struct io_tls *tls;
    uv_poll_t poll;
    uv_timer_t pause;
    int fd;
    int highest;              /* of the descriptors seen so far; open or not */
    double handshake_seconds; /* for those below the user's own */
    bool is_short;            /* of file descriptors: told, and peers wait in the backlog */
    uint32_t open_handles;
    struct io_address address;
};

static bool is_tls(const struct io_address *address)
{
    return address->transport == IO_TLS || address->transport == IO_WSS;
}

static bool is_ws(const struct io_address *address)
{
    return address->transport == IO_WS || address->transport == IO_WSS;
}

/* ---- peers ---- */

void io_listener_accepted(struct io_stream *stream)
{
    struct io_listener *listener = stream->listener;
    stream->listener = NULL;
    listener->events->accepted(listener->user, stream);
}

static void refuse(struct io_listener *listener, int code, const char *text)
{
    if (listener->events->refused != NULL) {
        listener->events->refused(listener->user, code, text);
    }
}

void io_listener_refused(struct io_stream *stream)
{
    refuse(stream->listener, stream->failure.code, stream->failure.text);
}

static void welcome(struct io_listener *listener, int fd)
{
    struct io_stream *stream = io_stream_create(listener->loop, IO_PHASE_CONNECTING);
    stream->listener = listener;
    stream->peer = listener->address; /* a unix peer has no name: both ends go by the path */
    stream->local = listener->address;
    io_stream_adopt(stream, fd);
    if (listener->address.transport != IO_UNIX) {
        io_socket_tune(fd);
        io_socket_names(stream);
    }
    if (is_tls(&listener->address)) {
        io_tls_session_create(stream, listener->tls, true, NULL);
    }
    if (is_ws(&listener->address)) {
        io_ws_create(stream, false, NULL);
    }
    io_stream_deadline(stream, listener->handshake_seconds);
    io_stream_connected(stream);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void watch(struct io_listener *listener)
{
    int code = uv_poll_start(&listener->poll, UV_READABLE, on_readable);
    ASSERT(code == 0);
}

static void on_pause_over(uv_timer_t *timer)
{
    watch(timer->data);
}

/* Of accept's errors: nobody there, or the peer is gone already, or its network has a problem. */
static bool is_passing(int errno_value)
{
    switch (errno_value) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return false;
    default:
        return true;
    }
}

/* Told once: each descriptor that comes free is taken at once by the next who waits. */
static void wait_for_descriptors(struct io_listener *listener, const char *what)
{
    char text[256];
    uv_poll_stop(&listener->poll);
    io_loop_start_timer(&listener->pause, on_pause_over, ACCEPT_PAUSE_SECONDS, 0);
    if (!listener->is_short) {
        listener->is_short = true;
        snprintf(text, sizeof text, "connections have to wait: %s; raise the limit of open files",
                 what);
        refuse(listener, ERR_IO, text);
    }
}

/* Peers get all descriptors but some for our own use: connections to workers, files. The system gives out the
 * lowest, so only once a high one was seen it is asked which is next. */
static bool is_nearly_full(const struct io_listener *listener)
{
    struct rlimit limit;
    int code = getrlimit(RLIMIT_NOFILE, &limit);
    ASSERT(code == 0);
    rlim_t kept = limit.rlim_cur / 8 < KEPT_MAX ? limit.rlim_cur / 8 : KEPT_MAX;
    if ((rlim_t)listener->highest < limit.rlim_cur - kept) {
        return false;
    }
    int next = dup(listener->fd);
    if (next >= 0) {
        close(next);
    }
    return next < 0 || (rlim_t)next >= limit.rlim_cur - kept;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status; /* accept says what is wrong */
    (void)events;
    struct io_listener *listener = poll->data;
    for (int count = 0; count < ACCEPTS_MAX && listener->fd >= 0; count++) {
        if (is_nearly_full(listener)) {
            wait_for_descriptors(listener, "nearly all file descriptors are taken");
            return;
        }
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->highest = fd > listener->highest ? fd : listener->highest;
            welcome(listener, fd);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            listener->is_short = false;
            return;
        }
        if (!is_passing(errno)) {
            wait_for_descriptors(listener, io_errno_text(errno));
            return;
        }
    }
}

/* ---- sockets ---- */

static int bind_failed(const struct io_address *address, int errno_value, struct text *why)
{
    struct text where = {0};
    io_address_print(address, &where);
    text_printf(why, "cannot listen on %s: %s", text_cstr(&where), io_errno_text(errno_value));
    text_fini(&where);
    switch (errno_value) {
    case EADDRINUSE:
        return ERR_BUSY;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return ERR_ADDRESS;
    default:
        return ERR_IO;
    }
}

/* A bound and listening socket, or -errno. */
static int open_tcp(const struct addrinfo *candidate, bool both_families)
{
    int fd = socket(candidate->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    int only_v6 = !both_families;
    bool fine = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (fine && candidate->ai_family == AF_INET6) {
        fine = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6) == 0;
    }
    fine = fine && bind(fd, candidate->ai_addr, candidate->ai_addrlen) == 0 &&
           listen(fd, BACKLOG) == 0;
    if (!fine) {
        int errno_value = errno;
        close(fd);
        return -errno_value;
    }
    return fd;
}

static int listen_tcp(struct io_address *address, int *out_fd, struct text *why)
{
    bool any = address->host[0] == '\0';
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *candidates = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    int code = getaddrinfo(any ? "::" : address->host, port, &hints, &candidates);
    if (code != 0) {
        text_printf(why, "cannot listen on host '%s': %s", address->host, gai_strerror(code));
        return ERR_ADDRESS;
    }
    int fd = open_tcp(candidates, any);
    freeaddrinfo(candidates);
    if (fd == -EAFNOSUPPORT && any) { /* a machine without IPv6 */
        struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
        struct addrinfo plain = {
            .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&in4, .ai_addrlen = sizeof in4};
        fd = open_tcp(&plain, false);
    }
    if (fd < 0) {
        return bind_failed(address, -fd, why);
    }
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        int errno_value = errno;
        close(fd);
        return bind_failed(address, errno_value, why);
    }
    io_socket_address((struct sockaddr *)&name, address);
    if (any) { /* shown as stock shows it */
        snprintf(address->host, sizeof address->host, "0.0.0.0");
    }
    *out_fd = fd;
    return OK;
}

int io_listen_socket(struct io_address *address, int *out_fd, struct text *why)
{
    return listen_tcp(address, out_fd, why);
}

/* True if `name` is a socket file whose server is gone; then it is removed. */
static bool take_over_stale(const struct sockaddr_un *name)
{
    struct stat status;
    if (lstat(name->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool dead =
        connect(fd, (const struct sockaddr *)name, sizeof *name) != 0 && errno == ECONNREFUSED;
    close(fd);
    return dead && unlink(name->sun_path) == 0;
}

static int listen_unix(const struct io_address *address, int *out_fd, struct text *why)
{
    struct sockaddr_un name;
    socklen_t size = io_socket_unix_name(address, &name);
    if (size == 0) {
        text_printf(why, "cannot listen on unix://%s: a socket's path has 1 to %zu bytes",
                    address->host, sizeof name.sun_path - 1);
        return ERR_ADDRESS;
    }
    bool is_file = !io_address_is_abstract(address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return bind_failed(address, errno, why);
    }
    int code = bind(fd, (struct sockaddr *)&name, size);
    if (code != 0 && errno == EADDRINUSE && is_file) {
        code = take_over_stale(&name) ? bind(fd, (struct sockaddr *)&name, size) : code;
        errno = code == 0 ? 0 : EADDRINUSE;
    }
    /* Nobody can connect before listen, so there is no moment with a looser mode. */
    if (code != 0 || (is_file && chmod(name.sun_path, 0600) != 0) || listen(fd, BACKLOG) != 0) {
        int errno_value = errno;
        close(fd);
        return bind_failed(address, errno_value, why);
    }
    *out_fd = fd;
    return OK;
}

/* ---- the listener ---- */

int io_listen(struct io_loop *loop, const struct io_address *address, struct io_tls *tls,
              struct io_listener **out_listener, struct text *why)
{
    ASSERT(!is_tls(address) || tls != NULL);
    struct io_address bound = *address;
    int fd = -1;
    int code = address->transport == IO_UNIX ? listen_unix(&bound, &fd, why)
                                             : listen_tcp(&bound, &fd, why);
    if (code != OK) {
        return code;
    }
    struct io_listener *listener = mem_zalloc(1, sizeof *listener);
    listener->loop = loop;
    listener->address = bound;
    listener->fd = fd;
    listener->highest = fd;
    listener->handshake_seconds = LIMIT_HANDSHAKE_SECONDS;
    listener->tls = is_tls(address) ? io_tls_ref(tls) : NULL;
    code = uv_poll_init(&loop->uv, &listener->poll, fd);
    ASSERT(code == 0);
    code = uv_timer_init(&loop->uv, &listener->pause);
    ASSERT(code == 0);
    listener->poll.data = listener;
    listener->pause.data = listener;
    listener->open_handles = 2;
    listener->next = loop->listeners;
    if (loop->listeners != NULL) {
        loop->listeners->previous = listener;
    }
    loop->listeners = listener;
    *out_listener = listener;
    return OK;
}

void io_listener_start(struct io_listener *listener, const struct io_listen_events *events,
                       void *user)
{
    ASSERT(events->accepted != NULL);
    listener->events = events;
    listener->user = user;
    watch(listener);
}

void io_listener_expect(struct io_listener *listener, double seconds)
{
    ASSERT(seconds > 0);
    listener->handshake_seconds = seconds;
}

const struct io_address *io_listener_address(const struct io_listener *listener)
{
    return &listener->address;
}

static void on_closed(uv_handle_t *handle)
{
    struct io_listener *listener = handle->data;
    if (--listener->open_handles == 0) {
        io_tls_destroy(listener->tls);
        mem_free(listener);
    }
}

void io_listener_close(struct io_listener *listener)
{
    for (struct io_stream *stream = listener->loop->streams; stream != NULL;
         stream = stream->next) {
        if (stream->listener == listener) {
            stream->listener = NULL;
            io_stream_abort(stream);
        }
    }
    if (listener->previous != NULL) {
        listener->previous->next = listener->next;
    } else {
        listener->loop->listeners = listener->next;
    }
    if (listener->next != NULL) {
        listener->next->previous = listener->previous;
    }
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    uv_close((uv_handle_t *)&listener->pause, on_closed);
    close(listener->fd);
    listener->fd = -1;
    if (listener->address.transport == IO_UNIX && !io_address_is_abstract(&listener->address)) {
        unlink(listener->address.host);
    }
}
