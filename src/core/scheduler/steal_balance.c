/* steal_balance.c: who steals what from whom. Levels are gone through from cheap to dear; in each, every
 * victim's tasks are offered to the idle worker that could begin them soonest, if that evens out the load.
 * Must agree with: distributed stealing.py, WorkStealing.balance. */
#include <string.h>

#include "core/scheduler/action.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/steal_internal.h"

#define VICTIMS_MAX 10u      /* when nobody is saturated, look at so many of the most occupied */
#define VICTIM_OCCUPANCY 0.2 /* seconds */
#define SORT_VICTIMS_BELOW 20u

/* One run. Occupancies are read once: stealing changes only what is in flight. */
struct balance {
    struct scheduler *s;
    struct step *step;
    double *occupancy; /* by worker id */
    worker_id *thieves;
    uint32_t thief_count;
    worker_id *victims;
    uint32_t victim_count;
    bool victims_are_saturated; /* so many that the list is read anew for each level */
    /* Tasks without inputs and rules are alike: what was in vain for one is for the next of its prefix. */
    const struct prefix *vain;
    /* Rules are shared by many tasks. */
    const struct restrictions *rules;
    worker_id *allowed;
    uint32_t allowed_count;
    struct VEC(struct steal_note) notes;
};

static double combined_occupancy(const struct balance *b, const struct worker *worker)
{
    return b->occupancy[worker->id] + worker->steal_in_flight_occupancy;
}

static uint32_t combined_processing(const struct worker *worker)
{
    int64_t count = (int64_t)worker->processing.count + worker->steal_in_flight_tasks;
    return count < 0 ? 0 : (uint32_t)count;
}

static bool is_thief(const struct balance *b, worker_id worker)
{
    for (uint32_t i = 0; i < b->thief_count; i++) {
        if (b->thieves[i] == worker) {
            return true;
        }
    }
    return false;
}

static void thief_remove(struct balance *b, worker_id worker)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->thief_count; i++) {
        if (b->thieves[i] != worker) {
            b->thieves[kept++] = b->thieves[i];
        }
    }
    b->thief_count = kept;
    b->rules = NULL; /* the thieves a rule allows must be found anew */
}

/* ---- victims ---- */

/* Put `id` into the `count` most occupied ones so far, most occupied first; ties: by address. */
static uint32_t insert_sorted(const struct balance *b, worker_id *items, uint32_t count,
                              uint32_t count_max, worker_id id)
{
    double occupancy = combined_occupancy(b, worker_at(b->s, id));
    uint32_t at = count;
    while (at > 0 && combined_occupancy(b, worker_at(b->s, items[at - 1])) < occupancy) {
        at--;
    }
    if (at == count_max) {
        return count;
    }
    uint32_t last = count < count_max ? count : count_max - 1;
    memmove(&items[at + 1], &items[at], (last - at) * sizeof *items);
    items[at] = id;
    return last + 1;
}

static void find_victims_among_all(struct balance *b)
{
    const struct scheduler *s = b->s;
    worker_id *top = arena_array(&b->step->arena, worker_id, VICTIMS_MAX);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        count = insert_sorted(b, top, count, VICTIMS_MAX, s->workers_sorted.items[i]);
    }
    b->victims = top;
    for (uint32_t i = 0; i < count; i++) {
        const struct worker *worker = worker_at(s, top[i]);
        if (combined_occupancy(b, worker) > VICTIM_OCCUPANCY &&
            combined_processing(worker) > worker->nthreads && !is_thief(b, worker->id)) {
            b->victims[b->victim_count++] = worker->id;
        }
    }
}

static void copy_saturated(struct balance *b)
{
    const struct scheduler *s = b->s;
    b->victim_count = s->saturated.count;
    b->victims = arena_array(&b->step->arena, worker_id, b->victim_count);
    memcpy(b->victims, s->saturated.items, b->victim_count * sizeof *b->victims);
}

static void find_victims(struct balance *b)
{
    const struct scheduler *s = b->s;
    if (s->saturated.count == 0) {
        find_victims_among_all(b);
    } else if (s->saturated.count >= SORT_VICTIMS_BELOW) {
        b->victims_are_saturated = true;
        copy_saturated(b);
    } else {
        b->victims = arena_array(&b->step->arena, worker_id, s->saturated.count);
        for (uint32_t i = 0; i < s->saturated.count; i++) {
            b->victim_count = insert_sorted(b, b->victims, b->victim_count, SORT_VICTIMS_BELOW,
                                            s->saturated.items[i]);
        }
    }
}

/* ---- thieves ---- */

static struct objective stealing_objective(const struct balance *b, const struct task *task,
                                           const struct worker *worker)
{
    double start = combined_occupancy(b, worker) / worker->nthreads + comm_cost(b->s, task, worker);
    bool is_actor = (task->flags & TASK_ACTOR) != 0;
    return (struct objective){.actors = is_actor ? worker->actors.count : 0,
                              .start = start,
                              .nbytes = (double)worker->nbytes};
}

