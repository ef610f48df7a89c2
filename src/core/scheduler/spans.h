/* spans.h: Dask's spans: named regions of client code that group task groups and workers' metrics.
 * Must agree with: distributed spans.py; protocol.md 4.2 step 14. */
#ifndef CASK_CORE_SCHEDULER_SPANS_H
#define CASK_CORE_SCHEDULER_SPANS_H

#include "core/scheduler/scheduler.h"
#include "core/scheduler/states.h"

struct group;
struct spans;

struct spans *spans_create(const struct scheduler_config *config);
void spans_destroy(struct spans *spans);
/* Every touched task of a new graph, in order: gives its group a span (existing one wins, else the
 * annotation's, else the default span). Their annotations are set already. */
void spans_graph(struct scheduler *s, const struct graph_info *graph, const task_id *touched,
                 uint32_t count);
/* A group whose tasks are all forgotten: its span keeps its totals. */
void spans_group_gone(struct scheduler *s, struct group *group);
/* uuid of the group's span, or empty. Goes out as compute-task's span_id. */
struct span spans_id(const struct group *group);
/* annotations["span"] as it goes to workers: {"name": […], "ids": […]}; false: the default span, leave it out. */
bool spans_annotation(const struct group *group, struct span_list *out_name,
                      struct span_list *out_ids);
/* EVENT_SPAN_METRICS: what a worker measured for spans since its last heartbeat; summed. */
void spans_metrics(struct scheduler *s, const struct event *event);
/* A span as others see it. Counts and times are of the whole tree below it; O(groups below it). */
struct span_view {
    struct span id;
    struct span_list name;  /* parts; default span: ("default",) */
    struct span parent_id;  /* empty: root */
    double enqueued, start; /* start 0: nothing finished yet */
    double stop;            /* the time of the last event while not done */
    uint64_t state_counts[TASK_STATE_COUNT];
    double duration; /* seconds, all actions */
    int64_t nbytes_total;
    bool done;
    /* of this span alone */
    struct blob *const *code, *const *metadata; /* msgpack, as the graphs carried them */
    uint32_t code_count, metadata_count;
    uint32_t metric_count; /* spans_metric_at */
};
uint32_t spans_count(const struct scheduler *s);
/* In order of creation. */
bool spans_at(const struct scheduler *s, uint32_t index, struct span_view *out);
/* A worker metric of the span: canonical msgpack of (context, …), and its sum. */
bool spans_metric_at(const struct scheduler *s, uint32_t index, uint32_t which,
                     struct resource *out);

#endif
