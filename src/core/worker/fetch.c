/* fetch.c: peers by their most urgent need; then those on this host; then those with most needs; then by lot.
 * One request a peer at a time, as large as the limits allow, but always with something in it. */
#include "core/worker/fetch.h"

#include "core/worker/action.h"
#include "core/worker/peer.h"
#include "core/worker/story.h"
#include "core/worker/transition.h"

struct candidate {
    struct worker_priority priority; /* of its first need, when it was ranked … */
    int64_t serial;
    uint32_t needed_count; /* … and how many there were */
    uint32_t peer;
    double lot;
};

static bool should_throttle(const struct worker_state *w)
{
    const struct worker_config *config = &w->config;
    return (w->incoming_count >= config->incoming_count_limit &&
            w->incoming_bytes >= config->throttle_floor) ||
           w->incoming_bytes >= config->incoming_limit;
}

/* ---- which peer ---- */

static bool candidate_before(void *context, uint32_t a, uint32_t b)
{
    const struct worker_state *w = context;
    const struct candidate *first = &w->candidates.items[a];
    const struct candidate *second = &w->candidates.items[b];
    if (wpriority_less(&first->priority, first->serial, &second->priority, second->serial)) {
        return true;
    }
    if (wpriority_less(&second->priority, second->serial, &first->priority, first->serial)) {
        return false;
    }
    const struct wpeer *first_peer = wpeer_at(w, first->peer);
    const struct wpeer *second_peer = wpeer_at(w, second->peer);
    if (first_peer->remote != second_peer->remote) {
        return second_peer->remote;
    }
    if (first->needed_count != second->needed_count) {
        return first->needed_count > second->needed_count;
    }
    if (first->lot != second->lot) {
        return first->lot < second->lot;
    }
    return span_compare(first_peer->address, second_peer->address) < 0;
}

static void no_place(void *context, uint32_t id, uint32_t place)
{
    (void)context;
    (void)id;
    (void)place;
}

/* Needs may have gone to other peers since: the candidate's rank is as of now. */
static void rank(struct worker_state *w, struct candidate *candidate)
{
    struct wpeer *peer = wpeer_at(w, candidate->peer);
    const struct wneed *first = wneed_first(w, peer);
    candidate->priority = first->priority;
    candidate->serial = first->serial;
    candidate->needed_count = peer->needed_count;
}

static void list_candidates(struct worker_state *w)
{
    w->candidates.count = 0;
    for (uint32_t i = 0; i < w->fetchable.count; i++) {
        struct candidate candidate = {
            .peer = w->fetchable.items[i],
            .lot = w->config.draws_lots ? prng_unit(&w->prng) : 0,
        };
        rank(w, &candidate);
        vec_push(&w->candidates, candidate);
    }
    if (w->candidate_heap.before == NULL) {
        heap_init(&w->candidate_heap, w, candidate_before, no_place);
    }
    for (uint32_t i = 0; i < w->candidates.count; i++) {
        heap_add(&w->candidate_heap, i);
    }
}

/* The peer to ask next; NULL: none is left. */
static struct wpeer *next_peer(struct worker_state *w)
{
    while (w->candidate_heap.count > 0) {
        uint32_t index = heap_first(&w->candidate_heap);
        heap_remove(&w->candidate_heap, 0);
        struct candidate *candidate = &w->candidates.items[index];
        struct wpeer *peer = wpeer_at(w, candidate->peer);
        if (peer->needed_count == 0) {
            continue;
        }
        if (peer->needed_count == candidate->needed_count) {
            return peer;
        }
        rank(w, candidate);
        heap_add(&w->candidate_heap, index);
    }
    return NULL;
}

/* ---- which values ---- */

static bool exceeds_limits(const struct worker_state *w, int64_t nbytes, int64_t message_nbytes)
{
    if (w->incoming_bytes == 0 && message_nbytes == 0) {
        return false; /* when nothing else comes, the first value does, however large */
    }
    int64_t allowance = w->config.incoming_limit - w->incoming_bytes;
    if (message_nbytes != 0) {
        int64_t message_limit = w->config.message_limit;
        allowance = (allowance < message_limit ? allowance : message_limit) - message_nbytes;
    }
    return nbytes > allowance;
}

