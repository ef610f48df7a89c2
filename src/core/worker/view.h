/* view.h: read-only looks at a worker core, for the node layer: RPC answers, heartbeats, dumps, and for
 * simulated clusters.
 *
 * Structs are filled on request; spans and blobs in them belong to the core and are good until the next
 * step. Nothing here changes anything; cost O(1) unless it says otherwise. */
#ifndef CASK_CORE_WORKER_VIEW_H
#define CASK_CORE_WORKER_VIEW_H

#include "core/worker/states.h"
#include "core/worker/worker.h"

/* ---- tasks ---- */

struct wtask_view {
    struct span key;
    enum wtask_state state;
    enum wtask_state
        previous; /* cancelled, resumed: executing, long-running or flight; else released */
    enum wtask_state next; /* resumed: fetch or waiting; else released */
    int64_t nbytes;        /* −1 unknown */
    int64_t run_id;        /* of the last compute-task; −1 never */
    bool has_priority;
    struct worker_priority priority;
    int64_t priority_serial; /* the fourth number of stock's: later compute-tasks are smaller */
    bool actor, in_flight;
    struct blob *run_spec, *annotations, *about; /* each may be NULL */
    struct span span_id, prefix;
    struct span coming_from; /* in flight: the peer's address */
    uint32_t dependency_count, dependent_count, waiting_for_count, waiter_count, holder_count;
    double started; /* time of the last EXECUTE; 0 never */
};

/* TASK_NONE: no such key. */
task_id worker_task_find(const struct worker_state *w, struct span key);
/* The id names a task that is known now. */
bool worker_task_is_known(const struct worker_state *w, task_id task);
/* These four want the id of a known task. */
void worker_task(const struct worker_state *w, task_id id, struct wtask_view *out);
task_id worker_task_dependency(const struct worker_state *w, task_id task, uint32_t index);
task_id worker_task_dependent(const struct worker_state *w, task_id task, uint32_t index);
struct span worker_task_holder(const struct worker_state *w, task_id task, uint32_t index);
/* The value is kept. TASK_NONE is allowed. */
bool worker_task_in_memory(const struct worker_state *w, task_id task);
/* All tasks: every id below this that worker_task_is_known(). */
task_id worker_task_end(const struct worker_state *w);
/* As the last BACKPRESSURE said. */
bool worker_has_backpressure(const struct worker_state *w);
/* Those that occupy a thread or have seceded: 0 ≤ index < executing_count + long_running_count. */
task_id worker_task_running(const struct worker_state *w, uint32_t index);

/* ---- the whole ---- */

struct worker_summary {
    struct span address;
    bool running; /* false: paused */
    uint32_t nthreads;
    uint32_t task_count;
    uint64_t state_counts[WTASK_STATE_COUNT];
    uint32_t executing_count;    /* that occupy a thread, cancelled ones included */
    uint32_t long_running_count; /* that have seceded, cancelled ones included */
    uint32_t in_flight_task_count;
    uint64_t executed_count; /* runs that ended, ever */
    int64_t nbytes;          /* of the values kept */
    uint32_t incoming_count; /* GATHERs under way */
    uint64_t incoming_count_total;
    int64_t incoming_bytes;
    uint64_t transition_count;
};
void worker_summarise(const struct worker_state *w, struct worker_summary *out);

/* Resources, by index; false beyond the last one. */
bool worker_resource_at(const struct worker_state *w, uint32_t index, struct span *out_name,
                        double *out_total, double *out_available);

/* Peers that hold, or are asked for, something this worker cares about. */
struct worker_peer_view {
    struct span address;
    uint32_t has_count;       /* values it is known to have */
    uint32_t needed_count;    /* of those, in state fetch */
    uint32_t in_flight_count; /* values asked for, under way */
    bool in_flight, busy;
};
/* false: no peer has this number; all are below worker_peer_end(). */
bool worker_peer(const struct worker_state *w, uint32_t peer, struct worker_peer_view *out);
uint32_t worker_peer_end(const struct worker_state *w);

/* Tasks and time by prefix and state (stock's TaskCounter), by index; false beyond the last one. */
struct worker_prefix_view {
    struct span name;
    uint64_t counts[WTASK_STATE_COUNT];
    double seconds[WTASK_STATE_COUNT]; /* summed over its tasks, up to `now` */
};
bool worker_prefix(const struct worker_state *w, uint32_t index, double now,
                   struct worker_prefix_view *out);

/* ---- story: the last things that happened, oldest first ---- */

struct wstory_entry {
    struct span key; /* empty: about several keys or a peer */
    const char
        *what; /* NULL: a move; else "compute-task", "ensure-task-exists", "put-in-memory", … */
    enum wtask_state start, wanted, finish; /* of a move; else all the state at the time */
    struct span stimulus;
    double time;
};
/* Entries that touch one of the keys or have one of the stimuli (both lists empty: all), in the arena.
 * O(story). */
const struct wstory_entry *worker_story(const struct worker_state *w, struct span_list keys,
                                        struct span_list stimuli, struct arena *arena,
                                        uint32_t *out_count);

#endif
