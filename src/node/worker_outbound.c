/* worker_outbound.c: the core's actions carried out. */
#include "node/worker_internal.h"

#include <math.h>

#include "node/values.h"

/* ---- values: offered, kept, refused, dropped --------------------------------------------------- */

void worker_offer_object(struct worker_node *worker, struct object *object)
{
    vec_push(&worker->offered, ((struct offered){object->key, object}));
}

void worker_settle_offers(struct worker_node *worker)
{
    for (uint32_t i = 0; i < worker->offered.count; i++) {
        if (worker->offered.items[i].object != NULL) {
            object_give_up(worker, worker->offered.items[i].object);
        }
    }
    worker->offered.count = 0;
    worker->offered_next = 0;
}

/* The object that was offered for this key, which is settled with that; NULL: none. The core answers in the
 * order of the offers, so the search is short. */
static struct object *take_offer(struct worker_node *worker, struct span key)
{
    for (uint32_t n = 0; n < worker->offered.count; n++) {
        uint32_t i = (worker->offered_next + n) % worker->offered.count;
        struct offered *offered = &worker->offered.items[i];
        if (offered->object != NULL && span_equal(offered->key, key)) {
            struct object *object = offered->object;
            offered->object = NULL;
            worker->offered_next = i + 1;
            return object;
        }
    }
    return NULL;
}

static void keep(struct worker_node *worker, const struct worker_action_keep *action)
{
    struct object *object = take_offer(worker, action->key);
    ASSERT(object != NULL);
    struct wtask_view view;
    worker_task(worker->core, action->task, &view);
    object_keep(worker, object, action->task, view.nbytes);
}

static void refuse(struct worker_node *worker, const struct worker_action_refuse *action)
{
    struct object *object = take_offer(worker, action->key);
    if (object != NULL) {
        object_give_up(worker, object);
    }
}

static void drop(struct worker_node *worker, const struct worker_action_drop *action)
{
    struct object *object = object_of_task(&worker->objects, action->task);
    if (object != NULL) {
        object_give_up(worker, object);
    }
}

/* ---- to the scheduler -------------------------------------------------------------------------- */

static void put_startstop(struct text *out, const char *action, const double times[2],
                          const struct text *source)
{
    msgpack_write_map(out, source == NULL ? 3 : 4);
    msgpack_write_cstr(out, "action");
    msgpack_write_cstr(out, action);
    msgpack_write_cstr(out, "start");
    msgpack_write_float(out, times[0]);
    msgpack_write_cstr(out, "stop");
    msgpack_write_float(out, times[1]);
    if (source != NULL) {
        msgpack_write_cstr(out, "source");
        msgpack_write_str(out, text_span(source));
    }
}

/* Transfers of inputs that nobody told of yet; gives their number. */
static uint32_t put_transfers(struct worker_node *worker, const uint64_t *inputs, uint32_t count,
                              struct text *out)
{
    uint32_t told = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct object *input = object_find(&worker->objects, inputs[i]);
        if (input != NULL && input->came[1] > 0) {
            const double times[2] = {input->came[0] + worker->link.delay,
                                     input->came[1] + worker->link.delay};
            put_startstop(out, "transfer", times, &input->source);
            input->came[1] = 0;
            told++;
        }
    }
    return told;
}

struct blob *worker_about(struct worker_node *worker, const struct executor_message *ended,
                          const uint64_t *inputs, uint32_t input_count)
{
    const struct executor_ledger *ledger = &ended->ledger;
    const double times[2] = {ledger->start + worker->link.delay, ledger->stop + worker->link.delay};
    struct text text = {0}, transfers = {0};
    msgpack_write_array(&text, 4);
    if (ended->type.size > 0) {
        msgpack_write_bin(&text, ended->type);
        msgpack_write_str_lossy(&text, ended->text);
    } else {
        msgpack_write_nil(&text);
        msgpack_write_nil(&text);
    }
    msgpack_write_uint(&text, ledger->thread);
    msgpack_write_array(&text, 1 + put_transfers(worker, inputs, input_count, &transfers));
    msgpack_write_raw(&text, text_span(&transfers));
    put_startstop(&text, "compute", times, NULL);
    struct blob *blob = blob_create(slice_copy(text_span(&text)), 0);
    text_fini(&text);
    text_fini(&transfers);
    return blob;
}

/* What worker_about wrote. */
struct about {
    struct span type, typename_, startstops;
    int64_t thread; /* −1: unknown */
};

static struct about read_about(const struct blob *blob)
{
    struct about about = {.thread = -1};
    uint32_t count;
    if (blob == NULL) {
        return about;
    }
    struct msgpack_reader reader = msgpack_reader(slice_span(blob->value));
    int code = msgpack_read_array(&reader, &count);
    struct span skipped;
    if (msgpack_peek(&reader) != MSGPACK_NIL) {
        code |= msgpack_read_bin(&reader, &about.type);
        code |= msgpack_read_str(&reader, &about.typename_);
    } else {
        code |= msgpack_read_value(&reader, &skipped);
        code |= msgpack_read_value(&reader, &skipped);
    }
    code |= msgpack_read_int(&reader, &about.thread);
    code |= msgpack_read_value(&reader, &about.startstops);
    ASSERT(code == OK); /* we wrote it */
    return about;
}

static void task_finished(struct worker_node *worker,
                          const struct worker_action_task_finished *action)
{
    struct about about = read_about(action->about);
    struct msg_task_finished message = {
        .key = action->key,
        .run_id = action->run_id,
        .nbytes = action->nbytes,
        .type = about.type,
        .typename_ = about.typename_,
        .metadata = {.raw = SPAN("\x80")},
        .thread = about.thread,
        .startstops = about.startstops,
        .stimulus_id = action->stimulus,
        .status = SPAN("OK"),
    };
    message_encode(worker_to_scheduler(worker), MESSAGE_TASK_FINISHED, &message);
}

