/* pickle_graph.c: from a client's graph to a flat graph.
 *
 * Every Expr is pickled as Expr._reconstruct(class, *operands, token, cache). An LLGExpr's operand is
 * the graph, a dict from key to node:
 *   Task          NEWOBJ(Task, ()), BUILD with a tuple of its slots in the order of their names:
 *                 (_data_producer, _dependencies, _is_coro, _repr, _token, args, func, key, kwargs)
 *   List, Dict …  the same with a list, which has two slots more behind args
 *   Alias         Alias(key, target)       DataNode   DataNode(key, value)
 * What else is in it (graphs that users write by hand) is what convert_legacy_graph makes of it: a
 * constant becomes a DataNode, a constant that equals a key an Alias; calls in tuples need Python.
 * Source: dask/_expr.py, dask/_task_spec.py. */
#include "wire/pickle_graph.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "wire/pickle_cut.h"

enum {
    EXPR_FIXED = 3, /* arguments beside the operands: class, token, cache */
    LLG_OPERANDS = 1,
    MAP_OPERANDS = 7,
    CONSTANT_DEPTH_MAX = 100,      /* nesting of lists in constants; Python's own limit is near */
    CONSTANT_VISITS_MAX = 1 << 24, /* shared lists can stand for any number of items */
};

enum task_slot { SLOT_DATA_PRODUCER, SLOT_DEPENDENCIES, SLOT_COUNT = 9, SLOT_COUNT_CONTAINER = 11 };

static enum pickle_class classify(const struct pickle_tree *tree, pickle_id callable)
{
    static const struct {
        const char *module;
        const char *name;
        enum pickle_class kind;
    } names[] = {
        {"dask._task_spec", "Task", PICKLE_CLASS_TASK},
        {"dask._task_spec", "Alias", PICKLE_CLASS_ALIAS},
        {"dask._task_spec", "DataNode", PICKLE_CLASS_DATA},
        {"dask._task_spec", "List", PICKLE_CLASS_CONTAINER},
        {"dask._task_spec", "Tuple", PICKLE_CLASS_CONTAINER},
        {"dask._task_spec", "Set", PICKLE_CLASS_CONTAINER},
        {"dask._task_spec", "Dict", PICKLE_CLASS_CONTAINER},
        {"dask._task_spec", "TaskRef", PICKLE_CLASS_REFERENCE},
        {"distributed.client", "Future", PICKLE_CLASS_REFERENCE},
        {"distributed.actor", "Actor", PICKLE_CLASS_UNKNOWN}, /* a TaskRef whose key is not first */
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (pickle_is_global(tree, callable, names[i].module, names[i].name)) {
            return names[i].kind;
        }
    }
    const struct pickle_node *node = pickle_get(tree, callable);
    if (node->kind != PICKLE_GLOBAL || node->count != 2) {
        return node->kind == PICKLE_GLOBAL ? PICKLE_CLASS_UNKNOWN : PICKLE_CLASS_OTHER;
    }
    struct span name = pickle_payload(tree, pickle_child(tree, callable, 1));
    bool unknown = pickle_is_text(tree, pickle_child(tree, callable, 0), "dask._task_spec") ||
                   (name.size > 0 && memmem(name.data, name.size, "Future", 6) != NULL);
    return unknown ? PICKLE_CLASS_UNKNOWN : PICKLE_CLASS_OTHER;
}

enum pickle_class pickle_cut_class(struct pickle_cut *cut, pickle_id callable)
{
    enum { CACHE = sizeof cut->classes / sizeof *cut->classes };
    for (uint32_t i = 0; i < CACHE && i < cut->class_count; i++) {
        if (cut->classes[i] == callable) {
            return (enum pickle_class)cut->class_kinds[i];
        }
    }
    enum pickle_class kind = classify(&cut->tree, callable);
    uint32_t newest = cut->class_count++ % CACHE;
    cut->classes[newest] = callable;
    cut->class_kinds[newest] = (uint8_t)kind;
    return kind;
}

