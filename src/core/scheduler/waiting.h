/* waiting.h: requests that wait for something: in line at what they wait for, found by their number when
 * their connection is gone, and by their deadline when time is up. Used by locks and exchange. */
#ifndef CASK_CORE_SCHEDULER_WAITING_H
#define CASK_CORE_SCHEDULER_WAITING_H

#include "base/blob.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/vec.h"

/* A line of waiters, first come first. All zero is an empty one. */
struct waiter_line {
    struct waiter *first, *last;
    uint32_t count;
    uint32_t kind; /* the owner's: what is waited for here … */
    void *owner;   /* … and at which thing */
};

struct waiter {
    uint64_t request;
    double deadline; /* infinity: none */
    double since;
    struct waiter_line *line;
    struct waiter *before, *after;
    uint32_t id, place; /* in by_id, in the heap */
    /* what it asks for; freed with it */
    struct span text;
    struct blob *data;
    uint32_t number;
    void *detail; /* the owner's to free */
};

struct waiting {
    struct VEC(struct waiter *) by_id; /* NULL: free */
    struct VEC(uint32_t) free_ids;
    struct heap by_deadline; /* those that have one */
    struct map by_request;
};

void waiting_init(struct waiting *waiting);
void waiting_fini(struct waiting *waiting);
/* A request at the end of `line`. A number that waits already is a caller's bug. */
struct waiter *waiting_add(struct waiting *waiting, struct waiter_line *line, uint64_t request,
                           double now, double deadline);
/* Out of its line and freed. */
void waiting_end(struct waiting *waiting, struct waiter *waiter);
/* To the end of `line` (may be its own). */
void waiting_move(struct waiter *waiter, struct waiter_line *line);
/* NULL: this request does not wait here. */
struct waiter *waiting_find(const struct waiting *waiting, uint64_t request);
/* One whose deadline is past, the earliest first; NULL: none. */
struct waiter *waiting_expired(const struct waiting *waiting, double now);
/* The earliest deadline; infinity: none. */
double waiting_due(const struct waiting *waiting);

#endif
