/* Where executors get cgroups, where they get none and why, and what is in them: in a made-up tree, with a
 * stand-in for what the kernel does with the files. A real kernel is asked in
 * test/interop/test_worker_cgroups.py. */
#include "exec/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "exec/oom.h"
#include "io/io.h"

#define LIMIT 400000000u
#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"
#define JOB V2 "/system.slice/job.service"

static char root[64];

/* What the stand-in is to do; set anew for each test. */
static struct {
    struct cgroup_system system;
    const char *marked; /* the one directory that is, below root */
    bool is_v2;
    bool has_limits; /* new groups have files of limits */
    bool is_read_only;
} machine;

/* ---- the tree ---- */

static void write_below(const char *name, const char *content)
{
    char path[512], parent[512];
    snprintf(path, sizeof path, "%s%s", root, name);
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    struct text why = {0};
    assert_int_equal(io_directory_create(parent, &why), OK);
    assert_int_equal(io_file_write(path, span_of_text(content), false, &why), OK);
}

/* The file says this, and nothing else. */
static void says(const char *directory, const char *name, const char *content)
{
    char path[512], got[256] = "";
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(got, content);
}

static void says_number(const char *directory, const char *name, uint64_t number)
{
    char content[32];
    snprintf(content, sizeof content, "%" PRIu64, number);
    says(directory, name, content);
}

static bool is_there(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, name);
    return access(path, F_OK) == 0;
}

/* The one entry of the directory that begins so, as a path; false: there is none. */
static bool find_one(const char *directory, const char *prefix, const char *suffix, char out[512])
{
    uint32_t count = 0;
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, directory);
    DIR *stream = opendir(path);
    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        size_t size = strlen(entry->d_name), ending = strlen(suffix);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && size >= ending &&
            strcmp(entry->d_name + size - ending, suffix) == 0) {
            count++;
            assert_true(strlen(path) + size + 2 < 512);
            strcpy(out, path);
            strcat(strcat(out, "/"), entry->d_name);
        }
    }
    closedir(stream);
    assert_true(count <= 1);
    return count == 1;
}

/* ---- the kernel ---- */

static int fill(const char *path)
{
    static const char *const files[2][5] = {
        {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control",
         "memory.usage_in_bytes", "memory.max_usage_in_bytes"},
        {"memory.max", "memory.swap.max", "memory.events", "memory.current", "memory.peak"},
    };
    const char *below = path + strlen(root);
    char name[512];
    if (machine.is_read_only) {
        errno = EROFS;
        return -1;
    }
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(name, sizeof name, "%s/cgroup.procs", below);
    write_below(name, "");
    for (int i = 0; machine.has_limits && i < 5; i++) {
        snprintf(name, sizeof name, "%s/%s", below, files[machine.is_v2][i]);
        write_below(name, "");
    }
    return 0;
}

/* Not while a group or a process is in it, but for us, as the stand-in does not take us out of a group that
 * we leave. */
static int empty(const char *path)
{
    char command[600], procs[512];
    int pid = 0;
    snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
    FILE *file = fopen(procs, "re");
    if (file != NULL) {
        pid = fscanf(file, "%d", &pid) == 1 ? pid : 0;
        fclose(file);
    }
    snprintf(command, sizeof command, "find '%s' -mindepth 1 -type d | grep -q .", path);
    if ((pid != 0 && pid != getpid()) || system(command) == 0) {
        errno = EBUSY;
        return -1;
    }
    snprintf(command, sizeof command, "rm -r '%s'", path);
    return system(command);
}

static bool is_marked(const char *path)
{
    return machine.marked != NULL && strcmp(path + strlen(root), machine.marked) == 0;
}

static bool may_write(const char *path)
{
    return !machine.is_read_only && access(path, W_OK) == 0;
}

