/* rpc_state.c: the whole state as data: dumps for people, tables for the planner; and the planner's messages to
 * workers and clients.
 * Source: distributed scheduler.py get_cluster_state, _to_dict; core.py Server._to_dict; docs/planner.md. */
#include <pthread.h>

#include "node/broadcast.h"
#include "node/fanout.h"
#include "node/planner_view.h"
#include "node/planner_view_values.h"
#include "node/topics.h"
#include "node/versions.h"

/* ---- dumps ------------------------------------------------------------------------------------- */

/* The names in `exclude`: a list or set of strs; anything else names nothing. In the scratch arena. */
static struct span_list read_exclude(struct node *node, struct span raw)
{
    struct span list = raw, *names;
    uint32_t count = 0, kept = 0;
    if (raw.data != NULL && msgpack_find(raw, "as-list", &list) != OK) {
        list = raw;
    }
    struct msgpack_reader reader = msgpack_reader(list);
    if (list.data == NULL || msgpack_read_array(&reader, &count) != OK) {
        return (struct span_list){0};
    }
    names = arena_array(&node->scratch, struct span, count);
    while (kept < count && msgpack_read_str(&reader, &names[kept]) == OK) {
        kept++;
    }
    return (struct span_list){names, kept};
}

/* A map whose pairs are written one by one, those excluded left out. */
struct dump {
    struct node *node;
    struct span_list exclude;
    struct outgoing pairs;
    uint32_t count;
};

/* The next pair is wanted: its name is written. */
static bool wants(struct dump *dump, const char *name)
{
    if (planner_view_excludes(dump->exclude, name)) {
        return false;
    }
    dump->count++;
    msgpack_write_cstr(&dump->pairs.head, name);
    return true;
}

static void dump_str(struct dump *dump, const char *name, struct span value)
{
    if (wants(dump, name)) {
        msgpack_write_str(&dump->pairs.head, value);
    }
}

static void dump_uint(struct dump *dump, const char *name, uint64_t value)
{
    if (wants(dump, name)) {
        msgpack_write_uint(&dump->pairs.head, value);
    }
}

static void dump_table(struct dump *dump, const char *name, const char *table)
{
    if (wants(dump, name)) {
        planner_view_dump(dump->node, table, dump->exclude, &dump->pairs.head);
    }
}

static void dump_self(struct dump *dump, const struct totals_view *totals)
{
    struct node *node = dump->node;
    dump_str(dump, "type", SPAN("Scheduler"));
    dump_str(dump, "id", text_span(&node->id));
    dump_str(dump, "address", text_span(&node->server.address));
    if (wants(dump, "services")) {
        msgpack_write_map(&dump->pairs.head, 0);
    }
    if (wants(dump, "started")) {
        msgpack_write_float(&dump->pairs.head, node->started);
    }
    dump_uint(dump, "n_workers", totals->worker_count);
    dump_uint(dump, "total_threads", totals->nthreads);
    dump_uint(dump, "total_memory", (uint64_t)totals->memory_limit);
    dump_str(dump, "status", node->is_closing ? SPAN("closing") : SPAN("running"));
    dump_uint(dump, "thread_id", (uint64_t)pthread_self());
    dump_uint(dump, "transition_counter", totals->transition_count);
}

/* Append the scheduler's own state. */
static void put_dump(struct node *node, struct span_list exclude, struct text *head)
{
    struct totals_view totals;
    view_totals(node->core, &totals);
    struct dump dump = {.node = node, .exclude = exclude};
    outgoing_init(&dump.pairs);
    dump_self(&dump, &totals);
    dump_table(&dump, "workers", "workers");
    dump_table(&dump, "tasks", "tasks");
    dump_table(&dump, "task_groups", "groups");
    dump_table(&dump, "clients", "clients");
    if (wants(&dump, "transition_log")) {
        planner_view_story(node, true, &dump.pairs);
    }
    const struct view_writer writer = {node, &dump.pairs, true};
    if (wants(&dump, "memory")) {
        view_put_memory(&writer, &totals.memory);
    }
    if (wants(&dump, "events")) {
        topics_dump(node->topics, &writer);
    }
    if (wants(&dump, "extensions")) {
        msgpack_write_map(&dump.pairs.head, 0);
    }
    msgpack_write_map(head, dump.count);
    msgpack_write_raw(head, text_span(&dump.pairs.head));
    outgoing_fini(&dump.pairs);
}

void rpc_dump_state(struct node *node, struct request *request, const struct message *message)
{
    struct outgoing answer;
    outgoing_init(&answer);
    put_dump(node, read_exclude(node, message->body.dump_state.exclude), &answer.head);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}

/* ---- the cluster's state: our dump, the workers', everybody's versions --------------------------- */

struct cluster_dump {
    uint64_t request;
    struct text scheduler; /* our own part, of the moment of the question */
    uint32_t dumps;        /* the first calls ask for dumps, as many others for versions */
};

