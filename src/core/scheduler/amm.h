/* amm.h: the active memory manager: every interval it asks its policies what to drop or replicate.
 * Policies: ReduceReplicas (default), RetireWorker (one for each worker being retired).
 * Must agree with: distributed active_memory_manager.py; protocol.md 5.7. */
#ifndef CASK_CORE_SCHEDULER_AMM_H
#define CASK_CORE_SCHEDULER_AMM_H

#include "core/scheduler/scheduler.h"

struct amm;
struct worker;

struct amm *amm_create(const struct scheduler_config *config);
void amm_destroy(struct amm *amm);
/* The interval's run, and a look at each worker being retired: has it nothing unique left? */
void amm_tick(struct scheduler *s, struct step *step);
double amm_next_tick(const struct scheduler *s);
/* EVENT_AMM: start, stop, run_once. */
void amm_command(struct scheduler *s, const struct event *event, struct step *step);
/* EVENT_AMM_SUGGEST: as a policy's suggestion with this worker as the only candidate; what is not
 * possible any more is left out. */
void amm_suggest(struct scheduler *s, const struct event *event, struct step *step);
bool amm_running(const struct scheduler *s);
/* EVENT_RETIRE_BEGIN: status closing_gracefully, unique data moved away first, then a RETIRED action each
 * (retired true: remove as asked; false: nowhere to put its data, or it holds actors; the worker is told
 * its former status). Workers that are gone get their RETIRED at once. */
void amm_retire_begin(struct scheduler *s, const struct event *event, struct step *step);
/* A worker left, for whatever reason: its retirement ends as retired. */
void amm_worker_removed(struct scheduler *s, struct worker *worker, struct step *step);

#endif
