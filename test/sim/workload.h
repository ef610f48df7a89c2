/* workload.h: what clients do, drawn at random. */
#ifndef CASK_TEST_SIM_WORKLOAD_H
#define CASK_TEST_SIM_WORKLOAD_H

#include "sim/sim.h"

#define KEYS_MAX 240u

/* A key that was not there before. */
uint32_t make_key(struct sim *sim, uint32_t batch, uint32_t index);
/* What transfers and barriers of a shuffle give is for the shuffle alone. */
bool is_result(const struct sim *sim, uint32_t key);
/* `key` and all tasks it needs. */
void add_closure(struct sim *sim, uint32_t key, struct numbers *tasks);
/* A graph of new keys, of old ones. */
void new_batch(struct sim *sim, struct sim_client *client);
void old_batch(struct sim *sim, struct sim_client *client);
/* One more thing a client does. */
void work(struct sim *sim);
/* One more thing that goes wrong, or is done to the cluster. */
void trouble(struct sim *sim);
/* Whoever was paused runs again. */
void heal(struct sim *sim);
void keys_fini(struct sim *sim);

#endif
