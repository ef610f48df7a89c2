/* planner.c: requests to the planner and back, by number.
 *
 * A request is sent as soon as there is a process to send it to, and is pending until its answer comes or
 * the process ends. Nothing is told to its owner inside the call that made it: what fails at once fails
 * from the timer. Queries of the planner become requests of ours, dispatched as any RPC. */
#include "node/planner.h"

#include "base/alloc.h"
#include "base/log.h"
#include "node/node.h"
#include "node/planner_graph.h"
#include "node/planner_process.h"
#include "wire/payload.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.scheduler"

enum pending_kind { PENDING_GRAPH, PENDING_REQUEST, PENDING_FEED, PENDING_WORKERS, PENDING_PRELOAD };

/* A request that the planner has not answered. */
struct pending {
    enum pending_kind kind;
    void *user;
    planner_graph_done *graph_done;
    struct planner_graph_reader graph;
    int graph_error; /* a part was not as it must be: the rest is ignored */
    struct request *request;
    bool is_cancelled; /* a feed whose reader has gone */
    planner_workers_done *workers_done;
    struct slice workers; /* what was asked */
};

/* An RPC that the planner asked for. */
struct query {
    struct planner *planner;
    struct request *request;
    struct slice id; /* raw msgpack; nil: no answer is wanted */
};

struct planner {
    struct node *node;
    struct planner_process *process; /* NULL: none runs */
    struct io_timer *soon;           /* sends the events; fails what could not be sent */
    struct map pending;              /* number (8 bytes) → struct pending * */
    uint64_t number_last;
    struct VEC(struct query *) queries;
    struct outgoing events; /* [name, fields] one after the other, not sent yet */
    uint32_t event_count;
    bool wants[PLANNER_HOOK_COUNT];
    struct map handlers, stream_handlers; /* names that user code added */
    struct text plugins;                  /* their names, for the log */
    struct text start_failure;            /* why no process could be started; empty: none failed */
    bool is_stopping;
};

static const char *const hook_names[PLANNER_HOOK_COUNT] = {
#define PLANNER_HOOK(ID, name) name,
#include "node/planner_hooks.def"
};

/* ---- pending requests -------------------------------------------------------------------------- */

static struct pending *pending_add(struct planner *planner, enum pending_kind kind, uint64_t *out_number)
{
    struct pending *pending = mem_zalloc(1, sizeof *pending);
    pending->kind = kind;
    if (kind == PENDING_GRAPH) {
        planner_graph_init(&pending->graph);
    }
    *out_number = ++planner->number_last;
    map_put(&planner->pending, span_of(out_number, sizeof *out_number), NULL)->value.pointer = pending;
    return pending;
}

static struct pending *pending_find(const struct planner *planner, uint64_t number)
{
    struct map_entry *entry = map_find(&planner->pending, span_of(&number, sizeof number));
    return entry == NULL ? NULL : entry->value.pointer;
}

static void pending_destroy(struct pending *pending)
{
    if (pending->kind == PENDING_GRAPH) {
        planner_graph_fini(&pending->graph);
    }
    slice_fini(&pending->workers);
    mem_free(pending);
}

static struct blob *bin_blob(struct span bytes)
{
    struct text value = {0};
    msgpack_write_bin(&value, bytes);
    struct blob *blob = payload_value(text_span(&value));
    text_fini(&value);
    return blob;
}

/* A graph fails for a reason that is ours to put into words. */
static void fail_graph(struct pending *pending, const char *why)
{
    struct text pickle = {0}, repr = {0};
    pickle_make_exception(&pickle, "builtins", "RuntimeError", span_of_text(why));
    text_add_cstr(&repr, "RuntimeError(");
    key_repr_text(&repr, span_of_text(why));
    text_add_char(&repr, ')');
    struct planner_graph result = {
        .exception = bin_blob(text_span(&pickle)),
        .traceback = payload_nil(),
        .exception_text = text_span(&repr),
    };
    pending->graph_done(pending->user, &result);
    blob_unref(result.exception);
    blob_unref(result.traceback);
    text_fini(&pickle);
    text_fini(&repr);
}

/* Preloads are part of the start: a scheduler without them is not the one that was asked for. */
static void fail_preload(struct planner *planner, const char *why)
{
    log_error(LOGGER, "Preload failed: %s", why);
    planner->node->exit_code = 1;
    node_close(planner->node, "failed preload");
}

