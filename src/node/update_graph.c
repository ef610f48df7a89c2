/* update_graph.c: graphs that clients send, on their way to the core.
 *
 * submit, map, get and actors are cut in C (wire/pickle_graph.h) and applied at once, or, if they name
 * functions that were not seen before, as soon as a worker has shown to have them. All other graphs go
 * to the planner; until it answers, the client's stream is held, so that its later messages find the tasks
 * they speak of. Source: distributed scheduler.py update_graph; protocol.md 4. */
#include "base/alloc.h"
#include "base/log.h"
#include "node/annotations.h"
#include "node/node.h"
#include "node/planner.h"
#include "node/prove.h"
#include "node/task_stream.h"
#include "node/values.h"
#include "wire/pickle_graph.h"
#include "wire/pickle_make.h"
#include "wire/pickle_value.h"

#define LOGGER "distributed.scheduler"

/* Everything about one update-graph, while it is under way. */
struct intake {
    struct node *node;
    client_id client;
    struct frames message;          /* references held; `fields` point into it */
    struct msg_update_graph fields; /* decoded; spans that had to be copied are in `arena` */
    struct arena arena;
    struct flat_graph graph;
    struct text annotations, span_metadata, code; /* msgpack, as far as C could read them */
    struct span actors;                           /* raw msgpack: bool, list or nil */
    double started;
};

static void intake_free(struct intake *intake)
{
    frames_fini(&intake->message);
    flat_graph_fini(&intake->graph);
    text_fini(&intake->annotations);
    text_fini(&intake->span_metadata);
    text_fini(&intake->code);
    arena_fini(&intake->arena);
    mem_free(intake);
}

static void plan(struct intake *intake);

/* ---- failure ---------------------------------------------------------------------------------- */

static void fail(struct intake *intake, const struct failure_info *failure)
{
    log_error(LOGGER, "Graph submission failed: %.*s", (int)failure->exception_text.size,
              (const char *)failure->exception_text.data);
    struct event event = event_of(EVENT_GRAPH_FAILED);
    event.of.graph_failed.client = intake->client;
    event.of.graph_failed.keys = values_keys(&intake->arena, intake->fields.keys);
    event.of.graph_failed.failure = failure;
    node_apply(intake->node, &event);
}

/* RuntimeError(text), made here. */
static void fail_text(struct intake *intake, struct span text)
{
    struct text pickle = {0};
    pickle_make_exception(&pickle, "builtins", "RuntimeError", text);
    struct failure_info failure = {.kind = FAILURE_USER,
                                   .exception = payload_serialized_bytes(text_span(&pickle)),
                                   .exception_text = text,
                                   .traceback_text = SPAN("")};
    fail(intake, &failure);
    blob_unref(failure.exception);
    text_fini(&pickle);
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The pickle of a ToPickle field as msgpack in `out`; an absent field is empty. */
static int read_plain(const struct frames *message, struct span raw, struct text *out)
{
    struct blob *blob;
    struct slice pickle;
    if (msgpack_is_nil(raw)) {
        return OK;
    }
    int code = payload_take(message, raw, &blob);
    if (code != OK) {
        return code;
    }
    code = payload_bytes(blob, &pickle);
    if (code == OK) {
        code = pickle_value_decode(slice_span(pickle), out);
        slice_fini(&pickle);
    } else { /* plain msgpack is welcome, too */
        text_add(out, raw);
        code = OK;
    }
    blob_unref(blob);
    return code;
}

/* Cut the graph without Python: ERR_UNSUPPORTED (or whatever is wrong with it): the planner's. */
static int cut(struct intake *intake)
{
    struct blob *blob;
    struct payload_content content;
    const char *reason = "";
    int code = payload_take(&intake->message, intake->fields.expr_ser.raw, &blob);
    if (code != OK) {
        return code;
    }
    code = payload_open(blob, &content);
    if (code == OK) {
        if (content.is_collection || content.parts.count == 0) {
            code = ERR_UNSUPPORTED;
        } else {
            code = pickle_graph_cut(slice_span(content.parts.items[0]), content.parts.items + 1,
                                    content.parts.count - 1, &intake->graph, &reason);
        }
        payload_content_fini(&content);
    }
    blob_unref(blob);
    if (code == OK) {
        code = read_plain(&intake->message, intake->fields.annotations.raw, &intake->annotations);
    }
    if (code == OK) {
        code =
            read_plain(&intake->message, intake->fields.span_metadata.raw, &intake->span_metadata);
    }
    if (code == OK) {
        code = read_plain(&intake->message, intake->fields.code.raw, &intake->code);
    }
    return code;
}

/* internal_priority: {key: int} in the order of the tasks mostly, so each is looked for where the last was. */
static int read_priorities(struct intake *intake, int64_t **out_priorities)
{
    struct msgpack_reader reader = msgpack_reader(intake->fields.internal_priority);
    const struct flat_graph *graph = &intake->graph;
    uint32_t count, at = 0;
    *out_priorities = NULL;
    if (msgpack_is_nil(intake->fields.internal_priority)) {
        return OK;
    }
    if (msgpack_read_map(&reader, &count) != OK) {
        return ERR_TYPE;
    }
    if (count == 0) {
        return OK;
    }
    int64_t *priorities = arena_array(&intake->arena, int64_t, graph->task_count);
    memset(priorities, 0, graph->task_count * sizeof *priorities);
    struct map places = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct span key;
        int64_t priority;
        if (key_read(&reader, &intake->arena, &key) != OK ||
            msgpack_read_int(&reader, &priority) != OK) {
            map_fini(&places);
            return ERR_TYPE;
        }
        if (at < graph->task_count && span_equal(graph->keys[at], key)) {
            priorities[at++] = priority;
            continue;
        }
        for (uint32_t j = 0; places.count == 0 && j < graph->task_count; j++) {
            map_put(&places, graph->keys[j], NULL)->value.number = j;
        }
        struct map_entry *entry = map_find(&places, key);
        if (entry != NULL) {
            priorities[entry->value.number] = priority;
            at = (uint32_t)entry->value.number + 1;
        }
    }
    map_fini(&places);
    *out_priorities = priorities;
    return OK;
}

