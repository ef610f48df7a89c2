/* requests.h: RPCs that wait in the core: each is answered exactly once, unless who asked is gone. */
#ifndef CASK_TEST_SIM_REQUESTS_H
#define CASK_TEST_SIM_REQUESTS_H

#include "sim/sim.h"

/* A request, as it is; its number. */
uint64_t request_add(struct sim *sim, struct pending_request request);
/* It is answered now, for the first time. */
struct pending_request *request_settle(struct sim *sim, uint64_t number);
/* A coordination call of a client has come. */
void requests_receive(struct sim *sim, const struct letter *letter);
void requests_answered(struct sim *sim, const struct action_reply *reply);
/* Retire some of the workers. */
void requests_retire(struct sim *sim, const worker_id *workers, uint32_t count);
void requests_retired(struct sim *sim, const struct action_retired *retired);
/* The connections of the client are gone: nobody waits any more. */
void requests_client_gone(struct sim *sim, uint32_t slot);
/* Plan a random call of a client. */
void requests_plan(struct sim *sim, uint32_t slot);
/* Queues, variables and datasets are given up. */
void requests_let_go(struct sim *sim);
/* All that can be answered was. */
void requests_check(struct sim *sim);
void requests_fini(struct sim *sim);

#endif
