/* failure.h: why tasks failed. A failure is made once, where it happens, and shared by all tasks it
 * reaches; its key names the task in which it happened (Dask's exception_blame). */
#ifndef CASK_CORE_SCHEDULER_FAILURE_H
#define CASK_CORE_SCHEDULER_FAILURE_H

#include "core/scheduler/internal.h"

struct failure {
    uint32_t refs;
    enum failure_kind kind;
    struct blob *exception, *traceback;
    struct span exception_text, traceback_text; /* owned, as all spans here */
    struct span text;                           /* message, for kinds made here */
    struct span key;                            /* the task it happened in */
    struct span worker;                         /* address of the (last) worker */
    struct span worker_name;                    /* msgpack scalar */
    struct span worker_host;
    int64_t worker_pid, worker_memory_limit;
    uint32_t worker_nthreads;
    uint32_t worker_status;
    uint32_t allowed_failures;
    double timeout;       /* NO_WORKER, NO_VALID_WORKER: seconds waited */
    struct span attempts; /* KILLED_WORKER: how each ended; lines */
    uint32_t attempt_count;
    bool has_crashes;                  /* some of them cost a process only, not the worker */
    struct restrictions *restrictions; /* NO_VALID_WORKER; NULL none */
};

/* A failure of `task`; one reference. */
struct failure *failure_create(enum failure_kind kind, struct span key);
/* As it came in with an event; `worker` may be NULL. */
struct failure *failure_from_info(const struct failure_info *info, struct span key,
                                  const struct worker *worker);
/* RuntimeError(text) and its like. */
struct failure *failure_from_text(enum failure_kind kind, struct span key, struct span text);
struct failure *failure_ref(struct failure *failure);
/* One reference less, when the step is over: its actions may still point to it. NULL is allowed. */
void failure_drop(struct scheduler *s, struct failure *failure);
void failure_unref(struct failure *failure);

/* The task's exception_blame becomes `failure` (referenced; NULL: none). */
void task_blame(struct scheduler *s, struct task *task, struct failure *failure);

/* `worker` was lost with `task` in processing: one death more. True: it has had too many. */
bool failure_count_death(struct scheduler *s, struct task *task, const struct worker *worker,
                         struct span cause);
/* Likewise, when the process that ran it died and the worker lives: another worker is preferred from now on. */
bool failure_count_crash(struct scheduler *s, struct task *task, const struct worker *worker,
                         struct span certificate);
/* It begins anew. */
void failure_forget_deaths(struct task *task);
/* KilledWorker for a task that has had too many deaths, the last one with `worker`. */
void failure_kill(struct scheduler *s, struct task *task, const struct worker *worker,
                  struct step *step);
/* The inputs of `task` are larger than the memory of `worker`. */
struct failure *failure_memory(struct scheduler *s, const struct task *task,
                               const struct worker *worker, int64_t input_bytes);

/* no-workers-timeout: fail what has waited too long. */
void failure_tick_no_workers(struct scheduler *s, struct step *step);
double failure_next_tick(const struct scheduler *s);
/* Note since when there is work but no running worker. */
void failure_refresh_no_workers(struct scheduler *s);

#endif
