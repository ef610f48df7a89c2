/* rpc_info.c: questions about tasks and workers, answered from the core's views.
 * Source: distributed scheduler.py get_who_has … check_idle; protocol.md 3.1. */
#include "base/alloc.h"
#include "core/scheduler/adapt.h"
#include "core/scheduler/explain.h"
#include "node/closing.h"
#include "node/identity.h"
#include "node/node.h"
#include "node/planner.h"
#include "node/values.h"
#include "node/versions.h"

/* Send what `answer` holds. */
static void reply(struct request *request, struct outgoing *answer)
{
    request_reply(request, answer);
    outgoing_fini(answer);
}

void rpc_identity(struct node *node, struct request *request, const struct message *message)
{
    struct outgoing answer;
    outgoing_init(&answer);
    identity_write(node, &answer, message->body.identity.n_workers, false);
    reply(request, &answer);
}

void rpc_echo(struct node *node, struct request *request, const struct message *message)
{
    (void)node;
    struct blob *blob = NULL;
    if (!msgpack_is_nil(message->body.echo.data.raw) &&
        payload_take(&request->message, message->body.echo.data.raw, &blob) != OK) {
        request_raise_builtin(request, "ValueError", "echo: malformed data");
        return;
    }
    request_reply_blob(request, blob);
    blob_unref(blob);
}

/* ---- a map by worker --------------------------------------------------------------------------- */

/* The workers asked for: those of `raw`, or all. */
static struct worker_list chosen_workers(struct node *node, struct span raw)
{
    bool given;
    struct worker_list workers = values_workers(node, raw, &given);
    if (given) {
        return workers;
    }
    uint32_t count = view_worker_count(node->core);
    worker_id *all = arena_array(&node->scratch, worker_id, count);
    for (uint32_t i = 0; i < count; i++) {
        all[i] = view_worker_at(node->core, i);
    }
    return (struct worker_list){all, count};
}

static void reply_nthreads(struct node *node, struct request *request, struct span raw,
                           bool running_only)
{
    struct worker_list workers = chosen_workers(node, raw);
    struct outgoing answer;
    outgoing_init(&answer);
    struct text pairs = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < workers.count; i++) {
        struct worker_view view;
        if (view_worker(node->core, workers.items[i], &view) &&
            (!running_only || view.status == WORKER_RUNNING)) {
            msgpack_write_str(&pairs, view.address);
            msgpack_write_uint(&pairs, view.nthreads);
            count++;
        }
    }
    msgpack_write_map(&answer.head, count);
    msgpack_write_raw(&answer.head, text_span(&pairs));
    text_fini(&pairs);
    reply(request, &answer);
}

void rpc_ncores(struct node *node, struct request *request, const struct message *message)
{
    reply_nthreads(node, request, message->body.ncores.workers, false);
}

void rpc_ncores_running(struct node *node, struct request *request, const struct message *message)
{
    reply_nthreads(node, request, message->body.ncores_running.workers, true);
}

void rpc_processing(struct node *node, struct request *request, const struct message *message)
{
    struct worker_list workers = chosen_workers(node, message->body.processing.workers);
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, workers.count);
    for (uint32_t i = 0; i < workers.count; i++) {
        struct worker_view view;
        bool is_known = view_worker(node->core, workers.items[i], &view);
        ASSERT(is_known);
        msgpack_write_str(&answer.head, view.address);
        msgpack_write_array(&answer.head, view.processing_count);
        for (uint32_t j = 0; j < view.processing_count; j++) {
            msgpack_write_raw(&answer.head,
                              view_task_key(view_worker_processes(node->core, view.id, j)));
        }
    }
    reply(request, &answer);
}

static void write_has_what(struct node *node, struct text *head, worker_id worker)
{
    struct worker_view view;
    bool is_known = view_worker(node->core, worker, &view);
    ASSERT(is_known);
    msgpack_write_str(head, view.address);
    msgpack_write_array(head, view.has_what_count);
    for (uint32_t i = 0; i < view.has_what_count; i++) {
        msgpack_write_raw(head, view_task_key(view_worker_has(node->core, worker, i)));
    }
}

