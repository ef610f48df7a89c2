/* test_config.c: settings from files, the environment and explicitly, as dask.config puts them together. */
#include "node/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "io/io.h"
#include "node/core_config.h"
#include "wire/msgpack.h"

/* A folder of its own, with the environment of a test. */
struct place {
    char folder[64];
};

static void write_file(const struct place *place, const char *name, const char *content)
{
    struct text path = {0}, why = {0};
    text_printf(&path, "%s/%s", place->folder, name);
    assert_int_equal(io_file_write(text_cstr(&path), span_of_text(content), false, &why), OK);
    text_fini(&path);
    text_fini(&why);
}

static void make_folder(const struct place *place, const char *name)
{
    struct text path = {0}, why = {0};
    text_printf(&path, "%s/%s", place->folder, name);
    assert_int_equal(io_directory_create(text_cstr(&path), &why), OK);
    text_fini(&path);
    text_fini(&why);
}

static void set_path(const struct place *place, const char *variable, const char *name)
{
    struct text path = {0};
    text_printf(&path, "%s/%s", place->folder, name);
    setenv(variable, text_cstr(&path), 1);
    text_fini(&path);
}

/* Every source exists and is empty. */
static int enter(void **state)
{
    static const char *const folders[] = {"root", "prefix/etc/dask", "home/.config/dask", "named"};
    struct place *place = test_malloc(sizeof *place);
    snprintf(place->folder, sizeof place->folder, "/tmp/cask-config-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    clearenv();
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        make_folder(place, folders[i]);
    }
    set_path(place, "DASK_ROOT_CONFIG", "root");
    set_path(place, "VIRTUAL_ENV", "prefix");
    set_path(place, "HOME", "home");
    set_path(place, "DASK_CONFIG", "named");
    *state = place;
    return 0;
}

static int leave(void **state)
{
    struct text command = {0};
    setenv("PATH", "/usr/bin:/bin", 1);
    text_printf(&command, "rm -r %s", ((struct place *)*state)->folder);
    int failed = system(text_cstr(&command));
    text_fini(&command);
    test_free(*state);
    return failed;
}

static struct config *read_all(void)
{
    struct config *config = NULL;
    struct text why = {0};
    assert_int_equal(config_create(&config, &why), OK);
    assert_int_equal(why.size, 0);
    text_fini(&why);
    return config;
}

static void expect_refused(const char *part_of_why)
{
    struct config *config;
    struct text why = {0};
    assert_int_equal(config_create(&config, &why), ERR_CONFIG);
    assert_non_null(strstr(text_cstr(&why), part_of_why));
    text_fini(&why);
}

/* Nothing is configured anywhere: what the caller says stands. */
static void test_nothing(void **state)
{
    (void)state;
    struct config *config = read_all();
    assert_string_equal(config_text(config, "a.b", "absent"), "absent");
    assert_int_equal(config_int(config, "a.b", 7), 7);
    assert_true(config_bool(config, "a.b", true));
    assert_true(config_seconds(config, "a.b", 1.5) == 1.5);
    assert_false(config_is_null(config, "a.b"));
    config_destroy(config);
}

/* The same setting stands in all four places; then in all but the last, and so on. */
static void test_order_of_files(void **state)
{
    struct place *place = *state;
    write_file(place, "root/a.yaml", "who: root\nroot: 1\n");
    write_file(place, "prefix/etc/dask/a.yaml", "who: prefix\nprefix: 1\n");
    write_file(place, "home/.config/dask/a.yaml", "who: home\nhome: 1\n");
    write_file(place, "named/a.yaml", "who: named\n");
    struct config *config = read_all();
    assert_string_equal(config_text(config, "who", ""), "named");
    assert_int_equal(config_int(config, "root", 0) + config_int(config, "prefix", 0) +
                         config_int(config, "home", 0),
                     3);
    config_destroy(config);
    write_file(place, "named/a.yaml", "");
    config = read_all();
    assert_string_equal(config_text(config, "who", ""), "home");
    config_destroy(config);
    write_file(place, "home/.config/dask/a.yaml", "# nothing but a comment\n");
    config = read_all();
    assert_string_equal(config_text(config, "who", ""), "prefix");
    config_destroy(config);
}

/* One folder holds several files: by name, whatever the suffix; others are no configuration. */
static void test_order_in_a_folder(void **state)
{
    struct place *place = *state;
    write_file(place, "named/a.yaml", "x: 1\ny: 1\nz: 1\n");
    write_file(place, "named/b.YML", "x: 2\ny: 2\n");
    write_file(place, "named/c.json", "{\"x\": 3}");
    write_file(place, "named/d.txt", "x: 4");
    struct config *config = read_all();
    assert_int_equal(config_int(config, "x", 0), 3);
    assert_int_equal(config_int(config, "y", 0), 2);
    assert_int_equal(config_int(config, "z", 0), 1);
    config_destroy(config);
}

