/* internal.h: the structs of the scheduler core. Only core/scheduler includes it.
 *
 * Tasks live in a pool of chunks: a pointer stays good until the task is forgotten *and* the step in which
 * that happened is over (forgotten tasks wait in the graveyard, so actions may point to them). Relations
 * are links (core/links.h): an edge's flags say whether the input is missing and whether the dependent
 * waits, which is Dask's waiting_on and waiters without sets. Per-task state that few tasks have is in
 * struct task_extra.
 *
 * Must agree with: distributed scheduler.py, TaskState, WorkerState, ClientState, TaskGroup, TaskPrefix. */
#ifndef CASK_CORE_SCHEDULER_INTERNAL_H
#define CASK_CORE_SCHEDULER_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/prng.h"
#include "base/vec.h"
#include "core/key.h"
#include "core/links.h"
#include "core/scheduler/scheduler.h"

enum task_state {
#define STATE(id, wire, meaning) TASK_##id,
#include "core/scheduler/states.def"
    TASK_STATE_COUNT
};

/* Flags on a task's dependency links (the mirror link in the dependency carries none). */
#define EDGE_MISSING LINK_FLAG_A /* the dependency is in this task's waiting_on */
#define EDGE_WAITS LINK_FLAG_B   /* this task is in the dependency's waiters */

enum {
    TASK_HAS_RUN_SPEC = 1 << 0, /* computed; without it: scattered data, cannot be made again */
    TASK_ACTOR = 1 << 1,
    TASK_DATA_PRODUCER = 1 << 2,
    TASK_LOST_DEPENDENCIES = 1 << 3,
    TASK_LOOSE = 1 << 4,         /* loose_restrictions */
    TASK_NOT_QUEUEABLE = 1 << 5, /* P2P outputs */
    TASK_IN_GRAPH = 1 << 6,      /* scratch mark of graph.c, clear between steps */
    TASK_HAS_PRIORITY = 1 << 7,
};

/* Why a task failed; shared by all that the failure reaches. */
struct failure {
    uint32_t refs;
    enum failure_kind kind;
    struct blob *exception, *traceback;
    struct span exception_text, traceback_text; /* owned */
    struct span key;            /* owned: the task it happened in */
    struct span worker;         /* owned: address of the (last) worker */
    struct span worker_name;    /* owned: msgpack scalar */
    struct span worker_host;    /* owned */
    int64_t worker_pid;
    uint32_t worker_nthreads;
    uint32_t allowed_failures;
    double timeout;             /* NO_WORKER, NO_VALID_WORKER: seconds waited */
    struct span attempts;       /* owned text, KILLED_WORKER: one line a lost worker */
};

/* What few tasks have; created on first need. */
struct task_extra {
    struct annotations *annotations;
    struct failure *failure;        /* own exception (this task ran and failed) */
    task_id exception_blame;        /* whose failure it is; TASK_NONE */
    struct VEC(struct span) erred_on;     /* addresses, owned */
    struct VEC(struct span) worker_restrictions; /* addresses, owned */
    struct VEC(struct span) host_restrictions;
    bool has_worker_restrictions, has_host_restrictions;
    struct VEC(struct resource) resources;       /* names owned by s->names */
    struct blob *metadata;
    struct VEC(struct span) deaths; /* owned lines: how each worker was lost while it had this task */
    uint64_t shuffle;               /* number of the P2P shuffle it is the barrier of; 0 none */
};

/* A parsed annotation set, shared by tasks; refcounted. */
struct annotations {
    uint32_t refs;
    struct blob *wire;
    double priority;
    uint32_t retries;
    struct span_list span_name, span_ids; /* owned copies */
};

