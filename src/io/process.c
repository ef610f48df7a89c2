/* process.c: children: started with vfork (a large parent costs nothing), watched through a pidfd.
 *
 * Between vfork and exec the child shares our memory: it only makes system calls. Everything it
 * needs is prepared before; what stops it is reported through a pipe that exec closes. PR_SET_PDEATHSIG makes the kernel
 * kill it when the thread that started it ends, which is the loop's thread. Its ends of pipes are
 * sockets, as libuv's are, so that all streams are alike. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/internal.h"

#define FD_COUNT 4    /* 0, 1, 2 and the channel */
#define STAT_MAX 1024 /* bytes of /proc/PID/stat, more than it has */

extern char **environ;

struct io_process {
    struct io_loop *loop;
    uv_poll_t poll;
    int pid;
    int pidfd;
    bool own_group;
    bool exited;
    bool forgotten;
    struct rusage usage;                 /* once it has exited */
    struct io_stream *streams[FD_COUNT]; /* our ends; NULL if there is none or it was taken */
    void (*on_exit)(void *user, int status, int signal_number);
    void *user;
};

struct launch {
    const struct io_process_options *options;
    char **environment;
    pid_t parent;
    struct io_process_ends ends; /* theirs -1: inherited */
    sigset_t mask;               /* what the child starts with */
    int report; /* where the child writes the errno that kept it from its program */
};

/* ---- the child, before exec ---- */

/* No handler of ours, before signals are let in; what was ignored stays so (nohup), except the
 * SIGPIPE that io_loop_create ignores. */
static void reset_signals(const struct launch *launch)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        struct sigaction present;
        if (sigaction(number, NULL, &present) == 0 &&
            (number == SIGPIPE || present.sa_handler != SIG_IGN)) {
            (void)sigaction(number, &plain, NULL); /* refused for SIGKILL and SIGSTOP */
        }
    }
    sigprocmask(SIG_SETMASK, &launch->mask, NULL);
}

static bool place_descriptors(const struct launch *launch)
{
    /* First above the range that is filled, so that none is overwritten before it is used. */
    int raised[FD_COUNT];
    for (int fd = 0; fd < FD_COUNT; fd++) {
        raised[fd] = -1;
        if (launch->ends.theirs[fd] >= 0) {
            raised[fd] = fcntl(launch->ends.theirs[fd], F_DUPFD_CLOEXEC, FD_COUNT);
            if (raised[fd] < 0) {
                return false;
            }
        }
    }
    for (int fd = 0; fd < FD_COUNT; fd++) {
        if (raised[fd] >= 0 && dup2(raised[fd], fd) < 0) {
            return false;
        }
    }
    /* What our own parent left open is nobody's business. A kernel before 5.11 keeps it open. */
    unsigned first_other = launch->options->channel ? FD_COUNT : FD_COUNT - 1;
    (void)close_range(first_other, ~0u, CLOSE_RANGE_CLOEXEC);
    return true;
}

static _Noreturn void become(const struct launch *launch)
{
    const struct io_process_options *options = launch->options;
    char *const *argv;
    memcpy(&argv, &options->argv, sizeof argv); /* exec changes neither array nor strings */
    bool ready = options->survives || prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    if (getppid() != launch->parent) {
        _exit(127); /* it died before the line above */
    }
    ready = ready && (!options->own_group || setpgid(0, 0) == 0);
    ready = ready && (options->directory == NULL || chdir(options->directory) == 0);
    if (ready && place_descriptors(launch)) {
        reset_signals(launch);
        execvpe(argv[0], argv, launch->environment);
    }
    int errno_value = errno;
    (void)!write(launch->report, &errno_value, sizeof errno_value);
    _exit(127);
}

/* ---- the parent ---- */

static bool names_same_variable(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b && *a != '=') {
        a++;
        b++;
    }
    return *a == '=' && *b == '=';
}

/* Our environment, with the additions in the place of variables of the same name. The array is
 * owned by the caller, the strings are not. */
