/* worker_inbound.c: messages of the scheduler's stream → events of the core.
 *
 * A field that is not what it should be, or an operation that nobody knows, ends the stream, as with stock. */
#include <math.h>

#include "base/log.h"
#include "node/values.h"
#include "node/worker_internal.h"

#define LOGGER "distributed.worker"

/* ---- values ------------------------------------------------------------------------------------ */

/* [address, …] */
static bool read_addresses(struct arena *arena, struct msgpack_reader *reader,
                           struct span_list *out)
{
    uint32_t count;
    if (msgpack_read_array(reader, &count) != OK) {
        return false;
    }
    struct span *items = arena_array(arena, struct span, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(reader, &items[i]) != OK) {
            return false;
        }
    }
    *out = (struct span_list){items, count};
    return true;
}

/* {key: nbytes} into the holdings, which stand in the same order as a rule. */
static bool read_sizes(struct arena *arena, struct span raw, struct worker_holding *items,
                       uint32_t item_count)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count, at = 0;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span key;
        int64_t size;
        if (key_read(&reader, arena, &key) != OK || msgpack_read_int(&reader, &size) != OK) {
            return false;
        }
        for (uint32_t tried = 0; tried < item_count; tried++, at = (at + 1) % item_count) {
            if (span_equal(items[at].key, key)) {
                items[at].nbytes = size;
                break;
            }
        }
    }
    return true;
}

/* {key: [address]} and {key: nbytes} (may be absent). */
static bool read_holdings(struct arena *arena, struct span who_has, struct span nbytes,
                          struct worker_holding_list *out)
{
    struct msgpack_reader reader = msgpack_reader(who_has);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    struct worker_holding *items = arena_array(arena, struct worker_holding, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        items[i].nbytes = -1;
        if (key_read(&reader, arena, &items[i].key) != OK ||
            !read_addresses(arena, &reader, &items[i].holders)) {
            return false;
        }
    }
    *out = (struct worker_holding_list){items, count};
    return nbytes.data == NULL || read_sizes(arena, nbytes, items, count);
}

/* A list of up to three numbers; missing ones are the smallest there are. */
static bool read_priority(struct span raw, struct worker_priority *out)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    double numbers[3] = {-INFINITY, -INFINITY, -INFINITY};
    if (msgpack_read_array(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count && i < 3; i++) {
        if (msgpack_read_float(&reader, &numbers[i]) != OK || isnan(numbers[i])) {
            return false;
        }
    }
    bool is_low = numbers[2] <= -0x1p63, is_high = numbers[2] >= 0x1p63;
    *out = (struct worker_priority){
        .user = numbers[0],
        .generation = numbers[1],
        .order = is_low    ? INT64_MIN
                 : is_high ? INT64_MAX
                           : (int64_t)numbers[2],
    };
    return true;
}

/* ---- messages ---------------------------------------------------------------------------------- */

static bool compute_task(struct worker_node *worker, const struct frames *frames,
                         const struct msg_compute_task *m)
{
    struct worker_event event = worker_event_of(WORKER_EVENT_COMPUTE_TASK);
    struct worker_event_compute_task *of = &event.of.compute_task;
    of->key = m->key;
    of->run_id = m->run_id;
    of->actor = m->actor;
    of->ahead = m->ahead;
    of->span_id = m->span_id;
    event.stimulus = m->stimulus_id;
    if (!read_priority(m->priority, &of->priority) ||
        !read_holdings(&worker->scratch, m->who_has, m->nbytes, &of->inputs) ||
        !values_resources(&worker->scratch, m->resource_restrictions, &of->resources)) {
        return false;
    }
    bool is_fine = (msgpack_is_nil(m->run_spec.raw) ||
                    payload_take(frames, m->run_spec.raw, &of->run_spec) == OK) &&
                   (msgpack_is_nil(m->annotations.raw) ||
                    payload_take(frames, m->annotations.raw, &of->annotations) == OK);
    if (is_fine) {
        worker_apply(worker, &event);
    }
    blob_unref(of->run_spec);
    blob_unref(of->annotations);
    return is_fine;
}

/* free-keys and remove-replicas have the same fields. */
static void keys_event(struct worker_node *worker, enum worker_event_kind kind,
                       struct key_list keys, struct span stimulus)
{
    struct worker_event event = worker_event_of(kind);
    event.of.free_keys.keys = values_keys(&worker->scratch, keys);
    event.stimulus = stimulus;
    worker_apply(worker, &event);
}

static bool holdings_event(struct worker_node *worker, enum worker_event_kind kind,
                           struct span who_has, struct span nbytes, struct span stimulus)
{
    struct worker_event event = worker_event_of(kind);
    event.stimulus = stimulus;
    if (!read_holdings(&worker->scratch, who_has, nbytes, &event.of.acquire_replicas.holdings)) {
        return false;
    }
    worker_apply(worker, &event);
    return true;
}

