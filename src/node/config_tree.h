/* config_tree.h: a tree of settings: mappings, lists and scalars; and YAML text as such a tree. */
#ifndef CASK_NODE_CONFIG_TREE_H
#define CASK_NODE_CONFIG_TREE_H

#include "base/assert.h"
#include "base/span.h"
#include "base/text.h"

enum config_kind { CONFIG_NULL, CONFIG_SCALAR, CONFIG_LIST, CONFIG_MAP };

/* All strings are owned, NUL-terminated. */
struct config_node {
    enum config_kind kind;
    bool is_quoted; /* SCALAR: written in quotes, so it is text whatever it looks like */
    char *text;     /* SCALAR */
    struct config_node **items; /* LIST, MAP */
    char **keys;                /* MAP: name of items[i] */
    uint32_t count;
};

struct config_node *config_node_create(enum config_kind kind);
void config_node_destroy(struct config_node *node);
/* The child of that name; - and _ are alike. NULL: none. */
struct config_node *config_node_find(const struct config_node *map, struct span name);
/* Put `child` (taken) under `name`, replacing what was there. */
void config_node_put(struct config_node *map, struct span name, struct config_node *take_child);
/* Append to a list. */
void config_node_add(struct config_node *list, struct config_node *take_item);
/* Lay `over` (taken) on `base`: maps are merged, all else is replaced, but a map is not replaced by a value
 * that is none (as dask.config.collect); gives the result. */
struct config_node *config_node_merge(struct config_node *base, struct config_node *take_over);
/* Follow a dotted name; create: missing maps are made. NULL: not there. */
struct config_node *config_node_walk(struct config_node *root, const char *name, bool create);
/* Put `child` (taken) under a dotted name; missing maps are made. */
void config_node_put_path(struct config_node *root, const char *name,
                          struct config_node *take_child);
/* Take what is under a dotted name out of the tree; NULL: not there. */
struct config_node *config_node_take(struct config_node *root, const char *name);

/* Parse YAML (one document; anchors, aliases and merge keys as PyYAML). ERR_CONFIG: why says line and
 * problem. An empty document is CONFIG_NULL. Nesting and number of nodes are limited. */
int config_yaml_parse(struct span yaml, struct config_node **out_node, struct text *why) MUST_USE;

#endif
