/* planner_view.c: the scheduler's state as tables, for the planner's view of it (`dask_scheduler`).
 *
 * {fields: [name…], rows: [[value…]…]}; fields and kinds are listed in docs/planner.md. The same rows serve
 * cluster dumps (rpc_state.c). */
#include "node/planner_view.h"

#include "node/exception.h"
#include "node/planner_view_values.h"

#define ARRAY32 0xdd /* heads with four bytes of length, big-endian */
#define MAP32 0xdf

/* ---- tasks ------------------------------------------------------------------------------------- */

static const char *const TASK_FIELDS[] = {
    "key",
    "state",
    "priority",
    "nbytes",
    "type",
    "exception",
    "traceback",
    "exception_text",
    "traceback_text",
    "exception_blame",
    "erred_on",
    "suspicious",
    "retries",
    "who_has",
    "processing_on",
    "dependencies",
    "dependents",
    "waiting_on",
    "waiters",
    "who_wants",
    "group",
    "group_key",
    "prefix",
    "annotations",
    "actor",
    "has_lost_dependencies",
    "host_restrictions",
    "worker_restrictions",
    "resource_restrictions",
    "loose_restrictions",
    "metadata",
    "run_id",
    NULL,
};

static void put_priority(struct text *head, const struct task_view *view)
{
    if (!view->has_priority) {
        msgpack_write_nil(head);
        return;
    }
    msgpack_write_array(head, 3);
    msgpack_write_number(head, view->priority_user);
    msgpack_write_number(head, view->priority_generation);
    msgpack_write_int(head, view->priority_order);
}

/* exception, traceback, exception_text, traceback_text, exception_blame */
static void put_failure(const struct view_writer *w, const struct failure *failure)
{
    struct text *head = &w->out->head;
    if (failure == NULL) {
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        return;
    }
    struct exception_blobs blobs = exception_blobs(w->node, failure);
    struct failure_view view;
    view_failure(failure, &view);
    view_put_blob_or_nil(w, blobs.exception);
    view_put_blob_or_nil(w, blobs.traceback);
    msgpack_write_str_lossy(head, exception_text(failure, &w->node->scratch));
    msgpack_write_str_lossy(head, view.traceback_text);
    msgpack_write_raw(head, view.key);
    exception_blobs_fini(&blobs);
}

static void put_edges(const struct view_writer *w, const struct task *task,
                      const struct task_view *view)
{
    struct text *head = &w->out->head;
    msgpack_write_array(head, view->dependency_count);
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        view_put_task(w, view_task_dependency(w->node->core, task, i));
    }
    msgpack_write_array(head, view->dependent_count);
    for (uint32_t i = 0; i < view->dependent_count; i++) {
        view_put_task(w, view_task_dependent(w->node->core, task, i));
    }
    msgpack_write_array(head, view->waiting_on_count);
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        if (view_task_waits_on(task, i)) {
            view_put_task(w, view_task_dependency(w->node->core, task, i));
        }
    }
    msgpack_write_array(head, view->waiter_count);
    for (uint32_t i = 0; i < view->dependent_count; i++) {
        if (view_task_awaited_by(w->node->core, task, i)) {
            view_put_task(w, view_task_dependent(w->node->core, task, i));
        }
    }
}

