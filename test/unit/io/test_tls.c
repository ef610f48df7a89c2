/* TLS streams: mutual authentication as Dask asks for it, and every way it is refused. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "unit/io/certificates.h"

struct bench {
    struct io_loop *loop;
    struct identity authority;
    struct identity other_authority;
    struct identity server;
    struct identity client;
    struct identity stranger; /* signed by other_authority */
    struct identity expired;
    struct service service;
    struct side side; /* the client */
};

static int bench_setup(void **state)
{
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    bench->loop = io_loop_create();
    identity_create(&bench->authority, "authority", NULL, 30);
    identity_create(&bench->other_authority, "other authority", NULL, 30);
    identity_create(&bench->server, "server", &bench->authority, 30);
    identity_create(&bench->client, "client", &bench->authority, 30);
    identity_create(&bench->stranger, "stranger", &bench->other_authority, 30);
    identity_create(&bench->expired, "expired", &bench->authority, -1);
    *state = bench;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *bench = *state;
    io_loop_destroy(bench->loop);
    identity_fini(&bench->authority);
    identity_fini(&bench->other_authority);
    identity_fini(&bench->server);
    identity_fini(&bench->client);
    identity_fini(&bench->stranger);
    identity_fini(&bench->expired);
    side_fini(&bench->side);
    side_fini(&bench->service.side);
    mem_free(bench);
    return 0;
}

static void serve(struct bench *bench, struct io_tls *tls)
{
    service_open(&bench->service, bench->loop, IO_TLS, "127.0.0.1", tls);
    io_tls_destroy(tls); /* the listener keeps what it needs */
}

static void dial(struct bench *bench, struct io_tls *tls)
{
    struct io_connect_options options = {.tls = tls, .server_name = "server"};
    bench->side.stream =
        io_connect(bench->loop, &bench->service.address, &options, &side_events, &bench->side);
    io_tls_destroy(tls);
}

static bool has_hello(void *user)
{
    struct bench *bench = user;
    return bench->side.received.size >= 5 || bench->side.closed_count > 0;
}

static bool all_closed(void *user)
{
    struct bench *bench = user;
    return bench->side.closed_count > 0 && bench->service.side.closed_count > 0;
}

static void round_trip(struct bench *bench, int version_min, int version_max)
{
    serve(bench, identity_tls(&bench->server, &bench->authority, version_min, version_max));
    bench->service.side.on_bytes = side_echo;
    dial(bench, identity_tls(&bench->client, &bench->authority, 0, 0));
    side_write(&bench->side, "hello"); /* waits for the handshake */
    run_until(bench->loop, has_hello, bench);
    assert_string_equal(bench->side.text, "");
    assert_string_equal(text_cstr(&bench->side.received), "hello");
    io_stream_close(bench->side.stream);
    run_until(bench->loop, all_closed, bench);
    assert_int_equal(bench->side.code, OK);
    assert_int_equal(bench->service.side.code, ERR_CLOSED);
    assert_int_equal(bench->service.refused_count, 0);
}

static void test_round_trip_13(void **state)
{
    round_trip(*state, 13, 0);
}

static void test_round_trip_12(void **state)
{
    round_trip(*state, 12, 12);
}

/* ---- much data ---- */

#define BULK_SIZE (100u * 1024 * 1024)

static struct {
    uint64_t checked;
    uint64_t mismatches;
} bulk;

