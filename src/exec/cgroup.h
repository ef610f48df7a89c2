/* cgroup.h: a cgroup for each executor, with a limit of memory of its own: what grows past it is ended by
 * the kernel, and nobody beside it. Both versions, where the cgroup that we are in is ours to divide;
 * elsewhere there are none. */
#ifndef CASK_EXEC_CGROUP_H
#define CASK_EXEC_CGROUP_H

#include "base/assert.h"
#include "base/text.h"

struct cgroup;
struct cgroup_home;
struct oom_state;

/* What tests replace: the kernel fills the groups that are made, and takes the files along with those that
 * are removed. */
struct cgroup_system {
    const char *root;                /* put before all paths; "" is the machine */
    int (*make)(const char *path);   /* mkdir */
    int (*remove)(const char *path); /* rmdir */
    /* Whoever manages the groups says: this one was delegated. */
    bool (*is_marked)(const char *path);
    bool (*may_write)(const char *path); /* access */
    bool is_superuser;                   /* who may write everywhere, be it delegated or not */
};
void cgroup_system_of_machine(struct cgroup_system *out_system);

struct cgroup_options {
    const struct cgroup_system *system; /* copied */
    uint64_t limit;                     /* of each, bytes */
    bool is_told; /* the user says that ours may be divided; else it must be delegated */
};

/* Find where groups can be made, and try it; remove what dead workers left there. May move this process, if
 * it is alone in its cgroup of version 2, into one below. ERR_NOT_FOUND: why it cannot be done here.
 * Milliseconds. */
MUST_USE int cgroup_home_open(const struct cgroup_options *options, struct cgroup_home **out_home,
                              struct text *why);
/* Where groups are made: a directory. */
const char *cgroup_home_path(const struct cgroup_home *home);
/* All groups have been removed. Puts things back as they were found. NULL is allowed. */
void cgroup_home_close(struct cgroup_home *home);

/* A group with process `pid` in it, and whom that starts from now on. ERR_IO: why; the process stays where
 * it is. */
MUST_USE int cgroup_create(struct cgroup_home *home, int pid, struct cgroup **out_group,
                           struct text *why);
/* What it holds, held at most, and may; and how many of its processes the kernel has killed for memory,
 * whosever limit it was. */
void cgroup_read(const struct cgroup *group, struct oom_state *out);
/* Its process has ended. If others live on in it, it goes when they have ended: looked at with each group
 * that is made or removed, and by the next worker. */
void cgroup_remove(struct cgroup *group);

#endif