static char **merge_environment(const char *const *additions)
{
    size_t ours = 0;
    size_t added = 0;
    while (environ != NULL && environ[ours] != NULL) {
        ours++;
    }
    while (additions != NULL && additions[added] != NULL) {
        added++;
    }
    char **merged = mem_alloc((ours + added + 1) * sizeof *merged);
    size_t count = 0;
    for (size_t i = 0; i < ours; i++) {
        bool replaced = false;
        for (size_t j = 0; j < added && !replaced; j++) {
            replaced = names_same_variable(environ[i], additions[j]);
        }
        if (!replaced) {
            merged[count++] = environ[i];
        }
    }
    if (added > 0) {
        memcpy(merged + count, additions, added * sizeof *merged);
    }
    merged[count + added] = NULL;
    return merged;
}

void io_process_close_ends(int ends[FD_COUNT])
{
    for (int fd = 0; fd < FD_COUNT; fd++) {
        if (ends[fd] >= 0) {
            close(ends[fd]);
            ends[fd] = -1;
        }
    }
}

/* 0 or an errno; what was opened is in `ends` either way. */
static int open_descriptors(const struct io_process_options *options, struct io_process_ends *ends)
{
    *ends = (struct io_process_ends){{-1, -1, -1, -1}, {-1, -1, -1, -1}, 0};
    for (int fd = 0; fd < FD_COUNT; fd++) {
        bool is_channel = fd == FD_COUNT - 1;
        enum io_stdio kind =
            is_channel ? (options->channel ? IO_PIPE : IO_INHERIT) : options->stdio[fd];
        if (kind == IO_NULL) {
            ends->theirs[fd] = open("/dev/null", O_RDWR | O_CLOEXEC);
            if (ends->theirs[fd] < 0) {
                return errno;
            }
        } else if (kind == IO_PIPE) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
                return errno;
            }
            ends->ours[fd] = pair[0];
            ends->theirs[fd] = pair[1];
            if (fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0) { /* only our end */
                return errno;
            }
        }
    }
    return 0;
}

/* What the child reported: an errno, or 0 when the pipe was closed by exec. */
static int read_report(int fd)
{
    int errno_value = 0;
    ssize_t got;
    do {
        got = read(fd, &errno_value, sizeof errno_value);
    } while (got < 0 && errno == EINTR);
    return got == sizeof errno_value ? errno_value : 0;
}

/* A pipe whose ends lie above the descriptors that the child fills; false: see errno. */
static bool open_report(int out_pipe[2])
{
    int low[2];
    if (pipe2(low, O_CLOEXEC) != 0) {
        return false;
    }
    out_pipe[0] = fcntl(low[0], F_DUPFD_CLOEXEC, FD_COUNT);
    out_pipe[1] = fcntl(low[1], F_DUPFD_CLOEXEC, FD_COUNT);
    int errno_value = errno;
    bool opened = out_pipe[0] >= 0 && out_pipe[1] >= 0;
    close(low[0]);
    close(low[1]);
    if (!opened && out_pipe[0] >= 0) { /* the second comes later, so it cannot be there alone */
        close(out_pipe[0]);
    }
    errno = errno_value;
    return opened;
}

