/* proxy_socket.c: WebSockets below /proxy: of a worker that is registered, and of nothing else.
 *
 *   browser ◄──bytes──► ends[BROWSER] │ ends[WORKER] ◄──bytes──► worker's dashboard
 *
 * The handshake is read, and told to the worker in our words: neither cookies nor token nor origin go along. Once the
 * worker has agreed, as RFC 6455 wants it, the bytes go through as they are: so subprotocols, fragments and codes are
 * what the ends made of them, and a message may be of any length, for none is kept. Who sends is not read before the
 * other has taken what came before, so a passage holds at most a read's worth each way.
 *
 * libwebsockets cannot give a connection back that began as HTTP (and as a WebSocket would take neither Bokeh's long
 * subprotocols nor wait for the worker's word). So the descriptor is taken away from it: see take_socket. Of TLS it
 * would not be enough. Source: distributed http/proxy.py. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "observer/proxy.h"

#define PASSAGES_MAX 64u
#define HEAD_BYTES_MAX 8192u
#define PATH_BYTES_MAX 2000u
#define ANSWER_SECONDS 15
#define STALLED_SECONDS 30 /* who does not take what is sent */
#define PARTING_SECONDS 5
#define KEY_BYTES 24u /* 16, in base64 */

enum side { BROWSER, WORKER };

struct end {
    struct passage *passage;
    struct lws *wsi; /* NULL: not there yet, or gone */
    struct text out; /* waits to be sent to it … */
    size_t sent;     /* … but for these */
    bool is_last;    /* nothing comes after that */
};

struct passage {
    struct observer *observer;
    struct end ends[2];
    bool is_open;     /* the worker agreed */
    struct text head; /* its answer, as far as it came */
    struct text accept, protocols;
};

static struct end *other_of(struct end *end)
{
    struct end *ends = end->passage->ends;
    return &ends[end == &ends[BROWSER] ? WORKER : BROWSER];
}

static bool is_worker(const struct end *end)
{
    return end == &end->passage->ends[WORKER];
}

/* ---- its end ------------------------------------------------------------------------------------ */

static void passage_free(struct passage *passage)
{
    passage->observer->passages_count--;
    text_fini(&passage->ends[BROWSER].out);
    text_fini(&passage->ends[WORKER].out);
    text_fini(&passage->head);
    text_fini(&passage->accept);
    text_fini(&passage->protocols);
    mem_free(passage);
}

/* What waits still goes, then it is told that nothing follows. */
static void part_from(struct end *end)
{
    end->is_last = true;
    lws_rx_flow_control(end->wsi, 1); /* to see it go */
    lws_callback_on_writable(end->wsi);
}

/* The browser hears why there is no WebSocket. */
static void refuse(struct passage *passage, const char *why)
{
    struct end *browser = &passage->ends[BROWSER];
    struct text body = {0};
    if (browser->wsi == NULL || browser->is_last) {
        return;
    }
    text_printf(&body, "the worker's dashboard: %.200s\n", why);
    text_printf(&browser->out,
                "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n"
                "X-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\nConnection: "
                "close\r\n\r\n%s",
                body.size, text_cstr(&body));
    text_fini(&body);
    part_from(browser);
}

/* Its connection is gone; with the second the passage. */
static void end_gone(struct end *end, const char *why)
{
    struct passage *passage = end->passage;
    struct end *other = other_of(end);
    lws_set_wsi_user(end->wsi, NULL);
    end->wsi = NULL;
    if (other->wsi == NULL) {
        passage_free(passage);
    } else if (is_worker(end) && !passage->is_open) {
        refuse(passage, why);
    } else if (!is_worker(end) && !passage->is_open) {
        lws_set_timeout(other->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_ASYNC);
    } else {
        part_from(other);
    }
}

/* ---- the worker's answer ------------------------------------------------------------------------ */

/* The value of a header; empty: there is none. */
static struct span header_of(const struct text *head, const char *name)
{
    size_t size = strlen(name);
    const char *line = strstr(text_cstr(head), "\r\n");
    for (; line != NULL && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
            const char *value = line + 3 + size;
            value += strspn(value, " \t");
            size_t length = strcspn(value, "\r\n");
            while (length > 0 && strchr(" \t", value[length - 1]) != NULL) {
                length--;
            }
            return span_of(value, length);
        }
    }
    return (struct span){0};
}

/* Whether it is one of those that the browser offered. */
static bool is_offered(const struct text *protocols, struct span chosen)
{
    const char *at = text_cstr(protocols);
    while (*at != '\0') {
        at += strspn(at, ", \t");
        size_t size = strcspn(at, ", \t");
        if (size > 0 && span_equal(span_of(at, size), chosen)) {
            return true;
        }
        at += size;
    }
    return false;
}

