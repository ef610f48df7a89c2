/* worker_rpc_data.c: values for peers and clients, and from them.
 * Source: distributed worker.py get_data, update_data, free_keys; protocol.md 1.6, 3.7. */
#include "node/values.h"
#include "node/worker_internal.h"
#include "node/worker_transfers.h"
#include "node/worker_view.h"

/* ---- get_data ---------------------------------------------------------------------------------- */

struct part {
    struct slice key;
    struct blob *blob; /* NULL: lost, so it is left out */
};

/* An answer under way: values that live in executors are serialised first. */
struct data_answer {
    struct worker_node *worker;
    uint64_t request;
    uint32_t pending; /* values that are being serialised; worker_rpc_get_data counts as one */
    int64_t bytes;
    struct VEC(struct part) parts;
    struct text who, sizes; /* for the log of transfers: who asked; its keys and their bytes */
    uint32_t sent_count;
    double start;
};

/* Outgoing transfers at once: worker.connections.outgoing's counterpart for answers. */
static bool is_busy(const struct worker_node *worker, struct request *request)
{
    int64_t limit = config_int(worker->config, "distributed.worker.connections.incoming", 10);
    struct connection *connection = connection_of(request);
    if (connection != NULL && comm_is_local(connection_comm(connection))) {
        limit *= 2;
    }
    if (worker->status == WORKER_STATUS_PAUSED) {
        limit = 1;
    }
    return worker->outgoing_count >= limit;
}

static void log_transfer(const struct data_answer *answer)
{
    double delay = answer->worker->link.delay;
    const struct transfer transfer = {.peer = text_span(&answer->who),
                                      .sizes = text_span(&answer->sizes),
                                      .key_count = answer->sent_count,
                                      .bytes = answer->bytes,
                                      .sent = answer->bytes,
                                      .start = answer->start + delay,
                                      .stop = io_now() + delay};
    worker_transfers_add(answer->worker->transfers, TRANSFER_OUTGOING, &transfer);
}

/* The requester has what it asked for, or is gone: the transfer is over. */
static void acknowledged(void *user, const struct frames *message)
{
    struct data_answer *answer = user;
    if (message != NULL) { /* "OK"; NULL: the connection is gone */
        log_transfer(answer);
    }
    answer->worker->outgoing_count--;
    answer->worker->outgoing_bytes -= answer->bytes;
    text_fini(&answer->who);
    text_fini(&answer->sizes);
    mem_free(answer);
}

static void send_parts(struct data_answer *answer)
{
    struct outgoing out;
    uint32_t count = 0;
    outgoing_init(&out);
    for (uint32_t i = 0; i < answer->parts.count; i++) {
        count += answer->parts.items[i].blob != NULL;
    }
    msgpack_write_map(&out.head, 2);
    msgpack_write_cstr(&out.head, "status");
    msgpack_write_cstr(&out.head, "OK");
    msgpack_write_cstr(&out.head, "data");
    msgpack_write_map(&out.head, count);
    for (uint32_t i = 0; i < answer->parts.count; i++) {
        struct part *part = &answer->parts.items[i];
        if (part->blob != NULL) {
            msgpack_write_raw(&out.head, slice_span(part->key));
            answer->bytes += (int64_t)blob_size(part->blob);
            transfer_add_size(&answer->sizes, slice_span(part->key),
                              (int64_t)blob_size(part->blob));
            payload_put(&out, part->blob);
        }
        slice_fini(&part->key);
        blob_unref(part->blob);
    }
    vec_fini(&answer->parts);
    answer->worker->outgoing_bytes += answer->bytes;
    answer->worker->outgoing_bytes_total += (uint64_t)answer->bytes;
    answer->sent_count = count;
    answer->start = io_now();
    struct request *request = request_find(&answer->worker->server, answer->request);
    struct connection *connection = connection_of(request);
    request_reply(request, &out);
    outgoing_fini(&out);
    if (connection != NULL) {
        connection_expect(connection, acknowledged, answer);
    } else {
        acknowledged(answer, NULL);
    }
}

static void part_ready(struct data_answer *answer)
{
    if (--answer->pending == 0) {
        send_parts(answer);
    }
}

/* Parts move while they grow. */
struct part_wish {
    struct data_answer *answer;
    uint32_t index;
};

static void serialised(void *user, struct object *object, struct store_value *value,
                       const struct executor_error *error)
{
    struct part_wish *wish = user;
    struct part *part = &wish->answer->parts.items[wish->index];
    (void)object;
    if (value != NULL) {
        part->blob = blob_ref(value->blob);
    } else if (error != NULL) {
        part->blob = payload_serialized_error(error->exception_text);
    }
    part_ready(wish->answer);
    mem_free(wish);
}

