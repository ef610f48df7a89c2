/* internal.h: the structs of the scheduler core. Only core/scheduler includes it.
 *
 * Tasks live in a pool of chunks: a pointer stays good until the task is forgotten *and* the step in which
 * that happened is over (forgotten tasks wait in the graveyard, so actions may point to them). Relations
 * are links (core/links.h): marks on an edge (core/edge.h) say whether the input is missing and whether the dependent
 * waits, which is Dask's waiting_on and waiters without sets. Per-task state that few tasks have is in
 * struct task_extra. A task is three cache lines; the first is what a finishing input touches.
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
#include "core/edge.h"
#include "core/id_map.h"
#include "core/key.h"
#include "core/key_index.h"
#include "core/scheduler/scheduler.h"
#include "core/scheduler/states.h"

enum {
    TASK_HAS_RUN_SPEC = 1 << 0, /* computed; without it: scattered data, cannot be made again */
    TASK_ACTOR = 1 << 1,
    TASK_DATA_PRODUCER = 1 << 2,
    TASK_LOST_DEPENDENCIES = 1 << 3,
    TASK_LOOSE = 1 << 4,         /* loose_restrictions */
    TASK_NOT_QUEUEABLE = 1 << 5, /* P2P outputs */
    TASK_HAS_PRIORITY = 1 << 6,
    TASK_LONG_RUNNING = 1 << 7, /* seceded; set only while processing */
    TASK_PINNED = 1 << 8,       /* a graph that is coming in touches it: graph.h */
    TASK_UNNEEDED = 1 << 9,     /* in s->unneeded: backlog.h */
    TASK_FORWARDED = 1 << 10,   /* its worker was told already: forward.h; set only while waiting */
};

/* Where a task may run; shared by the tasks of one annotation set, counted. NULL in a task: anywhere. */
struct restrictions {
    uint32_t refs;
    struct span *workers; /* addresses, owned */
    uint32_t worker_count;
    struct span *hosts; /* text: host names, or aliases of workers not known yet; owned */
    uint32_t host_count;
    struct resource *resources; /* names interned in s->names */
    uint32_t resource_count;
};

/* A parsed annotation set, shared by tasks, counted. */
struct annotations {
    uint32_t refs;
    struct blob *wire; /* NULL: empty */
    double priority;
    bool has_priority;
    uint32_t retries;
    struct span_list span_name, span_ids; /* owned copies */
};

/* What few tasks have; created on first need (task_extra_make). */
struct task_extra {
    struct annotations *annotations;   /* NULL: none */
    struct restrictions *restrictions; /* NULL: none */
    struct failure
        *failure; /* set: exception_blame; its own failure or an input's: failure->key says whose */
    struct VEC(struct span) erred_on; /* addresses, owned */
    struct blob *metadata;            /* of its last run, NULL none */
    struct text *deaths;              /* one line a worker lost with this task on it; NULL none */
    uint64_t shuffle;                 /* number of the P2P shuffle it is the barrier of; 0 none */
    uint32_t retries;                 /* left */
    uint32_t suspicious;              /* workers (or processes of theirs) lost with it */
    uint32_t death_count;
    worker_id avoided; /* its process died there last: elsewhere, if it may; WORKER_NONE none */
    bool has_crashes;  /* some deaths cost a process only, not the worker */
};

struct task {
    task_id id;
    uint8_t state;             /* enum task_state */
    uint8_t steal_level;       /* 1 + level in which stealing lists it; 0: not stealable */
    uint16_t flags;            /* TASK_… */
    uint32_t missing_count;    /* |waiting_on| */
    uint32_t waiter_count;     /* |waiters| */
    struct links dependencies; /* to tasks; EDGE_… flags */
    struct links dependents;   /* to tasks */
    struct links who_has;      /* to workers (their has_what) */
    /* second line */
    struct links who_wants; /* to clients */
    struct group *group;
    struct span key;          /* canonical msgpack; owned */
    int64_t nbytes;           /* −1 unknown */
    int64_t run_id;           /* of the last compute message; 0 never */
    worker_id processing_on;  /* WORKER_NONE */
    uint32_t processing_slot; /* in the worker's processing */
    /* third line */
    double priority_user,
        priority_generation; /* smaller is sooner; wire: [user, generation, order] */
    int64_t priority_order;
    struct blob *run_spec;
    struct task_extra *extra; /* NULL for most */
    uint32_t serial;          /* order of creation (wraps) */
    uint32_t ready_place; /* queued: queue.h; no-worker: in s->unrunnable; memory: in s->replicated;
                      * forwarded: in its worker's forwarded */
    uint32_t steal_slot;  /* in the steal list of its worker and level; forwarded: its worker */
    uint32_t mark;        /* scratch of a traversal: equals s->traversal when visited */
    uint32_t want_place;  /* 1 + its place in s->wants; 0 none */
    uint32_t type;        /* index in s->types; 0 unknown */
};
static_assert(sizeof(struct task) == 192, "three cache lines");

