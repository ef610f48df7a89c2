/* prove.h: whether what a graph cut in C names can be loaded where it will run.
 *
 * A stock worker that cannot unpickle a task closes, and so would the next one it is sent to. So a name that
 * was never seen before is first looked up on a worker, by an ordinary `run` call that resolves it; the
 * scheduler itself starts no Python for it. Objects whose data may make loading fail are loaded there each time.
 * See wire/pickle_trust.h. */
#ifndef CASK_NODE_PROVE_H
#define CASK_NODE_PROVE_H

#include "node/node.h"
#include "wire/flat_graph.h"

enum proof_result {
    PROOF_FAILED, /* some name was not found, or some task cannot be loaded; or nobody answered */
    PROOF_LOADS,  /* every name was found, and the tasks that were tried load */
    PROOF_PLAIN,  /* and the classes of objects in them run no code of theirs when that is done */
};
/* Called once, never inside prove_graph. */
typedef void prove_done(void *user, enum proof_result result);

/* Try graph->foreign and the first tasks of `graph` on a running worker. False: there is no worker to ask, or not all
 * tasks can be tried that must be (1 MiB, or buffers of their own); `done` is not called. */
bool prove_graph(struct node *node, const struct flat_graph *graph, prove_done *done, void *user);

#endif
