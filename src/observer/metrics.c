/* metrics.c: GET /metrics: Prometheus' text format 0.0.4, with the names and labels of stock, and some of our own.
 *
 * Stock's families come out of prometheus_client, whose rules are kept: a counter's samples end in _total, its HELP and
 * TYPE lines too; names that end in _total twice are stock's (it gives prometheus_client the suffix already).
 * Source: distributed http/scheduler/prometheus/{core,semaphore,stealing}.py. */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "observer/routes.h"
#include "wire/key.h"

/* Prefixes with labels of their own; the others are summed up. */
#define PREFIXES_MAX 500u

struct metrics {
    const struct observer *observer;
    const struct tables *tables;
    struct text *out;
    const struct prefix_row *prefixes[PREFIXES_MAX];
    uint32_t prefix_count;
    struct prefix_row other; /* the sum of the rest */
    bool has_other;
};

/* `name` without the namespace. */
static void family(struct metrics *metrics, const char *name, const char *type, const char *help)
{
    const char *space = text_cstr(&metrics->observer->settings.name_space);
    const char *joint = *space == '\0' ? "" : "_";
    text_printf(metrics->out, "# HELP %s%s%s %s\n", space, joint, name, help);
    text_printf(metrics->out, "# TYPE %s%s%s %s\n", space, joint, name, type);
}

static void add_label(struct text *out, const char *name, struct span value)
{
    text_printf(out, "%s=\"", name);
    for (size_t i = 0; i < value.size; i++) {
        char c = (char)value.data[i];
        if (c == '\n') {
            text_add_cstr(out, "\\n");
        } else {
            if (c == '"' || c == '\\') {
                text_add_char(out, '\\');
            }
            text_add_char(out, c);
        }
    }
    text_add_char(out, '"');
}

static void value(struct metrics *metrics, double number)
{
    text_add_char(metrics->out, ' ');
    if (isfinite(number)) {
        text_add_real(metrics->out, number);
    } else {
        text_add_cstr(metrics->out, isnan(number) ? "NaN" : number > 0 ? "+Inf" : "-Inf");
    }
    text_add_char(metrics->out, '\n');
}

static void sample_name(struct metrics *metrics, const char *name)
{
    const char *space = text_cstr(&metrics->observer->settings.name_space);
    text_printf(metrics->out, "%s%s%s", space, *space == '\0' ? "" : "_", name);
}

static void one(struct metrics *metrics, const char *name, const char *type, const char *help,
                double number)
{
    family(metrics, name, type, help);
    sample_name(metrics, name);
    value(metrics, number);
}

static void labelled(struct metrics *metrics, const char *name, const char *label, struct span text,
                     double number)
{
    sample_name(metrics, name);
    text_add_char(metrics->out, '{');
    add_label(metrics->out, label, text);
    text_add_char(metrics->out, '}');
    value(metrics, number);
}

/* ---- prefixes ----------------------------------------------------------------------------------- */

static int by_runs(const void *a, const void *b)
{
    const struct prefix_row *const *left = a, *const *right = b;
    return ((*left)->runs < (*right)->runs) - ((*left)->runs > (*right)->runs);
}

static void add_up(struct prefix_row *sum, const struct prefix_row *row)
{
    for (int i = 0; i < RECORD_STATES; i++) {
        sum->sample.states[i] += row->sample.states[i];
        sum->sample.totals[i] += row->sample.totals[i];
    }
    sum->sample.nbytes += row->sample.nbytes;
    sum->sample.compute += row->sample.compute;
    sum->sample.transfer += row->sample.transfer;
    sum->sample.suspicious += row->sample.suspicious;
}

/* The busiest ones; what is left as __other__, so that no user makes millions of time series. */
static void choose_prefixes(struct metrics *metrics)
{
    struct VEC(const struct prefix_row *) rows = {0};
    for (uint32_t i = 0; i < metrics->tables->prefixes.count; i++) {
        if (metrics->tables->prefixes.items[i] != NULL) {
            vec_push(&rows, metrics->tables->prefixes.items[i]);
        }
    }
    if (rows.count > PREFIXES_MAX) {
        qsort(rows.items, rows.count, sizeof *rows.items, by_runs);
    }
    for (uint32_t i = 0; i < rows.count; i++) {
        if (i < PREFIXES_MAX) {
            metrics->prefixes[metrics->prefix_count++] = rows.items[i];
        } else {
            add_up(&metrics->other, rows.items[i]);
            metrics->has_other = true;
        }
    }
    vec_fini(&rows);
    text_add_cstr(&metrics->other.name, "__other__");
}

typedef double prefix_number(const struct prefix_row *row);

static double number_suspicious(const struct prefix_row *row)
{
    return (double)row->sample.suspicious;
}

