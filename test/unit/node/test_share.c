/* Sharing between workers of one host: a server, and callers that are near, far, foreign or lying. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "node/config.h"
#include "node/connection.h"
#include "node/listen.h"
#include "node/rpc.h"
#include "node/share.h"
#include "wire/msgpack.h"

enum { SIZE = 1 << 20 };

/* A server that answers every call with the same frames, and a pool that calls it. */
struct bench {
    struct io_loop *loop;
    struct config *config;
    struct arena scratch;
    struct store_segments *segments;
    struct comm_settings settings, far; /* of the server; of who does not share */
    struct server server;
    struct rpc_pool *near_pool, *far_pool;
    struct frames answer;
    uint32_t answered;
    int code;
    struct frames got;
};

static void dispatch(void *user, struct request *request, const struct message *message)
{
    struct bench *bench = user;
    struct outgoing out;
    (void)message;
    outgoing_init(&out);
    msgpack_write_nil(&out.head);
    for (uint32_t i = 0; i < bench->answer.count; i++) {
        outgoing_add_frame(&out, slice_ref(bench->answer.items[i]));
    }
    request_reply(request, &out);
    outgoing_fini(&out);
}

static const struct server_events server_events = {.dispatch = dispatch};

static void end_turn(void *user)
{
    struct bench *bench = user;
    connections_go_on(&bench->server);
}

static int setup(void **state)
{
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    struct text why = {0};
    struct listen_options wanted = {.role = "worker", .host = "127.0.0.1", .port = "0"};
    bench->loop = io_loop_create();
    assert_int_equal(config_create(&bench->config, &why), OK);
    arena_init(&bench->scratch);
    bench->segments = store_segments_create(&(struct store_segments_options){
        .loop = bench->loop, .idle_bytes_max = SIZE, .idle_seconds = 0.01, .count_max = 1000});
    bench->settings = bench->far =
        (struct comm_settings){.loop = bench->loop, .connect_timeout = 30};
    bench->server = (struct server){.loop = bench->loop,
                                    .config = bench->config,
                                    .comm_settings = &bench->settings,
                                    .events = &server_events,
                                    .user = bench,
                                    .scratch = &bench->scratch};
    server_init(&bench->server, PORT_WORKER_RPC);
    assert_int_equal(listen_all(&bench->server, &wanted, &why), OK);
    bench->settings.share = share_create(&bench->server, bench->segments);
    assert_non_null(bench->settings.share);
    bench->near_pool = rpc_pool_create(&bench->settings, 10);
    bench->far_pool = rpc_pool_create(&bench->far, 10);
    io_loop_on_turn(bench->loop, end_turn, bench);
    text_fini(&why);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    frames_fini(&bench->answer);
    frames_fini(&bench->got);
    listen_stop(&bench->server);
    share_stop(bench->settings.share);
    rpc_pool_destroy(bench->near_pool);
    rpc_pool_destroy(bench->far_pool);
    store_segments_close(bench->segments);
    io_loop_destroy(bench->loop);
    share_destroy(bench->settings.share);
    server_fini(&bench->server);
    assert_int_equal(store_segments_bytes(bench->segments), 0);
    store_segments_unref(bench->segments);
    arena_fini(&bench->scratch);
    config_destroy(bench->config);
    mem_free(bench);
    return 0;
}

/* The server's answer gets a frame of SIZE bytes in a segment of its own. */
static void add_shared(struct bench *bench, uint8_t content)
{
    uint8_t *data;
    struct buf *segment = store_segment_take(bench->segments, SIZE, &data);
    assert_non_null(segment);
    memset(data, content, SIZE);
    frames_add(&bench->answer, slice_create(segment, span_of(data, SIZE)));
    buf_unref(segment);
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct bench *bench = user;
    (void)text;
    bench->code = code;
    bench->answered++;
    frames_clear(&bench->got);
    for (uint32_t i = 0; reply != NULL && i < reply->count; i++) {
        frames_add(&bench->got, slice_ref(reply->items[i]));
    }
    io_loop_stop(bench->loop);
}

