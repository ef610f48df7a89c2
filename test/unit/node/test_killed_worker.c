/* What KilledWorker says in short: how the attempts at a task ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "node/killed_worker.h"

#define AT_ALICE "tcp://h:1 (name: 'alice'), 2026-01-01 00:00:00 UTC: "
#define LOST_BOB "tcp://h:2 (name: 'bob') was lost on 2026-01-01 00:00:01 UTC"
#define SEGFAULT "was ended by SIGSEGV (Segmentation fault) at address 0x10"
#define FRAMES "\n    it ran for 1.0 s\n    native frames:\n      #0 f: the executor (process 1)"

static void says(const char *attempts, uint32_t count, const char *expected)
{
    struct text said = {0};
    killed_worker_summary(span_of(attempts, strlen(attempts)), count, &said);
    assert_string_equal(text_cstr(&said), expected);
    text_fini(&said);
}

/* One attempt, as where no failure is allowed. */
static void test_one(void **state)
{
    (void)state;
    says(AT_ALICE "the executor (process 41) " SEGFAULT FRAMES, 1, "the executor " SEGFAULT);
    says(AT_ALICE "the executor (process 41) exited with status 7\n", 1,
         "the executor exited with status 7");
    says(LOST_BOB, 1, "the worker was lost");
    says(LOST_BOB ": its connection broke", 1, "the worker was lost: its connection broke");
}

/* The same end each time, in processes of other numbers; then another one. */
static void test_several(void **state)
{
    (void)state;
    says(AT_ALICE "the executor (process 41) " SEGFAULT FRAMES "\n" AT_ALICE
                  "the executor (process 42) " SEGFAULT FRAMES,
         2, "2 times the executor " SEGFAULT);
    says(AT_ALICE "the executor (process 41) " SEGFAULT FRAMES "\n" LOST_BOB, 2,
         "2 attempts failed, the last: the worker was lost");
}

/* Lines that workers sent: nothing is expected of them. */
static void test_odd(void **state)
{
    (void)state;
    says("", 4, "4 times the process that ran it died");
    says("no time", 1, "the process that ran it died");
    says("x UTC: the executor (process 4", 1, "the executor (process 4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
