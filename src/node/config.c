/* config.c: settings from files, the environment and the command line; and typed looks at them. */
#include "node/config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/vec.h"
#include "io/io.h"
#include "node/config_tree.h"
#include "wire/msgpack.h"

#define LOGGER "distributed.config"
#define FILE_BYTES_MAX ((size_t)4 * 1024 * 1024)

extern char **environ;

struct config {
    struct config_node *root;
    struct VEC(char *) variables; /* what was set explicitly */
};

/* ---- trees ------------------------------------------------------------------------------------ */

/* Settings that had another name once move to their new one. */
static void rename_old(struct config_node *tree)
{
    static const struct {
        const char *old, *new;
    } names[] = {
#define RENAMED(old, new) {old, new},
#include "node/config_renamed.def"
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct config_node *value = config_node_take(tree, names[i].old);
        if (value == NULL) {
            continue;
        }
        log_warning(LOGGER, "Setting '%s' is called '%s' now", names[i].old, names[i].new);
        if (config_node_walk(tree, names[i].new, false) == NULL) {
            config_node_put_path(tree, names[i].new, value);
        } else {
            config_node_destroy(value);
        }
    }
}

/* Lay what one source holds (taken) over what is there. */
static int take_tree(struct config *config, struct config_node *tree, struct text *why)
{
    if (tree->kind == CONFIG_MAP) {
        rename_old(tree);
        config->root = config_node_merge(config->root, tree);
        return OK;
    }
    bool is_empty = tree->kind == CONFIG_NULL;
    config_node_destroy(tree);
    if (!is_empty) {
        text_add_cstr(why, "settings must be a mapping, 'name: value'");
    }
    return is_empty ? OK : ERR_CONFIG;
}

/* ---- files ------------------------------------------------------------------------------------ */

static int read_file(struct config *config, const char *path, struct text *why)
{
    struct buf *content;
    struct text problem = {0};
    int code = io_file_read(path, FILE_BYTES_MAX, &content, &problem);
    if (code == ERR_IO || code == ERR_NOT_FOUND) {
        log_warning(LOGGER, "%s; the file is passed over", text_cstr(&problem));
        code = OK; /* as Dask does */
    } else if (code == OK) {
        struct config_node *tree;
        code = config_yaml_parse(span_of(content->data, content->size), &tree, &problem);
        buf_unref(content);
        if (code == OK) {
            code = take_tree(config, tree, &problem);
        }
    }
    if (code != OK) {
        text_printf(why, "%s: %s", path, text_cstr(&problem));
    }
    text_fini(&problem);
    return code;
}

static bool is_yaml_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcasecmp(dot, ".yaml") == 0 || strcasecmp(dot, ".yml") == 0 ||
                           strcasecmp(dot, ".json") == 0);
}

static int yaml_only(const struct dirent *entry)
{
    return is_yaml_name(entry->d_name);
}

/* A file, or the YAML files of a directory by name; what is not there is passed over. */
static int read_path(struct config *config, const char *path, struct text *why)
{
    struct dirent **names;
    int count = scandir(path, &names, yaml_only, alphasort);
    if (count < 0) {
        return errno == ENOTDIR ? read_file(config, path, why) : OK;
    }
    int code = OK;
    for (int i = 0; i < count; i++) {
        struct text file = {0};
        text_printf(&file, "%s/%s", path, names[i]->d_name);
        if (code == OK) {
            code = read_file(config, text_cstr(&file), why);
        }
        text_fini(&file);
        free(names[i]); /* scandir's own */
    }
    free(names);
    return code;
}

static int read_relative(struct config *config, const char *base, const char *rest,
                         struct text *why)
{
    struct text path = {0};
    text_printf(&path, "%s%s", base, rest);
    int code = read_path(config, text_cstr(&path), why);
    text_fini(&path);
    return code;
}

/* Where Dask's Python is installed, as far as that can be known without asking it: the environment that is
 * active, or the one whose bin/ this program lies in. */
static void find_prefix(struct text *out)
{
    const char *active = getenv("VIRTUAL_ENV");
    active = active != NULL ? active : getenv("CONDA_PREFIX");
    if (active != NULL) {
        text_add_cstr(out, active);
        return;
    }
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size < 0 ? 0 : size] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL && slash - program >= 4 && strncmp(slash - 4, "/bin", 4) == 0) {
        text_add(out, span_of(program, (size_t)(slash - 4 - program)));
    }
}

