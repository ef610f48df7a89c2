/* rpc.c: one list of connections, each idle, connecting or busy with one call; calls beyond the limit wait
 * in a queue. A call that times out drops its connection: the answer might still come and be taken for
 * the next one's. */
#include "node/rpc.h"

#include "base/alloc.h"
#include "base/map.h"
#include "base/vec.h"
#include "wire/msgpack.h"

struct rpc_line;

struct rpc_pending {
    struct text address;
    struct outgoing request;
    struct rpc_options options;
    struct io_timer *timer; /* NULL: no timeout */
    struct rpc_line *line;  /* NULL: waits for a connection */
    bool is_sent;           /* not while it is still to be known what the server offers */
    struct rpc_pool *pool;
};

/* One connection. */
struct rpc_line {
    struct rpc_pool *pool;
    struct comm *comm;
    struct text address;
    struct rpc_pending *call; /* NULL: idle */
    bool is_share;            /* to what the server offers to processes of its host */
    bool is_dead;             /* being closed; not to be used again */
};

/* What is known of a server's offer. */
enum rpc_offer { OFFER_UNKNOWN, OFFER_NONE, OFFER_GOOD };

struct rpc_pool {
    const struct comm_settings *settings;
    uint32_t connections_max;
    struct VEC(struct rpc_line *) lines;
    uint32_t live_count; /* of lines that are not dead */
    struct VEC(struct rpc_pending *) waiting;
    struct map
        offers; /* address → name of what it offers (struct text *), as its last handshake said; NULL: nothing, or
                        * not for us */
    bool is_closing;
};

static void line_message(void *user, struct comm *comm, const struct frames *message);
static void line_closed(void *user, struct comm *comm, int code, const char *text);
static void line_ready(void *user, struct comm *comm);

static const struct comm_events line_events = {
    .ready = line_ready, .message = line_message, .closed = line_closed};

struct rpc_pool *rpc_pool_create(const struct comm_settings *settings, uint32_t connections_max)
{
    struct rpc_pool *pool = mem_zalloc(1, sizeof *pool);
    pool->settings = settings;
    pool->connections_max = connections_max;
    return pool;
}

/* ---- offers ------------------------------------------------------------------------------------ */

static void offer_free(struct text *offer)
{
    if (offer != NULL) {
        text_fini(offer);
        mem_free(offer);
    }
}

/* `name` "": nothing, or nothing for us. */
static void offer_learn(struct rpc_pool *pool, struct span address, const char *name)
{
    struct map_entry *entry = map_put(&pool->offers, address, NULL);
    const struct text *known = entry->value.pointer;
    if (known != NULL && span_equal_text(text_span(known), name)) {
        return;
    }
    offer_free(entry->value.pointer);
    entry->value.pointer = NULL;
    if (name[0] != '\0') {
        struct text *offer = mem_zalloc(1, sizeof *offer);
        text_add_cstr(offer, name);
        entry->value.pointer = offer;
    }
}

/* Without a connection nothing is known of a server: it may be another one at that address the next time. */
static void offer_forget(struct rpc_pool *pool, struct span address)
{
    const struct map_entry *entry = map_find(&pool->offers, address);
    for (uint32_t i = 0; entry != NULL && i < pool->lines.count; i++) {
        if (span_equal(text_span(&pool->lines.items[i]->address), address)) {
            return;
        }
    }
    if (entry != NULL) {
        offer_free(entry->value.pointer);
        map_remove(&pool->offers, address);
    }
}

static enum rpc_offer offer_look(const struct rpc_pool *pool, const struct rpc_pending *call,
                                 const char **out_name)
{
    if (!call->options.shares || pool->settings->share == NULL) {
        return OFFER_NONE;
    }
    const struct map_entry *entry = map_find(&pool->offers, text_span(&call->address));
    const struct text *offer = entry == NULL ? NULL : entry->value.pointer;
    *out_name = offer == NULL ? NULL : text_cstr(offer);
    return entry == NULL ? OFFER_UNKNOWN : offer == NULL ? OFFER_NONE : OFFER_GOOD;
}

