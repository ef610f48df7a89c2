/* requests_internal.h: what the files of requests share. Two objects of each kind, named by a letter and a
 * digit. */
#ifndef CASK_TEST_SIM_REQUESTS_INTERNAL_H
#define CASK_TEST_SIM_REQUESTS_INTERNAL_H

#include "sim/requests.h"

/* A request's number, which is never 0. */
uint64_t request_open(struct sim *sim, uint32_t client, enum event_kind kind, double deadline);
struct span object_name(struct sim *sim, char kind, uint32_t object);
/* A deadline some seconds ahead, or none. */
double draw_deadline(struct sim *sim);

/* Fill in a random call of the client in `slot`; kind EVENT_TICK: nothing to do. */
typedef void request_call(struct sim *sim, uint32_t slot, struct event *event);
request_call flag_call, semaphore_call, multi_lock_call; /* requests_leases.c */
request_call queue_call, variable_call, publish_call;    /* requests_items.c */

/* What an answer means for whoever asked. */
void leases_answered(struct sim *sim, struct pending_request *request, const struct answer *answer);
void items_answered(struct sim *sim, struct pending_request *request, const struct answer *answer);
/* A call of a random kind was applied: what it means for others. */
void leases_applied(struct sim *sim, const struct event *event);
void items_applied(struct sim *sim, const struct event *event);
/* Nobody waits for what he could have. */
void leases_check(struct sim *sim);
void items_check(struct sim *sim);
void items_let_go(struct sim *sim);

#endif
