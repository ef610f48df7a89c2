/* record.h: what happens in the scheduler, as records for the observer.
 *
 * The core and the node say what happened; here it becomes stores into shared memory, and nothing else: no
 * clock, no lookup by text in what happens for each task. What is (totals, workers, groups) is recorded when the
 * observer asks. Records and ring: record/. */
#ifndef CASK_NODE_RECORD_H
#define CASK_NODE_RECORD_H

#include "core/scheduler/actions.h"

struct node;
struct recorder;
struct ring_writer;

/* `ring` is borrowed and outlives it. */
struct recorder *recorder_create(struct node *node, struct ring_writer *ring);
void recorder_destroy(struct recorder *recorder);
/* A reader begins that knows nothing: tell it who we are, and what there is. */
void recorder_begin(struct recorder *recorder);
/* The end, in good order. */
void recorder_end(struct recorder *recorder, const char *reason, int exit_code);
/* Inside a step. */
void recorder_notice(struct recorder *recorder, const struct notice *notice);
/* The core forgot all keys (ACTION_CLIENT_RESTART). Inside a step. */
void recorder_restart(struct recorder *recorder);
/* `value` was logged under `topic` (canonical msgpack). */
void recorder_event(struct recorder *recorder, struct span topic, struct span value);
/* The task was running on `worker` when its executor died. */
void recorder_victim(struct recorder *recorder, worker_id worker, struct span key,
                     struct span certificate);
/* A worker's heartbeat came, with these metrics (msgpack). */
void recorder_heartbeat(struct recorder *recorder, worker_id worker, struct span metrics);
/* These results came from one worker to another. NULL recorder: nobody records. */
void recorder_moved(struct recorder *recorder, struct span_list keys);
/* A graph of so many bytes came. */
void recorder_graph_bytes(struct recorder *recorder, client_id client, uint64_t bytes);
/* Packages of `who` (an address, a client's id) are others than everybody's. */
void recorder_versions(struct recorder *recorder, struct span who, struct span comparison);
/* What is now, as far as it changed since; with `all` everything, and what is dear to find out. Cost: O(prefixes), and of
 * workers and groups O(those that changed), up to some hundreds of groups. */
void recorder_sample(struct recorder *recorder, bool all);

#endif
