/* task_records.c: see task_records.h. */
#include "node/task_records.h"

#include "base/map.h"
#include "node/broadcast.h"
#include "node/fanout.h"
#include "wire/outgoing.h"

#define ASKED_MAX 16u
#define OUTPUT_BYTES 4096
#define ASK_SECONDS 5.0

bool task_records_are_kept(const struct node *node, worker_id worker)
{
    struct worker_view view;
    struct span raw;
    return view_worker(node->core, worker, &view) && view.extra != NULL &&
           msgpack_find(slice_span(view.extra->value), "cask-task-records", &raw) == OK;
}

void task_records_call(struct outgoing *call, struct key_list keys)
{
    struct msg_worker_task_records body;
    message_defaults(MESSAGE_WORKER_TASK_RECORDS, &body);
    body.keys = keys;
    body.output_max = OUTPUT_BYTES;
    message_encode(call, MESSAGE_WORKER_TASK_RECORDS, &body);
}

/* {worker: its records}, of those that answered. */
static void attempts_done(struct fanout *fanout)
{
    struct request *request = request_find(&fanout->node->server, (uintptr_t)fanout->user);
    struct outgoing answer;
    uint32_t count = 0;
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        count += !fanout_failed(fanout->replies.items[i]);
    }
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, count);
    for (uint32_t i = 0; i < fanout->replies.count; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        if (!fanout_failed(reply)) {
            msgpack_write_str_lossy(&answer.head, reply->worker);
            payload_put(&answer, reply->answer);
        }
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

static void ask_worker(struct fanout *fanout, struct map *asked, worker_id worker,
                       struct key_list keys)
{
    struct span address = view_worker_address(fanout->node->core, worker);
    if (asked->count < ASKED_MAX && map_find(asked, address) == NULL &&
        task_records_are_kept(fanout->node, worker)) {
        struct outgoing call;
        map_put(asked, address, NULL);
        outgoing_init(&call);
        task_records_call(&call, keys);
        fanout_call(fanout, address, address, &call, ASK_SECONDS);
        outgoing_fini(&call);
    }
}

void rpc_task_attempts(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.task_attempts.keys, rest = keys;
    struct msgpack_reader reader = msgpack_reader(message->body.task_attempts.workers);
    uint32_t count;
    if (msgpack_read_array(&reader, &count) != OK) {
        request_raise_builtin(request, "TypeError", "workers must be a list of addresses");
        return;
    }
    struct fanout *fanout = fanout_create(node, attempts_done, broadcast_user(request));
    struct map asked = {0};
    struct span address, key;
    for (uint32_t i = 0; i < count && msgpack_read_str(&reader, &address) == OK; i++) {
        ask_worker(fanout, &asked, view_worker_by_address(node->core, address), keys);
    }
    while (key_list_next(&rest, &key)) {
        const struct task *task = view_task_find(node->core, key);
        struct task_view view = {0};
        if (task != NULL) {
            view_task(node->core, task, &view);
            ask_worker(fanout, &asked, view.processing_on, keys);
        }
    }
    map_fini(&asked);
    fanout_go(fanout);
}
