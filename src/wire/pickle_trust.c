/* pickle_trust.c: see the header. Of what came by value, functions and classes are only data to whoever
 * loads them, made by cloudpickle's own constructors; an instance of such a class is too, unless the
 * class has a method that loading calls. */
#include "wire/pickle_trust.h"

#include <stdlib.h>

#include "wire/msgpack.h"

#define CLOUDPICKLE "cloudpickle.cloudpickle"

enum { NAMES_MAX = 1 << 16 }; /* a client can make names up as long as the planner finds them */

/* Packages of Python itself, and those that dask cannot be without. Sorted. */
static const char *const PACKAGES[] = {
    "_asyncio",     "_codecs",
    "_collections", "_datetime",
    "_decimal",     "_functools",
    "_hashlib",     "_io",
    "_operator",    "_pickle",
    "_random",      "_socket",
    "_struct",      "_thread",
    "_weakref",     "abc",
    "array",        "ast",
    "asyncio",      "base64",
    "binascii",     "bisect",
    "builtins",     "calendar",
    "click",        "cloudpickle",
    "cmath",        "codecs",
    "collections",  "colorsys",
    "concurrent",   "contextlib",
    "contextvars",  "copy",
    "copyreg",      "csv",
    "dask",         "dataclasses",
    "datetime",     "decimal",
    "difflib",      "distributed",
    "email",        "enum",
    "fnmatch",      "fractions",
    "fsspec",       "functools",
    "gc",           "getpass",
    "glob",         "gzip",
    "hashlib",      "heapq",
    "hmac",         "html",
    "http",         "importlib",
    "inspect",      "io",
    "ipaddress",    "itertools",
    "jinja2",       "json",
    "keyword",      "linecache",
    "locale",       "locket",
    "logging",      "lzma",
    "math",         "mimetypes",
    "msgpack",      "multiprocessing",
    "numbers",      "operator",
    "os",           "packaging",
    "partd",        "pathlib",
    "pickle",       "pickletools",
    "platform",     "posix",
    "posixpath",    "pprint",
    "psutil",       "queue",
    "random",       "re",
    "secrets",      "shlex",
    "shutil",       "signal",
    "socket",       "sortedcontainers",
    "ssl",          "stat",
    "statistics",   "string",
    "struct",       "subprocess",
    "sys",          "tarfile",
    "tblib",        "tempfile",
    "textwrap",     "threading",
    "time",         "timeit",
    "tlz",          "token",
    "tokenize",     "toolz",
    "tornado",      "traceback",
    "tracemalloc",  "types",
    "typing",       "unicodedata",
    "urllib",       "uuid",
    "warnings",     "weakref",
    "xml",          "yaml",
    "zict",         "zipfile",
    "zlib",         "zoneinfo",
};

/* Parts of those packages that need more: test helpers, and collections over NumPy and pandas. */
static const char *const OPTIONAL_PARTS[] = {"tests", "array", "dataframe"};

/* Packages whose objects load whatever is in them, once their names are there. Of others, an object's own data can
 * make loading fail (a __setstate__ that raises), so that each must be tried. */
static const char *const STEADY[] = {
    "numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn", "sparse", "xarray",
};

/* Methods that loading an instance calls. */
static const char *const HOOKS[] = {
    "__setstate__", "__new__", "__setattr__", "__getattr__", "__getattribute__",
};

static int compare_package(const void *key, const void *entry)
{
    const struct span *name = key;
    return span_compare(*name, span_of_text(*(const char *const *)entry));
}

/* The first part of a dotted name, taken off it. */
static struct span take_part(struct span *name)
{
    const uint8_t *dot = name->size == 0 ? NULL : memchr(name->data, '.', name->size);
    size_t size = dot == NULL ? name->size : (size_t)(dot - name->data);
    struct span part = span_of(name->data, size);
    size_t taken = dot == NULL ? size : size + 1;
    *name = span_of(name->data + taken, name->size - taken);
    return part;
}

static bool is_everywhere(struct span module)
{
    struct span rest = module;
    struct span part = take_part(&rest);
    size_t count = sizeof PACKAGES / sizeof *PACKAGES;
    if (bsearch(&part, PACKAGES, count, sizeof *PACKAGES, compare_package) == NULL) {
        return false;
    }
    while (rest.size > 0) {
        part = take_part(&rest);
        for (size_t i = 0; i < sizeof OPTIONAL_PARTS / sizeof *OPTIONAL_PARTS; i++) {
            if (span_equal_text(part, OPTIONAL_PARTS[i])) {
                return false;
            }
        }
    }
    return true;
}

