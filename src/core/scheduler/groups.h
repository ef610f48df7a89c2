/* groups.h: task groups and prefixes: counts by state, measured durations, sizes, result types.
 * Must agree with: scheduler.py TaskPrefix, TaskGroup. */
#ifndef CASK_CORE_SCHEDULER_GROUPS_H
#define CASK_CORE_SCHEDULER_GROUPS_H

#include "core/scheduler/internal.h"

/* The group the key belongs to, made (with its prefix) if new. */
struct group *group_of_key(struct scheduler *s, struct span key);
struct group *group_ref(struct group *group);
/* The last reference frees it. */
void group_unref(struct group *group);
/* The task joins: counts and size. */
void group_add_task(struct scheduler *s, struct group *group, struct task *task);
/* `group` depends on `other` by one more edge. */
void group_add_dependency(struct group *group, struct group *other);
/* One measured action of one of its tasks; `start`, `stop` in seconds. */
void group_add_duration(struct scheduler *s, struct group *group, struct span action, double start,
                        double stop);
void group_add_type(struct group *group, uint32_t type);
void group_add_nbytes(struct group *group, int64_t difference);
/* No longer listed: all its tasks are forgotten. Its prefix forgets its numbers. */
void group_unlist(struct scheduler *s, struct group *group);
/* True if every task of it is in memory, erred, released or forgotten. */
bool group_done(const struct group *group);
/* Every listed group done (Dask's is_idle of the scheduler). */
bool groups_all_done(const struct scheduler *s);
/* A task of the prefix has been running for so long, and is not done. */
void prefix_add_exec_time(struct scheduler *s, struct prefix *prefix, double seconds);
/* Begin anew with prefixes (restart); no group may be listed. Groups that spans and computations still hold
 * keep theirs. */
void prefixes_retire(struct scheduler *s);
void prefixes_fini(struct scheduler *s);
/* Groups let go of each other, so that their tasks' ends free them (scheduler_destroy). */
void groups_fini(struct scheduler *s);

#endif
