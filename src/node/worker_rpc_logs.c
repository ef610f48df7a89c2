/* worker_rpc_logs.c: the last lines of the worker's log and of its executors', as one list, newest first.
 * Source: distributed node.py get_logs. */
#include <stdlib.h>

#include "base/log.h"
#include "node/worker_internal.h"

struct row {
    double time;
    struct span level, text;
};

struct rows VEC(struct row);

/* A get_logs under way. */
struct logs {
    struct server *server;
    uint64_t request;
    double start;
    int64_t n; /* lines wanted; ≤ 0: all */
    bool timestamps;
    uint32_t pending; /* executors that have not answered; who asks them counts as one */
    struct rows rows;
    struct arena arena;
};

static void add_own(struct logs *logs)
{
    struct log_line line;
    for (uint32_t i = 0; log_recent(i, &line) && line.time >= logs->start; i++) {
        if (logs->n > 0 && i >= (uint64_t)logs->n) {
            break;
        }
        struct span text = span_of_text(line.text);
        vec_push(&logs->rows, ((struct row){line.time, span_of_text(log_level_name(line.level)),
                                            arena_copy(&logs->arena, text)}));
    }
}

static int newest_first(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    return (a->time < b->time) - (a->time > b->time);
}

static void finish(struct logs *logs)
{
    struct request *request = request_find(logs->server, logs->request);
    uint32_t count = logs->rows.count;
    if (count > 0) {
        qsort(logs->rows.items, count, sizeof *logs->rows.items, newest_first);
    }
    if (logs->n > 0 && count > (uint64_t)logs->n) {
        count = (uint32_t)logs->n;
    }
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_array(&out.head, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct row *row = &logs->rows.items[i];
        msgpack_write_array(&out.head, logs->timestamps ? 3 : 2);
        if (logs->timestamps) {
            msgpack_write_float(&out.head, row->time);
        }
        msgpack_write_str_lossy(&out.head, row->level);
        msgpack_write_str_lossy(&out.head, row->text);
    }
    if (request != NULL) {
        request_reply(request, &out);
    }
    outgoing_fini(&out);
    vec_fini(&logs->rows);
    arena_fini(&logs->arena);
    mem_free(logs);
}

/* [[time, level, text], …] */
static void add_theirs(struct logs *logs, struct span raw)
{
    struct msgpack_reader reader = msgpack_reader(arena_copy(&logs->arena, raw));
    uint32_t count, fields;
    int code = msgpack_read_array(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct row row;
        code = msgpack_read_array(&reader, &fields);
        if (code == OK && fields == 3 && (code = msgpack_read_float(&reader, &row.time)) == OK &&
            (code = msgpack_read_str(&reader, &row.level)) == OK &&
            (code = msgpack_read_str(&reader, &row.text)) == OK && row.time >= logs->start) {
            vec_push(&logs->rows, row);
        }
        code = fields == 3 ? code : ERR_TYPE; /* an error instead of lines */
    }
}

static void came(void *user, struct worker_node *worker, const struct frames *reply)
{
    struct logs *logs = user;
    (void)worker;
    if (reply != NULL) {
        add_theirs(logs, frames_head(reply));
    }
    if (--logs->pending == 0) {
        finish(logs);
    }
}

static struct logs *begin(struct request *request, const struct msg_worker_get_logs *m)
{
    struct logs *logs = mem_zalloc(1, sizeof *logs);
    logs->server = request->server;
    logs->request = request->number;
    logs->start = m->start;
    logs->n = m->n;
    logs->timestamps = m->timestamps;
    logs->pending = 1;
    arena_init(&logs->arena);
    add_own(logs);
    return logs;
}

static void ask(struct worker_node *worker, uint32_t seat, struct logs *logs)
{
    struct text map = {0};
    msgpack_write_map(&map, 2);
    msgpack_write_cstr(&map, "n");
    if (logs->n > 0) {
        msgpack_write_int(&map, logs->n);
    } else {
        msgpack_write_nil(&map);
    }
    msgpack_write_cstr(&map, "timestamps");
    msgpack_write_bool(&map, true);
    const struct executor_payload arguments = {.value = text_span(&map), .segment = -1};
    const struct call_wish wish = {.seat = seat,
                                   .op = SPAN("get_logs"),
                                   .arguments = &arguments,
                                   .replied = came,
                                   .user = logs};
    logs->pending++;
    worker_call(worker, &wish);
    text_fini(&map);
}

void worker_rpc_get_logs(struct worker_node *worker, struct request *request,
                         const struct message *message)
{
    struct logs *logs = begin(request, &message->body.worker_get_logs);
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        if (worker->seats.items[i].state >= SEAT_WELCOME) {
            ask(worker, i, logs);
        }
    }
    came(logs, worker, NULL);
}

/* The worker's without the executors', with what the nanny's Python said, if there is one. */
void nanny_rpc_get_logs(struct worker_node *worker, struct request *request,
                        const struct message *message)
{
    const struct msg_nanny_get_logs *m = &message->body.nanny_get_logs;
    const struct msg_worker_get_logs same = {
        .start = m->start, .n = m->n, .timestamps = m->timestamps};
    struct logs *logs = begin(request, &same);
    if (worker_nanny_has_python(worker)) {
        ask(worker, SEAT_NANNY, logs);
    }
    came(logs, worker, NULL);
}
