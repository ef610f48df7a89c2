/* activities.h: what workers' time went into, function by function: stock's fine performance metrics, summed over all
 * workers. Which there are: distributed metrics.py, worker.py (digest_metric), docs "Fine Performance Metrics". */
#ifndef CASK_OBSERVER_ACTIVITIES_H
#define CASK_OBSERVER_ACTIVITIES_H

#include "observer/tables.h"

/* `function` is a prefix, or what has none ("" for get-data, gather-dep, memory-monitor). */
struct activity_row {
    struct text context, function, activity, unit;
    double total;
    uint64_t tick;
};

/* The text of a record: pairs (name, number). What is malformed, and what follows it, is left out. */
void activities_apply(struct tables *tables, struct span pairs);
/* The row of a name, made if need be; of more than there is room for, one that stands for the others. */
struct activity_row *activities_make(struct tables *tables, const struct span name[4]);
void activities_clear(struct tables *tables);

#endif
