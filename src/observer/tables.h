/* tables.h: what the observer knows: the records, added up.
 *
 * One thread. Each row has the tick of its last change, by which viewers get what is new. What a record names that
 * no other record introduced (records may be lost) is made up as far as known. Nothing a record says can do harm:
 * numbers are bounded, texts are bytes. */
#ifndef CASK_OBSERVER_TABLES_H
#define CASK_OBSERVER_TABLES_H

#include "base/map.h"
#include "base/text.h"
#include "base/vec.h"
#include "observer/failed.h"
#include "observer/findings.h"
#include "observer/runs.h"
#include "observer/stats.h"
#include "record/record.h"

/* Rows of a kind; the oldest go. */
#define TABLE_LINES_MAX 5000u
#define TABLE_FAILURES_MAX 1000u
#define TABLE_GONE_MAX 500u
#define TABLE_LAGS_MAX 1000u
#define TABLE_ID_MAX (1u << 22)
#define SERIES_SECONDS 3600u
#define STEAL_LEVELS_MAX 32u

/* What a worker's memory was, the last minutes: a sample a second at most. */
#define WORKER_MEMORY_SAMPLES 60u
#define WORKER_VICTIMS 10u

struct memory_sample {
    double time;
    int64_t process;
};

struct worker_row {
    uint32_t id;
    uint64_t tick;
    uint64_t told; /* tick of the last change of its names, status, limits */
    struct text address, name, host, nanny, directory, status, reason;
    uint32_t nthreads, dashboard;
    int64_t memory_limit, pid;
    double added, removed; /* removed 0: it is here */
    bool was_expected;
    uint32_t lost, was_busy;
    struct record_worker_sample sample;
    uint64_t runs, failures;
    double busy;
    struct VEC(uint64_t) threads;                       /* lane → thread's number */
    struct memory_sample memory[WORKER_MEMORY_SAMPLES]; /* a ring */
    uint32_t memory_next;
    struct text victims[WORKER_VICTIMS]; /* keys of what it ran when it was lost */
    uint32_t victim_count;
    bool is_found_lost; /* findings have it */
};

struct prefix_row {
    uint32_t id;
    uint64_t tick;
    struct text name;
    struct record_prefix_sample sample;
    uint64_t runs, failures;
    struct stats stats;
};

struct group_row {
    uint32_t id, prefix;
    uint64_t tick;
    uint64_t told; /* tick of its names */
    struct text name;
    struct record_group_sample sample;
    uint64_t runs, failures;
    double transfer;
    struct stats stats;
    struct VEC(uint32_t) dependencies;
};

#define FAILURE_SAMPLES 10

/* Failures of one prefix with one type of exception at one place. */
struct failure_row {
    uint32_t id;
    uint64_t tick;
    uint32_t prefix, cause;
    struct text type, message, where, exception, traceback;
    uint64_t count;
    double first, last;
    uint32_t workers[FAILURE_SAMPLES];
    struct text keys[FAILURE_SAMPLES]; /* as people write them */
    uint32_t worker_count, key_count;
};

/* A line of the log, an event, a graph: what comes and stays as it is. */
struct line_row {
    uint64_t n;
    double time;
    uint32_t level; /* log */
    uint16_t flags; /* graph */
    int64_t tasks, new_tasks, collisions;
    struct text name, text; /* logger, line; topic, JSON; client, reason */
};

/* How fast a worker is with a prefix. */
struct pace_row {
    uint32_t worker, prefix;
    uint64_t count;
    double seconds;
};

#define UNRUNNABLE_SAMPLES 3u

/* Tasks that no worker may run, as of the last sample. */
struct unrunnable {
    uint32_t total, count;
    double time, since; /* of the first of them */
    struct text keys[UNRUNNABLE_SAMPLES], reasons[UNRUNNABLE_SAMPLES];
};

struct lines {
    struct VEC(struct line_row) rows; /* a ring once full */
    uint64_t next;                    /* number of the next one */
    uint64_t base;                    /* of the first that ever came here: of a file's, its first */
};

struct activity_row; /* activities.h */

struct transfer_row {
    uint32_t from, to;
    uint64_t tick;
    uint64_t count;
    double seconds, longest;
};

struct semaphore_row {
    struct text name;
    struct record_semaphore last;
};

/* Results of a type that went from worker to worker. */
struct moved_row {
    struct text type;
    struct record_moved last;
};

