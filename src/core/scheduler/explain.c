/* explain.c: see explain.h. One function a state says what is the case and what would help; a waiting task is
 * followed down to the input that everything waits for, and that one is explained as well. */
#include "core/scheduler/explain.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "core/scheduler/departure.h"
#include "core/scheduler/explain_internal.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/forward.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"

#define MISSING_MAX 1000u
#define TEXT_MAX 300u /* of an exception's text */

/* ---- texts ---- */

struct span explain_keep(struct explaining *e, struct text *text)
{
    struct span kept = text->size == 0 ? (struct span){0} : arena_copy(e->arena, text_span(text));
    text_fini(text);
    return kept;
}

void explain_add_span(struct text *text, struct span bytes)
{
    if (bytes.size > 0) {
        text_add(text, bytes);
    }
}

void explain_add_key(struct explaining *e, struct text *text, struct span key)
{
    explain_add_span(text, key_as_repr(key, e->arena));
}

void explain_add_count(struct text *text, uint32_t count, const char *noun)
{
    text_printf(text, "%u %s%s", count, noun, count == 1 ? "" : "s");
}

void explain_advise(struct explaining *e, const char *format, ...)
{
    struct text text = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&text, format, arguments);
    va_end(arguments);
    vec_push(&e->advice, explain_keep(e, &text));
}

static void say(struct explaining *e, const char *cstr)
{
    text_add_cstr(&e->summary, cstr);
}

static void say_address(struct explaining *e, worker_id worker)
{
    explain_add_span(&e->summary, worker_at(e->s, worker)->address);
}

/* ---- what a task is doing, in few words ---- */

/* Seconds for which it has been running, by its worker's last word; −1: it is not. */
static double running_for(const struct scheduler *s, const struct task *task)
{
    const struct worker *worker = worker_at(s, task->processing_on);
    for (uint32_t i = 0; i < worker->executing.count; i++) {
        if (worker->executing.items[i].task == task->id &&
            worker->executing.items[i].serial == task->serial) {
            return worker->executing.items[i].seconds + fmax(0, s->now - worker->last_seen);
        }
    }
    return -1;
}

static void say_processing(struct explaining *e, const struct task *task)
{
    const struct worker *worker = worker_at(e->s, task->processing_on);
    double seconds = running_for(e->s, task);
    if ((task->flags & TASK_LONG_RUNNING) != 0) {
        say(e, "is running on ");
        say_address(e, worker->id);
        say(e, " for long (it has seceded and takes no thread)");
    } else if (seconds >= 0) {
        say(e, "is running on ");
        say_address(e, worker->id);
        text_printf(&e->summary, " for %.1f s", seconds);
    } else {
        say(e, "was sent to ");
        say_address(e, worker->id);
        say(e, ", which has ");
        explain_add_count(&e->summary, worker->processing.count, "task");
        say(e, " for ");
        explain_add_count(&e->summary, worker->nthreads, "thread");
    }
}

static void say_state(struct explaining *e, const struct task *task)
{
    switch ((enum task_state)task->state) {
    case TASK_RELEASED:
        say(e, "is not being computed");
        return;
    case TASK_WAITING:
        say(e, "waits for ");
        explain_add_count(&e->summary, task->missing_count, "input");
        say(e, " itself");
        return;
    case TASK_NO_WORKER:
        say(e, "is ready, but no worker may run it");
        return;
    case TASK_QUEUED:
        say(e, "is queued");
        return;
    case TASK_PROCESSING:
        say_processing(e, task);
        return;
    case TASK_MEMORY:
        say(e, "is in memory");
        return;
    case TASK_ERRED:
        say(e, "has failed");
        return;
    case TASK_FORGOTTEN:
    case TASK_STATE_COUNT:
        break;
    }
    say(e, "is gone");
}

/* ---- each state at length ---- */

