/* top_terminal.c: see top_terminal.h. */
#include "cli/top_terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* The other screen, without cursor, without wrapping; and back. */
#define ENTER "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
#define LEAVE "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

bool top_terminal_write(struct span bytes)
{
    while (bytes.size > 0) {
        ssize_t count = write(STDOUT_FILENO, bytes.data, bytes.size);
        if (count < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = STDOUT_FILENO, .events = POLLOUT};
            (void)poll(&wait, 1, -1); /* the next write says what it found */
        } else if (count < 0 && errno != EINTR) {
            return false;
        } else if (count > 0) {
            bytes = span_of(bytes.data + count, bytes.size - (size_t)count);
        }
    }
    return true;
}

void top_terminal_enter(const struct top_terminal *terminal)
{
    struct termios raw = terminal->before;
    cfmakeraw(&raw);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw); /* without it keys need Enter */
    (void)top_terminal_write(SPAN(ENTER));
}

void top_terminal_leave(const struct top_terminal *terminal)
{
    (void)top_terminal_write(SPAN(LEAVE)); /* a terminal that is gone needs nothing */
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
}

static void ending_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGHUP);
    sigaddset(out, SIGQUIT);
}

static int wait_for(pid_t child, const struct top_terminal *terminal)
{
    sigset_t signals;
    int status, number;
    ending_signals(&signals);
    sigaddset(&signals, SIGCHLD);
    while (waitpid(child, &status, WNOHANG) != child) {
        if (sigwait(&signals, &number) == 0 && number != SIGCHLD) {
            kill(child, SIGTERM);
        }
    }
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    top_terminal_leave(terminal);
    fprintf(stderr, "cask top: ended by signal %d (%s)\n", WTERMSIG(status),
            strsignal(WTERMSIG(status)));
    return 128 + WTERMSIG(status);
}

int top_terminal_guard(struct top_terminal *terminal)
{
    sigset_t signals;
    if (tcgetattr(STDIN_FILENO, &terminal->before) != 0) {
        perror("cask top: the terminal");
        return EXIT_FAILURE;
    }
    ending_signals(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child < 0) {
        perror("cask top: fork");
        return EXIT_FAILURE;
    }
    if (child > 0) {
        return wait_for(child, terminal);
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        exit(EXIT_FAILURE);
    }
    return -1;
}

void top_terminal_size(int *out_width, int *out_height)
{
    struct winsize size;
    bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    const char *columns = getenv("COLUMNS"), *lines = getenv("LINES");
    *out_width = is_known ? size.ws_col : columns != NULL ? atoi(columns) : 80;
    *out_height = is_known && size.ws_row > 0 ? size.ws_row : lines != NULL ? atoi(lines) : 24;
    *out_width = *out_width > 0 ? *out_width : 80;
    *out_height = *out_height > 0 ? *out_height : 24;
}

int top_terminal_keys(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 ? fd : open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

int top_terminal_signals(void)
{
    sigset_t signals;
    ending_signals(&signals);
    sigaddset(&signals, SIGWINCH);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}
