/* rpc.c: one list of connections, each idle, connecting or busy with one call; calls beyond the limit wait
 * in a queue. A call that times out drops its connection: the answer might still come and be taken for
 * the next one's. */
#include "node/rpc.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "wire/msgpack.h"

struct rpc_line;

struct rpc_pending {
    struct text address;
    struct outgoing request;
    struct rpc_options options;
    struct io_timer *timer; /* NULL: no timeout */
    struct rpc_line *line;  /* NULL: waits for a connection */
    struct rpc_pool *pool;
};

/* One connection. */
struct rpc_line {
    struct rpc_pool *pool;
    struct comm *comm;
    struct text address;
    struct rpc_pending *call; /* NULL: idle */
    bool is_dead;             /* being closed; not to be used again */
};

struct rpc_pool {
    const struct comm_settings *settings;
    uint32_t connections_max;
    struct VEC(struct rpc_line *) lines;
    uint32_t live_count; /* of lines that are not dead */
    struct VEC(struct rpc_pending *) waiting;
    bool is_closing;
};

static void line_message(void *user, struct comm *comm, const struct frames *message);
static void line_closed(void *user, struct comm *comm, int code, const char *text);

static const struct comm_events line_events = {.message = line_message, .closed = line_closed};

struct rpc_pool *rpc_pool_create(const struct comm_settings *settings, uint32_t connections_max)
{
    struct rpc_pool *pool = mem_zalloc(1, sizeof *pool);
    pool->settings = settings;
    pool->connections_max = connections_max;
    return pool;
}

static void pool_free(struct rpc_pool *pool)
{
    vec_fini(&pool->lines);
    vec_fini(&pool->waiting);
    mem_free(pool);
}

/* Take the call off its line and answer it. */
static void finish(struct rpc_pending *call, int code, const char *text, const struct frames *reply)
{
    if (call->line != NULL) {
        call->line->call = NULL;
    }
    io_timer_destroy(call->timer);
    call->options.done(call->options.user, code, text, reply);
    text_fini(&call->address);
    outgoing_fini(&call->request);
    mem_free(call);
}

static void kill_line(struct rpc_line *line, const char *reason)
{
    if (!line->is_dead) {
        line->is_dead = true;
        line->pool->live_count--;
        comm_abort(line->comm, reason);
    }
}

static void start_call(struct rpc_line *line, struct rpc_pending *call)
{
    line->call = call;
    call->line = line;
    comm_send(line->comm, &call->request);
}

static struct rpc_line *find_idle(struct rpc_pool *pool, struct span address)
{
    for (uint32_t i = 0; i < pool->lines.count; i++) {
        struct rpc_line *line = pool->lines.items[i];
        if (line->call == NULL && !line->is_dead &&
            span_equal(text_span(&line->address), address)) {
            return line;
        }
    }
    return NULL;
}

/* Make room for a connection by closing one that is idle; false if all are busy. */
static bool drop_one_idle(struct rpc_pool *pool)
{
    for (uint32_t i = 0; i < pool->lines.count; i++) {
        struct rpc_line *line = pool->lines.items[i];
        if (line->call == NULL && !line->is_dead) {
            kill_line(line, "idle connection closed to make room");
            return true;
        }
    }
    return false;
}

static struct rpc_line *open_line(struct rpc_pool *pool, struct span address)
{
    struct rpc_line *line = mem_zalloc(1, sizeof *line);
    line->pool = pool;
    text_add(&line->address, address);
    line->comm = comm_connect(pool->settings, address, &line_events, line);
    vec_push(&pool->lines, line);
    pool->live_count++;
    return line;
}

/* Give the call a connection, or let it wait. */
static void dispatch(struct rpc_pool *pool, struct rpc_pending *call)
{
    struct span address = text_span(&call->address);
    struct rpc_line *line = find_idle(pool, address);
    if (line == NULL && (pool->live_count < pool->connections_max || drop_one_idle(pool))) {
        line = open_line(pool, address);
    }
    if (line != NULL) {
        start_call(line, call);
    } else {
        vec_push(&pool->waiting, call);
    }
}

