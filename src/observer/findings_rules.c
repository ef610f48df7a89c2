/* findings_rules.c: the rules about what is now: each looks at the tables as they are. */
#include <math.h>

#include "observer/findings_internal.h"

/* Shares of time are looked at over the last minute, if at least so much was worked in it. */
#define WINDOW_SECONDS 60u
#define WORKED_SECONDS 10.0
/* A worker is compared with the others when both have so many runs, and it has spent so long. */
#define PACE_RUNS 5u
#define PACE_SECONDS 1.0

static double threshold(const struct look *look, enum finding_kind kind)
{
    return look->findings->thresholds[kind];
}

static void scheduler_died(struct look *look)
{
    struct finding_row *row = look->tables->state == CLUSTER_DIED
                                  ? finding_found(look, FINDING_SCHEDULER_DIED, SPAN("scheduler"))
                                  : NULL;
    if (row != NULL) {
        finding_set_link(row, "logs", (struct span){0}, "");
        finding_say(look, row, "It died: %s.", text_cstr(&look->tables->reason));
    }
}

static void no_worker(struct look *look)
{
    const struct unrunnable *stuck = &look->tables->unrunnable;
    bool is_long = stuck->time - stuck->since >= threshold(look, FINDING_NO_WORKER);
    struct finding_row *row = stuck->total > 0 && stuck->count > 0 && is_long
                                  ? finding_found(look, FINDING_NO_WORKER, SPAN("tasks"))
                                  : NULL;
    if (row == NULL) {
        return;
    }
    for (uint32_t i = 0; i < stuck->count; i++) {
        finding_add_key(row, text_span(&stuck->keys[i]));
    }
    finding_set_link(row, "why/", text_span(&stuck->keys[0]), "");
    finding_say(look, row, "No worker may run %u %s. Of %s: %s", stuck->total,
                stuck->total == 1 ? "task" : "tasks", text_cstr(&stuck->keys[0]),
                text_cstr(&stuck->reasons[0]));
}

static void paused(struct look *look)
{
    const struct tables *tables = look->tables;
    uint32_t count = 0;
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *worker = tables->workers.items[i];
        count += worker != NULL && worker->removed == 0 &&
                 span_equal_text(text_span(&worker->status), "paused");
    }
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *worker = tables->workers.items[i];
        if (worker == NULL || worker->removed > 0 || count < threshold(look, FINDING_PAUSED) ||
            !span_equal_text(text_span(&worker->status), "paused")) {
            continue;
        }
        struct finding_row *row = finding_found(look, FINDING_PAUSED, text_span(&worker->address));
        if (row == NULL) {
            return;
        }
        struct text name = {0}, process = {0}, limit = {0};
        int64_t all = worker->sample.process;
        int64_t unmanaged = worker->sample.unmanaged_old + worker->sample.unmanaged_recent;
        row->worker = worker->id;
        finding_worker_name(tables, worker->id, &name);
        text_add_bytes_size(&process, (double)all);
        text_add_bytes_size(&limit, (double)worker->memory_limit);
        finding_set_link(row, "info/worker/", text_span(&worker->address), ".html");
        finding_say(look, row, "Worker %s is paused: %s of %s are used, %.0f %% of it unmanaged.",
                    text_cstr(&name), text_cstr(&process), text_cstr(&limit),
                    all > 0 ? 100 * (double)unmanaged / (double)all : 0);
        text_fini(&name);
        text_fini(&process);
        text_fini(&limit);
    }
}

static void slow_worker(struct look *look, const struct pace_row *pace)
{
    const struct prefix_row *prefix = tables_prefix(look->tables, pace->prefix);
    if (prefix == NULL || prefix->stats.count < pace->count + PACE_RUNS ||
        pace->count < PACE_RUNS || pace->seconds < PACE_SECONDS) {
        return;
    }
    double own = pace->seconds / (double)pace->count;
    double others =
        (prefix->stats.sum - pace->seconds) / (double)(prefix->stats.count - pace->count);
    if (!(own > threshold(look, FINDING_SLOW_WORKER) * others)) {
        return;
    }
    struct text subject = {0}, name = {0};
    text_printf(&subject, "%u %u", pace->worker, pace->prefix);
    struct finding_row *row = finding_found(look, FINDING_SLOW_WORKER, text_span(&subject));
    if (row != NULL) {
        const struct worker_row *worker = tables_worker(look->tables, pace->worker);
        row->worker = pace->worker;
        finding_worker_name(look->tables, pace->worker, &name);
        if (worker != NULL) {
            finding_set_link(row, "info/worker/", text_span(&worker->address), ".html");
        }
        finding_say(look, row, "Worker %s is slow with %s: %.3g s each, %.3g s elsewhere.",
                    text_cstr(&name), text_cstr(&prefix->name), own, others);
    }
    text_fini(&subject);
    text_fini(&name);
}

static void slow_workers(struct look *look)
{
    for (uint32_t i = 0; i < look->tables->paces.count; i++) {
        slow_worker(look, &look->tables->paces.items[i]);
    }
}

/* Where the time of the last minute went. */
static void shares(struct look *look)
{
    double busy = 0, transfer = 0, disk = 0;
    uint64_t end = (uint64_t)look->tables->time;
    for (uint32_t i = 0; i <= WINDOW_SECONDS && i <= end; i++) {
        const struct second_row *second = tables_second(look->tables, end - i);
        if (second != NULL) {
            busy += second->busy;
            transfer += second->transfer;
            disk += second->disk;
        }
    }
    double worked = busy + transfer + disk;
    if (worked < WORKED_SECONDS) {
        return;
    }
    struct finding_row *row = disk / worked >= threshold(look, FINDING_SPILL)
                                  ? finding_found(look, FINDING_SPILL, SPAN("disk"))
                                  : NULL;
    if (row != NULL) {
        finding_set_link(row, "memory", (struct span){0}, "");
        finding_say(look, row,
                    "%.0f %% of the last minute's work was reading and writing spilled data.",
                    100 * disk / worked);
    }
    row = transfer / worked >= threshold(look, FINDING_TRANSFER)
              ? finding_found(look, FINDING_TRANSFER, SPAN("transfer"))
              : NULL;
    if (row != NULL) {
        finding_set_link(row, "transfers", (struct span){0}, "");
        finding_say(look, row,
                    "%.0f %% of the last minute's work was waiting for inputs from other workers.",
                    100 * transfer / worked);
    }
}

static void clock_skew(struct look *look)
{
    const struct tables *tables = look->tables;
    for (uint32_t i = 0; i < tables->workers.count; i++) {
        const struct worker_row *worker = tables->workers.items[i];
        if (worker == NULL || worker->removed > 0 ||
            !(fabs(worker->sample.time_delay) >= threshold(look, FINDING_CLOCK_SKEW))) {
            continue;
        }
        struct finding_row *row =
            finding_found(look, FINDING_CLOCK_SKEW, text_span(&worker->address));
        struct text name = {0};
        if (row != NULL) {
            double delay = worker->sample.time_delay;
            row->worker = worker->id;
            finding_worker_name(tables, worker->id, &name);
            finding_set_link(row, "info/worker/", text_span(&worker->address), ".html");
            finding_say(look, row, "The clock of worker %s is %.1f s %s the scheduler's.",
                        text_cstr(&name), fabs(delay), delay > 0 ? "behind" : "ahead of");
        }
        text_fini(&name);
    }
}

void findings_of_now(struct look *look)
{
    scheduler_died(look);
    no_worker(look);
    paused(look);
    slow_workers(look);
    shares(look);
    clock_skew(look);
}
