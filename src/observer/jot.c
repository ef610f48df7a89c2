/* jot.c: see jot.h. */
#include "observer/jot.h"

#include <math.h>

#include "wire/msgpack.h"

static void item(struct jot *jot)
{
    if (jot->has_item) {
        text_add_cstr(jot->out, ", ");
    }
    jot->has_item = true;
}

void jot_open(struct jot *jot, char bracket)
{
    item(jot);
    text_add_char(jot->out, bracket);
    jot->has_item = false;
}

void jot_close(struct jot *jot, char bracket)
{
    text_add_char(jot->out, bracket);
    jot->has_item = true;
}

/* The bytes of the UTF-8 character at `at`, 0 if there is none. */
static size_t character_size(struct span text, size_t at)
{
    uint8_t first = text.data[at];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    bool fits = at + size <= text.size && msgpack_is_utf8(span_of(text.data + at, size));
    return fits ? size : 0;
}

static void quoted(struct text *out, struct span text)
{
    text_add_char(out, '"');
    size_t plain = 0; /* [plain, at) needs no escape */
    for (size_t at = 0; at < text.size;) {
        uint8_t c = text.data[at];
        size_t size = c < 0x80 ? 1 : character_size(text, at);
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && size > 0) {
            at += size;
            continue;
        }
        text_add(out, span_of(text.data + plain, at - plain));
        if (size == 0) {
            text_add_cstr(out, "\\ufffd");
            size = 1;
        } else if (c == '"' || c == '\\') {
            text_add_char(out, '\\');
            text_add_char(out, (char)c);
        } else {
            text_printf(out, "\\u%04x", c);
        }
        at += size;
        plain = at;
    }
    text_add(out, span_of(text.data + plain, text.size - plain));
    text_add_char(out, '"');
}

void jot_name(struct jot *jot, const char *name)
{
    item(jot);
    quoted(jot->out, span_of_text(name));
    text_add_cstr(jot->out, ": ");
    jot->has_item = false;
}

void jot_text(struct jot *jot, struct span text)
{
    item(jot);
    quoted(jot->out, text);
}

void jot_cstr(struct jot *jot, const char *text)
{
    jot_text(jot, span_of_text(text));
}

void jot_real(struct jot *jot, double value)
{
    item(jot);
    if (!isfinite(value)) {
        text_add_cstr(jot->out, "null");
    } else if (value == floor(value) && fabs(value) < 1e15) {
        text_printf(jot->out, "%.1f", value);
    } else {
        text_add_real(jot->out, value);
    }
}

void jot_int(struct jot *jot, int64_t value)
{
    item(jot);
    text_printf(jot->out, "%lld", (long long)value);
}

void jot_bool(struct jot *jot, bool value)
{
    jot_raw(jot, value ? SPAN("true") : SPAN("false"));
}

void jot_null(struct jot *jot)
{
    jot_raw(jot, SPAN("null"));
}

void jot_raw(struct jot *jot, struct span value)
{
    item(jot);
    text_add(jot->out, value);
}

void jot_put_text(struct jot *jot, const char *name, const struct text *text)
{
    jot_name(jot, name);
    jot_text(jot, text_span(text));
}

void jot_put_cstr(struct jot *jot, const char *name, const char *text)
{
    jot_name(jot, name);
    jot_cstr(jot, text);
}

void jot_put_real(struct jot *jot, const char *name, double value)
{
    jot_name(jot, name);
    jot_real(jot, value);
}

void jot_put_int(struct jot *jot, const char *name, int64_t value)
{
    jot_name(jot, name);
    jot_int(jot, value);
}

void jot_put_bool(struct jot *jot, const char *name, bool value)
{
    jot_name(jot, name);
    jot_bool(jot, value);
}
