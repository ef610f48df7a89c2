/* pickle.h: reads a Python pickle as a tree; imports and executes nothing.
 *
 * The tree is arrays of 32-bit ids over the pickle's own bytes. A node is one object: what it was made
 * of (children), what was done to it afterwards (posts), and the range of opcodes that made it: one
 * unbroken run, so an object can be cut out of a pickle as bytes (pickle_emit.h). A shared object is
 * one node with several parents; cycles occur, so whoever walks a tree bounds the depth.
 *
 * Protocols 2 to 5 as CPython's picklers write them. A pickle beyond that (persistent ids, extension
 * codes, text opcodes, a memo that is overwritten) is ERR_UNSUPPORTED: Python must read it. */
#ifndef CASK_WIRE_PICKLE_H
#define CASK_WIRE_PICKLE_H

#include "base/assert.h"
#include "base/error.h"
#include "base/span.h"
#include "base/vec.h"

typedef uint32_t pickle_id;

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_TRUE,
    PICKLE_FALSE,
    PICKLE_INT, /* any size: pickle_int() reads what fits */
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES,
    PICKLE_BYTEARRAY,
    PICKLE_TUPLE,     /* children: the items */
    PICKLE_FROZENSET, /* children: the items */
    PICKLE_LIST,      /* items in APPENDS posts */
    PICKLE_DICT,      /* keys and values by turns in SETITEMS posts */
    PICKLE_SET,       /* items in ADDITEMS posts */
    PICKLE_GLOBAL,    /* children: module, name; or none (opcode GLOBAL): see pickle_is_global() */
    PICKLE_REDUCE,    /* children: callable, argument tuple */
    PICKLE_NEWOBJ,    /* children: class, argument tuple */
    PICKLE_NEWOBJ_EX, /* children: class, argument tuple, keyword dict */
    PICKLE_BUFFER,    /* an out-of-band buffer */
    PICKLE_READONLY,  /* children: a buffer, made read-only */
};

enum pickle_post_kind {
    PICKLE_APPENDS,
    PICKLE_SETITEMS,
    PICKLE_ADDITEMS,
    PICKLE_BUILD, /* one child: the state */
    PICKLE_SIDE,  /* one child: built and thrown away (cloudpickle's state setters) */
};

#define PICKLE_NO_MEMO UINT32_MAX

enum {
    PICKLE_NOTE_CLOSED = 1 << 0,   /* its range refers to nothing that is built around it */
    PICKLE_NOTE_INNER = 1 << 1,    /* it can be a pickle of its own inside others … */
    PICKLE_NOTE_NO_INNER = 1 << 2, /* … or not */
    PICKLE_NOTE_GRAPH = 1 << 3,    /* Future, TaskRef or GraphNode: means something in a graph */
};

struct pickle_node {
    uint32_t start; /* first byte of its opcodes */
    uint32_t end;   /* one past the last byte that made or changed it */
    union {
        uint32_t first;  /* its children are tree->children[first .. first + count) */
        uint32_t number; /* TEXT: 1 + its number as a key, or 0; noted by pickle_keys.c */
    };
    uint32_t count;
    uint32_t fixups; /* first of tree->fixups at or after start */
    uint32_t post;   /* 1 + its first post, or 0 */
    uint32_t memo;   /* its place in the memo, or PICKLE_NO_MEMO */
    uint8_t kind;    /* enum pickle_kind */
    uint8_t notes;   /* PICKLE_NOTE_…: what was found out about it since */
    uint16_t shared; /* pickle_emit.c: 1 + its place among the shared objects, or 0 */
};

/* Something done to a node after it was made, in order. */
struct pickle_post {
    uint32_t next; /* 1 + the node's next post, or 0 */
    uint32_t last; /* of a node's first post: 1 + its newest */
    uint32_t first;
    uint32_t count;
    uint32_t kind; /* enum pickle_post_kind */
};

/* An opcode that does not mean the same at another place of another pickle. */
enum pickle_fixup_kind {
    PICKLE_FIXUP_PUT,
    PICKLE_FIXUP_GET,
    PICKLE_FIXUP_BUFFER,
    PICKLE_FIXUP_FRAME
};

