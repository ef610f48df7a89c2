/* config_yaml.c: YAML text as a tree, by libyaml's parser. Explicit stack: nesting comes from files.
 *
 * An anchor keeps a copy of its node, an alias is a copy of that: so the tree stays a tree. The number of nodes
 * is bounded, as aliases of aliases would make a small file large. */
#include <yaml.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/vec.h"
#include "node/config_tree.h"

#define DEPTH_MAX 64
#define NODES_MAX 20000u

struct anchor {
    char *name;
    struct config_node *node;
};

struct builder {
    struct config_node *stack[DEPTH_MAX];
    char *keys[DEPTH_MAX];         /* pending key of each map on the stack */
    char *anchor_names[DEPTH_MAX]; /* of the containers on the stack; NULL: none */
    uint32_t depth;
    uint32_t node_count;
    struct config_node *root;
    struct VEC(struct anchor) anchors;
    const char *problem; /* the first one; NULL: none */
};

static void fail(struct builder *b, const char *problem)
{
    b->problem = b->problem != NULL ? b->problem : problem;
}

static struct config_node *new_node(struct builder *b, enum config_kind kind)
{
    if (++b->node_count > NODES_MAX) {
        fail(b, "too many values");
    }
    return config_node_create(kind);
}

static char *copy_cstr(const void *text)
{
    return mem_copy(text, strlen(text) + 1);
}

/* A deep copy, to stand at `depth`. Ends early, with the problem set, where it would go too far. */
static struct config_node *copy_node(struct builder *b, const struct config_node *from,
                                     uint32_t depth)
{
    struct config_node *node = new_node(b, from->kind);
    node->is_quoted = from->is_quoted;
    node->text = from->text == NULL ? NULL : copy_cstr(from->text);
    if (depth >= DEPTH_MAX) {
        fail(b, "nested too deep");
    }
    for (uint32_t i = 0; i < from->count && b->problem == NULL; i++) {
        struct config_node *child = copy_node(b, from->items[i], depth + 1);
        if (from->kind == CONFIG_MAP) {
            config_node_put(node, span_of_text(from->keys[i]), child);
        } else {
            config_node_add(node, child);
        }
    }
    return node;
}

static void keep_anchor(struct builder *b, const char *name, const struct config_node *node)
{
    vec_push(&b->anchors, (struct anchor){copy_cstr(name), copy_node(b, node, 0)});
}

/* "<<: *defaults": what the map lacks comes from there. */
static void merge_into(struct builder *b, struct config_node *map, struct config_node *take_from)
{
    if (take_from->kind == CONFIG_LIST) {
        for (uint32_t i = 0; i < take_from->count; i++) {
            struct config_node *item = take_from->items[i];
            take_from->items[i] = NULL;
            merge_into(b, map, item);
        }
    } else if (take_from->kind == CONFIG_MAP) {
        for (uint32_t i = 0; i < take_from->count; i++) {
            struct span name = span_of_text(take_from->keys[i]);
            if (config_node_find(map, name) == NULL) {
                config_node_put(map, name, take_from->items[i]);
                take_from->items[i] = NULL;
            }
        }
    } else {
        fail(b, "'<<' needs a mapping or a list of them");
    }
    config_node_destroy(take_from);
}

static void add_pair(struct builder *b, struct config_node *map, const char *key,
                     struct config_node *take_value)
{
    if (strcmp(key, "<<") == 0) {
        merge_into(b, map, take_value);
    } else {
        config_node_put(map, span_of_text(key), take_value);
    }
}

