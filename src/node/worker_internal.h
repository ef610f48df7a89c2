/* worker_internal.h: the worker process from the inside: what its files share. Only worker_*.c include it.
 *
 * One turn of the loop: messages arrive from the scheduler (worker_link.c), from peers and clients
 * (worker_rpc_*.c) and from executors (worker_executors.c) and become events of the core; each is applied at
 * once (worker_apply) and its actions are carried out (worker_outbound.c). At the end of the turn what was
 * written for the scheduler and for executors goes out.
 * Nothing here decides what runs or what is fetched from whom; that is the core's. */
#ifndef CASK_NODE_WORKER_INTERNAL_H
#define CASK_NODE_WORKER_INTERNAL_H

#include "base/arena.h"
#include "base/prng.h"
#include "core/worker/view.h"
#include "exec/executor.h"
#include "node/connection.h"
#include "node/rpc.h"
#include "node/worker_node.h"
#include "node/worker_objects.h"
#include "store/policy.h"
#include "store/store.h"

struct restart;
struct retry;
struct scratch;
struct worker_gauges;
struct worker_http;
struct worker_nanny;
struct worker_pressure;
struct worker_records;

enum worker_phase {
    WORKER_STATUS_INIT,
    WORKER_STATUS_RUNNING,
    WORKER_STATUS_PAUSED,
    WORKER_STATUS_CLOSING_GRACEFULLY,
    WORKER_STATUS_CLOSING,
};

/* The connection with the scheduler: registration first, then a stream (worker_link.c). */
struct worker_link {
    struct comm *comm; /* NULL: none */
    struct outgoing batch;
    struct message_decoder decoder;
    bool is_registered;
    bool counts_deaths;       /* the scheduler takes task-died: cask's */
    double asked;             /* when the registration was sent, wall clock */
    double delay;             /* the scheduler's clock minus ours, seconds */
    double beat_interval;     /* seconds */
    struct io_timer *beat;    /* heartbeats; before registration: the next try */
    struct io_timer *alive;   /* keep-alive */
    struct io_timer *missing; /* asks who has what is missing */
    double waiting_since;     /* monotonic: no scheduler since then */
    double latency;           /* seconds that the last heartbeat took; 0: none yet */
    bool is_beating;          /* a heartbeat waits for its answer */
    struct text why;          /* the last attempt to connect failed */
};

/* What is to be told of the run that the event being applied ends. */
struct worker_crash {
    int64_t run_id;
    struct span certificate;
};

/* A value that an event offers. */
struct offered {
    struct span key; /* of the object, which owns it */
    struct object *object;
};

enum seat_state {
    SEAT_EMPTY,     /* no executor, or one that starts */
    SEAT_GREETED,   /* HELLO was sent */
    SEAT_WELCOME,   /* it was answered */
    SEAT_PREPARING, /* plugins are being added */
    SEAT_USABLE,
};

/* An executor's place (worker_executors.c). */
struct seat {
    enum seat_state state;
    struct executor *executor;
    uint32_t nthreads;
    uint32_t running;                 /* tasks sent there that count for a thread */
    uint32_t ended_count, ended_seen; /* of those: in all, and at the last look (worker_ahead.c) */
    uint32_t preparing;               /* calls whose replies make it usable … */
    uint32_t answered;                /* … and those that came */
    bool beats;                       /* user code adds to heartbeats */
    bool listens;                     /* a plugin wants to hear of tasks' moves */
    struct text shuffles;             /* that it is part of: msgpack [[id, run_id], …] */
    uint32_t shuffles_ending; /* of its predecessors, that the scheduler has yet to begin again */
};

struct worker_node {
    struct io_loop *loop;
    const struct config *config;
    struct worker_options options; /* texts are the caller's */
    struct comm_settings comm_settings;
    struct frame_memory memory; /* where large frames of peers are put */
    struct server server;       /* the worker's */
    struct server nanny;        /* its nanny's; no listener with --no-nanny */
    struct rpc_pool *rpc;
    struct arena scratch; /* dies with the message being handled */

    struct worker_state *core;
    struct worker_step step;
    bool is_stepping; /* inside worker_apply: no second step may begin */
    double now;       /* time of the last event */
    uint32_t life;    /* counts restarts: what was begun in an earlier life is not of this one */
    enum worker_phase status;
    double started;

    struct text id, nanny_id;          /* "Worker-<uuid>", "Nanny-<uuid>" */
    struct text scheduler;             /* address */
    struct text directory;             /* of this worker; made at start, removed at the end */
    struct scratch *scratch_directory; /* and its lock */
    struct text resource_names;        /* what resources point to */
    struct VEC(struct resource) resources, resources_first; /* now; at the start of each life */
    struct arena lasting;                                   /* names of those that came later */
    struct slice name;                                      /* msgpack */

