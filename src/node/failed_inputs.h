/* failed_inputs.h: what a task that failed was given, kept for the failure page and `cask replay`.
 *
 * When a task fails for good, its inputs are held for a moment (by a pseudo-client, as a queue holds its futures), the worker
 * that ran it is asked to describe and serialise them, and what it answers goes to the observer. Nothing is opened here, and
 * nobody waits: it is bounded in tasks and bytes, and what does not fit is left out, with the reason.
 * See docs/failures.md. */
#ifndef CASK_NODE_FAILED_INPUTS_H
#define CASK_NODE_FAILED_INPUTS_H

#include "node/node.h"

struct failed_inputs;

/* NULL if nobody keeps them: no dashboard, or cask.history.keep-inputs is false. */
struct failed_inputs *failed_inputs_create(struct node *node);
void failed_inputs_destroy(struct failed_inputs *inputs);
/* A worker says that `key` failed, or died with it, at this place (the traceback's text, or empty), which is about to be
 * told to the core: hold its inputs, as they may be released with it. O(its inputs), and next to nothing for what is
 * like many before. With failed_inputs NULL, nothing. */
void failed_inputs_hold(struct failed_inputs *inputs, struct span key, struct span place);
/* The core was told: ask for them if the task failed for good, else let them go. */
void failed_inputs_take(struct failed_inputs *inputs);
/* NOTICE_TASK_DONE. Inside a step. */
void failed_inputs_notice(struct failed_inputs *inputs, const struct notice *notice);

#endif
