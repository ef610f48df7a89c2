/* planner_answers.c: what the planner says: answers to our requests, its own queries, and which
 * hooks and operations the user code inside it has. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/connection.h"
#include "node/planner_internal.h"
#include "wire/payload.h"

#define LOGGER "distributed.scheduler"

/* ---- queries: RPCs that the planner asks for ---- */

static void query_destroy(struct query *query)
{
    struct planner *planner = query->planner;
    for (uint32_t i = 0; i < planner->queries.count; i++) {
        if (planner->queries.items[i] == query) {
            vec_swap_remove(&planner->queries, i);
            break;
        }
    }
    slice_fini(&query->id);
    mem_free(query);
}

static void deliver_answer(void *user, struct request *request, struct outgoing *answer)
{
    (void)request;
    struct query *query = user;
    struct planner *planner = query->planner;
    if (!msgpack_is_nil(slice_span(query->id)) && planner->process != NULL) {
        struct outgoing out;
        outgoing_init(&out);
        msgpack_write_map(&out.head, 3);
        msgpack_write_cstr(&out.head, "op");
        msgpack_write_cstr(&out.head, "answer");
        msgpack_write_cstr(&out.head, "id");
        msgpack_write_raw(&out.head, slice_span(query->id));
        msgpack_write_cstr(&out.head, "reply");
        msgpack_write_raw(&out.head, text_span(&answer->head));
        for (uint32_t i = 0; i < answer->frames.count; i++) {
            outgoing_add_frame(&out, slice_ref(answer->frames.items[i]));
        }
        planner_process_send(planner->process, &out);
        outgoing_fini(&out);
    }
    query_destroy(query);
}

/* Part of a frame as a slice of its own. */
static struct slice slice_part(const struct slice *whole, struct span part)
{
    return whole->owner != NULL ? slice_create(whole->owner, part) : slice_copy(part);
}

static void take_query(struct planner *planner, const struct frames *message)
{
    struct span head = frames_head(message), id, call;
    if (msgpack_find(head, "id", &id) != OK || msgpack_find(head, "call", &call) != OK) {
        log_error(LOGGER, "The planner sent a query without id or call");
        return;
    }
    struct frames frames = {0};
    frames_add(&frames, slice_part(&message->items[0], call));
    for (uint32_t i = 1; i < message->count; i++) {
        frames_add(&frames, slice_ref(message->items[i]));
    }
    struct query *query = mem_zalloc(1, sizeof *query);
    query->planner = planner;
    query->id = slice_copy(id);
    struct node *node = planner->node;
    int code = request_create(&node->server, &frames, deliver_answer, query, &query->request);
    frames_fini(&frames);
    if (code != OK) {
        log_error(LOGGER, "The planner sent a query that is no call (%s)", error_meaning(code));
        slice_fini(&query->id);
        mem_free(query);
        return;
    }
    vec_push(&planner->queries, query);
    arena_reset(&node->scratch);
    request_dispatch(query->request);
}

void planner_abandon_queries(struct planner *planner)
{
    while (planner->queries.count > 0) {
        struct query *query = vec_pop(&planner->queries);
        request_abandon(query->request);
        slice_fini(&query->id);
        mem_free(query);
    }
}

/* ---- what the planner says ---- */

