/* shrink.h: a smaller run that still fails. */
#ifndef CASK_TEST_SIM_SHRINK_H
#define CASK_TEST_SIM_SHRINK_H

#include "sim/sim.h"

/* Whether a run with these options fails, tried in a process of its own, in silence. */
bool run_fails(const struct options *options);
/* Fewer steps, workers, clients and features, as far as it still fails. */
struct options shrink(struct options options);

#endif
