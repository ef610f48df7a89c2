/* socket.c: what is asked of a socket itself: options, names, moving bytes, errno in words. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "io/internal.h"

/* As stock derives them from its comm.timeouts.tcp of 30 s (distributed comm/tcp.py
 * set_tcp_timeout). */
#define KEEPALIVE_IDLE_SECONDS 10
#define KEEPALIVE_INTERVAL_SECONDS 2
#define KEEPALIVE_PROBES 10
#define USER_TIMEOUT_MS 30000

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

bool io_address_is_abstract(const struct io_address *address)
{
    return address->transport == IO_UNIX && address->host[0] == '@';
}

socklen_t io_socket_unix_name(const struct io_address *address, struct sockaddr_un *out_name)
{
    size_t size = strlen(address->host);
    *out_name = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (size == 0 || size >= sizeof out_name->sun_path) {
        return 0;
    }
    memcpy(out_name->sun_path, address->host, size);
    if (io_address_is_abstract(address)) {
        out_name->sun_path[0] = '\0';
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    }
    return sizeof *out_name;
}

/* What the system shows for users that our user namespace does not know. */
#define OVERFLOW_USER 65534u

bool io_stream_is_same_user(const struct io_stream *stream)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return stream->fd >= 0 && getsockopt(stream->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           size == sizeof peer && peer.uid == geteuid() && peer.uid != OVERFLOW_USER;
}

void io_socket_tune(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

void io_socket_address(const struct sockaddr *sockaddr, struct io_address *out_address)
{
    out_address->host[0] = '\0';
    out_address->port = 0;
    if (sockaddr->sa_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, sockaddr, sizeof in4);
        out_address->port = ntohs(in4.sin_port);
        inet_ntop(AF_INET, &in4.sin_addr, out_address->host, IO_HOST_MAX);
    } else if (sockaddr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sockaddr, sizeof in6);
        out_address->port = ntohs(in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            inet_ntop(AF_INET, &in6.sin6_addr.s6_addr[12], out_address->host, IO_HOST_MAX);
        } else {
            inet_ntop(AF_INET6, &in6.sin6_addr, out_address->host, IO_HOST_MAX);
        }
    }
}

void io_socket_names(struct io_stream *stream)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr *name = (struct sockaddr *)&storage;
    socklen_t size = sizeof storage;
    if (getsockname(stream->fd, name, &size) == 0) {
        io_socket_address(name, &stream->local);
    }
    size = sizeof storage;
    if (getpeername(stream->fd, name, &size) == 0) {
        io_socket_address(name, &stream->peer);
    }
}

const char *io_errno_write(int errno_value, char text[IO_ERRNO_TEXT_MAX])
{
    char name[48], meaning[96]; /* uv_strerror() leaks the text of codes that libuv does not know */
    uv_err_name_r(-errno_value, name, sizeof name);
    uv_strerror_r(-errno_value, meaning, sizeof meaning);
    snprintf(text, IO_ERRNO_TEXT_MAX, "%s: %s", name, meaning);
    return text;
}

int io_errno_code(int errno_value)
{
    switch (errno_value) {
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
        return ERR_CLOSED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}

static bool is_blocked(int errno_value)
{
    return errno_value == EAGAIN || errno_value == EWOULDBLOCK;
}

/* What `got`, the result of reading up to `size` bytes, means. */
static enum io_flow was_read(struct io_stream *stream, ssize_t got, size_t size, size_t *out_read)
{
    *out_read = got > 0 ? (size_t)got : 0;
    if (got > 0) {
        /* A short read emptied the socket; asking again would only cost a call. */
        return (size_t)got < size ? IO_FLOW_BLOCKED : IO_FLOW_ON;
    }
    if (got == 0) {
        return IO_FLOW_ENDED;
    }
    if (is_blocked(errno)) {
        return IO_FLOW_BLOCKED;
    }
    io_stream_note(stream, io_errno_code(errno), "reading failed: %s", io_errno_text(errno));
    return IO_FLOW_FAILED;
}

enum io_flow io_socket_read(struct io_stream *stream, uint8_t *data, size_t size, size_t *out_read)
{
    ssize_t got;
    do {
        got = recv(stream->fd, data, size, 0);
    } while (got < 0 && errno == EINTR);
    return was_read(stream, got, size, out_read);
}

/* Room for the control message that carries descriptors. */
union control {
    struct cmsghdr aligned;
    char space[CMSG_SPACE(sizeof(int) * IO_DESCRIPTORS_MAX)];
};

static void give_descriptors(struct io_stream *stream, struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            stream->events->descriptor(stream->user, fd);
        }
    }
}

enum io_flow io_socket_receive(struct io_stream *stream, uint8_t *data, size_t size,
                               size_t *out_read)
{
    union control control;
    struct iovec part = {data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t got;
    do {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        got = recvmsg(stream->fd, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    bool ends_with_descriptors = got > 0 && message.msg_controllen > 0;
    if (ends_with_descriptors) {
        give_descriptors(stream, &message);
    }
    enum io_flow flow = was_read(stream, got, size, out_read);
    /* The system stops reading where descriptors lie, so a short read says nothing. */
    return ends_with_descriptors && flow == IO_FLOW_BLOCKED ? IO_FLOW_ON : flow;
}

static size_t parts_size(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    return size;
}

static void attach_descriptors(struct msghdr *message, union control *control,
                               const struct io_write *write)
{
    size_t size = write->descriptor_count * sizeof(int);
    ASSERT(write->descriptor_count <= IO_DESCRIPTORS_MAX);
    memset(control, 0, sizeof *control);
    message->msg_control = control->space;
    message->msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *part = CMSG_FIRSTHDR(message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(part), write->descriptors, size);
}

enum io_flow io_socket_write(struct io_stream *stream, const struct iovec *parts, int count,
                             size_t *out_written)
{
    return io_socket_send(stream, parts, count, NULL, out_written);
}

enum io_flow io_socket_send(struct io_stream *stream, const struct iovec *parts, int count,
                            const struct io_write *first, size_t *out_written)
{
    struct iovec *borrowed;
    memcpy(&borrowed, &parts, sizeof borrowed); /* sendmsg only reads them; its type says less */
    struct msghdr message = {.msg_iov = borrowed, .msg_iovlen = (size_t)count};
    union control control;
    if (first != NULL && first->descriptor_count > 0) {
        attach_descriptors(&message, &control, first);
    }
    ssize_t sent;
    do {
        sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    *out_written = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0) {
        return (size_t)sent < parts_size(parts, count) ? IO_FLOW_BLOCKED : IO_FLOW_ON;
    }
    if (is_blocked(errno)) {
        return IO_FLOW_BLOCKED;
    }
    io_stream_note(stream, io_errno_code(errno), "writing failed: %s", io_errno_text(errno));
    return IO_FLOW_FAILED;
}
