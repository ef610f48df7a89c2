/* amm_run.c: one run of the memory manager. Suggestions are decided one by one, each seeing what the former
 * will do to the workers' memory; then each worker gets one message for what it shall fetch and one for what
 * it shall drop. The last replica of a task is never dropped.
 * Must agree with: distributed active_memory_manager.py, ActiveMemoryManagerExtension. */
#include <string.h>

#include "core/scheduler/action.h"
#include "core/scheduler/amm_internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/view.h"

static int64_t memory_of(const struct scheduler *s, worker_id worker)
{
    struct worker_view view;
    bool known = view_worker(s, worker, &view);
    ASSERT(known);
    return view_memory_measure(&view.memory, (enum memory_measure)s->config.amm_measure);
}

void amm_run_init(struct amm_run *run, struct scheduler *s, struct step *step)
{
    *run = (struct amm_run){.s = s, .step = step, .arena = &step->arena};
    run->memory = arena_array(run->arena, int64_t, s->workers.count);
    for (uint32_t i = 0; i < s->workers_sorted.count; i++) {
        worker_id worker = s->workers_sorted.items[i];
        run->memory[worker] = memory_of(s, worker);
    }
}

void amm_run_fini(struct amm_run *run)
{
    vec_fini(&run->pending);
    id_map_fini(&run->pending_of);
    if (run->has_heap) {
        heap_fini(&run->by_memory);
    }
}

/* ---- workers by memory ---- */

static bool memory_before(void *context, uint32_t a, uint32_t b)
{
    const struct amm_run *run = context;
    if (run->memory[a] != run->memory[b]) {
        return run->memory[a] < run->memory[b];
    }
    return worker_at(run->s, a)->rank < worker_at(run->s, b)->rank;
}

static void memory_set_place(void *context, uint32_t id, uint32_t place)
{
    ((struct amm_run *)context)->heap_place[id] = place;
}

static void make_heap(struct amm_run *run)
{
    const struct scheduler *s = run->s;
    run->has_heap = true;
    run->heap_place = arena_array(run->arena, uint32_t, s->workers.count);
    memset(run->heap_place, 0xff, s->workers.count * sizeof *run->heap_place);
    heap_init(&run->by_memory, run, memory_before, memory_set_place);
    for (uint32_t i = 0; i < s->running.count; i++) {
        heap_add(&run->by_memory, s->running.items[i]);
    }
}

static void memory_add(struct amm_run *run, worker_id worker, int64_t bytes)
{
    bool in_heap = run->has_heap && run->heap_place[worker] != HEAP_NOWHERE;
    if (in_heap) {
        heap_remove(&run->by_memory, run->heap_place[worker]);
    }
    run->memory[worker] = run->memory[worker] + bytes < 0 ? 0 : run->memory[worker] + bytes;
    if (in_heap) {
        heap_add(&run->by_memory, worker);
    }
}

/* ---- what is decided ---- */

struct amm_pending *amm_pending_find(const struct amm_run *run, const struct task *task)
{
    uint32_t *place = id_map_find(&run->pending_of, task->id);
    return place == NULL ? NULL : &run->pending.items[*place];
}

static bool is_chosen(const struct amm_pending *pending, worker_id worker, bool drop)
{
    const struct amm_choice *choice = pending == NULL ? NULL : pending->choices;
    while (choice != NULL && !(choice->worker == worker && choice->drop == drop)) {
        choice = choice->next;
    }
    return choice != NULL;
}

static void choose(struct amm_run *run, struct task *task, worker_id worker, bool drop)
{
    struct amm_pending *pending = amm_pending_find(run, task);
    if (pending == NULL) {
        *id_map_put(&run->pending_of, task->id) = run->pending.count;
        vec_push(&run->pending, (struct amm_pending){.task = task});
        pending = &run->pending.items[run->pending.count - 1];
    }
    struct amm_choice *choice = arena_new(run->arena, struct amm_choice);
    *choice = (struct amm_choice){.worker = worker, .drop = drop};
    if (pending->choices == NULL) {
        pending->choices = choice;
    } else {
        pending->last_choice->next = choice;
    }
    pending->last_choice = choice;
    pending->drop_count += drop;
    pending->replicate_count += !drop;
    int64_t nbytes = task->nbytes < 0 ? 0 : task->nbytes;
    memory_add(run, worker, drop ? -nbytes : nbytes);
}