static void explain_released(struct explaining *e, const struct task *task)
{
    if ((task->flags & TASK_HAS_RUN_SPEC) == 0) {
        say(e, "The scheduler has no code for it: it was scattered data that is lost, or its graph "
               "has not arrived.");
        explain_advise(e, "Scatter the data again, or submit the graph that defines it.");
        return;
    }
    say(e, "Nobody wants its result now, so it is not computed.");
    explain_advise(e, "Keep a future of it: client.compute, client.persist or client.submit.");
}

/* "it needs GPU=2, …" */
static void explain_no_worker(struct explaining *e, const struct task *task)
{
    say(e, "It is ready, but no running worker may run it: ");
    explain_add_rules(e, &e->summary, task);
    say(e, ".");
    explain_advise_rules(e, task);
}

static void explain_queued(struct explaining *e, const struct task *task)
{
    const struct scheduler *s = e->s;
    uint32_t rank = queue_rank(s, task);
    text_printf(&e->summary,
                "It is ready and comes as number %u of %u in the queue of root tasks. ", rank,
                queue_count(s));
    if (s->running.count == 0) {
        say(e, "No worker is running.");
        explain_advise_rules(e, task);
        return;
    }
    explain_add_count(&e->summary, s->running.count, "running worker");
    text_printf(&e->summary,
                " with as many tasks at once as allowed: threads × %g "
                "(distributed.scheduler.worker-saturation).",
                s->config.worker_saturation);
    explain_advise(
        e,
        "Nothing is wrong: it runs when its turn comes. More workers or threads make that sooner.");
    explain_advise(e, "To have it sooner than others, submit it with a higher `priority`.");
}

/* Bytes that its worker has still to fetch for it. */
static int64_t bytes_to_fetch(const struct scheduler *s, const struct task *task,
                              uint32_t *out_count)
{
    int64_t bytes = 0;
    *out_count = 0;
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *input = task_at(s, links_items(&task->dependencies)[i].other);
        if (links_find(&input->who_has, task->processing_on) == LINK_NOT_FOUND) {
            bytes += task_nbytes(s, input);
            (*out_count)++;
        }
    }
    return bytes;
}

static void explain_processing(struct explaining *e, const struct task *task)
{
    const struct scheduler *s = e->s;
    const struct worker *worker = worker_at(s, task->processing_on);
    say(e, "It ");
    say_processing(e, task);
    say(e, ".");
    if ((task->flags & TASK_LONG_RUNNING) != 0 || running_for(s, task) >= 0) {
        explain_advise(e, "See where it is: client.call_stack(keys=[…]).");
        return;
    }
    uint32_t count;
    int64_t bytes = bytes_to_fetch(s, task, &count);
    if (count > 0) {
        text_printf(&e->summary, " %u of its inputs (", count);
        text_add_bytes_size(&e->summary, (double)bytes);
        say(e, ") must be brought there from other workers first.");
    }
    if (worker->status == WORKER_PAUSED) {
        say(e, " That worker is paused: it starts nothing until memory is free.");
        explain_advise(e,
                       "Free memory on that worker (release futures, rebalance), or give it more.");
        return;
    }
    explain_advise(e, "It begins when its worker has a free thread; idle workers may steal it.");
}

static void explain_memory(struct explaining *e, const struct task *task)
{
    uint32_t count = holder_count(e->s, task);
    if (count == 0) {
        say(e, "It was done, but the worker with its result is gone; this is about to be noticed.");
        return;
    }
    say(e, "It is done: its result (");
    text_add_bytes_size(&e->summary, (double)task_nbytes(e->s, task));
    say(e, ") is on ");
    say_address(e, holder_at(e->s, task, 0));
    if (count > 1) {
        text_printf(&e->summary, " and %u more", count - 1);
    }
    say(e, ".");
}

static const char *failure_words(const struct failure *failure)
{
    switch (failure->kind) {
    case FAILURE_KILLED_WORKER:
        return failure->has_crashes ? "the process that ran it died too often"
                                    : "too many workers died while it was on them";
    case FAILURE_MEMORY:
        return "its inputs do not fit into a worker's memory";
    case FAILURE_ACTOR_LOST:
        return "the worker of the actor was lost";
    case FAILURE_NO_WORKER:
        return "no worker came in time";
    case FAILURE_NO_VALID_WORKER:
        return "no worker that may run it came in time";
    case FAILURE_USER:
    case FAILURE_TEXT:
        break;
    }
    return NULL;
}

