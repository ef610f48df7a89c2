/* Small files: whole or not at all. */
#include <sys/stat.h>
#include <unistd.h>

#include "unit/io/support.h"

static char folder[64];
static char path[128];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/cask-test-file-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/a/b", folder);
    struct text why = {0};
    int code = io_directory_create(path, &why);
    text_fini(&why);
    snprintf(path, sizeof path, "%s/a/b/file", folder);
    return code;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const parts[] = {"/a/b", "/a", ""};
    unlink(path);
    for (int i = 0; i < 3; i++) {
        char part[128];
        snprintf(part, sizeof part, "%s%s", folder, parts[i]);
        if (rmdir(part) != 0) { /* fails if a temporary file was left behind */
            return -1;
        }
    }
    return 0;
}

static void expect_content(const char *content)
{
    struct text why = {0};
    struct buf *read = NULL;
    assert_int_equal(io_file_read(path, 1000000, &read, &why), OK);
    assert_int_equal(read->size, strlen(content));
    assert_memory_equal(read->data, content, read->size);
    buf_unref(read);
    text_fini(&why);
}

static void test_write_and_read(void **state)
{
    (void)state;
    struct text why = {0};
    assert_int_equal(io_file_write(path, SPAN("first"), true, &why), OK);
    expect_content("first");
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(io_file_write(path, (struct span){0}, false, &why), OK);
    expect_content("");
    struct text large = {0};
    for (int i = 0; i < 3000; i++) {
        text_printf(&large, "line %d\n", i);
    }
    assert_int_equal(io_file_write(path, text_span(&large), false, &why), OK);
    expect_content(text_cstr(&large));
    text_fini(&large);
    assert_int_equal(io_file_remove(path, &why), OK);
    assert_int_equal(io_file_remove(path, &why), ERR_NOT_FOUND);
    text_fini(&why);
}

/* A file of exactly the limit is read, one byte more is not. */
static void test_limit(void **state)
{
    (void)state;
    struct text why = {0};
    struct buf *read = NULL;
    assert_int_equal(io_file_write(path, SPAN("12345678"), false, &why), OK);
    assert_int_equal(io_file_read(path, 7, &read, &why), ERR_LIMIT);
    assert_non_null(strstr(text_cstr(&why), path));
    assert_int_equal(io_file_read(path, 8, &read, &why), OK);
    buf_unref(read);
    text_fini(&why);
}

/* A file without a size, as /proc has them. */
static void test_proc(void **state)
{
    (void)state;
    struct text why = {0};
    struct buf *read = NULL;
    assert_int_equal(io_file_read("/proc/self/maps", 1u << 20, &read, &why), OK);
    assert_true(read->size > 100);
    buf_unref(read);
    text_fini(&why);
}

static void test_failures(void **state)
{
    (void)state;
    struct text why = {0};
    struct buf *read = NULL;
    assert_int_equal(io_file_read("/does/not/exist", 10, &read, &why), ERR_NOT_FOUND);
    assert_string_equal(text_cstr(&why),
                        "cannot read '/does/not/exist': ENOENT: no such file or directory");
    text_clear(&why);
    assert_int_equal(io_file_read(folder, 10, &read, &why), ERR_IO);
    assert_non_null(strstr(text_cstr(&why), "EISDIR"));
    assert_int_equal(io_file_write("/does/not/exist", SPAN("x"), false, &why), ERR_NOT_FOUND);
    /* Replacing a directory fails after the temporary file was made: it must not stay (teardown). */
    char target[128];
    snprintf(target, sizeof target, "%s/a/b", folder);
    assert_int_equal(io_file_write(target, SPAN("x"), false, &why), ERR_IO);
    text_fini(&why);
}

static void test_directory(void **state)
{
    (void)state;
    struct text why = {0};
    struct stat status;
    assert_int_equal(stat(folder, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(io_directory_create(folder, &why), OK);
    assert_int_equal(io_directory_create("/", &why), OK);
    assert_int_equal(io_file_write(path, SPAN("x"), false, &why), OK);
    assert_int_equal(io_directory_create(path, &why), ERR_IO);
    assert_non_null(strstr(text_cstr(&why), "ENOTDIR"));
    char below[160];
    snprintf(below, sizeof below, "%s/below", path);
    assert_int_equal(io_directory_create(below, &why), ERR_IO);
    text_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
        cmocka_unit_test(test_proc),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
