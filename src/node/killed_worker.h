/* killed_worker.h: KilledWorker, as the scheduler makes it of workers that were lost and a worker of its executors. */
#ifndef CASK_NODE_KILLED_WORKER_H
#define CASK_NODE_KILLED_WORKER_H

#include "base/text.h"
#include "wire/pickle_make.h"

struct killed_worker {
    struct span key;             /* canonical msgpack */
    struct pickle_worker worker; /* the last one */
    uint32_t allowed_failures;
    uint32_t attempt_count;
    struct span attempts; /* where, when and how each ended: lines; any bytes */
    bool has_crashes;     /* some ended with a process of user code only, not with a worker */
};

/* How its attempts ended, in one line: "4 times the executor was ended by SIGSEGV (Segmentation fault) at address 0x10". */
void killed_worker_summary(struct span attempts, uint32_t attempt_count, struct text *out);

/* Its pickle, and its text as people are shown it: the class and, of a text, all of it. */
void killed_worker_write(const struct killed_worker *killed, struct text *pickle,
                         struct text *shown);

#endif
