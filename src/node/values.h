/* values.h: msgpack values of messages as the structs that events carry. Everything lands in the node's
 * scratch arena and borrows from the message. */
#ifndef CASK_NODE_VALUES_H
#define CASK_NODE_VALUES_H

#include "core/scheduler/view.h"
#include "wire/message.h"

struct node;

/* The keys as a list. */
struct span_list values_keys(struct arena *arena, struct key_list keys);
/* A list of startstops; nil or absent is empty. False: malformed. */
bool values_startstops(struct arena *arena, struct span raw, struct startstop_list *out_list);
/* {name: number}; nil is empty. */
bool values_resources(struct arena *arena, struct span raw, struct resource_list *out_list);
/* {key: [address]} and {key: nbytes} of update_data → EVENT_DATA_PLACED. */
bool values_data_placed(struct node *node, client_id client, struct span who_has,
                        struct span nbytes);
/* The value as a blob; NULL if it refers to frames: what is shown to others must be plain. */
struct blob *values_plain(struct span raw);
/* A worker's metrics (and `executing`: {key: seconds}, may be nil). The raw blob is the caller's to unref. */
bool values_metrics(struct node *node, struct span raw, struct span executing, double worker_time,
                    struct metrics_info *out_metrics);
/* A list (or set) of addresses or names as known workers: `given` false if it was nil, which mostly means
 * all. Unknown ones are left out. A single str is a list of one. */
struct worker_list values_workers(struct node *node, struct span raw, bool *out_given);
/* The same; all if it was nil. */
struct worker_list values_workers_or_all(struct node *node, struct span raw);
/* Seconds from a number, or from text as "100 ms"; nil gives `absent`. False: neither. */
bool values_seconds(struct span raw, double absent, double *out_seconds);

#endif