static void pending_fail(struct planner *planner, struct pending *pending, const char *why)
{
    switch (pending->kind) {
    case PENDING_GRAPH: fail_graph(pending, why); break;
    case PENDING_REQUEST:
    case PENDING_FEED: request_raise_builtin(pending->request, "RuntimeError", "%s", why); break;
    case PENDING_WORKERS: pending->workers_done(pending->user, slice_span(pending->workers)); break;
    case PENDING_PRELOAD: fail_preload(planner, why); break;
    }
}

static void fail_all(struct planner *planner, const char *why)
{
    struct map failed = planner->pending;
    memset(&planner->pending, 0, sizeof planner->pending); /* an owner may ask again at once */
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&failed, &cursor)) != NULL;) {
        pending_fail(planner, entry->value.pointer, why);
        pending_destroy(entry->value.pointer);
    }
    map_fini(&failed);
}

/* ---- queries: RPCs that the planner asks for --------------------------------------------------- */

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
    int code = request_create(node, &frames, deliver_answer, query, &query->request);
    frames_fini(&frames);
    if (code != OK) {
        log_error(LOGGER, "The planner sent a query that is no call (%s)", error_meaning(code));
        slice_fini(&query->id);
        mem_free(query);
        return;
    }
    vec_push(&planner->queries, query);
    arena_reset(&node->scratch);
    rpc_dispatch(node, query->request);
}

static void abandon_queries(struct planner *planner)
{
    while (planner->queries.count > 0) {
        struct query *query = vec_pop(&planner->queries);
        request_abandon(query->request);
        slice_fini(&query->id);
        mem_free(query);
    }
}

/* ---- what the planner says --------------------------------------------------------------------- */

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

static struct span text_field(struct span map, const char *name)
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

static void give_graph(struct pending *pending, const struct frames *message)
{
    struct span head = frames_head(message);
    struct planner_graph result = {
        .is_ok = true,
        .graph = &pending->graph.graph,
        .seconds = seconds_field(head),
        .annotations = take_field(message, head, "annotations"),
        .code = take_field(message, head, "code"),
        .span_metadata = take_field(message, head, "span_metadata"),
    };
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
        result.exception_text = text_field(error, "exception_text");
        result.traceback_text = text_field(error, "traceback_text");
    }
    if (result.exception == NULL || result.traceback == NULL) {
        fail_graph(pending, "the planner failed without saying why");
    } else {
        pending->graph_done(pending->user, &result);
    }
    blob_unref(result.exception);
    blob_unref(result.traceback);
}

static void end_graph(struct pending *pending, const struct frames *message)
{
    if (!says_ok(frames_head(message))) {
        give_graph_error(pending, message);
        return;
    }
    int code = pending->graph_error;
    if (code == OK) {
        code = planner_graph_finish(&pending->graph, message);
    }
    if (code == OK) {
        give_graph(pending, message);
    } else {
        struct text why = {0};
        text_printf(&why, "the planner sent a graph that cannot be read: %s", error_meaning(code));
        fail_graph(pending, text_cstr(&why));
        text_fini(&why);
    }
}

