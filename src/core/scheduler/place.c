/* place.c: see place.h. A task is placed in one pass over its inputs and their holders: what each holder
 * has is summed up, the rest would have to be sent there. So a task with a million inputs costs a million
 * steps, whatever the number of workers. */
#include "core/scheduler/place.h"

#include <math.h>

#include "core/scheduler/occupancy.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/replicas.h"

#define POOL_SMALL                                                                                 \
    20u /* up to here the least occupied worker is looked for, beyond it turns are taken */

bool is_rootish(const struct scheduler *s, const struct task *task)
{
    const struct restrictions *rules = task_restrictions(task);
    if (rules != NULL && rules->worker_count + rules->host_count + rules->resource_count > 0) {
        return false;
    }
    if (task->extra != NULL && task->extra->avoided != WORKER_NONE) {
        return false;
    }
    if ((task->flags & TASK_DATA_PRODUCER) != 0) {
        return true;
    }
    const struct group *group = task->group;
    if (group->size <= s->total_nthreads * 2 ||
        group->dependencies.count >= s->config.rootish_taskgroup) {
        return false;
    }
    uint64_t inputs = 0;
    for (uint32_t i = 0; i < group->dependencies.count; i++) {
        inputs += group->dependencies.items[i].group->size;
    }
    return inputs < s->config.rootish_taskgroup_dependencies;
}

/* ---- which workers the rules allow ---- */

double worker_resource(const struct worker *worker, struct span name, double *out_free)
{
    for (uint32_t i = 0; i < worker->resources.count; i++) {
        if (span_equal(worker->resources.items[i].name, name)) {
            *out_free = worker->resources.items[i].amount - worker->used_resources.items[i].amount;
            return worker->resources.items[i].amount;
        }
    }
    *out_free = 0;
    return 0;
}

static bool offers(const struct worker *worker, const struct restrictions *rules)
{
    for (uint32_t i = 0; i < rules->resource_count; i++) {
        double unused;
        bool has = false;
        for (uint32_t j = 0; j < worker->resources.count && !has; j++) {
            has = span_equal(worker->resources.items[j].name, rules->resources[i].name);
        }
        if (!has || worker_resource(worker, rules->resources[i].name, &unused) <
                        rules->resources[i].amount) {
            return false;
        }
    }
    return true;
}

static bool offers_now(const struct worker *worker, const struct restrictions *rules)
{
    for (uint32_t i = 0; i < rules->resource_count; i++) {
        double free_now;
        worker_resource(worker, rules->resources[i].name, &free_now);
        if (free_now < rules->resources[i].amount) {
            return false;
        }
    }
    return true;
}

