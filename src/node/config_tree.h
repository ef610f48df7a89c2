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
    bool is_quoted;               /* SCALAR: written in quotes, so it is text whatever it looks like */
    char *text;                   /* SCALAR */
    struct config_node **items;   /* LIST, MAP */
    char **keys;                  /* MAP: name of items[i] */
    uint32_t count;
};

struct config_node *config_node_create(enum config_kind kind);
void config_node_destroy(struct config_node *node);
/* The child of that name; - and _ are alike. NULL: none. */
struct config_node *config_node_find(const struct config_node *map, struct span name);
/* Put `child` (taken) under `name`, replacing what was there. */
void config_node_put(struct config_node *map, struct span name, struct config_node *take_child);
/* Lay `over` (taken) on `base`: maps are merged, all else is replaced; gives the result. */
struct config_node *config_node_merge(struct config_node *base, struct config_node *take_over);
/* Follow a dotted name; create: missing maps are made. NULL: not there. */
struct config_node *config_node_walk(struct config_node *root, const char *name, bool create);

/* Parse YAML (one document; aliases are refused). ERR_CONFIG: why says line and problem. An empty document
 * is CONFIG_NULL. Nesting and size are limited. */
int config_yaml_parse(struct span yaml, struct config_node **out_node, struct text *why) MUST_USE;
/* Replace $NAME and ${NAME} in all scalars by the environment's values, as os.path.expandvars. */
void config_node_expand(struct config_node *node);

#endif
