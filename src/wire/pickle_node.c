/* pickle_node.c: how the nodes of a pickle's tree are looked at. */
#include "wire/pickle.h"

static uint64_t little_endian(const uint8_t *bytes, uint32_t width)
{
    uint64_t value = 0;
    for (uint32_t i = width; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* How the operands of constants are laid out: bytes of their length, or of themselves. */
static const uint8_t LENGTH_WIDTHS[256] = {
    [0x8a] = 1, [0x8b] = 4, [0x8c] = 1, ['X'] = 4,  [0x8d] = 8,
    ['C'] = 1,  ['B'] = 4,  [0x8e] = 8, [0x96] = 8,
};
static const uint8_t CONSTANT_WIDTHS[256] = {['J'] = 4, ['K'] = 1, ['M'] = 2, ['G'] = 8};

/* The operand of a constant's opcode, without its length. The reader has checked that it is there. */
static struct span operand(const struct pickle_tree *tree, pickle_id id)
{
    const uint8_t *at = tree->bytes.data + pickle_get(tree, id)->start;
    uint32_t width = LENGTH_WIDTHS[*at];
    if (width == 0) {
        return span_of(at + 1, CONSTANT_WIDTHS[*at]);
    }
    return span_of(at + 1 + width, (size_t)little_endian(at + 1, width));
}

struct span pickle_payload(const struct pickle_tree *tree, pickle_id id)
{
    enum pickle_kind kind = pickle_kind(tree, id);
    if (kind != PICKLE_TEXT && kind != PICKLE_BYTES && kind != PICKLE_BYTEARRAY) {
        return (struct span){0};
    }
    return operand(tree, id);
}

bool pickle_is_text(const struct pickle_tree *tree, pickle_id id, const char *text)
{
    return pickle_kind(tree, id) == PICKLE_TEXT && span_equal_text(operand(tree, id), text);
}

bool pickle_int(const struct pickle_tree *tree, pickle_id id, uint64_t *out_value,
                bool *out_negative)
{
    if (pickle_kind(tree, id) != PICKLE_INT) {
        return false;
    }
    struct span bytes = operand(tree, id);
    uint8_t opcode = tree->bytes.data[pickle_get(tree, id)->start];
    bool is_signed = opcode != 'K' && opcode != 'M';
    bool negative = is_signed && bytes.size > 0 && (bytes.data[bytes.size - 1] & 0x80) != 0;
    uint8_t filler = negative ? 0xff : 0;
    uint64_t value = negative ? UINT64_MAX : 0;
    for (size_t i = bytes.size; i-- > 0;) {
        if (i >= sizeof value && bytes.data[i] != filler) {
            return false;
        }
        value = value << 8 | bytes.data[i];
    }
    if (negative && (int64_t)value >= 0) {
        return false;
    }
    *out_value = value;
    *out_negative = negative;
    return true;
}

bool pickle_float(const struct pickle_tree *tree, pickle_id id, double *out_value)
{
    if (pickle_kind(tree, id) != PICKLE_FLOAT) {
        return false;
    }
    struct span bytes = operand(tree, id);
    uint64_t bits = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        bits = bits << 8 | bytes.data[i];
    }
    memcpy(out_value, &bits, sizeof bits);
    return true;
}

/* `at` begins with `text` and a newline; moves behind it. */
static bool line_is(const uint8_t **at, const char *text)
{
    size_t size = strlen(text);
    const uint8_t *newline = rawmemchr(*at, '\n');
    bool same = (size_t)(newline - *at) == size && memcmp(*at, text, size) == 0;
    *at = newline + 1;
    return same;
}

bool pickle_is_global(const struct pickle_tree *tree, pickle_id id, const char *module,
                      const char *name)
{
    const struct pickle_node *node = pickle_get(tree, id);
    if (node->kind != PICKLE_GLOBAL) {
        return false;
    }
    if (node->count == 2) {
        return pickle_is_text(tree, pickle_child(tree, id, 1), name) &&
               pickle_is_text(tree, pickle_child(tree, id, 0), module);
    }
    const uint8_t *at = tree->bytes.data + node->start + 1;
    return line_is(&at, module) && line_is(&at, name);
}

bool pickle_is_call(const struct pickle_tree *tree, pickle_id id, const char *module,
                    const char *name, uint32_t count)
{
    const struct pickle_node *node = pickle_get(tree, id);
    if (node->kind != PICKLE_REDUCE && node->kind != PICKLE_NEWOBJ) {
        return false;
    }
    const struct pickle_node *arguments = pickle_get(tree, pickle_child(tree, id, 1));
    return arguments->kind == PICKLE_TUPLE && arguments->count == count &&
           pickle_is_global(tree, pickle_child(tree, id, 0), module, name);
}

pickle_id pickle_argument(const struct pickle_tree *tree, pickle_id id, uint32_t index)
{
    return pickle_child(tree, pickle_child(tree, id, 1), index);
}

/* Which post adds items to a container that has them in posts; false for anything else. */
static bool adding_post(enum pickle_kind kind, uint32_t *out_post)
{
    switch (kind) {
    case PICKLE_LIST:
        *out_post = PICKLE_APPENDS;
        return true;
    case PICKLE_DICT:
        *out_post = PICKLE_SETITEMS;
        return true;
    case PICKLE_SET:
        *out_post = PICKLE_ADDITEMS;
        return true;
    default:
        return false;
    }
}

bool pickle_items_begin(const struct pickle_tree *tree, pickle_id id, struct pickle_items *out)
{
    const struct pickle_node *node = pickle_get(tree, id);
    *out = (struct pickle_items){.tree = tree};
    if (node->kind == PICKLE_TUPLE || node->kind == PICKLE_FROZENSET) {
        out->at = node->first;
        out->end = node->first + node->count;
        return true;
    }
    out->post = node->post;
    return adding_post((enum pickle_kind)node->kind, &out->wanted);
}

bool pickle_items_next(struct pickle_items *items, pickle_id *out_id)
{
    const struct pickle_tree *tree = items->tree;
    while (items->at == items->end) {
        if (items->post == 0) {
            return false;
        }
        const struct pickle_post *post = &tree->posts.items[items->post - 1];
        items->post = post->next;
        if (post->kind == items->wanted) {
            items->at = post->first;
            items->end = post->first + post->count;
        }
    }
    *out_id = tree->children.items[items->at++];
    return true;
}

uint32_t pickle_items_count(const struct pickle_tree *tree, pickle_id id)
{
    const struct pickle_node *node = pickle_get(tree, id);
    struct pickle_items items;
    if (!pickle_items_begin(tree, id, &items)) {
        return 0;
    }
    uint32_t count = items.end - items.at;
    for (uint32_t i = node->post; i != 0; i = tree->posts.items[i - 1].next) {
        count += tree->posts.items[i - 1].kind == items.wanted ? tree->posts.items[i - 1].count : 0;
    }
    return count;
}

bool pickle_dict_find(const struct pickle_tree *tree, pickle_id id, const char *name,
                      pickle_id *out_value)
{
    struct pickle_items items;
    pickle_id key;
    pickle_id value;
    bool found = false;
    if (pickle_kind(tree, id) != PICKLE_DICT || !pickle_items_begin(tree, id, &items)) {
        return false;
    }
    while (pickle_items_next(&items, &key) && pickle_items_next(&items, &value)) {
        if (pickle_is_text(tree, key, name)) {
            *out_value = value;
            found = true;
        }
    }
    return found;
}
