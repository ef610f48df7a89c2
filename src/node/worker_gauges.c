/* worker_gauges.c: what a worker measures of itself. */
#include "node/worker_gauges.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/share.h"
#include "node/worker_internal.h"

/* As stock: a guess to begin with, then a moving mean over transfers that are large enough to tell. */
#define BANDWIDTH_FIRST 100e6
#define BANDWIDTH_BYTES_MIN 1000000u
#define BANDWIDTH_WEIGHT 0.05
#define SHORTEST_TRANSFER 0.001 /* seconds; what is shorter counts as this */

struct peer_bandwidth {
    double sum; /* of bytes per second; stock's scheduler divides by the count */
    uint64_t count;
};

struct worker_gauges {
    double bandwidth;
    struct map bandwidth_peers; /* address → struct peer_bandwidth *, since the last heartbeat */
    struct map digests;         /* name (msgpack) → double *, since the last heartbeat */
    struct map span_digests;    /* the same of tasks and shuffles, with the span's id in the name */
    struct text name;           /* of a digest, while it is being made */
    struct store_totals stored; /* by the last heartbeat */
    double cpu_before;          /* seconds of CPU used by then */
    double time_before;         /* monotonic */
    uint64_t network_before[2], disks_before[2]; /* bytes read and written by then */
};

struct worker_gauges *worker_gauges_create(void)
{
    struct worker_gauges *gauges = mem_zalloc(1, sizeof *gauges);
    gauges->bandwidth = BANDWIDTH_FIRST;
    gauges->time_before = io_monotonic();
    return gauges;
}

static void clear(struct map *map)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(map, &cursor)) != NULL;) {
        mem_free(entry->value.pointer);
    }
    map_fini(map);
}

void worker_gauges_destroy(struct worker_gauges *gauges)
{
    clear(&gauges->bandwidth_peers);
    clear(&gauges->digests);
    clear(&gauges->span_digests);
    text_fini(&gauges->name);
    mem_free(gauges);
}

static void add_to(struct map *digests, struct span name, double number)
{
    struct map_entry *entry = map_put(digests, name, NULL);
    if (entry->value.pointer == NULL) {
        entry->value.pointer = mem_zalloc(1, sizeof(double));
    }
    *(double *)entry->value.pointer += number;
}

/* (context, activity, unit) */
static void add_digest(struct worker_gauges *gauges, const char *context, const char *activity,
                       const char *unit, double number)
{
    struct text *name = &gauges->name;
    text_clear(name);
    msgpack_write_array(name, 3);
    msgpack_write_cstr(name, context);
    msgpack_write_cstr(name, activity);
    msgpack_write_cstr(name, unit);
    add_to(&gauges->digests, text_span(name), number);
}

/* "name" */
static void add_plain(struct worker_gauges *gauges, const char *plain, double number)
{
    text_clear(&gauges->name);
    msgpack_write_cstr(&gauges->name, plain);
    add_to(&gauges->digests, text_span(&gauges->name), number);
}

/* (context, span's id, …): for spans as it is, for the worker without the id. False: it is no such name. */
static bool add_with_span(struct worker_gauges *gauges, struct span name, double number)
{
    struct msgpack_reader reader = msgpack_reader(name);
    struct span context, id;
    uint32_t count;
    if (msgpack_peek(&reader) != MSGPACK_ARRAY || msgpack_read_array(&reader, &count) != OK ||
        count < 3 || msgpack_read_value(&reader, &context) != OK ||
        (!span_equal(context, SPAN("\xa7"
                                   "execute")) &&
         !span_equal(context, SPAN("\xa3p2p"))) ||
        msgpack_read_value(&reader, &id) != OK) {
        return false;
    }
    struct text *squashed = &gauges->name;
    text_clear(squashed);
    msgpack_write_array(squashed, count - 1);
    msgpack_write_raw(squashed, context);
    msgpack_write_raw(squashed, span_of(reader.at, (size_t)(reader.end - reader.at)));
    add_to(&gauges->digests, text_span(squashed), number);
    add_to(&gauges->span_digests, name, number);
    return true;
}

void worker_gauges_digest(struct worker_node *worker, struct span told)
{
    struct msgpack_reader reader = msgpack_reader(told);
    uint32_t count;
    struct span name;
    double number;
    if (msgpack_read_array(&reader, &count) != OK || count != 2 ||
        msgpack_read_value(&reader, &name) != OK || msgpack_read_float(&reader, &number) != OK) {
        return; /* an executor is not believed */
    }
    if (!add_with_span(worker->gauges, name, number)) {
        add_to(&worker->gauges->digests, name, number);
    }
}

