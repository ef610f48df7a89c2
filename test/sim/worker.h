/* worker.h: a simulated worker process: it comes, registers, sends heartbeats, dies. */
#ifndef CASK_TEST_SIM_WORKER_H
#define CASK_TEST_SIM_WORKER_H

#include "sim/machine.h"

/* The process starts after `delay` seconds. */
void worker_plan_start(struct sim *sim, struct sim_worker *worker, double delay);
/* The process ends now; its nanny, or the plan of the run, may start another. */
void worker_die(struct sim *sim, struct sim_worker *worker, const char *why);
/* Its connection to the scheduler ends; the process notices later. */
void worker_disconnect(struct sim *sim, struct sim_worker *worker);
/* It says a new status of its own. */
void worker_say_status(struct sim *sim, struct sim_worker *worker, const char *status);
/* A letter for it or its peers has come. False: no worker's letter. */
bool worker_receive(struct sim *sim, struct letter *letter);
/* What the last run of a key, or a copy of it, gave there. */
struct result *worker_result(struct sim_worker *worker, uint32_t key);
struct sim_worker *worker_at_address(struct sim *sim, uint32_t address);

#endif
