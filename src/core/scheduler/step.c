/* step.c: a scheduler's beginning and end, and the way of an event to the function that answers it. */
#include <math.h>

#include "core/scheduler/action.h"
#include "core/scheduler/amm.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/computations.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/exchange.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/graph.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/locks.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/steal.h"
#include "core/scheduler/step_events.h"
#include "core/scheduler/story.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/view.h"

/* ---- create, destroy ---- */

void scheduler_config_init(struct scheduler_config *config)
{
    *config = (struct scheduler_config){
        .bandwidth = 100e6,
        .default_data_size = 1024,
        .unknown_task_duration = 0.5,
        .worker_saturation = 1.1,
        .ahead_seconds = 0.02,
        .rootish_taskgroup = 5,
        .rootish_taskgroup_dependencies = 5,
        .allowed_failures = 3,
        .no_workers_timeout = INFINITY,
        .worker_ttl = 300,
        .work_stealing = true,
        .work_stealing_interval = 1.0,
        .amm_start = true,
        .amm_interval = 2,
        .amm_reduce_replicas = true,
        .lease_validation_interval = 10,
        .memory_recent_to_old = 30,
        .rebalance_sender_min = 0.30,
        .rebalance_recipient_max = 0.60,
        .rebalance_half_gap = 0.10 / 2,
        .rebalance_measure = MEMORY_OPTIMISTIC,
        .amm_measure = MEMORY_OPTIMISTIC,
        .memory_terminate = true,
        .transition_log_length = 1000,
        .computations_max = 100,
        .step_moves_max = 1024,
        .task_notices = true,
    };
}

static void copy_default_durations(struct scheduler *s)
{
    const struct scheduler_config *config = &s->config;
    uint32_t count = config->default_task_duration_count;
    struct prefix_number *copies = count == 0 ? NULL : mem_zalloc(count, sizeof *copies);
    for (uint32_t i = 0; i < count; i++) {
        copies[i].name = name_intern(s, config->default_task_durations[i].name);
        copies[i].number = config->default_task_durations[i].number;
    }
    s->config.default_task_durations = copies;
}

struct scheduler *scheduler_create(const struct scheduler_config *config)
{
    struct scheduler *s = mem_zalloc(1, sizeof *s);
    s->config = *config;
    copy_default_durations(s);
    prng_init(&s->prng, config->seed);
    s->bandwidth = config->bandwidth;
    s->moving = TASK_NONE;
    s->ahead_to = WORKER_NONE;
    s->next_ttl_check = INFINITY;
    pool_init(s);
    place_init(s);
    s->fire_and_forget = client_create(s, SPAN("fire-and-forget"), true)->id;
    s->story = story_create(config->transition_log_length);
    s->steal = steal_create(config);
    s->amm = amm_create(config);
    s->locks = locks_create(config);
    s->exchange = exchange_create(config);
    s->shuffles = shuffles_create(config);
    s->spans = spans_create(config);
    s->computations = computations_create(config);
    return s;
}

/* Graphs that came in in the last step: its notices pointed to them. */
static void drop_built(struct scheduler *s)
{
    while (s->built.count > 0) {
        graph_work_free(vec_pop(&s->built));
    }
}

void scheduler_destroy(struct scheduler *s)
{
    if (s == NULL) {
        return;
    }
    computations_destroy(s->computations);
    spans_destroy(s->spans);
    shuffles_destroy(s->shuffles);
    exchange_destroy(s->exchange);
    locks_destroy(s->locks);
    amm_destroy(s->amm);
    steal_destroy(s->steal);
    story_destroy(s->story);
    graph_work_free(s->building);
    drop_built(s);
    vec_fini(&s->built);
    vec_fini(&s->unneeded);
    vec_fini(&s->leaving);
    departures_fini(s);
    groups_fini(s);
    pool_fini(s);
    prefixes_fini(s);
    queue_fini(s);
    place_fini(s);
    vec_fini(&s->replicated);
    vec_fini(&s->wants);
    vec_fini(&s->ready);
    vec_fini(&s->doubtful);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->hosts, &cursor)) != NULL;) {
        struct host *host = entry->value.pointer;
        vec_fini(&host->workers);
        mem_free(host);
    }
    map_fini(&s->hosts);
    mem_free((void *)(uintptr_t)s->config.default_task_durations);
    mem_free(s);
}

/* ---- events ---- */