static void end_request(struct pending *pending, const struct frames *message)
{
    struct span head = frames_head(message);
    struct blob *reply = take_field(message, head, says_ok(head) ? "reply" : "error");
    if (reply == NULL) {
        request_raise_builtin(pending->request, "RuntimeError", "the planner's answer cannot be read");
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

static void end_preload(struct planner *planner, const struct frames *message)
{
    struct span head = frames_head(message), error;
    if (!says_ok(head)) {
        struct span text = {0};
        if (msgpack_find(head, "error", &error) == OK) {
            text = text_field(error, "exception_text");
        }
        struct text why = {0};
        text_add(&why, text);
        fail_preload(planner, text_cstr(&why));
        text_fini(&why);
    }
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
    switch (pending->kind) {
    case PENDING_GRAPH: end_graph(pending, message); break;
    case PENDING_REQUEST:
    case PENDING_FEED: end_request(pending, message); break;
    case PENDING_WORKERS: end_workers(pending, message); break;
    case PENDING_PRELOAD: end_preload(planner, message); break;
    }
    pending_destroy(pending);
}

static void take_part(struct planner *planner, uint64_t number, const struct frames *message)
{
    struct pending *pending = pending_find(planner, number);
    if (pending != NULL && pending->kind == PENDING_GRAPH && pending->graph_error == OK) {
        pending->graph_error = planner_graph_add(&pending->graph, message);
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

/* ---- interest: which hooks and operations user code has ----------------------------------------- */

static void read_names(struct span head, const char *field, void (*each)(struct planner *, struct span),
                       struct planner *planner)
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
        planner->wants[i] |= span_equal_text(name, hook_names[i]);
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
    text_add_cstr(&planner->plugins, planner->plugins.size > 0 ? ", " : "");
    text_add(&planner->plugins, name);
}

static void forget_interest(struct planner *planner)
{
    memset(planner->wants, 0, sizeof planner->wants);
    map_fini(&planner->handlers);
    map_fini(&planner->stream_handlers);
    text_clear(&planner->plugins);
}

static void take_interest(struct planner *planner, struct span head)
{
    forget_interest(planner);
    read_names(head, "hooks", add_hook, planner);
    read_names(head, "handlers", add_handler, planner);
    read_names(head, "stream_handlers", add_stream_handler, planner);
    read_names(head, "plugins", add_plugin, planner);
}

/* ---- the process ------------------------------------------------------------------------------- */

static void on_message(void *user, const struct frames *message)
{
    struct planner *planner = user;
    struct span head = frames_head(message);
    struct span op = text_field(head, "op");
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

static void on_ended(void *user, const char *why)
{
    struct planner *planner = user;
    planner->process = NULL;
    if (!planner->is_stopping) {
        log_error(LOGGER, "%s", why);
        if (planner->plugins.size > 0) {
            log_error(LOGGER, "Scheduler plugins were lost with it: %s", text_cstr(&planner->plugins));
        }
    }
    forget_interest(planner);
    outgoing_clear(&planner->events);
    planner->event_count = 0;
    abandon_queries(planner);
    fail_all(planner, why);
}

static const struct planner_process_events process_events = {
    .message = on_message,
    .ended = on_ended,
};

/* Send a request that is pending; without a process it fails soon. */
static void send(struct planner *planner, struct outgoing *out)
{
    if (planner->process == NULL && !planner->is_stopping && planner->start_failure.size == 0) {
        struct node *node = planner->node;
        int code = planner_process_start(node->loop, node->config, &process_events, planner,
                                         &planner->process, &planner->start_failure);
        if (code != OK) {
            log_error(LOGGER, "%s", text_cstr(&planner->start_failure));
        }
    }
    if (planner->process != NULL && !planner->is_stopping) {
        planner_process_send(planner->process, out);
    } else {
        outgoing_clear(out);
        io_timer_start(planner->soon, 0, 0);
    }
}

/* {"op": op, "id": number, … `more` pairs follow. */
static void begin(struct outgoing *out, const char *op, uint64_t number, uint32_t more)
{
    outgoing_init(out);
    msgpack_write_map(&out->head, 2 + more);
    msgpack_write_cstr(&out->head, "op");
    msgpack_write_cstr(&out->head, op);
    msgpack_write_cstr(&out->head, "id");
    msgpack_write_uint(&out->head, number);
}

static void send_events(struct planner *planner)
{
    if (planner->event_count == 0 || planner->process == NULL) {
        return;
    }
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 3);
    msgpack_write_cstr(&out.head, "op");
    msgpack_write_cstr(&out.head, "events");
    msgpack_write_cstr(&out.head, "id");
    msgpack_write_nil(&out.head);
    msgpack_write_cstr(&out.head, "events");
    msgpack_write_array(&out.head, planner->event_count);
    msgpack_write_raw(&out.head, text_span(&planner->events.head));
    for (uint32_t i = 0; i < planner->events.frames.count; i++) {
        outgoing_add_frame(&out, slice_ref(planner->events.frames.items[i]));
    }
    outgoing_clear(&planner->events);
    planner->event_count = 0;
    planner_process_send(planner->process, &out);
    outgoing_fini(&out);
}

static void on_soon(void *user)
{
    struct planner *planner = user;
    send_events(planner);
    if (planner->is_stopping) {
        fail_all(planner, "the scheduler is closing");
    } else if (planner->start_failure.size > 0) {
        struct text why = planner->start_failure;
        memset(&planner->start_failure, 0, sizeof planner->start_failure); /* the next one tries again */
        fail_all(planner, text_cstr(&why));
        text_fini(&why);
    }
}

/* ---- requests ---------------------------------------------------------------------------------- */

/* Append a field that may point to frames of `message`. */
static int put_field(struct outgoing *out, const struct frames *message, const char *name, struct span raw)
{
    struct blob *blob;
    int code = payload_take(message, raw, &blob);
    if (code == OK) {
        msgpack_write_cstr(&out->head, name);
        payload_put(out, blob);
        blob_unref(blob);
    }
    return code;
}

void planner_materialise(struct planner *planner, const struct planner_graph_request *graph,
                         planner_graph_done *done, void *user)
{
    const struct {
        const char *name;
        struct span raw;
    } fields[] = {
        {"expr_ser", graph->expr_ser},
        {"annotations", graph->annotations},
        {"code", graph->code},
        {"span_metadata", graph->span_metadata},
    };
    uint32_t count = 0;
    for (uint32_t i = 0; i < 4; i++) {
        count += fields[i].raw.size > 0;
    }
    uint64_t number;
    struct pending *pending = pending_add(planner, PENDING_GRAPH, &number);
    pending->graph_done = done;
    pending->user = user;
    struct outgoing out;
    begin(&out, "materialise", number, count);
    int code = OK;
    for (uint32_t i = 0; i < 4 && code == OK; i++) {
        if (fields[i].raw.size > 0) {
            code = put_field(&out, graph->message, fields[i].name, fields[i].raw);
        }
    }
    if (code == OK) {
        send(planner, &out);
    } else {
        pending->graph_error = code;
        io_timer_start(planner->soon, 0, 0);
    }
    outgoing_fini(&out);
}

/* A field of a call that is not an argument of it. */
static bool is_control(struct span name)
{
    return span_equal_text(name, "op") || span_equal_text(name, "reply") || span_equal_text(name, "close");
}

/* Append the pairs of a map, without control fields; gives their number. */
static uint32_t put_arguments(struct text *out, struct span map)
{
    struct msgpack_reader reader = msgpack_reader(map);
    uint32_t count = 0, kept = 0;
    struct span name, value;
    if (msgpack_read_map(&reader, &count) != OK) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(&reader, &name) != OK || msgpack_read_value(&reader, &value) != OK) {
            break; /* the call was decoded before: this does not happen */
        }
        if (!is_control(name)) {
            msgpack_write_str(out, name);
            msgpack_write_raw(out, value);
            kept++;
        }
    }
    return kept;
}

static void put_frames(struct outgoing *out, const struct frames *message)
{
    for (uint32_t i = 1; i < message->count; i++) {
        outgoing_add_frame(out, slice_ref(message->items[i]));
    }
}

static void forward_known(struct planner *planner, struct request *request, const char *op)
{
    bool is_feed = span_equal_text(request->op, "feed");
    uint64_t number;
    struct pending *pending =
        pending_add(planner, is_feed ? PENDING_FEED : PENDING_REQUEST, &number);
    pending->request = request;
    struct text arguments = {0};
    uint32_t count = put_arguments(&arguments, frames_head(&request->message));
    struct outgoing out;
    begin(&out, op, number, count);
    msgpack_write_raw(&out.head, text_span(&arguments));
    put_frames(&out, &request->message);
    send(planner, &out);
    outgoing_fini(&out);
    text_fini(&arguments);
}

/* "message": the arguments, and `extra` ({peer_field: peer}) if given. */
static void put_handler_call(struct outgoing *out, struct span op, struct span map, const char *peer_field,
                             struct span peer)
{
    struct text arguments = {0};
    uint32_t count = put_arguments(&arguments, map);
    msgpack_write_cstr(&out->head, "name");
    msgpack_write_str(&out->head, op);
    msgpack_write_cstr(&out->head, "message");
    msgpack_write_map(&out->head, count + (peer_field != NULL));
    if (peer_field != NULL) {
        msgpack_write_cstr(&out->head, peer_field);
        msgpack_write_raw(&out->head, peer);
    }
    msgpack_write_raw(&out->head, text_span(&arguments));
    text_fini(&arguments);
}

static void forward_added(struct planner *planner, struct request *request)
{
    uint64_t number;
    struct pending *pending = pending_add(planner, PENDING_REQUEST, &number);
    pending->request = request;
    struct connection *connection = connection_of(request);
    struct outgoing out;
    begin(&out, "handler", number, 3);
    put_handler_call(&out, request->op, frames_head(&request->message), NULL, (struct span){0});
    msgpack_write_cstr(&out.head, "peer");
    msgpack_write_cstr(&out.head, connection == NULL ? "" : comm_peer(connection_comm(connection)));
    put_frames(&out, &request->message);
    send(planner, &out);
    outgoing_fini(&out);
}

void planner_forward(struct planner *planner, struct request *request)
{
    static const char *const known[] = {
        "run_function",       "feed", "register_scheduler_plugin", "unregister_scheduler_plugin",
        "performance_report", "dump_cluster_state_to_url", "workers_to_close",
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (span_equal_text(request->op, known[i])) {
            forward_known(planner, request, known[i]);
            return;
        }
    }
    forward_added(planner, request);
}

bool planner_has_handler(const struct planner *planner, struct span op)
{
    return map_find(&planner->handlers, op) != NULL;
}

bool planner_has_stream_handler(const struct planner *planner, struct span op)
{
    return map_find(&planner->stream_handlers, op) != NULL;
}

void planner_stream_message(struct planner *planner, const struct frames *message, struct span map,
                            const char *peer_field, struct span peer)
{
    if (planner->process == NULL) {
        return;
    }
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, 5);
    msgpack_write_cstr(&out.head, "op");
    msgpack_write_cstr(&out.head, "handler");
    msgpack_write_cstr(&out.head, "id");
    msgpack_write_nil(&out.head);
    put_handler_call(&out, text_field(map, "op"), map, peer_field, peer);
    msgpack_write_cstr(&out.head, "stream");
    msgpack_write_bool(&out.head, true);
    put_frames(&out, message);
    planner_process_send(planner->process, &out);
    outgoing_fini(&out);
}

