/* worker.h: the worker core: create, step, look. All that other layers may include, together with
 * events.h, actions.h and view.h.
 *
 * The core is a pure state machine (core/step.h). It holds the tasks that a worker computes and the values
 * that it holds or needs, and decides what runs and what is fetched from whom, when. It never sees a value:
 * it knows keys, sizes, and that the node keeps a value (actions KEEP, REFUSE, DROP). A task has a 32-bit
 * id by which the node, the store and the executors name it.
 *
 * Model: distributed worker_state_machine.py, WorkerState; states, moves, events and instructions are the
 * same. What is ours: KEEP, REFUSE, DROP, INTERRUPT, DATA_LOST; an order that does not depend on hashes; and
 * that nothing a peer says makes it fail. */
#ifndef CASK_CORE_WORKER_WORKER_H
#define CASK_CORE_WORKER_WORKER_H

#include "core/worker/actions.h"

struct worker_state;

#define WORKER_NO_LIMIT INT64_MAX

/* Settings; names and defaults as in Dask's configuration (distributed.yaml). */
struct worker_config {
    struct span address; /* of this worker, as peers and the scheduler say it */
    uint64_t seed;       /* of the core's own generator: which of equal peers is asked first */
    uint32_t nthreads;   /* tasks that run at once; 1 */
    uint32_t
        ahead_max; /* short tasks that may be given out beside them; 0. Not a setting of Dask */
    double ahead_seconds; /* work that these may be; 0.002 */
    struct resource_list resources;
    /* Bytes that may be under way to here: worker.memory.transfer × memory limit; none. */
    int64_t incoming_limit;
    int64_t message_limit; /* bytes of one GATHER: worker.transfer.message-bytes-limit; 50e6 */
    uint32_t incoming_count_limit; /* peers asked at once: worker.connections.outgoing; 50 … */
    int64_t throttle_floor; /* … once so many bytes are under way; 10e6, not a setting of Dask */
    int64_t default_data_size; /* of a value whose size is unknown; 1024 */
    uint32_t story_length;     /* admin.low-level-log-length; 1000 */
    bool draws_lots;           /* equal peers go by lot; false: by address, for comparisons; true */
    bool transitions;          /* action TRANSITION wanted; false */
    bool check;                /* worker_check() after each step; false */
};

/* Dask's defaults, no address. */
void worker_config_init(struct worker_config *config);

/* A running (not paused) worker without tasks. Copies config. */
struct worker_state *worker_create(const struct worker_config *config);
void worker_destroy(struct worker_state *w);

/* Apply one event; step's former actions are gone. Cannot fail. */
void worker_step(struct worker_state *w, const struct worker_event *event,
                 struct worker_step *step);

/* Whether TRANSITION actions are made from now on. */
void worker_want_transitions(struct worker_state *w, bool wanted);

/* Every invariant of the whole state; aborts with a report at the first broken one. O(everything). */
void worker_check(const struct worker_state *w);

#endif
