/* rpc_coordination.c: locks, events, queues and variables: calls become events; the core answers them, at
 * once or when what they wait for has come. Source: distributed semaphore.py, multi_lock.py, event.py,
 * queues.py, variable.py; protocol.md 3.1. */
#include <math.h>

#include "node/coordination_internal.h"
#include "node/values.h"

/* The absolute time of a timeout; nil never ends. False, with the exception raised: it cannot be read. */
static bool read_deadline(struct node *node, struct request *request, struct span timeout,
                          double *out_deadline)
{
    double seconds, now = io_now();
    if (!values_seconds(timeout, INFINITY, &seconds)) {
        request_raise_builtin(request, "ValueError",
                              "timeout must be a number or a duration such as '5s'");
        return false;
    }
    now = now > node->now ? now : node->now; /* as the core will see it */
    *out_deadline = now + (seconds > 0 ? seconds : 0);
    return true;
}

/* The core answers the event: in the call, or some time later. */
static void ask_core(struct node *node, struct request *request, struct event *event)
{
    uint64_t number = request->number;
    request->is_with_core = true;
    node_apply(node, event);
    request = request_find(&node->server, number);
    if (request != NULL) {
        request_drop_message(request);
    }
}

/* The name of a semaphore: a key, or bytes. False, with the exception raised: neither. */
static bool read_name(struct node *node, struct request *request, struct span raw,
                      struct span *out_name)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    *out_name = raw;
    if (msgpack_peek(&reader) == MSGPACK_BIN ||
        key_canonical(raw, &node->scratch, out_name) == OK) {
        return true;
    }
    request_raise_builtin(request, "TypeError", "a semaphore's name must be a key or bytes");
    return false;
}

/* ---- semaphores -------------------------------------------------------------------------------- */

void rpc_semaphore_register(struct node *node, struct request *request,
                            const struct message *message)
{
    const struct msg_semaphore_register *m = &message->body.semaphore_register;
    struct event event = event_of(EVENT_SEMAPHORE_REGISTER);
    double lease_timeout;
    if (!values_seconds(m->lease_timeout, INFINITY, &lease_timeout)) {
        request_raise_builtin(request, "ValueError",
                              "lease_timeout must be a number or a duration");
        return;
    }
    event.of.semaphore_register.request = request->number;
    if (!read_name(node, request, m->name, &event.of.semaphore_register.name)) {
        return;
    }
    event.of.semaphore_register.max_leases = m->max_leases;
    event.of.semaphore_register.lease_timeout = lease_timeout;
    ask_core(node, request, &event);
}

void rpc_semaphore_acquire(struct node *node, struct request *request,
                           const struct message *message)
{
    const struct msg_semaphore_acquire *m = &message->body.semaphore_acquire;
    struct event event = event_of(EVENT_SEMAPHORE_ACQUIRE);
    event.of.semaphore_acquire.request = request->number;
    event.of.semaphore_acquire.lease = m->lease_id;
    if (read_name(node, request, m->name, &event.of.semaphore_acquire.name) &&
        read_deadline(node, request, m->timeout, &event.of.semaphore_acquire.deadline)) {
        ask_core(node, request, &event);
    }
}

void rpc_semaphore_release(struct node *node, struct request *request,
                           const struct message *message)
{
    struct event event = event_of(EVENT_SEMAPHORE_RELEASE);
    event.of.semaphore_release.request = request->number;
    if (!read_name(node, request, message->body.semaphore_release.name,
                   &event.of.semaphore_release.name)) {
        return;
    }
    event.of.semaphore_release.lease = message->body.semaphore_release.lease_id;
    ask_core(node, request, &event);
}

void rpc_semaphore_close(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_SEMAPHORE_CLOSE);
    event.of.semaphore_close.request = request->number;
    if (!read_name(node, request, message->body.semaphore_close.name,
                   &event.of.semaphore_close.name)) {
        return;
    }
    ask_core(node, request, &event);
}

void rpc_semaphore_value(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_SEMAPHORE_VALUE);
    event.of.semaphore_value.request = request->number;
    if (!read_name(node, request, message->body.semaphore_value.name,
                   &event.of.semaphore_value.name)) {
        return;
    }
    ask_core(node, request, &event);
}

void rpc_semaphore_refresh_leases(struct node *node, struct request *request,
                                  const struct message *message)
{
    struct event event = event_of(EVENT_SEMAPHORE_REFRESH);
    event.of.semaphore_refresh.request = request->number;
    if (!read_name(node, request, message->body.semaphore_refresh_leases.name,
                   &event.of.semaphore_refresh.name)) {
        return;
    }
    event.of.semaphore_refresh.leases =
        values_keys(&node->scratch, message->body.semaphore_refresh_leases.lease_ids);
    ask_core(node, request, &event);
}

/* ---- multi-locks ------------------------------------------------------------------------------- */

void rpc_multi_lock_acquire(struct node *node, struct request *request,
                            const struct message *message)
{
    const struct msg_multi_lock_acquire *m = &message->body.multi_lock_acquire;
    struct event event = event_of(EVENT_MULTI_LOCK_ACQUIRE);
    struct event_multi_lock_acquire *of = &event.of.multi_lock_acquire;
    of->request = request->number;
    of->locks = values_keys(&node->scratch, m->locks);
    of->id = m->id;
    of->wanted = m->num_locks < 0 ? of->locks.count : (uint32_t)m->num_locks;
    if (of->wanted == 0 || of->wanted > of->locks.count) {
        request_raise_builtin(request, "ValueError", "num_locks=%lld, but %u locks are named",
                              (long long)m->num_locks, of->locks.count);
    } else if (read_deadline(node, request, m->timeout, &of->deadline)) {
        ask_core(node, request, &event);
    }
}

