/* node.h: the scheduler's side: letters become events of the core, its actions become letters. */
#ifndef CASK_TEST_SIM_NODE_H
#define CASK_TEST_SIM_NODE_H

#include "sim/sim.h"

/* One event into the core: said, applied, checked, carried out. */
void apply(struct sim *sim, struct event *event);
/* A letter for the scheduler has come. False: it is not for it. */
bool node_receive(struct sim *sim, struct letter *letter);
/* The number of a key of this run. */
uint32_t key_number(const struct sim *sim, struct span key);
/* The bytes of the keys of a letter, in the scratch arena. */
struct span_list key_list(struct sim *sim, const uint32_t *numbers, uint32_t count);
/* WORKER_NONE: the worker of the slot is not registered. */
worker_id worker_id_now(const struct sim *sim, uint32_t slot);
/* tcp://host:port of an address number. */
struct span worker_address(struct sim *sim, uint32_t slot, uint32_t address);
/* By address; WORKER_NONE: no such worker. */
worker_id worker_at(struct sim *sim, uint32_t address);
/* CLIENT_NONE: not connected, as far as the scheduler knows. */
client_id client_id_now(const struct sim *sim, uint32_t slot);
/* outbound */
void carry_out(struct sim *sim);
/* Into the stream of a worker. */
void to_worker(struct sim *sim, worker_id id, struct letter letter);

#endif
