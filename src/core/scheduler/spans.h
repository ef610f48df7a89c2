/* spans.h: Dask's spans: named regions of client code that group task groups and workers' metrics.
 * Must agree with: distributed spans.py; protocol.md 4.2 step 14. */
#ifndef CASK_CORE_SCHEDULER_SPANS_H
#define CASK_CORE_SCHEDULER_SPANS_H

#include "core/scheduler/internal.h"

struct spans *spans_create(const struct scheduler_config *config);
void spans_destroy(struct spans *spans);
/* Every touched task of a new graph, in order: gives its group a span (existing one wins, else the
 * annotation's, else the default span). */
void spans_graph(struct scheduler *s, const struct graph_info *graph, const task_id *touched, uint32_t count);
/* A group whose tasks are all forgotten keeps its span's totals. */
void spans_group_gone(struct scheduler *s, struct group *group);
/* uuid of the group's span, or empty. Goes out as compute-task's span_id. */
struct span spans_id(const struct group *group);
/* annotations["span"] as it goes to workers: {"name": […], "ids": […]}; false: the default span, leave it out. */
bool spans_annotation(const struct group *group, struct span_list *out_name, struct span_list *out_ids);
/* A worker's heartbeat extension "spans": metrics by (context, span_id, …) as raw msgpack; summed. */
void spans_heartbeat(struct scheduler *s, struct span raw_metrics);
/* A span as others see it. */
struct span_view {
    struct span id;
    struct span_list name;          /* parts; default span: ("default",) */
    struct span parent_id;          /* empty: root */
    double enqueued, start, stop;   /* 0: none */
    uint64_t state_counts[TASK_STATE_COUNT];
    bool done;
};
uint32_t spans_count(const struct scheduler *s);
bool spans_at(const struct scheduler *s, uint32_t index, struct span_view *out);

#endif
