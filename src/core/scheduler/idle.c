/* idle.c: which workers run, are idle, saturated, or have a slot free for a queued task. The lists are
 * sorted by address; a worker's rank is its place among all, so searching compares numbers. */
#include <math.h>

#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"

/* First place in `items` whose worker does not rank before `rank`. */
static uint32_t lower_bound(const struct scheduler *s, const worker_id *items, uint32_t count,
                            uint32_t rank)
{
    uint32_t low = 0;
    while (low < count) {
        uint32_t middle = low + (count - low) / 2;
        if (worker_at(s, items[middle])->rank < rank) {
            low = middle + 1;
        } else {
            count = middle;
        }
    }
    return low;
}

#define SORTED_ADD(s, list, worker)                                                                \
    do {                                                                                           \
        uint32_t sorted_at = lower_bound((s), (list)->items, (list)->count, (worker)->rank);       \
        vec_reserve((list), 1);                                                                    \
        memmove(&(list)->items[sorted_at + 1], &(list)->items[sorted_at],                          \
                ((list)->count - sorted_at) * sizeof *(list)->items);                              \
        (list)->items[sorted_at] = (worker)->id;                                                   \
        (list)->count++;                                                                           \
    } while (0)

#define SORTED_REMOVE(s, list, worker)                                                             \
    do {                                                                                           \
        uint32_t sorted_at = lower_bound((s), (list)->items, (list)->count, (worker)->rank);       \
        ASSERT(sorted_at < (list)->count && (list)->items[sorted_at] == (worker)->id);             \
        (list)->count--;                                                                           \
        memmove(&(list)->items[sorted_at], &(list)->items[sorted_at + 1],                          \
                ((list)->count - sorted_at) * sizeof *(list)->items);                              \
    } while (0)

static void set_idle(struct scheduler *s, struct worker *worker, bool idle)
{
    if (worker->is_idle == idle) {
        return;
    }
    if (idle) {
        SORTED_ADD(s, &s->idle, worker);
    } else {
        SORTED_REMOVE(s, &s->idle, worker);
    }
    worker->is_idle = idle;
}

static void set_saturated(struct scheduler *s, struct worker *worker, bool saturated)
{
    if (worker->is_saturated == saturated) {
        return;
    }
    if (saturated) {
        SORTED_ADD(s, &s->saturated, worker);
    } else {
        SORTED_REMOVE(s, &s->saturated, worker);
    }
    worker->is_saturated = saturated;
}

/* ---- free slots ---- */

/* Least loaded first: processing / nthreads, compared crosswise; then by address. */
static bool slot_before(void *context, uint32_t a, uint32_t b)
{
    const struct worker *worker_a = worker_at(context, a);
    const struct worker *worker_b = worker_at(context, b);
    uint64_t load_a = (uint64_t)worker_a->processing.count * worker_b->nthreads;
    uint64_t load_b = (uint64_t)worker_b->processing.count * worker_a->nthreads;
    return load_a != load_b ? load_a < load_b : worker_a->rank < worker_b->rank;
}

static void slot_set_place(void *context, uint32_t id, uint32_t place)
{
    worker_at(context, id)->slot_place = place;
}

void place_init(struct scheduler *s)
{
    heap_init(&s->free_slots, s, slot_before, slot_set_place);
    arena_init(&s->place_arena);
}

int32_t worker_slots(const struct scheduler *s, const struct worker *worker)
{
    ASSERT(!isinf(s->config.worker_saturation));
    double slots = fmax(ceil(s->config.worker_saturation * worker->nthreads), 1);
    int64_t used = (int64_t)worker->processing.count - (int64_t)worker->long_running.count;
    double left = slots - (double)used;
    return left > INT32_MAX ? INT32_MAX : left < INT32_MIN ? INT32_MIN : (int32_t)left;
}

static void update_slots(struct scheduler *s, struct worker *worker)
{
    if (isinf(s->config.worker_saturation)) {
        return; /* nothing is ever queued */
    }
    if (worker->slot_place != HEAP_NOWHERE) {
        s->slots_free_total -= worker->slots_free;
        heap_remove(&s->free_slots, worker->slot_place);
    }
    worker->slots_free = worker_slots(s, worker);
    if (worker->slots_free > 0 && worker->status == WORKER_RUNNING) {
        s->slots_free_total += worker->slots_free;
        heap_add(&s->free_slots, worker->id);
    }
}

/* ---- idle, saturated ---- */

bool is_unoccupied(const struct scheduler *s, const struct worker *worker, double occupancy,
                   uint32_t processing_count)
{
    return processing_count < worker->nthreads ||
           occupancy < worker->nthreads * (total_occupancy(s) / (double)s->total_nthreads) / 2;
}

