/* balance.c: replicate and rebalance: see balance.h. Where stock takes sets in their arbitrary order, here
 * workers go by address.
 * Must agree with: scheduler.py replicate, _rebalance_find_msgs. */
#include "core/scheduler/balance.h"

#include <string.h>

#include "core/scheduler/internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/view.h"

/* The workers of a scope that are still there; if it names none, all (or all running ones) by address. */
static uint32_t scope_workers(const struct scheduler *s, const struct balance_scope *scope,
                              bool running_only, worker_id **out_workers, struct arena *arena)
{
    const worker_id *from = running_only ? s->running.items : s->workers_sorted.items;
    uint32_t from_count = running_only ? s->running.count : s->workers_sorted.count;
    if (scope->workers != NULL) {
        from = scope->workers;
        from_count = scope->worker_count;
    }
    *out_workers = arena_array(arena, worker_id, from_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < from_count; i++) {
        const struct worker *worker = worker_find(s, from[i]);
        if (worker != NULL && worker->known) {
            (*out_workers)[count++] = worker->id;
        }
    }
    return count;
}

/* A growing list of moves in the arena: doubled when full. */
struct move_list {
    struct balance_move *items;
    uint32_t count, capacity;
    struct arena *arena;
};

static void move_add(struct move_list *list, struct balance_move move)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        struct balance_move *grown = arena_array(list->arena, struct balance_move, list->capacity);
        if (list->count > 0) {
            memcpy(grown, list->items, list->count * sizeof *grown);
        }
        list->items = grown;
    }
    list->items[list->count++] = move;
}

/* ---- rebalance ---- */

/* A worker above the mean, or below it. Bytes are negative, as in stock: the farthest comes first. */
struct party {
    const struct worker *worker;
    int64_t bytes_max; /* may send or receive up to so many … */
    int64_t bytes_min; /* … and is done once this is not below 0 */
    uint32_t next;     /* sender: its next result to look at */
    uint32_t place;    /* in the heap */
};

struct parties {
    struct party *items;
    uint32_t count;
    struct heap heap;
};

static bool party_before(void *context, uint32_t a, uint32_t b)
{
    const struct party *party_a = &((struct parties *)context)->items[a];
    const struct party *party_b = &((struct parties *)context)->items[b];
    if (party_a->bytes_max != party_b->bytes_max) {
        return party_a->bytes_max < party_b->bytes_max;
    }
    if (party_a->bytes_min != party_b->bytes_min) {
        return party_a->bytes_min < party_b->bytes_min;
    }
    return party_a->worker->rank < party_b->worker->rank;
}

static void party_set_place(void *context, uint32_t id, uint32_t place)
{
    ((struct parties *)context)->items[id].place = place;
}

static void parties_init(struct parties *parties, uint32_t count_max, struct arena *arena)
{
    *parties = (struct parties){.items = arena_array(arena, struct party, count_max)};
    heap_init(&parties->heap, parties, party_before, party_set_place);
}

static void party_add(struct parties *parties, const struct worker *worker, int64_t bytes_max,
                      int64_t bytes_min)
{
    parties->items[parties->count] = (struct party){
        .worker = worker, .bytes_max = bytes_max, .bytes_min = bytes_min, .place = HEAP_NOWHERE};
    heap_add(&parties->heap, parties->count++);
}

struct rebalance {
    const struct scheduler *s;
    struct parties senders, recipients;
    const struct task *const *tasks; /* NULL: all may move */
    struct id_map allowed;           /* those tasks, by id */
    uint32_t *passed;                /* recipients put aside while looking for one */
    struct move_list moves;
};

/* A worker is a sender, a recipient, or near enough to the mean. */
static void classify(struct rebalance *r, const struct worker *worker, int64_t memory, int64_t mean)
{
    const struct scheduler_config *config = &r->s->config;
    double limit = (double)worker->memory_limit;
    int64_t half_gap = worker->memory_limit > 0 ? (int64_t)(config->rebalance_half_gap * limit) : 0;
    double sender_min = worker->memory_limit > 0 ? config->rebalance_sender_min * limit : 0;
    double recipient_max =
        worker->memory_limit > 0 ? config->rebalance_recipient_max * limit : INFINITY;
    if (worker->has_what.count > 0 && memory >= mean + half_gap && (double)memory >= sender_min) {
        party_add(&r->senders, worker, mean - memory, mean - memory + half_gap);
    } else if (memory < mean - half_gap && (double)memory < recipient_max) {
        party_add(&r->recipients, worker, memory - mean, memory - mean + half_gap);
    }
}

static void find_parties(struct rebalance *r, const worker_id *workers, uint32_t count,
                         struct arena *arena)
{
    parties_init(&r->senders, count, arena);
    parties_init(&r->recipients, count, arena);
    int64_t *memory = arena_array(arena, int64_t, count);
    int64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct worker_view view;
        bool known = view_worker(r->s, workers[i], &view);
        ASSERT(known);
        memory[i] =
            view_memory_measure(&view.memory, (enum memory_measure)r->s->config.rebalance_measure);
        sum += memory[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        classify(r, worker_at(r->s, workers[i]), memory[i], sum / count);
    }
}

/* The recipient farthest from the mean that has room for the task and does not hold it; NULL: none. (Stock may
 * afterwards update one that was passed over in the chosen one's stead: such slips are not imitated.) */
static struct party *find_recipient(struct rebalance *r, const struct task *task)
{
    struct heap *heap = &r->recipients.heap;
    uint32_t passed_count = 0;
    struct party *found = NULL;
    while (found == NULL && heap->count > 0) {
        struct party *first = &r->recipients.items[heap_first(heap)];
        if (task->nbytes + first->bytes_max > 0) {
            break; /* the others have less room still */
        }
        if (replica_has(task, first->worker->id)) {
            r->passed[passed_count++] = heap_first(heap);
            heap_remove(heap, first->place);
        } else {
            found = first;
        }
    }
    while (passed_count > 0) {
        heap_add(heap, r->passed[--passed_count]);
    }
    return found;
}

