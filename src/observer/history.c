/* history.c: the thread that writes, and how the loop speaks with it.
 *
 * There is one place for a batch. The loop fills it when it is empty, at most twice a second; the thread takes it, writes it
 * in one transaction, and empties it. So a slow disk makes batches larger, not more of them. If a write fails (a full
 * disk), it is tried again and again; it is said once, and nobody waits for it. The ring's records are let go when what
 * they told is in the file: an observer that is killed loses nothing, the next one reads them again. */
#include "observer/history.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "observer/history_collect.h"
#include "observer/history_internal.h"

#define LOGGER "distributed.scheduler"
#define COMMIT_SECONDS 0.5
/* Samples alone (memory, states) are worth a commit so long after the last. */
#define SAMPLES_SECONDS 5.0
#define RETRY_SECONDS 1
#define TIDY_SECONDS 60.0
/* Rows that wait because the disk does not take any. */
#define PENDING_BYTES_MAX ((size_t)32 << 20)
/* The observer does not end before what is left is written, unless that takes longer. */
#define END_SECONDS 10

struct history {
    struct text folder, path;
    double bytes_max, seconds_max;
    sqlite3 *file;
    /* the loop's */
    struct history_mark mark;
    struct batch pending; /* rows of records, for the next batch */
    double written,
        happened; /* when a batch was last handed over; when it last had more than samples */
    double waiting_since;
    uint64_t missed_rows;
    bool is_waiting; /* something is not written yet */
    bool has_more;   /* the last batch did not take all */
    /* shared, by the mutex */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct batch batch;
    bool has_batch, is_ending, is_full;
    uint64_t bytes, tail; /* tail: of the last batch that was written */
    /* the thread's */
    double tidied;
};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the thread --------------------------------------------------------------------------------- */

/* What this file takes away from others; and of itself, its oldest runs. */
static void make_room(struct history *history)
{
    struct text why = {0};
    struct history_tidied tidied;
    const struct history_options options = {.folder = text_cstr(&history->folder),
                                            .bytes_max = history->bytes_max,
                                            .seconds_max = history->seconds_max};
    int code = history_tidy(&options, false, &tidied, &why);
    if (code == OK && (double)tidied.bytes_after > history->bytes_max) {
        code =
            history_run(history->file,
                        "DELETE FROM run_chunks WHERE first < (SELECT min(first) + (max(first) - "
                        "min(first)) / 4 FROM run_chunks)",
                        &why);
    }
    if (code != OK) {
        log_warning(LOGGER, "history: no room can be made: %s", text_cstr(&why));
    }
    text_fini(&why);
}