/* The host a restriction means: the name of a worker stands for that worker's host. */
static const struct host *host_find(const struct scheduler *s, struct span name)
{
    uint8_t head[5];
    size_t head_size = 0;
    if (name.size < 32) {
        head[head_size++] = (uint8_t)(0xa0 | name.size);
    } else if (name.size < 256) {
        head[head_size++] = 0xd9;
        head[head_size++] = (uint8_t)name.size;
    }
    struct map_entry *entry = NULL;
    uint8_t alias[2 + 255];
    if (head_size > 0) { /* aliases are kept as msgpack; no host's name is longer */
        memcpy(alias, head, head_size);
        if (name.size > 0) {
            memcpy(alias + head_size, name.data, name.size);
        }
        entry = map_find(&s->aliases, span_of(alias, head_size + name.size));
    }
    if (entry != NULL) {
        name = worker_at(s, (worker_id)entry->value.number)->host;
    }
    entry = map_find(&s->hosts, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

/* Mark, by rank, the workers that worker and host rules name. */
static void mark_named(const struct scheduler *s, const struct restrictions *rules, bool *allowed)
{
    for (uint32_t i = 0; i < rules->worker_count; i++) {
        const struct worker *worker = worker_find_address(s, rules->workers[i]);
        if (worker != NULL) {
            allowed[worker->rank] = true;
        }
    }
    for (uint32_t i = 0; i < rules->host_count; i++) {
        const struct host *host = host_find(s, rules->hosts[i]);
        for (uint32_t j = 0; host != NULL && j < host->workers.count; j++) {
            allowed[worker_at(s, host->workers.items[j])->rank] = true;
        }
    }
}

struct worker_set valid_workers(const struct scheduler *s, const struct task *task,
                                struct arena *arena)
{
    const struct restrictions *rules = task_restrictions(task);
    if (rules == NULL || rules->worker_count + rules->host_count + rules->resource_count == 0) {
        return (struct worker_set){.all = true};
    }
    uint32_t count = s->workers_sorted.count;
    bool *allowed = arena_array(arena, bool, count);
    bool named = rules->worker_count + rules->host_count > 0;
    memset(allowed, !named, count);
    if (named) {
        mark_named(s, rules, allowed);
    }
    worker_id *items = arena_array(arena, worker_id, count);
    struct worker_set set = {.items = items};
    for (uint32_t rank = 0; rank < count; rank++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[rank]);
        if (allowed[rank] && worker->status == WORKER_RUNNING && offers(worker, rules)) {
            items[set.count++] = worker->id;
        }
    }
    return set;
}

static bool is_named(const struct scheduler *s, const struct restrictions *rules,
                     const struct worker *worker)
{
    for (uint32_t i = 0; i < rules->worker_count; i++) {
        if (span_equal(rules->workers[i], worker->address)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < rules->host_count; i++) {
        const struct host *host = host_find(s, rules->hosts[i]);
        if (host != NULL && span_equal(host->name, worker->host)) {
            return true;
        }
    }
    return false;
}

bool worker_offers(const struct task *task, const struct worker *worker)
{
    const struct restrictions *rules = task_restrictions(task);
    return rules == NULL || offers(worker, rules);
}

/* Running workers that offer what the task needs, whatever else its rules wish for. */
static struct worker_set able_workers(const struct scheduler *s, const struct task *task,
                                      struct arena *arena)
{
    worker_id *items = arena_array(arena, worker_id, s->running.count);
    struct worker_set set = {.items = items};
    for (uint32_t i = 0; i < s->running.count; i++) {
        if (worker_offers(task, worker_at(s, s->running.items[i]))) {
            items[set.count++] = s->running.items[i];
        }
    }
    return set;
}

bool worker_is_allowed(const struct scheduler *s, const struct task *task,
                       const struct worker *worker)
{
    const struct restrictions *rules = task_restrictions(task);
    if (rules == NULL) {
        return true;
    }
    bool named = rules->worker_count + rules->host_count > 0 && (task->flags & TASK_LOOSE) == 0;
    return (!named || is_named(s, rules, worker)) && offers(worker, rules);
}

bool worker_is_valid(const struct scheduler *s, const struct task *task,
                     const struct worker *worker)
{
    bool is_free = task_restrictions(task) == NULL;
    return is_free || (worker->status == WORKER_RUNNING && worker_is_allowed(s, task, worker));
}

bool worker_set_has(const struct worker_set *set, const struct scheduler *s, worker_id worker)
{
    if (set->all) {
        return true;
    }
    uint32_t rank = worker_at(s, worker)->rank;
    uint32_t low = 0;
    uint32_t end = set->count;
    while (low < end) {
        uint32_t middle = low + (end - low) / 2;
        if (worker_at(s, set->items[middle])->rank < rank) {
            low = middle + 1;
        } else {
            end = middle;
        }
    }
    return low < set->count && set->items[low] == worker;
}

/* Dask looks at what workers offer in all. Better: among those prefer the ones that have it free now. */
static struct worker_set prefer_free(const struct scheduler *s, const struct task *task,
                                     struct worker_set valid, struct arena *arena)
{
    const struct restrictions *rules = task_restrictions(task);
    if (valid.all || rules == NULL || rules->resource_count == 0) {
        return valid;
    }
    worker_id *items = arena_array(arena, worker_id, valid.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < valid.count; i++) {
        if (offers_now(worker_at(s, valid.items[i]), rules)) {
            items[count++] = valid.items[i];
        }
    }
    return count == 0 ? valid : (struct worker_set){.items = items, .count = count};
}

/* Without the worker where its process died last, if another may have it. */
static struct worker_set avoid(const struct scheduler *s, const struct task *task,
                               struct worker_set valid, struct arena *arena)
{
    if (task->extra == NULL || task->extra->avoided == WORKER_NONE) {
        return valid;
    }
    const worker_id *from = valid.all ? s->workers_sorted.items : valid.items;
    uint32_t from_count = valid.all ? s->workers_sorted.count : valid.count;
    worker_id *items = arena_array(arena, worker_id, from_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < from_count; i++) {
        if (from[i] != task->extra->avoided && worker_at(s, from[i])->status == WORKER_RUNNING) {
            items[count++] = from[i];
        }
    }
    return count == 0 ? valid : (struct worker_set){.items = items, .count = count};
}

/* ---- costs ---- */

int64_t task_inputs_nbytes(const struct scheduler *s, const struct task *task)
{
    const struct link *links = links_items(&task->dependencies);
    int64_t sum = 0;
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        sum += task_nbytes(s, task_at(s, links[i].other));
    }
    return sum;
}

double comm_cost(const struct scheduler *s, const struct task *task, const struct worker *worker)
{
    const struct link *links = links_items(&task->dependencies);
    int64_t missing = 0;
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *input = task_at(s, links[i].other);
        missing += replica_has(input, worker->id) ? 0 : task_nbytes(s, input);
    }
    return (double)missing / s->bandwidth;
}

