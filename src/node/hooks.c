/* hooks.c: what happens, as events for the plugins in the planner.
 *
 * Stock calls plugins in the middle of things; here they hear of them in the same order, a turn later. Fields of
 * the events: planner_hooks.def. */
#include "node/hooks.h"

#include "node/node.h"
#include "node/planner.h"
#include "node/task_stream.h"
#include "wire/payload.h"

/* ---- those who come and go --------------------------------------------------------------------- */

static void worker_added(struct node *node, worker_id worker)
{
    if (planner_wants(node->planner, PLANNER_HOOK_ADD_WORKER)) {
        struct text *head = &planner_event(node->planner, PLANNER_HOOK_ADD_WORKER)->head;
        msgpack_write_map(head, 1);
        msgpack_write_cstr(head, "worker");
        msgpack_write_raw(head, node_worker_name(node, worker));
    }
}

static void worker_removed(struct node *node, worker_id worker, struct span stimulus)
{
    if (planner_wants(node->planner, PLANNER_HOOK_REMOVE_WORKER)) {
        struct text *head = &planner_event(node->planner, PLANNER_HOOK_REMOVE_WORKER)->head;
        msgpack_write_map(head, 2);
        msgpack_write_cstr(head, "worker");
        msgpack_write_raw(head, node_worker_name(node, worker));
        msgpack_write_cstr(head, "stimulus_id");
        msgpack_write_str(head, stimulus);
    }
}

static struct span client_name(struct node *node, client_id client)
{
    struct client_view view = {0};
    view_client(node->core, client, &view);
    return view.name;
}

static void client_came_or_went(struct node *node, enum planner_hook hook, client_id client)
{
    if (planner_wants(node->planner, hook)) {
        struct text *head = &planner_event(node->planner, hook)->head;
        msgpack_write_map(head, 1);
        msgpack_write_cstr(head, "client");
        msgpack_write_str(head, client_name(node, client));
    }
}

/* ---- graphs ------------------------------------------------------------------------------------ */

static void put_keys(struct text *head, struct span_list keys)
{
    msgpack_write_array(head, keys.count);
    for (uint32_t i = 0; i < keys.count; i++) {
        msgpack_write_raw(head, keys.items[i]);
    }
}

/* The pairs of a task's annotations: a reader before the first, and how many. */
static uint32_t open_annotations(const struct task_view *task, struct msgpack_reader *out_reader)
{
    uint32_t count = 0;
    *out_reader = msgpack_reader(task->annotations == NULL ? (struct span){0}
                                                           : slice_span(task->annotations->value));
    return task->annotations != NULL && msgpack_read_map(out_reader, &count) == OK ? count : 0;
}

/* The next pair; false: malformed, which the intake of graphs lets nobody be. */
static bool next_annotation(struct msgpack_reader *reader, struct span *out_name,
                            struct span *out_value)
{
    return msgpack_read_value(reader, out_name) == OK &&
           msgpack_read_value(reader, out_value) == OK;
}

/* Append a value of the annotations, with the frames it refers to. */
static void put_annotation(struct outgoing *out, const struct blob *annotations, struct span value)
{
    struct frames frames = {0};
    struct blob *blob;
    frames_add(&frames, slice_ref(annotations->value));
    for (uint32_t i = 0; i < annotations->frame_count; i++) {
        frames_add(&frames, slice_ref(annotations->frames[i]));
    }
    if (payload_take(&frames, value, &blob) == OK) {
        payload_put(out, blob);
        blob_unref(blob);
    } else {
        msgpack_write_nil(&out->head);
    }
    frames_fini(&frames);
}

/* The names of all annotations of these tasks, and how many tasks have each. */
static void count_annotations(struct node *node, struct span_list keys, struct map *counts)
{
    for (uint32_t i = 0; i < keys.count; i++) {
        struct task_view task;
        struct msgpack_reader reader;
        struct span name, value;
        view_task(node->core, view_task_find(node->core, keys.items[i]), &task);
        uint32_t count = open_annotations(&task, &reader);
        while (count-- > 0 && next_annotation(&reader, &name, &value)) {
            map_put(counts, name, NULL)->value.number++;
        }
    }
}

/* {name: {key: value}}: stock turns the tasks' annotations inside out. */
static void put_annotations(struct node *node, struct span_list keys, struct outgoing *out)
{
    struct map counts = {0};
    count_annotations(node, keys, &counts);
    msgpack_write_map(&out->head, counts.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&counts, &cursor)) != NULL;) {
        msgpack_write_raw(&out->head, entry->name);
        msgpack_write_map(&out->head, (uint32_t)entry->value.number);
        for (uint32_t i = 0; i < keys.count; i++) {
            struct task_view task;
            struct msgpack_reader reader;
            struct span name, value;
            view_task(node->core, view_task_find(node->core, keys.items[i]), &task);
            uint32_t count = open_annotations(&task, &reader);
            while (count-- > 0 && next_annotation(&reader, &name, &value)) {
                if (span_equal(name, entry->name)) {
                    msgpack_write_raw(&out->head, task.key);
                    put_annotation(out, task.annotations, value);
                }
            }
        }
    }
    map_fini(&counts);
}

