/* Memory that is always there: sizes of zero, overflow, running out. */
#include "base/alloc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A size of zero arises from empty frames and empty lists; the answer is still a pointer. */
static void test_zero_sizes(void **state)
{
    (void)state;
    void *a = mem_alloc(0);
    void *b = mem_zalloc(0, 8);
    void *c = mem_copy(NULL, 0);
    void *d = mem_resize(NULL, 0, 4);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(NULL);
}

/* Growing keeps what was there, and zalloc zeroes. */
static void test_contents(void **state)
{
    (void)state;
    uint8_t *zeroed = mem_zalloc(7, 3);
    for (int i = 0; i < 21; i++) {
        assert_int_equal(zeroed[i], 0);
        zeroed[i] = (uint8_t)i;
    }
    uint8_t *grown = mem_resize(zeroed, 1000, 5);
    for (int i = 0; i < 21; i++) {
        assert_int_equal(grown[i], i);
    }
    uint8_t *copy = mem_copy(grown, 21);
    assert_memory_equal(copy, grown, 21);
    mem_free(copy);
    mem_free(grown);
}

/* Run `act` in a child whose stderr goes to `report`; give the signal that ended it. */
static int signal_of(void (*act)(void), char *report, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        act();
        _exit(0);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], report, size - 1);
    close(ends[0]);
    report[got > 0 ? got : 0] = '\0';
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void overflow(void)
{
    mem_free(mem_zalloc(SIZE_MAX / 2, 3));
}

/* count × size beyond SIZE_MAX must never become a small allocation. */
static void test_overflow_aborts(void **state)
{
    (void)state;
    char report[256];
    assert_int_equal(signal_of(overflow, report, sizeof report), SIGABRT);
    assert_non_null(strstr(report, "out of memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_sizes),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_overflow_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
