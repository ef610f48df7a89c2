/* worker_view.c: what user code that looks at `get_worker().state` and `get_worker().data` is shown: the core's state at one
 * moment, as msgpack. The names are stock's; `cask/executor/state.py` makes stock's objects of them.
 * Source: distributed worker_state_machine.py, TaskState and WorkerState; spill.py, SpillBuffer. */
#include "node/worker_view.h"
#include "node/worker_internal.h"

/* ---- tasks -------------------------------------------------------------------------------------- */

static void put_text(struct text *out, const char *name, struct span value)
{
    msgpack_write_cstr(out, name);
    if (value.size == 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_str_lossy(out, value);
    }
}

/* Most tasks have been in no state before that would matter: nil. */
static void put_state(struct text *out, const char *name, enum wtask_state state)
{
    put_text(out, name,
             state == WTASK_RELEASED ? (struct span){0} : span_of_text(wtask_state_name(state)));
}

static void put_edges(const struct worker_node *worker, task_id id, const struct wtask_view *task,
                      struct text *out)
{
    struct wtask_view other;
    msgpack_write_cstr(out, "dependencies");
    msgpack_write_array(out, task->dependency_count);
    for (uint32_t i = 0; i < task->dependency_count; i++) {
        worker_task(worker->core, worker_task_dependency(worker->core, id, i), &other);
        msgpack_write_raw(out, other.key);
    }
    msgpack_write_cstr(out, "dependents");
    msgpack_write_array(out, task->dependent_count);
    for (uint32_t i = 0; i < task->dependent_count; i++) {
        worker_task(worker->core, worker_task_dependent(worker->core, id, i), &other);
        msgpack_write_raw(out, other.key);
    }
    msgpack_write_cstr(out, "who_has");
    msgpack_write_array(out, task->holder_count);
    for (uint32_t i = 0; i < task->holder_count; i++) {
        msgpack_write_str(out, worker_task_holder(worker->core, id, i));
    }
}

static void put_priority(const struct wtask_view *task, struct text *out)
{
    msgpack_write_cstr(out, "priority");
    if (!task->has_priority) {
        msgpack_write_nil(out);
        return;
    }
    msgpack_write_array(out, 4);
    msgpack_write_float(out, task->priority.user);
    msgpack_write_float(out, task->priority.generation);
    msgpack_write_int(out, task->priority.order);
    msgpack_write_int(out, task->priority_serial);
}

static void put_task(const struct worker_node *worker, task_id id, struct text *out)
{
    struct wtask_view task;
    worker_task(worker->core, id, &task);
    bool is_plain = task.annotations != NULL && task.annotations->frame_count == 0;
    msgpack_write_map(out, 14);
    msgpack_write_cstr(out, "key");
    msgpack_write_raw(out, task.key);
    put_text(out, "prefix", task.prefix);
    put_text(out, "state", span_of_text(wtask_state_name(task.state)));
    put_state(out, "previous", task.previous);
    put_state(out, "next", task.next);
    msgpack_write_cstr(out, "run_id");
    msgpack_write_int(out, task.run_id);
    msgpack_write_cstr(out, "nbytes");
    if (task.nbytes < 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_int(out, task.nbytes);
    }
    put_text(out, "span_id", task.span_id);
    put_text(out, "coming_from", task.coming_from);
    msgpack_write_cstr(out, "annotations");
    if (is_plain) {
        msgpack_write_raw(out, slice_span(task.annotations->value));
    } else {
        msgpack_write_nil(out);
    }
    put_priority(&task, out);
    put_edges(worker, id, &task, out);
}

void worker_view_tasks(struct worker_node *worker, struct span keys, struct text *out)
{
    struct msgpack_reader reader = msgpack_reader(keys);
    struct text tasks = {0};
    struct span key;
    uint32_t wanted, count = 0;
    if (msgpack_read_array(&reader, &wanted) != OK) {
        wanted = 0;
    }
    bool all = wanted == 0;
    for (task_id id = 0; all && id < worker_task_end(worker->core); id++) {
        if (worker_task_is_known(worker->core, id)) {
            put_task(worker, id, &tasks);
            count++;
        }
    }
    for (; wanted > 0 && key_read(&reader, &worker->scratch, &key) == OK; wanted--) {
        task_id id = worker_task_find(worker->core, key);
        if (id != TASK_NONE) {
            put_task(worker, id, &tasks);
            count++;
        }
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&tasks));
    text_fini(&tasks);
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static void put_count(struct text *out, const char *name, int64_t count)
{
    msgpack_write_cstr(out, name);
    msgpack_write_int(out, count);
}

