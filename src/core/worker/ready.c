/* ready.c: two heaps, as Dask has them: tasks that need a thread only, and tasks that need resources too. */
#include "core/worker/ready.h"

#include "core/worker/peer.h"
#include "core/worker/transition.h"

/* Without an end of a run, nothing goes ahead. */
#define AHEAD_PAUSE_SECONDS 0.05

static bool task_before(void *context, uint32_t a, uint32_t b)
{
    const struct wtask *first = wtask_at(context, a);
    const struct wtask *second = wtask_at(context, b);
    if (wpriority_less(&first->priority, first->priority_serial, &second->priority,
                       second->priority_serial)) {
        return true;
    }
    if (wpriority_less(&second->priority, second->priority_serial, &first->priority,
                       first->priority_serial)) {
        return false;
    }
    return first->stamp < second->stamp;
}

static void task_set_place(void *context, uint32_t id, uint32_t place)
{
    wtask_at(context, id)->place = place;
}

void wready_init(struct worker_state *w)
{
    heap_init(&w->ready, w, task_before, task_set_place);
    heap_init(&w->constrained, w, task_before, task_set_place);
    wresources_set(w, w->config.resources);
}

void wready_fini(struct worker_state *w)
{
    heap_fini(&w->ready);
    heap_fini(&w->constrained);
    vec_fini(&w->runs);
    for (uint32_t i = 0; i < w->resources.count; i++) {
        mem_free((void *)(uintptr_t)w->resources.items[i].name.data);
    }
    vec_fini(&w->resources);
}

void wready_add(struct worker_state *w, struct wtask *task)
{
    ASSERT(task->state == WTASK_READY || task->state == WTASK_CONSTRAINED);
    ASSERT((task->flags & WTASK_HAS_PRIORITY) != 0);
    task->stamp = ++w->arrivals;
    heap_add(task->state == WTASK_READY ? &w->ready : &w->constrained, task->id);
}

void wready_remove(struct worker_state *w, struct wtask *task)
{
    ASSERT(task->state == WTASK_READY || task->state == WTASK_CONSTRAINED);
    if (!wtask_runs(task)) { /* else it has been taken out to run */
        heap_remove(task->state == WTASK_READY ? &w->ready : &w->constrained, task->place);
    }
}

/* ---- resources ---- */

static uint32_t resource_index(struct worker_state *w, struct span name)
{
    uint32_t i = 0;
    while (i < w->resources.count && !span_equal(w->resources.items[i].name, name)) {
        i++;
    }
    if (i == w->resources.count) {
        struct span copy = {mem_copy(name.data, name.size), name.size};
        vec_push(&w->resources, (struct wresource){.name = copy});
    }
    return i;
}

void wresources_set(struct worker_state *w, struct resource_list resources)
{
    for (uint32_t i = 0; i < resources.count; i++) {
        uint32_t index = resource_index(w, resources.items[i].name);
        struct wresource *resource = &w->resources.items[index];
        resource->available += resources.items[i].amount - resource->total;
        resource->total = resources.items[i].amount;
    }
}

void wtask_set_resources(struct worker_state *w, struct wtask *task, struct resource_list resources)
{
    ASSERT(!wtask_runs(task));
    mem_free(task->resources);
    task->resources = NULL;
    if (resources.count == 0) {
        return;
    }
    struct wresources *made =
        mem_alloc(sizeof *made + (size_t)resources.count * sizeof *made->items);
    made->count = resources.count;
    for (uint32_t i = 0; i < resources.count; i++) {
        made->items[i] =
            (struct wamount){resource_index(w, resources.items[i].name), resources.items[i].amount};
    }
    task->resources = made;
}

static bool resources_suffice(const struct worker_state *w, const struct wtask *task)
{
    for (uint32_t i = 0; task->resources != NULL && i < task->resources->count; i++) {
        const struct wamount *amount = &task->resources->items[i];
        if (w->resources.items[amount->resource].available < amount->amount) {
            return false;
        }
    }
    return true;
}

/* sign −1: a run begins; +1: it has ended. */
static void resources_move(struct worker_state *w, const struct wtask *task, double sign)
{
    for (uint32_t i = 0; task->resources != NULL && i < task->resources->count; i++) {
        const struct wamount *amount = &task->resources->items[i];
        w->resources.items[amount->resource].available += sign * amount->amount;
    }
}

