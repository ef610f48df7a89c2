/* actions.h: the actions of actions.def as structs, and the step that collects them. */
#ifndef CASK_CORE_SCHEDULER_ACTIONS_H
#define CASK_CORE_SCHEDULER_ACTIONS_H

#include "core/scheduler/events.h"

struct task;
struct failure;

/* One input of a task as a worker must know it: key, size, holders at this moment. */
struct input {
    struct span key;
    int64_t nbytes; /* −1 unknown */
    const worker_id *holders;
    uint32_t holder_count;
};

struct input_list {
    const struct input *items;
    uint32_t count;
};

/* An answer to an RPC. Kinds of error name the Python exception the client shall see. */
struct answer {
    enum answer_kind {
        ANSWER_NIL,
        ANSWER_BOOL,
        ANSWER_INT,
        ANSWER_RECORDS, /* queue_get with batch: list of records */
        ANSWER_RECORD,  /* one record: queue_get, variable_get */
        ANSWER_DATASET, /* publish_get: {"data": blob, "keys": keys}; no blob and no keys: nil */
        ANSWER_SHUFFLE, /* shuffle run spec: `shuffle` */
        ANSWER_OK,      /* {"status": "OK"} */
        ANSWER_TIMEOUT_ERROR, /* builtins.TimeoutError(text) as uncaught-error */
        ANSWER_KEY_ERROR,     /* builtins.KeyError(text) */
        ANSWER_VALUE_ERROR,
        ANSWER_RUNTIME_ERROR,
        ANSWER_P2P_ERROR, /* {"status":"error"} with P2PConsistencyError(text) */
    } kind;
    int64_t number;        /* BOOL, INT */
    struct span text;      /* errors: the message, made here */
    struct blob *blob;     /* DATASET */
    struct span_list keys; /* DATASET */
    const struct record *records;
    uint32_t record_count;
    const struct shuffle_answer *shuffle;
};

/* One item of a queue or variable. */
struct record {
    struct blob *data;             /* a plain value, or NULL: a future */
    struct span key;               /* the future's key */
    struct span state;             /* its task's state; "lost" if unknown */
    const struct failure *failure; /* of an erred task, else NULL */
    struct span token;             /* variable_get of a future: to be confirmed */
};

/* What a ShuffleRunSpec is made of (wire/pickle_make). */
struct shuffle_answer {
    int64_t run_id;
    struct span spec;         /* pickle of the ShuffleSpec */
    struct span_list parts;   /* canonical msgpack of each partition … */
    const worker_id *workers; /* … and the worker for it */
    struct span span_id;      /* or empty */
};

/* One steal request, as stock logs it. */
struct steal_note {
    struct span key;
    int64_t level;
    double cost; /* seconds */
    worker_id victim, thief;
    double victim_occupancy, thief_occupancy;
};

/* Something people may want to hear of. `topic` users: the node renders and files it. */
struct notice {
    enum notice_kind {
        NOTICE_WORKER_ADDED,
        NOTICE_WORKER_REMOVED, /* keys: lost computed; more_keys: lost scattered; busy: processing */
        NOTICE_WORKER_LOSSES,  /* the same of a worker that was removed before, piece by piece */
        NOTICE_WORKER_STATUS,  /* text: previous, text2: new */
        NOTICE_CLIENT_ADDED,
        NOTICE_CLIENT_REMOVED,
        NOTICE_GRAPH_ADDED, /* number: tasks, number2: new tasks, number3: key collisions; keys: wanted,
                                        more_keys: touched; before any of them moves */
        NOTICE_GRAPH_CANCELLED, /* lost dependencies; keys */
        NOTICE_GRAPH_FAILED,    /* text: the reason */
        NOTICE_CANCELLED,       /* number: count, flag: force */
        NOTICE_RETRIED,         /* keys */
        NOTICE_STEAL, /* text: "request": steals; else what came of one: keys[0], worker: victim,
                                        worker2: thief, text2: the victim's state of it, flag: thief is gone;
                                        "stale-response", "already-aborted": worker: who answered */
        NOTICE_TTL,   /* worker timed out */
        NOTICE_NO_WORKERS_TIMEOUT, /* keys */
        NOTICE_TRANSITION, /* a task's move, when wanted: task, text: start, text2: finish */
        NOTICE_TASK_DONE, /* processing → memory | erred: for the task stream; task, startstops, …;
                                        text: its new state, text2: pickle of the result's type */
        NOTICE_RETIRED,   /* worker; flag: retired or could not */
        NOTICE_REPLICATE, /* AMM: keys, worker; flag: acquire, else drop */
        NOTICE_SHUFFLE,   /* text: what; text2: shuffle id */
    } kind;
    double time;
    worker_id worker, worker2;
    client_id client;
    const struct task *task; /* TRANSITION, TASK_DONE */
    struct span text, text2, stimulus;
    struct span_list keys, more_keys, busy;
    int64_t number, number2, number3;
    bool flag;
    struct startstop_list startstops; /* TASK_DONE */
    uint64_t thread;                  /* TASK_DONE */
    const struct steal_note *steals;  /* STEAL "request" */
    uint32_t steal_count;
};

enum action_kind {
#define ACTION(ID, name, FIELDS) ACTION_##ID,
#include "core/scheduler/actions.def"
    ACTION_KIND_COUNT
};

#define EVENT_TYPE_task_ref const struct task *
#define EVENT_TYPE_inputs struct input_list
#define EVENT_TYPE_failure const struct failure *
#define EVENT_TYPE_answer const struct answer *
#define EVENT_TYPE_notice const struct notice *

#define ACTION(ID, name, FIELDS)                                                                   \
    struct action_##name {                                                                         \
        FIELDS(EVENT_FIELD)                                                                        \
    };
#include "core/scheduler/actions.def"

struct action {
    enum action_kind kind;
    union {
#define ACTION(ID, name, FIELDS) struct action_##name name;
#include "core/scheduler/actions.def"
    } of;
};

/* What one step gives back. Reused from step to step: init once, the core clears it at each start. */
struct step {
    struct arena arena;
    struct action *actions;
    uint32_t action_count, action_capacity;
    double time;                 /* of the event being applied */
    struct span stimulus;        /* of the event being applied */
    worker_id worker;            /* WORKER_ADD: the new worker … */
    client_id client;            /* CLIENT_ADD: the new client … */
    struct span refused;         /* … or why not */
    struct span_list reply_keys; /* RETRY: the visited keys */
    bool pending;                /* there is more to do: EVENT_GO_ON, between other events */
    bool graph_pending;          /* part of a graph is still to come (then `pending`, too) */
    bool graph_later; /* GRAPH: nothing was done: it must wait for what is pending; send it again */
};

void step_init(struct step *step);
void step_fini(struct step *step);

#endif
