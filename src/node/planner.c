/* planner.c: requests to the planner and back, by number.
 *
 * A request is sent as soon as there is a process to send it to, and is pending until its answer
 * comes or the process ends. Nothing is told to its owner inside the call that made it: what
 * fails at once fails from the timer. Queries of the planner become requests of ours, dispatched
 * as any RPC. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/connection.h"
#include "node/planner_internal.h"
#include "wire/payload.h"
#include "wire/pickle_make.h"

#define LOGGER "distributed.scheduler"

const char *const planner_hook_names[PLANNER_HOOK_COUNT] = {
#define PLANNER_HOOK(ID, name) name,
#include "node/planner_hooks.def"
};

/* ---- pending requests ---- */

struct pending *pending_add(struct planner *planner, enum pending_kind kind, uint64_t *out_number)
{
    struct pending *pending = mem_zalloc(1, sizeof *pending);
    pending->kind = kind;
    pending->planner = planner;
    pending->graph = kind == PENDING_GRAPH ? assembly_create(planner->node->loop) : NULL;
    *out_number = ++planner->number_last;
    map_put(&planner->pending, span_of(out_number, sizeof *out_number), NULL)->value.pointer =
        pending;
    return pending;
}

struct pending *pending_find(const struct planner *planner, uint64_t number)
{
    struct map_entry *entry = map_find(&planner->pending, span_of(&number, sizeof number));
    return entry == NULL ? NULL : entry->value.pointer;
}

void pending_destroy(struct pending *pending)
{
    assembly_abandon(pending->graph);
    slice_fini(&pending->workers);
    text_fini(&pending->failure);
    text_fini(&pending->what);
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

void planner_fail_graph(struct pending *pending, const char *why)
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

/* They are part of the start: a scheduler without them is not the one that was asked for. */
void planner_fail_preload(struct planner *planner, const struct pending *pending, const char *why)
{
    log_error(LOGGER, "Loading %s failed: %s", text_cstr(&pending->what), why);
    planner->node->exit_code = 1;
    node_close(planner->node, "failed preload");
}

static void pending_fail(struct planner *planner, struct pending *pending, const char *why)
{
    switch (pending->kind) {
    case PENDING_GRAPH:
        planner_fail_graph(pending, why);
        break;
    case PENDING_REQUEST:
    case PENDING_FEED:
        request_raise_builtin(pending->request, "RuntimeError", "%s", why);
        break;
    case PENDING_WORKERS:
        pending->workers_done(pending->user, slice_span(pending->workers));
        break;
    case PENDING_PRELOAD:
        planner_fail_preload(planner, pending, why);
        break;
    case PENDING_RESTORE:
        planner_restored(pending, why);
        break;
    }
}

/* It cannot be sent: it fails once its owner has left the call. */
static void fail_soon(struct planner *planner, struct pending *pending, const char *why)
{
    text_clear(&pending->failure);
    text_add_cstr(&pending->failure, why);
    io_timer_start(planner->soon, 0, 0);
}

static void fail_unsent(struct planner *planner)
{
    struct VEC(uint64_t) numbers = {0}; /* owners may ask again while they are told */
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&planner->pending, &cursor)) != NULL;) {
        struct pending *pending = entry->value.pointer;
        if (pending->failure.size > 0) {
            uint64_t number;
            memcpy(&number, entry->name.data, sizeof number);
            vec_push(&numbers, number);
        }
    }
    for (uint32_t i = 0; i < numbers.count; i++) {
        struct pending *pending = pending_find(planner, numbers.items[i]);
        map_remove(&planner->pending, span_of(&numbers.items[i], sizeof numbers.items[i]));
        pending_fail(planner, pending, text_cstr(&pending->failure));
        pending_destroy(pending);
    }
    vec_fini(&numbers);
}

void planner_fail_all(struct planner *planner, const char *why)
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

/* ---- sending ---- */

void planner_send(struct planner *planner, uint64_t number, struct outgoing *out)
{
    struct text why = {0};
    if (planner_ensure(planner, &why)) {
        planner->life.was_asked = true;
        planner_process_send(planner->process, out);
    } else {
        fail_soon(planner, pending_find(planner, number), text_cstr(&why));
    }
    outgoing_fini(out);
    text_fini(&why);
}

void planner_begin(struct outgoing *out, const char *op, uint64_t number, uint32_t more)
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
    fail_unsent(planner);
}

/* ---- requests ---- */

