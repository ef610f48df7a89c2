/* scheduler_node.h: the scheduler process, for the command line: create, run, destroy. */
#ifndef CASK_NODE_SCHEDULER_NODE_H
#define CASK_NODE_SCHEDULER_NODE_H

#include "node/config.h"
#include "node/node.h"

/* What `cask scheduler` was told, as `dask scheduler`'s options mean it. NULL: not given. */
struct node_options {
    const char *host;      /* --host: name, address or URI; may be "tls://…" */
    const char *interface; /* --interface; several, separated by commas */
    const char *protocol;  /* --protocol: tcp, tls, ws, wss, unix; several, separated by commas */
    const char *port;      /* --port; several, separated by commas: one listener each */
    const char *contact_address; /* --contact-address */
    const char *scheduler_file;  /* --scheduler-file: written when it listens */
};

/* Everything ready and listening; messages are served once node_run is called. On failure a code and why. */
int node_create(const struct config *config, const struct node_options *options,
                struct node **out_node, struct text *why) __attribute__((warn_unused_result));
/* Serve until closed; gives the exit code. */
int node_run(struct node *node);
void node_destroy(struct node *node);

#endif
