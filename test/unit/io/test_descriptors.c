/* Descriptors travel with bytes over unix sockets: in order, whole, and none is left open. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit/io/support.h"

/* ---- an end that collects descriptors beside bytes ---- */

struct end {
    struct side side;
    int fds[16];
    uint32_t fd_count;
    uint64_t bytes_before[16]; /* received when each came */
};

static void on_descriptor(void *user, int fd)
{
    struct end *end = user; /* its first member is what the other events get */
    assert_true(end->fd_count < 16);
    end->bytes_before[end->fd_count] = end->side.received_size;
    end->fds[end->fd_count++] = fd;
}

static const struct io_stream_events end_events = {
    .opened = side_opened,
    .space = side_space,
    .read = side_read,
    .closed = side_closed,
    .descriptor = on_descriptor,
};

struct bench {
    struct io_loop *loop;
    struct io_listener *listener;
    struct side client;
    struct end server;
    uint64_t wanted;
};

static void on_accepted(void *user, struct io_stream *stream)
{
    struct bench *bench = user;
    bench->server.side.stream = stream;
    io_stream_start(stream, &end_events, &bench->server);
}

static const struct io_listen_events accept_events = {.accepted = on_accepted};

static int setup(void **state)
{
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    bench->loop = io_loop_create();
    struct io_address address = {.transport = IO_UNIX};
    snprintf(address.host, sizeof address.host, "/tmp/cask-test-descriptors-%d", getpid());
    struct text why = {0};
    assert_int_equal(io_listen(bench->loop, &address, NULL, &bench->listener, &why), OK);
    text_fini(&why);
    io_listener_start(bench->listener, &accept_events, bench);
    bench->client.stream = io_connect(bench->loop, &address, NULL, &side_events, &bench->client);
    run_until(bench->loop, side_has_stream, &bench->server.side);
    run_until(bench->loop, side_is_opened, &bench->client);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    io_listener_close(bench->listener);
    io_loop_destroy(bench->loop);
    side_fini(&bench->client);
    side_fini(&bench->server.side);
    mem_free(bench);
    return 0;
}

static bool all_came(void *user)
{
    const struct bench *bench = user;
    return bench->server.side.received_size >= bench->wanted;
}

static int file_with(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void assert_holds(int fd, const char *text)
{
    char content[32] = {0};
    assert_int_equal(pread(fd, content, sizeof content - 1, 0), (ssize_t)strlen(text));
    assert_string_equal(content, text);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}

/* Bytes, then two descriptors with one write, then one with another: each comes before the end of its
 * bytes, in the order of sending, and the sender's own are closed. */
static void test_in_order(void **state)
{
    struct bench *bench = *state;
    int pair[2] = {file_with("first"), file_with("second")};
    int third = file_with("third");
    side_write(&bench->client, "plain ");
    io_stream_write_descriptors(bench->client.stream, SPAN("two "), pair, 2);
    side_write(&bench->client, "plain ");
    io_stream_write_descriptors(bench->client.stream, SPAN("one "), &third, 1);
    side_write(&bench->client, "end");
    bench->wanted = 23;
    run_until(bench->loop, all_came, bench);
    assert_string_equal(text_cstr(&bench->server.side.received), "plain two plain one end");
    assert_int_equal(bench->server.fd_count, 3);
    assert_true(bench->server.bytes_before[1] <= 6);
    assert_true(bench->server.bytes_before[2] <= 16);
    assert_holds(bench->server.fds[0], "first");
    assert_holds(bench->server.fds[1], "second");
    assert_holds(bench->server.fds[2], "third");
    /* The numbers may have been used again, for what was just closed. */
    assert_int_equal(fcntl(pair[0], F_GETFD), -1);
    assert_int_equal(fcntl(pair[1], F_GETFD), -1);
    assert_int_equal(fcntl(third, F_GETFD), -1);
}

/* A queue that the peer does not empty at once: descriptors wait in it with their bytes. */
static void test_behind_a_queue(void **state)
{
    struct bench *bench = *state;
    const size_t size = 4u << 20;
    struct text many = {0};
    while (many.size < size) {
        text_add_cstr(&many, "0123456789abcdef");
    }
    struct span part = text_span(&many);
    io_stream_write(bench->client.stream, &part, 1, NULL, NULL);
    assert_true(io_stream_queued(bench->client.stream) > 0);
    int fd = file_with("late");
    io_stream_write_descriptors(bench->client.stream, SPAN("!"), &fd, 1);
    assert_int_not_equal(fcntl(fd, F_GETFD), -1);
    bench->wanted = size + 1;
    run_until(bench->loop, all_came, bench);
    assert_int_equal(bench->server.fd_count, 1);
    assert_true(bench->server.bytes_before[0] <= size);
    assert_holds(bench->server.fds[0], "late");
    text_fini(&many);
}

/* What is written after the end, or still waits at it, is dropped: the descriptors are closed. */
static void test_dropped(void **state)
{
    struct bench *bench = *state;
    struct text many = {0};
    while (many.size < 4u << 20) {
        text_add_cstr(&many, "0123456789abcdef");
    }
    struct span part = text_span(&many);
    io_stream_write(bench->client.stream, &part, 1, NULL, NULL);
    int waiting = file_with("waits");
    int late = file_with("late");
    io_stream_write_descriptors(bench->client.stream, SPAN("!"), &waiting, 1);
    io_stream_abort(bench->client.stream);
    io_stream_write_descriptors(bench->client.stream, SPAN("!"), &late, 1);
    run_until(bench->loop, side_is_closed, &bench->client);
    assert_int_equal(fcntl(waiting, F_GETFD), -1);
    assert_int_equal(fcntl(late, F_GETFD), -1);
    text_fini(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_behind_a_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