enum pickle_class pickle_cut_class_of(struct pickle_cut *cut, pickle_id id)
{
    enum pickle_kind kind = pickle_kind(&cut->tree, id);
    if (kind != PICKLE_REDUCE && kind != PICKLE_NEWOBJ && kind != PICKLE_NEWOBJ_EX) {
        return PICKLE_CLASS_OTHER;
    }
    return pickle_cut_class(cut, pickle_child(&cut->tree, id, 0));
}

void pickle_cut_book(struct pickle_cut *cut, uint32_t count)
{
    struct flat_graph *graph = &cut->graph;
    graph->task_count = count;
    graph->dep_start = arena_array(&graph->arena, uint32_t, (size_t)count + 1);
    graph->run_specs = arena_alloc(&graph->arena, count * sizeof(void *));
    graph->flags = arena_array(&graph->arena, uint8_t, count);
    for (uint32_t i = 0; i < count; i++) {
        graph->run_specs[i] = NULL;
    }
    memset(graph->flags, 0, count);
    graph->dep_start[0] = 0;
}

int pickle_cut_depend(struct pickle_cut *cut, uint32_t task, pickle_id key)
{
    uint32_t number;
    if (pickle_keys_put(&cut->keys, key, &number) != 0) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, "a dependency is no key");
    }
    while (cut->users.count <= number) {
        vec_push(&cut->users, 0);
    }
    if (cut->users.items[number] != task + 1) {
        cut->users.items[number] = task + 1;
        vec_push(&cut->deps, number);
    }
    return 0;
}

/* `id` is a REDUCE with `count` arguments and nothing else. */
static bool is_plain_call(const struct pickle_tree *tree, pickle_id id, uint32_t count)
{
    const struct pickle_node *node = pickle_get(tree, id);
    if (node->kind != PICKLE_REDUCE || node->post != 0) {
        return false;
    }
    const struct pickle_node *arguments = pickle_get(tree, pickle_child(tree, id, 1));
    return arguments->kind == PICKLE_TUPLE && arguments->count == count;
}

/* One entry of the graph. */
enum shape { SHAPE_TASK, SHAPE_ALIAS, SHAPE_DATA, SHAPE_RAW_ALIAS, SHAPE_RAW_DATA };

struct item {
    pickle_id key;
    pickle_id value;
    pickle_id detail; /* TASK: _dependencies; aliases: the target */
    uint8_t shape;
    uint8_t flags;
};

struct cut_items {
    struct item *items;
    uint32_t count, capacity;
    uint32_t raw_count;
    bool dropped;
};

/* A Task or a container: its state, if that has the known shape. */
static int read_task(struct pickle_cut *cut, struct item *item, uint32_t slot_count)
{
    static const char reason[] = "a task has another state than dask 2026.8's";
    const struct pickle_tree *tree = &cut->tree;
    const struct pickle_node *node = pickle_get(tree, item->value);
    if (node->kind != PICKLE_NEWOBJ || node->post == 0) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, reason);
    }
    const struct pickle_post *post = &tree->posts.items[node->post - 1];
    if (post->kind != PICKLE_BUILD || post->next != 0) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, reason);
    }
    struct pickle_items slots;
    pickle_id producer;
    pickle_id state = tree->children.items[post->first];
    if (pickle_items_count(tree, state) != slot_count || !pickle_items_begin(tree, state, &slots) ||
        !pickle_items_next(&slots, &producer) || !pickle_items_next(&slots, &item->detail) ||
        pickle_kind(tree, item->detail) != PICKLE_FROZENSET || producer > PICKLE_ID_FALSE) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, reason);
    }
    item->shape = SHAPE_TASK;
    item->flags = producer == PICKLE_ID_TRUE ? FLAT_DATA_PRODUCER : 0;
    return 0;
}

