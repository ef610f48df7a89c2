/* topics_notice.c: what the core notices, in the words and under the topics of stock.
 * Source: the log_event calls of distributed scheduler.py, stealing.py, shuffle/_scheduler_plugin.py. */
#include "node/node.h"
#include "node/topics.h"

/* An event being written: a map whose size is known at the end. */
struct draft {
    struct text pairs;
    uint32_t count;
};

static struct text *pair(struct draft *draft, const char *name)
{
    draft->count++;
    msgpack_write_cstr(&draft->pairs, name);
    return &draft->pairs;
}

static struct draft draft_of(const char *action)
{
    struct draft draft = {0};
    msgpack_write_cstr(pair(&draft, "action"), action);
    return draft;
}

static struct blob *draft_blob(const struct draft *draft)
{
    struct text map = {0};
    msgpack_write_map(&map, draft->count);
    msgpack_write_raw(&map, text_span(&draft->pairs));
    struct blob *blob = payload_value(text_span(&map));
    text_fini(&map);
    return blob;
}

/* File it under the str `topic`, unless there is none (nobody's); the draft stays. */
static void file(struct topics *topics, const struct draft *draft, struct span topic)
{
    struct text name = {0};
    if (topic.size == 0) {
        return;
    }
    struct blob *blob = draft_blob(draft);
    msgpack_write_str(&name, topic);
    topics_log(topics, text_span(&name), blob);
    blob_unref(blob);
    text_fini(&name);
}

static void put_keys(struct text *out, struct span_list keys)
{
    msgpack_write_array(out, keys.count);
    for (uint32_t i = 0; i < keys.count; i++) {
        msgpack_write_raw(out, keys.items[i]);
    }
}

/* A Python set. */
static void put_key_set(struct text *out, struct span_list keys)
{
    msgpack_write_map(out, 2);
    msgpack_write_cstr(out, "__Set__");
    msgpack_write_bool(out, true);
    msgpack_write_cstr(out, "as-list");
    put_keys(out, keys);
}

static struct span address_of(struct topics *topics, worker_id worker)
{
    return worker == WORKER_NONE ? (struct span){0}
                                 : view_worker_address(topics_node(topics)->core, worker);
}

static struct span client_name(struct topics *topics, client_id client)
{
    struct client_view view = {0};
    if (client != CLIENT_NONE) {
        view_client(topics_node(topics)->core, client, &view);
    }
    return view.name;
}

static void worker_added(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of("add-worker");
    struct span address = address_of(topics, notice->worker);
    file(topics, &draft, address);
    msgpack_write_str(pair(&draft, "worker"), address);
    file(topics, &draft, SPAN("all"));
    text_fini(&draft.pairs);
}

/* What the worker processed, and what was lost with it. */
static struct draft draft_of_losses(const struct notice *notice, const char *action)
{
    struct draft draft = draft_of(action);
    put_key_set(pair(&draft, "processing-tasks"), notice->busy);
    put_key_set(pair(&draft, "lost-computed-tasks"), notice->keys);
    put_key_set(pair(&draft, "lost-scattered-tasks"), notice->more_keys);
    msgpack_write_str(pair(&draft, "stimulus_id"), notice->stimulus);
    msgpack_write_bool(pair(&draft, "expected"), notice->flag);
    return draft;
}

static void worker_removed(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of_losses(notice, "remove-worker");
    struct span address = address_of(topics, notice->worker);
    file(topics, &draft, address);
    msgpack_write_str(pair(&draft, "worker"), address);
    file(topics, &draft, SPAN("all"));
    text_fini(&draft.pairs);
    topics_leaves(topics, address);
}

/* Of one that had much, piece by piece; stock has it all in "remove-worker". */
static void worker_losses(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of_losses(notice, "remove-worker-tasks");
    struct span address = address_of(topics, notice->worker);
    file(topics, &draft, address);
    msgpack_write_str(pair(&draft, "worker"), address);
    file(topics, &draft, SPAN("all"));
    text_fini(&draft.pairs);
}

