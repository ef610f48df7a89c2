/* feed.h: progress of keys, sent to a client at an interval: what stock's progress bars ask for.
 *
 * Stock runs the functions that a progress bar sends, with a plugin that hears of every move of every task.
 * These functions are known (wire/pickle_recognise.h), so they are done here, without Python: a feed counts the
 * keys it follows as the core says that they are done.
 * Source: distributed diagnostics/progress.py Progress, MultiProgress; progressbar.py; scheduler.py feed. */
#ifndef CASK_NODE_FEED_H
#define CASK_NODE_FEED_H

#include "node/node.h"

/* NOTICE_TASK_DONE. O(feeds). Inside a step. */
void feeds_task_done(struct node *node, const struct notice *notice);
/* All tasks were forgotten on purpose (restart). Inside a step. */
void feeds_restarted(struct node *node);
/* End all feeds. */
void feeds_fini(struct node *node);

#endif
