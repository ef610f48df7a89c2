/* coordination.h: answers of the core to RPCs that wait: locks, queues, variables, shuffles. */
#ifndef CASK_NODE_COORDINATION_H
#define CASK_NODE_COORDINATION_H

#include "node/node.h"

/* ACTION_REPLY: render the answer as stock does and end the request (it may be gone). Inside a step. */
void coordination_reply(struct node *node, uint64_t number, const struct answer *answer);
/* Published datasets: what waits (rpc_publish.c). */
struct publish *publish_create(void);
void publish_destroy(struct publish *publish);
/* The stream message that publish_put and publish_delete of the same uid wait for. */
void publish_flushed(struct node *node, struct span uid);

#endif
