/* executor.c: one executor: spawning it, talking to it, learning how it ended.
 *
 * An end is seen in several ways: the process exits; channel, standard error and crash line close; a
 * crash is being looked at. The certificate is written when all are known, or a moment after the
 * exit: a grandchild may keep a descriptor open. */
#include "exec/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "exec/board.h"
#include "exec/crash.h"
#include "exec/crash_record.h"
#include "exec/oom.h"

enum {
    CHANNEL_FD = 3,
    ERROR_SPACE = 4096,
    WORDS_KEPT = 8192,          /* bytes of standard error kept for the certificate */
    CRASH_LOG_MAX = 256 * 1024, /* bytes of Python frames read */
};

#define LOGGER "distributed.worker"
/* Bytes to be sent that are not worth a copy. */
#define GIVEN_MIN (64u * 1024)
/* After the exit, for the rest of standard error. */
#define LINGER_SECONDS 0.3
/* From the end of the channel to the exit. */
#define DEAF_SECONDS 5.0
#define START_SECONDS 60.0

struct executor {
    struct io_loop *loop;
    const struct executor_events *events; /* NULL: its owner has gone */
    void *user;
    void *tag;
    struct io_process *process;
    struct io_stream *channel, *errors, *line; /* NULL: closed */
    struct io_timer *timer;
    struct channel_reader reader;
    struct channel_writer writer;
    struct board board;
    int crash_log;
    struct executor_death death;    /* filled as things become known */
    struct cgroup *cgroup;          /* NULL: it is in ours */
    struct oom_state memory_before; /* of ours */
    double started;                 /* monotonic */
    uint64_t rss_ours; /* our own peak when it was started: the system counts it as the child's */
    uint64_t rss_seen; /* the highest that was seen */
    bool is_ready;
    bool is_closing;
    bool has_exited;
    bool has_forked; /* it was asked to */
    bool is_looking; /* at a crash, on a thread of the pool */
    uint8_t record[sizeof(struct crash_record)];
    size_t record_size;
    uint8_t error_space[ERROR_SPACE];
    uint8_t line_space[64];
};

/* ---- the end ---- */

/* Everything but the streams' callbacks is over. */
static void free_if_unused(struct executor *executor)
{
    if (executor->channel != NULL || executor->errors != NULL || executor->line != NULL ||
        executor->is_looking) {
        return;
    }
    executor_death_fini(&executor->death);
    mem_free(executor);
}

/* Let go of all; it is freed when the last callback came. */
static void abandon(struct executor *executor)
{
    executor->events = NULL;
    io_timer_destroy(executor->timer);
    io_process_destroy(executor->process);
    if (executor->cgroup != NULL) {
        cgroup_remove(executor->cgroup);
    }
    if (executor->has_forked) {
        io_process_end_group(executor->death.pid); /* whom it made and did not tell us of */
    }
    channel_reader_fini(&executor->reader);
    channel_writer_fini(&executor->writer);
    board_destroy(&executor->board);
    close(executor->crash_log);
    struct io_stream *streams[] = {executor->channel, executor->errors, executor->line};
    for (int i = 0; i < 3; i++) {
        if (streams[i] != NULL) {
            io_stream_abort(streams[i]);
        }
    }
    free_if_unused(executor);
}

/* Its peak so far, while it lives. */
static void note_peak(struct executor *executor)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", executor->death.pid);
    FILE *file = fopen(path, "re");
    unsigned long long peak = 0;
    while (file != NULL && peak == 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %llu kB", &peak) != 1) {
            peak = 0;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    if (peak * 1024 > executor->rss_seen) {
        executor->rss_seen = peak * 1024;
    }
}

static void read_crash_log(struct executor *executor)
{
    char *content = mem_alloc(CRASH_LOG_MAX);
    ssize_t got = pread(executor->crash_log, content, CRASH_LOG_MAX, 0);
    if (got > 0) {
        text_add(&executor->death.python_frames, span_of(content, (size_t)got));
    }
    mem_free(content);
}