static void worker_status(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of("worker-status-change");
    msgpack_write_str(pair(&draft, "prev-status"), notice->text);
    msgpack_write_str(pair(&draft, "status"), notice->text2);
    msgpack_write_str(pair(&draft, "stimulus_id"), notice->stimulus);
    file(topics, &draft, address_of(topics, notice->worker));
    text_fini(&draft.pairs);
}

static void client_came_or_went(struct topics *topics, const struct notice *notice,
                                const char *action)
{
    struct draft draft = draft_of(action);
    struct span name = client_name(topics, notice->client);
    msgpack_write_str(pair(&draft, "client"), name);
    file(topics, &draft, SPAN("all"));
    file(topics, &draft, name);
    text_fini(&draft.pairs);
    if (notice->kind == NOTICE_CLIENT_REMOVED) {
        topics_leaves(topics, name);
    }
}

static void graph(struct topics *topics, const struct notice *notice, const char *status)
{
    struct draft draft = draft_of("update-graph");
    msgpack_write_str(pair(&draft, "stimulus_id"), notice->stimulus);
    if (notice->kind == NOTICE_GRAPH_ADDED) {
        struct text *metrics = pair(&draft, "metrics");
        msgpack_write_map(metrics, 3);
        msgpack_write_cstr(metrics, "tasks");
        msgpack_write_int(metrics, notice->number);
        msgpack_write_cstr(metrics, "new_tasks");
        msgpack_write_int(metrics, notice->number2);
        msgpack_write_cstr(metrics, "key_collisions");
        msgpack_write_int(metrics, notice->number3);
    }
    msgpack_write_cstr(pair(&draft, "status"), status);
    file(topics, &draft, SPAN("scheduler"));
    file(topics, &draft, client_name(topics, notice->client));
    text_fini(&draft.pairs);
}

static void counted(struct topics *topics, const struct notice *notice, const char *action)
{
    struct draft draft = draft_of(action);
    msgpack_write_int(pair(&draft, "count"), notice->number);
    if (notice->kind == NOTICE_CANCELLED) {
        msgpack_write_bool(pair(&draft, "force"), notice->flag);
    }
    file(topics, &draft, client_name(topics, notice->client));
    text_fini(&draft.pairs);
}

static void ttl(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of("worker-ttl-timed-out");
    struct text *workers = pair(&draft, "workers");
    msgpack_write_array(workers, 1);
    msgpack_write_str(workers, address_of(topics, notice->worker));
    msgpack_write_float(pair(&draft, "ttl"), view_config(topics_node(topics)->core)->worker_ttl);
    file(topics, &draft, SPAN("scheduler"));
    text_fini(&draft.pairs);
}

static void no_workers(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of("no-workers-timeout-exceeded");
    put_keys(pair(&draft, "keys"), notice->keys);
    file(topics, &draft, SPAN("scheduler"));
    text_fini(&draft.pairs);
}

static void retired(struct topics *topics, const struct notice *notice)
{
    struct draft draft = draft_of(notice->flag ? "retired" : "could-not-retire");
    msgpack_write_str(pair(&draft, "stimulus_id"), notice->stimulus);
    file(topics, &draft, address_of(topics, notice->worker));
    text_fini(&draft.pairs);
}

/* ["request", [[time, level, key, cost, victim, its occupancy, thief, its occupancy], …]] */
static void put_steal_requests(struct topics *topics, struct text *out, const struct notice *notice)
{
    msgpack_write_array(out, 2);
    msgpack_write_str(out, notice->text);
    msgpack_write_array(out, notice->steal_count);
    for (uint32_t i = 0; i < notice->steal_count; i++) {
        const struct steal_note *steal = &notice->steals[i];
        msgpack_write_array(out, 8);
        msgpack_write_float(out, notice->time);
        msgpack_write_int(out, steal->level);
        msgpack_write_raw(out, steal->key);
        msgpack_write_float(out, steal->cost);
        msgpack_write_str(out, address_of(topics, steal->victim));
        msgpack_write_float(out, steal->victim_occupancy);
        msgpack_write_str(out, address_of(topics, steal->thief));
        msgpack_write_float(out, steal->thief_occupancy);
    }
}

