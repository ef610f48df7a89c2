/* pickle_map.c: makes the tasks of a Client.map: Task(key_i, func, *(argument i of each iterable),
 * **kwargs), as _MapExpr._layer does.
 *
 * Operands: (func, iterables, key, pure, annotations, kwargs, _cached_keys), behind the class in the
 * arguments of the reconstruction. The client has made the keys. An iterable is a list, a tuple or a
 * range; others iterate as only Python knows. A Future or TaskRef among the arguments becomes an
 * Alias, a dependency; one anywhere deeper is found by counting references, and left to Python.
 * Keyword arguments over 100,000 bytes become tasks of their own, which the planner sees to.
 * Function and keyword arguments are the prefix of every task's pickle: put into the memo, taken off
 * the stack, recalled where they belong. Source: distributed/client.py _MapExpr, dask parse_input. */
#include "base/alloc.h"
#include "wire/pickle_cut.h"

enum operand { OPERAND_FUNC = 1, OPERAND_ITERABLES, OPERAND_KWARGS = 6, OPERAND_KEYS = 7 };

enum {
    SOURCES_MAX = 1000,     /* iterables; people give a few */
    SIZE_VISITS_MAX = 4096, /* values looked at for the size of an argument */
    SIZE_SAMPLES = 10,      /* as dask.sizeof: a container's items are like its first ones */
};

#define LARGE_BYTES_MIN 100000.0

/* An iterable: items by index, or numbers. */
struct source {
    pickle_id *items; /* owned; NULL: a range */
    uint32_t count;
    int64_t start;
    int64_t step;
};

struct mapping {
    struct pickle_cut *cut;
    pickle_id func;
    pickle_id iterables;
    pickle_id kwargs;
    pickle_id keys;
    struct sources VEC(struct source) sources;
    struct newest VEC(uint32_t) newest; /* task → the newest row of arguments with its key */
    struct key_nodes VEC(pickle_id) task_keys; /* task → its key */
    struct aliased VEC(pickle_id) aliased;     /* keys that every task depends on */
    bool references;   /* there are Futures or TaskRefs among the arguments */
    uint32_t alias_at; /* where the prefix put Alias, func and kwargs */
    uint32_t func_at;
    uint32_t kwargs_at;
};

static int fail(struct mapping *map, const char *reason)
{
    return pickle_cut_fail(map->cut, ERR_UNSUPPORTED, reason);
}

static bool is_reference(struct mapping *map, pickle_id id)
{
    return map->references && pickle_cut_class_of(map->cut, id) == PICKLE_CLASS_REFERENCE;
}

/* The key of a Future or TaskRef. */
static pickle_id reference_key(const struct mapping *map, pickle_id id)
{
    return pickle_argument(&map->cut->tree, id, 0);
}

/* A number that a range can begin or step with. */
static bool read_number(const struct pickle_tree *tree, pickle_id id, int64_t *out_value)
{
    uint64_t value;
    bool negative;
    if (!pickle_int(tree, id, &value, &negative) || (!negative && value > INT64_MAX)) {
        return false;
    }
    *out_value = (int64_t)value;
    return true;
}

static int read_range(struct mapping *map, pickle_id id, struct source *out)
{
    const struct pickle_tree *tree = &map->cut->tree;
    int64_t stop;
    if (!read_number(tree, pickle_argument(tree, id, 0), &out->start) ||
        !read_number(tree, pickle_argument(tree, id, 1), &stop) ||
        !read_number(tree, pickle_argument(tree, id, 2), &out->step) || out->step == 0) {
        return fail(map, "a range of large numbers");
    }
    __int128 distance = out->step > 0 ? (__int128)stop - out->start : (__int128)out->start - stop;
    __int128 stride = out->step > 0 ? out->step : -(__int128)out->step;
    __int128 count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
    out->count = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    return 0;
}

