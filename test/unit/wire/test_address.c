/* Addresses: taken apart as Dask does, put together as peers compare them. */
#include "wire/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *text, const char *printed, const char *host)
{
    struct address address;
    struct text out = {0};
    assert_int_equal(address_parse(span_of_text(text), ADDRESS_TCP, 8786, &address), OK);
    address_print(&out, &address);
    assert_string_equal(text_cstr(&out), printed);
    assert_string_equal(address.host, host);
    text_fini(&out);
}

static void test_good(void **state)
{
    (void)state;
    expect("tcp://127.0.0.1:1234", "tcp://127.0.0.1:1234", "127.0.0.1");
    expect("localhost", "tcp://localhost:8786", "localhost");
    expect("localhost:1", "tcp://localhost:1", "localhost");
    expect(":9000", "tcp://:9000", "");
    expect("", "tcp://:8786", "");
    expect("tls://[::1]:0", "tls://[::1]:0", "::1");
    expect("[fe80::1%eth0]", "tcp://[fe80::1%eth0]:8786", "fe80::1%eth0");
    expect("ws://host:80/ws", "ws://host:80", "host");
    expect("wss://host", "wss://host:8786", "host");
    expect("unix:///run/cask.sock", "unix:///run/cask.sock", "/run/cask.sock");
    expect("tcp://h:65535", "tcp://h:65535", "h");
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "inproc://1/2/3", "http://host:1",  "tcp://h:65536",
        "tcp://h:",       "tcp://h:1x",     "tcp://h:-1",
        "tcp://[::1",     "tcp://[::1]x",   "::1",
        "a:b:c",          "tcp://h/path",   "tcp://a b:1",
        "unix://",        "tcp://h:123456", "tcp://[::1]:",
        "tcp://a]b",
    };
    struct address address;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (address_parse(span_of_text(bad[i]), ADDRESS_TCP, 8786, &address) != ERR_ADDRESS) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    char name[400];
    memset(name, 'h', sizeof name);
    assert_int_equal(address_parse(span_of(name, sizeof name), ADDRESS_TCP, 1, &address),
                     ERR_ADDRESS);
    assert_int_equal(address_parse(span_of("h\0x", 3), ADDRESS_TCP, 1, &address), ERR_ADDRESS);
}

static void test_without_port(void **state)
{
    (void)state;
    struct address address;
    struct text out = {0};
    assert_int_equal(address_parse(SPAN("tcp://h"), ADDRESS_TCP, 0, &address), OK);
    assert_false(address.has_port);
    address_print(&out, &address);
    assert_string_equal(text_cstr(&out), "tcp://h");
    text_fini(&out);
    assert_true(span_equal(address_host(SPAN("tcp://[::1]:80")), SPAN("::1")));
    assert_true(span_equal(address_host(SPAN("10.0.0.1:80")), SPAN("10.0.0.1")));
    assert_int_equal(address_host(SPAN("tcp://[x")).size, 0);
    assert_true(address_is_secure(ADDRESS_WSS));
    assert_false(address_is_secure(ADDRESS_UNIX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_without_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
