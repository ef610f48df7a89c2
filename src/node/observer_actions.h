/* observer_actions.h: what people ask of the cluster through the dashboard: {"op": "act", "by": who, "call": {…}}.
 *
 * Off unless cask.dashboard.actions says otherwise, and then only behind cask.dashboard.token. The observer has checked
 * that already; but it has spoken with strangers, so the scheduler does not rely on it. */
#ifndef CASK_NODE_OBSERVER_ACTIONS_H
#define CASK_NODE_OBSERVER_ACTIONS_H

#include "node/node.h"

/* By the settings. */
bool observer_actions_on(const struct config *config);

enum observer_action { OBSERVER_REFUSED, OBSERVER_IS_CANCEL, OBSERVER_IS_RPC };
/* What `act` asks for: REFUSED, or its inner call, which was written into the log and under the topic
 * "dashboard-actions", with who asked. */
enum observer_action observer_action_read(struct node *node, struct span act,
                                          struct span *out_call);
/* Cancel the call's "keys" (canonical), whoever wants them; gives how many were known. */
uint32_t observer_action_cancel(struct node *node, struct span call);

#endif
