/* Children: how they start, talk, end, and are ended. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/io/support.h"

struct bench {
    struct io_loop *loop;
    struct io_process *process;
    uint32_t exited_count;
    int status;
    int signal_number;
    struct side ends[4];
};

static int bench_setup(void **state)
{
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    bench->loop = io_loop_create();
    *state = bench;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *bench = *state;
    io_process_destroy(bench->process);
    io_loop_destroy(bench->loop);
    for (int i = 0; i < 4; i++) {
        side_fini(&bench->ends[i]);
    }
    mem_free(bench);
    return 0;
}

static void on_exit_seen(void *user, int status, int signal_number)
{
    struct bench *bench = user;
    bench->exited_count++;
    bench->status = status;
    bench->signal_number = signal_number;
}

static bool has_exited(void *user)
{
    const struct bench *bench = user;
    return bench->exited_count > 0;
}

static void spawn(struct bench *bench, struct io_process_options options, const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    options.argv = argv;
    options.exited = on_exit_seen;
    options.user = bench;
    struct text why = {0};
    int code = io_process_spawn(bench->loop, &options, &bench->process, &why);
    if (code != OK) {
        fail_msg("%s", text_cstr(&why));
    }
    text_fini(&why);
    for (int fd = 0; fd < 4; fd++) {
        if (fd == 3 ? options.channel : options.stdio[fd] == IO_PIPE) {
            bench->ends[fd].stream = io_process_take_stream(bench->process, fd);
            io_stream_start(bench->ends[fd].stream, &side_events, &bench->ends[fd]);
        }
    }
}

static void test_exit_status(void **state)
{
    struct bench *bench = *state;
    spawn(bench, (struct io_process_options){0}, "exit 7");
    assert_true(io_process_id(bench->process) > 1);
    run_until(bench->loop, has_exited, bench);
    assert_int_equal(bench->status, 7);
    assert_int_equal(bench->signal_number, 0);
    io_process_kill(bench->process, SIGTERM); /* nothing is there to get it */
}