static int read_source(struct mapping *map, pickle_id id, struct source *out)
{
    const struct pickle_tree *tree = &map->cut->tree;
    *out = (struct source){0};
    if (pickle_is_call(tree, id, "builtins", "range", 3)) {
        return read_range(map, id, out);
    }
    struct pickle_items items;
    enum pickle_kind kind = pickle_kind(tree, id);
    if ((kind != PICKLE_LIST && kind != PICKLE_TUPLE) || !pickle_items_begin(tree, id, &items)) {
        return fail(map, "an iterable that is no list, tuple or range");
    }
    uint32_t count = pickle_items_count(tree, id);
    out->items = mem_resize(NULL, (size_t)count + 1, sizeof *out->items);
    while (pickle_items_next(&items, &out->items[out->count])) {
        out->count++;
    }
    return 0;
}

static int read_sources(struct mapping *map)
{
    struct pickle_items items;
    pickle_id id;
    if (!pickle_items_begin(&map->cut->tree, map->iterables, &items)) {
        return fail(map, "iterables that are no list or tuple");
    }
    while (pickle_items_next(&items, &id)) {
        struct source source;
        if (map->sources.count == SOURCES_MAX) {
            return fail(map, "too many iterables");
        }
        int error = read_source(map, id, &source);
        if (error != 0) {
            return error;
        }
        vec_push(&map->sources, source);
    }
    return 0;
}

/* Mark the objects that mean something in a graph; gives their number, or −1 if one is not known. */
static int64_t mark_graph_objects(struct mapping *map)
{
    struct pickle_tree *tree = &map->cut->tree;
    int64_t found = 0;
    for (pickle_id id = PICKLE_ID_COUNT; id < tree->nodes.count; id++) {
        struct pickle_node *node = pickle_get(tree, id);
        enum pickle_class kind = pickle_cut_class_of(map->cut, id);
        if (kind == PICKLE_CLASS_OTHER) {
            continue;
        }
        const struct pickle_node *arguments = pickle_get(tree, pickle_child(tree, id, 1));
        if (kind != PICKLE_CLASS_REFERENCE || node->kind != PICKLE_REDUCE || node->post != 0 ||
            arguments->kind != PICKLE_TUPLE || arguments->count != 1) {
            return -1;
        }
        node->notes |= PICKLE_NOTE_GRAPH;
        found++;
    }
    return found;
}

static uint32_t count_marked(const struct pickle_tree *tree, const pickle_id *ids, uint32_t count)
{
    uint32_t marked = 0;
    for (uint32_t i = 0; i < count; i++) {
        marked += (pickle_get(tree, ids[i])->notes & PICKLE_NOTE_GRAPH) != 0;
    }
    return marked;
}

/* The references that are arguments themselves; a list that is given twice counts once, as it does in
 * the tree. */
static uint32_t count_direct(struct mapping *map)
{
    const struct pickle_tree *tree = &map->cut->tree;
    struct pickle_items lists;
    struct pickle_items pairs;
    struct seen VEC(pickle_id) seen = {0};
    pickle_id id;
    pickle_id name;
    uint32_t direct = 0;
    uint32_t place = 0;
    bool begun = pickle_items_begin(tree, map->iterables, &lists) &&
                 pickle_items_begin(tree, map->kwargs, &pairs);
    ASSERT(begun);
    for (; pickle_items_next(&lists, &id); place++) {
        bool known = false;
        for (uint32_t i = 0; i < seen.count; i++) {
            known |= seen.items[i] == id;
        }
        vec_push(&seen, id);
        ASSERT(place < map->sources.count);
        const struct source *source = &map->sources.items[place];
        if (!known && source->items != NULL) {
            direct += count_marked(tree, source->items, source->count);
        }
    }
    while (pickle_items_next(&pairs, &name) && pickle_items_next(&pairs, &id)) {
        direct += count_marked(tree, &id, 1);
    }
    vec_fini(&seen);
    return direct;
}

