/* exchange.h: queues, variables and published datasets: named places that hold plain data or futures. A
 * future held here is wanted by a pseudo-client ("queue-<name>", "variable-<name>", "published-<name>").
 * Must agree with: distributed queues.py, variable.py, publish.py; protocol.md 3.1. */
#ifndef CASK_CORE_SCHEDULER_EXCHANGE_H
#define CASK_CORE_SCHEDULER_EXCHANGE_H

#include "core/scheduler/scheduler.h"

struct client;
struct exchange;
struct task;

struct exchange *exchange_create(const struct scheduler_config *config);
void exchange_destroy(struct exchange *exchange);
/* Every QUEUE_…, VARIABLE_… and PUBLISH_… event. Makes all moves that follow. */
void exchange_event(struct scheduler *s, const struct event *event, struct step *step);
void exchange_request_gone(struct scheduler *s, uint64_t request, struct step *step);
/* A key became known to the scheduler: a variable_set or queue_put that waits for it goes on in the next
 * exchange_tick(), which is then due at once. O(1) if none waits. */
void exchange_key_known(struct scheduler *s, const struct task *task);
/* What the client took from variables and never confirmed no longer holds anything up. */
void exchange_client_removed(struct scheduler *s, const struct client *client, struct step *step);
void exchange_tick(struct scheduler *s, struct step *step);
double exchange_next_tick(const struct scheduler *s);
/* Names of published datasets (canonical msgpack), sorted by their text. */
struct span_list exchange_published(const struct scheduler *s, struct arena *arena);

#endif
