/* cgroup.c: groups cask-PID-START-NUMBER, of the worker with that process id and start time.
 *
 * Where: in the group that we are in, if it was given to us: its files are ours though we are not the
 * superuser; or who manages the groups has marked it so (systemd: Delegate=yes); or it is the root of a
 * cgroup namespace (a container's); or the user says so. All else belongs to somebody who does not expect
 * groups that he did not make. In version 2 a group that has processes cannot limit groups below it: then we
 * go into one below, "…-worker", if nobody but us is there, and come back in the end; or the groups are made
 * beside ours, if the one above was marked (systemd: DelegateSubgroup=).
 *
 * A group is removed by whoever made it; of those whose worker was killed, the next one that looks there
 * removes the ones in which no process is left, as the kernel removes no others. Source: the kernel's
 * admin-guide/cgroup-v2.rst (No Internal Process Constraint, Delegation) and cgroup-v1/memory.rst; systemd's
 * CGROUP_DELEGATION.md. */
#include "exec/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/vec.h"
#include "exec/oom.h"
#include "io/io.h"

enum {
    SMALL_FILE_MAX = 4096,
    LEAVE_ATTEMPTS = 20, /* at the end, for groups whose processes are just ending */
    LEAVE_NANOSECONDS = 5 * 1000 * 1000,
};

static const char name_prefix[] = "cask-";
/* What /proc/self/ns/cgroup is where there are no containers: the kernel's PROC_CGROUP_INIT_INO. */
static const char first_namespace[] = "cgroup:[4026531835]";

struct cgroup_home {
    struct cgroup_system system;
    uint64_t limit;
    bool is_v2;
    struct text path;        /* where groups are made */
    struct text leaf;        /* where we have gone to; empty: we stayed */
    struct VEC(char *) left; /* groups that had processes when they were to go */
    uint64_t last_number;
};

struct cgroup {
    struct cgroup_home *home;
    struct text path;
};

/* ---- the machine ---- */

static int make_directory(const char *path)
{
    return mkdir(path, 0755);
}

static bool is_marked(const char *path)
{
    char value[4];
    return (getxattr(path, "user.delegate", value, sizeof value) == 1 && value[0] == '1') ||
           (getxattr(path, "trusted.delegate", value, sizeof value) == 1 && value[0] == '1');
}

static bool may_write(const char *path)
{
    return access(path, W_OK) == 0;
}

void cgroup_system_of_machine(struct cgroup_system *out_system)
{
    *out_system = (struct cgroup_system){
        .root = "",
        .make = make_directory,
        .remove = rmdir,
        .is_marked = is_marked,
        .may_write = may_write,
        .is_superuser = geteuid() == 0,
    };
}

/* ---- files of a group ---- */

/* Some thousand bytes of it, as text; false if it cannot be read. */
static bool read_file(const char *directory, const char *name, char out[SMALL_FILE_MAX])
{
    struct text path = {0};
    text_printf(&path, "%s/%s", directory, name);
    int fd = open(text_cstr(&path), O_RDONLY | O_CLOEXEC);
    text_fini(&path);
    ssize_t got = fd < 0 ? -1 : read(fd, out, SMALL_FILE_MAX - 1);
    if (fd >= 0) {
        close(fd);
    }
    out[got > 0 ? got : 0] = '\0';
    return got >= 0;
}

/* 0 or an errno: the kernel's answer. */
static int write_file(const char *directory, const char *name, const char *content)
{
    struct text path = {0};
    text_printf(&path, "%s/%s", directory, name);
    int fd = open(text_cstr(&path), O_WRONLY | O_TRUNC | O_CLOEXEC);
    text_fini(&path);
    if (fd < 0) {
        return errno;
    }
    int result = write(fd, content, strlen(content)) < 0 ? errno : 0;
    close(fd);
    return result;
}

static int write_number(const char *directory, const char *name, uint64_t number)
{
    char content[32];
    snprintf(content, sizeof content, "%" PRIu64, number);
    return write_file(directory, name, content);
}

/* A file of words, "cpu io memory", names the memory controller. */
static bool names_memory(const char *directory, const char *file)
{
    char content[SMALL_FILE_MAX], *rest = content;
    if (!read_file(directory, file, content)) {
        return false;
    }
    for (const char *word; (word = strsep(&rest, " \n")) != NULL;) {
        if (strcmp(word, "memory") == 0) {
            return true;
        }
    }
    return false;
}