static inline uint32_t task_retries(const struct task *task)
{
    return task->extra == NULL ? 0 : task->extra->retries;
}

static inline uint32_t task_suspicious(const struct task *task)
{
    return task->extra == NULL ? 0 : task->extra->suspicious;
}

/* exception_blame: why it erred (or must), or NULL. */
static inline struct failure *task_failure(const struct task *task)
{
    return task->extra == NULL ? NULL : task->extra->failure;
}

static inline struct restrictions *task_restrictions(const struct task *task)
{
    return task->extra == NULL ? NULL : task->extra->restrictions;
}

/* get_nbytes: the size, or a guess while unknown. */
static inline int64_t task_nbytes(const struct scheduler *s, const struct task *task);

/* Microseconds spent in one kind of action ("compute", "transfer", …). */
struct durations {
    struct span action; /* interned */
    int64_t microseconds;
};
struct duration_list VEC(struct durations);

struct prefix {
    struct span name; /* owned */
    uint32_t id;      /* index in s->prefixes */
    uint32_t size;    /* tasks of its listed groups, forgotten ones included */
    uint64_t state_counts_total[TASK_STATE_COUNT]; /* every arrival in a state, ever */
    uint32_t state_counts[TASK_STATE_COUNT];
    double duration_average; /* seconds; −1 unknown. Change it through occupancy.h only */
    double max_exec_time;    /* −1 none */
    uint64_t suspicious;
    int64_t nbytes_total;
    int64_t duration_us; /* all actions of its listed groups */
    struct duration_list durations;
    struct VEC(struct group *) groups; /* listed ones */
    bool fast; /* stealing never moves it: default-task-durations ≤ 1 ms */
    /* occupancy.h */
    int64_t duration_ns;       /* what one of its tasks is expected to take */
    uint32_t processing_count; /* not long-running, over all workers */
    uint32_t holder_count;     /* workers with at least one of those */
    worker_id holders[4];      /* they, while it is narrow */
    bool wide;
};

struct group_edge {
    struct group *group; /* counted */
    uint32_t edges;      /* task edges behind it, ever */
};
struct type_count {
    uint32_t type; /* index in s->types */
    uint32_t count;
};

struct group {
    struct span name; /* as text; owned */
    struct prefix *prefix;
    uint32_t id; /* never reused */
    uint32_t
        refs; /* tasks, edges of other groups, spans and computations that hold it: group_ref */
    uint32_t size;        /* tasks it ever had: len(group) */
    uint32_t prefix_slot; /* in its prefix's groups */
    bool listed;          /* in s->groups; false once all its tasks are forgotten */
    uint32_t state_counts[TASK_STATE_COUNT];
    struct VEC(struct group_edge) dependencies;
    struct id_map dependency_index; /* group id → place in dependencies, once there are many */
    int64_t nbytes_total;
    double start, stop; /* of its runs; 0 none */
    int64_t duration_us;
    struct duration_list durations;
    struct VEC(struct type_count) types;
    worker_id last_worker; /* co-assignment of root-ish tasks */
    int64_t last_worker_tasks_left;
    struct span_node *span; /* dask span it belongs to; NULL none */
};

/* How many tasks of a prefix a worker has in processing, long-running ones aside. */
struct prefix_count {
    struct prefix *prefix;
    uint32_t count;
};

#define STEAL_LEVELS 15

