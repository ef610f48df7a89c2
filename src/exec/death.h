/* death.h: a death certificate: how an executor ended, and everything known about why. */
#ifndef CASK_EXEC_DEATH_H
#define CASK_EXEC_DEATH_H

#include "base/span.h"
#include "base/text.h"
#include "base/vec.h"

/* Why we killed it, if we did. */
enum executor_end {
    EXECUTOR_END_OWN,      /* we did not: it crashed, exited, or somebody else killed it */
    EXECUTOR_END_ASKED,    /* EXIT, or the worker closes */
    EXECUTOR_END_CANCEL,   /* a cancelled task did not yield */
    EXECUTOR_END_TIMEOUT,  /* a task that was over its time did not yield */
    EXECUTOR_END_MEMORY,   /* it grew over the worker's memory limit */
    EXECUTOR_END_PROTOCOL, /* it sent a malformed message, or closed the channel */
    EXECUTOR_END_START,    /* it was not ready in time */
};

/* What was under way when it ended. */
struct executor_victim {
    uint64_t handle;
    double start;         /* Unix seconds */
    uint32_t thread;      /* Linux id */
    bool is_culprit;      /* its thread got the fatal signal */
    bool is_asynchronous; /* a coroutine: it runs in the loop's thread, whatever `thread` says */
    bool is_export;       /* no task runs: the value of one was being serialised */
};

struct executor_death {
    int pid;
    enum executor_end end;
    int status;        /* exit status, if signal_number is 0 */
    int signal_number; /* that ended it; 0: it exited */
    int fault_signal;  /* that its handler reported, before it died; 0: none */
    int fault_code;    /* si_code */
    uint64_t fault_address;
    uint32_t fault_thread;
    bool has_started;   /* it had been READY */
    double uptime;      /* seconds */
    bool has_cgroup;    /* of its own; the next three are of that one, else of the worker's */
    uint64_t oom_kills; /* its processes that the kernel killed for memory meanwhile */
    /* Bytes that its own held at most (0: unknown, as in version 2 before Linux 5.19), or the worker's holds
     * now; its limit (0: none). */
    uint64_t memory_held, memory_max;
    uint64_t rss_peak;           /* bytes */
    double cpu_user, cpu_system; /* seconds */
    struct text kernel;          /* what the kernel's log says of its end, if readable */
    struct text native_frames;   /* a line each; empty: not taken */
    struct text python_frames;   /* as faulthandler prints them */
    struct text last_words;      /* the end of its standard error */
    struct text reason;          /* our sentence, for ends that are ours */
    struct VEC(struct executor_victim) victims;
};

void executor_death_fini(struct executor_death *death);
/* It was the kernel, for memory: by the count of its own cgroup, if it had one. */
bool executor_death_is_oom(const struct executor_death *death);
/* One sentence: "the executor (process 12) was ended by SIGSEGV (Segmentation fault) at address 0x0". */
void executor_death_summary(const struct executor_death *death, struct text *out);
/* Writes what a task is called by those who look for it: its key. */
typedef void executor_task_name(void *user, uint64_t handle, struct text *out);
/* All of it, in lines. */
void executor_death_print(const struct executor_death *death, executor_task_name *name, void *user,
                          struct text *out);

#endif