static void put_task(const struct view_writer *w, const struct task *task)
{
    struct text *head = &w->out->head;
    struct task_view view;
    view_task(w->node->core, task, &view);
    msgpack_write_array(head, sizeof TASK_FIELDS / sizeof TASK_FIELDS[0] - 1);
    msgpack_write_raw(head, view.key);
    msgpack_write_cstr(head, task_state_name(view.state));
    put_priority(head, &view);
    msgpack_write_int(head, view.nbytes);
    view_put_text_or_nil(w, view.type);
    put_failure(w, view.failure);
    view_put_texts(w, view.erred_on);
    msgpack_write_uint(head, view.suspicious);
    msgpack_write_uint(head, view.retries);
    msgpack_write_array(head, view.holder_count);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        view_put_worker(w, view_task_holder(w->node->core, task, i));
    }
    view_put_worker_or_nil(w, view.processing_on);
    put_edges(w, task, &view);
    msgpack_write_array(head, view.wanter_count);
    for (uint32_t i = 0; i < view.wanter_count; i++) {
        view_put_client(w, view_task_wanter(task, i));
    }
    view_put_group(w, view.group);
    msgpack_write_str_lossy(head, view.group);
    msgpack_write_str_lossy(head, view.prefix);
    view_put_map(w, view.annotations);
    msgpack_write_bool(head, view.actor);
    msgpack_write_bool(head, view.lost_dependencies);
    view_put_texts_or_nil(w, view.host_restrictions);
    view_put_texts_or_nil(w, view.worker_restrictions);
    if (view.resources.count == 0) {
        msgpack_write_nil(head);
    } else {
        view_put_resources(w, view.resources);
    }
    msgpack_write_bool(head, view.loose_restrictions);
    view_put_map(w, view.metadata);
    msgpack_write_int(head, view.run_id);
}

static uint32_t put_tasks(const struct view_writer *w, struct key_list names)
{
    uint32_t count = 0;
    struct span key;
    if (names.given) {
        while (key_list_next(&names, &key)) {
            const struct task *task = view_task_find(w->node->core, key);
            if (task != NULL) {
                put_task(w, task);
                count++;
            }
        }
        return count;
    }
    const struct task *const *tasks = view_tasks(w->node->core, &w->node->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        put_task(w, tasks[i]);
    }
    return count;
}

/* ---- workers ----------------------------------------------------------------------------------- */

static const char *const WORKER_FIELDS[] = {
    "address",
    "name",
    "host",
    "pid",
    "nthreads",
    "memory_limit",
    "local_directory",
    "services",
    "nanny",
    "status",
    "metrics",
    "resources",
    "used_resources",
    "extra",
    "versions",
    "server_id",
    "nbytes",
    "memory_unmanaged_old",
    "memory",
    "occupancy",
    "last_seen",
    "time_delay",
    "bandwidth",
    "has_what",
    "processing",
    "long_running",
    "actors",
    "executing",
    "needs_what",
    "task_prefix_count",
    NULL,
};

static void put_worker_tasks(const struct view_writer *w, const struct worker_view *view)
{
    struct text *head = &w->out->head;
    msgpack_write_array(head, view->has_what_count);
    for (uint32_t i = 0; i < view->has_what_count; i++) {
        view_put_task(w, view_worker_has(w->node->core, view->id, i));
    }
    msgpack_write_array(head, view->processing_count);
    for (uint32_t i = 0; i < view->processing_count; i++) {
        view_put_task(w, view_worker_processes(w->node->core, view->id, i));
    }
    msgpack_write_array(head, view->long_running_count);
    for (uint32_t i = 0; i < view->long_running_count; i++) {
        view_put_task(w, view_worker_long_runs(w->node->core, view->id, i));
    }
}

static void put_actors(const struct view_writer *w, const struct worker_view *view)
{
    uint32_t left = view->actor_count;
    msgpack_write_array(&w->out->head, left);
    for (uint32_t i = 0; left > 0 && i < view->has_what_count + view->processing_count; i++) {
        const struct task *task =
            i < view->has_what_count
                ? view_worker_has(w->node->core, view->id, i)
                : view_worker_processes(w->node->core, view->id, i - view->has_what_count);
        struct task_view seen;
        view_task(w->node->core, task, &seen);
        if (seen.actor) {
            view_put_task(w, task);
            left--;
        }
    }
}

