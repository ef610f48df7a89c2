/* worker_records.c: what tasks cost and printed: of those that run, and of the last ones that ran.
 *
 * For people who look for what went wrong (RPC task_records, `cask logs`); nothing here decides anything. A ring of
 * fixed length, so that a task costs next to nothing; what was printed is dropped first, oldest first. */
#include "node/values.h"
#include "node/worker_run.h"
#include "wire/outgoing.h"

#define RECORDS_MAX 4096u
#define OUTPUT_MAX 65536u                  /* bytes kept of what one task printed: the last ones */
#define OUTPUT_SUM_MAX (16u * 1024 * 1024) /* … and of all that have ended */

struct task_record {
    struct text key; /* empty: no record */
    const char *end;
    int64_t run_id;
    struct executor_ledger ledger; /* times are those of the scheduler's clock; without metrics */
    struct text output;
    uint64_t written;
};

struct worker_records {
    struct task_record ring[RECORDS_MAX];
    uint32_t next;        /* the oldest, which the next one replaces */
    uint32_t oldest_text; /* of those with output; at most `next` */
    uint64_t output_sum;
};

void worker_records_destroy(struct worker_node *worker)
{
    struct worker_records *records = worker->records;
    if (records == NULL) {
        return;
    }
    worker->records = NULL;
    for (uint32_t i = 0; i < RECORDS_MAX; i++) {
        text_fini(&records->ring[i].key);
        text_fini(&records->ring[i].output);
    }
    mem_free(records);
}

/* ---- output ------------------------------------------------------------------------------------ */

void worker_record_output(struct object *object, const struct executor_message *told)
{
    struct text *output = &object->run->output;
    text_add(output, told->text);
    object->run->written += told->text.size;
    if (output->size > 2u * OUTPUT_MAX) { /* only the end matters */
        memmove(output->data, output->data + output->size - OUTPUT_MAX, OUTPUT_MAX + 1);
        output->size = OUTPUT_MAX;
    }
}

struct span worker_output_end(const struct text *output, size_t size_max)
{
    size_t size = output->size < size_max ? output->size : size_max;
    return size == 0 ? (struct span){0} : span_of(output->data + (output->size - size), size);
}

static void drop_output(struct worker_records *records, struct task_record *record)
{
    records->output_sum -= record->output.size;
    text_fini(&record->output);
}

/* The oldest first; the one just added is never the only one over the limit. */
static void limit_output(struct worker_records *records)
{
    while (records->output_sum > OUTPUT_SUM_MAX) {
        drop_output(records, &records->ring[records->oldest_text]);
        records->oldest_text = (records->oldest_text + 1) % RECORDS_MAX;
    }
}

/* ---- a run that ended -------------------------------------------------------------------------- */

void worker_record(struct worker_node *worker, struct span key, struct worker_run *run,
                   const char *end, const struct executor_ledger *ledger)
{
    if (worker->records == NULL) {
        worker->records = mem_zalloc(1, sizeof *worker->records);
    }
    struct worker_records *records = worker->records;
    struct task_record *record = &records->ring[records->next];
    drop_output(records, record);
    if (records->oldest_text == records->next) {
        records->oldest_text = (records->oldest_text + 1) % RECORDS_MAX;
    }
    records->next = (records->next + 1) % RECORDS_MAX;
    text_clear(&record->key);
    text_add(&record->key, key);
    record->end = end;
    record->run_id = run->run_id;
    record->ledger = *ledger;
    record->ledger.metrics = (struct span){0};
    record->written = run->written;
    record->output = run->output;
    run->output = (struct text){0};
    run->written = 0;
    records->output_sum += record->output.size;
    limit_output(records);
}

/* ---- telling ----------------------------------------------------------------------------------- */

static void put_number(struct text *out, const char *name, double value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_float(out, value);
}

static void put_count(struct text *out, const char *name, uint64_t value)
{
    msgpack_write_cstr(out, name);
    msgpack_write_uint(out, value);
}

