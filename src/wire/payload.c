/* payload.c: finding the placeholders of a value, and moving their frames from message to message.
 *
 *   {"__Serialized__": N}   81 ae "__Serialized__" N      frame N: sub-header, then its sub-frames
 *   {"__Pickled__": N}      81 ab "__Pickled__" N         the same; the pickle is in the sub-header
 *
 * Nearly every value is one placeholder or has none; both are recognised without a walk. Stock takes
 * any map with such a key for a placeholder, so one of any other form is refused: passed on, its
 * number would point to another message's frames, or break the next reader. */
#include "wire/payload.h"

#include "base/limits.h"
#include "wire/msgpack.h"
#include "wire/sub_header.h"

enum {
    KEPT_SHARE = 4, /* a slice smaller than 1/4 of its buffer is copied rather than pin it … */
    KEPT_MIN = 512, /* … unless the buffer is that small anyway */
    FRAMES_MAX = LIMIT_FRAMES_MAX,
};

static const char serialized_name[] = "__Serialized__";
static const char pickled_name[] = "__Pickled__";
static const struct span one_serialized = {(const uint8_t *)"\x81\xae__Serialized__\x01", 17};
static const struct span one_pickled = {(const uint8_t *)"\x81\xab__Pickled__\x01", 14};

/* A placeholder inside a value. */
struct place {
    size_t begin; /* its map's bytes are [begin, end) of the value */
    size_t end;
    uint32_t number; /* N */
    bool is_pickled;
};
struct places VEC(struct place);

static bool is_placeholder_name(struct span name, bool *out_is_pickled)
{
    *out_is_pickled = span_equal(name, SPAN("__Pickled__"));
    return *out_is_pickled || span_equal(name, SPAN("__Serialized__"));
}

/* The next value is a placeholder; moves behind it. */
static bool placeholder_next(struct msgpack_reader *reader, uint32_t *out_number,
                             bool *out_is_pickled)
{
    struct msgpack_reader cursor = *reader;
    uint32_t count;
    struct span name;
    uint64_t number;
    bool is_pickled;
    if (msgpack_read_map(&cursor, &count) != OK || count != 1 ||
        msgpack_read_str(&cursor, &name) != OK || !is_placeholder_name(name, &is_pickled) ||
        msgpack_read_uint(&cursor, &number) != OK || number == 0 || number > FRAMES_MAX) {
        return false;
    }
    *out_number = (uint32_t)number;
    *out_is_pickled = is_pickled;
    *reader = cursor;
    return true;
}

bool payload_is_placeholder(struct span value, uint32_t *out_number, bool *out_is_pickled)
{
    struct msgpack_reader reader = msgpack_reader(value);
    uint32_t number;
    bool is_pickled;
    if (!placeholder_next(&reader, &number, &is_pickled) || !msgpack_at_end(&reader)) {
        return false;
    }
    *out_number = number;
    *out_is_pickled = is_pickled;
    return true;
}

/* No placeholder can be in there. */
static bool is_plain(struct span value)
{
    return memmem(value.data, value.size, serialized_name, sizeof serialized_name - 1) == NULL &&
           memmem(value.data, value.size, pickled_name, sizeof pickled_name - 1) == NULL;
}

/* ---- Walking a value ---------------------------------------------------------------------------- */

/* A container around the current value. */
struct level {
    uint64_t left; /* values still to come in it; of a map, keys and values */
    bool is_map;
};

struct walk {
    struct msgpack_reader reader;
    struct level levels[LIMIT_MSGPACK_DEPTH_MAX];
    uint32_t depth;
};

/* At a str: a placeholder's name as a key, though its map was not taken as a placeholder. */
static bool is_hidden_placeholder(const struct walk *walk, struct msgpack_reader reader)
{
    const struct level *level = &walk->levels[walk->depth - 1];
    struct span name;
    bool is_pickled;
    return level->is_map && level->left % 2 == 1 && msgpack_read_str(&reader, &name) == OK &&
           is_placeholder_name(name, &is_pickled);
}

