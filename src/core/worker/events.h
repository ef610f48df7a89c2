/* events.h: the events of events.def as structs, and the records inside them. */
#ifndef CASK_CORE_WORKER_EVENTS_H
#define CASK_CORE_WORKER_EVENTS_H

#include "core/step.h"

/* What the scheduler sends as [user, generation, order]; smaller is sooner. Of a shorter list the missing
 * numbers are the smallest there are (−INFINITY, INT64_MIN), as tuples compare. */
struct worker_priority {
    double user, generation;
    int64_t order;
};

/* A value somewhere else: which, how large, and the addresses of those who hold it. */
struct worker_holding {
    struct span key;
    int64_t nbytes;
    struct span_list holders;
};
struct worker_holding_list {
    const struct worker_holding *items;
    uint32_t count;
};

/* A value that has come and might be kept. `about` is what the scheduler will be told of it in a
 * task-finished (type, typename, metadata, thread, startstops): opaque here, referenced while it is kept. */
struct worker_offer {
    struct span key;
    int64_t nbytes;
    struct blob *about; /* NULL: nothing */
};
struct worker_offer_list {
    const struct worker_offer *items;
    uint32_t count;
};

/* Why a run or a transfer failed; passed on in the same step, never kept. */
struct worker_failure {
    struct blob *exception, *traceback; /* traceback may be NULL */
    struct span exception_text, traceback_text;
};

enum worker_event_kind {
#define EVENT(ID, name, FIELDS) WORKER_EVENT_##ID,
#include "core/worker/events.def"
    WORKER_EVENT_KIND_COUNT
};

#define W_TYPE_span struct span
#define W_TYPE_span_list struct span_list
#define W_TYPE_blob struct blob *
#define W_TYPE_f64 double
#define W_TYPE_i64 int64_t
#define W_TYPE_flag bool
#define W_TYPE_task task_id
#define W_TYPE_resources struct resource_list
#define W_TYPE_priority struct worker_priority
#define W_TYPE_holdings struct worker_holding_list
#define W_TYPE_offers struct worker_offer_list
#define W_TYPE_failure const struct worker_failure *

#define W_FIELD(type, name) W_TYPE_##type name;
#define EVENT(ID, name, FIELDS)                                                                    \
    struct worker_event_##name {                                                                   \
        FIELDS(W_FIELD)                                                                            \
    };
#include "core/worker/events.def"

struct worker_event {
    enum worker_event_kind kind;
    double time;          /* seconds since the epoch, never decreasing */
    struct span stimulus; /* the stimulus id for stories and outgoing messages */
    union {
#define EVENT(ID, name, FIELDS) struct worker_event_##name name;
#include "core/worker/events.def"
    } of;
};

#endif
