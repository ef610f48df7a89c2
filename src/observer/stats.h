/* stats.h: how long things took, in few bytes: sums, extremes, and counts by half octaves for quantiles. */
#ifndef CASK_OBSERVER_STATS_H
#define CASK_OBSERVER_STATS_H

#include <stdint.h>

#define STATS_BUCKETS 80

struct stats {
    uint64_t count;
    double sum, min, max;
    uint32_t buckets[STATS_BUCKETS]; /* [i]: up to 1 µs × 2^(i/2) */
};

void stats_add(struct stats *stats, double seconds);
/* The value below which `share` of them lie, to within a half octave; 0 if there are none. */
double stats_quantile(const struct stats *stats, double share);

#endif
