/* rebalance.c: data moved from full workers to empty ones, as the core plans it: copies first, then the
 * senders delete what arrived. Source: distributed scheduler.py rebalance, _rebalance_move_data. */
#include "base/alloc.h"
#include "core/scheduler/balance.h"
#include "node/lifecycle.h"
#include "node/replicas.h"
#include "node/topics.h"
#include "node/values.h"

struct rebalance {
    struct node *node;
    uint64_t request;
    struct arena arena;
    bool has_keys; /* the client named keys: it is told of those that failed */
    struct span_list keys;
    bool has_workers;
    struct worker_list workers;
    uint32_t move_count;
    struct map senders, recipients; /* by worker_id: how many keys */
    struct VEC(struct span) failed;
};

static void rebalance_free(struct rebalance *rebalance)
{
    lifecycle_give_turn(rebalance->node);
    map_fini(&rebalance->senders);
    map_fini(&rebalance->recipients);
    vec_fini(&rebalance->failed);
    arena_fini(&rebalance->arena);
    mem_free(rebalance);
}

static void write_counts(struct node *node, struct text *out, const struct map *counts)
{
    uint32_t cursor = 0;
    msgpack_write_map(out, counts->count);
    for (struct map_entry *entry; (entry = map_next(counts, &cursor)) != NULL;) {
        worker_id worker;
        memcpy(&worker, entry->name.data, sizeof worker);
        msgpack_write_str(out, view_worker_address(node->core, worker));
        msgpack_write_uint(out, entry->value.number);
    }
}

static void log_rebalance(struct rebalance *rebalance)
{
    struct text event = {0};
    msgpack_write_map(&event, 4);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "rebalance");
    msgpack_write_cstr(&event, "senders");
    write_counts(rebalance->node, &event, &rebalance->senders);
    msgpack_write_cstr(&event, "recipients");
    write_counts(rebalance->node, &event, &rebalance->recipients);
    msgpack_write_cstr(&event, "moved_keys");
    msgpack_write_uint(&event, rebalance->move_count);
    topics_log_value(rebalance->node->topics, "all", text_span(&event));
    text_fini(&event);
}

static void deleted(struct replicas *replicas)
{
    struct rebalance *rebalance = replicas->user;
    struct request *request = request_find(&rebalance->node->server, rebalance->request);
    log_rebalance(rebalance);
    if (rebalance->failed.count > 0 && rebalance->has_keys) {
        replicas_reply_partial_fail(
            request, (struct span_list){rebalance->failed.items, rebalance->failed.count});
    } else {
        request_reply_status(request, "OK");
    }
    rebalance_free(rebalance);
}

static void count_one(struct map *counts, worker_id worker)
{
    map_put(counts, span_of(&worker, sizeof worker), NULL)->value.number++;
}

static void copied(struct replicas *copies)
{
    struct rebalance *rebalance = copies->user;
    struct replicas *deletions = replicas_create(rebalance->node, deleted, rebalance);
    struct map failed = {0};
    for (uint32_t i = 0; i < copies->items.count; i++) {
        const struct replica *copy = &copies->items.items[i];
        bool is_new;
        if (copy->is_done) {
            count_one(&rebalance->senders, copy->sender);
            replicas_add(deletions, copy->sender, WORKER_NONE, copy->key);
            continue;
        }
        map_put(&failed, copy->key, &is_new);
        if (is_new) {
            vec_push(&rebalance->failed, arena_copy(&rebalance->arena, copy->key));
        }
    }
    map_fini(&failed);
    replicas_delete(deletions);
}

