/* Looking at a crashed thread from outside, while its process may end at any moment. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "exec/crash.h"

enum { ROUNDS = 12, STEP_NS = 300000, WAIT_MS = 20000 };

struct victim {
    pid_t pid;
    uint32_t thread; /* not its first */
    sem_t has_looked, may_leave;
};

static void *tell_thread(void *user)
{
    pid_t thread = (pid_t)syscall(SYS_gettid);
    if (write(*(int *)user, &thread, sizeof thread) == (ssize_t)sizeof thread) {
        for (;;) {
            pause();
        }
    }
    _exit(1);
}

static void start_victim(struct victim *victim)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    victim->pid = fork();
    if (victim->pid == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, tell_thread, &ends[1]) == 0) {
            pthread_join(thread, NULL);
        }
        _exit(1);
    }
    assert_int_equal(read(ends[0], &victim->thread, sizeof victim->thread), sizeof victim->thread);
    close(ends[0]);
    close(ends[1]);
    sem_init(&victim->has_looked, 0, 0);
    sem_init(&victim->may_leave, 0, 0);
}

/* A thread of the pool: it looks, and then stays. (The end of one that traces sets free what it traced.) */
static void *look(void *user)
{
    struct victim *victim = user;
    struct text out = {0};
    (void)crash_unwind(victim->pid, victim->thread, &out);
    text_fini(&out);
    sem_post(&victim->has_looked);
    while (sem_wait(&victim->may_leave) != 0) {
    }
    return NULL;
}

static bool has_ended(pid_t pid)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < WAIT_MS; i++) {
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            return true;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

/* A process is killed while one of its threads is being looked at, as by the kernel when memory is short: its end is
 * seen. (A traced thread that is dead holds its process until who traced it has waited for it.) */
static void test_killed_meanwhile(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct victim victim;
        pthread_t looker;
        start_victim(&victim);
        assert_int_equal(pthread_create(&looker, NULL, look, &victim), 0);
        const struct timespec moment = {.tv_nsec = i * STEP_NS};
        nanosleep(&moment, NULL);
        assert_int_equal(kill(victim.pid, SIGKILL), 0);
        assert_int_equal(sem_wait(&victim.has_looked), 0);
        bool is_over = has_ended(victim.pid);
        sem_post(&victim.may_leave);
        assert_int_equal(pthread_join(looker, NULL), 0);
        assert_true(is_over);
    }
}

/* Afterwards it goes on as if nothing had been. */
static void test_goes_on(void **state)
{
    (void)state;
    struct victim victim;
    start_victim(&victim);
    sem_post(&victim.may_leave);
    look(&victim);
    assert_int_equal(waitpid(victim.pid, NULL, WNOHANG), 0);
    assert_int_equal(kill(victim.pid, SIGTERM), 0);
    assert_true(has_ended(victim.pid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_meanwhile),
        cmocka_unit_test(test_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
