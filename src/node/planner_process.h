/* planner_process.h: one run of the planner: its process, its channel, its last words. */
#ifndef CASK_NODE_PLANNER_PROCESS_H
#define CASK_NODE_PLANNER_PROCESS_H

#include "io/io.h"
#include "wire/outgoing.h"

struct config;
struct planner_process;

struct planner_process_events {
    /* One message; borrowed for the call. */
    void (*message)(void *user, const struct frames *message);
    /* It has ended; the process is freed after this call. `why` says how, with what it printed
     * last. */
    void (*ended)(void *user, const char *why);
};

/* The interpreter to use, and the directory that holds the `cask` package if Python would not
 * find it by itself (else left empty). Order: docs/planner.md. Never fails: the last resort is
 * "python3". */
void planner_find_python(const struct config *config, struct text *out_python,
                         struct text *out_package_path);

/* Start one; NULL: why says why. `events` must outlive it. */
MUST_USE struct planner_process *planner_process_start(struct io_loop *loop,
                                                       const struct config *config,
                                                       const struct planner_process_events *events,
                                                       void *user, struct text *why);
/* Send a message: takes what is in `out` and leaves it empty. */
void planner_process_send(struct planner_process *process, struct outgoing *out);
/* Its process id. */
int planner_process_id(const struct planner_process *process);
/* No more is said: it finishes by itself once it has read that; `ended` follows. */
void planner_process_close(struct planner_process *process);
/* Kill it. No callback follows. */
void planner_process_destroy(struct planner_process *process);

#endif