/* How many processes are in it; *out_has_us: we are one of them. */
static uint32_t count_processes(const char *directory, bool *out_has_us)
{
    struct text path = {0};
    text_printf(&path, "%s/cgroup.procs", directory);
    FILE *file = fopen(text_cstr(&path), "re");
    text_fini(&path);
    uint32_t count = 0;
    *out_has_us = false;
    for (int pid; file != NULL && fscanf(file, "%d", &pid) == 1; count++) {
        *out_has_us |= pid == getpid();
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

/* ---- names ---- */

static void add_name(struct text *out)
{
    text_printf(out, "/%s%d-%" PRIu64 "-", name_prefix, (int)getpid(),
                io_process_started(getpid()));
}

/* One of ours, and the worker that made it does not live. */
static bool is_of_the_dead(const char *name)
{
    char *end;
    if (strncmp(name, name_prefix, sizeof name_prefix - 1) != 0) {
        return false;
    }
    long pid = strtol(name + sizeof name_prefix - 1, &end, 10);
    uint64_t started = *end == '-' ? strtoull(end + 1, &end, 10) : 0;
    return pid > 0 && pid <= INT32_MAX && started > 0 && *end == '-' &&
           io_process_started((int)pid) != started;
}

static int remove_group(const struct cgroup_system *system, const char *path);

/* Below `path`; of a worker that was killed. One that still has processes stays, for the next who looks. */
static void remove_dead(const struct cgroup_system *system, const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (is_of_the_dead(entry->d_name)) {
            struct text below = {0};
            text_printf(&below, "%s/%s", path, entry->d_name);
            (void)remove_group(system, text_cstr(&below));
            text_fini(&below);
        }
    }
    closedir(directory);
}

/* 0 or an errno. A task may have run a worker of its own, which has made groups below and was killed. */
static int remove_group(const struct cgroup_system *system, const char *path)
{
    if (system->remove(path) == 0) {
        return 0;
    }
    if (errno == EBUSY) {
        remove_dead(system, path);
        return system->remove(path) == 0 ? 0 : errno;
    }
    return errno;
}

/* ---- which group ---- */

/* The path in /proc/self/cgroup of the hierarchy that limits memory: v1's, or, if there is none, v2's. */
static bool find_own_path(const struct cgroup_system *system, bool *out_is_v2, struct text *out)
{
    char groups[SMALL_FILE_MAX], directory[64], *rest = groups;
    snprintf(directory, sizeof directory, "%s/proc/self", system->root);
    bool is_found = false;
    if (!read_file(directory, "cgroup", groups)) {
        return false;
    }
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) { /* hierarchy:controllers:path */
        const char *number = strsep(&line, ":");
        char *controllers = line == NULL ? NULL : strsep(&line, ":");
        if (line == NULL) {
            continue;
        }
        bool is_v2 = strcmp(number, "0") == 0;
        bool has_memory = false;
        for (const char *name; (name = strsep(&controllers, ",")) != NULL;) {
            has_memory |= strcmp(name, "memory") == 0;
        }
        if (has_memory || (is_v2 && !is_found)) {
            *out_is_v2 = is_v2;
            text_clear(out);
            text_add_cstr(out, strcmp(line, "/") == 0 ? "" : line);
            is_found = true;
        }
    }
    return is_found;
}

/* The directory of the group that we are in. Inside a container its path may be that outside. */
static bool find_own(struct cgroup_home *home, struct text *why)
{
    struct text path = {0};
    bool has_us = false;
    if (find_own_path(&home->system, &home->is_v2, &path)) {
        const char *mount = home->is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
        text_printf(&home->path, "%s%s%s", home->system.root, mount, text_cstr(&path));
        count_processes(text_cstr(&home->path), &has_us);
        if (!has_us) {
            text_clear(&home->path);
            text_printf(&home->path, "%s%s", home->system.root, mount);
            count_processes(text_cstr(&home->path), &has_us);
        }
    }
    text_fini(&path);
    if (!has_us) {
        text_add_cstr(why, "the cgroup of this process is nowhere below /sys/fs/cgroup");
    }
    return has_us;
}

