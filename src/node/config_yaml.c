/* config_yaml.c: YAML text as a tree, by libyaml's parser. Explicit stack: nesting comes from files. */
#include <yaml.h>

#include "base/alloc.h"
#include "base/error.h"
#include "node/config_tree.h"

#define DEPTH_MAX 64

struct builder {
    struct config_node *stack[DEPTH_MAX];
    char *keys[DEPTH_MAX]; /* pending key of each map on the stack */
    uint32_t depth;
    struct config_node *root;
};

/* A finished value goes into the container on top, or is the root. False: a map's key is no scalar. */
static bool add_value(struct builder *b, struct config_node *node)
{
    if (b->depth == 0) {
        b->root = node;
        return true;
    }
    struct config_node *top = b->stack[b->depth - 1];
    if (top->kind == CONFIG_LIST) {
        top->items = mem_resize(top->items, top->count + 1, sizeof *top->items);
        top->items[top->count++] = node;
        return true;
    }
    char **key = &b->keys[b->depth - 1];
    if (*key != NULL) {
        config_node_put(top, span_of_text(*key), node);
        mem_free(*key);
        *key = NULL;
        return true;
    }
    if (node->kind != CONFIG_SCALAR && node->kind != CONFIG_NULL) {
        config_node_destroy(node);
        return false;
    }
    *key = mem_copy(node->text == NULL ? "null" : node->text, node->text == NULL ? 5 : strlen(node->text) + 1);
    config_node_destroy(node);
    return true;
}

static bool is_null(const char *text)
{
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static bool add_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (is_plain && is_null(text)) {
        return add_value(b, config_node_create(CONFIG_NULL));
    }
    struct config_node *node = config_node_create(CONFIG_SCALAR);
    node->text = mem_copy(text, strlen(text) + 1);
    node->is_quoted = !is_plain;
    return add_value(b, node);
}

/* One event of the parser; the problem, or NULL. */
static const char *take_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return add_scalar(b, event) ? NULL : "a mapping's key must be a scalar";
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (b->depth == DEPTH_MAX) {
            return "nested too deep";
        }
        b->stack[b->depth++] =
            config_node_create(event->type == YAML_SEQUENCE_START_EVENT ? CONFIG_LIST : CONFIG_MAP);
        return NULL;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: {
        struct config_node *done = b->stack[--b->depth];
        return add_value(b, done) ? NULL : "a mapping's key must be a scalar";
    }
    case YAML_ALIAS_EVENT:
        return "aliases (*name) are not supported here";
    default:
        return NULL;
    }
}

static void builder_fini(struct builder *b)
{
    for (uint32_t i = 0; i < b->depth; i++) {
        config_node_destroy(b->stack[i]);
        mem_free(b->keys[i]);
    }
    config_node_destroy(b->root);
}

int config_yaml_parse(struct span yaml, struct config_node **out_node, struct text *why)
{
    yaml_parser_t parser;
    struct builder b = {0};
    const char *problem = NULL;
    bool is_done = false;
    int ready = yaml_parser_initialize(&parser);
    ASSERT(ready);
    yaml_parser_set_input_string(&parser, yaml.data, yaml.size);
    while (!is_done && problem == NULL) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            problem = parser.problem == NULL ? "not YAML" : parser.problem;
            break;
        }
        is_done = event.type == YAML_STREAM_END_EVENT || event.type == YAML_DOCUMENT_END_EVENT;
        problem = take_event(&b, &event);
        yaml_event_delete(&event);
    }
    if (problem != NULL) {
        text_printf(why, "line %zu: %s", parser.problem_mark.line + 1, problem);
    } else {
        *out_node = b.root == NULL ? config_node_create(CONFIG_NULL) : b.root;
        b.root = NULL;
    }
    yaml_parser_delete(&parser);
    builder_fini(&b);
    return problem == NULL ? OK : ERR_CONFIG;
}
