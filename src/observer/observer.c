/* observer.c: the process: its beginning, its clock, the scheduler's end, its own.
 *
 * It wakes for connections and answers, and to look at the ring: ten times a second while somebody watches work, four
 * times while somebody watches none (a failure is to be seen at once), twice while there is work, every two seconds
 * else. */
#include "observer/observer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "exec/oom.h"
#include "observer/history.h"
#include "observer/process.h"
#include "wire/msgpack.h"

#define LOGGER "distributed.scheduler"
#define NICENESS 5
#define WATCHED_SECONDS 0.1
#define WATCHED_IDLE_SECONDS 0.25
#define WORKING_SECONDS 0.5
#define IDLE_SECONDS 2.0
/* Without records for so long, there is no work. */
#define ACTIVE_SECONDS 5.0
#define SAMPLE_WATCHED_SECONDS 1.0
#define SAMPLE_WATCHED_IDLE_SECONDS 2.0
#define SAMPLE_WORKING_SECONDS 5.0
/* Records read before connections get their turn. */
#define RECORDS_A_TURN 20000u

double observer_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the ring ----------------------------------------------------------------------------------- */

/* Records stay in the ring until they are in the file, in case we are killed; but the scheduler is not to run out of
 * room because a disk is slow. */
static void let_records_go(struct observer *observer, double now)
{
    if (observer->history == NULL || ring_held(&observer->ring) > ring_size(&observer->ring) / 2) {
        ring_release(&observer->ring);
    }
    if (observer->history != NULL) {
        uint64_t kept = history_beat(observer->history, observer->tables, observer->ring.tail, now);
        ring_release_before(&observer->ring, kept);
    }
}

void observer_drain(struct observer *observer)
{
    uint32_t count = 0;
    if (observer->ring.shared == NULL) {
        return;
    }
    while (count < RECORDS_A_TURN && ring_next(&observer->ring, &observer->record)) {
        tables_apply(observer->tables, &observer->record);
        if (observer->history != NULL) {
            history_take(observer->history, observer->tables, &observer->record);
        }
        /* A sample was asked for by us: it is no sign of work. */
        if (observer->record.head.kind < RECORD_GROUP_SAMPLE) {
            observer->active = observer_now();
        }
        count++;
    }
    let_records_go(observer, observer_now());
}

static void sample_taken(void *user, struct span answer)
{
    (void)answer;
    struct observer *observer = user;
    observer->is_sampling = false;
}

static bool is_active(const struct observer *observer, double now)
{
    return now - observer->active < ACTIVE_SECONDS;
}

static void sample_if_due(struct observer *observer, double now)
{
    bool is_working =
        observer->active > observer->sampled || findings_hold(&observer->tables->findings);
    double pause = observer->viewers.count == 0 ? SAMPLE_WORKING_SECONDS
                   : is_active(observer, now)   ? SAMPLE_WATCHED_SECONDS
                                                : SAMPLE_WATCHED_IDLE_SECONDS;
    if (observer->is_sampling || now - observer->sampled < pause ||
        (observer->viewers.count == 0 && !is_working)) {
        return;
    }
    struct text call = {0};
    msgpack_write_map(&call, 1);
    msgpack_write_cstr(&call, "op");
    msgpack_write_cstr(&call, "sample");
    observer->sampled = now;
    observer->is_sampling = channel_ask(observer, text_span(&call), sample_taken, observer);
    text_fini(&call);
}

static void drain_due(lws_sorted_usec_list_t *timer);

static void set_timer(struct observer *observer, double seconds)
{
    lws_sul_schedule(observer->context, 0, &observer->drain_timer, drain_due,
                     (lws_usec_t)(seconds * LWS_US_PER_SEC));
}

