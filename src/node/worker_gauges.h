/* worker_gauges.h: what a worker measures of itself and tells the scheduler with its heartbeats.
 * Source: distributed worker.py, get_metrics; system_monitor.py. */
#ifndef CASK_NODE_WORKER_GAUGES_H
#define CASK_NODE_WORKER_GAUGES_H

#include "base/span.h"
#include "base/text.h"

struct executor_ledger;
struct worker_gauges;
struct worker_node;
struct wtask_view;

struct worker_gauges *worker_gauges_create(void);
void worker_gauges_destroy(struct worker_gauges *gauges);
/* All metrics, as a msgpack map; what counts since the last heartbeat begins anew. `more`: a map of what user code
 * adds, or empty. */
void worker_gauges_write(struct worker_node *worker, struct span more, struct text *out);
/* What tasks and shuffles metered since the last heartbeat, with the ids of their spans: {name: number}. False:
 * nothing, and nothing is written. */
bool worker_gauges_write_spans(struct worker_node *worker, struct text *out);
/* A task ran. */
void worker_gauges_ran(struct worker_node *worker, const struct wtask_view *task,
                       const struct executor_ledger *ledger);
/* A transfer from a peer ended. */
void worker_gauges_received(struct worker_node *worker, struct span peer, uint64_t bytes,
                            double seconds);
/* A heartbeat took this long to be answered. */
void worker_gauges_latency(struct worker_node *worker, double seconds);
/* [name, number]: a digest that user code or an executor metered. */
void worker_gauges_digest(struct worker_node *worker, struct span told);

#endif
