/* cull.c: a search from the wanted tasks along their dependencies, with a stack of its own. */
#include "core/cull.h"

#include "base/vec.h"

struct task_stack VEC(uint32_t);

/* Keep `number` and queue it, if it is a task and not kept yet. */
static uint32_t keep(const struct cull_graph *graph, uint32_t number, struct task_stack *stack,
                     uint8_t *out_keep)
{
    if (number >= graph->task_count || out_keep[number]) {
        return 0;
    }
    out_keep[number] = 1;
    vec_push(stack, number);
    return 1;
}

uint32_t cull_mark(const struct cull_graph *graph, const uint32_t *wanted, uint32_t wanted_count,
                   uint8_t *out_keep)
{
    struct task_stack stack = {0};
    uint32_t kept_count = 0;
    if (graph->task_count == 0) {
        return 0;
    }
    memset(out_keep, 0, graph->task_count);
    for (uint32_t i = 0; i < wanted_count; i++) {
        kept_count += keep(graph, wanted[i], &stack, out_keep);
    }
    while (stack.count > 0) {
        uint32_t task = vec_pop(&stack);
        ASSERT(graph->dep_start[task] <= graph->dep_start[task + 1]);
        for (uint32_t d = graph->dep_start[task]; d < graph->dep_start[task + 1]; d++) {
            kept_count += keep(graph, graph->deps[d], &stack, out_keep);
        }
    }
    ASSERT(kept_count <= graph->task_count);
    vec_fini(&stack);
    return kept_count;
}
