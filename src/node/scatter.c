/* scatter.c: a client's data put on workers, dealt out in turn; then perhaps replicated.
 * Source: distributed scheduler.py scatter, utils_comm.py scatter_to_workers. */
#include <math.h>

#include "base/alloc.h"
#include "node/fanout.h"
#include "node/lifecycle.h"
#include "node/replicate.h"
#include "node/topics.h"
#include "node/values.h"

#define POLL_SECONDS 0.1 /* as stock */

struct item {
    struct span key; /* in the scatter's arena */
    struct blob *value;
    worker_id worker;
    int64_t nbytes; /* −1 unknown */
};

struct scatter {
    struct node *node;
    uint64_t request;
    struct arena arena;
    struct item *items;
    uint32_t count;
    struct span client;  /* name; size 0: none */
    struct span workers; /* as asked for, raw; data NULL: any */
    worker_id *chosen;   /* by address */
    uint32_t chosen_count;
    int64_t copies; /* 0: no broadcast; −1: one on each */
    double deadline;
};

static void scatter_free(struct scatter *scatter)
{
    for (uint32_t i = 0; i < scatter->count; i++) {
        blob_unref(scatter->items[i].value);
    }
    arena_fini(&scatter->arena);
    mem_free(scatter);
}

static struct request *request_of(struct scatter *scatter)
{
    return request_find(&scatter->node->server, scatter->request);
}

/* ---- the end ----------------------------------------------------------------------------------- */

/* {"action": "scatter", "client": …, "count": …} to the client's topic and to "all". */
static void log_scatter(struct scatter *scatter)
{
    struct text event = {0}, client = {0};
    msgpack_write_map(&event, 3);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "scatter");
    msgpack_write_cstr(&event, "client");
    msgpack_write_str(&event, scatter->client);
    msgpack_write_cstr(&event, "count");
    msgpack_write_uint(&event, scatter->count);
    text_add(&client, scatter->client);
    topics_log_value(scatter->node->topics, text_cstr(&client), text_span(&event));
    topics_log_value(scatter->node->topics, "all", text_span(&event));
    text_fini(&event);
    text_fini(&client);
}

static void finish(struct scatter *scatter)
{
    struct outgoing answer;
    outgoing_init(&answer);
    log_scatter(scatter);
    msgpack_write_array(&answer.head, scatter->count);
    for (uint32_t i = 0; i < scatter->count; i++) {
        msgpack_write_raw(&answer.head, scatter->items[i].key);
    }
    request_reply(request_of(scatter), &answer);
    outgoing_fini(&answer);
    scatter_free(scatter);
}

static void replicated(void *user, const struct replicate_outcome *outcome)
{
    struct scatter *scatter = user;
    if (!outcome->has_workers || !outcome->is_known) {
        replicate_reply(request_of(scatter), outcome);
        scatter_free(scatter);
    } else {
        finish(scatter); /* copies that could not be made do not fail a scatter */
    }
}

/* ---- the data is there ------------------------------------------------------------------------- */

/* The core learns where the data is. False: a worker left in between, with what it was given. */
static bool tell_core(struct scatter *scatter)
{
    struct node *node = scatter->node;
    struct span *keys = arena_array(&scatter->arena, struct span, scatter->count);
    worker_id *holders = arena_array(&scatter->arena, worker_id, scatter->count);
    int64_t *sizes = arena_array(&scatter->arena, int64_t, scatter->count);
    for (uint32_t i = 0; i < scatter->count; i++) {
        if (view_worker_address(node->core, scatter->items[i].worker).size == 0) {
            return false;
        }
        keys[i] = scatter->items[i].key;
        holders[i] = scatter->items[i].worker;
        sizes[i] = scatter->items[i].nbytes;
    }
    struct event event = event_of(EVENT_DATA_PLACED);
    event.of.data_placed.client =
        scatter->client.size == 0 ? CLIENT_NONE : view_client_find(node->core, scatter->client);
    event.of.data_placed.keys = (struct span_list){keys, scatter->count};
    event.of.data_placed.holders = (struct worker_list){holders, scatter->count};
    event.of.data_placed.sizes = (struct size_list){sizes, scatter->count};
    node_apply(node, &event);
    return true;
}