static void read_victims(struct executor *executor)
{
    struct executor_death *death = &executor->death;
    uint32_t capacity = executor->board.slot_count;
    vec_reserve(&death->victims, capacity);
    death->victims.count = board_read(&executor->board, death->victims.items, capacity);
    for (uint32_t i = 0; i < death->victims.count; i++) {
        struct executor_victim *victim = &death->victims.items[i];
        uint32_t thread = victim->is_asynchronous ? (uint32_t)death->pid : victim->thread;
        victim->is_culprit = death->fault_signal != 0 && thread == death->fault_thread;
    }
}

static void read_memory(struct executor *executor)
{
    struct executor_death *death = &executor->death;
    struct oom_state memory;
    uint64_t killed_before = 0;
    death->has_cgroup = executor->cgroup != NULL;
    if (death->has_cgroup) {
        cgroup_read(executor->cgroup, &memory);
        death->memory_held = memory.peak; /* what it holds now, without its process, says nothing */
    } else {
        oom_read(&memory);
        killed_before = executor->memory_before.kills;
        death->memory_held = memory.current; /* the peak is that of all that was ever in it */
    }
    death->memory_max = memory.max;
    death->oom_kills = memory.kills > killed_before ? memory.kills - killed_before : 0;
}

static void complete_certificate(struct executor *executor)
{
    struct executor_death *death = &executor->death;
    struct io_usage usage;
    io_process_usage(executor->process, &usage);
    death->rss_peak = usage.rss_peak > executor->rss_ours ? usage.rss_peak : executor->rss_seen;
    death->cpu_user = usage.cpu_user;
    death->cpu_system = usage.cpu_system;
    death->uptime = io_monotonic() - executor->started;
    death->has_started = executor->is_ready;
    read_memory(executor);
    if (death->end == EXECUTOR_END_OWN && death->signal_number == SIGKILL) {
        oom_read_kernel_log(death->pid, executor->started, &death->kernel);
    }
    read_crash_log(executor);
    read_victims(executor);
}

static void report_end(struct executor *executor)
{
    complete_certificate(executor);
    executor->events->died(executor->user, executor, &executor->death);
    abandon(executor);
}

static void check_end(struct executor *executor)
{
    if (executor->events == NULL) {
        free_if_unused(executor);
    } else if (executor->has_exited && !executor->is_looking) {
        if (executor->channel == NULL && executor->errors == NULL) {
            report_end(executor);
        } else {
            io_timer_start(executor->timer, LINGER_SECONDS, 0);
        }
    }
}

static void on_timer(void *user)
{
    struct executor *executor = user;
    if (executor->has_exited) {
        report_end(executor); /* never while it is looked at: check_end starts the timer after */
    } else if (executor->is_closing) {
        io_process_kill(executor->process, SIGKILL);
    } else if (executor->channel == NULL) {
        executor_kill(executor, EXECUTOR_END_PROTOCOL, "it closed its channel");
    } else {
        executor_kill(executor, EXECUTOR_END_START, "it was not ready in time");
    }
}

static void on_exited(void *user, int status, int signal_number)
{
    struct executor *executor = user;
    executor->has_exited = true;
    executor->death.status = status;
    executor->death.signal_number = signal_number;
    io_timer_stop(executor->timer);
    check_end(executor);
}

/* ---- the channel ---- */

static void channel_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct executor *executor = user;
    channel_reader_space(&executor->reader, out_data, out_size);
}

static void refuse(struct executor *executor, const char *why)
{
    struct text reason = {0};
    text_printf(&reason, "it sent a malformed message: %s", why);
    executor_kill(executor, EXECUTOR_END_PROTOCOL, text_cstr(&reason));
    text_fini(&reason);
    io_stream_abort(executor->channel);
}