/* {key: seconds} as of the last heartbeat, without what is gone since */
static void put_executing(const struct view_writer *w, const struct worker_view *view)
{
    uint32_t count = 0;
    double seconds;
    for (uint32_t i = 0; i < view->executing_count; i++) {
        count += view_worker_executes(w->node->core, view->id, i, &seconds) != NULL;
    }
    msgpack_write_map(&w->out->head, count);
    for (uint32_t i = 0; i < view->executing_count; i++) {
        const struct task *task = view_worker_executes(w->node->core, view->id, i, &seconds);
        if (task != NULL) {
            view_put_task(w, task);
            msgpack_write_float(&w->out->head, seconds);
        }
    }
}

static bool is_held_by(const struct view_writer *w, const struct task *task,
                       const struct task_view *view, worker_id worker)
{
    bool is_held = false;
    for (uint32_t i = 0; !is_held && i < view->holder_count; i++) {
        is_held = view_task_holder(w->node->core, task, i) == worker;
    }
    return is_held;
}

/* {key: n}: inputs of what it processes that it does not hold, and how many tasks want them */
static void put_needs(const struct view_writer *w, const struct worker_view *view)
{
    const struct scheduler *core = w->node->core;
    struct map needs = {0};
    for (uint32_t i = 0; i < view->processing_count; i++) {
        const struct task *task = view_worker_processes(core, view->id, i);
        struct task_view seen, input;
        view_task(core, task, &seen);
        for (uint32_t j = 0; j < seen.dependency_count; j++) {
            const struct task *dependency = view_task_dependency(core, task, j);
            view_task(core, dependency, &input);
            if (!is_held_by(w, dependency, &input, view->id)) {
                map_put(&needs, input.key, NULL)->value.number++;
            }
        }
    }
    msgpack_write_map(&w->out->head, needs.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&needs, &cursor)) != NULL;) {
        view_put_task(w, view_task_find(core, entry->name));
        msgpack_write_uint(&w->out->head, entry->value.number);
    }
    map_fini(&needs);
}

/* {prefix: n} of its running tasks */
static void put_prefix_counts(const struct view_writer *w, worker_id worker)
{
    struct span name;
    uint32_t count = 0, running;
    while (view_worker_prefix(w->node->core, worker, count, &name, &running)) {
        count++;
    }
    msgpack_write_map(&w->out->head, count);
    for (uint32_t i = 0; i < count; i++) {
        view_worker_prefix(w->node->core, worker, i, &name, &running);
        msgpack_write_str_lossy(&w->out->head, name);
        msgpack_write_uint(&w->out->head, running);
    }
}

/* Its name; in a dump the repr of stock's enum. */
static void put_status(const struct view_writer *w, enum worker_status status)
{
    const char *name = worker_status_name(status);
    struct text repr = {0};
    text_printf(&repr, w->is_dump ? "<Status.%s: '%s'>" : "%s", name, name);
    msgpack_write_str(&w->out->head, text_span(&repr));
    text_fini(&repr);
}

static void put_worker(const struct view_writer *w, worker_id worker)
{
    struct text *head = &w->out->head;
    struct worker_view view;
    bool is_known = view_worker(w->node->core, worker, &view);
    ASSERT(is_known);
    msgpack_write_array(head, sizeof WORKER_FIELDS / sizeof WORKER_FIELDS[0] - 1);
    msgpack_write_str(head, view.address);
    msgpack_write_raw(head, view.name);
    view_put_text_or_nil(w, view.host);
    msgpack_write_int(head, view.pid);
    msgpack_write_uint(head, view.nthreads);
    msgpack_write_int(head, view.memory_limit);
    view_put_text_or_nil(w, view.local_directory);
    view_put_map(w, view.services);
    view_put_text_or_nil(w, view.nanny);
    put_status(w, view.status);
    view_put_map(w, view.metrics);
    view_put_resources(w, view.resources);
    view_put_resources(w, view.used_resources);
    view_put_map(w, view.extra);
    view_put_map(w, view.versions);
    view_put_text_or_nil(w, view.server_id);
    msgpack_write_int(head, view.nbytes);
    msgpack_write_int(head, view.memory.unmanaged_old);
    view_put_memory(w, &view.memory);
    msgpack_write_float(head, view.occupancy);
    msgpack_write_float(head, view.last_seen);
    msgpack_write_float(head, view.time_delay);
    msgpack_write_float(head, view.bandwidth);
    put_worker_tasks(w, &view);
    put_actors(w, &view);
    put_executing(w, &view);
    put_needs(w, &view);
    put_prefix_counts(w, worker);
}

