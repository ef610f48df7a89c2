/* worker_run.c: tasks on executors: from EXECUTE to one of its ends.
 *
 * A run waits until an executor has a thread for it, then until its inputs are there: those that live in another
 * executor are serialised first. What the core asks for is only noted inside its step; worker_send_runs, at the
 * end of the turn, does the rest, so ends that are known at once are events like any other. */
#include "node/worker_run.h"
#include "base/log.h"
#include "node/worker_gauges.h"
#include "wire/payload.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.worker"
/* Of inputs for an executor, before the end of the turn. */
#define FLUSH_BYTES (256u * 1024)

void worker_run_free(struct worker_run *run)
{
    vec_fini(&run->inputs);
    blob_unref(run->run_spec);
    blob_unref(run->annotations);
    text_fini(&run->why);
    text_fini(&run->why_text);
    text_fini(&run->output);
    mem_free(run);
}

uint32_t worker_run_seat(const struct object *object)
{
    return object->run->state == RUN_SENT ? object->run->seat : SEAT_NONE;
}

/* The barrier of a P2P shuffle, by which Dask knows it as well (distributed.shuffle._core.barrier_key): who needs it
 * takes what was received. */
static bool is_barrier(const struct object *object)
{
    const struct span prefix = SPAN("shuffle-barrier-");
    struct msgpack_reader reader = msgpack_reader(object->key);
    struct span text;
    return msgpack_peek(&reader) == MSGPACK_STR && msgpack_read_str(&reader, &text) == OK &&
           text.size > prefix.size && span_equal(span_of(text.data, prefix.size), prefix);
}

void worker_run(struct worker_node *worker, const struct worker_action_execute *action)
{
    struct object *object = object_create(&worker->objects, action->key);
    struct worker_run *run = mem_zalloc(1, sizeof *run);
    run->task = action->task;
    run->run_id = action->run_id;
    run->seat = SEAT_NONE;
    run->is_actor = action->actor;
    run->run_spec = blob_ref(action->run_spec);
    run->annotations = action->annotations == NULL ? NULL : blob_ref(action->annotations);
    for (uint32_t i = 0; i < action->inputs.count; i++) {
        struct object *input = object_of_task(&worker->objects, action->inputs.items[i].task);
        vec_push(&run->inputs, input == NULL ? 0 : input->handle);
        run->is_bound = run->is_bound || (input != NULL && is_barrier(input));
    }
    object->run = run;
    object->is_actor = action->actor;
    vec_push(&worker->runs, object->handle);
}

/* False: one of them is gone. */
static bool hold_inputs(struct worker_node *worker, struct worker_run *run)
{
    for (uint32_t i = 0; i < run->inputs.count; i++) {
        if (object_find(&worker->objects, run->inputs.items[i]) == NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; !run->holds_inputs && i < run->inputs.count; i++) {
        object_hold(worker, object_find(&worker->objects, run->inputs.items[i]));
    }
    run->holds_inputs = true;
    return true;
}

void worker_run_let_inputs_go(struct worker_node *worker, struct worker_run *run)
{
    for (uint32_t i = 0; run->holds_inputs && i < run->inputs.count; i++) {
        const struct object *input = object_find(&worker->objects, run->inputs.items[i]);
        if (input != NULL) {
            object_let_go(worker, input);
        }
    }
    run->holds_inputs = false;
}

/* ---- ends -------------------------------------------------------------------------------------- */

struct worker_run *worker_run_take(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = object->run;
    object->run = NULL;
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        if (worker->runs.items[i] == object->handle) {
            memmove(worker->runs.items + i, worker->runs.items + i + 1,
                    (--worker->runs.count - i) * sizeof *worker->runs.items);
            break;
        }
    }
    if (run->seat != SEAT_NONE && !run->is_seceded) {
        worker->seats.items[run->seat].running--;
        worker->seats.items[run->seat].ended_count++;
    }
    worker_run_let_inputs_go(worker, run);
    return run;
}

/* What it cost is told by prefix; it has outlived its executor. */
static void note_end(struct worker_node *worker, const struct object *object,
                     struct worker_run *run, const struct executor_message *ended)
{
    const struct executor_ledger *ledger = &ended->ledger;
    struct wtask_view view;
    if (worker_task_is_known(worker->core, run->task)) {
        worker_task(worker->core, run->task, &view);
        worker_gauges_ran(worker, &view, ledger);
    }
    worker_record(worker, object->key, run, ended->op == EXECUTOR_DONE ? "finished" : "failed",
                  ledger);
    worker_death_forget(worker, object);
}