/* ---- lines ------------------------------------------------------------------------------------- */

static void pool_free(struct rpc_pool *pool)
{
    vec_fini(&pool->lines);
    vec_fini(&pool->waiting);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&pool->offers, &cursor)) != NULL;) {
        offer_free(entry->value.pointer);
    }
    map_fini(&pool->offers);
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

/* `waits`: it is sent once the handshake has come. */
static void start_call(struct rpc_line *line, struct rpc_pending *call, bool waits)
{
    line->call = call;
    call->line = line;
    if (!waits || comm_is_shaken(line->comm)) {
        call->is_sent = true;
        comm_send(line->comm, &call->request);
    }
}

static struct rpc_line *find_idle(struct rpc_pool *pool, struct span address, bool is_share)
{
    for (uint32_t i = 0; i < pool->lines.count; i++) {
        struct rpc_line *line = pool->lines.items[i];
        if (line->call == NULL && !line->is_dead && line->is_share == is_share &&
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

/* `offer`: to that; NULL: to the address itself. */
static struct rpc_line *open_line(struct rpc_pool *pool, struct span address, const char *offer)
{
    struct rpc_line *line = mem_zalloc(1, sizeof *line);
    line->pool = pool;
    text_add(&line->address, address);
    line->is_share = offer != NULL;
    line->comm = offer != NULL ? comm_connect_share(pool->settings, offer, &line_events, line)
                               : comm_connect(pool->settings, address, &line_events, line);
    vec_push(&pool->lines, line);
    pool->live_count++;
    return line;
}

/* Give the call a connection, or let it wait. */
static void dispatch(struct rpc_pool *pool, struct rpc_pending *call)
{
    struct span address = text_span(&call->address);
    const char *name = NULL;
    enum rpc_offer offer = offer_look(pool, call, &name);
    struct rpc_line *line = find_idle(pool, address, offer == OFFER_GOOD);
    if (line == NULL && (pool->live_count < pool->connections_max || drop_one_idle(pool))) {
        line = open_line(pool, address, offer == OFFER_GOOD ? name : NULL);
    }
    if (line != NULL) {
        start_call(line, call, offer != OFFER_NONE);
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

/* A call that was to be sent over this line is sent over another. */
static void send_elsewhere(struct rpc_line *line)
{
    struct rpc_pending *call = line->call;
    line->call = NULL;
    call->line = NULL;
    dispatch(line->pool, call);
}

static void line_ready(void *user, struct comm *comm)
{
    struct rpc_line *line = user;
    const char *name = NULL;
    if (!line->is_share && line->pool->settings->share != NULL) {
        offer_learn(line->pool, text_span(&line->address), comm_offer(comm));
    }
    if (line->call == NULL || line->call->is_sent) {
        return;
    }
    if (!line->is_share && offer_look(line->pool, line->call, &name) == OFFER_GOOD) {
        send_elsewhere(line);
        dispatch_waiting(line->pool);
    } else {
        line->call->is_sent = true;
        comm_send(comm, &line->call->request);
    }
}

/* The connection to what the server offers did not come about: as if it offered nothing. */
static void give_up_offer(struct rpc_line *line)
{
    offer_learn(line->pool, text_span(&line->address), "");
    if (line->call != NULL) {
        send_elsewhere(line);
    }
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
    struct rpc_line *line = user;
    struct rpc_pool *pool = line->pool;
    bool was_ready = comm_is_shaken(comm);
    for (uint32_t i = 0; i < pool->lines.count; i++) {
        if (pool->lines.items[i] == line) {
            vec_swap_remove(&pool->lines, i);
            break;
        }
    }
    if (!line->is_dead) {
        pool->live_count--;
    }
    if (line->is_share && !was_ready && !line->is_dead && !pool->is_closing) {
        give_up_offer(line);
    }
    if (line->call != NULL) {
        finish(line->call, code == OK ? ERR_CLOSED : code, text, NULL);
    }
    offer_forget(pool, text_span(&line->address));
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
