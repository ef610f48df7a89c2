/* replicas.c: copies and deletions of replicas by RPC. One call for each worker, with all its keys. */
#include "node/replicas.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/fanout.h"
#include "node/topics.h"

#define LOGGER "distributed.scheduler"

struct replicas *replicas_create(struct node *node, void (*done)(struct replicas *replicas),
                                 void *user)
{
    struct replicas *replicas = mem_zalloc(1, sizeof *replicas);
    arena_init(&replicas->arena);
    replicas->node = node;
    replicas->done = done;
    replicas->user = user;
    return replicas;
}

void replicas_add(struct replicas *replicas, worker_id worker, worker_id sender, struct span key)
{
    vec_push(&replicas->items,
             (struct replica){worker, sender, arena_copy(&replicas->arena, key), false});
}

static void finish(struct replicas *replicas)
{
    replicas->done(replicas);
    vec_fini(&replicas->items);
    arena_fini(&replicas->arena);
    mem_free(replicas);
}

/* The workers of the order, each once, in order of appearance; count in *out_count. */
static worker_id *workers_of(struct replicas *replicas, uint32_t *out_count)
{
    worker_id *workers = arena_array(&replicas->arena, worker_id, replicas->items.count);
    struct map seen = {0};
    *out_count = 0;
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        bool is_new;
        map_put(&seen, span_of(&replicas->items.items[i].worker, sizeof(worker_id)), &is_new);
        if (is_new) {
            workers[(*out_count)++] = replicas->items.items[i].worker;
        }
    }
    map_fini(&seen);
    return workers;
}

/* The keys of one worker, those that worked or all. */
static struct span_list keys_of(struct replicas *replicas, worker_id worker, bool done_only)
{
    struct span *keys = arena_array(&replicas->arena, struct span, replicas->items.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        const struct replica *replica = &replicas->items.items[i];
        if (replica->worker == worker && (replica->is_done || !done_only)) {
            keys[count++] = replica->key;
        }
    }
    return (struct span_list){keys, count};
}

static void log_event(struct node *node, worker_id worker, const struct text *event)
{
    struct blob *blob = payload_value(text_span(event));
    topics_log(node->topics, node_worker_name(node, worker), blob);
    blob_unref(blob);
}

static void write_keys(struct text *out, struct span_list keys)
{
    msgpack_write_array(out, keys.count);
    for (uint32_t i = 0; i < keys.count; i++) {
        msgpack_write_raw(out, keys.items[i]);
    }
}

/* Who answered: the worker is known by its place in the order of calls. */
static worker_id worker_of(struct replicas *replicas, const struct fanout_reply *reply)
{
    return view_worker_by_address(replicas->node->core, reply->worker);
}

static void warn_failed(const struct fanout_reply *reply)
{
    struct fanout_exception e = fanout_exception(reply);
    log_warning(LOGGER, "Communication with worker %.*s failed during replication: %s: %.*s",
                (int)reply->worker.size, (const char *)reply->worker.data, e.name, (int)e.text.size,
                (const char *)e.text.data);
}

/* ---- copies ------------------------------------------------------------------------------------ */

static void write_holders(struct node *node, struct text *out, const struct replica *replica)
{
    struct task_view view = {0};
    const struct task *task = view_task_find(node->core, replica->key);
    if (replica->sender != WORKER_NONE) {
        msgpack_write_array(out, 1);
        msgpack_write_str(out, view_worker_address(node->core, replica->sender));
        return;
    }
    if (task != NULL) {
        view_task(node->core, task, &view);
    }
    msgpack_write_array(out, view.holder_count);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        msgpack_write_str(out,
                          view_worker_address(node->core, view_task_holder(node->core, task, i)));
    }
}

/* {key: [address]} of one worker's items. */
static void write_who_has(struct replicas *replicas, worker_id worker, struct text *out)
{
    struct text pairs = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        const struct replica *replica = &replicas->items.items[i];
        if (replica->worker == worker) {
            msgpack_write_raw(&pairs, replica->key);
            write_holders(replicas->node, &pairs, replica);
            count++;
        }
    }
    msgpack_write_map(out, count);
    msgpack_write_raw(out, text_span(&pairs));
    text_fini(&pairs);
}

static void log_copies(struct replicas *replicas, worker_id worker)
{
    struct text event = {0};
    msgpack_write_map(&event, 2);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, replicas->action);
    msgpack_write_cstr(&event, "who_has");
    write_who_has(replicas, worker, &event);
    log_event(replicas->node, worker, &event);
    text_fini(&event);
}

