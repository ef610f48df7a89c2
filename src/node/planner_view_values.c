/* planner_view_values.c: what rows of the scheduler's state are made of. */
#include "node/planner_view_values.h"

#include "base/limits.h"

#define SHOWN_BYTES_MAX 10000u /* of a value that only text can show */

static void put_repr(const struct view_writer *w, struct text *repr)
{
    msgpack_write_str_lossy(&w->out->head, text_span(repr));
    text_fini(repr);
}

/* ---- what a row refers to ---------------------------------------------------------------------- */

/* <TaskState 'x' memory> */
void view_put_task(const struct view_writer *w, const struct task *task)
{
    if (!w->is_dump) {
        msgpack_write_raw(&w->out->head, view_task_key(task));
        return;
    }
    struct text repr = {0};
    text_add_cstr(&repr, "<TaskState ");
    key_repr(&repr, view_task_key(task));
    text_printf(&repr, " %s>", task_state_name(view_task_state(task)));
    put_repr(w, &repr);
}

/* <WorkerState 'tcp://…', name: 0, status: running, memory: 2, processing: 0> */
void view_put_worker(const struct view_writer *w, worker_id worker)
{
    struct worker_view view;
    bool is_known = view_worker(w->node->core, worker, &view);
    ASSERT(is_known);
    if (!w->is_dump) {
        msgpack_write_str(&w->out->head, view.address);
        return;
    }
    struct text repr = {0}, name = {0};
    text_add_cstr(&repr, "<WorkerState ");
    key_repr_text(&repr, view.address);
    key_print(&name, view.name);
    if (!span_equal(text_span(&name), view.address)) {
        text_add_cstr(&repr, ", name: ");
        text_add(&repr, text_span(&name));
    }
    text_fini(&name);
    text_printf(&repr, ", status: %s, memory: %u, processing: %u>", worker_status_name(view.status),
                view.has_what_count, view.processing_count);
    put_repr(w, &repr);
}

void view_put_worker_or_nil(const struct view_writer *w, worker_id worker)
{
    if (worker == WORKER_NONE) {
        msgpack_write_nil(&w->out->head);
    } else {
        view_put_worker(w, worker);
    }
}

/* <Client 'Client-…'> */
void view_put_client(const struct view_writer *w, client_id client)
{
    struct client_view view = {0};
    view_client(w->node->core, client, &view);
    if (!w->is_dump) {
        msgpack_write_str(&w->out->head, view.name);
        return;
    }
    struct text repr = {0};
    text_add_cstr(&repr, "<Client ");
    key_repr_text(&repr, view.name);
    text_add_char(&repr, '>');
    put_repr(w, &repr);
}

/* <name: memory: 3, waiting: 1>, states in the order of their names */
static void put_counts_repr(const struct view_writer *w, struct span name, const uint32_t *counts)
{
    struct text repr = {0};
    const char *separator = ": ", *last = "";
    text_add_char(&repr, '<');
    text_add(&repr, name);
    for (unsigned shown = 0; shown < TASK_STATE_COUNT; shown++) {
        unsigned next = TASK_STATE_COUNT;
        for (unsigned i = 0; i < TASK_STATE_COUNT; i++) {
            if (strcmp(task_state_name(i), last) > 0 &&
                (next == TASK_STATE_COUNT ||
                 strcmp(task_state_name(i), task_state_name(next)) < 0)) {
                next = i;
            }
        }
        last = task_state_name(next);
        if (counts[next] > 0) {
            text_printf(&repr, "%s%s: %u", separator, last, counts[next]);
            separator = ", ";
        }
    }
    text_add_char(&repr, '>');
    put_repr(w, &repr);
}

void view_put_group(const struct view_writer *w, struct span name)
{
    struct group_view group;
    if (w->is_dump && view_group_find(w->node->core, name, &group)) {
        put_counts_repr(w, name, group.state_counts);
    } else {
        msgpack_write_str_lossy(&w->out->head, name);
    }
}

/* ---- plain values ------------------------------------------------------------------------------ */

void view_put_text_or_nil(const struct view_writer *w, struct span text)
{
    if (text.size == 0) {
        msgpack_write_nil(&w->out->head);
    } else {
        msgpack_write_str_lossy(&w->out->head, text);
    }
}

void view_put_texts(const struct view_writer *w, struct span_list texts)
{
    msgpack_write_array(&w->out->head, texts.count);
    for (uint32_t i = 0; i < texts.count; i++) {
        msgpack_write_str_lossy(&w->out->head, texts.items[i]);
    }
}

void view_put_texts_or_nil(const struct view_writer *w, struct span_list texts)
{
    if (texts.count == 0) {
        msgpack_write_nil(&w->out->head);
    } else {
        view_put_texts(w, texts);
    }
}

void view_put_resources(const struct view_writer *w, struct resource_list resources)
{
    msgpack_write_map(&w->out->head, resources.count);
    for (uint32_t i = 0; i < resources.count; i++) {
        msgpack_write_str_lossy(&w->out->head, resources.items[i].name);
        msgpack_write_number(&w->out->head, resources.items[i].amount);
    }
}

void view_put_states(const struct view_writer *w, const uint32_t *counts)
{
    msgpack_write_map(&w->out->head, TASK_STATE_COUNT);
    for (unsigned i = 0; i < TASK_STATE_COUNT; i++) {
        msgpack_write_cstr(&w->out->head, task_state_name(i));
        msgpack_write_uint(&w->out->head, counts[i]);
    }
}