/* A worker that was asked for by an address nobody has is answered with an empty list, as stock does. */
void rpc_has_what(struct node *node, struct request *request, const struct message *message)
{
    struct span raw = message->body.has_what.workers;
    struct outgoing answer;
    outgoing_init(&answer);
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_is_nil(raw) || msgpack_read_array(&reader, &count) != OK) {
        struct worker_list workers = chosen_workers(node, raw);
        msgpack_write_map(&answer.head, workers.count);
        for (uint32_t i = 0; i < workers.count; i++) {
            write_has_what(node, &answer.head, workers.items[i]);
        }
        reply(request, &answer);
        return;
    }
    msgpack_write_map(&answer.head, count);
    for (uint32_t i = 0; i < count; i++) {
        struct span item;
        bool given;
        int code = msgpack_read_value(&reader, &item);
        ASSERT(code == OK); /* checked when the message was decoded */
        struct worker_list one = values_workers(node, item, &given);
        if (one.count == 1) {
            write_has_what(node, &answer.head, one.items[0]);
        } else if (key_canonical(item, &node->scratch, &item) == OK) {
            msgpack_write_raw(&answer.head, item);
            msgpack_write_array(&answer.head, 0);
        } else {
            request_raise_builtin(request, "TypeError", "addresses should be strings or tuples");
            outgoing_fini(&answer);
            return;
        }
    }
    reply(request, &answer);
}

/* ---- a map by key ------------------------------------------------------------------------------ */

static void write_holders(struct node *node, struct text *head, const struct task *task)
{
    struct task_view view = {0};
    if (task != NULL) {
        view_task(node->core, task, &view);
    }
    msgpack_write_array(head, view.holder_count);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        msgpack_write_str(head,
                          view_worker_address(node->core, view_task_holder(node->core, task, i)));
    }
}

void rpc_who_has(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.who_has.keys;
    struct outgoing answer;
    outgoing_init(&answer);
    if (keys.given) {
        struct span key;
        msgpack_write_map(&answer.head, keys.count);
        while (key_list_next(&keys, &key)) {
            msgpack_write_raw(&answer.head, key);
            write_holders(node, &answer.head, view_task_find(node->core, key));
        }
    } else {
        uint32_t count;
        const struct task *const *tasks = view_tasks(node->core, &node->scratch, &count);
        msgpack_write_map(&answer.head, count);
        for (uint32_t i = 0; i < count; i++) {
            msgpack_write_raw(&answer.head, view_task_key(tasks[i]));
            write_holders(node, &answer.head, tasks[i]);
        }
    }
    reply(request, &answer);
}

/* Sums by prefix, in order of first appearance. */
static void write_summary(struct text *head, const struct map *sums)
{
    uint32_t cursor = 0;
    msgpack_write_map(head, sums->count);
    for (struct map_entry *entry; (entry = map_next(sums, &cursor)) != NULL;) {
        msgpack_write_str(head, entry->name);
        msgpack_write_int(head, (int64_t)entry->value.number);
    }
}

struct nbytes_sums {
    struct map by_prefix;
    struct text by_key;
    uint32_t key_count;
};

static void add_nbytes(struct node *node, struct nbytes_sums *sums, const struct task *task)
{
    struct task_view view;
    view_task(node->core, task, &view);
    map_put(&sums->by_prefix, view.prefix, NULL)->value.number += (uint64_t)view.nbytes;
    msgpack_write_raw(&sums->by_key, view.key);
    msgpack_write_int(&sums->by_key, view.nbytes);
    sums->key_count++;
}

