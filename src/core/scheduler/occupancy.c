/* occupancy.c: see occupancy.h. The invariant: worker->narrow_ns is the sum of count × duration over its
 * tally from tally_wide_count on, and s->occupancy_ns that sum over all workers and prefixes. */
#include "core/scheduler/occupancy.h"

#include <math.h>

#define NARROW_MAX (sizeof((struct prefix *)0)->holders / sizeof(worker_id))
#define INDEX_FROM 8u /* entries of a tally from which on they are found through an index */
#define NANOSECONDS 1e9
#define DURATION_MAX 1e8 /* seconds; keeps sums over many millions of tasks inside 64 bits */

/* ---- the tally of a worker: {prefix, count}, wide prefixes first ---- */

/* Place of the prefix in the worker's tally, or tally.count. */
static uint32_t tally_find(const struct worker *worker, const struct prefix *prefix)
{
    if (worker->tally_index.count > 0) {
        const uint32_t *place = id_map_find(&worker->tally_index, prefix->id);
        return place == NULL ? worker->tally.count : *place;
    }
    uint32_t place = 0;
    while (place < worker->tally.count && worker->tally.items[place].prefix != prefix) {
        place++;
    }
    return place;
}

static void tally_put(struct worker *worker, uint32_t place, struct prefix_count entry)
{
    worker->tally.items[place] = entry;
    if (worker->tally_index.count > 0) {
        *id_map_put(&worker->tally_index, entry.prefix->id) = place;
    }
}

static void tally_swap(struct worker *worker, uint32_t a, uint32_t b)
{
    if (a != b) {
        struct prefix_count entry = worker->tally.items[a];
        tally_put(worker, a, worker->tally.items[b]);
        tally_put(worker, b, entry);
    }
}

/* A new entry with count 0, at the end: narrow. Returns its place. */
static uint32_t tally_append(struct worker *worker, struct prefix *prefix)
{
    vec_push(&worker->tally, (struct prefix_count){.prefix = prefix});
    uint32_t count = worker->tally.count;
    if (count == INDEX_FROM && worker->tally_index.count == 0) {
        for (uint32_t i = 0; i < count; i++) {
            *id_map_put(&worker->tally_index, worker->tally.items[i].prefix->id) = i;
        }
    } else if (count > INDEX_FROM || worker->tally_index.count > 0) {
        *id_map_put(&worker->tally_index, prefix->id) = count - 1;
    }
    return count - 1;
}

/* The narrow entry at `place` joins the wide ones. */
static void tally_widen(struct worker *worker, uint32_t place)
{
    ASSERT(place >= worker->tally_wide_count);
    tally_swap(worker, place, worker->tally_wide_count);
    worker->tally_wide_count++;
}

static void tally_delete(struct worker *worker, uint32_t place)
{
    uint32_t id = worker->tally.items[place].prefix->id;
    if (place < worker->tally_wide_count) {
        worker->tally_wide_count--;
        tally_swap(worker, place, worker->tally_wide_count);
        place = worker->tally_wide_count;
    }
    tally_swap(worker, place, worker->tally.count - 1);
    worker->tally.count--;
    if (worker->tally_index.count > 0) {
        id_map_remove(&worker->tally_index, id);
    }
}

/* ---- narrow and wide prefixes ---- */

/* The prefix gets one holder too many to be narrow: its entries move into the wide part. */
static void widen(struct scheduler *s, struct prefix *prefix)
{
    for (uint32_t i = 0; i < NARROW_MAX; i++) {
        struct worker *worker = worker_at(s, prefix->holders[i]);
        uint32_t place = tally_find(worker, prefix);
        ASSERT(place < worker->tally.count);
        worker->narrow_ns -= worker->tally.items[place].count * prefix->duration_ns;
        tally_widen(worker, place);
    }
    prefix->wide = true;
}

static void holder_add(struct scheduler *s, struct prefix *prefix, struct worker *worker)
{
    if (!prefix->wide && prefix->holder_count == NARROW_MAX) {
        widen(s, prefix);
    }
    if (!prefix->wide) {
        prefix->holders[prefix->holder_count] = worker->id;
    }
    prefix->holder_count++;
}

static void holder_remove(struct prefix *prefix, const struct worker *worker)
{
    ASSERT(prefix->holder_count > 0);
    prefix->holder_count--;
    if (prefix->wide) {
        prefix->wide = prefix->holder_count > 0;
        return;
    }
    uint32_t place = 0;
    while (prefix->holders[place] != worker->id) {
        ASSERT(place < prefix->holder_count);
        place++;
    }
    prefix->holders[place] = prefix->holders[prefix->holder_count];
}

