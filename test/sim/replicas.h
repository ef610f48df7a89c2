/* replicas.h: data put on workers and moved between them by RPC: scatter, replicate, rebalance. */
#ifndef CASK_TEST_SIM_REPLICAS_H
#define CASK_TEST_SIM_REPLICAS_H

#include "sim/sim.h"

/* Deal the keys' values out to the workers in the slots; perhaps have them copied to all then. */
void scatter_begin(struct sim *sim, const struct sim_client *client, const struct numbers *keys,
                   const struct numbers *slots, bool is_broadcast);
/* Move replicas as replicate (n > 0) and rebalance (0) do. */
void move_replicas(struct sim *sim, uint32_t n);
/* A worker's answer, or the next round of a broadcast. */
void replicas_receive(struct sim *sim, const struct letter *letter);
void replicas_fini(struct sim *sim);

#endif
