/* tls_session.c: one connection's TLS: OpenSSL between two buffers of encrypted bytes.
 *
 * OpenSSL never sees the socket. `in` holds encrypted bytes received and not yet decrypted, `out`
 * those encrypted and not yet sent; both are chunks of the loop, held only while they hold bytes,
 * so an idle connection costs no buffer and a busy one sends many records with one call. Plain
 * bytes are decrypted straight into the user's space.
 * After a failure OpenSSL is not asked again (`failed`); only `out` (an alert) is still sent. */
#include <openssl/err.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/tls.h"

/* Plain bytes in one TLS record; small parts are collected up to it. */
#define RECORD_SIZE 16384u
/* Room a record may need in `out`, frame and all. */
#define RECORD_ROOM (RECORD_SIZE + 512)

struct tls_buffer {
    uint8_t *data; /* a chunk, or NULL */
    size_t start;
    size_t end;
};

struct io_tls_session {
    struct io_tls *tls;
    SSL *ssl;
    struct tls_buffer in;
    struct tls_buffer out;
    bool ended; /* the socket has no more */
    bool failed;
    bool established;
};

/* ---- the BIO ---- */

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static int bio_read(BIO *bio, char *data, size_t size, size_t *out_read)
{
    struct io_tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t have = session->in.end - session->in.start;
    *out_read = have < size ? have : size;
    if (*out_read > 0) {
        memcpy(data, session->in.data + session->in.start, *out_read);
        session->in.start += *out_read;
        return 1;
    }
    if (!session->ended) {
        BIO_set_retry_read(bio);
    }
    return 0;
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *out_written)
{
    struct io_tls_session *session = BIO_get_data(bio);
    struct tls_buffer *out = &session->out;
    BIO_clear_retry_flags(bio);
    size_t room = out->data == NULL ? 0 : IO_CHUNK_SIZE - out->end;
    *out_written = size < room ? size : room;
    if (*out_written == 0) {
        BIO_set_retry_write(bio);
        return 0;
    }
    memcpy(out->data + out->end, data, *out_written);
    out->end += *out_written;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    struct io_tls_session *session = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return session != NULL && session->ended && session->in.start == session->in.end;
    default:
        return 0;
    }
}

BIO_METHOD *io_tls_method_create(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "cask");
    ASSERT(method != NULL);
    BIO_meth_set_create(method, bio_create);
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
}

/* ---- buffers ---- */

static void release(struct io_loop *loop, struct tls_buffer *buffer)
{
    if (buffer->data != NULL && buffer->start == buffer->end) {
        io_loop_give_chunk(loop, buffer->data);
        *buffer = (struct tls_buffer){0};
    }
}

/* Before OpenSSL may write. */
static void provide_out(struct io_stream *stream)
{
    struct tls_buffer *out = &stream->tls->out;
    if (out->data == NULL) {
        out->data = io_loop_take_chunk(stream->loop);
    }
}

/* Receive more encrypted bytes; `in` must be empty. */
static enum io_flow fill(struct io_stream *stream)
{
    struct io_tls_session *session = stream->tls;
    struct tls_buffer *in = &session->in;
    ASSERT(in->start == in->end);
    if (in->data == NULL) {
        in->data = io_loop_take_chunk(stream->loop);
    }
    in->start = 0;
    in->end = 0;
    size_t got = 0;
    enum io_flow flow =
        session->ended ? IO_FLOW_ENDED : io_socket_read(stream, in->data, IO_CHUNK_SIZE, &got);
    in->end = got;
    session->ended = session->ended || flow == IO_FLOW_ENDED;
    return flow;
}

enum io_flow io_tls_session_flush(struct io_stream *stream)
{
    struct tls_buffer *out = &stream->tls->out;
    enum io_flow flow = IO_FLOW_ON;
    while (out->start < out->end && flow == IO_FLOW_ON) {
        struct iovec part = {.iov_base = out->data + out->start, .iov_len = out->end - out->start};
        size_t written = 0;
        flow = io_socket_write(stream, &part, 1, &written);
        out->start += written;
    }
    release(stream->loop, out);
    return flow;
}