static const char *why_not(const struct passage *passage)
{
    const char *head = text_cstr(&passage->head);
    struct span chosen = header_of(&passage->head, "sec-websocket-protocol");
    if (strncmp(head, "HTTP/1.1 101", 12) != 0 || strchr(" \r", head[12]) == NULL) {
        return "it has no WebSocket there";
    }
    if (!span_equal(header_of(&passage->head, "sec-websocket-accept"),
                    text_span(&passage->accept))) {
        return "it does not speak WebSocket";
    }
    if (header_of(&passage->head, "sec-websocket-extensions").size > 0 ||
        (chosen.size > 0 && !is_offered(&passage->protocols, chosen))) {
        return "it chose what was not offered";
    }
    return NULL;
}

static void answer_browser(struct passage *passage)
{
    struct text *out = &passage->ends[BROWSER].out;
    struct span chosen = header_of(&passage->head, "sec-websocket-protocol");
    text_printf(out,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Accept: %s\r\n",
                text_cstr(&passage->accept));
    if (chosen.size > 0) {
        text_add_cstr(out, "Sec-WebSocket-Protocol: ");
        text_add(out, chosen);
        text_add_cstr(out, "\r\n");
    }
    text_add_cstr(out, "\r\n");
}

/* −1: close the connection to the worker. */
static int read_head(struct passage *passage, struct span part)
{
    struct end *worker = &passage->ends[WORKER], *browser = &passage->ends[BROWSER];
    text_add(&passage->head, part);
    const char *head = text_cstr(&passage->head), *end = strstr(head, "\r\n\r\n");
    const char *why = end != NULL                               ? why_not(passage)
                      : memchr(part.data, 0, part.size) != NULL ? "it does not speak HTTP"
                                                                : "its answer is too long";
    if (end == NULL && passage->head.size <= HEAD_BYTES_MAX && strlen(head) == passage->head.size) {
        return 0; /* more comes */
    }
    if (why != NULL) {
        refuse(passage, why);
        return -1;
    }
    answer_browser(passage);
    size_t size = (size_t)(end - head) + 4;
    text_add(&browser->out, span_of(head + size, passage->head.size - size));
    text_fini(&passage->head);
    passage->is_open = true;
    lws_set_timeout(worker->wsi, NO_PENDING_TIMEOUT, 0);
    lws_rx_flow_control(worker->wsi, 0);
    lws_rx_flow_control(browser->wsi, 1);
    lws_callback_on_writable(browser->wsi);
    return 0;
}

/* ---- bytes -------------------------------------------------------------------------------------- */

/* −1: close the connection. */
static int take(struct end *end, struct span part)
{
    struct end *other = other_of(end);
    if (other->wsi == NULL || end->is_last) {
        return 0; /* nobody wants it; it closes soon */
    }
    if (!end->passage->is_open) {
        return is_worker(end) ? read_head(end->passage, part) : -1; /* it was not asked yet */
    }
    text_add(&other->out, part);
    lws_rx_flow_control(end->wsi, 0);
    lws_callback_on_writable(other->wsi);
    return 0;
}

static void all_sent(struct end *end)
{
    struct end *other = other_of(end);
    text_clear(&end->out);
    end->sent = 0;
    if (end->is_last) {
        (void)shutdown(lws_get_socket_fd(end->wsi), SHUT_WR); /* it is gone if it cannot be */
        lws_set_timeout(end->wsi, PENDING_TIMEOUT_SHUTDOWN_FLUSH, PARTING_SECONDS);
    } else if (end->passage->is_open) {
        lws_set_timeout(end->wsi, NO_PENDING_TIMEOUT, 0);
        if (other->wsi != NULL) {
            lws_rx_flow_control(other->wsi, 1);
        }
    } else {
        lws_set_timeout(end->wsi, PENDING_TIMEOUT_AWAITING_SERVER_RESPONSE, ANSWER_SECONDS);
    }
}

/* Not by the library, which would keep what the socket does not take. −1: close the connection. */
static int give(struct end *end)
{
    size_t left = end->out.size - end->sent;
    ssize_t size = left == 0 ? 0
                             : send(lws_get_socket_fd(end->wsi), end->out.data + end->sent, left,
                                    MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size < 0 && errno != EAGAIN && errno != EINTR) {
        return -1;
    }
    end->sent += size > 0 ? (size_t)size : 0;
    end->passage->observer->bytes_sent += size > 0 && !is_worker(end) ? (size_t)size : 0;
    if (end->sent < end->out.size) {
        lws_set_timeout(end->wsi, PENDING_TIMEOUT_USER_OK, STALLED_SECONDS);
        lws_callback_on_writable(end->wsi);
    } else {
        all_sent(end);
    }
    return 0;
}

int proxy_socket_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                       size_t size)
{
    struct end *end = user;
    if (end == NULL) {
        return 0;
    }
    switch (reason) {
    case LWS_CALLBACK_RAW_ADOPT:
    case LWS_CALLBACK_RAW_CONNECTED:
        end->wsi = wsi;
        lws_callback_on_writable(wsi);
        return 0;
    case LWS_CALLBACK_RAW_RX:
        return take(end, span_of(in, size));
    case LWS_CALLBACK_RAW_WRITEABLE:
        return give(end);
    case LWS_CALLBACK_RAW_CLOSE:
        end->wsi = wsi;
        end_gone(end, "it closed the connection before its answer was whole");
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        end->wsi = wsi;
        end_gone(end, in == NULL ? "it cannot be reached" : in);
        return 0;
    default:
        return 0;
    }
}

