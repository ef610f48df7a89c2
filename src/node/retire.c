/* retire.c: retire_workers: choose them, wait for the turn to move replicas, let the core move their data,
 * then remove or close each; the answer shows who went. The core says of each worker when it is done
 * (ACTION_RETIRED). Source: distributed scheduler.py retire_workers, _track_retire_worker. */
#include "node/retire.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/closing.h"
#include "node/identity.h"
#include "node/lifecycle.h"
#include "node/planner.h"
#include "node/topics.h"

#define LOGGER "distributed.scheduler"

/* One worker whose retirement ended. */
struct retired {
    struct retirement *retirement;
    worker_id worker;
    bool is_ok;
    struct text address;
    struct blob *identity;
};

struct retirement {
    struct node *node;
    uint64_t request;
    struct arena arena;
    struct closing_question question;
    struct span workers, names; /* raw lists, or data NULL */
    struct span stimulus;
    bool close, remove;
    uint32_t left; /* workers not yet done */
    struct VEC(struct retired *) ended;
};

static struct span number_name(const uint64_t *number)
{
    return span_of(number, sizeof *number);
}

static void retirement_free(struct retirement *retirement)
{
    for (uint32_t i = 0; i < retirement->ended.count; i++) {
        text_fini(&retirement->ended.items[i]->address);
        blob_unref(retirement->ended.items[i]->identity);
        mem_free(retirement->ended.items[i]);
    }
    vec_fini(&retirement->ended);
    arena_fini(&retirement->arena);
    mem_free(retirement);
}

void retirements_fini(struct map *retirements)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(retirements, &cursor)) != NULL;) {
        retirement_free(entry->value.pointer);
    }
    map_fini(retirements);
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void write_addresses(const struct retirement *retirement, bool ok, struct text *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < retirement->ended.count; i++) {
        count += retirement->ended.items[i]->is_ok == ok;
    }
    msgpack_write_array(out, count);
    for (uint32_t i = 0; i < retirement->ended.count; i++) {
        if (retirement->ended.items[i]->is_ok == ok) {
            msgpack_write_str(out, text_span(&retirement->ended.items[i]->address));
        }
    }
}

static void log_retirement(const struct retirement *retirement)
{
    struct text event = {0};
    msgpack_write_map(&event, 4);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "retire-workers");
    msgpack_write_cstr(&event, "retired");
    write_addresses(retirement, true, &event);
    msgpack_write_cstr(&event, "could-not-retire");
    write_addresses(retirement, false, &event);
    msgpack_write_cstr(&event, "stimulus_id");
    msgpack_write_str(&event, retirement->stimulus);
    topics_log_value(retirement->node->topics, "all", text_span(&event));
    text_fini(&event);
}

/* {address: identity} of those that went. */
static void reply(const struct retirement *retirement)
{
    struct outgoing answer;
    uint32_t count = 0;
    outgoing_init(&answer);
    for (uint32_t i = 0; i < retirement->ended.count; i++) {
        count += retirement->ended.items[i]->is_ok;
    }
    msgpack_write_map(&answer.head, count);
    for (uint32_t i = 0; i < retirement->ended.count; i++) {
        const struct retired *one = retirement->ended.items[i];
        if (one->is_ok) {
            msgpack_write_str(&answer.head, text_span(&one->address));
            payload_put(&answer, one->identity);
        }
    }
    request_reply(request_find(&retirement->node->server, retirement->request), &answer);
    outgoing_fini(&answer);
}

static void finish(struct retirement *retirement)
{
    struct node *node = retirement->node;
    map_remove(&node->retirements, number_name(&retirement->request));
    reply(retirement);
    retirement_free(retirement);
    lifecycle_give_turn(node);
}

/* ---- one worker's end -------------------------------------------------------------------------- */