/* {"nbytes": {key: size}, "status": "OK"} */
static void read_sizes(struct scatter *scatter, const struct map *by_key,
                       const struct fanout_reply *reply)
{
    struct msgpack_reader reader = msgpack_reader(fanout_field(reply, "nbytes"));
    uint32_t count;
    struct span key;
    int64_t size;
    if (msgpack_at_end(&reader) || msgpack_read_map(&reader, &count) != OK) {
        return; /* sizes stay unknown */
    }
    for (uint32_t i = 0; i < count; i++) {
        if (key_read(&reader, &scatter->arena, &key) != OK ||
            msgpack_read_int(&reader, &size) != OK) {
            return;
        }
        struct map_entry *entry = map_find(by_key, key);
        if (entry != NULL && size >= 0) {
            scatter->items[entry->value.number].nbytes = size;
        }
    }
}

static void placed(struct fanout *fanout)
{
    struct scatter *scatter = fanout->user;
    const struct fanout_reply *failed = fanout_first_failed(fanout);
    if (failed != NULL) {
        fanout_raise(request_of(scatter), failed);
        scatter_free(scatter);
        return;
    }
    struct map by_key = {0};
    for (uint32_t i = 0; i < scatter->count; i++) {
        map_put(&by_key, scatter->items[i].key, NULL)->value.number = i;
    }
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        read_sizes(scatter, &by_key, fanout->replies.items[i]);
    }
    map_fini(&by_key);
    if (!tell_core(scatter)) {
        request_raise_builtin(request_of(scatter), "OSError",
                              "a worker left while data was scattered to it");
        scatter_free(scatter);
        return;
    }
    if (scatter->copies == 0) {
        finish(scatter);
        return;
    }
    struct span *keys = arena_array(&scatter->arena, struct span, scatter->count);
    for (uint32_t i = 0; i < scatter->count; i++) {
        keys[i] = scatter->items[i].key;
    }
    struct replicate_options options = {
        .keys = {keys, scatter->count},
        .workers = scatter->chosen,
        .worker_count = scatter->chosen_count,
        .n = scatter->copies,
        .branching = 2,
        .delete_surplus = true,
    };
    replicate(scatter->node, &options, replicated, scatter);
}

/* ---- dealing it out ---------------------------------------------------------------------------- */

/* update_data of one worker's share; nothing if it has none. */
static void send_share(struct scatter *scatter, struct fanout *fanout, worker_id worker)
{
    struct outgoing out;
    uint32_t count = 0;
    for (uint32_t i = 0; i < scatter->count; i++) {
        count += scatter->items[i].worker == worker;
    }
    if (count == 0) {
        return;
    }
    outgoing_init(&out);
    msgpack_write_map(&out.head, 3);
    msgpack_write_cstr(&out.head, "op");
    msgpack_write_cstr(&out.head, "update_data");
    msgpack_write_cstr(&out.head, "data");
    msgpack_write_map(&out.head, count);
    for (uint32_t i = 0; i < scatter->count; i++) {
        if (scatter->items[i].worker == worker) {
            msgpack_write_raw(&out.head, scatter->items[i].key);
            payload_put(&out, scatter->items[i].value);
        }
    }
    msgpack_write_cstr(&out.head, "reply");
    msgpack_write_bool(&out.head, true);
    struct span address = view_worker_address(scatter->node->core, worker);
    fanout_call(fanout, address, address, &out, 0);
    outgoing_fini(&out);
}