/* {key: [user, generation, order]} */
static void put_priorities(struct node *node, struct span_list keys, struct text *head)
{
    msgpack_write_map(head, keys.count);
    for (uint32_t i = 0; i < keys.count; i++) {
        struct task_view task;
        view_task(node->core, view_task_find(node->core, keys.items[i]), &task);
        msgpack_write_raw(head, task.key);
        msgpack_write_array(head, 3);
        msgpack_write_number(head, task.priority_user);
        msgpack_write_number(head, task.priority_generation);
        msgpack_write_int(head, task.priority_order);
    }
}

/* Those of the keys whose tasks have not been forgotten again in the same step. */
static struct span_list known_keys(struct node *node, struct span_list keys)
{
    struct span *known = arena_array(&node->outbound_arena, struct span, keys.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys.count; i++) {
        if (view_task_find(node->core, keys.items[i]) != NULL) {
            known[count++] = keys.items[i];
        }
    }
    return (struct span_list){known, count};
}

static void graph_added(struct node *node, const struct notice *notice)
{
    if (!planner_wants(node->planner, PLANNER_HOOK_UPDATE_GRAPH)) {
        return;
    }
    struct span_list known = known_keys(node, notice->more_keys);
    struct outgoing *out = planner_event(node->planner, PLANNER_HOOK_UPDATE_GRAPH);
    struct text *head = &out->head;
    msgpack_write_map(head, 6);
    msgpack_write_cstr(head, "client");
    msgpack_write_str(head, client_name(node, notice->client));
    msgpack_write_cstr(head, "keys");
    msgpack_write_map(head, 2);
    msgpack_write_cstr(head, "__Set__");
    msgpack_write_bool(head, true);
    msgpack_write_cstr(head, "as-list");
    put_keys(head, notice->keys);
    msgpack_write_cstr(head, "tasks");
    put_keys(head, notice->more_keys);
    msgpack_write_cstr(head, "annotations");
    put_annotations(node, known, out);
    msgpack_write_cstr(head, "priority");
    put_priorities(node, known, head);
    msgpack_write_cstr(head, "stimulus_id");
    msgpack_write_str(head, notice->stimulus);
}

/* ---- moves of tasks ---------------------------------------------------------------------------- */

/* What ended the run, if that is why the task moves: the core says it right before the move. */
static const struct notice *run_before(struct node *node, const struct action *action)
{
    const struct task *task = action->of.notice.notice->task;
    if (action == node->step.actions || action[-1].kind != ACTION_NOTICE) {
        return NULL;
    }
    const struct notice *before = action[-1].of.notice.notice;
    return before->kind == NOTICE_TASK_DONE && before->task == task ? before : NULL;
}

static void task_moved(struct node *node, const struct action *action)
{
    const struct notice *notice = action->of.notice.notice;
    if (!planner_wants(node->planner, PLANNER_HOOK_TRANSITION)) {
        return;
    }
    const struct notice *run = run_before(node, action);
    struct outgoing *out = planner_event(node->planner, PLANNER_HOOK_TRANSITION);
    struct text *head = &out->head;
    msgpack_write_map(head, 5);
    msgpack_write_cstr(head, "key");
    msgpack_write_raw(head, view_task_key(notice->task));
    msgpack_write_cstr(head, "start");
    msgpack_write_str(head, notice->text);
    msgpack_write_cstr(head, "finish");
    msgpack_write_str(head, notice->text2);
    msgpack_write_cstr(head, "stimulus_id");
    msgpack_write_str(head, notice->stimulus);
    msgpack_write_cstr(head, "kwargs");
    if (run != NULL) {
        task_stream_write_run(node, run, out);
    } else {
        msgpack_write_map(head, 0);
    }
}

/* ---- all --------------------------------------------------------------------------------------- */

static void noticed(struct node *node, const struct action *action)
{
    const struct notice *notice = action->of.notice.notice;
    switch (notice->kind) {
    case NOTICE_WORKER_ADDED:
        worker_added(node, notice->worker);
        break;
    case NOTICE_CLIENT_ADDED:
        client_came_or_went(node, PLANNER_HOOK_ADD_CLIENT, notice->client);
        break;
    case NOTICE_CLIENT_REMOVED:
        client_came_or_went(node, PLANNER_HOOK_REMOVE_CLIENT, notice->client);
        break;
    case NOTICE_GRAPH_ADDED:
        graph_added(node, notice);
        break;
    case NOTICE_TRANSITION:
        task_moved(node, action);
        break;
    default:
        break;
    }
}

void hooks_action(struct node *node, const struct action *action)
{
    if (action->kind == ACTION_NOTICE) {
        noticed(node, action);
    } else if (action->kind == ACTION_FORGET_WORKER) {
        /* after the moves that its end makes, as in stock */
        worker_removed(node, action->of.forget_worker.gone, action->of.forget_worker.stimulus);
    }
}

void hooks_log_event(struct node *node, struct span topic, const struct blob *event)
{
    if (planner_wants(node->planner, PLANNER_HOOK_LOG_EVENT)) {
        struct outgoing *out = planner_event(node->planner, PLANNER_HOOK_LOG_EVENT);
        msgpack_write_map(&out->head, 2);
        msgpack_write_cstr(&out->head, "topic");
        msgpack_write_raw(&out->head, topic);
        msgpack_write_cstr(&out->head, "msg");
        payload_put(out, event);
    }
}
