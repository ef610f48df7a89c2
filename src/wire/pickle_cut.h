/* pickle_cut.h: what the kinds of graphs have in common while they are cut (pickle_graph.c: LLGExpr,
 * pickle_map.c: _MapExpr, pickle_layers.c: HLGExpr). Not for others. */
#ifndef CASK_WIRE_PICKLE_CUT_H
#define CASK_WIRE_PICKLE_CUT_H

#include "wire/flat_graph.h"
#include "wire/pickle_emit.h"
#include "wire/pickle_keys.h"
#include "wire/pickle_trust.h"

/* Opcodes that fetch a class; key, detail and a call with the two follow. */
#define PICKLE_CUT_ALIAS                                                                           \
    SPAN("\x8c\x0f"                                                                                \
         "dask._task_spec\x8c\x05"                                                                 \
         "Alias\x93")
#define PICKLE_CUT_DATA                                                                            \
    SPAN("\x8c\x0f"                                                                                \
         "dask._task_spec\x8c\x08"                                                                 \
         "DataNode\x93")
#define PICKLE_CUT_TASK                                                                            \
    SPAN("\x8c\x0f"                                                                                \
         "dask._task_spec\x8c\x04"                                                                 \
         "Task\x93")

#define PICKLE_CUT_TANGLED "its objects are too entangled to be cut apart"

/* The classes that mean something in a graph. */
enum pickle_class {
    PICKLE_CLASS_OTHER,
    PICKLE_CLASS_TASK,
    PICKLE_CLASS_ALIAS,
    PICKLE_CLASS_DATA,
    PICKLE_CLASS_CONTAINER, /* List, Tuple, Set, Dict */
    PICKLE_CLASS_REFERENCE, /* Future, TaskRef: REDUCE with the key */
    PICKLE_CLASS_UNKNOWN,   /* others of dask._task_spec; anything else called Future */
};

struct pickle_cut {
    struct pickle_tree tree;
    struct pickle_emitter emitter;
    struct pickle_keys keys;
    struct flat_graph graph;
    struct text foreign;  /* as flat_graph.foreign */
    const char *reason;   /* why not; static */
    pickle_id classes[8]; /* the newest nodes that classes were found at … */
    uint8_t class_kinds[8];
    uint32_t class_count; /* found so far */
    bool other_keys;      /* keys that are no text: numbers equal each other across types */
    uint32_t visits;      /* constants looked at: a bound for hostile graphs */
    struct pickle_cut_deps VEC(uint32_t) deps;
    struct pickle_cut_users VEC(uint32_t) users; /* key → 1 + the newest task that depends on it */
};

/* Note why it cannot be done; gives `error`. */
static inline int pickle_cut_fail(struct pickle_cut *cut, int error, const char *reason)
{
    cut->reason = reason;
    return error;
}

/* What the callable of a REDUCE or NEWOBJ node is. */
enum pickle_class pickle_cut_class(struct pickle_cut *cut, pickle_id callable);
/* The class of the object at `id`, OTHER if it is no REDUCE or NEWOBJ. */
enum pickle_class pickle_cut_class_of(struct pickle_cut *cut, pickle_id id);
/* Room for the arrays of `count` tasks. */
void pickle_cut_book(struct pickle_cut *cut, uint32_t count);
/* Task `task`, the newest, depends on the key at `key`. */
int pickle_cut_depend(struct pickle_cut *cut, uint32_t task, pickle_id key) MUST_USE;

/* Finish task `task`: its dependencies and its pickle. */
int pickle_cut_end_task(struct pickle_cut *cut, uint32_t task, uint8_t flags) MUST_USE;

/* Forget the tasks that were finished, to write them again another way. */
void pickle_cut_rewind(struct pickle_cut *cut);

/* Cut the nodes of dicts from key to node, in order, as tasks of one graph. */
int pickle_cut_nodes(struct pickle_cut *cut, const pickle_id *dicts, uint32_t dict_count) MUST_USE;

/* The reconstruction of an Expr: its class, and the tuple of its operands behind that. */
struct pickle_expr {
    pickle_id class_;
    pickle_id arguments; /* class, operands, token, cache */
    uint32_t operand_count;
};
/* False: the object at `id` is no Expr, or one of another shape than dask 2026.8's. */
bool pickle_cut_expr(const struct pickle_tree *tree, pickle_id id, struct pickle_expr *out_expr);

/* pickle_layers.c: an Expr of high-level graphs, or a sequence of one. */
bool pickle_cut_is_layered(const struct pickle_tree *tree, const struct pickle_expr *expr);
int pickle_cut_layers(struct pickle_cut *cut, const struct pickle_expr *expr) MUST_USE;

/* pickle_map.c: the arguments of a _MapExpr's reconstruction are the tuple at `arguments`. */
int pickle_cut_map(struct pickle_cut *cut, pickle_id arguments) MUST_USE;

#endif
