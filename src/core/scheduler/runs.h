/* runs.h: the task of a run, by the run's number. A worker's answer carries it beside the key, and runs are
 * numbered in the order in which they were sent: those under way stand side by side in a small table, where
 * the table of keys would miss every cache once for each answer. */
#ifndef CASK_CORE_SCHEDULER_RUNS_H
#define CASK_CORE_SCHEDULER_RUNS_H

#include "core/scheduler/internal.h"

/* The task got a new run_id. */
void run_note(struct scheduler *s, const struct task *task);
/* The task of that key, as task_find; at once if `run_id` is its newest run. Neither needs to be true. */
struct task *run_find_task(const struct scheduler *s, int64_t run_id, struct span key);
/* Ask memory for the task of a run that an answer is about; then, when that has come, for what its end will
 * touch beside it: its key, the tasks that waited for it, its inputs. */
void run_prefetch(const struct scheduler *s, int64_t run_id);
void run_prefetch_more(const struct scheduler *s, int64_t run_id);
void runs_fini(struct scheduler *s);

#endif
