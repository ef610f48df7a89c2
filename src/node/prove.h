/* prove.h: whether what a graph cut in C names can be loaded where it will run.
 *
 * A stock worker that cannot unpickle a task closes, and so would the next one it is sent to. So a name that
 * was never seen before is first looked up on a worker, by an ordinary `run` call that resolves it; the
 * scheduler itself starts no Python for it. See wire/pickle_trust.h. */
#ifndef CASK_NODE_PROVE_H
#define CASK_NODE_PROVE_H

#include "node/node.h"
#include "wire/flat_graph.h"

/* `proven`: every name was found, and the tasks that were tried load. Called once, never inside
 * prove_graph. */
typedef void prove_done(void *user, bool proven);

/* Try graph->foreign and the first tasks of `graph` on a running worker. False: there is no worker to ask;
 * `done` is not called. */
bool prove_graph(struct node *node, const struct flat_graph *graph, prove_done *done, void *user);

#endif