/* DASK_CONFIG names a file. */
static void test_named_file(void **state)
{
    struct place *place = *state;
    write_file(place, "named/only.conf", "x: 5\n");
    set_path(place, "DASK_CONFIG", "named/only.conf");
    struct config *config = read_all();
    assert_int_equal(config_int(config, "x", 0), 5);
    config_destroy(config);
}

/* Mappings of several files become one; - and _ are alike; null says more than missing. */
static void test_merge(void **state)
{
    struct place *place = *state;
    write_file(place, "root/a.yaml",
               "distributed:\n  scheduler:\n    worker-ttl: 5 minutes\n    allowed_failures: 3\n");
    write_file(place, "named/a.yaml",
               "distributed:\n  scheduler:\n    worker_ttl: null\n  comm: {compression: zstd}\n");
    struct config *config = read_all();
    assert_true(config_is_null(config, "distributed.scheduler.worker-ttl"));
    assert_int_equal(config_int(config, "distributed.scheduler.allowed-failures", 0), 3);
    assert_string_equal(config_text(config, "distributed.comm.compression", ""), "zstd");
    assert_true(isinf(config_seconds(config, "distributed.scheduler.worker-ttl", INFINITY)));
    config_destroy(config);
}

/* A later value that is no mapping does not take a mapping's place: so does dask.config.collect. */
static void test_mapping_stays(void **state)
{
    struct place *place = *state;
    write_file(place, "root/a.yaml", "a: {b: 1}\nc: 1\n");
    write_file(place, "named/a.yaml", "a: null\nc: {d: 2}\n");
    struct config *config = read_all();
    assert_int_equal(config_int(config, "a.b", 0), 1);
    assert_int_equal(config_int(config, "c.d", 0), 2);
    config_destroy(config);
}

/* Variables stand above files; a value is a Python literal, or else text. */
static void test_variables(void **state)
{
    struct place *place = *state;
    write_file(place, "named/a.yaml", "a: {b-c: 1, d: 2}\n");
    setenv("DASK_A__B_C", "3", 1);
    setenv("DASK_NONE", "None", 1);
    setenv("DASK_NULL", "null", 1);
    setenv("DASK_TRUE", "True", 1);
    setenv("DASK_TEXT", "tcp://[::1]:8786", 1);
    setenv("DASK_COLON", "a: b", 1);
    setenv("DASK_LIST", "['x', 'y']", 1);
    setenv("DASK_MAP__IN", "{'p': 1}", 1);
    setenv("DASK_EMPTY", "", 1);
    setenv("DASKNOT", "1", 1);
    struct config *config = read_all();
    const char *item;
    assert_int_equal(config_int(config, "a.b-c", 0), 3);
    assert_int_equal(config_int(config, "a.d", 0), 2);
    assert_true(config_is_null(config, "none"));
    assert_true(config_is_null(config, "null"));
    assert_true(config_bool(config, "true", false));
    assert_string_equal(config_text(config, "text", ""), "tcp://[::1]:8786");
    assert_string_equal(config_text(config, "colon", ""), "a: b");
    assert_true(config_item(config, "list", 1, &item));
    assert_string_equal(item, "y");
    assert_false(config_item(config, "list", 2, &item));
    assert_int_equal(config_int(config, "map.in.p", 0), 1);
    assert_string_equal(config_text(config, "empty", "absent"), "");
    config_destroy(config);
}

/* A parent process hands its whole configuration on: below variables, above files. */
static void test_inherited(void **state)
{
    struct place *place = *state;
    write_file(place, "named/a.yaml", "a: {b: 1, c: 1, d: 1}\n");
    /* {"a": {"b": 2, "c": 2}} */
    setenv("DASK_INTERNAL_INHERIT_CONFIG", "eyJhIjogeyJiIjogMiwgImMiOiAyfX0=", 1);
    setenv("DASK_A__C", "3", 1);
    struct config *config = read_all();
    assert_int_equal(config_int(config, "a.b", 0), 2);
    assert_int_equal(config_int(config, "a.c", 0), 3);
    assert_int_equal(config_int(config, "a.d", 0), 1);
    config_destroy(config);
    setenv("DASK_INTERNAL_INHERIT_CONFIG", "WzFd", 1); /* [1] */
    expect_refused("DASK_INTERNAL_INHERIT_CONFIG");
    setenv("DASK_INTERNAL_INHERIT_CONFIG", "eyJh", 1); /* {"a */
    expect_refused("DASK_INTERNAL_INHERIT_CONFIG");
}

