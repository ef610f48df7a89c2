/* client.h: simulated clients: what they ask for, and what they believe of their keys. */
#ifndef CASK_TEST_SIM_CLIENT_H
#define CASK_TEST_SIM_CLIENT_H

#include "sim/sim.h"

void client_connect(struct sim *sim, struct sim_client *client);
void client_disconnect(struct sim *sim, struct sim_client *client);
void client_reconnect(struct sim *sim, struct sim_client *client);
/* A letter for a client has come. False: no client's letter. */
bool client_receive(struct sim *sim, const struct letter *letter);
enum future_state client_future(const struct sim_client *client, uint32_t key);
/* Ask for ask.wanted, giving ask.tasks with it (both taken); how it is sent is drawn here. */
void client_submit(struct sim *sim, struct sim_client *client, struct graph_ask ask);
/* Send `kind` about the keys in its stream. */
void client_send(struct sim *sim, struct sim_client *client, enum letter_kind kind,
                 const struct numbers *keys, int64_t number);
/* `by_name`: without a graph, so nothing may ever come of it. */
void client_want(struct sim_client *client, uint32_t key, bool by_name);
void client_release(struct sim *sim, struct sim_client *client, const struct numbers *keys);
void client_fini(struct sim_client *client);

#endif
