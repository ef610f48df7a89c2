/* explain_workers.c: which rule keeps a task from which worker. */
#include "core/scheduler/explain_internal.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"

#define NAMES_SHOWN 3u /* of a list of workers or hosts */

static const struct restrictions no_rules;

static const struct restrictions *rules_of(const struct task *task)
{
    const struct restrictions *rules = task_restrictions(task);
    return rules == NULL ? &no_rules : rules;
}

/* The host that a rule means: the name of a worker stands for that worker's host. */
static struct span host_meant(struct explaining *e, struct span name)
{
    for (uint32_t i = 0; i < e->s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(e->s, e->s->workers_sorted.items[i]);
        if (span_equal(key_as_text(worker->name, e->arena), name)) {
            return worker->host;
        }
    }
    return name;
}

/* The hosts of the rules as they are called. */
static struct span_list hosts_meant(struct explaining *e, const struct restrictions *rules)
{
    struct span *hosts = arena_array(e->arena, struct span, rules->host_count);
    for (uint32_t i = 0; i < rules->host_count; i++) {
        hosts[i] = host_meant(e, rules->hosts[i]);
    }
    return (struct span_list){hosts, rules->host_count};
}

static bool is_among(struct span name, const struct span *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (span_equal(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* "a, b, c and 5 more" */
static void add_names(struct text *text, const struct span *names, uint32_t count)
{
    for (uint32_t i = 0; i < count && i < NAMES_SHOWN; i++) {
        text_add_cstr(text, i == 0 ? "" : ", ");
        explain_add_span(text, names[i]);
    }
    if (count > NAMES_SHOWN) {
        text_printf(text, " and %u more", count - NAMES_SHOWN);
    }
}

/* "host h" | "worker tcp://…" | both */
static void add_places(struct text *text, const struct restrictions *rules)
{
    if (rules->worker_count > 0) {
        text_add_cstr(text, rules->worker_count == 1 ? "worker " : "workers ");
        add_names(text, rules->workers, rules->worker_count);
    }
    if (rules->worker_count > 0 && rules->host_count > 0) {
        text_add_cstr(text, " or ");
    }
    if (rules->host_count > 0) {
        text_add_cstr(text, rules->host_count == 1 ? "host " : "hosts ");
        add_names(text, rules->hosts, rules->host_count);
    }
}

static void add_amount(struct text *text, struct span name, double amount)
{
    explain_add_span(text, name);
    text_printf(text, "=%g", amount);
}

static const char *status_reason(const struct worker *worker)
{
    switch ((enum worker_status)worker->status) {
    case WORKER_RUNNING:
        return NULL;
    case WORKER_INIT:
        return "it is still starting";
    case WORKER_PAUSED:
        return "it is paused: its memory is nearly full, or somebody paused it";
    case WORKER_CLOSING_GRACEFULLY:
        return "it is being retired";
    case WORKER_CLOSING:
    case WORKER_CLOSED:
    case WORKER_STATUS_COUNT:
        break;
    }
    return "it is closing";
}

/* Why the rules keep the task from this worker; empty: they do not. Loose places are wishes. */
static struct span reason_of(struct explaining *e, const struct task *task, struct span_list hosts,
                             const struct worker *worker)
{
    const struct restrictions *rules = rules_of(task);
    bool is_bound = (task->flags & TASK_LOOSE) == 0 && rules->worker_count + rules->host_count > 0;
    struct text text = {0};
    const char *status = status_reason(worker);
    if (status != NULL) {
        text_add_cstr(&text, status);
    } else if (is_bound && !is_among(worker->address, rules->workers, rules->worker_count) &&
               !is_among(worker->host, hosts.items, hosts.count)) {
        text_add_cstr(&text, "the task is restricted to ");
        add_places(&text, rules);
    } else {
        for (uint32_t i = 0; i < rules->resource_count && text.size == 0; i++) {
            double free_now;
            double offered = worker_resource(worker, rules->resources[i].name, &free_now);
            if (offered < rules->resources[i].amount) {
                text_add_cstr(&text, "it offers ");
                add_amount(&text, rules->resources[i].name, offered);
                text_add_cstr(&text, ", the task needs ");
                add_amount(&text, rules->resources[i].name, rules->resources[i].amount);
            }
        }
    }
    return explain_keep(e, &text);
}

uint32_t explain_workers(struct explaining *e, const struct task *task)
{
    const struct scheduler *s = e->s;
    struct span_list hosts = hosts_meant(e, rules_of(task));
    uint32_t count = s->workers_sorted.count;
    struct explain_worker *workers = arena_array(e->arena, struct explain_worker, count);
    uint32_t eligible = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        struct span reason = reason_of(e, task, hosts, worker);
        workers[i] = (struct explain_worker){
            .worker = worker->id, .eligible = reason.size == 0, .reason = reason};
        eligible += reason.size == 0;
    }
    e->out.workers = workers;
    e->out.worker_count = count;
    return eligible;
}

/* ---- the rules in one sentence ---- */

/* "needs GPU=2: tcp://… offers GPU=1 (free 0)" or "…: no worker offers it" */
static void add_resource_rule(struct explaining *e, struct text *text,
                              const struct resource *needed)
{
    const struct scheduler *s = e->s;
    text_add_cstr(text, "it needs ");
    add_amount(text, needed->name, needed->amount);
    uint32_t offering = 0;
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        double free_now;
        double offered = worker_resource(worker, needed->name, &free_now);
        if (offered <= 0 || offering++ >= NAMES_SHOWN) {
            continue;
        }
        text_add_cstr(text, offering == 1 ? ": " : ", ");
        explain_add_span(text, worker->address);
        text_add_cstr(text, " offers ");
        add_amount(text, needed->name, offered);
        text_printf(text, " (free %g)", free_now);
        if (worker->status != WORKER_RUNNING) {
            text_printf(text, " but is %s", worker_status_name(worker->status));
        }
    }
    if (offering == 0) {
        text_add_cstr(text, ", which no worker offers");
    } else if (offering > NAMES_SHOWN) {
        text_printf(text, " and %u more", offering - NAMES_SHOWN);
    }
}

void explain_add_rules(struct explaining *e, struct text *text, const struct task *task)
{
    const struct scheduler *s = e->s;
    const struct restrictions *rules = rules_of(task);
    if (s->workers_sorted.count == 0) {
        text_add_cstr(text, "there is no worker at all");
        return;
    }
    if (s->running.count == 0) {
        text_add_cstr(text, "none of ");
        explain_add_count(text, s->workers_sorted.count, "worker");
        text_add_cstr(text, " is running (paused, starting or retiring)");
        return;
    }
    const char *separator = "";
    if (rules->worker_count + rules->host_count > 0) {
        text_add_cstr(text, "it is restricted to ");
        add_places(text, rules);
        struct span_list hosts = hosts_meant(e, rules);
        uint32_t there = 0;
        for (uint32_t i = 0; i < s->running.count; i++) {
            const struct worker *worker = worker_at(s, s->running.items[i]);
            there += is_among(worker->address, rules->workers, rules->worker_count) ||
                     is_among(worker->host, hosts.items, hosts.count);
        }
        if (there == 0) {
            text_add_cstr(text, ", where none runs");
        } else {
            text_add_cstr(text, ", where ");
            explain_add_count(text, there, "worker");
            text_add_cstr(text, there == 1 ? " runs" : " run");
        }
        separator = "; ";
    }
    for (uint32_t i = 0; i < rules->resource_count; i++) {
        text_add_cstr(text, separator);
        add_resource_rule(e, text, &rules->resources[i]);
        separator = "; ";
    }
    if (separator[0] == '\0') {
        text_add_cstr(text, "no rule forbids it; it is placed at the next chance");
    }
}

void explain_advise_rules(struct explaining *e, const struct task *task)
{
    const struct scheduler *s = e->s;
    const struct restrictions *rules = rules_of(task);
    if (s->workers_sorted.count == 0) {
        explain_advise(
            e, "Start a worker: cluster.scale(1), or `dask worker <address of the scheduler>`.");
    } else if (s->running.count == 0) {
        explain_advise(
            e, "Wait until a worker runs again, or add one; a paused worker needs memory freed.");
    }
    struct text text = {0};
    if (rules->resource_count > 0) {
        for (uint32_t i = 0; i < rules->resource_count; i++) {
            text_add_cstr(&text, i == 0 ? "" : " ");
            add_amount(&text, rules->resources[i].name, rules->resources[i].amount);
        }
        explain_advise(
            e, "Add a worker with `--resources \"%s\"`, or give one more: worker.set_resources().",
            text_cstr(&text));
        text_clear(&text);
    }
    if (rules->worker_count + rules->host_count > 0) {
        add_places(&text, rules);
        explain_advise(e,
                       "Start a worker there (%s), or resubmit with allow_other_workers=True or "
                       "other `workers`.",
                       text_cstr(&text));
    }
    text_fini(&text);
}
