/* replicate.c: more copies of data, in rounds as the core plans them.
 *
 * A round in which no copy worked is tried again a little later, since the workers may only be busy; after
 * a number of those in a row the rest is given up (stock would go on for ever). */
#include "node/replicate.h"

#include "base/alloc.h"
#include "core/scheduler/balance.h"
#include "node/lifecycle.h"
#include "node/replicas.h"
#include "node/topics.h"
#include "node/values.h"

#define FRUITLESS_ROUNDS_MAX 20
#define FRUITLESS_PAUSE 0.1 /* seconds */

struct replicate {
    struct node *node;
    struct arena arena; /* the options' copies */
    struct arena round; /* one plan */
    struct replicate_options options;
    uint32_t n;
    struct prng prng;
    uint32_t fruitless;
    replicate_done *done;
    void *user;
};

static void next_round(void *user);

static void finish(struct replicate *replicate, const struct replicate_outcome *outcome)
{
    lifecycle_give_turn(replicate->node);
    replicate->done(replicate->user, outcome);
    arena_fini(&replicate->arena);
    arena_fini(&replicate->round);
    mem_free(replicate);
}

static void finish_missing(struct replicate *replicate, struct span_list missing)
{
    finish(replicate,
           &(struct replicate_outcome){.is_known = true, .has_workers = true, .missing = missing});
}

/* {"action": "replicate", "workers": …, "key-count": …, "branching-factor": …} */
static void log_replicate(struct replicate *replicate)
{
    struct node *node = replicate->node;
    struct text event = {0};
    msgpack_write_map(&event, 4);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "replicate");
    msgpack_write_cstr(&event, "workers");
    msgpack_write_array(&event, replicate->options.worker_count);
    for (uint32_t i = 0; i < replicate->options.worker_count; i++) {
        msgpack_write_str(&event, view_worker_address(node->core, replicate->options.workers[i]));
    }
    msgpack_write_cstr(&event, "key-count");
    msgpack_write_uint(&event, replicate->options.keys.count);
    msgpack_write_cstr(&event, "branching-factor");
    msgpack_write_uint(&event, replicate->options.branching);
    topics_log_value(node->topics, "all", text_span(&event));
    text_fini(&event);
}

/* The tasks that are still there. */
static struct balance_scope scope_of(struct replicate *replicate)
{
    const struct task **tasks =
        arena_array(&replicate->round, const struct task *, replicate->options.keys.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < replicate->options.keys.count; i++) {
        const struct task *task =
            view_task_find(replicate->node->core, replicate->options.keys.items[i]);
        if (task != NULL) {
            tasks[count++] = task;
        }
    }
    return (struct balance_scope){
        .tasks = tasks,
        .task_count = count,
        .workers = replicate->options.workers,
        .worker_count = replicate->options.worker_count,
        .n = replicate->n,
        .branching = replicate->options.branching,
    };
}

/* ---- copies ------------------------------------------------------------------------------------ */

static void round_done(struct replicas *replicas)
{
    struct replicate *replicate = replicas->user;
    bool any = false;
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        any = any || replicas->items.items[i].is_done;
    }
    if (any) {
        replicate->fruitless = 0;
        next_round(replicate);
        return;
    }
    replicate->fruitless++;
    if (replicate->fruitless < FRUITLESS_ROUNDS_MAX && !replicate->node->is_closing) {
        lifecycle_pause(replicate->node, FRUITLESS_PAUSE, next_round, replicate);
        return;
    }
    struct span *missing = arena_array(&replicate->round, struct span, replicas->items.count);
    struct map seen = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < replicas->items.count; i++) {
        bool is_new;
        map_put(&seen, replicas->items.items[i].key, &is_new);
        if (is_new) {
            missing[count++] = arena_copy(&replicate->round, replicas->items.items[i].key);
        }
    }
    map_fini(&seen);
    finish_missing(replicate, (struct span_list){missing, count});
}

