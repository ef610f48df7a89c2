/* retire.h: workers sent into retirement: their unique data moves away first. */
#ifndef CASK_NODE_RETIRE_H
#define CASK_NODE_RETIRE_H

#include "node/node.h"

/* The retirements under way, by number of their request: node->retirements. Free what is left. */
void retirements_fini(struct map *retirements);

#endif
