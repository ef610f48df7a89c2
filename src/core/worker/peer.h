/* peer.h: the other workers: who holds what, and which of it is needed here.
 * Must agree with: worker_state_machine.py has_what, data_needed, in_flight_workers, busy_workers. */
#ifndef CASK_CORE_WORKER_PEER_H
#define CASK_CORE_WORKER_PEER_H

#include "core/worker/internal.h"

/* The host in an address: "tcp://10.0.0.1:80" → "10.0.0.1". */
struct span wpeer_host(struct span address);

/* NULL: nothing is known of that address. */
struct wpeer *wpeer_find(const struct worker_state *w, struct span address);
struct wpeer *wpeer_make(struct worker_state *w, struct span address);
/* It may be nobody's concern any more: free it at the end of the step if so. */
void wpeer_doubt(struct worker_state *w, const struct wpeer *peer);
void wpeers_sweep(struct worker_state *w);
void wpeers_fini(struct worker_state *w);
/* w->fetchable: does the peer belong there? To be called when its needs, in_flight or busy change. */
void wpeer_update_fetchable(struct worker_state *w, struct wpeer *peer);

/* Resolver for links_remove. */
struct links *whas_what_of(void *w, uint32_t peer);

/* _update_who_has for one known task: these and no others hold it (this worker itself aside). */
void wholders_set(struct worker_state *w, struct wtask *task, struct span_list holders);
/* The peer does not hold the task; nothing happens if it was not known to. */
void wholder_remove(struct worker_state *w, struct wtask *task, const struct wpeer *peer);
void wholders_clear(struct worker_state *w, struct wtask *task);

/* The peer holds nothing any more. Gives the tasks in fetch that only it held; room for has_what.count. */
uint32_t wpeer_lose(struct worker_state *w, struct wpeer *peer, task_id *out_fetched);

/* A task enters fetch: each holder gets a need of it. */
void wneeds_add(struct worker_state *w, struct wtask *task);
/* It leaves fetch, or has been chosen: they are gone. */
void wneeds_remove(struct worker_state *w, struct wtask *task);
/* The first need of a peer that has some. */
const struct wneed *wneed_first(struct worker_state *w, struct wpeer *peer);
/* Is `a` due before `b`, by priority alone? */
bool wpriority_less(const struct worker_priority *a, int64_t a_serial,
                    const struct worker_priority *b, int64_t b_serial);

#endif