static int read_files(struct config *config, struct text *why)
{
    const char *root = getenv("DASK_ROOT_CONFIG");
    const char *home = getenv("HOME");
    const char *named = getenv("DASK_CONFIG");
    struct text prefix = {0};
    find_prefix(&prefix);
    int code = read_path(config, root == NULL ? "/etc/dask" : root, why);
    if (code == OK && prefix.size > 0) {
        code = read_relative(config, text_cstr(&prefix), "/etc/dask", why);
    }
    if (code == OK && home != NULL) {
        code = read_relative(config, home, "/.config/dask", why);
    }
    if (code == OK && named != NULL) {
        code = read_path(config, named, why);
    }
    text_fini(&prefix);
    return code;
}

/* ---- environment ------------------------------------------------------------------------------ */

/* A Python literal, or else the text as it is. Lists and dicts are read as YAML's flow values, which they
 * nearly are. */
static struct config_node *read_value(const char *value)
{
    struct config_node *node;
    struct text why = {0};
    if (strcasecmp(value, "none") == 0 || strcasecmp(value, "null") == 0) {
        return config_node_create(CONFIG_NULL);
    }
    bool is_flow = *value != '\0' && strchr("[{'\"", *value) != NULL;
    if (!is_flow || config_yaml_parse(span_of_text(value), &node, &why) != OK) {
        node = config_node_create(CONFIG_SCALAR);
        node->text = mem_copy(value, strlen(value) + 1);
    }
    text_fini(&why);
    return node;
}

/* take_variable, the other way round. */
static void note_variable(struct config *config, const char *name, const char *value)
{
    struct text variable = {0};
    text_add_cstr(&variable, "DASK_");
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '.') {
            text_add_cstr(&variable, "__");
        } else {
            text_add_char(&variable, *c == '-'                  ? '_'
                                     : (*c >= 'a' && *c <= 'z') ? (char)(*c - 32)
                                                                : *c);
        }
    }
    text_printf(&variable, "=%s", value);
    vec_push(&config->variables, mem_copy(variable.data, variable.size + 1));
    text_fini(&variable);
}

void config_set(struct config *config, const char *name, const char *value)
{
    config_node_put_path(config->root, name, read_value(value));
    note_variable(config, name, value);
}

/* A string literal as Python writes it. */
static void write_literal(struct text *out, const char *text)
{
    text_add_char(out, '"');
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\' || (uint8_t)*c < ' ') {
            text_printf(out, "\\x%02x", (unsigned)*c);
        } else {
            text_add_char(out, *c);
        }
    }
    text_add_char(out, '"');
}

void config_set_list(struct config *config, const char *name, const char *const *values)
{
    struct config_node *list = config_node_create(CONFIG_LIST);
    struct text literal = {0};
    text_add_char(&literal, '[');
    for (; *values != NULL; values++) {
        struct config_node *item = config_node_create(CONFIG_SCALAR);
        item->is_quoted = true;
        item->text = mem_copy(*values, strlen(*values) + 1);
        config_node_add(list, item);
        text_add_cstr(&literal, literal.size > 1 ? ", " : "");
        write_literal(&literal, *values);
    }
    text_add_char(&literal, ']');
    config_node_put_path(config->root, name, list);
    note_variable(config, name, text_cstr(&literal));
    text_fini(&literal);
}

const char *config_variable(const struct config *config, uint32_t index)
{
    return index < config->variables.count ? config->variables.items[index] : NULL;
}

/* DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL → distributed.scheduler.worker-ttl */
static void take_variable(struct config_node *tree, const char *variable)
{
    const char *equals = strchr(variable, '=');
    if (strncmp(variable, "DASK_", 5) != 0 || equals == NULL ||
        strncmp(variable, "DASK_CONFIG=", 12) == 0 ||
        strncmp(variable, "DASK_ROOT_CONFIG=", 17) == 0 ||
        strncmp(variable, "DASK_INTERNAL_INHERIT_CONFIG=", 29) == 0) {
        return;
    }
    struct text name = {0};
    for (const char *c = variable + 5; c < equals; c++) {
        bool is_border = c[0] == '_' && c + 1 < equals && c[1] == '_';
        text_add_char(&name, is_border                  ? '.'
                             : (*c >= 'A' && *c <= 'Z') ? (char)(*c + 32)
                             : *c == '_'                ? '-'
                                                        : *c);
        c += is_border;
    }
    config_node_put_path(tree, text_cstr(&name), read_value(equals + 1));
    text_fini(&name);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at != NULL             ? (int)(at - digits)
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

/* The whole configuration of a parent process: base64 of JSON, which YAML reads. */
static int read_inherited(const char *inherited, struct config_node **out_tree, struct text *why)
{
    struct text json = {0};
    struct text problem = {0};
    uint32_t bits = 0;
    int bit_count = 0;
    for (const char *c = inherited; base64_digit(*c) >= 0; c++) {
        bits = (bits << 6 | (uint32_t)base64_digit(*c)) & 0xffffff;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            text_add_char(&json, (char)(bits >> bit_count & 0xff));
        }
    }
    struct config_node *tree;
    int code = config_yaml_parse(text_span(&json), &tree, &problem);
    if (code == OK && tree->kind != CONFIG_MAP) {
        text_add_cstr(&problem, "it must hold a mapping");
        config_node_destroy(tree);
        code = ERR_CONFIG;
    }
    if (code == OK) {
        *out_tree = tree;
    } else {
        text_printf(why, "DASK_INTERNAL_INHERIT_CONFIG: %s", text_cstr(&problem));
    }
    text_fini(&problem);
    text_fini(&json);
    return code;
}

static int read_environment(struct config *config, struct text *why)
{
    const char *inherited = getenv("DASK_INTERNAL_INHERIT_CONFIG");
    struct config_node *tree = NULL;
    int code = inherited == NULL ? OK : read_inherited(inherited, &tree, why);
    if (code != OK) {
        return code;
    }
    tree = tree != NULL ? tree : config_node_create(CONFIG_MAP);
    for (char **variable = environ; *variable != NULL; variable++) {
        take_variable(tree, *variable);
    }
    return take_tree(config, tree, why);
}

int config_create(struct config **out_config, struct text *why)
{
    struct config *config = mem_zalloc(1, sizeof *config);
    config->root = config_node_create(CONFIG_MAP);
    int code = read_files(config, why);
    if (code == OK) {
        code = read_environment(config, why);
    }
    if (code != OK) {
        config_destroy(config);
        return ERR_CONFIG;
    }
    *out_config = config;
    return OK;
}

void config_destroy(struct config *config)
{
    config_node_destroy(config->root);
    for (uint32_t i = 0; i < config->variables.count; i++) {
        mem_free(config->variables.items[i]);
    }
    vec_fini(&config->variables);
    mem_free(config);
}

/* ---- looking ---------------------------------------------------------------------------------- */

static const struct config_node *find(const struct config *config, const char *name)
{
    return config_node_walk(config->root, name, false);
}

/* The scalar's text; NULL: missing, null, or no scalar (which is said). */
static const char *scalar(const struct config *config, const char *name)
{
    const struct config_node *node = find(config, name);
    if (node == NULL || node->kind == CONFIG_NULL) {
        return NULL;
    }
    if (node->kind != CONFIG_SCALAR) {
        log_warning(LOGGER, "Setting '%s' must be a single value; it is ignored", name);
        return NULL;
    }
    return node->text;
}

static void complain(const char *name, const char *value, const char *wanted)
{
    log_warning(LOGGER, "Setting '%s' is '%s', which is not %s; it is ignored", name, value,
                wanted);
}

const char *config_text(const struct config *config, const char *name, const char *absent)
{
    const char *text = scalar(config, name);
    return text == NULL ? absent : text;
}

double config_float(const struct config *config, const char *name, double absent)
{
    const char *text = scalar(config, name);
    char *end;
    if (text == NULL) {
        return absent;
    }
    if (strcasecmp(text, ".inf") == 0) {
        return INFINITY;
    }
    double value = strtod(text, &end);
    if (end == text || *end != '\0') {
        complain(name, text, "a number");
        return absent;
    }
    return value;
}

int64_t config_int(const struct config *config, const char *name, int64_t absent)
{
    double value = config_float(config, name, (double)absent);
    if (!(value > -9e18 && value < 9e18)) {
        complain(name, scalar(config, name), "an integer in range");
        return absent;
    }
    return (int64_t)value;
}

static bool is_word(const char *text, const char *const *words)
{
    while (*words != NULL && strcasecmp(text, *words) != 0) {
        words++;
    }
    return *words != NULL;
}

