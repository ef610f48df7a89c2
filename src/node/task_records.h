/* task_records.h: what runs of a task cost and printed, asked of the workers that remember them (worker_records.c):
 * cask's own, as stock workers keep no such records and log a warning when they are asked. */
#ifndef CASK_NODE_TASK_RECORDS_H
#define CASK_NODE_TASK_RECORDS_H

#include "node/node.h"

/* Whether the worker said when it registered that it keeps them. False: WORKER_NONE, too. */
bool task_records_are_kept(const struct node *node, worker_id worker);
/* The call, `task_records` of these keys with the end of what each run printed, is put into an empty `call`. */
void task_records_call(struct outgoing *call, struct key_list keys);

#endif
