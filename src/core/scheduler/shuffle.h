/* shuffle.h: the scheduler's part of P2P shuffles: which worker owns which output partition, restrictions,
 * restart when a participant is lost. Must agree with: distributed shuffle/_scheduler_plugin.py; protocol.md 8.5. */
#ifndef CASK_CORE_SCHEDULER_SHUFFLE_H
#define CASK_CORE_SCHEDULER_SHUFFLE_H

#include "core/scheduler/scheduler.h"

struct shuffles;
struct task;
struct worker;

struct shuffles *shuffles_create(const struct scheduler_config *config);
void shuffles_destroy(struct shuffles *shuffles);
/* The barrier tasks of a graph are now known: keep their specs (extra->shuffle). */
void shuffles_graph(struct scheduler *s, const struct graph_info *graph);
/* SHUFFLE_GET, SHUFFLE_BARRIER, SHUFFLE_RESTRICT. Makes all moves that follow. */
void shuffles_event(struct scheduler *s, const struct event *event, struct step *step);
/* A barrier task moved; released, erred or forgotten ends the shuffle's run. Called for tasks with
 * extra->shuffle only, inside a move: recommends nothing. */
void shuffles_task_moved(struct scheduler *s, struct task *task, uint8_t start, uint8_t finish,
                         struct step *step);
/* `task`, which is processing, was just wanted to be released or waiting, to run again. If it is a barrier, that
 * ends its run, and what was transferred in it is lost: its inputs are wanted released as well. (With stock the
 * barrier fails then, and all of the shuffle with it.) It happens when the barrier is rescheduled, or when it
 * went on through a restart of the shuffle on a worker that had not heard of it: its answer is out of date. */
void shuffles_barrier_again(struct scheduler *s, const struct task *task, struct step *step);
/* Fails the runs it took part in (SHUFFLE_FAIL to the others) and makes their tasks run again. Called in
 * worker_remove as stock calls its plugins: after the moves of what the worker had (transitions_run) and
 * before queue_slots_maybe_opened; makes the moves that follow itself. */
void shuffles_worker_removed(struct scheduler *s, struct worker *worker, struct step *step);
/* True while `worker` takes part in a run. */
bool shuffles_participates(const struct scheduler *s, worker_id worker);

#endif
