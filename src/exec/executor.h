/* executor.h: one executor: its process, its channel, its death. And the supervisor, which keeps a
 * number of them and warm spares, or one spare from which others are forked.
 *
 * Life of one: spawned → ready (modules imported: a spare) → hello sent → welcome (usable) → dead.
 * Whoever sends to an executor writes into executor_out() and lets executor_flush() send it, once a
 * turn; nothing is lost silently: what an executor has not answered when it dies, its user still
 * knows. */
#ifndef CASK_EXEC_EXECUTOR_H
#define CASK_EXEC_EXECUTOR_H

#include "exec/cgroup.h"
#include "exec/channel.h"
#include "exec/death.h"
#include "io/io.h"

struct executor;

struct executor_events {
    /* Any message but READY, START's record and the like; borrowed for the call. WELCOME too. */
    void (*message)(void *user, struct executor *executor, struct executor_message *message);
    /* It imported its modules. */
    void (*ready)(void *user, struct executor *executor);
    /* It has ended; it is freed after this call. Comes once, last; never inside a call. */
    void (*died)(void *user, struct executor *executor, const struct executor_death *death);
};

struct executor_options {
    const char *python;             /* interpreter */
    const char *const *environment; /* NULL-terminated additions: PYTHONPATH, DASK_… */
    const char *directory;          /* its working directory; NULL: ours */
    uint32_t slot_count;            /* of the board: threads, with room for seceded tasks */
    double start_seconds;           /* to be READY in, or to fork; 0: 60 */
    struct cgroup_home *cgroups;    /* where it gets one; must outlive it. NULL: it gets none */
    const struct executor_events *events; /* must outlive it */
    void *user;
};

/* Start one. The options are borrowed for the call. ERR_NOT_FOUND (no such interpreter), ERR_IO: why. */
MUST_USE int executor_start(struct io_loop *loop, const struct executor_options *options,
                            struct executor **out_executor, struct text *why);
/* One that another executor is asked to fork. */
struct executor_birth {
    struct io_process_ends ends;
};
/* Ask `seed`, which is READY and was not greeted, to fork; its answer, FORKED, comes as a message with this number.
 * ERR_IO: no descriptors. */
MUST_USE int executor_ask_birth(struct executor *seed, uint64_t number,
                                struct executor_birth *out_birth, struct text *why);
/* Process ends.pid of the birth is what it forked. As executor_start; the birth is taken in any case. ERR_NOT_FOUND: there is no such
 * child. */
MUST_USE int executor_born(struct io_loop *loop, const struct executor_options *options,
                           struct executor_birth *take_birth, struct executor **out_executor,
                           struct text *why);
/* It will not come; if it was made all the same it ends. */
void executor_birth_fini(struct executor_birth *birth);
/* Give it a cgroup after its start, before user code runs in it; NULL: none. One that cannot be made is only a warning. */
void executor_enclose(struct executor *executor, struct cgroup_home *cgroups);
/* For the user's own data about it. */
void executor_set_tag(struct executor *executor, void *tag);
void *executor_tag(const struct executor *executor);
int executor_process_id(const struct executor *executor);
bool executor_is_ready(const struct executor *executor);
bool executor_is_dying(const struct executor *executor);
/* What will be sent: add messages with channel_add_…. */
struct channel_writer *executor_out(struct executor *executor);
/* Send what was added. */
void executor_flush(struct executor *executor);
/* What it runs now, from the board. */
void executor_running(const struct executor *executor, struct executor_victim *out_victims,
                      uint32_t capacity, uint32_t *out_count);
/* Resident bytes now; 0: unknown. Reads /proc. */
uint64_t executor_rss(struct executor *executor);
/* Kill it; `died` follows with this end and reason. The first reason stays. */
void executor_kill(struct executor *executor, enum executor_end end, const char *reason);
/* Ask it to tear down and exit (EXIT), kill it after `grace` seconds; `died` follows. */
void executor_close(struct executor *executor, double grace);
/* Kill it now, forget it; no callback follows. */
void executor_destroy(struct executor *executor);

/* ---- the supervisor ---- */

struct supervisor;

struct supervisor_events {
    /* `executor` takes place `index` (0 … executor_count - 1): send HELLO; WELCOME will come by
     * `message`. At the start and after each death. */
    void (*assigned)(void *user, uint32_t index, struct executor *executor);
    void (*message)(void *user, uint32_t index, struct executor *executor,
                    struct executor_message *message);
    /* The executor at `index` has ended. A spare takes its place after this call, as soon as there
     * is one. */
    void (*died)(void *user, uint32_t index, const struct executor_death *death);
    /* A spare ended before it had a place, `count` times in a row. The supervisor goes on trying,
     * more slowly each time, unless it is destroyed. */
    void (*start_failed)(void *user, uint32_t count, const struct executor_death *death);
    /* None can be forked here: from now on each is started. Only with `forks`. */
    void (*cannot_fork)(void *user, const char *why);
};

struct supervisor_options {
    struct executor_options executor; /* events and user are set by the supervisor */
    uint32_t executor_count;          /* in use at a time */
    uint32_t spare_count;             /* warm ones beside them */
    bool forks; /* the first spare gets no place: others are forked from it. Needs a spare */
    const struct supervisor_events *events; /* must outlive it */
    void *user;
};

/* The options are copied. ERR_NOT_FOUND, ERR_IO: not even the first could be started; why says why. */
MUST_USE int supervisor_create(struct io_loop *loop, const struct supervisor_options *options,
                               struct supervisor **out_supervisor, struct text *why);
/* The executor at `index`, or NULL while there is none. */
struct executor *supervisor_at(const struct supervisor *supervisor, uint32_t index);
/* Who is started from now on gets these additions to the environment in place of the former ones (copied);
 * spares, which have the former ones, are started anew. Not inside a call about one of its executors. */
void supervisor_set_environment(struct supervisor *supervisor, const char *const *environment);
/* Flush them all. */
void supervisor_flush(struct supervisor *supervisor);
/* Ask all to exit; `closed` is called once, when all have ended or were killed after `grace`. `died`
 * is not called for them. */
void supervisor_close(struct supervisor *supervisor, double grace, void (*closed)(void *user));
/* Kill them all, free; no callback follows. NULL is allowed. */
void supervisor_destroy(struct supervisor *supervisor);

#endif