static double number_compute(const struct prefix_row *row)
{
    return row->sample.compute;
}

static double number_transfer(const struct prefix_row *row)
{
    return row->sample.transfer;
}

static double number_nbytes(const struct prefix_row *row)
{
    return (double)row->sample.nbytes;
}

static void by_prefix(struct metrics *metrics, const char *name, prefix_number *number)
{
    for (uint32_t i = 0; i < metrics->prefix_count; i++) {
        const struct prefix_row *row = metrics->prefixes[i];
        labelled(metrics, name, "task_prefix_name", text_span(&row->name), number(row));
    }
    if (metrics->has_other) {
        labelled(metrics, name, "task_prefix_name", text_span(&metrics->other.name),
                 number(&metrics->other));
    }
}

static const char *const state_names[RECORD_STATES] = {
    "released", "waiting", "no-worker", "queued", "processing", "memory", "erred", "forgotten"};

static void prefix_states(struct metrics *metrics, const struct prefix_row *row)
{
    for (int i = 0; i < RECORD_STATES; i++) {
        sample_name(metrics, "scheduler_prefix_state_totals_total");
        text_add_char(metrics->out, '{');
        add_label(metrics->out, "task_prefix_name", text_span(&row->name));
        text_printf(metrics->out, ",state=\"%s\"}", state_names[i]);
        value(metrics, (double)row->sample.totals[i]);
    }
}

/* ---- the scheduler's families ------------------------------------------------------------------- */

static void clients_and_workers(struct metrics *metrics)
{
    const struct tables *tables = metrics->tables;
    const struct record_totals *totals = &tables->totals;
    one(metrics, "scheduler_clients", "gauge", "Number of clients connected", totals->clients);
    one(metrics, "scheduler_client_connections_added_total", "counter",
        "Total number of client connections added", (double)tables->clients_added);
    one(metrics, "scheduler_client_connections_removed_total", "counter",
        "Total number of client connections removed", (double)tables->clients_removed);
    one(metrics, "scheduler_desired_workers", "gauge",
        "Number of workers scheduler needs for task graph", (double)totals->desired);
    static const char name[] = "scheduler_workers";
    double running = totals->running, idle = totals->idle, saturated = totals->saturated;
    family(metrics, name, "gauge", "Number of workers known by scheduler");
    labelled(metrics, name, "state", SPAN("idle"), idle);
    labelled(metrics, name, "state", SPAN("partially_saturated"), running - idle - saturated);
    labelled(metrics, name, "state", SPAN("saturated"), saturated);
    labelled(metrics, name, "state", SPAN("paused"), totals->paused);
    labelled(metrics, name, "state", SPAN("retiring"),
             (double)totals->workers - totals->paused - running);
    one(metrics, "scheduler_workers_added_total", "counter", "Total number of workers added",
        (double)tables->workers_added);
    one(metrics, "scheduler_workers_removed_total", "counter", "Total number of workers removed",
        (double)tables->workers_removed);
    one(metrics, "scheduler_gc_collection_seconds_total", "counter",
        "Total time spent on garbage collection", 0);
    one(metrics, "scheduler_last_time_total", "counter", "SystemMonitor last time", totals->time);
}

static void tasks(struct metrics *metrics)
{
    const struct record_totals *totals = &metrics->tables->totals;
    double forgotten = 0;
    for (uint32_t i = 0; i < metrics->prefix_count; i++) {
        forgotten += metrics->prefixes[i]->sample.states[7];
    }
    forgotten += metrics->other.sample.states[7];
    family(metrics, "scheduler_tasks_suspicious_total", "counter",
           "Total number of times a task has been marked suspicious");
    by_prefix(metrics, "scheduler_tasks_suspicious_total", number_suspicious);
    one(metrics, "scheduler_tasks_forgotten_total", "counter",
        "Total number of processed tasks no longer in memory and already removed from the "
        "scheduler "
        "job queue\\nNote: Task groups on the scheduler which have all tasks in the forgotten "
        "state "
        "are not included.",
        forgotten);
    family(metrics, "scheduler_tasks", "gauge", "Number of tasks known by scheduler");
    for (int i = 0; i < RECORD_STATES - 1; i++) {
        labelled(metrics, "scheduler_tasks", "state", span_of_text(state_names[i]),
                 totals->tasks[i]);
    }
    one(metrics, "scheduler_task_groups", "gauge", "Number of task groups known by scheduler",
        totals->groups);
    family(metrics, "scheduler_tasks_compute_seconds_total", "counter",
           "Total amount of compute time spent in each prefix");
    by_prefix(metrics, "scheduler_tasks_compute_seconds_total", number_compute);
    family(metrics, "scheduler_tasks_transfer_seconds_total", "counter",
           "Total amount of transfer time spent in each prefix");
    by_prefix(metrics, "scheduler_tasks_transfer_seconds_total", number_transfer);
    family(metrics, "scheduler_tasks_output_bytes", "gauge",
           "Current number of bytes in memory (without duplicates) for each prefix");
    by_prefix(metrics, "scheduler_tasks_output_bytes", number_nbytes);
    family(metrics, "scheduler_prefix_state_totals_total", "counter",
           "Accumulated count of task prefix in each state");
    for (uint32_t i = 0; i < metrics->prefix_count; i++) {
        prefix_states(metrics, metrics->prefixes[i]);
    }
    if (metrics->has_other) {
        prefix_states(metrics, &metrics->other);
    }
}