/* It has more tasks than threads, and they will take much longer than the average worker's. */
static bool is_overloaded(const struct scheduler *s, const struct worker *worker, double occupancy)
{
    double tasks = worker->processing.count;
    double threads = worker->nthreads;
    if (tasks <= threads) {
        return false;
    }
    double pending = occupancy * (tasks - threads) / (tasks * threads);
    return pending > 0.4 && pending > 1.9 * (total_occupancy(s) / (double)s->total_nthreads);
}

void check_idle_saturated(struct scheduler *s, struct worker *worker, double occupancy)
{
    if (s->total_nthreads == 0 || worker->status == WORKER_CLOSED) {
        return;
    }
    bool running = worker->status == WORKER_RUNNING;
    if (occupancy < 0) {
        occupancy = worker_occupancy(s, worker);
    }
    bool idle = running && is_unoccupied(s, worker, occupancy, worker->processing.count);
    set_saturated(s, worker, running && !idle && is_overloaded(s, worker, occupancy));
    set_idle(s, worker, idle);
    update_slots(s, worker);
}

void place_worker_stopped(struct scheduler *s, struct worker *worker)
{
    ASSERT(worker->status != WORKER_RUNNING);
    set_idle(s, worker, false);
    set_saturated(s, worker, false);
    if (worker->slot_place != HEAP_NOWHERE) {
        s->slots_free_total -= worker->slots_free;
        heap_remove(&s->free_slots, worker->slot_place);
    }
}

void place_set_running(struct scheduler *s, struct worker *worker, bool running)
{
    uint32_t at = lower_bound(s, s->running.items, s->running.count, worker->rank);
    bool is_there = at < s->running.count && s->running.items[at] == worker->id;
    if (running && !is_there) {
        SORTED_ADD(s, &s->running, worker);
    } else if (!running && is_there) {
        SORTED_REMOVE(s, &s->running, worker);
    }
}

/* ---- ranks ---- */

static void rerank(struct scheduler *s, uint32_t from)
{
    for (uint32_t i = from; i < s->workers_sorted.count; i++) {
        worker_at(s, s->workers_sorted.items[i])->rank = i;
    }
}

void place_add_worker(struct scheduler *s, struct worker *worker)
{
    uint32_t at = 0;
    uint32_t end = s->workers_sorted.count;
    while (at < end) {
        uint32_t middle = at + (end - at) / 2;
        if (span_compare(worker_at(s, s->workers_sorted.items[middle])->address, worker->address) <
            0) {
            at = middle + 1;
        } else {
            end = middle;
        }
    }
    worker->slot_place = HEAP_NOWHERE;
    worker->rank = at;
    for (uint32_t i = at; i < s->workers_sorted.count; i++) {
        worker_at(s, s->workers_sorted.items[i])->rank++;
    }
    SORTED_ADD(s, &s->workers_sorted, worker);
    while (s->scratch_bytes.count <= worker->id) {
        vec_push(&s->scratch_bytes, 0);
    }
}

void place_remove_worker(struct scheduler *s, struct worker *worker)
{
    ASSERT(!worker->is_idle && !worker->is_saturated && worker->slot_place == HEAP_NOWHERE);
    uint32_t rank = worker->rank;
    SORTED_REMOVE(s, &s->workers_sorted, worker);
    rerank(s, rank);
}

void place_fini(struct scheduler *s)
{
    heap_fini(&s->free_slots);
    arena_fini(&s->place_arena);
    vec_fini(&s->workers_sorted);
    vec_fini(&s->running);
    vec_fini(&s->idle);
    vec_fini(&s->saturated);
    vec_fini(&s->scratch_bytes);
    vec_fini(&s->scratch_workers);
}

void place_check(const struct scheduler *s)
{
    uint32_t running = 0;
    uint32_t idle = 0;
    uint32_t saturated = 0;
    int64_t slots = 0;
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        ASSERT(worker->known && worker->rank == i);
        ASSERT(i == 0 || span_compare(worker_at(s, s->workers_sorted.items[i - 1])->address,
                                      worker->address) < 0);
        bool is_running = worker->status == WORKER_RUNNING;
        ASSERT(is_running || (!worker->is_idle && !worker->is_saturated));
        ASSERT(!(worker->is_idle && worker->is_saturated));
        ASSERT(!is_running || worker->processing.count > 0 || worker->is_idle);
        running += is_running;
        idle += worker->is_idle;
        saturated += worker->is_saturated;
        if (worker->slot_place != HEAP_NOWHERE) {
            ASSERT(is_running && worker->slots_free == worker_slots(s, worker));
            ASSERT(s->free_slots.ids[worker->slot_place] == worker->id);
            slots += worker->slots_free;
        } else {
            ASSERT(!is_running || isinf(s->config.worker_saturation) ||
                   worker_slots(s, worker) <= 0);
        }
    }
    ASSERT(running == s->running.count && idle == s->idle.count && saturated == s->saturated.count);
    ASSERT(slots == s->slots_free_total);
    for (uint32_t i = 0; i < s->scratch_bytes.count; i++) {
        ASSERT(s->scratch_bytes.items[i] == 0);
    }
}
