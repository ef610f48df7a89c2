/* Websocket streams (ws and wss): handshake, frames, and what a peer may not do. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/prng.h"
#include "unit/io/certificates.h"

struct bench {
    struct io_loop *loop;
    struct service service;
    struct side side; /* our client */
    struct text raw;  /* what a hand-made peer received */
    int fd;           /* the hand-made peer, or -1 */
};

static int bench_setup(void **state)
{
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    bench->loop = io_loop_create();
    bench->fd = -1;
    *state = bench;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *bench = *state;
    if (bench->fd >= 0) {
        close(bench->fd);
    }
    io_loop_destroy(bench->loop);
    side_fini(&bench->side);
    side_fini(&bench->service.side);
    text_fini(&bench->raw);
    mem_free(bench);
    return 0;
}

static void serve(struct bench *bench)
{
    service_open(&bench->service, bench->loop, IO_WS, "127.0.0.1", NULL);
}

static void dial(struct bench *bench, const char *path)
{
    struct io_connect_options options = {.path = path};
    bench->side.stream =
        io_connect(bench->loop, &bench->service.address, &options, &side_events, &bench->side);
}

/* ---- our client and our server ---- */

static void echo_message(struct side *side, struct span bytes)
{
    io_stream_write(side->stream, &bytes, 1, NULL, NULL);
}

static bool has_five_messages(void *user)
{
    const struct side *side = user;
    return side->message_count >= 5 || side->closed_count > 0;
}

static bool all_closed(void *user)
{
    struct bench *bench = user;
    return bench->side.closed_count > 0 && bench->service.side.closed_count > 0;
}

/* Messages of every header size there and back, whole and in order, one of them empty and written
 * before the handshake. */
static void round_trip(struct bench *bench)
{
    static uint8_t bytes[200000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7 + (i >> 9));
    }
    bench->service.side.on_bytes = echo_message;
    struct span parts[5] = {
        span_of(bytes, 8), {0}, span_of(bytes, 125), span_of(bytes, 65535), span_of(bytes, 200000)};
    io_stream_write(bench->side.stream, parts, 2, &bench->side, side_done);
    run_until(bench->loop, side_is_opened, &bench->side);
    assert_string_equal(bench->side.text, "");
    io_stream_write(bench->side.stream, parts + 2, 3, &bench->side, side_done);
    run_until(bench->loop, has_five_messages, &bench->side);
    assert_int_equal(bench->side.message_count, 5);
    assert_int_equal(bench->service.side.message_count, 5);
    assert_int_equal(bench->side.done_count, 2);
    size_t at = 0;
    for (int i = 0; i < 5; i++) {
        assert_true(at + parts[i].size <= bench->side.received.size);
        if (parts[i].size > 0) {
            assert_memory_equal(bench->side.received.data + at, bytes, parts[i].size);
        }
        at += parts[i].size;
    }
    assert_int_equal(at, bench->side.received.size);
    io_stream_close(bench->side.stream);
    run_until(bench->loop, all_closed, bench);
    assert_int_equal(bench->side.code, OK);
    assert_int_equal(bench->service.side.code, ERR_CLOSED);
    assert_non_null(strstr(bench->service.side.text, "the peer closed the connection"));
}

static void test_round_trip(void **state)
{
    struct bench *bench = *state;
    serve(bench);
    dial(bench, "/any/path?at=all");
    round_trip(bench);
}

static void test_round_trip_tls(void **state)
{
    struct bench *bench = *state;
    struct identity authority;
    struct identity both;
    identity_create(&authority, "authority", NULL, 30);
    identity_create(&both, "both", &authority, 30);
    struct io_tls *tls = identity_tls(&both, &authority, 0, 0);
    service_open(&bench->service, bench->loop, IO_WSS, "127.0.0.1", tls);
    struct io_connect_options options = {.tls = tls};
    bench->side.stream =
        io_connect(bench->loop, &bench->service.address, &options, &side_events, &bench->side);
    io_tls_destroy(tls);
    identity_fini(&authority);
    identity_fini(&both);
    round_trip(bench);
}

#define BULK_MESSAGES 12u
#define BULK_SIZE (9u * 1024 * 1024) /* more than is reserved for a message at first */