/* Nothing is above it for us to see, and this is not the machine's own root. */
static bool is_namespace_root(const struct cgroup_home *home)
{
    char path[64], name[sizeof first_namespace + 16];
    struct text own = {0};
    bool is_v2;
    bool is_root = find_own_path(&home->system, &is_v2, &own) && own.size == 0;
    text_fini(&own);
    snprintf(path, sizeof path, "%s/proc/self/ns/cgroup", home->system.root);
    ssize_t size = readlink(path, name, sizeof name - 1);
    name[size > 0 ? size : 0] = '\0';
    return is_root && size > 0 && strcmp(name, first_namespace) != 0;
}

static bool may_write_in(const struct cgroup_home *home, const char *directory, const char *file)
{
    struct text path = {0};
    text_printf(&path, "%s/%s", directory, file);
    bool may = home->system.may_write(text_cstr(&path));
    text_fini(&path);
    return may;
}

/* The group that we are in is ours to divide. */
static bool is_ours(const struct cgroup_home *home, bool is_told, struct text *why)
{
    const char *directory = text_cstr(&home->path);
    if (!may_write_in(home, directory, ".") || !may_write_in(home, directory, "cgroup.procs")) {
        text_printf(why, "'%s' cannot be written to", directory);
        return false;
    }
    if (is_told || !home->system.is_superuser || home->system.is_marked(directory) ||
        is_namespace_root(home)) {
        return true;
    }
    text_printf(why, "'%s' was not delegated to this process", directory);
    return false;
}

/* ---- version 2: the controller for groups below ---- */

/* Into a group of our own below, and back if that was for nothing. */
static bool split(struct cgroup_home *home, struct text *why)
{
    const char *path = text_cstr(&home->path);
    text_add(&home->leaf, text_span(&home->path));
    add_name(&home->leaf);
    text_add_cstr(&home->leaf, "worker");
    const char *leaf = text_cstr(&home->leaf);
    int code = home->system.make(leaf) == 0 ? 0 : errno;
    code = code == 0 ? write_number(leaf, "cgroup.procs", (uint64_t)getpid()) : code;
    code = code == 0 ? write_file(path, "cgroup.subtree_control", "+memory") : code;
    if (code != 0) {
        text_printf(why, "'%s' cannot be divided: %s", path, strerrordesc_np(code));
        (void)write_number(path, "cgroup.procs", (uint64_t)getpid()); /* we may be there still */
        home->system.remove(leaf);
        text_clear(&home->leaf);
    }
    return code == 0;
}

/* Beside our group, in the one above. */
static bool use_parent(struct cgroup_home *home)
{
    struct text parent = {0};
    const char *own = text_cstr(&home->path);
    const char *slash = strrchr(own, '/');
    text_add(&parent, span_of(own, (size_t)(slash - own)));
    const char *path = text_cstr(&parent);
    bool is_good = names_memory(path, "cgroup.controllers") && home->system.is_marked(path) &&
                   may_write_in(home, path, "cgroup.procs") &&
                   (names_memory(path, "cgroup.subtree_control") ||
                    write_file(path, "cgroup.subtree_control", "+memory") == 0);
    if (is_good) {
        text_clear(&home->path);
        text_add(&home->path, text_span(&parent));
    }
    text_fini(&parent);
    return is_good;
}

static bool prepare_v2(struct cgroup_home *home, bool is_told, struct text *why)
{
    const char *path = text_cstr(&home->path);
    bool has_us;
    if (!names_memory(path, "cgroup.controllers")) {
        text_printf(why, "'%s' has no memory controller", path);
        return false;
    }
    if (is_ours(home, is_told, why)) {
        if (names_memory(path, "cgroup.subtree_control")) {
            return true;
        }
        if (count_processes(path, &has_us) == 1) {
            return split(home, why);
        }
        text_printf(why, "other processes are in '%s', too", path);
    }
    return use_parent(home);
}

/* ---- the home ---- */

static void add_path(struct cgroup_home *home, struct text *out)
{
    text_add(out, text_span(&home->path));
    add_name(out);
    text_printf(out, "%" PRIu64, ++home->last_number);
}

/* A group with its limit. Without swap, where that can be said: what is over the limit is to end, not to
 * crawl. */
