/* failure.c: see failure.h. Texts that stock's exceptions carry are made here, with more in them where
 * a person would ask for more: a KilledWorker lists each worker that was lost, when and how. */
#include "core/scheduler/failure.h"

#include <math.h>

#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/transition.h"

#define DEATH_LINES_MAX 20u /* lines kept for one task; allowed-failures may be set to millions */
#define DEATH_BYTES_MAX 32768u /* of a certificate */
#define LEVEL_ERROR 40u

struct failure *failure_create(enum failure_kind kind, struct span key)
{
    struct failure *failure = mem_zalloc(1, sizeof *failure);
    failure->refs = 1;
    failure->kind = kind;
    failure->key = span_own(key);
    return failure;
}

static void describe_worker(struct failure *failure, const struct worker *worker)
{
    failure->worker = span_own(worker->address);
    failure->worker_name = span_own(worker->name);
    failure->worker_host = span_own(worker->host);
    failure->worker_pid = worker->pid;
    failure->worker_memory_limit = worker->memory_limit;
    failure->worker_nthreads = worker->nthreads;
    failure->worker_status = worker->status;
}

struct failure *failure_from_info(const struct failure_info *info, struct span key,
                                  const struct worker *worker)
{
    struct failure *failure = failure_create(info->kind, key);
    failure->exception = info->exception == NULL ? NULL : blob_ref(info->exception);
    failure->traceback = info->traceback == NULL ? NULL : blob_ref(info->traceback);
    failure->exception_text = span_own(info->exception_text);
    failure->traceback_text = span_own(info->traceback_text);
    if (info->kind == FAILURE_TEXT) {
        failure->text = span_own(info->exception_text);
    }
    if (worker != NULL) {
        describe_worker(failure, worker);
    }
    return failure;
}

struct failure *failure_from_text(enum failure_kind kind, struct span key, struct span text)
{
    struct failure *failure = failure_create(kind, key);
    failure->text = span_own(text);
    return failure;
}

struct failure *failure_ref(struct failure *failure)
{
    ASSERT(failure->refs > 0);
    failure->refs++;
    return failure;
}

void failure_unref(struct failure *failure)
{
    if (failure == NULL || --failure->refs > 0) {
        return;
    }
    blob_unref(failure->exception);
    blob_unref(failure->traceback);
    struct span *owned[] = {&failure->exception_text, &failure->traceback_text,
                            &failure->text,           &failure->key,
                            &failure->worker,         &failure->worker_name,
                            &failure->worker_host,    &failure->attempts};
    for (uint32_t i = 0; i < sizeof owned / sizeof *owned; i++) {
        span_disown(owned[i]);
    }
    restrictions_unref(failure->restrictions);
    mem_free(failure);
}

void failure_drop(struct scheduler *s, struct failure *failure)
{
    if (failure != NULL) {
        vec_push(&s->failures_dropped, failure);
    }
}

void task_blame(struct scheduler *s, struct task *task, struct failure *failure)
{
    if (failure == NULL && task->extra == NULL) {
        return;
    }
    struct task_extra *extra = task_extra_make(task);
    if (failure != NULL) {
        failure_ref(failure);
    }
    failure_drop(s, extra->failure);
    extra->failure = failure;
}

/* ---- workers that die ---- */

/* One death more; `what` and its time begin the line that tells of it. */
static bool count_death(struct scheduler *s, struct task *task, const struct worker *worker,
                        const char *what, struct span cause)
{
    struct task_extra *extra = task_extra_make(task);
    extra->suspicious++;
    task->group->prefix->suspicious++;
    if (extra->death_count < DEATH_LINES_MAX) {
        if (extra->deaths == NULL) {
            extra->deaths = mem_zalloc(1, sizeof *extra->deaths);
        }
        struct span name = key_as_repr(worker->name, &s->step->arena);
        text_add_cstr(extra->deaths, extra->death_count == 0 ? "" : "\n");
        text_add(extra->deaths, worker->address);
        text_add_cstr(extra->deaths, " (name: ");
        text_add(extra->deaths, name);
        text_add_cstr(extra->deaths, what);
        text_add_utc(extra->deaths, s->now);
        if (cause.size > 0) {
            cause.size = cause.size < DEATH_BYTES_MAX ? cause.size : DEATH_BYTES_MAX;
            text_add_cstr(extra->deaths, ": ");
            text_add(extra->deaths, cause);
        }
    }
    extra->death_count++;
    return extra->suspicious > s->config.allowed_failures;
}

bool failure_count_death(struct scheduler *s, struct task *task, const struct worker *worker,
                         struct span cause)
{
    return count_death(s, task, worker, ") was lost on ", cause);
}

bool failure_count_crash(struct scheduler *s, struct task *task, const struct worker *worker,
                         struct span certificate)
{
    struct task_extra *extra = task_extra_make(task);
    extra->has_crashes = true;
    extra->avoided = worker->id;
    return count_death(s, task, worker, "), ", certificate);
}

void failure_forget_deaths(struct task *task)
{
    struct task_extra *extra = task->extra;
    extra->suspicious = extra->death_count = 0;
    extra->has_crashes = false;
    text_clear(extra->deaths);
}

static struct failure *killed_worker(struct scheduler *s, const struct task *task,
                                     const struct worker *worker)
{
    struct failure *failure = failure_create(FAILURE_KILLED_WORKER, task->key);
    describe_worker(failure, worker);
    failure->allowed_failures = s->config.allowed_failures;
    ASSERT(task->extra != NULL && task->extra->deaths != NULL);
    failure->attempts = span_own(text_span(task->extra->deaths));
    failure->attempt_count = task->extra->death_count;
    failure->has_crashes = task->extra->has_crashes;
    return failure;
}

