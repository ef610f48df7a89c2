/* queue.h: tasks held back until a worker has a free slot, by priority.
 *
 * Roots come in ascending or descending order of priority nearly always: those are put at the ends of a
 * sorted run and taken from its head, which costs nothing. Stragglers go to a heap. */
#ifndef CASK_CORE_SCHEDULER_QUEUE_H
#define CASK_CORE_SCHEDULER_QUEUE_H

#include "core/scheduler/internal.h"

void queue_add(struct scheduler *s, struct task *task);
void queue_remove(struct scheduler *s, struct task *task);
uint32_t queue_count(const struct scheduler *s);
/* The one whose turn it is; NULL: none. */
struct task *queue_first(const struct scheduler *s);
/* Queued tasks in no order worth relying on, each once; cursor starts at 0, NULL at the end. */
struct task *queue_next(const struct scheduler *s, uint32_t *cursor);
/* 1 + how many go before it. O(queue). */
uint32_t queue_rank(const struct scheduler *s, const struct task *task);
void queue_check(const struct scheduler *s);
void queue_fini(struct scheduler *s);

/* stimulus_queue_slots_maybe_opened: send queued tasks to the free slots. Call it when all other moves of
 * the stimulus are made. */
void queue_slots_maybe_opened(struct scheduler *s, struct step *step);

/* Short tasks for a worker that has just ended one, beyond its slots: a trip to the scheduler and back takes longer
 * than they do. Only of a prefix that was measured, up to config.ahead_seconds of work a thread, and no more than half
 * of the worker's share of what is queued, so all workers end at about the same time. Not a thing of Dask's. */
void queue_send_ahead(struct scheduler *s, struct worker *worker, struct step *step);

/* Tasks in no-worker (s->unrunnable), in order of arrival. */
void unrunnable_add(struct scheduler *s, struct task *task);
void unrunnable_remove(struct scheduler *s, struct task *task);

#endif
