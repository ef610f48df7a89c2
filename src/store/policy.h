/* policy.h: what to do about memory: how much to spill, whether to pause, whom to end. Pure: measured numbers in,
 * a decision out. Source: distributed worker_memory.py. */
#ifndef CASK_STORE_POLICY_H
#define CASK_STORE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* A threshold of the configuration that is `false`. */
#define POLICY_OFF (-1.0)
#define POLICY_NOBODY UINT32_MAX

/* distributed.worker.memory: fractions of the limit. Stock's defaults: 0.6, 0.7, 0.8, 0.95. */
struct policy_settings {
    uint64_t limit; /* bytes; 0: none, and nothing is ever done */
    double target, spill, pause, terminate;
};

struct policy_executor {
    uint64_t bytes;    /* private memory now */
    uint64_t baseline; /* and when it began what it runs */
    bool is_dying;     /* it was ended already */
};

/* What was measured. */
struct policy_view {
    uint64_t memory;    /* of the worker and all its executors (store/memory.h) */
    uint64_t leaving;   /* bytes on their way to disk: store_totals */
    uint64_t evictable; /* bytes that could go there: store_totals */
    bool is_paused;     /* for memory's sake; not if somebody else paused it */
    const struct policy_executor *executors;
    uint32_t executor_count;
};

/* What is remembered between decisions. All zero at first. */
struct policy_state {
    bool is_spilling; /* over `spill`, and not yet below `target` */
    bool was_leaving;
    uint32_t waited; /* intervals above `terminate`, while there is something to spill */
};

enum policy_run { POLICY_AS_IT_IS, POLICY_PAUSE, POLICY_RESUME };

struct policy_decision {
    uint64_t evict_bytes; /* for store_evict() */
    enum policy_run run;
    uint32_t blame; /* executor to end, with what it runs, or POLICY_NOBODY */
    bool
        is_unmanaged_high; /* it should spill, but there is nothing to: stock warns, each 300 s at most */
};

/* Each monitor interval (0.1 s). */
void policy_decide(const struct policy_settings *settings, struct policy_state *state,
                   const struct policy_view *view, struct policy_decision *out_decision);

/* How the store is to be set up: false: nothing spills, leave its directory NULL. *out_target is
 * store_options.target_bytes: values over it in sum spill as they are put; 0: no such bound. */
bool policy_spills(const struct policy_settings *settings, uint64_t *out_target);

#endif