/* vfork and exec; the pid, or -errno. */
static pid_t start(struct launch *launch)
{
    int report[2] = {-1, -1};
    if (!open_report(report)) {
        return -errno;
    }
    launch->report = report[1];
    sigset_t all;
    sigfillset(&all);
    launch->parent = getpid();
    /* No handler of ours may run in the child, which shares our memory. */
    pthread_sigmask(SIG_SETMASK, &all, &launch->mask);
    pid_t pid = vfork();
    if (pid == 0) {
        become(launch);
    }
    int errno_value = errno;
    pthread_sigmask(SIG_SETMASK, &launch->mask, NULL);
    close(report[1]);
    if (pid > 0) {
        errno_value = read_report(report[0]);
    }
    close(report[0]);
    if (pid > 0 && errno_value != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    return pid > 0 && errno_value == 0 ? pid : -errno_value;
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct io_process *process = handle->data;
    close(process->pidfd);
    process->pidfd = -1;
    if (process->forgotten) {
        mem_free(process);
    }
}

/* True once the child is reaped. */
static bool reap(struct io_process *process, int flags, int *out_status)
{
    pid_t got;
    do {
        got = wait4(process->pid, out_status, flags, &process->usage);
    } while (got < 0 && errno == EINTR);
    return got != 0;
}

static void on_exit_readable(uv_poll_t *poll, int poll_status, int events)
{
    (void)poll_status;
    (void)events;
    struct io_process *process = poll->data;
    int status = 0;
    if (!reap(process, WNOHANG, &status)) {
        return;
    }
    process->exited = true;
    uv_close((uv_handle_t *)&process->poll, on_poll_closed);
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    process->on_exit(process->user, exit_status, signal_number);
}

static struct io_stream *wrap(struct io_loop *loop, int fd)
{
    if (fd < 0) {
        return NULL;
    }
    struct io_stream *stream = io_stream_create(loop, IO_PHASE_READY);
    stream->peer.transport = IO_UNIX;
    stream->local.transport = IO_UNIX;
    io_stream_adopt(stream, fd);
    return stream;
}

/* Takes our ends. */
static struct io_process *watch(struct io_loop *loop, const struct io_process_options *options,
                                struct io_process_ends *ends, pid_t pid, int pidfd)
{
    struct io_process *process = mem_zalloc(1, sizeof *process);
    process->loop = loop;
    process->pid = pid;
    process->pidfd = pidfd;
    process->own_group = options->own_group;
    process->on_exit = options->exited;
    process->user = options->user;
    for (int fd = 0; fd < FD_COUNT; fd++) {
        process->streams[fd] = wrap(loop, ends->ours[fd]);
        ends->ours[fd] = -1;
    }
    int code = uv_poll_init(&loop->uv, &process->poll, pidfd);
    ASSERT(code == 0);
    process->poll.data = process;
    code = uv_poll_start(&process->poll, UV_READABLE, on_exit_readable);
    ASSERT(code == 0);
    return process;
}

static int refuse(const struct launch *launch, int errno_value, struct text *why)
{
    text_printf(why, "cannot start '%s': %s", launch->options->argv[0], io_errno_text(errno_value));
    return errno_value == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

int io_process_spawn(struct io_loop *loop, const struct io_process_options *options,
                     struct io_process **out_process, struct text *why)
{
    ASSERT(options->argv != NULL);
    ASSERT(options->argv[0] != NULL);
    ASSERT(options->exited != NULL);
    struct launch launch = {.options = options};
    int errno_value = open_descriptors(options, &launch.ends);
    pid_t pid = -errno_value;
    if (errno_value == 0) {
        launch.environment = merge_environment(options->environment);
        pid = start(&launch);
        mem_free(launch.environment);
    }
    io_process_close_ends(launch.ends.theirs);
    int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (pid > 0 && pidfd < 0) {
        errno_value = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        pid = -errno_value;
    }
    if (pid < 0) {
        io_process_close_ends(launch.ends.ours);
        return refuse(&launch, -pid, why);
    }
    *out_process = watch(loop, options, &launch.ends, pid, pidfd);
    return OK;
}

/* ---- children that another child makes ---- */

int io_process_open_ends(const struct io_process_options *options, struct io_process_ends *out_ends,
                         struct text *why)
{
    int errno_value = open_descriptors(options, out_ends);
    if (errno_value != 0) {
        io_process_close_ends(out_ends->ours);
        io_process_close_ends(out_ends->theirs);
        text_printf(why, "no descriptors for a process: %s", io_errno_text(errno_value));
        return ERR_IO;
    }
    return OK;
}

int io_process_adopt(struct io_loop *loop, const struct io_process_options *options,
                     struct io_process_ends *ends, struct io_process **out_process,
                     struct text *why)
{
    int pid = ends->pid;
    ASSERT(options->exited != NULL);
    ASSERT(pid > 0);
    siginfo_t state;
    if (waitid(P_PID, (id_t)pid, &state, WEXITED | WNOHANG | WNOWAIT) != 0) {
        text_printf(why, "process %d is no child of ours: %s", pid, io_errno_text(errno));
        return ERR_NOT_FOUND;
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        text_printf(why, "process %d cannot be watched: %s", pid, io_errno_text(errno));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return ERR_IO;
    }
    if (options->own_group) {
        (void)setpgid(pid, pid); /* it may have ended */
    }
    *out_process = watch(loop, options, ends, pid, pidfd);
    return OK;
}

void io_process_end_group(int leader)
{
    siginfo_t state;
    if (waitid(P_PGID, (id_t)leader, &state, WEXITED | WNOHANG | WNOWAIT) != 0) {
        return; /* no child of ours is there */
    }
    kill(-leader, SIGKILL);
    while (waitpid(-leader, NULL, 0) > 0 || errno == EINTR) {
    }
}

int io_process_id(const struct io_process *process)
{
    return process->pid;
}

struct io_stream *io_process_take_stream(struct io_process *process, int fd)
{
    ASSERT(fd >= 0);
    ASSERT(fd < FD_COUNT);
    ASSERT(process->streams[fd] != NULL);
    struct io_stream *stream = process->streams[fd];
    process->streams[fd] = NULL;
    return stream;
}

void io_process_usage(const struct io_process *process, struct io_usage *out_usage)
{
    const struct rusage *usage = &process->usage;
    out_usage->cpu_user = (double)usage->ru_utime.tv_sec + (double)usage->ru_utime.tv_usec / 1e6;
    out_usage->cpu_system = (double)usage->ru_stime.tv_sec + (double)usage->ru_stime.tv_usec / 1e6;
    out_usage->rss_peak = (uint64_t)usage->ru_maxrss * 1024;
}

bool io_process_look(int pid, double *out_cpu, uint64_t *out_resident)
{
    char path[64];
    clockid_t clock;
    struct timespec used;
    unsigned long long total, resident;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool is_known = fscanf(file, "%llu %llu", &total, &resident) == 2 &&
                    clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0;
    fclose(file);
    if (is_known) {
        *out_cpu = (double)used.tv_sec + (double)used.tv_nsec / 1e9;
        *out_resident = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    return is_known;
}

uint64_t io_process_started(int pid)
{
    char path[64], content[STAT_MAX];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t got = read(fd, content, sizeof content - 1);
    close(fd);
    content[got > 0 ? got : 0] = '\0';
    /* The name, in parentheses, may hold anything; field 22 is the 20th behind it. */
    char *at = strrchr(content, ')');
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

void io_process_kill(struct io_process *process, int signal_number)
{
    if (!process->exited) {
        /* It is not reaped yet, so the number is still its own. */
        kill(process->own_group ? -process->pid : process->pid, signal_number);
    }
}

/* With `is_killed` what still runs is killed, else it is let alone. */
static void forget(struct io_process *process, bool is_killed)
{
    for (int fd = 0; fd < FD_COUNT; fd++) {
        if (process->streams[fd] != NULL) {
            io_stream_abort(process->streams[fd]);
        }
    }
    process->forgotten = true;
    if (!process->exited) {
        int status;
        if (is_killed) {
            io_process_kill(process, SIGKILL);
            reap(process, 0, &status); /* SIGKILL takes effect at once */
        }
        process->exited = true;
        uv_close((uv_handle_t *)&process->poll, on_poll_closed);
    } else if (process->pidfd < 0) {
        mem_free(process);
    }
}

void io_process_let_go(struct io_process *process)
{
    forget(process, false);
}

void io_process_destroy(struct io_process *process)
{
    if (process != NULL) {
        forget(process, true);
    }
}
