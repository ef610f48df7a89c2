/* Scratch directories: one's own go with their owner; those of dead owners are removed, and only those. */
#include "unit/store/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/io.h"
#include "store/scratch.h"

static char base[64];

static int make_base(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/cask-test-scratch-%d/space", (int)getpid());
    return 0;
}

static int remove_base(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf /tmp/cask-test-scratch-%d", (int)getpid());
    return system(command);
}

static int count_entries(void)
{
    DIR *directory = opendir(base);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

static struct scratch *make_scratch(void)
{
    struct scratch *scratch;
    struct text why = {0};
    assert_int_equal(scratch_create(base, &scratch, &why), OK);
    return scratch;
}

static void write_in(const char *directory, const char *name)
{
    char path[512];
    struct text why = {0};
    snprintf(path, sizeof path, "%s/storage", directory);
    assert_int_equal(io_directory_create(path, &why), OK);
    snprintf(path, sizeof path, "%s/storage/%s", directory, name);
    assert_int_equal(io_file_write(path, SPAN("data"), false, &why), OK);
}

/* Two of one process, each its own; what is in them goes with them. A link in one is removed, not what it names. */
static void test_own(void **state)
{
    (void)state;
    struct scratch *first = make_scratch(), *second = make_scratch();
    struct stat status;
    assert_int_equal(stat(scratch_path(first), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    write_in(scratch_path(first), "file");
    write_in(base, "precious");
    char link[512], target[512];
    snprintf(link, sizeof link, "%s/link", scratch_path(first));
    snprintf(target, sizeof target, "%s/storage", base);
    assert_int_equal(symlink(target, link), 0);
    assert_int_equal(scratch_remove_dead(base), 0);
    scratch_destroy(first);
    assert_int_equal(count_entries(), 3); /* the second, its lock, precious */
    snprintf(target, sizeof target, "%s/storage/precious", base);
    assert_int_equal(access(target, F_OK), 0);
    scratch_destroy(second);
    assert_int_equal(count_entries(), 1);
}

/* A child with a scratch directory of its own, in which it has a file; it waits for its end. */
static pid_t start_owner(void)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        write_in(scratch_path(make_scratch()), "spilled");
        _exit(write(ready[1], "x", 1) == 1 && pause() ? 0 : 1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void kill_owner(pid_t child)
{
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* kill -9: the next start removes what was left; the directories of the living are not touched, nor is what only
 * looks alike. */
static void test_dead_owner(void **state)
{
    (void)state;
    struct scratch *own = make_scratch();
    pid_t dead = start_owner(), alive = start_owner();
    assert_int_equal(count_entries(), 6);
    kill_owner(dead);
    write_in(base, "precious");
    static const char *const alike[] = {"worker-.dirlock", "worker-x.dirlock",
                                        "worker-otherhost-1-2-3.dirlock", "other-abc.dirlock"};
    for (size_t i = 0; i < sizeof alike / sizeof alike[0]; i++) {
        char path[256];
        struct text why = {0};
        snprintf(path, sizeof path, "%s/%s", base, alike[i]);
        assert_int_equal(io_file_write(path, SPAN(""), false, &why), OK);
    }
    assert_int_equal(scratch_remove_dead(base), 1);
    assert_int_equal(count_entries(), 4 + 1 + 4);
    assert_int_equal(scratch_remove_dead(base), 0);
    assert_int_equal(access(scratch_path(own), F_OK), 0);
    kill_owner(alive);
    assert_int_equal(scratch_remove_dead(base), 1);
    scratch_destroy(own);
    assert_int_equal(count_entries(), 5);
}

/* The owner's process is dead, but somebody holds the lock: its directory is in use. (So it is with a process
 * identifier of another container.) */
static void test_lock_is_held(void **state)
{
    (void)state;
    char host[IO_HOST_MAX], path[512];
    io_host_name(host);
    struct text why = {0};
    assert_int_equal(io_directory_create(base, &why), OK);
    snprintf(path, sizeof path, "%s/worker-%s-1-1-0.dirlock", base, host);
    assert_int_equal(io_file_write(path, SPAN(""), false, &why), OK);
    int fd = open(path, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(scratch_remove_dead(base), 0);
    close(fd);
    assert_int_equal(scratch_remove_dead(base), 1);
    assert_int_equal(count_entries(), 0);
}

/* A base that cannot be made, and one that is not there to be cleaned. */
static void test_no_base(void **state)
{
    (void)state;
    struct scratch *scratch;
    struct text why = {0};
    assert_int_equal(scratch_create("/proc/nowhere", &scratch, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(text_cstr(&why), "/proc/nowhere"));
    text_fini(&why);
    assert_int_equal(scratch_remove_dead("/proc/nowhere"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_dead_owner, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_lock_is_held, make_base, remove_base),
        cmocka_unit_test(test_no_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
