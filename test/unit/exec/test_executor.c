/* Executors and their supervisor, with a stand-in that speaks the protocol and dies as it is told: how
 * it ended is known, by whom, where, and with which last words. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/error.h"
#include "exec/executor.h"

#define FAKE_PATH "PYTHONPATH=" CASK_TEST_DIR "/exec/fake"

struct bench {
    struct io_loop *loop;
    struct executor *executor;
    struct supervisor *supervisor;
    uint32_t ready_count, died_count, assigned_count, failed_count, exported_count;
    uint32_t unfit_count;
    uint32_t places[8]; /* process id that got each place last */
    bool is_closed;
    struct executor_death death; /* of the last one; texts in `certificate` */
    struct text certificate, summary, echoed;
};

static int setup(void **state)
{
    setenv("CASK_CRASH_LIBRARY", CASK_BUILD_DIR "/src/exec/libcask-crash.so", 1);
    struct bench *bench = mem_zalloc(1, sizeof *bench);
    bench->loop = io_loop_create();
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    if (bench->executor != NULL) {
        executor_destroy(bench->executor);
    }
    supervisor_destroy(bench->supervisor);
    io_loop_destroy(bench->loop);
    text_fini(&bench->certificate);
    text_fini(&bench->summary);
    text_fini(&bench->echoed);
    mem_free(bench);
    return 0;
}

/* ---- waiting ---- */

struct wait {
    struct bench *bench;
    bool (*holds)(const struct bench *bench);
};

static void wait_turn(void *user)
{
    struct wait *wait = user;
    if (wait->holds(wait->bench)) {
        io_loop_stop(wait->bench->loop);
    }
}

static void wait_late(void *user)
{
    (void)user;
    fprintf(stderr, "the condition did not come to hold in 60 s\n");
    abort();
}

static void run_until(struct bench *bench, bool (*holds)(const struct bench *bench))
{
    struct wait wait = {bench, holds};
    struct io_timer *watchdog = io_timer_create(bench->loop, wait_late, NULL);
    io_timer_start(watchdog, 60, 0);
    io_loop_on_turn(bench->loop, wait_turn, &wait);
    io_loop_run(bench->loop);
    assert_true(holds(bench));
    io_loop_on_turn(bench->loop, NULL, NULL);
    io_timer_destroy(watchdog);
}

static bool is_ready(const struct bench *bench)
{
    return bench->ready_count > 0 || bench->died_count > 0;
}

static bool has_died(const struct bench *bench)
{
    return bench->died_count > 0;
}

static bool has_echo(const struct bench *bench)
{
    return bench->exported_count > 0 || bench->died_count > 0;
}

/* The tests know tasks by their handles. */
static void name_task(void *user, uint64_t handle, struct text *out)
{
    (void)user;
    text_printf(out, "%llu", (unsigned long long)handle);
}

/* ---- one executor ---- */

static void note_death(struct bench *bench, const struct executor_death *death)
{
    bench->died_count++;
    bench->death = *death;
    text_clear(&bench->certificate);
    text_clear(&bench->summary);
    executor_death_print(death, name_task, NULL, &bench->certificate);
    executor_death_summary(death, &bench->summary);
}

static void on_ready(void *user, struct executor *executor)
{
    (void)executor;
    struct bench *bench = user;
    bench->ready_count++;
}

static void on_message(void *user, struct executor *executor, struct executor_message *message)
{
    (void)executor;
    struct bench *bench = user;
    if (message->op != EXECUTOR_EXPORTED) {
        return;
    }
    bench->exported_count++;
    for (uint32_t i = 0; i < message->payload.frame_count; i++) {
        const struct executor_frame *frame = &message->payload.frames[i];
        char *content = mem_alloc(frame->size + 1);
        if (frame->data != NULL) {
            memcpy(content, frame->data, frame->size);
        } else {
            ssize_t got =
                pread(message->payload.segment, content, frame->size, (off_t)frame->offset);
            assert_int_equal(got, frame->size);
        }
        text_add(&bench->echoed, span_of(content, frame->size));
        mem_free(content);
    }
}

static void on_died(void *user, struct executor *executor, const struct executor_death *death)
{
    struct bench *bench = user;
    assert_ptr_equal(executor, bench->executor);
    bench->executor = NULL;
    note_death(bench, death);
}

static const struct executor_events events = {
    .ready = on_ready, .message = on_message, .died = on_died};

