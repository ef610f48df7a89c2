/* p2p.h: P2P shuffles: what distributed's shuffle extension does on a worker, as far as the scheduler's part
 * in it shows, and the RPCs between the two. */
#ifndef CASK_TEST_SIM_P2P_H
#define CASK_TEST_SIM_P2P_H

#include "sim/machine.h"

/* The barriers among the tasks of a graph, as the core wants to know them. */
const struct shuffle_info *p2p_rows(struct sim *sim, struct arena *arena,
                                    const struct numbers *tasks, uint32_t *out_count);

/* ---- on a worker (p2p.c) ---- */

/* The work of a P2P task is done but for the shuffle's part in it: RUN_DONE, and P2P_AGAIN. */
void p2p_proceed(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
/* The scheduler's answer to an RPC of a run: P2P_ANSWER. */
void p2p_answered(struct sim *sim, struct sim_worker *worker, const struct letter *letter);
/* SHUFFLE_FAIL: what works on that run fails. */
void p2p_fail(struct sim *sim, struct sim_worker *worker, uint32_t shuffle, int64_t run_id);
/* shuffle_inputs_done; false: it raises. */
bool p2p_inputs_done(struct sim *sim, struct sim_worker *worker, uint32_t shuffle, int64_t run_id);
void p2p_fini(struct sim_worker *worker);

/* ---- at the scheduler's node (p2p_node.c) ---- */

/* Addresses by partition, as the core has said. */
const struct numbers *p2p_spread(struct sim *sim, uint32_t shuffle, int64_t run_id);

/* An RPC of a worker: P2P_ASK. */
void p2p_asked(struct sim *sim, const struct letter *letter);
/* Somebody asks about a run of a shuffle that is not active: it must be refused. */
void p2p_ask_oddly(struct sim *sim);
void p2p_replied(struct sim *sim, const struct pending_request *request,
                 const struct answer *answer);
/* A barrier is reached: all participants are told. */
void p2p_done(struct sim *sim, const struct action_shuffle_done *done);
/* INPUTS_TOLD: one has answered. */
void p2p_told(struct sim *sim, const struct letter *letter);
void p2p_failed(struct sim *sim, const struct action_shuffle_fail *failed);
void p2p_node_fini(struct sim *sim);
/* After each step: which shuffles have failed. */
void p2p_check_step(struct sim *sim);
/* At rest: no shuffle failed for reasons of its own; at the end: none is left on a worker. */
void p2p_check_rest(struct sim *sim);
void p2p_check_empty(struct sim *sim);

#endif
