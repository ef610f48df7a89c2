/* workload.h: what clients do, drawn at random. */
#ifndef CASK_TEST_SIM_WORKLOAD_H
#define CASK_TEST_SIM_WORKLOAD_H

#include "sim/sim.h"

/* One more thing a client does. */
void work(struct sim *sim);
/* One more thing that goes wrong, or is done to the cluster. */
void trouble(struct sim *sim);
/* Whoever was paused runs again. */
void heal(struct sim *sim);
void keys_fini(struct sim *sim);

#endif
