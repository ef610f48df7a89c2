/* step_events.h: one function per event. Each recommends what follows from the event; step.c makes it so. */
#ifndef CASK_CORE_WORKER_STEP_EVENTS_H
#define CASK_CORE_WORKER_STEP_EVENTS_H

#include "core/worker/internal.h"

#define EVENT(ID, name, FIELDS)                                                                    \
    void worker_on_##name(struct worker_state *w, const struct worker_event *event);
#include "core/worker/events.def"

/* An offered value and the move that may take it; NULL: nothing will. Settled at the end of the event. */
void woffer_add(struct worker_state *w, task_id task, struct span key, const struct wmove *move);

#endif