/* actors: true means every wanted key, a list names some. */
static int read_actors(struct intake *intake, struct graph_info *info)
{
    struct msgpack_reader reader = msgpack_reader(intake->actors);
    if (msgpack_is_nil(intake->actors) || msgpack_read_bool(&reader, &info->all_actors) == OK) {
        return OK;
    }
    struct key_list keys;
    if (key_list_read(&reader, &intake->arena, &keys) != OK) {
        return ERR_TYPE;
    }
    info->actors = values_keys(&intake->arena, keys);
    return OK;
}

static int read_annotations(struct intake *intake, struct graph_info *info, struct text *why)
{
    const struct flat_graph *graph = &intake->graph;
    uint32_t count = 1 + graph->annotation_set_count;
    struct annotation_info *sets = arena_array(&intake->arena, struct annotation_info, count);
    memset(sets, 0, count * sizeof *sets);
    info->annotations = sets;
    info->annotation_of = graph->annotation_of;
    struct span global = text_span(&intake->annotations);
    for (uint32_t i = 0; i < count; i++) {
        const struct blob *own = i == 0 ? NULL : graph->annotation_sets[i - 1];
        int code = annotations_read(global, own, &intake->arena, &sets[i], why);
        if (code != OK) {
            return code;
        }
        info->annotation_count = i + 1;
    }
    return OK;
}

static void read_shuffles(struct intake *intake, struct graph_info *info)
{
    const struct flat_graph *graph = &intake->graph;
    struct shuffle_info *shuffles =
        arena_array(&intake->arena, struct shuffle_info, graph->shuffle_count);
    for (uint32_t i = 0; i < graph->shuffle_count; i++) {
        const struct flat_shuffle *from = &graph->shuffles[i];
        shuffles[i] = (struct shuffle_info){
            .task = from->task,
            .id = from->id,
            .spec = from->spec,
            .is_array = from->is_array,
            .parts = {from->parts, from->part_count},
            .axis_lengths = from->axis_lengths,
            .axis_count = from->axis_count,
            .npartitions = from->npartitions,
        };
    }
    info->shuffles = shuffles;
    info->shuffle_count = graph->shuffle_count;
}

/* ---- applying --------------------------------------------------------------------------------- */

static struct blob *value_or_null(const struct text *value)
{
    return value->size == 0 ? NULL : payload_value(text_span(value));
}

static int fill_info(struct intake *intake, struct graph_info *info, struct text *why)
{
    const struct flat_graph *graph = &intake->graph;
    const struct msg_update_graph *fields = &intake->fields;
    int64_t *priorities;
    *info = (struct graph_info){
        .client = intake->client,
        .task_count = graph->task_count,
        .key_count = graph->key_count,
        .keys = graph->keys,
        .dep_start = graph->dep_start,
        .deps = graph->deps,
        .run_specs = graph->run_specs,
        .flags = graph->flags,
        .cull = graph->cull,
        .wanted = values_keys(&intake->arena, fields->keys),
        .submitting_task = fields->submitting_task,
        .user_priority = fields->user_priority,
        .started = intake->started,
    };
    if (!values_seconds(fields->fifo_timeout, 0, &info->fifo_timeout)) {
        text_add_cstr(why, "fifo_timeout is neither a number nor a duration");
        return ERR_TYPE;
    }
    if (read_priorities(intake, &priorities) != OK) {
        text_add_cstr(why, "internal_priority must map keys to integers");
        return ERR_TYPE;
    }
    info->priorities = priorities == NULL ? graph->priorities : priorities;
    if (read_actors(intake, info) != OK) {
        text_add_cstr(why, "actors must be a bool or a list of keys");
        return ERR_TYPE;
    }
    read_shuffles(intake, info);
    return read_annotations(intake, info, why);
}