static void close_worker(struct node *node, const struct retired *one)
{
    struct stream *stream = stream_of_worker(node, one->worker);
    struct msg_worker_close close;
    struct text event = {0}, topic = {0};
    if (stream == NULL) {
        return; /* it is gone already */
    }
    log_info(LOGGER, "Closing worker %s", text_cstr(&one->address));
    msgpack_write_map(&event, 1);
    msgpack_write_cstr(&event, "action");
    msgpack_write_cstr(&event, "close-worker");
    text_add(&topic, text_span(&one->address));
    topics_log_value(node->topics, text_cstr(&topic), text_span(&event));
    text_fini(&event);
    text_fini(&topic);
    message_defaults(MESSAGE_WORKER_CLOSE, &close);
    close.reason = SPAN("scheduler-close-worker");
    message_encode(stream_batch(stream), MESSAGE_WORKER_CLOSE, &close);
}

static void remove_worker(struct retirement *retirement, const struct retired *one)
{
    struct worker_view view;
    if (view_worker(retirement->node->core, one->worker, &view)) {
        struct event event = event_of(EVENT_WORKER_REMOVE);
        event.of.worker_remove.worker = one->worker;
        event.of.worker_remove.expected = true;
        event.of.worker_remove.close = retirement->close;
        event.of.worker_remove.cause = SPAN("it was retired");
        event.stimulus = retirement->stimulus;
        node_apply(retirement->node, &event);
    }
}

/* What a step's outcome leads to, outside of it. */
static void worker_ended(void *user)
{
    struct retired *one = user;
    struct retirement *retirement = one->retirement;
    struct node *node = retirement->node;
    if (one->is_ok && retirement->remove) {
        remove_worker(retirement, one);
    } else if (one->is_ok && retirement->close) {
        close_worker(node, one);
    }
    if (one->is_ok) {
        log_info(LOGGER, "Retired worker '%s' (stimulus_id='%.*s')", text_cstr(&one->address),
                 (int)retirement->stimulus.size, (const char *)retirement->stimulus.data);
    } else {
        log_warning(
            LOGGER,
            "Could not retire worker '%s': unique data could not be moved to any other worker",
            text_cstr(&one->address));
    }
    if (--retirement->left == 0) {
        log_retirement(retirement);
        finish(retirement);
    }
}

void lifecycle_retired(struct node *node, const struct action_retired *action)
{
    struct map_entry *entry = map_find(&node->retirements, number_name(&action->request));
    if (entry == NULL) {
        return; /* nobody asked for it over an RPC */
    }
    struct retirement *retirement = entry->value.pointer;
    struct retired *one = mem_zalloc(1, sizeof *one);
    struct worker_view view;
    struct outgoing identity;
    one->retirement = retirement;
    one->worker = action->worker;
    outgoing_init(&identity);
    if (view_worker(node->core, action->worker, &view)) {
        text_add(&one->address, view.address);
        identity_write_worker(node, action->worker, &identity, false);
        one->is_ok = action->retired;
        one->identity = payload_value(text_span(&identity.head));
    }
    outgoing_fini(&identity);
    vec_push(&retirement->ended, one);
    io_post(node->loop, worker_ended, one);
}

/* ---- who ----------------------------------------------------------------------------------------- */

struct chosen VEC(worker_id);

static void retire(struct retirement *retirement, struct worker_list workers)
{
    struct node *node = retirement->node;
    if (workers.count == 0 || node->is_closing) {
        finish(retirement);
        return;
    }
    retirement->left = workers.count;
    struct event event = event_of(EVENT_RETIRE_BEGIN);
    event.of.retire_begin.workers = workers;
    event.of.retire_begin.request = retirement->request;
    event.of.retire_begin.close = retirement->close;
    event.of.retire_begin.remove = retirement->remove;
    event.stimulus = retirement->stimulus;
    node_apply(node, &event);
}

static void chosen_by_core(void *user, struct worker_list workers)
{
    retire(user, workers);
}

/* The name of item `index` of a list as people write it, for names that went through a command line. */
static bool names_it(struct retirement *retirement, struct span name)
{
    struct msgpack_reader reader = msgpack_reader(retirement->names);
    struct text wanted = {0}, given = {0};
    uint32_t count = 0;
    bool is_it = false;
    key_print(&wanted, name);
    if (msgpack_read_array(&reader, &count) == OK) {
        struct span item;
        for (uint32_t i = 0;
             !is_it && i < count && key_read(&reader, &retirement->arena, &item) == OK; i++) {
            text_clear(&given);
            key_print(&given, item);
            is_it = span_equal(text_span(&given), text_span(&wanted));
        }
    }
    text_fini(&wanted);
    text_fini(&given);
    return is_it;
}