/* What the scheduler's loop was busy with. */
struct lag_row {
    struct text name;
    struct record_lag last;
};

struct second_row {
    uint64_t second; /* 0: empty */
    uint32_t runs, failures, transfers;
    double busy;           /* seconds of computing in it */
    double transfer, disk; /* of runs that ended in it: seconds before and after the computing */
    uint32_t processing, queued, workers;
    int64_t process, managed, spilled;
    float loop_longest;
    bool has_totals;
};

enum cluster_state { CLUSTER_RUNNING, CLUSTER_ENDED, CLUSTER_DIED };

struct tables {
    uint64_t tick; /* of the newest change */
    double time;   /* of the newest data */
    enum cluster_state state;
    double ended;
    struct text reason, cluster_id, address, version;
    int64_t pid;
    double started;
    struct VEC(struct worker_row *) workers; /* by number; NULL: none */
    uint32_t worker_count, gone_count;
    struct VEC(struct prefix_row *) prefixes;  /* by number − 1 */
    struct VEC(struct group_row *) groups;     /* in order of coming; by number: group_places */
    struct map group_places;                   /* number (4 bytes) → place */
    struct VEC(struct failure_row *) failures; /* in order of coming */
    struct map failure_places;                 /* prefix, type, where → place */
    uint64_t failures_total, failures_seen;    /* rows ever made; failures ever told */
    uint32_t failure_last;                     /* the row of the newest failure */
    struct failed_rows failed;                 /* what failed tasks were given */
    struct VEC(struct text) texts;             /* by number − 1 − texts_gone */
    uint32_t texts_gone;
    size_t texts_bytes;
    uint64_t texts_told; /* bytes, of those that are gone, too */
    struct lines logs, events, graphs;
    struct lines statuses; /* of workers as they changed; level: worker, text: status */
    struct lines deaths; /* of executors; name: the task's key, text: certificate, level: worker */
    struct lines large;  /* graphs; name: client, tasks: bytes */
    struct lines versions; /* name: who, text: comparison */
    struct unrunnable unrunnable;
    struct VEC(struct pace_row) paces;
    struct map pace_places; /* worker, prefix → place */
    struct findings findings;
    struct VEC(struct transfer_row) transfers;
    struct map transfer_places; /* from, to → place */
    struct VEC(struct activity_row *) activities;
    struct map activity_places; /* context, function, activity, unit → place */
    struct VEC(struct moved_row) moved;
    struct VEC(struct semaphore_row) semaphores;
    struct VEC(struct lag_row) lags;
    struct record_steal_level steals[STEAL_LEVELS_MAX];
    struct VEC(struct text) clients; /* by number; empty: not here */
    uint64_t clients_added, clients_removed, workers_added, workers_removed, graphs_total;
    struct record_totals totals;
    double totals_time; /* 0: none yet */
    struct second_row seconds[SERIES_SECONDS];
    uint64_t second_changed; /* the earliest that changed since history was written */
    struct runs runs;
    uint64_t transfers_total, gaps, lost;
};

struct tables *tables_create(size_t bytes_max);
void tables_destroy(struct tables *tables);
/* Take one well-formed record in. */
void tables_apply(struct tables *tables, const union any_record *record);
/* The scheduler is gone without a word. */
void tables_died(struct tables *tables, double time, const char *reason);

struct worker_row *tables_worker(const struct tables *tables, uint32_t id);
struct worker_row *tables_worker_by_address(const struct tables *tables, struct span address);
const struct prefix_row *tables_prefix(const struct tables *tables, uint32_t id);
struct group_row *tables_group(const struct tables *tables, uint32_t id);
/* A client's id, or "". */
const char *tables_client(const struct tables *tables, uint32_t id);
/* The name of a prefix, or "". */
const char *tables_prefix_name(const struct tables *tables, uint32_t id);
/* Row n of a list; NULL: gone, or not yet. */
const struct line_row *lines_at(const struct lines *lines, uint64_t n);
uint64_t lines_first(const struct lines *lines);
/* Whole seconds before the newest, by number of the second; NULL: nothing was told about it. */
const struct second_row *tables_second(const struct tables *tables, uint64_t second);
/* Runs, failures, transfers a second, over the last 5 whole seconds before `now`. */
void tables_rates(const struct tables *tables, double now, double out_rates[3]);
/* Threads that computed on average in the last whole seconds before `now`. */
double tables_threads_busy(const struct tables *tables, double now);

#endif