static void drain_due(lws_sorted_usec_list_t *timer)
{
    struct observer *observer = lws_container_of(timer, struct observer, drain_timer);
    double now = observer_now();
    observer_drain(observer);
    if (observer->ring.shared != NULL) {
        findings_look(observer->tables, ring_dropped(&observer->ring), now);
    }
    sample_if_due(observer, now);
    channel_expire(observer);
    viewers_beat(observer);
    for (uint32_t i = 0; i < observer->runs.count; i++) {
        viewers_beat(observer->runs.items[i]);
    }
    double pause;
    if (is_active(observer, now)) {
        pause = observer->viewers.count > 0 ? WATCHED_SECONDS : WORKING_SECONDS;
    } else {
        pause = observer->viewers.count > 0 ? WATCHED_IDLE_SECONDS : IDLE_SECONDS;
    }
    if (observer->ring.shared != NULL && ring_waiting(&observer->ring) > 0) {
        pause = 0.001; /* there is more than one turn's worth */
    }
    set_timer(observer, pause);
}

void observer_wake(struct observer *observer)
{
    /* Of a run that is kept, the process's: it alone has a loop. */
    set_timer(observer->outer == NULL ? observer : observer->outer, 0.001);
}

/* ---- the scheduler's end ------------------------------------------------------------------------ */

static void end_due(lws_sorted_usec_list_t *timer)
{
    lws_container_of(timer, struct observer, end_timer)->is_ended = true;
}

/* What is known about an end without a word. */
static void tell_end(struct observer *observer)
{
    struct text reason = {0};
    struct oom_state memory;
    int number = ring_signal(&observer->ring);
    oom_read(&memory);
    text_printf(&reason, "the scheduler (process %lld) ", (long long)observer->tables->pid);
    if (number != 0) {
        text_printf(&reason, "was ended by signal %d (%s)", number, strsignal(number));
    } else if (memory.kills > observer->oom_kills) {
        text_add_cstr(&reason, "was killed for lack of memory: the kernel ended a process of its "
                               "cgroup (OOM)");
    } else {
        text_add_cstr(&reason, "ended without a word: killed (SIGKILL), or with its machine");
    }
    tables_died(observer->tables, observer_now(), text_cstr(&reason));
    log_error(LOGGER, "%s; the dashboard stays for %.0f s", text_cstr(&reason),
              observer->settings.linger);
    text_fini(&reason);
}

static void scheduler_gone(struct observer *observer)
{
    observer_drain(observer);
    channel_closed(observer);
    if (observer->tables->state == CLUSTER_RUNNING) {
        tell_end(observer);
    }
    viewers_beat(observer);
    lws_sul_schedule(observer->context, 0, &observer->end_timer, end_due,
                     (lws_usec_t)(observer->settings.linger * LWS_US_PER_SEC) + 1);
}

/* ---- beginning ---------------------------------------------------------------------------------- */

static void set_limits(void)
{
    struct rlimit files;
    (void)!setpriority(PRIO_PROCESS, 0, NICENESS); /* or as important as its scheduler */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 4096) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* fewer viewers then */
    }
    signal(SIGPIPE, SIG_IGN);
}

void observer_destroy(struct observer *observer)
{
    while (observer->viewers.count > 0) {
        viewer_destroy(observer->viewers.items[observer->viewers.count - 1]);
    }
    while (observer->runs.count > 0) {
        observer_destroy(vec_pop(&observer->runs));
    }
    vec_fini(&observer->runs);
    history_destroy(observer->history, observer->tables, observer->ring.tail);
    if (observer->tables != NULL) {
        tables_destroy(observer->tables);
    }
    ring_close(&observer->ring);
    frame_reader_fini(&observer->reader);
    vec_fini(&observer->questions);
    vec_fini(&observer->viewers);
    struct settings *settings = &observer->settings;
    struct text *texts[] = {&settings->prefix,  &settings->tls_cert,   &settings->tls_key,
                            &settings->tls_ca,  &settings->token,      &settings->name_space,
                            &settings->history, &settings->cluster_id, &settings->findings,
                            &observer->run_name};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        text_fini(texts[i]);
    }
    for (uint32_t i = 0; i < settings->origins.count; i++) {
        text_fini(&settings->origins.items[i]);
    }
    vec_fini(&settings->origins);
    mem_free(observer);
}