static void next_round(void *user)
{
    struct replicate *replicate = user;
    arena_reset(&replicate->round);
    struct balance_scope scope = scope_of(replicate);
    struct balance_plan plan =
        balance_replicate(replicate->node->core, &scope, &replicate->prng, &replicate->round);
    if (plan.count == 0) {
        log_replicate(replicate);
        finish_missing(replicate, (struct span_list){0});
        return;
    }
    struct replicas *replicas = replicas_create(replicate->node, round_done, replicate);
    for (uint32_t i = 0; i < plan.count; i++) {
        replicas_add(replicas, plan.moves[i].recipient, plan.moves[i].sender,
                     view_task_key(plan.moves[i].task));
    }
    replicas_copy(replicas, "replicate-add");
}

/* ---- surplus first ----------------------------------------------------------------------------- */

static void surplus_done(struct replicas *replicas)
{
    next_round(replicas->user);
}

static void delete_surplus(struct replicate *replicate)
{
    struct balance_scope scope = scope_of(replicate);
    struct balance_plan plan =
        balance_surplus(replicate->node->core, &scope, &replicate->prng, &replicate->round);
    struct replicas *replicas = replicas_create(replicate->node, surplus_done, replicate);
    for (uint32_t i = 0; i < plan.count; i++) {
        replicas_add(replicas, plan.moves[i].sender, WORKER_NONE,
                     view_task_key(plan.moves[i].task));
    }
    replicas_delete(replicas);
}

/* ---- beginning --------------------------------------------------------------------------------- */

/* Keep the running workers of those that were given, or take all running ones. */
static void choose_workers(struct replicate *replicate)
{
    struct node *node = replicate->node;
    bool given = replicate->options.workers != NULL;
    uint32_t count = given ? replicate->options.worker_count : view_worker_count(node->core),
             kept = 0;
    worker_id *workers = arena_array(&replicate->arena, worker_id, count);
    for (uint32_t i = 0; i < count; i++) {
        worker_id worker = given ? replicate->options.workers[i] : view_worker_at(node->core, i);
        struct worker_view view;
        if (view_worker(node->core, worker, &view) && view.status == WORKER_RUNNING) {
            workers[kept++] = worker;
        }
    }
    replicate->options.workers = workers;
    replicate->options.worker_count = kept;
    bool is_all = replicate->options.n < 0 || replicate->options.n > kept;
    replicate->n = is_all ? kept : (uint32_t)replicate->options.n;
}

/* Keys nobody holds; or the first that is not known, with *out_is_known false. */
static struct span_list find_missing(struct replicate *replicate, bool *out_is_known)
{
    const struct span_list *keys = &replicate->options.keys;
    struct span *missing = arena_array(&replicate->arena, struct span, keys->count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct task *task = view_task_find(replicate->node->core, keys->items[i]);
        struct task_view view = {0};
        if (task == NULL) {
            *out_is_known = false;
            missing[0] = keys->items[i];
            return (struct span_list){missing, 1};
        }
        view_task(replicate->node->core, task, &view);
        if (view.holder_count == 0) {
            missing[count++] = keys->items[i];
        }
    }
    *out_is_known = true;
    return (struct span_list){missing, count};
}

static void begin(void *user)
{
    struct replicate *replicate = user;
    struct replicate_outcome outcome = {.is_known = true};
    choose_workers(replicate);
    outcome.has_workers = replicate->n > 0;
    if (outcome.has_workers) {
        outcome.missing = find_missing(replicate, &outcome.is_known);
    }
    if (!outcome.has_workers || outcome.missing.count > 0) {
        finish(replicate, &outcome);
    } else if (replicate->options.delete_surplus) {
        delete_surplus(replicate);
    } else {
        next_round(replicate);
    }
}

