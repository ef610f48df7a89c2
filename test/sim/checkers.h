/* checkers.h: what must hold when a simulated cluster has come to rest. */
#ifndef CASK_TEST_SIM_CHECKERS_H
#define CASK_TEST_SIM_CHECKERS_H

#include "sim/sim.h"

/* Every wanted key is in memory or has failed, and its client knows; workers and scheduler agree. */
void check_at_rest(struct sim *sim);
/* Everything was released: nothing is left anywhere. */
void check_empty(struct sim *sim);
/* Nothing more can be expected to happen by itself. */
bool has_settled(const struct sim *sim);
/* After each step. */
void check_step(struct sim *sim);
/* A task goes to a worker: one that may run it, with the inputs of its definition. */
void check_compute(struct sim *sim, const struct action_compute *action);

#endif
