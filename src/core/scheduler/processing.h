/* processing.h: a task's stay on a worker: occupancy, resources, what must be brought there.
 * Must agree with: scheduler.py WorkerState.add_to_processing, remove_from_processing, _add_to_processing,
 * _exit_processing_common. */
#ifndef CASK_CORE_SCHEDULER_PROCESSING_H
#define CASK_CORE_SCHEDULER_PROCESSING_H

#include "core/scheduler/internal.h"

/* Book the task on the worker: processing_on, tally, needs, resources. Not its state; no message. */
void processing_add(struct scheduler *s, struct task *task, struct worker *worker);
/* Undo that. */
void processing_remove(struct scheduler *s, struct task *task);
/* _add_to_processing: book it, set its state, send it (or fail it if its inputs cannot fit). */
void processing_start(struct scheduler *s, struct task *task, struct worker *worker,
                      struct step *step);
/* _exit_processing_common. The worker it was on, or NULL if that is gone. `finish`: where it goes. */
struct worker *processing_exit(struct scheduler *s, struct task *task, enum task_state finish);
/* A stolen task: from where it is to `thief`, with a new compute message. It stays in processing; both
 * workers are looked at for being idle or saturated. Not listed as stealable: that is the caller's. */
void processing_move(struct scheduler *s, struct task *task, struct worker *thief,
                     struct step *step);
/* It seceded: no longer counted in occupancy and slots. */
void processing_secede(struct scheduler *s, struct task *task);
/* A worker's used resources from what it has in processing. */
void processing_recount_resources(struct scheduler *s, struct worker *worker);

/* One processing task of the worker less needs `task` brought there. Nothing happens if none did. */
void needs_decrement(struct scheduler *s, struct worker *worker, const struct task *task);
/* Whether the task is an actor that lives there; others may hold proxies of it. */
bool actor_is_at(const struct worker *worker, const struct task *task);
/* The worker no longer runs this actor. Nothing happens if it did not. */
void actor_discard(struct worker *worker, const struct task *task);
/* Among the worker's needs_what no longer: it holds the data now. Nothing happens if it was not. */
void needs_forget(struct scheduler *s, struct worker *worker, const struct task *task);

#endif
