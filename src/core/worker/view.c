/* view.c: see view.h. */
#include "core/worker/view.h"

#include "core/worker/internal.h"
#include "core/worker/task.h"

/* ---- tasks ---- */

task_id worker_task_find(const struct worker_state *w, struct span key)
{
    const struct wtask *task = wtask_find(w, key);
    return task == NULL ? TASK_NONE : task->id;
}

bool worker_task_is_known(const struct worker_state *w, task_id task)
{
    return task < w->task_end && wtask_at(w, task)->state != WTASK_FORGOTTEN;
}

static const struct wtask *known(const struct worker_state *w, task_id task)
{
    ASSERT(worker_task_is_known(w, task));
    return wtask_at(w, task);
}

void worker_task(const struct worker_state *w, task_id id, struct wtask_view *out)
{
    const struct wtask *task = known(w, id);
    *out = (struct wtask_view){
        .key = task->key,
        .state = task->state,
        .previous = task->previous,
        .next = task->next,
        .nbytes = task->nbytes,
        .run_id = task->run_id,
        .has_priority = (task->flags & WTASK_HAS_PRIORITY) != 0,
        .priority = task->priority,
        .priority_serial = task->priority_serial,
        .actor = (task->flags & WTASK_ACTOR) != 0,
        .in_flight = (task->flags & WTASK_IN_FLIGHT) != 0,
        .run_spec = task->run_spec,
        .annotations = task->annotations,
        .about = task->about,
        .prefix = w->prefixes.items[task->prefix].name,
        .dependency_count = task->dependencies.count,
        .dependent_count = task->dependents.count,
        .waiting_for_count = task->missing_count,
        .waiter_count = task->waiter_count,
        .holder_count = task->who_has.count,
        .started = task->started,
    };
    if (task->span_id != NULL) {
        out->span_id = task->span_id->text;
    }
    if (out->in_flight) {
        out->coming_from = wpeer_at(w, task->coming_from)->address;
    }
}

static uint32_t link_at(const struct links *links, uint32_t index)
{
    ASSERT(index < links->count);
    return links_items(links)[index].other;
}

task_id worker_task_dependency(const struct worker_state *w, task_id task, uint32_t index)
{
    return link_at(&known(w, task)->dependencies, index);
}

task_id worker_task_dependent(const struct worker_state *w, task_id task, uint32_t index)
{
    return link_at(&known(w, task)->dependents, index);
}

struct span worker_task_holder(const struct worker_state *w, task_id task, uint32_t index)
{
    return wpeer_at(w, link_at(&known(w, task)->who_has, index))->address;
}

bool worker_task_in_memory(const struct worker_state *w, task_id task)
{
    return task != TASK_NONE && known(w, task)->state == WTASK_MEMORY;
}

task_id worker_task_end(const struct worker_state *w)
{
    return w->task_end;
}

task_id worker_task_running(const struct worker_state *w, uint32_t index)
{
    ASSERT(index < w->runs.count);
    return w->runs.items[index];
}

bool worker_has_backpressure(const struct worker_state *w)
{
    return w->backpressure;
}

/* ---- the whole ---- */

void worker_summarise(const struct worker_state *w, struct worker_summary *out)
{
    *out = (struct worker_summary){
        .address = w->address,
        .running = w->running,
        .nthreads = w->config.nthreads,
        .task_count = w->keys.count,
        .executing_count = w->executing_count,
        .long_running_count = w->runs.count - w->executing_count,
        .in_flight_task_count = w->in_flight_task_count,
        .executed_count = w->executed_count,
        .nbytes = w->nbytes,
        .incoming_count = w->incoming_count,
        .incoming_count_total = w->incoming_count_total,
        .incoming_bytes = w->incoming_bytes,
        .transition_count = w->transition_count,
    };
    memcpy(out->state_counts, w->state_counts, sizeof out->state_counts);
}

bool worker_resource_at(const struct worker_state *w, uint32_t index, struct span *out_name,
                        double *out_total, double *out_available)
{
    if (index >= w->resources.count) {
        return false;
    }
    const struct wresource *resource = &w->resources.items[index];
    *out_name = resource->name;
    *out_total = resource->total;
    *out_available = resource->available;
    return true;
}

bool worker_peer(const struct worker_state *w, uint32_t id, struct worker_peer_view *out)
{
    const struct wpeer *peer = id < w->peers.count ? w->peers.items[id] : NULL;
    if (peer == NULL) {
        return false;
    }
    uint32_t in_flight = 0;
    for (uint32_t i = 0; i < peer->in_flight_tasks.count; i++) {
        in_flight += peer->in_flight_tasks.items[i] != TASK_NONE;
    }
    *out = (struct worker_peer_view){
        .address = peer->address,
        .has_count = peer->has_what.count,
        .needed_count = peer->needed_count,
        .in_flight_count = in_flight,
        .in_flight = peer->in_flight,
        .busy = peer->busy,
    };
    return true;
}

uint32_t worker_peer_end(const struct worker_state *w)
{
    return w->peers.count;
}

bool worker_prefix(const struct worker_state *w, uint32_t index, double now,
                   struct worker_prefix_view *out)
{
    if (index >= w->prefixes.count) {
        return false;
    }
    const struct wprefix *prefix = &w->prefixes.items[index];
    out->name = prefix->name;
    for (uint32_t state = 0; state < WTASK_STATE_COUNT; state++) {
        const struct wcount *count = &prefix->states[state];
        double since = now > count->since ? now - count->since : 0;
        out->counts[state] = count->tasks;
        out->seconds[state] = count->seconds + (double)count->tasks * since;
    }
    return true;
}