void worker_run_done(struct worker_node *worker, struct object *object,
                     struct executor_message *done)
{
    struct worker_run *run = worker_run_take(worker, object);
    note_end(worker, object, run, done);
    object->home = run->seat;
    if (done->payload.value.size > 0 &&
        worker_value_of(worker, object, &done->payload, &object->value) != OK) {
        object->value = NULL; /* it will be asked for when it is needed */
    }
    struct worker_event event = worker_event_of(WORKER_EVENT_EXECUTE_SUCCESS);
    struct blob *about = worker_about(worker, done, run->inputs.items, run->inputs.count);
    event.of.execute_success.task = run->task;
    event.of.execute_success.run_id = run->run_id;
    event.of.execute_success.nbytes = done->nbytes > INT64_MAX ? INT64_MAX : (int64_t)done->nbytes;
    event.of.execute_success.about = about;
    event.of.execute_success.seconds = done->ledger.stop - done->ledger.prepared;
    event.stimulus = worker_stimulus(worker, "task-finished");
    worker_offer_object(worker, object);
    worker_apply(worker, &event);
    worker_settle_offers(worker);
    blob_unref(about);
    worker_run_free(run);
}

void worker_run_fail(struct worker_node *worker, struct object *object,
                     const struct executor_error *error, struct blob *about)
{
    struct worker_run *run = worker_run_take(worker, object);
    struct worker_failure failure = {
        .exception = payload_serialized_bytes(error->exception),
        .traceback = error->traceback.size == 0 ? NULL : payload_serialized_bytes(error->traceback),
        .exception_text = error->exception_text,
        .traceback_text = error->traceback_text,
    };
    struct worker_event event = worker_event_of(WORKER_EVENT_EXECUTE_FAILURE);
    event.of.execute_failure.task = run->task;
    event.of.execute_failure.run_id = run->run_id;
    event.of.execute_failure.failure = &failure;
    event.of.execute_failure.about = about;
    event.stimulus = worker_stimulus(worker, "task-erred");
    worker_apply(worker, &event);
    blob_unref(failure.exception);
    blob_unref(failure.traceback);
    object_give_up(worker, object);
    worker_run_free(run);
}

void worker_run_refuse(struct worker_run *run, const char *class_name, struct span message)
{
    run->state = RUN_UNUSABLE;
    pickle_make_exception(&run->why, "builtins", class_name, message);
    text_printf(&run->why_text, "%s(", class_name);
    key_repr_text(&run->why_text, message);
    text_add_char(&run->why_text, ')');
}

void worker_run_failed(struct worker_node *worker, struct object *object,
                       const struct executor_message *failed)
{
    struct worker_run *run = object->run;
    note_end(worker, object, run, failed);
    struct blob *about = worker_about(worker, failed, run->inputs.items, run->inputs.count);
    worker_run_fail(worker, object, &failed->error, about);
    blob_unref(about);
}

void worker_run_stopped(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = worker_run_take(worker, object);
    if (run->output.size > 0) {
        const struct executor_ledger ledger = {.stop = io_now()};
        worker_record(worker, object->key, run, "stopped", &ledger);
    }
    struct worker_event event = worker_event_of(WORKER_EVENT_EXECUTE_RESCHEDULE);
    event.of.execute_reschedule.task = run->task;
    event.stimulus = worker_stimulus(worker, "reschedule");
    worker_apply(worker, &event);
    object_give_up(worker, object);
    worker_run_free(run);
}

void worker_run_seceded(struct worker_node *worker, struct object *object, double seconds)
{
    struct worker_run *run = object->run;
    if (run->is_seceded) {
        return;
    }
    run->is_seceded = true;
    worker->seats.items[run->seat].running--;
    struct worker_event event = worker_event_of(WORKER_EVENT_SECEDE);
    event.of.secede.task = run->task;
    event.of.secede.compute_duration = seconds;
    event.stimulus = worker_stimulus(worker, "secede");
    worker_apply(worker, &event);
}

