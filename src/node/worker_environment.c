/* worker_environment.c: the environment of executors, as a stock nanny gives its worker one.
 *
 * What comes first wins: what nanny plugins set, then what must be the same in all workers, then the settings
 * unless our own environment has the variable. Source: distributed nanny.py, Nanny.__init__, WorkerProcess. */
#include <stdlib.h>

#include "node/planner_process.h"
#include "node/worker_internal.h"

/* hash() must agree in all workers of a cluster, stock ones among them: groupby and the like send values by it. */
#define HASH_SEED "6640"
#define PRE_SPAWN "distributed.nanny.pre-spawn-environ"

struct variables {
    struct text texts; /* "NAME=value\0", one after the other */
    uint32_t count;
};

static bool has(const struct variables *variables, struct span name)
{
    const char *at = variables->texts.data;
    for (uint32_t i = 0; i < variables->count; i++, at += strlen(at) + 1) {
        if (strlen(at) > name.size && memcmp(at, name.data, name.size) == 0 &&
            at[name.size] == '=') {
            return true;
        }
    }
    return false;
}

/* Names and values that no environment can hold are left out: they may come from user code. */
static void add(struct variables *variables, struct span name, struct span value)
{
    bool is_odd = name.size == 0 || memchr(name.data, '=', name.size) != NULL ||
                  memchr(name.data, '\0', name.size) != NULL ||
                  (value.size > 0 && memchr(value.data, '\0', value.size) != NULL);
    if (is_odd || has(variables, name)) {
        return;
    }
    text_add(&variables->texts, name);
    text_add_cstr(&variables->texts, "=");
    text_add(&variables->texts, value);
    text_add(&variables->texts, span_of("", 1));
    variables->count++;
}

static void add_unless_inherited(struct variables *variables, const char *name, const char *value)
{
    if (getenv(name) == NULL) {
        add(variables, span_of_text(name), span_of_text(value));
    }
}

/* ---- where they come from ---------------------------------------------------------------------- */

/* {name: value} */
static void add_map(struct variables *variables, struct span map)
{
    struct msgpack_reader reader = msgpack_reader(map);
    struct span name, value;
    uint32_t count;
    int code = msgpack_read_map(&reader, &count);
    for (uint32_t i = 0; code == OK && i < count; i++) {
        code = msgpack_read_str(&reader, &name);
        code = code == OK ? msgpack_read_str(&reader, &value) : code;
        if (code == OK && !span_equal(name, SPAN("PYTHONPATH"))) {
            add(variables, name, value);
        }
    }
}

/* Directories for sys.path: those that the nanny's Python has more than it began with, `package`, those inherited. */
static void add_python_path(struct variables *variables, struct span told, struct span package)
{
    struct text path = {0};
    struct span list, item;
    uint32_t count = 0;
    struct msgpack_reader reader;
    const char *inherited = getenv("PYTHONPATH");
    if (msgpack_find(told, "path", &list) == OK) {
        reader = msgpack_reader(list);
        int code = msgpack_read_array(&reader, &count);
        for (uint32_t i = 0; code == OK && i < count; i++) {
            code = msgpack_read_str(&reader, &item);
            if (code == OK && item.size > 0) {
                text_add(&path, item);
                text_add_cstr(&path, ":");
            }
        }
    }
    if (package.size > 0) {
        text_add(&path, package);
        text_add_cstr(&path, ":");
    }
    text_add_cstr(&path, inherited == NULL ? "" : inherited);
    if (path.size > 0) {
        bool ends_with_colon = path.data[path.size - 1] == ':';
        add(variables, SPAN("PYTHONPATH"), span_of(path.data, path.size - ends_with_colon));
    }
    text_fini(&path);
}

/* A null in the settings takes a default away. */
static bool is_unset(const struct worker_node *worker, const char *wanted)
{
    const char *name, *value;
    for (uint32_t i = 0; config_child(worker->config, PRE_SPAWN, i, &name, &value); i++) {
        if (value == NULL && strcmp(name, wanted) == 0) {
            return true;
        }
    }
    return false;
}

static void add_settings(struct worker_node *worker, struct variables *variables)
{
    static const char *const settings[] = {"distributed.nanny.environ", PRE_SPAWN};
    static const char *const defaults[][2] = {{"MALLOC_TRIM_THRESHOLD_", "65536"},
                                              {"OMP_NUM_THREADS", "1"},
                                              {"MKL_NUM_THREADS", "1"},
                                              {"OPENBLAS_NUM_THREADS", "1"}};
    const char *name, *value;
    for (uint32_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
        for (uint32_t i = 0; config_child(worker->config, settings[s], i, &name, &value); i++) {
            bool is_seed = strcmp(name, "PYTHONHASHSEED") == 0;
            if (value != NULL && is_seed && strcmp(value, "0") != 0) {
                add(variables, span_of_text(name), span_of_text(value));
            } else if (value != NULL && !is_seed) {
                add_unless_inherited(variables, name, value);
            }
        }
    }
    add(variables, SPAN("PYTHONHASHSEED"), SPAN(HASH_SEED));
    for (uint32_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        if (!is_unset(worker, defaults[i][0])) {
            add_unless_inherited(variables, defaults[i][0], defaults[i][1]);
        }
    }
    for (uint32_t i = 0; (value = config_variable(worker->config, i)) != NULL; i++) {
        const char *equals = strchr(value, '=');
        if (equals != NULL) {
            add(variables, span_of(value, (size_t)(equals - value)), span_of_text(equals + 1));
        }
    }
}

const char **worker_environment(struct worker_node *worker, struct span told,
                                struct text *out_python, struct text *out_texts)
{
    struct variables variables = {0};
    struct text package_path = {0};
    struct span map;
    planner_find_python(worker->config, out_python, &package_path);
    if (msgpack_find(told, "environ", &map) == OK) {
        add_map(&variables, map);
    }
    add_python_path(&variables, told, text_span(&package_path));
    add_settings(worker, &variables);
    text_fini(&package_path);
    const char **environment = mem_zalloc(variables.count + 1, sizeof *environment);
    const char *at = variables.texts.data;
    for (uint32_t i = 0; i < variables.count; i++, at += strlen(at) + 1) {
        environment[i] = at;
    }
    *out_texts = variables.texts;
    return environment;
}
