/* connect.c: from an address to a connected socket: the name, then each of its addresses in turn.
 *
 * Addresses are tried one after the other, each with its share of the time that is left, so that a
 * dead IPv6 route does not use up the time of the IPv4 one behind it. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/limits.h"
#include "io/internal.h"

struct io_connection {
    uv_getaddrinfo_t request;
    struct io_stream *stream; /* NULL: dropped while the name was being resolved */
    struct addrinfo *addresses;
    struct addrinfo *next;
    double timeout;
    double ends_at; /* monotonic */
    int last_errno;
    bool resolving;
};

static void free_addresses(struct io_connection *connection)
{
    if (connection->addresses != NULL) {
        uv_freeaddrinfo(connection->addresses);
        connection->addresses = NULL;
    }
}

void io_connection_drop(struct io_stream *stream)
{
    struct io_connection *connection = stream->connection;
    if (connection == NULL) {
        return;
    }
    stream->connection = NULL;
    connection->stream = NULL;
    if (connection->resolving) {
        uv_cancel((uv_req_t *)&connection->request); /* its callback comes in any case, and frees */
    } else {
        free_addresses(connection);
        mem_free(connection);
    }
}

static double time_left(const struct io_connection *connection)
{
    double left = connection->ends_at - io_monotonic();
    return left > 0 ? left : 0;
}

static void fail_late(struct io_stream *stream)
{
    io_stream_fail(stream, ERR_TIMEOUT, "no connection within %g s", stream->connection->timeout);
}

static void fail_errno(struct io_stream *stream, int errno_value)
{
    io_stream_fail(stream, ERR_CONNECT, "cannot connect: %s", io_errno_text(errno_value));
}

static void connected(struct io_stream *stream)
{
    double left = time_left(stream->connection);
    io_connection_drop(stream);
    if (stream->peer.transport != IO_UNIX) {
        io_socket_names(stream);
    }
    io_stream_deadline(stream, left);
    io_stream_connected(stream);
}

/* Begin to connect a new socket; 0, or the errno of an attempt that failed at once. */
static int attempt(struct io_stream *stream, const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    if (address->sa_family != AF_UNIX) {
        io_socket_tune(fd);
    }
    io_stream_adopt(stream, fd);
    if (connect(fd, address, size) != 0 && errno != EINPROGRESS) {
        int errno_value = errno;
        io_stream_drop_socket(stream);
        return errno_value;
    }
    io_stream_watch(stream);
    return 0;
}

/* Try addresses until one attempt is under way. */
static void attempt_next(struct io_stream *stream)
{
    struct io_connection *connection = stream->connection;
    while (connection->next != NULL) {
        struct addrinfo *address = connection->next;
        connection->next = address->ai_next;
        uint32_t rest = 1;
        for (struct addrinfo *more = connection->next; more != NULL; more = more->ai_next) {
            rest++;
        }
        int errno_value = attempt(stream, address->ai_addr, address->ai_addrlen);
        if (errno_value == 0) {
            io_stream_deadline(stream, time_left(connection) / rest);
            return;
        }
        connection->last_errno = errno_value;
    }
    fail_errno(stream, connection->last_errno);
}

void io_connection_progress(struct io_stream *stream)
{
    struct io_connection *connection = stream->connection;
    int errno_value = 0;
    socklen_t size = sizeof errno_value;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &errno_value, &size) != 0) {
        errno_value = errno;
    }
    if (errno_value == 0) {
        connected(stream);
        return;
    }
    io_stream_drop_socket(stream);
    connection->last_errno = errno_value;
    attempt_next(stream);
}

void io_connection_late(struct io_stream *stream)
{
    if (stream->connection->next == NULL || stream->connection->resolving) {
        fail_late(stream);
        return;
    }
    stream->connection->last_errno = ETIMEDOUT;
    io_stream_drop_socket(stream);
    attempt_next(stream);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct io_connection *connection = request->data;
    struct io_stream *stream = connection->stream;
    connection->resolving = false;
    connection->addresses = addresses;
    connection->next = addresses;
    if (stream == NULL) {
        free_addresses(connection);
        mem_free(connection);
    } else if (status != 0) {
        io_stream_fail(stream, ERR_ADDRESS, "the host name cannot be resolved: %s",
                       uv_strerror(status));
    } else {
        attempt_next(stream);
    }
}

static void resolve(struct io_stream *stream)
{
    struct io_connection *connection = stream->connection;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char port[8];
    snprintf(port, sizeof port, "%u", stream->peer.port);
    connection->request.data = connection;
    if (io_is_numeric(stream->peer.host)) {
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
        struct addrinfo *addresses = NULL;
        if (getaddrinfo(stream->peer.host, port, &hints, &addresses) != 0) {
            io_stream_fail(stream, ERR_ADDRESS, "not an address");
            return;
        }
        connection->addresses = addresses;
        connection->next = addresses;
        attempt_next(stream);
        return;
    }
    int code = uv_getaddrinfo(&stream->loop->uv, &connection->request, on_resolved,
                              stream->peer.host, port, &hints);
    if (code != 0) {
        io_stream_fail(stream, ERR_ADDRESS, "the host name cannot be resolved: %s",
                       uv_strerror(code));
        return;
    }
    connection->resolving = true;
    io_stream_deadline(stream, connection->timeout);
}

static void connect_unix(struct io_stream *stream)
{
    struct sockaddr_un name;
    socklen_t size = io_socket_unix_name(&stream->peer, &name);
    if (size == 0) {
        io_stream_fail(stream, ERR_ADDRESS, "a socket's path has 1 to %zu bytes",
                       sizeof name.sun_path - 1);
        return;
    }
    int errno_value = attempt(stream, (struct sockaddr *)&name, size);
    if (errno_value != 0) {
        fail_errno(stream, errno_value);
        return;
    }
    io_stream_deadline(stream, time_left(stream->connection));
}

struct io_stream *io_connect(struct io_loop *loop, const struct io_address *address,
                             const struct io_connect_options *options,
                             const struct io_stream_events *events, void *user)
{
    static const struct io_connect_options defaults = {0};
    const struct io_connect_options *given = options != NULL ? options : &defaults;
    bool is_tls = address->transport == IO_TLS || address->transport == IO_WSS;
    bool is_ws = address->transport == IO_WS || address->transport == IO_WSS;
    ASSERT(events->closed != NULL);
    ASSERT(is_ws ? events->message != NULL : events->read != NULL);
    ASSERT(!is_tls || given->tls != NULL);

    struct io_stream *stream = io_stream_create(loop, IO_PHASE_CONNECTING);
    stream->events = events;
    stream->user = user;
    stream->peer = *address;
    stream->local.transport = address->transport;
    if (address->transport == IO_UNIX) {
        stream->local = *address; /* the connecting end has no name: both go by the path */
    }
    stream->connection = mem_zalloc(1, sizeof *stream->connection);
    stream->connection->stream = stream;
    stream->connection->last_errno = EADDRNOTAVAIL;
    stream->connection->timeout = given->timeout > 0 ? given->timeout : LIMIT_HANDSHAKE_SECONDS;
    stream->connection->ends_at = io_monotonic() + stream->connection->timeout;
    if (is_tls) {
        io_tls_session_create(stream, given->tls, false, given->server_name);
    }
    if (is_ws) {
        io_ws_create(stream, true, given->path);
    }
    if (address->transport == IO_UNIX) {
        connect_unix(stream);
    } else {
        resolve(stream);
    }
    return stream;
}