    struct worker_link link;
    struct worker_objects objects;
    struct store *store;              /* of the values that are kept (worker_store.c) */
    double trouble_told;              /* io_monotonic() of the last line about its disk; 0: none */
    struct worker_pressure *pressure; /* of memory (worker_pressure.c) */
    struct map calls; /* CALLs under way: number (8 bytes) → struct call * (worker_calls.c) */
    uint64_t call_last;
    struct supervisor *supervisor;
    struct cgroup_home *cgroups; /* of its executors; NULL: they have none (worker_cgroups.c) */
    struct VEC(struct seat) seats;
    uint32_t early_deaths;     /* executors in a row that died before they were usable */
    struct VEC(uint64_t) runs; /* handles of the runs under way */
    struct VEC(
        struct offered) offered; /* by the event being applied: KEEP and REFUSE settle them */
    uint32_t offered_next;
    struct map plugins;  /* name (msgpack) → struct blob * (bin of the pickle) */
    struct map handlers; /* RPCs that plugins added: op → 0 */
    struct map stream_handlers;
    struct blob *versions; /* what an executor said: for the scheduler and for `versions` */
    struct text moves;     /* [key, start, finish], …: not yet told (worker_transitions.c) */
    uint32_t move_count;
    struct worker_gauges *gauges;
    struct worker_transfers *transfers;
    struct worker_http *http; /* NULL: it serves none */
    struct worker_nanny
        *nanny_side; /* the nanny's registration, plugins, Python (worker_nanny.c) */
    struct VEC(struct retry *) retries; /* peers that were busy (worker_gather.c) */
    struct map deaths;                  /* key → executors that died of it (worker_death.c) */
    const struct worker_crash *crash;   /* while its event is applied; else NULL */
    struct worker_records *records;     /* of runs that ended; NULL: none (worker_records.c) */
    struct io_timer *limits;            /* the next deadline of a run (worker_limits.c) */

    uint32_t outgoing_count; /* get_data answers under way */
    uint64_t outgoing_count_total;
    int64_t outgoing_bytes;
    uint64_t outgoing_bytes_total;

    struct VEC(struct restart *) restarts; /* who waits until it has registered anew */
    struct io_timer *lifetime, *closing;
    struct io_timer *ahead; /* looks for short tasks that wait behind long ones (worker_ahead.c) */
    bool is_ahead;          /* there may be some */
    uint32_t ahead_max;     /* as in struct worker_config */
    uint32_t children_closing; /* executors, and the nanny's Python, if they have not yet ended */
    bool is_closing;
    bool is_leaving; /* retiring: its data goes elsewhere first */
    int exit_code;
};

/* ---- worker_node.c ---- */

/* A core without tasks. */
void worker_create_core(struct worker_node *worker);
/* Listen for peers and clients, set the address. */
int worker_listen(struct worker_node *worker, struct text *why) MUST_USE;
/* Apply an event: step, carry out the actions. `event` needs kind and fields only: time (now) and, if empty,
 * the stimulus are filled in. */
void worker_apply(struct worker_node *worker, struct worker_event *event);
static inline struct worker_event worker_event_of(enum worker_event_kind kind)
{
    struct worker_event event;
    memset(&event, 0, sizeof event);
    event.kind = kind;
    return event;
}
/* "<what>-<time>" in the scratch arena, as stock names stimuli. */
struct span worker_stimulus(struct worker_node *worker, const char *what);
const char *worker_phase_text(enum worker_phase status);
/* Change it and tell the scheduler; pauses or unpauses the core. */
void worker_change_status(struct worker_node *worker, enum worker_phase status,
                          struct span stimulus);
/* ---- worker_close.c: ends, and what begins anew ---- */

/* Begin an orderly close; the loop stops when executors have ended. */
void worker_close(struct worker_node *worker, const char *reason, int exit_code);
/* As a stock worker's close(): with its nanny, or so that the nanny starts it anew. */
void worker_end(struct worker_node *worker, const char *reason, bool with_nanny);
/* Have the scheduler move what is here elsewhere, then worker_end. */
void worker_close_gracefully(struct worker_node *worker, const char *reason, bool restart);
/* Kill the executors, forget all tasks, register anew at another address: what a stock nanny does when it
 * restarts its worker. */
