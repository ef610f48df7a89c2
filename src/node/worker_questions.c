/* worker_questions.c: what executors ask of the worker (ASK) and tell it (TELL). docs/executor.md. */
#include "base/log.h"
#include "node/worker_gauges.h"
#include "node/worker_internal.h"
#include "node/worker_transfers.h"
#include "node/worker_view.h"

#define LOGGER "distributed.worker"
#define RESOURCES_MAX 1000u /* that user code may make up */

struct span worker_text_at(struct span list, uint32_t index)
{
    struct msgpack_reader reader = msgpack_reader(list);
    struct span text = {0}, skipped;
    uint32_t count;
    int code = msgpack_read_array(&reader, &count);
    for (uint32_t i = 0; code == OK && i < index && i < count; i++) {
        code = msgpack_read_value(&reader, &skipped);
    }
    if (code != OK || index >= count || msgpack_read_str(&reader, &text) != OK) {
        return (struct span){0};
    }
    return text;
}

/* ---- answers ----------------------------------------------------------------------------------- */

struct question {
    struct worker_node *worker;
    uint32_t seat;
    uint64_t number;
    const struct executor *executor; /* that asked; only compared */
};

static void answer(const struct question *question, bool ok, const struct executor_payload *payload)
{
    struct seat *seat = &question->worker->seats.items[question->seat];
    if (seat->executor == NULL || seat->executor != question->executor) {
        return; /* who asked has died */
    }
    int code = channel_add_answer(executor_out(seat->executor), question->number, ok, payload);
    if (code != OK) {
        struct text why = {0};
        msgpack_write_cstr(&why, "the value is too large to be handed over");
        const struct executor_payload refusal = {.value = text_span(&why), .segment = -1};
        int refused =
            channel_add_answer(executor_out(seat->executor), question->number, false, &refusal);
        ASSERT(refused == OK); /* it is short, and all inline */
        text_fini(&why);
    }
}

static void refuse(const struct question *question, const char *reason)
{
    struct text why = {0};
    msgpack_write_cstr(&why, reason);
    const struct executor_payload payload = {.value = text_span(&why), .segment = -1};
    answer(question, false, &payload);
    text_fini(&why);
}

/* [key]: the value, from wherever it lives. */
static void data_came(void *user, struct object *object, struct store_value *value,
                      const struct executor_error *error)
{
    struct question *question = user;
    (void)object;
    (void)error;
    if (value == NULL) {
        refuse(question, "the value is lost, or cannot be serialised");
    } else {
        struct executor_payload payload =
            worker_payload_of_value(&question->worker->scratch, value);
        answer(question, true, &payload);
    }
    mem_free(question);
}

static void data_get(const struct question *question, struct span arguments)
{
    struct worker_node *worker = question->worker;
    struct msgpack_reader reader = msgpack_reader(arguments);
    uint32_t count;
    struct span key;
    struct object *object = NULL;
    if (msgpack_read_array(&reader, &count) == OK && count == 1 &&
        key_read(&reader, &worker->scratch, &key) == OK) {
        object = object_of_task(&worker->objects, worker_task_find(worker->core, key));
    }
    if (object == NULL) {
        refuse(question, "there is no such key");
        return;
    }
    object_want(worker, object, data_came, mem_copy(question, sizeof *question));
}

typedef void view_write(struct worker_node *worker, struct span arguments, struct text *out);

/* [] or ["disk"], ["memory"] */
static void data_keys(struct worker_node *worker, struct span arguments, struct text *out)
{
    worker_view_keys(worker, worker_text_at(arguments, 0), out);
}

static void whole(struct worker_node *worker, struct span arguments, struct text *out)
{
    (void)arguments;
    worker_view_whole(worker, out);
}

static void story(struct worker_node *worker, struct span arguments, struct text *out)
{
    (void)arguments;
    worker_view_log(worker, out);
}

