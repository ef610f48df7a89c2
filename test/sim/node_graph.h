/* node_graph.h: update-graph on its way into the core: planned, in slices, or failing. */
#ifndef CASK_TEST_SIM_NODE_GRAPH_H
#define CASK_TEST_SIM_NODE_GRAPH_H

#include "sim/sim.h"

/* An update-graph of `client` has come. */
void graphs_receive(struct sim *sim, const struct letter *letter, client_id client);
/* The planner's answer, or the next slice. False: it is neither. */
bool graphs_go_on(struct sim *sim, const struct letter *letter);
/* After every step: what was lent to the core is given back as soon as it may be. */
void graphs_stepped(struct sim *sim);
/* The client's stream is not read now: the letter is kept. */
bool graphs_hold(struct sim *sim, struct letter *letter);
/* READ_ON: the first letter that was kept; its words are the caller's. False: there is none (left). */
bool graphs_unread(struct sim *sim, const struct letter *letter, struct letter *out);
/* The stream has ended: none of what was kept is read. */
void graphs_drop_unread(struct sim *sim, uint32_t slot, uint32_t life);
/* What a task (key number and definition) depends on. */
const struct numbers *graph_inputs(const struct sim *sim, uint32_t task);
void graphs_fini(struct sim *sim);

#endif
