/* machine.h: the tasks of one simulated worker: messages in (machine_…), letters out. There are two, each a
 * program of its own: a small, faithful port of distributed's worker state machine (machine.c,
 * machine_moves.c), which any scheduler must get on with; and the core of our own (machine_core.c). */
#ifndef CASK_TEST_SIM_MACHINE_H
#define CASK_TEST_SIM_MACHINE_H

#include "sim/sim.h"

void machine_start(struct sim *sim, struct sim_worker *worker);
void machine_fini(struct sim_worker *worker);
/* WTASK_FORGOTTEN: unknown, or there is no process. */
enum wtask_state machine_state(const struct sim *sim, const struct sim_worker *worker,
                               uint32_t key);
/* What it is simulated with: enum feature. */
uint32_t machine_features(void);
/* Whether it can be told to compute what waits for its own results: worker_info.takes_forwarded. */
bool machine_takes_forwarded(const struct sim_worker *worker);
/* Not paused. */
bool machine_is_running(const struct sim_worker *worker);

void machine_compute(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_free(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
/* False: stock's worker closes, as it is asked to drop an input in use. With actors, which may be lost while
 * their proxies travel, that happens. */
bool machine_remove_replicas(struct sim *sim, struct sim_worker *worker,
                             const struct letter *letter);
void machine_acquire(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_refresh(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_steal(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_forget_worker(struct sim *sim, struct sim_worker *worker, uint32_t address);
/* update_data and gather: keys and where they are now. */
void machine_store(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_run_done(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_secede(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_got_data(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
void machine_not_busy(struct sim *sim, struct sim_worker *worker, uint32_t address);
void machine_pause(struct sim *sim, struct sim_worker *worker, bool running);
void machine_find_missing(struct sim *sim, struct sim_worker *worker);
int64_t machine_nbytes(const struct sim_worker *worker);

/* What a run comes to (RUN_DONE's number). */
enum outcome { OUTCOME_FINISHED, OUTCOME_ERRED, OUTCOME_RESCHEDULED, OUTCOME_DEADLY };
/* What a transfer comes to (GOT_DATA's number). */
enum transfer { TRANSFER_OK, TRANSFER_BUSY, TRANSFER_BROKEN };

/* What comes of an RPC of the scheduler (the answer's `real`, where it waits for all). */
enum { RPC_DONE, RPC_RAISED, RPC_NOBODY };

/* To the scheduler, in the worker's stream. */
void worker_tell(struct sim *sim, struct sim_worker *worker, struct letter letter);

#endif