/* A value that is no node: all of it plain data, none of it equal to a key. */
static bool is_constant(struct pickle_cut *cut, pickle_id id, uint32_t depth)
{
    const struct pickle_tree *tree = &cut->tree;
    uint32_t number;
    switch (pickle_kind(tree, id)) {
    case PICKLE_NONE:
    case PICKLE_BYTES:
    case PICKLE_BYTEARRAY:
    case PICKLE_DICT: /* not looked into */
        return true;
    case PICKLE_TEXT:
        return !pickle_keys_find(&cut->keys, id, &number);
    case PICKLE_TRUE: /* numbers and tuples are equal across types: compared only if no key is one */
    case PICKLE_FALSE:
    case PICKLE_INT:
    case PICKLE_FLOAT:
        return !cut->other_keys;
    case PICKLE_TUPLE:
        if (cut->other_keys) {
            return false;
        }
        break;
    case PICKLE_LIST:
    case PICKLE_SET:
    case PICKLE_FROZENSET:
        break;
    default:
        return false;
    }
    struct pickle_items items;
    pickle_id item;
    if (depth == CONSTANT_DEPTH_MAX || cut->visits++ == CONSTANT_VISITS_MAX ||
        !pickle_items_begin(tree, id, &items)) {
        return false;
    }
    while (pickle_items_next(&items, &item)) {
        if (!is_constant(cut, item, depth + 1)) {
            return false;
        }
    }
    return true;
}

/* Whether two nodes are the same key. */
static bool same_key(struct pickle_cut *cut, pickle_id a, pickle_id b)
{
    const struct pickle_tree *tree = &cut->tree;
    if (a == b) {
        return true;
    }
    if (pickle_kind(tree, a) != pickle_kind(tree, b)) {
        return false;
    }
    if (pickle_kind(tree, a) == PICKLE_TEXT) {
        return span_equal(pickle_payload(tree, a), pickle_payload(tree, b));
    }
    struct text left = {0};
    struct text right = {0};
    bool same = pickle_key_write(tree, a, &left) == 0 && pickle_key_write(tree, b, &right) == 0 &&
                span_equal(text_span(&left), text_span(&right));
    text_fini(&left);
    text_fini(&right);
    return same;
}

/* What a hand-written value stands for, once all keys are numbered. */
static int read_raw(struct pickle_cut *cut, struct item *item)
{
    uint32_t number;
    if (pickle_kind(&cut->tree, item->value) == PICKLE_TEXT &&
        pickle_keys_find(&cut->keys, item->value, &number)) {
        item->shape = SHAPE_RAW_ALIAS;
        item->detail = item->value;
        return 0;
    }
    if (!is_constant(cut, item->value, 0)) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED,
                               "a value that only Python can tell apart from a task");
    }
    item->shape = SHAPE_RAW_DATA;
    item->flags = FLAT_DATA_PRODUCER | FLAT_NOT_A_TASK;
    return 0;
}

/* What a value of a class of dask's is; values of no class are read later. */
static int read_item(struct pickle_cut *cut, struct item *item)
{
    const struct pickle_tree *tree = &cut->tree;
    item->shape = SHAPE_RAW_DATA;
    switch (pickle_cut_class_of(cut, item->value)) {
    case PICKLE_CLASS_TASK:
        return read_task(cut, item, SLOT_COUNT);
    case PICKLE_CLASS_CONTAINER:
        return read_task(cut, item, SLOT_COUNT_CONTAINER);
    case PICKLE_CLASS_ALIAS:
        if (!is_plain_call(tree, item->value, 2)) {
            break;
        }
        item->shape = SHAPE_ALIAS;
        item->detail = pickle_argument(tree, item->value, 1);
        return 0;
    case PICKLE_CLASS_DATA:
        if (!is_plain_call(tree, item->value, 2)) {
            break;
        }
        item->shape = SHAPE_DATA;
        item->flags = FLAT_DATA_PRODUCER | FLAT_NOT_A_TASK;
        return 0;
    case PICKLE_CLASS_REFERENCE:
        if (!is_plain_call(tree, item->value, 1)) {
            break;
        }
        item->shape = SHAPE_RAW_ALIAS;
        item->detail = pickle_argument(tree, item->value, 0);
        return 0;
    case PICKLE_CLASS_OTHER:
        return 0;
    case PICKLE_CLASS_UNKNOWN:
        break;
    }
    return pickle_cut_fail(cut, ERR_UNSUPPORTED, "a kind of node that is not known here");
}

