/* ws_http.c: the websocket handshake: one HTTP request and its answer (RFC 6455, 4).
 *
 * The server takes a GET on any path, as a Dask scheduler does. The head is at most HEAD_MAX bytes;
 * header names compare without case; what is not asked for is ignored. */
#include "io/ws.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/error.h"

#define HEAD_MAX 16384u
/* base64 of a SHA-1 digest, and NUL. */
#define ACCEPT_SIZE 29
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* Sec-WebSocket-Accept for a key (RFC 6455, 1.3). */
static void accept_for(const char *key, size_t key_size, char out_accept[ACCEPT_SIZE])
{
    struct text joined = {0};
    text_add(&joined, span_of(key, key_size));
    text_add_cstr(&joined, GUID);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    int code = EVP_Digest(joined.data, joined.size, digest, &digest_size, EVP_sha1(), NULL);
    text_fini(&joined);
    ASSERT(code == 1);
    ASSERT(digest_size == 20);
    int size = EVP_EncodeBlock((uint8_t *)out_accept, digest, (int)digest_size);
    ASSERT(size == ACCEPT_SIZE - 1);
}

void io_ws_http_begin(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    if (!ws->client) {
        return;
    }
    uint8_t nonce[16];
    io_entropy(nonce, sizeof nonce);
    int size = EVP_EncodeBlock((uint8_t *)ws->key, nonce, sizeof nonce);
    ASSERT(size == IO_WS_KEY_SIZE - 1);
    struct text host = {0};
    io_address_print(&stream->peer, &host);
    struct text request = {0};
    text_printf(&request,
                "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
                ws->path, strstr(text_cstr(&host), "://") + 3, ws->key);
    io_stream_send(stream, text_span(&request));
    text_fini(&request);
    text_fini(&host);
}

static struct span trim(struct span text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t' ||
                             text.data[text.size - 1] == '\r')) {
        text.size--;
    }
    return text;
}

static bool equal_nocase(struct span text, const char *other)
{
    return text.size == strlen(other) &&
           strncasecmp((const char *)text.data, other, text.size) == 0;
}

/* Cut the first line off *head. */
static struct span take_line(struct span *head)
{
    const uint8_t *end = memchr(head->data, '\n', head->size);
    size_t size = end == NULL ? head->size : (size_t)(end - head->data);
    struct span line = trim(span_of(head->data, size));
    size_t step = end == NULL ? size : size + 1;
    *head = span_of(head->data + step, head->size - step);
    return line;
}

/* The value of a header; empty if it is not there. */
static struct span find_header(struct span head, const char *name)
{
    (void)take_line(&head);
    while (head.size > 0) {
        struct span line = take_line(&head);
        const uint8_t *colon = line.size == 0 ? NULL : memchr(line.data, ':', line.size);
        if (colon == NULL) {
            continue;
        }
        size_t size = (size_t)(colon - line.data);
        if (equal_nocase(trim(span_of(line.data, size)), name)) {
            return trim(span_of(colon + 1, line.size - size - 1));
        }
    }
    return (struct span){0};
}

/* True if a comma-separated header contains `token`. */
static bool has_token(struct span value, const char *token)
{
    while (value.size > 0) {
        const uint8_t *comma = memchr(value.data, ',', value.size);
        size_t size = comma == NULL ? value.size : (size_t)(comma - value.data);
        if (equal_nocase(trim(span_of(value.data, size)), token)) {
            return true;
        }
        size_t step = comma == NULL ? size : size + 1;
        value = span_of(value.data + step, value.size - step);
    }
    return false;
}

static bool is_upgrade(struct span head)
{
    return has_token(find_header(head, "Upgrade"), "websocket") &&
           has_token(find_header(head, "Connection"), "Upgrade");
}

static void upgraded(struct io_stream *stream)
{
    stream->ws->upgraded = true;
    io_stream_upgraded(stream);
}