struct pickle_fixup {
    uint32_t at; /* byte of the opcode */
    uint32_t kind : 2;
    uint32_t index : 30; /* PUT, GET: place in the memo; BUFFER: number of the buffer */
};

/* Ids of the objects that are never written twice; their ranges are not set. */
enum { PICKLE_ID_NONE, PICKLE_ID_TRUE, PICKLE_ID_FALSE, PICKLE_ID_EMPTY_TUPLE, PICKLE_ID_COUNT };

struct pickle_tree {
    struct span bytes; /* borrowed */
    struct pickle_nodes VEC(struct pickle_node) nodes;
    struct pickle_ids VEC(pickle_id) children;
    struct pickle_posts VEC(struct pickle_post) posts;
    struct pickle_fixups VEC(struct pickle_fixup) fixups;
    struct pickle_memo VEC(pickle_id) memo;
    uint32_t buffer_count; /* out-of-band buffers it takes, in order */
    pickle_id root;
};

/* Read `bytes`, which must outlive the tree. ERR_TRUNCATED, ERR_MALFORMED: no pickle;
 * ERR_UNSUPPORTED: an opcode or a use of one that needs Python, or over 4 GiB; ERR_LIMIT. On error
 * there is nothing to fini. Cost: about 10 ns and 32 bytes an object. */
int pickle_read(struct span bytes, struct pickle_tree *out_tree) MUST_USE;
void pickle_tree_fini(struct pickle_tree *tree);

static inline struct pickle_node *pickle_get(const struct pickle_tree *tree, pickle_id id)
{
    ASSERT(id < tree->nodes.count);
    return &tree->nodes.items[id];
}

static inline enum pickle_kind pickle_kind(const struct pickle_tree *tree, pickle_id id)
{
    return (enum pickle_kind)pickle_get(tree, id)->kind;
}

/* Child `index` of node `id`, which must have it. */
static inline pickle_id pickle_child(const struct pickle_tree *tree, pickle_id id, uint32_t index)
{
    const struct pickle_node *node = pickle_get(tree, id);
    ASSERT(index < node->count);
    return tree->children.items[node->first + index];
}

/* The bytes of a TEXT (UTF-8, unchecked), BYTES or BYTEARRAY; empty for anything else. */
struct span pickle_payload(const struct pickle_tree *tree, pickle_id id);
bool pickle_is_text(const struct pickle_tree *tree, pickle_id id, const char *text);
/* The value of an INT that fits; *out_negative says that it is below zero (then *out_value is its
 * two's complement). false: no INT, or beyond msgpack's −2^63 … 2^64−1. */
bool pickle_int(const struct pickle_tree *tree, pickle_id id, uint64_t *out_value,
                bool *out_negative);
/* The value of a FLOAT; false for anything else. */
bool pickle_float(const struct pickle_tree *tree, pickle_id id, double *out_value);
/* The node is the global module.name. */
bool pickle_is_global(const struct pickle_tree *tree, pickle_id id, const char *module,
                      const char *name);
/* The node is REDUCE or NEWOBJ of the global module.name with a tuple of `count` arguments. */
bool pickle_is_call(const struct pickle_tree *tree, pickle_id id, const char *module,
                    const char *name, uint32_t count);
/* Argument `index` of a REDUCE or NEWOBJ whose arguments are a tuple. */
pickle_id pickle_argument(const struct pickle_tree *tree, pickle_id id, uint32_t index);

/* A walk over the items of a TUPLE, FROZENSET, LIST, SET (each item), or DICT (key, value, key …). */
struct pickle_items {
    const struct pickle_tree *tree;
    uint32_t at, end; /* in tree->children */
    uint32_t post;    /* 1 + the next post, or 0 */
    uint32_t wanted;  /* enum pickle_post_kind */
};

/* false: it is no plain container. */
bool pickle_items_begin(const struct pickle_tree *tree, pickle_id id, struct pickle_items *out);
bool pickle_items_next(struct pickle_items *items, pickle_id *out_id);
/* Number of items, as pickle_items gives them (pairs count twice); 0 if it is no plain container. */
uint32_t pickle_items_count(const struct pickle_tree *tree, pickle_id id);
/* The value of text key `name` of a plain dict; false if it is not there. */
bool pickle_dict_find(const struct pickle_tree *tree, pickle_id id, const char *name,
                      pickle_id *out_value);

#endif