static bool lists_it(const struct retirement *retirement, struct span address)
{
    struct msgpack_reader reader = msgpack_reader(retirement->workers);
    uint32_t count = 0;
    bool is_it = false;
    if (msgpack_read_array(&reader, &count) == OK) {
        struct span item;
        for (uint32_t i = 0; !is_it && i < count && msgpack_read_str(&reader, &item) == OK; i++) {
            is_it = span_equal(item, address);
        }
    }
    return is_it;
}

static void retire_named(struct retirement *retirement)
{
    struct node *node = retirement->node;
    struct chosen chosen = {0};
    for (uint32_t i = 0; i < view_worker_count(node->core); i++) {
        struct worker_view view;
        bool is_known = view_worker(node->core, view_worker_at(node->core, i), &view);
        ASSERT(is_known);
        if (retirement->names.data != NULL ? names_it(retirement, view.name)
                                           : lists_it(retirement, view.address)) {
            vec_push(&chosen, view.id);
        }
    }
    retire(retirement, (struct worker_list){chosen.items, chosen.count});
    vec_fini(&chosen);
}

static void begin(void *user)
{
    struct retirement *retirement = user;
    if (retirement->node->is_closing) {
        finish(retirement);
    } else if (retirement->names.data != NULL || retirement->workers.data != NULL) {
        retire_named(retirement);
    } else {
        closing_choose(retirement->node, &retirement->question, chosen_by_core, retirement);
    }
}

/* ---- the RPC ------------------------------------------------------------------------------------- */

/* False: the call contradicts itself; the exception is raised. */
static bool check(struct request *request, const struct msg_retire_workers *m)
{
    bool has_names = !msgpack_is_nil(m->names), has_workers = !msgpack_is_nil(m->workers);
    bool has_question = m->memory_ratio >= 0 || m->n >= 0 || m->minimum >= 0 || m->target >= 0 ||
                        !msgpack_is_nil(m->key) || m->attribute.data != NULL;
    if (has_names && has_workers) {
        request_raise_builtin(request, "TypeError", "names and workers are mutually exclusive");
        return false;
    }
    if ((has_names || has_workers) && has_question) {
        request_raise_builtin(
            request, "TypeError",
            "Parameters for workers_to_close() are mutually exclusive with names and workers");
        return false;
    }
    return true;
}

static struct span keep(struct retirement *retirement, struct span value)
{
    return msgpack_is_nil(value) ? (struct span){0} : arena_copy(&retirement->arena, value);
}

void rpc_retire_workers(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_retire_workers *m = &message->body.retire_workers;
    if (!check(request, m)) {
        return;
    }
    struct span key;
    if (!closing_is_native(m->key, &key)) {
        planner_forward(node->planner, request); /* which comes back with the workers' addresses */
        return;
    }
    struct retirement *retirement = mem_zalloc(1, sizeof *retirement);
    arena_init(&retirement->arena);
    retirement->node = node;
    retirement->request = request->number;
    retirement->question = (struct closing_question){
        .memory_ratio = m->memory_ratio,
        .n = m->n,
        .minimum = m->minimum,
        .target = m->target,
        .key = key.size == 0 ? (struct span){0} : arena_copy(&retirement->arena, key),
    };
    retirement->workers = keep(retirement, m->workers);
    retirement->names = keep(retirement, m->names);
    retirement->stimulus = arena_copy(
        &retirement->arena,
        m->stimulus_id.size > 0 ? m->stimulus_id : node_stimulus(node, "retire-workers"));
    retirement->close = m->close_workers;
    retirement->remove = m->remove;
    map_put(&node->retirements, number_name(&retirement->request), NULL)->value.pointer =
        retirement;
    struct text who = {0};
    msgpack_print(&who,
                  retirement->names.data != NULL     ? retirement->names
                  : retirement->workers.data != NULL ? retirement->workers
                                                     : SPAN("\xc0"),
                  300);
    log_info(LOGGER, "Retire worker %s %s", retirement->names.data != NULL ? "names" : "addresses",
             text_cstr(&who));
    text_fini(&who);
    lifecycle_take_turn(node, true, begin, retirement);
}