/* What an earlier observer of this scheduler saw is read first; its last records may still be in the ring. */
static void keep_history(struct observer *observer)
{
    const struct settings *settings = &observer->settings;
    const struct history_options options = {
        .folder = text_cstr(&settings->history),
        .cluster_id = text_cstr(&settings->cluster_id),
        .started = settings->started,
        .bytes_max = settings->history_bytes,
        .seconds_max = settings->history_seconds,
    };
    struct text why = {0};
    uint64_t tail;
    if (settings->history.size == 0) {
        return;
    }
    if (history_create(&options, observer->tables, &observer->history, &tail, &why) == OK) {
        ring_seek(&observer->ring, tail);
    } else {
        log_warning(LOGGER, "No history is kept: %s", text_cstr(&why));
    }
    text_fini(&why);
}

/* The channel's callback in server.c says when the scheduler is gone. */
static int serve(struct observer *observer, struct text *why)
{
    struct oom_state memory;
    oom_read(&memory);
    observer->oom_kills = memory.kills;
    observer->tables = tables_create((size_t)observer->settings.memory);
    findings_configure(&observer->tables->findings, text_span(&observer->settings.findings));
    int code = server_create(observer, why);
    if (code != OK) {
        return code;
    }
    keep_history(observer);
    set_timer(observer, 0.001);
    bool was_open = true;
    while (!observer->is_ended && lws_service(observer->context, 0) >= 0) {
        if (was_open && observer->channel < 0) {
            was_open = false;
            scheduler_gone(observer);
        }
    }
    lws_context_destroy(observer->context);
    return OK;
}

int observer_run(void)
{
    struct observer *observer = mem_zalloc(1, sizeof *observer);
    struct text why = {0};
    observer->channel = -1;
    set_limits();
    int code = channel_receive_settings(observer, &why);
    code = code == OK ? serve(observer, &why) : code;
    if (code != OK) {
        fprintf(stderr, "cask observer: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    observer_destroy(observer);
    return code == OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- of a file ---------------------------------------------------------------------------------- */

#define SHOWN_MEMORY ((size_t)512 << 20)

struct observer *observer_create_file(const char *path, size_t memory, struct text *why)
{
    struct observer *observer = mem_zalloc(1, sizeof *observer);
    observer->channel = -1;
    observer->settings.pages = true;
    text_add_cstr(&observer->settings.name_space, "dask");
    observer->tables = tables_create(memory);
    int code = history_load(path, observer->tables, why);
    if (code == ERR_CORRUPT && observer->tables->runs.next > 0) {
        log_warning(LOGGER, "%s: %s; the rest is shown", path, text_cstr(why));
        text_clear(why);
        code = OK;
    }
    if (code != OK) {
        observer_destroy(observer);
        return NULL;
    }
    findings_defaults(&observer->tables->findings);
    findings_look(observer->tables, observer->tables->lost, observer->tables->time);
    return observer;
}

int observer_show(const char *path, int listener, const char *prefix, struct text *why)
{
    set_limits();
    struct observer *observer = observer_create_file(path, SHOWN_MEMORY, why);
    if (observer == NULL) {
        close(listener);
        return ERR_IO;
    }
    observer->listeners[observer->listener_count++] = listener;
    if (prefix != NULL) {
        text_add_cstr(&observer->settings.prefix, prefix);
    }
    const char *slash = strrchr(path, '/');
    text_add(&observer->settings.history,
             slash == NULL ? SPAN(".") : span_of(path, (size_t)(slash - path)));
    int code = server_create(observer, why);
    if (code == OK) {
        set_timer(observer, 0.001);
        while (lws_service(observer->context, 0) >= 0) {
        }
        lws_context_destroy(observer->context);
    }
    observer_destroy(observer);
    return code;
}
