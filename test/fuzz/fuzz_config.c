/* fuzz_config.c: any bytes as a YAML file of settings; what is taken can be merged, read and written. */
#include "base/error.h"
#include "node/config_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_node *tree, *again;
    struct text why = {0};
    if (config_yaml_parse(span_of(data, size), &tree, &why) != OK) {
        ASSERT(why.size > 0);
        text_fini(&why);
        return 0;
    }
    int code = config_yaml_parse(span_of(data, size), &again, &why);
    ASSERT(code == OK);
    if (tree->kind == CONFIG_MAP) {
        tree = config_node_merge(tree, again);
        ASSERT(tree->kind == CONFIG_MAP);
        config_node_put_path(tree, "a.b", config_node_create(CONFIG_NULL));
        struct config_node *taken = config_node_take(tree, "a.b");
        ASSERT(taken != NULL);
        config_node_destroy(taken);
    } else {
        config_node_destroy(again);
    }
    config_node_destroy(tree);
    text_fini(&why);
    return 0;
}
