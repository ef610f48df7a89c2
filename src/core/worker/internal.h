/* internal.h: the structs of the worker core. Only core/worker includes it.
 *
 * As in the scheduler's core: tasks live in a pool of chunks, a pointer stays good until the task is
 * forgotten and the step in which that happened is over; relations are links (core/links.h), an edge's flags
 * are Dask's waiting_for_data and waiters without sets. Membership in the queues of a state (ready,
 * constrained, needs of peers, missing) follows from the state: wtask_set_state() keeps it.
 *
 * Names begin with w, or worker_, as both cores are in one library. */
#ifndef CASK_CORE_WORKER_INTERNAL_H
#define CASK_CORE_WORKER_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/prng.h"
#include "base/vec.h"
#include "core/edge.h"
#include "core/key_index.h"
#include "core/worker/states.h"
#include "core/worker/worker.h"

enum {
    WTASK_HAS_PRIORITY = 1 << 0,
    WTASK_ACTOR = 1 << 1,
    WTASK_DONE = 1 << 2, /* its run or flight has ended; what follows is under way */
    WTASK_IN_FLIGHT =
        1 << 3, /* a GATHER asked for it: flight, cancelled or resumed (or scattered since) */
    WTASK_RUNS = 1 << 4,    /* in w->running: it has a thread, or has seceded from one */
    WTASK_SECEDED = 1 << 5, /* of those: it counts for no thread */
    WTASK_LOST = 1 << 6,    /* its value is gone already: no DROP */
    WTASK_SLOW = 1 << 7,    /* it runs, and when it began nobody knew that it would be quick */
    WTASK_AHEAD = 1 << 8,   /* told before its inputs: those computed here come by themselves */
};

/* What a run takes of the worker's resources. */
struct wresources {
    uint32_t count;
    struct wamount {
        uint32_t resource; /* index in w->resources */
        double amount;
    } items[];
};

/* A text shared by many tasks (a span's id), counted. */
struct wname {
    struct span text; /* owned by w->names */
    uint32_t refs;
};

struct wtask {
    task_id id;
    uint8_t state;    /* enum wtask_state */
    uint8_t previous; /* cancelled, resumed: executing, long-running or flight; else 0 (released) */
    uint8_t next;     /* resumed: fetch or waiting; else 0 (released) */
    uint16_t flags;   /* WTASK_… */
    uint32_t missing_count;    /* |waiting_for_data| */
    uint32_t waiter_count;     /* |waiters| */
    struct links dependencies; /* to tasks; EDGE_… flags */
    struct links dependents;   /* to tasks */
    struct links who_has;      /* to peers (their has_what) */
    struct span key;           /* canonical msgpack; owned */
    int64_t nbytes;            /* −1 unknown */
    int64_t run_id;            /* of the last compute-task; −1 never */
    struct worker_priority priority;
    int64_t priority_serial; /* later compute-tasks are smaller */
    uint64_t stamp; /* ready, constrained: order of arrival; fetch: of its needs, 0: taken */
    uint32_t place; /* ready, constrained: in the heap; missing: in w->missing; runs: w->running */
    uint32_t coming_from; /* peer while in flight */
    uint32_t want_place;  /* 1 + its place in w->wants; 0 none */
    uint32_t mark;        /* scratch of a traversal: equals w->traversal when visited */
    uint32_t offer;       /* scratch of an event: index of what it offers */
    uint32_t prefix;      /* index in w->prefixes */
    double started;       /* time of its last EXECUTE; 0 never */
    struct blob *run_spec, *annotations, *about;
    struct wname *span_id;        /* NULL none */
    struct wresources *resources; /* NULL none */
};

/* A value that may be asked of a peer. Stale once its task has another stamp. */
struct wneed {
    struct worker_priority priority;
    int64_t serial;
    uint64_t arrival;
    uint64_t stamp;
    task_id task;
};

struct wpeer {
    struct span address; /* owned by w->peer_by_address */
    uint32_t id;
    bool remote; /* on another host */
    bool in_flight, busy;
    struct links has_what;               /* to tasks (their who_has) */
    struct VEC(struct wneed) needs;      /* heap, with stale ones: peer.c */
    uint32_t needed_count;               /* the others */
    struct VEC(task_id) in_flight_tasks; /* asked for; TASK_NONE: forgotten since */
    int64_t in_flight_nbytes;
    uint32_t fetchable_place; /* in w->fetchable; UINT32_MAX: not there */
    uint64_t mark;            /* scratch: equals a mark taken from w->peer_mark */
};
#define WPEER_NONE UINT32_MAX

