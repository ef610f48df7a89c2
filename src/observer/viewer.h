/* viewer.h: one open WebSocket, of either kind. */
#ifndef CASK_OBSERVER_VIEWER_H
#define CASK_OBSERVER_VIEWER_H

#include "observer/columns.h"
#include "observer/process.h"

#define SUBSCRIPTIONS_MAX 32u

enum channel {
    CHANNEL_NONE,
    CHANNEL_SUMMARY,
    CHANNEL_WORKERS,
    CHANNEL_GROUPS,
    CHANNEL_STREAM,
    CHANNEL_FAILURES,
    CHANNEL_LOGS,
    CHANNEL_FINDINGS,
    CHANNEL_COUNT
};

struct subscription {
    enum channel channel;
    uint16_t id;
    bool wants_keys; /* stream */
    bool has_begun;
    double pause, due; /* seconds between frames; when the next may go */
    double beat;       /* summary: when it goes without news */
    uint32_t sequence;
    uint64_t seen;    /* tick, or number of the next row */
    uint64_t singles; /* groups: which rows of single tasks were told (a sum over their numbers) */
};

struct viewer {
    struct observer *observer;
    struct lws *wsi;
    enum viewer_kind kind;
    bool is_paused;
    struct VEC(struct subscription) subscriptions;
    uint32_t turn;              /* the subscription to begin with */
    struct text answer;         /* text messages that wait, each with its LWS_PRE */
    struct VEC(uint32_t) sizes; /* of those */
    /* eventstream */
    uint64_t runs_seen, events_seen, graphs_seen, workers_seen;
};

/* A text message that goes as soon as possible. False: too many wait. */
bool viewer_say(struct viewer *viewer, struct span text);

/* ---- live.c ---- */
bool live_message(struct viewer *viewer, struct span message);
/* Whether some frame may go now. */
bool live_is_due(const struct viewer *viewer, double now);
/* Make the next frame that is due into `out`; false: there is none. */
bool live_next(struct viewer *viewer, double now, struct text *out);

/* ---- eventstream.c ---- */
void eventstream_open(struct viewer *viewer);
bool eventstream_message(struct viewer *viewer, struct span message);
/* Say what is new; false: close. */
bool eventstream_tell(struct viewer *viewer);

#endif
