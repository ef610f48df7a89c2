/* events.h: the events of events.def as structs. What the lists and records inside mean stands here. */
#ifndef CASK_CORE_SCHEDULER_EVENTS_H
#define CASK_CORE_SCHEDULER_EVENTS_H

#include "core/step.h"

/* One set of annotations, shared by the tasks that carry it. The node parses it; `wire` is the whole
 * map as it goes to workers, without "span". Order of precedence: per-task over global. */
struct annotation_info {
    struct blob *wire;        /* msgpack map; NULL: empty */
    double priority;          /* greater is sooner … */
    bool has_priority;        /* … false: the graph's user_priority holds */
    uint32_t retries;         /* 0 if none */
    struct span_list workers; /* names (canonical msgpack scalars), addresses or hosts; restricts */
    bool has_workers;         /* an empty list restricts to nothing */
    bool allow_other_workers;
    const struct resource *resources;
    uint32_t resource_count;
    struct span_list span_name; /* of a dask span: its name parts … */
    struct span_list span_ids;  /* … and ids (uuid strings); both empty: the default span */
};

struct graph_plan;

struct shuffle_info {
    uint32_t task;        /* number of the barrier task */
    struct span id, spec; /* shuffle id (UTF-8); pickle of the ShuffleSpec */
    bool is_array;
    struct span_list parts; /* canonical msgpack of each output partition */
    const uint32_t *axis_lengths;
    uint32_t axis_count;
    uint32_t npartitions;
};

/* An update-graph. Task numbers index run_specs, flags…; key numbers ≥ task_count are outside the graph. */
struct graph_info {
    client_id client;
    uint32_t task_count, key_count;
    const struct span *keys;
    const uint32_t *dep_start, *deps; /* as in wire/flat_graph.h */
    struct blob *const *run_specs;
    const uint8_t *flags; /* FLAT_… of wire/flat_graph.h, same bits: see GRAPH_… below */
    const int64_t
        *priorities; /* internal priorities by task (GRAPH_NO_PRIORITY: none), or NULL: the
                                        * core orders */
    const struct annotation_info
        *annotations; /* [0] is the global set; task i has annotations[annotation_of[i]] */
    uint32_t annotation_count;
    const uint32_t *annotation_of; /* already merged with the global set; NULL: all 0 */
    const struct shuffle_info *shuffles;
    uint32_t shuffle_count;
    bool cull;                   /* keep only what `wanted` reaches */
    struct span_list wanted;     /* keys the client wants */
    struct span submitting_task; /* key, or empty */
    double fifo_timeout;         /* seconds */
    double user_priority;
    bool all_actors;            /* every wanted key is an actor */
    struct span_list actors;    /* or these are */
    struct blob *code;          /* msgpack list of source code, may be NULL */
    struct blob *span_metadata; /* msgpack map, may be NULL */
    double started;             /* when the message arrived; names the stimulus */
    struct graph_plan *plan;    /* made in advance (graph_plan.h), or NULL */
    /* If it has more tasks, take it in pieces of about so many, one an event; 0: at once. All that is lent
     * here, the plan too, is lent until step->graph_pending says that no more is to come. */
    uint32_t slice;
};

#define GRAPH_NO_PRIORITY INT64_MIN

enum { GRAPH_DATA_PRODUCER = 1 << 0, GRAPH_NOT_A_TASK = 1 << 1, GRAPH_P2P_BARRIER = 1 << 2 };

struct worker_info {
    struct span address, name;                             /* name: canonical msgpack scalar */
    struct span host;                                      /* host part of the address */
    struct span nanny, server_id, local_directory, status; /* nanny empty: none */
    uint32_t nthreads;
    int64_t memory_limit; /* bytes; 0 none */
    int64_t pid;
    const struct resource *resources;
    uint32_t resource_count;
    struct blob *services, *extra, *versions; /* msgpack maps, passed through */
    const struct metrics_info *metrics;
    bool takes_forwarded; /* it can be told of tasks whose inputs are still to be computed there */
};

struct prefix_number {
    struct span name;
    double number;
};

struct metrics_info {
    struct blob *raw; /* the whole metrics map, for identity and the dashboard */
    int64_t memory;   /* process RSS, bytes */
    int64_t spilled_memory, spilled_disk;
    double bandwidth; /* NaN: none */
    struct prefix_number const
        *bandwidth_workers; /* sums weighted as stock: number is MB/s of that peer */
    uint32_t bandwidth_worker_count;
    const struct span *executing_keys; /* running tasks … */
    const double *executing_seconds;   /* … and how long each already runs */
    uint32_t executing_count;
    double worker_time; /* "now" as the worker sees it */
};

enum failure_kind {
    FAILURE_USER,          /* exception and traceback come from the worker or the planner */
    FAILURE_KILLED_WORKER, /* allowed-failures + 1 workers or processes died of it */
    FAILURE_MEMORY,        /* inputs larger than the worker's memory limit */
    FAILURE_ACTOR_LOST,
    FAILURE_NO_WORKER, /* no-workers-timeout */
    FAILURE_NO_VALID_WORKER,
    FAILURE_TEXT, /* RuntimeError(text) made here */
};

/* How a failure comes in with an event; the core keeps it as struct failure. */
struct failure_info {
    enum failure_kind kind;
    struct blob *exception, *traceback; /* as they go to clients; traceback may be NULL */
    struct span exception_text, traceback_text;
};

enum event_kind {
#define EVENT(ID, name, FIELDS) EVENT_##ID,
#include "core/scheduler/events.def"
    EVENT_KIND_COUNT
};

#define EVENT_TYPE_span struct span
#define EVENT_TYPE_span_list struct span_list
#define EVENT_TYPE_blob struct blob *
#define EVENT_TYPE_f64 double
#define EVENT_TYPE_i64 int64_t
#define EVENT_TYPE_u64 uint64_t
#define EVENT_TYPE_u32 uint32_t
#define EVENT_TYPE_flag bool
#define EVENT_TYPE_worker worker_id
#define EVENT_TYPE_client client_id
#define EVENT_TYPE_graph const struct graph_info *
#define EVENT_TYPE_worker_info const struct worker_info *
#define EVENT_TYPE_metrics const struct metrics_info *
#define EVENT_TYPE_failure_info const struct failure_info *
#define EVENT_TYPE_startstops struct startstop_list
#define EVENT_TYPE_workers struct worker_list
#define EVENT_TYPE_sizes struct size_list
#define EVENT_TYPE_resources struct resource_list

struct worker_list {
    const worker_id *items;
    uint32_t count;
};

#define EVENT_FIELD(type, name) EVENT_TYPE_##type name;
#define EVENT(ID, name, FIELDS)                                                                    \
    struct event_##name {                                                                          \
        FIELDS(EVENT_FIELD)                                                                        \
    };
#include "core/scheduler/events.def"

struct event {
    enum event_kind kind;
    double time; /* seconds since the epoch, wall clock, never decreasing */
    struct span
        stimulus; /* the stimulus id for stories and outgoing messages; empty: the core makes one */
    union {
#define EVENT(ID, name, FIELDS) struct event_##name name;
#include "core/scheduler/events.def"
    } of;
};

#endif
