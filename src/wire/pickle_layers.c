/* pickle_layers.c: high-level graphs whose layers are all there: what `delayed` calls make.
 *
 * A client sends _HLGExprSequence(HLGExpr(dsk, low_level_optimizer, output_keys, postcompute,
 * _cached_optimized)), or the HLGExpr alone. dsk is a HighLevelGraph:
 *   NEWOBJ(HighLevelGraph, ()), BUILD {"layers": {name: layer}, "dependencies": …, …}
 * and each layer a MaterializedLayer:
 *   NEWOBJ(MaterializedLayer, ()), BUILD {"mapping": {key: node}, "annotations": None, …}
 * Materialising such a graph is putting its mappings together. delayed's optimizer culls what the wanted
 * keys do not reach, and so does the core; whether it also fuses is the scheduler's setting, so the graph
 * says that it is delayed's. Layers that are made in Python (Blockwise …), other optimizers and annotated
 * layers are the planner's. Source: dask/_expr.py, dask/highlevelgraph.py, dask/delayed.py optimize. */
#include "wire/pickle_cut.h"

#define MODULE "dask.highlevelgraph"

enum { OPERANDS = 5, OPERAND_GRAPH = 1, OPERAND_OPTIMIZER, OPERAND_OPTIMIZED = 5, CACHE = 7 };

static int fail(struct pickle_cut *cut, const char *reason)
{
    return pickle_cut_fail(cut, ERR_UNSUPPORTED, reason);
}

static bool is_expr(const struct pickle_tree *tree, const struct pickle_expr *expr,
                    const char *name, uint32_t operand_count)
{
    return expr->operand_count == operand_count &&
           pickle_is_global(tree, expr->class_, "dask._expr", name);
}

static bool is_hlg(const struct pickle_tree *tree, const struct pickle_expr *expr)
{
    return is_expr(tree, expr, "HLGExpr", OPERANDS) ||
           is_expr(tree, expr, "_HLGExprGroup", OPERANDS);
}

bool pickle_cut_is_layered(const struct pickle_tree *tree, const struct pickle_expr *expr)
{
    return is_hlg(tree, expr) || is_expr(tree, expr, "_HLGExprSequence", 1);
}

/* The dict of attributes of an instance of dask.highlevelgraph's class `name`. */
static bool find_state(const struct pickle_tree *tree, pickle_id id, const char *name,
                       pickle_id *out_state)
{
    const struct pickle_node *node = pickle_get(tree, id);
    if (node->kind != PICKLE_NEWOBJ || node->post == 0 ||
        !pickle_is_call(tree, id, MODULE, name, 0)) {
        return false;
    }
    const struct pickle_post *post = &tree->posts.items[node->post - 1];
    *out_state = tree->children.items[post->first];
    return post->kind == PICKLE_BUILD && post->next == 0 &&
           pickle_kind(tree, *out_state) == PICKLE_DICT;
}

struct mappings VEC(pickle_id);

static int read_layer(struct pickle_cut *cut, pickle_id layer, struct mappings *out_mappings)
{
    const struct pickle_tree *tree = &cut->tree;
    pickle_id state, mapping, annotations;
    if (!find_state(tree, layer, "MaterializedLayer", &state) ||
        !pickle_dict_find(tree, state, "mapping", &mapping) ||
        pickle_kind(tree, mapping) != PICKLE_DICT) {
        return fail(cut, "a layer whose tasks are made in Python");
    }
    if (!pickle_dict_find(tree, state, "annotations", &annotations) ||
        annotations != PICKLE_ID_NONE) {
        return fail(cut, "a layer with annotations");
    }
    vec_push(out_mappings, mapping);
    return 0;
}

static int read_layers(struct pickle_cut *cut, pickle_id graph, struct mappings *out_mappings)
{
    const struct pickle_tree *tree = &cut->tree;
    pickle_id state, layers, name, layer;
    struct pickle_items pairs;
    int error = 0;
    if (!find_state(tree, graph, "HighLevelGraph", &state) ||
        !pickle_dict_find(tree, state, "layers", &layers) ||
        pickle_kind(tree, layers) != PICKLE_DICT || !pickle_items_begin(tree, layers, &pairs)) {
        return fail(cut, "a high-level graph of another shape than dask 2026.8's");
    }
    while (error == 0 && pickle_items_next(&pairs, &name) && pickle_items_next(&pairs, &layer)) {
        error = read_layer(cut, layer, out_mappings);
    }
    return error;
}

static int cut_graph(struct pickle_cut *cut, const struct pickle_expr *expr)
{
    const struct pickle_tree *tree = &cut->tree;
    struct mappings mappings = {0};
    pickle_id optimizer = pickle_child(tree, expr->arguments, OPERAND_OPTIMIZER);
    pickle_id cache = pickle_child(tree, expr->arguments, CACHE);
    bool is_delayed = pickle_is_global(tree, optimizer, "dask.delayed", "optimize");
    if (!is_delayed && optimizer != PICKLE_ID_NONE) {
        return fail(cut, "a collection that is optimised in Python");
    }
    if (pickle_child(tree, expr->arguments, OPERAND_OPTIMIZED) != PICKLE_ID_NONE ||
        pickle_kind(tree, cache) != PICKLE_DICT || pickle_get(tree, cache)->post != 0) {
        return fail(cut, "a high-level graph that was optimised before");
    }
    int error = read_layers(cut, pickle_child(tree, expr->arguments, OPERAND_GRAPH), &mappings);
    if (error == 0) {
        cut->graph.cull = cut->graph.is_delayed = is_delayed;
        error = pickle_cut_nodes(cut, mappings.items, mappings.count);
    }
    vec_fini(&mappings);
    return error;
}

int pickle_cut_layers(struct pickle_cut *cut, const struct pickle_expr *expr)
{
    struct pickle_expr inner = *expr;
    if (!is_hlg(&cut->tree, expr) &&
        (!pickle_cut_expr(&cut->tree, pickle_child(&cut->tree, expr->arguments, 1), &inner) ||
         !is_hlg(&cut->tree, &inner))) {
        return fail(cut, "a collection: its graph is made in Python");
    }
    return cut_graph(cut, &inner);
}
