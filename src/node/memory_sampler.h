/* memory_sampler.h: the samplers of memory_sampler_start, as long as they are. */
#ifndef CASK_NODE_MEMORY_SAMPLER_H
#define CASK_NODE_MEMORY_SAMPLER_H

#include "node/node.h"

/* End all samplers of node->memory_samplers. */
void memory_samplers_fini(struct node *node);

#endif
