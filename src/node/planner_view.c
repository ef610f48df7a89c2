/* planner_view.c: the scheduler's state as tables, for the planner's view of it (`dask_scheduler`).
 *
 * {fields: [name…], rows: [[value…]…]}; fields and kinds are listed in docs/planner.md. The same rows serve
 * cluster dumps (rpc_state.c). */
#include "node/planner_view.h"

#include <math.h>

#include "node/exception.h"

/* ---- values ------------------------------------------------------------------------------------ */

static void put_text_or_nil(struct text *head, struct span text)
{
    if (text.size == 0) {
        msgpack_write_nil(head);
    } else {
        msgpack_write_str_lossy(head, text);
    }
}

static void put_blob_or(struct outgoing *out, const struct blob *blob, void (*absent)(struct text *))
{
    if (blob == NULL) {
        absent(&out->head);
    } else {
        payload_put(out, blob);
    }
}

static void empty_map(struct text *head)
{
    msgpack_write_map(head, 0);
}

static void put_texts(struct text *head, struct span_list texts)
{
    msgpack_write_array(head, texts.count);
    for (uint32_t i = 0; i < texts.count; i++) {
        msgpack_write_str_lossy(head, texts.items[i]);
    }
}

static void put_texts_or_nil(struct text *head, struct span_list texts)
{
    if (texts.count == 0) {
        msgpack_write_nil(head);
    } else {
        put_texts(head, texts);
    }
}

static void put_resources(struct text *head, struct resource_list resources)
{
    msgpack_write_map(head, resources.count);
    for (uint32_t i = 0; i < resources.count; i++) {
        msgpack_write_str_lossy(head, resources.items[i].name);
        msgpack_write_number(head, resources.items[i].amount);
    }
}

static void put_address_or_nil(struct node *node, struct text *head, worker_id worker)
{
    if (worker == WORKER_NONE) {
        msgpack_write_nil(head);
    } else {
        msgpack_write_str(head, view_worker_address(node->core, worker));
    }
}

/* ---- tasks ------------------------------------------------------------------------------------- */

static const char *const TASK_FIELDS[] = {
    "key", "state", "priority", "nbytes", "type", "exception", "traceback", "exception_text",
    "traceback_text", "exception_blame", "erred_on", "suspicious", "retries", "who_has", "processing_on",
    "dependencies", "dependents", "waiting_on", "waiters", "who_wants", "group", "prefix", "annotations",
    "actor", "has_lost_dependencies", "host_restrictions", "worker_restrictions", "resource_restrictions",
    "loose_restrictions", "metadata", "run_id", NULL,
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
static void put_failure(struct node *node, struct outgoing *out, const struct failure *failure)
{
    struct text *head = &out->head;
    if (failure == NULL) {
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        msgpack_write_nil(head);
        return;
    }
    struct exception_blobs blobs = exception_blobs(node, failure);
    struct failure_view view;
    view_failure(failure, &view);
    put_blob_or(out, blobs.exception, msgpack_write_nil);
    put_blob_or(out, blobs.traceback, msgpack_write_nil);
    msgpack_write_str_lossy(head, exception_text(failure, &node->scratch));
    msgpack_write_str_lossy(head, view.traceback_text);
    msgpack_write_raw(head, view.key);
    exception_blobs_fini(&blobs);
}

static void put_edges(struct node *node, struct text *head, const struct task *task, const struct task_view *view)
{
    msgpack_write_array(head, view->dependency_count);
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        msgpack_write_raw(head, view_task_key(view_task_dependency(node->core, task, i)));
    }
    msgpack_write_array(head, view->dependent_count);
    for (uint32_t i = 0; i < view->dependent_count; i++) {
        msgpack_write_raw(head, view_task_key(view_task_dependent(node->core, task, i)));
    }
    msgpack_write_array(head, view->waiting_on_count);
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        if (view_task_waits_on(task, i)) {
            msgpack_write_raw(head, view_task_key(view_task_dependency(node->core, task, i)));
        }
    }
    msgpack_write_array(head, view->waiter_count);
    for (uint32_t i = 0; i < view->dependent_count; i++) {
        if (view_task_awaited_by(node->core, task, i)) {
            msgpack_write_raw(head, view_task_key(view_task_dependent(node->core, task, i)));
        }
    }
}

