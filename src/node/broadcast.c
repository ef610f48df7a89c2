/* broadcast.c: one call to many workers or nannies. */
#include "node/broadcast.h"

#include "node/fanout.h"
#include "wire/pickle_make.h"

/* The map with fields added at its end, where they win over equal ones before. */
static struct blob *with_control(const struct blob *map, struct span serializers)
{
    struct msgpack_reader reader = msgpack_reader(slice_span(map->value));
    uint32_t count;
    int code = msgpack_read_map(&reader, &count);
    ASSERT(code == OK); /* callers checked it */
    struct text text = {0};
    msgpack_write_map(&text, count + (serializers.size > 0 ? 2 : 1));
    msgpack_write_raw(&text, span_of(reader.at, (size_t)(reader.end - reader.at)));
    msgpack_write_cstr(&text, "reply");
    msgpack_write_bool(&text, true);
    if (serializers.size > 0) {
        msgpack_write_cstr(&text, "serializers");
        msgpack_write_raw(&text, serializers);
    }
    struct blob *blob = blob_create(slice_copy(text_span(&text)), map->frame_count);
    for (uint32_t i = 0; i < map->frame_count; i++) {
        blob->frames[i] = slice_ref(map->frames[i]);
    }
    text_fini(&text);
    return blob;
}

void broadcast_call(struct fanout *fanout, struct span address, struct span worker,
                    const struct blob *map, struct span serializers)
{
    struct blob *call = with_control(map, serializers);
    struct outgoing request;
    outgoing_init(&request);
    payload_put(&request, call);
    fanout_call(fanout, address, worker, &request, 0);
    outgoing_fini(&request);
    blob_unref(call);
}

void broadcast_to_all(struct fanout *fanout, const struct blob *map, bool nanny,
                      struct span serializers)
{
    struct node *node = fanout->node;
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        struct worker_view view;
        bool is_known = view_worker(node->core, view_worker_at(node->core, i), &view);
        ASSERT(is_known);
        if (!nanny || view.nanny.size > 0) {
            broadcast_call(fanout, nanny ? view.nanny : view.address, view.address, map,
                           serializers);
        }
    }
}

void *broadcast_user(const struct request *request)
{
    return (void *)(uintptr_t)request->number;
}

void broadcast_reply(struct fanout *fanout)
{
    struct request *request = request_find(&fanout->node->server, (uintptr_t)fanout->user);
    const struct fanout_reply *failed = fanout_first_failed(fanout);
    if (failed != NULL) {
        fanout_raise(request, failed);
        return;
    }
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, fanout->replies.count);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        msgpack_write_str_lossy(&answer.head, fanout->replies.items[i]->worker);
        payload_put(&answer, fanout->replies.items[i]->answer);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* ---- the RPC: any call, to any of them ---------------------------------------------------------- */

enum on_error {
    ON_ERROR_RAISE,
    ON_ERROR_RETURN,
    ON_ERROR_RETURN_PICKLE,
    ON_ERROR_IGNORE,
    ON_ERROR_COUNT
};

static const char *const on_error_names[ON_ERROR_COUNT] = {"raise", "return", "return_pickle",
                                                           "ignore"};

struct broadcast {
    uint64_t request;
    enum on_error on_error;
};

static bool find_on_error(struct span name, enum on_error *out)
{
    *out = ON_ERROR_RAISE;
    if (name.data == NULL) {
        return true;
    }
    for (int i = 0; i < ON_ERROR_COUNT; i++) {
        if (span_equal_text(name, on_error_names[i])) {
            *out = (enum on_error)i;
            return true;
        }
    }
    return false;
}

/* A failed call as the exception it would have raised: an object, or its pickle as bytes. */
static void write_exception(struct outgoing *answer, const struct fanout_reply *reply,
                            bool as_bytes)
{
    struct fanout_exception e = fanout_exception(reply);
    struct text pickle = {0};
    pickle_make_exception(&pickle, e.module, e.name, e.text);
    if (as_bytes) {
        msgpack_write_bin(&answer->head, text_span(&pickle));
    } else {
        struct blob *blob = payload_pickled(text_span(&pickle));
        payload_put(answer, blob);
        blob_unref(blob);
    }
    text_fini(&pickle);
}

static void broadcast_done(struct fanout *fanout)
{
    const struct broadcast *broadcast = fanout->user;
    struct request *request = request_find(&fanout->node->server, broadcast->request);
    const struct fanout_reply *failed = fanout_first_failed(fanout);
    if (failed != NULL && broadcast->on_error == ON_ERROR_RAISE) {
        fanout_raise(request, failed);
        return;
    }
    uint32_t shown = 0;
    struct outgoing answer;
    outgoing_init(&answer);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        shown += broadcast->on_error != ON_ERROR_IGNORE || !fanout_failed(fanout->replies.items[i]);
    }
    msgpack_write_map(&answer.head, shown);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        bool is_failed = fanout_failed(reply);
        if (is_failed && broadcast->on_error == ON_ERROR_IGNORE) {
            continue;
        }
        msgpack_write_str_lossy(&answer.head, reply->worker);
        if (is_failed) {
            write_exception(&answer, reply, broadcast->on_error == ON_ERROR_RETURN_PICKLE);
        } else {
            payload_put(&answer, reply->answer);
        }
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* Call one of the workers given; an address that no worker has is called all the same, as stock does. */
static void call_given(struct fanout *fanout, struct span address, const struct blob *map,
                       bool nanny, struct span serializers)
{
    struct worker_view view = {0};
    view_worker(fanout->node->core, view_worker_by_address(fanout->node->core, address), &view);
    if (!nanny) {
        broadcast_call(fanout, address, address, map, serializers);
    } else if (view.nanny.size > 0) {
        broadcast_call(fanout, view.nanny, address, map, serializers);
    }
}