void rpc_multi_lock_release(struct node *node, struct request *request,
                            const struct message *message)
{
    struct event event = event_of(EVENT_MULTI_LOCK_RELEASE);
    event.of.multi_lock_release.request = request->number;
    event.of.multi_lock_release.id = message->body.multi_lock_release.id;
    ask_core(node, request, &event);
}

/* ---- events ------------------------------------------------------------------------------------ */

void rpc_event_wait(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_FLAG_WAIT);
    event.of.flag_wait.request = request->number;
    event.of.flag_wait.name = message->body.event_wait.name;
    if (read_deadline(node, request, message->body.event_wait.timeout,
                      &event.of.flag_wait.deadline)) {
        ask_core(node, request, &event);
    }
}

void rpc_event_set(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_FLAG_SET);
    event.of.flag_set.request = request->number;
    event.of.flag_set.name = message->body.event_set.name;
    ask_core(node, request, &event);
}

void rpc_event_clear(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_FLAG_CLEAR);
    event.of.flag_clear.request = request->number;
    event.of.flag_clear.name = message->body.event_clear.name;
    ask_core(node, request, &event);
}

void rpc_event_is_set(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_FLAG_IS_SET);
    event.of.flag_is_set.request = request->number;
    event.of.flag_is_set.name = message->body.event_is_set.name;
    ask_core(node, request, &event);
}

/* ---- queues ------------------------------------------------------------------------------------ */

void rpc_queue_create(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_QUEUE_CREATE);
    event.of.queue_create.request = request->number;
    event.of.queue_create.name = message->body.queue_create.name;
    event.of.queue_create.maxsize = message->body.queue_create.maxsize;
    ask_core(node, request, &event);
}

/* What is put: a future's key, or any value (a plain nil counts as one). False: malformed, raised. */
static bool read_item(struct request *request, struct span key, const struct payload *data,
                      struct blob **out_data)
{
    *out_data = NULL;
    if (key.data != NULL) {
        return true;
    }
    if (data->raw.data == NULL) {
        *out_data = payload_nil();
        return true;
    }
    if (payload_take(&request->message, data->raw, out_data) != OK) {
        request_raise_builtin(request, "ValueError", "malformed data");
        return false;
    }
    return true;
}

void rpc_queue_put(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_queue_put *m = &message->body.queue_put;
    struct event event = event_of(EVENT_QUEUE_PUT);
    struct event_queue_put *of = &event.of.queue_put;
    of->request = request->number;
    of->name = m->name;
    of->key = m->key;
    if (read_deadline(node, request, m->timeout, &of->deadline) &&
        read_item(request, m->key, &m->data, &of->data)) {
        ask_core(node, request, &event);
        blob_unref(of->data);
    }
}

/* batch: false one bare item, true all there are, a number that many. */
static int64_t read_batch(struct span raw)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    bool all;
    int64_t count;
    if (msgpack_is_nil(raw)) {
        return -1;
    }
    if (msgpack_read_bool(&reader, &all) == OK) {
        return all ? 0 : -1;
    }
    return msgpack_read_int(&reader, &count) == OK && count > 0 ? count : -1;
}

void rpc_queue_get(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_queue_get *m = &message->body.queue_get;
    struct event event = event_of(EVENT_QUEUE_GET);
    struct event_queue_get *of = &event.of.queue_get;
    of->request = request->number;
    of->name = m->name;
    of->batch = read_batch(m->batch);
    if (of->batch > 0 && !msgpack_is_nil(m->timeout)) {
        request_raise_builtin(
            request, "NotImplementedError",
            "Dask queues don't support simultaneous use of integer batch sizes and timeouts");
    } else if (read_deadline(node, request, m->timeout, &of->deadline)) {
        ask_core(node, request, &event);
    }
}

void rpc_queue_qsize(struct node *node, struct request *request, const struct message *message)
{
    struct event event = event_of(EVENT_QUEUE_SIZE);
    event.of.queue_size.request = request->number;
    event.of.queue_size.name = message->body.queue_qsize.name;
    ask_core(node, request, &event);
}

/* ---- variables --------------------------------------------------------------------------------- */

void rpc_variable_set(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_variable_set *m = &message->body.variable_set;
    struct event event = event_of(EVENT_VARIABLE_SET);
    struct event_variable_set *of = &event.of.variable_set;
    of->request = request->number;
    of->name = m->name;
    of->key = m->key;
    if (read_deadline(node, request, m->timeout, &of->deadline) &&
        read_item(request, m->key, &m->data, &of->data)) {
        ask_core(node, request, &event);
        blob_unref(of->data);
    }
}

void rpc_variable_get(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_variable_get *m = &message->body.variable_get;
    struct event event = event_of(EVENT_VARIABLE_GET);
    event.of.variable_get.request = request->number;
    event.of.variable_get.name = m->name;
    event.of.variable_get.client_name = m->client;
    if (read_deadline(node, request, m->timeout, &event.of.variable_get.deadline)) {
        ask_core(node, request, &event);
    }
}