static void step_tick(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)event;
    steal_tick(s, step);
    amm_tick(s, step);
    locks_tick(s, step);
    exchange_tick(s, step);
    failure_tick_no_workers(s, step);
    worker_tick_ttl(s, step);
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

static void step_go_on(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)event;
    if (departures_pending(s)) {
        departures_run(s, step); /* first of all: what is lost must be made again */
    } else {
        backlog_run(s, step);
        graph_continue(s, step);
        queue_slots_maybe_opened(s, step);
    }
}

static void step_steal_response(struct scheduler *s, const struct event *event, struct step *step)
{
    steal_response(s, event, step);
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

static void step_exchange(struct scheduler *s, const struct event *event, struct step *step)
{
    exchange_event(s, event, step);
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
}

static void step_shuffle(struct scheduler *s, const struct event *event, struct step *step)
{
    shuffles_event(s, event, step);
    transitions_run(s, step);
}

static void step_request_gone(struct scheduler *s, const struct event *event, struct step *step)
{
    locks_request_gone(s, event->of.request_gone.request, step);
    exchange_request_gone(s, event->of.request_gone.request, step);
}

static void step_span_metrics(struct scheduler *s, const struct event *event, struct step *step)
{
    (void)step;
    spans_metrics(s, event);
}

/* Who answers which event; a row that is missing is caught by the assert in scheduler_step. */
static step_function *const answers[EVENT_KIND_COUNT] = {
    [EVENT_CLIENT_ADD] = step_client_add,
    [EVENT_CLIENT_REMOVE] = step_client_remove,
    [EVENT_CLIENT_HEARTBEAT] = step_client_heartbeat,
    [EVENT_CLIENT_DESIRES] = step_client_desires,
    [EVENT_CLIENT_RELEASES] = step_client_releases,
    [EVENT_GRAPH] = step_graph,
    [EVENT_GO_ON] = step_go_on,
    [EVENT_GRAPH_FAILED] = step_graph_failed,
    [EVENT_CANCEL] = step_cancel,
    [EVENT_RETRY] = step_retry,
    [EVENT_REPORT_KEY] = step_report_key,
    [EVENT_DATA_PLACED] = step_data_placed,
    [EVENT_RESTART] = step_restart,
    [EVENT_WORKER_ADD] = step_worker_add,
    [EVENT_WORKER_REMOVE] = step_worker_remove,
    [EVENT_WORKER_HEARTBEAT] = step_worker_heartbeat,
    [EVENT_WORKER_STATUS] = step_worker_status,
    [EVENT_WORKER_RESOURCES] = step_worker_resources,
    [EVENT_TASK_FINISHED] = step_task_finished,
    [EVENT_TASK_ERRED] = step_task_erred,
    [EVENT_RELEASE_WORKER_DATA] = step_release_worker_data,
    [EVENT_ADD_KEYS] = step_add_keys,
    [EVENT_LONG_RUNNING] = step_long_running,
    [EVENT_RESCHEDULE] = step_reschedule,
    [EVENT_TASK_DIED] = step_task_died,
    [EVENT_STEAL_RESPONSE] = step_steal_response,
    [EVENT_REFRESH_WHO_HAS] = step_refresh_who_has,
    [EVENT_REPLICA_MISSING] = step_replica_missing,
    [EVENT_REPLICA_DELETED] = step_replica_deleted,
    [EVENT_SET_RESTRICTIONS] = step_set_restrictions,
    [EVENT_SPAN_METRICS] = step_span_metrics,
    [EVENT_TICK] = step_tick,
    [EVENT_RETIRE_BEGIN] = amm_retire_begin,
    [EVENT_AMM] = amm_command,
    [EVENT_AMM_SUGGEST] = amm_suggest,
    [EVENT_SEMAPHORE_REGISTER] = locks_event,
    [EVENT_SEMAPHORE_ACQUIRE] = locks_event,
    [EVENT_SEMAPHORE_RELEASE] = locks_event,
    [EVENT_SEMAPHORE_REFRESH] = locks_event,
    [EVENT_SEMAPHORE_VALUE] = locks_event,
    [EVENT_SEMAPHORE_CLOSE] = locks_event,
    [EVENT_MULTI_LOCK_ACQUIRE] = locks_event,
    [EVENT_MULTI_LOCK_RELEASE] = locks_event,
    [EVENT_FLAG_WAIT] = locks_event,
    [EVENT_FLAG_SET] = locks_event,
    [EVENT_FLAG_CLEAR] = locks_event,
    [EVENT_FLAG_IS_SET] = locks_event,
    [EVENT_QUEUE_CREATE] = step_exchange,
    [EVENT_QUEUE_PUT] = step_exchange,
    [EVENT_QUEUE_GET] = step_exchange,
    [EVENT_QUEUE_SIZE] = step_exchange,
    [EVENT_QUEUE_RELEASE] = step_exchange,
    [EVENT_QUEUE_FUTURE_RELEASE] = step_exchange,
    [EVENT_VARIABLE_SET] = step_exchange,
    [EVENT_VARIABLE_GET] = step_exchange,
    [EVENT_VARIABLE_CONFIRM] = step_exchange,
    [EVENT_VARIABLE_DELETE] = step_exchange,
    [EVENT_PUBLISH_PUT] = step_exchange,
    [EVENT_PUBLISH_GET] = step_exchange,
    [EVENT_PUBLISH_DELETE] = step_exchange,
    [EVENT_REQUEST_GONE] = step_request_gone,
    [EVENT_SHUFFLE_GET] = step_shuffle,
    [EVENT_SHUFFLE_BARRIER] = step_shuffle,
    [EVENT_SHUFFLE_RESTRICT] = step_shuffle,
};

static const char *const event_names[EVENT_KIND_COUNT] = {
#define EVENT(ID, name, FIELDS) #name,
#include "core/scheduler/events.def"
};

/* A stimulus for an event that came without: "task-finished-1763771245.123456". */
static struct span make_stimulus(struct step *step, enum event_kind kind)
{
    char name[64];
    size_t size = strlen(event_names[kind]);
    ASSERT(size < sizeof name);
    memcpy(name, event_names[kind], size + 1);
    for (size_t i = 0; i < size; i++) {
        name[i] = name[i] == '_' ? '-' : name[i];
    }
    return stimulus_make(step, name);
}

static void step_begin(struct scheduler *s, const struct event *event, struct step *step)
{
    pool_sweep(s, event->kind == EVENT_GO_ON);
    drop_built(s);
    arena_reset(&step->arena);
    step->action_count = 0;
    s->now = event->time > s->now ? event->time : s->now;
    step->time = s->now;
    step->stimulus = event->stimulus.size > 0 ? event->stimulus : make_stimulus(step, event->kind);
    step->worker = WORKER_NONE;
    step->client = CLIENT_NONE;
    step->refused = (struct span){0};
    step->reply_keys = (struct span_list){0};
    step->graph_later = false;
    s->moves_max = s->transition_counter + s->config.step_moves_max;
    s->step = step;
    s->compute_stimulus = (struct span){0};
}

/* Idle since when: since the last move after which nothing was in the works. */
static void note_idle(struct scheduler *s, uint64_t moves_before)
{
    bool busy = s->building != NULL || departures_pending(s) || queue_count(s) > 0 ||
                s->unrunnable_live > 0 || s->processing_now > 0;
    if (busy) {
        s->idle_since = 0;
    } else if (s->idle_since == 0 || s->transition_counter != moves_before) {
        s->idle_since = s->now;
    }
}

void scheduler_step(struct scheduler *s, const struct event *event, struct step *step)
{
    ASSERT((unsigned)event->kind < EVENT_KIND_COUNT);
    ASSERT(answers[event->kind] != NULL);
    ASSERT(s->wants.count == 0);
    step_begin(s, event, step);
    uint64_t moves_before = s->transition_counter;
    answers[event->kind](s, event, step);
    step->graph_pending = s->building != NULL;
    step->pending = step->graph_pending || backlog_pending(s) || departures_pending(s) ||
                    pool_has_much_to_sweep(s);
    ASSERT(s->wants.count == 0);
    failure_refresh_no_workers(s);
    note_idle(s, moves_before);
    if (s->config.check) {
        scheduler_check(s);
    }
    s->step = NULL;
}

double scheduler_next_tick(const struct scheduler *s)
{
    double next = fmin(steal_next_tick(s), amm_next_tick(s));
    next = fmin(next, fmin(locks_next_tick(s), exchange_next_tick(s)));
    return fmin(next, fmin(failure_next_tick(s), worker_next_ttl(s)));
}

void scheduler_want_transitions(struct scheduler *s, bool wanted)
{
    s->config.transition_notices = wanted;
}