static int make_group(struct cgroup_home *home, const char *path, struct text *why)
{
    static const struct {
        const char *limit, *swap;
    } files[] = {{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
                 {"memory.max", "memory.swap.max"}};
    int code = home->system.make(path) == 0 ? 0 : errno;
    if (code == 0) {
        code = write_number(path, files[home->is_v2].limit, home->limit);
        (void)write_number(path, files[home->is_v2].swap, home->is_v2 ? 0 : home->limit);
        if (!home->is_v2) { /* inherited; who waits at the limit instead would wait for ever */
            (void)write_file(path, "memory.oom_control", "0");
        }
        if (code != 0) {
            home->system.remove(path);
        }
    }
    if (code != 0) {
        text_printf(why, "no cgroup can be made in '%s': %s", text_cstr(&home->path),
                    strerrordesc_np(code));
    }
    return code == 0 ? OK : ERR_IO;
}

static int try_one(struct cgroup_home *home, struct text *why)
{
    struct text path = {0};
    add_path(home, &path);
    int code = make_group(home, text_cstr(&path), why);
    if (code == OK) {
        home->system.remove(text_cstr(&path));
    }
    text_fini(&path);
    return code;
}

int cgroup_home_open(const struct cgroup_options *options, struct cgroup_home **out_home,
                     struct text *why)
{
    struct cgroup_home *home = mem_zalloc(1, sizeof *home);
    home->system = *options->system;
    home->limit = options->limit;
    bool is_good = find_own(home, why) && (home->is_v2 ? prepare_v2(home, options->is_told, why)
                                                       : is_ours(home, options->is_told, why));
    if (is_good) {
        remove_dead(&home->system, text_cstr(&home->path));
    }
    if (!is_good || try_one(home, why) != OK) {
        cgroup_home_close(home);
        return ERR_NOT_FOUND;
    }
    *out_home = home;
    return OK;
}

const char *cgroup_home_path(const struct cgroup_home *home)
{
    return text_cstr(&home->path);
}

/* Those whose processes have ended meanwhile. */
static void remove_left(struct cgroup_home *home)
{
    for (uint32_t i = home->left.count; i > 0; i--) {
        char *path = home->left.items[i - 1];
        if (remove_group(&home->system, path) != EBUSY) {
            mem_free(path);
            vec_swap_remove(&home->left, i - 1);
        }
    }
}

/* Other groups below may need the controller, and then we stay where we are. */
static bool is_alone(const struct cgroup_home *home)
{
    DIR *directory = opendir(text_cstr(&home->path));
    uint32_t count = 0;
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        count += entry->d_type == DT_DIR && entry->d_name[0] != '.';
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count == 1;
}

static void join_again(struct cgroup_home *home)
{
    const char *path = text_cstr(&home->path);
    if (home->leaf.size > 0 && is_alone(home) &&
        write_file(path, "cgroup.subtree_control", "-memory") == 0 &&
        write_number(path, "cgroup.procs", (uint64_t)getpid()) == 0) {
        home->system.remove(text_cstr(&home->leaf));
    }
}

void cgroup_home_close(struct cgroup_home *home)
{
    if (home == NULL) {
        return;
    }
    remove_left(home);
    for (int i = 0; i < LEAVE_ATTEMPTS && home->left.count > 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = LEAVE_NANOSECONDS}, NULL);
        remove_left(home);
    }
    join_again(home);
    for (uint32_t i = 0; i < home->left.count; i++) {
        mem_free(home->left.items[i]);
    }
    vec_fini(&home->left);
    text_fini(&home->path);
    text_fini(&home->leaf);
    mem_free(home);
}

/* ---- one group ---- */

int cgroup_create(struct cgroup_home *home, int pid, struct cgroup **out_group, struct text *why)
{
    struct cgroup *group = mem_zalloc(1, sizeof *group);
    group->home = home;
    remove_left(home);
    add_path(home, &group->path);
    const char *path = text_cstr(&group->path);
    int code = make_group(home, path, why);
    if (code == OK) {
        int number = write_number(path, "cgroup.procs", (uint64_t)pid);
        if (number != 0) {
            text_printf(why, "process %d cannot be put into '%s': %s", pid, path,
                        strerrordesc_np(number));
            home->system.remove(path);
            code = ERR_IO;
        }
    }
    if (code != OK) {
        text_fini(&group->path);
        mem_free(group);
        return code;
    }
    *out_group = group;
    return OK;
}

void cgroup_read(const struct cgroup *group, struct oom_state *out)
{
    if (!oom_read_group(text_cstr(&group->path), group->home->is_v2, out)) {
        *out = (struct oom_state){0};
    }
}

void cgroup_remove(struct cgroup *group)
{
    struct cgroup_home *home = group->home;
    vec_push(&home->left, mem_copy(text_cstr(&group->path), group->path.size + 1));
    remove_left(home);
    text_fini(&group->path);
    mem_free(group);
}