/* An alias to its own key stands for a future: the scheduler has the key, or it is lost. */
static bool is_self_alias(struct pickle_cut *cut, const struct item *item)
{
    bool alias = item->shape == SHAPE_ALIAS || item->shape == SHAPE_RAW_ALIAS;
    return alias && same_key(cut, item->detail, item->key);
}

/* Read a dict and number its keys. */
static int read_dict(struct pickle_cut *cut, pickle_id dict, struct cut_items *items)
{
    struct pickle_items pairs;
    struct item item = {0};
    if (!pickle_items_begin(&cut->tree, dict, &pairs)) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, "the graph is no dict");
    }
    while (pickle_items_next(&pairs, &item.key) && pickle_items_next(&pairs, &item.value)) {
        item.flags = 0;
        int error = read_item(cut, &item);
        if (error != 0) {
            return error;
        }
        if (is_self_alias(cut, &item)) {
            items->dropped = true;
            continue;
        }
        uint32_t number;
        if (pickle_keys_put(&cut->keys, item.key, &number) != 0) {
            return pickle_cut_fail(cut, ERR_UNSUPPORTED, "a key of the graph is no key");
        }
        if (number < items->count && items->items[number].value == item.value) {
            continue; /* layers may share a node */
        }
        if (number != items->count) {
            return pickle_cut_fail(cut, ERR_UNSUPPORTED, "a key occurs twice in the graph");
        }
        cut->other_keys |= pickle_kind(&cut->tree, item.key) != PICKLE_TEXT;
        items->raw_count += item.shape == SHAPE_RAW_DATA;
        vec_push(items, item);
    }
    return 0;
}

/* Read the values of no class. */
static int read_raw_items(struct pickle_cut *cut, struct cut_items *items)
{
    /* What a constant equals is asked of all keys, and those that are dropped have no number. */
    if (items->raw_count > 0 && items->dropped) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED,
                               "constants beside futures under their own key");
    }
    for (uint32_t i = 0; i < items->count; i++) {
        struct item *item = &items->items[i];
        if (item->shape != SHAPE_RAW_DATA) {
            continue;
        }
        int error = read_raw(cut, item);
        if (error != 0) {
            return error;
        }
        if (is_self_alias(cut, item)) {
            return pickle_cut_fail(cut, ERR_UNSUPPORTED, "a constant that equals its own key");
        }
    }
    return 0;
}

/* Write class(key, detail), as Alias and DataNode are pickled. */
static int emit_pair(struct pickle_cut *cut, struct span class_, pickle_id key, pickle_id detail)
{
    pickle_output_raw(&cut->emitter.output, class_);
    int error = pickle_emit_object(&cut->emitter, key);
    if (error == 0) {
        error = pickle_emit_object(&cut->emitter, detail);
    }
    pickle_output_raw(&cut->emitter.output, SPAN("\x86R"));
    return error;
}

static int emit_item(struct pickle_cut *cut, const struct item *item, bool inner)
{
    pickle_emit_begin(&cut->emitter, inner);
    switch ((enum shape)item->shape) {
    case SHAPE_RAW_ALIAS:
        return emit_pair(cut, PICKLE_CUT_ALIAS, item->key, item->detail);
    case SHAPE_RAW_DATA:
        return emit_pair(cut, PICKLE_CUT_DATA, item->key, item->value);
    default:
        return pickle_emit_object(&cut->emitter, item->value);
    }
}

static int depend_on_all(struct pickle_cut *cut, uint32_t task, const struct item *item)
{
    if (item->shape == SHAPE_ALIAS || item->shape == SHAPE_RAW_ALIAS) {
        return pickle_cut_depend(cut, task, item->detail);
    }
    struct pickle_items keys;
    pickle_id key;
    int error = 0;
    if (item->shape != SHAPE_TASK || !pickle_items_begin(&cut->tree, item->detail, &keys)) {
        return 0;
    }
    while (error == 0 && pickle_items_next(&keys, &key)) {
        error = pickle_cut_depend(cut, task, key);
    }
    return error;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t number_a = *(const uint32_t *)a;
    uint32_t number_b = *(const uint32_t *)b;
    return (number_a > number_b) - (number_a < number_b);
}