/* Old names still work; the new one is stronger within one file. */
static void test_renamed(void **state)
{
    struct place *place = *state;
    write_file(place, "root/a.yaml",
               "allowed-failures: 9\nbandwidth: 5\n"
               "distributed: {scheduler: {bandwidth: 6, transition-log-length: 7}}\n");
    struct config *config = read_all();
    assert_int_equal(config_int(config, "distributed.scheduler.allowed-failures", 0), 9);
    assert_int_equal(config_int(config, "distributed.scheduler.bandwidth", 0), 6);
    assert_int_equal(config_int(config, "distributed.admin.low-level-log-length", 0), 7);
    assert_int_equal(config_int(config, "allowed-failures", -1), -1);
    config_destroy(config);
}

/* Anchors, aliases and merge keys, as PyYAML reads them. */
static void test_aliases(void **state)
{
    struct place *place = *state;
    write_file(place, "named/a.yaml",
               "base: &base {x: 1, y: 1}\n"
               "text: &text hello\n"
               "copy: *text\n"
               "more:\n  y: 2\n  <<: *base\n"
               "both:\n  <<: [{x: 3}, *base]\n");
    struct config *config = read_all();
    assert_string_equal(config_text(config, "copy", ""), "hello");
    assert_int_equal(config_int(config, "more.x", 0), 1);
    assert_int_equal(config_int(config, "more.y", 0), 2);
    assert_int_equal(config_int(config, "both.x", 0), 3);
    assert_int_equal(config_int(config, "both.y", 0), 1);
    assert_int_equal(config_int(config, "base.y", 0), 1);
    config_destroy(config);
}

