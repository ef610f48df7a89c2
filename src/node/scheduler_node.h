/* scheduler_node.h: the scheduler process, for the command line: create, run, destroy. */
#ifndef CASK_NODE_SCHEDULER_NODE_H
#define CASK_NODE_SCHEDULER_NODE_H

#include "node/config.h"
#include "node/listen.h"
#include "node/node.h"
#include "node/observer.h"

/* What `cask scheduler` was told, as `dask scheduler`'s options mean it. NULL: not given. */
struct node_options {
    struct listen_options listen; /* role and port_default are the scheduler's own */
    const char *scheduler_file;   /* --scheduler-file: written when it listens */
    struct observer_options observer;
};

/* Everything ready and listening; messages are served once node_run is called. On failure a code and why. */
int node_create(const struct config *config, const struct node_options *options,
                struct node **out_node, struct text *why) __attribute__((warn_unused_result));
/* Serve until closed; gives the exit code. */
int node_run(struct node *node);
void node_destroy(struct node *node);

#endif
