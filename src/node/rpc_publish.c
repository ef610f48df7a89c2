/* rpc_publish.c: published datasets.
 *
 * publish_put and publish_delete wait for a message on the client's stream with the same uid: only then has
 * all that the client said before (its graphs) been heard. Several names are done one after the other.
 * Source: distributed publish.py. */
#include "base/alloc.h"
#include "core/scheduler/exchange.h"
#include "node/coordination_internal.h"
#include "node/values.h"

#define FLUSHES_MAX 1000u /* of which those without a call are forgotten */

/* A call that waits for its uid, or a uid that waits for its call (request 0). */
struct flush {
    struct text uid;
    uint64_t request;
};

struct publish {
    struct VEC(struct flush) flushes;
    struct outgoing *answer; /* of the call being carried out */
    struct text error;       /* its first error … */
    const char *error_class; /* … and that one's class; NULL: none */
};

struct publish *publish_create(void)
{
    return mem_zalloc(1, sizeof(struct publish));
}

void publish_destroy(struct publish *publish)
{
    for (uint32_t i = 0; i < publish->flushes.count; i++) {
        text_fini(&publish->flushes.items[i].uid);
    }
    vec_fini(&publish->flushes);
    text_fini(&publish->error);
    mem_free(publish);
}

void publish_answered(struct node *node, const struct answer *answer)
{
    struct publish *publish = node->publish;
    const char *class_name = coordination_error_class(answer->kind);
    if (class_name != NULL && publish->error_class == NULL) {
        publish->error_class = class_name;
        text_add(&publish->error, answer->text);
    } else if (class_name == NULL && answer->kind == ANSWER_DATASET) {
        coordination_write_dataset(answer, publish->answer);
    }
}

/* Answer the call with what its events left. */
static void finish(struct node *node, struct request *request, struct outgoing *answer)
{
    struct publish *publish = node->publish;
    if (publish->error_class != NULL) {
        request_raise_builtin(request, publish->error_class, "%s", text_cstr(&publish->error));
    } else {
        request_reply(request, answer);
    }
    outgoing_fini(answer);
    publish->answer = NULL;
    publish->error_class = NULL;
    text_clear(&publish->error);
}

static client_id client_of(struct node *node, struct span name)
{
    return name.data == NULL ? CLIENT_NONE : view_client_find(node->core, name);
}

/* names, keys and data go together, one dataset each. */
static void put(struct node *node, struct request *request, const struct msg_publish_put *m)
{
    struct key_list names = m->names;
    struct msgpack_reader keys = msgpack_reader(m->keys), data = msgpack_reader(m->data.raw);
    uint32_t keys_count = 0, data_count = 0;
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_nil(&answer.head);
    if (msgpack_read_array(&keys, &keys_count) != OK ||
        msgpack_read_array(&data, &data_count) != OK || keys_count != names.count ||
        data_count != names.count) {
        node->publish->error_class = "ValueError";
        text_add_cstr(&node->publish->error, "publish_put: names, keys and data differ in length");
    }
    struct span name;
    while (node->publish->error_class == NULL && key_list_next(&names, &name)) {
        struct key_list list;
        struct span value;
        struct event event = event_of(EVENT_PUBLISH_PUT);
        struct event_publish_put *of = &event.of.publish_put;
        if (key_list_read(&keys, &node->scratch, &list) != OK ||
            msgpack_read_value(&data, &value) != OK ||
            payload_take(&request->message, value, &of->data) != OK) {
            node->publish->error_class = "ValueError";
            text_add_cstr(&node->publish->error, "publish_put: malformed keys or data");
            break;
        }
        of->request = COORDINATION_PUBLISH;
        of->name = name;
        of->keys = values_keys(&node->scratch, list);
        of->override = m->replace;
        of->client = client_of(node, m->client);
        node_apply(node, &event);
        blob_unref(of->data);
    }
    finish(node, request, &answer);
}

static void delete_all(struct node *node, struct request *request,
                       const struct msg_publish_delete *m)
{
    struct key_list names = m->names;
    struct outgoing answer;
    struct span name;
    outgoing_init(&answer);
    msgpack_write_nil(&answer.head);
    while (key_list_next(&names, &name)) {
        struct event event = event_of(EVENT_PUBLISH_DELETE);
        event.of.publish_delete.request = COORDINATION_PUBLISH;
        event.of.publish_delete.name = name;
        event.of.publish_delete.client = client_of(node, m->client);
        node_apply(node, &event);
    }
    finish(node, request, &answer);
}

