/* idle.h: a scheduler that nobody uses ends itself, if distributed.scheduler.idle-timeout says so.
 * Source: distributed scheduler.py, check_idle. */
#ifndef CASK_NODE_IDLE_H
#define CASK_NODE_IDLE_H

struct idle_watch;
struct node;

/* Look every quarter of the timeout; without one, never. Destroy it before the node. */
struct idle_watch *idle_watch_create(struct node *node);
void idle_watch_destroy(struct idle_watch *watch);

#endif
