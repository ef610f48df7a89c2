/* Buffers, slices and blobs: who holds which reference. */
#include "base/blob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A slice keeps its buffer alive after the creator let go; the last one frees (ASan tells). */
static void test_slice_outlives_creator(void **state)
{
    (void)state;
    struct buf *buf = buf_copy(SPAN("header payload"));
    struct slice payload = slice_create(buf, span_of(buf->data + 7, 7));
    struct slice second = slice_ref(payload);
    assert_int_equal(buf->refs, 3);
    buf_unref(buf);
    slice_fini(&payload);
    assert_null(payload.owner);
    assert_true(span_equal_text(slice_span(second), "payload"));
    slice_fini(&second);
    slice_fini(&second);
}

/* Frames of length zero are legal on the wire and arise from empty arrays. */
static void test_empty(void **state)
{
    (void)state;
    struct buf *buf = buf_create(0);
    struct slice nothing = slice_create(buf, span_of(buf->data, 0));
    buf_unref(buf);
    slice_fini(&nothing);
    struct slice copy = slice_copy((struct span){0});
    assert_int_equal(copy.size, 0);
    slice_fini(&copy);
    buf_unref(NULL);
}

/* Text that is compiled in travels as a slice without an owner. */
static void test_static_slice(void **state)
{
    (void)state;
    struct slice fixed = {(const uint8_t *)"OK", 2, NULL};
    struct slice again = slice_ref(fixed);
    slice_fini(&fixed);
    assert_true(span_equal_text(slice_span(again), "OK"));
    slice_fini(&again);
}

static void note_release(void *user)
{
    *(bool *)user = true;
}

/* Frames in shared memory: slices and a loan of it keep the mapping, the last one gives it back. */
static void test_foreign(void **state)
{
    (void)state;
    static const uint8_t mapped[] = "mapped bytes";
    bool released = false;
    struct buf *buf = buf_foreign(span_of(mapped, 12), note_release, &released);
    struct slice part = slice_create(buf, span_of(mapped + 7, 5));
    buf_unref(buf);
    assert_ptr_equal(part.data, mapped + 7);
    struct slice lent = slice_loan(slice_ref(part));
    struct slice of_loan = slice_create(lent.owner, span_of(mapped, 6));
    assert_false(buf_is_alone(lent.owner));
    slice_fini(&lent);
    slice_fini(&part);
    assert_true(buf_is_alone(of_loan.owner));
    assert_false(released);
    slice_fini(&of_loan);
    assert_true(released);
}

/* A run_spec goes to several workers: the blob's frames live until the last one has it. */
static void test_blob(void **state)
{
    (void)state;
    struct blob *blob = blob_create(slice_copy(SPAN("\x81")), 3);
    blob->frames[0] = slice_copy(SPAN("pickle"));
    blob->frames[2] = slice_ref(blob->frames[0]);
    assert_int_equal(blob_size(blob), 13);
    assert_int_equal(blob->frames[0].owner->refs, 2);
    assert_ptr_equal(blob_ref(blob), blob);
    blob_unref(blob);
    assert_int_equal(blob->refs, 1);
    blob_unref(blob);
    blob_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slice_outlives_creator),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_static_slice),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