/* The newest task's dependencies came out of a Python set: in no order, another one in each client. In the
 * graph's order, whatever later follows them meets its neighbours in memory side by side. */
static void sort_dependencies(struct pickle_cut *cut, uint32_t task)
{
    uint32_t count = cut->deps.count - cut->graph.dep_start[task];
    if (count < 2) {
        return;
    }
    uint32_t *deps = cut->deps.items + cut->graph.dep_start[task];
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    bool sorted = true;
    for (uint32_t i = 0; i < count; i++) {
        sorted = sorted && (i == 0 || deps[i - 1] < deps[i]);
        least = deps[i] < least ? deps[i] : least;
        most = deps[i] > most ? deps[i] : most;
    }
    if (sorted) {
        return;
    }
    if ((most - least) / 16 > count) {
        qsort(deps, count, sizeof *deps, compare_numbers);
        return;
    }
    uint32_t at = 0;
    for (uint32_t number = least; number <= most; number++) {
        if (cut->users.items[number] == task + 1) {
            deps[at++] = number;
        }
    }
    ASSERT(at == count);
}

int pickle_cut_end_task(struct pickle_cut *cut, uint32_t task, uint8_t flags)
{
    sort_dependencies(cut, task);
    cut->graph.flags[task] = flags;
    cut->graph.dep_start[task + 1] = cut->deps.count;
    int error = pickle_emit_end(&cut->emitter, &cut->graph.run_specs[task]);
    return error != 0 ? pickle_cut_fail(cut, error, PICKLE_CUT_TANGLED) : 0;
}

void pickle_cut_rewind(struct pickle_cut *cut)
{
    struct flat_graph *graph = &cut->graph;
    for (uint32_t i = 0; i < graph->task_count; i++) {
        blob_unref(graph->run_specs[i]);
        graph->run_specs[i] = NULL;
    }
    cut->deps.count = 0;
    cut->users.count = 0;
    pickle_emit_forget_prefix(&cut->emitter);
}

static int cut_item(struct pickle_cut *cut, uint32_t task, const struct item *item)
{
    int error = emit_item(cut, item, true);
    if (error == PICKLE_EMIT_AGAIN) {
        error = emit_item(cut, item, false);
    }
    if (error != 0) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, PICKLE_CUT_TANGLED);
    }
    error = depend_on_all(cut, task, item);
    return error != 0 ? error : pickle_cut_end_task(cut, task, item->flags);
}

static int cut_items(struct pickle_cut *cut, struct cut_items *items)
{
    int error = read_raw_items(cut, items);
    if (error != 0) {
        return error;
    }
    pickle_cut_book(cut, items->count);
    for (uint32_t i = 0; error == 0 && i < items->count; i++) {
        error = cut_item(cut, i, &items->items[i]);
    }
    return error;
}

int pickle_cut_nodes(struct pickle_cut *cut, const pickle_id *dicts, uint32_t dict_count)
{
    struct cut_items items = {0};
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < dict_count; i++) {
        error = read_dict(cut, dicts[i], &items);
    }
    if (error == 0) {
        error = cut_items(cut, &items);
    }
    vec_fini(&items);
    return error;
}

static int cut_llg(struct pickle_cut *cut, pickle_id dict)
{
    cut->graph.cull = true;
    return pickle_cut_nodes(cut, &dict, 1);
}

