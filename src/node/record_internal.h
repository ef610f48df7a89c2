/* record_internal.h: what record.c and record_sample.c share. */
#ifndef CASK_NODE_RECORD_INTERNAL_H
#define CASK_NODE_RECORD_INTERNAL_H

#include <unistd.h>

#include "base/map.h"
#include "base/vec.h"
#include "node/lags.h"
#include "node/record.h"
#include "record/ring.h"

/* Groups of which the observer is told; of more, their prefixes tell. */
#define RECORDED_GROUPS_MAX 20000u

struct recorded_group {
    struct span name;  /* owned */
    uint32_t id;       /* the core's */
    uint32_t edges;    /* dependencies told */
    uint64_t checksum; /* of what the last sample said */
};

struct recorder {
    struct node *node;
    struct ring_writer *ring;
    struct VEC(uint32_t) prefixes;       /* core's number → ours; 0: not told */
    struct map prefix_numbers;           /* name → ours */
    struct VEC(uint64_t) prefix_changes; /* core's number → checksum of the last sample */
    struct VEC(struct recorded_group) groups;
    struct VEC(uint32_t) group_places; /* core's number → place in groups + 1 */
    uint32_t group_next;               /* the group that the next sample begins with */
    uint32_t group_cursor;             /* where to look for groups that were not told yet */
    struct map texts;                  /* text → its number */
    uint32_t text_last;
    struct VEC(double) worker_seen; /* by worker: last_seen of the last sample */
    uint64_t transitions_seen;
    uint64_t lag_counts[LAG_COUNT]; /* of the last sample */
    double log_time;                /* of the newest line told */
    bool has_unrunnable;
    struct map moved; /* name of a type → struct moved (record_moved.c) */
};

uint32_t record_prefix_number(struct recorder *recorder, uint32_t core_number, struct span name);
uint32_t record_group_number(struct recorder *recorder, uint32_t id, struct span name,
                             uint32_t prefix);
void record_worker(struct recorder *recorder, worker_id worker);
void record_status(struct recorder *recorder, worker_id worker, struct span status);
/* A run of the task waited so long for its inputs. */
void record_moved_seconds(struct recorder *recorder, const struct task *task, double seconds);
void record_moved_sample(struct recorder *recorder, bool all);
void record_moved_fini(struct recorder *recorder);
void record_client(struct recorder *recorder, client_id client, double time, bool came);

#endif