static void task_erred(struct worker_node *worker, const struct worker_action_task_erred *action)
{
    struct about about = read_about(action->about);
    const struct worker_failure *failure = action->failure;
    struct msg_task_erred message = {
        .key = action->key,
        .run_id = action->run_id,
        .exception = {.blob = failure->exception},
        .traceback = {.blob = failure->traceback},
        .exception_text = failure->exception_text,
        .traceback_text = failure->traceback_text,
        .thread = about.thread,
        .startstops = about.startstops,
        .stimulus_id = action->stimulus,
        .status = SPAN("error"),
    };
    message_encode(worker_to_scheduler(worker), MESSAGE_TASK_ERRED, &message);
}

static void long_running(struct worker_node *worker,
                         const struct worker_action_long_running *action)
{
    struct msg_long_running message = {
        .key = action->key,
        .run_id = action->run_id,
        .compute_duration = isnan(action->compute_duration) ? -1 : action->compute_duration,
        .stimulus_id = action->stimulus,
    };
    message_encode(worker_to_scheduler(worker), MESSAGE_LONG_RUNNING, &message);
}

static void steal_response(struct worker_node *worker,
                           const struct worker_action_steal_response *action)
{
    struct msg_steal_response message = {
        .key = action->key, .state = action->state, .stimulus_id = action->stimulus};
    if (action->state.size == 0) {
        message.state = (struct span){0};
    }
    message_encode(worker_to_scheduler(worker), MESSAGE_STEAL_RESPONSE, &message);
}

static void release_worker_data(struct worker_node *worker,
                                const struct worker_action_release_worker_data *action)
{
    struct msg_release_worker_data message = {.key = action->key, .stimulus_id = action->stimulus};
    message_encode(worker_to_scheduler(worker), MESSAGE_RELEASE_WORKER_DATA, &message);
}

static void task_died(struct worker_node *worker, const struct worker_action_reschedule *action)
{
    struct text certificate = {0};
    msgpack_add_utf8(&certificate, worker->crash->certificate);
    const struct msg_task_died message = {.key = action->key,
                                          .run_id = worker->crash->run_id,
                                          .certificate = text_span(&certificate),
                                          .stimulus_id = action->stimulus};
    message_encode(worker_to_scheduler(worker), MESSAGE_TASK_DIED, &message);
    text_fini(&certificate);
}

static void reschedule(struct worker_node *worker, const struct worker_action_reschedule *action)
{
    if (worker->crash != NULL) {
        task_died(worker, action);
        return;
    }
    struct msg_reschedule message = {.key = action->key, .stimulus_id = action->stimulus};
    message_encode(worker_to_scheduler(worker), MESSAGE_RESCHEDULE, &message);
}

/* LONG: a case for each action, one call each. */
static void carry_out(struct worker_node *worker, const struct worker_action *action)
{
    switch (action->kind) {
    case WORKER_ACTION_EXECUTE:
        worker_run(worker, &action->of.execute);
        break;
    case WORKER_ACTION_INTERRUPT:
        worker_interrupt(worker, action->of.interrupt.task);
        break;
    case WORKER_ACTION_GATHER:
        worker_gather(worker, &action->of.gather);
        break;
    case WORKER_ACTION_RETRY_BUSY_LATER:
        worker_retry_busy_later(worker, action->of.retry_busy_later.worker);
        break;
    case WORKER_ACTION_KEEP:
        keep(worker, &action->of.keep);
        break;
    case WORKER_ACTION_REFUSE:
        refuse(worker, &action->of.refuse);
        break;
    case WORKER_ACTION_DROP:
        drop(worker, &action->of.drop);
        break;
    case WORKER_ACTION_TASK_FINISHED:
        task_finished(worker, &action->of.task_finished);
        break;
    case WORKER_ACTION_TASK_ERRED:
        task_erred(worker, &action->of.task_erred);
        break;
    case WORKER_ACTION_RELEASE_WORKER_DATA:
        release_worker_data(worker, &action->of.release_worker_data);
        break;
    case WORKER_ACTION_RESCHEDULE:
        reschedule(worker, &action->of.reschedule);
        break;
    case WORKER_ACTION_LONG_RUNNING:
        long_running(worker, &action->of.long_running);
        break;
    case WORKER_ACTION_ADD_KEYS:
        message_encode_keys(worker_to_scheduler(worker), MESSAGE_ADD_KEYS,
                            action->of.add_keys.keys.items, action->of.add_keys.keys.count,
                            action->of.add_keys.stimulus);
        break;
    case WORKER_ACTION_REQUEST_REFRESH_WHO_HAS:
        message_encode_keys(worker_to_scheduler(worker), MESSAGE_REQUEST_REFRESH_WHO_HAS,
                            action->of.request_refresh_who_has.keys.items,
                            action->of.request_refresh_who_has.keys.count,
                            action->of.request_refresh_who_has.stimulus);
        break;
    case WORKER_ACTION_STEAL_RESPONSE:
        steal_response(worker, &action->of.steal_response);
        break;
    case WORKER_ACTION_TRANSITION:
        worker_note_transition(worker, &action->of.transition);
        break;
    case WORKER_ACTION_KIND_COUNT:
        UNREACHABLE();
    }
}

void worker_outbound(struct worker_node *worker)
{
    for (uint32_t i = 0; i < worker->step.action_count; i++) {
        carry_out(worker, &worker->step.actions[i]);
    }
}