void worker_interrupt(struct worker_node *worker, task_id task)
{
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        struct object *object = object_find(&worker->objects, worker->runs.items[i]);
        struct worker_run *run = object->run;
        if (run->task != task) {
            continue;
        }
        if (run->state == RUN_SENT) {
            channel_add_cancel(executor_out(worker->seats.items[run->seat].executor),
                               object->handle, EXECUTOR_CANCEL_UNWANTED,
                               SPAN("nobody wants its result any more"));
            worker_limit_cancelled(worker, run);
        } else {
            run->state = RUN_STOPPED;
        }
    }
}

void worker_recall_runs(struct worker_node *worker, uint32_t seat)
{
    struct channel_writer *out = executor_out(worker->seats.items[seat].executor);
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        const struct object *object = object_find(&worker->objects, worker->runs.items[i]);
        const struct worker_run *run = object->run;
        if (run->state == RUN_SENT && run->seat == seat && !run->is_seceded) {
            channel_add_cancel(out, object->handle, EXECUTOR_CANCEL_UNBEGUN, SPAN("it waits"));
        }
    }
}

/* ---- sending ----------------------------------------------------------------------------------- */

/* Of the seats with a free thread, or with room if none has: the one that has most of the inputs; of equals the one
 * with least to do. */
static uint32_t choose_seat(const struct worker_node *worker, const struct worker_run *run)
{
    uint32_t best = SEAT_NONE, best_inputs = 0;
    bool best_is_free = false;
    for (uint32_t i = 0; i < (run->is_bound ? 1 : worker->seats.count); i++) {
        const struct seat *seat = &worker->seats.items[i];
        bool is_free = seat->running < seat->nthreads;
        if (!worker_seat_has_room(worker, seat) || (best_is_free && !is_free)) {
            continue;
        }
        uint32_t inputs = 0;
        for (uint32_t j = 0; j < run->inputs.count; j++) {
            const struct object *input = object_find(&worker->objects, run->inputs.items[j]);
            inputs += input != NULL && (input->known >> i & 1) != 0;
        }
        if (best == SEAT_NONE || is_free != best_is_free || inputs > best_inputs ||
            (inputs == best_inputs && seat->running < worker->seats.items[best].running)) {
            best = i;
            best_inputs = inputs;
            best_is_free = is_free;
        }
    }
    return best;
}

/* An input that had to be serialised for a run. */
struct fetch {
    struct worker_node *worker;
    uint64_t run;
    uint32_t attempt;
};

static bool is_known_at(const struct object *object, uint32_t seat)
{
    return (object->known >> seat & 1) != 0;
}

static bool put(struct worker_node *worker, uint32_t seat, struct object *input,
                const struct store_value *value)
{
    struct executor_payload payload = worker_payload_of_value(&worker->scratch, value);
    struct executor *executor = worker->seats.items[seat].executor;
    int code = channel_add_put(executor_out(executor), input->handle, input->key, &payload);
    if (code != OK) {
        log_error(LOGGER, "an input could not be given to an executor: %s", error_meaning(code));
        return false;
    }
    input->known |= (uint64_t)1 << seat;
    if (input->home == SEAT_NONE) {
        input->home = seat;
    }
    if (executor_out(executor)->bytes.size > FLUSH_BYTES) {
        executor_flush(executor); /* it reads the first inputs while we find the others */
    }
    return true;
}

static void fetched(void *user, struct object *input, struct store_value *value,
                    const struct executor_error *error)
{
    struct fetch *fetch = user;
    struct worker_node *worker = fetch->worker;
    struct object *object = object_find(&worker->objects, fetch->run);
    struct worker_run *run = object == NULL ? NULL : object->run;
    if (run != NULL && run->state == RUN_FETCHES && run->attempt == fetch->attempt) {
        run->missing--;
        if (value != NULL &&
            (is_known_at(input, run->seat) || put(worker, run->seat, input, value))) {
            mem_free(fetch);
            return;
        }
        run->state = RUN_STOPPED;
        if (error != NULL) {
            run->state = RUN_UNUSABLE;
            text_add(&run->why, error->exception);
            text_add(&run->why_text, error->exception_text);
        }
    }
    mem_free(fetch);
}

