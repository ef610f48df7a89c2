/* msgpack_print.c: values and keys as Python would show them: repr(str), repr(float), and nested
 * values cut to a size that fits a log line. */
#include <stdio.h>
#include <stdlib.h>

#include "wire/key.h"

enum {
    PRINT_DEPTH_MAX = 16,  /* deeper containers are shown as … */
    PRINT_STR_MAX = 200,   /* bytes of one str */
    FLOAT_DIGITS_MAX = 17, /* enough for any double */
};

/* ---- repr of a float --------------------------------------------------------------------------- */

/* The shortest digits that read back as `value`, as "d.ddde±xx". */
static void shortest_digits(double value, char *out, size_t size)
{
    for (int digits = 1; digits <= FLOAT_DIGITS_MAX; digits++) {
        if (digits > 1 && digits < 15) {
            digits = 15; /* trailing zeros are cut off anyway */
        }
        snprintf(out, size, "%.*e", digits - 1, value);
        if (strtod(out, NULL) == value) {
            return;
        }
    }
}

void key_repr_float(struct text *out, double value)
{
    if (value != value) {
        text_add_cstr(out, "nan");
        return;
    }
    if (value - value != 0) {
        text_add_cstr(out, value < 0 ? "-inf" : "inf");
        return;
    }
    char buffer[40];
    shortest_digits(value, buffer, sizeof buffer);
    char digits[FLOAT_DIGITS_MAX + 1];
    int count = 0;
    const char *at = buffer;
    if (*at == '-') {
        text_add_char(out, '-');
        at++;
    }
    for (; *at != 'e'; at++) {
        if (*at != '.') {
            digits[count++] = *at;
        }
    }
    int exponent = atoi(at + 1);
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    if (exponent < -4 || exponent >= 16) {
        text_add(out, span_of(digits, 1));
        if (count > 1) {
            text_add_char(out, '.');
            text_add(out, span_of(digits + 1, (size_t)count - 1));
        }
        text_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        text_add_cstr(out, "0.");
        for (int i = -1; i > exponent; i--) {
            text_add_char(out, '0');
        }
        text_add(out, span_of(digits, (size_t)count));
    } else {
        for (int i = 0; i <= exponent || i < count; i++) {
            if (i == exponent + 1) {
                text_add_char(out, '.');
            }
            text_add_char(out, i < count ? digits[i] : '0');
        }
        if (count <= exponent + 1) {
            text_add_cstr(out, ".0");
        }
    }
}

/* ---- repr of a str ----------------------------------------------------------------------------- */

static uint32_t utf8_decode(const uint8_t *at, unsigned *out_size)
{
    uint8_t lead = at[0];
    if (lead < 0x80) {
        *out_size = 1;
        return lead;
    }
    unsigned size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint32_t point = lead & (0x7fu >> size);
    for (unsigned i = 1; i < size; i++) {
        point = point << 6 | (at[i] & 0x3f);
    }
    *out_size = size;
    return point;
}

/* str.isprintable() of one character, but for code points that Unicode has not assigned: those are
 * shown as they are. */
static bool is_printable(uint32_t point)
{
    static const struct {
        uint32_t first;
        uint32_t last;
    } hidden[] = {
        {0x00, 0x1f},        {0x7f, 0xa0},       {0xad, 0xad},       {0x600, 0x605},
        {0x61c, 0x61c},      {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
        {0x8e2, 0x8e2},      {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},
        {0x2028, 0x202f},    {0x205f, 0x206f},   {0x3000, 0x3000},   {0xd800, 0xf8ff},
        {0xfeff, 0xfeff},    {0xfff0, 0xfffb},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd},
        {0x13430, 0x1343f},  {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe00ff},
        {0xe01f0, 0x10ffff},
    };
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        if (point >= hidden[i].first && point <= hidden[i].last) {
            return false;
        }
    }
    return true;
}

static void repr_character(struct text *out, const uint8_t *at, unsigned size, uint32_t point,
                           char quote)
{
    if (point == (unsigned char)quote || point == '\\') {
        text_add_char(out, '\\');
        text_add_char(out, (char)point);
    } else if (point == '\n') {
        text_add_cstr(out, "\\n");
    } else if (point == '\r') {
        text_add_cstr(out, "\\r");
    } else if (point == '\t') {
        text_add_cstr(out, "\\t");
    } else if (is_printable(point)) {
        text_add(out, span_of(at, size));
    } else if (point <= 0xff) {
        text_printf(out, "\\x%02x", point);
    } else if (point <= 0xffff) {
        text_printf(out, "\\u%04x", point);
    } else {
        text_printf(out, "\\U%08x", point);
    }
}

