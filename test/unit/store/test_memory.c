/* What memory is measured, what limits are found, and what --memory-limit means. */
#include "unit/store/support.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/io.h"
#include "store/memory.h"

/* Our own: what is allocated and touched is seen, and shared memory as such. */
static void test_process(void **state)
{
    (void)state;
    enum { SIZE = 32 << 20 };
    struct memory_process before, after;
    assert_true(memory_of_process(getpid(), &before));
    assert_true(before.anonymous > 0 && before.file > 0);
    uint8_t *own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(own, 1, SIZE);
    memset(shared, 1, SIZE);
    assert_true(memory_of_process(getpid(), &after));
    munmap(own, SIZE);
    munmap(shared, SIZE);
    assert_true(after.anonymous - before.anonymous >= SIZE);
    assert_true(after.anonymous - before.anonymous < 2 * SIZE);
    assert_true(after.shared - before.shared >= SIZE);
}

static void test_no_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct memory_process process;
    assert_false(memory_of_process(child, &process));
}

/* A segment that two executors and the worker have mapped is there once. */
static void test_together(void **state)
{
    (void)state;
    const struct memory_process processes[] = {{100, 10, 0}, {50, 5, 1000}, {60, 5, 700}};
    assert_int_equal(memory_together(processes, 3, 800), 230 + 1000);
    assert_int_equal(memory_together(processes, 3, 2000), 230 + 2000);
    assert_int_equal(memory_together(processes, 0, 0), 0);
}

/* ---- the system's limit, in a made-up root ---- */

static char root[64];

static void write_below(const char *name, const char *content)
{
    char path[256], parent[256];
    snprintf(path, sizeof path, "%s%s", root, name);
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    struct text why = {0};
    assert_int_equal(io_directory_create(parent, &why), OK);
    assert_int_equal(io_file_write(path, span_of_text(content), false, &why), OK);
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/cask-test-memory-%d", (int)getpid());
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

/* Physical memory, lowered by what each file says, the way a container, a batch system and systemd say it. */
static void test_system_limit(void **state)
{
    (void)state;
    write_below("/proc/meminfo", "MemTotal:       16000 kB\nMemFree:        1 kB\n");
    assert_int_equal(memory_system_limit(root), 16000 * 1024);
    write_below("/sys/fs/cgroup/memory.max", "max\n");
    assert_int_equal(memory_system_limit(root), 16000 * 1024);
    write_below("/sys/fs/cgroup/memory.max", "9000000\n");
    assert_int_equal(memory_system_limit(root), 9000000);
    write_below("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_below("/sys/fs/cgroup/memory/memory.soft_limit_in_bytes", "8000000\n");
    assert_int_equal(memory_system_limit(root), 8000000);
    write_below("/proc/self/cgroup", "12:cpu,cpuacct:/x\n0::/system.slice/job.scope\n");
    write_below("/sys/fs/cgroup/system.slice/memory.max", "7000000\n");
    write_below("/sys/fs/cgroup/system.slice/job.scope/memory.max", "max\n");
    assert_int_equal(memory_system_limit(root), 7000000);
    write_below("/sys/fs/cgroup/system.slice/job.scope/memory.high", "6000000\n");
    assert_int_equal(memory_system_limit(root), 6000000);
    write_below("/proc/self/cgroup", "4:memory:/slurm/job_1\n");
    assert_int_equal(memory_system_limit(root), 8000000);
    write_below("/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "5000000\n");
    assert_int_equal(memory_system_limit(root), 5000000);
}

static void test_real_system(void **state)
{
    (void)state;
    uint64_t limit = memory_system_limit("");
    assert_true(limit >= 64u << 20);
    assert_true(limit <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* As stock's parse_memory_limit on a machine of 1,000,000,000 bytes, with a quarter of its cpus. */
static void test_parse_limit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
        bool is_capped;
    } cases[] = {
        {"auto", 250000000, false}, {"0", 0, false},
        {"0.5", 500000000, false},  {"1", 1000000000, false},
        {"1.0", 1000000000, false}, {"2", 2, false},
        {"4e8", 400000000, false},  {"100 MB", 100000000, false},
        {"1MiB", 1048576, false},   {"4GB", 1000000000, true},
        {"1e20", 1000000000, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct memory_limit limit;
        struct text why = {0};
        assert_int_equal(
            memory_parse_limit(span_of_text(cases[i].text), 1000000000, 0.25, &limit, &why), OK);
        assert_int_equal(limit.bytes, cases[i].bytes);
        assert_int_equal(limit.is_capped, cases[i].is_capped);
    }
    struct memory_limit limit;
    struct text why = {0};
    assert_int_equal(memory_parse_limit(SPAN("auto"), 1000, 3, &limit, &why), OK);
    assert_int_equal(limit.bytes, 1000);
    static const char *const wrong[] = {"", "much", "-1", "nan", "inf", "4 apples", "-3GB"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(memory_parse_limit(span_of_text(wrong[i]), 1000, 1, &limit, &why),
                         ERR_CONFIG);
        assert_non_null(strstr(text_cstr(&why), wrong[i]));
        text_clear(&why);
    }
    text_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_no_process),
        cmocka_unit_test(test_together),
        cmocka_unit_test_setup_teardown(test_system_limit, make_root, remove_root),
        cmocka_unit_test(test_real_system),
        cmocka_unit_test(test_parse_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
