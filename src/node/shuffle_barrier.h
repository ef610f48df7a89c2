/* shuffle_barrier.h: a shuffle's participants hear that all its inputs were handed out.
 * Source: distributed shuffle/_scheduler_plugin.py, ShuffleSchedulerPlugin.barrier. */
#ifndef CASK_NODE_SHUFFLE_BARRIER_H
#define CASK_NODE_SHUFFLE_BARRIER_H

#include "node/node.h"

/* ACTION_SHUFFLE_DONE: shuffle_inputs_done to all participants, then nil to the request. Inside a step. */
void shuffle_barrier_tell(struct node *node, const struct action_shuffle_done *done);

#endif
