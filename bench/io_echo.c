/* io_echo: what the loopback gives through src/io, tcp and tls, between two processes: bandwidth one
 * way in parts of 1 MiB, and the time of a round trip of 200 bytes. One JSON object a line.
 *
 * Protocol: the client sends `BULK_BYTES` and the server answers with one byte when it has them all;
 * from then on the server echoes. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/io.h"

#define BULK_BYTES (4ull << 30)
#define PART_BYTES (1u << 20)
#define ROUND_TRIPS 50000u
#define TRIP_BYTES 200u
/* Parts in flight: enough to keep the socket full. */
#define PARTS_AHEAD 16u

struct end {
    struct io_loop *loop;
    struct io_stream *stream;
    struct io_listener *listener;
    uint8_t *part;
    uint64_t received;
    uint64_t sent;
    uint32_t in_flight;
    uint32_t trips;
    double bulk_start;
    double bulk_seconds;
    double trips_start;
    double trips_seconds;
    uint8_t space[1u << 18];
};

static void space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct end *end = user;
    *out_data = end->space;
    *out_size = sizeof end->space;
}

static void on_closed(void *user, int code, const char *text)
{
    struct end *end = user;
    end->stream = NULL;
    if (code != 0 && end->trips < ROUND_TRIPS && end->listener == NULL) {
        fprintf(stderr, "io_echo: %s\n", text);
        exit(1);
    }
    io_loop_stop(end->loop);
}

/* ---- server ---- */

static void serve_bytes(void *user, size_t size)
{
    struct end *end = user;
    uint64_t before = end->received;
    end->received += size;
    struct span answer = span_of(end->space, size);
    if (before < BULK_BYTES) {
        if (end->received < BULK_BYTES) {
            return;
        }
        answer.size = 1;
    }
    io_stream_write(end->stream, &answer, 1, NULL, NULL);
}

static const struct io_stream_events server_events = {
    .space = space, .read = serve_bytes, .closed = on_closed};

static void on_accepted(void *user, struct io_stream *stream)
{
    struct end *end = user;
    end->stream = stream;
    io_stream_start(stream, &server_events, end);
}

static const struct io_listen_events listen_events = {.accepted = on_accepted};

static void serve(enum io_transport transport, struct io_tls *tls, int port_pipe)
{
    struct end *end = mem_zalloc(1, sizeof *end);
    struct io_address address = {.transport = transport, .host = "127.0.0.1"};
    struct text why = {0};
    end->loop = io_loop_create();
    if (io_listen(end->loop, &address, tls, &end->listener, &why) != 0) {
        fprintf(stderr, "io_echo: %s\n", text_cstr(&why));
        exit(1);
    }
    io_listener_start(end->listener, &listen_events, end);
    uint16_t port = io_listener_address(end->listener)->port;
    if (write(port_pipe, &port, sizeof port) != sizeof port) {
        exit(1);
    }
    io_loop_run(end->loop);
    io_loop_destroy(end->loop);
    mem_free(end);
    io_tls_destroy(tls);
}

/* ---- client ---- */

/* Runs inside io_stream_write or the loop; the next part is sent at the end of the turn. */
static void on_done(void *owner)
{
    struct end *end = owner;
    end->in_flight--;
}

static void send_more(struct end *end)
{
    while (end->stream != NULL && end->sent < BULK_BYTES && end->in_flight < PARTS_AHEAD) {
        struct span part = span_of(end->part, PART_BYTES);
        end->sent += part.size;
        end->in_flight++;
        io_stream_write(end->stream, &part, 1, end, on_done);
    }
}

static void on_turn(void *user)
{
    struct end *end = user;
    if (end->bulk_start > 0) {
        send_more(end);
    }
}

static void on_opened(void *user)
{
    struct end *end = user;
    end->bulk_start = io_monotonic();
    send_more(end);
}

static void next_trip(struct end *end)
{
    struct span request = span_of(end->part, TRIP_BYTES);
    end->received = 0;
    io_stream_write(end->stream, &request, 1, end, on_done);
    end->in_flight++;
}

static void take_answer(void *user, size_t size)
{
    struct end *end = user;
    if (end->bulk_seconds == 0) {
        end->bulk_seconds = io_monotonic() - end->bulk_start;
        end->trips_start = io_monotonic();
        next_trip(end);
        return;
    }
    end->received += size;
    if (end->received < TRIP_BYTES) {
        return;
    }
    if (++end->trips < ROUND_TRIPS) {
        next_trip(end);
        return;
    }
    end->trips_seconds = io_monotonic() - end->trips_start;
    io_stream_close(end->stream);
}

static const struct io_stream_events client_events = {
    .opened = on_opened, .space = space, .read = take_answer, .closed = on_closed};

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void measure(const char *name, enum io_transport transport, struct io_tls *tls)
{
    int port_pipe[2];
    if (pipe(port_pipe) != 0) {
        exit(1);
    }
    pid_t child = fork();
    if (child == 0) {
        serve(transport, tls, port_pipe[1]);
        _exit(0);
    }
    struct io_address address = {.transport = transport, .host = "127.0.0.1"};
    if (read(port_pipe[0], &address.port, sizeof address.port) != sizeof address.port) {
        exit(1);
    }
    struct end *end = mem_zalloc(1, sizeof *end);
    end->part = mem_zalloc(1, PART_BYTES);
    end->loop = io_loop_create();
    io_loop_on_turn(end->loop, on_turn, end);
    struct io_connect_options options = {.tls = tls};
    double cpu = cpu_seconds();
    end->stream = io_connect(end->loop, &address, &options, &client_events, end);
    io_loop_run(end->loop);
    cpu = cpu_seconds() - cpu;
    printf("{\"bench\": \"io_echo\", \"transport\": \"%s\", \"gigabytes_per_second\": %.2f, "
           "\"round_trip_us\": %.1f, \"client_cpu_seconds\": %.2f}\n",
           name, (double)BULK_BYTES / end->bulk_seconds / 1e9,
           end->trips_seconds / ROUND_TRIPS * 1e6, cpu);
    fflush(stdout);
    io_loop_destroy(end->loop);
    mem_free(end->part);
    mem_free(end);
    close(port_pipe[0]);
    close(port_pipe[1]);
    waitpid(child, NULL, 0);
}

/* ---- an identity: self-signed, its own authority (as Dask's Security.temporary) ---- */

static void add_pem(struct text *pem, BIO *bio)
{
    char *bytes;
    long size = BIO_get_mem_data(bio, &bytes);
    text_add(pem, span_of(bytes, (size_t)size));
    BIO_free(bio);
}

static struct io_tls *make_identity(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"bench", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_sign(certificate, key, EVP_sha256());
    struct text certificate_pem = {0};
    struct text key_pem = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    add_pem(&certificate_pem, bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    add_pem(&key_pem, bio);
    X509_free(certificate);
    EVP_PKEY_free(key);

    struct io_tls_options options = {.ca = text_cstr(&certificate_pem),
                                     .cert = text_cstr(&certificate_pem),
                                     .key = text_cstr(&key_pem)};
    struct io_tls *tls = NULL;
    struct text why = {0};
    if (io_tls_create(&options, &tls, &why) != 0) {
        fprintf(stderr, "io_echo: %s\n", text_cstr(&why));
        exit(1);
    }
    text_fini(&why);
    text_fini(&certificate_pem);
    text_fini(&key_pem);
    return tls;
}

int main(void)
{
    measure("tcp", IO_TCP, NULL);
    struct io_tls *tls = make_identity();
    measure("tls", IO_TLS, tls);
    io_tls_destroy(tls);
    return 0;
}
