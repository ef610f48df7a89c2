/* cluster.h: one run of one seed. */
#ifndef CASK_TEST_SIM_CLUSTER_H
#define CASK_TEST_SIM_CLUSTER_H

#include "sim/sim.h"

/* Run to the end; gives the hash of the transcript. A finding ends the process. */
uint64_t cluster_run(const struct options *options, uint64_t *out_steps);
/* The run under way, for the report of a crash; NULL: none. */
const struct sim *cluster_now(void);

#endif
