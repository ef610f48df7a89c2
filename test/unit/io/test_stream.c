/* Streams over tcp and unix sockets: bytes, pressure, endings, addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "unit/io/support.h"

static struct io_stream *dial(struct service *service, struct side *side)
{
    side->stream = io_connect(service->loop, &service->address, NULL, &side_events, side);
    return side->stream;
}

static bool both_up(void *user)
{
    struct service *service = user;
    return service->side.stream != NULL;
}

static bool server_closed(void *user)
{
    struct service *service = user;
    return service->side.closed_count > 0;
}

/* ---- endings both sides see ---- */

struct pair {
    struct service service;
    struct side client;
};

static bool both_closed(void *user)
{
    struct pair *pair = user;
    return pair->client.closed_count > 0 && pair->service.side.closed_count > 0;
}

static struct pair *pair_open(struct io_loop *loop, enum io_transport transport, const char *host)
{
    struct pair *pair = mem_zalloc(1, sizeof *pair);
    service_open(&pair->service, loop, transport, host, NULL);
    dial(&pair->service, &pair->client);
    run_until(loop, both_up, &pair->service);
    run_until(loop, side_is_opened, &pair->client);
    assert_true(pair->client.opened);
    return pair;
}

static void pair_close(struct pair *pair)
{
    service_close(&pair->service);
    io_loop_destroy(pair->service.loop);
    side_fini(&pair->client);
    side_fini(&pair->service.side);
    mem_free(pair);
}

static bool client_has_echo(void *user)
{
    struct side *side = user;
    return side->received.size >= 5 || side->closed_count > 0;
}

static void echo_on(enum io_transport transport, const char *host)
{
    struct pair *pair = pair_open(io_loop_create(), transport, host);
    pair->service.side.on_bytes = side_echo;
    if (transport == IO_UNIX) {
        assert_string_equal(io_stream_peer(pair->service.side.stream)->host, host);
        assert_string_equal(io_stream_local(pair->client.stream)->host, host);
    }
    side_write(&pair->client, "hello");
    run_until(pair->service.loop, client_has_echo, &pair->client);
    assert_string_equal(text_cstr(&pair->client.received), "hello");
    io_stream_close(pair->client.stream);
    run_until(pair->service.loop, both_closed, pair);
    assert_int_equal(pair->client.code, OK);
    assert_int_equal(pair->service.side.code, ERR_CLOSED);
    assert_non_null(strstr(pair->service.side.text, "the peer closed the connection"));
    pair_close(pair);
}

static void test_echo_ipv4(void **state)
{
    (void)state;
    echo_on(IO_TCP, "127.0.0.1");
}

static void test_echo_ipv6(void **state)
{
    (void)state;
    echo_on(IO_TCP, "::1");
}

/* The name is resolved in the thread pool; ::1 is refused and 127.0.0.1 tried next, or the reverse. */
static void test_echo_name(void **state)
{
    (void)state;
    struct pair *pair = mem_zalloc(1, sizeof *pair);
    struct io_loop *loop = io_loop_create();
    service_open(&pair->service, loop, IO_TCP, "127.0.0.1", NULL);
    snprintf(pair->service.address.host, IO_HOST_MAX, "localhost");
    dial(&pair->service, &pair->client);
    run_until(loop, side_is_opened, &pair->client);
    assert_true(pair->client.opened);
    assert_string_equal(io_stream_peer(pair->client.stream)->host, "127.0.0.1");
    pair_close(pair);
}

/* "" listens on both families; an IPv4 peer is shown as such, not as ::ffff:127.0.0.1. */
static void test_any_address(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    const char *const hosts[] = {"127.0.0.1", "::1"};
    for (int i = 0; i < 2; i++) {
        struct service service;
        struct side client = {0};
        service_open(&service, loop, IO_TCP, "", NULL);
        assert_true(service.address.port > 0);
        assert_string_equal(service.address.host, "0.0.0.0");
        snprintf(service.address.host, IO_HOST_MAX, "%s", hosts[i]);
        dial(&service, &client);
        run_until(loop, both_up, &service);
        assert_string_equal(io_stream_peer(service.side.stream)->host, hosts[i]);
        assert_string_equal(io_stream_local(service.side.stream)->host, hosts[i]);
        assert_int_equal(io_stream_local(service.side.stream)->port, service.address.port);
        assert_int_equal(io_stream_peer(client.stream)->port, service.address.port);
        io_stream_abort(client.stream);
        run_until(loop, server_closed, &service);
        service_close(&service);
        side_fini(&client);
    }
    io_loop_destroy(loop);
}