static uint8_t bulk_byte(uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

static void bulk_check(struct side *side, struct span bytes)
{
    (void)side;
    for (size_t i = 0; i < bytes.size; i += 97) {
        bulk.mismatches += bytes.data[i] != bulk_byte(bulk.checked + i);
    }
    bulk.checked += bytes.size;
}

static bool bulk_complete(void *user)
{
    const struct side *side = user;
    return bulk.checked >= BULK_SIZE || side->closed_count > 0;
}

/* 100 MiB to an echoing server and back: small parts share records, large ones fill them. */
static void test_echo_bulk(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    bench->service.side.on_bytes = side_echo;
    bench->service.side.discard = true;
    bench->side.on_bytes = bulk_check;
    bench->side.discard = true;
    dial(bench, identity_tls(&bench->client, &bench->authority, 0, 0));
    uint8_t *bytes = mem_alloc(BULK_SIZE);
    for (uint64_t i = 0; i < BULK_SIZE; i++) {
        bytes[i] = bulk_byte(i);
    }
    size_t at = 0;
    uint32_t writes = 0;
    while (at < BULK_SIZE) {
        struct span parts[3];
        size_t sizes[3] = {8 + writes % 50, 300, 100000 + 777 * (writes % 40)};
        for (int i = 0; i < 3; i++) {
            size_t left = BULK_SIZE - at;
            parts[i] = span_of(bytes + at, sizes[i] < left ? sizes[i] : left);
            at += parts[i].size;
        }
        io_stream_write(bench->side.stream, parts, 3, &bench->side, side_done);
        writes++;
    }
    run_until(bench->loop, bulk_complete, &bench->side);
    assert_int_equal(bulk.checked, BULK_SIZE);
    assert_int_equal(bulk.mismatches, 0);
    assert_int_equal(bench->side.done_count, writes);
    assert_int_equal(io_stream_queued(bench->side.stream), 0);
    mem_free(bytes);
}

static void pause_after_bytes(struct side *side, struct span bytes)
{
    (void)bytes;
    io_stream_pause(side->stream);
}

static bool has_paused(void *user)
{
    const struct side *side = user;
    return side->received_size > 0;
}

static bool has_everything(void *user)
{
    const struct side *side = user;
    return side->received_size >= 200000 || side->closed_count > 0;
}

/* A pause leaves decrypted or encrypted bytes in our buffers, of which the socket knows nothing:
 * resuming must deliver them though nothing more arrives. */
static void test_resume_delivers_buffered(void **state)
{
    struct bench *bench = *state;
    static const uint8_t zeros[200000];
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    bench->service.side.on_bytes = pause_after_bytes;
    dial(bench, identity_tls(&bench->client, &bench->authority, 0, 0));
    struct span part = span_of(zeros, sizeof zeros);
    io_stream_write(bench->side.stream, &part, 1, NULL, NULL);
    run_until(bench->loop, has_paused, &bench->service.side);
    assert_true(bench->service.side.received_size < sizeof zeros);
    bench->service.side.on_bytes = NULL;
    io_stream_resume(bench->service.side.stream);
    run_until(bench->loop, has_everything, &bench->service.side);
    assert_int_equal(bench->service.side.received_size, sizeof zeros);
}

/* ---- refusals ---- */

static bool client_and_listener_know(void *user)
{
    struct bench *bench = user;
    return bench->side.closed_count > 0 && bench->service.refused_count > 0;
}

/* The server's CA did not sign the client's certificate. Both learn why: the client by an alert,
 * which in TLS 1.3 comes after its own handshake is done. */
static void stranger_refused(struct bench *bench, int version)
{
    serve(bench, identity_tls(&bench->server, &bench->authority, version, version));
    struct io_tls_options options = {
        .ca = bench->authority.certificate_pem,
        .cert = bench->stranger.certificate_pem,
        .key = bench->stranger.key_pem,
    };
    struct io_tls *tls = NULL;
    struct text why = {0};
    assert_int_equal(io_tls_create(&options, &tls, &why), OK);
    text_fini(&why);
    dial(bench, tls);
    side_write(&bench->side, "let me in");
    run_until(bench->loop, client_and_listener_know, bench);
    assert_int_equal(bench->service.code, ERR_TLS);
    assert_non_null(strstr(bench->service.text, "certificate verify failed"));
    assert_non_null(strstr(bench->service.text, "unable to get local issuer certificate"));
    assert_int_equal(bench->side.code, ERR_TLS);
    assert_non_null(strstr(bench->side.text, "unknown ca"));
    assert_int_equal(bench->service.accepted_count, 0);
}

static void test_stranger_refused_12(void **state)
{
    stranger_refused(*state, 12);
}

static void test_stranger_refused_13(void **state)
{
    stranger_refused(*state, 13);
}

/* The client trusts another CA: it refuses the server, with a text that says what to look at. */
static void test_wrong_ca(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    dial(bench, identity_tls(&bench->client, &bench->other_authority, 0, 0));
    run_until(bench->loop, client_and_listener_know, bench);
    assert_false(bench->side.opened);
    assert_int_equal(bench->side.code, ERR_TLS);
    assert_non_null(strstr(bench->side.text, "tls://127.0.0.1:"));
    assert_non_null(strstr(bench->side.text, "certificate verify failed"));
    assert_non_null(strstr(bench->side.text, "check both sides' certificate, key and CA file"));
    assert_int_equal(bench->service.code, ERR_TLS);
    assert_non_null(strstr(bench->service.text, "unknown ca"));
}

static void test_expired(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->expired, &bench->authority, 0, 0));
    dial(bench, identity_tls(&bench->client, &bench->authority, 0, 0));
    run_until(bench->loop, client_and_listener_know, bench);
    assert_non_null(strstr(bench->side.text, "certificate has expired"));
}

/* No version in common. */
static void test_versions_apart(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 13, 0));
    dial(bench, identity_tls(&bench->client, &bench->authority, 12, 12));
    run_until(bench->loop, client_and_listener_know, bench);
    assert_int_equal(bench->side.code, ERR_TLS);
    assert_int_equal(bench->service.code, ERR_TLS);
    assert_non_null(strstr(bench->service.text, "unsupported protocol"));
}

