/* Names and addresses. */
#include "unit/io/support.h"

static void expect_printed(enum io_transport transport, const char *host, uint16_t port,
                           const char *printed)
{
    struct io_address address = {.transport = transport, .port = port};
    snprintf(address.host, sizeof address.host, "%s", host);
    struct text text = {0};
    io_address_print(&address, &text);
    assert_string_equal(text_cstr(&text), printed);
    text_fini(&text);
}

static void test_print(void **state)
{
    (void)state;
    expect_printed(IO_TCP, "127.0.0.1", 8786, "tcp://127.0.0.1:8786");
    expect_printed(IO_TLS, "::1", 1, "tls://[::1]:1");
    expect_printed(IO_WS, "host.example", 80, "ws://host.example:80");
    expect_printed(IO_WSS, "host.example", 443, "wss://host.example:443");
    expect_printed(IO_UNIX, "/tmp/x.sock", 0, "unix:///tmp/x.sock");
}

static void test_numeric(void **state)
{
    (void)state;
    assert_true(io_is_numeric("10.1.2.3"));
    assert_true(io_is_numeric("::1"));
    assert_true(io_is_numeric("fd00::2"));
    assert_false(io_is_numeric("localhost"));
    assert_false(io_is_numeric("10.1.2.300"));
    assert_false(io_is_numeric("[::1]"));
}

struct answer {
    uint32_t count;
    int code;
    char text[512];
};

static void on_resolved(void *user, int code, const char *text)
{
    struct answer *answer = user;
    answer->count++;
    answer->code = code;
    snprintf(answer->text, sizeof answer->text, "%s", text);
}

static bool is_answered(void *user)
{
    const struct answer *answer = user;
    return answer->count > 0;
}

static void resolve(struct io_loop *loop, const char *host, struct answer *answer)
{
    *answer = (struct answer){0};
    io_resolve(loop, host, on_resolved, answer);
    assert_int_equal(answer->count, 0); /* never inside the call */
    run_until(loop, is_answered, answer);
    assert_int_equal(answer->count, 1);
}

static void test_resolve(void **state)
{
    (void)state;
    struct io_loop *loop = io_loop_create();
    struct answer answer;
    resolve(loop, "10.1.2.3", &answer);
    assert_int_equal(answer.code, OK);
    assert_string_equal(answer.text, "10.1.2.3");
    resolve(loop, "localhost", &answer);
    assert_int_equal(answer.code, OK);
    assert_true(io_is_numeric(answer.text));
    resolve(loop, "no-such-host.invalid", &answer);
    assert_int_equal(answer.code, ERR_ADDRESS);
    assert_non_null(strstr(answer.text, "no-such-host.invalid"));
    resolve(loop, "", &answer);
    assert_int_equal(answer.code, ERR_ADDRESS);
    io_loop_destroy(loop);
}

static void test_interface(void **state)
{
    (void)state;
    char host[IO_HOST_MAX];
    struct text why = {0};
    assert_int_equal(io_interface_address("lo", host, &why), OK);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(io_interface_address("no-such-0", host, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(text_cstr(&why), "'no-such-0' is not a valid network interface"));
    assert_non_null(strstr(text_cstr(&why), "'lo'"));
    text_fini(&why);
}

static void test_outward(void **state)
{
    (void)state;
    char host[IO_HOST_MAX];
    io_outward_address("127.0.0.1", host);
    assert_string_equal(host, "127.0.0.1");
    io_outward_address("::1", host);
    assert_string_equal(host, "::1");
    io_outward_address(NULL, host);
    assert_true(io_is_numeric(host));
    io_host_name(host);
    assert_true(strlen(host) > 0);
    uint64_t files = io_open_files_max();
    assert_true(files >= 64);
    assert_int_equal(io_open_files_max(), files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print),   cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_resolve), cmocka_unit_test(test_interface),
        cmocka_unit_test(test_outward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
