/* rpc_info.c: questions about tasks and workers, answered from the core's views.
 * Source: distributed scheduler.py get_who_has … check_idle; protocol.md 3.1. */
#include "base/alloc.h"
#include "core/scheduler/adapt.h"
#include "core/scheduler/explain.h"
#include "node/closing.h"
#include "node/identity.h"
#include "node/lifecycle.h"
#include "node/node.h"
#include "node/planner.h"
#include "node/values.h"
#include "node/versions.h"

#define CAUSE_SECONDS 30.0

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

static void reply_nthreads(struct node *node, struct request *request, struct span raw,
                           bool running_only)
{
    struct worker_list workers = values_workers_or_all(node, raw);
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

/* The key in which the first erred one of `keys` went wrong, as raw msgpack; empty: none has. */
static struct span find_cause(const struct node *node, struct key_list keys, bool *out_under_way)
{
    struct span key;
    *out_under_way = false;
    while (key_list_next(&keys, &key)) {
        const struct task *task = view_task_find(node->core, key);
        struct task_view view = {0};
        if (task != NULL) {
            view_task(node->core, task, &view);
        }
        if (view.failure != NULL) {
            struct failure_view failure;
            view_failure(view.failure, &failure);
            return failure.key;
        }
        *out_under_way |=
            task != NULL && view.state >= TASK_WAITING && view.state <= TASK_PROCESSING;
    }
    return (struct span){0};
}

struct cause_query {
    struct node *node;
    uint64_t request;
    double deadline;
};

/* Who asks was told of a failure. Perhaps that of a task of the same key that it has released since: then the one of
 * now is still under way, and fails in the same way soon. Stock's scheduler says nil, which its client cannot take. */
static void look_for_cause(void *user)
{
    struct cause_query *query = user;
    struct node *node = query->node;
    struct request *request = request_find(&node->server, query->request);
    struct message message;
    bool is_under_way;
    request_decode(request, &message);
    struct span cause = find_cause(node, message.body.get_error_cause.keys, &is_under_way);
    double left = query->deadline - io_monotonic();
    if (cause.size == 0 && is_under_way && !request->is_gone && !node->is_closing && left > 0) {
        lifecycle_when_ended(node, left, look_for_cause, query);
        return;
    }
    mem_free(query);
    struct outgoing answer;
    outgoing_init(&answer);
    if (cause.size > 0) {
        msgpack_write_raw(&answer.head, cause);
    } else {
        msgpack_write_nil(&answer.head);
    }
    reply(request, &answer);
}

void rpc_get_error_cause(struct node *node, struct request *request, const struct message *message)
{
    (void)message;
    struct cause_query *query = mem_zalloc(1, sizeof *query);
    *query = (struct cause_query){node, request->number, io_monotonic() + CAUSE_SECONDS};
    look_for_cause(query);
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

#define NEIGHBOURS_MAX 100u

typedef const struct task *neighbour_function(const struct scheduler *s, const struct task *task,
                                              uint32_t index);

/* [{key, state}] of the first `count`. */
static void write_neighbours(struct node *node, struct text *head, const struct task *task,
                             uint32_t count, neighbour_function *neighbour)
{
    count = count < NEIGHBOURS_MAX ? count : NEIGHBOURS_MAX;
    msgpack_write_array(head, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct task *other = neighbour(node->core, task, i);
        msgpack_write_map(head, 2);
        msgpack_write_cstr(head, "key");
        msgpack_write_raw(head, view_task_key(other));
        msgpack_write_cstr(head, "state");
        msgpack_write_cstr(head, task_state_name(view_task_state(other)));
    }
}

static void write_around(struct node *node, struct text *head, struct span key)
{
    struct task_view view = {0};
    const struct task *task = view_task_find(node->core, key);
    if (task != NULL) {
        view_task(node->core, task, &view);
    }
    msgpack_write_cstr(head, "inputs");
    write_neighbours(node, head, task, view.dependency_count, view_task_dependency);
    msgpack_write_cstr(head, "inputs_total");
    msgpack_write_uint(head, view.dependency_count);
    msgpack_write_cstr(head, "users");
    write_neighbours(node, head, task, view.dependent_count, view_task_dependent);
    msgpack_write_cstr(head, "users_total");
    msgpack_write_uint(head, view.dependent_count);
}

/* Cask's own RPC. Answer: {known: bool, summary: str, advice: [str], missing: [key] (at most 1,000),
 * missing_total: int, root_cause: key or nil, queue_place: int (1 is next; 0: not queued),
 * workers: [{address: str, eligible: bool, reason: str}], inputs, users: [{key, state: str}] (at most 100 each),
 * inputs_total, users_total: int}. */
void rpc_explain(struct node *node, struct request *request, const struct message *message)
{
    struct explain explain = explain_key(node->core, message->body.explain.key, &node->scratch);
    struct outgoing answer;
    struct text *head = &answer.head;
    outgoing_init(&answer);
    msgpack_write_map(head, 12);
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
    write_around(node, head, message->body.explain.key);
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