/* All of the worker's items worked, but for the keys it names. */
static void mark_copied(struct replicas *replicas, worker_id worker,
                        const struct fanout_reply *reply)
{
    struct key_list failed = {0};
    struct map names = {0};
    struct span keys = fanout_field(reply, "keys"), status = fanout_field(reply, "status"), key;
    struct msgpack_reader reader = msgpack_reader(keys);
    bool is_ok = span_equal(status, SPAN("\xa2OK"));
    if (!is_ok && (keys.data == NULL || key_list_read(&reader, &replicas->arena, &failed) != OK)) {
        log_warning(LOGGER, "Worker %.*s gave no usable answer to a copy", (int)reply->worker.size,
                    (const char *)reply->worker.data);
        return;
    }
    while (key_list_next(&failed, &key)) {
        map_put(&names, key, NULL);
    }
    if (names.count > 0) {
        log_warning(LOGGER, "Worker %.*s failed to acquire %u keys", (int)reply->worker.size,
                    (const char *)reply->worker.data, names.count);
    }
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        struct replica *replica = &replicas->items.items[i];
        if (replica->worker == worker) {
            replica->is_done = map_find(&names, replica->key) == NULL;
        }
    }
    map_fini(&names);
}

static void copied(struct fanout *fanout)
{
    struct replicas *replicas = fanout->user;
    struct node *node = replicas->node;
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        worker_id worker = worker_of(replicas, reply);
        if (fanout_failed(reply)) {
            warn_failed(reply);
        } else if (worker == WORKER_NONE) {
            log_warning(LOGGER, "Worker %.*s lost during replication", (int)reply->worker.size,
                        (const char *)reply->worker.data);
        } else {
            mark_copied(replicas, worker, reply);
            struct event event = event_of(EVENT_ADD_KEYS);
            event.of.add_keys.worker = worker;
            event.of.add_keys.keys = keys_of(replicas, worker, true);
            node_apply(node, &event);
        }
        if (worker != WORKER_NONE) {
            log_copies(replicas, worker);
        }
    }
    finish(replicas);
}

void replicas_copy(struct replicas *replicas, const char *action)
{
    struct node *node = replicas->node;
    struct fanout *fanout = fanout_create(node, copied, replicas);
    uint32_t count;
    worker_id *workers = workers_of(replicas, &count);
    replicas->action = action;
    for (uint32_t i = 0; i < count; i++) {
        struct text who_has = {0};
        struct outgoing out;
        outgoing_init(&out);
        write_who_has(replicas, workers[i], &who_has);
        struct msg_worker_gather call = {.who_has = text_span(&who_has)};
        message_encode(&out, MESSAGE_WORKER_GATHER, &call);
        struct span address = view_worker_address(node->core, workers[i]);
        fanout_call(fanout, address, address, &out, 0);
        outgoing_fini(&out);
        text_fini(&who_has);
    }
    fanout_go(fanout);
}

/* ---- deletions --------------------------------------------------------------------------------- */

static void log_deletions(struct node *node, worker_id worker, struct span_list keys)
{
    struct text event = {0};
    msgpack_write_map(&event, 2);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "remove-worker-data");
    msgpack_write_cstr(&event, "keys");
    write_keys(&event, keys);
    log_event(node, worker, &event);
    text_fini(&event);
}

static void mark_deleted(struct replicas *replicas, worker_id worker)
{
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        struct replica *replica = &replicas->items.items[i];
        replica->is_done = replica->is_done || replica->worker == worker;
    }
}

static void deleted(struct fanout *fanout)
{
    struct replicas *replicas = fanout->user;
    struct node *node = replicas->node;
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        worker_id worker = worker_of(replicas, reply);
        if (fanout_failed(reply)) {
            warn_failed(reply);
        } else if (worker != WORKER_NONE) {
            mark_deleted(replicas, worker);
            struct event event = event_of(EVENT_REPLICA_DELETED);
            event.of.replica_deleted.worker = worker;
            event.of.replica_deleted.keys = keys_of(replicas, worker, true);
            node_apply(node, &event);
            log_deletions(node, worker, event.of.replica_deleted.keys);
        }
    }
    finish(replicas);
}

void replicas_delete(struct replicas *replicas)
{
    struct node *node = replicas->node;
    struct fanout *fanout = fanout_create(node, deleted, replicas);
    uint32_t count;
    worker_id *workers = workers_of(replicas, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct span_list keys = keys_of(replicas, workers[i], false);
        struct text list = {0};
        struct outgoing out;
        outgoing_init(&out);
        for (uint32_t j = 0; j < keys.count; j++) {
            text_add(&list, keys.items[j]);
        }
        struct msg_worker_free_keys call = {
            .keys = {text_span(&list), keys.count, true},
            .stimulus_id = node_stimulus(node, "delete-data"),
        };
        message_encode(&out, MESSAGE_WORKER_FREE_KEYS, &call);
        struct span address = view_worker_address(node->core, workers[i]);
        fanout_call(fanout, address, address, &out, 0);
        outgoing_fini(&out);
        text_fini(&list);
    }
    fanout_go(fanout);
}

void replicas_reply_partial_fail(struct request *request, struct span_list keys)
{
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 2);
    msgpack_write_cstr(&answer.head, "status");
    msgpack_write_cstr(&answer.head, "partial-fail");
    msgpack_write_cstr(&answer.head, "keys");
    write_keys(&answer.head, keys);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}
