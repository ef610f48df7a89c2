/* sibling.c: fork, but the new process is a child of our parent. Part of the library for executors.
 *
 * What fork() does beyond the system call, as this is none of libc's: the new thread's number is written where
 * libc keeps the old one (the system knows where that is), and its list of robust mutexes is told to the
 * system again. Functions of pthread_atfork() are not called: they undo what threads do to one another, and
 * there is one thread. Nothing is shared with the process that forks, and it is not told when this one ends.
 * Stands alone: no other file of cask; what Python does around a fork comes as pointers. */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("default"))) int cask_fork_sibling(void (*before)(void),
                                                             void (*after_in_parent)(void),
                                                             void (*after_in_child)(void));

/* Where libc keeps the number of this, the only thread; NULL: unknown. */
static int *find_thread_number(void)
{
    int *number = NULL;
    if (prctl(PR_GET_TID_ADDRESS, &number) != 0 || number == NULL || *number != getpid()) {
        return NULL;
    }
    return number;
}

/* As cask's io/process.c has it for those that the worker starts: who it was made for may be gone by now. */
static void end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(127);
    }
}

/* The new process's number, 0 in it, or -errno. Only with one thread. `before` and so on: what Python calls
 * around a fork, PyOS_BeforeFork and so on; the caller holds its lock. */
int cask_fork_sibling(void (*before)(void), void (*after_in_parent)(void),
                      void (*after_in_child)(void))
{
    int *thread_number = find_thread_number();
    void *robust_list = NULL;
    size_t robust_size = 0;
    if (thread_number == NULL || syscall(SYS_get_robust_list, 0, &robust_list, &robust_size) != 0) {
        return -ENOSYS;
    }
    /* No exit_signal: with CLONE_PARENT it is that of the process that forks. */
    struct clone_args args = {
        .flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
        .child_tid = (uint64_t)(uintptr_t)thread_number,
    };
    pid_t parent = getppid();
    before();
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        end_with(parent);
        (void)syscall(SYS_set_robust_list, robust_list, robust_size);
        after_in_child();
        return 0;
    }
    int result = pid < 0 ? -errno : (int)pid;
    after_in_parent();
    return result;
}