/* ---- deciding ---- */

/* _find_recipient: the running worker with the least memory that neither holds it nor is about to get it. */
worker_id amm_replicate(struct amm_run *run, struct task *task)
{
    if (task->state != TASK_MEMORY || (task->flags & TASK_ACTOR) != 0) {
        return WORKER_NONE;
    }
    if (!run->has_heap) {
        make_heap(run);
    }
    const struct amm_pending *pending = amm_pending_find(run, task);
    uint32_t tries_max = task->who_has.count + (pending == NULL ? 0 : pending->replicate_count) + 1;
    worker_id *passed = arena_array(run->arena, worker_id, tries_max);
    uint32_t passed_count = 0;
    worker_id found = WORKER_NONE;
    while (found == WORKER_NONE && run->by_memory.count > 0) {
        worker_id worker = heap_first(&run->by_memory);
        if (replica_has(task, worker) || is_chosen(pending, worker, false)) {
            ASSERT(passed_count < tries_max);
            passed[passed_count++] = worker;
            heap_remove(&run->by_memory, run->heap_place[worker]);
        } else {
            found = worker;
        }
    }
    while (passed_count > 0) {
        heap_add(&run->by_memory, passed[--passed_count]);
    }
    if (found != WORKER_NONE) {
        choose(run, task, found, false);
    }
    return found;
}

bool amm_replicate_on(struct amm_run *run, struct task *task, const struct worker *worker)
{
    if (task->state != TASK_MEMORY || (task->flags & TASK_ACTOR) != 0 ||
        worker->status != WORKER_RUNNING || replica_has(task, worker->id) ||
        is_chosen(amm_pending_find(run, task), worker->id, false)) {
        return false;
    }
    choose(run, task, worker->id, false);
    return true;
}

/* Does the worker process a task that waits for this one? */
static bool has_waiter(const struct scheduler *s, const struct task *task, worker_id worker)
{
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count; i++) {
        const struct task *dependent = task_at(s, links[i].other);
        uint32_t flags = links_items(&dependent->dependencies)[links[i].slot & LINK_SLOT_MASK].slot;
        if ((flags & EDGE_WAITS) != 0 && dependent->processing_on == worker) {
            return true;
        }
    }
    return false;
}

/* The workers among the holders that may be asked to drop it. */
struct candidates {
    worker_id best; /* not running before running, then most memory, then by address */
    uint32_t count;
    uint32_t busy, busy_running; /* left out: they process tasks that need it */
};

static bool drops_sooner(const struct amm_run *run, const struct worker *a, const struct worker *b)
{
    bool a_runs = a->status == WORKER_RUNNING;
    bool b_runs = b->status == WORKER_RUNNING;
    if (a_runs != b_runs) {
        return !a_runs;
    }
    if (run->memory[a->id] != run->memory[b->id]) {
        return run->memory[a->id] > run->memory[b->id];
    }
    return a->rank < b->rank;
}

static struct candidates find_candidates(const struct amm_run *run, const struct task *task,
                                         worker_id only)
{
    const struct scheduler *s = run->s;
    const struct amm_pending *pending = amm_pending_find(run, task);
    struct candidates found = {0};
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        const struct worker *worker = worker_at(s, links_items(&task->who_has)[i].other);
        if ((only != WORKER_NONE && worker->id != only) || is_chosen(pending, worker->id, true)) {
            continue;
        }
        if (has_waiter(s, task, worker->id)) {
            found.busy++;
            found.busy_running += worker->status == WORKER_RUNNING;
            continue;
        }
        found.count++;
        if (found.best == WORKER_NONE || drops_sooner(run, worker, worker_at(s, found.best))) {
            found.best = worker->id;
        }
    }
    return found;
}