static void deal(struct scatter *scatter)
{
    struct node *node = scatter->node;
    struct fanout *fanout = fanout_create(node, placed, scatter);
    for (uint32_t i = 0; i < scatter->count; i++) {
        scatter->items[i].worker =
            scatter->chosen[(node->scatter_turn + i) % scatter->chosen_count];
    }
    node->scatter_turn += scatter->count; /* the next one goes on where this one ends */
    for (uint32_t i = 0; i < scatter->chosen_count; i++) {
        send_share(scatter, fanout, scatter->chosen[i]);
    }
    fanout_go(fanout);
}

/* The running workers of those asked for, sorted by address as the core keeps them. */
static void choose_workers(struct scatter *scatter)
{
    struct node *node = scatter->node;
    uint32_t known = view_worker_count(node->core);
    bool given;
    struct worker_list asked = values_workers(node, scatter->workers, &given);
    scatter->chosen = arena_array(&scatter->arena, worker_id, known);
    scatter->chosen_count = 0;
    for (uint32_t i = 0; i < known; i++) {
        struct worker_view view;
        bool is_known = view_worker(node->core, view_worker_at(node->core, i), &view),
             is_asked = !given;
        ASSERT(is_known);
        for (uint32_t j = 0; !is_asked && j < asked.count; j++) {
            is_asked = asked.items[j] == view.id;
        }
        if (is_asked && view.status == WORKER_RUNNING) {
            scatter->chosen[scatter->chosen_count++] = view.id;
        }
    }
}

/* Wait for a worker, but not longer than was asked. */
static void begin(void *user)
{
    struct scatter *scatter = user;
    choose_workers(scatter);
    if (scatter->chosen_count > 0) {
        deal(scatter);
    } else if (io_monotonic() > scatter->deadline || scatter->node->is_closing) {
        request_raise_builtin(request_of(scatter), "TimeoutError", "No valid workers found");
        scatter_free(scatter);
    } else {
        lifecycle_pause(scatter->node, POLL_SECONDS, begin, scatter);
    }
}

/* ---- the RPC ----------------------------------------------------------------------------------- */

/* {key: value}; false: malformed. */
static bool take_items(struct scatter *scatter, struct request *request, struct span data)
{
    struct msgpack_reader reader = msgpack_reader(data);
    uint32_t count;
    struct span key, value;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    scatter->items = arena_array(&scatter->arena, struct item, count);
    for (uint32_t i = 0; i < count; i++) {
        struct item *item = &scatter->items[i];
        if (key_read(&reader, &scatter->arena, &key) != OK ||
            msgpack_read_value(&reader, &value) != OK ||
            payload_take(&request->message, value, &item->value) != OK) {
            return false;
        }
        item->key = arena_copy(&scatter->arena, key);
        item->worker = WORKER_NONE;
        item->nbytes = -1;
        scatter->count++;
    }
    return true;
}

/* false, true, or a number of copies. */
static int64_t read_broadcast(struct span raw)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    bool yes;
    int64_t copies;
    if (msgpack_is_nil(raw)) {
        return 0;
    }
    if (msgpack_read_bool(&reader, &yes) == OK) {
        return yes ? -1 : 0;
    }
    return msgpack_read_int(&reader, &copies) == OK && copies > 0 ? copies : 0;
}

void rpc_scatter(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_scatter *m = &message->body.scatter;
    struct scatter *scatter = mem_zalloc(1, sizeof *scatter);
    arena_init(&scatter->arena);
    scatter->node = node;
    scatter->request = request->number;
    if (!take_items(scatter, request, m->data.raw)) {
        request_raise_builtin(request, "TypeError", "data must be a map of keys to values");
        scatter_free(scatter);
        return;
    }
    scatter->client = arena_copy(&scatter->arena, m->client);
    scatter->copies = read_broadcast(m->broadcast);
    scatter->deadline = io_monotonic() + (isnan(m->timeout) ? 0 : m->timeout);
    if (!msgpack_is_nil(m->workers)) {
        scatter->workers = arena_copy(&scatter->arena, m->workers);
    }
    if (scatter->count == 0) {
        finish(scatter);
    } else {
        begin(scatter);
    }
}