static bool has_bulk(void *user)
{
    const struct side *side = user;
    return side->received_size >= (uint64_t)BULK_MESSAGES * BULK_SIZE || side->closed_count > 0;
}

/* 108 MiB to an echoing server and back. */
static void test_echo_bulk(void **state)
{
    struct bench *bench = *state;
    serve(bench);
    bench->service.side.on_bytes = echo_message;
    bench->service.side.discard = true;
    bench->side.discard = true;
    dial(bench, NULL);
    uint8_t *bytes = mem_zalloc(1, BULK_SIZE);
    struct span part = span_of(bytes, BULK_SIZE);
    for (uint32_t i = 0; i < BULK_MESSAGES; i++) {
        io_stream_write(bench->side.stream, &part, 1, &bench->side, side_done);
    }
    run_until(bench->loop, has_bulk, &bench->side);
    assert_int_equal(bench->side.message_count, BULK_MESSAGES);
    mem_free(bytes);
}

static void pause_at_message(struct side *side, struct span bytes)
{
    (void)bytes;
    io_stream_pause(side->stream);
}

static bool has_message(void *user)
{
    const struct side *side = user;
    return side->message_count > 0;
}

/* A pause holds back messages that were already received; resuming delivers them. */
static void test_pause(void **state)
{
    struct bench *bench = *state;
    serve(bench);
    bench->service.side.on_bytes = pause_at_message;
    dial(bench, NULL);
    struct span parts[5] = {SPAN("a"), SPAN("b"), SPAN("c"), SPAN("d"), SPAN("e")};
    io_stream_write(bench->side.stream, parts, 5, NULL, NULL);
    run_until(bench->loop, has_message, &bench->service.side);
    assert_int_equal(bench->service.side.message_count, 1);
    bench->service.side.on_bytes = NULL;
    io_stream_resume(bench->service.side.stream);
    run_until(bench->loop, has_five_messages, &bench->service.side);
    assert_string_equal(text_cstr(&bench->service.side.received), "abcde");
}

/* ---- a hand-made client ---- */

static void knock(struct bench *bench)
{
    bench->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons(bench->service.address.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(bench->fd, (struct sockaddr *)&name, sizeof name), 0);
}

static void say(const struct bench *bench, struct span bytes)
{
    assert_int_equal(send(bench->fd, bytes.data, bytes.size, MSG_NOSIGNAL), bytes.size);
}

