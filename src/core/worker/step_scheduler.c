/* step_scheduler.c: what the scheduler says, and what the worker decides about itself. */
#include <math.h>

#include "core/worker/action.h"
#include "core/worker/peer.h"
#include "core/worker/ready.h"
#include "core/worker/step_events.h"
#include "core/worker/story.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

/* ---- tasks and values of others ---- */

/* _ensure_task_exists: it keeps a priority that it has. */
static struct wtask *ensure_task(struct worker_state *w, struct span key,
                                 struct worker_priority priority, int64_t serial)
{
    struct wtask *task = wtask_make(w, key);
    if ((task->flags & WTASK_HAS_PRIORITY) == 0) {
        task->flags |= WTASK_HAS_PRIORITY;
        task->priority = priority;
        task->priority_serial = serial;
    }
    wstory_add(w, key, "ensure-task-exists", task->state);
    return task;
}

/* The event is about to compute it. */
static bool is_to_compute(const struct worker_state *w, const struct wtask *task)
{
    return task->want_place != 0 && w->wants.items[task->want_place - 1].to == WTASK_WAITING;
}

static void update_who_has(struct worker_state *w, struct worker_holding_list holdings)
{
    for (uint32_t i = 0; i < holdings.count; i++) {
        struct wtask *task = wtask_find(w, holdings.items[i].key);
        if (task == NULL) {
            continue; /* asked for, and forgotten since */
        }
        wholders_set(w, task, holdings.items[i].holders);
        if (task->state == WTASK_FETCH && task->who_has.count == 0 && !is_to_compute(w, task)) {
            wwant(w, task, WTASK_MISSING, NULL);
        }
    }
}

/* ---- compute-task ---- */

static void link_inputs(struct worker_state *w, struct wtask *task,
                        struct worker_holding_list inputs, struct worker_priority priority,
                        int64_t serial)
{
    uint32_t mark = wtraversal_begin(w);
    task->mark = mark; /* no task is its own input, whatever a message says */
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        wtask_at(w, links_items(&task->dependencies)[i].other)->mark = mark;
    }
    links_reserve(&task->dependencies, task->dependencies.count + inputs.count);
    for (uint32_t i = 0; i < inputs.count; i++) {
        struct wtask *input = ensure_task(w, inputs.items[i].key, priority, serial);
        if (input->state != WTASK_MEMORY && input != task) {
            input->nbytes = wnbytes_of(inputs.items[i].nbytes);
        }
        if (input->mark != mark) {
            input->mark = mark;
            links_add(&task->dependencies, task->id, &input->dependents, input->id, 0);
        }
    }
}

/* A task that is not under way, or was meant to end: it is to be computed, as it is described now. */
static void compute_anew(struct worker_state *w, struct wtask *task,
                         const struct worker_event_compute_task *compute)
{
    int64_t serial = w->generation--;
    wwant(w, task, WTASK_WAITING, NULL);
    wtask_set_blob(&task->run_spec, compute->run_spec);
    wtask_set_blob(&task->annotations, compute->annotations);
    wtask_set_span_id(w, task, compute->span_id);
    task->flags &= (uint16_t) ~(WTASK_ACTOR | WTASK_AHEAD);
    task->flags |=
        (uint16_t)((compute->actor ? WTASK_ACTOR : 0) | (compute->ahead ? WTASK_AHEAD : 0));
    if (!wtask_runs(task)) { /* else it keeps what it took, to give that back */
        wtask_set_resources(w, task, compute->resources);
    }
    link_inputs(w, task, compute->inputs, compute->priority, serial);
    update_who_has(w, compute->inputs);
    /* Last: its needs, if it is in fetch, are ordered by the old one. */
    task->flags |= WTASK_HAS_PRIORITY;
    task->priority = compute->priority;
    task->priority_serial = serial;
}

void worker_on_compute_task(struct worker_state *w, const struct worker_event *event)
{
    const struct worker_event_compute_task *compute = &event->of.compute_task;
    struct wtask *task = wtask_make(w, compute->key);
    wstory_add(w, compute->key, "compute-task", task->state);
    task->run_id = compute->run_id;
    switch (task->state) {
    case WTASK_WAITING:
    case WTASK_READY:
    case WTASK_CONSTRAINED:
    case WTASK_EXECUTING:
    case WTASK_LONG_RUNNING:
        break;
    case WTASK_MEMORY:
        waction_task_finished(w, task, compute->run_id);
        break;
    default:
        compute_anew(w, task, compute);
        break;
    }
}

/* ---- other messages ---- */

/* Somebody cancelled what still runs: the node may stop it. Only the stimulus tells that from a release, by which
 * Dask means no harm to what runs: it may be wanted again in a moment. */
