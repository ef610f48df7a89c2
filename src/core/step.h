/* step.h: what the cores share: one event in, a list of actions out.
 *
 * A core is a pure state machine: core_step(state, event, step). Time comes in with the event; nothing
 * in core/ reads a clock, a socket, the environment or a hidden random source. The same events give the
 * same actions, byte for byte, so a core can be simulated, fuzzed, recorded, replayed and recovered.
 *
 * Ownership: spans and blobs of an event are borrowed for the call (the core copies or references what
 * it keeps). Everything an action points to is valid until the next step: it lies in step's arena, in the
 * core's state, or in what the event lent. */
#ifndef CASK_CORE_STEP_H
#define CASK_CORE_STEP_H

#include "base/arena.h"
#include "base/blob.h"

typedef uint32_t
    task_id; /* slot of a task; recycled, so never kept across steps outside the core */
typedef uint32_t worker_id; /* never reused; 0 is none */
typedef uint32_t client_id; /* never reused; 0 is none */

#define TASK_NONE UINT32_MAX
#define WORKER_NONE 0u
#define CLIENT_NONE 0u

struct span_list {
    const struct span *items;
    uint32_t count;
};

struct size_list {
    const int64_t *items;
    uint32_t count;
};

/* Resources of a worker or a task: names and amounts. */
struct resource {
    struct span name;
    double amount;
};

struct resource_list {
    const struct resource *items;
    uint32_t count;
};

/* A number of one time-span inside a task's run: {"action": …, "start": …, "stop": …}. */
struct startstop {
    struct span action; /* "compute", "transfer", "disk-read", "disk-write", "deserialize" */
    double start, stop; /* seconds since the epoch, scheduler's clock */
    struct span source; /* transfer: address of the sender; else empty */
};

struct startstop_list {
    const struct startstop *items;
    uint32_t count;
};

#endif
