/* runs.c: a table with one place for each of the newest runs; the run that comes a whole table later takes the
 * place over. It holds at least twice as many as are under way, so only a run that lasts very much longer than
 * others is not there: then the key finds its task. */
#include "core/scheduler/runs.h"

#include "core/scheduler/pool.h"

#define RUNS_MIN 256u
#define NEIGHBOURS_MAX 8u /* more would only push each other out */

static task_id *place_of(const struct scheduler *s, int64_t run_id)
{
    return &s->runs.tasks[(uint64_t)run_id & (s->runs.capacity - 1)];
}

static void grow(struct scheduler *s)
{
    struct runs old = s->runs;
    s->runs.capacity = old.capacity == 0 ? RUNS_MIN : old.capacity * 2;
    ASSERT(s->runs.capacity > old.capacity);
    s->runs.tasks = mem_resize(NULL, s->runs.capacity, sizeof *s->runs.tasks);
    memset(s->runs.tasks, 0xff, (size_t)s->runs.capacity * sizeof *s->runs.tasks);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.tasks[i] != TASK_NONE) {
            *place_of(s, task_at(s, old.tasks[i])->run_id) = old.tasks[i];
        }
    }
    mem_free(old.tasks);
}

void run_note(struct scheduler *s, const struct task *task)
{
    ASSERT(task->run_id > 0);
    while (s->processing_now >= s->runs.capacity / 2) {
        grow(s);
    }
    *place_of(s, task->run_id) = task->id;
}

/* The known task whose newest run that is, if it is still in the table. */
static struct task *task_of(const struct scheduler *s, int64_t run_id)
{
    if (s->runs.capacity == 0 || *place_of(s, run_id) == TASK_NONE) {
        return NULL;
    }
    struct task *task = task_at(s, *place_of(s, run_id));
    return task->run_id == run_id && task->state != TASK_FORGOTTEN ? task : NULL;
}

struct task *run_find_task(const struct scheduler *s, int64_t run_id, struct span key)
{
    struct task *task = task_of(s, run_id);
    return task != NULL && span_equal(task->key, key) ? task : task_find(s, key);
}

void run_prefetch(const struct scheduler *s, int64_t run_id)
{
    if (s->runs.capacity > 0 && *place_of(s, run_id) != TASK_NONE) {
        task_prefetch(task_at(s, *place_of(s, run_id)));
    }
}

static void prefetch_neighbours(const struct scheduler *s, const struct links *links)
{
    const struct link *items = links_items(links);
    for (uint32_t i = 0; i < links->count && i < NEIGHBOURS_MAX; i++) {
        task_prefetch(task_at(s, items[i].other));
    }
}

void run_prefetch_more(const struct scheduler *s, int64_t run_id)
{
    const struct task *task = task_of(s, run_id);
    if (task != NULL) {
        __builtin_prefetch(task->key.data);
        prefetch_neighbours(s, &task->dependents);
        prefetch_neighbours(s, &task->dependencies);
    }
}

void runs_fini(struct scheduler *s)
{
    mem_free(s->runs.tasks);
}
