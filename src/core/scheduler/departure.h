/* departure.h: a worker goes, and with it what it held and processed: at once, or, if that is much, piece by
 * piece, other events in between.
 *
 * A worker can hold a million results, and each is computed again or lost. From the first piece on nobody
 * knows the worker: nothing is placed there, nothing is taken from it, its address is free. What is left of it
 * keeps its state until its turn comes, as if the worker had lost one result after the other. Only who
 * needs such a result before that has it lost at once: departure_takes_inputs(). */
#ifndef CASK_CORE_SCHEDULER_DEPARTURE_H
#define CASK_CORE_SCHEDULER_DEPARTURE_H

#include "core/scheduler/internal.h"

/* Take a worker out of everything; its tasks are released, its lost results made again, if need be by later
 * steps. */
void worker_remove(struct scheduler *s, struct worker *worker,
                   const struct event_worker_remove *removal, struct step *step);

static inline bool departures_pending(const struct scheduler *s)
{
    return s->departures.count > 0;
}
/* The next piece. */
void departures_run(struct scheduler *s, struct step *step);
/* All of it, however long that takes. */
void departures_finish(struct scheduler *s, struct step *step);
void departures_fini(struct scheduler *s);

/* Something of the worker is left; the `index`th of those of which something is. */
bool departure_has(const struct scheduler *s, worker_id worker);
worker_id departure_worker(const struct scheduler *s, uint32_t index);
/* How many known workers hold the task, and the `index`th of them: what others may be told. */
uint32_t holder_count(const struct scheduler *s, const struct task *task);
worker_id holder_at(const struct scheduler *s, const struct task *task, uint32_t index);
/* The task is to start. True: it cannot, as inputs were held by nobody else but workers that have gone; they
 * are lost from here on, and the moves that follow send the task back to wait for them. */
bool departure_takes_inputs(struct scheduler *s, const struct task *task, struct step *step);

#endif