void key_repr_text(struct text *out, struct span text)
{
    bool has_single = text.size > 0 && memchr(text.data, '\'', text.size) != NULL;
    bool has_double = text.size > 0 && memchr(text.data, '"', text.size) != NULL;
    char quote = has_single && !has_double ? '"' : '\'';
    text_add_char(out, quote);
    for (size_t i = 0; i < text.size;) {
        unsigned size;
        uint32_t point = utf8_decode(text.data + i, &size);
        repr_character(out, text.data + i, size, point, quote);
        i += size;
    }
    text_add_char(out, quote);
}

/* ---- nested values ------------------------------------------------------------------------------ */

struct printer {
    struct text *out;
    size_t size_max; /* of out, whole */
    bool (*hook)(void *context, struct text *out, struct span map);
    void *context;
};

static void print_str(struct printer *printer, struct span text)
{
    size_t size = text.size;
    if (size > PRINT_STR_MAX) {
        size = PRINT_STR_MAX;
        while (size > 0 && (text.data[size] & 0xc0) == 0x80) {
            size--;
        }
    }
    key_repr_text(printer->out, span_of(text.data, size));
    if (size < text.size) {
        text_printf(printer->out, "… %zu bytes", text.size);
    }
}

static void print_scalar(struct printer *printer, struct msgpack_reader *reader, struct span value)
{
    struct text *out = printer->out;
    struct span bytes = {0};
    int64_t number = 0;
    uint64_t wide = 0;
    double real = 0;
    bool flag = false;
    if (msgpack_read_nil(reader) == OK) {
        text_add_cstr(out, "None");
    } else if (msgpack_read_bool(reader, &flag) == OK) {
        text_add_cstr(out, flag ? "True" : "False");
    } else if (msgpack_read_int(reader, &number) == OK) {
        text_printf(out, "%lld", (long long)number);
    } else if (msgpack_read_uint(reader, &wide) == OK) {
        text_printf(out, "%llu", (unsigned long long)wide);
    } else if (msgpack_read_float(reader, &real) == OK) {
        key_repr_float(out, real);
    } else if (msgpack_read_str(reader, &bytes) == OK) {
        print_str(printer, bytes);
    } else if (msgpack_read_bin(reader, &bytes) == OK) {
        text_printf(out, "<%zu bytes>", bytes.size);
    } else {
        text_printf(out, "<ext, %zu bytes>", value.size);
    }
}

/* Recursion is bounded by PRINT_DEPTH_MAX. */
static void print_value(struct printer *printer, struct span value, unsigned depth)
{
    struct text *out = printer->out;
    struct msgpack_reader reader = msgpack_reader(value);
    uint32_t count = 0;
    bool is_map = msgpack_read_map(&reader, &count) == OK;
    if (!is_map && msgpack_read_array(&reader, &count) != OK) {
        print_scalar(printer, &reader, value);
        return;
    }
    if (is_map && printer->hook != NULL && printer->hook(printer->context, out, value)) {
        return;
    }
    text_add_char(out, is_map ? '{' : '[');
    for (uint32_t i = 0; i < count; i++) {
        if (depth == PRINT_DEPTH_MAX || out->size >= printer->size_max) {
            text_printf(out, "… %u more", count - i);
            break;
        }
        text_add_cstr(out, i > 0 ? ", " : "");
        struct span item;
        int code = msgpack_read_value(&reader, &item);
        ASSERT(code == OK);
        print_value(printer, item, depth + 1);
        if (is_map) {
            text_add_cstr(out, ": ");
            code = msgpack_read_value(&reader, &item);
            ASSERT(code == OK);
            print_value(printer, item, depth + 1);
        }
    }
    text_add_char(out, is_map ? '}' : ']');
}

void msgpack_print_hooked(struct text *out, struct span value, size_t size_max,
                          bool (*hook)(void *context, struct text *out, struct span map),
                          void *context)
{
    int code = msgpack_check(value);
    if (code != OK) {
        text_printf(out, "<%zu bytes, %s>", value.size, error_name(code));
        return;
    }
    struct printer printer = {out, out->size + size_max, hook, context};
    print_value(&printer, value, 0);
}

void msgpack_print(struct text *out, struct span value, size_t size_max)
{
    msgpack_print_hooked(out, value, size_max, NULL, NULL);
}
