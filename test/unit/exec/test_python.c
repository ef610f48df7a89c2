/* The real executor, `python -m cask.executor`, under the real supervisor, if there is a Python with
 * Dask (.venv of the source tree, or CASK_PYTHON): a task runs, its result is exported, an error and a
 * crash are told. What tasks can do is tested from Python: test/interop/test_executor.py. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/error.h"
#include "exec/executor.h"

#define PYTHON CASK_TEST_DIR "/../../.venv/bin/python3"
#define PACKAGE_PATH "PYTHONPATH=" CASK_TEST_DIR "/../../python"

static struct {
    struct io_loop *loop;
    struct supervisor *supervisor;
    struct text hello;
    struct text seen;         /* ops of the messages so far */
    enum executor_op awaited; /* stop the loop at this one */
    struct text typename, exception, exported, certificate;
    bool has_died, is_closed;
} bench;

/* ---- msgpack, as far as HELLO needs it ---- */

static void add_string(struct text *out, const char *string)
{
    ASSERT(strlen(string) < 256);
    text_printf(out, "\xd9%c%s", (char)strlen(string), string);
}

static void make_hello(void)
{
    struct text *out = &bench.hello;
    text_add_char(out, (char)0x84);
    add_string(out, "address");
    add_string(out, "tcp://127.0.0.1:2");
    add_string(out, "scheduler");
    add_string(out, "tcp://127.0.0.1:1");
    add_string(out, "local_directory");
    add_string(out, "/tmp");
    add_string(out, "nthreads");
    text_add_char(out, 2);
}

/* ---- events ---- */

static void on_assigned(void *user, uint32_t index, struct executor *executor)
{
    (void)user;
    assert_int_equal(index, 0);
    channel_add_settings(executor_out(executor), EXECUTOR_HELLO, text_span(&bench.hello));
}

static void note(struct text *out, struct span bytes)
{
    text_clear(out);
    text_add(out, bytes);
}

static void on_message(void *user, uint32_t index, struct executor *executor,
                       struct executor_message *message)
{
    (void)user;
    (void)index;
    (void)executor;
    text_printf(&bench.seen, "%s(%llu) ", channel_op_name(message->op),
                (unsigned long long)message->handle);
    if (message->op == EXECUTOR_WELCOME) {
        assert_int_equal(message->text.size, 0);
    } else if (message->op == EXECUTOR_DONE) {
        note(&bench.typename, message->text);
        assert_true(message->ledger.prepared > 1e9);
        assert_true(message->ledger.stop >= message->ledger.start);
        assert_true(message->ledger.rss_peak > 1u << 20);
    } else if (message->op == EXECUTOR_FAILED) {
        note(&bench.exception, message->error.exception_text);
    } else if (message->op == EXECUTOR_EXPORTED) {
        assert_int_equal(message->payload.frame_count, 2); /* sub-header and pickle */
        const struct executor_frame *frame = &message->payload.frames[1];
        note(&bench.exported, span_of(frame->data, frame->size));
    }
    if (message->op == bench.awaited) {
        io_loop_stop(bench.loop);
    }
}

/* The tests know tasks by their handles. */
static void name_task(void *user, uint64_t handle, struct text *out)
{
    (void)user;
    text_printf(out, "%llu", (unsigned long long)handle);
}

static void on_died(void *user, uint32_t index, const struct executor_death *death)
{
    (void)user;
    (void)index;
    bench.has_died = true;
    executor_death_print(death, name_task, NULL, &bench.certificate);
}

static void on_start_failed(void *user, uint32_t count, const struct executor_death *death)
{
    (void)user;
    (void)count;
    struct text text = {0};
    executor_death_print(death, name_task, NULL, &text);
    fail_msg("%s", text_cstr(&text));
}

static void on_closed(void *user)
{
    (void)user;
    bench.is_closed = true;
    io_loop_stop(bench.loop);
}

static void on_cannot_fork(void *user, const char *why)
{
    (void)user;
    fail_msg("%s", why);
}

static const struct supervisor_events events = {.assigned = on_assigned,
                                                .message = on_message,
                                                .died = on_died,
                                                .start_failed = on_start_failed,
                                                .cannot_fork = on_cannot_fork};

static void on_turn(void *user)
{
    (void)user;
    supervisor_flush(bench.supervisor);
}

