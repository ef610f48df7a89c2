/* worker_gather.c: values of peers: the core says whom to ask for what; here the call is made.
 *
 * What comes is never opened: it is kept serialised, as it came, and opened in an executor when a task there
 * needs it. Source: distributed worker.py, gather_dep. */
#include "base/log.h"
#include "node/worker_gauges.h"
#include "node/worker_internal.h"
#include "node/worker_transfers.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.worker"
#define RETRY_SECONDS 0.15

struct gather {
    struct worker_node *worker;
    uint32_t life;
    struct text peer, stimulus;
    struct map sizes; /* key → bytes, as the scheduler has them */
    double asked;
};

static void gather_free(struct gather *gather)
{
    text_fini(&gather->peer);
    text_fini(&gather->stimulus);
    map_fini(&gather->sizes);
    mem_free(gather);
}

static struct worker_event event_for(const struct gather *gather, enum worker_event_kind kind)
{
    struct worker_event event = worker_event_of(kind);
    event.of.gather_busy.worker = text_span(&gather->peer); /* first field of all of them */
    event.stimulus = text_span(&gather->stimulus);
    return event;
}

/* What came is not what it should be: the keys err. */
static void failed(struct gather *gather, const char *what)
{
    struct text why = {0}, pickle = {0}, repr = {0};
    text_printf(&why, "%s answered get_data with %s", text_cstr(&gather->peer), what);
    pickle_make_exception(&pickle, "builtins", "ValueError", text_span(&why));
    text_add_cstr(&repr, "ValueError(");
    key_repr_text(&repr, text_span(&why));
    text_add_char(&repr, ')');
    log_error(LOGGER, "%s", text_cstr(&why));
    struct worker_failure failure = {
        .exception = payload_serialized_bytes(text_span(&pickle)),
        .exception_text = text_span(&repr),
        .traceback_text = SPAN(""),
    };
    struct worker_event event = event_for(gather, WORKER_EVENT_GATHER_FAILURE);
    event.of.gather_failure.failure = &failure;
    worker_apply(gather->worker, &event);
    blob_unref(failure.exception);
    text_fini(&why);
    text_fini(&pickle);
    text_fini(&repr);
}

