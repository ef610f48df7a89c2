/* The kernel ended an executor for memory: what its certificate says, by what is known. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "exec/death.h"

#define MIB (1u << 20)

static void says(const struct executor_death *death, const char *wanted)
{
    struct text summary = {0};
    executor_death_summary(death, &summary);
    assert_string_equal(text_cstr(&summary), wanted);
    text_fini(&summary);
}

/* It has reached the limit of its own cgroup; pages are charged in batches. */
static void test_its_own_limit(void **state)
{
    (void)state;
    const struct executor_death death = {.pid = 12,
                                         .signal_number = SIGKILL,
                                         .has_cgroup = true,
                                         .oom_kills = 1,
                                         .memory_held = 400 * MIB - 4096,
                                         .memory_max = 400 * MIB};
    assert_true(executor_death_is_oom(&death));
    says(&death,
         "the executor (process 12) was ended by SIGKILL (Killed): the kernel ended it because "
         "memory was out (OOM kill): it held 400.00 MiB of its limit of 400.00 MiB");
}

/* Others have used up what it was to have. */
static void test_anothers_limit(void **state)
{
    (void)state;
    const struct executor_death death = {.pid = 12,
                                         .signal_number = SIGKILL,
                                         .has_cgroup = true,
                                         .oom_kills = 1,
                                         .memory_held = 100 * MIB,
                                         .memory_max = 400 * MIB};
    says(&death,
         "the executor (process 12) was ended by SIGKILL (Killed): the kernel ended it because "
         "memory was out (OOM kill): it held 100.00 MiB of its limit of 400.00 MiB, so it was "
         "the machine, or a cgroup above, that had no more");
}

/* Version 2 before Linux 5.19 does not tell what was held at most. */
static void test_no_peak(void **state)
{
    (void)state;
    const struct executor_death death = {.pid = 12,
                                         .signal_number = SIGKILL,
                                         .has_cgroup = true,
                                         .oom_kills = 1,
                                         .memory_max = 400 * MIB};
    says(&death,
         "the executor (process 12) was ended by SIGKILL (Killed): the kernel ended it because "
         "memory was out (OOM kill): its limit was 400.00 MiB");
}

/* Without one of its own only the count of the worker's is known, not whose limit it was. */
static void test_no_group_of_its_own(void **state)
{
    (void)state;
    const struct executor_death death = {.pid = 12,
                                         .signal_number = SIGKILL,
                                         .oom_kills = 1,
                                         .memory_held = 100 * MIB,
                                         .memory_max = 400 * MIB};
    says(&death,
         "the executor (process 12) was ended by SIGKILL (Killed): the kernel ended it because "
         "memory was out (OOM kill)");
}

/* A SIGKILL without a kill of the kernel's in its group came from somebody, however much it held. */
static void test_somebody_else(void **state)
{
    (void)state;
    const struct executor_death death = {.pid = 12,
                                         .signal_number = SIGKILL,
                                         .has_cgroup = true,
                                         .memory_held = 400 * MIB,
                                         .memory_max = 400 * MIB};
    assert_false(executor_death_is_oom(&death));
    says(&death, "the executor (process 12) was ended by SIGKILL (Killed), sent from outside");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_its_own_limit), cmocka_unit_test(test_anothers_limit),
        cmocka_unit_test(test_no_peak),       cmocka_unit_test(test_no_group_of_its_own),
        cmocka_unit_test(test_somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
