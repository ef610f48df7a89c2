/* worker_metrics.c: a worker's /metrics, with stock's names, in Prometheus' text format.
 * Source: distributed http/worker/prometheus/core.py; what only a Python process has (gc, crick) is left out. Numbers of the
 * process are of the worker's own, not of those that run user code. */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/worker_http.h"
#include "node/worker_internal.h"

struct metrics {
    struct text *out;
    const char *name_space;
};

static void begin(const struct metrics *metrics, const char *name, const char *type,
                  const char *help)
{
    text_printf(metrics->out, "# HELP %s_worker_%s %s\n# TYPE %s_worker_%s %s\n",
                metrics->name_space, name, help, metrics->name_space, name, type);
}

static void put_labelled(const struct metrics *metrics, const char *name, const char *label,
                         const char *value, double number)
{
    text_printf(metrics->out, "%s_worker_%s{%s=\"%s\"} ", metrics->name_space, name, label, value);
    text_add_real(metrics->out, number);
    text_add_char(metrics->out, '\n');
}

/* The whole family of one number. */
static void put(const struct metrics *metrics, const char *name, const char *type, const char *help,
                double number)
{
    begin(metrics, name, type, help);
    text_printf(metrics->out, "%s_worker_%s ", metrics->name_space, name);
    text_add_real(metrics->out, number);
    text_add_char(metrics->out, '\n');
}

static void put_tasks(const struct metrics *metrics, const struct worker_summary *summary,
                      const struct store_totals *stored)
{
    begin(metrics, "tasks", "gauge", "Number of tasks at worker.");
    for (unsigned state = 0; state < WTASK_STATE_COUNT; state++) {
        double count = (double)summary->state_counts[state];
        if (state == WTASK_MEMORY) {
            count -= count < stored->disk_count ? count : stored->disk_count;
        }
        if (count > 0) {
            put_labelled(metrics, "tasks", "state", wtask_state_name(state), count);
        }
    }
    if (stored->disk_count > 0) {
        put_labelled(metrics, "tasks", "state", "disk", stored->disk_count);
    }
}

static void put_memory(const struct metrics *metrics, struct worker_node *worker,
                       const struct store_totals *stored)
{
    double process = (double)worker_memory(worker), managed = (double)stored->managed_bytes;
    managed = managed < process ? managed : process;
    begin(metrics, "memory_bytes", "gauge", "Memory breakdown");
    put_labelled(metrics, "memory_bytes", "type", "managed", managed);
    put_labelled(metrics, "memory_bytes", "type", "unmanaged", process - managed);
    put_labelled(metrics, "memory_bytes", "type", "spilled", (double)stored->spilled_disk_bytes);
}

static void put_transfers(const struct metrics *metrics, const struct worker_node *worker,
                          const struct worker_summary *summary)
{
    put(metrics, "transfer_incoming_bytes", "gauge",
        "Total size of open data transfers from other workers", (double)summary->incoming_bytes);
    put(metrics, "transfer_incoming_count", "gauge",
        "Number of open data transfers from other workers", summary->incoming_count);
    put(metrics, "transfer_incoming_count_total", "counter",
        "Total number of data transfers from other workers since the worker was started",
        (double)summary->incoming_count_total);
    put(metrics, "transfer_outgoing_bytes", "gauge",
        "Total size of open data transfers to other workers", (double)worker->outgoing_bytes);
    put(metrics, "transfer_outgoing_bytes_total", "counter",
        "Total size of data transfers to other workers since the worker was started",
        (double)worker->outgoing_bytes_total);
    put(metrics, "transfer_outgoing_count", "gauge",
        "Number of open data transfers to other workers", worker->outgoing_count);
    put(metrics, "transfer_outgoing_count_total", "counter",
        "Total number of data transfers to other workers since the worker was started",
        (double)worker->outgoing_count_total);
}