/* Each str of a list (or set). False: malformed. */
static bool call_list(struct fanout *fanout, struct span list, const struct blob *map,
                      const struct msg_broadcast *m, struct span serializers)
{
    struct span items, address;
    uint32_t count;
    if (msgpack_find(list, "as-list", &items) == OK) {
        list = items;
    }
    struct msgpack_reader reader = msgpack_reader(list);
    if (msgpack_read_array(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(&reader, &address) != OK) {
            return false;
        }
        call_given(fanout, address, map, m->nanny, serializers);
    }
    return true;
}

static bool is_wanted_host(struct span hosts, struct span host)
{
    struct msgpack_reader reader = msgpack_reader(hosts);
    uint32_t count;
    struct span name;
    bool is_wanted = false;
    if (msgpack_read_array(&reader, &count) == OK) {
        for (uint32_t i = 0; !is_wanted && i < count && msgpack_read_str(&reader, &name) == OK;
             i++) {
            is_wanted = span_equal(name, host);
        }
    }
    return is_wanted;
}

static void call_hosts(struct fanout *fanout, const struct blob *map, const struct msg_broadcast *m,
                       struct span serializers)
{
    struct node *node = fanout->node;
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        struct worker_view view;
        bool is_known = view_worker(node->core, view_worker_at(node->core, i), &view);
        ASSERT(is_known);
        if (is_wanted_host(m->hosts, view.host)) {
            call_given(fanout, view.address, map, m->nanny, serializers);
        }
    }
}

/* The inner call as a blob: a map with an op. NULL: the exception is raised. */
static struct blob *take_call(struct request *request, struct span raw)
{
    struct blob *map;
    struct span op;
    if (msgpack_find(raw, "op", &op) != OK) {
        request_raise_builtin(request, "TypeError", "msg must be a map with an op");
        return NULL;
    }
    if (payload_take(&request->message, raw, &map) != OK) {
        request_raise_builtin(request, "ValueError", "msg is malformed");
        return NULL;
    }
    return map;
}

void rpc_broadcast(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_broadcast *m = &message->body.broadcast;
    enum on_error on_error;
    if (!find_on_error(m->on_error, &on_error)) {
        request_raise_builtin(
            request, "ValueError",
            "on_error must be 'raise', 'return', 'return_pickle', or 'ignore'; got '%.*s'",
            (int)m->on_error.size, (const char *)m->on_error.data);
        return;
    }
    struct blob *map = take_call(request, m->msg.raw);
    if (map == NULL) {
        return;
    }
    struct fanout *fanout = fanout_create(node, broadcast_done, NULL);
    struct broadcast *broadcast = arena_new(&fanout->arena, struct broadcast);
    *broadcast = (struct broadcast){request->number, on_error};
    fanout->user = broadcast;
    bool is_fine = true;
    if (!msgpack_is_nil(m->workers)) {
        is_fine = call_list(fanout, m->workers, map, m, request->serializers);
    } else if (msgpack_is_nil(m->hosts)) {
        broadcast_to_all(fanout, map, m->nanny, request->serializers);
    }
    if (!msgpack_is_nil(m->hosts)) {
        call_hosts(fanout, map, m, request->serializers);
    }
    if (!is_fine) {
        request_raise_builtin(request, "TypeError", "workers must be a list of addresses");
        fanout->done = fanout_ignore; /* some are called already; nobody waits for them */
    }
    fanout_go(fanout);
    blob_unref(map);
}

/* ---- the RPC: one call, to one worker ----------------------------------------------------------- */

static void proxy_done(struct fanout *fanout)
{
    struct request *request = request_find(&fanout->node->server, (uintptr_t)fanout->user);
    const struct fanout_reply *reply = fanout->replies.items[0];
    if (fanout_failed(reply)) {
        fanout_raise(request, reply);
    } else {
        request_reply_blob(request, reply->answer);
    }
}

void rpc_proxy(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_proxy *m = &message->body.proxy;
    struct blob *map = take_call(request, m->msg.raw);
    if (map != NULL) {
        struct fanout *fanout = fanout_create(node, proxy_done, broadcast_user(request));
        broadcast_call(fanout, m->worker, m->worker, map, request->serializers);
        fanout_go(fanout);
        blob_unref(map);
    }
}