static void put_task(struct node *node, struct outgoing *out, const struct task *task)
{
    struct text *head = &out->head;
    struct task_view view;
    view_task(node->core, task, &view);
    msgpack_write_array(head, sizeof TASK_FIELDS / sizeof TASK_FIELDS[0] - 1);
    msgpack_write_raw(head, view.key);
    msgpack_write_cstr(head, task_state_name(view.state));
    put_priority(head, &view);
    msgpack_write_int(head, view.nbytes);
    put_text_or_nil(head, view.type);
    put_failure(node, out, view.failure);
    put_texts(head, view.erred_on);
    msgpack_write_uint(head, view.suspicious);
    msgpack_write_uint(head, view.retries);
    msgpack_write_array(head, view.holder_count);
    for (uint32_t i = 0; i < view.holder_count; i++) {
        msgpack_write_str(head, view_worker_address(node->core, view_task_holder(task, i)));
    }
    put_address_or_nil(node, head, view.processing_on);
    put_edges(node, head, task, &view);
    msgpack_write_array(head, view.wanter_count);
    for (uint32_t i = 0; i < view.wanter_count; i++) {
        struct client_view client = {0};
        view_client(node->core, view_task_wanter(task, i), &client);
        msgpack_write_str(head, client.name);
    }
    msgpack_write_str_lossy(head, view.group);
    msgpack_write_str_lossy(head, view.prefix);
    put_blob_or(out, view.annotations, empty_map);
    msgpack_write_bool(head, view.actor);
    msgpack_write_bool(head, view.lost_dependencies);
    put_texts_or_nil(head, view.host_restrictions);
    put_texts_or_nil(head, view.worker_restrictions);
    if (view.resources.count == 0) {
        msgpack_write_nil(head);
    } else {
        put_resources(head, view.resources);
    }
    msgpack_write_bool(head, view.loose_restrictions);
    put_blob_or(out, view.metadata, empty_map);
    msgpack_write_int(head, view.run_id);
}

static uint32_t put_tasks(struct node *node, struct outgoing *out, struct key_list names)
{
    uint32_t count = 0;
    struct span key;
    if (names.given) {
        while (key_list_next(&names, &key)) {
            const struct task *task = view_task_find(node->core, key);
            if (task != NULL) {
                put_task(node, out, task);
                count++;
            }
        }
        return count;
    }
    const struct task *const *tasks = view_tasks(node->core, &node->scratch, &count);
    for (uint32_t i = 0; i < count; i++) {
        put_task(node, out, tasks[i]);
    }
    return count;
}

/* ---- workers ----------------------------------------------------------------------------------- */

static const char *const WORKER_FIELDS[] = {
    "address", "name", "host", "pid", "nthreads", "memory_limit", "local_directory", "services", "nanny",
    "status", "metrics", "resources", "used_resources", "extra", "versions", "server_id", "nbytes",
    "memory_unmanaged_old", "occupancy", "last_seen", "time_delay", "bandwidth", "has_what", "processing",
    "long_running", "actors", "executing", "needs_what", NULL,
};

static void put_worker_tasks(struct node *node, struct text *head, const struct worker_view *view)
{
    msgpack_write_array(head, view->has_what_count);
    for (uint32_t i = 0; i < view->has_what_count; i++) {
        msgpack_write_raw(head, view_task_key(view_worker_has(node->core, view->id, i)));
    }
    msgpack_write_array(head, view->processing_count);
    for (uint32_t i = 0; i < view->processing_count; i++) {
        msgpack_write_raw(head, view_task_key(view_worker_processes(node->core, view->id, i)));
    }
    msgpack_write_array(head, view->long_running_count);
    for (uint32_t i = 0; i < view->long_running_count; i++) {
        msgpack_write_raw(head, view_task_key(view_worker_long_runs(node->core, view->id, i)));
    }
}

/* actors, executing, needs_what */
static void put_worker_activity(struct node *node, struct text *head, const struct worker_view *view)
{
    struct text pairs = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->has_what_count + view->processing_count; i++) {
        const struct task *task = i < view->has_what_count
                                      ? view_worker_has(node->core, view->id, i)
                                      : view_worker_processes(node->core, view->id, i - view->has_what_count);
        struct task_view seen;
        view_task(node->core, task, &seen);
        if (seen.actor) {
            msgpack_write_raw(&pairs, seen.key);
            count++;
        }
    }
    msgpack_write_array(head, count);
    msgpack_write_raw(head, text_span(&pairs));
    text_clear(&pairs);
    count = 0;
    for (uint32_t i = 0; i < view->executing_count; i++) {
        double seconds;
        const struct task *task = view_worker_executes(node->core, view->id, i, &seconds);
        if (task != NULL) {
            msgpack_write_raw(&pairs, view_task_key(task));
            msgpack_write_float(&pairs, seconds);
            count++;
        }
    }
    msgpack_write_map(head, count);
    msgpack_write_raw(head, text_span(&pairs));
    text_fini(&pairs);
    msgpack_write_map(head, 0);
}

