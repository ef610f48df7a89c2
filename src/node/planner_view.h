/* planner_view.h: the scheduler's state as tables; docs/planner.md lists kinds and fields. */
#ifndef CASK_NODE_PLANNER_VIEW_H
#define CASK_NODE_PLANNER_VIEW_H

#include "node/node.h"

/* Append {fields, rows} of "tasks", "workers", "clients", "groups" or "prefixes"; names not given: all rows.
 * False: `what` is no table, nothing was appended. */
bool planner_view_table(struct node *node, struct span what, struct key_list names, struct outgoing *out);

#endif
