/* restart.h: workers restarted by their nannies. */
#ifndef CASK_NODE_RESTART_H
#define CASK_NODE_RESTART_H

#include "node/node.h"

struct restart_options {
    uint64_t request;           /* to be answered at the end; 0: nobody asked */
    bool reply_nil;             /* restart: no table of outcomes */
    bool all;                   /* all workers … */
    struct worker_list workers; /* … or these */
    struct span client;         /* name; empty: none */
    struct span stimulus;
    double timeout;
    bool wait_for_workers;
    bool
        raises; /* a worker that does not stop or come back in time is an exception, not an outcome */
};
/* Restart workers. Not inside a step. */
void restart_workers(struct node *node, const struct restart_options *options);

#endif