/* ---- transfers --------------------------------------------------------------------------------- */

void worker_gauges_received(struct worker_node *worker, struct span peer, uint64_t bytes,
                            double seconds)
{
    struct worker_gauges *gauges = worker->gauges;
    double duration = seconds > SHORTEST_TRANSFER ? seconds : SHORTEST_TRANSFER;
    double rate = (double)bytes / duration;
    add_plain(gauges, "transfer-bandwidth", rate);
    add_plain(gauges, "transfer-duration", duration);
    add_digest(gauges, "gather-dep", "network", "seconds", seconds);
    if (bytes < BANDWIDTH_BYTES_MIN) {
        return;
    }
    gauges->bandwidth = gauges->bandwidth * (1 - BANDWIDTH_WEIGHT) + rate * BANDWIDTH_WEIGHT;
    struct map_entry *entry = map_put(&gauges->bandwidth_peers, peer, NULL);
    if (entry->value.pointer == NULL) {
        entry->value.pointer = mem_zalloc(1, sizeof(struct peer_bandwidth));
    }
    struct peer_bandwidth *seen = entry->value.pointer;
    seen->sum += rate;
    seen->count++;
}

void worker_gauges_latency(struct worker_node *worker, double seconds)
{
    if (seconds > 0) { /* the wall clock may have been set meanwhile */
        add_plain(worker->gauges, "latency", seconds);
    }
}

/* ---- tasks ------------------------------------------------------------------------------------- */

/* A run that is being told: its task's span and prefix. */
struct told_run {
    struct worker_gauges *gauges;
    struct span span_id, prefix;
    struct text name;
};

/* ("execute", span's id, prefix, label, unit). `label` and `unit` are msgpack. */
static void add_execute(struct told_run *run, struct span label, struct span unit, double number)
{
    struct text *name = &run->name;
    if (!(number > 0)) {
        return;
    }
    text_clear(name);
    msgpack_write_array(name, 5);
    msgpack_write_cstr(name, "execute");
    if (run->span_id.size > 0) {
        msgpack_write_str(name, run->span_id);
    } else {
        msgpack_write_nil(name);
    }
    msgpack_write_str(name, run->prefix);
    msgpack_write_raw(name, label);
    msgpack_write_raw(name, unit);
    bool has_span = add_with_span(run->gauges, text_span(name), number);
    ASSERT(has_span);
}

/* [label, number, unit] */
static int read_metric(struct msgpack_reader *reader, struct span *out_label, double *out_number,
                       struct span *out_unit)
{
    uint32_t fields;
    int code = msgpack_read_array(reader, &fields);
    code = code == OK && fields != 3 ? ERR_TYPE : code;
    code = code == OK ? msgpack_read_value(reader, out_label) : code;
    code = code == OK ? msgpack_read_float(reader, out_number) : code;
    return code == OK ? msgpack_read_value(reader, out_unit) : code;
}

void worker_gauges_ran(struct worker_node *worker, const struct wtask_view *task,
                       const struct executor_ledger *ledger)
{
    const struct span seconds = SPAN("\xa7seconds");
    struct told_run run = {worker->gauges, task->span_id, task->prefix, {0}};
    struct msgpack_reader reader = msgpack_reader(ledger->metrics);
    double cpu = ledger->cpu_user + ledger->cpu_system, number;
    uint32_t count = 0;
    add_execute(&run,
                SPAN("\xab"
                     "deserialize"),
                seconds, ledger->start - ledger->prepared);
    add_execute(&run, SPAN("\xaathread-cpu"), seconds, cpu);
    add_execute(&run, SPAN("\xadthread-noncpu"), seconds, ledger->stop - ledger->start - cpu);
    int code = ledger->metrics.size == 0 ? OK : msgpack_read_array(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        struct span label, unit;
        code = read_metric(&reader, &label, &number, &unit);
        if (code == OK) {
            add_execute(&run, label, unit, number);
        }
    }
    text_fini(&run.name);
}

/* ---- the store --------------------------------------------------------------------------------- */

static void add_meter(struct worker_gauges *gauges, const char *context, const char *activity,
                      const struct store_meter *before, const struct store_meter *now)
{
    if (now->count == before->count) {
        return;
    }
    add_digest(gauges, context, activity, "count", (double)(now->count - before->count));
    add_digest(gauges, context, activity, "bytes", (double)(now->bytes - before->bytes));
    if (now->seconds > before->seconds) {
        add_digest(gauges, context, activity, "seconds", now->seconds - before->seconds);
    }
}