/* Which thieves the task's rules allow; kept for the next task with the same rules. */
static void allow_thieves(struct balance *b, const struct task *task)
{
    const struct restrictions *rules = task_restrictions(task);
    if (rules != NULL && b->rules == rules) {
        return;
    }
    struct worker_set valid = valid_workers(b->s, task, &b->step->arena);
    b->rules = rules;
    b->allowed = valid.all ? b->thieves : arena_array(&b->step->arena, worker_id, b->thief_count);
    b->allowed_count = valid.all ? b->thief_count : 0;
    for (uint32_t i = 0; !valid.all && i < b->thief_count; i++) {
        if (worker_set_has(&valid, b->s, b->thieves[i])) {
            b->allowed[b->allowed_count++] = b->thieves[i];
        }
    }
}

/* _get_thief. NULL: none may have it. */
static struct worker *choose_thief(struct balance *b, const struct task *task)
{
    allow_thieves(b, task);
    bool ignore_rules = b->allowed_count == 0 && (task->flags & TASK_LOOSE) != 0;
    const worker_id *thieves = ignore_rules ? b->thieves : b->allowed;
    uint32_t count = ignore_rules ? b->thief_count : b->allowed_count;
    struct worker *best = NULL;
    struct objective best_objective = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = worker_at(b->s, thieves[i]);
        if (ignore_rules && !worker_offers(task, worker)) {
            continue;
        }
        struct objective objective = stealing_objective(b, task, worker);
        if (best == NULL || objective_less(objective, best_objective)) {
            best = worker;
            best_objective = objective;
        }
    }
    return best;
}

/* ---- one task ---- */

static void request(struct balance *b, struct task *task, uint32_t level, struct worker *victim,
                    struct worker *thief)
{
    struct scheduler *s = b->s;
    double cost = prefix_duration(s, task->group->prefix) + comm_cost(s, task, victim);
    vec_push(&b->notes, (struct steal_note){
                            .key = task->key,
                            .level = level,
                            .cost = cost,
                            .victim = victim->id,
                            .thief = thief->id,
                            .victim_occupancy = combined_occupancy(b, victim),
                            .thief_occupancy = combined_occupancy(b, thief),
                        });
    steal_request(s, task, victim, thief, b->step);
    s->steal->count[level]++;
    s->steal->cost[level] += cost;
    b->vain = NULL;
    if (!is_unoccupied(s, thief, combined_occupancy(b, thief), combined_processing(thief))) {
        thief_remove(b, thief->id);
    }
}

static bool pays(const struct balance *b, const struct task *task, const struct worker *victim,
                 const struct worker *thief)
{
    double compute = prefix_duration(b->s, task->group->prefix);
    double thief_then = combined_occupancy(b, thief) + comm_cost(b->s, task, thief) + compute;
    double victim_then =
        combined_occupancy(b, victim) - (comm_cost(b->s, task, victim) + compute) / 2;
    return thief_then <= victim_then;
}

static void try_task(struct balance *b, struct task *task, uint32_t level, struct worker *victim)
{
    bool is_plain = task->dependencies.count == 0 && task_restrictions(task) == NULL &&
                    (task->flags & TASK_ACTOR) == 0;
    if (is_plain && b->vain == task->group->prefix) {
        return;
    }
    struct worker *thief = choose_thief(b, task);
    if (thief != NULL && thief != victim && pays(b, task, victim, thief)) {
        request(b, task, level, victim, thief);
    } else if (is_plain) {
        b->vain = task->group->prefix;
    }
}

/* The newest first: what came last is begun last. A task stolen leaves its place to one already tried. */
static void try_victim(struct balance *b, uint32_t level, struct worker *victim)
{
    if (victim->stealable[level].count == 0 || b->thief_count == 0) {
        return;
    }
    b->vain = NULL;
    for (uint32_t i = victim->stealable[level].count; i > 0 && b->thief_count > 0; i--) {
        try_task(b, task_at(b->s, victim->stealable[level].items[i - 1]), level, victim);
    }
    check_idle_saturated(b->s, victim, combined_occupancy(b, victim));
}

void steal_balance(struct scheduler *s, struct step *step)
{
    struct balance b = {.s = s, .step = step, .thief_count = s->idle.count};
    b.occupancy = arena_array(&step->arena, double, s->workers.count);
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        const struct worker *worker = worker_at(s, s->workers_sorted.items[i]);
        b.occupancy[worker->id] = worker_occupancy(s, worker);
    }
    b.thieves = arena_array(&step->arena, worker_id, b.thief_count);
    memcpy(b.thieves, s->idle.items, b.thief_count * sizeof *b.thieves);
    find_victims(&b);
    for (uint32_t level = 0; level < STEAL_LEVELS && b.thief_count > 0; level++) {
        if (b.victims_are_saturated && level > 0) {
            copy_saturated(&b);
        }
        for (uint32_t i = 0; i < b.victim_count; i++) {
            try_victim(&b, level, worker_at(s, b.victims[i]));
        }
    }
    if (b.notes.count > 0) {
        struct notice *notice = action_notice(step, NOTICE_STEAL);
        struct steal_note *notes = arena_array(&step->arena, struct steal_note, b.notes.count);
        memcpy(notes, b.notes.items, b.notes.count * sizeof *notes);
        notice->text = SPAN("request");
        notice->steals = notes;
        notice->steal_count = b.notes.count;
    }
    vec_fini(&b.notes);
}
