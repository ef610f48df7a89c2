/* pickle_recognise.c: a function is known by its module and its qualified name. Functions of modules
 * are pickled as that; the progress bars' are closures, which cloudpickle writes out:
 *
 *   _make_function(CodeType(…, freevars, cellvars), globals, …), and as a side effect
 *   _function_setstate(function, ({…}, {"__qualname__": …, "__module__": …, "__closure__":
 *   (_make_cell(value), …), …}))
 *
 * Cell i is the variable freevars[i]. */
#include "wire/pickle_recognise.h"

#include "wire/msgpack.h"
#include "wire/pickle_value.h"

#define CLOUDPICKLE "cloudpickle.cloudpickle"
#define PROGRESSBAR "distributed.diagnostics.progressbar"

enum {
    STATE_DEPTH = 2,     /* _function_setstate(function, (dict, dict)) */
    CODE_FIELDS_MIN = 16 /* of CodeType in Python 3.10; freevars and cellvars are its last */
};

static const struct {
    const char *module;
    const char *name;
    enum pickle_known what;
} GLOBALS[] = {
    {"distributed.diagnostics.progress", "AllProgress", PICKLE_ALL_PROGRESS_SETUP},
    {"distributed.diagnostics.progress_stream", "_counts", PICKLE_ALL_PROGRESS_FUNCTION},
    {"distributed.diagnostics.progress_stream", "_teardown", PICKLE_ALL_PROGRESS_TEARDOWN},
    {"distributed.diagnostics.eventstream", "EventStream", PICKLE_EVENT_STREAM_SETUP},
    {"distributed.diagnostics.eventstream", "swap_buffer", PICKLE_EVENT_STREAM_FUNCTION},
    {"distributed.diagnostics.eventstream", "teardown", PICKLE_EVENT_STREAM_TEARDOWN},
};

static const struct {
    const char *name;
    enum pickle_known what;
} CLOSURES[] = {
    {"ProgressBar.listen.<locals>.setup", PICKLE_PROGRESS_SETUP},
    {"ProgressBar.listen.<locals>.function", PICKLE_PROGRESS_FUNCTION},
    {"MultiProgressBar.listen.<locals>.setup", PICKLE_MULTI_PROGRESS_SETUP},
    {"MultiProgressBar.listen.<locals>.function", PICKLE_MULTI_PROGRESS_FUNCTION},
};

/* A function written out by cloudpickle. */
struct closure {
    const struct pickle_tree *tree;
    pickle_id names; /* tuple: freevars */
    pickle_id cells; /* tuple, or None */
    pickle_id state; /* dict: __qualname__ … */
};

static bool is_tuple(const struct pickle_tree *tree, pickle_id id, uint32_t count_min)
{
    const struct pickle_node *node = pickle_get(tree, id);
    return node->kind == PICKLE_TUPLE && node->count >= count_min;
}

static bool read_code(struct closure *closure, pickle_id function)
{
    const struct pickle_tree *tree = closure->tree;
    const struct pickle_node *node = pickle_get(tree, function);
    if (node->kind != PICKLE_REDUCE || !is_tuple(tree, pickle_child(tree, function, 1), 1) ||
        !pickle_is_global(tree, pickle_child(tree, function, 0), CLOUDPICKLE, "_make_function")) {
        return false;
    }
    pickle_id code = pickle_argument(tree, function, 0);
    if (pickle_kind(tree, code) != PICKLE_REDUCE) {
        return false;
    }
    pickle_id fields = pickle_child(tree, code, 1);
    if (!is_tuple(tree, fields, CODE_FIELDS_MIN)) {
        return false;
    }
    closure->names = pickle_child(tree, fields, pickle_get(tree, fields)->count - 2);
    return is_tuple(tree, closure->names, 0);
}

static bool read_closure(struct closure *closure, pickle_id function)
{
    const struct pickle_tree *tree = closure->tree;
    uint32_t post = pickle_get(tree, function)->post;
    if (!read_code(closure, function) || post == 0) {
        return false;
    }
    const struct pickle_post *side = &tree->posts.items[post - 1];
    pickle_id call = tree->children.items[side->first];
    if (side->kind != PICKLE_SIDE ||
        !pickle_is_call(tree, call, CLOUDPICKLE, "_function_setstate", STATE_DEPTH)) {
        return false;
    }
    pickle_id states = pickle_argument(tree, call, 1);
    if (!is_tuple(tree, states, STATE_DEPTH)) {
        return false;
    }
    closure->state = pickle_child(tree, states, 1);
    return pickle_dict_find(tree, closure->state, "__closure__", &closure->cells);
}