struct task {
    /* first cache line: what a finishing dependency touches */
    task_id id;
    uint8_t state; /* enum task_state */
    uint8_t steal_level; /* 1 + level in which stealing lists it; 0: not stealable */
    uint16_t flags;
    uint32_t missing_count;  /* |waiting_on| */
    uint32_t waiter_count;   /* |waiters| */
    struct links dependencies; /* to tasks; EDGE_… flags */
    struct links dependents;   /* to tasks */
    struct links who_has;      /* to workers (their has_what) */
    struct links who_wants;    /* to clients */
    double priority_user, priority_generation; /* smaller is sooner; wire: [user, generation, order] */
    int64_t priority_order;
    int64_t nbytes;          /* −1 unknown */
    int64_t run_id;          /* of the last compute message; 0 never */
    struct group *group;
    struct blob *run_spec;
    struct task_extra *extra; /* NULL for most */
    struct span key;         /* canonical msgpack; owned */
    uint32_t key_hash;
    worker_id processing_on; /* WORKER_NONE */
    uint32_t processing_slot; /* in the worker's processing */
    uint32_t ready_place;    /* in s->queued (heap) or s->unrunnable (slot) */
    uint32_t steal_slot;     /* in the steal list of its worker and level */
    uint32_t mark;           /* scratch of a traversal: equals s->traversal when visited */
    uint32_t retries;
    uint32_t suspicious;
    uint32_t type;           /* index in s->types; 0 unknown */
    double unrunnable_since;
};

/* A result type: pickled class and its name, interned. */
struct result_type {
    struct span pickled, name; /* owned */
};

struct durations {
    struct span action; /* interned */
    double seconds;
};

struct prefix {
    struct span name;      /* owned */
    uint32_t id;           /* index in s->prefixes */
    uint64_t state_counts_total[TASK_STATE_COUNT]; /* every arrival in a state, ever */
    double duration_average; /* −1 unknown */
    double max_exec_time;    /* −1 none */
    uint64_t suspicious;
    int64_t nbytes_total;
    uint32_t state_counts[TASK_STATE_COUNT];
    struct VEC(struct durations) durations;
    struct VEC(struct group *) groups;
    uint32_t processing_count; /* not long-running, over all workers: for the total occupancy */
    bool fast;               /* stealing never moves it: default-task-durations ≤ 1 ms */
};

struct group {
    struct span name;        /* owned */
    struct prefix *prefix;
    uint32_t id;             /* never reused */
    uint32_t refs;           /* tasks, spans and computations that hold it */
    bool listed;             /* in s->groups; false once all its tasks are forgotten */
    uint32_t state_counts[TASK_STATE_COUNT];
    struct VEC(struct group_edge { struct group *group; uint32_t edges; }) dependencies;
    int64_t nbytes_total;
    double start, stop;      /* of its runs; 0 none */
    struct VEC(struct durations) durations;
    struct VEC(struct type_count { uint32_t type; uint32_t count; }) types;
    worker_id last_worker;   /* co-assignment of root-ish tasks */
    int64_t last_worker_tasks_left;
    struct span_node *span;  /* dask span it belongs to; NULL none */
};

struct prefix_count {
    struct prefix *prefix;
    uint32_t count;
};

#define STEAL_LEVELS 15

struct worker {
    worker_id id;
    uint8_t status;          /* enum worker_status */
    bool known;              /* false once removed: kept while failures or links name it, freed then */
    uint32_t nthreads;
    struct span address, host, name, nanny, server_id, local_directory; /* owned */
    int64_t memory_limit, pid;
    int64_t nbytes;          /* of the replicas it holds */
    int64_t memory, spilled_memory, spilled_disk; /* from its metrics */
    double last_seen, time_delay, bandwidth;
    struct links has_what;   /* to tasks (their who_has) */
    struct VEC(task_id) processing;
    uint32_t long_running_count;
    struct VEC(task_id) long_running;   /* members of processing that seceded */
    struct VEC(struct prefix_count) prefix_counts; /* processing minus long-running */
    struct map needs_what;   /* task id (4 bytes) → how many processing tasks need it from elsewhere */
    int64_t network_occupancy; /* bytes of needs_what */
    struct VEC(struct resource) resources, used_resources; /* same order; names interned */
    struct VEC(task_id) actors;
    struct VEC(struct executing { task_id task; double seconds; }) executing;
    struct VEC(struct memory_sample { double time; int64_t unmanaged; }) memory_history;
    struct VEC(task_id) stealable[STEAL_LEVELS];
    double steal_in_flight_occupancy; /* seconds moving to (+) or from (−) it, unconfirmed */
    uint32_t rank;           /* place in s->workers_sorted */
    uint32_t idle_slot;      /* set bits: see place.h */
    bool is_idle, is_saturated, has_free_slot;
    uint32_t slot_place;     /* in s->free_slots heap */
    struct blob *metrics, *services, *extra, *versions;
};

