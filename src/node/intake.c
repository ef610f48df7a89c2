/* intake.c: see intake.h. Source: distributed scheduler.py update_graph; protocol.md 4. */
#include "node/intake.h"

#include "base/alloc.h"
#include "node/annotations.h"
#include "node/values.h"
#include "wire/pickle_graph.h"
#include "wire/pickle_value.h"

/* ---- life --------------------------------------------------------------------------------------- */

static bool lies_in(struct span part, struct span whole)
{
    return part.data >= whole.data && part.data + part.size <= whole.data + whole.size;
}

struct intake *intake_create(struct node *node, client_id client, const struct frames *message,
                             const struct msg_update_graph *graph)
{
    struct intake *intake = mem_zalloc(1, sizeof *intake);
    arena_init(&intake->arena);
    intake->node = node;
    intake->client = client;
    intake->started = io_now();
    intake->is_large = frames_size(message) >= INTAKE_LARGE_BYTES;
    for (uint32_t i = 0; i < message->count; i++) {
        struct slice slice = slice_ref(message->items[i]);
        frames_add(&intake->message, intake->is_large ? slice_loan(slice) : slice);
    }
    intake->fields = *graph;
    if (!lies_in(graph->keys.keys, frames_head(message))) { /* some were not canonical */
        intake->fields.keys.keys = arena_copy(&intake->arena, graph->keys.keys);
    }
    intake->fields.submitting_task = arena_copy(&intake->arena, graph->submitting_task);
    intake->actors = graph->actors;
    return intake;
}

struct intake *intake_split(struct intake *intake)
{
    struct intake *other = mem_zalloc(1, sizeof *other);
    arena_init(&other->arena);
    other->node = intake->node;
    other->graph = intake->graph;
    memset(&intake->graph, 0, sizeof intake->graph);
    return other;
}

void intake_free_rest(struct intake *intake)
{
    frames_fini(&intake->message);
    flat_graph_fini(&intake->graph);
    graph_plan_destroy(intake->plan);
    text_fini(&intake->annotations);
    text_fini(&intake->span_metadata);
    text_fini(&intake->code);
    text_fini(&intake->why);
    arena_fini(&intake->arena);
    mem_free(intake);
}

void intake_free(struct intake *intake)
{
    for (uint32_t i = 0; i < intake->info.annotation_count; i++) {
        blob_unref(intake->info.annotations[i].wire);
    }
    blob_unref(intake->info.code);
    blob_unref(intake->info.span_metadata);
    intake_free_rest(intake);
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

void intake_cut(struct intake *intake)
{
    intake->error = cut(intake);
    if (intake->error == OK && intake->graph.is_delayed &&
        config_bool(intake->node->config, "optimization.fuse.delayed", false)) {
        intake->error = ERR_UNSUPPORTED; /* fusing is the planner's */
    }
}

/* ---- preparing -------------------------------------------------------------------------------- */

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

static struct blob *value_or_null(const struct text *value)
{
    return value->size == 0 ? NULL : payload_value(text_span(value));
}

static int fill_info(struct intake *intake)
{
    struct graph_info *info = &intake->info;
    struct text *why = &intake->why;
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
        .code = value_or_null(&intake->code),
        .span_metadata = value_or_null(&intake->span_metadata),
        .slice = INTAKE_LARGE_TASKS,
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

void intake_prepare(struct intake *intake)
{
    int code = fill_info(intake);
    ASSERT(code == OK || intake->why.size > 0);
    if (code == OK && intake->graph.task_count > INTAKE_LARGE_TASKS) {
        intake->plan = graph_plan_create(&intake->info);
        intake->info.plan = intake->plan;
    }
}
