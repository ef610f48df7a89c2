/* crash_handler.c: a library for executors: fatal signals wait for the worker to look.
 *
 * The handler runs on a stack of its own, so that a stack overflow can be told, and makes only
 * system calls. It writes a record to the crash line and waits for one byte: meanwhile the worker
 * unwinds this thread (exec/crash.c). Then it calls the handler that was there before, faulthandler's,
 * which prints Python frames and lets the signal do what it does.
 * Stands alone: no other file of cask, no Python API; `python -m cask.executor` loads it by ctypes. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exec/crash_record.h"

/* Room for faulthandler's printing, which runs on it too. */
#define STACK_SIZE (256u * 1024)

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#define FATAL_COUNT (sizeof fatal_signals / sizeof fatal_signals[0])

/* Signal handlers have nothing but globals. Written before the first handler can run. */
static int line = -1;
static struct sigaction before[FATAL_COUNT];
/* The thread that crashed first; others wait behind it and are ended with it. */
static atomic_int crashing_thread;

static void report(int number, const siginfo_t *info, uint32_t thread)
{
    struct crash_record record = {
        .magic = CRASH_MAGIC,
        .signal_number = (uint32_t)number,
        .code = info->si_code,
        .thread = thread,
        .address = (uint64_t)(uintptr_t)info->si_addr,
    };
    if (write(line, &record, sizeof record) != sizeof record) {
        return; /* nobody is there to look */
    }
    struct pollfd answer = {.fd = line, .events = POLLIN};
    int ready;
    do {
        ready = poll(&answer, 1, CRASH_WAIT_MS);
    } while (ready < 0 && errno == EINTR);
    char byte;
    if (ready > 0 && read(line, &byte, 1) < 0) {
        return; /* it went away: go on dying */
    }
}

static void go_on(int number, siginfo_t *info, void *context)
{
    for (size_t i = 0; i < FATAL_COUNT; i++) {
        if (fatal_signals[i] != number) {
            continue;
        }
        (void)sigaction(number, &before[i], NULL);
        if ((before[i].sa_flags & SA_SIGINFO) != 0) {
            before[i].sa_sigaction(number, info, context);
        } else if (before[i].sa_handler != SIG_DFL && before[i].sa_handler != SIG_IGN) {
            before[i].sa_handler(number);
        }
    }
    (void)raise(number); /* if that came back: now by default */
}

static void on_fatal(int number, siginfo_t *info, void *context)
{
    int thread = (int)syscall(SYS_gettid);
    int none = 0;
    if (atomic_compare_exchange_strong(&crashing_thread, &none, thread)) {
        report(number, info, (uint32_t)thread);
    } else if (none != thread) {
        for (;;) {
            pause(); /* the first crash ends the process */
        }
    }
    go_on(number, info, context);
}

__attribute__((visibility("default"))) void cask_crash_install(int crash_line);
__attribute__((visibility("default"))) void cask_crash_thread(void);

/* Catch fatal signals of this process from now on. Call after faulthandler.enable(); again in a forked process,
 * whose line is another one. */
void cask_crash_install(int crash_line)
{
    bool is_installed = line >= 0;
    line = crash_line;
    if (is_installed) {
        return; /* what was there before us is known */
    }
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    action.sa_sigaction = on_fatal;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FATAL_COUNT; i++) {
        (void)sigaction(fatal_signals[i], &action, &before[i]);
    }
}

/* Give the calling thread a stack for the handler. It is kept until the process ends: a thread that
 * ends could still be inside its handler. */
void cask_crash_thread(void)
{
    stack_t stack = {.ss_size = STACK_SIZE, .ss_sp = malloc(STACK_SIZE)};
    if (stack.ss_sp != NULL && sigaltstack(&stack, NULL) != 0) {
        free(stack.ss_sp); /* overflows of this thread then end it unseen */
    }
}