/* _find_dropper */
worker_id amm_drop(struct amm_run *run, struct task *task, worker_id only)
{
    const struct amm_pending *pending = amm_pending_find(run, task);
    uint32_t dropped = pending == NULL ? 0 : pending->drop_count;
    if (task->who_has.count < dropped + 2 || (task->flags & TASK_ACTOR) != 0) {
        return WORKER_NONE;
    }
    struct candidates found = find_candidates(run, task, only);
    if (found.count == 0) {
        return WORKER_NONE;
    }
    /* The only one that could drop it runs, and the others are paused or retiring but still need it: keep
     * this replica, or it would be made again when they go. */
    bool best_runs = worker_at(run->s, found.best)->status == WORKER_RUNNING;
    if (found.count == 1 && best_runs && found.busy > 0 && found.busy_running == 0) {
        return WORKER_NONE;
    }
    choose(run, task, found.best, true);
    return found.best;
}

/* ---- carrying out ---- */

/* Tasks by worker, workers in the order in which they come up. */
struct by_worker {
    worker_id *order;
    uint32_t order_count;
    task_id **tasks;  /* by worker id */
    uint32_t *counts; /* by worker id */
};

static struct by_worker sort_by_worker(const struct amm_run *run, bool drop)
{
    uint32_t worker_count = run->s->workers.count;
    struct by_worker by = {
        .order = arena_array(run->arena, worker_id, worker_count),
        .tasks = arena_array(run->arena, task_id *, worker_count),
        .counts = arena_array(run->arena, uint32_t, worker_count),
    };
    memset(by.counts, 0, worker_count * sizeof *by.counts);
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        for (uint32_t i = 0; i < run->pending.count; i++) {
            const struct amm_pending *pending = &run->pending.items[i];
            for (const struct amm_choice *choice = pending->choices; choice != NULL;
                 choice = choice->next) {
                if (choice->drop != drop) {
                    continue;
                }
                uint32_t *count = &by.counts[choice->worker];
                if (pass == 0 && *count == 0) {
                    by.order[by.order_count++] = choice->worker;
                } else if (pass == 1) {
                    by.tasks[choice->worker][*count] = pending->task->id;
                }
                (*count)++;
            }
        }
        for (uint32_t i = 0; pass == 0 && i < by.order_count; i++) {
            worker_id worker = by.order[i];
            by.tasks[worker] = arena_array(run->arena, task_id, by.counts[worker]);
            by.counts[worker] = 0;
        }
    }
    return by;
}

static void note(struct amm_run *run, worker_id worker, const task_id *tasks, uint32_t count,
                 bool acquire)
{
    struct span *keys = arena_array(run->arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = task_at(run->s, tasks[i])->key;
    }
    struct notice *notice = action_notice(run->step, NOTICE_REPLICATE);
    notice->worker = worker;
    notice->keys = (struct span_list){keys, count};
    notice->flag = acquire;
}

void amm_run_enact(struct amm_run *run)
{
    if (run->pending.count == 0) {
        return;
    }
    struct scheduler *s = run->s;
    struct step *step = run->step;
    struct span former = step->stimulus;
    step->stimulus = stimulus_make(step, "active_memory_manager");
    struct by_worker acquire = sort_by_worker(run, false);
    for (uint32_t i = 0; i < acquire.order_count; i++) {
        worker_id id = acquire.order[i];
        replicas_request_acquire(s, worker_at(s, id), acquire.tasks[id], acquire.counts[id], step);
        note(run, id, acquire.tasks[id], acquire.counts[id], true);
    }
    struct by_worker drop = sort_by_worker(run, true);
    for (uint32_t i = 0; i < drop.order_count; i++) {
        worker_id id = drop.order[i];
        replicas_request_remove(s, worker_at(s, id), drop.tasks[id], drop.counts[id], step);
        note(run, id, drop.tasks[id], drop.counts[id], false);
    }
    step->stimulus = former;
}