static void start(struct bench *bench, const char *fake, double start_seconds)
{
    const char *const environment[] = {FAKE_PATH, fake, NULL};
    struct executor_options options = {.python = "python3",
                                       .environment = environment,
                                       .slot_count = 8,
                                       .start_seconds = start_seconds,
                                       .events = &events,
                                       .user = bench};
    struct text why = {0};
    assert_int_equal(executor_start(bench->loop, &options, &bench->executor, &why), OK);
    text_fini(&why);
}

static void ask(struct executor *executor, uint64_t handle, const char *deed)
{
    struct text key = {0};
    text_printf(&key, "%c%s", (char)(0xa0 + (int)strlen(deed)), deed);
    struct executor_run run = {
        .handle = handle, .key = text_span(&key), .run_spec = EXECUTOR_NO_PAYLOAD};
    assert_int_equal(channel_add_run(executor_out(executor), &run), OK);
    executor_flush(executor);
    text_fini(&key);
}

/* A running task that ends its process, and how that must be told. */
static void die_of(void **state, const char *deed, int signal_number)
{
    struct bench *bench = *state;
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    assert_int_equal(bench->died_count, 0);
    assert_true(executor_rss(bench->executor) > 1u << 20);
    ask(bench->executor, 42, deed);
    run_until(bench, has_died);
    assert_int_equal(bench->death.signal_number, signal_number);
    assert_int_equal(bench->death.end, EXECUTOR_END_OWN);
    assert_true(bench->death.rss_peak > 1u << 20);
    assert_true(bench->death.has_started);
    const char *text = text_cstr(&bench->certificate);
    struct text last = {0};
    text_printf(&last, "last output:\n  about to %s", deed);
    assert_non_null(strstr(text, text_cstr(&last)));
    text_fini(&last);
    assert_non_null(strstr(text, "task 42 ran in thread "));
}

static void assert_says(void **state, const char *what)
{
    struct bench *bench = *state;
    if (strstr(text_cstr(&bench->certificate), what) == NULL) {
        fail_msg("'%s' is not in:\n%s", what, text_cstr(&bench->certificate));
    }
}

/* A segfault: the address, the native frames of the thread, the Python frames, the culprit. Where
 * ptrace is refused, all but the native frames. */
static void test_segfault(void **state)
{
    struct bench *bench = *state;
    die_of(state, "segfault", SIGSEGV);
    assert_int_equal(bench->death.fault_signal, SIGSEGV);
    assert_int_equal(bench->death.fault_address, 16);
    assert_says(state, "SIGSEGV (Segmentation fault) at address 0x10");
    assert_says(state, ", and got the signal");
    assert_says(state, "Fatal Python error: Segmentation fault");
    assert_says(state, "__main__.py\", line ");
    assert_says(state, "native frames:\n  ");
#ifdef CASK_HAVE_LIBDW
    if (strstr(text_cstr(&bench->certificate), "ptrace") == NULL) {
        assert_says(state, "  #0 ");
        assert_says(state, "libffi");
    }
#endif
}

static void test_abort(void **state)
{
    die_of(state, "abort", SIGABRT);
    assert_says(state, "SIGABRT");
    assert_says(state, "Fatal Python error: Aborted");
}

static void test_bus_error(void **state)
{
    die_of(state, "bus", SIGBUS);
    assert_says(state, "SIGBUS (Bus error) at address 0x");
}

/* No stack is left for a handler: it has its own. */
static void test_stack_overflow(void **state)
{
    struct bench *bench = *state;
    die_of(state, "overflow", SIGSEGV);
    assert_int_equal(bench->death.fault_signal, SIGSEGV);
    assert_says(state, ", and got the signal");
}

static void test_exit(void **state)
{
    struct bench *bench = *state;
    die_of(state, "exit", 0);
    assert_int_equal(bench->death.status, 7);
    assert_says(state, "exited with status 7");
}

static void test_killed_from_outside(void **state)
{
    struct bench *bench = *state;
    die_of(state, "kill", SIGKILL);
    if (!executor_death_is_oom(&bench->death)) {
        assert_says(state, "SIGKILL (Killed), sent from outside");
    }
}

