/* ready.h: what is ready to run, what runs, and the threads and resources that are left.
 * Must agree with: worker_state_machine.py _ensure_computing, _next_ready_task, _acquire_resources. */
#ifndef CASK_CORE_WORKER_READY_H
#define CASK_CORE_WORKER_READY_H

#include "core/worker/internal.h"

void wready_init(struct worker_state *w);
void wready_fini(struct worker_state *w);

/* The task, in state ready or constrained, joins its heap; it leaves it. */
void wready_add(struct worker_state *w, struct wtask *task);
void wready_remove(struct worker_state *w, struct wtask *task);
/* While there are threads: recommend EXECUTING for the next ready tasks, which hold their thread and resources
 * from now on. */
void wready_ensure_computing(struct worker_state *w);
/* A run has seceded: it counts for no thread. */
void wrun_secede(struct worker_state *w, struct wtask *task);
/* A run has ended: its thread and resources are free. */
void wrun_end(struct worker_state *w, struct wtask *task);

/* New totals of these resources. */
void wresources_set(struct worker_state *w, struct resource_list resources);
/* What the next run of the task takes. A resource that the worker does not have is never free. */
void wtask_set_resources(struct worker_state *w, struct wtask *task,
                         struct resource_list resources);

#endif