static void call(struct bench *bench, struct rpc_pool *pool)
{
    struct outgoing out;
    uint32_t before = bench->answered;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 2);
    msgpack_write_cstr(&out.head, "op");
    msgpack_write_cstr(&out.head, "get_data");
    msgpack_write_cstr(&out.head, "keys");
    msgpack_write_array(&out.head, 0);
    const struct rpc_options options = {.shares = true, .done = answered, .user = bench};
    rpc_call(pool, text_span(&bench->server.address), &out, &options);
    outgoing_fini(&out);
    io_loop_run(bench->loop);
    assert_int_equal(bench->answered, before + 1);
}

static void expect_answer(struct bench *bench)
{
    assert_int_equal(bench->code, OK);
    assert_int_equal(bench->got.count, 1 + bench->answer.count);
    for (uint32_t i = 0; i < bench->answer.count; i++) {
        assert_true(
            span_equal(slice_span(bench->got.items[i + 1]), slice_span(bench->answer.items[i])));
    }
}

static uint64_t received(const struct bench *bench)
{
    return share_counts(bench->settings.share)->received_bytes;
}

/* Two workers of one host: the first call already, and the second over the same connection. What lies in no segment comes
 * as ever. */
static void test_near(void **state)
{
    struct bench *bench = *state;
    frames_add(&bench->answer, slice_copy(SPAN("in no segment")));
    add_shared(bench, 1);
    add_shared(bench, 2);
    call(bench, bench->near_pool);
    expect_answer(bench);
    assert_int_equal(received(bench), 2 * SIZE);
    assert_true(bench->got.items[2].data != bench->answer.items[1].data); /* its own mapping */
    assert_int_equal(share_counts(bench->settings.share)->sent_bytes, 2 * SIZE);
    call(bench, bench->near_pool);
    expect_answer(bench);
    assert_int_equal(received(bench), 4 * SIZE);
}

/* More values than descriptors fit into one message: the rest is sent. */
static void test_many(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < SHARE_DESCRIPTORS_MAX + 6; i++) {
        add_shared(bench, (uint8_t)i);
    }
    call(bench, bench->near_pool);
    expect_answer(bench);
    assert_int_equal(received(bench), (uint64_t)SHARE_DESCRIPTORS_MAX * SIZE);
}

/* A caller that does not share (the setting is off; stock) is sent all bytes by the same server. */
static void test_far(void **state)
{
    struct bench *bench = *state;
    add_shared(bench, 3);
    call(bench, bench->far_pool);
    expect_answer(bench);
    assert_int_equal(received(bench), 0);
}

/* The offer cannot be taken up, as from another host or another network namespace: the bytes are asked for where
 * they can be, by this call and by the next. */
static void test_out_of_reach(void **state)
{
    struct bench *bench = *state;
    add_shared(bench, 4);
    share_stop(bench->settings.share);
    for (int i = 0; i < 2; i++) {
        call(bench, bench->near_pool);
        expect_answer(bench);
    }
    assert_int_equal(received(bench), 0);
}

static void stop_loop(void *user)
{
    io_loop_stop(user);
}

/* Bytes that a child of user `user` (0: ours) reads at the socket until it is closed or 1 byte has come. */
static int read_as(struct bench *bench, uid_t user)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *text = share_name(bench->settings.share);
    size_t size = strlen(text);
    memcpy(name.sun_path + 1, text + 1, size - 1);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        bool good = (user == 0 || setuid(user) == 0) &&
                    connect(fd, (struct sockaddr *)&name,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) == 0;
        _exit(good ? (int)(read(fd, &byte, 1) > 0) : 9);
    }
    int status;
    struct io_timer *timer = io_timer_create(bench->loop, stop_loop, bench->loop);
    while (waitpid(child, &status, WNOHANG) == 0) {
        io_timer_start(timer, 0.01, 0);
        io_loop_run(bench->loop);
    }
    io_timer_destroy(timer);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Whoever is not our user is not even greeted. Only root can play somebody else; others play themselves. */