static void give(struct executor *executor, struct executor_message *message)
{
    if (message->op == EXECUTOR_READY && !executor->is_ready) {
        executor->is_ready = true;
        note_peak(executor);
        if (!executor->is_closing) {
            io_timer_stop(executor->timer);
        }
        executor->events->ready(executor->user, executor);
    } else if (message->op != EXECUTOR_READY) {
        executor->events->message(executor->user, executor, message);
    }
    if (message->payload.segment >= 0) {
        close(message->payload.segment);
    }
}

static void channel_read(void *user, size_t size)
{
    struct executor *executor = user;
    channel_reader_advance(&executor->reader, size);
    struct executor_message message;
    int got = 0;
    while (executor->events != NULL && executor->channel != NULL &&
           (got = channel_reader_next(&executor->reader, &message)) == 1) {
        give(executor, &message);
    }
    if (executor->events != NULL && got < 0) {
        refuse(executor, text_cstr(&executor->reader.why));
    }
}

static void channel_descriptor(void *user, int fd)
{
    struct executor *executor = user;
    if (executor->events == NULL) {
        close(fd);
    } else if (!channel_reader_descriptor(&executor->reader, fd)) {
        refuse(executor, "descriptors without messages");
    }
}

static void channel_closed(void *user, int code, const char *text)
{
    (void)code; /* the exit says what happened */
    (void)text;
    struct executor *executor = user;
    executor->channel = NULL;
    if (executor->events != NULL && !executor->has_exited && !executor->is_closing) {
        io_timer_start(executor->timer, DEAF_SECONDS, 0);
    }
    check_end(executor);
}

static const struct io_stream_events channel_events = {
    .space = channel_space,
    .read = channel_read,
    .descriptor = channel_descriptor,
    .closed = channel_closed,
};

/* ---- standard error ---- */

static void errors_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct executor *executor = user;
    *out_data = executor->error_space;
    *out_size = sizeof executor->error_space;
}

static void errors_read(void *user, size_t size)
{
    struct executor *executor = user;
    fwrite(executor->error_space, 1, size, stderr);
    struct text *words = &executor->death.last_words;
    text_add(words, span_of(executor->error_space, size));
    if (words->size > (size_t)2 * WORDS_KEPT) { /* only the end matters */
        memmove(words->data, words->data + words->size - WORDS_KEPT, WORDS_KEPT + 1);
        words->size = WORDS_KEPT;
    }
}

static void errors_closed(void *user, int code, const char *text)
{
    (void)code;
    (void)text;
    struct executor *executor = user;
    executor->errors = NULL;
    check_end(executor);
}

static const struct io_stream_events error_events = {
    .space = errors_space,
    .read = errors_read,
    .closed = errors_closed,
};

/* ---- the crash line ---- */

static void look(void *user)
{
    struct executor *executor = user;
    struct executor_death *death = &executor->death;
    crash_unwind(death->pid, death->fault_thread, &death->native_frames);
}

static void on_looked(void *user)
{
    struct executor *executor = user;
    executor->is_looking = false;
    if (executor->line != NULL && executor->events != NULL) {
        struct span byte = SPAN("\n");
        io_stream_write(executor->line, &byte, 1, NULL, NULL); /* it may go on dying */
    }
    check_end(executor);
}

/* A thread of the executor says that it crashed. It might say anything. */
static void take_record(struct executor *executor)
{
    struct crash_record record;
    memcpy(&record, executor->record, sizeof record);
    struct executor_death *death = &executor->death;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%" PRIu32, death->pid, record.thread);
    struct stat status;
    if (record.magic != CRASH_MAGIC || record.signal_number == 0 || record.signal_number >= NSIG ||
        death->fault_signal != 0 || stat(path, &status) != 0) {
        return;
    }
    death->fault_signal = (int)record.signal_number;
    death->fault_code = record.code;
    death->fault_address = record.address;
    death->fault_thread = record.thread;
    note_peak(executor);
    executor->is_looking = true;
    io_work(executor->loop, look, on_looked, executor);
}

