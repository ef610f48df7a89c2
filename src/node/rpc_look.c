/* rpc_look.c: questions about many tasks: who has them, what a worker has, their states and sizes. There may be a
 * million, so they are looked at some at a time (turn_pieces): each part of the answer is true of its moment.
 * Source: distributed scheduler.py get_who_has, get_has_what, get_processing, get_nbytes, get_task_status. */
#include "base/alloc.h"
#include "node/node.h"
#include "node/turn.h"
#include "node/values.h"

enum { AT_ONCE = 256 };

/* An answer that grows: a map, whose size is filled in at the end. */
struct look {
    struct pieces pieces;
    struct node *node;
    uint64_t request;
    struct outgoing answer;
    uint32_t count; /* pairs of the map */
};

/* ---- maps and lists whose size is not known yet ---- */

#define GAP_MAP SPAN("\xdf\0\0\0\0")
#define GAP_LIST SPAN("\xdd\0\0\0\0")

static void fill_gap(struct text *head, size_t at, uint32_t count)
{
    ASSERT(at + GAP_MAP.size <= head->size);
    for (int i = 1; i <= 4; i++) {
        head->data[at + (size_t)i] = (char)(count >> (32 - 8 * i));
    }
}

/* ---- any of them ---- */

static void look_init(struct look *look, struct node *node, const struct request *request)
{
    look->node = node;
    look->request = request->number;
    outgoing_init(&look->answer);
    text_add(&look->answer.head, GAP_MAP);
}

/* Nobody waits for the answer any more. */
static bool is_in_vain(const struct look *look)
{
    return request_find(&look->node->server, look->request)->is_gone;
}

static void look_reply(struct look *look)
{
    fill_gap(&look->answer.head, 0, look->count);
    request_reply(request_find(&look->node->server, look->request), &look->answer);
}

/* ---- by key, or all tasks ---- */

struct task_look {
    struct look look;
    /* Append the pair of a key and its task (NULL: unknown). False: that is an error, KeyError. */
    bool (*write)(struct task_look *look, struct span key, const struct task *task);
    bool by_key;
    struct key_list keys; /* those that are left … */
    uint32_t cursor;      /* … or how far all tasks were looked at */
    bool is_summary;      /* nbytes by prefix */
    struct map by_prefix;
};

static void task_look_free(struct task_look *look)
{
    outgoing_fini(&look->look.answer);
    map_fini(&look->by_prefix);
    mem_free(look);
}

static void drop_task_look(struct pieces *pieces)
{
    task_look_free((struct task_look *)pieces);
}

static void raise_unknown(struct task_look *look, struct span key)
{
    struct text name = {0};
    key_print(&name, key);
    request_raise_builtin(request_find(&look->look.node->server, look->look.request), "KeyError",
                          "%s", text_cstr(&name));
    text_fini(&name);
}

/* Sums by prefix, in order of first appearance. */
static void write_summary(struct task_look *look)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&look->by_prefix, &cursor)) != NULL;) {
        msgpack_write_str(&look->look.answer.head, entry->name);
        msgpack_write_int(&look->look.answer.head, (int64_t)entry->value.number);
    }
    look->look.count = look->by_prefix.count;
}

/* The next keys. True: there are more. */
static bool look_at_keys(struct task_look *look, struct span *out_unknown)
{
    const struct scheduler *core = look->look.node->core;
    struct span key;
    for (uint32_t i = 0; i < AT_ONCE && key_list_next(&look->keys, &key); i++) {
        if (!look->write(look, key, view_task_find(core, key))) {
            *out_unknown = key;
            return false;
        }
    }
    return look->keys.count > 0;
}

static bool look_at_all(struct task_look *look)
{
    const struct task *tasks[AT_ONCE];
    uint32_t count;
    bool more = view_tasks_some(look->look.node->core, &look->cursor, AT_ONCE, tasks, &count);
    for (uint32_t i = 0; i < count; i++) {
        look->write(look, view_task_key(tasks[i]), tasks[i]);
    }
    return more;
}

static bool run_task_look(struct pieces *pieces)
{
    struct task_look *look = (struct task_look *)pieces;
    struct span unknown = {0};
    bool in_vain = is_in_vain(&look->look);
    if (!in_vain && (look->by_key ? look_at_keys(look, &unknown) : look_at_all(look))) {
        return true;
    }
    if (unknown.data != NULL) {
        raise_unknown(look, unknown);
    } else {
        if (look->is_summary) {
            write_summary(look);
        }
        look_reply(&look->look);
    }
    task_look_free(look);
    return false;
}