static struct objective objective_of(const struct scheduler *s, const struct task *task,
                                     const struct worker *worker, double cost)
{
    return (struct objective){
        .actors = (task->flags & TASK_ACTOR) != 0 ? worker->actors.count : 0,
        .start = worker_occupancy(s, worker) / worker->nthreads + cost,
        .nbytes = (double)worker->nbytes,
    };
}

struct objective worker_objective(const struct scheduler *s, const struct task *task,
                                  const struct worker *worker)
{
    return objective_of(s, task, worker, comm_cost(s, task, worker));
}

bool objective_less(struct objective a, struct objective b)
{
    if (a.actors != b.actors) {
        return a.actors < b.actors;
    }
    if (a.start != b.start) {
        return a.start < b.start;
    }
    return a.nbytes < b.nbytes;
}

/* ---- choosing ---- */

/* Sum up what each running holder has of the task's inputs: 1 + bytes in s->scratch_bytes, the holders in
 * s->scratch_workers. Returns the bytes of all inputs. */
static int64_t weigh_holders(struct scheduler *s, const struct task *task)
{
    const struct link *inputs = links_items(&task->dependencies);
    int64_t total = 0;
    s->scratch_workers.count = 0;
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *input = task_at(s, inputs[i].other);
        int64_t nbytes = task_nbytes(s, input);
        const struct link *holders = links_items(&input->who_has);
        total += nbytes;
        for (uint32_t j = 0; j < input->who_has.count; j++) {
            worker_id id = holders[j].other;
            if (s->scratch_bytes.items[id] == 0) {
                if (worker_at(s, id)->status != WORKER_RUNNING) {
                    continue;
                }
                s->scratch_bytes.items[id] = 1;
                vec_push(&s->scratch_workers, id);
            }
            s->scratch_bytes.items[id] += nbytes;
        }
    }
    return total;
}

/* The best of `items`; s->scratch_bytes says what they hold already. Ties: the first by address. */
static struct worker *best_of(const struct scheduler *s, const struct task *task,
                              const worker_id *items, uint32_t count, int64_t total)
{
    if (count == 1) {
        return worker_at(s, items[0]);
    }
    struct worker *best = NULL;
    struct objective best_objective = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = worker_at(s, items[i]);
        int64_t held = s->scratch_bytes.items[worker->id];
        int64_t missing = total - (held > 0 ? held - 1 : 0);
        struct objective objective = objective_of(s, task, worker, (double)missing / s->bandwidth);
        if (best == NULL || objective_less(objective, best_objective) ||
            (!objective_less(best_objective, objective) && worker->rank < best->rank)) {
            best = worker;
            best_objective = objective;
        }
    }
    return best;
}