void worker_rpc_get_data(struct worker_node *worker, struct request *request,
                         const struct message *message)
{
    if (is_busy(worker, request)) {
        request_reply_status(request, "busy");
        return;
    }
    struct span_list keys = values_keys(&worker->scratch, message->body.get_data.keys);
    struct data_answer *answer = mem_zalloc(1, sizeof *answer);
    answer->worker = worker;
    answer->request = request->number;
    answer->pending = 1;
    text_add(&answer->who, message->body.get_data.who);
    worker->outgoing_count++;
    worker->outgoing_count_total++;
    for (uint32_t i = 0; i < keys.count; i++) {
        task_id task = worker_task_find(worker->core, keys.items[i]);
        struct object *object = object_of_task(&worker->objects, task);
        if (object != NULL) {
            vec_push(&answer->parts, ((struct part){.key = slice_copy(keys.items[i])}));
            struct part_wish *wish = mem_zalloc(1, sizeof *wish);
            *wish = (struct part_wish){answer, answer->parts.count - 1};
            answer->pending++;
            object_want(worker, object, serialised, wish);
        }
    }
    part_ready(answer);
}

/* ---- update_data ------------------------------------------------------------------------------- */

/* Bytes of a serialised value without its header: as near as one comes to its size unopened. */
static int64_t size_of(const struct blob *blob)
{
    size_t size = blob_size(blob);
    size_t header = blob->value.size + (blob->frame_count > 0 ? blob->frames[0].size : 0);
    return (int64_t)(blob->frame_count > 0 ? size - header : size);
}

/* {key: value} as objects that are offered; sizes as pairs of a map. A key that comes twice counts once. */
static int read_values(struct worker_node *worker, struct request *request, struct span raw,
                       struct worker_offer_list *out, struct text *sizes)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct map seen = {0};
    uint32_t count, taken = 0;
    int code = msgpack_read_map(&reader, &count);
    struct worker_offer *items =
        arena_array(&worker->scratch, struct worker_offer, code == OK ? count + 1 : 1);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span key, value;
        struct blob *blob;
        bool is_new = false;
        code = key_read(&reader, &worker->scratch, &key);
        code = code == OK ? msgpack_read_value(&reader, &value) : code;
        code = code == OK ? payload_take(&request->message, value, &blob) : code;
        if (code != OK) {
            break;
        }
        map_put(&seen, key, &is_new);
        if (!is_new) {
            blob_unref(blob);
            continue;
        }
        struct object *object = object_create(&worker->objects, key);
        object->value = store_value_create(blob);
        worker_offer_object(worker, object);
        items[taken] = (struct worker_offer){.key = object->key, .nbytes = size_of(blob)};
        msgpack_write_raw(sizes, key);
        msgpack_write_int(sizes, items[taken++].nbytes);
    }
    *out = (struct worker_offer_list){items, taken};
    map_fini(&seen);
    return code;
}

void worker_rpc_update_data(struct worker_node *worker, struct request *request,
                            const struct message *message)
{
    const struct msg_worker_update_data *m = &message->body.worker_update_data;
    struct text sizes = {0};
    struct worker_event event = worker_event_of(WORKER_EVENT_UPDATE_DATA);
    event.stimulus =
        m->stimulus_id.size > 0 ? m->stimulus_id : worker_stimulus(worker, "update-data");
    int code = read_values(worker, request, m->data.raw, &event.of.update_data.offers, &sizes);
    if (code != OK) {
        worker_settle_offers(worker);
        text_fini(&sizes);
        request_raise_builtin(request, "ValueError", "update_data: malformed data");
        return;
    }
    worker_apply(worker, &event);
    worker_settle_offers(worker);
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 2);
    msgpack_write_cstr(&out.head, "nbytes");
    msgpack_write_map(&out.head, event.of.update_data.offers.count);
    msgpack_write_raw(&out.head, text_span(&sizes));
    msgpack_write_cstr(&out.head, "status");
    msgpack_write_cstr(&out.head, "OK");
    request_reply(request, &out);
    outgoing_fini(&out);
    text_fini(&sizes);
}

/* ---- the rest ---------------------------------------------------------------------------------- */

void worker_rpc_free_keys(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    struct worker_event event = worker_event_of(WORKER_EVENT_FREE_KEYS);
    event.of.free_keys.keys = values_keys(&worker->scratch, message->body.worker_free_keys.keys);
    event.stimulus = message->body.worker_free_keys.stimulus_id;
    worker_apply(worker, &event);
    request_reply_nil(request);
}

void worker_rpc_keys(struct worker_node *worker, struct request *request,
                     const struct message *message)
{
    struct outgoing out;
    (void)message;
    outgoing_init(&out);
    worker_view_keys(worker, (struct span){0}, &out.head);
    request_reply(request, &out);
    outgoing_fini(&out);
}