/* Enter a map or array; a map that is one placeholder is taken as a whole instead. */
static int walk_container(struct walk *walk, struct span value, struct places *places)
{
    struct msgpack_reader *reader = &walk->reader;
    const uint8_t *begin = reader->at;
    bool is_map = msgpack_peek(reader) == MSGPACK_MAP;
    uint32_t count = 0;
    struct place place;
    if (is_map && placeholder_next(reader, &place.number, &place.is_pickled)) {
        place.begin = (size_t)(begin - value.data);
        place.end = (size_t)(reader->at - value.data);
        vec_push(places, place);
        return OK;
    }
    int code = is_map ? msgpack_read_map(reader, &count) : msgpack_read_array(reader, &count);
    if (code != OK) {
        return code;
    }
    if (walk->depth == LIMIT_MSGPACK_DEPTH_MAX) {
        return ERR_LIMIT;
    }
    walk->levels[walk->depth++] = (struct level){is_map ? 2 * (uint64_t)count : count, is_map};
    return OK;
}

/* All placeholders of `value`, in order. */
static int places_find(struct span value, struct places *places)
{
    struct walk walk = {.reader = msgpack_reader(value), .depth = 0};
    walk.levels[walk.depth++] = (struct level){1, false};
    while (walk.depth > 0) {
        struct level *level = &walk.levels[walk.depth - 1];
        if (level->left == 0) {
            walk.depth--;
            continue;
        }
        level->left--;
        enum msgpack_type type = msgpack_peek(&walk.reader);
        int code;
        if (type == MSGPACK_MAP || type == MSGPACK_ARRAY) {
            code = walk_container(&walk, value, places);
        } else if (type == MSGPACK_STR && is_hidden_placeholder(&walk, walk.reader)) {
            code = ERR_MALFORMED;
        } else {
            code = msgpack_skip(&walk.reader);
        }
        if (code != OK) {
            return code;
        }
    }
    return OK;
}

static void placeholder_write(struct text *out, bool is_pickled, uint32_t number)
{
    msgpack_write_map(out, 1);
    msgpack_write_str(out, is_pickled ? SPAN("__Pickled__") : SPAN("__Serialized__"));
    msgpack_write_uint(out, number);
}

/* Write `value` with each placeholder's number N replaced by numbers[i], or by base + N. */
static void value_renumber(struct text *out, struct span value, const struct places *places,
                           const uint32_t *numbers, uint32_t base)
{
    size_t at = 0;
    for (uint32_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        msgpack_write_raw(out, span_of(value.data + at, place->begin - at));
        placeholder_write(out, place->is_pickled,
                          numbers != NULL ? numbers[i] : base + place->number);
        at = place->end;
    }
    msgpack_write_raw(out, span_of(value.data + at, value.size - at));
}

/* ---- Taking ------------------------------------------------------------------------------------- */

/* How many frames of `message` a placeholder names: its sub-header's and what that counts. */
static int place_frames(const struct frames *message, uint32_t number, uint32_t *out_count)
{
    if (number >= message->count) {
        return ERR_MALFORMED;
    }
    struct sub_header header;
    int code = sub_header_read(slice_span(message->items[number]), &header);
    if (code != OK) {
        return code;
    }
    if (header.frame_count > message->count - number - 1) {
        return ERR_MALFORMED;
    }
    *out_count = 1 + (uint32_t)header.frame_count;
    return OK;
}

/* Worth a copy: small, and it would hold on to a buffer many times its size. What lies elsewhere is the value's own:
 * its frames were put there together (frame.h, frame_memory). */
static bool is_better_copied(const struct slice *slice)
{
    return slice->owner != NULL && slice->owner->kind != BUF_FOREIGN &&
           slice->owner->capacity > KEPT_MIN && slice->size < slice->owner->capacity / KEPT_SHARE;
}

static void copy_into(struct buf *buf, struct slice *slice)
{
    if (!is_better_copied(slice)) {
        return;
    }
    uint8_t *at = buf->data + buf->size;
    if (slice->size > 0) {
        memcpy(at, slice->data, slice->size);
    }
    buf->size += slice->size;
    struct slice copy = slice_create(buf, span_of(at, slice->size));
    slice_fini(slice);
    *slice = copy;
}

