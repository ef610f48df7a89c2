/* planner_process.c: spawning the planner, its channel, and what it printed before it died.
 *
 * Its standard error passes through us to ours, line by line; the last lines are kept for the
 * report. A dead process can be noticed three ways: it exits, its channel closes, its standard
 * error closes. The report waits until all are known, or a moment after the exit: a grandchild
 * may keep stderr open. */
#include "node/planner_process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "node/config.h"
#include "wire/frame.h"

enum {
    CHANNEL_FD = 3,
    STDERR_SPACE = 4096,
    LAST_WORDS_MAX =
        700, /* bytes of standard error in a report, which errors may shorten to 1,000 */
};

/* Seconds after the exit in which the rest of standard error must come. */
#define LAST_WORDS_SECONDS 0.2
/* Seconds from the end of the channel to the exit; then it is killed. */
#define EXIT_SECONDS 5.0

struct planner_process {
    const struct planner_process_events *events; /* NULL: the owner has gone */
    void *user;
    struct io_process *process;
    struct io_stream *channel; /* NULL: closed */
    struct io_stream *errors;  /* its standard error; NULL: closed */
    struct io_timer *timer;
    struct frame_reader reader;
    struct frames message;
    struct text last_words;
    uint8_t error_space[STDERR_SPACE];
    int id;
    int status, signal_number;
    bool has_exited;
    bool is_malformed;
};

/* ---- which Python ---- */

static bool is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

/* The directory of the running program, without a slash at its end; empty if unknown. */
static void program_directory(struct text *out)
{
    char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size > 0) {
        path[size] = '\0';
        char *slash = strrchr(path, '/');
        if (slash != NULL) {
            text_add(out, span_of(path, (size_t)(slash - path)));
        }
    }
}

/* out = directory/rest if that is a program. */
static bool try_program(const char *directory, const char *rest, struct text *out)
{
    if (directory == NULL || directory[0] == '\0') {
        return false;
    }
    text_clear(out);
    text_printf(out, "%s/%s", directory, rest);
    return is_program(text_cstr(out));
}

static void find_interpreter(const struct config *config, const char *beside, struct text *out)
{
    const char *set = config_text(config, "cask.planner.python", NULL);
    if (set == NULL || set[0] == '\0') {
        set = getenv("CASK_PYTHON");
    }
    if (set != NULL && set[0] != '\0') {
        text_add_cstr(out, set);
        return;
    }
    if (!try_program(getenv("VIRTUAL_ENV"), "bin/python3", out) &&
        !try_program(getenv("CONDA_PREFIX"), "bin/python3", out) &&
        !try_program(beside, "python3", out) && !try_program(beside, "../.venv/bin/python3", out)) {
        text_clear(out);
        text_add_cstr(out, "python3");
    }
}

void planner_find_python(const struct config *config, struct text *out_python,
                         struct text *out_package_path)
{
    struct text beside = {0}, package = {0};
    program_directory(&beside);
    find_interpreter(config, text_cstr(&beside), out_python);
    text_printf(&package, "%s/../python/cask/planner/__main__.py", text_cstr(&beside));
    if (access(text_cstr(&package), R_OK) == 0) {
        text_printf(out_package_path, "%s/../python", text_cstr(&beside));
    }
    text_fini(&beside);
    text_fini(&package);
}

/* ---- the end ---- */

/* Frees once the streams, which point here, are gone, too. */
static void free_if_done(struct planner_process *process)
{
    if (process->events != NULL || process->channel != NULL || process->errors != NULL) {
        return;
    }
    frame_reader_fini(&process->reader);
    frames_fini(&process->message);
    text_fini(&process->last_words);
    mem_free(process);
}

static void abandon(struct planner_process *process)
{
    process->events = NULL;
    io_timer_destroy(process->timer);
    process->timer = NULL;
    io_process_destroy(process->process);
    process->process = NULL;
    if (process->channel != NULL) {
        io_stream_abort(process->channel);
    }
    if (process->errors != NULL) {
        io_stream_abort(process->errors);
    }
    free_if_done(process);
}

