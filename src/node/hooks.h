/* hooks.h: what happens, as events for the plugins in the planner; nothing is done unless one wants it.
 * Source: distributed scheduler.py, the calls of plugin.…; diagnostics/plugin.py SchedulerPlugin. */
#ifndef CASK_NODE_HOOKS_H
#define CASK_NODE_HOOKS_H

#include "core/scheduler/actions.h"

struct blob;
struct node;

/* An action that was carried out; it lies in node->step. Inside a step. */
void hooks_action(struct node *node, const struct action *action);
/* An event was filed. */
void hooks_log_event(struct node *node, struct span topic, const struct blob *event);

#endif
