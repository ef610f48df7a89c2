/* config_tree.c: a tree of settings. */
#include "node/config_tree.h"

#include "base/alloc.h"

struct config_node *config_node_create(enum config_kind kind)
{
    struct config_node *node = mem_zalloc(1, sizeof *node);
    node->kind = kind;
    return node;
}

/* Depth is bounded by the parser's limit. */
void config_node_destroy(struct config_node *node)
{
    if (node == NULL) {
        return;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        config_node_destroy(node->items[i]);
        if (node->keys != NULL) {
            mem_free(node->keys[i]);
        }
    }
    mem_free(node->items);
    mem_free(node->keys);
    mem_free(node->text);
    mem_free(node);
}

static char fold(uint8_t c)
{
    return c == '_' ? '-' : (char)c;
}

static bool name_is(const char *name, struct span wanted)
{
    for (size_t i = 0; i < wanted.size; i++) {
        if (name[i] == '\0' || fold((uint8_t)name[i]) != fold(wanted.data[i])) {
            return false;
        }
    }
    return name[wanted.size] == '\0';
}

static uint32_t index_of(const struct config_node *map, struct span name)
{
    uint32_t i = 0;
    while (i < map->count && !name_is(map->keys[i], name)) {
        i++;
    }
    return i;
}

struct config_node *config_node_find(const struct config_node *map, struct span name)
{
    if (map->kind != CONFIG_MAP) {
        return NULL;
    }
    uint32_t i = index_of(map, name);
    return i == map->count ? NULL : map->items[i];
}

static char *copy_name(struct span name)
{
    char *copy = mem_alloc(name.size + 1);
    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    return copy;
}

void config_node_put(struct config_node *map, struct span name, struct config_node *take_child)
{
    ASSERT(map->kind == CONFIG_MAP);
    uint32_t i = index_of(map, name);
    if (i < map->count) {
        config_node_destroy(map->items[i]);
        map->items[i] = take_child;
        return;
    }
    map->items = mem_resize(map->items, map->count + 1, sizeof(void *));
    map->keys = mem_resize(map->keys, map->count + 1, sizeof *map->keys);
    map->items[map->count] = take_child;
    map->keys[map->count] = copy_name(name);
    map->count++;
}

void config_node_add(struct config_node *list, struct config_node *take_item)
{
    ASSERT(list->kind == CONFIG_LIST);
    list->items = mem_resize(list->items, list->count + 1, sizeof(void *));
    list->items[list->count++] = take_item;
}

struct config_node *config_node_merge(struct config_node *base, struct config_node *take_over)
{
    bool is_map = base != NULL && base->kind == CONFIG_MAP;
    if (is_map && take_over->kind != CONFIG_MAP) {
        config_node_destroy(take_over);
        return base;
    }
    if (!is_map) {
        config_node_destroy(base);
        return take_over;
    }
    for (uint32_t i = 0; i < take_over->count; i++) {
        struct span name = span_of_text(take_over->keys[i]);
        uint32_t at = index_of(base, name);
        struct config_node *child = take_over->items[i];
        take_over->items[i] = NULL;
        if (at < base->count) {
            base->items[at] = config_node_merge(base->items[at], child);
        } else {
            config_node_put(base, name, child);
        }
    }
    config_node_destroy(take_over);
    return base;
}

struct config_node *config_node_walk(struct config_node *root, const char *name, bool create)
{
    struct config_node *node = root;
    while (*name != '\0') {
        size_t size = strcspn(name, ".");
        struct span part = span_of(name, size);
        struct config_node *child = config_node_find(node, part);
        if (create && (child == NULL || (child->kind != CONFIG_MAP && name[size] == '.'))) {
            child = config_node_create(CONFIG_MAP);
            config_node_put(node, part, child);
        }
        if (child == NULL) {
            return NULL;
        }
        node = child;
        name += size + (name[size] == '.');
    }
    return node;
}

/* The map that holds the last part of a dotted name, and that part. */
static struct config_node *walk_to_parent(struct config_node *root, const char *name, bool create,
                                          struct span *out_last)
{
    const char *dot = strrchr(name, '.');
    *out_last = span_of_text(dot == NULL ? name : dot + 1);
    char *parent_name = copy_name(span_of(name, dot == NULL ? 0 : (size_t)(dot - name)));
    struct config_node *parent = config_node_walk(root, parent_name, create);
    if (create && parent->kind != CONFIG_MAP) {
        parent = config_node_create(CONFIG_MAP);
        config_node_put_path(root, parent_name, parent);
    }
    mem_free(parent_name);
    return parent;
}

void config_node_put_path(struct config_node *root, const char *name,
                          struct config_node *take_child)
{
    struct span last;
    struct config_node *parent = walk_to_parent(root, name, true, &last);
    config_node_put(parent, last, take_child);
}

struct config_node *config_node_take(struct config_node *root, const char *name)
{
    struct span last;
    struct config_node *parent = walk_to_parent(root, name, false, &last);
    if (parent == NULL || parent->kind != CONFIG_MAP) {
        return NULL;
    }
    uint32_t i = index_of(parent, last);
    if (i == parent->count) {
        return NULL;
    }
    struct config_node *taken = parent->items[i];
    mem_free(parent->keys[i]);
    parent->count--;
    for (; i < parent->count; i++) { /* order is kept */
        parent->items[i] = parent->items[i + 1];
        parent->keys[i] = parent->keys[i + 1];
    }
    return taken;
}