static struct task_look *task_look_create(struct node *node, struct request *request,
                                          struct key_list keys)
{
    struct task_look *look = mem_zalloc(1, sizeof *look);
    look_init(&look->look, node, request);
    look->look.pieces = (struct pieces){run_task_look, drop_task_look};
    look->by_key = keys.given;
    look->keys = keys;
    look->keys.keys = request_keep(request, keys.keys);
    return look;
}

static bool write_who_has(struct task_look *look, struct span key, const struct task *task)
{
    const struct scheduler *core = look->look.node->core;
    struct text *head = &look->look.answer.head;
    struct task_view view = {0};
    if (task != NULL) {
        view_task(core, task, &view);
    }
    msgpack_write_raw(head, key);
    msgpack_write_array(head, view.holder_count);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        msgpack_write_str(head, view_worker_address(core, view_task_holder(core, task, i)));
    }
    look->look.count++;
    return true;
}

void rpc_who_has(struct node *node, struct request *request, const struct message *message)
{
    struct task_look *look = task_look_create(node, request, message->body.who_has.keys);
    look->write = write_who_has;
    turn_pieces(node->turn, &look->look.pieces);
}

static bool write_nbytes(struct task_look *look, struct span key, const struct task *task)
{
    struct task_view view;
    if (task == NULL) {
        return false;
    }
    view_task(look->look.node->core, task, &view);
    if (view.nbytes < 0 && !look->by_key) {
        return true;
    }
    if (look->is_summary) {
        map_put(&look->by_prefix, view.prefix, NULL)->value.number += (uint64_t)view.nbytes;
    } else {
        msgpack_write_raw(&look->look.answer.head, key);
        msgpack_write_int(&look->look.answer.head, view.nbytes);
        look->look.count++;
    }
    return true;
}

void rpc_nbytes(struct node *node, struct request *request, const struct message *message)
{
    struct task_look *look = task_look_create(node, request, message->body.nbytes.keys);
    look->write = write_nbytes;
    look->is_summary = message->body.nbytes.summary;
    turn_pieces(node->turn, &look->look.pieces);
}

static bool write_status(struct task_look *look, struct span key, const struct task *task)
{
    struct text *head = &look->look.answer.head;
    msgpack_write_raw(head, key);
    if (task == NULL) {
        msgpack_write_nil(head);
    } else {
        msgpack_write_cstr(head, task_state_name(view_task_state(task)));
    }
    look->look.count++;
    return true;
}

void rpc_get_task_status(struct node *node, struct request *request, const struct message *message)
{
    struct task_look *look = task_look_create(node, request, message->body.get_task_status.keys);
    look->by_key = true;
    look->write = write_status;
    turn_pieces(node->turn, &look->look.pieces);
}

/* ---- by worker ---- */

/* One pair of the answer. */
struct seen_worker {
    struct span name; /* as msgpack */
    worker_id worker; /* WORKER_NONE: nobody has this address; its list is empty, as stock's */
};

struct worker_look {
    struct look look;
    bool is_processing;
    struct seen_worker *workers; /* in the request's memory */
    uint32_t worker_count, at;
    /* Of the worker looked at: its tasks as they were when its turn came. NULL: it is not begun. */
    const struct task **tasks;
    uint32_t task_count, next, listed;
    size_t gap;
};

static void worker_look_free(struct worker_look *look)
{
    outgoing_fini(&look->look.answer);
    mem_free(look->tasks);
    mem_free(look);
}

static void drop_worker_look(struct pieces *pieces)
{
    worker_look_free((struct worker_look *)pieces);
}

static void begin_worker(struct worker_look *look)
{
    const struct scheduler *core = look->look.node->core;
    const struct seen_worker *seen = &look->workers[look->at];
    struct text *head = &look->look.answer.head;
    struct worker_view view = {0};
    bool is_known = seen->worker != WORKER_NONE && view_worker(core, seen->worker, &view);
    uint32_t count = look->is_processing ? view.processing_count : view.has_what_count;
    look->task_count = is_known ? count : 0;
    look->tasks = mem_alloc((look->task_count + 1) * sizeof(struct task *));
    for (uint32_t i = 0; i < look->task_count; i++) {
        look->tasks[i] = look->is_processing ? view_worker_processes(core, seen->worker, i)
                                             : view_worker_has(core, seen->worker, i);
    }
    msgpack_write_raw(head, seen->name);
    look->gap = head->size;
    text_add(head, GAP_LIST);
    look->next = look->listed = 0;
}