void worker_restart(struct worker_node *worker, const char *reason);
/* Forget tasks, values, calls and plugins; who waits for any of them is answered. */
void worker_forget(struct worker_node *worker);
/* Forget {name → struct blob *}. */
void worker_forget_plugins(struct map *plugins);
/* It has registered (or never will): requests that wait for that are answered. */
void worker_restarted(struct worker_node *worker, bool is_fine);

/* ---- worker_directory.c: where user code's files go ---- */

/* Make a directory of its own and lock it; remove those of workers that are dead. */
int worker_directory_make(struct worker_node *worker, struct text *why) MUST_USE;
void worker_directory_remove(struct worker_node *worker);

/* ---- worker_cgroups.c: the kernel's limit for executors ---- */

/* Where it can be had, and the setting allows it; before executors start. */
void worker_cgroups_open(struct worker_node *worker);
/* All executors have ended. */
void worker_cgroups_close(struct worker_node *worker);

/* ---- worker_store.c ---- */

/* Where values are kept, and whether they spill: by the settings, into the worker's directory. */
void worker_store_create(struct worker_node *worker);

/* ---- worker_pressure.c: memory is measured, and something done about it ---- */

void worker_pressure_create(struct worker_node *worker);
void worker_pressure_destroy(struct worker_node *worker);
/* Each turn: no task begins while values come faster than the disk takes them. */
void worker_pressure_turn(struct worker_node *worker);
/* Bytes of the worker and its executors. */
uint64_t worker_memory(struct worker_node *worker);
/* distributed.worker.memory.…, of our limit. */
struct policy_settings worker_memory_settings(const struct worker_node *worker);
/* {target, spill, pause: fraction or false}, what user code changed. As with stock, values put beyond the first `target`
 * still spill. */
void worker_pressure_told(struct worker_node *worker, struct span told);

/* ---- worker_link.c ---- */

void worker_link_init(struct worker_node *worker);
void worker_link_fini(struct worker_node *worker);
/* Register, as often as it takes; once the nanny has started and an executor can be used. */
void worker_link_open(struct worker_node *worker);
/* Leave; what was written goes out. */
void worker_link_close(struct worker_node *worker);
/* Whether to go on waiting for a scheduler; if not, the worker closes. */
bool worker_link_has_patience(struct worker_node *worker);
/* {name: plugin} of a registration. False: malformed. */
bool worker_take_plugins(struct map *plugins, const struct frames *frames, struct span raw);
/* Where to write the next map for the scheduler; it goes out at the end of the turn. */
struct outgoing *worker_to_scheduler(struct worker_node *worker);
void worker_link_flush(struct worker_node *worker);

/* ---- worker_inbound.c ---- */

/* A message (a batch) of the scheduler's stream. False: it is refused, `why` says the reason. */
bool worker_inbound(struct worker_node *worker, const struct frames *frames, struct text *why);

/* ---- worker_outbound.c ---- */

/* Carry out the actions of the last step. */
void worker_outbound(struct worker_node *worker);
/* Offer `object`'s value with the event that is applied next. */
void worker_offer_object(struct worker_node *worker, struct object *object);
/* After that event: what was neither kept nor refused is given up. */
void worker_settle_offers(struct worker_node *worker);
/* What the scheduler is told of a run that ended, as `about` of events; `type` and `typename` may be empty.
 * `inputs` (handles): what was transferred for it is told once. */
struct blob *worker_about(struct worker_node *worker, const struct executor_message *ended,
                          const uint64_t *inputs, uint32_t input_count);

/* ---- worker_payload.c: values of executors as blobs, and back ---- */

/* From now on large values lie where executors map them, and workers of this host are given them there. */
void worker_share_values(struct worker_node *worker);
/* The value and its frames as a message (frame 0 first). ERR_IO: its segment cannot be read. */
int worker_frames_of(const struct executor_payload *payload, struct frames *out_frames) MUST_USE;
/* What an executor exported of the object, as a value of the store; its segment is taken. ERR_IO, ERR_MALFORMED: the
 * log says why. */
int worker_value_of(struct worker_node *worker, struct object *object,
                    struct executor_payload *payload, struct store_value **out_value) MUST_USE;
/* The value for an executor, in its segment if it is in one; frames are in the scratch arena. */
struct executor_payload worker_payload_of_value(struct arena *scratch,
                                                const struct store_value *value);
/* The blob for an executor; frames are in the scratch arena. */
struct executor_payload worker_payload_of(struct arena *scratch, const struct blob *blob);

/* ---- worker_calls.c: CALL and REPLY ---- */

