/* config_tree.c: a tree of settings. */
#include "node/config_tree.h"

#include <ctype.h>
#include <stdlib.h>

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
    map->items = mem_resize(map->items, map->count + 1, sizeof *map->items);
    map->keys = mem_resize(map->keys, map->count + 1, sizeof *map->keys);
    map->items[map->count] = take_child;
    map->keys[map->count] = copy_name(name);
    map->count++;
}

struct config_node *config_node_merge(struct config_node *base, struct config_node *take_over)
{
    if (base == NULL || base->kind != CONFIG_MAP || take_over->kind != CONFIG_MAP) {
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

static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static void expand_text(const char *from, struct text *out)
{
    while (*from != '\0') {
        bool braced = from[0] == '$' && from[1] == '{';
        const char *name = from + 1 + braced;
        size_t size = 0;
        while (from[0] == '$' && is_name_char(name[size])) {
            size++;
        }
        bool whole = size > 0 && (!braced || name[size] == '}');
        char *key = whole ? copy_name(span_of(name, size)) : NULL;
        const char *value = whole ? getenv(key) : NULL;
        if (value != NULL) {
            text_add_cstr(out, value);
            from = name + size + braced;
        } else {
            text_add_char(out, *from++);
        }
        mem_free(key);
    }
}

void config_node_expand(struct config_node *node)
{
    if (node->kind == CONFIG_SCALAR && strchr(node->text, '$') != NULL) {
        struct text text = {0};
        expand_text(node->text, &text);
        mem_free(node->text);
        node->text = copy_name(text_span(&text));
        text_fini(&text);
    }
    for (uint32_t i = 0; i < node->count; i++) {
        config_node_expand(node->items[i]);
    }
}