static void put_resources(const struct worker_node *worker, struct text *out)
{
    struct text pairs = {0};
    struct span name;
    double total, available;
    uint32_t count = 0;
    for (; worker_resource_at(worker->core, count, &name, &total, &available); count++) {
        msgpack_write_str(&pairs, name);
        msgpack_write_number(&pairs, available);
    }
    msgpack_write_cstr(out, "available_resources");
    msgpack_write_map(out, count);
    msgpack_write_raw(out, text_span(&pairs));
    text_fini(&pairs);
}

static void put_busy_peers(const struct worker_node *worker, struct text *out)
{
    struct text addresses = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < worker_peer_end(worker->core); i++) {
        struct worker_peer_view peer;
        if (worker_peer(worker->core, i, &peer) && peer.busy) {
            msgpack_write_str(&addresses, peer.address);
            count++;
        }
    }
    msgpack_write_cstr(out, "busy_workers");
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&addresses));
    text_fini(&addresses);
}

static void put_state_counts(const struct worker_summary *summary, struct text *out)
{
    msgpack_write_cstr(out, "states");
    msgpack_write_map(out, WTASK_STATE_COUNT);
    for (uint32_t i = 0; i < WTASK_STATE_COUNT; i++) {
        put_count(out, wtask_state_name((enum wtask_state)i), (int64_t)summary->state_counts[i]);
    }
}

static void put_spilled(const struct worker_node *worker, struct text *out)
{
    struct store_totals totals;
    store_totals(worker->store, &totals);
    msgpack_write_cstr(out, "spilled");
    msgpack_write_array(out, 2);
    msgpack_write_uint(out, totals.spilled_memory_bytes);
    msgpack_write_uint(out, totals.spilled_disk_bytes);
}

void worker_view_whole(const struct worker_node *worker, struct text *out)
{
    struct worker_summary summary;
    worker_summarise(worker->core, &summary);
    msgpack_write_map(out, 17);
    msgpack_write_cstr(out, "running");
    msgpack_write_bool(out, summary.running);
    put_count(out, "executing_count", summary.executing_count);
    put_count(out, "long_running_count", summary.long_running_count);
    put_count(out, "in_flight_tasks_count", summary.in_flight_task_count);
    put_count(out, "executed_count", (int64_t)summary.executed_count);
    put_count(out, "nbytes", summary.nbytes);
    put_count(out, "transfer_incoming_count", summary.incoming_count);
    put_count(out, "transfer_incoming_count_total", (int64_t)summary.incoming_count_total);
    put_count(out, "transfer_incoming_bytes", summary.incoming_bytes);
    put_count(out, "transfer_outgoing_count", worker->outgoing_count);
    put_count(out, "transfer_outgoing_count_total", (int64_t)worker->outgoing_count_total);
    put_count(out, "transfer_outgoing_bytes", worker->outgoing_bytes);
    put_count(out, "transition_counter", (int64_t)summary.transition_count);
    put_resources(worker, out);
    put_busy_peers(worker, out);
    put_state_counts(&summary, out);
    put_spilled(worker, out);
}

void worker_view_log(struct worker_node *worker, struct text *out)
{
    const struct span_list all = {0};
    uint32_t count;
    const struct wstory_entry *entries =
        worker_story(worker->core, all, all, &worker->scratch, &count);
    msgpack_write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        worker_write_story(out, &entries[i]);
    }
}

/* ---- data --------------------------------------------------------------------------------------- */

void worker_view_keys(const struct worker_node *worker, struct span where, struct text *out)
{
    bool disk = span_equal(where, SPAN("disk")), memory = span_equal(where, SPAN("memory"));
    struct text keys = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < worker->objects.by_task.count; i++) {
        const struct object *object = worker->objects.by_task.items[i];
        if (object == NULL || object->is_actor) {
            continue;
        }
        bool is_on_disk = store_look(worker->store, object_store_key(object), NULL) == STORE_DISK;
        if ((!disk || is_on_disk) && (!memory || !is_on_disk)) {
            msgpack_write_raw(&keys, object->key);
            count++;
        }
    }
    msgpack_write_array(out, count);
    msgpack_write_raw(out, text_span(&keys));
    text_fini(&keys);
}