/* The reply, borrowed; NULL: the executor died before it answered. */
typedef void call_replied(void *user, struct worker_node *worker, const struct frames *reply);

struct call_wish {
    uint32_t seat;
    struct span op;
    const struct executor_payload *arguments; /* NULL: none */
    call_replied *replied;                    /* NULL: no reply is wanted */
    void *user;
};
void worker_call(struct worker_node *worker, const struct call_wish *wish);
void worker_call_replied(struct worker_node *worker, uint32_t seat,
                         const struct executor_message *reply);
void worker_calls_died(struct worker_node *worker, uint32_t seat);

/* ---- worker_ahead.c ---- */

void worker_ahead_create(struct worker_node *worker);
/* Whether a task may be sent there now, ahead of its thread or not. */
bool worker_seat_has_room(const struct worker_node *worker, const struct seat *seat);
/* One was sent there. */
void worker_seat_filled(struct worker_node *worker, struct seat *seat);

/* ---- worker_executors.c ---- */

int worker_executors_start(struct worker_node *worker, struct text *why) MUST_USE;
/* End those that there are; others take their places. */
void worker_executors_replace(struct worker_node *worker, const char *reason);
/* The plugins of the registration are known: add them everywhere, then run tasks. */
void worker_executors_prepare(struct worker_node *worker);

/* One of them can be used, so it is known what packages they have. */
bool worker_executors_are_there(const struct worker_node *worker);
/* A call that adds a plugin; `wish` without its arguments. */
void worker_call_plugin_add(struct worker_node *worker, struct call_wish *wish, struct span name,
                            const struct blob *plugin);
void worker_say_hello_to_nanny(struct worker_node *worker, struct executor *executor);
/* The worker has another address. */
void worker_update_nanny(struct worker_node *worker, struct executor *executor);

/* Resources have changed. */
void worker_update_resources(struct worker_node *worker);

/* ---- worker_transitions.c ---- */

/* Executors have begun or ceased to listen. */
void worker_look_for_listeners(struct worker_node *worker);
void worker_note_transition(struct worker_node *worker,
                            const struct worker_action_transition *action);
/* Tell those noted, at the end of a turn. */
void worker_send_transitions(struct worker_node *worker);

/* ---- worker_nanny.c: what a nanny is beside restarting the worker ---- */

/* Another place of executors, for worker_call: the nanny's Python. */
#define SEAT_NANNY (UINT32_MAX - 1)

void worker_nanny_create(struct worker_node *worker);
void worker_nanny_destroy(struct worker_node *worker);
/* Register it; load its preload modules. */
void worker_nanny_begin(struct worker_node *worker);
/* It is registered, its plugins are there: the worker may register. */
bool worker_nanny_is_started(const struct worker_node *worker);
/* Calls can be sent to SEAT_NANNY. */
bool worker_nanny_has_python(const struct worker_node *worker);
/* Start its Python, if need be; the request is dispatched again when it is there. */
void worker_nanny_wait(struct worker_node *worker, struct request *request);
/* The worker has registered, or never will. */
void worker_nanny_registered(struct worker_node *worker, bool is_fine);
/* Plugins that a new process of its Python gets. */
void worker_nanny_keep_plugin(struct worker_node *worker, struct span name, struct blob *plugin);
void worker_nanny_drop_plugin(struct worker_node *worker, struct span name);
struct executor *worker_nanny_executor(const struct worker_node *worker); /* NULL: none */
void worker_nanny_flush(struct worker_node *worker);
/* Ask its Python to end; false: there is none, so `closed` will not be called. */
bool worker_nanny_close(struct worker_node *worker, double grace, void (*closed)(void *user));

/* ---- worker_environment.c ---- */

/* The interpreter of executors, and the additions to their environment: a NULL-terminated array (the caller's, as
 * its strings in `out_texts`). `told`: {environ, path} of the nanny's Python, or empty. */
const char **worker_environment(struct worker_node *worker, struct span told,
                                struct text *out_python, struct text *out_texts);

/* ---- worker_rpc_life.c ---- */

/* Those who asked the nanny for a restart and wait. */
void worker_answer_restarts(struct worker_node *worker, bool is_fine);

/* ---- worker_questions.c: what executors ask and tell ---- */

void worker_asked(struct worker_node *worker, uint32_t seat, struct executor_message *ask);
void worker_told(struct worker_node *worker, uint32_t seat, struct executor_message *tell);
/* {handlers, stream_handlers, beats}: what user code added in this executor. */
void worker_take_handlers(struct worker_node *worker, uint32_t seat, struct span told);
/* close [reason, nanny], close-gracefully [reason, restart]; other names mean nothing. */
void worker_told_to_close(struct worker_node *worker, struct span name, struct span told);
/* The text at `index` of a list; empty: there is none. */
struct span worker_text_at(struct span list, uint32_t index);

