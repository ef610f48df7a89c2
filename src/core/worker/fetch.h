/* fetch.h: which values are asked of which peer, when.
 * Must agree with: worker_state_machine.py _ensure_communicating and its helpers. */
#ifndef CASK_CORE_WORKER_FETCH_H
#define CASK_CORE_WORKER_FETCH_H

#include "core/worker/internal.h"

/* Ask peers for what is in fetch, up to the limits. At the end of every event, so that what one event makes
 * needed goes out in few requests. */
void wfetch_ensure_communicating(struct worker_state *w);
void wfetch_fini(struct worker_state *w);

/* The GATHER from `peer` has ended. Its tasks, in w->scratch (valid until the next such call), are done and in
 * flight no more; those forgotten meanwhile are left out. */
void wfetch_ended(struct worker_state *w, struct wpeer *peer);

#endif
