/* planner_view.h: the scheduler's state as data: for the planner's view of it (docs/planner.md lists kinds and
 * fields), and for people who ask for a dump. */
#ifndef CASK_NODE_PLANNER_VIEW_H
#define CASK_NODE_PLANNER_VIEW_H

#include "node/node.h"

/* Append {fields, rows} of "tasks", "workers", "clients", "groups" or "prefixes"; names not given: all rows.
 * False: `what` is no table, nothing was appended. */
bool planner_view_table(struct node *node, struct span what, struct key_list names,
                        struct outgoing *out);
/* Append "task_keys", "task_sets", "scheduler", "computations", "spans" or "transition_log". False: it is none. */
bool planner_view_whole(struct node *node, struct span what, struct outgoing *out);

/* Append a table (by name) as {name: {field: value}}, plain values only, without the fields in `exclude`. */
void planner_view_dump(struct node *node, const char *what, struct span_list exclude,
                       struct text *head);
bool planner_view_excludes(struct span_list exclude, const char *field);
/* Append the whole story, oldest first; in a dump without keys as names. */
void planner_view_story(struct node *node, bool is_dump, struct outgoing *out);

#endif
