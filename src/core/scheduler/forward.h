/* forward.h: waiting tasks that were sent to a worker already.
 *
 * A chain of short tasks would leave its worker idle at each end: the news goes to the scheduler, and only then comes the
 * next task. So a waiting task may be *forwarded*: told to a worker that holds, runs, or was forwarded each of its
 * inputs, and so can begin it by itself. To the scheduler the task is waiting as ever. When it becomes ready it starts
 * processing there, without being sent again; whatever breaks the rule before that withdraws it (free-keys), and with it
 * what was forwarded because of it. Not a thing of Dask's: only workers that say so when they register take part.
 *
 * The rule: a forwarded task is waiting; its worker runs; each of its inputs has a replica there, is processing there and
 * has not seceded, or is forwarded there, too. */
#ifndef CASK_CORE_SCHEDULER_FORWARD_H
#define CASK_CORE_SCHEDULER_FORWARD_H

#include "core/scheduler/internal.h"

/* The task has begun processing: what will follow it there goes ahead, a few tasks deep, as long as all that is there
 * are short ones: config.ahead_seconds of work a thread. O(1): it gives up on looking after a few links. */
void forward_from(struct scheduler *s, const struct task *task, struct step *step);
/* Where it was forwarded to; NULL: it was not. */
struct worker *forward_worker(const struct scheduler *s, const struct task *task);
/* The task starts processing where it was forwarded to. False: it was not forwarded, and is to be sent. */
bool forward_claim(struct scheduler *s, struct task *task);
/* The task will not start there: it leaves waiting otherwise, or may not run there any more. Nothing happens if
 * it was not forwarded. */
void forward_withdraw(struct scheduler *s, struct task *task, struct step *step);
/* A worker says how a run of the task went, or goes. If that was forwarded to it, the word is about a run before that one
 * (a task that is waiting has not begun), whose end may be at odds with it: it is withdrawn. */
void forward_doubt(struct scheduler *s, struct task *task, const struct worker *worker,
                   struct step *step);
/* `input` is no more at the worker, nor about to be: what was forwarded because of it is withdrawn. */
void forward_input_gone(struct scheduler *s, const struct task *input, struct worker *worker,
                        struct step *step);
/* The worker does not run any more. */
void forward_worker_stopped(struct scheduler *s, struct worker *worker, struct step *step);
void forward_check(const struct scheduler *s, const struct worker *worker);

#endif