/* ---- hooks ------------------------------------------------------------------------------------- */

bool planner_wants(const struct planner *planner, enum planner_hook hook)
{
    return planner->wants[hook];
}

struct outgoing *planner_event(struct planner *planner, enum planner_hook hook)
{
    ASSERT(planner->wants[hook]);
    if (planner->event_count++ == 0) {
        io_timer_start(planner->soon, 0, 0);
    }
    msgpack_write_array(&planner->events.head, 2);
    msgpack_write_cstr(&planner->events.head, hook_names[hook]);
    return &planner->events;
}

void planner_valid_workers(struct planner *planner, struct span addresses, planner_workers_done *done,
                           void *user)
{
    send_events(planner);
    uint64_t number;
    struct pending *pending = pending_add(planner, PENDING_WORKERS, &number);
    pending->workers_done = done;
    pending->user = user;
    pending->workers = slice_copy(addresses);
    struct outgoing out;
    begin(&out, "valid_workers", number, 1);
    msgpack_write_cstr(&out.head, "workers");
    msgpack_write_raw(&out.head, addresses);
    send(planner, &out);
    outgoing_fini(&out);
}

/* ---- life -------------------------------------------------------------------------------------- */

/* The setting distributed.scheduler.preload: nil or empty means none. */
static void start_preloads(struct planner *planner)
{
    const struct config *config = planner->node->config;
    struct text preload = {0}, argv = {0};
    config_write(config, "distributed.scheduler.preload", &preload);
    config_write(config, "distributed.scheduler.preload-argv", &argv);
    struct msgpack_reader reader = msgpack_reader(text_span(&preload));
    uint32_t count = 0;
    bool is_list = msgpack_read_array(&reader, &count) == OK;
    if (is_list ? count > 0 : msgpack_peek(&reader) == MSGPACK_STR) {
        uint64_t number;
        pending_add(planner, PENDING_PRELOAD, &number);
        struct outgoing out;
        begin(&out, "preload", number, 2);
        msgpack_write_cstr(&out.head, "preload");
        msgpack_write_raw(&out.head, text_span(&preload));
        msgpack_write_cstr(&out.head, "preload_argv");
        if (argv.size == 0) {
            msgpack_write_nil(&out.head);
        }
        msgpack_write_raw(&out.head, text_span(&argv));
        send(planner, &out);
        outgoing_fini(&out);
    }
    text_fini(&preload);
    text_fini(&argv);
}

