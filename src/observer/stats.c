/* stats.c: see stats.h. */
#include "observer/stats.h"

#include <math.h>

#define FIRST_SECONDS 1e-6

static uint32_t bucket_of(double seconds)
{
    if (!(seconds > FIRST_SECONDS)) {
        return 0;
    }
    double place = ceil(2 * log2(seconds / FIRST_SECONDS));
    return place < STATS_BUCKETS - 1 ? (uint32_t)place : STATS_BUCKETS - 1;
}

void stats_add(struct stats *stats, double seconds)
{
    if (stats->count == 0 || seconds < stats->min) {
        stats->min = seconds;
    }
    if (stats->count == 0 || seconds > stats->max) {
        stats->max = seconds;
    }
    stats->count++;
    stats->sum += seconds;
    stats->buckets[bucket_of(seconds)]++;
}

double stats_quantile(const struct stats *stats, double share)
{
    double wanted = share * (double)stats->count, seen = 0;
    for (uint32_t i = 0; i < STATS_BUCKETS && stats->count > 0; i++) {
        seen += stats->buckets[i];
        if (seen >= wanted) {
            double bound = FIRST_SECONDS * exp2(i / 2.0);
            return fmin(fmax(bound, stats->min), stats->max);
        }
    }
    return 0;
}
