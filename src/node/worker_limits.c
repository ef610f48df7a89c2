/* worker_limits.c: tasks that must stop: over their time, or cancelled.
 *
 * Each is interrupted first (an exception at its next Python instruction). One that does not yield within the grace
 * period, as it waits inside C, is ended with its executor; what else ran there runs again, and what lived only
 * there is made again (worker_death.c).
 * One timer, set to the first deadline; few tasks run at a time, so all are looked at. */
#include <math.h>

#include "node/worker_run.h"

#define RUNNING_MAX 1024u /* tasks of an executor that are looked at */

static double grace(const struct worker_node *worker)
{
    return fmax(0, config_seconds(worker->config, "cask.worker.cancel-grace", 5));
}

/* ---- the annotation ---------------------------------------------------------------------------- */

static bool read_seconds(struct span value, double *out_seconds)
{
    struct msgpack_reader reader = msgpack_reader(value);
    struct span text;
    switch (msgpack_peek(&reader)) {
    case MSGPACK_STR:
        return msgpack_read_str(&reader, &text) == OK && text_parse_seconds(text, out_seconds) &&
               *out_seconds >= 0;
    case MSGPACK_INT:
    case MSGPACK_FLOAT:
        return msgpack_read_float(&reader, out_seconds) == OK && *out_seconds >= 0;
    default:
        return false;
    }
}

static void refuse(struct worker_run *run, struct span value)
{
    struct text message = {0}, shown = {0};
    msgpack_print(&shown, value, 200);
    text_add_cstr(&message, "the annotation timeout=");
    msgpack_add_utf8(&message, text_span(&shown));
    text_add_cstr(&message,
                  " is no duration: give seconds, or a text such as '10s' or '5 minutes'");
    worker_run_refuse(run, "ValueError", text_span(&message));
    text_fini(&message);
    text_fini(&shown);
}

/* ---- deadlines --------------------------------------------------------------------------------- */

static void set_timer(struct worker_node *worker);

/* When a thread took it, by the board; 0: none has, as it waits behind others. */
static double begun(const struct worker_node *worker, const struct object *object)
{
    struct executor_victim running[RUNNING_MAX];
    uint32_t count;
    executor_running(worker->seats.items[object->run->seat].executor, running, RUNNING_MAX, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (running[i].handle == object->handle) {
            return running[i].start;
        }
    }
    return 0;
}

/* It was sent as long ago as it may take; has it run for so long? */
static void check_time(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = object->run;
    double start = begun(worker, object);
    double left = start == 0 ? run->timeout : start + run->timeout - io_now();
    if (left > 0) {
        run->deadline = io_monotonic() + fmin(left, run->timeout);
        return;
    }
    struct text reason = {0};
    text_printf(&reason, "the task ran for longer than its timeout of %g s", run->timeout);
    channel_add_cancel(executor_out(worker->seats.items[run->seat].executor), object->handle,
                       EXECUTOR_CANCEL_TIMEOUT, text_span(&reason));
    text_fini(&reason);
    run->limit = LIMIT_TIMED_OUT;
    run->deadline = io_monotonic() + grace(worker);
}

static void end_executor(struct worker_node *worker, const struct object *object)
{
    const struct worker_run *run = object->run;
    struct text reason = {0};
    text_add_cstr(&reason, "the task ");
    key_repr(&reason, object->key);
    text_printf(&reason, " was %s, and did not stop within %g s",
                run->limit == LIMIT_TIMED_OUT ? "over its time" : "cancelled", grace(worker));
    executor_kill(worker->seats.items[run->seat].executor,
                  run->limit == LIMIT_TIMED_OUT ? EXECUTOR_END_TIMEOUT : EXECUTOR_END_CANCEL,
                  text_cstr(&reason));
    text_fini(&reason);
}

static void on_deadline(void *user)
{
    struct worker_node *worker = user;
    double now = io_monotonic();
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        struct object *object = object_find(&worker->objects, worker->runs.items[i]);
        struct worker_run *run = object->run;
        if (run->limit == LIMIT_NONE || run->state != RUN_SENT || run->deadline > now) {
            continue;
        }
        if (run->limit == LIMIT_TIMEOUT) {
            check_time(worker, object);
        } else {
            end_executor(worker, object);
            run->deadline = INFINITY; /* its end comes as an event */
        }
    }
    set_timer(worker);
}

static void set_timer(struct worker_node *worker)
{
    double first = INFINITY;
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        const struct worker_run *run = object_find(&worker->objects, worker->runs.items[i])->run;
        if (run->limit != LIMIT_NONE) {
            first = fmin(first, run->deadline);
        }
    }
    if (isfinite(first)) {
        io_timer_start(worker->limits, fmax(0, first - io_monotonic()), 0);
    }
}

void worker_limit_begin(struct worker_node *worker, struct worker_run *run)
{
    struct span value;
    if (run->annotations == NULL ||
        msgpack_find(slice_span(run->annotations->value), "timeout", &value) != OK ||
        span_equal(value, SPAN("\xc0"))) {
        return;
    }
    if (!read_seconds(value, &run->timeout)) {
        refuse(run, value);
        return;
    }
    run->limit = LIMIT_TIMEOUT;
    run->deadline = io_monotonic() + run->timeout;
    set_timer(worker);
}

void worker_limit_cancelled(struct worker_node *worker, struct worker_run *run)
{
    if (run->limit != LIMIT_CANCELLED) {
        run->limit = LIMIT_CANCELLED;
        run->deadline = io_monotonic() + grace(worker);
        set_timer(worker);
    }
}

void worker_limits_create(struct worker_node *worker)
{
    worker->limits = io_timer_create(worker->loop, on_deadline, worker);
}

void worker_limits_destroy(struct worker_node *worker)
{
    io_timer_destroy(worker->limits);
    worker->limits = NULL;
}