static void end_worker(struct worker_look *look)
{
    fill_gap(&look->look.answer.head, look->gap, look->listed);
    mem_free(look->tasks);
    look->tasks = NULL;
    look->look.count++;
    look->at++;
}

/* The next tasks of the worker that are still there. */
static void list_tasks(struct worker_look *look)
{
    worker_id worker = look->workers[look->at].worker;
    for (uint32_t i = 0; i < AT_ONCE && look->next < look->task_count; i++) {
        const struct task *task = look->tasks[look->next++];
        if (look->is_processing ? view_worker_still_processes(task, worker)
                                : view_worker_still_has(task, worker)) {
            msgpack_write_raw(&look->look.answer.head, view_task_key(task));
            look->listed++;
        }
    }
}

static bool run_worker_look(struct pieces *pieces)
{
    struct worker_look *look = (struct worker_look *)pieces;
    if (look->at < look->worker_count && !is_in_vain(&look->look)) {
        if (look->tasks == NULL) {
            begin_worker(look);
        }
        list_tasks(look);
        if (look->next == look->task_count) {
            end_worker(look);
        }
        return true;
    }
    look_reply(&look->look);
    worker_look_free(look);
    return false;
}

static struct worker_look *worker_look_create(struct node *node, struct request *request,
                                              uint32_t worker_count)
{
    struct worker_look *look = mem_zalloc(1, sizeof *look);
    look_init(&look->look, node, request);
    look->look.pieces = (struct pieces){run_worker_look, drop_worker_look};
    look->workers = arena_array(&request->kept, struct seen_worker, worker_count);
    return look;
}

static void add_worker(struct worker_look *look, struct request *request, worker_id worker)
{
    struct span name = arena_copy(&request->kept, node_worker_name(look->look.node, worker));
    look->workers[look->worker_count++] = (struct seen_worker){name, worker};
}

static struct worker_look *look_at_workers(struct node *node, struct request *request,
                                           struct span raw)
{
    struct worker_list workers = values_workers_or_all(node, raw);
    struct worker_look *look = worker_look_create(node, request, workers.count);
    for (uint32_t i = 0; i < workers.count; i++) {
        add_worker(look, request, workers.items[i]);
    }
    return look;
}

void rpc_processing(struct node *node, struct request *request, const struct message *message)
{
    struct worker_look *look = look_at_workers(node, request, message->body.processing.workers);
    look->is_processing = true;
    turn_pieces(node->turn, &look->look.pieces);
}

/* A pair for each item of the list. NULL: one is no name; the exception is raised. */
static struct worker_look *look_at_named(struct node *node, struct request *request,
                                         struct msgpack_reader *reader, uint32_t count)
{
    struct worker_look *look = worker_look_create(node, request, count);
    for (uint32_t i = 0; i < count; i++) {
        struct span item;
        bool given;
        int code = msgpack_read_value(reader, &item);
        ASSERT(code == OK); /* checked when the message was decoded */
        struct worker_list one = values_workers(node, item, &given);
        if (one.count == 1) {
            add_worker(look, request, one.items[0]);
        } else if (key_canonical(item, &request->kept, &item) == OK) {
            look->workers[look->worker_count++] =
                (struct seen_worker){request_keep(request, item), WORKER_NONE};
        } else {
            request_raise_builtin(request, "TypeError", "addresses should be strings or tuples");
            worker_look_free(look);
            return NULL;
        }
    }
    return look;
}

void rpc_has_what(struct node *node, struct request *request, const struct message *message)
{
    struct span raw = message->body.has_what.workers;
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    bool is_list = !msgpack_is_nil(raw) && msgpack_read_array(&reader, &count) == OK;
    struct worker_look *look = is_list ? look_at_named(node, request, &reader, count)
                                       : look_at_workers(node, request, raw);
    if (look != NULL) {
        turn_pieces(node->turn, &look->look.pieces);
    }
}
