/* worker_run.h: a run, for the files that end it: worker_run.c, worker_limits.c, worker_death.c. */
#ifndef CASK_NODE_WORKER_RUN_H
#define CASK_NODE_WORKER_RUN_H

#include "node/worker_internal.h"

enum run_state {
    RUN_WAITS,    /* for a seat */
    RUN_FETCHES,  /* it has a seat; inputs are being serialised */
    RUN_SENT,     /* the executor has it */
    RUN_STOPPED,  /* it will not run: an input is lost, or nobody wants it */
    RUN_UNUSABLE, /* an input of it cannot be serialised, or it must not run: `why` */
};

enum run_limit {
    LIMIT_NONE,
    LIMIT_TIMEOUT,   /* at its deadline it is interrupted */
    LIMIT_TIMED_OUT, /* it was; at its deadline the executor is killed */
    LIMIT_CANCELLED, /* likewise, as nobody wants its result */
};

struct worker_run {
    task_id task;
    int64_t run_id;
    enum run_state state;
    uint32_t seat;   /* SEAT_NONE while it waits */
    bool is_seceded; /* it counts for no thread */
    bool is_actor;
    bool is_bound; /* to the first seat: it takes what a P2P shuffle has received there */
    struct VEC(uint64_t) inputs; /* handles */
    bool holds_inputs;           /* so that none goes to disk while another is fetched */
    uint32_t missing;            /* inputs that are being serialised … */
    uint32_t attempt;            /* … for this attempt to find a seat */
    enum run_limit limit;
    double timeout, deadline; /* seconds it may take; monotonic */
    struct blob *run_spec, *annotations;
    struct text output; /* what it printed, as far as it is kept … */
    uint64_t written;   /* … of so many bytes */
    struct text why;    /* pickle of the exception, and its text */
    struct text why_text;
};

/* The run is over, one way or another; its object is nobody's yet. */
struct worker_run *worker_run_take(struct worker_node *worker, struct object *object);
void worker_run_free(struct worker_run *run);
/* Its inputs may go to disk. */
void worker_run_let_inputs_go(struct worker_node *worker, struct worker_run *run);
/* It fails with the error; everything about it is freed. `about` may be NULL. */
void worker_run_fail(struct worker_node *worker, struct object *object,
                     const struct executor_error *error, struct blob *about);
/* It cannot run: it will fail with builtins.<class>(message). */
void worker_run_refuse(struct worker_run *run, const char *class_name, struct span message);

/* ---- worker_limits.c ---- */

/* It is being sent: its annotation `timeout` holds from now on. A malformed one makes it RUN_UNUSABLE. */
void worker_limit_begin(struct worker_node *worker, struct worker_run *run);
/* It was told to stop because nobody wants it: after the grace period its executor is ended. */
void worker_limit_cancelled(struct worker_node *worker, struct worker_run *run);

/* ---- worker_records.c ---- */

/* A run of this key ended so (a literal); what it printed goes along. */
void worker_record(struct worker_node *worker, struct span key, struct worker_run *run,
                   const char *end, const struct executor_ledger *ledger);
/* The last bytes of what was printed. */
struct span worker_output_end(const struct text *output, size_t size_max);

/* ---- worker_death.c ---- */

/* It ended well, or by an exception of its own. */
void worker_death_forget(struct worker_node *worker, const struct object *object);
/* The value of this task ended too many executors when it was serialised: it must not be made again. */
bool worker_death_forbids(struct worker_node *worker, struct object *object);

#endif