/* The call's uid has come: carry it out. */
static void carry_out(struct node *node, struct request *request)
{
    struct message message;
    request_decode(request, &message);
    if (message.id == MESSAGE_PUBLISH_PUT) {
        put(node, request, &message.body.publish_put);
    } else {
        delete_all(node, request, &message.body.publish_delete);
    }
}

/* Take the entry of `uid` out; false: there is none. */
static bool take_flush(struct publish *publish, struct span uid, uint64_t *out_request)
{
    for (uint32_t i = 0; i < publish->flushes.count; i++) {
        struct flush *flush = &publish->flushes.items[i];
        if (span_equal(text_span(&flush->uid), uid)) {
            *out_request = flush->request;
            text_fini(&flush->uid);
            vec_swap_remove(&publish->flushes, i);
            return true;
        }
    }
    return false;
}

/* Calls whose connection went away wait for nothing any more. */
static void drop_gone(struct node *node)
{
    for (uint32_t i = node->publish->flushes.count; i-- > 0;) {
        struct flush *flush = &node->publish->flushes.items[i];
        struct request *request =
            flush->request == 0 ? NULL : request_find(&node->server, flush->request);
        if (request != NULL && request->is_gone) {
            struct outgoing nothing;
            outgoing_init(&nothing);
            request_reply(request, &nothing);
            text_fini(&flush->uid);
            vec_swap_remove(&node->publish->flushes, i);
        }
    }
}

/* Forget the oldest uid whose call never came, so that their number stays bounded. */
static void drop_stray(struct publish *publish)
{
    for (uint32_t i = 0; i < publish->flushes.count; i++) {
        if (publish->flushes.items[i].request == 0) {
            text_fini(&publish->flushes.items[i].uid);
            publish->flushes.count--;
            memmove(&publish->flushes.items[i], &publish->flushes.items[i + 1],
                    (publish->flushes.count - i) * sizeof *publish->flushes.items);
            return;
        }
    }
}

static void add_flush(struct publish *publish, struct span uid, uint64_t request)
{
    if (publish->flushes.count >= FLUSHES_MAX) {
        drop_stray(publish);
    }
    struct flush flush = {.request = request};
    text_add(&flush.uid, uid);
    vec_push(&publish->flushes, flush);
}

void publish_flushed(struct node *node, struct span uid)
{
    uint64_t number;
    drop_gone(node);
    if (!take_flush(node->publish, uid, &number)) {
        add_flush(node->publish, uid, 0);
        return;
    }
    struct request *request = request_find(&node->server, number);
    if (request != NULL) {
        carry_out(node, request);
    }
}

static void await_flush(struct node *node, struct request *request, struct span uid)
{
    uint64_t number;
    drop_gone(node);
    if (take_flush(node->publish, uid, &number)) {
        carry_out(node, request);
    } else {
        add_flush(node->publish, uid, request->number);
    }
}

void rpc_publish_put(struct node *node, struct request *request, const struct message *message)
{
    await_flush(node, request, message->body.publish_put.uid);
}

void rpc_publish_delete(struct node *node, struct request *request, const struct message *message)
{
    await_flush(node, request, message->body.publish_delete.uid);
}

void rpc_publish_get(struct node *node, struct request *request, const struct message *message)
{
    struct key_list names = message->body.publish_get.names;
    struct outgoing answer;
    struct span name;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, names.count);
    node->publish->answer = &answer;
    while (key_list_next(&names, &name)) {
        struct event event = event_of(EVENT_PUBLISH_GET);
        event.of.publish_get.request = COORDINATION_PUBLISH;
        event.of.publish_get.name = name;
        event.of.publish_get.client = client_of(node, message->body.publish_get.client);
        node_apply(node, &event);
    }
    finish(node, request, &answer);
}

void rpc_publish_list(struct node *node, struct request *request, const struct message *message)
{
    (void)message;
    struct span_list names = exchange_published(node->core, &node->scratch);
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, names.count);
    for (uint32_t i = 0; i < names.count; i++) {
        msgpack_write_raw(&answer.head, names.items[i]);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}
