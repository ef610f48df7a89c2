/* occupancy.h: how many seconds of work a worker has. Dask adds count × duration over the prefixes of its
 * tasks; here sums are kept, in whole nanoseconds so that nothing drifts.
 *
 * A prefix that few workers hold is *narrow*: when its expected duration changes, the sums of those
 * workers are changed at once. A prefix held by many is *wide*: each worker lists it apart and its share
 * is worked out on reading. So every call is O(1) but for the number of wide prefixes on one worker.
 * Must agree with: scheduler.py _calc_occupancy, _get_prefix_duration, WorkerState.occupancy. */
#ifndef CASK_CORE_SCHEDULER_OCCUPANCY_H
#define CASK_CORE_SCHEDULER_OCCUPANCY_H

#include "core/scheduler/internal.h"

/* Seconds of work in processing on the worker, transfers included. */
double worker_occupancy(const struct scheduler *s, const struct worker *worker);
double total_occupancy(const struct scheduler *s);
/* Seconds one task of the prefix is expected to run: average, else twice the longest seen running, else
 * unknown-task-duration. */
double prefix_duration(const struct scheduler *s, const struct prefix *prefix);

/* One task of the prefix more, or less, on the worker (long-running ones do not count). */
void occupancy_add(struct scheduler *s, struct worker *worker, struct prefix *prefix);
void occupancy_remove(struct scheduler *s, struct worker *worker, struct prefix *prefix);
/* The prefix's average or longest run was measured anew. */
void prefix_set_duration(struct scheduler *s, struct prefix *prefix, double average,
                         double max_exec_time);
void occupancy_check(const struct scheduler *s);

#endif