bool io_tls_session_pending(const struct io_stream *stream)
{
    return stream->tls->out.start < stream->tls->out.end;
}

bool io_tls_session_buffered(const struct io_stream *stream)
{
    const struct io_tls_session *session = stream->tls;
    return session->in.start < session->in.end || SSL_has_pending(session->ssl) == 1 ||
           session->ended;
}

/* ---- the session ---- */

void io_tls_session_create(struct io_stream *stream, struct io_tls *tls, bool server,
                           const char *server_name)
{
    struct io_tls_session *session = mem_zalloc(1, sizeof *session);
    session->tls = io_tls_ref(tls);
    session->ssl = SSL_new(tls->context);
    BIO *bio = BIO_new(tls->method);
    ASSERT(session->ssl != NULL);
    ASSERT(bio != NULL);
    BIO_set_data(bio, session);
    SSL_set_bio(session->ssl, bio, bio);
    if (server) {
        SSL_set_accept_state(session->ssl);
    } else {
        SSL_set_connect_state(session->ssl);
        if (server_name != NULL) {
            /* SSL_set_tlsext_host_name() as a call: the macro casts const away. OpenSSL copies it. */
            SSL_ctrl(session->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                     (void *)(uintptr_t)server_name);
        }
    }
    stream->tls = session;
}

void io_tls_session_destroy(struct io_stream *stream)
{
    struct io_tls_session *session = stream->tls;
    if (session == NULL) {
        return;
    }
    stream->tls = NULL;
    session->in.start = session->in.end;
    session->out.start = session->out.end;
    release(stream->loop, &session->in);
    release(stream->loop, &session->out);
    SSL_free(session->ssl);
    io_tls_destroy(session->tls);
    mem_free(session);
}

/* What came is no TLS at all. */
static bool is_plain_text(unsigned long error)
{
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_PACKET_LENGTH_TOO_LONG;
}

/* Note why OpenSSL gave up. */
static enum io_flow failed(struct io_stream *stream)
{
    struct io_tls_session *session = stream->tls;
    struct text reason = {0};
    long verdict = SSL_get_verify_result(session->ssl);
    bool is_plain = !session->established && is_plain_text(ERR_peek_last_error());
    io_tls_add_reason(&reason);
    if (verdict != X509_V_OK) {
        text_printf(&reason, " (%s)", X509_verify_cert_error_string(verdict));
    }
    io_stream_note(stream, ERR_TLS, "TLS %s: %s; %s",
                   session->established ? "failed" : "handshake failed", text_cstr(&reason),
                   is_plain ? "the peer does not speak TLS, and this end expects it"
                            : "check both sides' certificate, key and CA file");
    text_fini(&reason);
    session->failed = true;
    return IO_FLOW_FAILED;
}

