/* oom.h: what the system says about memory that ran out: this process's cgroup, the kernel's log. */
#ifndef CASK_EXEC_OOM_H
#define CASK_EXEC_OOM_H

#include "base/text.h"

/* Zeros where nothing is known. */
struct oom_state {
    uint64_t kills;        /* processes of the cgroup that the kernel killed so far */
    uint64_t current, max; /* bytes; max 0: no limit */
    uint64_t peak;         /* bytes; the most it held */
};

/* Of the cgroup (v2, else v1) that we are in, and so our children. Reads small files. */
void oom_read(struct oom_state *out);
/* Of the cgroup whose directory this is. False: there is none with a memory controller. */
bool oom_read_group(const char *directory, bool is_v2, struct oom_state *out);
/* When memory runs out the kernel takes process `pid`, a child, before us. Best effort. */
void oom_offer(int pid);
/* The kernel's line about killing process `pid`, logged after `since` (monotonic seconds), if its log
 * can be read; else nothing. */
void oom_read_kernel_log(int pid, double since, struct text *out);

#endif
