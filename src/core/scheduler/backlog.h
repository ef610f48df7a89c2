/* backlog.h: what is let go piece by piece, other events in between: tasks that nobody needs any more, and
 * the wishes of clients that have left.
 *
 * One release can be the last use of a million results. A step that has made step_moves_max moves leaves
 * the rest of what is not needed for later steps (EVENT_GO_ON). What waits there is looked at again when
 * its turn comes: if somebody has come to need it meanwhile, it stays. For others it is as if the
 * release had come a little later; see graph_must_wait() for those who define such a key anew. */
#ifndef CASK_CORE_SCHEDULER_BACKLOG_H
#define CASK_CORE_SCHEDULER_BACKLOG_H

#include "core/scheduler/internal.h"

/* Nobody needs the task: recommend that it becomes `to` (RELEASED, FORGOTTEN) now or in a later step. */
void let_go(struct scheduler *s, struct task *task, enum task_state to);
/* The client is not known from here on. What it wants is released, now or later; then it is buried. */
void client_leaves(struct scheduler *s, struct client *client, struct step *step);

bool backlog_pending(const struct scheduler *s);
/* The next piece. */
void backlog_run(struct scheduler *s, struct step *step);
/* All of it, however long that takes. */
void backlog_finish(struct scheduler *s, struct step *step);

#endif