static bool is_steady(struct span module)
{
    struct span package = take_part(&module);
    for (size_t i = 0; i < sizeof STEADY / sizeof *STEADY; i++) {
        if (span_equal_text(package, STEADY[i])) {
            return true;
        }
    }
    return false;
}

/* A walk over a tree's objects in the order in which they were made. */
struct search {
    const struct pickle_tree *tree;
    struct text *out;
    struct map seen;       /* names in out */
    pickle_id plain_class; /* the newest class by value that has no hooks */
};

/* The name at `id`, if it is foreign; again, and marked, if an object is made by it and need not load. */
static int add_global(struct search *search, pickle_id id, enum pickle_use use)
{
    const struct pickle_tree *tree = search->tree;
    if (pickle_get(tree, id)->count != 2 ||
        pickle_kind(tree, pickle_child(tree, id, 0)) != PICKLE_TEXT ||
        pickle_kind(tree, pickle_child(tree, id, 1)) != PICKLE_TEXT) {
        return ERR_UNSUPPORTED;
    }
    struct span module = pickle_payload(tree, pickle_child(tree, id, 0));
    struct span name = pickle_payload(tree, pickle_child(tree, id, 1));
    if (is_everywhere(module) || (use != PICKLE_FINDS && is_steady(module))) {
        return 0;
    }
    if (!msgpack_is_utf8(module) || !msgpack_is_utf8(name)) {
        return ERR_UNSUPPORTED;
    }
    size_t start = search->out->size;
    msgpack_write_array(search->out, use == PICKLE_FINDS ? 2 : 3);
    msgpack_write_str(search->out, module);
    msgpack_write_str(search->out, name);
    if (use != PICKLE_FINDS) {
        msgpack_write_uint(search->out, use);
    }
    bool added;
    struct span entry = text_span(search->out);
    map_put(&search->seen, span_of(entry.data + start, entry.size - start), &added);
    if (!added) {
        search->out->size = start;
    }
    return 0;
}

/* The dict of attributes that cloudpickle gives to the class at `id`. */
static bool find_attributes(const struct pickle_tree *tree, pickle_id id, pickle_id *out_attributes)
{
    uint32_t post = pickle_get(tree, id)->post;
    if (post == 0 || tree->posts.items[post - 1].kind != PICKLE_SIDE) {
        return false;
    }
    pickle_id call = tree->children.items[tree->posts.items[post - 1].first];
    if (!pickle_is_call(tree, call, CLOUDPICKLE, "_class_setstate", 2)) {
        return false;
    }
    pickle_id state = pickle_argument(tree, call, 1);
    if (pickle_kind(tree, state) != PICKLE_TUPLE || pickle_get(tree, state)->count == 0) {
        return false;
    }
    *out_attributes = pickle_child(tree, state, 0);
    return pickle_kind(tree, *out_attributes) == PICKLE_DICT;
}

static bool all_global(const struct pickle_tree *tree, pickle_id tuple)
{
    const struct pickle_node *node = pickle_get(tree, tuple);
    bool all = node->kind == PICKLE_TUPLE;
    for (uint32_t i = 0; all && i < node->count; i++) {
        all = pickle_kind(tree, pickle_child(tree, tuple, i)) == PICKLE_GLOBAL;
    }
    return all;
}

/* A class by value: _make_skeleton_class(metaclass, name, bases, …), of which loading an instance runs
 * nothing that came with it. */
static bool is_plain_class(const struct pickle_tree *tree, pickle_id id)
{
    enum { METACLASS, BASES = 2, ARGUMENTS = 6 };
    pickle_id attributes;
    if (!pickle_is_call(tree, id, CLOUDPICKLE, "_make_skeleton_class", ARGUMENTS) ||
        pickle_kind(tree, pickle_argument(tree, id, METACLASS)) != PICKLE_GLOBAL ||
        !all_global(tree, pickle_argument(tree, id, BASES)) ||
        !find_attributes(tree, id, &attributes)) {
        return false;
    }
    for (size_t i = 0; i < sizeof HOOKS / sizeof *HOOKS; i++) {
        pickle_id method;
        if (pickle_dict_find(tree, attributes, HOOKS[i], &method)) {
            return false;
        }
    }
    return true;
}

