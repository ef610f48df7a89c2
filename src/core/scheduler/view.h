/* view.h: read-only looks at a scheduler core, for the node layer: RPC answers, metrics, dumps.
 *
 * Structs are filled on request with plain fields; spans, blobs and pointers in them belong to the core
 * and are good until the next step. A `const struct task *` is good until the end of the step after the
 * one in which the task is forgotten; never keep it. Lists come by index (0 ≤ index < count). Nothing
 * here changes anything; cost O(1) unless it says otherwise. */
#ifndef CASK_CORE_SCHEDULER_VIEW_H
#define CASK_CORE_SCHEDULER_VIEW_H

#include "core/scheduler/scheduler.h"
#include "core/scheduler/states.h"

struct task;
struct failure;
struct group;

/* ---- tasks ---- */

struct task_view {
    struct span key;       /* canonical msgpack */
    enum task_state state; /* task_state_name() gives stock's word */
    int64_t nbytes;        /* −1 unknown */
    struct span type;      /* name of the result's type; empty: unknown */
    bool has_priority;
    double priority_user, priority_generation; /* on the wire: [user, generation, order] */
    int64_t priority_order;
    struct blob *run_spec;    /* NULL: scattered data, or the graph has not come yet */
    struct blob *annotations; /* msgpack map without "span"; NULL: empty */
    struct blob *metadata;    /* NULL: none */
    bool has_span;            /* annotations["span"] = {"name": span_name, "ids": span_ids} */
    struct span_list span_name, span_ids;
    struct span span_id; /* of the group; empty: none */
    bool actor, data_producer, loose_restrictions, lost_dependencies, queueable, long_running;
    uint32_t retries, suspicious;
    int64_t run_id;                       /* 0: never sent */
    worker_id processing_on;              /* WORKER_NONE unless processing */
    const struct failure *failure;        /* why it erred: its own or that of an input; NULL */
    struct span group, prefix;            /* names, as text */
    struct span_list worker_restrictions; /* addresses */
    struct span_list host_restrictions;
    struct resource_list resources;
    struct span_list erred_on; /* addresses */
    uint32_t dependency_count, dependent_count, waiting_on_count, waiter_count;
    uint32_t holder_count, wanter_count;
};

/* NULL: no such task. */
const struct task *view_task_find(const struct scheduler *s, struct span key);
/* Ask memory in advance for what an event about `key` will touch. In a batch of messages: call the first
 * some four messages ahead, the second some two ahead, when what the first asked for has come. */
void view_task_prefetch(const struct scheduler *s, struct span key);
void view_task_prefetch_more(const struct scheduler *s, struct span key);
/* The same for an answer to the run of that number. */
void view_run_prefetch(const struct scheduler *s, int64_t run_id);
void view_run_prefetch_more(const struct scheduler *s, int64_t run_id);
void view_task(const struct scheduler *s, const struct task *task, struct task_view *out);
/* What a record of a run needs, and nothing that lies further away than the task's group. */
struct task_brief {
    struct span key;
    uint32_t group, group_size, prefix; /* numbers; a prefix's is good until EVENT_RESTART */
    struct span group_name, prefix_name;
    int64_t nbytes;
    const struct failure *failure;
    uint32_t suspicious;
};
void view_task_brief(const struct task *task, struct task_brief *out);
/* How many tasks still need its result. */
uint32_t view_task_waiter_count(const struct task *task);
struct span view_task_key(const struct task *task);
enum task_state view_task_state(const struct task *task);
/* The size, or default-data-size while unknown. */
int64_t view_task_nbytes(const struct scheduler *s, const struct task *task);
const struct task *view_task_dependency(const struct scheduler *s, const struct task *task,
                                        uint32_t index);
const struct task *view_task_dependent(const struct scheduler *s, const struct task *task,
                                       uint32_t index);
/* Whether dependency `index` is in waiting_on (its data is missing). */
bool view_task_waits_on(const struct task *task, uint32_t index);
/* Whether dependent `index` is in waiters (it still needs this task). */
bool view_task_awaited_by(const struct scheduler *s, const struct task *task, uint32_t index);
worker_id view_task_holder(const struct scheduler *s, const struct task *task, uint32_t index);
client_id view_task_wanter(const struct task *task, uint32_t index);
/* Lines that say how each worker was lost with this task on it; empty: none. */
struct span view_task_deaths(const struct task *task);

uint32_t view_task_count(const struct scheduler *s);
/* All tasks in order of creation. O(n log n), in the arena; out_count of them. */
const struct task *const *view_tasks(const struct scheduler *s, struct arena *arena,
                                     uint32_t *out_count);
/* All tasks some at a time, in about the order of creation: those of the next `place_count` places, of which
 * some may be empty. *cursor begins with 0. False: there are no more. */
