/* Trace: what a person sees of a conversation, broken parts included. */
#include "wire/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(struct span head, uint32_t ports, const char *lines)
{
    struct trace trace;
    struct frames frames = {0};
    struct text out = {0};
    trace_init(&trace, ports);
    frames_add(&frames, slice_copy(head));
    trace_message(&trace, &frames, &out);
    assert_string_equal(text_cstr(&out), lines);
    text_fini(&out);
    frames_fini(&frames);
    trace_fini(&trace);
}

static void test_lines(void **state)
{
    (void)state;
    expect(SPAN("\x92\x82\xa2op\xaareport-key\xa3key\x92\xa1x\x00\x81\xa2op\xaakeep-alive"),
           TRACE_TO_SCHEDULER, "report-key key=('x', 0)\nkeep-alive\n");
    expect(SPAN("\x81\xa2op\xa3odd"), TRACE_TO_SCHEDULER, "{'op': 'odd'}\n");
    expect(SPAN("\xa2OK"), TRACE_ANY, "'OK'\n");
    expect(SPAN("\x90"), TRACE_ANY, "[]\n");
    expect(SPAN("\x81\xa2op\xaareport-key"), TRACE_TO_SCHEDULER,
           "! report-key: field 'key' is missing: {'op': 'report-key'}\n");
    expect(SPAN("\x92\xa1"), TRACE_ANY,
           "! frame 0 (2 bytes): the input ends in the middle of a value\n");
    expect(SPAN(""), TRACE_ANY, "! frame 0 (0 bytes): the input ends in the middle of a value\n");
    /* The same op means one thing to a scheduler and another to a worker. */
    expect(SPAN("\x82\xa2op\xa6gather\xa7who_has\x80"), TRACE_TO_WORKER, "gather who_has={}\n");
    expect(SPAN("\x83\xa2op\xa6gather\xa4keys\x90\xa5reply\xc2"), TRACE_ANY,
           "gather keys=[] reply=False\n");
}

static void test_unhex(void **state)
{
    (void)state;
    struct text out = {0};
    assert_int_equal(trace_unhex(SPAN("0a 1B\n2c"), &out), OK);
    assert_true(span_equal(text_span(&out), SPAN("\x0a\x1b\x2c")));
    assert_int_equal(trace_unhex(SPAN("0"), &out), ERR_MALFORMED);
    assert_int_equal(trace_unhex(SPAN("0 a"), &out), ERR_MALFORMED);
    assert_int_equal(trace_unhex(SPAN("0g"), &out), ERR_MALFORMED);
    assert_int_equal(out.size, 3);
    text_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_unhex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