/* Tasks chosen for one request, moved into w->scratch; returns their bytes. */
static int64_t choose_tasks(struct worker_state *w, struct wpeer *peer)
{
    int64_t message_nbytes = 0;
    w->scratch.count = 0;
    while (peer->needed_count > 0) {
        struct wtask *task = wtask_at(w, wneed_first(w, peer)->task);
        if (exceeds_limits(w, wtask_nbytes(w, task), message_nbytes)) {
            break;
        }
        wneeds_remove(w, task);
        vec_push(&w->scratch, task->id);
        message_nbytes += wtask_nbytes(w, task);
    }
    return message_nbytes;
}

static void gather(struct worker_state *w, struct wpeer *peer, int64_t nbytes)
{
    struct worker_step *step = w->step;
    uint32_t count = w->scratch.count;
    ASSERT(!peer->in_flight && peer->in_flight_tasks.count == 0);
    struct worker_value *wanted = arena_array(&step->arena, struct worker_value, count);
    struct wmove move = {.peer = peer};
    for (uint32_t i = 0; i < count; i++) {
        struct wtask *task = wtask_at(w, w->scratch.items[i]);
        wanted[i] = (struct worker_value){task->id, task->key, task->nbytes};
        vec_push(&peer->in_flight_tasks, task->id);
        wtransition(w, task, WTASK_FLIGHT, &move);
    }
    worker_action_add(step, WORKER_ACTION_GATHER)->of.gather = (struct worker_action_gather){
        .worker = peer->address,
        .wanted = {wanted, count},
        .nbytes = nbytes,
        .stimulus = step->stimulus,
    };
    wstory_add(w, (struct span){0}, "gather-dependencies", WTASK_FLIGHT);
    peer->in_flight = true;
    peer->in_flight_nbytes = nbytes;
    wpeer_update_fetchable(w, peer);
    w->incoming_count++;
    w->incoming_count_total++;
    w->incoming_bytes += nbytes;
}

void wfetch_ensure_communicating(struct worker_state *w)
{
    if (!w->running || w->backpressure || w->fetchable.count == 0 || should_throttle(w)) {
        return;
    }
    list_candidates(w);
    for (struct wpeer *peer; (peer = next_peer(w)) != NULL;) {
        int64_t nbytes = choose_tasks(w, peer);
        if (w->scratch.count == 0) {
            break;
        }
        gather(w, peer, nbytes);
        if (should_throttle(w)) {
            break;
        }
    }
    w->candidate_heap.count = 0;
    ASSERT(w->wants.count == 0);
}

void wfetch_fini(struct worker_state *w)
{
    vec_fini(&w->candidates);
    heap_fini(&w->candidate_heap);
    vec_fini(&w->missing);
    vec_fini(&w->scratch);
}

/* ---- the end of a request ---- */

void wfetch_ended(struct worker_state *w, struct wpeer *peer)
{
    ASSERT(peer->in_flight);
    ASSERT(w->incoming_count > 0 && w->incoming_bytes >= peer->in_flight_nbytes);
    w->incoming_count--;
    w->incoming_bytes -= peer->in_flight_nbytes;
    peer->in_flight_nbytes = 0;
    peer->in_flight = false;
    w->scratch.count = 0;
    for (uint32_t i = 0; i < peer->in_flight_tasks.count; i++) {
        task_id id = peer->in_flight_tasks.items[i];
        if (id == TASK_NONE) {
            continue;
        }
        struct wtask *task = wtask_at(w, id);
        ASSERT((task->flags & WTASK_IN_FLIGHT) != 0 && task->coming_from == peer->id);
        task->flags &= (uint16_t)~WTASK_IN_FLIGHT;
        task->coming_from = WPEER_NONE;
        w->in_flight_task_count--;
        if (task->state != WTASK_MEMORY) {
            task->flags |= WTASK_DONE;
        }
        vec_push(&w->scratch, id);
    }
    peer->in_flight_tasks.count = 0;
    wpeer_update_fetchable(w, peer);
    wpeer_doubt(w, peer);
}
