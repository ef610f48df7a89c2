/* rpc_around.c: a task among those around it, for people who look for what went wrong.
 *
 * A graph may have millions of tasks, and a task a million users: what is looked at is bounded here, and the answer
 * says how much there is. */
#include "base/map.h"
#include "node/node.h"
#include "wire/key.h"

#define HOPS_MAX 3
#define TASKS_MAX 200u /* that are shown */
#define FAN_MAX 40u    /* inputs, users, of one task */
#define SCAN_MAX 1000u /* inputs of one task that are looked at for what connects tasks */
#define SCAN_ALL_MAX 20000u
#define PATH_TASKS_MAX 100u
#define HOLDERS_MAX 3u

/* ---- who is around ------------------------------------------------------------------------------ */

struct around {
    struct node *node;
    const struct task *tasks[TASKS_MAX];
    uint32_t hop[TASKS_MAX];
    uint32_t count;
    struct map places; /* a task's pointer, as bytes → its place in `tasks` */
};

static struct span name_of(const struct task *const *task)
{
    return span_of(task, sizeof *task);
}

static void around_add(struct around *around, const struct task *task, uint32_t hop)
{
    if (around->count < TASKS_MAX && map_find(&around->places, name_of(&task)) == NULL) {
        map_put(&around->places, name_of(&task), NULL)->value.number = around->count;
        around->hop[around->count] = hop;
        around->tasks[around->count++] = task;
    }
}

/* All within so many steps, the nearest first; of a task first what it needs. */
static void around_fill(struct around *around, const struct task *middle, uint32_t hops)
{
    const struct scheduler *s = around->node->core;
    around_add(around, middle, 0);
    for (uint32_t at = 0; at < around->count && around->hop[at] < hops; at++) {
        const struct task *task = around->tasks[at];
        struct task_view view;
        view_task(s, task, &view);
        for (uint32_t i = 0; i < view.dependency_count && i < FAN_MAX; i++) {
            around_add(around, view_task_dependency(s, task, i), around->hop[at] + 1);
        }
        for (uint32_t i = 0; i < view.dependent_count && i < FAN_MAX; i++) {
            around_add(around, view_task_dependent(s, task, i), around->hop[at] + 1);
        }
    }
}

static void put_name(struct text *out, struct span key)
{
    struct text name = {0};
    key_print(&name, key);
    msgpack_write_str_lossy(out, text_span(&name));
    text_fini(&name);
}

static void put_count(struct text *out, const char *name, uint64_t value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_uint(out, value);
}

/* Who runs it, or the first of those that hold its result. */
static void put_workers(const struct around *around, const struct task *task,
                        const struct task_view *view, struct text *out)
{
    const struct scheduler *s = around->node->core;
    bool is_running = view->processing_on != WORKER_NONE;
    uint32_t holders = view->holder_count < HOLDERS_MAX ? view->holder_count : HOLDERS_MAX;
    msgpack_write_cstr(out, "workers");
    msgpack_write_array(out, is_running ? 1 : holders);
    for (uint32_t i = 0; i < (is_running ? 1 : holders); i++) {
        worker_id id = is_running ? view->processing_on : view_task_holder(s, task, i);
        msgpack_write_str_lossy(out, view_worker_address(s, id));
    }
}

static void put_task(const struct around *around, uint32_t place, struct text *out)
{
    const struct task *task = around->tasks[place];
    struct task_view view;
    view_task(around->node->core, task, &view);
    msgpack_write_map(out, 8);
    msgpack_write_cstr(out, "key");
    put_name(out, view.key);
    msgpack_write_cstr(out, "prefix");
    msgpack_write_str_lossy(out, view.prefix);
    msgpack_write_cstr(out, "state");
    msgpack_write_cstr(out, task_state_name(view.state));
    put_count(out, "hop", around->hop[place]);
    put_count(out, "inputs_total", view.dependency_count);
    put_count(out, "users_total", view.dependent_count);
    msgpack_write_cstr(out, "nbytes");
    if (view.nbytes < 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_int(out, view.nbytes);
    }
    put_workers(around, task, &view, out);
}