/* Find out whether Futures are among the arguments, and only there. */
static int find_references(struct mapping *map)
{
    const struct pickle_tree *tree = &map->cut->tree;
    int64_t found = mark_graph_objects(map);
    if (found == 0) {
        return 0;
    }
    map->references = true;
    if (found < 0 ||
        count_direct(map) != count_marked(tree, tree->children.items, tree->children.count)) {
        return fail(map, "futures inside an argument");
    }
    return 0;
}

/* Roughly dask.sizeof of a value: enough to tell what is beyond 100,000 bytes. */
static double estimate_size(const struct mapping *map, pickle_id id, uint32_t *visits)
{
    const struct pickle_tree *tree = &map->cut->tree;
    const struct pickle_node *node = pickle_get(tree, id);
    enum { TEXT_HEAD = 49, CONTAINER_HEAD = 56, ITEM = 8, SMALL = 32 };
    struct pickle_items items;
    ++*visits;
    if (node->kind == PICKLE_TEXT) {
        return TEXT_HEAD + (double)pickle_payload(tree, id).size;
    }
    if (id < PICKLE_ID_COUNT || node->kind == PICKLE_INT || node->kind == PICKLE_FLOAT) {
        return SMALL;
    }
    if (*visits < SIZE_VISITS_MAX && pickle_items_begin(tree, id, &items)) {
        uint32_t count = pickle_items_count(tree, id);
        double sum = 0;
        uint32_t sampled = 0;
        pickle_id item;
        while (sampled < SIZE_SAMPLES && pickle_items_next(&items, &item)) {
            sum += estimate_size(map, item, visits);
            sampled++;
        }
        double each = sampled == 0 ? 0 : sum / sampled;
        return CONTAINER_HEAD + (ITEM + each) * (double)count;
    }
    double size = node->end - node->start;
    for (uint32_t i = node->fixups; i < tree->fixups.count; i++) {
        const struct pickle_fixup *fixup = &tree->fixups.items[i];
        if (fixup->at >= node->end) {
            break;
        }
        if (fixup->kind == PICKLE_FIXUP_BUFFER) {
            size += (double)map->cut->emitter.buffers[fixup->index].size;
        }
    }
    return size;
}

/* Which keyword arguments are DataNodes of their own, and which are dependencies. */
static int read_kwargs(struct mapping *map)
{
    const struct pickle_tree *tree = &map->cut->tree;
    struct pickle_items pairs;
    pickle_id name;
    pickle_id value;
    if (pickle_kind(tree, map->kwargs) != PICKLE_DICT ||
        !pickle_items_begin(tree, map->kwargs, &pairs)) {
        return fail(map, "keyword arguments that are no dict");
    }
    while (pickle_items_next(&pairs, &name) && pickle_items_next(&pairs, &value)) {
        if (pickle_kind(tree, name) != PICKLE_TEXT ||
            pickle_is_text(tree, name, "_data_producer")) {
            return fail(map, "a keyword argument that Task itself takes");
        }
        if (is_reference(map, value)) {
            vec_push(&map->aliased, reference_key(map, value));
            continue;
        }
        uint32_t visits = 0;
        if (estimate_size(map, value, &visits) > LARGE_BYTES_MIN) {
            return fail(map, "a large keyword argument");
        }
    }
    return 0;
}

static uint32_t count_rows(const struct mapping *map, uint32_t key_count)
{
    uint32_t count = map->sources.count == 0 ? 0 : key_count;
    for (uint32_t i = 0; i < map->sources.count; i++) {
        uint32_t length = map->sources.items[i].count;
        count = length < count ? length : count;
    }
    return count;
}

static int number_key(struct mapping *map, pickle_id key, uint32_t *out_number)
{
    int error = pickle_keys_put(&map->cut->keys, key, out_number);
    return error != 0 ? fail(map, "a key that is no key") : 0;
}