/* Move the blob's small slices of large buffers into one buffer of their own. */
static void blob_unpin(struct blob *blob)
{
    size_t size = is_better_copied(&blob->value) ? blob->value.size : 0;
    bool any = is_better_copied(&blob->value);
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        if (is_better_copied(&blob->frames[i])) {
            size += blob->frames[i].size;
            any = true;
        }
    }
    if (!any) {
        return;
    }
    struct buf *buf = buf_create(size);
    copy_into(buf, &blob->value);
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        copy_into(buf, &blob->frames[i]);
    }
    buf_unref(buf);
}

/* A slice of frame 0's buffer, or a copy if that has no owner. */
static struct slice slice_of_head(const struct frames *message, struct span value)
{
    const struct slice *head = &message->items[0];
    ASSERT(value.data >= head->data && value.data + value.size <= head->data + head->size);
    return head->owner != NULL ? slice_create(head->owner, value) : slice_copy(value);
}

static void frames_put(const struct frames *message, uint32_t number, uint32_t count,
                       struct slice *out_frames)
{
    for (uint32_t i = 0; i < count; i++) {
        out_frames[i] = slice_ref(message->items[number + i]);
    }
}

/* The blob of a value with placeholders in any number and place. */
static int take_places(const struct frames *message, struct span value, const struct places *places,
                       struct blob **out_blob)
{
    struct numbers VEC(uint32_t) starts = {0};
    struct numbers counts = {0};
    uint64_t total = 0;
    int code = OK;
    for (uint32_t i = 0; i < places->count && code == OK; i++) {
        uint32_t count = 0;
        code = place_frames(message, places->items[i].number, &count);
        vec_push(&starts, (uint32_t)total + 1);
        vec_push(&counts, count);
        total += count;
        if (total >= message->count) {
            code = ERR_MALFORMED; /* two placeholders share frames: stock never does that */
        }
    }
    if (code == OK) {
        struct text text = {0};
        value_renumber(&text, value, places, starts.items, 0);
        struct blob *blob = blob_create(slice_copy(text_span(&text)), (uint32_t)total);
        text_fini(&text);
        for (uint32_t i = 0; i < places->count; i++) {
            frames_put(message, places->items[i].number, counts.items[i],
                       blob->frames + starts.items[i] - 1);
        }
        blob_unpin(blob);
        *out_blob = blob;
    }
    vec_fini(&starts);
    vec_fini(&counts);
    return code;
}

/* The blob of one placeholder: the usual case. */
static int take_one(const struct frames *message, uint32_t number, bool is_pickled,
                    struct blob **out_blob)
{
    uint32_t count;
    int code = place_frames(message, number, &count);
    if (code != OK) {
        return code;
    }
    struct span value = is_pickled ? one_pickled : one_serialized;
    struct blob *blob = blob_create((struct slice){value.data, value.size, NULL}, count);
    frames_put(message, number, count, blob->frames);
    blob_unpin(blob);
    *out_blob = blob;
    return OK;
}

int payload_take(const struct frames *message, struct span value, struct blob **out_blob)
{
    uint32_t number;
    bool is_pickled;
    if (payload_is_placeholder(value, &number, &is_pickled)) {
        return take_one(message, number, is_pickled, out_blob);
    }
    if (is_plain(value)) {
        struct blob *blob = blob_create(slice_of_head(message, value), 0);
        blob_unpin(blob);
        *out_blob = blob;
        return OK;
    }
    struct places places = {0};
    int code = places_find(value, &places);
    if (code == OK && places.count > 0) {
        code = take_places(message, value, &places, out_blob);
    } else if (code == OK) {
        *out_blob = blob_create(slice_copy(value), 0);
    }
    vec_fini(&places);
    return code;
}

/* ---- Putting ------------------------------------------------------------------------------------ */

void payload_put(struct outgoing *message, const struct blob *blob)
{
    struct span value = slice_span(blob->value);
    uint32_t base = message->frames.count;
    uint32_t number;
    bool is_pickled;
    if (blob->frame_count == 0) {
        msgpack_write_raw(&message->head, value);
        return;
    }
    if (payload_is_placeholder(value, &number, &is_pickled)) {
        placeholder_write(&message->head, is_pickled, base + number);
    } else {
        struct places places = {0};
        int code = places_find(value, &places);
        ASSERT(code == OK);
        value_renumber(&message->head, value, &places, NULL, base);
        vec_fini(&places);
    }
    vec_reserve(&message->frames, blob->frame_count);
    for (uint32_t i = 0; i < blob->frame_count; i++) {
        outgoing_add_frame(message, slice_ref(blob->frames[i]));
    }
}