bool view_tasks_some(const struct scheduler *s, uint32_t *cursor, uint32_t place_count,
                     const struct task **out_tasks, uint32_t *out_count);

/* Why a task failed. The node turns it into the exception that clients see. */
struct failure_view {
    enum failure_kind kind;
    struct blob *exception, *traceback; /* USER: as they go to clients; traceback may be NULL */
    struct span exception_text, traceback_text;
    struct span text;   /* the message, for kinds made here: MEMORY, ACTOR_LOST, TEXT */
    struct span key;    /* of the task in which it happened */
    struct span worker; /* address of the (last) worker; empty: none */
    struct span worker_name, worker_host; /* KILLED_WORKER; name: canonical msgpack */
    struct span worker_status;
    int64_t worker_pid, worker_memory_limit;
    uint32_t worker_nthreads;
    uint32_t allowed_failures; /* KILLED_WORKER */
    double timeout;            /* NO_WORKER, NO_VALID_WORKER: seconds waited */
    struct span attempts;      /* KILLED_WORKER: how each ended; lines, "\n" between them */
    uint32_t attempt_count;
    bool has_crashes; /* some of them cost a process only, not the worker */
    struct span_list host_restrictions, worker_restrictions; /* NO_VALID_WORKER */
    struct resource_list resources;                          /* NO_VALID_WORKER */
};
void view_failure(const struct failure *failure, struct failure_view *out);

/* ---- workers ---- */

struct memory_view {
    int64_t process, managed, unmanaged_old, unmanaged_recent, spilled, optimistic;
};

/* distributed's measures of a worker's memory, as rebalance and the memory manager choose them. */
enum memory_measure {
    MEMORY_PROCESS,
    MEMORY_OPTIMISTIC,
    MEMORY_MANAGED, /* managed + spilled */
    MEMORY_MANAGED_IN_MEMORY,
    MEMORY_UNMANAGED,
    MEMORY_UNMANAGED_OLD,
    MEMORY_UNMANAGED_RECENT,
    MEMORY_SPILLED,
};
int64_t view_memory_measure(const struct memory_view *memory, enum memory_measure measure);

struct worker_view {
    worker_id id;
    enum worker_status status;
    struct span address, host;
    struct span name; /* canonical msgpack scalar */
    struct span nanny, server_id, local_directory;
    uint32_t nthreads;
    int64_t memory_limit, pid, nbytes;
    struct resource_list resources, used_resources;
    struct blob *services, *extra, *versions,
        *metrics; /* msgpack maps; metrics: the last heartbeat's */
    double last_seen, time_delay, bandwidth, occupancy;
    struct memory_view memory;
    uint32_t has_what_count, processing_count, long_running_count, executing_count, actor_count;
    bool idle, saturated;
    int32_t slots_free; /* tasks it would still be sent from the queue */
};

/* WORKER_NONE: not known (gone workers are shown until nothing is left of them: the step after their
 * removal, mostly). */
worker_id view_worker_by_address(const struct scheduler *s, struct span address);
/* By name: canonical msgpack of a scalar. */
worker_id view_worker_by_alias(const struct scheduler *s, struct span name);
bool view_worker(const struct scheduler *s, worker_id worker, struct worker_view *out);
/* Just the address; empty: unknown. */
struct span view_worker_address(const struct scheduler *s, worker_id id);
uint32_t view_worker_count(const struct scheduler *s);
/* The `index`th worker by address. */
worker_id view_worker_at(const struct scheduler *s, uint32_t index);
const struct task *view_worker_has(const struct scheduler *s, worker_id id, uint32_t index);
const struct task *view_worker_processes(const struct scheduler *s, worker_id id, uint32_t index);
/* Whether a task of which that was true, and which may be forgotten by now, is still held (or processed) there. */
bool view_worker_still_has(const struct task *task, worker_id id);
bool view_worker_still_processes(const struct task *task, worker_id id);
const struct task *view_worker_long_runs(const struct scheduler *s, worker_id id, uint32_t index);
/* What it said at its last heartbeat to be running, and for how long; NULL: gone since. */
const struct task *view_worker_executes(const struct scheduler *s, worker_id id, uint32_t index,
                                        double *out_seconds);
/* Running tasks of one prefix on a worker (task_prefix_count), by index; false past the end. */
bool view_worker_prefix(const struct scheduler *s, worker_id worker, uint32_t index,
                        struct span *out_name, uint32_t *out_count);

struct host_view {
    struct span name;
    const worker_id *workers;
    uint32_t worker_count, nthreads;
    double last_seen;
};
/* Hosts in the order in which they were first seen; cursor starts at 0. */
bool view_host_next(const struct scheduler *s, uint32_t *cursor, struct host_view *out);

/* ---- clients ---- */