/* A malformed message ends the executor, not us; the certificate says which. */
static void test_garbage(void **state)
{
    struct bench *bench = *state;
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    ask(bench->executor, 1, "garbage");
    run_until(bench, has_died);
    assert_int_equal(bench->death.end, EXECUTOR_END_PROTOCOL);
    assert_int_equal(bench->death.signal_number, SIGKILL);
    assert_says(state,
                "was ended by its worker: it sent a malformed message: a message that is too "
                "large (op 65535");
}

/* One that closes its channel and stays is of no use. */
static void test_deaf(void **state)
{
    struct bench *bench = *state;
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    ask(bench->executor, 1, "deaf");
    run_until(bench, has_died);
    assert_int_equal(bench->death.end, EXECUTOR_END_PROTOCOL);
    assert_says(state, "it closed its channel");
}

/* One that never gets READY is ended. */
static void test_mute(void **state)
{
    struct bench *bench = *state;
    start(bench, "FAKE=mute", 1.0);
    run_until(bench, has_died);
    assert_int_equal(bench->death.end, EXECUTOR_END_START);
    assert_false(bench->death.has_started);
}

/* Ours to end: for a reason, which stays the first one; a task that blocks all signals does not
 * matter. */
static void test_killed_by_us(void **state)
{
    struct bench *bench = *state;
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    ask(bench->executor, 1, "sleep");
    executor_kill(bench->executor, EXECUTOR_END_MEMORY, "it held 9 GiB of 8 GiB");
    executor_kill(bench->executor, EXECUTOR_END_CANCEL, "later");
    assert_true(executor_is_dying(bench->executor));
    run_until(bench, has_died);
    assert_int_equal(bench->death.end, EXECUTOR_END_MEMORY);
    assert_non_null(
        strstr(text_cstr(&bench->summary), "was ended by its worker: it held 9 GiB of 8 GiB"));
}

/* EXIT is followed; a task that does not end is killed after the grace. */
static void test_close(void **state)
{
    struct bench *bench = *state;
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    executor_close(bench->executor, 30);
    run_until(bench, has_died);
    assert_int_equal(bench->death.end, EXECUTOR_END_ASKED);
    assert_int_equal(bench->death.signal_number, 0);
    assert_int_equal(bench->death.status, 0);
}

/* A value goes there and back, small in the message and large in segments. */
static void echo(struct bench *bench, size_t size)
{
    struct text content = {0};
    while (content.size < size) {
        text_printf(&content, "%zu,", content.size);
    }
    const struct executor_frame frames[] = {
        {.data = (const uint8_t *)"head;", .size = 5},
        {.data = (const uint8_t *)content.data, .size = content.size},
    };
    struct executor_payload payload = {
        .value = SPAN("\x01"), .frame_count = 2, .frames = frames, .segment = -1};
    text_clear(&bench->echoed);
    bench->exported_count = 0;
    assert_int_equal(channel_add_put(executor_out(bench->executor), 5, SPAN("\xa1k"), &payload),
                     OK);
    executor_flush(bench->executor);
    run_until(bench, has_echo);
    assert_int_equal(bench->echoed.size, content.size + 5);
    assert_memory_equal(bench->echoed.data, "head;", 5);
    assert_memory_equal(bench->echoed.data + 5, content.data, content.size);
    text_fini(&content);
}

static void test_payloads(void **state)
{
    struct bench *bench = *state;
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    echo(bench, 10);
    echo(bench, 100000);
    echo(bench, 5000000);
}

/* All inputs of a task in one turn: more than the socket takes at once, one of them in a segment. */
static bool has_all(const struct bench *bench)
{
    return bench->exported_count == 40 || bench->died_count > 0;
}

static void test_many_payloads(void **state)
{
    struct bench *bench = *state;
    struct text sent = {0};
    start(bench, "FAKE=", 0);
    run_until(bench, is_ready);
    for (uint64_t i = 0; i < 40; i++) {
        size_t at = sent.size;
        while (sent.size - at < (i == 20 ? 1000000 : 50000)) {
            text_printf(&sent, "%zu,", sent.size);
        }
        const uint8_t *data = (const uint8_t *)sent.data + at;
        const struct executor_frame frame = {.data = data, .size = sent.size - at};
        const struct executor_payload payload = {
            .value = SPAN("\x01"), .frame_count = 1, .frames = &frame, .segment = -1};
        assert_int_equal(
            channel_add_put(executor_out(bench->executor), i + 1, SPAN("\xa1k"), &payload), OK);
    }
    executor_flush(bench->executor);
    run_until(bench, has_all);
    assert_string_equal(text_cstr(&bench->echoed), text_cstr(&sent));
    text_fini(&sent);
}