void rpc_nbytes(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.nbytes.keys;
    struct nbytes_sums sums = {0};
    struct span key, missing = {0};
    if (keys.given) {
        while (missing.data == NULL && key_list_next(&keys, &key)) {
            const struct task *task = view_task_find(node->core, key);
            if (task == NULL) {
                missing = key;
            } else {
                add_nbytes(node, &sums, task);
            }
        }
    } else {
        uint32_t count;
        const struct task *const *tasks = view_tasks(node->core, &node->scratch, &count);
        for (uint32_t i = 0; i < count; i++) {
            struct task_view view;
            view_task(node->core, tasks[i], &view);
            if (view.nbytes >= 0) {
                add_nbytes(node, &sums, tasks[i]);
            }
        }
    }
    if (missing.data != NULL) {
        struct text name = {0};
        key_print(&name, missing);
        request_raise_builtin(request, "KeyError", "%s", text_cstr(&name));
        text_fini(&name);
    } else {
        struct outgoing answer;
        outgoing_init(&answer);
        if (message->body.nbytes.summary) {
            write_summary(&answer.head, &sums.by_prefix);
        } else {
            msgpack_write_map(&answer.head, sums.key_count);
            msgpack_write_raw(&answer.head, text_span(&sums.by_key));
        }
        reply(request, &answer);
    }
    map_fini(&sums.by_prefix);
    text_fini(&sums.by_key);
}

void rpc_get_task_status(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.get_task_status.keys;
    struct outgoing answer;
    struct span key;
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, keys.count);
    while (key_list_next(&keys, &key)) {
        const struct task *task = view_task_find(node->core, key);
        msgpack_write_raw(&answer.head, key);
        if (task == NULL) {
            msgpack_write_nil(&answer.head);
        } else {
            msgpack_write_cstr(&answer.head, task_state_name(view_task_state(task)));
        }
    }
    reply(request, &answer);
}

void rpc_get_task_prefix_states(struct node *node, struct request *request,
                                const struct message *message)
{
    static const enum task_state shown[] = {TASK_MEMORY, TASK_ERRED, TASK_RELEASED, TASK_PROCESSING,
                                            TASK_WAITING};
    enum { SHOWN_COUNT = sizeof shown / sizeof shown[0] };
    (void)message;
    struct outgoing answer;
    struct text pairs = {0};
    uint32_t count = 0;
    outgoing_init(&answer);
    for (uint32_t i = 0; i < view_prefix_count(node->core); i++) {
        struct prefix_view prefix;
        uint64_t total = 0;
        bool is_known = view_prefix(node->core, i, &prefix);
        for (uint32_t j = 0; is_known && j < SHOWN_COUNT; j++) {
            total += prefix.state_counts[shown[j]];
        }
        if (total > 0) {
            msgpack_write_str(&pairs, prefix.name);
            msgpack_write_map(&pairs, SHOWN_COUNT);
            for (uint32_t j = 0; j < SHOWN_COUNT; j++) {
                msgpack_write_cstr(&pairs, task_state_name(shown[j]));
                msgpack_write_uint(&pairs, prefix.state_counts[shown[j]]);
            }
            count++;
        }
    }
    msgpack_write_map(&answer.head, count);
    msgpack_write_raw(&answer.head, text_span(&pairs));
    text_fini(&pairs);
    reply(request, &answer);
}

/* ---- the whole --------------------------------------------------------------------------------- */

void rpc_check_idle(struct node *node, struct request *request, const struct message *message)
{
    (void)message;
    struct outgoing answer;
    outgoing_init(&answer);
    double since = view_idle_since(node->core);
    if (since == 0 || node->graphs_under_way > 0 || node->is_closing) {
        msgpack_write_nil(&answer.head);
    } else {
        msgpack_write_float(&answer.head, since);
    }
    reply(request, &answer);
}

struct adaptive_call {
    struct node *node;
    uint64_t request;
};

/* As many as there are, less those that plugins and load let go. */
static void adaptive_chosen(void *user, struct worker_list workers)
{
    struct adaptive_call *call = user;
    int64_t count = view_worker_count(call->node->core);
    request_reply_int(request_find(&call->node->server, call->request),
                      count - (int64_t)workers.count);
    mem_free(call);
}