static enum pickle_known name_closure(const struct closure *closure)
{
    const struct pickle_tree *tree = closure->tree;
    pickle_id module;
    pickle_id name;
    if (!pickle_dict_find(tree, closure->state, "__module__", &module) ||
        !pickle_dict_find(tree, closure->state, "__qualname__", &name) ||
        !pickle_is_text(tree, module, PROGRESSBAR)) {
        return PICKLE_UNKNOWN;
    }
    for (size_t i = 0; i < sizeof CLOSURES / sizeof *CLOSURES; i++) {
        if (pickle_is_text(tree, name, CLOSURES[i].name)) {
            return CLOSURES[i].what;
        }
    }
    return PICKLE_UNKNOWN;
}

/* The value of the variable `name` that the function refers to. */
static bool find_variable(const struct closure *closure, const char *name, pickle_id *out_value)
{
    const struct pickle_tree *tree = closure->tree;
    uint32_t count = pickle_get(tree, closure->names)->count;
    if (!is_tuple(tree, closure->cells, count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        pickle_id cell = pickle_child(tree, closure->cells, i);
        if (pickle_is_text(tree, pickle_child(tree, closure->names, i), name) &&
            pickle_is_call(tree, cell, CLOUDPICKLE, "_make_cell", 1)) {
            *out_value = pickle_argument(tree, cell, 0);
            return true;
        }
    }
    return false;
}

static bool write_keys(const struct pickle_tree *tree, pickle_id id, struct text *out)
{
    struct pickle_items items;
    pickle_id key;
    if (pickle_kind(tree, id) == PICKLE_DICT || !pickle_items_begin(tree, id, &items)) {
        return false;
    }
    msgpack_write_array(out, pickle_items_count(tree, id));
    while (pickle_items_next(&items, &key)) {
        if (pickle_key_write(tree, key, out) != 0) {
            return false;
        }
    }
    return true;
}

static bool read_group_by(const struct closure *closure, struct pickle_arguments *out)
{
    const struct pickle_tree *tree = closure->tree;
    pickle_id value;
    if (!find_variable(closure, "group_by", &value)) {
        return false;
    }
    out->by_span = pickle_is_text(tree, value, "spans");
    return out->by_span || pickle_is_global(tree, value, "dask.utils", "key_split");
}

static bool read_setup(const struct closure *closure, struct pickle_arguments *out)
{
    pickle_id keys;
    pickle_id complete;
    if (!find_variable(closure, "keys", &keys) || !find_variable(closure, "complete", &complete) ||
        (complete != PICKLE_ID_TRUE && complete != PICKLE_ID_FALSE)) {
        return false;
    }
    out->complete = complete == PICKLE_ID_TRUE;
    return write_keys(closure->tree, keys, &out->keys);
}

static enum pickle_known recognise_closure(const struct pickle_tree *tree,
                                           struct pickle_arguments *out)
{
    struct closure closure = {.tree = tree};
    if (!read_closure(&closure, tree->root)) {
        return PICKLE_UNKNOWN;
    }
    enum pickle_known what = name_closure(&closure);
    bool known = true;
    if (what == PICKLE_PROGRESS_SETUP) {
        known = read_setup(&closure, out);
    } else if (what == PICKLE_MULTI_PROGRESS_SETUP) {
        known = read_setup(&closure, out) && read_group_by(&closure, out);
    }
    return known ? what : PICKLE_UNKNOWN;
}

static enum pickle_known recognise_tree(const struct pickle_tree *tree,
                                        struct pickle_arguments *out)
{
    pickle_id root = tree->root;
    for (size_t i = 0; i < sizeof GLOBALS / sizeof *GLOBALS; i++) {
        if (pickle_is_global(tree, root, GLOBALS[i].module, GLOBALS[i].name)) {
            return GLOBALS[i].what;
        }
    }
    if (root == PICKLE_ID_NONE) {
        return PICKLE_IS_NONE;
    }
    if (pickle_is_call(tree, root, "distributed.shuffle._worker_plugin", "ShuffleWorkerPlugin",
                       0)) {
        return PICKLE_SHUFFLE_PLUGIN;
    }
    if (pickle_is_call(tree, root, "operator", "attrgetter", 1)) {
        pickle_id name = pickle_argument(tree, root, 0);
        text_add(&out->name, pickle_payload(tree, name));
        return pickle_kind(tree, name) == PICKLE_TEXT ? PICKLE_ATTRGETTER : PICKLE_UNKNOWN;
    }
    return recognise_closure(tree, out);
}

enum pickle_known pickle_recognise(struct span pickle, struct pickle_arguments *out_arguments)
{
    struct pickle_tree tree;
    *out_arguments = (struct pickle_arguments){0};
    if (pickle_read(pickle, &tree) != 0) {
        return PICKLE_UNKNOWN;
    }
    enum pickle_known what = recognise_tree(&tree, out_arguments);
    pickle_tree_fini(&tree);
    if (what == PICKLE_UNKNOWN) {
        pickle_arguments_fini(out_arguments);
    }
    return what;
}

void pickle_arguments_fini(struct pickle_arguments *arguments)
{
    text_fini(&arguments->keys);
    text_fini(&arguments->name);
    *arguments = (struct pickle_arguments){0};
}