static void put_worker(struct node *node, struct outgoing *out, worker_id worker)
{
    struct text *head = &out->head;
    struct worker_view view;
    bool is_known = view_worker(node->core, worker, &view);
    ASSERT(is_known);
    msgpack_write_array(head, sizeof WORKER_FIELDS / sizeof WORKER_FIELDS[0] - 1);
    msgpack_write_str(head, view.address);
    msgpack_write_raw(head, view.name);
    put_text_or_nil(head, view.host);
    msgpack_write_int(head, view.pid);
    msgpack_write_uint(head, view.nthreads);
    msgpack_write_int(head, view.memory_limit);
    put_text_or_nil(head, view.local_directory);
    put_blob_or(out, view.services, empty_map);
    put_text_or_nil(head, view.nanny);
    msgpack_write_cstr(head, worker_status_name(view.status));
    put_blob_or(out, view.metrics, empty_map);
    put_resources(head, view.resources);
    put_resources(head, view.used_resources);
    put_blob_or(out, view.extra, empty_map);
    put_blob_or(out, view.versions, empty_map);
    put_text_or_nil(head, view.server_id);
    msgpack_write_int(head, view.nbytes);
    msgpack_write_int(head, view.memory.unmanaged_old);
    msgpack_write_float(head, view.occupancy);
    msgpack_write_float(head, view.last_seen);
    msgpack_write_float(head, view.time_delay);
    msgpack_write_float(head, view.bandwidth);
    put_worker_tasks(node, head, &view);
    put_worker_activity(node, head, &view);
}

static uint32_t put_workers(struct node *node, struct outgoing *out, struct key_list names)
{
    uint32_t count = 0;
    for (uint32_t i = 0; !names.given && i < view_worker_count(node->core); i++) {
        put_worker(node, out, view_worker_at(node->core, i));
        count++;
    }
    struct span key;
    while (names.given && key_list_next(&names, &key)) {
        struct msgpack_reader reader = msgpack_reader(key);
        struct span address;
        if (msgpack_read_str(&reader, &address) == OK &&
            view_worker_by_address(node->core, address) != WORKER_NONE) {
            put_worker(node, out, view_worker_by_address(node->core, address));
            count++;
        }
    }
    return count;
}

/* ---- clients ----------------------------------------------------------------------------------- */

static const char *const CLIENT_FIELDS[] = {"client_key", "wants_what", "last_seen", "versions", NULL};

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

static uint32_t put_clients(struct node *node, struct outgoing *out, struct key_list names)
{
    struct client_view view;
    uint32_t count = 0, cursor = 0;
    while (view_client_next(node->core, &cursor, &view)) {
        if (!is_asked(names, view.name)) {
            continue;
        }
        msgpack_write_array(&out->head, 4);
        msgpack_write_str(&out->head, view.name);
        msgpack_write_array(&out->head, view.wants_count);
        for (uint32_t i = 0; i < view.wants_count; i++) {
            msgpack_write_raw(&out->head, view_task_key(view_client_wants(node->core, view.id, i)));
        }
        msgpack_write_float(&out->head, view.last_seen);
        msgpack_write_map(&out->head, 0);
        count++;
    }
    return count;
}

/* ---- groups and prefixes ----------------------------------------------------------------------- */

static const char *const GROUP_FIELDS[] = {"name",  "prefix", "states", "dependencies", "nbytes_total",
                                           "duration", "all_durations", "types", "start", "stop",
                                           "span_id", "last_worker", NULL};

static void put_states(struct text *head, const uint32_t *counts)
{
    msgpack_write_map(head, TASK_STATE_COUNT);
    for (unsigned i = 0; i < TASK_STATE_COUNT; i++) {
        msgpack_write_cstr(head, task_state_name(i));
        msgpack_write_uint(head, counts[i]);
    }
}

static void put_group(struct node *node, struct text *head, const struct group_view *view)
{
    uint32_t ignored;
    msgpack_write_array(head, sizeof GROUP_FIELDS / sizeof GROUP_FIELDS[0] - 1);
    msgpack_write_str_lossy(head, view->name);
    msgpack_write_str_lossy(head, view->prefix);
    put_states(head, view->state_counts);
    msgpack_write_array(head, view->dependency_count);
    for (uint32_t i = 0; i < view->dependency_count; i++) {
        msgpack_write_str_lossy(head, view_group_dependency(node->core, view->name, i));
    }
    msgpack_write_int(head, view->nbytes_total);
    msgpack_write_float(head, view->duration);
    msgpack_write_map(head, view->duration_count);
    for (uint32_t i = 0; i < view->duration_count; i++) {
        struct action_duration duration = view_group_duration(node->core, view->name, i);
        msgpack_write_str_lossy(head, duration.action);
        msgpack_write_float(head, duration.seconds);
    }
    msgpack_write_array(head, view->type_count);
    for (uint32_t i = 0; i < view->type_count; i++) {
        msgpack_write_str_lossy(head, view_group_type(node->core, view->name, i, &ignored));
    }
    msgpack_write_float(head, view->start);
    msgpack_write_float(head, view->stop);
    put_text_or_nil(head, view->span_id);
    msgpack_write_nil(head);
}

