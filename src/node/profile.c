/* profile.c: trees of statistical profiles. Recursion is as deep as msgpack may nest, which its reader
 * bounds (LIMIT_MSGPACK_DEPTH_MAX; a level of the tree is two of msgpack). */
#include "node/profile.h"

#include "base/map.h"
#include "base/vec.h"
#include "wire/msgpack.h"

struct tree {
    int64_t count;
    struct span children, identifier, description; /* raw */
};

static bool open_tree(struct span value, struct tree *out)
{
    struct span count;
    if (msgpack_find(value, "count", &count) != OK ||
        msgpack_find(value, "children", &out->children) != OK ||
        msgpack_find(value, "identifier", &out->identifier) != OK ||
        msgpack_find(value, "description", &out->description) != OK) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(count);
    return msgpack_read_int(&reader, &out->count) == OK;
}

bool profile_is_tree(struct span value)
{
    struct tree tree;
    struct span name, child;
    uint32_t count;
    if (msgpack_check(value) != OK || !open_tree(value, &tree)) {
        return false;
    }
    struct msgpack_reader reader = msgpack_reader(tree.children);
    bool is_tree = msgpack_read_map(&reader, &count) == OK;
    for (uint32_t i = 0; is_tree && i < count; i++) {
        is_tree = msgpack_read_str(&reader, &name) == OK &&
                  msgpack_read_value(&reader, &child) == OK && profile_is_tree(child);
    }
    return is_tree;
}

static void write_empty(struct text *out)
{
    msgpack_write_map(out, 4);
    msgpack_write_cstr(out, "count");
    msgpack_write_int(out, 0);
    msgpack_write_cstr(out, "children");
    msgpack_write_map(out, 0);
    msgpack_write_cstr(out, "identifier");
    msgpack_write_cstr(out, "root");
    msgpack_write_cstr(out, "description");
    msgpack_write_map(out, 4);
    msgpack_write_cstr(out, "filename");
    msgpack_write_cstr(out, "");
    msgpack_write_cstr(out, "name");
    msgpack_write_cstr(out, "");
    msgpack_write_cstr(out, "line_number");
    msgpack_write_int(out, 0);
    msgpack_write_cstr(out, "line");
    msgpack_write_cstr(out, "");
}

struct children VEC(struct span);

/* The children of all trees by identifier, in order of first appearance. */
static void group_children(const struct span *trees, uint32_t count, struct map *groups)
{
    for (uint32_t i = 0; i < count; i++) {
        struct tree tree;
        uint32_t child_count = 0;
        bool is_tree = open_tree(trees[i], &tree);
        ASSERT(is_tree);
        struct msgpack_reader reader = msgpack_reader(tree.children);
        int code = msgpack_read_map(&reader, &child_count);
        ASSERT(code == OK);
        for (uint32_t j = 0; j < child_count; j++) {
            struct span name, child;
            code = msgpack_read_str(&reader, &name);
            ASSERT(code == OK);
            code = msgpack_read_value(&reader, &child);
            ASSERT(code == OK);
            struct map_entry *entry = map_put(groups, name, NULL);
            if (entry->value.pointer == NULL) {
                entry->value.pointer = mem_zalloc(1, sizeof(struct children));
            }
            struct children *group = entry->value.pointer;
            vec_push(group, child);
        }
    }
}

static void write_children(struct text *out, const struct span *trees, uint32_t count)
{
    struct map groups = {0};
    group_children(trees, count, &groups);
    msgpack_write_map(out, groups.count);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&groups, &cursor)) != NULL;) {
        struct children *group = entry->value.pointer;
        msgpack_write_str(out, entry->name);
        profile_merge(out, group->items, group->count);
        vec_fini(group);
        mem_free(group);
    }
    map_fini(&groups);
}

void profile_merge(struct text *out, const struct span *trees, uint32_t count)
{
    if (count == 0) {
        write_empty(out);
        return;
    }
    struct tree first, tree;
    int64_t total = 0;
    for (uint32_t i = count; i-- > 0;) {
        bool is_tree = open_tree(trees[i], &tree);
        ASSERT(is_tree);
        total = (int64_t)((uint64_t)total + (uint64_t)tree.count); /* a peer's numbers may wrap */
        first = tree;
    }
    msgpack_write_map(out, 4);
    msgpack_write_cstr(out, "description");
    msgpack_write_raw(out, first.description);
    msgpack_write_cstr(out, "children");
    write_children(out, trees, count);
    msgpack_write_cstr(out, "count");
    msgpack_write_int(out, total);
    msgpack_write_cstr(out, "identifier");
    msgpack_write_raw(out, first.identifier);
}
