/* policies.h: which of the memory manager's policies are the core's own, and whether others, Python classes, have
 * to run in the planner. */
#ifndef CASK_NODE_POLICIES_H
#define CASK_NODE_POLICIES_H

#include "node/config.h"

bool policies_have_reduce_replicas(const struct config *config);
bool policies_have_foreign(const struct config *config);

#endif