/* A blocking socket to the service, outside the loop. */
static int plain_socket(const struct bench *bench)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons(bench->service.address.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

/* A client that has no certificate at all, as a browser or a port scanner. It runs in a child. */
static void test_no_client_certificate(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    int fd = plain_socket(bench);
    pid_t child = fork();
    if (child == 0) {
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        SSL *ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        char byte;
        bool refused = SSL_connect(ssl) != 1 || SSL_read(ssl, &byte, 1) <= 0;
        _exit(refused ? 0 : 1);
    }
    close(fd);
    run_until(bench->loop, service_has_refused, &bench->service);
    assert_int_equal(bench->service.code, ERR_TLS);
    assert_non_null(strstr(bench->service.text, "peer did not return a certificate"));
    assert_int_equal(bench->service.accepted_count, 0);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Plain Dask (or anything else) on a TLS port. */
static void test_plain_bytes(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    int fd = plain_socket(bench);
    assert_int_equal(write(fd, "\x30\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0 not tls", 24), 24);
    run_until(bench->loop, service_has_refused, &bench->service);
    assert_int_equal(bench->service.code, ERR_TLS);
    assert_non_null(strstr(bench->service.text, "TLS handshake failed: wrong version number"));
    close(fd);
}

/* A peer that goes away in the middle. */
static void test_gone_in_handshake(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    close(plain_socket(bench));
    run_until(bench->loop, service_has_refused, &bench->service);
    assert_int_equal(bench->service.code, ERR_TLS);
    assert_non_null(strstr(bench->service.text, "does it speak TLS?"));
}

/* Closing the listener drops a peer that is still in its handshake, without a word. */
static void test_close_during_handshake(void **state)
{
    struct bench *bench = *state;
    serve(bench, identity_tls(&bench->server, &bench->authority, 0, 0));
    dial(bench, identity_tls(&bench->client, &bench->authority, 0, 0));
    int fd = plain_socket(bench);
    run_until(bench->loop, side_is_opened, &bench->side);
    service_close(&bench->service);
    char byte;
    struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_true(read(fd, &byte, 1) <= 0);
    close(fd);
    assert_int_equal(bench->service.refused_count, 0);
}

/* ---- settings ---- */

static void expect_unusable(struct io_tls_options options, const char *text)
{
    struct io_tls *tls = NULL;
    struct text why = {0};
    assert_int_equal(io_tls_create(&options, &tls, &why), ERR_TLS);
    if (strstr(text_cstr(&why), text) == NULL) {
        fail_msg("'%s' is not in '%s'", text, text_cstr(&why));
    }
    assert_null(tls);
    text_fini(&why);
}

/* Each setting that cannot be used is named. */
static void test_bad_settings(void **state)
{
    struct bench *bench = *state;
    struct io_tls_options good = {.ca = bench->authority.certificate_pem,
                                  .cert = bench->server.certificate_pem,
                                  .key = bench->server.key_pem};
    struct io_tls_options options = good;
    options.ca = NULL;
    expect_unusable(options, "needs a CA file");
    options = good;
    options.ca = "/does/not/exist.pem";
    expect_unusable(options, "CA file '/does/not/exist.pem' cannot be used: ENOENT");
    options = good;
    options.cert = "not a certificate\n";
    expect_unusable(options, "certificate 'given as text'");
    options = good;
    options.key = bench->client.key_pem;
    expect_unusable(options, "key values mismatch");
    options = good;
    options.key = NULL;
    expect_unusable(options, "the key");
    options = good;
    options.ciphers = "NO-SUCH-CIPHER";
    expect_unusable(options, "NO-SUCH-CIPHER");
}

/* Files instead of text; certificate and key in one file; a cipher chosen. */
static void test_files(void **state)
{
    struct bench *bench = *state;
    char ca[64];
    char cert[64];
    snprintf(ca, sizeof ca, "/tmp/cask-test-%d-ca.pem", (int)getpid());
    snprintf(cert, sizeof cert, "/tmp/cask-test-%d-cert.pem", (int)getpid());
    struct text both = {0};
    struct text why = {0};
    text_add_cstr(&both, bench->server.certificate_pem);
    text_add_cstr(&both, bench->server.key_pem);
    assert_int_equal(io_file_write(ca, span_of_text(bench->authority.certificate_pem), false, &why),
                     OK);
    assert_int_equal(io_file_write(cert, text_span(&both), false, &why), OK);
    struct io_tls_options options = {
        .ca = ca, .cert = cert, .ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384", .version_max = 12};
    struct io_tls *tls = NULL;
    if (io_tls_create(&options, &tls, &why) != OK) {
        fail_msg("%s", text_cstr(&why));
    }
    serve(bench, tls);
    dial(bench, identity_tls(&bench->client, &bench->authority, 0, 0));
    run_until(bench->loop, side_is_opened, &bench->side);
    assert_true(bench->side.opened);
    assert_int_equal(io_file_remove(ca, &why), OK);
    assert_int_equal(io_file_remove(cert, &why), OK);
    text_fini(&both);
    text_fini(&why);
}

#define TLS_TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(test_round_trip_13),
        TLS_TEST(test_round_trip_12),
        TLS_TEST(test_echo_bulk),
        TLS_TEST(test_resume_delivers_buffered),
        TLS_TEST(test_stranger_refused_12),
        TLS_TEST(test_stranger_refused_13),
        TLS_TEST(test_wrong_ca),
        TLS_TEST(test_expired),
        TLS_TEST(test_versions_apart),
        TLS_TEST(test_no_client_certificate),
        TLS_TEST(test_plain_bytes),
        TLS_TEST(test_gone_in_handshake),
        TLS_TEST(test_close_during_handshake),
        TLS_TEST(test_bad_settings),
        TLS_TEST(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