struct planner *planner_create(struct node *node)
{
    struct planner *planner = mem_zalloc(1, sizeof *planner);
    planner->node = node;
    planner->soon = io_timer_create(node->loop, on_soon, planner);
    outgoing_init(&planner->events);
    start_preloads(planner);
    return planner;
}

static void tell_close(struct planner *planner, enum planner_hook hook)
{
    if (planner->wants[hook]) {
        msgpack_write_map(&planner_event(planner, hook)->head, 0);
    }
}

void planner_stop(struct planner *planner)
{
    if (planner->is_stopping) {
        return;
    }
    if (planner->process != NULL) {
        tell_close(planner, PLANNER_HOOK_BEFORE_CLOSE);
        tell_close(planner, PLANNER_HOOK_CLOSE);
        send_events(planner);
        planner_process_close(planner->process);
    }
    planner->is_stopping = true;
    io_timer_start(planner->soon, 0, 0);
}

void planner_destroy(struct planner *planner)
{
    if (planner == NULL) {
        return;
    }
    if (planner->process != NULL) {
        planner_process_destroy(planner->process);
        planner->process = NULL;
    }
    abandon_queries(planner);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&planner->pending, &cursor)) != NULL;) {
        pending_destroy(entry->value.pointer);
    }
    map_fini(&planner->pending);
    forget_interest(planner);
    vec_fini(&planner->queries);
    outgoing_fini(&planner->events);
    text_fini(&planner->plugins);
    text_fini(&planner->start_failure);
    io_timer_destroy(planner->soon);
    mem_free(planner);
}
