/* gather.c: results brought from workers to a client, untouched.
 *
 * In rounds: each key still missing is asked of one of its holders (by the core's present knowledge, so a
 * replica that moved meanwhile is found); a busy worker is asked again a moment later; one that cannot be
 * reached, or does not have the key, is not asked for it again. A key without a holder left has failed.
 * Source: distributed scheduler.py gather, utils_comm.py gather_from_workers. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/lifecycle.h"
#include "node/node.h"
#include "node/topics.h"
#include "node/values.h"

#define LOGGER "distributed.scheduler"
#define BUSY_PAUSE 0.15 /* seconds, as stock */
#define KEYS_LOGGED_MAX 20u

struct worker_vec VEC(worker_id);

enum wanted_state { WANTED, ASKED, FETCHED, FAILED };

struct wanted {
    struct span key; /* in the gather's arena */
    enum wanted_state state;
    struct blob *value;
    struct worker_vec refused; /* holders that said they do not have it */
};

struct gather {
    struct node *node;
    uint64_t request;
    struct arena arena;
    struct wanted *wanted;
    uint32_t count;
    struct worker_vec missing, busy;
    struct span serializers;
    uint32_t calls; /* under way in this round */
};

/* One call to one worker. */
struct fetch {
    struct gather *gather;
    worker_id worker;
    struct VEC(uint32_t) asked; /* indices in gather->wanted */
};

static void next_round(struct gather *gather);

static bool has_worker(const struct worker_vec *workers, worker_id worker)
{
    for (uint32_t i = 0; i < workers->count; i++) {
        if (workers->items[i] == worker) {
            return true;
        }
    }
    return false;
}

static void gather_free(struct gather *gather)
{
    for (uint32_t i = 0; i < gather->count; i++) {
        blob_unref(gather->wanted[i].value);
        vec_fini(&gather->wanted[i].refused);
    }
    vec_fini(&gather->missing);
    vec_fini(&gather->busy);
    arena_fini(&gather->arena);
    mem_free(gather);
}

/* ---- the answer -------------------------------------------------------------------------------- */

static void log_failed(struct gather *gather)
{
    struct text keys = {0};
    uint32_t failed = 0;
    for (uint32_t i = 0; i < gather->count; i++) {
        if (gather->wanted[i].state == FAILED && failed++ < KEYS_LOGGED_MAX) {
            const struct task *task = view_task_find(gather->node->core, gather->wanted[i].key);
            text_add_cstr(&keys, keys.size == 0 ? "" : ", ");
            key_repr(&keys, gather->wanted[i].key);
            text_printf(&keys, ": '%s'",
                        task == NULL ? "forgotten" : task_state_name(view_task_state(task)));
        }
    }
    if (failed > KEYS_LOGGED_MAX) {
        text_printf(&keys, " and %u more", failed - KEYS_LOGGED_MAX);
    }
    log_error(LOGGER, "Couldn't gather keys: {%s}", text_cstr(&keys));
    text_fini(&keys);
}

static void write_answer(struct gather *gather, uint32_t failed, struct outgoing *answer)
{
    struct text *head = &answer->head;
    msgpack_write_map(head, 2);
    msgpack_write_cstr(head, "status");
    msgpack_write_cstr(head, failed == 0 ? "OK" : "error");
    msgpack_write_cstr(head, failed == 0 ? "data" : "keys");
    if (failed > 0) {
        msgpack_write_array(head, failed);
    } else {
        msgpack_write_map(head, gather->count);
    }
    for (uint32_t i = 0; i < gather->count; i++) {
        const struct wanted *wanted = &gather->wanted[i];
        if (failed == 0 || wanted->state == FAILED) {
            msgpack_write_raw(head, wanted->key);
        }
        if (failed == 0) {
            payload_put(answer, wanted->value);
        }
    }
}

static void finish(struct gather *gather)
{
    struct node *node = gather->node;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < gather->count; i++) {
        failed += gather->wanted[i].state == FAILED;
    }
    struct text event = {0};
    msgpack_write_map(&event, 2);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "gather");
    msgpack_write_cstr(&event, "count");
    msgpack_write_uint(&event, gather->count);
    topics_log_value(node->topics, "all", text_span(&event));
    text_fini(&event);
    if (failed > 0) {
        log_failed(gather);
    }
    struct request *request = request_find(&node->server, gather->request);
    if (request != NULL) {
        struct outgoing answer;
        outgoing_init(&answer);
        write_answer(gather, failed, &answer);
        request_reply(request, &answer);
        outgoing_fini(&answer);
    }
    gather_free(gather);
}