static void interrupt_cancelled(struct worker_state *w, struct span_list keys)
{
    static const struct span prefix = SPAN("cancel-key");
    struct span stimulus = w->step->stimulus;
    if (stimulus.size < prefix.size || memcmp(stimulus.data, prefix.data, prefix.size) != 0) {
        return;
    }
    for (uint32_t i = 0; i < keys.count; i++) {
        const struct wtask *task = wtask_find(w, keys.items[i]);
        if (task != NULL && task->state == WTASK_CANCELLED && wtask_runs(task)) {
            waction_task(w, WORKER_ACTION_INTERRUPT, task->id, task->key);
        }
    }
}

void worker_on_free_keys(struct worker_state *w, const struct worker_event *event)
{
    struct span_list keys = event->of.free_keys.keys;
    for (uint32_t i = 0; i < keys.count; i++) {
        struct wtask *task = wtask_find(w, keys.items[i]);
        if (task != NULL) {
            wstory_add(w, task->key, "free-keys", task->state);
            wwant(w, task, WTASK_RELEASED, NULL);
        }
    }
    wtransitions_run(w);
    interrupt_cancelled(w, keys);
}

static bool is_used_by_a_run(const struct worker_state *w, const struct wtask *task)
{
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct wtask *user = wtask_at(w, links_items(&task->dependents)[i].other);
        if (user->state == WTASK_EXECUTING || user->state == WTASK_LONG_RUNNING) {
            return true;
        }
    }
    return false;
}

/* Stock raises an exception when asked to drop what a run uses; here the value stays. */
void worker_on_remove_replicas(struct worker_state *w, const struct worker_event *event)
{
    struct span_list keys = event->of.remove_replicas.keys;
    for (uint32_t i = 0; i < keys.count; i++) {
        struct wtask *task = wtask_find(w, keys.items[i]);
        if (task != NULL && task->state == WTASK_MEMORY && !is_used_by_a_run(w, task)) {
            wstory_add(w, task->key, "remove-replica", task->state);
            wwant(w, task, WTASK_RELEASED, NULL);
        }
    }
}

/* Fetched after what computations of usual or high priority need, before what those of low priority do. */
static const struct worker_priority replica_priority = {1, -INFINITY, INT64_MIN};

void worker_on_acquire_replicas(struct worker_state *w, const struct worker_event *event)
{
    struct worker_holding_list holdings = event->of.acquire_replicas.holdings;
    for (uint32_t i = 0; i < holdings.count; i++) {
        struct wtask *task = ensure_task(w, holdings.items[i].key, replica_priority, INT64_MIN);
        if (task->state != WTASK_MEMORY) {
            task->nbytes = wnbytes_of(holdings.items[i].nbytes);
            wwant(w, task, WTASK_FETCH, NULL);
        }
    }
    update_who_has(w, holdings);
}

void worker_on_refresh_who_has(struct worker_state *w, const struct worker_event *event)
{
    struct worker_holding_list holdings = event->of.refresh_who_has.holdings;
    update_who_has(w, holdings);
    for (uint32_t i = 0; i < holdings.count; i++) {
        struct wtask *task = wtask_find(w, holdings.items[i].key);
        if (task != NULL && task->state == WTASK_MISSING && task->who_has.count > 0) {
            wwant(w, task, WTASK_FETCH, NULL);
        }
    }
}

static bool is_to_run(const struct wtask *task)
{
    return task->state == WTASK_WAITING || task->state == WTASK_READY ||
           task->state == WTASK_CONSTRAINED;
}

void worker_on_steal_request(struct worker_state *w, const struct worker_event *event)
{
    struct span key = event->of.steal_request.key;
    struct wtask *task = wtask_find(w, key);
    struct span state = {0};
    if (task != NULL) {
        state = span_of_text(wtask_state_name(task->state));
    }
    worker_action_add(w->step, WORKER_ACTION_STEAL_RESPONSE)->of.steal_response =
        (struct worker_action_steal_response){key, state, w->step->stimulus};
    if (task != NULL && is_to_run(task)) {
        wwant(w, task, WTASK_RELEASED, NULL);
    }
}

void worker_on_cancel_compute(struct worker_state *w, const struct worker_event *event)
{
    struct wtask *task = wtask_find(w, event->of.cancel_compute.key);
    if (task != NULL && is_to_run(task) && task->dependents.count == 0) {
        wstory_add(w, task->key, "cancel-compute", task->state);
        wwant(w, task, WTASK_RELEASED, NULL);
    }
}

/* ---- the worker itself ---- */

void worker_on_pause(struct worker_state *w, const struct worker_event *event)
{
    (void)event;
    w->running = false;
}

void worker_on_unpause(struct worker_state *w, const struct worker_event *event)
{
    (void)event;
    w->running = true;
    wready_ensure_computing(w);
}

void worker_on_backpressure(struct worker_state *w, const struct worker_event *event)
{
    w->backpressure = event->of.backpressure.on;
    wready_ensure_computing(w);
}

void worker_on_set_resources(struct worker_state *w, const struct worker_event *event)
{
    wresources_set(w, event->of.set_resources.resources);
    wready_ensure_computing(w);
}
