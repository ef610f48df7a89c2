/* pickle_keys.c: a hash table from canonical keys to numbers. A key is mostly met as the same node
 * again (the pickler's memo), so a text node remembers its number and is hashed once. */
#include "wire/pickle_keys.h"

#include "base/alloc.h"

enum { SLOTS_MIN = 16 };

void pickle_keys_init(struct pickle_keys *keys, struct pickle_tree *tree, struct arena *arena)
{
    *keys = (struct pickle_keys){.tree = tree, .arena = arena};
}

void pickle_keys_fini(struct pickle_keys *keys)
{
    vec_fini(&keys->spans);
    vec_fini(&keys->hashes);
    mem_free(keys->slots);
    text_fini(&keys->scratch);
}

/* The slot that holds `key`, or the empty one where it belongs. */
static uint32_t *find_slot(const struct pickle_keys *keys, struct span key, uint64_t hash)
{
    uint32_t mask = keys->slot_count - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        uint32_t number = keys->slots[i];
        if (number == 0 || (keys->hashes.items[number - 1] == hash &&
                            span_equal(keys->spans.items[number - 1], key))) {
            return &keys->slots[i];
        }
    }
}

static void grow(struct pickle_keys *keys)
{
    mem_free(keys->slots);
    keys->slot_count = keys->slot_count == 0 ? SLOTS_MIN : keys->slot_count * 2;
    keys->slots = mem_zalloc(keys->slot_count, sizeof *keys->slots);
    uint32_t mask = keys->slot_count - 1;
    for (uint32_t number = 0; number < keys->hashes.count; number++) {
        uint32_t i = (uint32_t)keys->hashes.items[number] & mask;
        while (keys->slots[i] != 0) {
            i = (i + 1) & mask;
        }
        keys->slots[i] = number + 1;
    }
}

static bool is_noted(const struct pickle_node *node, uint32_t *out_number)
{
    if (node->kind != PICKLE_TEXT || node->number == 0) {
        return false;
    }
    *out_number = node->number - 1;
    return true;
}

static void note(struct pickle_node *node, uint32_t number)
{
    if (node->kind == PICKLE_TEXT) {
        node->number = number + 1;
    }
}

int pickle_keys_put(struct pickle_keys *keys, pickle_id id, uint32_t *out_number)
{
    struct pickle_node *node = pickle_get(keys->tree, id);
    if (is_noted(node, out_number)) {
        return 0;
    }
    text_clear(&keys->scratch);
    int error = pickle_key_write(keys->tree, id, &keys->scratch);
    if (error != 0) {
        return error;
    }
    if (keys->spans.count >= keys->slot_count / 2) {
        grow(keys);
    }
    struct span key = text_span(&keys->scratch);
    uint64_t hash = span_hash(key);
    uint32_t *slot = find_slot(keys, key, hash);
    if (*slot == 0) {
        vec_push(&keys->spans, arena_copy(keys->arena, key));
        vec_push(&keys->hashes, hash);
        *slot = keys->spans.count;
    }
    *out_number = *slot - 1;
    note(node, *out_number);
    return 0;
}

bool pickle_keys_find(struct pickle_keys *keys, pickle_id id, uint32_t *out_number)
{
    struct pickle_node *node = pickle_get(keys->tree, id);
    if (is_noted(node, out_number)) {
        return true;
    }
    text_clear(&keys->scratch);
    if (keys->slot_count == 0 || pickle_key_write(keys->tree, id, &keys->scratch) != 0) {
        return false;
    }
    struct span key = text_span(&keys->scratch);
    uint32_t number = *find_slot(keys, key, span_hash(key));
    if (number == 0) {
        return false;
    }
    *out_number = number - 1;
    note(node, *out_number);
    return true;
}
