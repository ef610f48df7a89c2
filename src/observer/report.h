/* report.h: what a report is made of. See docs/pages.md. */
#ifndef CASK_OBSERVER_REPORT_H
#define CASK_OBSERVER_REPORT_H

#include "observer/jot.h"
#include "observer/tables.h"

/* A window of time. */
struct report_span {
    double since, until;
};

/* Runs that ended in the window. */
uint64_t report_count_runs(const struct runs *runs, struct report_span span);
/* Whether all of so many are kept, or the failed and the longest ones only. */
bool report_keeps_all(uint64_t count);
/* The runs of the window as columns: an object. */
void report_put_runs(const struct tables *tables, struct report_span span, struct jot *jot);
/* Append `data`, gzipped, as base64. False: zlib had no memory. */
bool report_pack(struct span data, struct text *out) MUST_USE;

#endif
