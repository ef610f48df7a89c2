/* balance_close.c: which workers can be closed without loss.
 * Must agree with: scheduler.py workers_to_close. */
#include <string.h>

#include "core/scheduler/balance.h"
#include "core/scheduler/internal.h"
#include "core/scheduler/shuffle.h"

/* Workers that are closed together or not at all. */
struct close_group {
    uint32_t first, count; /* in the plan's workers */
    bool is_busy;
    int64_t limit, nbytes;
};

struct close_plan {
    struct close_group *groups; /* in order of their first worker */
    uint32_t count;
    worker_id *workers; /* by group */
    struct heap heap;   /* groups, the next to close first */
};

/* Long-running tasks often submit others, and a shuffle would begin anew: such workers stay. */
bool balance_may_close(const struct scheduler *s, worker_id worker)
{
    return worker_at(s, worker)->long_running.count == 0 && !shuffles_participates(s, worker);
}

static void group_count(struct close_group *group, const struct worker *worker)
{
    group->count++;
    group->is_busy = group->is_busy || worker->processing.count > 0;
    group->limit += worker->memory_limit;
    group->nbytes += worker->nbytes;
}

/* The group of each worker by rank; UINT32_MAX: it stays. */
static uint32_t *find_groups(const struct scheduler *s, const struct close_request *request,
                             struct close_plan *plan, struct arena *arena)
{
    uint32_t worker_count = s->workers_sorted.count;
    uint32_t *group_of = arena_array(arena, uint32_t, worker_count);
    plan->groups = arena_array(arena, struct close_group, worker_count);
    struct map by_name = {0};
    for (uint32_t i = 0; i < worker_count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        group_of[i] = UINT32_MAX;
        if (!balance_may_close(s, worker->id) ||
            (request->is_kept != NULL && request->is_kept[i])) {
            continue;
        }
        struct span name = request->group_of == NULL ? worker->address : request->group_of[i];
        bool added;
        struct map_entry *entry = map_put(&by_name, name, &added);
        if (added) {
            entry->value.number = plan->count;
            plan->groups[plan->count++] = (struct close_group){0};
        }
        group_of[i] = (uint32_t)entry->value.number;
        group_count(&plan->groups[group_of[i]], worker);
    }
    map_fini(&by_name);
    return group_of;
}

/* Idle ones first, then those with less data; of equals the later one, as stock sorts and takes the last. */
static bool closes_sooner(void *context, uint32_t a, uint32_t b)
{
    const struct close_group *group_a = &((struct close_plan *)context)->groups[a];
    const struct close_group *group_b = &((struct close_plan *)context)->groups[b];
    if (group_a->is_busy != group_b->is_busy) {
        return !group_a->is_busy;
    }
    return group_a->nbytes != group_b->nbytes ? group_a->nbytes < group_b->nbytes : a > b;
}

static void forget_place(void *context, uint32_t id, uint32_t place)
{
    (void)context;
    (void)id;
    (void)place; /* only the first is ever removed */
}

static void make_plan(const struct scheduler *s, const struct close_request *request,
                      struct close_plan *plan, struct arena *arena)
{
    *plan = (struct close_plan){0};
    const uint32_t *group_of = find_groups(s, request, plan, arena);
    plan->workers = arena_array(arena, worker_id, s->workers_sorted.count);
    heap_init(&plan->heap, plan, closes_sooner, forget_place);
    uint32_t first = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        heap_add(&plan->heap, i);
        plan->groups[i].first = first;
        first += plan->groups[i].count;
        plan->groups[i].count = 0;
    }
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        if (group_of[i] != UINT32_MAX) {
            struct close_group *group = &plan->groups[group_of[i]];
            plan->workers[group->first + group->count++] = s->workers_sorted.items[i];
        }
    }
}

static bool all_busy(const struct scheduler *s)
{
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        if (worker_at(s, s->workers_sorted.items[i])->processing.count == 0) {
            return false;
        }
    }
    return true;
}

/* How far closing may go. */
struct close_rule {
    bool has_n;
    int64_t n, target, minimum;
    double memory_ratio; /* NaN: not looked at */
};

static struct close_rule rule_of(const struct scheduler *s, const struct close_request *request)
{
    int64_t workers = s->workers_sorted.count;
    struct close_rule rule = {.has_n = request->n >= 0 || request->target >= 0,
                              .n = request->n,
                              .minimum = request->minimum,
                              .memory_ratio = request->memory_ratio};
    if (rule.n < 0 && rule.has_n) {
        rule.n = workers > request->target ? workers - request->target : 0;
    }
    rule.target = workers - rule.n;
    if (!rule.has_n && isnan(rule.memory_ratio)) {
        rule.memory_ratio = 2;
    }
    return rule;
}

const worker_id *balance_workers_to_close(const struct scheduler *s,
                                          const struct close_request *request, struct arena *arena,
                                          uint32_t *out_count)
{
    *out_count = 0;
    struct close_rule rule = rule_of(s, request);
    if ((!rule.has_n || rule.n == 0) && all_busy(s)) {
        return NULL;
    }
    struct close_plan plan;
    make_plan(s, request, &plan, arena);
    double limit = 0;
    double total = 0;
    for (uint32_t i = 0; i < plan.count; i++) {
        limit += (double)plan.groups[i].limit;
        total += (double)plan.groups[i].nbytes;
    }
    worker_id *closing = arena_array(arena, worker_id, s->workers_sorted.count);
    int64_t remaining = s->workers_sorted.count;
    while (plan.heap.count > 0) {
        const struct close_group *group = &plan.groups[heap_first(&plan.heap)];
        heap_remove(&plan.heap, 0);
        int64_t then = remaining - group->count;
        limit -= (double)group->limit;
        bool is_allowed = (rule.has_n && then >= rule.target) ||
                          (!isnan(rule.memory_ratio) && limit >= rule.memory_ratio * total);
        if ((!rule.has_n && group->is_busy) || (rule.minimum > 0 && then < rule.minimum) ||
            !is_allowed) {
            break;
        }
        memcpy(&closing[*out_count], &plan.workers[group->first], group->count * sizeof *closing);
        *out_count += group->count;
        remaining = then;
    }
    heap_fini(&plan.heap);
    return closing;
}