/* Workers' answers, [from, to) of the calls; a failure is shown as text, or left out. */
static void put_answers(struct fanout *fanout, uint32_t from, uint32_t to, bool show_failed,
                        struct outgoing *out)
{
    uint32_t count = 0;
    for (uint32_t i = from; i < to; i++) {
        count += show_failed || !fanout_failed(fanout->replies.items[i]);
    }
    msgpack_write_map(&out->head, count);
    for (uint32_t i = from; i < to; i++) {
        const struct fanout_reply *reply = fanout->replies.items[i];
        bool is_failed = fanout_failed(reply);
        if (is_failed && !show_failed) {
            continue;
        }
        msgpack_write_str_lossy(&out->head, reply->worker);
        if (is_failed) {
            struct fanout_exception e = fanout_exception(reply);
            struct text repr = {0};
            text_printf(&repr, "%s(", e.name);
            key_repr_text(&repr, e.text);
            text_add_char(&repr, ')');
            msgpack_write_str_lossy(&out->head, text_span(&repr));
            text_fini(&repr);
        } else {
            payload_put(out, reply->answer);
        }
    }
}

static void cluster_dumped(struct fanout *fanout)
{
    struct cluster_dump *dump = fanout->user;
    struct node *node = fanout->node;
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 3);
    msgpack_write_cstr(&answer.head, "scheduler");
    msgpack_write_raw(&answer.head, text_span(&dump->scheduler));
    msgpack_write_cstr(&answer.head, "workers");
    put_answers(fanout, 0, dump->dumps, true, &answer);
    msgpack_write_cstr(&answer.head, "versions");
    msgpack_write_map(&answer.head, 2);
    msgpack_write_cstr(&answer.head, "scheduler");
    versions_write(node, (struct span){0}, &answer.head);
    msgpack_write_cstr(&answer.head, "workers");
    put_answers(fanout, dump->dumps, fanout->replies.count, false, &answer);
    request_reply(request_find(&node->server, dump->request), &answer);
    outgoing_fini(&answer);
    text_fini(&dump->scheduler);
}

static void call_all(struct fanout *fanout, struct span map)
{
    struct blob *call = payload_value(map);
    broadcast_to_all(fanout, call, false, (struct span){0});
    blob_unref(call);
}

void rpc_get_cluster_state(struct node *node, struct request *request,
                           const struct message *message)
{
    struct span exclude = message->body.get_cluster_state.exclude;
    struct fanout *fanout = fanout_create(node, cluster_dumped, NULL);
    struct cluster_dump *dump = arena_new(&fanout->arena, struct cluster_dump);
    *dump = (struct cluster_dump){.request = request->number};
    fanout->user = dump;
    struct text call = {0};
    msgpack_write_map(&call, 2);
    msgpack_write_cstr(&call, "op");
    msgpack_write_cstr(&call, "dump_state");
    msgpack_write_cstr(&call, "exclude");
    if (exclude.data == NULL) {
        msgpack_write_array(&call, 0);
    } else {
        msgpack_write_raw(&call, exclude);
    }
    call_all(fanout, text_span(&call));
    dump->dumps = fanout->replies.count;
    text_clear(&call);
    msgpack_write_map(&call, 1);
    msgpack_write_cstr(&call, "op");
    msgpack_write_cstr(&call, "versions");
    call_all(fanout, text_span(&call));
    text_fini(&call);
    put_dump(node, read_exclude(node, exclude), &dump->scheduler);
    fanout_go(fanout);
}

/* ---- the planner ------------------------------------------------------------------------------- */

void rpc_planner_view(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_planner_view *m = &message->body.planner_view;
    struct outgoing answer;
    outgoing_init(&answer);
    if (planner_view_table(node, m->what, m->names, &answer) ||
        planner_view_whole(node, m->what, &answer)) {
        request_reply(request, &answer);
    } else {
        request_raise_builtin(request, "ValueError", "planner_view: there is no view of '%.*s'",
                              (int)m->what.size, (const char *)m->what.data);
    }
    outgoing_fini(&answer);
}

/* Append each map of the list to the stream's batch. False: it is no list of maps. */
static bool send_messages(struct request *request, struct stream *stream, struct span list)
{
    struct msgpack_reader reader = msgpack_reader(list);
    uint32_t count;
    bool is_fine = msgpack_read_array(&reader, &count) == OK;
    for (uint32_t i = 0; is_fine && i < count; i++) {
        struct span item;
        struct blob *blob = NULL;
        is_fine = msgpack_peek(&reader) == MSGPACK_MAP &&
                  msgpack_read_value(&reader, &item) == OK &&
                  payload_take(&request->message, item, &blob) == OK;
        if (is_fine) {
            struct outgoing *batch = stream_batch(stream);
            outgoing_item(batch);
            payload_put(batch, blob);
            blob_unref(blob);
        }
    }
    return is_fine;
}

static void send_to(struct request *request, struct stream *stream, struct span name,
                    struct span list)
{
    if (stream == NULL) {
        request_raise_builtin(request, "KeyError", "%.*s", (int)name.size, (const char *)name.data);
    } else if (!send_messages(request, stream, list)) {
        request_raise_builtin(request, "TypeError", "messages must be a list of maps");
    } else {
        request_reply_nil(request);
    }
}

void rpc_planner_worker_send(struct node *node, struct request *request,
                             const struct message *message)
{
    const struct msg_planner_worker_send *m = &message->body.planner_worker_send;
    worker_id worker = view_worker_by_address(node->core, m->name);
    send_to(request, worker == WORKER_NONE ? NULL : stream_of_worker(node, worker), m->name,
            m->messages.raw);
}

void rpc_planner_client_send(struct node *node, struct request *request,
                             const struct message *message)
{
    const struct msg_planner_client_send *m = &message->body.planner_client_send;
    client_id client = view_client_find(node->core, m->name);
    send_to(request, client == CLIENT_NONE ? NULL : stream_of_client(node, client), m->name,
            m->messages.raw);
}
