/* trace_proxy.c: a pair of streams for each peer. Bytes, or websocket messages, are written to the other side as they
 * come, then fed to a frame reader of their direction; so a message is shown at the moment when its last byte was
 * passed on. */
#include "node/trace_proxy.h"

#include "base/alloc.h"
#include "wire/address.h"

enum { SPACE_SIZE = 64 * 1024 };

struct pair;

/* One end: what is read from it goes to `other`. */
struct side {
    struct pair *pair;
    struct side *other;
    struct io_stream *stream; /* NULL: gone */
    struct frame_reader reader;
    struct frame_ws_reader ws_reader; /* used instead on a websocket */
    bool is_foreign;                  /* not Dask's protocol: no longer read */
    bool is_peer;                     /* the one that connected to us */
    uint8_t *space;
};

struct pair {
    struct trace_proxy *proxy;
    uint32_t number;
    struct side peer, server;
};

struct trace_proxy {
    struct io_loop *loop;
    struct io_listener *listener;
    struct io_tls *tls;
    struct io_address to;
    uint32_t pair_count;
    trace_seen *seen;
    void *user;
};

static void tell(struct side *side, const struct frames *message, const char *note)
{
    const struct trace_event event = {.connection = side->pair->number,
                                      .to_server = side->is_peer,
                                      .time = io_now(),
                                      .message = message,
                                      .note = note};
    side->pair->proxy->seen(side->pair->proxy->user, &event);
}

static void side_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct side *side = user;
    *out_data = side->space;
    *out_size = SPACE_SIZE;
}

/* A reader's answer: a whole message, none yet, or no message at all. */
static void show(struct side *side, int code, const struct frames *message)
{
    if (code == 1) {
        tell(side, message, NULL);
    } else if (code < 0) {
        side->is_foreign = true;
        tell(side, NULL, "this is not Dask's protocol; bytes are passed on and no longer shown");
    }
}

/* Show the messages that are whole. */
static void show_whole(struct side *side)
{
    struct frames message = {0};
    int code = 1;
    while (code == 1) {
        code = frame_reader_next(&side->reader, &message);
        show(side, code, &message);
    }
    frames_fini(&message);
}

static void side_read(void *user, size_t size)
{
    struct side *side = user;
    struct span bytes = span_of(side->space, size);
    if (side->other->stream != NULL) {
        io_stream_write(side->other->stream, &bytes, 1, NULL, NULL);
    }
    while (bytes.size > 0 && !side->is_foreign) {
        size_t taken = frame_reader_feed(&side->reader, bytes);
        bytes = span_of(bytes.data + taken, bytes.size - taken);
        show_whole(side);
    }
}

static void release_buf(void *owner)
{
    buf_unref(owner);
}

static void side_message(void *user, struct buf *content)
{
    struct side *side = user;
    struct slice slice = {content->data, content->size, content};
    struct span bytes = slice_span(slice);
    if (side->other->stream != NULL) {
        io_stream_write(side->other->stream, &bytes, 1, buf_ref(content), release_buf);
    }
    if (side->is_foreign) {
        buf_unref(content);
        return;
    }
    struct frames message = {0};
    int code = frame_ws_reader_take(&side->ws_reader, slice, &message);
    show(side, code, &message);
    frames_fini(&message);
}

/* What is written to this side waits: read less from the other. */
static void side_pressure(void *user, bool on)
{
    struct side *side = user;
    struct io_stream *source = side->other->stream;
    if (source != NULL && on) {
        io_stream_pause(source);
    } else if (source != NULL) {
        io_stream_resume(source);
    }
}

static void side_fini(struct side *side)
{
    frame_reader_fini(&side->reader);
    frame_ws_reader_fini(&side->ws_reader);
    mem_free(side->space);
}

static void side_closed(void *user, int code, const char *text)
{
    struct side *side = user;
    struct pair *pair = side->pair;
    struct text note = {0};
    side->stream = NULL;
    text_printf(&note, "closed: %s", code == OK ? "the other end did" : text);
    tell(side, NULL, text_cstr(&note));
    text_fini(&note);
    if (side->other->stream != NULL) {
        io_stream_close(side->other->stream);
        return;
    }
    side_fini(&pair->peer);
    side_fini(&pair->server);
    mem_free(pair);
}

static const struct io_stream_events side_events = {.space = side_space,
                                                    .read = side_read,
                                                    .message = side_message,
                                                    .pressure = side_pressure,
                                                    .closed = side_closed};

static void side_init(struct side *side, struct pair *pair, struct side *other, bool is_peer)
{
    side->pair = pair;
    side->other = other;
    side->is_peer = is_peer;
    side->space = mem_alloc(SPACE_SIZE);
    frame_reader_init(&side->reader);
    frame_ws_reader_init(&side->ws_reader);
}

