/* rpc_data.c: what the scheduler is told about data, restrictions and resources.
 * Source: distributed scheduler.py update_data, add_keys, stimulus_retry, set_restrictions, add_resources;
 * active_memory_manager.py amm_handler. */
#include "core/scheduler/amm.h"
#include "node/connection.h"
#include "node/node.h"
#include "node/planner.h"
#include "node/policies.h"
#include "node/values.h"

/* The first address in {key: [address]} that no worker has; data NULL: all are known. What is malformed is
 * found by who reads it next. */
static struct span find_unknown_worker(struct node *node, struct span who_has)
{
    struct msgpack_reader reader = msgpack_reader(who_has);
    uint32_t count = 0, address_count = 0;
    struct span address;
    if (msgpack_read_map(&reader, &count) != OK) {
        return (struct span){0};
    }
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_skip(&reader) != OK || msgpack_read_array(&reader, &address_count) != OK) {
            return (struct span){0};
        }
        for (uint32_t j = 0; j < address_count; j++) {
            if (msgpack_read_str(&reader, &address) != OK) {
                return (struct span){0};
            }
            if (view_worker_by_address(node->core, address) == WORKER_NONE) {
                return address;
            }
        }
    }
    return (struct span){0};
}

void rpc_update_data(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_update_data *m = &message->body.update_data;
    client_id client = m->client.size == 0 ? CLIENT_NONE : view_client_find(node->core, m->client);
    struct span unknown = find_unknown_worker(node, m->who_has);
    if (unknown.data != NULL) {
        request_raise_builtin(request, "KeyError", "%.*s", (int)unknown.size,
                              (const char *)unknown.data);
    } else if (values_data_placed(node, client, m->who_has, m->nbytes)) {
        request_reply_nil(request);
    } else {
        request_raise_builtin(request, "TypeError", "update_data: malformed who_has or nbytes");
    }
}

void rpc_add_keys(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_add_keys_rpc *m = &message->body.add_keys_rpc;
    worker_id worker = view_worker_by_address(node->core, m->worker);
    if (worker == WORKER_NONE) {
        request_reply_str(request, SPAN("not found"));
        return;
    }
    struct event event = event_of(EVENT_ADD_KEYS);
    event.of.add_keys.worker = worker;
    event.of.add_keys.keys = values_keys(&node->scratch, m->keys);
    event.stimulus =
        m->stimulus_id.size > 0 ? m->stimulus_id : node_stimulus(node, "redundant-replicas");
    node_apply(node, &event);
    request_reply_ok(request);
}

/* All keys that were looked at: the client waits for them again. */
void rpc_retry(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_retry *m = &message->body.retry;
    struct event event = event_of(EVENT_RETRY);
    event.of.retry.client =
        m->client.size == 0 ? CLIENT_NONE : view_client_find(node->core, m->client);
    event.of.retry.keys = values_keys(&node->scratch, m->keys);
    event.stimulus = node_stimulus(node, "stimulus-retry");
    node_apply(node, &event);
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, node->step.reply_keys.count);
    for (uint32_t i = 0; i < node->step.reply_keys.count; i++) {
        msgpack_write_raw(&answer.head, node->step.reply_keys.items[i]);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* A str, a list or set of them, or nil. False: malformed. */
static bool read_texts(struct arena *arena, struct span raw, struct span_list *out)
{
    struct span items;
    uint32_t count;
    *out = (struct span_list){0};
    if (msgpack_is_nil(raw)) {
        return true;
    }
    if (msgpack_find(raw, "as-list", &items) == OK) {
        raw = items;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    struct span one;
    if (msgpack_read_str(&reader, &one) == OK) {
        struct span *text = arena_new(arena, struct span);
        *text = one;
        *out = (struct span_list){text, 1};
        return true;
    }
    if (msgpack_read_array(&reader, &count) != OK) {
        return false;
    }
    struct span *texts = arena_array(arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(&reader, &texts[i]) != OK) {
            return false;
        }
    }
    *out = (struct span_list){texts, count};
    return true;
}

void rpc_set_restrictions(struct node *node, struct request *request, const struct message *message)
{
    struct msgpack_reader reader = msgpack_reader(message->body.set_restrictions.worker);
    uint32_t count;
    bool is_fine = msgpack_read_map(&reader, &count) == OK;
    for (uint32_t i = 0; is_fine && i < count; i++) {
        struct span key, raw;
        struct span_list workers;
        is_fine = key_read(&reader, &node->scratch, &key) == OK &&
                  msgpack_read_value(&reader, &raw) == OK &&
                  read_texts(&node->scratch, raw, &workers);
        if (is_fine && view_task_find(node->core, key) == NULL) {
            struct text name = {0};
            key_print(&name, key);
            request_raise_builtin(request, "KeyError", "%s", text_cstr(&name));
            text_fini(&name);
            return;
        }
        if (is_fine) {
            struct event event = event_of(EVENT_SET_RESTRICTIONS);
            event.of.set_restrictions.key = key;
            event.of.set_restrictions.workers = workers;
            node_apply(node, &event);
        }
    }
    if (is_fine) {
        request_reply_nil(request);
    } else {
        request_raise_builtin(request, "TypeError", "worker must map keys to addresses");
    }
}

void rpc_set_resources(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_set_resources *m = &message->body.set_resources;
    worker_id worker = view_worker_by_address(node->core, m->worker);
    struct event event = event_of(EVENT_WORKER_RESOURCES);
    event.of.worker_resources.worker = worker;
    if (worker == WORKER_NONE) {
        request_raise_builtin(request, "KeyError", "%.*s", (int)m->worker.size,
                              (const char *)m->worker.data);
    } else if (!values_resources(&node->scratch, m->resources,
                                 &event.of.worker_resources.resources)) {
        request_raise_builtin(request, "TypeError", "resources must map names to numbers");
    } else {
        node_apply(node, &event);
        request_reply_ok(request);
    }
}

void rpc_amm_handler(struct node *node, struct request *request, const struct message *message)
{
    struct span method = message->body.amm_handler.method;
    if (span_equal(method, SPAN("running"))) {
        request_reply_bool(request, amm_running(node->core));
        return;
    }
    if (!span_equal(method, SPAN("start")) && !span_equal(method, SPAN("stop")) &&
        !span_equal(method, SPAN("run_once"))) {
        request_raise_builtin(request, "AssertionError", "the memory manager has no method '%.*s'",
                              (int)method.size, (const char *)method.data);
        return;
    }
    struct event event = event_of(EVENT_AMM);
    event.of.amm.method = method;
    node_apply(node, &event);
    if (connection_of(request) != NULL && policies_have_foreign(node->config)) {
        planner_forward(node->planner, request); /* which sees to its own when it asks itself */
    } else {
        request_reply_nil(request);
    }
}