/* Append a field that may point to frames of `message`. */
static int put_field(struct outgoing *out, const struct frames *message, const char *name,
                     struct span raw)
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
    uint32_t count = 1;
    for (uint32_t i = 0; i < 4; i++) {
        count += fields[i].raw.size > 0;
    }
    uint64_t number;
    struct pending *pending = pending_add(planner, PENDING_GRAPH, &number);
    pending->graph_done = done;
    pending->user = user;
    struct outgoing out;
    planner_begin(&out, "materialise", number, count);
    msgpack_write_cstr(&out.head, "as_arrays");
    msgpack_write_bool(&out.head, graph->as_arrays);
    int code = OK;
    for (uint32_t i = 0; i < 4 && code == OK; i++) {
        if (fields[i].raw.size > 0) {
            code = put_field(&out, graph->message, fields[i].name, fields[i].raw);
        }
    }
    if (code == OK) {
        planner_send(planner, number, &out);
    } else {
        fail_soon(planner, pending, "the graph points to frames that its message does not have");
        outgoing_fini(&out);
    }
}

/* A field of a call that is not an argument of it. */
static bool is_control(struct span name)
{
    return span_equal_text(name, "op") || span_equal_text(name, "reply") ||
           span_equal_text(name, "close");
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
    planner_begin(&out, op, number, count);
    msgpack_write_raw(&out.head, text_span(&arguments));
    put_frames(&out, &request->message);
    planner_send(planner, number, &out);
    text_fini(&arguments);
}

/* "message": the arguments, and `extra` ({peer_field: peer}) if given. */
static void put_handler_call(struct outgoing *out, struct span op, struct span map,
                             const char *peer_field, struct span peer)
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
    planner_begin(&out, "handler", number, 3);
    put_handler_call(&out, request->op, frames_head(&request->message), NULL, (struct span){0});
    msgpack_write_cstr(&out.head, "peer");
    msgpack_write_cstr(&out.head, connection == NULL ? "" : comm_peer(connection_comm(connection)));
    put_frames(&out, &request->message);
    planner_send(planner, number, &out);
}

void planner_forward(struct planner *planner, struct request *request)
{
    static const char *const known[] = {
        "run_function",
        "feed",
        "register_scheduler_plugin",
        "unregister_scheduler_plugin",
        "performance_report",
        "dump_cluster_state_to_url",
        "workers_to_close",
        "amm_handler",
        "retire_workers",
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
    put_handler_call(&out, planner_text_field(map, "op"), map, peer_field, peer);
    msgpack_write_cstr(&out.head, "stream");
    msgpack_write_bool(&out.head, true);
    put_frames(&out, message);
    planner_process_send(planner->process, &out);
    outgoing_fini(&out);
}

/* ---- hooks ---- */

bool planner_wants(const struct planner *planner, enum planner_hook hook)
{
    return planner != NULL && planner->wants[hook];
}

struct outgoing *planner_event(struct planner *planner, enum planner_hook hook)
{
    ASSERT(planner->wants[hook]);
    if (planner->event_count++ == 0) {
        io_timer_start(planner->soon, 0, 0);
    }
    msgpack_write_array(&planner->events.head, 2);
    msgpack_write_cstr(&planner->events.head, planner_hook_names[hook]);
    return &planner->events;
}

void planner_valid_workers(struct planner *planner, struct span addresses,
                           planner_workers_done *done, void *user)
{
    send_events(planner);
    uint64_t number;
    struct pending *pending = pending_add(planner, PENDING_WORKERS, &number);
    pending->workers_done = done;
    pending->user = user;
    pending->workers = slice_copy(addresses);
    struct outgoing out;
    planner_begin(&out, "valid_workers", number, 1);
    msgpack_write_cstr(&out.head, "workers");
    msgpack_write_raw(&out.head, addresses);
    planner_send(planner, number, &out);
}

/* ---- life ---- */

struct planner *planner_create(struct node *node)
{
    struct planner *planner = mem_zalloc(1, sizeof *planner);
    planner->node = node;
    planner->soon = io_timer_create(node->loop, on_soon, planner);
    outgoing_init(&planner->events);
    planner_life_init(planner);
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
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&planner->pending, &cursor)) != NULL;) {
        fail_soon(planner, entry->value.pointer, "the scheduler is closing");
    }
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
    planner_abandon_queries(planner);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&planner->pending, &cursor)) != NULL;) {
        pending_destroy(entry->value.pointer);
    }
    map_fini(&planner->pending);
    for (uint32_t i = 0; i < planner->ending.count; i++) {
        pending_destroy(planner->ending.items[i]);
    }
    vec_fini(&planner->ending);
    planner_forget_interest(planner);
    vec_fini(&planner->queries);
    outgoing_fini(&planner->events);
    planner_life_fini(planner);
    io_timer_destroy(planner->soon);
    mem_free(planner);
}
