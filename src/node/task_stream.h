/* task_stream.h: the records behind get_task_stream, start/stop_task_metadata: what ran where and when.
 * Recording begins at the first question, as stock's lazily installed plugin; capped, newest kept.
 * Source: distributed diagnostics/task_stream.py; protocol.md 7. */
#ifndef CASK_NODE_TASK_STREAM_H
#define CASK_NODE_TASK_STREAM_H

#include "node/node.h"

struct task_stream;

struct task_stream *task_stream_create(struct node *node);
void task_stream_destroy(struct task_stream *stream);
/* NOTICE_TASK_DONE. O(1), and next to nothing while nobody asked. Inside a step. */
void task_stream_add(struct task_stream *stream, const struct notice *notice);
/* Append the map of what a finished run's NOTICE_TASK_DONE says: worker, startstops … Inside a step. */
void task_stream_write_run(struct node *node, const struct notice *notice, struct outgoing *out);
/* A graph came: collections (start_task_metadata) watch its wanted keys. */
void task_stream_graph(struct task_stream *stream, struct span_list wanted);

#endif