/* decide_worker: a holder of an input if one is allowed, else any that is allowed. */
static struct worker *decide_worker(struct scheduler *s, const struct task *task,
                                    struct worker_set valid)
{
    int64_t total = weigh_holders(s, task);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->scratch_workers.count; i++) {
        worker_id id = s->scratch_workers.items[i];
        if ((task->flags & TASK_ACTOR) == 0 && worker_set_has(&valid, s, id)) {
            /* Those not kept swap to the end: their sums are cleared below with the others'. */
            s->scratch_workers.items[i] = s->scratch_workers.items[kept];
            s->scratch_workers.items[kept++] = id;
        }
    }
    struct worker *chosen;
    if (kept > 0) {
        chosen = best_of(s, task, s->scratch_workers.items, kept, total);
    } else if (!valid.all) {
        chosen = best_of(s, task, valid.items, valid.count, total);
    } else {
        chosen = best_of(s, task, s->running.items, s->running.count, total);
    }
    for (uint32_t i = 0; i < s->scratch_workers.count; i++) {
        s->scratch_bytes.items[s->scratch_workers.items[i]] = 0;
    }
    return chosen;
}

/* No inputs, no rules: the least occupied of few, the next in turn of many. */
static struct worker *decide_by_turn(const struct scheduler *s)
{
    const worker_id *pool = s->idle.count > 0 ? s->idle.items : s->workers_sorted.items;
    uint32_t count = s->idle.count > 0 ? s->idle.count : s->workers_sorted.count;
    uint32_t turn = (uint32_t)(s->processing_started % count);
    if (count >= POOL_SMALL) {
        return worker_at(s, pool[turn]);
    }
    struct worker *best = NULL;
    double least = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = worker_at(s, pool[(turn + i) % count]);
        double occupancy = worker_occupancy(s, worker);
        if (occupancy == 0) {
            return worker;
        }
        if (best == NULL || occupancy < least ||
            (occupancy == least && worker->rank < best->rank)) {
            best = worker;
            least = occupancy;
        }
    }
    return best;
}

struct worker *decide_worker_non_rootish(struct scheduler *s, struct task *task)
{
    if (s->running.count == 0) {
        return NULL;
    }
    arena_reset(&s->place_arena);
    struct worker_set valid = valid_workers(s, task, &s->place_arena);
    if (!valid.all && valid.count == 0 && (task->flags & TASK_LOOSE) != 0) {
        valid = able_workers(s, task, &s->place_arena);
    }
    valid = avoid(s, task, valid, &s->place_arena);
    bool all_run = s->running.count == s->workers_sorted.count;
    if (task->dependencies.count == 0 && valid.all && all_run) {
        return decide_by_turn(s);
    }
    return decide_worker(s, task, prefer_free(s, task, valid, &s->place_arena));
}

struct worker *decide_worker_rootish_queuing_enabled(struct scheduler *s)
{
    return s->free_slots.count == 0 ? NULL : worker_at(s, heap_first(&s->free_slots));
}

struct worker *decide_worker_rootish_queuing_disabled(struct scheduler *s, struct task *task)
{
    const worker_id *pool = s->idle.count > 0 ? s->idle.items : s->running.items;
    uint32_t count = s->idle.count > 0 ? s->idle.count : s->running.count;
    if (count == 0) {
        return NULL;
    }
    struct group *group = task->group;
    struct worker *worker = worker_find(s, group->last_worker);
    if (worker == NULL || group->last_worker_tasks_left == 0 || worker->status != WORKER_RUNNING) {
        int64_t total = weigh_holders(s, task);
        worker = best_of(s, task, pool, count, total);
        for (uint32_t i = 0; i < s->scratch_workers.count; i++) {
            s->scratch_bytes.items[s->scratch_workers.items[i]] = 0;
        }
        group->last_worker_tasks_left =
            (int64_t)floor((double)group->size / (double)s->total_nthreads * worker->nthreads);
    }
    uint32_t to_come = group->state_counts[TASK_RELEASED] + group->state_counts[TASK_WAITING];
    group->last_worker = to_come > 1 ? worker->id : WORKER_NONE;
    group->last_worker_tasks_left--;
    return worker;
}