static void loop(struct metrics *metrics)
{
    const struct record_totals *totals = &metrics->tables->totals;
    one(metrics, "scheduler_tick_duration_maximum_seconds", "gauge",
        "Longest turn of the scheduler's loop since it began", totals->longest);
    one(metrics, "scheduler_tick_count_total", "counter",
        "Total number of ticks observed since the server started", (double)totals->turns);
}

/* ---- semaphores, stealing ----------------------------------------------------------------------- */

enum semaphore_number { MAX_LEASES, ACTIVE, PENDING, ACQUIRED, RELEASED, PENDING_TIME };

static double semaphore_number(const struct record_semaphore *last, enum semaphore_number which)
{
    switch (which) {
    case MAX_LEASES:
        return (double)last->max_leases;
    case ACTIVE:
        return last->active;
    case PENDING:
        return last->pending;
    case ACQUIRED:
        return (double)last->acquired;
    case RELEASED:
        return (double)last->released;
    default:
        return last->pending_time;
    }
}

static void semaphores(struct metrics *metrics)
{
    static const struct {
        const char *name, *type, *help;
    } families[] = {
        {"semaphore_max_leases", "gauge",
         "Maximum leases allowed per semaphore\\nNote: This will be constant for each semaphore "
         "during its lifetime."},
        {"semaphore_active_leases", "gauge", "Amount of currently active leases per semaphore"},
        {"semaphore_pending_leases", "gauge", "Amount of currently pending leases per semaphore"},
        {"semaphore_acquire_total", "counter", "Total number of leases acquired per semaphore"},
        {"semaphore_release_total", "counter",
         "Total number of leases released per semaphore\\nNote: If a semaphore is closed while "
         "there "
         "are still leases active, this count will not equal `semaphore_acquire_total` after "
         "execution."},
        {"semaphore_average_pending_lease_time_s", "gauge",
         "Exponential moving average of the time it took to acquire a lease per semaphore"},
    };
    for (int f = 0; f < 6; f++) {
        family(metrics, families[f].name, families[f].type, families[f].help);
        for (uint32_t i = 0; i < metrics->tables->semaphores.count; i++) {
            const struct semaphore_row *row = &metrics->tables->semaphores.items[i];
            struct text name = {0};
            key_print(&name, text_span(&row->name));
            labelled(metrics, families[f].name, "name", text_span(&name),
                     semaphore_number(&row->last, (enum semaphore_number)f));
            text_fini(&name);
        }
    }
}

#define STEAL_LEVELS 15

static void steal_family(struct metrics *metrics, const char *name, const char *help, bool is_cost)
{
    family(metrics, name, "counter", help);
    for (int i = 0; i < STEAL_LEVELS; i++) {
        struct text multiplier = {0};
        const struct record_steal_level *level = &metrics->tables->steals[i];
        text_add_real(&multiplier, i == 0 ? 1 : 1 + exp2(i - 6));
        if (i == 0) { /* stock has an int there */
            text_clear(&multiplier);
            text_add_char(&multiplier, '1');
        }
        labelled(metrics, name, "cost_multiplier", text_span(&multiplier),
                 is_cost ? level->cost : (double)level->count);
        text_fini(&multiplier);
    }
}

static void stealing(struct metrics *metrics)
{
    steal_family(metrics, "stealing_request_count_total",
                 "Total number of stealing requests per cost multiplier.", false);
    steal_family(metrics, "stealing_request_cost_total",
                 "Total cost of stealing requests per cost multiplier.", true);
}

/* ---- the scheduler's process, as prometheus_client's collector ----------------------------------- */

struct process {
    double virtual_bytes, resident, cpu, open_files, files_max;
};