static uint32_t put_workers(const struct view_writer *w, struct key_list names)
{
    uint32_t count = 0;
    for (uint32_t i = 0; !names.given && i < view_worker_count(w->node->core); i++) {
        put_worker(w, view_worker_at(w->node->core, i));
        count++;
    }
    struct span key;
    while (names.given && key_list_next(&names, &key)) {
        struct msgpack_reader reader = msgpack_reader(key);
        struct span address;
        if (msgpack_read_str(&reader, &address) == OK &&
            view_worker_by_address(w->node->core, address) != WORKER_NONE) {
            put_worker(w, view_worker_by_address(w->node->core, address));
            count++;
        }
    }
    return count;
}

/* ---- clients ----------------------------------------------------------------------------------- */

static const char *const CLIENT_FIELDS[] = {"client_key", "wants_what", "last_seen", "versions",
                                            NULL};

/* The name is among those asked for; `names` not given: all are. */
static bool is_asked(struct key_list names, struct span text)
{
    struct span key;
    bool found = !names.given;
    while (!found && key_list_next(&names, &key)) {
        struct msgpack_reader reader = msgpack_reader(key);
        struct span name;
        found = msgpack_read_str(&reader, &name) == OK && span_equal(name, text);
    }
    return found;
}

static uint32_t put_clients(const struct view_writer *w, struct key_list names)
{
    struct client_view view;
    uint32_t count = 0, cursor = 0;
    while (view_client_next(w->node->core, &cursor, &view)) {
        if (!is_asked(names, view.name)) {
            continue;
        }
        msgpack_write_array(&w->out->head, 4);
        msgpack_write_str(&w->out->head, view.name);
        msgpack_write_array(&w->out->head, view.wants_count);
        for (uint32_t i = 0; i < view.wants_count; i++) {
            view_put_task(w, view_client_wants(w->node->core, view.id, i));
        }
        msgpack_write_float(&w->out->head, view.last_seen);
        msgpack_write_map(&w->out->head, 0);
        count++;
    }
    return count;
}

/* ---- groups and prefixes ----------------------------------------------------------------------- */

static const char *const GROUP_FIELDS[] = {
    "name",  "prefix", "states", "dependencies", "nbytes_total", "duration", "all_durations",
    "types", "start",  "stop",   "span_id",      "last_worker",  NULL};

static void put_group(const struct view_writer *w, const struct group_view *view)
{
    struct text *head = &w->out->head;
    uint32_t ignored;
    msgpack_write_array(head, sizeof GROUP_FIELDS / sizeof GROUP_FIELDS[0] - 1);
    msgpack_write_str_lossy(head, view->name);
    msgpack_write_str_lossy(head, view->prefix);
    view_put_states(w, view->state_counts);
    msgpack_write_array(head, view->dependency_count);
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        view_put_group(w, view_group_dependency(w->node->core, view->name, i));
    }
    msgpack_write_int(head, view->nbytes_total);
    msgpack_write_float(head, view->duration);
    msgpack_write_map(head, view->duration_count);
    for (uint32_t i = 0; i < view->duration_count; i++) {
        struct action_duration duration = view_group_duration(w->node->core, view->name, i);
        msgpack_write_str_lossy(head, duration.action);
        msgpack_write_float(head, duration.seconds);
    }
    msgpack_write_array(head, view->type_count);
    for (uint32_t i = 0; i < view->type_count; i++) {
        msgpack_write_str_lossy(head, view_group_type(w->node->core, view->name, i, &ignored));
    }
    msgpack_write_float(head, view->start);
    msgpack_write_float(head, view->stop);
    view_put_text_or_nil(w, view->span_id);
    msgpack_write_nil(head);
}