/* What came of one request: ["confirm" | "already-computing", key, state, victim, thief, stimulus];
 * "reschedule" has after the word whether the thief is gone; late answers name who answered alone. */
static void put_steal_outcome(struct topics *topics, struct text *out, const struct notice *notice)
{
    bool is_late = notice->worker2 == WORKER_NONE;
    bool is_rescheduled = span_equal_text(notice->text, "reschedule");
    msgpack_write_array(out, is_late ? 5 : is_rescheduled ? 7 : 6);
    msgpack_write_str(out, notice->text);
    if (is_rescheduled) {
        msgpack_write_bool(out, notice->flag);
    }
    msgpack_write_raw(out, notice->keys.items[0]);
    if (notice->text2.size == 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_str(out, notice->text2);
    }
    msgpack_write_str(out, address_of(topics, notice->worker));
    if (!is_late) {
        msgpack_write_str(out, address_of(topics, notice->worker2));
    }
    msgpack_write_str(out, notice->stimulus);
}

/* Stock logs tuples under "stealing". */
static void steal(struct topics *topics, const struct notice *notice)
{
    struct text value = {0};
    if (notice->steal_count > 0) {
        put_steal_requests(topics, &value, notice);
    } else {
        put_steal_outcome(topics, &value, notice);
    }
    topics_log_value(topics, "stealing", text_span(&value));
    text_fini(&value);
}

static void shuffle(struct topics *topics, const struct notice *notice)
{
    struct draft draft = {0};
    msgpack_write_str(pair(&draft, "action"), notice->text);
    msgpack_write_str(pair(&draft, "shuffle"), notice->text2);
    msgpack_write_str(pair(&draft, "stimulus"), notice->stimulus);
    file(topics, &draft, SPAN("p2p"));
    text_fini(&draft.pairs);
}

void topics_notice(struct topics *topics, const struct notice *notice)
{
    switch (notice->kind) {
    case NOTICE_WORKER_ADDED:
        worker_added(topics, notice);
        break;
    case NOTICE_WORKER_REMOVED:
        worker_removed(topics, notice);
        break;
    case NOTICE_WORKER_LOSSES:
        worker_losses(topics, notice);
        break;
    case NOTICE_WORKER_STATUS:
        worker_status(topics, notice);
        break;
    case NOTICE_CLIENT_ADDED:
        client_came_or_went(topics, notice, "add-client");
        break;
    case NOTICE_CLIENT_REMOVED:
        client_came_or_went(topics, notice, "remove-client");
        break;
    case NOTICE_GRAPH_ADDED:
        graph(topics, notice, "OK");
        break;
    case NOTICE_GRAPH_CANCELLED:
        graph(topics, notice, "cancelled");
        break;
    case NOTICE_GRAPH_FAILED:
        graph(topics, notice, "error");
        break;
    case NOTICE_CANCELLED:
        counted(topics, notice, "cancel");
        break;
    case NOTICE_RETRIED:
        counted(topics, notice, "retry");
        break;
    case NOTICE_STEAL:
        steal(topics, notice);
        break;
    case NOTICE_TTL:
        ttl(topics, notice);
        break;
    case NOTICE_NO_WORKERS_TIMEOUT:
        no_workers(topics, notice);
        break;
    case NOTICE_RETIRED:
        retired(topics, notice);
        break;
    case NOTICE_SHUFFLE:
        shuffle(topics, notice);
        break;
    case NOTICE_REPLICATE:  /* stock logs nothing of the memory manager's single moves */
    case NOTICE_TRANSITION: /* plugins' business */
    case NOTICE_TASK_DONE:
        break; /* the task stream's */
    }
}