static void answer_error(struct io_stream *stream, const char *status, const char *what)
{
    struct text answer = {0};
    text_printf(&answer,
                "HTTP/1.1 %s\r\nConnection: close\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nContent-Type: text/plain\r\n"
                "Content-Length: %zu\r\n\r\n%s\n",
                status, strlen(what) + 1, what);
    io_stream_note(stream, ERR_MALFORMED, "websocket handshake refused: %s", what);
    io_stream_send(stream, text_span(&answer));
    text_fini(&answer);
    io_stream_depart(stream);
}

static void serve(struct io_stream *stream, struct span head)
{
    struct span rest = head;
    struct span request = take_line(&rest);
    struct span key = find_header(head, "Sec-WebSocket-Key");
    if (request.size < 13 || memcmp(request.data, "GET ", 4) != 0 ||
        memcmp(request.data + request.size - 9, " HTTP/1.1", 9) != 0) {
        answer_error(stream, "405 Method Not Allowed", "only GET requests of HTTP/1.1 are served");
    } else if (!is_upgrade(head)) {
        answer_error(stream, "426 Upgrade Required", "this port speaks websocket (Dask's ws://)");
    } else if (!span_equal_text(find_header(head, "Sec-WebSocket-Version"), "13")) {
        answer_error(stream, "426 Upgrade Required", "websocket version 13 is needed");
    } else if (key.size != IO_WS_KEY_SIZE - 1) {
        answer_error(stream, "400 Bad Request", "Sec-WebSocket-Key must have 24 characters");
    } else {
        char accept[ACCEPT_SIZE];
        accept_for((const char *)key.data, key.size, accept);
        struct text answer = {0};
        text_printf(&answer,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                    accept);
        io_stream_send(stream, text_span(&answer));
        text_fini(&answer);
        upgraded(stream);
    }
}

static void check_answer(struct io_stream *stream, struct span head)
{
    struct span rest = head;
    struct span status = take_line(&rest);
    char accept[ACCEPT_SIZE];
    accept_for(stream->ws->key, IO_WS_KEY_SIZE - 1, accept);
    if (status.size < 12 || memcmp(status.data, "HTTP/1.1 101", 12) != 0) {
        int shown = status.size < 100 ? (int)status.size : 100;
        io_stream_fail(stream, ERR_CONNECT, "the peer refuses a websocket: it answers '%.*s'",
                       shown, (const char *)status.data);
    } else if (!is_upgrade(head) ||
               !span_equal_text(find_header(head, "Sec-WebSocket-Accept"), accept)) {
        io_stream_fail(stream, ERR_CONNECT, "the peer's websocket handshake is wrong");
    } else if (find_header(head, "Sec-WebSocket-Extensions").size > 0 ||
               find_header(head, "Sec-WebSocket-Protocol").size > 0) {
        io_stream_fail(stream, ERR_CONNECT,
                       "the peer uses a websocket extension or subprotocol "
                       "that was not asked for");
    } else {
        upgraded(stream);
    }
}

void io_ws_http_read(struct io_stream *stream)
{
    struct io_ws *ws = stream->ws;
    struct span bytes = span_of(ws->in + ws->in_start, ws->in_end - ws->in_start);
    const uint8_t *end = memmem(bytes.data, bytes.size, "\r\n\r\n", 4);
    size_t size = end == NULL ? bytes.size : (size_t)(end - bytes.data) + 4;
    if (size > HEAD_MAX) {
        io_stream_note(stream, ERR_LIMIT, "the head of the websocket handshake exceeds %u bytes",
                       HEAD_MAX);
        io_stream_depart(stream);
        return;
    }
    if (end == NULL) {
        return;
    }
    /* The bytes stay where they are; what follows the head is frames. */
    ws->in_start += size;
    struct span head = span_of(bytes.data, size);
    if (ws->client) {
        check_answer(stream, head);
    } else {
        serve(stream, head);
    }
}
