/* top_model.h: what `cask top` knows of a cluster, as its observer told. No I/O, no clock. */
#ifndef CASK_CLI_TOP_MODEL_H
#define CASK_CLI_TOP_MODEL_H

#include "base/text.h"
#include "base/vec.h"
#include "cli/top_frame.h"

/* Columns of the channels, by docs/observer.md's numbers: those that are shown. */
enum top_summary {
    SUMMARY_STATE,
    SUMMARY_WORKERS,
    SUMMARY_THREADS,
    SUMMARY_IDLE,
    SUMMARY_SATURATED,
    SUMMARY_PAUSED,
    SUMMARY_RETIRING,
    SUMMARY_CLIENTS,
    SUMMARY_RELEASED,
    SUMMARY_WAITING,
    SUMMARY_NO_WORKER,
    SUMMARY_QUEUED,
    SUMMARY_PROCESSING,
    SUMMARY_MEMORY,
    SUMMARY_ERRED,
    SUMMARY_RUNS,
    SUMMARY_FAILURES,
    SUMMARY_RUN_RATE,
    SUMMARY_FAILURE_RATE,
    SUMMARY_TRANSFER_RATE,
    SUMMARY_OCCUPANCY,
    SUMMARY_LIMIT,
    SUMMARY_PROCESS,
    SUMMARY_MANAGED,
    SUMMARY_UNMANAGED_OLD,
    SUMMARY_UNMANAGED_RECENT,
    SUMMARY_SPILLED,
    SUMMARY_LONGEST_TURN,
    SUMMARY_LOOP_BUSY,
    SUMMARY_DROPPED,
    SUMMARY_THREADS_BUSY,
    SUMMARY_REASON,
    SUMMARY_GRAPHS,
    SUMMARY_DESIRED
};
enum top_worker {
    WORKER_ID,
    WORKER_STATUS,
    WORKER_NAME,
    WORKER_ADDRESS,
    WORKER_NTHREADS,
    WORKER_LIMIT,
    WORKER_PROCESS,
    WORKER_MANAGED,
    WORKER_UNMANAGED_OLD,
    WORKER_UNMANAGED_RECENT,
    WORKER_SPILLED,
    WORKER_CPU,
    WORKER_PROCESSING,
    WORKER_EXECUTING,
    WORKER_HAS_WHAT,
    WORKER_OCCUPANCY,
    WORKER_NET_READ,
    WORKER_NET_WRITE,
    WORKER_DISK_READ,
    WORKER_DISK_WRITE,
    WORKER_FDS,
    WORKER_LAST_SEEN,
    WORKER_RUNS,
    WORKER_FAILURES,
    WORKER_BUSY,
    WORKER_REMOVED
};
enum top_group {
    GROUP_ID,
    GROUP_NAME,
    GROUP_PREFIX,
    GROUP_SIZE,
    GROUP_RELEASED,
    GROUP_WAITING,
    GROUP_NO_WORKER,
    GROUP_QUEUED,
    GROUP_PROCESSING,
    GROUP_MEMORY,
    GROUP_ERRED,
    GROUP_FORGOTTEN,
    GROUP_RUNS,
    GROUP_FAILURES,
    GROUP_DURATION,
    GROUP_NBYTES,
    GROUP_START,
    GROUP_STOP
};
enum top_failure {
    FAILURE_ID,
    FAILURE_PREFIX,
    FAILURE_TYPE,
    FAILURE_MESSAGE,
    FAILURE_WHERE,
    FAILURE_COUNT,
    FAILURE_FIRST,
    FAILURE_LAST,
    FAILURE_CAUSE
};

#define TOP_TEXTS 4
#define TOP_RATES 240

/* One row of a channel: numbers by column, its texts in the order of their columns. */
struct top_row {
    double numbers[TOP_COLUMNS];
    struct text texts[TOP_TEXTS];
};

struct top_table {
    struct VEC(struct top_row *) rows; /* in order of coming */
};

/* One lane of the task stream: shares of each bucket. */
struct top_lane {
    struct text name;
    uint32_t bucket_count;
    float *busy, *other; /* other: transfers, disk, deserialization */
    bool *has_failed;
};

struct top_stream {
    double since, until;
    struct VEC(struct top_lane) lanes;
};

struct top_model {
    struct text address;            /* of what is looked at */
    bool is_connected, has_summary; /* has: it ever came */
    struct text trouble;            /* why it is not connected */
    struct top_row summary;
    struct top_table workers, groups, failures;
    struct top_stream stream;
    double time;            /* of the newest data */
    float rates[TOP_RATES]; /* runs a second, newest last */
    uint32_t rate_count, summaries;
    struct text detail; /* lines about one thing */
    struct text notice; /* what to tell once */
    bool can_act;       /* the observer takes actions from us */
};

/* Whether tasks of the group are left; of one that was forgotten as a whole there is nothing to show. */
bool top_group_is_left(const struct top_row *row);
void top_model_fini(struct top_model *model);
/* Take a frame in. ERR_MALFORMED: it is none. */
int top_model_frame(struct top_model *model, struct span bytes) MUST_USE;
/* Take the answer of GET api/cask/v1/stream in. ERR_MALFORMED: it is none. */
int top_model_stream(struct top_model *model, struct span json) MUST_USE;
/* The connection is new: what comes replaces all; the picture stays until then. */
void top_model_connected(struct top_model *model, bool is_connected, const char *trouble);

#endif