/* What it did since the last heartbeat. It writes when memory is short, and is read by peers and executors alike. */
static void add_stored(struct worker_gauges *gauges, const struct store_totals *now)
{
    const struct store_totals *before = &gauges->stored;
    add_meter(gauges, "memory-monitor", "disk-write", &before->disk_write, &now->disk_write);
    add_meter(gauges, "get-data", "disk-read", &before->disk_read, &now->disk_read);
    add_meter(gauges, "get-data", "memory-read", &before->memory_read, &now->memory_read);
    gauges->stored = *now;
}

/* ---- the process ------------------------------------------------------------------------------- */

/* Seconds of CPU that a process has used so far. */
static double cpu_of(int process)
{
    char path[64];
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    /* the name of the program may hold anything, ")" too: fields begin after the last one */
    char line[1024];
    size_t size = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[size] = '\0';
    const char *fields = strrchr(line, ')');
    if (fields == NULL ||
        sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
               &system) != 2) {
        return 0;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Per cent of one CPU since the last call, as psutil gives it. */
static double cpu_percent(struct worker_node *worker)
{
    struct worker_gauges *gauges = worker->gauges;
    double used = cpu_of(getpid()), now = io_monotonic();
    for (uint32_t i = 0; i < worker->seats.count; i++) {
        const struct executor *executor = worker->seats.items[i].executor;
        used += executor == NULL ? 0 : cpu_of(executor_process_id(executor));
    }
    double passed = now - gauges->time_before;
    double percent = passed > 0 ? 100 * (used - gauges->cpu_before) / passed : 0;
    gauges->cpu_before = used;
    gauges->time_before = now;
    return percent > 0 ? percent : 0; /* an executor that died took its seconds with it */
}

/* ---- the host ---------------------------------------------------------------------------------- */

/* Bytes of all network interfaces but loopback, so far. */
static void read_network(uint64_t out_bytes[2])
{
    char line[512], name[64];
    FILE *file = fopen("/proc/net/dev", "re");
    out_bytes[0] = out_bytes[1] = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long read, written;
        if (sscanf(line, " %63[^:]: %llu %*u %*u %*u %*u %*u %*u %*u %llu", name, &read,
                   &written) == 3 &&
            strcmp(name, "lo") != 0) {
            out_bytes[0] += read;
            out_bytes[1] += written;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* Bytes of all disks (partitions are in them), so far. */
static void read_disks(uint64_t out_bytes[2])
{
    char line[512], name[64];
    FILE *file = fopen("/proc/diskstats", "re");
    out_bytes[0] = out_bytes[1] = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long read, written;
        char path[96];
        if (sscanf(line, " %*u %*u %63s %*u %*u %llu %*u %*u %*u %llu", name, &read, &written) ==
            3) {
            snprintf(path, sizeof path, "/sys/block/%s", name);
            bool is_disk = access(path, F_OK) == 0;
            out_bytes[0] += is_disk ? 512 * read : 0;
            out_bytes[1] += is_disk ? 512 * written : 0;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* {read_bps, write_bps} since the last time; `now` becomes what was seen. */
static void put_rates(struct text *out, const char *name, uint64_t before[2], const uint64_t now[2],
                      double seconds)
{
    static const char *const names[] = {"read_bps", "write_bps"};
    msgpack_write_cstr(out, name);
    msgpack_write_map(out, 2);
    for (int i = 0; i < 2; i++) {
        bool is_known = before[i] > 0 && now[i] >= before[i] && seconds > 0;
        msgpack_write_cstr(out, names[i]);
        msgpack_write_float(out, is_known ? (double)(now[i] - before[i]) / seconds : 0);
        before[i] = now[i];
    }
}

static uint32_t open_file_count(void)
{
    uint32_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count - 3; /* . and .., and the one that reads */
}

/* ---- the map ----------------------------------------------------------------------------------- */

static void put_counts(struct text *out, const struct worker_summary *summary)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < WTASK_STATE_COUNT; i++) {
        count += summary->state_counts[i] > 0;
    }
    msgpack_write_cstr(out, "task_counts");
    msgpack_write_map(out, count);
    for (uint32_t i = 0; i < WTASK_STATE_COUNT; i++) {
        if (summary->state_counts[i] > 0) {
            msgpack_write_cstr(out, wtask_state_name(i));
            msgpack_write_uint(out, summary->state_counts[i]);
        }
    }
}

static void put_bandwidth(struct text *out, struct worker_gauges *gauges)
{
    msgpack_write_cstr(out, "bandwidth");
    msgpack_write_map(out, 3);
    msgpack_write_cstr(out, "total");
    msgpack_write_float(out, gauges->bandwidth);
    msgpack_write_cstr(out, "workers");
    msgpack_write_map(out, gauges->bandwidth_peers.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&gauges->bandwidth_peers, &cursor)) != NULL;) {
        const struct peer_bandwidth *seen = entry->value.pointer;
        msgpack_write_str(out, entry->name);
        msgpack_write_array(out, 2);
        msgpack_write_float(out, seen->sum);
        msgpack_write_uint(out, seen->count);
    }
    msgpack_write_cstr(out, "types");
    msgpack_write_map(out, 0);
    clear(&gauges->bandwidth_peers);
}

/* {name: number}; they begin anew. */
static void put_digests(struct text *out, struct map *digests)
{
    msgpack_write_map(out, digests->count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(digests, &cursor)) != NULL;) {
        msgpack_write_raw(out, entry->name);
        msgpack_write_number(out, *(const double *)entry->value.pointer);
    }
    clear(digests);
}