static uint32_t put_groups(const struct view_writer *w, struct key_list names)
{
    struct group_view view;
    uint32_t count = 0, cursor = 0;
    while (view_group_next(w->node->core, &cursor, &view)) {
        if (is_asked(names, view.name)) {
            put_group(w, &view);
            count++;
        }
    }
    return count;
}

static const char *const PREFIX_FIELDS[] = {
    "name",          "groups",     "states",        "nbytes_total", "duration", "duration_average",
    "max_exec_time", "suspicious", "all_durations", "types",        NULL};

/* The names of all result types of the prefix's groups, each once. */
static void put_prefix_types(const struct view_writer *w, uint32_t index,
                             const struct prefix_view *view)
{
    struct map types = {0};
    struct text list = {0};
    for (uint32_t i = 0; i < view->group_count; i++) {
        struct group_view group;
        if (!view_group_find(w->node->core, view_prefix_group(w->node->core, index, i), &group)) {
            continue;
        }
        for (uint32_t j = 0; j < group.type_count; j++) {
            uint32_t ignored;
            bool is_new;
            struct span type = view_group_type(w->node->core, group.name, j, &ignored);
            map_put(&types, type, &is_new);
            if (is_new) {
                msgpack_write_str_lossy(&list, type);
            }
        }
    }
    msgpack_write_array(&w->out->head, types.count);
    msgpack_write_raw(&w->out->head, text_span(&list));
    map_fini(&types);
    text_fini(&list);
}

static void put_prefix(const struct view_writer *w, uint32_t index, const struct prefix_view *view)
{
    struct text *head = &w->out->head;
    msgpack_write_array(head, sizeof PREFIX_FIELDS / sizeof PREFIX_FIELDS[0] - 1);
    msgpack_write_str_lossy(head, view->name);
    msgpack_write_array(head, view->group_count);
    for (uint32_t i = 0; i < view->group_count; i++) {
        view_put_group(w, view_prefix_group(w->node->core, index, i));
    }
    view_put_states(w, view->state_counts);
    msgpack_write_int(head, view->nbytes_total);
    msgpack_write_float(head, view->duration);
    msgpack_write_float(head, view->duration_average);
    msgpack_write_float(head, view->max_exec_time);
    msgpack_write_uint(head, view->suspicious);
    msgpack_write_map(head, view->duration_count);
    for (uint32_t i = 0; i < view->duration_count; i++) {
        struct action_duration duration = view_prefix_duration(w->node->core, index, i);
        msgpack_write_str_lossy(head, duration.action);
        msgpack_write_float(head, duration.seconds);
    }
    put_prefix_types(w, index, view);
}

static uint32_t put_prefixes(const struct view_writer *w, struct key_list names)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view_prefix_count(w->node->core); i++) {
        struct prefix_view view;
        if (view_prefix(w->node->core, i, &view) && is_asked(names, view.name)) {
            put_prefix(w, i, &view);
            count++;
        }
    }
    return count;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static const struct table {
    const char *what;
    const char *const *fields;
    uint32_t (*put_rows)(const struct view_writer *w, struct key_list names);
} TABLES[] = {
    {"tasks", TASK_FIELDS, put_tasks},         {"workers", WORKER_FIELDS, put_workers},
    {"clients", CLIENT_FIELDS, put_clients},   {"groups", GROUP_FIELDS, put_groups},
    {"prefixes", PREFIX_FIELDS, put_prefixes},
};

