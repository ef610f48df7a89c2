/* adapt.h: how many workers the load deserves. Must agree with: scheduler.py adaptive_target. */
#ifndef CASK_CORE_SCHEDULER_ADAPT_H
#define CASK_CORE_SCHEDULER_ADAPT_H

#include "core/scheduler/scheduler.h"

/* `target_duration`: seconds in which the present work should be done (adaptive.target-duration, 5). O(workers). */
/* What the load alone asks for. */
int64_t adapt_wanted(const struct scheduler *s, double target_duration);
/* The same, but never fewer than may be closed now. */
int64_t adapt_target(const struct scheduler *s, double target_duration);

#endif