/* Whether loading the object that `id` calls or instantiates is safe beyond its names. */
static bool is_safe_callable(struct search *search, pickle_id id, bool is_class)
{
    const struct pickle_tree *tree = search->tree;
    if (id == search->plain_class) {
        return true;
    }
    if (!is_class) { /* how cloudpickle fetches types that have no name */
        return pickle_is_call(tree, id, CLOUDPICKLE, "_builtin_type", 1);
    }
    if (!is_plain_class(tree, id)) {
        return false;
    }
    search->plain_class = id;
    return true;
}

static int look_at(struct search *search, pickle_id id)
{
    switch (pickle_kind(search->tree, id)) {
    case PICKLE_GLOBAL:
        return add_global(search, id, PICKLE_FINDS);
    case PICKLE_REDUCE:
    case PICKLE_NEWOBJ:
    case PICKLE_NEWOBJ_EX: {
        bool is_class = pickle_kind(search->tree, id) != PICKLE_REDUCE;
        pickle_id callable = pickle_child(search->tree, id, 0);
        if (pickle_kind(search->tree, callable) == PICKLE_GLOBAL) {
            return add_global(search, callable, is_class ? PICKLE_INSTANTIATES : PICKLE_CALLS);
        }
        return is_safe_callable(search, callable, is_class) ? 0 : ERR_UNSUPPORTED;
    }
    default:
        return 0;
    }
}

int pickle_foreign_names(const struct pickle_tree *tree, struct text *out)
{
    struct search search = {.tree = tree, .out = out};
    int error = 0;
    for (pickle_id id = PICKLE_ID_COUNT; error == 0 && id < tree->nodes.count; id++) {
        error = look_at(&search, id);
    }
    map_fini(&search.seen);
    return error;
}

void pickle_trust_fini(struct pickle_trust *trust)
{
    map_fini(&trust->names);
}

/* Packages are kept in the same map as names; no msgpack array begins as they do. */
static void package_name(struct text *out, struct span package)
{
    text_clear(out);
    text_add_cstr(out, "package ");
    text_add(out, package);
}

void pickle_trust_package(struct pickle_trust *trust, const char *package)
{
    struct text name = {0};
    package_name(&name, span_of_text(package));
    map_put(&trust->names, text_span(&name), NULL);
    text_fini(&name);
}

bool pickle_name_next(struct msgpack_reader *names, struct pickle_name *out_name)
{
    if (msgpack_at_end(names)) {
        return false;
    }
    int error = msgpack_read_value(names, &out_name->entry);
    ASSERT(error == 0);
    struct msgpack_reader entry = msgpack_reader(out_name->entry);
    uint32_t count;
    error = msgpack_read_array(&entry, &count);
    ASSERT(error == 0);
    error = msgpack_read_str(&entry, &out_name->module);
    ASSERT(error == 0);
    error = msgpack_read_str(&entry, &out_name->name);
    ASSERT(error == 0);
    uint64_t use = PICKLE_FINDS;
    error = count == 3 ? msgpack_read_uint(&entry, &use) : 0;
    ASSERT(error == 0);
    out_name->use = (enum pickle_use)use;
    return true;
}

void pickle_trust_add(struct pickle_trust *trust, struct span names, bool are_plain)
{
    struct msgpack_reader reader = msgpack_reader(names);
    struct pickle_name name;
    while (trust->names.count < NAMES_MAX && pickle_name_next(&reader, &name)) {
        if (name.use == PICKLE_FINDS || (name.use == PICKLE_INSTANTIATES && are_plain)) {
            map_put(&trust->names, name.entry, NULL);
        }
    }
}

/* `module` or one of the packages that it is in is trusted. */
static bool in_package(const struct pickle_trust *trust, struct span module)
{
    struct text name = {0};
    struct span rest = module;
    bool found = false;
    while (!found && rest.size > 0) {
        take_part(&rest);
        size_t dot = rest.size > 0 ? 1 : 0;
        package_name(&name, span_of(module.data, module.size - rest.size - dot));
        found = map_find(&trust->names, text_span(&name)) != NULL;
    }
    text_fini(&name);
    return found;
}

bool pickle_trust_covers(const struct pickle_trust *trust, struct span names)
{
    struct msgpack_reader reader = msgpack_reader(names);
    struct pickle_name name;
    while (pickle_name_next(&reader, &name)) {
        if (map_find(&trust->names, name.entry) == NULL && !in_package(trust, name.module)) {
            return false;
        }
    }
    return true;
}