/* ---- runs ---- */

static bool is_quick(const struct worker_state *w, const struct wtask *task)
{
    double seconds = w->prefixes.items[task->prefix].seconds;
    return seconds > 0 && seconds <= w->config.ahead_seconds;
}

static void run_begin(struct worker_state *w, struct wtask *task)
{
    wready_remove(w, task);
    resources_move(w, task, -1);
    task->flags |= WTASK_RUNS;
    task->place = w->runs.count;
    vec_push(&w->runs, task->id);
    w->executing_count++;
    if (!is_quick(w, task)) {
        task->flags |= WTASK_SLOW;
        w->slow_count++;
    }
}

/* Its thread is free. */
static void leave_thread(struct worker_state *w, struct wtask *task)
{
    ASSERT(w->executing_count > 0);
    w->executing_count--;
    if ((task->flags & WTASK_SLOW) != 0) {
        ASSERT(w->slow_count > 0);
        w->slow_count--;
        task->flags &= (uint16_t)~WTASK_SLOW;
    }
}

void wrun_secede(struct worker_state *w, struct wtask *task)
{
    ASSERT(wtask_runs(task));
    if ((task->flags & WTASK_SECEDED) == 0) {
        task->flags |= WTASK_SECEDED;
        leave_thread(w, task);
    }
}

void wrun_end(struct worker_state *w, struct wtask *task)
{
    ASSERT(wtask_runs(task));
    resources_move(w, task, 1);
    vec_swap_remove(&w->runs, task->place);
    if (task->place < w->runs.count) {
        wtask_at(w, w->runs.items[task->place])->place = task->place;
    }
    if ((task->flags & WTASK_SECEDED) == 0) {
        leave_thread(w, task);
    }
    task->flags &= (uint16_t) ~(WTASK_RUNS | WTASK_SECEDED);
}

/* NULL: none. A constrained task is preferred only if it is strictly the first, and can run. */
static struct wtask *next_ready(const struct worker_state *w)
{
    struct wtask *ready = w->ready.count == 0 ? NULL : wtask_at(w, heap_first(&w->ready));
    struct wtask *constrained =
        w->constrained.count == 0 ? NULL : wtask_at(w, heap_first(&w->constrained));
    if (constrained == NULL || !resources_suffice(w, constrained)) {
        return ready;
    }
    if (ready == NULL || wpriority_less(&constrained->priority, constrained->priority_serial,
                                        &ready->priority, ready->priority_serial)) {
        return constrained;
    }
    return ready;
}

/* Whether it may be given out although no thread is free: a quick one keeps its executor busy while we hear
 * of others. Slow ones stay, as they may be stolen, or be overtaken by what is more urgent; and quick ones that would
 * wait for a slow one. */
static bool may_go_ahead(const struct worker_state *w, const struct wtask *task)
{
    double seconds = w->prefixes.items[task->prefix].seconds;
    uint32_t nthreads = w->config.nthreads, ahead = w->executing_count - nthreads;
    bool is_moving = w->now - w->ended_at < AHEAD_PAUSE_SECONDS;
    return is_moving && w->slow_count < nthreads && ahead < w->config.ahead_max &&
           task->resources == NULL && is_quick(w, task) &&
           seconds * (ahead + 1) <= w->config.ahead_seconds * nthreads;
}

/* The newest wish is granted first. Those with a thread come in Dask's order, which does not matter, as they run at once;
 * behind them those that wait in their executor, in the order in which they are to run. */
void wready_ensure_computing(struct worker_state *w)
{
    uint32_t first = w->runs.count, ahead = first;
    while (w->running && !w->backpressure) {
        struct wtask *task = next_ready(w);
        bool has_thread = w->executing_count < w->config.nthreads;
        if (task == NULL || (!has_thread && !may_go_ahead(w, task))) {
            break;
        }
        run_begin(w, task);
        ahead += has_thread;
    }
    for (uint32_t i = w->runs.count; i-- > ahead;) {
        wwant(w, wtask_at(w, w->runs.items[i]), WTASK_EXECUTING, NULL);
    }
    for (uint32_t i = first; i < ahead; i++) {
        wwant(w, wtask_at(w, w->runs.items[i]), WTASK_EXECUTING, NULL);
    }
}