static void test_other_users(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(read_as(bench, 0), 1);
    assert_int_equal(read_as(bench, geteuid() == 0 ? 12345 : 0), geteuid() == 0 ? 0 : 1);
}

/* ---- a peer that lies -------------------------------------------------------------------------- */

static int sealed_memory(int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* Unpack a message of frame 0, an empty frame and one of 3 bytes, with a table of one descriptor and one place. */
static int unpack(struct bench *bench, int fd, const uint64_t place[4])
{
    struct frames message = {0};
    struct share_descriptors waiting = {.items = {fd}, .count = fd >= 0};
    struct text table = {0}, why = {0};
    msgpack_write_array(&table, 2);
    msgpack_write_uint(&table, 1);
    msgpack_write_array(&table, 1);
    msgpack_write_array(&table, 4);
    for (int i = 0; i < 4; i++) {
        msgpack_write_uint(&table, place[i]);
    }
    frames_add(&message, slice_copy(SPAN("\xc0")));
    frames_add(&message, slice_copy(SPAN("")));
    frames_add(&message, slice_copy(SPAN("abc")));
    frames_add(&message, slice_copy(text_span(&table)));
    int code = share_unpack(bench->settings.share, &message, &waiting, &why);
    assert_int_equal(code == OK, why.size == 0);
    assert_int_equal(waiting.count, 0);
    if (code == OK) {
        assert_int_equal(message.count, 3);
        assert_int_equal(message.items[1].size, place[3]);
    }
    frames_fini(&message);
    text_fini(&table);
    text_fini(&why);
    return code;
}

/* Memory that could shrink under our hands would kill us; a place outside of it, too. */
static void test_lies(void **state)
{
    struct bench *bench = *state;
    enum { GOOD = F_SEAL_SHRINK | F_SEAL_GROW };
    const uint64_t whole[4] = {1, 0, 0, SIZE};
    static const uint64_t wrong[][4] = {
        {0, 0, 0, SIZE},                /* in the place of the head */
        {2, 0, 0, SIZE},                /* of a frame that was sent */
        {3, 0, 0, SIZE},                /* of one that is not there */
        {UINT64_MAX, 0, 0, SIZE},       /* of none */
        {1, 1, 0, SIZE},                /* out of a descriptor that did not come */
        {1, 0, 1, SIZE},                /* beyond the end */
        {1, 0, UINT64_MAX, SIZE},       /* … by far */
        {1, 0, 0, UINT64_MAX},          /* too large */
        {1, 0, 0, SHARE_FRAME_MIN - 1}, /* so small that it could be a sub-header */
    };
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(before);
    assert_int_equal(unpack(bench, sealed_memory(GOOD), whole), OK);
    assert_int_equal(unpack(bench, sealed_memory(F_SEAL_GROW), whole), ERR_MALFORMED);
    assert_int_equal(unpack(bench, open("/dev/zero", O_RDONLY), whole), ERR_MALFORMED);
    assert_int_equal(unpack(bench, -1, whole), ERR_MALFORMED);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(unpack(bench, sealed_memory(GOOD), wrong[i]), ERR_MALFORMED);
    }
    int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    assert_int_equal(before, after); /* every descriptor was closed */
    assert_int_equal(store_segments_bytes(bench->segments), 0);
}

static void test_no_table(void **state)
{
    struct bench *bench = *state;
    struct share_descriptors none = {.count = 0};
    for (uint32_t count = 1; count <= 2; count++) {
        struct frames message = {0};
        struct text why = {0};
        for (uint32_t i = 0; i < count; i++) {
            frames_add(&message, slice_copy(SPAN("\xc0")));
        }
        assert_int_equal(share_unpack(bench->settings.share, &message, &none, &why), ERR_MALFORMED);
        frames_fini(&message);
        text_fini(&why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_near, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_far, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_reach, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_users, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_table, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
