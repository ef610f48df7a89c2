/* watch.h: people who look at a cluster while it runs. */
#ifndef CASK_TEST_SIM_WATCH_H
#define CASK_TEST_SIM_WATCH_H

#include "sim/sim.h"

/* Look at everything once. */
void watch(struct sim *sim);

#endif