struct worker {
    worker_id id;
    uint8_t status;                /* enum worker_status … */
    uint8_t status_before_closing; /* … and the last one that was not CLOSING_GRACEFULLY */
    bool known;                    /* false once removed; freed when the step is over */
    bool is_idle, is_saturated;
    bool takes_forwarded; /* cask's own: forward.h */
    uint32_t nthreads;
    uint32_t rank;       /* place in s->workers_sorted */
    uint32_t slot_place; /* in the s->free_slots heap; HEAP_NOWHERE */
    int32_t slots_free;  /* counted in s->slots_free_total while in the heap */
    /* processing */
    struct VEC(task_id) processing;
    struct VEC(task_id) long_running;      /* members of processing that seceded */
    struct VEC(struct prefix_count) tally; /* the wide prefixes first: occupancy.h */
    uint32_t tally_wide_count;
    struct id_map tally_index; /* prefix id → place in tally, once there are many */
    int64_t narrow_ns;         /* expected run time of its tasks with narrow prefixes */
    int64_t network_occupancy; /* bytes of needs_what */
    struct id_map needs_what;  /* task → how many processing tasks need it from elsewhere */
    struct links has_what;     /* to tasks (their who_has) */
    int64_t nbytes;            /* of the replicas it holds */
    struct VEC(struct resource) resources, used_resources; /* same order; names interned */
    struct VEC(task_id) actors;
    struct VEC(task_id) forwarded; /* in the order in which they were sent */
    struct VEC(task_id) stealable[STEAL_LEVELS];
    double steal_in_flight_occupancy; /* seconds moving to (+) or from (−) it, unconfirmed */
    int32_t steal_in_flight_tasks;    /* the tasks behind that */
    /* what it told about itself */
    struct span address, host, name, nanny, server_id,
        local_directory; /* owned; name: msgpack scalar */
    int64_t memory_limit, pid;
    int64_t memory, spilled_memory, spilled_disk; /* from its metrics */
    int64_t memory_unmanaged_old;
    struct VEC(struct memory_sample {
        double time;
        int64_t unmanaged;
    }) memory_history;
    double last_seen, time_delay, bandwidth;
    struct VEC(struct executing {
        task_id task;
        uint32_t serial; /* the task may be another one by now */
        double seconds;
    }) executing;
    struct blob *metrics, *services, *extra, *versions;
};

struct host {
    struct span name; /* owned */
    struct VEC(worker_id) workers;
    uint32_t nthreads;
    double last_seen;
};

struct client {
    client_id id;
    struct span name;        /* owned */
    struct links wants_what; /* to tasks (their who_wants) */
    double last_seen;
    bool is_pseudo; /* "fire-and-forget", "queue-…", one that has left: no connection behind it */
    bool known;     /* false once removed; freed when it wants nothing and the step is over */
};

/* A wished move, as Dask's recommendations: setting a known task's keeps its place; taken newest first. */
struct want {
    task_id task; /* TASK_NONE: withdrawn */
    uint8_t to;
};

/* Queued tasks by priority: queue.h. */
struct queue_entry {
    double user, generation;
    int64_t order;
    task_id task;    /* TASK_NONE: taken out of the run */
    uint32_t serial; /* order of arrival (wraps) */
};
struct queue {
    struct VEC(
        struct queue_entry) run; /* ascending from run_head, the next; before it spent ones */
    uint32_t run_head, run_live;
    uint32_t run_base; /* added to a place in the run before a task keeps it; see queue.c */
    struct VEC(struct queue_entry) heap; /* what came out of order; four children a node */
    uint32_t added;                      /* ever */
};

/* The newest runs: runs.h. */
struct runs {
    task_id *tasks;    /* at run_id modulo capacity; TASK_NONE: none yet */
    uint32_t capacity; /* power of two, or 0 */
};

struct unrunnable {
    task_id task; /* TASK_NONE: gone */
    double since;
};

#define TASK_CHUNK_BITS 12
#define STORY_WISHES_MAX 16 /* recommendations of one move that its story shows */

struct scheduler {
    struct scheduler_config config;
    struct prng prng;
    double now;        /* time of the last event */
    struct step *step; /* the one being filled; NULL between steps */

    /* tasks */
    struct task **task_chunks; /* on cache lines, inside task_memory */
    void **task_memory;
    uint32_t task_chunk_count, task_high; /* ids below task_high were ever used */
    struct VEC(task_id) task_free;
    struct VEC(task_id) graveyard; /* forgotten; recycled bit by bit from the next step on */
    uint32_t graveyard_head;
    struct key_index keys;
    uint32_t task_count, task_serial, traversal;
    uint64_t state_counts[TASK_STATE_COUNT]; /* of listed groups */
    int64_t run_id_last;
    struct runs runs;
    struct span compute_stimulus; /* of this step's compute messages; empty until the first */
    uint64_t transition_counter;