bool worker_offer_data(struct worker_node *worker, const struct frames *frames, struct map *sizes,
                       struct worker_offer_list *out)
{
    struct span raw;
    if (msgpack_find(frames_head(frames), "data", &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count, taken = 0;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    struct worker_offer *items = arena_array(&worker->scratch, struct worker_offer, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct span key, value;
        struct blob *blob;
        if (key_read(&reader, &worker->scratch, &key) != OK ||
            msgpack_read_value(&reader, &value) != OK || payload_take(frames, value, &blob) != OK) {
            return false;
        }
        const struct map_entry *wanted = map_find(sizes, key);
        if (wanted == NULL) {
            blob_unref(blob); /* nobody asked for it */
            continue;
        }
        struct object *object = object_create(&worker->objects, key);
        object->value = store_value_create(blob);
        worker_offer_object(worker, object);
        items[taken++] =
            (struct worker_offer){.key = object->key, .nbytes = (int64_t)wanted->value.number};
        map_remove(sizes, object->key); /* a second one of this key is not wanted */
    }
    *out = (struct worker_offer_list){items, taken};
    return true;
}

static void log_transfer(const struct gather *gather, const struct worker_offer_list *came,
                         const double times[2])
{
    struct worker_node *worker = gather->worker;
    struct text sizes = {0};
    struct transfer transfer = {.peer = text_span(&gather->peer),
                                .key_count = came->count,
                                .start = times[0] + worker->link.delay,
                                .stop = times[1] + worker->link.delay};
    for (uint32_t i = 0; i < came->count; i++) {
        transfer_add_size(&sizes, came->items[i].key, came->items[i].nbytes);
        transfer.bytes += came->items[i].nbytes;
    }
    transfer.sizes = text_span(&sizes);
    worker_transfers_add(worker->transfers, TRANSFER_INCOMING, &transfer);
    text_fini(&sizes);
}

/* The run that uses them will tell of the transfer, and so does the log. */
static void note_transfer(const struct gather *gather, const struct worker_offer_list *came)
{
    struct worker_node *worker = gather->worker;
    double stop = io_now(), start = stop - (io_monotonic() - gather->asked);
    log_transfer(gather, came, (const double[]){start, stop});
    for (uint32_t i = 0; i < worker->offered.count; i++) {
        struct object *object = worker->offered.items[i].object;
        object->came[0] = start;
        object->came[1] = stop;
        text_add(&object->source, text_span(&gather->peer));
    }
}

static void succeeded(struct gather *gather, const struct frames *reply)
{
    struct worker_node *worker = gather->worker;
    struct worker_event event = event_for(gather, WORKER_EVENT_GATHER_SUCCESS);
    if (worker_offer_data(worker, reply, &gather->sizes, &event.of.gather_success.offers)) {
        note_transfer(gather, &event.of.gather_success.offers);
        worker_gauges_received(worker, text_span(&gather->peer), frames_size(reply),
                               io_monotonic() - gather->asked);
        worker_apply(worker, &event);
    } else {
        failed(gather, "malformed data");
    }
    worker_settle_offers(worker);
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct gather *gather = user;
    struct worker_node *worker = gather->worker;
    struct span status;
    if (gather->life != worker->life || worker->is_closing) {
        gather_free(gather);
        return;
    }
    arena_reset(&worker->scratch);
    if (code != OK) {
        log_info(LOGGER, "Worker %s cannot be reached: %s", text_cstr(&gather->peer), text);
        struct worker_event event = event_for(gather, WORKER_EVENT_GATHER_NETWORK_FAILURE);
        worker_apply(worker, &event);
    } else if (msgpack_find(frames_head(reply), "status", &status) != OK) {
        failed(gather, "no status");
    } else if (span_equal(status, SPAN("\xa4"
                                       "busy"))) {
        struct worker_event event = event_for(gather, WORKER_EVENT_GATHER_BUSY);
        worker_apply(worker, &event);
    } else if (span_equal(status, SPAN("\xa2OK"))) {
        succeeded(gather, reply);
    } else {
        failed(gather, "an error");
    }
    gather_free(gather);
}

void worker_write_get_data(const struct worker_node *worker, struct span_list keys,
                           struct outgoing *out)
{
    msgpack_write_map(&out->head, 4);
    msgpack_write_cstr(&out->head, "op");
    msgpack_write_cstr(&out->head, "get_data");
    msgpack_write_cstr(&out->head, "keys");
    msgpack_write_array(&out->head, keys.count);
    for (uint32_t i = 0; i < keys.count; i++) {
        msgpack_write_raw(&out->head, keys.items[i]);
    }
    msgpack_write_cstr(&out->head, "who");
    msgpack_write_str(&out->head, text_span(&worker->server.address));
    msgpack_write_cstr(&out->head, "reply");
    msgpack_write_bool(&out->head, true);
}

void worker_gather(struct worker_node *worker, const struct worker_action_gather *action)
{
    struct gather *gather = mem_zalloc(1, sizeof *gather);
    struct outgoing out;
    gather->worker = worker;
    gather->life = worker->life;
    gather->asked = io_monotonic();
    text_add(&gather->peer, action->worker);
    text_add(&gather->stimulus, action->stimulus);
    outgoing_init(&out);
    struct span *keys = arena_array(&worker->scratch, struct span, action->wanted.count);
    for (uint32_t i = 0; i < action->wanted.count; i++) {
        const struct worker_value *value = &action->wanted.items[i];
        keys[i] = value->key;
        map_put(&gather->sizes, value->key, NULL)->value.number = (uint64_t)value->nbytes;
    }
    log_debug(LOGGER, "Request %u keys from %s", action->wanted.count, text_cstr(&gather->peer));
    worker_write_get_data(worker, (struct span_list){keys, action->wanted.count}, &out);
    const struct rpc_options options = {
        .shares = true, .acknowledge = true, .done = answered, .user = gather};
    rpc_call(worker->rpc, action->worker, &out, &options);
    outgoing_fini(&out);
}

/* ---- peers that were busy ---------------------------------------------------------------------- */

struct retry {
    struct worker_node *worker;
    struct text peer;
    struct io_timer *timer;
};

static void retry_free(struct retry *retry)
{
    io_timer_destroy(retry->timer);
    text_fini(&retry->peer);
    mem_free(retry);
}

static void retry_due(void *user)
{
    struct retry *retry = user;
    struct worker_node *worker = retry->worker;
    struct worker_event event = worker_event_of(WORKER_EVENT_RETRY_BUSY_WORKER);
    for (uint32_t i = 0; i < worker->retries.count; i++) {
        if (worker->retries.items[i] == retry) {
            vec_swap_remove(&worker->retries, i);
            break;
        }
    }
    arena_reset(&worker->scratch);
    event.of.retry_busy_worker.worker = text_span(&retry->peer);
    event.stimulus = worker_stimulus(worker, "retry-busy-worker");
    worker_apply(worker, &event);
    retry_free(retry);
}

void worker_retry_busy_later(struct worker_node *worker, struct span peer)
{
    struct retry *retry = mem_zalloc(1, sizeof *retry);
    retry->worker = worker;
    text_add(&retry->peer, peer);
    retry->timer = io_timer_create(worker->loop, retry_due, retry);
    io_timer_start(retry->timer, RETRY_SECONDS, 0);
    vec_push(&worker->retries, retry);
}

void worker_gather_clear(struct worker_node *worker)
{
    while (worker->retries.count > 0) {
        retry_free(vec_pop(&worker->retries));
    }
}
