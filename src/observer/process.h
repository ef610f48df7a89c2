/* process.h: the observer's process from the inside. */
#ifndef CASK_OBSERVER_PROCESS_H
#define CASK_OBSERVER_PROCESS_H

#include <libwebsockets.h>

#include "base/map.h"
#include "observer/exchange.h"
#include "observer/tables.h"
#include "record/ring.h"
#include "wire/frame.h"

/* A scheduler's dashboard may have several addresses. */
#define OBSERVER_LISTENERS_MAX 8

struct history;
struct viewer;

struct settings {
    struct text prefix; /* "" or "/x" */
    struct text tls_cert, tls_key, tls_ca, token, name_space;
    struct text findings; /* msgpack: their thresholds */
    struct text history;  /* folder; "": none is kept */
    struct text cluster_id;
    double started, history_bytes, history_seconds;
    struct VEC(struct text) origins;
    bool api, pages, actions;
    double linger, memory;
    uint16_t port;
};

struct question {
    uint64_t id;
    channel_answered *answered;
    void *user;
    double asked;
};

struct observer {
    struct settings settings;
    struct tables *tables;
    struct history *history; /* NULL: off */
    struct ring_reader ring; /* closed: of a file */
    struct lws_context *context;
    struct lws_vhost *vhost;
    int channel; /* −1: closed */
    int listeners[OBSERVER_LISTENERS_MAX];
    uint32_t listener_count;
    struct lws *channel_wsi;
    struct frame_reader reader;
    struct VEC(struct question) questions;
    uint64_t question_last;
    lws_sorted_usec_list_t drain_timer, end_timer;
    struct VEC(struct viewer *) viewers;
    uint32_t connections;
    uint32_t proxied_count;  /* requests to workers that are open */
    uint32_t passages_count; /* WebSockets to workers */
    double sampled,
        active; /* when the scheduler was last asked for a sample; when a record last came */
    bool is_sampling;
    bool is_ended; /* leave the loop */
    union any_record record;
    uint64_t oom_kills;
    uint64_t bytes_sent;
    struct VEC(
        struct observer *) runs; /* other runs that are looked at; each an observer of a file */
    struct text run_name;        /* of such a one */
    struct observer *outer;      /* whose it is; NULL: it is the process's */
    uint32_t uses;               /* exchanges of it */
    double used;                 /* when it was last asked for */
};

double observer_now(void);
/* Read what the ring has. */
void observer_drain(struct observer *observer);
/* The tables of a file; NULL: they cannot be read, and why. */
struct observer *observer_create_file(const char *path, size_t memory, struct text *why);
void observer_destroy(struct observer *observer);
/* Somebody came who wants to see things move. */
void observer_wake(struct observer *observer);

/* ---- channel.c ---- */
int channel_receive_settings(struct observer *observer, struct text *why) MUST_USE;
/* The channel can be read. False: it is closed. */
bool channel_readable(struct observer *observer);
/* Nobody will answer any more. */
void channel_closed(struct observer *observer);
/* Questions that were asked too long ago fail. */
void channel_expire(struct observer *observer);

/* ---- server.c ---- */
int server_create(struct observer *observer, struct text *why) MUST_USE;

/* ---- history_api.c ---- */
/* If the path, below the prefix, is "/history/NAME/…", the observer of that run, and out_rest "/…"; else the observer itself,
 * and the path. NULL: there is no such run. */
struct observer *run_of_path(struct observer *observer, struct span path, struct span *out_rest);

/* ---- proxy.c: the library's callback of its connections ---- */
int proxy_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                size_t size);

/* ---- route.c ---- */
void route(struct exchange *exchange);
/* Every path without parts, and patterns of those with. NULL past the end. */
const char *route_path(uint32_t index);

/* ---- live.c, eventstream.c: WebSockets ---- */
enum viewer_kind { VIEWER_LIVE, VIEWER_EVENTS };
struct viewer *viewer_create(struct observer *observer, struct lws *wsi, enum viewer_kind kind);
void viewer_destroy(struct viewer *viewer);
/* A whole text message. False: close. */
bool viewer_message(struct viewer *viewer, struct span message);
/* It can be written to. False: close. */
bool viewer_writable(struct viewer *viewer);
/* Records may have come: ask to write to those who have something to get. */
void viewers_beat(struct observer *observer);

#endif
