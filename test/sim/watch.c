/* watch.c: what people look at while a cluster runs: explanations, workers, groups, spans, computations, how many
 * workers there should be. Looking changes nothing, and what is seen must agree with the rest. */
#include "sim/watch.h"

#include <math.h>

#include "core/scheduler/adapt.h"
#include "core/scheduler/computations.h"
#include "core/scheduler/explain.h"
#include "core/scheduler/spans.h"
#include "sim/node.h"

/* ---- one task ---- */

static void watch_inputs(struct sim *sim, uint32_t key, const struct explain *explain)
{
    for (uint32_t i = 0; i < explain->missing_count; i++) {
        const struct task *input = view_task_find(sim->s, explain->missing_keys.items[i]);
        if (input == NULL || view_task_state(input) == TASK_MEMORY) {
            fail(sim, "key %u is said to miss an input that is %s", key,
                 input == NULL ? "unknown" : "in memory");
        }
    }
}

static void watch_task(struct sim *sim)
{
    uint32_t key = below(sim, sim->keys.count);
    struct span bytes = sim->keys.items[key].bytes;
    const struct task *task = view_task_find(sim->s, bytes);
    struct explain explain = explain_key(sim->s, bytes, &sim->scratch);
    if (explain.known != (task != NULL) || explain.summary.size == 0) {
        fail(sim, "key %u is explained as %s", key, explain.known ? "known" : "unknown");
    }
    if (task == NULL) {
        return;
    }
    bool is_queued = view_task_state(task) == TASK_QUEUED;
    if (is_queued != (explain.queue_place > 0)) {
        fail(sim, "key %u is %s and has place %u in the queue", key,
             task_state_name(view_task_state(task)), explain.queue_place);
    }
    for (uint32_t i = 0; view_task_state(task) == TASK_NO_WORKER && i < explain.worker_count; i++) {
        if (explain.workers[i].eligible == (explain.workers[i].reason.size > 0)) {
            fail(sim, "key %u and worker id %u: a reason, or none, against what is said", key,
                 explain.workers[i].worker);
        }
    }
    watch_inputs(sim, key, &explain);
}

/* ---- workers ---- */

/* How many tasks it processes. */
static uint32_t watch_worker(struct sim *sim, worker_id id)
{
    struct worker_view worker;
    view_worker(sim->s, id, &worker);
    for (uint32_t i = 0; i < worker.has_what_count; i++) {
        if (view_task_state(view_worker_has(sim->s, id, i)) != TASK_MEMORY) {
            fail(sim, "worker id %u holds what is not in memory", id);
        }
    }
    for (uint32_t i = 0; i < worker.processing_count; i++) {
        if (view_task_state(view_worker_processes(sim->s, id, i)) != TASK_PROCESSING) {
            fail(sim, "worker id %u processes what is not processing", id);
        }
    }
    for (uint32_t i = 0; i < worker.long_running_count; i++) {
        if (view_task_state(view_worker_long_runs(sim->s, id, i)) != TASK_PROCESSING) {
            fail(sim, "what runs long on worker id %u is not processing", id);
        }
    }
    return worker.processing_count;
}

/* As many as the load wants, or, if that is fewer than there are, all that may not go. */
static void watch_size(struct sim *sim)
{
    uint32_t closing, worker_count = view_worker_count(sim->s);
    const worker_id *workers =
        balance_workers_to_close(sim->s, &CLOSE_REQUEST_DEFAULT, &sim->scratch, &closing);
    int64_t target = adapt_target(sim->s, 5);
    int64_t wanted = adapt_wanted(sim->s, 5);
    struct worker_view view;
    if (closing > worker_count || wanted < 0 ||
        target < (wanted < worker_count ? (int64_t)(worker_count - closing) : wanted)) {
        fail(sim, "of %u workers %u may close; there should be %lld, for the load %lld",
             worker_count, closing, (long long)target, (long long)wanted);
    }
    for (uint32_t i = 0; i < closing; i++) {
        if (!view_worker(sim->s, workers[i], &view) || view.processing_count > 0) {
            fail(sim, "worker id %u may close, and is at work or gone", workers[i]);
        }
    }
}

/* ---- groups, spans, computations ---- */

static void watch_groups(struct sim *sim)
{
    struct group_view group;
    uint32_t cursor = 0;
    uint64_t count = 0;
    while (view_group_next(sim->s, &cursor, &group)) {
        for (uint32_t state = 0; state < TASK_STATE_COUNT; state++) {
            count += state == TASK_FORGOTTEN ? 0 : group.state_counts[state];
        }
    }
    if (count != view_task_count(sim->s)) {
        fail(sim, "%u tasks are known, and groups count %llu", view_task_count(sim->s),
             (unsigned long long)count);
    }
}

static void watch_spans(struct sim *sim)
{
    struct span_view span;
    struct resource metric;
    for (uint32_t i = 0; i < spans_count(sim->s); i++) {
        if (!spans_at(sim->s, i, &span) || span.name.count == 0 || span.duration < 0) {
            fail(sim, "span %u of %u is odd", i, spans_count(sim->s));
        }
        for (uint32_t j = 0; j < span.metric_count; j++) {
            if (!spans_metric_at(sim->s, i, j, &metric) || !(metric.amount > 0)) {
                fail(sim, "metric %u of span %u is odd", j, i);
            }
        }
    }
}

static void watch_computations(struct sim *sim)
{
    struct computation_view computation;
    for (uint32_t i = 0; i < computations_count(sim->s); i++) {
        if (!computations_at(sim->s, i, &computation) || computation.id.size == 0) {
            fail(sim, "computation %u of %u is odd", i, computations_count(sim->s));
        }
    }
}

void watch(struct sim *sim)
{
    struct totals_view totals;
    uint64_t processing_count = 0;
    view_totals(sim->s, &totals);
    for (uint32_t i = 0; i < view_worker_count(sim->s); i++) {
        processing_count += watch_worker(sim, view_worker_at(sim->s, i));
    }
    /* Those of a worker that is lost are taken from it piece by piece. */
    if (processing_count != totals.processing_count && !sim->step.pending) {
        fail(sim, "%llu tasks are processing, and workers process %llu",
             (unsigned long long)totals.processing_count, (unsigned long long)processing_count);
    }
    if (sim->keys.count > 0) {
        watch_task(sim);
    }
    watch_size(sim);
    watch_groups(sim);
    watch_spans(sim);
    watch_computations(sim);
}