static void begin(void *user)
{
    struct rebalance *rebalance = user;
    struct node *node = rebalance->node;
    const struct task **tasks =
        arena_array(&rebalance->arena, const struct task *, rebalance->keys.count);
    struct balance_scope scope = {
        .tasks = rebalance->has_keys ? tasks : NULL,
        .workers = rebalance->has_workers ? rebalance->workers.items : NULL,
        .worker_count = rebalance->workers.count,
    };
    for (uint32_t i = 0; i < rebalance->keys.count; i++) {
        const struct task *task = view_task_find(node->core, rebalance->keys.items[i]);
        if (task != NULL) {
            tasks[scope.task_count++] = task;
        }
    }
    struct balance_plan plan = balance_rebalance(node->core, &scope, &rebalance->arena);
    if (plan.count == 0 || node->is_closing) {
        request_reply_status(request_find(&node->server, rebalance->request), "OK");
        rebalance_free(rebalance);
        return;
    }
    struct replicas *copies = replicas_create(node, copied, rebalance);
    rebalance->move_count = plan.count;
    for (uint32_t i = 0; i < plan.count; i++) {
        const struct balance_move *move = &plan.moves[i];
        count_one(&rebalance->recipients, move->recipient);
        replicas_add(copies, move->recipient, move->sender, view_task_key(move->task));
    }
    replicas_copy(copies, "rebalance");
}

/* Keys nobody has data of. */
static struct span_list find_missing(struct node *node, struct span_list keys)
{
    struct span *missing = arena_array(&node->scratch, struct span, keys.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys.count; i++) {
        const struct task *task = view_task_find(node->core, keys.items[i]);
        struct task_view view = {0};
        if (task != NULL) {
            view_task(node->core, task, &view);
        }
        if (view.holder_count == 0) {
            missing[count++] = keys.items[i];
        }
    }
    return (struct span_list){missing, count};
}

/* The named workers; false: the KeyError is raised. */
static bool read_workers(struct node *node, struct request *request, struct span raw,
                         struct worker_list *out)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    struct span address = {0};
    uint32_t count = 0;
    bool is_fine = msgpack_read_array(&reader, &count) == OK;
    worker_id *workers = arena_array(&node->scratch, worker_id, count);
    for (uint32_t i = 0; is_fine && i < count; i++) {
        is_fine = msgpack_read_str(&reader, &address) == OK;
        workers[i] = is_fine ? view_worker_by_address(node->core, address) : WORKER_NONE;
        is_fine = workers[i] != WORKER_NONE;
    }
    if (!is_fine) {
        request_raise_builtin(request, "KeyError", "%.*s", (int)address.size,
                              (const char *)address.data);
    }
    *out = (struct worker_list){workers, count};
    return is_fine;
}

void rpc_rebalance(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_rebalance *m = &message->body.rebalance;
    struct span_list keys = values_keys(&node->scratch, m->keys), missing = {0};
    struct worker_list workers = {0};
    bool has_workers = !msgpack_is_nil(m->workers);
    if (has_workers && !read_workers(node, request, m->workers, &workers)) {
        return;
    }
    if ((has_workers && workers.count == 0) || (m->keys.given && keys.count == 0)) {
        request_reply_status(request, "OK");
        return;
    }
    missing = find_missing(node, keys);
    if (missing.count > 0) {
        replicas_reply_partial_fail(request, missing);
        return;
    }
    struct rebalance *rebalance = mem_zalloc(1, sizeof *rebalance);
    arena_init(&rebalance->arena);
    rebalance->node = node;
    rebalance->request = request->number;
    rebalance->has_keys = m->keys.given;
    struct span *copy = arena_array(&rebalance->arena, struct span, keys.count);
    for (uint32_t i = 0; i < keys.count; i++) {
        copy[i] = arena_copy(&rebalance->arena, keys.items[i]);
    }
    rebalance->keys = (struct span_list){copy, keys.count};
    rebalance->has_workers = has_workers;
    worker_id *ids = arena_array(&rebalance->arena, worker_id, workers.count);
    if (workers.count > 0) {
        memcpy(ids, workers.items, workers.count * sizeof *ids);
    }
    rebalance->workers = (struct worker_list){ids, workers.count};
    lifecycle_take_turn(node, false, begin, rebalance);
}
