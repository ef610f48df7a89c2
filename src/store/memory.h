/* memory.h: how much memory processes take, and how much there is. Reads /proc and /sys: some microseconds. */
#ifndef CASK_STORE_MEMORY_H
#define CASK_STORE_MEMORY_H

#include "base/assert.h"
#include "base/span.h"
#include "base/text.h"

/* Resident bytes of a process. */
struct memory_process {
    uint64_t anonymous; /* its own */
    uint64_t file;      /* pages of files: libraries and such */
    uint64_t shared;    /* shared memory: segments that it has touched */
};

/* False: there is no such process (any more). */
bool memory_of_process(int pid, struct memory_process *out_process);
/* Of a worker: itself and its executors together. Segments are shared, so they count once: what the store has made
 * of them, or what one process has touched, whichever is more. */
uint64_t memory_together(const struct memory_process *processes, uint32_t count,
                         uint64_t segment_bytes);
/* Let the C library give free memory back to the system, after much was freed. Milliseconds. Any thread. */
void memory_give_back(void);

/* What there is for this process: physical memory, cgroup limits (v1, v2; hard and soft; of the mounted root and of our
 * own group and those above it), RLIMIT_RSS. `root` is put before the paths: "" but in tests.
 * Source: distributed system.py, memory_limit(); it looks at the mounted root only. */
uint64_t memory_system_limit(const char *root);

struct memory_limit {
    uint64_t bytes; /* 0: none */
    bool is_capped; /* more was asked for than there is */
};
/* --memory-limit: "auto" (a part of the system's for nthreads of its cpus), "0.5" (of the system's), "4GB", "0"
 * (none). ERR_CONFIG. Source: distributed worker_memory.py, parse_memory_limit. */
MUST_USE int memory_parse_limit(struct span text, uint64_t system_limit, double share,
                                struct memory_limit *out_limit, struct text *why);

#endif