/* What a move carries along (Dask's arguments of a recommendation). In the step's arena. */
struct wmove {
    int64_t run_id;
    int64_t nbytes; /* → memory: of the offered value */
    struct blob *about;
    const struct worker_failure *failure; /* → error */
    double duration;                      /* → long-running */
    struct wpeer *peer;                   /* → flight */
    bool kept;                            /* → memory: it was taken */
};

/* A wished move, as Dask's recommendations: setting a known task's keeps its place; taken newest first. */
struct wwant {
    task_id task; /* TASK_NONE: withdrawn */
    uint8_t to;
    struct wmove *move; /* NULL for most */
};

/* A value that an event brought; settled with KEEP or REFUSE at its end. */
struct wofferd {
    task_id task;
    struct span key;
    const struct wmove *move; /* NULL: not wanted from the start */
};

struct wprefix {
    struct span name; /* owned by w->prefix_by_name */
    double seconds;   /* that a run takes, by the last few; 0: none has ended */
    struct wcount {
        uint64_t tasks;
        double seconds, since; /* summed up to `since` */
    } states[WTASK_STATE_COUNT];
};

struct wresource {
    struct span name; /* owned */
    double total, available;
};

#define WTASK_CHUNK_BITS 10

struct worker_state {
    struct worker_config config;
    struct span address; /* owned */
    struct span host;    /* part of address */
    struct prng prng;
    double now;               /* time of the last event */
    double ended_at;          /* time of the last end of a run; 0 none */
    struct worker_step *step; /* the one being filled; NULL between steps */
    bool running;             /* not paused */
    bool backpressure;        /* the disk has to catch up first */

    /* tasks */
    struct wtask **chunks;
    uint32_t chunk_count, task_end; /* ids below task_end were ever used */
    struct VEC(task_id) free_ids;
    struct VEC(task_id) graveyard; /* forgotten; recycled from the next step on */
    struct key_index keys;
    uint32_t traversal;
    uint64_t state_counts[WTASK_STATE_COUNT];
    struct map prefix_by_name;
    struct VEC(struct wprefix) prefixes;
    struct map names; /* span ids: struct wname */
    struct wname *name_recent;
    struct arena arena; /* of names being made */
    uint64_t transition_count;

    /* what is to run, and what runs */
    struct heap ready, constrained;
    struct VEC(task_id) runs;
    uint32_t executing_count; /* of those, that have not seceded */
    uint32_t slow_count;      /* of these, with WTASK_SLOW */
    uint64_t executed_count;
    uint64_t arrivals;  /* stamps */
    int64_t generation; /* decreases with each compute-task */
    struct VEC(struct wresource) resources;

    /* what is to come, and what comes */
    struct map peer_by_address;
    struct VEC(struct wpeer *) peers; /* by id; NULL: free */
    struct VEC(uint32_t) peer_free, peers_doubtful;
    struct VEC(uint32_t) fetchable; /* peers with needs, neither in flight nor busy */
    struct VEC(struct candidate) candidates;
    struct heap candidate_heap;
    struct VEC(task_id) missing;
    struct VEC(uint32_t) scratch;
    uint64_t peer_mark;
    uint32_t in_flight_task_count, incoming_count;
    uint64_t incoming_count_total;
    int64_t incoming_bytes;

    int64_t nbytes; /* of the values kept */

    /* moves */
    struct VEC(struct wwant) wants; /* the pending ones; drained by wtransitions_run() */
    struct VEC(struct wofferd) offers;
    struct wstory *story;
};

static inline struct wtask *wtask_at(const struct worker_state *w, task_id id)
{
    ASSERT(id < w->task_end);
    return &w->chunks[id >> WTASK_CHUNK_BITS][id & ((1u << WTASK_CHUNK_BITS) - 1)];
}

static inline struct wpeer *wpeer_at(const struct worker_state *w, uint32_t id)
{
    ASSERT(id < w->peers.count);
    ASSERT(w->peers.items[id] != NULL);
    return w->peers.items[id];
}

static inline int64_t wtask_nbytes(const struct worker_state *w, const struct wtask *task)
{
    return task->nbytes >= 0 ? task->nbytes : w->config.default_data_size;
}

#endif