bool worker_gauges_write_spans(struct worker_node *worker, struct text *out)
{
    struct map *digests = &worker->gauges->span_digests;
    if (digests->count == 0) {
        return false;
    }
    put_digests(out, digests);
    return true;
}

static void put_transfer(struct text *out, const struct worker_node *worker,
                         const struct worker_summary *summary)
{
    const struct share *share = worker->comm_settings.share;
    const struct share_counts shared =
        share == NULL ? (struct share_counts){0} : *share_counts(share);
    const struct {
        const char *name;
        int64_t number;
    } rows[] = {
        {"incoming_bytes", summary->incoming_bytes},
        {"incoming_count", summary->incoming_count},
        {"incoming_count_total", (int64_t)summary->incoming_count_total},
        {"outgoing_bytes", worker->outgoing_bytes},
        {"outgoing_count", worker->outgoing_count},
        {"outgoing_count_total", (int64_t)worker->outgoing_count_total},
        /* of this host's workers, so far: bytes that were not copied */
        {"incoming_shared_bytes_total", (int64_t)shared.received_bytes},
        {"outgoing_shared_bytes_total", (int64_t)shared.sent_bytes},
    };
    msgpack_write_cstr(out, "transfer");
    msgpack_write_map(out, sizeof rows / sizeof rows[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        msgpack_write_cstr(out, rows[i].name);
        msgpack_write_int(out, rows[i].number);
    }
}

void worker_gauges_write(struct worker_node *worker, struct span more, struct text *out)
{
    struct msgpack_reader reader = msgpack_reader(more);
    uint32_t more_count = 0;
    if (more.size > 0 && msgpack_read_map(&reader, &more_count) != OK) {
        more_count = 0; /* an executor is not believed */
    }
    struct worker_summary summary;
    struct io_turns turns;
    struct store_totals totals;
    worker_summarise(worker->core, &summary);
    io_loop_turns(worker->loop, true, &turns);
    double seconds = io_monotonic() - worker->gauges->time_before;
    uint64_t network[2], disks[2];
    read_network(network);
    read_disks(disks);
    msgpack_write_map(out, 13 + more_count);
    put_rates(out, "host_net_io", worker->gauges->network_before, network, seconds);
    put_rates(out, "host_disk_io", worker->gauges->disks_before, disks, seconds);
    put_counts(out, &summary);
    put_bandwidth(out, worker->gauges);
    store_totals(worker->store, &totals);
    add_stored(worker->gauges, &totals);
    add_plain(worker->gauges, "tick-duration", turns.longest_busy);
    msgpack_write_cstr(out, "digests_total_since_heartbeat");
    put_digests(out, &worker->gauges->digests);
    msgpack_write_cstr(out, "managed_bytes");
    msgpack_write_int(out, summary.nbytes);
    msgpack_write_cstr(out, "spilled_bytes");
    msgpack_write_map(out, 2);
    msgpack_write_cstr(out, "memory");
    msgpack_write_uint(out, totals.spilled_memory_bytes);
    msgpack_write_cstr(out, "disk");
    msgpack_write_uint(out, totals.spilled_disk_bytes);
    put_transfer(out, worker, &summary);
    msgpack_write_cstr(out, "event_loop_interval");
    msgpack_write_float(out, turns.longest_busy);
    msgpack_write_cstr(out, "cpu");
    msgpack_write_float(out, cpu_percent(worker));
    msgpack_write_cstr(out, "memory");
    msgpack_write_uint(out, worker_memory(worker));
    msgpack_write_cstr(out, "time");
    msgpack_write_float(out, io_now());
    msgpack_write_cstr(out, "num_fds");
    msgpack_write_uint(out, open_file_count());
    if (more_count > 0) {
        msgpack_write_raw(out, span_of(reader.at, (size_t)(reader.end - reader.at)));
    }
}