static void apply(struct intake *intake)
{
    struct graph_info info;
    struct text why = {0};
    int code = fill_info(intake, &info, &why);
    if (code == OK) {
        info.code = value_or_null(&intake->code);
        info.span_metadata = value_or_null(&intake->span_metadata);
        struct event event = event_of(EVENT_GRAPH);
        event.of.graph.graph = &info;
        event.stimulus = node_stimulus(intake->node, "update-graph");
        task_stream_graph(intake->node->task_stream, info.wanted);
        node_apply(intake->node, &event);
        blob_unref(info.code);
        blob_unref(info.span_metadata);
    } else {
        fail_text(intake, text_span(&why));
    }
    for (uint32_t i = 0; i < info.annotation_count; i++) {
        blob_unref(info.annotations[i].wire);
    }
    text_fini(&why);
}

/* ---- names that must be proven ------------------------------------------------------------------ */

static void finish(struct intake *intake, struct stream *stream)
{
    intake_free(intake);
    if (stream != NULL) {
        stream_release(stream);
    }
}

static void looked_up(void *user, enum proof_result result)
{
    struct intake *intake = user;
    struct node *node = intake->node;
    struct stream *stream = stream_of_client(node, intake->client);
    node->graphs_under_way--;
    if (stream == NULL || result != PROOF_FAILED) {
        if (result != PROOF_FAILED) {
            pickle_trust_add(&node->trust, intake->graph.foreign, result == PROOF_PLAIN);
        }
        if (stream != NULL) {
            apply(intake);
        }
        finish(intake, stream);
    } else {
        plan(intake);
    }
}

/* The graph names things that no worker has shown to have: ask one, or else the planner. */
static void prove(struct intake *intake, struct stream *stream)
{
    stream_hold(stream);
    if (prove_graph(intake->node, &intake->graph, looked_up, intake)) {
        intake->node->graphs_under_way++;
    } else {
        plan(intake);
    }
}

/* ---- through the planner ----------------------------------------------------------------------- */

/* What the planner read of the message's pickles. Its annotation sets hold the global annotations already;
 * the global set itself is for the computation only. */
static void take_plain(struct text *out, const struct blob *value)
{
    if (value != NULL) {
        text_add(out, slice_span(value->value));
    }
}

static void planned(void *user, struct planner_graph *result)
{
    struct intake *intake = user;
    struct node *node = intake->node;
    node->graphs_under_way--;
    struct stream *stream = stream_of_client(node, intake->client);
    if (stream != NULL && !result->is_ok) {
        struct failure_info failure = {
            .kind = FAILURE_USER,
            .exception = result->exception,
            .traceback = result->traceback,
            .exception_text = result->exception_text,
            .traceback_text = result->traceback_text,
        };
        fail(intake, &failure);
    } else if (stream != NULL) {
        intake->graph = *result->graph;
        memset(result->graph, 0, sizeof *result->graph);
        take_plain(&intake->annotations, result->annotations);
        take_plain(&intake->span_metadata, result->span_metadata);
        take_plain(&intake->code, result->code);
        apply(intake);
    }
    finish(intake, stream);
}

/* The stream is held. */
static void plan(struct intake *intake)
{
    const struct msg_update_graph *fields = &intake->fields;
    flat_graph_fini(
        &intake->graph); /* it may have been cut, but not proven, or with odd annotations */
    text_clear(&intake->annotations);
    text_clear(&intake->span_metadata);
    text_clear(&intake->code);
    struct planner_graph_request request = {
        .message = &intake->message,
        .expr_ser = fields->expr_ser.raw,
        .annotations = fields->annotations.raw,
        .span_metadata = fields->span_metadata.raw,
        .code = fields->code.raw,
    };
    intake->node->graphs_under_way++;
    planner_materialise(intake->node->planner, &request, planned, intake);
}

void update_graph(struct node *node, struct stream *stream, const struct frames *message,
                  const struct msg_update_graph *graph)
{
    struct intake *intake = mem_zalloc(1, sizeof *intake);
    arena_init(&intake->arena);
    intake->node = node;
    intake->client = stream->client;
    intake->started = io_now();
    for (uint32_t i = 0; i < message->count; i++) {
        frames_add(&intake->message, slice_ref(message->items[i]));
    }
    intake->fields = *graph;
    /* Keys that were not canonical lie in the node's scratch, which may be gone when the planner answers. */
    intake->fields.keys.keys = arena_copy(&intake->arena, graph->keys.keys);
    intake->fields.submitting_task = arena_copy(&intake->arena, graph->submitting_task);
    intake->actors = graph->actors;
    int code = cut(intake);
    if (code != OK) {
        stream_hold(stream);
        plan(intake);
    } else if (!pickle_trust_covers(&node->trust, intake->graph.foreign)) {
        prove(intake, stream);
    } else {
        apply(intake);
        intake_free(intake);
    }
}