static void accepted(void *user, struct io_stream *stream)
{
    struct trace_proxy *proxy = user;
    struct pair *pair = mem_zalloc(1, sizeof *pair);
    struct text note = {0};
    const struct io_connect_options options = {.tls = proxy->tls};
    pair->proxy = proxy;
    pair->number = ++proxy->pair_count;
    side_init(&pair->peer, pair, &pair->server, true);
    side_init(&pair->server, pair, &pair->peer, false);
    pair->peer.stream = stream;
    text_add_cstr(&note, "opened from ");
    io_address_print(io_stream_peer(stream), &note);
    tell(&pair->peer, NULL, text_cstr(&note));
    text_fini(&note);
    pair->server.stream =
        io_connect(proxy->loop, &proxy->to, &options, &side_events, &pair->server);
    io_stream_start(stream, &side_events, &pair->peer);
}

static const struct io_listen_events listen_events = {.accepted = accepted};

static int read_address(const char *option, const char *text, struct io_address *out,
                        struct text *why)
{
    static const enum io_transport transports[] = {
        [ADDRESS_TCP] = IO_TCP, [ADDRESS_TLS] = IO_TLS,   [ADDRESS_WS] = IO_WS,
        [ADDRESS_WSS] = IO_WSS, [ADDRESS_UNIX] = IO_UNIX,
    };
    struct address address;
    if (address_parse(span_of_text(text), ADDRESS_TCP, 8786, &address) != OK) {
        text_printf(why, "%s %s is not an address such as tcp://127.0.0.1:8786", option, text);
        return ERR_ADDRESS;
    }
    *out = (struct io_address){.transport = transports[address.scheme], .port = address.port};
    memcpy(out->host, address.host, sizeof address.host);
    return OK;
}

static bool is_ws(const struct io_address *address)
{
    return address->transport == IO_WS || address->transport == IO_WSS;
}

static bool is_secure(const struct io_address *address)
{
    return address->transport == IO_TLS || address->transport == IO_WSS;
}

static int read_addresses(struct trace_proxy *proxy, const struct trace_proxy_options *options,
                          struct io_address *out_from, struct text *why)
{
    int code = read_address("--listen", options->from, out_from, why);
    if (code == OK) {
        code = read_address("--connect", options->to, &proxy->to, why);
    }
    if (code == OK && is_ws(out_from) != is_ws(&proxy->to)) {
        text_printf(why, "%s and %s: both must be websockets (ws, wss), or neither", options->from,
                    options->to);
        return ERR_UNSUPPORTED;
    }
    if (proxy->to.host[0] == '\0') {
        strcpy(proxy->to.host, "127.0.0.1"); /* ":8786" */
    }
    return code;
}

static int create_tls(struct trace_proxy *proxy, const struct config *config,
                      const struct io_address *from, struct text *why)
{
    const struct io_tls_options options = {
        .ca = config_text(config, "distributed.comm.tls.ca-file", NULL),
        .cert = config_text(config, "distributed.comm.tls.scheduler.cert", NULL),
        .key = config_text(config, "distributed.comm.tls.scheduler.key", NULL),
    };
    if (!is_secure(from) && !is_secure(&proxy->to)) {
        return OK;
    }
    if (options.ca == NULL || options.cert == NULL) {
        text_add_cstr(why, "tls:// and wss:// need distributed.comm.tls.ca-file and "
                           "distributed.comm.tls.scheduler.cert");
        return ERR_TLS;
    }
    return io_tls_create(&options, &proxy->tls, why);
}

int trace_proxy_create(struct io_loop *loop, const struct trace_proxy_options *options,
                       struct trace_proxy **out_proxy, struct text *why)
{
    struct trace_proxy *proxy = mem_zalloc(1, sizeof *proxy);
    struct io_address listen = {0};
    proxy->loop = loop;
    int code = read_addresses(proxy, options, &listen, why);
    if (code == OK) {
        code = create_tls(proxy, options->config, &listen, why);
    }
    if (code == OK) {
        code = io_listen(loop, &listen, proxy->tls, &proxy->listener, why);
    }
    if (code != OK) {
        trace_proxy_destroy(proxy);
        return code;
    }
    *out_proxy = proxy;
    return OK;
}

void trace_proxy_watch(struct trace_proxy *proxy, trace_seen *seen, void *user)
{
    proxy->seen = seen;
    proxy->user = user;
    io_listener_start(proxy->listener, &listen_events, proxy);
}

void trace_proxy_address(const struct trace_proxy *proxy, struct text *out)
{
    io_address_print(io_listener_address(proxy->listener), out);
}

void trace_proxy_stop(struct trace_proxy *proxy)
{
    io_listener_close(proxy->listener);
}

void trace_proxy_destroy(struct trace_proxy *proxy)
{
    io_tls_destroy(proxy->tls);
    mem_free(proxy);
}
