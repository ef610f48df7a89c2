/* history_collect.h: what is new in the tables since it was last written. On the observer's loop. */
#ifndef CASK_OBSERVER_HISTORY_COLLECT_H
#define CASK_OBSERVER_HISTORY_COLLECT_H

#include "observer/history_batch.h"
#include "observer/tables.h"

/* How far the file is. All zero: there is nothing in it. */
struct history_mark {
    uint64_t tick, runs, texts, logs, events, graphs, failed;
    enum cluster_state state;
    uint64_t missed; /* runs that had left memory before they could be written */
};

/* The mark of tables that were read from the file. */
struct history_mark history_mark_of(const struct tables *tables);
/* Something happened that is not in the file: runs, failures, workers …; not: samples of what is. */
bool history_is_new(const struct tables *tables, const struct history_mark *mark);
/* Rows of what a record says that the tables do not keep, after the tables took it. */
void history_collect_record(const struct tables *tables, const union any_record *record,
                            struct batch *batch);
/* Rows of what a failed task was given. */
void history_collect_failed(const struct failed_told *failed, struct batch *batch);
/* Everything newer than the mark, which moves; at most so many chunks of runs. True: that was all. */
bool history_collect(struct tables *tables, struct history_mark *mark, struct batch *batch);

#endif