/* ---- one call ---------------------------------------------------------------------------------- */

/* Take the values of the reply's "data" map; false: malformed. */
static bool take_data(struct fetch *fetch, const struct frames *reply, struct span data)
{
    struct gather *gather = fetch->gather;
    struct msgpack_reader reader = msgpack_reader(data);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    uint32_t at = 0; /* workers answer in the order of the question, mostly */
    for (uint32_t i = 0; i < count; i++) {
        struct span key, value;
        if (key_read(&reader, &gather->arena, &key) != OK ||
            msgpack_read_value(&reader, &value) != OK) {
            return false;
        }
        for (uint32_t tried = 0; tried < fetch->asked.count; tried++, at++) {
            struct wanted *wanted = &gather->wanted[fetch->asked.items[at % fetch->asked.count]];
            if (wanted->state == ASKED && span_equal(wanted->key, key)) {
                if (payload_take(reply, value, &wanted->value) != OK) {
                    return false;
                }
                wanted->state = FETCHED;
                break;
            }
        }
    }
    return true;
}

/* What the worker did not give is asked for again; of others only, if it does not have it (`absent`). */
static void give_back(struct fetch *fetch, bool absent)
{
    for (uint32_t i = 0; i < fetch->asked.count; i++) {
        struct wanted *wanted = &fetch->gather->wanted[fetch->asked.items[i]];
        if (wanted->state == ASKED) {
            wanted->state = WANTED;
            if (absent) {
                vec_push(&wanted->refused, fetch->worker);
            }
        }
    }
}

static void fail_all(struct fetch *fetch, const char *why)
{
    log_error(LOGGER, "Unexpected error while collecting tasks from %.*s: %s",
              (int)view_worker_address(fetch->gather->node->core, fetch->worker).size,
              (const char *)view_worker_address(fetch->gather->node->core, fetch->worker).data,
              why);
    for (uint32_t i = 0; i < fetch->asked.count; i++) {
        struct wanted *wanted = &fetch->gather->wanted[fetch->asked.items[i]];
        if (wanted->state == ASKED) {
            wanted->state = FAILED;
        }
    }
}

static void take_reply(struct fetch *fetch, int code, const char *text, const struct frames *reply)
{
    struct gather *gather = fetch->gather;
    struct span status, data;
    if (code != OK) {
        log_debug(LOGGER, "gather: a holder could not be reached: %s", text);
        vec_push(&gather->missing, fetch->worker);
        give_back(fetch, false);
        return;
    }
    if (msgpack_find(frames_head(reply), "status", &status) != OK) {
        fail_all(fetch, "the answer has no status");
    } else if (span_equal(status, SPAN("\xa4"
                                       "busy"))) {
        vec_push(&gather->busy, fetch->worker);
        give_back(fetch, false);
    } else if (!span_equal(status, SPAN("\xa2OK")) ||
               msgpack_find(frames_head(reply), "data", &data) != OK ||
               !take_data(fetch, reply, data)) {
        fail_all(fetch, "the worker could not serialise or send them");
    } else {
        give_back(fetch, true);
    }
}

static void fetched(void *user, int code, const char *text, const struct frames *reply)
{
    struct fetch *fetch = user;
    struct gather *gather = fetch->gather;
    take_reply(fetch, code, text, reply);
    vec_fini(&fetch->asked);
    mem_free(fetch);
    if (--gather->calls == 0) {
        next_round(gather);
    }
}

