/* The handshake: what stock says of itself is understood, and what is missing is named. */
#include "wire/handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect_error(struct span frame, int code, const char *text)
{
    struct handshake theirs;
    struct text error = {0};
    assert_int_equal(handshake_decode(frame, &theirs, &error), code);
    assert_string_equal(text_cstr(&error), text);
    text_fini(&error);
}

/* Ours is what stock writes, byte for byte (captures 01), with our version. */
static void test_ours(void **state)
{
    (void)state;
    struct outgoing out = {0};
    struct handshake ours = handshake_ours(COMPRESS_NONE);
    handshake_encode(&ours, &out);
    struct span expected = SPAN("\x83\xab"
                                "compression\xc0\xa6python\x93\x03\x0b\x00\xafpickle-protocol\x05");
    assert_true(span_equal(text_span(&out.head), expected));
    struct handshake read;
    struct text error = {0};
    assert_int_equal(handshake_decode(text_span(&out.head), &read, &error), OK);
    assert_int_equal(read.pickle_protocol, 5);
    assert_int_equal(read.python[1], 11);
    assert_int_equal(read.compression, COMPRESS_NONE);
    outgoing_fini(&out);
}

/* `python` may be absent; an unknown compression counts as none. */
static void test_theirs(void **state)
{
    (void)state;
    struct handshake theirs;
    struct text error = {0};
    assert_int_equal(handshake_decode(SPAN("\x82\xafpickle-protocol\x04\xab"
                                           "compression\xa3lz4"),
                                      &theirs, &error),
                     OK);
    assert_int_equal(theirs.pickle_protocol, 4);
    assert_int_equal(theirs.compression, COMPRESS_LZ4);
    assert_int_equal(theirs.python[0], 0);
    assert_int_equal(handshake_decode(SPAN("\x82\xafpickle-protocol\x05\xab"
                                           "compression\xa5"
                                           "blosc"),
                                      &theirs, &error),
                     OK);
    assert_int_equal(theirs.compression, COMPRESS_NONE);
    expect_error(SPAN("\x81\xab"
                      "compression\xc0"),
                 ERR_MISSING, "handshake: field 'pickle-protocol' is missing");
    expect_error(SPAN("\x81\xafpickle-protocol\x05"), ERR_MISSING,
                 "handshake: field 'compression' is missing");
    expect_error(SPAN("\x82\xafpickle-protocol\xff\xab"
                      "compression\xc0"),
                 ERR_TYPE, "handshake: pickle-protocol is out of range");
    expect_error(SPAN("\x90"), ERR_MALFORMED,
                 "handshake: the bytes are not what the format allows");
}

static void test_agree(void **state)
{
    (void)state;
    struct handshake ours = handshake_ours(COMPRESS_ZSTD);
    struct handshake theirs = {.compression = COMPRESS_ZSTD, .pickle_protocol = 4};
    struct handshake agreed = handshake_agree(&ours, &theirs);
    assert_int_equal(agreed.pickle_protocol, 4);
    assert_int_equal(agreed.compression, COMPRESS_ZSTD);
    theirs = (struct handshake){.compression = COMPRESS_LZ4, .pickle_protocol = 6};
    agreed = handshake_agree(&ours, &theirs);
    assert_int_equal(agreed.pickle_protocol, 5);
    assert_int_equal(agreed.compression, COMPRESS_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),
        cmocka_unit_test(test_theirs),
        cmocka_unit_test(test_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