/* A file that is not YAML, or no mapping, is named, with the line; the start is refused. */
static void test_malformed(void **state)
{
    static const struct {
        const char *yaml, *why;
    } cases[] = {
        {"a: [1\nb: 2\n", "a.yaml: line"},
        {"- 1\n- 2\n", "a.yaml: settings must be a mapping"},
        {"just text\n", "a.yaml: settings must be a mapping"},
        {"a: *nowhere\n", "alias"},
        {"{a: 1}: 2\n", "key must be a scalar"},
        {"<<: 5\n", "'<<' needs a mapping"},
        {"a: \"\\q\"\n", "line 1"},
        {"\tb: 1\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(*state, "named/a.yaml", cases[i].yaml);
        expect_refused(cases[i].why);
    }
}

/* Files made to hurt: nested a thousand deep, and aliases of aliases that would be a billion values. */
static void test_hostile(void **state)
{
    struct text yaml = {0};
    text_add_cstr(&yaml, "a: ");
    for (int i = 0; i < 1000; i++) {
        text_add_char(&yaml, '[');
    }
    write_file(*state, "named/a.yaml", text_cstr(&yaml));
    expect_refused("nested too deep");
    text_clear(&yaml);
    text_add_cstr(&yaml, "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for (int i = 1; i < 10; i++) {
        text_printf(&yaml, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++) {
            text_printf(&yaml, "%s*a%d", j == 0 ? "" : ", ", i - 1);
        }
        text_add_cstr(&yaml, "]\n");
    }
    write_file(*state, "named/a.yaml", text_cstr(&yaml));
    expect_refused("too many values");
    text_fini(&yaml);
}

/* A file that may not be read is passed over, as Dask does. */
static void test_unreadable(void **state)
{
    struct place *place = *state;
    make_folder(place, "named/b.yaml"); /* reading a folder fails for root as well */
    write_file(place, "named/a.yaml", "x: 1\n");
    struct config *config = read_all();
    assert_int_equal(config_int(config, "x", 0), 1);
    config_destroy(config);
}

/* Values of each kind; one of the wrong kind counts as missing. */
static void test_kinds(void **state)
{
    write_file(*state, "named/a.yaml",
               "int: 12\nfloat: 1.5\nyes: yes\noff: Off\ntext: hello\nttl: 5 minutes\n"
               "ms: 500ms\nsize: 1kiB\ninf: .inf\nnever: false\nmap: {a: 1}\nlist: [a, b]\n"
               "quoted: \"12\"\n");
    struct config *config = read_all();
    const char *key, *value;
    assert_int_equal(config_int(config, "int", 0), 12);
    assert_true(config_float(config, "float", 0) == 1.5);
    assert_true(config_bool(config, "yes", false));
    assert_false(config_bool(config, "off", true));
    assert_int_equal(config_int(config, "text", 3), 3);
    assert_true(config_bool(config, "text", true));
    assert_true(config_seconds(config, "ttl", 0) == 300);
    assert_true(config_seconds(config, "ms", 0) == 0.5);
    assert_true(config_seconds(config, "text", 4) == 4);
    assert_true(config_bytes(config, "size", 0) == 1024);
    assert_true(isinf(config_float(config, "inf", 0)));
    assert_true(isinf(config_seconds(config, "never", INFINITY)));
    assert_string_equal(config_text(config, "map", "absent"), "absent");
    assert_true(config_child(config, "map", 0, &key, &value));
    assert_string_equal(key, "a");
    assert_string_equal(value, "1");
    assert_false(config_child(config, "map", 1, &key, &value));
    assert_string_equal(config_text(config, "quoted", ""), "12");
    config_destroy(config);
}

/* What the command line says stands above all, and makes the mappings it needs. */
static void test_set(void **state)
{
    write_file(*state, "named/a.yaml", "a: {b: 1}\nc: text\n");
    const char *const modules[] = {"one", "[two]", NULL};
    const char *item;
    struct config *config = read_all();
    config_set(config, "a.b", "2");
    config_set(config, "c.d.e", "3s");
    config_set_list(config, "distributed.scheduler.preload", modules);
    assert_int_equal(config_int(config, "a.b", 0), 2);
    assert_true(config_seconds(config, "c.d.e", 0) == 3);
    assert_true(config_item(config, "distributed.scheduler.preload", 1, &item));
    assert_string_equal(item, "[two]");
    assert_string_equal(config_variable(config, 0), "DASK_A__B=2");
    assert_string_equal(config_variable(config, 1), "DASK_C__D__E=3s");
    assert_string_equal(config_variable(config, 2),
                        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD=[\"one\", \"[two]\"]");
    assert_null(config_variable(config, 3));
    config_destroy(config);
}

/* A subtree goes to the planner as msgpack: kinds as PyYAML would have them. */
static void test_write(void **state)
{
    write_file(*state, "named/a.yaml", "a: [1, '1', 2.5, true, null, x]\n");
    struct text out = {0}, shown = {0};
    struct config *config = read_all();
    config_write(config, "a", &out);
    msgpack_print(&shown, text_span(&out), 200);
    assert_string_equal(text_cstr(&shown), "[1, '1', 2.5, True, None, 'x']");
    text_clear(&out);
    config_write(config, "missing", &out);
    assert_int_equal(out.size, 1);
    text_fini(&out);
    text_fini(&shown);
    config_destroy(config);
}

static struct scheduler_config read_core(const struct place *place, const char *yaml)
{
    struct scheduler_config core;
    write_file(place, "named/a.yaml", yaml);
    struct config *config = read_all();
    core_config_read(config, &core);
    core_config_fini(&core);
    config_destroy(config);
    return core;
}

/* The settings that decide: Dask's defaults, then values that switch something off. */
static void test_core(void **state)
{
    struct scheduler_config core = read_core(*state, "");
    assert_true(core.worker_saturation == 1.1 && core.worker_ttl == 300 &&
                core.amm_reduce_replicas);
    assert_true(core.memory_terminate && core.work_stealing);
    core = read_core(
        *state, "distributed:\n  scheduler:\n    worker-ttl: null\n    worker-saturation: inf\n"
                "    active-memory-manager: {policies: []}\n"
                "  worker: {memory: {terminate: false}}\n");
    assert_true(isinf(core.worker_ttl) && isinf(core.worker_saturation));
    assert_false(core.amm_reduce_replicas);
    assert_false(core.memory_terminate);
    core = read_core(*state,
                     "distributed:\n  scheduler:\n    worker-ttl: 0\n    worker-saturation: -1\n"
                     "    active-memory-manager:\n      policies:\n"
                     "      - class: distributed.active_memory_manager.ReduceReplicas\n"
                     "      - class: mine.Own\n  worker: {memory: {terminate: null}}\n");
    assert_true(isinf(core.worker_ttl) && core.worker_saturation == 1.1);
    assert_true(core.amm_reduce_replicas);
    assert_false(core.memory_terminate);
}

/* A user's expectations of task durations add to Dask's own. */
static void test_durations(void **state)
{
    struct scheduler_config core;
    write_file(*state, "named/a.yaml",
               "distributed: {scheduler: {default-task-durations: "
               "{inc: 1ms, split-stage: 2s, bad: soon}}}\n");
    struct config *config = read_all();
    core_config_read(config, &core);
    assert_int_equal(core.default_task_duration_count, 5);
    assert_true(span_equal_text(core.default_task_durations[0].name, "rechunk-split"));
    assert_true(core.default_task_durations[0].number == 1e-6);
    assert_true(core.default_task_durations[3].number == 2);
    assert_true(span_equal_text(core.default_task_durations[4].name, "inc"));
    core_config_fini(&core);
    config_destroy(config);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing),
        TEST(test_order_of_files),
        TEST(test_order_in_a_folder),
        TEST(test_named_file),
        TEST(test_merge),
        TEST(test_mapping_stays),
        TEST(test_variables),
        TEST(test_inherited),
        TEST(test_renamed),
        TEST(test_aliases),
        TEST(test_malformed),
        TEST(test_hostile),
        TEST(test_unreadable),
        TEST(test_kinds),
        TEST(test_core),
        TEST(test_durations),
        TEST(test_set),
        TEST(test_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
