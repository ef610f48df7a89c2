/* key.c: reads keys as canonical msgpack: only strings, integers, floats and arrays of keys occur, and
 * wire/ has checked lengths and nesting. Letters beyond ASCII count as letters (Python asks Unicode).
 * Nesting is followed with a counter, not by recursion. */
#include "core/key.h"

#include "base/assert.h"
#include "base/text.h"

enum item_kind { ITEM_TEXT, ITEM_BYTES, ITEM_INT, ITEM_UINT, ITEM_FLOAT, ITEM_ARRAY };

/* One msgpack item: an array is only its head, its members follow. */
struct item {
    enum item_kind kind;
    struct span text;
    int64_t number;
    uint64_t unsigned_number;
    double real;
    uint32_t count; /* members of an array */
    size_t size;    /* bytes of the item (of an array: of its head) */
};

static uint64_t big_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static struct item item_text(const uint8_t *at, size_t head, uint64_t size)
{
    return (struct item){
        .kind = ITEM_TEXT, .text = {at + head, (size_t)size}, .size = head + (size_t)size};
}

static struct item item_int(int64_t number, size_t size)
{
    return (struct item){.kind = ITEM_INT, .number = number, .size = size};
}

static struct item item_float(uint64_t bits)
{
    struct item item = {.kind = ITEM_FLOAT, .size = 9};
    memcpy(&item.real, &bits, sizeof item.real);
    return item;
}

/* Integers 0xcc..0xcf and 0xd0..0xd3. */
static struct item item_wide_int(const uint8_t *at)
{
    bool is_signed = at[0] >= 0xd0;
    size_t size = (size_t)1 << (at[0] - (is_signed ? 0xd0 : 0xcc));
    uint64_t bits = big_endian(at + 1, size);
    if (!is_signed) {
        return (struct item){.kind = ITEM_UINT, .unsigned_number = bits, .size = size + 1};
    }
    unsigned shift = (unsigned)(64 - size * 8);
    return item_int((int64_t)(bits << shift) >> shift, size + 1);
}

static struct item item_read(struct span key)
{
    ASSERT(key.size > 0);
    const uint8_t *at = key.data;
    struct item item;
    if (at[0] < 0x80) {
        item = item_int(at[0], 1);
    } else if (at[0] >= 0xe0) {
        item = item_int((int8_t)at[0], 1);
    } else if (at[0] >= 0xa0 && at[0] <= 0xbf) {
        item = item_text(at, 1, at[0] & 0x1f);
    } else if (at[0] >= 0xd9 && at[0] <= 0xdb) {
        size_t width = (size_t)1 << (at[0] - 0xd9);
        item = item_text(at, 1 + width, big_endian(at + 1, width));
    } else if (at[0] >= 0x90 && at[0] <= 0x9f) {
        item = (struct item){.kind = ITEM_ARRAY, .count = at[0] & 0x0f, .size = 1};
    } else if (at[0] == 0xdc || at[0] == 0xdd) {
        size_t width = at[0] == 0xdc ? 2 : 4;
        item = (struct item){
            .kind = ITEM_ARRAY, .count = (uint32_t)big_endian(at + 1, width), .size = 1 + width};
    } else if (at[0] == 0xcb) {
        item = item_float(big_endian(at + 1, 8));
    } else if (at[0] >= 0xc4 && at[0] <= 0xc6) {
        size_t width = (size_t)1 << (at[0] - 0xc4);
        item = item_text(at, 1 + width, big_endian(at + 1, width));
        item.kind = ITEM_BYTES;
    } else {
        ASSERT((at[0] >= 0xcc && at[0] <= 0xcf) || (at[0] >= 0xd0 && at[0] <= 0xd3));
        item = item_wide_int(at);
    }
    ASSERT(item.size <= key.size);
    return item;
}

static struct span after(struct span key, size_t size)
{
    return (struct span){key.data + size, key.size - size};
}