static uint32_t put_groups(struct node *node, struct outgoing *out, struct key_list names)
{
    struct group_view view;
    uint32_t count = 0, cursor = 0;
    while (view_group_next(node->core, &cursor, &view)) {
        if (is_asked(names, view.name)) {
            put_group(node, &out->head, &view);
            count++;
        }
    }
    return count;
}

static const char *const PREFIX_FIELDS[] = {"name", "groups", "states", "nbytes_total", "duration",
                                            "duration_average", "max_exec_time", "suspicious",
                                            "all_durations", "types", NULL};

/* The names of all result types of the prefix's groups, each once. */
static void put_prefix_types(struct node *node, struct text *head, uint32_t index, const struct prefix_view *view)
{
    struct map types = {0};
    struct text list = {0};
    for (uint32_t i = 0; i < view->group_count; i++) {
        struct group_view group;
        if (!view_group_find(node->core, view_prefix_group(node->core, index, i), &group)) {
            continue;
        }
        for (uint32_t j = 0; j < group.type_count; j++) {
            uint32_t ignored;
            bool is_new;
            struct span type = view_group_type(node->core, group.name, j, &ignored);
            map_put(&types, type, &is_new);
            if (is_new) {
                msgpack_write_str_lossy(&list, type);
            }
        }
    }
    msgpack_write_array(head, types.count);
    msgpack_write_raw(head, text_span(&list));
    map_fini(&types);
    text_fini(&list);
}

static void put_prefix(struct node *node, struct text *head, uint32_t index, const struct prefix_view *view)
{
    msgpack_write_array(head, sizeof PREFIX_FIELDS / sizeof PREFIX_FIELDS[0] - 1);
    msgpack_write_str_lossy(head, view->name);
    msgpack_write_array(head, view->group_count);
    for (uint32_t i = 0; i < view->group_count; i++) {
        msgpack_write_str_lossy(head, view_prefix_group(node->core, index, i));
    }
    put_states(head, view->state_counts);
    msgpack_write_int(head, view->nbytes_total);
    msgpack_write_float(head, view->duration);
    msgpack_write_float(head, view->duration_average);
    msgpack_write_float(head, view->max_exec_time);
    msgpack_write_uint(head, view->suspicious);
    msgpack_write_map(head, view->duration_count);
    for (uint32_t i = 0; i < view->duration_count; i++) {
        struct action_duration duration = view_prefix_duration(node->core, index, i);
        msgpack_write_str_lossy(head, duration.action);
        msgpack_write_float(head, duration.seconds);
    }
    put_prefix_types(node, head, index, view);
}

static uint32_t put_prefixes(struct node *node, struct outgoing *out, struct key_list names)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view_prefix_count(node->core); i++) {
        struct prefix_view view;
        if (view_prefix(node->core, i, &view) && is_asked(names, view.name)) {
            put_prefix(node, &out->head, i, &view);
            count++;
        }
    }
    return count;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static const struct table {
    const char *what;
    const char *const *fields;
    uint32_t (*put_rows)(struct node *node, struct outgoing *out, struct key_list names);
} TABLES[] = {
    {"tasks", TASK_FIELDS, put_tasks},       {"workers", WORKER_FIELDS, put_workers},
    {"clients", CLIENT_FIELDS, put_clients}, {"groups", GROUP_FIELDS, put_groups},
    {"prefixes", PREFIX_FIELDS, put_prefixes},
};

/* A msgpack array32 head of `count`, written over the five bytes at `at`. */
static void patch_array(struct text *head, size_t at, uint32_t count)
{
    uint8_t *bytes = (uint8_t *)head->data + at;
    bytes[0] = 0xdd;
    for (int i = 0; i < 4; i++) {
        bytes[1 + i] = (uint8_t)(count >> (24 - 8 * i));
    }
}

bool planner_view_table(struct node *node, struct span what, struct key_list names, struct outgoing *out)
{
    for (size_t i = 0; i < sizeof TABLES / sizeof TABLES[0]; i++) {
        if (!span_equal_text(what, TABLES[i].what)) {
            continue;
        }
        uint32_t field_count = 0;
        while (TABLES[i].fields[field_count] != NULL) {
            field_count++;
        }
        msgpack_write_map(&out->head, 2);
        msgpack_write_cstr(&out->head, "fields");
        msgpack_write_array(&out->head, field_count);
        for (uint32_t j = 0; j < field_count; j++) {
            msgpack_write_cstr(&out->head, TABLES[i].fields[j]);
        }
        msgpack_write_cstr(&out->head, "rows");
        size_t at = out->head.size;
        text_add(&out->head, SPAN("\xdd\0\0\0\0"));
        patch_array(&out->head, at, TABLES[i].put_rows(node, out, names));
        return true;
    }
    return false;
}