/* Someone's own group in version 2, with nobody else in it. */
static int setup(void **state)
{
    (void)state;
    char pid[32], command[128];
    snprintf(root, sizeof root, "/tmp/cask-test-cgroup-%d", (int)getpid());
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
    machine.system = (struct cgroup_system){.root = root,
                                            .make = fill,
                                            .remove = empty,
                                            .is_marked = is_marked,
                                            .may_write = may_write};
    machine.marked = NULL;
    machine.is_v2 = machine.has_limits = true;
    machine.is_read_only = false;
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    write_below("/proc/self/cgroup", "0::/system.slice/job.service\n");
    write_below(JOB "/cgroup.procs", pid);
    write_below(JOB "/cgroup.controllers", "cpu memory pids\n");
    write_below(JOB "/cgroup.subtree_control", "");
    write_below(V2 "/system.slice/cgroup.procs", "");
    write_below(V2 "/system.slice/cgroup.controllers", "cpu memory pids\n");
    write_below(V2 "/system.slice/cgroup.subtree_control", "cpu memory\n");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static struct cgroup_home *open_home(bool is_told)
{
    const struct cgroup_options options = {
        .system = &machine.system, .limit = LIMIT, .is_told = is_told};
    struct cgroup_home *home = NULL;
    struct text why = {0};
    int code = cgroup_home_open(&options, &home, &why);
    if (code != OK) {
        fprintf(stderr, "%s\n", text_cstr(&why));
    }
    assert_int_equal(code, OK);
    text_fini(&why);
    return home;
}

static void refused(const char *because)
{
    const struct cgroup_options options = {.system = &machine.system, .limit = LIMIT};
    struct cgroup_home *home = NULL;
    struct text why = {0};
    assert_int_equal(cgroup_home_open(&options, &home, &why), ERR_NOT_FOUND);
    if (strstr(text_cstr(&why), because) == NULL) {
        fail_msg("'%s' is not in: %s", because, text_cstr(&why));
    }
    text_fini(&why);
}

static struct cgroup *create(struct cgroup_home *home, int pid)
{
    struct cgroup *group = NULL;
    struct text why = {0};
    assert_int_equal(cgroup_create(home, pid, &group, &why), OK);
    return group;
}

/* ---- version 2 ---- */

/* As `systemd-run --user --scope cask worker` has it: we go one down, as the groups below need the
 * controller, and come back. */
static void test_split(void **state)
{
    (void)state;
    char leaf[512], path[512];
    struct cgroup_home *home = open_home(false);
    assert_string_equal(cgroup_home_path(home) + strlen(root), JOB);
    assert_true(find_one(JOB, "cask-", "-worker", leaf));
    says_number(leaf, "cgroup.procs", (uint64_t)getpid());
    says(cgroup_home_path(home), "cgroup.subtree_control", "+memory");

    struct cgroup *group = create(home, 1);
    assert_true(find_one(JOB, "cask-", "-2", path)); /* 1 was the trial */
    says_number(path, "cgroup.procs", 1);
    says_number(path, "memory.max", LIMIT);
    says(path, "memory.swap.max", "0");
    write_below(strcat(path + strlen(root), "/cgroup.procs"), "");
    cgroup_remove(group);
    assert_false(find_one(JOB, "cask-", "-2", path));

    cgroup_home_close(home);
    says(strcat(strcpy(path, root), JOB), "cgroup.subtree_control", "-memory");
    says_number(path, "cgroup.procs", (uint64_t)getpid());
    assert_false(find_one(JOB, "cask-", "", path));
}

/* Somebody has made a group there meanwhile that may need the controller: we stay. */
static void test_no_way_back(void **state)
{
    (void)state;
    char leaf[512];
    struct cgroup_home *home = open_home(false);
    write_below(JOB "/other/cgroup.procs", "");
    says(cgroup_home_path(home), "cgroup.subtree_control", "+memory");
    cgroup_home_close(home);
    says(strcat(strcpy(leaf, root), JOB), "cgroup.subtree_control", "+memory");
    assert_true(find_one(JOB, "cask-", "-worker", leaf));
}

/* A shell, or a launcher of several workers, is there too: it cannot be moved, so nothing is. */
static void test_not_alone(void **state)
{
    (void)state;
    char procs[64], path[512];
    snprintf(procs, sizeof procs, "1\n%d\n", (int)getpid());
    write_below(JOB "/cgroup.procs", procs);
    refused("other processes are in");
    assert_false(find_one(JOB, "cask-", "", path));
    /* But systemd (DelegateSubgroup=) gives the group above: there is room beside. */
    machine.marked = V2 "/system.slice";
    struct cgroup_home *home = open_home(false);
    assert_string_equal(cgroup_home_path(home) + strlen(root), V2 "/system.slice");
    says(cgroup_home_path(home), "cgroup.subtree_control", "cpu memory\n");
    assert_false(find_one(JOB, "cask-", "", path));
    cgroup_home_close(home);
}

/* The group above was given to us without the controller switched on. */
static void test_beside(void **state)
{
    (void)state;
    machine.system.is_superuser = true;
    machine.marked = V2 "/system.slice";
    write_below(V2 "/system.slice/cgroup.subtree_control", "cpu\n");
    struct cgroup_home *home = open_home(false);
    assert_string_equal(cgroup_home_path(home) + strlen(root), V2 "/system.slice");
    says(cgroup_home_path(home), "cgroup.subtree_control", "+memory");
    cgroup_home_close(home);
}

/* The kernel refuses: all is as it was. */
static void test_split_refused(void **state)
{
    (void)state;
    char path[512];
    assert_int_equal(unlink(strcat(strcat(strcpy(path, root), JOB), "/cgroup.subtree_control")), 0);
    refused("cannot be divided: No such file or directory");
    says_number(strcat(strcpy(path, root), JOB), "cgroup.procs", (uint64_t)getpid());
    assert_false(find_one(JOB, "cask-", "", path));
}

static void test_no_controller(void **state)
{
    (void)state;
    write_below(JOB "/cgroup.controllers", "cpu pids\n");
    refused("job.service' has no memory controller");
}

/* ---- whose it is ---- */

/* The superuser may write everywhere, so that says nothing. */
static void test_not_delegated(void **state)
{
    (void)state;
    machine.system.is_superuser = true;
    refused("job.service' was not delegated to this process");
    machine.marked = JOB;
    cgroup_home_close(open_home(false));
    machine.marked = NULL;
    cgroup_home_close(open_home(true)); /* the user says so */
}

/* A container of its own: what is the root there was made for it. */
static void test_container(void **state)
{
    (void)state;
    char pid[32], link[128];
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    machine.system.is_superuser = true;
    write_below("/proc/self/cgroup", "0::/\n");
    write_below(V2 "/cgroup.procs", pid);
    write_below(V2 "/cgroup.controllers", "memory\n");
    write_below(V2 "/cgroup.subtree_control", "");
    write_below("/proc/self/ns/x", "");
    snprintf(link, sizeof link, "%s/proc/self/ns/cgroup", root);
    assert_int_equal(symlink("cgroup:[4026531835]", link), 0); /* the machine's own */
    refused("was not delegated");
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("cgroup:[4026532764]", link), 0);
    cgroup_home_close(open_home(false));
}