/* ---- prefix and group ---- */

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool in_set(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static struct span strip(struct span text, const char *set)
{
    while (text.size > 0 && in_set(text.data[0], set)) {
        text = after(text, 1);
    }
    while (text.size > 0 && in_set(text.data[text.size - 1], set)) {
        text.size--;
    }
    return text;
}

/* The part of `text` before the first `c`, or all of it. */
static struct span before(struct span text, char c)
{
    const uint8_t *found = text.size == 0 ? NULL : memchr(text.data, c, text.size);
    return found == NULL ? text : (struct span){text.data, (size_t)(found - text.data)};
}

static bool is_hash(struct span text)
{
    if (text.size != 32) {
        return false;
    }
    for (size_t i = 0; i < 32; i++) {
        uint8_t c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

/* "<module.sub.name object at …>" → "name"; empty if there is none. */
static struct span class_name(struct span text)
{
    text = strip(text, "<>");
    while (text.size > 0 && in_set(text.data[0], " \t\n\r\f\v")) {
        text = after(text, 1);
    }
    size_t size = 0;
    while (size < text.size && !in_set(text.data[size], " \t\n\r\f\v")) {
        size++;
    }
    text.size = size;
    for (size_t i = text.size; i > 0; i--) {
        if (text.data[i - 1] == '.') {
            return after(text, i);
        }
    }
    return text;
}

/* A word that stays in a prefix: letters only, and not what looks like eight hex digits (Dask looks at
 * the first of the eight only). */
static bool stays_in_prefix(struct span word)
{
    size_t characters = 0;
    for (size_t i = 0; i < word.size; i++) {
        if (!is_letter(word.data[i])) {
            return false;
        }
        characters += (word.data[i] & 0xc0) != 0x80;
    }
    return word.size > 0 && !(characters == 8 && word.data[0] >= 'a' && word.data[0] <= 'f');
}

/* How much of what follows the first word stays in the prefix, dashes included. */
static size_t tail_size(struct span rest)
{
    size_t size = 0;
    while (size < rest.size) {
        ASSERT(rest.data[size] == '-');
        struct span word = before(after(rest, size + 1), '-');
        if (!stays_in_prefix(word)) {
            break;
        }
        size += 1 + word.size;
    }
    return size;
}

static struct span split_text(struct span text, struct arena *arena)
{
    struct span word = before(text, '-');
    if (word.size == 0) {
        return SPAN("Other");
    }
    struct span rest = after(text, word.size);
    struct span first = is_letter(word.data[0]) ? word : strip(before(word, ','), "_'()\"");
    struct span tail = {rest.data, tail_size(rest)};
    struct span result = first;
    if (tail.size > 0 && first.data + first.size == tail.data) {
        result.size += tail.size;
    } else if (tail.size > 0) {
        uint8_t *joined = arena_alloc(arena, first.size + tail.size);
        memcpy(joined, first.data, first.size);
        memcpy(joined + first.size, tail.data, tail.size);
        result = (struct span){joined, first.size + tail.size};
    }
    if (is_hash(result)) {
        return SPAN("data");
    }
    if (result.size > 0 && result.data[0] == '<') {
        result = class_name(result);
    }
    return result.size == 0 ? SPAN("Other") : result;
}

struct span key_prefix(struct span key, struct arena *arena)
{
    struct item item = item_read(key);
    while (item.kind == ITEM_ARRAY) {
        if (item.count == 0) {
            return SPAN("Other");
        }
        key = after(key, item.size);
        item = item_read(key);
    }
    return item.kind == ITEM_TEXT ? split_text(item.text, arena) : SPAN("Other");
}

struct span key_group(struct span key, struct arena *arena)
{
    struct item item = item_read(key);
    if (item.kind == ITEM_ARRAY) {
        struct span first = after(key, item.size);
        if (item.count == 0) {
            return SPAN("Other");
        }
        item = item_read(first);
        return item.kind == ITEM_TEXT ? item.text : key_as_text(first, arena);
    }
    if (item.kind != ITEM_TEXT || item.text.size == 0) {
        return SPAN("Other");
    }
    struct span result;
    switch (item.text.data[0]) {
    case '(':
        result = strip(before(item.text, ','), "()\"'");
        break;
    case '<':
        result = class_name(item.text);
        break;
    default:
        result = split_text(item.text, arena); /* says "data" for a hash as well */
        break;
    }
    return result.size == 0 ? SPAN("Other") : result;
}

/* ---- as Python prints it ---- */

static void add_quoted(struct text *out, struct span text)
{
    bool single = memchr(text.data, '\'', text.size) != NULL;
    bool twice = memchr(text.data, '"', text.size) != NULL;
    char quote = single && !twice ? '"' : '\'';
    text_add_char(out, quote);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == (uint8_t)quote || c == '\\') {
            text_add_char(out, '\\');
            text_add_char(out, (char)c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            text_add_cstr(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            text_printf(out, "\\x%02x", c);
        } else {
            text_add_char(out, (char)c);
        }
    }
    text_add_char(out, quote);
}

/* Names of semaphores may be bytes. */
static void add_bytes(struct text *out, struct span bytes)
{
    text_add_cstr(out, "b'");
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        if (c >= 0x20 && c < 0x7f && c != '\'' && c != '\\') {
            text_add_char(out, (char)c);
        } else {
            text_printf(out, "\\x%02x", c);
        }
    }
    text_add_char(out, '\'');
}

static void add_item(struct text *out, const struct item *item)
{
    switch (item->kind) {
    case ITEM_BYTES:
        add_bytes(out, item->text);
        break;
    case ITEM_TEXT:
        add_quoted(out, item->text);
        break;
    case ITEM_INT:
        text_printf(out, "%lld", (long long)item->number);
        break;
    case ITEM_UINT:
        text_printf(out, "%llu", (unsigned long long)item->unsigned_number);
        break;
    case ITEM_FLOAT:
        text_add_real(out, item->real);
        break;
    case ITEM_ARRAY:
        text_add_char(out, '(');
        break;
    }
}

/* A tuple being printed. */
struct open_tuple {
    uint32_t left, count;
};

/* The tuple at `depth` may be complete, and with it those around it. Returns the new depth. */
static uint32_t close_tuples(struct text *out, struct open_tuple *open, uint32_t depth)
{
    while (depth > 0 && open[depth - 1].left == 0) {
        text_add_cstr(out, open[depth - 1].count == 1 ? ",)" : ")");
        depth--;
    }
    if (depth > 0) {
        struct open_tuple *tuple = &open[depth - 1];
        if (tuple->left < tuple->count) {
            text_add_cstr(out, ", ");
        }
        tuple->left--;
    }
    return depth;
}

struct span key_as_repr(struct span key, struct arena *arena)
{
    struct text out = {0};
    /* Every level of nesting takes at least a byte. */
    struct open_tuple *open = arena_array(arena, struct open_tuple, key.size + 1);
    uint32_t depth = 0;
    do {
        struct item item = item_read(key);
        key = after(key, item.size);
        add_item(&out, &item);
        if (item.kind == ITEM_ARRAY) {
            open[depth++] = (struct open_tuple){item.count, item.count};
        }
        depth = close_tuples(&out, open, depth);
    } while (depth > 0);
    struct span result = arena_copy(arena, text_span(&out));
    text_fini(&out);
    return result;
}

struct span key_as_text(struct span key, struct arena *arena)
{
    struct item item = item_read(key);
    return item.kind == ITEM_TEXT ? item.text : key_as_repr(key, arena);
}