static bool is_gone(int pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static void test_kill(void **state)
{
    struct bench *bench = *state;
    spawn(bench, (struct io_process_options){0}, "exec sleep 1000");
    io_process_kill(bench->process, SIGTERM);
    run_until(bench->loop, has_exited, bench);
    assert_int_equal(bench->status, 0);
    assert_int_equal(bench->signal_number, SIGTERM);
    assert_int_equal(bench->exited_count, 1);
}

/* Forgetting a child kills it; nobody is told, nothing is left in the process table. */
static void test_destroy_kills(void **state)
{
    struct bench *bench = *state;
    spawn(bench, (struct io_process_options){0}, "exec sleep 1000");
    int pid = io_process_id(bench->process);
    io_process_destroy(bench->process);
    bench->process = NULL;
    assert_true(is_gone(pid));
    assert_int_equal(bench->exited_count, 0);
}

static bool output_is_complete(void *user)
{
    const struct bench *bench = user;
    return bench->exited_count > 0 && bench->ends[1].closed_count > 0 &&
           bench->ends[2].closed_count > 0;
}

/* A filter: what is written to its input comes back, its errors apart; the end of its input is the
 * closing of our end. */
static void test_pipes(void **state)
{
    struct bench *bench = *state;
    spawn(bench, (struct io_process_options){.stdio = {IO_PIPE, IO_PIPE, IO_PIPE}},
          "echo oops >&2; tr a-z A-Z");
    side_write(&bench->ends[0], "hello child");
    io_stream_close(bench->ends[0].stream);
    run_until(bench->loop, output_is_complete, bench);
    assert_string_equal(text_cstr(&bench->ends[1].received), "HELLO CHILD");
    assert_string_equal(text_cstr(&bench->ends[2].received), "oops\n");
    assert_int_equal(bench->ends[1].code, ERR_CLOSED);
    assert_int_equal(bench->status, 0);
}

static bool channel_is_closed(void *user)
{
    const struct bench *bench = user;
    return bench->exited_count > 0 && bench->ends[3].closed_count > 0;
}

/* The channel is the child's fd 3, both ways; its standard streams may be nothing. */
static void test_channel(void **state)
{
    struct bench *bench = *state;
    spawn(bench,
          (struct io_process_options){.stdio = {IO_NULL, IO_NULL, IO_INHERIT}, .channel = true},
          "read line <&3; echo \"got $line\" >&3; cat; exit 3");
    side_write(&bench->ends[3], "a request\n");
    run_until(bench->loop, channel_is_closed, bench);
    assert_string_equal(text_cstr(&bench->ends[3].received), "got a request\n");
    assert_int_equal(bench->status, 3);
}

/* No descriptor but the asked-for ones reaches the child, and its signals are as usual although we
 * ignore SIGPIPE. */
static void test_clean_child(void **state)
{
    struct bench *bench = *state;
    spawn(bench, (struct io_process_options){.stdio = {IO_NULL, IO_PIPE, IO_PIPE}},
          "ls /proc/self/fd | tr '\\n' ' '; grep -E 'Sig(Blk|Ign)' /proc/self/status");
    run_until(bench->loop, output_is_complete, bench);
    const char *output = text_cstr(&bench->ends[1].received);
    /* 3 is the directory that ls reads. */
    assert_memory_equal(output, "0 1 2 3 Sig", 11);
    const char *blocked = strstr(output, "SigBlk:\t");
    const char *ignored = strstr(output, "SigIgn:\t");
    assert_non_null(blocked);
    assert_non_null(ignored);
    assert_int_equal(strtoull(blocked + 8, NULL, 16), 0);
    assert_int_equal(strtoull(ignored + 8, NULL, 16) & (1u << (SIGPIPE - 1)), 0);
}

/* Additions replace variables of the same name and leave the rest; the working directory is set. */
static void test_environment(void **state)
{
    struct bench *bench = *state;
    setenv("CASK_TEST_KEPT", "kept", 1);
    setenv("CASK_TEST_OLD", "old", 1);
    const char *const additions[] = {"CASK_TEST_OLD=new", "CASK_TEST_ADDED=added", NULL};
    spawn(bench,
          (struct io_process_options){
              .environment = additions, .directory = "/usr", .stdio = {IO_NULL, IO_PIPE, IO_PIPE}},
          "echo $CASK_TEST_KEPT $CASK_TEST_OLD $CASK_TEST_ADDED $(pwd) $(env | grep -c CASK_TEST)");
    run_until(bench->loop, output_is_complete, bench);
    assert_string_equal(text_cstr(&bench->ends[1].received), "kept new added /usr 3\n");
}

/* A program that does not exist, a directory that does not: said at once, nothing leaks. */
static void test_cannot_start(void **state)
{
    struct bench *bench = *state;
    const char *argv[] = {"no-such-program-of-cask", NULL};
    struct io_process_options options = {.argv = argv,
                                         .stdio = {IO_PIPE, IO_PIPE, IO_PIPE},
                                         .channel = true,
                                         .exited = on_exit_seen,
                                         .user = bench};
    struct text why = {0};
    assert_int_equal(io_process_spawn(bench->loop, &options, &bench->process, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(text_cstr(&why), "cannot start 'no-such-program-of-cask': ENOENT"));
    text_clear(&why);
    argv[0] = "true";
    options.directory = "/does/not/exist";
    assert_int_equal(io_process_spawn(bench->loop, &options, &bench->process, &why), ERR_NOT_FOUND);
    argv[0] = "/etc/passwd";
    options.directory = NULL;
    text_clear(&why);
    assert_int_equal(io_process_spawn(bench->loop, &options, &bench->process, &why), ERR_IO);
    assert_non_null(strstr(text_cstr(&why), "EACCES"));
    text_fini(&why);
    assert_null(bench->process);
}

/* A group of its own: killing it reaches the grandchild that holds the pipe open. */
static void test_group(void **state)
{
    struct bench *bench = *state;
    spawn(bench,
          (struct io_process_options){.stdio = {IO_NULL, IO_PIPE, IO_PIPE}, .own_group = true},
          "sleep 1000 & echo started; wait");
    run_until(bench->loop, side_is_opened, &(struct side){.opened = true});
    io_process_kill(bench->process, SIGKILL);
    run_until(bench->loop, output_is_complete, bench);
    assert_int_equal(bench->signal_number, SIGKILL);
}

/* When we die, however, our children do: a process in between starts a sleeper and is killed. */
static void test_dies_with_parent(void **state)
{
    (void)state;
    int report[2];
    assert_int_equal(pipe(report), 0);
    pid_t middle = fork();
    if (middle == 0) {
        struct io_loop *loop = io_loop_create();
        struct bench inner = {.loop = loop};
        spawn(&inner, (struct io_process_options){0}, "exec sleep 1000");
        int pid = io_process_id(inner.process);
        if (write(report[1], &pid, sizeof pid) != sizeof pid) {
            _exit(1);
        }
        pause();
        _exit(1);
    }
    int sleeper = 0;
    assert_int_equal(read(report[0], &sleeper, sizeof sleeper), sizeof sleeper);
    assert_int_equal(kill(sleeper, 0), 0);
    kill(middle, SIGKILL);
    waitpid(middle, NULL, 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cmdline", sleeper);
    bool gone = false;
    for (int i = 0; i < 1000 && !gone; i++) { /* whoever adopted it reaps it when it likes */
        char bytes[16];
        FILE *file = fopen(path, "r");
        gone = file == NULL || fread(bytes, 1, sizeof bytes, file) == 0;
        if (file != NULL) {
            fclose(file);
        }
        usleep(5000);
    }
    assert_true(gone);
    close(report[0]);
    close(report[1]);
}

#define PROCESS_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROCESS_TEST(test_exit_status),   PROCESS_TEST(test_kill),
        PROCESS_TEST(test_destroy_kills), PROCESS_TEST(test_pipes),
        PROCESS_TEST(test_channel),       PROCESS_TEST(test_clean_child),
        PROCESS_TEST(test_environment),   PROCESS_TEST(test_cannot_start),
        PROCESS_TEST(test_group),         PROCESS_TEST(test_dies_with_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
