/* task.h: the lives of a worker's tasks and of the small things they share. Finding, making, giving back; no
 * decisions. */
#ifndef CASK_CORE_WORKER_TASK_H
#define CASK_CORE_WORKER_TASK_H

#include "core/worker/internal.h"

#define WNBYTES_MAX ((int64_t)1 << 42) /* no value is larger, whatever a peer says */

void wtasks_init(struct worker_state *w);
/* Free all tasks and what they share. */
void wtasks_fini(struct worker_state *w);

/* NULL: unknown. */
struct wtask *wtask_find(const struct worker_state *w, struct span key);
/* The task of that key; a new one is released and without a priority. */
struct wtask *wtask_make(struct worker_state *w, struct span key);
/* Off the key index, into the graveyard. Edges and holders must be gone. */
void wtask_bury(struct worker_state *w, struct wtask *task);
/* Recycle what former steps buried. */
void wtasks_sweep(struct worker_state *w);
/* A fresh mark for task->mark. */
uint32_t wtraversal_begin(struct worker_state *w);

/* Resolvers for links_remove. */
struct links *wdependencies_of(void *w, uint32_t task);
struct links *wdependents_of(void *w, uint32_t task);
struct links *wwho_has_of(void *w, uint32_t task);

/* A size as a peer gave it, within bounds. */
int64_t wnbytes_of(int64_t nbytes);
/* Counts by prefix and state: `delta` tasks more, or less, in that state from now on. */
void wprefix_count(struct worker_state *w, uint32_t prefix, unsigned state, int delta);
/* Replace what a task references; the new ones may be NULL, empty. */
void wtask_set_blob(struct blob **held, struct blob *blob);
void wtask_set_span_id(struct worker_state *w, struct wtask *task, struct span span_id);

#endif
