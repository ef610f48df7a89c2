/* worker_rpc_dump.c: the worker's state for people who debug: its tasks, their moves, what it logged, its settings.
 * Source: distributed worker.py _to_dict; worker_state_machine.py WorkerState._to_dict. */
#include "base/log.h"
#include "node/worker_internal.h"
#include "node/worker_transfers.h"
#include "node/worker_view.h"

/* A map under construction: pairs whose name the caller did not exclude. */
struct dump {
    struct text pairs;
    uint32_t count;
    struct span exclude; /* msgpack list, may be nil */
};

static bool is_excluded(const struct dump *dump, const char *name)
{
    struct msgpack_reader reader = msgpack_reader(dump->exclude);
    uint32_t count;
    if (msgpack_is_nil(dump->exclude) || msgpack_read_array(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span text;
        if (msgpack_read_str(&reader, &text) != OK) {
            return false;
        }
        if (span_equal_text(text, name)) {
            return true;
        }
    }
    return false;
}

/* Where to write the value of `name`; NULL: it is excluded. */
static struct text *field(struct dump *dump, const char *name)
{
    if (is_excluded(dump, name)) {
        return NULL;
    }
    msgpack_write_cstr(&dump->pairs, name);
    dump->count++;
    return &dump->pairs;
}

static void put_str(struct dump *dump, const char *name, struct span value)
{
    struct text *out = field(dump, name);
    if (out != NULL) {
        msgpack_write_str_lossy(out, value);
    }
}

static void put_int(struct dump *dump, const char *name, int64_t value)
{
    struct text *out = field(dump, name);
    if (out != NULL) {
        msgpack_write_int(out, value);
    }
}

static void put_key_text(struct text *out, struct span key)
{
    struct text text = {0};
    key_print(&text, key);
    msgpack_write_str_lossy(out, text_span(&text));
    text_fini(&text);
}

static void put_task(struct worker_node *worker, task_id id, const struct wtask_view *task,
                     struct text *out)
{
    msgpack_write_map(out, 7);
    msgpack_write_cstr(out, "key");
    put_key_text(out, task->key);
    msgpack_write_cstr(out, "state");
    msgpack_write_cstr(out, wtask_state_name(task->state));
    msgpack_write_cstr(out, "run_id");
    msgpack_write_int(out, task->run_id);
    msgpack_write_cstr(out, "nbytes");
    if (task->nbytes < 0) {
        msgpack_write_nil(out);
    } else {
        msgpack_write_int(out, task->nbytes);
    }
    msgpack_write_cstr(out, "dependencies");
    msgpack_write_array(out, task->dependency_count);
    for (uint32_t i = 0; i < task->dependency_count; i++) {
        struct wtask_view other;
        worker_task(worker->core, worker_task_dependency(worker->core, id, i), &other);
        put_key_text(out, other.key);
    }
    msgpack_write_cstr(out, "dependents");
    msgpack_write_array(out, task->dependent_count);
    for (uint32_t i = 0; i < task->dependent_count; i++) {
        struct wtask_view other;
        worker_task(worker->core, worker_task_dependent(worker->core, id, i), &other);
        put_key_text(out, other.key);
    }
    msgpack_write_cstr(out, "who_has");
    msgpack_write_array(out, task->holder_count);
    for (uint32_t i = 0; i < task->holder_count; i++) {
        msgpack_write_str(out, worker_task_holder(worker->core, id, i));
    }
}

static void put_tasks(struct worker_node *worker, struct dump *dump)
{
    struct text tasks = {0}, *out = field(dump, "tasks");
    uint32_t count = 0;
    for (task_id id = 0; out != NULL && id < worker_task_end(worker->core); id++) {
        struct wtask_view task;
        if (worker_task_is_known(worker->core, id)) {
            worker_task(worker->core, id, &task);
            put_key_text(&tasks, task.key);
            put_task(worker, id, &task, &tasks);
            count++;
        }
    }
    if (out != NULL) {
        msgpack_write_map(out, count);
        msgpack_write_raw(out, text_span(&tasks));
    }
    text_fini(&tasks);
}

static void put_log(struct worker_node *worker, struct dump *dump)
{
    struct text *out = field(dump, "log");
    if (out != NULL) {
        worker_view_log(worker, out);
    }
}

static void put_transfers(struct worker_node *worker, struct dump *dump, const char *name,
                          enum transfer_way way)
{
    struct text *out = field(dump, name);
    if (out != NULL) {
        worker_transfers_write(worker->transfers, way, out);
    }
}

/* This process's lines; those of executors are for get_logs, which asks them. */
static void put_logs(struct dump *dump)
{
    struct text lines = {0}, *out = field(dump, "logs");
    struct log_line line;
    uint32_t count = 0;
    for (; out != NULL && log_recent(count, &line); count++) {
        msgpack_write_array(&lines, 2);
        msgpack_write_cstr(&lines, log_level_name(line.level));
        msgpack_write_str_lossy(&lines, span_of_text(line.text));
    }
    if (out != NULL) {
        msgpack_write_array(out, count);
        msgpack_write_raw(out, text_span(&lines));
    }
    text_fini(&lines);
}

void worker_rpc_dump_state(struct worker_node *worker, struct request *request,
                           const struct message *message)
{
    struct dump dump = {.exclude = message->body.worker_dump_state.exclude};
    struct worker_summary summary;
    worker_summarise(worker->core, &summary);
    put_str(&dump, "type", SPAN("Worker"));
    put_str(&dump, "id", text_span(&worker->id));
    put_str(&dump, "address", text_span(&worker->server.address));
    put_str(&dump, "status", span_of_text(worker_phase_text(worker->status)));
    put_str(&dump, "scheduler", text_span(&worker->scheduler));
    put_str(&dump, "local_directory", text_span(&worker->directory));
    put_int(&dump, "nthreads", worker->options.nthreads);
    put_int(&dump, "memory_limit", (int64_t)worker->options.memory_limit);
    put_int(&dump, "nbytes", summary.nbytes);
    put_int(&dump, "transfer_incoming_count", summary.incoming_count);
    put_int(&dump, "transfer_outgoing_count", worker->outgoing_count);
    put_transfers(worker, &dump, "transfer_incoming_log", TRANSFER_INCOMING);
    put_transfers(worker, &dump, "transfer_outgoing_log", TRANSFER_OUTGOING);
    put_tasks(worker, &dump);
    put_log(worker, &dump);
    put_logs(&dump);
    struct text *config = field(&dump, "config");
    if (config != NULL) {
        config_write(worker->config, "", config);
    }
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, dump.count);
    msgpack_write_raw(&out.head, text_span(&dump.pairs));
    request_reply(request, &out);
    outgoing_fini(&out);
    text_fini(&dump.pairs);
}

/* The worker's own is where the tasks are. */
void nanny_rpc_dump_state(struct worker_node *worker, struct request *request,
                          const struct message *message)
{
    struct dump dump = {.exclude = message->body.nanny_dump_state.exclude};
    put_str(&dump, "type", SPAN("Nanny"));
    put_str(&dump, "id", text_span(&worker->nanny_id));
    put_str(&dump, "address", text_span(&worker->nanny.address));
    put_str(&dump, "status", worker->is_closing ? SPAN("closing") : SPAN("running"));
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_map(&out.head, dump.count);
    msgpack_write_raw(&out.head, text_span(&dump.pairs));
    request_reply(request, &out);
    outgoing_fini(&out);
    text_fini(&dump.pairs);
}