struct client_view {
    client_id id;
    struct span name;
    double last_seen;
    bool is_pseudo; /* "fire-and-forget", "queue-…": nobody connected */
    uint32_t wants_count;
};
client_id view_client_find(const struct scheduler *s, struct span name);
bool view_client(const struct scheduler *s, client_id client, struct client_view *out);
const struct task *view_client_wants(const struct scheduler *s, client_id id, uint32_t index);
/* Clients in order of arrival, pseudo-clients too; cursor starts at 0. */
bool view_client_next(const struct scheduler *s, uint32_t *cursor, struct client_view *out);

/* ---- groups and prefixes ---- */

struct action_duration {
    struct span action;
    double seconds;
};
struct prefix_view {
    struct span name;
    uint32_t size;
    const uint32_t *state_counts;           /* TASK_STATE_COUNT: now */
    const uint64_t *state_counts_total;     /* TASK_STATE_COUNT: arrivals, ever */
    double duration_average, max_exec_time; /* −1 unknown */
    double duration;                        /* seconds, all actions */
    uint64_t suspicious;
    int64_t nbytes_total;
    uint32_t group_count, duration_count;
};
struct group_view {
    uint32_t id;
    struct span name, prefix, span_id;
    uint32_t size;
    const uint32_t *state_counts;
    double duration, start, stop;
    int64_t nbytes_total;
    uint32_t duration_count, type_count, dependency_count;
};
/* Prefixes in order of creation. */
uint32_t view_prefix_count(const struct scheduler *s);
bool view_prefix(const struct scheduler *s, uint32_t index, struct prefix_view *out);
struct action_duration view_prefix_duration(const struct scheduler *s, uint32_t index,
                                            uint32_t which);
struct span view_prefix_group(const struct scheduler *s, uint32_t index, uint32_t which);
/* A group that a computation names; it may be unlisted. */
void view_group(const struct group *group, struct group_view *out);
/* Listed groups in order of creation; cursor starts at 0. */
bool view_group_next(const struct scheduler *s, uint32_t *cursor, struct group_view *out);
/* false: no such group. */
bool view_group_find(const struct scheduler *s, struct span name, struct group_view *out);
struct action_duration view_group_duration(const struct scheduler *s, struct span name,
                                           uint32_t which);
/* Name of a result type of the group, and how many results had it. */
struct span view_group_type(const struct scheduler *s, struct span name, uint32_t which,
                            uint32_t *out_count);
/* Name of a group it depends on. */
struct span view_group_dependency(const struct scheduler *s, struct span name, uint32_t which);

/* ---- totals ---- */

struct totals_view {
    uint32_t worker_count, running_count, idle_count, saturated_count,
        client_count; /* clients: real ones */
    uint32_t task_count, group_count, prefix_count;
    uint64_t state_counts[TASK_STATE_COUNT]; /* tasks known now, by state */
    uint64_t nthreads;
    int64_t memory_limit;
    double occupancy; /* seconds of work in processing, transfers included */
    double bandwidth;
    uint32_t queued_count, unrunnable_count, replicated_count;
    uint64_t processing_count;
    uint64_t transition_count;
    double idle_since;         /* 0: busy */
    struct memory_view memory; /* O(workers) */
};
void view_totals(const struct scheduler *s, struct totals_view *out);
uint64_t view_transition_count(const struct scheduler *s);
/* Steal requests so far by level: how many, how expensive (seconds). */
#define VIEW_STEAL_LEVELS 15
void view_steal_totals(const struct scheduler *s, uint64_t out_count[VIEW_STEAL_LEVELS],
                       double out_cost[VIEW_STEAL_LEVELS]);
/* Time since when nothing has been in the works; 0: something is. */
double view_idle_since(const struct scheduler *s);
const struct scheduler_config *view_config(const struct scheduler *s);
/* Is `worker` idle, saturated: worker_view. All idle ones by address: */
uint32_t view_idle_workers(const struct scheduler *s, const worker_id **out);
uint32_t view_saturated_workers(const struct scheduler *s, const worker_id **out);
/* Tasks without a worker in order of arrival, and since when; cursor starts at 0. */
const struct task *view_unrunnable_next(const struct scheduler *s, uint32_t *cursor,
                                        double *out_since);

/* ---- the story: the last moves, for people ---- */

struct story_move {
    struct span key;
    enum task_state start, finish;
    struct span stimulus;
    double time;
    const struct story_wish {
        struct span key;
        enum task_state to;
    } * recommendations;
    uint32_t recommendation_count; /* shown */
    uint32_t recommendation_total; /* made; a long list is cut */
};
/* Moves that touch one of `keys` (itself or by recommendation; canonical msgpack) or were caused by one of
 * `stimuli` (text), oldest first, in the arena; both empty: all. O(ring). */
const struct story_move *view_story(const struct scheduler *s, struct span_list keys,
                                    struct span_list stimuli, struct arena *arena,
                                    uint32_t *out_count);

#endif