/* The end of what it printed, whole lines as far as possible, without white space around it. */
static struct span last_words(const struct planner_process *process)
{
    struct span words = text_span(&process->last_words);
    while (words.size > 0 && strchr(" \n\r\t", words.data[words.size - 1]) != NULL) {
        words.size--;
    }
    if (words.size > LAST_WORDS_MAX) {
        words.data += words.size - LAST_WORDS_MAX;
        words.size = LAST_WORDS_MAX;
        const uint8_t *line = memchr(words.data, '\n', words.size);
        if (line != NULL) {
            words.size -= (size_t)(line + 1 - words.data);
            words.data = line + 1;
        }
    }
    return words;
}

static void describe_end(const struct planner_process *process, struct text *out)
{
    text_printf(out, "the planner (process %d) ", process->id);
    if (process->is_malformed) {
        text_add_cstr(out, "sent a malformed message and was stopped");
    } else if (process->signal_number != 0) {
        bool is_kill =
            process->signal_number == SIGKILL; /* as the kernel does when memory is out */
        text_printf(out, "was ended by signal %d (%s)%s", process->signal_number,
                    strsignal(process->signal_number), is_kill ? ": out of memory?" : "");
    } else {
        text_printf(out, "ended with status %d", process->status);
    }
    struct span words = last_words(process);
    if (words.size > 0) {
        text_add_cstr(out, "; its last output was:\n");
        text_add(out, words);
    }
}

static void report_end(struct planner_process *process)
{
    struct text why = {0};
    describe_end(process, &why);
    process->events->ended(process->user, text_cstr(&why));
    text_fini(&why);
    abandon(process);
}

static void check_end(struct planner_process *process)
{
    if (process->events == NULL || !process->has_exited) {
        return;
    }
    if (process->channel == NULL && process->errors == NULL) {
        report_end(process);
    } else {
        io_timer_start(process->timer, LAST_WORDS_SECONDS, 0);
    }
}

static void on_timer(void *user)
{
    struct planner_process *process = user;
    if (process->has_exited) {
        report_end(process);
    } else {
        io_process_kill(process->process, SIGKILL);
    }
}

static void on_exited(void *user, int status, int signal_number)
{
    struct planner_process *process = user;
    process->has_exited = true;
    process->status = status;
    process->signal_number = signal_number;
    check_end(process);
}

/* ---- the channel ---- */

static void channel_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct planner_process *process = user;
    frame_reader_space(&process->reader, out_data, out_size);
}

static void channel_read(void *user, size_t size)
{
    struct planner_process *process = user;
    frame_reader_advance(&process->reader, size);
    int got = 0;
    while (process->events != NULL &&
           (got = frame_reader_next(&process->reader, &process->message)) == 1) {
        process->events->message(process->user, &process->message);
        frames_clear(&process->message);
    }
    if (process->events != NULL && got < 0) {
        process->is_malformed = true;
        io_stream_abort(process->channel);
    }
}

static void channel_closed(void *user, int code, const char *text)
{
    (void)code; /* the exit says what happened */
    (void)text;
    struct planner_process *process = user;
    process->channel = NULL;
    if (process->events == NULL) {
        free_if_done(process);
    } else if (process->has_exited) {
        check_end(process);
    } else {
        io_timer_start(process->timer, process->is_malformed ? 0 : EXIT_SECONDS, 0);
    }
}

static const struct io_stream_events channel_events = {
    .space = channel_space,
    .read = channel_read,
    .closed = channel_closed,
};

static void release_chunks(void *owner)
{
    struct frames *chunks = owner;
    frames_fini(chunks);
    mem_free(chunks);
}

void planner_process_send(struct planner_process *process, struct outgoing *out)
{
    if (process->channel == NULL) {
        outgoing_clear(out);
        return;
    }
    struct frames *chunks = mem_zalloc(1, sizeof *chunks);
    outgoing_flush(out, chunks);
    struct span *parts = mem_alloc((size_t)chunks->count * sizeof *parts);
    for (uint32_t i = 0; i < chunks->count; i++) {
        parts[i] = slice_span(chunks->items[i]);
    }
    io_stream_write(process->channel, parts, chunks->count, chunks, release_chunks);
    mem_free(parts);
}

