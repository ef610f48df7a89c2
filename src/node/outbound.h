/* outbound.h: actions of the core become messages. */
#ifndef CASK_NODE_OUTBOUND_H
#define CASK_NODE_OUTBOUND_H

#include "node/node.h"

/* Carry out the actions of node->step. May be entered again only after it returned: what an action sets off
 * (an answered request that makes a connection go on) is posted, not done inside. */
void outbound_actions(struct node *node);

#endif