/* Number the tasks. Equal keys are one task, with the arguments of the last (as in a dict). */
static int number_tasks(struct mapping *map)
{
    const struct pickle_tree *tree = &map->cut->tree;
    uint32_t number;
    struct pickle_items keys;
    enum pickle_kind kind = pickle_kind(tree, map->keys);
    if ((kind != PICKLE_LIST && kind != PICKLE_TUPLE) ||
        !pickle_items_begin(tree, map->keys, &keys)) {
        return fail(map, "keys that the client has not made");
    }
    uint32_t row_count = count_rows(map, pickle_items_count(tree, map->keys));
    vec_reserve(&map->newest, row_count);
    vec_reserve(&map->task_keys, row_count);
    pickle_id key;
    for (uint32_t row = 0; row < row_count && pickle_items_next(&keys, &key); row++) {
        int error = number_key(map, key, &number);
        if (error != 0) {
            return error;
        }
        if (number == map->newest.count) {
            vec_push(&map->newest, row);
            vec_push(&map->task_keys, key);
        }
        map->newest.items[number] = row;
    }
    return 0;
}

/* Write Alias(key), as parse_input makes of a Future. */
static int emit_alias(struct mapping *map, pickle_id key)
{
    struct pickle_emitter *emitter = &map->cut->emitter;
    pickle_output_recall(&emitter->output, map->alias_at);
    int error = pickle_emit_object(emitter, key);
    if (error == 0) {
        error = pickle_emit_object(emitter, key);
    }
    pickle_output_raw(&emitter->output, SPAN("\x86R"));
    return error;
}

static int emit_kwargs(struct mapping *map)
{
    struct pickle_emitter *emitter = &map->cut->emitter;
    struct pickle_items pairs;
    pickle_id name;
    pickle_id value;
    int error = 0;
    bool begun = pickle_items_begin(&map->cut->tree, map->kwargs, &pairs);
    ASSERT(begun);
    pickle_output_raw(&emitter->output, SPAN("}("));
    while (error == 0 && pickle_items_next(&pairs, &name) && pickle_items_next(&pairs, &value)) {
        error = pickle_emit_object(emitter, name);
        if (error != 0) {
            return error;
        }
        if (is_reference(map, value)) {
            error = emit_alias(map, reference_key(map, value));
        } else {
            error = pickle_emit_common(emitter, value);
        }
    }
    pickle_output_raw(&emitter->output, SPAN("u"));
    return error;
}

/* Put the newest object aside; gives its place in the memo. */
static uint32_t put_aside(struct pickle_emitter *emitter)
{
    uint32_t place = pickle_output_memoize(&emitter->output);
    pickle_output_raw(&emitter->output, SPAN("0"));
    return place;
}

/* What every task's pickle begins with: what they share, and the start of the task's state. */
static int emit_prefix(struct mapping *map, bool inner)
{
    struct pickle_emitter *emitter = &map->cut->emitter;
    pickle_emit_begin(emitter, inner);
    pickle_output_raw(&emitter->output, PICKLE_CUT_ALIAS);
    map->alias_at = put_aside(emitter);
    int error = pickle_emit_common(emitter, map->func);
    if (error != 0) {
        return error;
    }
    map->func_at = put_aside(emitter);
    error = emit_kwargs(map);
    if (error != 0) {
        return error;
    }
    map->kwargs_at = put_aside(emitter);
    pickle_output_raw(&emitter->output, PICKLE_CUT_TASK);
    pickle_output_raw(&emitter->output, SPAN(")\x81(\x89"));
    pickle_emit_set_prefix(emitter);
    return 0;
}

/* The frozenset of what a task depends on. */
static int emit_dependencies(struct mapping *map, uint32_t task, uint32_t row)
{
    struct pickle_cut *cut = map->cut;
    int error = 0;
    pickle_output_raw(&cut->emitter.output, SPAN("("));
    for (uint32_t i = 0; error == 0 && i < map->aliased.count; i++) {
        error = pickle_cut_depend(cut, task, map->aliased.items[i]);
        if (error == 0) {
            error = pickle_emit_object(&cut->emitter, map->aliased.items[i]);
        }
    }
    for (uint32_t i = 0; error == 0 && map->references && i < map->sources.count; i++) {
        const struct source *source = &map->sources.items[i];
        if (source->items == NULL || !is_reference(map, source->items[row])) {
            continue;
        }
        pickle_id key = reference_key(map, source->items[row]);
        error = pickle_cut_depend(cut, task, key);
        if (error == 0) {
            error = pickle_emit_object(&cut->emitter, key);
        }
    }
    pickle_output_raw(&cut->emitter.output, SPAN("\x91"));
    return error;
}

