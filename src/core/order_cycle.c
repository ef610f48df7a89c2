/* order_cycle.c: names a cycle, for the error that the client gets: a depth-first search along
 * dependencies, with its own stack, until it meets a task that is on its path.
 * Must agree with: dask/core.py, getcycle (there may be several cycles; any will do). */
#include "base/alloc.h"
#include "core/order.h"

enum { UNSEEN, ON_PATH, DONE };

struct search {
    const struct order_graph *graph;
    uint8_t *state; /* of each task */
    uint32_t *next; /* of a task on the path: the place in deps to go on at */
    uint32_t *path;
    uint32_t depth;
};

static void search_push(struct search *search, uint32_t task)
{
    ASSERT(search->state[task] == UNSEEN);
    search->state[task] = ON_PATH;
    search->next[task] = search->graph->dep_start[task];
    search->path[search->depth++] = task;
}

/* One step; true once the task that comes next is on the path already: *out_task. */
static bool search_step(struct search *search, uint32_t *out_task)
{
    const struct order_graph *graph = search->graph;
    uint32_t task = search->path[search->depth - 1];
    if (search->next[task] == graph->dep_start[task + 1]) {
        search->state[task] = DONE;
        search->depth--;
        return false;
    }
    uint32_t dep = graph->deps[search->next[task]++];
    if (dep >= graph->task_count || search->state[dep] == DONE) {
        return false;
    }
    if (search->state[dep] == ON_PATH) {
        *out_task = dep;
        return true;
    }
    search_push(search, dep);
    return false;
}

static bool search_from(struct search *search, uint32_t task, uint32_t *out_task)
{
    if (search->state[task] == DONE) {
        return false;
    }
    search_push(search, task);
    while (search->depth > 0) {
        if (search_step(search, out_task)) {
            return true;
        }
    }
    return false;
}

uint32_t order_find_cycle(const struct order_graph *graph, uint32_t *out_keys)
{
    size_t room = (size_t)graph->task_count + 1;
    struct search search = {.graph = graph};
    uint32_t count = 0;
    uint32_t closing = 0;
    search.state = mem_alloc(room);
    search.next = mem_alloc(room * sizeof *search.next);
    search.path = mem_alloc(room * sizeof *search.path);
    memset(search.state, UNSEEN, room);
    for (uint32_t task = 0; task < graph->task_count && count == 0; task++) {
        if (search_from(&search, task, &closing)) {
            uint32_t from = search.depth;
            do {
                from--;
            } while (search.path[from] != closing);
            count = search.depth - from + 1;
            memcpy(out_keys, search.path + from, (count - 1) * sizeof *out_keys);
            out_keys[count - 1] = closing;
        }
    }
    mem_free(search.path);
    mem_free(search.next);
    mem_free(search.state);
    return count;
}
