/* step_events.h: one function per event that the core itself answers, and what several of them share.
 * The events of the policies and extensions are in their own headers. */
#ifndef CASK_CORE_SCHEDULER_STEP_EVENTS_H
#define CASK_CORE_SCHEDULER_STEP_EVENTS_H

#include "core/scheduler/internal.h"

typedef void step_function(struct scheduler *s, const struct event *event, struct step *step);

/* step_client.c */
step_function step_client_add, step_client_remove, step_client_heartbeat;
step_function step_client_desires, step_client_releases, step_report_key, step_graph_failed;
step_function step_cancel, step_retry, step_data_placed, step_restart;
/* step_graph.c */
step_function step_graph;
/* step_worker.c */
step_function step_worker_add, step_worker_heartbeat;
step_function step_worker_status, step_worker_resources;
/* departure.c */
step_function step_worker_remove;
/* step_task.c */
step_function step_task_finished, step_task_erred, step_release_worker_data, step_add_keys;
step_function step_long_running, step_reschedule, step_task_died, step_refresh_who_has;
step_function step_replica_missing, step_replica_deleted, step_set_restrictions;

/* Tell the client, and all that want the key already, that its graph failed. Tasks stay as they are. */
void graph_key_failed(struct scheduler *s, client_id client, struct span key,
                      const struct failure_info *info, struct step *step);
/* handle_worker_status_change: what follows from a new status. */
void worker_set_status(struct scheduler *s, struct worker *worker, enum worker_status status,
                       struct step *step);
/* Status by stock's name; WORKER_STATUS_COUNT: none. */
enum worker_status worker_status_parse(struct span name);
/* Workers that have not been heard of for too long (worker-ttl). */
void worker_tick_ttl(struct scheduler *s, struct step *step);
double worker_next_ttl(const struct scheduler *s);

#endif
