/* check.c: every invariant of the whole state. Called after each step in tests, simulation and fuzzing.
 * Must agree with: worker_state_machine.py validate_state, validate_task; the sets that stock keeps beside a
 * task's state follow from the state here. */
#include <math.h>

#include "core/worker/peer.h"
#include "core/worker/task.h"
#include "core/worker/transition.h"

#define RESOURCE_TOLERANCE 1e-6 /* sums of fractions, in any order */

struct tally {
    uint32_t tasks, in_flight, runs, executing, slow, missing, ready, constrained;
    int64_t nbytes;
    uint64_t states[WTASK_STATE_COUNT];
};

static bool is_to_run(const struct wtask *task)
{
    return task->state == WTASK_WAITING || task->state == WTASK_READY ||
           task->state == WTASK_CONSTRAINED;
}

/* ---- edges ---- */

static void check_dependencies(const struct worker_state *w, const struct wtask *task)
{
    uint32_t missing = 0;
    const struct link *links = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct wtask *input = wtask_at(w, links[i].other);
        ASSERT(input->state != WTASK_FORGOTTEN);
        const struct link *back = &links_items(&input->dependents)[links[i].slot & LINK_SLOT_MASK];
        ASSERT(back->other == task->id && (back->slot & LINK_SLOT_MASK) == i);
        bool is_missing = (links[i].slot & EDGE_MISSING) != 0;
        missing += is_missing;
        ASSERT(!is_missing || (links[i].slot & EDGE_WAITS) != 0);
        if (is_to_run(task)) {
            ASSERT(is_missing == (input->state != WTASK_MEMORY));
        }
    }
    ASSERT(missing == task->missing_count);
    ASSERT(missing == 0 || task->state == WTASK_WAITING);
}

static void check_dependents(const struct worker_state *w, const struct wtask *task)
{
    uint32_t waiters = 0;
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct wtask *user = wtask_at(w, links[i].other);
        ASSERT(user->state != WTASK_FORGOTTEN);
        ASSERT((links[i].slot & ~LINK_SLOT_MASK) == 0);
        const struct link *edge = &links_items(&user->dependencies)[links[i].slot];
        ASSERT(edge->other == task->id && (edge->slot & LINK_SLOT_MASK) == i);
        waiters += (edge->slot & EDGE_WAITS) != 0;
    }
    ASSERT(waiters == task->waiter_count);
}

/* ---- states ---- */

static void check_previous(const struct wtask *task)
{
    switch (task->state) {
    case WTASK_CANCELLED:
        ASSERT(task->next == WTASK_RELEASED);
        break;
    case WTASK_RESUMED:
        ASSERT(task->next == (task->previous == WTASK_FLIGHT ? WTASK_WAITING : WTASK_FETCH));
        break;
    default:
        ASSERT(task->next == WTASK_RELEASED && task->previous == WTASK_RELEASED);
        return;
    }
    ASSERT(task->previous == WTASK_FLIGHT || task->previous == WTASK_EXECUTING ||
           task->previous == WTASK_LONG_RUNNING);
}

static void check_run(const struct worker_state *w, const struct wtask *task, struct tally *tally)
{
    bool seceded = task->state == WTASK_LONG_RUNNING || task->previous == WTASK_LONG_RUNNING;
    bool runs = seceded || task->state == WTASK_EXECUTING || task->previous == WTASK_EXECUTING;
    ASSERT(runs == wtask_runs(task));
    ASSERT(seceded == ((task->flags & WTASK_SECEDED) != 0));
    if (runs) {
        ASSERT(task->missing_count == 0);
        ASSERT(w->runs.items[task->place] == task->id);
        tally->runs++;
        tally->executing += !seceded;
        tally->slow += (task->flags & WTASK_SLOW) != 0;
    }
    ASSERT((task->flags & WTASK_SLOW) == 0 || (runs && !seceded));
}

static void check_flight(const struct worker_state *w, const struct wtask *task,
                         struct tally *tally)
{
    bool flies = task->state == WTASK_FLIGHT || task->previous == WTASK_FLIGHT;
    bool in_flight = (task->flags & WTASK_IN_FLIGHT) != 0;
    ASSERT(!flies || in_flight);
    ASSERT(!in_flight || flies || task->state == WTASK_MEMORY);
    ASSERT(in_flight == (task->coming_from != WPEER_NONE));
    if (!in_flight) {
        return;
    }
    tally->in_flight++;
    const struct wpeer *peer = wpeer_at(w, task->coming_from);
    ASSERT(peer->in_flight);
    uint32_t i = 0;
    while (peer->in_flight_tasks.items[i] != task->id) {
        i++;
        ASSERT(i < peer->in_flight_tasks.count);
    }
}