static void test_no_interpreter(void **state)
{
    struct bench *bench = *state;
    struct executor_options options = {
        .python = "no-such-python", .slot_count = 1, .events = &events, .user = bench};
    struct text why = {0};
    assert_int_equal(executor_start(bench->loop, &options, &bench->executor, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(text_cstr(&why), "no-such-python"));
    bench->executor = NULL;
    text_fini(&why);
}

/* ---- the supervisor ---- */

static void on_assigned(void *user, uint32_t index, struct executor *executor)
{
    struct bench *bench = user;
    bench->assigned_count++;
    bench->places[index] = (uint32_t)executor_process_id(executor);
    assert_ptr_equal(supervisor_at(bench->supervisor, index), executor);
}

static void on_place_message(void *user, uint32_t index, struct executor *executor,
                             struct executor_message *message)
{
    (void)index;
    on_message(user, executor, message);
}

static void on_place_died(void *user, uint32_t index, const struct executor_death *death)
{
    struct bench *bench = user;
    assert_null(supervisor_at(bench->supervisor, index));
    note_death(bench, death);
}

static void on_start_failed(void *user, uint32_t count, const struct executor_death *death)
{
    struct bench *bench = user;
    bench->failed_count = count;
    note_death(bench, death);
}

static void on_cannot_fork(void *user, const char *why)
{
    struct bench *bench = user;
    bench->unfit_count++;
    assert_string_equal(why, "it is made of stone");
}

static const struct supervisor_events supervisor_events = {
    .assigned = on_assigned,
    .message = on_place_message,
    .died = on_place_died,
    .start_failed = on_start_failed,
    .cannot_fork = on_cannot_fork,
};

static void supervise_with(struct bench *bench, const char *fake,
                           const struct supervisor_options *wanted)
{
    const char *const environment[] = {FAKE_PATH, fake, NULL};
    struct supervisor_options options = {
        .executor = {.python = "python3",
                     .environment = environment,
                     .slot_count = 8,
                     .start_seconds = wanted->executor.start_seconds},
        .executor_count = wanted->executor_count,
        .spare_count = wanted->spare_count,
        .forks = wanted->forks,
        .events = &supervisor_events,
        .user = bench};
    struct text why = {0};
    assert_int_equal(supervisor_create(bench->loop, &options, &bench->supervisor, &why), OK);
    text_fini(&why);
}

static void supervise(struct bench *bench, const char *fake, uint32_t executors, uint32_t spares)
{
    supervise_with(
        bench, fake,
        &(struct supervisor_options){.executor_count = executors, .spare_count = spares});
}

static void supervise_forking(struct bench *bench, const char *fake, uint32_t executors)
{
    supervise_with(
        bench, fake,
        &(struct supervisor_options){.executor_count = executors, .spare_count = 1, .forks = true});
}

static bool has_two(const struct bench *bench)
{
    return bench->assigned_count == 2;
}

static bool has_three(const struct bench *bench)
{
    return bench->assigned_count == 3;
}

static void on_closed(void *user)
{
    struct bench *bench = user;
    bench->is_closed = true;
}

static bool is_closed(const struct bench *bench)
{
    return bench->is_closed;
}

/* Two places and a spare: both are filled; one that dies is told with its place and replaced by
 * another process, the other stays. Closing ends all. */
static void test_supervisor(void **state)
{
    struct bench *bench = *state;
    supervise(bench, "FAKE=", 2, 1);
    run_until(bench, has_two);
    uint32_t first = bench->places[0], second = bench->places[1];
    assert_int_not_equal(first, second);
    ask(supervisor_at(bench->supervisor, 1), 1, "exit");
    run_until(bench, has_three);
    assert_int_equal(bench->died_count, 1);
    assert_int_equal(bench->death.pid, (int)second);
    assert_int_equal(bench->places[0], first);
    assert_int_not_equal(bench->places[1], second);
    supervisor_close(bench->supervisor, 30, on_closed);
    run_until(bench, is_closed);
    assert_int_equal(bench->died_count, 1);
    assert_int_equal(kill((pid_t)first, 0), -1);
}

/* What /proc/PID/NAME holds; NULs as spaces. */
static void read_proc(int pid, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t got = fread(out, 1, size - 1, file);
    fclose(file);
    for (size_t i = 0; i < got; i++) {
        out[i] = out[i] == '\0' ? ' ' : out[i];
    }
    out[got] = '\0';
}

/* A nanny plugin has changed the environment: who has a place keeps the old one, the spare is started anew, and
 * so who comes next has the new one. */
static void test_another_environment(void **state)
{
    struct bench *bench = *state;
    static char content[256 * 1024];
    const char *const changed[] = {FAKE_PATH, "FAKE=", "MARK=changed", NULL};
    supervise(bench, "FAKE=", 2, 1);
    run_until(bench, has_two);
    supervisor_set_environment(bench->supervisor, changed);
    read_proc((int)bench->places[0], "environ", content, sizeof content);
    assert_null(strstr(content, "MARK=changed"));
    ask(supervisor_at(bench->supervisor, 1), 1, "exit");
    run_until(bench, has_three);
    read_proc((int)bench->places[1], "environ", content, sizeof content);
    assert_non_null(strstr(content, "MARK=changed"));
    assert_int_equal(bench->failed_count, 0);
}

/* When memory runs out, the kernel ends user code, not who holds everybody's values. */
static void test_taken_first(void **state)
{
    struct bench *bench = *state;
    char ours[32], theirs[32];
    supervise(bench, "FAKE=", 2, 0);
    run_until(bench, has_two);
    read_proc(getpid(), "oom_score_adj", ours, sizeof ours);
    read_proc((int)bench->places[0], "oom_score_adj", theirs, sizeof theirs);
    assert_true(atoi(theirs) > atoi(ours) || atoi(ours) == 1000);
}

static bool has_failed_once(const struct bench *bench)
{
    return bench->failed_count == 1;
}

static bool has_died_twice(const struct bench *bench)
{
    return bench->died_count == 2;
}

static bool has_failed_twice(const struct bench *bench)
{
    return bench->failed_count == 2;
}

/* An interpreter without Dask: told with what it printed, and tried again. */
static void test_stillborn(void **state)
{
    struct bench *bench = *state;
    supervise(bench, "FAKE=stillborn", 1, 1);
    run_until(bench, has_failed_twice);
    assert_int_equal(bench->assigned_count, 0);
    assert_int_equal(bench->death.status, 3);
    assert_false(bench->death.has_started);
    assert_says(state, "no module named dask");
}

/* Closing while nothing is there yet, and destroying without closing. */
static void test_close_early(void **state)
{
    struct bench *bench = *state;
    supervise(bench, "FAKE=mute", 1, 0);
    supervisor_close(bench->supervisor, 1, on_closed);
    run_until(bench, is_closed);
    supervisor_destroy(bench->supervisor);
    bench->supervisor = NULL;
    supervise(bench, "FAKE=", 2, 2);
    assert_int_equal(bench->died_count, 0);
}

/* ---- forked ones ---- */

static void close_all(struct bench *bench)
{
    supervisor_close(bench->supervisor, 30, on_closed);
    run_until(bench, is_closed);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, not even a dead one */
}

/* The number of the parent, field 4 of /proc/PID/stat; the name before it has no spaces. */
static int parent_of(uint32_t pid)
{
    char content[1024];
    int parent = 0;
    read_proc((int)pid, "stat", content, sizeof content);
    assert_int_equal(sscanf(content, "%*d %*s %*c %d", &parent), 1);
    return parent;
}

/* Two places, and the one from which they are forked. Both are our children, with groups of their own; the end of
 * one is told like that of any other, and another is forked in its place. */
static void test_forked(void **state)
{
    struct bench *bench = *state;
    supervise_forking(bench, "FAKE=", 2);
    run_until(bench, has_two);
    uint32_t first = bench->places[0], second = bench->places[1];
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(parent_of(bench->places[i]), getpid());
        assert_int_equal(getpgid((pid_t)bench->places[i]), (pid_t)bench->places[i]);
    }
    ask(supervisor_at(bench->supervisor, 1), 1, "segfault");
    run_until(bench, has_three);
    assert_int_equal(bench->death.pid, (int)second);
    assert_says(state, "SIGSEGV (Segmentation fault) at address 0x10");
    assert_says(state, "task 1 ran in thread");
    assert_says(state, "in string_at");
    assert_int_equal(bench->places[0], first);
    assert_int_equal(parent_of(bench->places[1]), getpid());
    assert_int_equal(bench->failed_count, 0);
    assert_int_equal(bench->unfit_count, 0);
    close_all(bench);
}

