/* Error codes: the table is complete and its numbers are stable. */
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(error_name(OK), "OK");
    assert_string_equal(error_name(ERR_TRUNCATED), "TRUNCATED");
    assert_int_equal(ERR_TRUNCATED, -1);
    assert_int_equal(ERR_LIMIT, -3);
    assert_int_equal(ERR_PLANNER, -16);
    assert_string_equal(error_name(-9999), "UNKNOWN");
    assert_string_equal(error_name(1), "UNKNOWN");
}

/* A message to the user is built of meaning and advice, so both must be there for every code. */
static void test_every_code_has_texts(void **state)
{
    (void)state;
    static const int CODES[] = {
        OK,
#define ERROR(id, number, meaning, try_) ERR_##id,
#include "base/error.def"
    };
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        assert_true(CODES[i] <= 0);
        assert_string_not_equal(error_name(CODES[i]), "UNKNOWN");
        assert_true(strlen(error_meaning(CODES[i])) > 5);
        assert_true(strlen(error_advice(CODES[i])) > 5);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(CODES[i], CODES[j]);
            assert_string_not_equal(error_name(CODES[i]), error_name(CODES[j]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_code_has_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