/* ---- worker_run.c ---- */

void worker_run(struct worker_node *worker, const struct worker_action_execute *action);
void worker_interrupt(struct worker_node *worker, task_id task);
/* What this seat has not begun shall be placed anew: RESCHEDULE. */
void worker_recall_runs(struct worker_node *worker, uint32_t seat);
/* Send runs that wait and can go now; end those that cannot. At the end of a turn. */
void worker_send_runs(struct worker_node *worker);
/* The seat whose executor has this object's run; SEAT_NONE: none has it yet. */
uint32_t worker_run_seat(const struct object *object);
/* Forget them all, without an event. */
void worker_runs_clear(struct worker_node *worker);
void worker_run_done(struct worker_node *worker, struct object *object,
                     struct executor_message *done);
void worker_run_failed(struct worker_node *worker, struct object *object,
                       const struct executor_message *failed);
void worker_run_stopped(struct worker_node *worker, struct object *object);
void worker_run_seceded(struct worker_node *worker, struct object *object, double seconds);

/* ---- worker_death.c: what the end of an executor means ---- */

/* The executor in this seat has died: its runs end, what lived only there is lost. */
void worker_runs_died(struct worker_node *worker, uint32_t seat,
                      const struct executor_death *death);
/* The certificate, with tasks called by their keys. */
void worker_death_print(struct worker_node *worker, const struct executor_death *death,
                        struct text *out);
void worker_deaths_clear(struct worker_node *worker);
/* Its value was serialised, though executors may have died of that before. */
void worker_death_exported(struct worker_node *worker, const struct object *object);

/* ---- worker_records.c: what tasks cost and printed ---- */

void worker_records_destroy(struct worker_node *worker);
/* OUTPUT of a run. */
void worker_record_output(struct object *object, const struct executor_message *told);

/* ---- worker_limits.c: tasks that must stop ---- */

void worker_limits_create(struct worker_node *worker);
void worker_limits_destroy(struct worker_node *worker);

/* ---- worker_shuffles.c: P2P shuffles that lose an executor ---- */

/* [[id, run_id], …]: those that this executor is part of. */
void worker_shuffles_told(struct worker_node *worker, uint32_t seat, struct span told);
/* Have them begin again. */
void worker_shuffles_died(struct worker_node *worker, uint32_t seat);

/* ---- worker_gather.c: values of peers ---- */

void worker_gather(struct worker_node *worker, const struct worker_action_gather *action);
void worker_retry_busy_later(struct worker_node *worker, struct span peer);

/* The call get_data for these keys. */
void worker_write_get_data(const struct worker_node *worker, struct span_list keys,
                           struct outgoing *out);
/* The values of an answer to it, offered (in the arena) if `sizes` (key → bytes) has their keys, which are taken
 * out of it. False: malformed; worker_settle_offers is due either way. */
bool worker_offer_data(struct worker_node *worker, const struct frames *frames, struct map *sizes,
                       struct worker_offer_list *out);
/* Forget the peers that were busy. */
void worker_gather_clear(struct worker_node *worker);

/* ---- worker_rpc_python.c: what only Python can answer ---- */

/* Give the call to an executor; its reply is the answer. */
void worker_rpc_to_python(struct worker_node *worker, struct request *request,
                          const struct message *message);
/* The same for an operation that a plugin added. If its executor dies the connection ends, as it would with a stock
 * worker that dies: who knows to try again does. */
void worker_rpc_to_plugin(struct worker_node *worker, struct request *request,
                          const struct message *message);
/* An operation in the scheduler's stream that is not the worker's own; false: nobody knows it. */
bool worker_pass_stream_message(struct worker_node *worker, const struct frames *frames,
                                const struct message *message);

/* ---- worker_rpc.c and worker_rpc_*.c ---- */

/* As stock's log has it: (key, start, wanted, finish, {}, stimulus, time) of a move, (key, what, state, stimulus,
 * time) of the rest. */
void worker_write_story(struct text *out, const struct wstory_entry *entry);

typedef void worker_rpc_handler(struct worker_node *worker, struct request *request,
                                const struct message *message);
#define WORKER_RPC(ID, function) worker_rpc_handler function;
#define NANNY_RPC(ID, function) worker_rpc_handler function;
#include "node/worker_rpc.def"
extern const struct server_events worker_server_events, worker_nanny_events;

#endif