static void dispatch_waiting(struct rpc_pool *pool)
{
    if (pool->waiting.count == 0 || pool->is_closing) {
        return;
    }
    struct rpc_pending *call = pool->waiting.items[0];
    memmove(pool->waiting.items, pool->waiting.items + 1,
            --pool->waiting.count * sizeof *pool->waiting.items);
    dispatch(pool, call);
}

static void remove_waiting(struct rpc_pool *pool, const struct rpc_pending *call)
{
    for (uint32_t i = 0; i < pool->waiting.count; i++) {
        if (pool->waiting.items[i] == call) {
            memmove(pool->waiting.items + i, pool->waiting.items + i + 1,
                    (--pool->waiting.count - i) * sizeof *pool->waiting.items);
            return;
        }
    }
}

static void call_timed_out(void *user)
{
    struct rpc_pending *call = user;
    struct rpc_line *line = call->line;
    if (line == NULL) {
        remove_waiting(call->pool, call);
    }
    finish(call, ERR_TIMEOUT, "no answer in time", NULL);
    if (line != NULL) {
        kill_line(line, "call timed out");
    }
}

void rpc_call(struct rpc_pool *pool, struct span address, struct outgoing *request,
              const struct rpc_options *options)
{
    ASSERT(!pool->is_closing);
    struct rpc_pending *call = mem_zalloc(1, sizeof *call);
    call->pool = pool;
    text_add(&call->address, address);
    call->request = *request;
    outgoing_init(request);
    call->options = *options;
    if (options->timeout > 0) {
        call->timer = io_timer_create(pool->settings->loop, call_timed_out, call);
        io_timer_start(call->timer, options->timeout, 0);
    }
    dispatch(pool, call);
}

static bool status_is_ok(const struct frames *reply)
{
    struct span status;
    return msgpack_find(frames_head(reply), "status", &status) == OK &&
           span_equal(status, SPAN("\xa2OK"));
}

static void acknowledge(struct comm *comm)
{
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_cstr(&out.head, "OK");
    comm_send(comm, &out);
    outgoing_fini(&out);
}

static void line_message(void *user, struct comm *comm, const struct frames *message)
{
    struct rpc_line *line = user;
    if (line->call == NULL) {
        kill_line(line, "a message came that nobody asked for");
        return;
    }
    if (line->call->options.acknowledge && status_is_ok(message)) {
        acknowledge(comm);
    }
    struct rpc_pool *pool = line->pool;
    finish(line->call, OK, "", message);
    dispatch_waiting(pool);
}

static void line_closed(void *user, struct comm *comm, int code, const char *text)
{
    (void)comm;
    struct rpc_line *line = user;
    struct rpc_pool *pool = line->pool;
    for (uint32_t i = 0; i < pool->lines.count; i++) {
        if (pool->lines.items[i] == line) {
            vec_swap_remove(&pool->lines, i);
            break;
        }
    }
    if (!line->is_dead) {
        pool->live_count--;
    }
    if (line->call != NULL) {
        finish(line->call, code == OK ? ERR_CLOSED : code, text, NULL);
    }
    text_fini(&line->address);
    mem_free(line);
    if (pool->is_closing && pool->lines.count == 0) {
        pool_free(pool);
    } else {
        dispatch_waiting(pool);
    }
}

void rpc_pool_forget(struct rpc_pool *pool, struct span address)
{
    for (uint32_t i = pool->lines.count; i-- > 0;) {
        struct rpc_line *line = pool->lines.items[i];
        if (span_equal(text_span(&line->address), address)) {
            kill_line(line, "the server is gone");
        }
    }
}

void rpc_pool_destroy(struct rpc_pool *pool)
{
    pool->is_closing = true;
    while (pool->waiting.count > 0) {
        finish(vec_pop(&pool->waiting), ERR_CLOSED, "this process is closing", NULL);
    }
    for (uint32_t i = 0; i < pool->lines.count; i++) {
        kill_line(pool->lines.items[i], "this process is closing");
    }
    if (pool->lines.count == 0) {
        pool_free(pool);
    }
}