static void choose_adaptively(struct node *node, struct request *request)
{
    static const struct closing_question any = {
        .memory_ratio = -1, .n = -1, .minimum = -1, .target = -1};
    struct adaptive_call *call = mem_zalloc(1, sizeof *call);
    *call = (struct adaptive_call){node, request->number};
    closing_choose(node, &any, adaptive_chosen, call);
}

void rpc_adaptive_target(struct node *node, struct request *request, const struct message *message)
{
    double configured = config_seconds(node->config, "distributed.adaptive.target-duration", 5);
    double seconds;
    if (!values_seconds(message->body.adaptive_target.target_duration, configured, &seconds) ||
        !(seconds > 0)) {
        request_raise_builtin(request, "ValueError",
                              "target_duration must be a positive duration such as '5s'");
        return;
    }
    int64_t wanted = adapt_wanted(node->core, seconds);
    if (wanted < view_worker_count(node->core) && closing_needs_plugins(node)) {
        choose_adaptively(node, request);
    } else {
        request_reply_int(request, adapt_target(node->core, seconds));
    }
}

void rpc_versions(struct node *node, struct request *request, const struct message *message)
{
    struct outgoing answer;
    outgoing_init(&answer);
    versions_write(node, message->body.versions.packages, &answer.head);
    reply(request, &answer);
}

struct closing_call {
    struct node *node;
    uint64_t request;
    struct text attribute;
};

static void closing_chosen(void *user, struct worker_list workers)
{
    struct closing_call *call = user;
    struct outgoing answer;
    outgoing_init(&answer);
    msgpack_write_array(&answer.head, workers.count);
    for (uint32_t i = 0; i < workers.count; i++) {
        if (!closing_write_attribute(call->node, workers.items[i], text_span(&call->attribute),
                                     &answer)) {
            msgpack_write_nil(&answer.head); /* it left while plugins were asked */
        }
    }
    reply(request_find(&call->node->server, call->request), &answer);
    text_fini(&call->attribute);
    mem_free(call);
}

void rpc_workers_to_close(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_workers_to_close *m = &message->body.workers_to_close;
    struct span attribute = m->attribute.data == NULL ? SPAN("address") : m->attribute;
    struct span key;
    if (!closing_is_native(m->key, &key) || !closing_is_attribute(attribute)) {
        planner_forward(node->planner, request);
        return;
    }
    struct closing_question question = {
        .memory_ratio = m->memory_ratio,
        .n = m->n,
        .minimum = m->minimum,
        .target = m->target,
        .key = key,
    };
    struct closing_call *call = mem_zalloc(1, sizeof *call);
    call->node = node;
    call->request = request->number;
    text_add(&call->attribute, attribute);
    closing_choose(node, &question, closing_chosen, call);
}

void rpc_get_runspec(struct node *node, struct request *request, const struct message *message)
{
    const struct task *task = view_task_find(node->core, message->body.get_runspec.key);
    struct task_view view = {0};
    if (task != NULL) {
        view_task(node->core, task, &view);
    }
    if (view.run_spec == NULL) {
        struct text name = {0};
        key_print(&name, message->body.get_runspec.key);
        request_raise_builtin(request, "KeyError", "%s", text_cstr(&name));
        text_fini(&name);
        return;
    }
    request_reply_blob(request, view.run_spec);
}

/* The key in which the first erred one of `keys` went wrong. */
void rpc_get_error_cause(struct node *node, struct request *request, const struct message *message)
{
    struct key_list keys = message->body.get_error_cause.keys;
    struct span key;
    struct outgoing answer;
    outgoing_init(&answer);
    while (answer.head.size == 0 && key_list_next(&keys, &key)) {
        const struct task *task = view_task_find(node->core, key);
        struct task_view view = {0};
        if (task != NULL) {
            view_task(node->core, task, &view);
        }
        if (view.failure != NULL) {
            struct failure_view failure;
            view_failure(view.failure, &failure);
            msgpack_write_raw(&answer.head, failure.key);
        }
    }
    if (answer.head.size == 0) {
        msgpack_write_nil(&answer.head);
    }
    reply(request, &answer);
}