static bool has_one(const struct bench *bench)
{
    return bench->assigned_count == 1;
}

/* The environment changes while a birth is under way: nobody with the former one gets a place, or is left. */
static void test_forked_environment(void **state)
{
    struct bench *bench = *state;
    static char content[256 * 1024];
    const char *const changed[] = {FAKE_PATH, "FAKE=", "MARK=changed", NULL};
    supervise_forking(bench, "FAKE=", 2);
    run_until(bench, has_one);
    supervisor_set_environment(bench->supervisor, changed);
    run_until(bench, has_two);
    ask(supervisor_at(bench->supervisor, 0), 1, "exit");
    supervisor_flush(bench->supervisor);
    supervisor_set_environment(bench->supervisor, changed);
    run_until(bench, has_three);
    read_proc((int)bench->places[0], "environ", content, sizeof content);
    assert_non_null(strstr(content, "MARK=changed"));
    assert_int_equal(bench->failed_count, 0);
    close_all(bench);
}

/* Modules that start threads: executors are started one by one, as if there were no forks. */
static void test_unfit(void **state)
{
    struct bench *bench = *state;
    supervise_forking(bench, "FAKE=unfit", 2);
    run_until(bench, has_two);
    ask(supervisor_at(bench->supervisor, 0), 1, "exit");
    run_until(bench, has_three);
    assert_int_equal(bench->unfit_count, 1);
    assert_int_equal(bench->failed_count, 0);
    close_all(bench);
}