static void explain_erred(struct explaining *e, const struct task *task)
{
    const struct failure *failure = task_failure(task);
    if (failure == NULL) {
        say(e, "It failed.");
        return;
    }
    if (span_equal(failure->key, task->key)) {
        say(e, "It failed");
    } else {
        say(e, "It could not run because ");
        explain_add_key(e, &e->summary, failure->key);
        say(e, " failed");
    }
    if (failure->worker.size > 0) {
        say(e, " on ");
        explain_add_span(&e->summary, failure->worker);
    }
    const char *words = failure_words(failure);
    struct span told = failure->exception_text.size > 0 ? failure->exception_text : failure->text;
    if (words != NULL || told.size > 0) {
        say(e, ": ");
    }
    if (words != NULL) {
        say(e, words);
    } else {
        told.size = told.size < TEXT_MAX ? told.size : TEXT_MAX;
        explain_add_span(&e->summary, told);
    }
    say(e, ".");
    if (failure->attempts.size > 0) {
        say(e, "\n");
        explain_add_span(&e->summary, failure->attempts);
    }
    explain_advise(e, "Correct the cause, then future.retry() or client.retry([…]).");
    if (failure->kind == FAILURE_USER) {
        explain_advise(e, "Debug it here: client.recreate_error_locally(future).");
    }
}

/* ---- waiting ---- */

/* Fill out.missing; the first one, or NULL. */
static const struct task *collect_missing(struct explaining *e, const struct task *task)
{
    uint32_t kept_max = task->missing_count < MISSING_MAX ? task->missing_count : MISSING_MAX;
    task_id *missing = arena_array(e->arena, task_id, kept_max);
    struct span *keys = arena_array(e->arena, struct span, kept_max);
    const struct task *first = NULL;
    const struct link *links = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        if ((links[i].slot & EDGE_MISSING) == 0) {
            continue;
        }
        const struct task *input = task_at(e->s, links[i].other);
        first = first == NULL ? input : first;
        if (e->out.missing_count < kept_max) {
            keys[e->out.missing_count] = input->key;
            missing[e->out.missing_count++] = input->id;
        }
    }
    e->out.missing = missing;
    e->out.missing_keys = (struct span_list){keys, e->out.missing_count};
    e->out.missing_total = task->missing_count;
    return first;
}

/* The first missing input of the first missing input …; NULL: it goes round in a circle. No graph has one, but
 * graphs together may: data that one of them uses is made by another, from what the first one makes. */
static const struct task *follow_down(const struct scheduler *s, const struct task *task)
{
    for (uint32_t left = s->task_count; left > 0; left--) {
        const struct link *links = links_items(&task->dependencies);
        uint32_t at = 0;
        while (at < task->dependencies.count && (links[at].slot & EDGE_MISSING) == 0) {
            at++;
        }
        if (at == task->dependencies.count) {
            return task;
        }
        task = task_at(s, links[at].other);
    }
    return NULL;
}

static void explain_ready(struct explaining *e, const struct task *task)
{
    switch ((enum task_state)task->state) {
    case TASK_RELEASED:
        explain_released(e, task);
        return;
    case TASK_NO_WORKER:
        explain_no_worker(e, task);
        return;
    case TASK_QUEUED:
        explain_queued(e, task);
        return;
    case TASK_PROCESSING:
        explain_processing(e, task);
        return;
    case TASK_MEMORY:
        explain_memory(e, task);
        return;
    case TASK_ERRED:
        explain_erred(e, task);
        return;
    case TASK_WAITING:
        say(e, "All its inputs are there; it is about to be placed.");
        return;
    case TASK_FORGOTTEN:
    case TASK_STATE_COUNT:
        break;
    }
    say(e, "It is being forgotten.");
}

