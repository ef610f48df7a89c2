/* steal.h: work stealing: moves tasks from loaded workers to idle ones before they run, each move confirmed
 * by the worker that gives. 15 levels by cost of moving against run time.
 * Must agree with: distributed stealing.py, WorkStealing; protocol.md 5.6. */
#ifndef CASK_CORE_SCHEDULER_STEAL_H
#define CASK_CORE_SCHEDULER_STEAL_H

#include "core/scheduler/internal.h"

struct steal *steal_create(const struct scheduler_config *config);
void steal_destroy(struct steal *steal);
/* `task` was sent to task->processing_on: list it as stealable there if it pays. */
void steal_task_processing(struct scheduler *s, struct task *task);
/* `task` leaves processing for `finish` (or seceded: TASK_PROCESSING): off every list; a request in flight is
 * void. Called while processing_on is still set; durations are measured already. */
void steal_task_left(struct scheduler *s, struct task *task, enum task_state finish);
/* The worker is gone; its tasks have left it, or leave it right after. */
void steal_worker_removed(struct scheduler *s, struct worker *worker);
/* All tasks are forgotten and prefixes start anew (RESTART): call it before prefixes_clear(). */
void steal_restart(struct scheduler *s);
/* The worker's answer to a steal request. The caller runs transitions_run() and
 * queue_slots_maybe_opened() afterwards: a task whose move went wrong is released. */
void steal_response(struct scheduler *s, const struct event *event, struct step *step);
/* One balance() if its hour has come. O(workers) unless some are idle while others have too much. */
void steal_tick(struct scheduler *s, struct step *step);
/* Infinity while nobody could steal. */
double steal_next_tick(const struct scheduler *s);
/* Totals by level, for metrics: how often, how expensive (seconds). `out_…` have STEAL_LEVELS items. */
void steal_totals(const struct scheduler *s, uint64_t *out_count, double *out_cost);
void steal_check(const struct scheduler *s);

#endif