static void test_read_only(void **state)
{
    (void)state;
    machine.is_read_only = true;
    refused("job.service' cannot be written to");
}

static void test_nowhere(void **state)
{
    (void)state;
    write_below(JOB "/cgroup.procs", "1\n");
    refused("the cgroup of this process is nowhere below /sys/fs/cgroup");
    write_below("/proc/self/cgroup", "nonsense\n:\n4:\n");
    refused("nowhere below");
}

/* ---- version 1 ---- */

static int setup_v1(void **state)
{
    char pid[32];
    setup(state);
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    machine.is_v2 = false;
    write_below("/proc/self/cgroup", "9:cpu:/x\n4:hugetlb,memory:/slurm/job_1\n0::/x\n");
    write_below(V1 "/slurm/job_1/cgroup.procs", pid);
    return 0;
}

/* Others in the group are no hindrance, and the group we are in stays. */
static void test_v1(void **state)
{
    char path[512];
    struct oom_state memory;
    setup_v1(state);
    struct cgroup_home *home = open_home(false);
    assert_string_equal(cgroup_home_path(home) + strlen(root), V1 "/slurm/job_1");
    struct cgroup *group = create(home, getpid());
    assert_true(find_one(V1 "/slurm/job_1", "cask-", "-2", path));
    says_number(path, "memory.limit_in_bytes", LIMIT);
    says_number(path, "memory.memsw.limit_in_bytes", LIMIT);
    says(path, "memory.oom_control", "0");
    says_number(path, "cgroup.procs", (uint64_t)getpid());
    const char *below = path + strlen(root);
    char name[512];
    snprintf(name, sizeof name, "%s/memory.oom_control", below);
    write_below(name, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
    snprintf(name, sizeof name, "%s/memory.max_usage_in_bytes", below);
    write_below(name, "399999999\n");
    cgroup_read(group, &memory);
    assert_int_equal(memory.kills, 3);
    assert_int_equal(memory.peak, 399999999);
    assert_int_equal(memory.max, LIMIT);
    cgroup_remove(group);
    cgroup_home_close(home);
}

/* Inside a container the path is that of outside. */
static void test_v1_in_a_container(void **state)
{
    char pid[32];
    setup_v1(state);
    snprintf(pid, sizeof pid, "7\n%d\n", (int)getpid());
    write_below("/proc/self/cgroup", "4:memory:/docker/0123\n");
    write_below(V1 "/cgroup.procs", pid);
    struct cgroup_home *home = open_home(false);
    assert_string_equal(cgroup_home_path(home) + strlen(root), V1);
    cgroup_home_close(home);
}

/* ---- what is in them, and their end ---- */

static void test_what_it_held(void **state)
{
    (void)state;
    char path[512], name[512];
    struct oom_state memory;
    struct cgroup_home *home = open_home(false);
    struct cgroup *group = create(home, getpid());
    assert_true(find_one(JOB, "cask-", "-2", path));
    snprintf(name, sizeof name, "%s/memory.events", path + strlen(root));
    write_below(name, "low 0\nhigh 0\nmax 61\noom 1\noom_kill 1\noom_group_kill 0\n");
    snprintf(name, sizeof name, "%s/memory.current", path + strlen(root));
    write_below(name, "1000\n");
    cgroup_read(group, &memory);
    assert_int_equal(memory.kills, 1);
    assert_int_equal(memory.current, 1000);
    assert_int_equal(memory.peak, 0); /* a kernel before 5.19 */
    assert_int_equal(memory.max, LIMIT);
    cgroup_remove(group);
    cgroup_home_close(home);
}

/* What a task has started may outlive it, and is let alone. */
static void test_left_behind(void **state)
{
    (void)state;
    char path[512], other[512], name[512];
    struct cgroup_home *home = open_home(false);
    struct cgroup *group = create(home, 1);
    assert_true(find_one(JOB, "cask-", "-2", path));
    cgroup_remove(group);
    assert_true(find_one(JOB, "cask-", "-2", path));
    snprintf(name, sizeof name, "%s/cgroup.procs", path + strlen(root));
    write_below(name, "");
    group = create(home, 1);
    assert_false(find_one(JOB, "cask-", "-2", other));
    cgroup_remove(group);
    cgroup_home_close(home); /* it waits a moment for it, not for ever */
    assert_true(find_one(JOB, "cask-", "-3", other));
}

/* The groups of workers that were killed go, unless somebody is in them; all others stay. */
static void test_of_the_dead(void **state)
{
    (void)state;
    char living[128];
    snprintf(living, sizeof living, JOB "/cask-%d-%" PRIu64 "-7", (int)getppid(),
             io_process_started(getppid()));
    write_below(JOB "/cask-1-1-1/cgroup.procs", "");
    write_below(JOB "/cask-1-1-worker/cgroup.procs", "");
    write_below(JOB "/cask-1-1-2/cgroup.procs", "1\n");
    write_below(JOB "/cask-x/cgroup.procs", "");
    write_below(JOB "/cask-1-0-1/cgroup.procs", "");
    write_below(JOB "/cask-1-1/cgroup.procs", "");
    write_below(JOB "/cask-99999999999-1-1/cgroup.procs", "");
    write_below(JOB "/other-1-1-1/cgroup.procs", "");
    write_below(strcat(living, "/cgroup.procs"), "");
    cgroup_home_close(open_home(false));
    assert_false(is_there(JOB "/cask-1-1-1"));
    assert_false(is_there(JOB "/cask-1-1-worker"));
    assert_true(is_there(JOB "/cask-1-1-2"));
    assert_true(is_there(JOB "/cask-x"));
    assert_true(is_there(JOB "/cask-1-0-1"));
    assert_true(is_there(JOB "/cask-1-1"));
    assert_true(is_there(JOB "/cask-99999999999-1-1"));
    assert_true(is_there(JOB "/other-1-1-1"));
    assert_true(is_there(living));
}

/* A task has run a worker of its own, and both were killed: theirs go with it, but not those of a stranger. */
static void test_below_the_dead(void **state)
{
    (void)state;
    write_below(JOB "/cask-1-1-1/cask-2-1-worker/cgroup.procs", "");
    write_below(JOB "/cask-1-1-1/cask-2-1-1/cask-3-1-1/cgroup.procs", "");
    write_below(JOB "/cask-1-1-2/other/cgroup.procs", "");
    cgroup_home_close(open_home(false));
    assert_false(is_there(JOB "/cask-1-1-1"));
    assert_true(is_there(JOB "/cask-1-1-2/other"));
}

/* A kernel without the files: found out at the start, and nothing is left. */
static void test_no_limits(void **state)
{
    (void)state;
    char path[512];
    machine.has_limits = false;
    refused("no cgroup can be made in");
    assert_false(find_one(JOB, "cask-", "", path));
}

/* Groups may run out later (cgroup.max.descendants): that is the caller's to bear. */
static void test_no_more(void **state)
{
    (void)state;
    struct cgroup_home *home = open_home(false);
    struct cgroup *group = NULL;
    struct text why = {0};
    machine.is_read_only = true;
    assert_int_equal(cgroup_create(home, 1, &group, &why), ERR_IO);
    assert_non_null(strstr(text_cstr(&why), "job.service': Read-only file system"));
    text_fini(&why);
    cgroup_home_close(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_way_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_split_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_controller, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_delegated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_container, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_v1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_v1_in_a_container, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_it_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_the_dead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_below_the_dead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_more, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