/* The seed dies when it is to fork: told as an executor that does not start, and tried again. */
static void test_seed_dies(void **state)
{
    struct bench *bench = *state;
    supervise_forking(bench, "FAKE=dies-forking", 1);
    run_until(bench, has_failed_once);
    assert_int_equal(bench->death.status, 5);
    run_until(bench, has_died_twice);
    assert_int_equal(bench->assigned_count, 0);
    close_all(bench);
}

/* It dies when it has forked, before it says so: whom it made, a child of ours that nobody knows, is not left. */
static void test_seed_dies_having_forked(void **state)
{
    struct bench *bench = *state;
    supervise_forking(bench, "FAKE=dies-having-forked", 1);
    run_until(bench, has_failed_once);
    assert_int_equal(bench->death.status, 6);
    assert_int_equal(bench->assigned_count, 0);
    close_all(bench);
}

/* It says that it has forked a process that is no child of ours: not believed, not waited for. */
static void test_seed_lies(void **state)
{
    struct bench *bench = *state;
    supervise_forking(bench, "FAKE=liar", 1);
    run_until(bench, has_failed_once);
    assert_says(state, "is no child of ours");
    assert_int_equal(bench->assigned_count, 0);
    close_all(bench);
}

static bool was_too_slow(const struct bench *bench)
{
    return strstr(text_cstr(&bench->certificate), "it did not fork in time") != NULL;
}

/* It says nothing. */
static void test_seed_is_barren(void **state)
{
    struct bench *bench = *state;
    supervise_with(bench, "FAKE=barren",
                   &(struct supervisor_options){.executor = {.start_seconds = 2},
                                                .executor_count = 1,
                                                .spare_count = 1,
                                                .forks = true});
    run_until(bench, was_too_slow);
    assert_int_equal(bench->assigned_count, 0);
    close_all(bench);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_segfault),
        TEST(test_abort),
        TEST(test_bus_error),
        TEST(test_stack_overflow),
        TEST(test_exit),
        TEST(test_killed_from_outside),
        TEST(test_garbage),
        TEST(test_deaf),
        TEST(test_mute),
        TEST(test_killed_by_us),
        TEST(test_close),
        TEST(test_payloads),
        TEST(test_many_payloads),
        TEST(test_no_interpreter),
        TEST(test_supervisor),
        TEST(test_stillborn),
        TEST(test_close_early),
        TEST(test_taken_first),
        TEST(test_another_environment),
        TEST(test_forked),
        TEST(test_forked_environment),
        TEST(test_unfit),
        TEST(test_seed_dies),
        TEST(test_seed_lies),
        TEST(test_seed_is_barren),
        TEST(test_seed_dies_having_forked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