/* Its inputs will come, but then no worker may run it: better said now than hours later. */
static void explain_no_worker_then(struct explaining *e, const struct task *task)
{
    say(e, " When they are there, no running worker may run it: ");
    explain_add_rules(e, &e->summary, task);
    say(e, ".");
    explain_advise_rules(e, task);
}

/* forward.h: it waits at a worker, not here. */
static void say_forwarded(struct explaining *e, const struct task *task)
{
    const struct worker *worker = forward_worker(e->s, task);
    if (worker != NULL) {
        say(e, " It was sent to ");
        say_address(e, worker->id);
        say(e, " already, which begins it as soon as its inputs are there.");
    }
}

static void explain_waiting(struct explaining *e, const struct task *task, bool has_worker)
{
    const struct task *first = collect_missing(e, task);
    if (first == NULL) {
        explain_ready(e, task);
        return;
    }
    text_printf(&e->summary, "It waits for %u of ", task->missing_count);
    explain_add_count(&e->summary, task->dependencies.count, "input");
    say(e, "; the first, ");
    explain_add_key(e, &e->summary, first->key);
    say(e, ", ");
    say_state(e, first);
    say(e, ".");
    say_forwarded(e, task);
    const struct task *root = follow_down(e->s, first);
    if (root == NULL) {
        say(e, " Further down, tasks wait for one another, and none of them can ever run.");
        explain_advise(e, "Cancel these keys, and submit what they stand for under other names.");
        return;
    }
    e->out.root_cause = root->id;
    e->out.root_cause_key = root->key;
    if (root != first || root->state != TASK_PROCESSING) {
        say(e, root == first ? " Of that one: " : " Further down, everything waits for ");
        if (root != first) {
            explain_add_key(e, &e->summary, root->key);
            say(e, ": ");
        }
        explain_ready(e, root);
    } else if (has_worker) {
        explain_advise(e, "Nothing is wrong as long as its inputs are being computed.");
    }
    if (!has_worker && root->state != TASK_NO_WORKER) {
        explain_no_worker_then(e, task);
    }
}

/* ---- all ---- */

static void explain_task(struct explaining *e, const struct task *task)
{
    e->out.known = true;
    say(e, "Task ");
    explain_add_key(e, &e->summary, task->key);
    text_printf(&e->summary, " is %s. ", task_state_name(task->state));
    uint32_t eligible = explain_workers(e, task);
    if (task->state == TASK_QUEUED) {
        e->out.queue_place = queue_rank(e->s, task);
    }
    if (task->state == TASK_WAITING) {
        explain_waiting(e, task, eligible > 0);
    } else {
        explain_ready(e, task);
    }
    if (task->extra != NULL && task->extra->death_count > 0 && task->state != TASK_ERRED) {
        say(e, " ");
        explain_add_count(&e->summary, task->extra->suspicious,
                          task->extra->has_crashes ? "executor" : "worker");
        text_printf(&e->summary, " died with it; at more than %u it fails.",
                    e->s->config.allowed_failures);
    }
}

struct explain explain_key(const struct scheduler *s, struct span key, struct arena *arena)
{
    struct explaining e = {.s = s, .arena = arena, .out.root_cause = TASK_NONE};
    const struct task *task = task_find(s, key);
    if (task != NULL) {
        explain_task(&e, task);
    } else {
        say(&e, "The scheduler does not know ");
        explain_add_key(&e, &e.summary, key);
        say(&e, ": it was never submitted, or nobody wanted it any more.");
        explain_advise(&e, "Check the key (future.key), and that a client still holds the future.");
    }
    e.out.summary = explain_keep(&e, &e.summary);
    struct span *advice = arena_array(arena, struct span, e.advice.count);
    for (uint32_t i = 0; i < e.advice.count; i++) {
        advice[i] = e.advice.items[i];
    }
    e.out.advice = (struct span_list){advice, e.advice.count};
    vec_fini(&e.advice);
    return e.out;
}