/* What OpenSSL's `result` (not positive) of a call means. */
static enum io_flow judge(struct io_stream *stream, int result)
{
    switch (SSL_get_error(stream->tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return IO_FLOW_BLOCKED;
    case SSL_ERROR_ZERO_RETURN:
        stream->tls->ended = true;
        return IO_FLOW_ENDED;
    case SSL_ERROR_SYSCALL:
        if (ERR_peek_error() == 0 && stream->tls->ended) {
            return IO_FLOW_ENDED;
        }
        return failed(stream);
    default:
        return failed(stream);
    }
}

enum io_flow io_tls_session_handshake(struct io_stream *stream)
{
    struct io_tls_session *session = stream->tls;
    for (;;) {
        if (session->failed) {
            return IO_FLOW_FAILED;
        }
        ERR_clear_error();
        provide_out(stream);
        int result = SSL_do_handshake(session->ssl);
        release(stream->loop, &session->out);
        if (result == 1) {
            session->established = true;
            release(stream->loop, &session->in);
            return IO_FLOW_ON;
        }
        enum io_flow flow = judge(stream, result);
        if (flow != IO_FLOW_BLOCKED || session->in.start < session->in.end) {
            return flow;
        }
        flow = fill(stream);
        if (session->in.start == session->in.end && !session->ended) {
            release(stream->loop, &session->in);
            return flow;
        }
    }
}

enum io_flow io_tls_session_read(struct io_stream *stream, uint8_t *data, size_t size,
                                 size_t *out_read)
{
    struct io_tls_session *session = stream->tls;
    enum io_flow flow = session->failed ? IO_FLOW_FAILED : IO_FLOW_ON;
    bool drained = false;
    *out_read = 0;
    while (flow == IO_FLOW_ON && *out_read < size) {
        size_t got = 0;
        ERR_clear_error();
        provide_out(stream);
        int result = SSL_read_ex(session->ssl, data + *out_read, size - *out_read, &got);
        release(stream->loop, &session->out);
        if (result == 1) {
            *out_read += got;
            continue;
        }
        flow = judge(stream, result);
        if (flow == IO_FLOW_BLOCKED && session->in.start == session->in.end && !drained) {
            flow = fill(stream);
            drained = flow == IO_FLOW_BLOCKED;
            if (session->in.start < session->in.end || session->ended) {
                flow = IO_FLOW_ON;
            }
        }
    }
    release(stream->loop, &session->in);
    return flow;
}

/* The next plain bytes to encrypt: a large part as it is, small ones collected in `record`. The
 * choice depends on the bytes alone: should OpenSSL want the same call again, it gets them. */
static struct span next_record(const struct iovec *parts, int count, size_t offset,
                               uint8_t record[RECORD_SIZE])
{
    size_t first = parts[0].iov_len - offset;
    const uint8_t *base = parts[0].iov_base;
    if (first >= RECORD_SIZE || count == 1) {
        return span_of(base + offset, first < RECORD_SIZE ? first : RECORD_SIZE);
    }
    size_t used = 0;
    for (int i = 0; i < count && used < RECORD_SIZE; i++) {
        size_t have = parts[i].iov_len - offset;
        size_t size = have < RECORD_SIZE - used ? have : RECORD_SIZE - used;
        memcpy(record + used, (const uint8_t *)parts[i].iov_base + offset, size);
        used += size;
        offset = 0;
    }
    return span_of(record, used);
}

enum io_flow io_tls_session_write(struct io_stream *stream, const struct iovec *parts, int count,
                                  size_t *out_written)
{
    struct io_tls_session *session = stream->tls;
    size_t offset = 0;
    int index = 0;
    *out_written = 0;
    if (session->failed) {
        return IO_FLOW_FAILED;
    }
    enum io_flow flow = io_tls_session_flush(stream);
    if (flow != IO_FLOW_ON) {
        return flow;
    }
    while (index < count && IO_CHUNK_SIZE - session->out.end >= RECORD_ROOM) {
        uint8_t collected[RECORD_SIZE];
        struct span record = next_record(parts + index, count - index, offset, collected);
        size_t written = 0;
        ERR_clear_error();
        provide_out(stream);
        int result = SSL_write_ex(session->ssl, record.data, record.size, &written);
        if (result != 1) {
            if (judge(stream, result) == IO_FLOW_BLOCKED) {
                break;
            }
            io_stream_note(stream, ERR_CLOSED, "the peer ended the TLS connection");
            return IO_FLOW_FAILED;
        }
        *out_written += written;
        offset += written;
        while (index < count && offset >= parts[index].iov_len) {
            offset -= parts[index].iov_len;
            index++;
        }
    }
    flow = io_tls_session_flush(stream);
    return flow == IO_FLOW_ON && *out_written == 0 ? IO_FLOW_BLOCKED : flow;
}

void io_tls_session_end(struct io_stream *stream)
{
    struct io_tls_session *session = stream->tls;
    if (session->established && !session->failed) {
        ERR_clear_error();
        provide_out(stream);
        SSL_shutdown(session->ssl); /* 0: our goodbye is in `out`, the peer's is not waited for */
        ERR_clear_error();
        release(stream->loop, &session->out);
    }
}