static void key_event(struct worker_node *worker, enum worker_event_kind kind, struct span key,
                      struct span stimulus)
{
    struct worker_event event = worker_event_of(kind);
    event.of.steal_request.key = key;
    event.stimulus = stimulus;
    worker_apply(worker, &event);
}

static void remove_worker(struct worker_node *worker, const struct msg_remove_worker *m)
{
    struct worker_event event = worker_event_of(WORKER_EVENT_REMOVE_WORKER);
    event.of.remove_worker.worker = m->worker;
    event.stimulus = m->stimulus_id;
    worker_apply(worker, &event);
    rpc_pool_forget(worker->rpc, m->worker);
}

static void set_status(struct worker_node *worker, const struct msg_set_worker_status *m)
{
    static const enum worker_phase settable[] = {WORKER_STATUS_RUNNING, WORKER_STATUS_PAUSED,
                                                 WORKER_STATUS_CLOSING_GRACEFULLY};
    for (uint32_t i = 0; i < sizeof settable / sizeof settable[0]; i++) {
        if (span_equal_text(m->status, worker_phase_text(settable[i]))) {
            worker_change_status(worker, settable[i], m->stimulus_id);
            return;
        }
    }
    log_error(LOGGER, "Invalid status from the scheduler: %.*s", (int)m->status.size,
              (const char *)m->status.data);
}

static void close_now(struct worker_node *worker, const struct msg_worker_close *m)
{
    struct text reason = {0};
    text_add(&reason, m->reason.data == NULL ? SPAN("scheduler-close") : m->reason);
    worker_end(worker, text_cstr(&reason), m->nanny);
    text_fini(&reason);
}

/* 1: go on; 0: the stream ends; −1: malformed. */
static int take_one(struct worker_node *worker, const struct frames *frames,
                    const struct message *message)
{
    switch (message->id) {
    case MESSAGE_COMPUTE_TASK:
        return compute_task(worker, frames, &message->body.compute_task) ? 1 : -1;
    case MESSAGE_FREE_KEYS:
        keys_event(worker, WORKER_EVENT_FREE_KEYS, message->body.free_keys.keys,
                   message->body.free_keys.stimulus_id);
        return 1;
    case MESSAGE_REMOVE_REPLICAS:
        keys_event(worker, WORKER_EVENT_REMOVE_REPLICAS, message->body.remove_replicas.keys,
                   message->body.remove_replicas.stimulus_id);
        return 1;
    case MESSAGE_ACQUIRE_REPLICAS: {
        const struct msg_acquire_replicas *m = &message->body.acquire_replicas;
        return holdings_event(worker, WORKER_EVENT_ACQUIRE_REPLICAS, m->who_has, m->nbytes,
                              m->stimulus_id)
                   ? 1
                   : -1;
    }
    case MESSAGE_REFRESH_WHO_HAS: {
        const struct msg_refresh_who_has *m = &message->body.refresh_who_has;
        return holdings_event(worker, WORKER_EVENT_REFRESH_WHO_HAS, m->who_has, (struct span){0},
                              m->stimulus_id)
                   ? 1
                   : -1;
    }
    case MESSAGE_STEAL_REQUEST:
        key_event(worker, WORKER_EVENT_STEAL_REQUEST, message->body.steal_request.key,
                  message->body.steal_request.stimulus_id);
        return 1;
    case MESSAGE_CANCEL_COMPUTE:
        key_event(worker, WORKER_EVENT_CANCEL_COMPUTE, message->body.cancel_compute.key,
                  message->body.cancel_compute.stimulus_id);
        return 1;
    case MESSAGE_REMOVE_WORKER:
        remove_worker(worker, &message->body.remove_worker);
        return 1;
    case MESSAGE_SET_WORKER_STATUS:
        set_status(worker, &message->body.set_worker_status);
        return 1;
    case MESSAGE_WORKER_CLOSE:
        close_now(worker, &message->body.worker_close);
        return 1;
    case MESSAGE_WORKER_CLOSE_STREAM:
        return 0;
    default:
        return worker_pass_stream_message(worker, frames, message) ? 1 : -1;
    }
}

bool worker_inbound(struct worker_node *worker, const struct frames *frames, struct text *why)
{
    struct message_batch batch;
    struct message message;
    int got = message_batch_open(frames_head(frames), &batch);
    while (got == OK && !worker->is_closing) {
        arena_reset(&worker->scratch);
        got = message_batch_next(&batch, &worker->link.decoder, &message);
        if (got == 0) {
            return true;
        }
        if (got < 0) {
            text_add(why, text_span(&worker->link.decoder.error));
            return false;
        }
        int taken = take_one(worker, frames, &message);
        if (taken <= 0) {
            text_printf(why,
                        taken == 0 ? "the scheduler said '%.*s'"
                                   : "malformed or unknown '%.*s' from the scheduler",
                        (int)message.op.size, (const char *)message.op.data);
            return false;
        }
        got = OK;
    }
    return got == OK || worker->is_closing;
}