/* ---- much data ---- */

#define BULK_SIZE (100u * 1024 * 1024)
#define BULK_PIECE (1024u * 1024)

struct bulk {
    struct pair *pair;
    uint8_t *piece;
    uint64_t checked;
    uint64_t mismatches;
};

/* Byte `i` of the stream. */
static uint8_t bulk_byte(uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

static struct bulk *bulk_of;

static void bulk_check(struct side *side, struct span bytes)
{
    (void)side;
    for (size_t i = 0; i < bytes.size; i += 97) {
        bulk_of->mismatches += bytes.data[i] != bulk_byte(bulk_of->checked + i);
    }
    bulk_of->checked += bytes.size;
}

static bool bulk_complete(void *user)
{
    struct bulk *bulk = user;
    return bulk->checked >= BULK_SIZE || bulk->pair->client.closed_count > 0;
}

/* 100 MiB to an echoing server and back, in pieces of 1 MiB lent to the stream. */
static void test_echo_bulk(void **state)
{
    (void)state;
    struct bulk bulk = {.pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1")};
    struct pair *pair = bulk.pair;
    bulk_of = &bulk;
    pair->client.discard = true;
    pair->client.on_bytes = bulk_check;
    pair->service.side.discard = true;
    pair->service.side.on_bytes = side_echo;
    uint8_t *bytes = mem_alloc(BULK_SIZE);
    for (uint64_t i = 0; i < BULK_SIZE; i++) {
        bytes[i] = bulk_byte(i);
    }
    for (size_t at = 0; at < BULK_SIZE; at += BULK_PIECE) {
        struct span parts[2] = {span_of(bytes + at, 1000),
                                span_of(bytes + at + 1000, BULK_PIECE - 1000)};
        io_stream_write(pair->client.stream, parts, 2, &pair->client, side_done);
    }
    assert_true(io_stream_queued(pair->client.stream) > 0);
    run_until(pair->service.loop, bulk_complete, &bulk);
    assert_int_equal(bulk.checked, BULK_SIZE);
    assert_int_equal(bulk.mismatches, 0);
    assert_int_equal(pair->client.done_count, BULK_SIZE / BULK_PIECE);
    assert_int_equal(pair->client.pressure_on, 1);
    assert_int_equal(pair->client.pressure_off, 1);
    assert_int_equal(io_stream_queued(pair->client.stream), 0);
    pair_close(pair);
    mem_free(bytes);
}

static bool has_stalled(void *user)
{
    struct side *side = user;
    return side->pressure_on > 0;
}

static bool has_recovered(void *user)
{
    struct side *side = user;
    return side->pressure_off > 0;
}

/* A peer that pauses reading fills the sender's queue: the sender is told, and told again when the
 * peer goes on. Nothing is lost. */
static void test_back_pressure(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    size_t size = LIMIT_SEND_QUEUE_HIGH + 16u * 1024 * 1024;
    uint8_t *bytes = mem_zalloc(1, size);
    struct span part = span_of(bytes, size);
    pair->service.side.discard = true;
    io_stream_pause(pair->service.side.stream);
    io_stream_write(pair->client.stream, &part, 1, &pair->client, side_done);
    run_until(pair->service.loop, has_stalled, &pair->client);
    assert_int_equal(pair->client.done_count, 0);
    assert_true(pair->service.side.received_size < size);
    uint64_t before = pair->service.side.received_size;
    io_stream_resume(pair->service.side.stream);
    run_until(pair->service.loop, has_recovered, &pair->client);
    assert_true(pair->service.side.received_size > before);
    io_stream_close(pair->client.stream);
    run_until(pair->service.loop, both_closed, pair);
    assert_int_equal(pair->service.side.received_size, size);
    assert_int_equal(pair->client.done_count, 1);
    pair_close(pair);
    mem_free(bytes);
}

/* Who is not listened to may leave, and that is noticed at once … */
static void test_end_while_paused(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    io_stream_pause(pair->service.side.stream);
    io_stream_watch_end(pair->service.side.stream);
    io_stream_close(pair->client.stream);
    run_until(pair->service.loop, side_is_closed, &pair->service.side);
    pair_close(pair);
}

static void note_late(void *user)
{
    *(bool *)user = true;
}

static bool is_late(void *user)
{
    return *(bool *)user;
}

/* … but not before what it said is read. */
static void test_last_words_while_paused(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    struct span words = SPAN("last words");
    bool late = false;
    io_stream_pause(pair->service.side.stream);
    io_stream_watch_end(pair->service.side.stream);
    io_stream_write(pair->client.stream, &words, 1, &pair->client, side_done);
    io_stream_abort(pair->client.stream);
    struct io_timer *timer = io_timer_create(pair->service.loop, note_late, &late);
    io_timer_start(timer, 0.05, 0);
    run_until(pair->service.loop, is_late, &late);
    assert_false(side_is_closed(&pair->service.side));
    io_timer_destroy(timer);
    io_stream_resume(pair->service.side.stream);
    run_until(pair->service.loop, side_is_closed, &pair->service.side);
    assert_int_equal(pair->service.side.received_size, words.size);
    pair_close(pair);
}

/* ---- writing and closing ---- */

/* Parts of length zero are legal (stock sends empty frames); nothing but empty ones is done at
 * once. */
static void test_empty_parts(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    struct span parts[4] = {{0}, SPAN("ab"), {0}, SPAN("cde")};
    io_stream_write(pair->client.stream, parts, 1, &pair->client, side_done);
    assert_int_equal(pair->client.done_count, 1);
    io_stream_write(pair->client.stream, parts, 0, &pair->client, side_done);
    assert_int_equal(pair->client.done_count, 2);
    io_stream_write(pair->client.stream, parts, 4, &pair->client, side_done);
    pair->service.side.on_bytes = side_echo;
    run_until(pair->service.loop, client_has_echo, &pair->client);
    assert_string_equal(text_cstr(&pair->client.received), "abcde");
    assert_int_equal(pair->client.done_count, 3);
    pair_close(pair);
}

/* More parts than one system call takes. */
static void test_many_parts(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    struct span parts[COUNT];
    for (int i = 0; i < COUNT; i++) {
        parts[i] = i % 2 == 0 ? SPAN("0123456789") : SPAN("x");
    }
    io_stream_write(pair->client.stream, parts, COUNT, &pair->client, side_done);
    io_stream_close(pair->client.stream);
    run_until(pair->service.loop, both_closed, pair);
    assert_int_equal(pair->client.done_count, 1);
    assert_int_equal(pair->service.side.received.size, COUNT / 2 * 11);
    assert_memory_equal(pair->service.side.received.data, "0123456789x0123456789x", 22);
    pair_close(pair);
}

/* close: what is queued arrives although the peer was not reading yet. */
static void test_close_flushes(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    size_t size = 20u * 1024 * 1024;
    uint8_t *bytes = mem_zalloc(1, size);
    struct span part = span_of(bytes, size);
    pair->service.side.discard = true;
    io_stream_write(pair->client.stream, &part, 1, &pair->client, side_done);
    side_write(&pair->service.side, "unread bytes would make a careless close a reset");
    assert_true(io_stream_queued(pair->client.stream) > 0);
    io_stream_close(pair->client.stream);
    io_stream_write(pair->client.stream, &part, 1, &pair->client, side_done);
    assert_int_equal(pair->client.done_count, 1); /* dropped */
    run_until(pair->service.loop, both_closed, pair);
    assert_int_equal(pair->client.done_count, 2);
    assert_int_equal(pair->service.side.received_size, size);
    assert_int_equal(pair->service.side.code, ERR_CLOSED);
    pair_close(pair);
    mem_free(bytes);
}

/* abort: what is queued is dropped, its owner is told, `closed` comes later and once. */
static void test_abort_while_writing(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    size_t size = 50u * 1024 * 1024;
    uint8_t *bytes = mem_zalloc(1, size);
    struct span part = span_of(bytes, size);
    pair->service.side.discard = true;
    for (int i = 0; i < 3; i++) {
        io_stream_write(pair->client.stream, &part, 1, &pair->client, side_done);
    }
    io_stream_abort(pair->client.stream);
    assert_int_equal(pair->client.done_count, 3);
    assert_int_equal(pair->client.closed_count, 0);
    run_until(pair->service.loop, both_closed, pair);
    assert_int_equal(pair->client.code, OK);
    assert_true(pair->service.side.received_size < 3 * size);
    pair_close(pair);
    mem_free(bytes);
}

static void close_at_first_bytes(struct side *side, struct span bytes)
{
    (void)bytes;
    io_stream_abort(side->stream);
}

/* The peer aborts while we write: no signal, no crash, `closed` with a reason. */
static void test_peer_aborts(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    size_t size = 50u * 1024 * 1024;
    uint8_t *bytes = mem_zalloc(1, size);
    struct span part = span_of(bytes, size);
    pair->service.side.discard = true;
    pair->service.side.on_bytes = close_at_first_bytes;
    io_stream_write(pair->client.stream, &part, 1, &pair->client, side_done);
    run_until(pair->service.loop, both_closed, pair);
    assert_int_equal(pair->client.code, ERR_CLOSED);
    assert_non_null(strstr(pair->client.text, "tcp://127.0.0.1:"));
    assert_int_equal(pair->client.done_count, 1);
    pair_close(pair);
    mem_free(bytes);
}

/* A worker's last words: it writes, then dies while we write to it. They are still read. */
static void test_last_words(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    side_write(&pair->service.side, "last words");
    io_stream_abort(pair->service.side.stream);
    for (int i = 0; i < 3; i++) { /* the first makes the peer answer with a reset */
        side_write(&pair->client, "who is there");
        usleep(1000);
    }
    run_until(pair->service.loop, both_closed, pair);
    assert_string_equal(text_cstr(&pair->client.received), "last words");
    assert_int_equal(pair->client.code, ERR_CLOSED);
    pair_close(pair);
}

/* The loop is destroyed with streams open: each is told once, also the one still connecting. */
static void test_destroy_with_open_streams(void **state)
{
    (void)state;
    struct pair *pair = pair_open(io_loop_create(), IO_TCP, "127.0.0.1");
    struct side third = {0};
    struct side fourth = {0};
    dial(&pair->service, &third);
    struct io_address name = {.transport = IO_TCP, .port = 1, .host = "name.invalid"};
    fourth.stream = io_connect(pair->service.loop, &name, NULL, &side_events, &fourth);
    io_loop_destroy(pair->service.loop); /* closes the listener as well */
    assert_int_equal(pair->client.closed_count, 1);
    assert_int_equal(pair->service.side.closed_count, 1);
    assert_int_equal(third.closed_count, 1);
    assert_int_equal(fourth.closed_count, 1);
    side_fini(&pair->client);
    side_fini(&pair->service.side);
    mem_free(pair);
}

/* What is written before the connection stands waits for it. */
static void test_write_before_open(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct service service;
    struct side client = {0};
    service_open(&service, loop, IO_TCP, "127.0.0.1", NULL);
    service.side.on_bytes = side_echo;
    dial(&service, &client);
    side_write(&client, "he");
    side_write(&client, "llo");
    assert_int_equal(io_stream_queued(client.stream), 5);
    run_until(loop, client_has_echo, &client);
    assert_string_equal(text_cstr(&client.received), "hello");
    io_loop_destroy(loop);
    side_fini(&client);
    side_fini(&service.side);
}

/* ---- connecting in vain ---- */

/* Nobody listens: the text names address and errno. */
static void test_refused(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct service service;
    service_open(&service, loop, IO_TCP, "127.0.0.1", NULL);
    struct io_address dead = service.address;
    service_close(&service);
    struct side client = {0};
    client.stream = io_connect(loop, &dead, NULL, &side_events, &client);
    side_write(&client, "dropped");
    assert_int_equal(client.closed_count, 0);
    run_until(loop, side_is_closed, &client);
    assert_int_equal(client.code, ERR_CONNECT);
    assert_non_null(strstr(client.text, "tcp://127.0.0.1:"));
    assert_non_null(strstr(client.text, "ECONNREFUSED: connection refused"));
    assert_false(client.opened);
    io_loop_destroy(loop);
}

/* A listener whose backlog is full drops the SYN, as a dead machine does: the timeout ends it. */
static void test_timeout(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    struct io_address full = {.transport = IO_TCP, .port = ntohs(name.sin_port)};
    snprintf(full.host, sizeof full.host, "127.0.0.1");
    struct io_connect_options options = {.timeout = 0.2};
    struct side sides[4] = {0};
    uint32_t late = 0;
    double start = io_monotonic();
    for (int i = 0; i < 4; i++) {
        sides[i].stream = io_connect(loop, &full, &options, &side_events, &sides[i]);
    }
    run_until(loop, side_is_closed, &sides[3]);
    for (int i = 0; i < 4; i++) {
        late += sides[i].closed_count;
    }
    assert_true(late >= 1);
    assert_int_equal(sides[3].code, ERR_TIMEOUT);
    assert_non_null(strstr(sides[3].text, "no connection within 0.2 s"));
    assert_true(io_monotonic() - start >= 0.19);
    assert_true(io_monotonic() - start < 5);
    close(fd);
    io_loop_destroy(loop);
}

/* A name that does not exist, and one that is dropped while it is looked up. */
static void test_unknown_name(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct io_address name = {.transport = IO_TCP, .port = 1, .host = "no-such-host.invalid"};
    struct side client = {0};
    client.stream = io_connect(loop, &name, NULL, &side_events, &client);
    struct side dropped = {0};
    dropped.stream = io_connect(loop, &name, NULL, &side_events, &dropped);
    io_stream_abort(dropped.stream);
    run_until(loop, side_is_closed, &client);
    assert_int_equal(client.code, ERR_ADDRESS);
    assert_non_null(strstr(client.text, "no-such-host.invalid"));
    run_until(loop, side_is_closed, &dropped);
    assert_int_equal(dropped.code, OK);
    io_loop_destroy(loop);
}

/* A port in use: the text says so. */
static void test_listen_in_use(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct service service;
    service_open(&service, loop, IO_TCP, "127.0.0.1", NULL);
    struct io_listener *second = NULL;
    struct text why = {0};
    assert_int_equal(io_listen(loop, &service.address, NULL, &second, &why), ERR_BUSY);
    assert_non_null(strstr(text_cstr(&why), "EADDRINUSE"));
    text_clear(&why);
    struct io_address wrong = {.transport = IO_TCP, .host = "192.0.2.77"};
    assert_int_equal(io_listen(loop, &wrong, NULL, &second, &why), ERR_ADDRESS);
    text_fini(&why);
    io_loop_destroy(loop);
}

static void time_over(void *user)
{
    *(bool *)user = true;
}

static bool is_set(void *user)
{
    return *(bool *)user;
}

static void run_for(struct io_loop *loop, double seconds)
{
    bool over = false;
    struct io_timer *timer = io_timer_create(loop, time_over, &over);
    io_timer_start(timer, seconds, 0);
    run_until(loop, is_set, &over);
    io_timer_destroy(timer);
}

/* A peer that connects and says nothing is cut off at the time that its user set; if that was called off, it
 * stays. */
static void test_expected_word(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct pair *silent = pair_open(loop, IO_TCP, "127.0.0.1");
    io_stream_expect(silent->service.side.stream, 0.02);
    io_stream_expect(silent->service.side.stream, 0);
    io_stream_expect(silent->client.stream, 0.05);
    run_until(loop, both_closed, silent);
    assert_int_equal(silent->client.code, ERR_TIMEOUT);
    assert_non_null(strstr(silent->client.text, "nothing was said in time"));
    assert_int_equal(silent->service.side.code, ERR_CLOSED);
    pair_close(silent);
}

/* A peer that sends something and is killed: its kernel resets the connection while the bytes wait to be read.
 * They are read, and then the end is seen. */
static void test_reset_behind_bytes(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    for (int i = 0; i < 20; i++) {
        struct service service;
        service_open(&service, loop, IO_TCP, "127.0.0.1", NULL);
        struct sockaddr_in name = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons(service.address.port)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
        run_until(loop, service_has_accepted, &service);
        struct linger at_once = {.l_onoff = 1};
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
        assert_int_equal(send(fd, "half", 4, 0), 4);
        close(fd);
        run_until(loop, side_is_closed, &service.side);
        assert_int_equal(service.side.received_size, 4);
        assert_int_equal(service.side.code, ERR_CLOSED);
        side_fini(&service.side);
        service_close(&service);
    }
    io_loop_destroy(loop);
}

static bool out_of_files_seen(void *user)
{
    struct service *service = user;
    return service->refused_count > 0;
}

/* No file descriptor is left: accepting waits, does not spin, and goes on later. */
static void test_out_of_files(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct service service;
    struct side client = {0};
    service_open(&service, loop, IO_TCP, "127.0.0.1", NULL);
    dial(&service, &client);
    int last = dup(0);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = {.rlim_cur = (rlim_t)last, .rlim_max = before.rlim_max};
    close(last);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    run_until(loop, out_of_files_seen, &service);
    assert_non_null(strstr(service.text, "raise the limit of open files"));
    run_for(loop, 0.35); /* it has tried again more than once since */
    assert_int_equal(service.refused_count, 1);
    assert_int_equal(service.accepted_count, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    run_until(loop, service_has_accepted, &service);
    io_loop_destroy(loop);
}

/* ---- unix sockets ---- */

static void unix_path(char *out_path, size_t size)
{
    snprintf(out_path, size, "/tmp/cask-test-%d.sock", (int)getpid());
}

static void test_unix(void **state)
{
    (void)state;
    char path[64];
    unix_path(path, sizeof path);
    echo_on(IO_UNIX, path);
    struct stat status;
    assert_int_not_equal(stat(path, &status), 0); /* removed by the listener */
}

/* The socket file of a server that was killed is taken over; that of a living one is not, nor is a
 * file that is no socket. */
static void test_unix_stale(void **state)
{
    (void)state;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    unix_path(name.sun_path, sizeof name.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 1), 0);
    struct io_loop *loop = io_loop_create();
    struct io_address address = {.transport = IO_UNIX};
    snprintf(address.host, sizeof address.host, "%s", name.sun_path);
    struct io_listener *listener = NULL;
    struct text why = {0};
    assert_int_equal(io_listen(loop, &address, NULL, &listener, &why), ERR_BUSY);
    close(fd);
    assert_int_equal(io_listen(loop, &address, NULL, &listener, &why), OK);
    struct stat status;
    assert_int_equal(stat(name.sun_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    io_listener_close(listener);

    FILE *file = fopen(name.sun_path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(io_listen(loop, &address, NULL, &listener, &why), ERR_BUSY);
    unlink(name.sun_path);
    memset(address.host, 'x', IO_HOST_MAX - 1);
    assert_int_equal(io_listen(loop, &address, NULL, &listener, &why), ERR_ADDRESS);
    struct side client = {0};
    client.stream = io_connect(loop, &address, NULL, &side_events, &client);
    run_until(loop, side_is_closed, &client);
    assert_int_equal(client.code, ERR_ADDRESS);
    text_fini(&why);
    io_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_ipv4),
        cmocka_unit_test(test_echo_ipv6),
        cmocka_unit_test(test_echo_name),
        cmocka_unit_test(test_any_address),
        cmocka_unit_test(test_echo_bulk),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_end_while_paused),
        cmocka_unit_test(test_last_words_while_paused),
        cmocka_unit_test(test_empty_parts),
        cmocka_unit_test(test_many_parts),
        cmocka_unit_test(test_close_flushes),
        cmocka_unit_test(test_abort_while_writing),
        cmocka_unit_test(test_peer_aborts),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_destroy_with_open_streams),
        cmocka_unit_test(test_write_before_open),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_listen_in_use),
        cmocka_unit_test(test_expected_word),
        cmocka_unit_test(test_reset_behind_bytes),
        cmocka_unit_test(test_out_of_files),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