static bool is_false(const char *text)
{
    return is_word(text, (const char *const[]){"false", "no", "off", "0", NULL});
}

bool config_bool(const struct config *config, const char *name, bool absent)
{
    const char *text = scalar(config, name);
    if (text == NULL) {
        return absent;
    }
    if (is_false(text)) {
        return false;
    }
    if (is_word(text, (const char *const[]){"true", "yes", "on", "1", NULL})) {
        return true;
    }
    complain(name, text, "true or false");
    return absent;
}

bool config_is_false(const struct config *config, const char *name)
{
    const char *text = scalar(config, name);
    return text != NULL && is_false(text);
}

double config_seconds(const struct config *config, const char *name, double absent)
{
    const char *text = scalar(config, name);
    double seconds;
    if (text == NULL || (isinf(absent) && is_false(text))) {
        return absent;
    }
    if (strcasecmp(text, "inf") == 0 || strcasecmp(text, ".inf") == 0) {
        return INFINITY;
    }
    if (!text_parse_seconds(span_of_text(text), &seconds)) {
        complain(name, text, "a duration such as 30s or 100 ms");
        return absent;
    }
    return seconds;
}

double config_bytes(const struct config *config, const char *name, double absent)
{
    const char *text = scalar(config, name);
    double bytes;
    if (text == NULL) {
        return absent;
    }
    if (!text_parse_bytes(span_of_text(text), &bytes)) {
        complain(name, text, "a size such as 64 MiB");
        return absent;
    }
    return bytes;
}

bool config_is_null(const struct config *config, const char *name)
{
    const struct config_node *node = find(config, name);
    return node != NULL && node->kind == CONFIG_NULL;
}

bool config_child(const struct config *config, const char *name, uint32_t index,
                  const char **out_key, const char **out_value)
{
    const struct config_node *node = find(config, name);
    if (node == NULL || node->kind != CONFIG_MAP || index >= node->count) {
        return false;
    }
    *out_key = node->keys[index];
    *out_value = node->items[index]->kind == CONFIG_SCALAR ? node->items[index]->text : NULL;
    return true;
}

bool config_item(const struct config *config, const char *name, uint32_t index,
                 const char **out_value)
{
    const struct config_node *node = find(config, name);
    if (node != NULL && node->kind == CONFIG_SCALAR && index == 0) {
        *out_value = node->text;
        return true;
    }
    if (node == NULL || node->kind != CONFIG_LIST || index >= node->count) {
        return false;
    }
    *out_value = node->items[index]->kind == CONFIG_SCALAR ? node->items[index]->text : NULL;
    return true;
}

/* A plain scalar as YAML 1.1 reads it: bool, int, float, else text. */
static void write_scalar(const struct config_node *node, struct text *out)
{
    char *end;
    long long number = strtoll(node->text, &end, 10);
    if (!node->is_quoted && end != node->text && *end == '\0') {
        msgpack_write_int(out, number);
        return;
    }
    double real = strtod(node->text, &end);
    if (!node->is_quoted && end != node->text && *end == '\0') {
        msgpack_write_float(out, real);
    } else if (!node->is_quoted &&
               is_word(node->text, (const char *const[]){"true", "yes", "on", NULL})) {
        msgpack_write_bool(out, true);
    } else if (!node->is_quoted &&
               is_word(node->text, (const char *const[]){"false", "no", "off", NULL})) {
        msgpack_write_bool(out, false);
    } else {
        msgpack_write_str_lossy(out, span_of_text(node->text));
    }
}

static void write_node(const struct config_node *node, struct text *out)
{
    switch (node->kind) {
    case CONFIG_NULL:
        msgpack_write_nil(out);
        break;
    case CONFIG_SCALAR:
        write_scalar(node, out);
        break;
    case CONFIG_LIST:
        msgpack_write_array(out, node->count);
        break;
    case CONFIG_MAP:
        msgpack_write_map(out, node->count);
        break;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        if (node->kind == CONFIG_MAP) {
            msgpack_write_str_lossy(out, span_of_text(node->keys[i]));
        }
        write_node(node->items[i], out);
    }
}

void config_write(const struct config *config, const char *name, struct text *out_msgpack)
{
    const struct config_node *node = find(config, name);
    if (node == NULL) {
        msgpack_write_nil(out_msgpack);
    } else {
        write_node(node, out_msgpack);
    }
}