/* The head of an array32 or map32 (`type`) of `count`, written over the five bytes at `at`. */
static void patch_count(struct text *head, size_t at, uint8_t type, uint32_t count)
{
    uint8_t *bytes = (uint8_t *)head->data + at;
    bytes[0] = type;
    for (int i = 0; i < 4; i++) {
        bytes[1 + i] = (uint8_t)(count >> (24 - 8 * i));
    }
}

static size_t leave_count(struct text *head)
{
    size_t at = head->size;
    text_add(head, SPAN("\0\0\0\0\0"));
    return at;
}

static const struct table *find_table(struct span what)
{
    const struct table *found = NULL;
    for (size_t i = 0; i < sizeof TABLES / sizeof TABLES[0]; i++) {
        if (span_equal_text(what, TABLES[i].what)) {
            found = &TABLES[i];
        }
    }
    return found;
}

bool planner_view_table(struct node *node, struct span what, struct key_list names,
                        struct outgoing *out)
{
    const struct table *table = find_table(what);
    if (table == NULL) {
        return false;
    }
    const struct view_writer writer = {node, out, false};
    uint32_t field_count = 0;
    while (table->fields[field_count] != NULL) {
        field_count++;
    }
    msgpack_write_map(&out->head, 2);
    msgpack_write_cstr(&out->head, "fields");
    msgpack_write_array(&out->head, field_count);
    for (uint32_t i = 0; i < field_count; i++) {
        msgpack_write_cstr(&out->head, table->fields[i]);
    }
    msgpack_write_cstr(&out->head, "rows");
    size_t at = leave_count(&out->head);
    patch_count(&out->head, at, ARRAY32, table->put_rows(&writer, names));
    return true;
}

/* ---- dumps ------------------------------------------------------------------------------------- */

/* One row as {field: value}, without the fields in `exclude`; the reader stands before it. */
static void put_row_map(const struct table *table, struct msgpack_reader *rows,
                        struct span_list exclude, struct text *head)
{
    uint32_t count;
    int code = msgpack_read_array(rows, &count);
    size_t at = leave_count(head);
    uint32_t kept = 0;
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span value;
        code = msgpack_read_value(rows, &value);
        if (code == OK && !planner_view_excludes(exclude, table->fields[i])) {
            msgpack_write_cstr(head, table->fields[i]);
            msgpack_write_raw(head, value);
            kept++;
        }
    }
    ASSERT(code == OK); /* the rows were written here */
    patch_count(head, at, MAP32, kept);
}

/* The first value of the row that `rows` stands before, as text: readers of dumps take no other names. */
static void put_row_name(struct msgpack_reader rows, struct text *head)
{
    uint32_t count;
    struct span name;
    int code = msgpack_read_array(&rows, &count);
    code = code == OK ? msgpack_read_value(&rows, &name) : code;
    ASSERT(code == OK);
    struct text text = {0};
    key_print(&text, name);
    msgpack_write_str_lossy(head, text_span(&text));
    text_fini(&text);
}

bool planner_view_excludes(struct span_list exclude, const char *field)
{
    bool found = false;
    for (uint32_t i = 0; !found && i < exclude.count; i++) {
        found = span_equal_text(exclude.items[i], field);
    }
    return found;
}

void planner_view_dump(struct node *node, const char *what, struct span_list exclude,
                       struct text *head)
{
    const struct table *table = find_table(span_of_text(what));
    ASSERT(table != NULL);
    struct outgoing rows;
    outgoing_init(&rows);
    const struct view_writer writer = {node, &rows, true};
    uint32_t count = table->put_rows(&writer, (struct key_list){0});
    ASSERT(rows.frames.count == 0); /* a dump is plain */
    struct msgpack_reader reader = msgpack_reader(text_span(&rows.head));
    msgpack_write_map(head, count);
    for (uint32_t i = 0; i < count; i++) {
        put_row_name(reader, head);
        put_row_map(table, &reader, exclude, head);
    }
    outgoing_fini(&rows);
}