/* ---- its beginning ------------------------------------------------------------------------------ */

/* The connection's descriptor, ours from now on; the library keeps one in its place that is closed at the other side,
 * and closes it. −1: it cannot be. What was read already was the request, after which a browser waits. */
static int take_socket(struct lws *wsi)
{
    int pair[2], theirs = lws_get_socket_fd(wsi);
    int ours = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
    if (ours < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        if (ours >= 0) {
            close(ours);
        }
        return -1;
    }
    bool is_fine = dup3(pair[0], theirs, O_CLOEXEC) >= 0;
    close(pair[0]);
    close(pair[1]);
    if (!is_fine) {
        close(ours);
    }
    return is_fine ? ours : -1;
}

/* RFC 6455, 4.2.2: what the worker is to answer to the key. */
static void put_accept(struct text *out, const struct text *key)
{
    struct text whole = {0};
    unsigned char digest[20];
    char encoded[40];
    text_printf(&whole, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", text_cstr(key));
    lws_SHA1((const unsigned char *)whole.data, whole.size, digest);
    lws_b64_encode_string((const char *)digest, sizeof digest, encoded, sizeof encoded);
    text_add_cstr(out, encoded);
    text_fini(&whole);
}

static void put_request(struct text *out, const struct text *path, const struct text *host,
                        const struct proxy_upgrade *upgrade)
{
    text_printf(out,
                "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
                text_cstr(path), text_cstr(host), text_cstr(&upgrade->key));
    if (upgrade->protocols.size > 0) {
        text_printf(out, "Sec-WebSocket-Protocol: %s\r\n", text_cstr(&upgrade->protocols));
    }
    text_add_cstr(out, "\r\n");
}

static void connect_worker(struct passage *passage, const struct worker_row *row)
{
    struct observer *observer = passage->observer;
    struct end *worker = &passage->ends[WORKER];
    struct lws_client_connect_info info = {
        .context = observer->context,
        .vhost = observer->vhost,
        .address = text_cstr(&row->host),
        .port = (int)row->dashboard,
        .path = "/",
        .host = text_cstr(&row->host),
        .method = "RAW",
        .local_protocol_name = "passage",
        .userdata = worker,
        .opaque_user_data = observer, /* it is none that came: see server.c */
    };
    struct lws *wsi = lws_client_connect_via_info(&info); /* NULL: end_gone was told */
    if (wsi != NULL) {
        worker->wsi = wsi;
    }
}

static bool is_plain(const struct text *text)
{
    for (size_t i = 0; i < text->size; i++) {
        if (text->data[i] < 0x20 || text->data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool passage_open(struct observer *observer, struct lws *wsi, struct passage *passage)
{
    struct end *browser = &passage->ends[BROWSER];
    int fd = take_socket(wsi);
    if (fd < 0) {
        return false;
    }
    lws_sock_file_fd_type descriptor = {.sockfd = fd};
    browser->wsi = lws_adopt_descriptor_vhost(observer->vhost, LWS_ADOPT_SOCKET, descriptor,
                                              "passage", NULL); /* closes it if it cannot */
    if (browser->wsi == NULL) {
        return false;
    }
    lws_set_wsi_user(browser->wsi, browser);
    lws_set_timeout(browser->wsi, NO_PENDING_TIMEOUT, 0);
    lws_rx_flow_control(browser->wsi, 0);
    return true;
}

int proxy_socket_open(struct observer *observer, struct lws *wsi,
                      const struct proxy_upgrade *upgrade)
{
    struct span host, path;
    uint32_t port;
    const struct worker_row *row = NULL;
    struct text full = {0}, name = {0};
    int status = 0;
    observer_drain(observer); /* who came until now is known */
    if (observer->settings.pages && proxy_cut(upgrade->part, &port, &host, &path)) {
        row = proxy_find_worker(observer->tables, host, port);
        proxy_put_path(&full, path);
        text_add(&full, text_span(&upgrade->query));
    }
    if (observer->settings.tls_cert.size > 0) {
        status = 501;
    } else if (row == NULL) {
        status = 404;
    } else if (upgrade->key.size != KEY_BYTES || !is_plain(&upgrade->key) ||
               !is_plain(&upgrade->protocols) || full.size > PATH_BYTES_MAX) {
        status = 400;
    } else if (observer->passages_count >= PASSAGES_MAX) {
        status = 503;
    } else {
        struct passage *passage = mem_zalloc(1, sizeof *passage);
        passage->observer = observer;
        observer->passages_count++;
        passage->ends[BROWSER].passage = passage->ends[WORKER].passage = passage;
        proxy_put_host(&name, row);
        put_request(&passage->ends[WORKER].out, &full, &name, upgrade);
        put_accept(&passage->accept, &upgrade->key);
        text_add(&passage->protocols, text_span(&upgrade->protocols));
        if (passage_open(observer, wsi, passage)) {
            connect_worker(passage, row);
        } else {
            passage_free(passage);
            status = 503;
        }
    }
    text_fini(&full);
    text_fini(&name);
    return status;
}
