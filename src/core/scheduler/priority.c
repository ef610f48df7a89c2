/* priority.c: a merge sort of small copies: stable, and without a look at the tasks for each comparison. */
#include "core/scheduler/priority.h"

struct sort_item {
    double user, generation;
    int64_t order;
    task_id task;
    bool none; /* no priority: last */
};

static int sort_compare(const struct sort_item *a, const struct sort_item *b)
{
    if (a->none != b->none) {
        return a->none ? 1 : -1;
    }
    if (a->user != b->user) {
        return a->user < b->user ? -1 : 1;
    }
    if (a->generation != b->generation) {
        return a->generation < b->generation ? -1 : 1;
    }
    return (a->order > b->order) - (a->order < b->order);
}

static struct sort_item sort_item_of(const struct task *task)
{
    return (struct sort_item){task->priority_user, task->priority_generation, task->priority_order,
                              task->id, (task->flags & TASK_HAS_PRIORITY) == 0};
}

int priority_compare(const struct task *a, const struct task *b)
{
    struct sort_item item_a = sort_item_of(a);
    struct sort_item item_b = sort_item_of(b);
    return sort_compare(&item_a, &item_b);
}

/* Merge the sorted from[0..middle) and from[middle..count) into `to`; the left one wins ties. */
static void merge(const struct sort_item *from, uint32_t middle, uint32_t count, int sign,
                  struct sort_item *to)
{
    uint32_t left = 0;
    uint32_t right = middle;
    for (uint32_t out = 0; out < count; out++) {
        bool take_left = right == count ||
                         (left < middle && sign * sort_compare(&from[left], &from[right]) <= 0);
        to[out] = from[take_left ? left++ : right++];
    }
}

void priority_sort(const struct scheduler *s, task_id *ids, uint32_t count, bool descending,
                   struct arena *arena)
{
    if (count < 2) {
        return;
    }
    int sign = descending ? -1 : 1;
    struct sort_item *items = arena_array(arena, struct sort_item, count);
    bool sorted = true;
    for (uint32_t i = 0; i < count; i++) {
        items[i] = sort_item_of(task_at(s, ids[i]));
        sorted = sorted && (i == 0 || sign * sort_compare(&items[i - 1], &items[i]) <= 0);
    }
    if (sorted) {
        return;
    }
    struct sort_item *other = arena_array(arena, struct sort_item, count);
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t low = 0; low < count; low += 2 * width) {
            uint64_t left = count - low < width ? count - low : width;
            uint64_t both = count - low < 2 * width ? count - low : 2 * width;
            merge(items + low, (uint32_t)left, (uint32_t)both, sign, other + low);
        }
        struct sort_item *swap = items;
        items = other;
        other = swap;
    }
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = items[i].task;
    }
}
