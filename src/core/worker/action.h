/* action.h: adding actions to a step. Spans and lists must live until the next step. */
#ifndef CASK_CORE_WORKER_ACTION_H
#define CASK_CORE_WORKER_ACTION_H

#include "core/worker/internal.h"

/* Room for one action of `kind`; the caller fills of.<name>. Good until the next call. */
struct worker_action *worker_action_add(struct worker_step *step, enum worker_action_kind kind);

void waction_execute(struct worker_state *w, struct wtask *task);
/* KEEP, REFUSE, DROP, INTERRUPT. */
void waction_task(struct worker_state *w, enum worker_action_kind kind, task_id task,
                  struct span key);
void waction_task_finished(struct worker_state *w, const struct wtask *task, int64_t run_id);
void waction_task_erred(struct worker_state *w, const struct wtask *task, const struct wmove *move);
/* RELEASE_WORKER_DATA, RESCHEDULE. */
void waction_key(struct worker_state *w, enum worker_action_kind kind, struct span key);
/* ADD_KEYS of one key. */
void waction_add_key(struct worker_state *w, struct span key);
/* REQUEST_REFRESH_WHO_HAS of these tasks; nothing if there are none. */
void waction_refresh(struct worker_state *w, const task_id *tasks, uint32_t count);
void waction_long_running(struct worker_state *w, const struct wtask *task, double duration);

#endif