/* ---- why does this not run? ------------------------------------------------------------------------ */

static void write_texts(struct text *head, const char *name, struct span_list texts)
{
    msgpack_write_cstr(head, name);
    msgpack_write_array(head, texts.count);
    for (uint32_t i = 0; i < texts.count; i++) {
        msgpack_write_str_lossy(head, texts.items[i]);
    }
}

static void write_explain_workers(struct node *node, struct text *head,
                                  const struct explain *explain)
{
    msgpack_write_cstr(head, "workers");
    msgpack_write_array(head, explain->worker_count);
    for (uint32_t i = 0; i < explain->worker_count; i++) {
        const struct explain_worker *worker = &explain->workers[i];
        msgpack_write_map(head, 3);
        msgpack_write_cstr(head, "address");
        msgpack_write_str(head, view_worker_address(node->core, worker->worker));
        msgpack_write_cstr(head, "eligible");
        msgpack_write_bool(head, worker->eligible);
        msgpack_write_cstr(head, "reason");
        msgpack_write_str_lossy(head, worker->reason);
    }
}

/* Cask's own RPC. Answer: {known: bool, summary: str, advice: [str], missing: [key] (at most 1,000),
 * missing_total: int, root_cause: key or nil, queue_place: int (1 is next; 0: not queued),
 * workers: [{address: str, eligible: bool, reason: str}]}. */
void rpc_explain(struct node *node, struct request *request, const struct message *message)
{
    struct explain explain = explain_key(node->core, message->body.explain.key, &node->scratch);
    struct outgoing answer;
    struct text *head = &answer.head;
    outgoing_init(&answer);
    msgpack_write_map(head, 8);
    msgpack_write_cstr(head, "known");
    msgpack_write_bool(head, explain.known);
    msgpack_write_cstr(head, "summary");
    msgpack_write_str_lossy(head, explain.summary);
    write_texts(head, "advice", explain.advice);
    msgpack_write_cstr(head, "missing");
    msgpack_write_array(head, explain.missing_keys.count);
    for (uint32_t i = 0; i < explain.missing_keys.count; i++) {
        msgpack_write_raw(head, explain.missing_keys.items[i]);
    }
    msgpack_write_cstr(head, "missing_total");
    msgpack_write_uint(head, explain.missing_total);
    msgpack_write_cstr(head, "root_cause");
    if (explain.root_cause_key.size == 0) {
        msgpack_write_nil(head);
    } else {
        msgpack_write_raw(head, explain.root_cause_key);
    }
    msgpack_write_cstr(head, "queue_place");
    msgpack_write_uint(head, explain.queue_place);
    write_explain_workers(node, head, &explain);
    reply(request, &answer);
}

/* How long turns of the loop took, in seconds: since the start, or since the last call with `reset`. */
void rpc_loop_turns(struct node *node, struct request *request, const struct message *message)
{
    struct io_turns turns;
    struct outgoing answer;
    io_loop_turns(node->loop, message->body.loop_turns.reset, &turns);
    outgoing_init(&answer);
    msgpack_write_map(&answer.head, 5);
    msgpack_write_cstr(&answer.head, "count");
    msgpack_write_uint(&answer.head, turns.count);
    msgpack_write_cstr(&answer.head, "busy");
    msgpack_write_float(&answer.head, turns.busy);
    msgpack_write_cstr(&answer.head, "longest");
    msgpack_write_float(&answer.head, turns.longest_busy);
    msgpack_write_cstr(&answer.head, "longest_cpu");
    msgpack_write_float(&answer.head, turns.longest_cpu);
    msgpack_write_cstr(&answer.head, "over_5_ms");
    msgpack_write_uint(&answer.head, turns.long_count);
    reply(request, &answer);
}
