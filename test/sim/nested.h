/* nested.h: tasks that submit tasks: worker_client and get_client in a task. */
#ifndef CASK_TEST_SIM_NESTED_H
#define CASK_TEST_SIM_NESTED_H

#include "sim/sim.h"

/* A run begins to wait for tasks of its own: NEST. */
void nest_begin(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
/* Something happened to the worker's client: runs that have what they waited for go on. */
void nests_look(struct sim *sim, struct sim_worker *worker);
/* The process ends. */
void nests_fini(struct sim *sim, struct sim_worker *worker);

#endif