static int emit_argument(struct mapping *map, const struct source *source, uint32_t row)
{
    struct pickle_emitter *emitter = &map->cut->emitter;
    if (source->items == NULL) {
        pickle_output_int(&emitter->output, source->start + (int64_t)row * source->step);
        return 0;
    }
    pickle_id id = source->items[row];
    if (is_reference(map, id)) {
        return emit_alias(map, reference_key(map, id));
    }
    return pickle_emit_object(emitter, id);
}

static int emit_task(struct mapping *map, uint32_t task, uint32_t row, pickle_id key)
{
    struct pickle_emitter *emitter = &map->cut->emitter;
    pickle_emit_begin(emitter, emitter->output.inner);
    int error = emit_dependencies(map, task, row);
    pickle_output_raw(&emitter->output, SPAN("NNN("));
    for (uint32_t i = 0; error == 0 && i < map->sources.count; i++) {
        error = emit_argument(map, &map->sources.items[i], row);
    }
    if (error != 0) {
        return error;
    }
    pickle_output_raw(&emitter->output, SPAN("t"));
    pickle_output_recall(&emitter->output, map->func_at);
    error = pickle_emit_object(emitter, key);
    pickle_output_recall(&emitter->output, map->kwargs_at);
    pickle_output_raw(&emitter->output, SPAN("tb"));
    return error;
}

/* Write all tasks; PICKLE_EMIT_AGAIN is possible while `inner`. */
static int emit_tasks(struct mapping *map, bool inner)
{
    struct pickle_cut *cut = map->cut;
    int error = emit_prefix(map, inner);
    for (uint32_t i = 0; error == 0 && i < map->newest.count; i++) {
        error = emit_task(map, i, map->newest.items[i], map->task_keys.items[i]);
        if (error == 0) {
            error = pickle_cut_end_task(cut, i, 0);
        }
    }
    return error;
}

static int cut_map(struct mapping *map)
{
    int error = read_sources(map);
    if (error == 0 && pickle_kind(&map->cut->tree, map->kwargs) != PICKLE_DICT) {
        return fail(map, "keyword arguments that are no dict");
    }
    if (error == 0) {
        error = find_references(map);
    }
    if (error == 0) {
        error = read_kwargs(map);
    }
    if (error == 0) {
        error = number_tasks(map);
    }
    if (error != 0) {
        return error;
    }
    pickle_cut_book(map->cut, map->newest.count);
    error = emit_tasks(map, map->newest.count > 1);
    if (error == PICKLE_EMIT_AGAIN) {
        pickle_cut_rewind(map->cut);
        error = emit_tasks(map, false);
    }
    return error > 0 ? fail(map, PICKLE_CUT_TANGLED) : error;
}

int pickle_cut_map(struct pickle_cut *cut, pickle_id arguments)
{
    const struct pickle_tree *tree = &cut->tree;
    struct mapping map = {
        .cut = cut,
        .func = pickle_child(tree, arguments, OPERAND_FUNC),
        .iterables = pickle_child(tree, arguments, OPERAND_ITERABLES),
        .kwargs = pickle_child(tree, arguments, OPERAND_KWARGS),
        .keys = pickle_child(tree, arguments, OPERAND_KEYS),
    };
    int error = cut_map(&map);
    for (uint32_t i = 0; i < map.sources.count; i++) {
        mem_free(map.sources.items[i].items);
    }
    vec_fini(&map.sources);
    vec_fini(&map.newest);
    vec_fini(&map.task_keys);
    vec_fini(&map.aliased);
    return error;
}
