/* worker_node.h: the worker process, for the command line: create, run, destroy.
 *
 * One process is Dask's worker and its nanny: it speaks to the scheduler and to peers, keeps what executors
 * and peers made, and runs user code in executors, children of its own (docs/executor.md). */
#ifndef CASK_NODE_WORKER_NODE_H
#define CASK_NODE_WORKER_NODE_H

#include "node/config.h"
#include "node/listen.h"

struct worker_node;

/* What `cask worker` was told, as `dask worker`'s options mean it. NULL, 0: not given. */
struct worker_options {
    const char *scheduler;        /* address */
    struct listen_options listen; /* role and port_default are the worker's own */
    const char *nanny_port;
    const char *name;            /* NULL: the address */
    const char *local_directory; /* where its own directory is made */
    const char *resources;       /* "GPU=2 MEM=10e9" */
    const char *worker_class;    /* of Python, "module.Class": what get_worker() is in executors */
    const char *const *preload;  /* NULL-terminated */
    const char *const *preload_nanny;
    const char *const *preload_argv; /* of `preload` */
    uint32_t nthreads;
    uint32_t executors;    /* processes that the threads are split over; at least 1 */
    uint64_t memory_limit; /* bytes; 0: none */
    double death_timeout;  /* seconds without a scheduler; 0: for ever */
    double lifetime;       /* seconds; 0: for ever */
    bool lifetime_restart;
    bool has_nanny;
    bool has_dashboard;            /* pages for people, too; without: what programs read */
    const char *dashboard_address; /* NULL: any port */
    const char *dashboard_prefix;
};

/* Listening, executors on their way. On failure a code and why. */
int worker_node_create(const struct config *config, const struct worker_options *options,
                       struct worker_node **out_worker, struct text *why) MUST_USE;
/* Serve until closed; gives the exit code. */
int worker_node_run(struct worker_node *worker);
void worker_node_destroy(struct worker_node *worker);

#endif