static void ask(struct gather *gather, struct fetch *fetch)
{
    struct text keys = {0};
    for (uint32_t i = 0; i < fetch->asked.count; i++) {
        text_add(&keys, gather->wanted[fetch->asked.items[i]].key);
    }
    struct outgoing request;
    outgoing_init(&request);
    struct text *head = &request.head;
    bool has_serializers = gather->serializers.size > 0;
    msgpack_write_map(head, has_serializers ? 4 : 3);
    msgpack_write_cstr(head, "op");
    msgpack_write_cstr(head, "get_data");
    msgpack_write_cstr(head, "keys");
    msgpack_write_array(head, fetch->asked.count);
    msgpack_write_raw(head, text_span(&keys));
    if (has_serializers) {
        msgpack_write_cstr(head, "serializers");
        msgpack_write_raw(head, gather->serializers);
    }
    msgpack_write_cstr(head, "reply");
    msgpack_write_bool(head, true);
    struct rpc_options options = {.acknowledge = true, .done = fetched, .user = fetch};
    gather->calls++;
    rpc_call(gather->node->rpc, view_worker_address(gather->node->core, fetch->worker), &request,
             &options);
    outgoing_fini(&request);
    text_fini(&keys);
}

/* ---- rounds ------------------------------------------------------------------------------------ */

/* A holder to ask for key `index`: spread over the replicas by the key's place. WORKER_NONE: none left (or the
 * scheduler closes); *out_busy: there is one, but it is busy. */
static worker_id choose_holder(struct gather *gather, uint32_t index, bool *out_busy)
{
    const struct wanted *wanted = &gather->wanted[index];
    const struct task *task = view_task_find(gather->node->core, wanted->key);
    struct task_view view = {0};
    *out_busy = false;
    if (task != NULL && !gather->node->is_closing) {
        view_task(gather->node->core, task, &view);
    }
    if (view.state == TASK_MEMORY && view.holder_count == 0) {
        *out_busy = true; /* its holder is gone: in a moment the core will have noticed */
    }
    for (uint32_t i = 0; i < view.holder_count; i++) {
        worker_id holder =
            view_task_holder(gather->node->core, task, (i + index) % view.holder_count);
        if (has_worker(&gather->missing, holder) || has_worker(&wanted->refused, holder)) {
            continue;
        }
        if (!has_worker(&gather->busy, holder)) {
            return holder;
        }
        *out_busy = true;
    }
    return WORKER_NONE;
}

static void pause_over(void *user)
{
    struct gather *gather = user;
    gather->busy.count = 0;
    next_round(gather);
}

static struct fetch *fetch_of(struct gather *gather, struct map *fetches, worker_id worker)
{
    struct map_entry *entry = map_put(fetches, span_of(&worker, sizeof worker), NULL);
    if (entry->value.pointer == NULL) {
        struct fetch *fetch = mem_zalloc(1, sizeof *fetch);
        fetch->gather = gather;
        fetch->worker = worker;
        entry->value.pointer = fetch;
    }
    return entry->value.pointer;
}

static void next_round(struct gather *gather)
{
    struct map fetches = {0};
    bool any_busy = false;
    for (uint32_t i = 0; i < gather->count; i++) {
        bool busy;
        if (gather->wanted[i].state != WANTED) {
            continue;
        }
        worker_id holder = choose_holder(gather, i, &busy);
        if (holder != WORKER_NONE) {
            gather->wanted[i].state = ASKED;
            vec_push(&fetch_of(gather, &fetches, holder)->asked, i);
        } else if (busy) {
            any_busy = true;
        } else {
            gather->wanted[i].state = FAILED;
        }
    }
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&fetches, &cursor)) != NULL;) {
        ask(gather, entry->value.pointer);
    }
    map_fini(&fetches);
    if (gather->calls > 0) {
        return;
    }
    if (any_busy) {
        lifecycle_pause(gather->node, BUSY_PAUSE, pause_over, gather);
    } else {
        finish(gather);
    }
}

void rpc_gather(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.gather.keys;
    struct gather *gather = mem_zalloc(1, sizeof *gather);
    arena_init(&gather->arena);
    gather->node = node;
    gather->request = request->number;
    gather->wanted = arena_array(&gather->arena, struct wanted, keys.count);
    memset(gather->wanted, 0, keys.count * sizeof *gather->wanted);
    gather->serializers = arena_copy(&gather->arena, request->serializers);
    struct map seen = {0};
    struct span key;
    while (key_list_next(&keys, &key)) {
        bool is_new;
        map_put(&seen, key, &is_new);
        if (is_new) {
            gather->wanted[gather->count++].key = arena_copy(&gather->arena, key);
        }
    }
    map_fini(&seen);
    next_round(gather);
}
