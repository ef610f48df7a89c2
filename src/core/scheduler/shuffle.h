/* shuffle.h: the scheduler's part of P2P shuffles: which worker owns which output partition, restrictions,
 * restart when a participant is lost. Must agree with: distributed shuffle/_scheduler_plugin.py; protocol.md 8.5. */
#ifndef CASK_CORE_SCHEDULER_SHUFFLE_H
#define CASK_CORE_SCHEDULER_SHUFFLE_H

#include "core/scheduler/internal.h"

struct shuffles *shuffles_create(const struct scheduler_config *config);
void shuffles_destroy(struct shuffles *shuffles);
/* The barrier tasks of a graph are now known: keep their specs. */
void shuffles_graph(struct scheduler *s, const struct graph_info *graph);
/* SHUFFLE_GET, SHUFFLE_BARRIER, SHUFFLE_RESTRICT. */
void shuffles_event(struct scheduler *s, const struct event *event, struct step *step);
/* A barrier task moved; forgotten or released ends the shuffle's run. Called for tasks with extra->shuffle only. */
void shuffles_task_moved(struct scheduler *s, struct task *task, uint8_t start, uint8_t finish, struct step *step);
/* Fails the runs it took part in (SHUFFLE_FAIL to the others) and asks for the tasks to run again. Called in
 * worker_remove before its tasks are moved; adds wants. */
void shuffles_worker_removed(struct scheduler *s, struct worker *worker, struct step *step);
/* Heartbeat extension "shuffle": raw msgpack, kept for the dashboard. True while `worker` takes part in a run. */
bool shuffles_participates(const struct scheduler *s, worker_id worker);

#endif
