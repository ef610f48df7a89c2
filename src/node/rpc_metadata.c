/* rpc_metadata.c: the tree of metadata that tasks and clients share: get_metadata, set_metadata.
 * Source: distributed scheduler.py set_metadata, get_metadata. */
#include "node/metadata.h"

#include "base/alloc.h"

/* A leaf holds a value; a branch holds children by key. A plain map set as a value is a leaf until somebody
 * looks inside. */
struct metadata {
    struct blob *leaf;   /* NULL: a branch */
    struct map children; /* canonical key → struct metadata * */
};

struct metadata *metadata_create(void)
{
    return mem_zalloc(1, sizeof(struct metadata));
}

/* As deep as paths that clients send, bounded by msgpack's nesting. */
void metadata_destroy(struct metadata *node)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&node->children, &cursor)) != NULL;) {
        metadata_destroy(entry->value.pointer);
    }
    map_fini(&node->children);
    blob_unref(node->leaf);
    mem_free(node);
}

/* Turn a leaf that is a plain map into a branch; false: it is no map. */
static bool open_leaf(struct metadata *node, struct arena *scratch)
{
    struct msgpack_reader reader;
    uint32_t count;
    if (node->leaf == NULL) {
        return true;
    }
    reader = msgpack_reader(slice_span(node->leaf->value));
    if (node->leaf->frame_count > 0 || msgpack_read_map(&reader, &count) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct span key, value;
        if (key_read(&reader, scratch, &key) != OK || msgpack_read_value(&reader, &value) != OK) {
            return false; /* keys that are no keys: it stays whole */
        }
        struct metadata *child = metadata_create();
        child->leaf = payload_value(value);
        struct map_entry *entry = map_put(&node->children, key, NULL);
        if (entry->value.pointer != NULL) {
            metadata_destroy(entry->value.pointer);
        }
        entry->value.pointer = child;
    }
    blob_unref(node->leaf);
    node->leaf = NULL;
    return true;
}

void metadata_write(const struct metadata *node, struct outgoing *out)
{
    if (node->leaf != NULL) {
        payload_put(out, node->leaf);
        return;
    }
    uint32_t cursor = 0;
    msgpack_write_map(&out->head, node->children.count);
    for (struct map_entry *entry; (entry = map_next(&node->children, &cursor)) != NULL;) {
        msgpack_write_raw(&out->head, entry->name);
        metadata_write(entry->value.pointer, out);
    }
}

/* The child to descend into on the way to a new value: what is no branch is replaced by one. */
static struct metadata *descend(struct metadata *node, struct span key, struct arena *scratch)
{
    struct map_entry *entry = map_put(&node->children, key, NULL);
    struct metadata *child = entry->value.pointer;
    if (child == NULL) {
        child = metadata_create();
        entry->value.pointer = child;
    } else if (!open_leaf(child, scratch)) {
        blob_unref(child->leaf);
        child->leaf = NULL;
    }
    return child;
}

void rpc_set_metadata(struct node *node, struct request *request, const struct message *message)
{
    struct key_list path = message->body.set_metadata.keys;
    struct span raw = message->body.set_metadata.value.raw, key;
    struct blob *value;
    if (path.count == 0) {
        request_raise_builtin(request, "IndexError", "set_metadata: no key is named");
        return;
    }
    if (raw.data == NULL) {
        value = payload_nil();
    } else if (payload_take(&request->message, raw, &value) != OK) {
        request_raise_builtin(request, "ValueError", "set_metadata: malformed value");
        return;
    }
    struct metadata *at = node->metadata;
    while (key_list_next(&path, &key)) {
        at = descend(at, key, &node->scratch);
    }
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&at->children, &cursor)) != NULL;) {
        metadata_destroy(entry->value.pointer);
        map_remove(&at->children, entry->name);
    }
    blob_unref(at->leaf);
    at->leaf = value;
    request_reply_nil(request);
}

static struct metadata *find(struct metadata *at, struct key_list path, struct arena *scratch,
                             struct span *out_missing)
{
    struct span key;
    while (key_list_next(&path, &key)) {
        struct map_entry *entry = open_leaf(at, scratch) ? map_find(&at->children, key) : NULL;
        if (entry == NULL) {
            *out_missing = key;
            return NULL;
        }
        at = entry->value.pointer;
    }
    return at;
}

/* The client's "there is no default" arrives as an object of its own, never as a plain value. */
static bool is_default(struct span raw)
{
    struct span name;
    return raw.data != NULL && msgpack_find(raw, "__Enum__", &name) != OK &&
           msgpack_find(raw, "__Pickled__", &name) != OK;
}

void rpc_get_metadata(struct node *node, struct request *request, const struct message *message)
{
    const struct msg_get_metadata *m = &message->body.get_metadata;
    struct span missing = {0};
    struct metadata *found = find(node->metadata, m->keys, &node->scratch, &missing);
    if (found == NULL && !is_default(m->default_value.raw)) {
        struct text name = {0};
        key_print(&name, missing);
        request_raise_builtin(request, "KeyError", "%s", text_cstr(&name));
        text_fini(&name);
        return;
    }
    struct outgoing answer;
    outgoing_init(&answer);
    struct blob *absent = NULL;
    if (found != NULL) {
        metadata_write(found, &answer);
    } else if (payload_take(&request->message, m->default_value.raw, &absent) == OK) {
        payload_put(&answer, absent);
    } else {
        msgpack_write_nil(&answer.head);
    }
    blob_unref(absent);
    request_reply(request, &answer);
    outgoing_fini(&answer);
}