static void on_late(void *user)
{
    (void)user;
    fprintf(stderr, "nothing for 100 s; seen: %s\n", text_cstr(&bench.seen));
    abort();
}

static void run_until(enum executor_op op)
{
    struct io_timer *watchdog = io_timer_create(bench.loop, on_late, NULL);
    io_timer_start(watchdog, 100, 0);
    bench.awaited = op;
    io_loop_run(bench.loop);
    io_timer_destroy(watchdog);
}

/* ---- tasks ---- */

/* Run what `pickle` makes: dask's DataNode or Task. */
static void run(uint64_t handle, const char *pickle)
{
    struct text header = {0};
    text_add_char(&header, (char)0x82);
    add_string(&header, "pickled-obj");
    text_printf(&header, "\xc4%c%s", (char)strlen(pickle), pickle);
    add_string(&header, "num-sub-frames");
    text_add_char(&header, 0);
    const struct executor_frame frame = {.data = (const uint8_t *)header.data, .size = header.size};
    struct executor_run task = {
        .handle = handle,
        .key = SPAN("\xa1k"),
        .run_spec = {.value = SPAN("\x81\xab__Pickled__\x01"),
                     .frame_count = 1,
                     .frames = &frame,
                     .segment = -1},
    };
    assert_int_equal(channel_add_run(executor_out(supervisor_at(bench.supervisor, 0)), &task), OK);
    text_fini(&header);
}

static void test_life(void **state)
{
    (void)state;
    const char *python = getenv("CASK_PYTHON") != NULL ? getenv("CASK_PYTHON") : PYTHON;
    if (access(python, X_OK) != 0) {
        skip();
    }
    setenv("CASK_CRASH_LIBRARY", CASK_BUILD_DIR "/src/exec/libcask-crash.so", 1);
    make_hello();
    bench.loop = io_loop_create();
    io_loop_on_turn(bench.loop, on_turn, NULL);
    const char *const environment[] = {PACKAGE_PATH, "OPENBLAS_NUM_THREADS=1", NULL};
    struct supervisor_options options = {
        .executor = {.python = python, .environment = environment, .slot_count = 8},
        .executor_count = 1,
        .spare_count = 1,
        .forks = true,
        .events = &events};
    struct text why = {0};
    assert_int_equal(supervisor_create(bench.loop, &options, &bench.supervisor, &why), OK);
    run_until(EXECUTOR_WELCOME);

    run(1, "cdask._task_spec\nDataNode\n(S'k'\nI42\ntR.");
    run_until(EXECUTOR_DONE);
    assert_string_equal(text_cstr(&bench.typename), "int");
    channel_add_export(executor_out(supervisor_at(bench.supervisor, 0)), 1, -1);
    run_until(EXECUTOR_EXPORTED);
    assert_int_equal(bench.exported.data[bench.exported.size - 1], 42); /* as msgpack has it */

    run(2, "cdask._task_spec\nTask\n(S'k'\ncoperator\ntruediv\nI1\nI0\ntR.");
    run_until(EXECUTOR_FAILED);
    assert_string_equal(text_cstr(&bench.exception), "ZeroDivisionError('division by zero')");

    run(3, "cdask._task_spec\nTask\n(S'k'\ncctypes\nstring_at\nI16\ntR.");
    run_until(EXECUTOR_WELCOME); /* of the one that was forked in its place */
    assert_true(bench.has_died);
    const char *certificate = text_cstr(&bench.certificate);
    assert_non_null(strstr(certificate, "SIGSEGV (Segmentation fault) at address 0x10"));
    assert_non_null(strstr(certificate, "task 3 ran in thread "));
    assert_non_null(strstr(certificate, "in string_at"));
    run(4, "cdask._task_spec\nDataNode\n(S'k'\nI1\ntR.");
    run_until(EXECUTOR_DONE);

    supervisor_close(bench.supervisor, 30, on_closed);
    run_until(EXECUTOR_ASK); /* none comes: on_closed stops */
    assert_true(bench.is_closed);
    supervisor_destroy(bench.supervisor);
    io_loop_destroy(bench.loop);
    text_fini(&bench.hello);
    text_fini(&bench.seen);
    text_fini(&bench.typename);
    text_fini(&bench.exception);
    text_fini(&bench.exported);
    text_fini(&bench.certificate);
    text_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