static void hear(struct bench *bench)
{
    char bytes[4096];
    ssize_t got;
    while ((got = recv(bench->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        text_add(&bench->raw, span_of(bytes, (size_t)got));
    }
}

struct expectation {
    struct bench *bench;
    size_t size;
};

static bool heard_enough(void *user)
{
    struct expectation *expectation = user;
    hear(expectation->bench);
    return expectation->bench->raw.size >= expectation->size;
}

static void tick(void *user)
{
    (void)user; /* makes the loop turn, so that the condition is looked at */
}

/* Until the hand-made peer received `size` more bytes. */
static void hear_bytes(struct bench *bench, size_t size)
{
    text_clear(&bench->raw);
    struct expectation expectation = {bench, size};
    struct io_timer *timer = io_timer_create(bench->loop, tick, NULL);
    io_timer_start(timer, 0.001, 0.001);
    run_until(bench->loop, heard_enough, &expectation);
    io_timer_destroy(timer);
}

static const char request[] = "GET /chat HTTP/1.1\r\nHost: example.com:8000\r\n"
                              "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                              "Sec-WebSocket-Version: 13\r\n\r\n";

/* The RFC's key (1.3) gets the RFC's answer; the request may come byte by byte. */
static void shake_hands(struct bench *bench)
{
    serve(bench);
    knock(bench);
    say(bench, span_of(request, sizeof request - 1));
    hear_bytes(bench, 129);
    assert_non_null(strstr(text_cstr(&bench->raw), "HTTP/1.1 101 "));
    assert_non_null(
        strstr(text_cstr(&bench->raw), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    run_until(bench->loop, service_has_accepted, &bench->service);
}

static void test_rfc_handshake(void **state)
{
    shake_hands(*state);
}

static void test_handshake_bytewise(void **state)
{
    struct bench *bench = *state;
    serve(bench);
    knock(bench);
    int on = 1;
    setsockopt(bench->fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    for (size_t i = 0; i + 1 < sizeof request; i++) {
        say(bench, span_of(request + i, 1));
        if (i % 16 == 0) {
            hear_bytes(bench, 0);
        }
    }
    hear_bytes(bench, 129);
    assert_non_null(strstr(text_cstr(&bench->raw), "HTTP/1.1 101 "));
}

/* RFC 6455, 5.7: a fragmented message ("Hel", "lo") masked as a client must, with a ping between
 * the fragments. The ping is answered, the message arrives whole. */
static void test_fragments_and_ping(void **state)
{
    struct bench *bench = *state;
    shake_hands(bench);
    static const uint8_t frames[] = {
        0x02, 0x83, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d,             /* "Hel" */
        0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58, /* ping "Hello" */
        0x00, 0x80, 0x00, 0x00, 0x00, 0x00,                               /* nothing */
        0x80, 0x82, 0x37, 0xfa, 0x21, 0x3d, 0x5b, 0x95,                   /* "lo" */
    };
    for (size_t i = 0; i < sizeof frames; i++) { /* byte by byte: headers arrive in pieces */
        say(bench, span_of(frames + i, 1));
        if (i % 3 == 0) {
            hear_bytes(bench, 0);
        }
    }
    run_until(bench->loop, has_message, &bench->service.side);
    assert_int_equal(bench->service.side.message_count, 1);
    assert_string_equal(text_cstr(&bench->service.side.received), "Hello");
    struct span answer = SPAN("pong is not masked");
    io_stream_write(bench->service.side.stream, &answer, 1, NULL, NULL);
    text_clear(&bench->raw);
    hear_bytes(bench, 2 + answer.size);
    /* The pong went out earlier, into a text that was cleared since, or is at the front. */
    const char *tail = bench->raw.data + bench->raw.size - answer.size - 2;
    assert_memory_equal(tail, "\x82\x12", 2);
    assert_memory_equal(tail + 2, answer.data, answer.size);
}

static void test_pong(void **state)
{
    struct bench *bench = *state;
    shake_hands(bench);
    say(bench, SPAN("\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"));
    hear_bytes(bench, 7);
    assert_int_equal(bench->raw.size, 7);
    assert_memory_equal(bench->raw.data, "\x8a\x05Hello", 7);
}

/* The peer's close frame is answered with one. */
static void test_close_frame(void **state)
{
    struct bench *bench = *state;
    shake_hands(bench);
    say(bench, SPAN("\x88\x82\x00\x00\x00\x00\x03\xe9")); /* 1001: going away */
    hear_bytes(bench, 4);
    assert_memory_equal(bench->raw.data, "\x88\x02\x03\xe8", 4);
    close(bench->fd);
    bench->fd = -1;
    run_until(bench->loop, side_is_closed, &bench->service.side);
    assert_int_equal(bench->service.side.code, ERR_CLOSED);
}

/* What breaks the rules is answered by a close frame with this status, and `closed` says why. */
static void refused_frame(struct bench *bench, struct span frame, uint16_t status, const char *text)
{
    shake_hands(bench);
    say(bench, frame);
    hear_bytes(bench, 4);
    assert_int_equal(bench->raw.size, 4);
    assert_memory_equal(bench->raw.data, "\x88\x02", 2);
    assert_int_equal((uint8_t)bench->raw.data[2] << 8 | (uint8_t)bench->raw.data[3], status);
    close(bench->fd);
    bench->fd = -1;
    run_until(bench->loop, side_is_closed, &bench->service.side);
    if (strstr(bench->service.side.text, text) == NULL) {
        fail_msg("'%s' is not in '%s'", text, bench->service.side.text);
    }
    assert_int_equal(bench->service.side.code, status == 1009 ? ERR_LIMIT : ERR_MALFORMED);
    assert_int_equal(bench->service.side.message_count, 0);
}

static void test_text_refused(void **state)
{
    refused_frame(*state, SPAN("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), 1003,
                  "text messages are not accepted");
}

static void test_unmasked_refused(void **state)
{
    refused_frame(*state, SPAN("\x82\x05Hello"), 1002, "does not mask");
}

static void test_oversize_refused(void **state)
{
    refused_frame(*state, SPAN("\x82\xff\x00\x00\x00\x40\x00\x00\x00\x00\1\2\3\4"), 1009,
                  "exceeds the limit");
}

/* A length with its highest bit set, which is not a length at all. */
static void test_negative_size_refused(void **state)
{
    refused_frame(*state, SPAN("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\2\3\4"), 1009,
                  "exceeds the limit");
}

static void test_reserved_bits_refused(void **state)
{
    refused_frame(*state, SPAN("\xc2\x81\1\2\3\4x"), 1002, "extension");
}

static void test_continuation_refused(void **state)
{
    refused_frame(*state, SPAN("\x80\x81\1\2\3\4x"), 1002, "continuation without a beginning");
}

static void test_interleaved_refused(void **state)
{
    refused_frame(*state, SPAN("\x02\x81\1\2\3\4x\x82\x81\1\2\3\4x"), 1002,
                  "a message begins inside another");
}

static void test_long_ping_refused(void **state)
{
    refused_frame(*state, SPAN("\x89\xfe\x00\x7e\1\2\3\4"), 1002, "control frame");
}

static void test_unknown_opcode_refused(void **state)
{
    refused_frame(*state, SPAN("\x83\x81\1\2\3\4x"), 1002, "unknown kind");
}

/* A length that lies: 8 GiB are announced, 5 bytes come, then the end. Nothing is reserved for it
 * beyond the first piece, and the stream ends. */
static void test_lying_size(void **state)
{
    struct bench *bench = *state;
    shake_hands(bench);
    say(bench, SPAN("\x82\xff\x00\x00\x00\x02\x00\x00\x00\x00\1\2\3\4hello"));
    close(bench->fd);
    bench->fd = -1;
    run_until(bench->loop, side_is_closed, &bench->service.side);
    assert_int_equal(bench->service.side.code, ERR_CLOSED);
    assert_int_equal(bench->service.side.message_count, 0);
}

static void noise_closed(void *user, int code, const char *text)
{
    assert_int_not_equal(code, ERR_IO);
    assert_true(strlen(text) > 0);
    mem_free(user);
}

static const struct io_stream_events noise_events = {
    .message = side_message,
    .closed = noise_closed,
};

static void spoil(uint8_t *bytes, size_t size, struct prng *prng)
{
    uint32_t changes = prng_below(prng, 4);
    for (uint32_t i = 0; i < changes; i++) {
        bytes[prng_below(prng, (uint32_t)size)] = (uint8_t)prng_next(prng);
    }
}

static void accept_all(void *user, struct io_stream *stream)
{
    struct bench *bench = user;
    bench->service.accepted_count++;
    struct side *side = mem_zalloc(1, sizeof *side);
    side->stream = stream;
    side->discard = true;
    io_stream_start(stream, &noise_events, side);
}

static const struct io_listen_events noise_listen_events = {.accepted = accept_all};

/* Handshakes and frames with bytes changed at random: whatever comes of it, it concerns that one
 * connection. */
static void test_noise(void **state)
{
    struct bench *bench = *state;
    struct prng prng;
    prng_init(&prng, 20261122);
    struct io_address any = {.transport = IO_WS, .host = "127.0.0.1"};
    struct text why = {0};
    assert_int_equal(io_listen(bench->loop, &any, NULL, &bench->service.listener, &why), OK);
    text_fini(&why);
    bench->service.address = *io_listener_address(bench->service.listener);
    io_listener_start(bench->service.listener, &noise_listen_events, bench);
    for (int i = 0; i < 500; i++) {
        uint8_t bytes[512];
        size_t size = sizeof request - 1;
        memcpy(bytes, request, size);
        if (i % 4 == 0) {
            spoil(bytes, size, &prng);
        }
        static const uint8_t frames[] = "\x02\x83\x37\xfa\x21\x3d\x7f\x9f\x4d"
                                        "\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
                                        "\x80\x82\x37\xfa\x21\x3d\x5b\x95"
                                        "\x82\xfe\x00\x80\1\2\3\4";
        memcpy(bytes + size, frames, sizeof frames - 1);
        spoil(bytes + size, sizeof frames - 1, &prng);
        size += sizeof frames - 1;
        knock(bench);
        say(bench, span_of(bytes, size));
        hear_bytes(bench, 0);
        close(bench->fd);
        bench->fd = -1;
        hear_bytes(bench, 0);
    }
    assert_true(bench->service.accepted_count > 300);
    io_listener_close(bench->service.listener);
}

/* ---- handshakes that fail ---- */

static void refused_request(struct bench *bench, const char *text, const char *status)
{
    serve(bench);
    knock(bench);
    say(bench, span_of_text(text));
    hear_bytes(bench, 12);
    assert_memory_equal(bench->raw.data, status, strlen(status));
    close(bench->fd);
    bench->fd = -1;
    run_until(bench->loop, service_has_refused, &bench->service);
    assert_int_equal(bench->service.code, ERR_MALFORMED);
    assert_int_equal(bench->service.accepted_count, 0);
}

static void test_plain_get_refused(void **state)
{
    refused_request(*state, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 426");
}

static void test_post_refused(void **state)
{
    refused_request(*state, "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405");
}

static void test_old_version_refused(void **state)
{
    refused_request(*state,
                    "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Version: 8\r\n\r\n",
                    "HTTP/1.1 426");
}

static void test_bad_key_refused(void **state)
{
    refused_request(*state,
                    "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                    "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
                    "HTTP/1.1 400");
}

static void test_nonsense_refused(void **state)
{
    refused_request(*state, "\r\n:\r\n\n:::\n\r\n\r\n", "HTTP/1.1 405");
}

/* A head without an end. */
static void test_endless_head_refused(void **state)
{
    struct bench *bench = *state;
    serve(bench);
    knock(bench);
    static char head[20000];
    memset(head, 'x', sizeof head);
    say(bench, span_of(head, sizeof head));
    run_until(bench->loop, service_has_refused, &bench->service);
    assert_int_equal(bench->service.code, ERR_LIMIT);
}

/* Our client at a server that is none: the answer's first line is in the text. */
static void answered_by(struct bench *bench, const char *answer, const char *text)
{
    service_open(&bench->service, bench->loop, IO_TCP, "127.0.0.1", NULL);
    bench->service.address.transport = IO_WS;
    dial(bench, NULL);
    run_until(bench->loop, service_has_accepted, &bench->service);
    side_write(&bench->service.side, answer);
    run_until(bench->loop, side_is_closed, &bench->side);
    assert_false(bench->side.opened);
    assert_int_equal(bench->side.code, ERR_CONNECT);
    if (strstr(bench->side.text, text) == NULL) {
        fail_msg("'%s' is not in '%s'", text, bench->side.text);
    }
}

static void test_client_not_found(void **state)
{
    answered_by(*state, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                "it answers 'HTTP/1.1 404 Not Found'");
}

static void test_client_wrong_accept(void **state)
{
    answered_by(*state,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
                "handshake is wrong");
}

#define WS_TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WS_TEST(test_round_trip),
        WS_TEST(test_round_trip_tls),
        WS_TEST(test_echo_bulk),
        WS_TEST(test_pause),
        WS_TEST(test_rfc_handshake),
        WS_TEST(test_handshake_bytewise),
        WS_TEST(test_fragments_and_ping),
        WS_TEST(test_pong),
        WS_TEST(test_close_frame),
        WS_TEST(test_text_refused),
        WS_TEST(test_unmasked_refused),
        WS_TEST(test_oversize_refused),
        WS_TEST(test_negative_size_refused),
        WS_TEST(test_reserved_bits_refused),
        WS_TEST(test_continuation_refused),
        WS_TEST(test_interleaved_refused),
        WS_TEST(test_long_ping_refused),
        WS_TEST(test_unknown_opcode_refused),
        WS_TEST(test_lying_size),
        WS_TEST(test_noise),
        WS_TEST(test_plain_get_refused),
        WS_TEST(test_post_refused),
        WS_TEST(test_old_version_refused),
        WS_TEST(test_bad_key_refused),
        WS_TEST(test_nonsense_refused),
        WS_TEST(test_endless_head_refused),
        WS_TEST(test_client_not_found),
        WS_TEST(test_client_wrong_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