static void incoming(struct worker_node *worker, struct span arguments, struct text *out)
{
    (void)arguments;
    worker_transfers_write(worker->transfers, TRANSFER_INCOMING, out);
}

static void outgoing(struct worker_node *worker, struct span arguments, struct text *out)
{
    (void)arguments;
    worker_transfers_write(worker->transfers, TRANSFER_OUTGOING, out);
}

static const struct view {
    const char *name;
    view_write *write;
} views[] = {
    {"data_keys", data_keys}, {"tasks", worker_view_tasks}, {"state", whole},
    {"log", story},           {"incoming_log", incoming},   {"outgoing_log", outgoing},
};

void worker_asked(struct worker_node *worker, uint32_t seat, struct executor_message *ask)
{
    const struct question question = {worker, seat, ask->handle,
                                      worker->seats.items[seat].executor};
    if (span_equal(ask->text, SPAN("data_get"))) {
        data_get(&question, ask->payload.value);
        return;
    }
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        if (span_equal_text(ask->text, views[i].name)) {
            struct text told = {0};
            views[i].write(worker, ask->payload.value, &told);
            const struct executor_payload payload = {.value = text_span(&told), .segment = -1};
            answer(&question, true, &payload);
            text_fini(&told);
            return;
        }
    }
    refuse(&question, "the worker does not answer this question");
}

/* ---- what they tell ---------------------------------------------------------------------------- */

/* [map, …]: messages for the scheduler. */
static void pass_on(struct worker_node *worker, const struct frames *frames)
{
    struct msgpack_reader reader = msgpack_reader(frames_head(frames));
    uint32_t count;
    int code = msgpack_read_array(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span map;
        struct blob *blob;
        code = msgpack_peek(&reader) == MSGPACK_MAP ? OK : ERR_TYPE;
        if (code == OK && (code = msgpack_read_value(&reader, &map)) == OK &&
            (code = payload_take(frames, map, &blob)) == OK) {
            outgoing_item(worker_to_scheduler(worker));
            payload_put(worker_to_scheduler(worker), blob);
            blob_unref(blob);
        }
    }
    if (code != OK) {
        log_warning(LOGGER, "an executor's message for the scheduler is malformed: %s",
                    error_meaning(code));
    }
}