static bool read_number(struct span head, uint64_t *out_number)
{
    struct span raw;
    if (msgpack_find(head, "id", &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_uint(&reader, out_number) == OK;
}

static bool says_ok(struct span head)
{
    struct span raw, status;
    if (msgpack_find(head, "status", &raw) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    return msgpack_read_str(&reader, &status) == OK && span_equal_text(status, "OK");
}

/* A field as a blob, or NULL if it is absent or malformed. */
static struct blob *take_field(const struct frames *message, struct span map, const char *name)
{
    struct span raw;
    struct blob *blob;
    if (msgpack_find(map, name, &raw) != OK || payload_take(message, raw, &blob) != OK) {
        return NULL;
    }
    return blob;
}

struct span planner_text_field(struct span map, const char *name)
{
    struct span raw, text = {0};
    if (msgpack_find(map, name, &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_str(&reader, &text) != OK) {
            return (struct span){0};
        }
    }
    return text;
}

static double seconds_field(struct span map)
{
    struct span raw;
    double seconds = 0;
    if (msgpack_find(map, "seconds", &raw) == OK) {
        struct msgpack_reader reader = msgpack_reader(raw);
        if (msgpack_read_float(&reader, &seconds) != OK) {
            return 0;
        }
    }
    return seconds;
}

static void give_graph(struct pending *pending, struct flat_graph *graph,
                       const struct frames *message)
{
    struct span head = frames_head(message);
    struct planner_graph result = {
        .is_ok = true,
        .graph = graph,
        .seconds = seconds_field(head),
        .annotations = take_field(message, head, "annotations"),
        .code = take_field(message, head, "code"),
        .span_metadata = take_field(message, head, "span_metadata"),
    };
    struct planner_work *work = &pending->planner->work;
    work->graphs++;
    work->tasks += graph->task_count;
    work->seconds += result.seconds;
    pending->graph_done(pending->user, &result);
    blob_unref(result.annotations);
    blob_unref(result.code);
    blob_unref(result.span_metadata);
}

/* The user's graph failed in the planner: hand on what it raised. */
static void give_graph_error(struct pending *pending, const struct frames *message)
{
    struct span error;
    struct planner_graph result = {0};
    if (msgpack_find(frames_head(message), "error", &error) == OK) {
        result.exception = take_field(message, error, "exception");
        result.traceback = take_field(message, error, "traceback");
        result.exception_text = planner_text_field(error, "exception_text");
        result.traceback_text = planner_text_field(error, "traceback_text");
    }
    if (result.exception == NULL || result.traceback == NULL) {
        planner_fail_graph(pending, "the planner failed without saying why");
    } else {
        pending->graph_done(pending->user, &result);
    }
    blob_unref(result.exception);
    blob_unref(result.traceback);
}

/* The thread has put it together. */
static void assembled(void *user, int code, struct flat_graph *graph, const struct frames *last)
{
    struct pending *pending = user;
    struct planner *planner = pending->planner;
    for (uint32_t i = 0; i < planner->ending.count; i++) {
        if (planner->ending.items[i] == pending) {
            vec_swap_remove(&planner->ending, i);
            break;
        }
    }
    pending->graph = NULL; /* it ends by itself */
    if (code == OK) {
        give_graph(pending, graph, last);
    } else if (code == ERR_UNSUPPORTED) {
        struct planner_graph again = {.is_uncut = true};
        pending->graph_done(pending->user, &again);
    } else {
        struct text why = {0};
        text_printf(&why, "the planner sent a graph that cannot be read: %s", error_meaning(code));
        planner_fail_graph(pending, text_cstr(&why));
        text_fini(&why);
    }
    pending_destroy(pending);
}

/* True: it goes on by itself. */
static bool end_graph(struct pending *pending, const struct frames *message)
{
    if (!says_ok(frames_head(message))) {
        give_graph_error(pending, message);
        return false;
    }
    vec_push(&pending->planner->ending, pending);
    assembly_end(pending->graph, message, assembled, pending);
    return true;
}

/* The answer to a registration is the name, or nil if the plugin was there; clients are not told. */
static void end_registration(struct planner *planner, struct pending *pending, struct span head)
{
    struct span name = planner_text_field(head, "reply");
    if (name.data != NULL) {
        planner_keep_plugin(planner, name, pending->request);
    }
    request_reply_nil(pending->request);
}

static void end_request(struct planner *planner, struct pending *pending,
                        const struct frames *message)
{
    struct span head = frames_head(message);
    if (says_ok(head) && span_equal_text(pending->request->op, "register_scheduler_plugin")) {
        end_registration(planner, pending, head);
        return;
    }
    struct blob *reply = take_field(message, head, says_ok(head) ? "reply" : "error");
    if (reply == NULL) {
        request_raise_builtin(pending->request, "RuntimeError",
                              "the planner's answer cannot be read");
        return;
    }
    request_reply_blob(pending->request, reply);
    blob_unref(reply);
}

static void end_workers(struct pending *pending, const struct frames *message)
{
    struct span head = frames_head(message), reply;
    if (!says_ok(head) || msgpack_find(head, "reply", &reply) != OK) {
        log_warning(LOGGER, "Plugins could not say which workers may close");
        reply = slice_span(pending->workers);
    }
    pending->workers_done(pending->user, reply);
}

/* Something was loaded, now or again: true, or why not. */
static bool was_loaded(const struct frames *message, struct text *why)
{
    struct span head = frames_head(message), error;
    bool is_ok = says_ok(head);
    if (!is_ok && msgpack_find(head, "error", &error) == OK) {
        text_add(why, planner_text_field(error, "exception_text"));
    }
    return is_ok;
}

static void end_load(struct planner *planner, struct pending *pending, const struct frames *message)
{
    struct text why = {0};
    bool is_loaded = was_loaded(message, &why);
    if (pending->kind == PENDING_RESTORE) {
        planner_restore_answered(planner, pending, is_loaded ? NULL : text_cstr(&why));
    } else if (!is_loaded) {
        planner_fail_preload(planner, pending, text_cstr(&why));
    }
    text_fini(&why);
}

/* The last message about a request. */
static void take_end(struct planner *planner, uint64_t number, const struct frames *message)
{
    struct pending *pending = pending_find(planner, number);
    if (pending == NULL) {
        log_error(LOGGER, "The planner answered request %llu, which is not open",
                  (unsigned long long)number);
        return;
    }
    map_remove(&planner->pending, span_of(&number, sizeof number));
    if (pending->kind != PENDING_RESTORE) {
        planner_finished_request(planner);
    }
    switch (pending->kind) {
    case PENDING_GRAPH:
        if (end_graph(pending, message)) {
            return;
        }
        break;
    case PENDING_REQUEST:
    case PENDING_FEED:
        end_request(planner, pending, message);
        break;
    case PENDING_WORKERS:
        end_workers(pending, message);
        break;
    case PENDING_PRELOAD:
    case PENDING_RESTORE:
        end_load(planner, pending, message);
        break;
    }
    pending_destroy(pending);
}

static void take_part(struct planner *planner, uint64_t number, const struct frames *message)
{
    struct pending *pending = pending_find(planner, number);
    if (pending != NULL && pending->kind == PENDING_GRAPH) {
        assembly_add(pending->graph, message);
    }
}

static void cancel(struct planner *planner, uint64_t number)
{
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 2);
    msgpack_write_cstr(&out.head, "op");
    msgpack_write_cstr(&out.head, "cancel");
    msgpack_write_cstr(&out.head, "id");
    msgpack_write_uint(&out.head, number);
    planner_process_send(planner->process, &out);
    outgoing_fini(&out);
}

/* One item of a feed: a message of its connection. */
static void take_feed_item(struct planner *planner, uint64_t number, const struct frames *message)
{
    struct pending *pending = pending_find(planner, number);
    if (pending == NULL || pending->kind != PENDING_FEED) {
        return;
    }
    struct connection *connection = connection_of(pending->request);
    if (connection == NULL) {
        if (!pending->is_cancelled) {
            pending->is_cancelled = true;
            cancel(planner, number);
        }
        return;
    }
    struct blob *item = take_field(message, frames_head(message), "item");
    if (item != NULL) {
        struct outgoing out;
        outgoing_init(&out);
        payload_put(&out, item);
        comm_send(connection_comm(connection), &out);
        outgoing_fini(&out);
        blob_unref(item);
    }
}

/* ---- interest: which hooks and operations user code has ---- */

static void read_names(struct span head, const char *field,
                       void (*each)(struct planner *, struct span), struct planner *planner)
{
    struct span raw, name;
    uint32_t count;
    if (msgpack_find(head, field, &raw) != OK) {
        return;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    if (msgpack_read_array(&reader, &count) != OK) {
        return;
    }
    for (uint32_t i = 0; i < count && msgpack_read_str(&reader, &name) == OK; i++) {
        each(planner, name);
    }
}

static void add_hook(struct planner *planner, struct span name)
{
    for (uint32_t i = 0; i < PLANNER_HOOK_COUNT; i++) {
        planner->wants[i] |= span_equal_text(name, planner_hook_names[i]);
    }
}

static void add_handler(struct planner *planner, struct span name)
{
    map_put(&planner->handlers, name, NULL);
}

static void add_stream_handler(struct planner *planner, struct span name)
{
    map_put(&planner->stream_handlers, name, NULL);
}

static void add_plugin(struct planner *planner, struct span name)
{
    map_put(&planner->plugins, name, NULL);
}

void planner_forget_interest(struct planner *planner)
{
    memset(planner->wants, 0, sizeof planner->wants);
    map_fini(&planner->handlers);
    map_fini(&planner->stream_handlers);
    map_fini(&planner->plugins);
    scheduler_want_transitions(planner->node->core, false);
}

static void take_interest(struct planner *planner, struct span head)
{
    planner_forget_interest(planner);
    read_names(head, "hooks", add_hook, planner);
    read_names(head, "handlers", add_handler, planner);
    read_names(head, "stream_handlers", add_stream_handler, planner);
    read_names(head, "plugins", add_plugin, planner);
    planner_forget_plugins(planner);
    scheduler_want_transitions(planner->node->core, planner->wants[PLANNER_HOOK_TRANSITION]);
}

/* ---- every message ---- */

void planner_take_message(struct planner *planner, const struct frames *message)
{
    struct span head = frames_head(message);
    struct span op = planner_text_field(head, "op");
    uint64_t number = 0;
    if (span_equal_text(op, "query")) {
        take_query(planner, message);
    } else if (span_equal_text(op, "interest")) {
        take_interest(planner, head);
    } else if (!read_number(head, &number)) {
        log_error(LOGGER, "The planner sent a message that answers nothing");
    } else if (span_equal_text(op, "graph-part")) {
        take_part(planner, number, message);
    } else if (span_equal_text(op, "feed-item")) {
        take_feed_item(planner, number, message);
    } else {
        take_end(planner, number, message);
    }
}