enum worker_status {
    WORKER_INIT, WORKER_RUNNING, WORKER_PAUSED, WORKER_CLOSING_GRACEFULLY, WORKER_CLOSING, WORKER_CLOSED, WORKER_STATUS_COUNT
};

struct client {
    client_id id;
    struct span name;       /* owned */
    struct links wants_what; /* to tasks (their who_wants) */
    double last_seen;
    bool is_pseudo;         /* "fire-and-forget", "queue-…": no connection behind it */
};

/* A wished move, as Dask's recommendations: setting a known task's keeps its place; taken newest first. */
struct want {
    task_id task;
    uint8_t to;
    bool live;
};

/* Open-addressing table of tasks by key. */
struct key_table {
    task_id *slots;         /* TASK_NONE: empty */
    uint32_t capacity;      /* power of two */
    uint32_t count, filled; /* live; live and deleted */
};

#define TASK_CHUNK_BITS 12

struct scheduler {
    struct scheduler_config config;
    struct prng prng;
    double now;             /* time of the last event */

    struct task **task_chunks;
    uint32_t task_chunk_count, task_high;  /* ids below task_high were ever used */
    struct VEC(task_id) task_free;
    struct VEC(task_id) graveyard;         /* forgotten in this step; recycled at the next */
    struct key_table keys;
    uint32_t task_count, traversal;
    int64_t run_id_last;
    uint64_t transition_counter;

    struct VEC(struct worker *) workers;   /* by worker_id; NULL: gone; [0] NULL */
    struct VEC(worker_id) workers_sorted;  /* known ones by address */
    struct VEC(worker_id) running, idle, saturated; /* each sorted by address */
    struct map worker_by_address, aliases, hosts;
    struct heap free_slots;                /* idle_task_count: by processing/nthreads, then address */
    uint64_t total_nthreads;
    int64_t total_memory;
    uint64_t processing_total;             /* n_tasks of Dask: tasks ever sent, for round robin */
    int64_t network_occupancy;             /* sum over workers */
    double bandwidth;

    struct VEC(struct client *) clients;   /* by client_id; NULL: gone; [0] NULL */
    struct map client_by_name;
    client_id fire_and_forget;

    struct map prefix_by_name, group_by_name;
    struct VEC(struct prefix *) prefixes;
    struct map names;                      /* interned short strings (resources, actions) */
    struct VEC(struct result_type) types;
    struct map type_by_pickle;

    struct heap queued;                    /* by priority */
    struct VEC(task_id) unrunnable;        /* no-worker tasks in order of arrival, with TASK_NONE holes */
    uint32_t unrunnable_live;
    struct VEC(task_id) replicated;        /* tasks with more than one holder, holes as above; see replicas.h */

    struct VEC(struct want) wants;         /* the pending moves */
    struct map_u32_task { uint32_t *place; uint32_t capacity; } want_place; /* task id → 1 + index in wants */

    double generation, last_graph_time;    /* FIFO priorities */
    double no_workers_since;
    double idle_since;
    struct story_ring *story;
    struct steal *steal;
    struct amm *amm;
    struct locks *locks;
    struct exchange *exchange;
    struct shuffles *shuffles;
    struct spans *spans;
    struct computations *computations;
};

static inline struct task *task_at(const struct scheduler *s, task_id id)
{
    ASSERT(id < s->task_high);
    return &s->task_chunks[id >> TASK_CHUNK_BITS][id & ((1u << TASK_CHUNK_BITS) - 1)];
}

static inline struct worker *worker_at(const struct scheduler *s, worker_id id)
{
    ASSERT(id != WORKER_NONE && id < s->workers.count);
    ASSERT(s->workers.items[id] != NULL);
    return s->workers.items[id];
}

static inline struct client *client_at(const struct scheduler *s, client_id id)
{
    ASSERT(id != CLIENT_NONE && id < s->clients.count);
    ASSERT(s->clients.items[id] != NULL);
    return s->clients.items[id];
}

#endif