/* Begin to bring all inputs to its seat; false: one of them is gone. */
static bool bring_inputs(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = object->run;
    run->state = RUN_FETCHES;
    run->missing = 0;
    run->attempt++;
    if (!hold_inputs(worker, run)) {
        return false;
    }
    for (uint32_t i = 0; i < run->inputs.count && run->state == RUN_FETCHES; i++) {
        struct object *input = object_find(&worker->objects, run->inputs.items[i]);
        if (!is_known_at(input, run->seat)) {
            struct fetch *fetch = mem_zalloc(1, sizeof *fetch);
            *fetch = (struct fetch){worker, object->handle, run->attempt};
            run->missing++;
            object_want(worker, input, fetched, fetch);
        }
    }
    return true;
}

static void send(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = object->run;
    worker_limit_begin(worker, run);
    if (run->state == RUN_UNUSABLE) {
        return;
    }
    struct executor *executor = worker->seats.items[run->seat].executor;
    bool is_plain = run->annotations != NULL && run->annotations->frame_count == 0 &&
                    run->annotations->value.size > 1;
    struct executor_run message = {
        .handle = object->handle,
        .is_actor = run->is_actor,
        .wants_small = true,
        .inputs = run->inputs.items,
        .input_count = run->inputs.count,
        .key = object->key,
        .annotations = is_plain ? slice_span(run->annotations->value) : (struct span){0},
        .run_spec = worker_payload_of(&worker->scratch, run->run_spec),
    };
    int code = channel_add_run(executor_out(executor), &message);
    if (code != OK) {
        log_error(LOGGER, "a task could not be given to an executor: %s", error_meaning(code));
        run->state = RUN_STOPPED;
        return;
    }
    for (uint32_t i = 0; i < run->inputs.count; i++) {
        object_used(worker, object_find(&worker->objects, run->inputs.items[i]));
    }
    worker_run_let_inputs_go(worker,
                             run); /* the executor keeps the inputs of what it was told to run */
    run->state = RUN_SENT;
    object->known |= (uint64_t)1 << run->seat;
}

/* All inputs are still in its seat: none went to disk while another one was fetched. */
static bool has_inputs(struct worker_node *worker, const struct worker_run *run)
{
    for (uint32_t i = 0; i < run->inputs.count; i++) {
        const struct object *input = object_find(&worker->objects, run->inputs.items[i]);
        if (input == NULL || !is_known_at(input, run->seat)) {
            return false;
        }
    }
    return true;
}

/* One step further, if it can be made; true: it was one. The object may be gone afterwards. */
static bool advance(struct worker_node *worker, struct object *object)
{
    struct worker_run *run = object->run;
    if (run->state == RUN_WAITS) {
        if (worker_death_forbids(worker, object)) {
            return true;
        }
        run->seat = choose_seat(worker, run);
        if (run->seat == SEAT_NONE) {
            return false;
        }
        worker->seats.items[run->seat].running++;
        worker_seat_filled(worker, &worker->seats.items[run->seat]);
        if (!bring_inputs(worker, object)) {
            run->state = RUN_STOPPED;
        }
        return true;
    }
    if (run->state == RUN_FETCHES && run->missing == 0) {
        if (!has_inputs(worker, run)) {
            run->state = bring_inputs(worker, object) ? run->state : RUN_STOPPED;
        } else {
            send(worker, object);
        }
        return true;
    }
    if (run->state == RUN_STOPPED) {
        worker_run_stopped(worker, object);
        return true;
    }
    if (run->state == RUN_UNUSABLE) {
        struct executor_error error = {.exception = text_span(&run->why),
                                       .exception_text = text_span(&run->why_text)};
        worker_run_fail(worker, object, &error, NULL);
        return true;
    }
    return false;
}

void worker_send_runs(struct worker_node *worker)
{
    arena_reset(&worker->scratch);
    for (uint32_t i = 0; i < worker->runs.count;) {
        uint64_t handle = worker->runs.items[i];
        if (!advance(worker, object_find(&worker->objects, handle))) {
            i++;
        } else if (i >= worker->runs.count || worker->runs.items[i] != handle) {
            i = 0; /* it has ended, which may have changed the whole list */
        }
    }
}

void worker_runs_clear(struct worker_node *worker)
{
    while (worker->runs.count > 0) {
        struct object *object = object_find(&worker->objects, worker->runs.items[0]);
        worker_run_free(worker_run_take(worker, object));
        object->known = 0;
        object_give_up(worker, object);
    }
}