static void take_names(struct map *map, struct span told, const char *field)
{
    struct span raw, name;
    uint32_t count = 0;
    map_fini(map);
    if (msgpack_find(told, field, &raw) != OK) {
        return;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    int code = msgpack_read_array(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        code = msgpack_read_str(&reader, &name);
        if (code == OK) {
            map_put(map, name, NULL);
        }
    }
}

static bool is_told(struct span told, const char *field)
{
    struct span value;
    return msgpack_find(told, field, &value) == OK && span_equal(value, SPAN("\xc3"));
}

void worker_take_handlers(struct worker_node *worker, uint32_t seat, struct span told)
{
    take_names(&worker->handlers, told, "handlers");
    take_names(&worker->stream_handlers, told, "stream_handlers");
    worker->seats.items[seat].beats = is_told(told, "beats");
    worker->seats.items[seat].listens = is_told(told, "transitions");
    worker_look_for_listeners(worker);
}

static void set_resource(struct worker_node *worker, struct span name, double amount)
{
    uint32_t i = 0;
    while (i < worker->resources.count && !span_equal(worker->resources.items[i].name, name)) {
        i++;
    }
    if (i == worker->resources.count) {
        vec_push(&worker->resources, ((struct resource){arena_copy(&worker->lasting, name), 0}));
    }
    worker->resources.items[i].amount = amount;
}

/* {name: amount}: user code called worker.set_resources, which tells the scheduler itself. */
static void take_resources(struct worker_node *worker, struct span told)
{
    struct msgpack_reader reader = msgpack_reader(told);
    uint32_t count;
    int code = msgpack_read_map(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span name;
        double amount;
        code = msgpack_read_str(&reader, &name);
        code = code == OK ? msgpack_read_float(&reader, &amount) : code;
        if (code == OK && amount >= 0 && worker->resources.count < RESOURCES_MAX) {
            set_resource(worker, name, amount);
        }
    }
    struct worker_event event = worker_event_of(WORKER_EVENT_SET_RESOURCES);
    event.of.set_resources.resources =
        (struct resource_list){worker->resources.items, worker->resources.count};
    worker_apply(worker, &event);
    worker_update_resources(worker);
}

/* User code set worker.status. */
static void take_status(struct worker_node *worker, struct span told)
{
    struct span name = worker_text_at(told, 0);
    if (span_equal(name, SPAN("paused"))) {
        worker_change_status(worker, WORKER_STATUS_PAUSED, (struct span){0});
    } else if (span_equal(name, SPAN("running"))) {
        worker_change_status(worker, WORKER_STATUS_RUNNING, (struct span){0});
    }
}

/* User code asks the worker to close: [reason, nanny]. */
static void take_close(struct worker_node *worker, struct span told)
{
    struct text reason = {0};
    struct msgpack_reader reader = msgpack_reader(told);
    uint32_t count;
    struct span skipped;
    bool nanny = true;
    text_add(&reason, worker_text_at(told, 0));
    if (msgpack_read_array(&reader, &count) == OK && count == 2 &&
        msgpack_read_value(&reader, &skipped) == OK && msgpack_read_bool(&reader, &nanny) != OK) {
        nanny = true;
    }
    worker_end(worker, text_cstr(&reason), nanny);
    text_fini(&reason);
}

/* [reason, restart] */
static void take_close_gracefully(struct worker_node *worker, struct span told)
{
    struct text reason = {0};
    struct msgpack_reader reader = msgpack_reader(told);
    uint32_t count;
    struct span skipped;
    bool restart = worker->options.lifetime_restart;
    text_add(&reason, worker_text_at(told, 0));
    if (msgpack_read_array(&reader, &count) == OK && count == 2 &&
        msgpack_read_value(&reader, &skipped) == OK && msgpack_peek(&reader) == MSGPACK_BOOL &&
        msgpack_read_bool(&reader, &restart) != OK) {
        restart = false;
    }
    worker_close_gracefully(worker, text_cstr(&reason), restart);
    text_fini(&reason);
}

void worker_told_to_close(struct worker_node *worker, struct span name, struct span told)
{
    if (span_equal(name, SPAN("close"))) {
        take_close(worker, told);
    } else if (span_equal(name, SPAN("close-gracefully"))) {
        take_close_gracefully(worker, told);
    }
}

void worker_told(struct worker_node *worker, uint32_t seat, struct executor_message *tell)
{
    struct frames frames = {0};
    int code = worker_frames_of(&tell->payload, &frames);
    struct span told = frames_head(&frames);
    if (code != OK) {
        log_warning(LOGGER, "what an executor tells cannot be read: %s", error_meaning(code));
    } else if (span_equal(tell->text, SPAN("to-scheduler"))) {
        pass_on(worker, &frames);
    } else if (span_equal(tell->text, SPAN("handlers"))) {
        worker_take_handlers(worker, seat, told);
    } else if (span_equal(tell->text, SPAN("shuffles"))) {
        worker_shuffles_told(worker, seat, told);
    } else if (span_equal(tell->text, SPAN("status"))) {
        take_status(worker, told);
    } else if (span_equal(tell->text, SPAN("resources"))) {
        take_resources(worker, told);
    } else if (span_equal(tell->text, SPAN("memory"))) {
        worker_pressure_told(worker, told);
    } else if (span_equal(tell->text, SPAN("digest"))) {
        worker_gauges_digest(worker, told);
    } else {
        worker_told_to_close(worker, tell->text, told);
    }
    frames_fini(&frames);
}
