/* closing.h: which workers may be closed at little cost, for workers_to_close and retire_workers.
 * Source: distributed scheduler.py workers_to_close. */
#ifndef CASK_NODE_CLOSING_H
#define CASK_NODE_CLOSING_H

#include "node/node.h"

/* What the call asks, as it stands in the message; copied where it is kept. */
struct closing_question {
    double memory_ratio;        /* negative: not given */
    int64_t n, minimum, target; /* −1: not given */
    struct span key;            /* pickled function that groups workers, or empty */
};

/* Whether the field `raw` is a key that we can read: none, or a pickled operator.attrgetter, which *out_key is
 * then. Else (another pickle, or a function as clients' messages carry them) it is the planner's. */
bool closing_is_native(struct span raw, struct span *out_key);

/* The workers (empty: none), borrowed for the call. Called once, never inside. */
typedef void closing_done(void *user, struct worker_list workers);
/* Some scheduler plugin has a say in which workers may close. */
bool closing_needs_plugins(const struct node *node);
/* `question->key` must be native. Scheduler plugins are asked which workers it is a choice of. */
void closing_choose(struct node *node, const struct closing_question *question, closing_done *done,
                    void *user);

/* `name` is an attribute that closing_write_attribute can write. */
bool closing_is_attribute(struct span name);
/* Append attribute `name` of a WorkerState, as msgpack; false: no such worker or attribute. */
bool closing_write_attribute(struct node *node, worker_id worker, struct span name,
                             struct outgoing *out);

#endif