bool pickle_cut_expr(const struct pickle_tree *tree, pickle_id id, struct pickle_expr *out_expr)
{
    const struct pickle_node *node = pickle_get(tree, id);
    if (node->kind != PICKLE_REDUCE || node->post != 0 ||
        !pickle_is_global(tree, pickle_child(tree, id, 0), "dask._expr", "Expr._reconstruct")) {
        return false;
    }
    pickle_id arguments = pickle_child(tree, id, 1);
    uint32_t count = pickle_get(tree, arguments)->count;
    if (pickle_kind(tree, arguments) != PICKLE_TUPLE || count <= EXPR_FIXED) {
        return false;
    }
    *out_expr =
        (struct pickle_expr){pickle_child(tree, arguments, 0), arguments, count - EXPR_FIXED};
    return true;
}

/* Find out what the root is, and cut it. */
static int cut_root(struct pickle_cut *cut)
{
    const struct pickle_tree *tree = &cut->tree;
    pickle_id root = tree->root;
    const struct pickle_node *node = pickle_get(tree, root);
    if (node->kind == PICKLE_DICT && node->post == 0) {
        pickle_cut_book(cut, 0);
        return 0;
    }
    struct pickle_expr expr;
    if (!pickle_cut_expr(tree, root, &expr)) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, "not an Expr of dask 2026.8's shape");
    }
    if (expr.operand_count == LLG_OPERANDS &&
        pickle_is_global(tree, expr.class_, "dask._expr", "LLGExpr")) {
        return cut_llg(cut, pickle_child(tree, expr.arguments, 1));
    }
    if (expr.operand_count == MAP_OPERANDS &&
        pickle_is_global(tree, expr.class_, "distributed.client", "_MapExpr")) {
        return pickle_cut_map(cut, expr.arguments);
    }
    if (pickle_cut_is_layered(tree, &expr)) {
        return pickle_cut_layers(cut, &expr);
    }
    return pickle_cut_fail(cut, ERR_UNSUPPORTED, "a collection: its graph is made in Python");
}

/* Move what grew while cutting into the graph's arena. */
static void finish_graph(struct pickle_cut *cut)
{
    struct flat_graph *graph = &cut->graph;
    graph->foreign = arena_copy(&graph->arena, text_span(&cut->foreign));
    graph->key_count = cut->keys.spans.count;
    graph->keys = arena_array(&graph->arena, struct span, graph->key_count);
    graph->deps = arena_array(&graph->arena, uint32_t, cut->deps.count);
    if (graph->key_count > 0) {
        memcpy(graph->keys, cut->keys.spans.items, graph->key_count * sizeof *graph->keys);
    }
    if (cut->deps.count > 0) {
        memcpy(graph->deps, cut->deps.items, cut->deps.count * sizeof *graph->deps);
    }
}

static int cut_tree(struct pickle_cut *cut, const struct slice *buffers, uint32_t buffer_count)
{
    if (cut->tree.buffer_count > buffer_count) {
        return pickle_cut_fail(cut, ERR_MALFORMED,
                               "the pickle needs more buffers than came with it");
    }
    if (pickle_foreign_names(&cut->tree, &cut->foreign) != 0) {
        return pickle_cut_fail(cut, ERR_UNSUPPORTED, "loading it runs code that comes with it");
    }
    flat_graph_init(&cut->graph);
    pickle_emitter_init(&cut->emitter, &cut->tree, buffers);
    pickle_keys_init(&cut->keys, &cut->tree, &cut->graph.arena);
    int error = cut_root(cut);
    if (error == 0) {
        finish_graph(cut);
    } else {
        flat_graph_fini(&cut->graph);
    }
    pickle_keys_fini(&cut->keys);
    pickle_emitter_fini(&cut->emitter);
    vec_fini(&cut->deps);
    vec_fini(&cut->users);
    return error;
}

int pickle_graph_cut(struct span pickle, const struct slice *buffers, uint32_t buffer_count,
                     struct flat_graph *out, const char **out_reason)
{
    struct pickle_cut cut = {.reason = "the pickle cannot be read"};
    int error = pickle_read(pickle, &cut.tree);
    if (error == 0) {
        error = cut_tree(&cut, buffers, buffer_count);
        text_fini(&cut.foreign);
        pickle_tree_fini(&cut.tree);
    }
    if (error == 0) {
        *out = cut.graph;
    } else {
        *out_reason = cut.reason;
    }
    return error;
}
