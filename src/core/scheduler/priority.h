/* priority.h: the order in which tasks run: (user, generation, order); smaller is earlier. */
#ifndef CASK_CORE_SCHEDULER_PRIORITY_H
#define CASK_CORE_SCHEDULER_PRIORITY_H

#include "core/scheduler/internal.h"

/* Task ids by priority; ties keep their order. Largest (latest) first if `descending`. */
void priority_sort(const struct scheduler *s, task_id *ids, uint32_t count, bool descending,
                   struct arena *arena);
/* −1, 0, 1: (user, generation, order) of a against b; a task without a priority is last. */
int priority_compare(const struct task *a, const struct task *b);

#endif