/* What is asked for. */
struct question {
    struct map keys;
    bool all;
    size_t output_max; /* bytes of what each printed: the last ones */
};

static void put_record(const struct worker_node *worker, const struct task_record *record,
                       const struct question *question, struct text *out)
{
    const struct executor_ledger *ledger = &record->ledger;
    msgpack_write_map(out, 16);
    msgpack_write_cstr(out, "key");
    msgpack_write_raw(out, text_span(&record->key));
    msgpack_write_cstr(out, "status");
    msgpack_write_cstr(out, record->end);
    msgpack_write_cstr(out, "run_id");
    msgpack_write_int(out, record->run_id);
    put_number(out, "start", ledger->start + worker->link.delay);
    put_number(out, "stop", ledger->stop + worker->link.delay);
    put_count(out, "thread", ledger->thread);
    put_number(out, "cpu_user", ledger->cpu_user);
    put_number(out, "cpu_system", ledger->cpu_system);
    put_count(out, "rss_peak", ledger->rss_peak);
    put_count(out, "rss_growth", ledger->rss_growth);
    put_count(out, "faults_minor", ledger->faults_minor);
    put_count(out, "faults_major", ledger->faults_major);
    put_count(out, "read_bytes", ledger->read_bytes);
    put_count(out, "written_bytes", ledger->written_bytes);
    put_count(out, "output_bytes", record->written);
    msgpack_write_cstr(out, "output");
    msgpack_write_str_lossy(out, worker_output_end(&record->output, question->output_max));
}

static bool is_asked(const struct question *question, struct span key)
{
    return question->all || map_find(&question->keys, key) != NULL;
}

/* Those that run, as far as they have come; gives their number. */
static uint32_t put_running(struct worker_node *worker, const struct question *question,
                            struct text *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < worker->runs.count; i++) {
        const struct object *object = object_find(&worker->objects, worker->runs.items[i]);
        struct wtask_view view = {0};
        if (object->run->state != RUN_SENT || !is_asked(question, object->key)) {
            continue;
        }
        if (worker_task_is_known(worker->core, object->run->task)) {
            worker_task(worker->core, object->run->task, &view);
        }
        struct task_record record = {.end = "running",
                                     .run_id = object->run->run_id,
                                     .ledger = {.start = view.started, .stop = io_now()},
                                     .output = object->run->output,
                                     .written = object->run->written};
        text_add(&record.key, object->key);
        put_record(worker, &record, question, out);
        text_fini(&record.key);
        count++;
    }
    return count;
}

static uint32_t put_ended(const struct worker_node *worker, const struct question *question,
                          struct text *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; worker->records != NULL && i < RECORDS_MAX; i++) {
        uint32_t at = (worker->records->next + i) % RECORDS_MAX;
        const struct task_record *record = &worker->records->ring[at];
        if (record->key.size > 0 && is_asked(question, text_span(&record->key))) {
            put_record(worker, record, question, out);
            count++;
        }
    }
    return count;
}

void worker_rpc_task_records(struct worker_node *worker, struct request *request,
                             const struct message *message)
{
    const struct msg_worker_task_records *asked = &message->body.worker_task_records;
    bool is_limited = asked->output_max >= 0 && asked->output_max < OUTPUT_MAX;
    struct question question = {.all = !asked->keys.given,
                                .output_max = is_limited ? (size_t)asked->output_max : OUTPUT_MAX};
    struct span_list list = values_keys(&worker->scratch, asked->keys);
    for (uint32_t i = 0; i < list.count; i++) {
        map_put(&question.keys, list.items[i], NULL);
    }
    struct text records = {0};
    uint32_t count = put_ended(worker, &question, &records);
    count += put_running(worker, &question, &records);
    struct outgoing out;
    outgoing_init(&out);
    msgpack_write_array(&out.head, count);
    msgpack_write_raw(&out.head, text_span(&records));
    request_reply(request, &out);
    outgoing_fini(&out);
    text_fini(&records);
    map_fini(&question.keys);
}