static void line_space(void *user, uint8_t **out_data, size_t *out_size)
{
    struct executor *executor = user;
    *out_data = executor->line_space;
    *out_size = sizeof executor->line_space;
}

static void line_read(void *user, size_t size)
{
    struct executor *executor = user;
    size_t room = sizeof executor->record - executor->record_size;
    size_t taken = size < room ? size : room;
    memcpy(executor->record + executor->record_size, executor->line_space, taken);
    executor->record_size += taken;
    if (taken > 0 && executor->record_size == sizeof executor->record && executor->events != NULL) {
        take_record(executor);
    }
}

static void line_closed(void *user, int code, const char *text)
{
    (void)code;
    (void)text;
    struct executor *executor = user;
    executor->line = NULL;
    check_end(executor);
}

static const struct io_stream_events line_events = {
    .space = line_space,
    .read = line_read,
    .closed = line_closed,
};

/* ---- the start ---- */

/* A library that executors load: beside the program (a build folder has it in src/exec), or where it was
 * installed. */
static bool find_library(const char *name, struct text *out)
{
    static const char *const places[] = {"src/exec", ".", "../lib/cask"};
    char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash = NULL;
    if (size > 0) {
        path[size] = '\0';
        slash = strrchr(path, '/');
    }
    for (size_t i = 0; slash != NULL && i < sizeof places / sizeof places[0]; i++) {
        *slash = '\0';
        text_clear(out);
        text_printf(out, "%s/%s/%s", path, places[i], name);
        if (access(text_cstr(out), R_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* How its process begins; program and environment are spawn's. */
static struct io_process_options process_options(struct executor *executor)
{
    return (struct io_process_options){
        .stdio = {IO_PIPE, IO_INHERIT, IO_PIPE},
        .channel = true,
        .own_group = true,
        .exited = on_exited,
        .user = executor,
    };
}

/* "VARIABLE=path", unless the environment says where the library is, or that there is none. */
static void add_library(const char *variable, const char *name, struct text *out)
{
    struct text path = {0};
    if (getenv(variable) == NULL && find_library(name, &path)) {
        text_printf(out, "%s=%s", variable, text_cstr(&path));
    }
    text_fini(&path);
}

static int spawn(struct executor *executor, const struct executor_options *options,
                 struct text *why)
{
    const char *argv[] = {options->python, "-m", "cask.executor", NULL};
    struct VEC(const char *) environment = {0};
    for (const char *const *item = options->environment; item != NULL && *item != NULL; item++) {
        vec_push(&environment, *item);
    }
    struct text libraries[2] = {0};
    add_library("CASK_CRASH_LIBRARY", "libcask-crash.so", &libraries[0]);
    add_library("CASK_EXECUTOR_EXTENSION", "_native.abi3.so", &libraries[1]);
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        if (libraries[i].size > 0) {
            vec_push(&environment, text_cstr(&libraries[i]));
        }
    }
    vec_push(&environment, NULL);
    struct io_process_options process = process_options(executor);
    process.argv = argv;
    process.environment = environment.items;
    process.directory = options->directory;
    int code = io_process_spawn(executor->loop, &process, &executor->process, why);
    vec_fini(&environment);
    text_fini(&libraries[0]);
    text_fini(&libraries[1]);
    return code;
}

/* Board and crash log. */
static int open_memory(struct executor *executor, uint32_t slot_count, struct text *why)
{
    int code = board_create(slot_count, &executor->board, why);
    if (code != OK) {
        return code;
    }
    executor->crash_log = memfd_create("cask-crash-log", MFD_CLOEXEC);
    if (executor->crash_log < 0) {
        text_printf(why, "no memory for a crash log: %s", strerror(errno));
        board_destroy(&executor->board);
        return ERR_IO;
    }
    return OK;
}

static void say_start(struct executor *executor)
{
    int board = fcntl(executor->board.fd, F_DUPFD_CLOEXEC, 0);
    int crash_log = fcntl(executor->crash_log, F_DUPFD_CLOEXEC, 0);
    if (board < 0 || crash_log < 0) {
        if (board >= 0) {
            close(board);
        }
        executor_kill(executor, EXECUTOR_END_START, "no descriptors are left");
        return;
    }
    channel_add_start(&executor->writer, executor->board.slot_count, board, crash_log);
    executor_flush(executor);
}

static struct executor *create(struct io_loop *loop, const struct executor_options *options)
{
    struct executor *executor = mem_zalloc(1, sizeof *executor);
    executor->loop = loop;
    executor->events = options->events;
    executor->user = options->user;
    return executor;
}

void executor_enclose(struct executor *executor, struct cgroup_home *cgroups)
{
    struct text why = {0};
    if (cgroups != NULL &&
        cgroup_create(cgroups, executor->death.pid, &executor->cgroup, &why) != OK) {
        log_warning(LOGGER, "An executor has no cgroup of its own: %s", text_cstr(&why));
    }
    text_fini(&why);
}

/* Its process is there: listen, and say START. Frees it if that fails. */
static int begin(struct executor *executor, const struct executor_options *options,
                 struct text *why)
{
    int code = open_memory(executor, options->slot_count, why);
    if (code != OK) {
        io_process_destroy(executor->process);
        mem_free(executor);
        return code;
    }
    executor->started = io_monotonic();
    struct rusage usage;
    executor->rss_ours = getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
    executor->death.pid = io_process_id(executor->process);
    oom_offer(executor->death.pid);
    oom_read(&executor->memory_before);
    executor_enclose(executor, options->cgroups);
    executor->timer = io_timer_create(executor->loop, on_timer, executor);
    io_timer_start(executor->timer,
                   options->start_seconds > 0 ? options->start_seconds : START_SECONDS, 0);
    executor->line = io_process_take_stream(executor->process, STDIN_FILENO);
    executor->errors = io_process_take_stream(executor->process, STDERR_FILENO);
    executor->channel = io_process_take_stream(executor->process, CHANNEL_FD);
    io_stream_start(executor->line, &line_events, executor);
    io_stream_start(executor->errors, &error_events, executor);
    io_stream_start(executor->channel, &channel_events, executor);
    say_start(executor);
    return OK;
}

int executor_start(struct io_loop *loop, const struct executor_options *options,
                   struct executor **out_executor, struct text *why)
{
    struct executor *executor = create(loop, options);
    int code = spawn(executor, options, why);
    if (code != OK) {
        mem_free(executor);
        return code;
    }
    *out_executor = executor;
    return begin(executor, options, why);
}

int executor_ask_birth(struct executor *seed, uint64_t number, struct executor_birth *out_birth,
                       struct text *why)
{
    ASSERT(seed->is_ready);
    const struct io_process_options options = process_options(seed);
    int code = io_process_open_ends(&options, &out_birth->ends, why);
    if (code == OK) {
        int *theirs = out_birth->ends.theirs;
        const int fds[] = {theirs[STDIN_FILENO], theirs[STDERR_FILENO], theirs[CHANNEL_FD]};
        channel_add_fork(&seed->writer, number, fds);
        seed->has_forked = true;
        theirs[STDIN_FILENO] = theirs[STDERR_FILENO] = theirs[CHANNEL_FD] = -1;
        executor_flush(seed);
    }
    return code;
}

int executor_born(struct io_loop *loop, const struct executor_options *options,
                  struct executor_birth *take_birth, struct executor **out_executor,
                  struct text *why)
{
    struct executor *executor = create(loop, options);
    const struct io_process_options process = process_options(executor);
    int code = io_process_adopt(loop, &process, &take_birth->ends, &executor->process, why);
    if (code != OK) {
        executor_birth_fini(take_birth);
        mem_free(executor);
        return code;
    }
    *out_executor = executor;
    return begin(executor, options, why);
}

void executor_birth_fini(struct executor_birth *birth)
{
    io_process_close_ends(birth->ends.ours);
    io_process_close_ends(birth->ends.theirs);
}

/* ---- what its owner asks ---- */

void executor_set_tag(struct executor *executor, void *tag)
{
    executor->tag = tag;
}

void *executor_tag(const struct executor *executor)
{
    return executor->tag;
}

int executor_process_id(const struct executor *executor)
{
    return executor->death.pid;
}

bool executor_is_ready(const struct executor *executor)
{
    return executor->is_ready;
}

bool executor_is_dying(const struct executor *executor)
{
    return executor->has_exited || executor->is_closing || executor->channel == NULL ||
           executor->death.end != EXECUTOR_END_OWN || executor->death.fault_signal != 0;
}

struct channel_writer *executor_out(struct executor *executor)
{
    return &executor->writer;
}

static void free_bytes(void *owner)
{
    mem_free(owner);
}

/* Bytes and descriptors, message by message where a message has descriptors. */
static void send_all(struct executor *executor)
{
    struct channel_writer *writer = &executor->writer;
    struct span rest = text_span(&writer->bytes);
    size_t sent = 0;
    uint32_t next = 0;
    while (next < writer->attached.count) {
        size_t at = writer->attached.items[next].at;
        int fds[CHANNEL_FDS_MAX];
        uint32_t count = 0;
        while (next < writer->attached.count && writer->attached.items[next].at == at) {
            fds[count++] = writer->attached.items[next++].fd;
        }
        struct span before = span_of(rest.data + sent, at - sent);
        io_stream_write(executor->channel, &before, 1, NULL, NULL);
        io_stream_write_descriptors(executor->channel, span_of(rest.data + at, 1), fds, count);
        sent = at + 1;
    }
    struct span after = span_of(rest.data + sent, rest.size - sent);
    if (after.size < GIVEN_MIN) {
        io_stream_write(executor->channel, &after, 1, NULL, NULL);
        text_clear(&writer->bytes);
    } else { /* most of it waits for the executor to read: the stream gets the bytes themselves */
        io_stream_write(executor->channel, &after, 1, writer->bytes.data, free_bytes);
        writer->bytes = (struct text){0};
    }
    writer->attached.count = 0; /* the stream has the descriptors */
}

void executor_flush(struct executor *executor)
{
    if (executor->writer.bytes.size == 0) {
        return;
    }
    if (executor->channel != NULL) {
        send_all(executor);
    } else {
        channel_writer_fini(&executor->writer); /* `died` is on its way */
    }
}

void executor_running(const struct executor *executor, struct executor_victim *out_victims,
                      uint32_t capacity, uint32_t *out_count)
{
    *out_count = board_read(&executor->board, out_victims, capacity);
}

uint64_t executor_rss(struct executor *executor)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", executor->death.pid);
    FILE *file = fopen(path, "re");
    unsigned long long total = 0, resident = 0;
    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &total, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    uint64_t bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    executor->rss_seen = bytes > executor->rss_seen ? bytes : executor->rss_seen;
    return bytes;
}

void executor_kill(struct executor *executor, enum executor_end end, const char *reason)
{
    if (executor->death.end == EXECUTOR_END_OWN && !executor->has_exited) {
        executor->death.end = end;
        text_add_cstr(&executor->death.reason, reason);
        note_peak(executor);
    }
    io_process_kill(executor->process, SIGKILL);
}

void executor_close(struct executor *executor, double grace)
{
    if (executor->is_closing || executor->has_exited) {
        return;
    }
    executor->is_closing = true;
    if (executor->death.end == EXECUTOR_END_OWN) {
        executor->death.end = EXECUTOR_END_ASKED;
    }
    channel_add_exit(&executor->writer);
    executor_flush(executor);
    io_timer_start(executor->timer, grace, 0);
}

void executor_destroy(struct executor *executor)
{
    abandon(executor);
}