/* ---- standard error ---- */

static void errors_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct planner_process *process = user;
    *out_data = process->error_space;
    *out_size = sizeof process->error_space;
}

static void errors_read(void *user, size_t size)
{
    struct planner_process *process = user;
    fwrite(process->error_space, 1, size, stderr);
    struct text *words = &process->last_words;
    text_add(words, span_of(process->error_space, size));
    if (words->size > 4 * STDERR_SPACE) { /* only the end matters */
        memmove(words->data, words->data + words->size - STDERR_SPACE, STDERR_SPACE + 1);
        words->size = STDERR_SPACE;
    }
}

static void errors_closed(void *user, int code, const char *text)
{
    (void)code;
    (void)text;
    struct planner_process *process = user;
    process->errors = NULL;
    if (process->events == NULL) {
        free_if_done(process);
    } else {
        check_end(process);
    }
}

static const struct io_stream_events error_events = {
    .space = errors_space,
    .read = errors_read,
    .closed = errors_closed,
};

/* ---- start ---- */

/* PYTHONPATH with our package in front; nothing if Python finds it by itself. */
static void python_path(const struct text *package_path, struct text *out)
{
    if (package_path->size == 0) {
        return;
    }
    const char *inherited = getenv("PYTHONPATH");
    text_printf(out, "PYTHONPATH=%s", text_cstr(package_path));
    if (inherited != NULL && inherited[0] != '\0') {
        text_printf(out, ":%s", inherited);
    }
}

static bool spawn(struct planner_process *process, struct io_loop *loop,
                  const struct config *config, struct text *why)
{
    struct text python = {0}, package_path = {0}, environment = {0};
    planner_find_python(config, &python, &package_path);
    const char *argv[] = {text_cstr(&python), "-m", "cask.planner", NULL};
    struct VEC(const char *) variables = {0};
    const char *variable;
    for (uint32_t i = 0; (variable = config_variable(config, i)) != NULL; i++) {
        vec_push(&variables, variable); /* files and the environment it reads itself */
    }
    python_path(&package_path, &environment);
    if (environment.size > 0) {
        vec_push(&variables, text_cstr(&environment));
    }
    vec_push(&variables, NULL);
    struct io_process_options options = {
        .argv = argv,
        .environment = variables.items,
        .stdio = {IO_NULL, IO_INHERIT, IO_PIPE},
        .channel = true,
        .own_group = true,
        .exited = on_exited,
        .user = process,
    };
    struct text reason = {0};
    bool is_started = io_process_spawn(loop, &options, &process->process, &reason) == OK;
    if (!is_started) {
        text_printf(
            why,
            "the planner could not be started with %s: %s (set cask.planner.python or CASK_PYTHON)",
            text_cstr(&python), text_cstr(&reason));
    }
    vec_fini(&variables);
    text_fini(&reason);
    text_fini(&python);
    text_fini(&package_path);
    text_fini(&environment);
    return is_started;
}

struct planner_process *planner_process_start(struct io_loop *loop, const struct config *config,
                                              const struct planner_process_events *events,
                                              void *user, struct text *why)
{
    struct planner_process *process = mem_zalloc(1, sizeof *process);
    if (!spawn(process, loop, config, why)) {
        mem_free(process);
        return NULL;
    }
    process->events = events;
    process->user = user;
    process->id = io_process_id(process->process);
    process->timer = io_timer_create(loop, on_timer, process);
    frame_reader_init(&process->reader);
    process->channel = io_process_take_stream(process->process, CHANNEL_FD);
    process->errors = io_process_take_stream(process->process, STDERR_FILENO);
    io_stream_start(process->channel, &channel_events, process);
    io_stream_start(process->errors, &error_events, process);
    return process;
}

int planner_process_id(const struct planner_process *process)
{
    return process->id;
}

void planner_process_close(struct planner_process *process)
{
    if (process->channel != NULL) {
        io_stream_close(process->channel);
    }
}

void planner_process_destroy(struct planner_process *process)
{
    abandon(process);
}