void replicate(struct node *node, const struct replicate_options *options, replicate_done *done,
               void *user)
{
    struct replicate *flow = mem_zalloc(1, sizeof *flow);
    uint64_t seed;
    arena_init(&flow->arena);
    arena_init(&flow->round);
    flow->node = node;
    flow->options = *options;
    struct span *keys = arena_array(&flow->arena, struct span, options->keys.count);
    for (uint32_t i = 0; i < options->keys.count; i++) {
        keys[i] = arena_copy(&flow->arena, options->keys.items[i]);
    }
    flow->options.keys.items = keys;
    if (options->workers != NULL) {
        worker_id *workers = arena_array(&flow->arena, worker_id, options->worker_count);
        memcpy(workers, options->workers, options->worker_count * sizeof *workers);
        flow->options.workers = workers;
    }
    io_entropy(&seed, sizeof seed);
    prng_init(&flow->prng, seed);
    flow->done = done;
    flow->user = user;
    lifecycle_take_turn(node, false, begin, flow);
}

/* ---- the RPC ----------------------------------------------------------------------------------- */

void replicate_reply(struct request *request, const struct replicate_outcome *outcome)
{
    if (!outcome->has_workers) {
        request_raise_builtin(request, "ValueError", "Can not use replicate to delete data");
    } else if (!outcome->is_known) {
        struct text key = {0};
        key_print(&key, outcome->missing.items[0]);
        request_raise_builtin(request, "KeyError", "%s", text_cstr(&key));
        text_fini(&key);
    } else if (outcome->missing.count == 0) {
        request_reply_nil(request);
    } else {
        replicas_reply_partial_fail(request, outcome->missing);
    }
}

struct replicate_call {
    struct node *node;
    uint64_t request;
};

static void call_done(void *user, const struct replicate_outcome *outcome)
{
    struct replicate_call *call = user;
    replicate_reply(request_find(&call->node->server, call->request), outcome);
    mem_free(call);
}

/* Whether `name` of a call means the worker at `address`: "host:port" names one, anything else is looked for in
 * all addresses. */
static bool means(struct span name, struct span address)
{
    if (name.size > 0 && memchr(name.data, ':', name.size) != NULL) {
        return span_equal(name, address);
    }
    return name.size == 0 || memmem(address.data, address.size, name.data, name.size) != NULL;
}

/* The workers that the call names. False: *out_wrong says what is no list, or names nobody. */
static bool read_workers(struct node *node, struct span raw, struct worker_list *out,
                         struct span *out_wrong)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count, known = view_worker_count(node->core), found = 0;
    worker_id *workers = arena_array(&node->scratch, worker_id, known);
    bool *is_named = arena_array(&node->scratch, bool, known);
    memset(is_named, 0, known * sizeof *is_named);
    *out_wrong = SPAN("workers must be a list of addresses");
    if (msgpack_read_array(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span name;
        bool any = false;
        if (msgpack_read_str(&reader, &name) != OK) {
            return false;
        }
        for (uint32_t j = 0; j < known; j++) {
            bool is_it =
                means(name, view_worker_address(node->core, view_worker_at(node->core, j)));
            is_named[j] = is_named[j] || is_it;
            any = any || is_it;
        }
        if (!any) {
            *out_wrong = name;
            return false;
        }
    }
    for (uint32_t j = 0; j < known; j++) {
        if (is_named[j]) {
            workers[found++] = view_worker_at(node->core, j);
        }
    }
    *out = (struct worker_list){workers, found};
    return true;
}

void rpc_replicate(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_replicate *m = &message->body.replicate;
    struct replicate_options options = {
        .keys = values_keys(&node->scratch, m->keys),
        .n = m->n,
        .branching = m->branching_factor > UINT32_MAX ? UINT32_MAX : (uint32_t)m->branching_factor,
        .delete_surplus = m->delete_surplus,
    };
    if (m->branching_factor < 1) {
        request_raise_builtin(request, "AssertionError", "branching_factor must be positive");
        return;
    }
    if (!msgpack_is_nil(m->workers)) {
        struct worker_list workers;
        struct span wrong;
        if (!read_workers(node, m->workers, &workers, &wrong)) {
            request_raise_builtin(request, "KeyError", "%.*s", (int)wrong.size,
                                  (const char *)wrong.data);
            return;
        }
        options.workers = workers.items;
        options.worker_count = workers.count;
    }
    struct replicate_call *call = mem_zalloc(1, sizeof *call);
    *call = (struct replicate_call){node, request->number};
    replicate(node, &options, call_done, call);
}