static uint64_t file_bytes(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* Wait for the mutex's `wake`, at most so long. */
static void wait_seconds(struct history *history, int seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_cond_timedwait(&history->wake, &history->mutex, &until);
}

/* Until it is written; with the mutex, which is free meanwhile. */
static void write_batch(struct history *history)
{
    struct text why = {0};
    for (;;) {
        pthread_mutex_unlock(&history->mutex);
        int code = batch_write(&history->batch, history->file, &why);
        uint64_t bytes = file_bytes(text_cstr(&history->path));
        pthread_mutex_lock(&history->mutex);
        history->bytes = bytes;
        if (code == OK) {
            if (history->is_full) {
                log_info(LOGGER, "history: it is written again");
            }
            history->is_full = false;
            break;
        }
        if (!history->is_full) {
            log_error(LOGGER,
                      "history: %s: what happens now is kept when that is over, as far as "
                      "it fits into memory",
                      text_cstr(&why));
        }
        history->is_full = true;
        text_clear(&why);
        if (history->is_ending) {
            break;
        }
        wait_seconds(history, RETRY_SECONDS);
    }
    text_fini(&why);
}

static void *write_all(void *user)
{
    struct history *history = user;
    pthread_mutex_lock(&history->mutex);
    while (!history->is_ending || history->has_batch) {
        if (!history->has_batch) {
            pthread_cond_wait(&history->wake, &history->mutex);
            continue;
        }
        write_batch(history);
        struct batch done = history->batch;
        history->batch = (struct batch){0};
        history->has_batch = false;
        history->tail = done.tail;
        pthread_cond_broadcast(&history->wake);
        pthread_mutex_unlock(&history->mutex);
        batch_fini(&done);
        if (now_seconds() - history->tidied > TIDY_SECONDS) {
            make_room(history);
            history->tidied = now_seconds();
        }
        pthread_mutex_lock(&history->mutex);
    }
    pthread_mutex_unlock(&history->mutex);
    return NULL;
}

static int start_thread(struct history *history, struct text *why)
{
    sigset_t all, before;
    pthread_mutex_init(&history->mutex, NULL);
    pthread_cond_init(&history->wake, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    int code = pthread_create(&history->thread, NULL, write_all, history);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        text_printf(why, "a thread to write history: %s", strerror(code));
        return ERR_IO;
    }
    return OK;
}

/* ---- beginning and end -------------------------------------------------------------------------- */

static void history_free(struct history *history)
{
    batch_fini(&history->pending);
    text_fini(&history->folder);
    text_fini(&history->path);
    if (history->file != NULL) {
        history_file_close(history->file);
    }
    mem_free(history);
}

/* What the file has of an earlier observer of this scheduler. */
static int resume(struct history *history, struct tables *tables, uint64_t *out_tail,
                  struct text *why)
{
    struct text id = {0};
    history_meta_text(history->file, "id", &id);
    int code = OK;
    *out_tail = 0;
    if (id.size > 0) {
        code = history_load_file(history->file, tables, why);
        *out_tail = (uint64_t)history_meta_int(history->file, "ring_tail");
        history->mark = history_mark_of(tables);
        history->mark.missed = (uint64_t)history_meta_int(history->file, "missed");
    }
    text_fini(&id);
    return code;
}

int history_create(const struct history_options *options, struct tables *tables,
                   struct history **out_history, uint64_t *out_tail, struct text *why)
{
    struct history *history = mem_zalloc(1, sizeof *history);
    *out_history = NULL;
    text_add_cstr(&history->folder, options->folder);
    history->bytes_max = options->bytes_max;
    history->seconds_max = options->seconds_max;
    history_path(options, &history->path);
    int code = history_folder_make(options->folder, why);
    code = code == OK ? history_file_write(text_cstr(&history->path), &history->file, why) : code;
    code = code == OK ? history_sign(history->file, why) : code;
    code = code == OK ? resume(history, tables, out_tail, why) : code;
    code = code == OK ? start_thread(history, why) : code;
    if (code != OK) {
        history_free(history);
        return code;
    }
    history->tail = *out_tail;
    *out_history = history;
    return OK;
}

static void hand_over(struct history *history, struct tables *tables, uint64_t tail)
{
    history->batch = history->pending;
    history->pending = (struct batch){0};
    history->batch.tail = tail;
    history->has_more = !history_collect(tables, &history->mark, &history->batch);
    history->has_batch = true;
    pthread_cond_broadcast(&history->wake);
}

void history_destroy(struct history *history, struct tables *tables, uint64_t tail)
{
    if (history == NULL) {
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_SECONDS;
    pthread_mutex_lock(&history->mutex);
    do {
        int code = 0;
        while (history->has_batch && !history->is_full && code == 0) {
            code = pthread_cond_timedwait(&history->wake, &history->mutex, &until);
        }
        if (history->has_batch) {
            break; /* the disk does not take it */
        }
        hand_over(history, tables, tail);
    } while (history->has_more);
    history->is_ending = true;
    pthread_cond_broadcast(&history->wake);
    pthread_mutex_unlock(&history->mutex);
    if (pthread_timedjoin_np(history->thread, NULL, &until) != 0) {
        log_error(LOGGER, "history: the disk does not answer; what happened last is lost");
        return; /* the thread has it still, and ends with the process */
    }
    pthread_mutex_destroy(&history->mutex);
    pthread_cond_destroy(&history->wake);
    batch_fini(&history->batch);
    history_unsign(history->file);
    history_free(history);
}

/* ---- the loop's side ---------------------------------------------------------------------------- */

void history_take(struct history *history, const struct tables *tables,
                  const union any_record *record)
{
    if (history->pending.rows.size < PENDING_BYTES_MAX) {
        history_collect_record(tables, record, &history->pending);
    } else {
        history->missed_rows++;
    }
}

void history_take_failed(struct history *history, const struct failed_told *failed)
{
    if (history->pending.rows.size < PENDING_BYTES_MAX) {
        history_collect_failed(failed, &history->pending);
    } else {
        history->missed_rows++;
    }
}

uint64_t history_beat(struct history *history, struct tables *tables, uint64_t tail, double now)
{
    bool is_new = history->pending.rows.size > 0 || history->has_more ||
                  history_is_new(tables, &history->mark);
    if (is_new && !history->is_waiting) {
        history->waiting_since = now;
    }
    history->is_waiting = is_new;
    /* Samples are written while there is work, and once after it. */
    bool is_sampled = tables->tick != history->mark.tick &&
                      now - history->written >= SAMPLES_SECONDS &&
                      now - history->happened <= 2 * SAMPLES_SECONDS;
    bool is_due =
        is_new ? history->has_more || now - history->written >= COMMIT_SECONDS : is_sampled;
    pthread_mutex_lock(&history->mutex);
    if (is_due && !history->has_batch) {
        hand_over(history, tables, tail);
        history->written = now;
        history->happened = is_new ? now : history->happened;
        history->is_waiting = history->has_more;
    }
    bool is_quiet = !history->has_batch && !is_new;
    uint64_t kept = is_quiet ? tail : history->tail;
    pthread_mutex_unlock(&history->mutex);
    return kept;
}

struct history_state history_state(struct history *history, double now)
{
    pthread_mutex_lock(&history->mutex);
    struct history_state state = {
        .bytes = history->bytes,
        .missed = history->mark.missed + history->missed_rows,
        .lag = history->is_waiting ? now - history->waiting_since : 0,
        .is_full = history->is_full,
    };
    pthread_mutex_unlock(&history->mutex);
    return state;
}