static void put_plain_name(struct text *head, struct msgpack_reader *reader)
{
    enum msgpack_type type = msgpack_peek(reader);
    struct span name;
    int code = msgpack_read_value(reader, &name);
    ASSERT(code == OK); /* a blob is well-formed */
    if (type != MSGPACK_ARRAY && type != MSGPACK_MAP) {
        msgpack_write_raw(head, name);
        return;
    }
    struct text shown = {0};
    msgpack_print(&shown, name, SHOWN_BYTES_MAX);
    msgpack_write_str_lossy(head, text_span(&shown));
    text_fini(&shown);
}

/* What a map stands for that its reader would not leave a map: the list of a set, the name of an enum's member;
 * else the map itself. */
static struct span unwrap(struct span value)
{
    struct span mark, inner;
    if ((msgpack_find(value, "__Set__", &mark) == OK &&
         msgpack_find(value, "as-list", &inner) == OK) ||
        (msgpack_find(value, "__Enum__", &mark) == OK &&
         msgpack_find(value, "name", &inner) == OK)) {
        return inner;
    }
    return value;
}

/* A value as readers of dumps take it: plain, with text for every name that is a list or a map (metrics have
 * tuples). */
static void put_plain(struct text *head, struct span value, unsigned depth)
{
    value = unwrap(value);
    struct msgpack_reader reader = msgpack_reader(value);
    enum msgpack_type type = msgpack_peek(&reader);
    uint32_t count = 0;
    int code = OK;
    if (depth == LIMIT_MSGPACK_DEPTH_MAX || (type != MSGPACK_MAP && type != MSGPACK_ARRAY)) {
        msgpack_write_raw(head, value);
        return;
    }
    if (type == MSGPACK_ARRAY) {
        code = msgpack_read_array(&reader, &count);
        msgpack_write_array(head, count);
    } else {
        code = msgpack_read_map(&reader, &count);
        msgpack_write_map(head, count);
    }
    for (uint32_t i = 0; code == OK && i < count; i++) {
        if (type == MSGPACK_MAP) {
            put_plain_name(head, &reader);
        }
        code = msgpack_read_value(&reader, &value);
        put_plain(head, value, depth + 1);
    }
    ASSERT(code == OK); /* a blob is well-formed */
}

static bool is_plain(const struct blob *blob)
{
    struct msgpack_reader reader = msgpack_reader(slice_span(blob->value));
    enum msgpack_type type = msgpack_peek(&reader);
    return blob->frame_count == 0 && type != MSGPACK_BIN && type != MSGPACK_EXT;
}

static void put_blob(const struct view_writer *w, const struct blob *blob)
{
    if (!w->is_dump) {
        payload_put(w->out, blob);
        return;
    }
    if (is_plain(blob)) {
        put_plain(&w->out->head, slice_span(blob->value), 0);
        return;
    }
    struct text shown = {0};
    struct frames frames = {0};
    frames_add(&frames, slice_ref(blob->value));
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        frames_add(&frames, slice_ref(blob->frames[i]));
    }
    payload_print(&shown, &frames, slice_span(blob->value), SHOWN_BYTES_MAX);
    frames_fini(&frames);
    put_repr(w, &shown);
}

void view_put_blob_or_nil(const struct view_writer *w, const struct blob *blob)
{
    if (blob == NULL) {
        msgpack_write_nil(&w->out->head);
    } else {
        put_blob(w, blob);
    }
}

void view_put_map(const struct view_writer *w, const struct blob *map)
{
    if (map == NULL) {
        msgpack_write_map(&w->out->head, 0);
    } else {
        put_blob(w, map);
    }
}

void view_put_memory(const struct view_writer *w, const struct memory_view *memory)
{
    static const struct {
        const char *name;
        enum memory_measure measure;
    } measures[] = {
        {"managed", MEMORY_MANAGED_IN_MEMORY},
        {"managed_total", MEMORY_MANAGED},
        {"optimistic", MEMORY_OPTIMISTIC},
        {"process", MEMORY_PROCESS},
        {"spilled", MEMORY_SPILLED},
        {"unmanaged", MEMORY_UNMANAGED},
        {"unmanaged_old", MEMORY_UNMANAGED_OLD},
        {"unmanaged_recent", MEMORY_UNMANAGED_RECENT},
    };
    const uint32_t count = sizeof measures / sizeof measures[0];
    msgpack_write_map(&w->out->head, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_write_cstr(&w->out->head, measures[i].name);
        msgpack_write_int(&w->out->head, view_memory_measure(memory, measures[i].measure));
    }
}

void view_put_key_name(const struct view_writer *w, struct span key)
{
    if (!w->is_dump) {
        msgpack_write_raw(&w->out->head, key);
        return;
    }
    struct text name = {0};
    key_print(&name, key);
    put_repr(w, &name);
}

void view_put_move(const struct view_writer *w, const struct story_move *move)
{
    struct text *head = &w->out->head;
    msgpack_write_array(head, 6);
    msgpack_write_raw(head, move->key);
    msgpack_write_cstr(head, task_state_name(move->start));
    msgpack_write_cstr(head, task_state_name(move->finish));
    msgpack_write_map(head, move->recommendation_count);
    for (uint32_t i = 0; i < move->recommendation_count; i++) {
        view_put_key_name(w, move->recommendations[i].key);
        msgpack_write_cstr(head, task_state_name(move->recommendations[i].to));
    }
    msgpack_write_str(head, move->stimulus);
    msgpack_write_float(head, move->time);
}