/* A finished value goes into the container on top, or is the root. */
static void add_value(struct builder *b, struct config_node *take_node)
{
    if (b->depth == 0) {
        b->root = take_node;
        return;
    }
    struct config_node *top = b->stack[b->depth - 1];
    ASSERT(top != NULL);
    char **key = &b->keys[b->depth - 1];
    if (top->kind == CONFIG_LIST) {
        config_node_add(top, take_node);
    } else if (*key != NULL) {
        add_pair(b, top, *key, take_node);
        mem_free(*key);
        *key = NULL;
    } else {
        if (take_node->kind == CONFIG_LIST || take_node->kind == CONFIG_MAP) {
            fail(b, "a mapping's key must be a scalar");
        }
        *key = copy_cstr(take_node->text == NULL ? "null" : take_node->text);
        config_node_destroy(take_node);
    }
}

static bool is_null(const char *text)
{
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static void add_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    struct config_node *node = new_node(b, is_plain && is_null(text) ? CONFIG_NULL : CONFIG_SCALAR);
    if (node->kind == CONFIG_SCALAR) {
        node->text = copy_cstr(text);
        node->is_quoted = !is_plain;
    }
    if (event->data.scalar.anchor != NULL) {
        keep_anchor(b, (const char *)event->data.scalar.anchor, node);
    }
    add_value(b, node);
}

static void add_alias(struct builder *b, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    for (uint32_t i = b->anchors.count; i-- > 0;) { /* the last one of that name */
        if (strcmp(b->anchors.items[i].name, name) == 0) {
            add_value(b, copy_node(b, b->anchors.items[i].node, b->depth));
            return;
        }
    }
    fail(b, "an alias (*name) of an anchor (&name) that is not there");
}

static void open_container(struct builder *b, enum config_kind kind, const void *anchor)
{
    if (b->depth == DEPTH_MAX) {
        fail(b, "nested too deep");
        return;
    }
    b->anchor_names[b->depth] = anchor == NULL ? NULL : copy_cstr(anchor);
    b->stack[b->depth++] = new_node(b, kind);
}

static void close_container(struct builder *b)
{
    struct config_node *done = b->stack[--b->depth];
    char *name = b->anchor_names[b->depth];
    if (name != NULL) {
        keep_anchor(b, name, done);
        mem_free(name);
    }
    add_value(b, done);
}

static void take_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        add_scalar(b, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        open_container(b, CONFIG_LIST, event->data.sequence_start.anchor);
        break;
    case YAML_MAPPING_START_EVENT:
        open_container(b, CONFIG_MAP, event->data.mapping_start.anchor);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_container(b);
        break;
    case YAML_ALIAS_EVENT:
        add_alias(b, event);
        break;
    default:
        break;
    }
}

static void builder_fini(struct builder *b)
{
    for (uint32_t i = 0; i < b->depth; i++) {
        config_node_destroy(b->stack[i]);
        mem_free(b->keys[i]);
        mem_free(b->anchor_names[i]);
    }
    for (uint32_t i = 0; i < b->anchors.count; i++) {
        mem_free(b->anchors.items[i].name);
        config_node_destroy(b->anchors.items[i].node);
    }
    vec_fini(&b->anchors);
    config_node_destroy(b->root);
}

int config_yaml_parse(struct span yaml, struct config_node **out_node, struct text *why)
{
    yaml_parser_t parser;
    struct builder b = {0};
    bool is_done = false;
    int ready = yaml_parser_initialize(&parser);
    ASSERT(ready);
    yaml_parser_set_input_string(&parser, yaml.data, yaml.size);
    while (!is_done && b.problem == NULL) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            fail(&b, parser.problem == NULL ? "not YAML" : parser.problem);
            break;
        }
        is_done = event.type == YAML_STREAM_END_EVENT || event.type == YAML_DOCUMENT_END_EVENT;
        take_event(&b, &event);
        yaml_event_delete(&event);
    }
    if (b.problem != NULL) {
        text_printf(why, "line %zu: %s", parser.problem_mark.line + 1, b.problem);
    } else {
        *out_node = b.root == NULL ? config_node_create(CONFIG_NULL) : b.root;
        b.root = NULL;
    }
    int code = b.problem == NULL ? OK : ERR_CONFIG;
    yaml_parser_delete(&parser);
    builder_fini(&b);
    return code;
}