static void put_spill(const struct metrics *metrics, const struct store_totals *stored)
{
    static const char *const families[] = {"spill_bytes_total", "spill_count_total",
                                           "spill_time_seconds_total"};
    static const char *const help[] = {
        "Total size of memory and disk accesses caused by managed data since the latest worker "
        "restart",
        "Total number of memory and disk accesses caused by managed data since the latest worker "
        "restart",
        "Total time spent spilling/unspilling since the latest worker restart"};
    static const char *const activities[] = {"memory_read", "disk_read", "disk_write"};
    const struct store_meter *meters[] = {&stored->memory_read, &stored->disk_read,
                                          &stored->disk_write};
    for (int family = 0; family < 3; family++) {
        begin(metrics, families[family], "counter", help[family]);
        for (int i = 0; i < 3; i++) {
            double numbers[] = {(double)meters[i]->bytes, (double)meters[i]->count,
                                meters[i]->seconds};
            put_labelled(metrics, families[family], "activity", activities[i], numbers[family]);
        }
    }
}

/* A turn of the loop is what a tick is to stock's. */
static void put_ticks(const struct metrics *metrics, const struct worker_node *worker)
{
    struct io_turns turns;
    io_loop_turns(worker->loop, false, &turns);
    put(metrics, "tick_duration_maximum_seconds", "gauge", "Maximum tick duration observed",
        turns.longest_busy);
    put(metrics, "tick_count_total", "counter",
        "Total number of ticks observed since the server started", (double)turns.count);
}

/* ---- of the process, as Prometheus' clients have it ---- */

static double count_files(void)
{
    double count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (folder != NULL) {
        for (const struct dirent *item; (item = readdir(folder)) != NULL;) {
            count += item->d_name[0] != '.';
        }
        closedir(folder);
        count--; /* the folder itself */
    }
    return count;
}

static void read_sizes(double *out_virtual_bytes, double *out_resident_bytes)
{
    unsigned long long pages = 0, resident = 0;
    double page_bytes = (double)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &pages, &resident) != 2) {
            pages = resident = 0;
        }
        fclose(file);
    }
    *out_virtual_bytes = (double)pages * page_bytes;
    *out_resident_bytes = (double)resident * page_bytes;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void put_process(const struct metrics *metrics, double started)
{
    struct rusage usage = {0};
    struct rlimit files = {0};
    double virtual_bytes, resident_bytes;
    read_sizes(&virtual_bytes, &resident_bytes);
    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail */
    (void)getrlimit(RLIMIT_NOFILE, &files);
    const struct {
        const char *name, *type, *help;
        double number;
    } families[] = {
        {"virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", virtual_bytes},
        {"resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident_bytes},
        {"start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
         started},
        {"cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
         seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime)},
        {"open_fds", "gauge", "Number of open file descriptors.", count_files()},
        {"max_fds", "gauge", "Maximum number of open file descriptors.", (double)files.rlim_cur},
    };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const char *name = families[i].name;
        text_printf(metrics->out, "# HELP process_%s %s\n# TYPE process_%s %s\nprocess_%s ", name,
                    families[i].help, name, families[i].type, name);
        text_add_real(metrics->out, families[i].number);
        text_add_char(metrics->out, '\n');
    }
}

void worker_page_metrics(struct worker_node *worker, struct worker_page *page)
{
    struct worker_summary summary;
    struct store_totals stored;
    const struct metrics metrics = {
        .out = &page->body,
        .name_space =
            config_text(worker->config, "distributed.dashboard.prometheus.namespace", "dask")};
    page->type = "text/plain; version=0.0.4; charset=utf-8";
    worker_summarise(worker->core, &summary);
    store_totals(worker->store, &stored);
    put_tasks(&metrics, &summary, &stored);
    put(&metrics, "threads", "gauge", "Number of worker threads", worker->options.nthreads);
    put(&metrics, "latency_seconds", "gauge", "Latency of worker connection", worker->link.latency);
    put_memory(&metrics, worker, &stored);
    put_transfers(&metrics, worker, &summary);
    put_spill(&metrics, &stored);
    put_ticks(&metrics, worker);
    put_process(&metrics, worker->started);
}