void failure_kill(struct scheduler *s, struct task *task, const struct worker *worker,
                  struct step *step)
{
    want_not(s, task);
    struct failure *failure = killed_worker(s, task, worker);
    struct move move = {.failure = failure, .worker = worker->address};
    transition(s, task, TASK_ERRED, &move, step);
    failure_drop(s, failure);
    struct span text = key_as_text(task->key, &step->arena);
    action_log(step, LEVEL_ERROR,
               "Task %.*s marked as failed because %u %s died while trying to run it",
               (int)text.size, (const char *)text.data, task_suspicious(task),
               failure->has_crashes ? "processes" : "workers");
}

struct failure *failure_memory(struct scheduler *s, const struct task *task,
                               const struct worker *worker, int64_t input_bytes)
{
    struct text text = {0};
    text_add_cstr(&text, "Task ");
    text_add(&text, key_as_repr(task->key, &s->step->arena));
    text_add_cstr(&text, " has ");
    text_add_bytes_size(&text, (double)input_bytes);
    text_add_cstr(&text, " worth of input dependencies, but worker ");
    text_add(&text, worker->address);
    text_add_cstr(&text, " has memory_limit set to ");
    text_add_bytes_size(&text, (double)worker->memory_limit);
    text_add_char(&text, '.');
    if (task->dependents.count == 0) {
        text_add_cstr(&text, " It seems like you called client.compute() on a huge collection. "
                             "Consider writing to distributed storage or slicing/reducing first.");
    }
    struct failure *failure = failure_from_text(FAILURE_MEMORY, task->key, text_span(&text));
    describe_worker(failure, worker);
    action_log(s->step, LEVEL_ERROR, "%s", text_cstr(&text));
    text_fini(&text);
    return failure;
}

/* ---- no-workers-timeout ---- */

void failure_refresh_no_workers(struct scheduler *s)
{
    if (s->running.count > 0 || (queue_count(s) == 0 && s->unrunnable_live == 0)) {
        s->no_workers_since = 0;
    } else if (s->no_workers_since == 0) {
        s->no_workers_since = s->now;
    }
}

static void fail_waiting(struct scheduler *s, struct task *task, enum failure_kind kind,
                         struct step *step)
{
    struct failure *failure = failure_create(kind, task->key);
    failure->timeout = s->config.no_workers_timeout;
    failure->restrictions = restrictions_ref(task_restrictions(task));
    transition(s, task, TASK_ERRED, &(struct move){.failure = failure}, step);
    failure_drop(s, failure);
    struct span text = key_as_repr(task->key, &step->arena);
    action_log(step, LEVEL_ERROR, "Task %.*s marked as failed because it timed out waiting %s.",
               (int)text.size, (const char *)text.data,
               kind == FAILURE_NO_WORKER ? "without any running workers"
                                         : "for its restrictions to become satisfied");
}

/* Tasks that have waited in no-worker for too long; those stuck for lack of any worker to the end. */
static uint32_t unrunnable_expired(struct scheduler *s, task_id *out, uint32_t *out_no_worker_from)
{
    double timeout = s->config.no_workers_timeout;
    uint32_t count = 0;
    for (int no_worker = 0; no_worker <= 1; no_worker++) {
        *out_no_worker_from = count;
        for (uint32_t i = 0; i < s->unrunnable.count; i++) {
            const struct unrunnable *entry = &s->unrunnable.items[i];
            if (entry->task == TASK_NONE) {
                continue;
            }
            if (s->now < entry->since + timeout) {
                break; /* they stand in order of arrival */
            }
            bool unsatisfied = s->no_workers_since == 0 || s->no_workers_since >= entry->since;
            if (unsatisfied == (no_worker == 0)) {
                out[count++] = entry->task;
            }
        }
    }
    return count;
}

void failure_tick_no_workers(struct scheduler *s, struct step *step)
{
    if (s->now < failure_next_tick(s)) {
        return;
    }
    uint32_t room = s->unrunnable_live + queue_count(s);
    task_id *expired = arena_array(&step->arena, task_id, room);
    uint32_t no_worker_from;
    uint32_t count = unrunnable_expired(s, expired, &no_worker_from);
    if (s->no_workers_since != 0 && s->now >= s->no_workers_since + s->config.no_workers_timeout) {
        uint32_t cursor = 0;
        for (struct task *task; (task = queue_next(s, &cursor)) != NULL;) {
            expired[count++] = task->id;
        }
    }
    struct span *keys = arena_array(&step->arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        struct task *task = task_at(s, expired[i]);
        keys[i] = task->key;
        fail_waiting(s, task, i < no_worker_from ? FAILURE_NO_VALID_WORKER : FAILURE_NO_WORKER,
                     step);
    }
    transitions_run(s, step);
    if (count > 0) {
        action_notice(step, NOTICE_NO_WORKERS_TIMEOUT)->keys = (struct span_list){keys, count};
    }
}

double failure_next_tick(const struct scheduler *s)
{
    double timeout = s->config.no_workers_timeout;
    double next = INFINITY;
    if (isinf(timeout)) {
        return next;
    }
    for (uint32_t i = 0; i < s->unrunnable.count; i++) {
        if (s->unrunnable.items[i].task != TASK_NONE) {
            next = s->unrunnable.items[i].since + timeout;
            break;
        }
    }
    if (s->no_workers_since != 0 && queue_count(s) > 0) {
        next = fmin(next, s->no_workers_since + timeout);
    }
    return next;
}