static void read_files(int64_t pid, struct process *out)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%" PRId64 "/fd", pid);
    DIR *folder = opendir(path);
    if (folder != NULL) {
        for (const struct dirent *item; (item = readdir(folder)) != NULL;) {
            out->open_files += item->d_name[0] != '.';
        }
        closedir(folder);
    }
    snprintf(path, sizeof path, "/proc/%" PRId64 "/limits", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long most;
        if (sscanf(line, "Max open files %llu", &most) == 1) {
            out->files_max = (double)most;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void read_process(int64_t pid, struct process *out)
{
    char path[64];
    unsigned long long user = 0, system = 0, size = 0;
    long long resident = 0;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        char line[2048];
        size_t got = fread(line, 1, sizeof line - 1, file);
        line[got] = '\0';
        fclose(file);
        const char *rest = strrchr(line, ')'); /* a name may hold anything */
        if (rest != NULL &&
            sscanf(rest + 1,
                   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d "
                   "%*u %llu %lld",
                   &user, &system, &size, &resident) != 4) {
            return;
        }
    }
    double ticks = (double)sysconf(_SC_CLK_TCK);
    out->cpu = (double)(user + system) / ticks;
    out->virtual_bytes = (double)size;
    out->resident = (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void process(struct metrics *metrics)
{
    struct process now = {0};
    if (metrics->tables->state != CLUSTER_RUNNING) {
        return;
    }
    read_process(metrics->tables->pid, &now);
    read_files(metrics->tables->pid, &now);
    static const struct {
        const char *name, *type, *help;
    } families[] = {
        {"process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."},
        {"process_resident_memory_bytes", "gauge", "Resident memory size in bytes."},
        {"process_start_time_seconds", "gauge",
         "Start time of the process since unix epoch in seconds."},
        {"process_cpu_seconds_total", "counter",
         "Total user and system CPU time spent in seconds."},
        {"process_open_fds", "gauge", "Number of open file descriptors."},
        {"process_max_fds", "gauge", "Maximum number of open file descriptors."},
    };
    double numbers[] = {now.virtual_bytes, now.resident,   metrics->tables->started,
                        now.cpu,           now.open_files, now.files_max};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        text_printf(metrics->out, "# HELP %s %s\n# TYPE %s %s\n%s", families[i].name,
                    families[i].help, families[i].name, families[i].type, families[i].name);
        value(metrics, numbers[i]);
    }
}

/* ---- ours --------------------------------------------------------------------------------------- */

static void own(struct metrics *metrics, const char *name, const char *type, const char *help,
                double number)
{
    text_printf(metrics->out, "# HELP cask_%s %s\n# TYPE cask_%s %s\ncask_%s", name, help, name,
                type, name);
    value(metrics, number);
}

static void ours(struct metrics *metrics)
{
    const struct observer *observer = metrics->observer;
    const struct tables *tables = metrics->tables;
    own(metrics, "scheduler_up", "gauge", "1 while the scheduler runs",
        tables->state == CLUSTER_RUNNING);
    own(metrics, "ring_dropped_total", "counter", "Records that found no room in the ring",
        (double)ring_dropped(&observer->ring));
    own(metrics, "viewers", "gauge", "Open WebSockets", observer->viewers.count);
    own(metrics, "http_sent_bytes_total", "counter", "Bytes of bodies and frames sent",
        (double)observer->bytes_sent);
    own(metrics, "runs_total", "counter", "Runs that ended", (double)tables->runs.next);
    own(metrics, "transfers_total", "counter", "Inputs that came from other workers",
        (double)tables->transfers_total);
    own(metrics, "scheduler_loop_busy_seconds_total", "counter",
        "Time of all turns of the scheduler's loop", tables->totals.busy);
    text_add_cstr(metrics->out, "# HELP cask_failures_total Tasks that failed, by prefix and type\n"
                                "# TYPE cask_failures_total counter\n");
    for (uint32_t i = 0; i < tables->failures.count; i++) {
        const struct failure_row *row = tables->failures.items[i];
        char id[16];
        snprintf(id, sizeof id, "%u", row->id);
        text_add_cstr(metrics->out, "cask_failures_total{");
        add_label(metrics->out, "prefix", span_of_text(tables_prefix_name(tables, row->prefix)));
        text_add_char(metrics->out, ',');
        add_label(metrics->out, "type", text_span(&row->type));
        text_add_char(metrics->out, ',');
        add_label(metrics->out, "id", span_of_text(id));
        text_add_char(metrics->out, '}');
        value(metrics, (double)row->count);
    }
}

#define TYPE_PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

static void metrics_sampled(struct exchange *exchange)
{
    struct metrics metrics = {.observer = exchange->observer,
                              .tables = exchange->observer->tables,
                              .out = exchange_body(exchange)};
    choose_prefixes(&metrics);
    clients_and_workers(&metrics);
    tasks(&metrics);
    loop(&metrics);
    semaphores(&metrics);
    stealing(&metrics);
    process(&metrics);
    ours(&metrics);
    text_fini(&metrics.other.name);
    exchange_answer(exchange, 200, TYPE_PROMETHEUS);
}

void route_metrics(struct exchange *exchange)
{
    channel_sample(exchange->observer, exchange, metrics_sampled);
}