/* ---- Making ------------------------------------------------------------------------------------- */

struct blob *payload_value(struct span value)
{
    return blob_create(slice_copy(value), 0);
}

struct blob *payload_nil(void)
{
    return blob_create((struct slice){(const uint8_t *)"\xc0", 1, NULL}, 0);
}

/* A blob of one placeholder: sub-header and, for `bytes` with data, one frame; in one buffer. */
static struct blob *blob_of_parts(struct span placeholder, struct span header, struct span bytes)
{
    struct buf *buf = buf_create(header.size + bytes.size);
    memcpy(buf->data, header.data, header.size);
    if (bytes.size > 0) {
        memcpy(buf->data + header.size, bytes.data, bytes.size);
    }
    buf->size = header.size + bytes.size;
    struct slice value = {placeholder.data, placeholder.size, NULL};
    struct blob *blob = blob_create(value, bytes.data == NULL ? 1 : 2);
    blob->frames[0] = slice_create(buf, span_of(buf->data, header.size));
    if (bytes.data != NULL) {
        blob->frames[1] = slice_create(buf, span_of(buf->data + header.size, bytes.size));
    }
    buf_unref(buf);
    return blob;
}

/* What stock writes for one frame that is neither split nor compressed. */
static const char one_frame_tail[] = "\xb4split-num-sub-frames\x91\x01\xadsplit-offsets\x91\x00"
                                     "\xab"
                                     "compression\x91\xc0\xaenum-sub-frames\x01";

struct blob *payload_serialized_bytes(struct span bytes)
{
    /* type-serialized is pickle.dumps(bytes) with protocol 5. */
    static const char type[] = "\x88\xaasub-header\x80\xa4type\xa5"
                               "bytes\xaftype-serialized\xc4\x21\x80\x05\x95\x16\0\0\0\0\0\0\0"
                               "\x8c\x08"
                               "builtins\x94\x8c\x05"
                               "bytes\x94\x93\x94.\xaaserializer\xa4"
                               "dask";
    struct text header = {0};
    text_add(&header, span_of(type, sizeof type - 1));
    text_add(&header, span_of(one_frame_tail, sizeof one_frame_tail - 1));
    struct span data = bytes.size > 0 ? bytes : SPAN("");
    struct blob *blob = blob_of_parts(one_serialized, text_span(&header), data);
    text_fini(&header);
    return blob;
}

struct blob *payload_serialized_pickle(struct span pickle)
{
    static const char family[] = "\x86\xaaserializer\xa6pickle\xa9writeable\x90";
    ASSERT(pickle.size > 0);
    struct text header = {0};
    text_add(&header, span_of(family, sizeof family - 1));
    text_add(&header, span_of(one_frame_tail, sizeof one_frame_tail - 1));
    struct blob *blob = blob_of_parts(one_serialized, text_span(&header), pickle);
    text_fini(&header);
    return blob;
}

struct blob *payload_serialized_error(struct span text)
{
    static const char family[] = "\x85\xaaserializer\xa5"
                                 "error";
    struct text header = {0};
    text_add(&header, span_of(family, sizeof family - 1));
    text_add(&header, span_of(one_frame_tail, sizeof one_frame_tail - 1));
    struct blob *blob = blob_of_parts(one_serialized, text_span(&header), text);
    text_fini(&header);
    return blob;
}

struct blob *payload_pickled(struct span pickle)
{
    struct text header = {0};
    msgpack_write_map(&header, 3);
    msgpack_write_cstr(&header, "pickled-obj");
    msgpack_write_bin(&header, pickle);
    msgpack_write_cstr(&header, "compression");
    msgpack_write_array(&header, 0);
    msgpack_write_cstr(&header, "num-sub-frames");
    msgpack_write_uint(&header, 0);
    struct blob *blob = blob_of_parts(one_pickled, text_span(&header), (struct span){0});
    text_fini(&header);
    return blob;
}