/* Pairs [place of an input, place of its user]. */
static void put_edges(const struct around *around, struct text *out)
{
    struct text edges = {0};
    uint32_t count = 0, looked = 0;
    for (uint32_t user = 0; user < around->count; user++) {
        struct task_view view;
        view_task(around->node->core, around->tasks[user], &view);
        for (uint32_t i = 0; i < view.dependency_count && i < SCAN_MAX && looked < SCAN_ALL_MAX;
             i++, looked++) {
            const struct task *input =
                view_task_dependency(around->node->core, around->tasks[user], i);
            const struct map_entry *entry = map_find(&around->places, name_of(&input));
            if (entry != NULL) {
                msgpack_write_array(&edges, 2);
                msgpack_write_uint(&edges, entry->value.number);
                msgpack_write_uint(&edges, user);
                count++;
            }
        }
    }
    msgpack_write_cstr(out, "edges");
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&edges));
    text_fini(&edges);
}

/* The input that brought a task its failure; NULL: it is not there any more. */
static const struct task *failed_input(const struct scheduler *s, const struct task *task,
                                       const struct task_view *view)
{
    for (uint32_t i = 0; i < view->dependency_count && i < SCAN_ALL_MAX; i++) {
        const struct task *input = view_task_dependency(s, task, i);
        struct task_brief brief;
        view_task_brief(input, &brief);
        if (brief.failure == view->failure) {
            return input;
        }
    }
    return NULL;
}

/* From the task to the one that failed by itself, key by key; of a task that has not failed, nothing. */
static void put_path(struct node *node, const struct task *task, struct text *out)
{
    struct text path = {0};
    uint32_t count = 0;
    struct task_view view;
    view_task(node->core, task, &view);
    const struct failure *failure = view.failure;
    while (failure != NULL && task != NULL && count < PATH_TASKS_MAX) {
        view_task(node->core, task, &view);
        put_name(&path, view.key);
        count++;
        task = failed_input(node->core, task, &view);
    }
    msgpack_write_cstr(out, "path");
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&path));
    text_fini(&path);
    msgpack_write_cstr(out, "blamed");
    if (failure == NULL) {
        msgpack_write_nil(out);
    } else {
        struct failure_view its;
        view_failure(failure, &its);
        put_name(out, its.key);
    }
}

/* Cask's own RPC. Answer: {known: bool, tasks: [{key, prefix, state, hop, inputs_total, users_total, nbytes, workers}], edges: [[place of
 * an input, place of its user]], path: [key], blamed: key or nil}; keys as str(key). The task itself comes first. */
void rpc_neighbourhood(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_neighbourhood *asked = &message->body.neighbourhood;
    int64_t hops = asked->hops < 1 ? 1 : asked->hops > HOPS_MAX ? HOPS_MAX : asked->hops;
    const struct task *task = view_task_find(node->core, asked->key);
    struct outgoing answer;
    struct text *head = &answer.head;
    outgoing_init(&answer);
    if (task == NULL) {
        msgpack_write_map(head, 1);
        msgpack_write_cstr(head, "known");
        msgpack_write_bool(head, false);
    } else {
        struct around around = {.node = node};
        around_fill(&around, task, (uint32_t)hops);
        msgpack_write_map(head, 5);
        msgpack_write_cstr(head, "known");
        msgpack_write_bool(head, true);
        msgpack_write_cstr(head, "tasks");
        msgpack_write_array(head, around.count);
        for (uint32_t i = 0; i < around.count; i++) {
            put_task(&around, i, head);
        }
        put_edges(&around, head);
        put_path(node, task, head);
        map_fini(&around.places);
    }
    request_reply(request, &answer);
    outgoing_fini(&answer);
}
