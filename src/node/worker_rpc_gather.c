/* worker_rpc_gather.c: the scheduler has this worker copy values from others (replicate, rebalance, broadcast).
 *
 * Each key is asked of its holders one after the other, all keys of one holder in one call, until it is here or no
 * holder is left. Source: distributed worker.py gather; utils_comm.py gather_from_workers. */
#include "node/worker_internal.h"

/* A key that is not here yet. */
struct sought {
    struct slice key;
    struct VEC(struct slice) holders;
    uint32_t next; /* holder to be asked */
    bool is_asked; /* a call for it is under way */
    bool has_come;
};

struct copy {
    struct worker_node *worker;
    uint64_t request;
    uint32_t life;
    uint32_t calls; /* under way; who begins them counts as one */
    struct VEC(struct sought) sought;
};

/* One get_data. */
struct copy_call {
    struct copy *copy;
    struct VEC(uint32_t) keys; /* indices in copy->sought */
};

static void answered(void *user, int code, const char *text, const struct frames *reply);

/* ---- the end ----------------------------------------------------------------------------------- */

static void copy_free(struct copy *copy)
{
    for (uint32_t i = 0; i < copy->sought.count; i++) {
        struct sought *sought = &copy->sought.items[i];
        slice_fini(&sought->key);
        for (uint32_t j = 0; j < sought->holders.count; j++) {
            slice_fini(&sought->holders.items[j]);
        }
        vec_fini(&sought->holders);
    }
    vec_fini(&copy->sought);
    mem_free(copy);
}

static void finish(struct copy *copy)
{
    struct request *request = request_find(&copy->worker->server, copy->request);
    struct text failed = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < copy->sought.count; i++) {
        if (!copy->sought.items[i].has_come) {
            msgpack_write_raw(&failed, slice_span(copy->sought.items[i].key));
            count++;
        }
    }
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, count > 0 ? 2 : 1);
    msgpack_write_cstr(&out.head, "status");
    msgpack_write_cstr(&out.head, count > 0 ? "partial-fail" : "OK");
    if (count > 0) {
        msgpack_write_cstr(&out.head, "keys");
        msgpack_write_array(&out.head, count);
        msgpack_write_raw(&out.head, text_span(&failed));
    }
    if (request != NULL) {
        request_reply(request, &out);
    }
    outgoing_fini(&out);
    text_fini(&failed);
    copy_free(copy);
}

/* ---- calls ------------------------------------------------------------------------------------- */

static bool is_open(const struct sought *sought)
{
    return !sought->has_come && !sought->is_asked && sought->next < sought->holders.count;
}

/* Ask the next holder of key `first` for it, and for all that it is the next holder of. */
static void ask(struct copy *copy, uint32_t first)
{
    struct worker_node *worker = copy->worker;
    struct span holder =
        slice_span(copy->sought.items[first].holders.items[copy->sought.items[first].next]);
    struct copy_call *call = mem_zalloc(1, sizeof *call);
    struct VEC(struct span) keys = {0};
    call->copy = copy;
    for (uint32_t i = first; i < copy->sought.count; i++) {
        struct sought *sought = &copy->sought.items[i];
        if (is_open(sought) &&
            span_equal(slice_span(sought->holders.items[sought->next]), holder)) {
            sought->is_asked = true;
            sought->next++;
            vec_push(&keys, slice_span(sought->key));
            vec_push(&call->keys, i);
        }
    }
    struct outgoing out;
    outgoing_init(&out);
    worker_write_get_data(worker, (struct span_list){keys.items, keys.count}, &out);
    const struct rpc_options options = {
        .shares = true, .acknowledge = true, .done = answered, .user = call};
    copy->calls++;
    rpc_call(worker->rpc, holder, &out, &options);
    outgoing_fini(&out);
    vec_fini(&keys);
}

/* Ask for all that is open; without calls under way it is over. */
static void go_on(struct copy *copy)
{
    bool is_alive = !copy->worker->is_closing && copy->life == copy->worker->life;
    for (uint32_t i = 0; is_alive && i < copy->sought.count; i++) {
        if (is_open(&copy->sought.items[i])) {
            ask(copy, i);
        }
    }
    if (--copy->calls == 0) {
        finish(copy);
    }
}

/* What came is as if a client had scattered it: known to the scheduler once we have answered. */
static void take(struct copy_call *call, const struct frames *reply)
{
    struct copy *copy = call->copy;
    struct worker_node *worker = copy->worker;
    struct map sizes = {0};
    struct worker_event event = worker_event_of(WORKER_EVENT_UPDATE_DATA);
    ASSERT(call->keys.count > 0);
    uint64_t size = frames_size(reply) / call->keys.count; /* as near as one comes unopened */
    for (uint32_t i = 0; i < call->keys.count; i++) {
        struct span key = slice_span(copy->sought.items[call->keys.items[i]].key);
        map_put(&sizes, key, NULL)->value.number = size;
    }
    if (worker_offer_data(worker, reply, &sizes, &event.of.update_data.offers)) {
        for (uint32_t i = 0; i < call->keys.count; i++) {
            struct sought *sought = &copy->sought.items[call->keys.items[i]];
            sought->has_come = map_find(&sizes, slice_span(sought->key)) == NULL;
        }
        event.stimulus = worker_stimulus(worker, "gather");
        worker_apply(worker, &event);
    }
    worker_settle_offers(worker);
    map_fini(&sizes);
}

static void answered(void *user, int code, const char *text, const struct frames *reply)
{
    struct copy_call *call = user;
    struct copy *copy = call->copy;
    (void)text; /* another holder is asked, or the scheduler hears that the key did not come */
    for (uint32_t i = 0; i < call->keys.count; i++) {
        copy->sought.items[call->keys.items[i]].is_asked = false;
    }
    if (code == OK && !copy->worker->is_closing && copy->life == copy->worker->life) {
        arena_reset(&copy->worker->scratch);
        take(call, reply);
    }
    vec_fini(&call->keys);
    mem_free(call);
    go_on(copy);
}

/* ---- the request ------------------------------------------------------------------------------- */

/* {key: [address]} without what is here. False: malformed. */
static bool read_sought(struct copy *copy, struct span raw)
{
    struct worker_node *worker = copy->worker;
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count, holder_count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span key, holder;
        if (key_read(&reader, &worker->scratch, &key) != OK ||
            msgpack_read_array(&reader, &holder_count) != OK) {
            return false;
        }
        struct sought sought = {.key = slice_copy(key)};
        bool is_fine = true;
        for (uint32_t j = 0; is_fine && j < holder_count; j++) {
            is_fine = msgpack_read_str(&reader, &holder) == OK;
            if (is_fine) {
                vec_push(&sought.holders, slice_copy(holder));
            }
        }
        sought.has_come = worker_task_in_memory(worker->core, worker_task_find(worker->core, key));
        vec_push(&copy->sought, sought);
        if (!is_fine) {
            return false;
        }
    }
    return true;
}

void worker_rpc_gather(struct worker_node *worker, struct request *request,
                       const struct message *message)
{
    struct copy *copy = mem_zalloc(1, sizeof *copy);
    copy->worker = worker;
    copy->request = request->number;
    copy->life = worker->life;
    copy->calls = 1;
    if (!read_sought(copy, message->body.worker_gather.who_has)) {
        copy_free(copy);
        request_raise_builtin(request, "TypeError", "gather: who_has maps keys to addresses");
        return;
    }
    go_on(copy);
}