    /* workers */
    struct VEC(struct worker *) workers;            /* by worker_id; NULL: gone; [0] NULL */
    struct VEC(struct worker *) worker_graveyard;   /* removed in this step */
    struct VEC(worker_id) workers_sorted;           /* known ones by address */
    struct VEC(worker_id) running, idle, saturated; /* each sorted by address */
    struct map worker_by_address, aliases;          /* aliases: name (msgpack) → worker */
    struct map hosts;                               /* text → struct host */
    struct heap
        free_slots; /* idle_task_count: by processing/nthreads, then address; unused without queuing */
    int64_t slots_free_total;
    worker_id ahead_to; /* while queue_send_ahead() runs: where the next queued task goes */
    uint64_t total_nthreads;
    int64_t total_memory;
    uint64_t processing_started; /* n_tasks of Dask: tasks ever sent, for round robin */
    uint64_t processing_now;     /* tasks in processing, long-running ones included */
    double bandwidth;

    /* occupancy.h */
    int64_t occupancy_ns;      /* sum over all processing tasks that are not long-running */
    int64_t network_occupancy; /* bytes; sum over workers */

    /* clients */
    struct VEC(struct client *) clients; /* by client_id; NULL: gone; [0] NULL */
    struct VEC(struct client *) client_graveyard;
    struct map client_by_name;
    client_id fire_and_forget;

    /* names of many tasks */
    struct map prefix_by_name, group_by_name;
    struct VEC(struct prefix *) prefixes;
    struct VEC(struct prefix *) prefixes_retired; /* of before a restart */
    uint32_t group_serial;
    struct group *group_recent;    /* of the last task created */
    struct map names;              /* interned short strings: resources, actions */
    struct VEC(struct span) types; /* names of result types, interned; [0] unknown */
    struct map type_by_name;

    /* ready, but not sent */
    struct queue queue;
    struct VEC(struct unrunnable) unrunnable; /* no-worker tasks in order of arrival */
    uint32_t unrunnable_live;
    struct VEC(task_id) replicated; /* tasks with more than one holder */

    /* moves */
    struct VEC(struct want) wants; /* the pending ones; drained by transitions_run() */
    struct want
        recommended[STORY_WISHES_MAX]; /* by the move being made, the first ones: for the story */
    uint32_t recommended_total;
    struct VEC(task_id) doubtful; /* went to waiting with an erred input: see transitions_run() */
    task_id moving;               /* the task being moved */
    uint8_t moving_wish;          /* what it recommended for itself; TASK_STATE_COUNT nothing */
    struct VEC(task_id) ready;    /* scratch of move_processing_memory */
    struct VEC(struct failure *)
        failures_dropped;              /* actions may point to them until the next step */
    struct VEC(int64_t) scratch_bytes; /* by worker_id; all zero between uses: place.c */
    struct VEC(worker_id) scratch_workers;
    struct arena place_arena; /* of one placement: place.c */
    struct story *story;

    /* let go in later steps: backlog.h */
    struct VEC(task_id) unneeded; /* from unneeded_head on */
    uint32_t unneeded_head;
    struct VEC(client_id) leaving;             /* not known any more, but still wanting */
    struct VEC(struct departure *) departures; /* gone workers of which much is left: departure.h */
    uint64_t moves_max; /* transition_counter from which on this step leaves it to others */

    struct graph_work *building;           /* the graph that is coming in; NULL none */
    struct VEC(struct graph_work *) built; /* what came in in this step */
    double generation, last_graph_time;    /* FIFO priorities */
    double no_workers_since;               /* 0: there are workers, or nothing is ready */
    double idle_since;                     /* 0: busy */
    double next_ttl_check;

    struct steal *steal;
    struct amm *amm;
    struct locks *locks;
    struct exchange *exchange;
    struct shuffles *shuffles;
    struct spans *spans;
    struct computations *computations;
};

static inline int64_t task_nbytes(const struct scheduler *s, const struct task *task)
{
    return task->nbytes >= 0 ? task->nbytes : (int64_t)s->config.default_data_size;
}

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