/* `nbytes` nearer to the mean: to its new place, or out if that is near enough. */
static void party_move(struct parties *parties, struct party *party, int64_t nbytes)
{
    heap_remove(&parties->heap, party->place);
    party->bytes_max += nbytes;
    party->bytes_min += nbytes;
    if (party->bytes_min < 0) {
        heap_add(&parties->heap, (uint32_t)(party - parties->items));
    }
}

/* Find one result of the sender that can move, the one it has had longest first; false: it has none left. */
static bool move_one(struct rebalance *r, struct party *sender)
{
    const struct link *links = links_items(&sender->worker->has_what);
    while (sender->next < sender->worker->has_what.count) {
        const struct task *task = task_at(r->s, links[sender->next++].other);
        bool is_allowed = r->tasks == NULL || id_map_find(&r->allowed, task->id) != NULL;
        if (!is_allowed || task->nbytes + sender->bytes_max > 0) {
            continue; /* or it would fall below the mean and become a recipient itself */
        }
        struct party *recipient = find_recipient(r, task);
        if (recipient == NULL) {
            continue;
        }
        move_add(&r->moves, (struct balance_move){sender->worker->id, recipient->worker->id, task});
        party_move(&r->recipients, recipient, task->nbytes);
        party_move(&r->senders, sender, task->nbytes);
        return true;
    }
    return false;
}

struct balance_plan balance_rebalance(const struct scheduler *s, const struct balance_scope *scope,
                                      struct arena *arena)
{
    worker_id *workers;
    uint32_t count = scope_workers(s, scope, false, &workers, arena);
    if (count == 0) {
        return (struct balance_plan){0};
    }
    struct rebalance r = {.s = s, .tasks = scope->tasks, .moves.arena = arena};
    for (uint32_t i = 0; scope->tasks != NULL && i < scope->task_count; i++) {
        id_map_put(&r.allowed, scope->tasks[i]->id);
    }
    find_parties(&r, workers, count, arena);
    r.passed = arena_array(arena, uint32_t, r.recipients.count);
    while (r.senders.heap.count > 0 && r.recipients.heap.count > 0) {
        struct party *sender = &r.senders.items[heap_first(&r.senders.heap)];
        if (!move_one(&r, sender)) {
            heap_remove(&r.senders.heap, sender->place);
        }
    }
    heap_fini(&r.senders.heap);
    heap_fini(&r.recipients.heap);
    id_map_fini(&r.allowed);
    return (struct balance_plan){r.moves.items, r.moves.count, r.senders.count, r.recipients.count};
}

/* ---- replicate ---- */

/* Bring `count` of the items to the front, chosen at random (random.sample). */
static void choose_some(worker_id *items, uint32_t item_count, uint32_t count, struct prng *prng)
{
    ASSERT(count <= item_count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t chosen = i + prng_below(prng, item_count - i);
        worker_id swapped = items[i];
        items[i] = items[chosen];
        items[chosen] = swapped;
    }
}

/* Those of `workers` that hold the task, or do not. */
static uint32_t split_holders(const struct task *task, const worker_id *workers, uint32_t count,
                              bool holds, worker_id *out_workers)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (replica_has(task, workers[i]) == holds) {
            out_workers[found++] = workers[i];
        }
    }
    return found;
}

struct balance_plan balance_replicate(const struct scheduler *s, const struct balance_scope *scope,
                                      struct prng *prng, struct arena *arena)
{
    ASSERT(scope->branching > 0);
    uint32_t n = scope->n;
    worker_id *workers;
    uint32_t count = scope_workers(s, scope, true, &workers, arena);
    worker_id *others = arena_array(arena, worker_id, count);
    struct move_list moves = {.arena = arena};
    for (uint32_t i = 0; i < scope->task_count; i++) {
        const struct task *task = scope->tasks[i];
        if (task->state == TASK_FORGOTTEN || task->who_has.count == 0) {
            continue;
        }
        uint32_t other_count = split_holders(task, workers, count, false, others);
        uint64_t missing = n > count - other_count ? n - (count - other_count) : 0;
        uint64_t copies = (uint64_t)scope->branching * task->who_has.count;
        copies = copies < missing ? copies : missing;
        copies = copies < other_count ? copies : other_count;
        choose_some(others, other_count, (uint32_t)copies, prng);
        for (uint32_t j = 0; j < copies; j++) {
            move_add(&moves, (struct balance_move){WORKER_NONE, others[j], task});
        }
    }
    return (struct balance_plan){.moves = moves.items, .count = moves.count};
}

struct balance_plan balance_surplus(const struct scheduler *s, const struct balance_scope *scope,
                                    struct prng *prng, struct arena *arena)
{
    worker_id *workers;
    uint32_t count = scope_workers(s, scope, true, &workers, arena);
    worker_id *holders = arena_array(arena, worker_id, count);
    struct move_list moves = {.arena = arena};
    for (uint32_t i = 0; i < scope->task_count; i++) {
        const struct task *task = scope->tasks[i];
        uint32_t held = split_holders(task, workers, count, true, holders);
        uint32_t surplus = held > scope->n ? held - scope->n : 0;
        choose_some(holders, held, surplus, prng);
        for (uint32_t j = 0; j < surplus; j++) {
            move_add(&moves, (struct balance_move){holders[j], WORKER_NONE, task});
        }
    }
    return (struct balance_plan){.moves = moves.items, .count = moves.count};
}