void occupancy_add(struct scheduler *s, struct worker *worker, struct prefix *prefix)
{
    uint32_t place = tally_find(worker, prefix);
    if (place == worker->tally.count) {
        holder_add(s, prefix, worker);
        place = tally_append(worker, prefix);
        if (prefix->wide) {
            tally_widen(worker, place);
            place = worker->tally_wide_count - 1;
        }
    }
    worker->tally.items[place].count++;
    worker->narrow_ns += prefix->wide ? 0 : prefix->duration_ns;
    prefix->processing_count++;
    s->occupancy_ns += prefix->duration_ns;
}

void occupancy_remove(struct scheduler *s, struct worker *worker, struct prefix *prefix)
{
    uint32_t place = tally_find(worker, prefix);
    ASSERT(place < worker->tally.count);
    ASSERT(prefix->processing_count > 0);
    worker->narrow_ns -= prefix->wide ? 0 : prefix->duration_ns;
    s->occupancy_ns -= prefix->duration_ns;
    prefix->processing_count--;
    if (--worker->tally.items[place].count == 0) {
        tally_delete(worker, place);
        holder_remove(prefix, worker);
    }
}

/* ---- durations ---- */

static double expected_duration(const struct scheduler *s, const struct prefix *prefix)
{
    if (prefix->duration_average >= 0) {
        return prefix->duration_average;
    }
    return prefix->max_exec_time > 0 ? 2 * prefix->max_exec_time : s->config.unknown_task_duration;
}

void prefix_set_duration(struct scheduler *s, struct prefix *prefix, double average,
                         double max_exec_time)
{
    prefix->duration_average = average;
    prefix->max_exec_time = max_exec_time;
    int64_t old = prefix->duration_ns;
    prefix->duration_ns =
        (int64_t)rint(fmin(expected_duration(s, prefix), DURATION_MAX) * NANOSECONDS);
    int64_t difference = prefix->duration_ns - old;
    if (difference == 0 || prefix->processing_count == 0) {
        return;
    }
    s->occupancy_ns += prefix->processing_count * difference;
    for (uint32_t i = 0; !prefix->wide && i < prefix->holder_count; i++) {
        struct worker *worker = worker_at(s, prefix->holders[i]);
        worker->narrow_ns += worker->tally.items[tally_find(worker, prefix)].count * difference;
    }
}

double prefix_duration(const struct scheduler *s, const struct prefix *prefix)
{
    return expected_duration(s, prefix);
}

double worker_occupancy(const struct scheduler *s, const struct worker *worker)
{
    int64_t nanoseconds = worker->narrow_ns;
    for (uint32_t i = 0; i < worker->tally_wide_count; i++) {
        const struct prefix_count *entry = &worker->tally.items[i];
        nanoseconds += entry->count * entry->prefix->duration_ns;
    }
    return (double)nanoseconds / NANOSECONDS + (double)worker->network_occupancy / s->bandwidth;
}

double total_occupancy(const struct scheduler *s)
{
    return (double)s->occupancy_ns / NANOSECONDS + (double)s->network_occupancy / s->bandwidth;
}

/* ---- check ---- */

static void check_worker(const struct worker *worker, uint64_t *out_count, int64_t *out_ns)
{
    int64_t narrow = 0;
    for (uint32_t i = 0; i < worker->tally.count; i++) {
        const struct prefix_count *entry = &worker->tally.items[i];
        ASSERT(entry->count > 0);
        ASSERT(entry->prefix->wide == (i < worker->tally_wide_count));
        ASSERT(tally_find(worker, entry->prefix) == i);
        int64_t share = entry->count * entry->prefix->duration_ns;
        narrow += entry->prefix->wide ? 0 : share;
        *out_ns += share;
        *out_count += entry->count;
    }
    ASSERT(narrow == worker->narrow_ns);
    ASSERT(worker->processing.count > 0 || worker->tally.count == 0);
}

void occupancy_check(const struct scheduler *s)
{
    uint64_t count = 0;
    int64_t ns = 0;
    int64_t network = 0;
    for (uint32_t i = 0; i < s->workers.count; i++) {
        if (s->workers.items[i] != NULL) {
            check_worker(s->workers.items[i], &count, &ns);
            network += s->workers.items[i]->network_occupancy;
        }
    }
    ASSERT(ns == s->occupancy_ns);
    ASSERT(network == s->network_occupancy);
    uint64_t counted = 0;
    for (uint32_t i = 0; i < s->prefixes.count; i++) {
        counted += s->prefixes.items[i]->processing_count;
    }
    ASSERT(counted == count);
}
