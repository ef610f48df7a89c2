/* annotations.c: annotation maps as the core wants them. Annotations that mean nothing to the scheduler
 * still travel to the workers, in `wire`. */
#include "node/annotations.h"

#include "base/vec.h"
#include "wire/key.h"

struct pair {
    struct span name, value;
};

struct pairs VEC(struct pair);

/* Add the pairs of `map`; a name that is there takes the new value. */
static int add_pairs(struct pairs *pairs, struct span map)
{
    struct msgpack_reader reader = msgpack_reader(map);
    uint32_t count;
    if (map.size == 0) {
        return OK;
    }
    if (msgpack_read_map(&reader, &count) != OK) {
        return ERR_TYPE;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct pair pair;
        if (msgpack_read_str(&reader, &pair.name) != OK ||
            msgpack_read_value(&reader, &pair.value) != OK) {
            return ERR_TYPE;
        }
        uint32_t at = 0;
        while (at < pairs->count && !span_equal(pairs->items[at].name, pair.name)) {
            at++;
        }
        if (at == pairs->count) {
            vec_push(pairs, pair);
        } else {
            pairs->items[at] = pair;
        }
    }
    return OK;
}

/* A list, tuple or set of strings; or of scalars, as canonical msgpack, if `raw_items`. One str is a list. */
static int read_list(struct span raw, bool raw_items, struct arena *arena, struct span_list *out)
{
    struct span inner;
    if (msgpack_find(raw, "as-list", &inner) == OK) {
        raw = inner;
    }
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count = 1;
    if (msgpack_peek(&reader) == MSGPACK_ARRAY && msgpack_read_array(&reader, &count) != OK) {
        return ERR_TYPE;
    }
    struct span *items = arena_array(arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        int code =
            raw_items ? key_read(&reader, arena, &items[i]) : msgpack_read_str(&reader, &items[i]);
        if (code != OK) {
            return ERR_TYPE;
        }
    }
    *out = (struct span_list){items, count};
    return OK;
}

static int read_resources(struct span raw, struct arena *arena, struct annotation_info *out)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    uint32_t count;
    if (msgpack_read_map(&reader, &count) != OK) {
        return ERR_TYPE;
    }
    struct resource *items = arena_array(arena, struct resource, count);
    for (uint32_t i = 0; i < count; i++) {
        if (msgpack_read_str(&reader, &items[i].name) != OK ||
            msgpack_read_float(&reader, &items[i].amount) != OK) {
            return ERR_TYPE;
        }
    }
    out->resources = items;
    out->resource_count = count;
    return OK;
}

static int read_span(struct span raw, struct arena *arena, struct annotation_info *out)
{
    struct span name, ids;
    if (msgpack_find(raw, "name", &name) != OK || msgpack_find(raw, "ids", &ids) != OK) {
        return ERR_TYPE;
    }
    int code = read_list(name, false, arena, &out->span_name);
    return code != OK ? code : read_list(ids, false, arena, &out->span_ids);
}

static int read_truth(struct span raw, bool *out)
{
    struct msgpack_reader reader = msgpack_reader(raw);
    int64_t number;
    if (msgpack_read_bool(&reader, out) == OK) {
        return OK;
    }
    *out = msgpack_read_int(&reader, &number) == OK && number != 0;
    return OK;
}

static int read_pair(const struct pair *pair, struct arena *arena, struct annotation_info *out)
{
    struct msgpack_reader reader = msgpack_reader(pair->value);
    int64_t number;
    if (msgpack_is_nil(pair->value)) {
        return OK;
    }
    if (span_equal(pair->name, SPAN("workers")) || span_equal(pair->name, SPAN("restrictions"))) {
        out->has_workers = true;
        return read_list(pair->value, true, arena, &out->workers);
    }
    if (span_equal(pair->name, SPAN("allow_other_workers")) ||
        span_equal(pair->name, SPAN("loose_restrictions"))) {
        return read_truth(pair->value, &out->allow_other_workers);
    }
    if (span_equal(pair->name, SPAN("resources"))) {
        return read_resources(pair->value, arena, out);
    }
    if (span_equal(pair->name, SPAN("priority"))) {
        out->has_priority = true;
        return msgpack_read_float(&reader, &out->priority);
    }
    if (span_equal(pair->name, SPAN("retries"))) {
        int code = msgpack_read_int(&reader, &number);
        out->retries = number < 0 ? 0 : number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
        return code;
    }
    if (span_equal(pair->name, SPAN("span"))) {
        return read_span(pair->value, arena, out);
    }
    return OK;
}

/* The map as workers get it: everything but "span". */
static struct blob *write_wire(const struct pairs *pairs, const struct blob *own)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pairs->count; i++) {
        count += !span_equal(pairs->items[i].name, SPAN("span"));
    }
    if (count == 0) {
        return NULL;
    }
    struct text map = {0};
    msgpack_write_map(&map, count);
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (!span_equal(pairs->items[i].name, SPAN("span"))) {
            msgpack_write_str(&map, pairs->items[i].name);
            msgpack_write_raw(&map, pairs->items[i].value);
        }
    }
    uint32_t frames = own == NULL ? 0 : own->frame_count;
    struct blob *wire = blob_create(slice_copy(text_span(&map)), frames);
    for (uint32_t i = 0; i < frames; i++) {
        wire->frames[i] = slice_ref(own->frames[i]);
    }
    text_fini(&map);
    return wire;
}

int annotations_read(struct span global, const struct blob *own, struct arena *arena,
                     struct annotation_info *out, struct text *why)
{
    struct pairs pairs = {0};
    memset(out, 0, sizeof *out);
    int code = add_pairs(&pairs, global);
    if (code == OK && own != NULL) {
        code = add_pairs(&pairs, slice_span(own->value));
    }
    if (code != OK) {
        text_add_cstr(why, "annotations must map names to values");
    }
    for (uint32_t i = 0; code == OK && i < pairs.count; i++) {
        code = read_pair(&pairs.items[i], arena, out);
        if (code != OK) {
            text_printf(why, "annotation '%.*s' has a value of the wrong type",
                        (int)pairs.items[i].name.size, (const char *)pairs.items[i].name.data);
        }
    }
    if (code == OK) {
        out->wire = write_wire(&pairs, own);
    }
    vec_fini(&pairs);
    return code;
}