static void check_queues(const struct worker_state *w, const struct wtask *task,
                         struct tally *tally)
{
    switch (task->state) {
    case WTASK_WAITING:
        ASSERT(task->missing_count > 0);
        break;
    case WTASK_READY:
        ASSERT(task->resources == NULL);
        ASSERT(w->ready.ids[task->place] == task->id);
        tally->ready++;
        break;
    case WTASK_CONSTRAINED:
        ASSERT(task->resources != NULL);
        ASSERT(w->constrained.ids[task->place] == task->id);
        tally->constrained++;
        break;
    case WTASK_MEMORY:
        ASSERT(task->nbytes >= 0);
        tally->nbytes += task->nbytes;
        break;
    case WTASK_FETCH:
        ASSERT(task->who_has.count > 0 && task->stamp != 0);
        ASSERT((task->flags & WTASK_HAS_PRIORITY) != 0);
        break;
    case WTASK_MISSING: /* holders may have been heard of by the way; the next refresh uses them */
        ASSERT(w->missing.items[task->place] == task->id);
        tally->missing++;
        break;
    default:
        ASSERT(task->state != WTASK_RESCHEDULED && task->state != WTASK_FORGOTTEN);
        break;
    }
}

static void check_task(const struct worker_state *w, const struct wtask *task, struct tally *tally)
{
    ASSERT(wtask_find(w, task->key) == task);
    ASSERT(task->want_place == 0);
    ASSERT((task->flags & (WTASK_DONE | WTASK_LOST)) == 0);
    check_dependencies(w, task);
    check_dependents(w, task);
    check_previous(task);
    check_run(w, task, tally);
    check_flight(w, task, tally);
    check_queues(w, task, tally);
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        const struct link *link = &links_items(&task->who_has)[i];
        const struct wpeer *peer = wpeer_at(w, link->other);
        ASSERT(!span_equal(peer->address, w->address));
        ASSERT(links_items(&peer->has_what)[link->slot].other == task->id);
        ASSERT(links_items(&peer->has_what)[link->slot].slot == i);
    }
    tally->tasks++;
    tally->states[task->state]++;
}

/* ---- peers, resources ---- */

static void check_peer(const struct worker_state *w, const struct wpeer *peer)
{
    ASSERT(wpeer_find(w, peer->address) == peer);
    uint32_t needed = 0;
    for (uint32_t i = 0; i < peer->has_what.count; i++) {
        const struct wtask *task = wtask_at(w, links_items(&peer->has_what)[i].other);
        needed += task->state == WTASK_FETCH;
    }
    ASSERT(needed == peer->needed_count);
    uint32_t live = 0;
    for (uint32_t i = 0; i < peer->needs.count; i++) {
        const struct wneed *need = &peer->needs.items[i];
        live += wtask_at(w, need->task)->stamp == need->stamp;
    }
    ASSERT(live == needed);
    ASSERT(peer->in_flight || peer->in_flight_tasks.count == 0);
    bool fetchable = needed > 0 && !peer->in_flight && !peer->busy;
    ASSERT(fetchable == (peer->fetchable_place != UINT32_MAX));
    ASSERT(!fetchable || w->fetchable.items[peer->fetchable_place] == peer->id);
}

static void check_peers(const struct worker_state *w)
{
    uint32_t incoming = 0;
    int64_t bytes = 0;
    for (uint32_t i = 0; i < w->peers.count; i++) {
        const struct wpeer *peer = w->peers.items[i];
        if (peer != NULL) {
            ASSERT(peer->id == i);
            check_peer(w, peer);
            incoming += peer->in_flight;
            bytes += peer->in_flight_nbytes;
        }
    }
    ASSERT(incoming == w->incoming_count);
    ASSERT(bytes == w->incoming_bytes);
}

static void check_resources(const struct worker_state *w)
{
    for (uint32_t i = 0; i < w->resources.count; i++) {
        double held = 0;
        for (uint32_t j = 0; j < w->runs.count; j++) {
            const struct wtask *task = wtask_at(w, w->runs.items[j]);
            for (uint32_t k = 0; task->resources != NULL && k < task->resources->count; k++) {
                const struct wamount *amount = &task->resources->items[k];
                held += amount->resource == i ? amount->amount : 0;
            }
        }
        const struct wresource *resource = &w->resources.items[i];
        ASSERT(fabs(resource->total - resource->available - held) <= RESOURCE_TOLERANCE);
    }
}

static void check_prefixes(const struct worker_state *w)
{
    uint64_t counts[WTASK_STATE_COUNT] = {0};
    for (uint32_t i = 0; i < w->prefixes.count; i++) {
        for (uint32_t state = 0; state < WTASK_STATE_COUNT; state++) {
            counts[state] += w->prefixes.items[i].states[state].tasks;
        }
    }
    ASSERT(memcmp(counts, w->state_counts, sizeof counts) == 0);
}

void worker_check(const struct worker_state *w)
{
    struct tally tally = {0};
    ASSERT(w->wants.count == 0);
    for (task_id id = 0; id < w->task_end; id++) {
        const struct wtask *task = wtask_at(w, id);
        if (task->state != WTASK_FORGOTTEN) {
            check_task(w, task, &tally);
        }
    }
    ASSERT(memcmp(tally.states, w->state_counts, sizeof tally.states) == 0);
    ASSERT(tally.tasks == w->keys.count);
    ASSERT(tally.nbytes == w->nbytes);
    ASSERT(tally.in_flight == w->in_flight_task_count);
    ASSERT(tally.runs == w->runs.count && tally.executing == w->executing_count);
    ASSERT(tally.slow == w->slow_count);
    ASSERT(tally.missing == w->missing.count);
    ASSERT(tally.ready == w->ready.count && tally.constrained == w->constrained.count);
    check_peers(w);
    check_resources(w);
    check_prefixes(w);
}
