/* pickle_value.c: constant trees as msgpack. Trees may share and nest without end, so depth and the
 * number of values written are bounded. */
#include "wire/pickle_value.h"

#include "base/limits.h"
#include "wire/msgpack.h"

enum {
    VALUES_MAX = 1u << 24, /* written: a pickle of a few bytes can stand for any number */
};

struct writer {
    const struct pickle_tree *tree;
    struct text *out;
    uint32_t value_count;
    uint32_t depth;
};

static int write_int(const struct writer *w, pickle_id id)
{
    uint64_t value;
    bool negative;
    if (!pickle_int(w->tree, id, &value, &negative)) {
        return ERR_UNSUPPORTED;
    }
    if (negative) {
        msgpack_write_int(w->out, (int64_t)value);
    } else {
        msgpack_write_uint(w->out, value);
    }
    return 0;
}

static int write_float(const struct writer *w, pickle_id id)
{
    double value;
    if (!pickle_float(w->tree, id, &value)) {
        return ERR_UNSUPPORTED;
    }
    msgpack_write_float(w->out, value);
    return 0;
}

static int write_text(const struct writer *w, pickle_id id)
{
    struct span text = pickle_payload(w->tree, id);
    if (text.size > UINT32_MAX || !msgpack_is_utf8(text)) {
        return ERR_UNSUPPORTED;
    }
    msgpack_write_str(w->out, text);
    return 0;
}

static int write_bytes(const struct writer *w, pickle_id id)
{
    struct span bytes = pickle_payload(w->tree, id);
    if (bytes.size > UINT32_MAX) {
        return ERR_UNSUPPORTED;
    }
    msgpack_write_bin(w->out, bytes);
    return 0;
}

static int write_value(struct writer *w, pickle_id id);

static int write_items(struct writer *w, pickle_id id)
{
    struct pickle_items items;
    pickle_id item;
    int error = 0;
    bool begun = pickle_items_begin(w->tree, id, &items);
    ASSERT(begun);
    while (error == 0 && pickle_items_next(&items, &item)) {
        error = write_value(w, item);
    }
    return error;
}

static int write_container(struct writer *w, pickle_id id, enum pickle_kind kind)
{
    uint32_t count = pickle_items_count(w->tree, id);
    switch (kind) {
    case PICKLE_DICT:
        msgpack_write_map(w->out, count / 2);
        break;
    case PICKLE_SET:
    case PICKLE_FROZENSET:
        msgpack_write_map(w->out, 2);
        msgpack_write_cstr(w->out, "__Set__");
        msgpack_write_bool(w->out, true);
        msgpack_write_cstr(w->out, "as-list");
        msgpack_write_array(w->out, count);
        break;
    default:
        msgpack_write_array(w->out, count);
        break;
    }
    w->depth++;
    int error = write_items(w, id);
    w->depth--;
    return error;
}

/* A named tuple is its tuple. */
static int write_object(struct writer *w, pickle_id id)
{
    if (!pickle_is_call(w->tree, id, "distributed.client", "SourceCode", 4) ||
        pickle_get(w->tree, id)->post != 0) {
        return ERR_UNSUPPORTED;
    }
    return write_value(w, pickle_child(w->tree, id, 1));
}

static int write_value(struct writer *w, pickle_id id)
{
    if (w->value_count++ == VALUES_MAX || w->depth == LIMIT_MSGPACK_DEPTH_MAX) {
        return ERR_LIMIT;
    }
    enum pickle_kind kind = pickle_kind(w->tree, id);
    switch (kind) {
    case PICKLE_NONE:
        msgpack_write_nil(w->out);
        return 0;
    case PICKLE_TRUE:
    case PICKLE_FALSE:
        msgpack_write_bool(w->out, kind == PICKLE_TRUE);
        return 0;
    case PICKLE_INT:
        return write_int(w, id);
    case PICKLE_FLOAT:
        return write_float(w, id);
    case PICKLE_TEXT:
        return write_text(w, id);
    case PICKLE_BYTES:
    case PICKLE_BYTEARRAY:
        return write_bytes(w, id);
    case PICKLE_TUPLE:
    case PICKLE_LIST:
    case PICKLE_DICT:
    case PICKLE_SET:
    case PICKLE_FROZENSET:
        return write_container(w, id, kind);
    default:
        return write_object(w, id);
    }
}

/* Take back what was appended behind `size`. */
static void cut_back(struct text *out, size_t size)
{
    out->size = size;
    if (out->data != NULL) {
        out->data[size] = '\0';
    }
}

int pickle_value_write(const struct pickle_tree *tree, pickle_id id, struct text *out)
{
    struct writer w = {.tree = tree, .out = out};
    size_t size = out->size;
    int error = write_value(&w, id);
    if (error != 0) {
        cut_back(out, size);
    }
    return error;
}

int pickle_value_decode(struct span pickle, struct text *out)
{
    struct pickle_tree tree;
    int error = pickle_read(pickle, &tree);
    if (error != 0) {
        return error;
    }
    error = pickle_value_write(&tree, tree.root, out);
    pickle_tree_fini(&tree);
    return error;
}

static int write_key(struct writer *w, pickle_id id, size_t start)
{
    if (w->depth == LIMIT_MSGPACK_DEPTH_MAX || w->out->size - start > LIMIT_KEY_BYTES_MAX) {
        return ERR_UNSUPPORTED;
    }
    switch (pickle_kind(w->tree, id)) {
    case PICKLE_TEXT:
        return write_text(w, id);
    case PICKLE_INT:
        return write_int(w, id);
    case PICKLE_FLOAT:
        return write_float(w, id);
    case PICKLE_TUPLE:
        break;
    default:
        return ERR_UNSUPPORTED;
    }
    uint32_t count = pickle_get(w->tree, id)->count;
    msgpack_write_array(w->out, count);
    w->depth++;
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < count; i++) {
        error = write_key(w, pickle_child(w->tree, id, i), start);
    }
    w->depth--;
    return error;
}

int pickle_key_write(const struct pickle_tree *tree, pickle_id id, struct text *out)
{
    struct writer w = {.tree = tree, .out = out};
    size_t size = out->size;
    int error = write_key(&w, id, size);
    if (error == 0 && out->size - size > LIMIT_KEY_BYTES_MAX) {
        error = ERR_UNSUPPORTED;
    }
    if (error != 0) {
        cut_back(out, size);
    }
    return error;
}
