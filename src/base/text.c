/* text.c: the builder, and the two parsers that must agree with Dask's.
 *
 * Numbers are read by Python's grammar (float()), not by C's: strtod alone would take "0x10" or
 * "inf" and refuse "1_000". The process never calls setlocale(), so the point is a point. */
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

enum {
    TEXT_CAPACITY_MIN = 64,
    SETTING_SIZE_MAX = 256, /* a length or a duration that is longer is none */
};

void text_fini(struct text *text)
{
    mem_free(text->data);
    *text = (struct text){0};
}

void text_clear(struct text *text)
{
    text->size = 0;
    if (text->data != NULL) {
        text->data[0] = '\0';
    }
}

/* Room for `extra` bytes and the final NUL. */
static void reserve(struct text *text, size_t extra)
{
    ASSERT(extra < SIZE_MAX / 4 - text->size);
    size_t need = text->size + extra + 1;
    if (need <= text->capacity) {
        return;
    }
    size_t grown = text->capacity < TEXT_CAPACITY_MIN ? TEXT_CAPACITY_MIN : text->capacity * 2;
    text->capacity = grown < need ? need : grown;
    text->data = mem_resize(text->data, text->capacity, 1);
}

void text_add(struct text *text, struct span bytes)
{
    reserve(text, bytes.size);
    if (bytes.size > 0) {
        memcpy(text->data + text->size, bytes.data, bytes.size);
    }
    text->size += bytes.size;
    text->data[text->size] = '\0';
}

void text_add_cstr(struct text *text, const char *cstr)
{
    text_add(text, span_of_text(cstr));
}

void text_add_char(struct text *text, char c)
{
    text_add(text, span_of(&c, 1));
}

void text_vprintf(struct text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    reserve(text, 0);
    size_t room = text->capacity - text->size;
    int size = vsnprintf(text->data + text->size, room, format, arguments);
    ASSERT(size >= 0);
    if ((size_t)size >= room) {
        reserve(text, (size_t)size);
        int written = vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
        ASSERT(written == size);
    }
    text->size += (size_t)size;
    va_end(again);
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(text, format, arguments);
    va_end(arguments);
}

void text_add_bytes_size(struct text *text, double bytes)
{
    static const struct {
        const char *prefix;
        double size;
    } UNITS[] = {
        {"Pi", 0x1p50}, {"Ti", 0x1p40}, {"Gi", 0x1p30}, {"Mi", 0x1p20}, {"ki", 0x1p10},
    };
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (bytes >= UNITS[i].size * 0.9) {
            text_printf(text, "%.2f %sB", bytes / UNITS[i].size, UNITS[i].prefix);
            return;
        }
    }
    if (bytes == trunc(bytes)) {
        text_printf(text, "%.0f B", bytes);
    } else {
        text_add_real(text, bytes);
        text_add_cstr(text, " B");
    }
}

/* Days to date: Howard Hinnant's civil_from_days. */
void text_add_utc(struct text *text, double seconds)
{
    int64_t whole = seconds > 0 && seconds < 1e11 ? (int64_t)seconds : 0;
    int64_t days = whole / 86400 + 719468;
    int64_t era = days / 146097;
    int64_t day_of_era = days % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_shifted = (5 * day_of_year + 2) / 153; /* 0 is March */
    int64_t day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    int64_t month = month_shifted < 10 ? month_shifted + 3 : month_shifted - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    int64_t of_day = whole % 86400;
    text_printf(text, "%04lld-%02lld-%02lld %02lld:%02lld:%02lld UTC", (long long)year,
                (long long)month, (long long)day, (long long)(of_day / 3600),
                (long long)(of_day / 60 % 60), (long long)(of_day % 60));
}

const char *text_cstr(const struct text *text)
{
    return text->data == NULL ? "" : text->data;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A number with its unit, cut apart as Dask does. */
struct quantity {
    char digits[SETTING_SIZE_MAX + 2]; /* with room for a leading 1 and the NUL */
    char unit[SETTING_SIZE_MAX + 2];   /* lower case */
    bool any_digit;
};

/* Copy `text` without spaces, cut where its trailing letters begin; false if it is too long or not
 * ASCII (no unit and no number is). */
static bool quantity_cut(struct span text, bool lead_must_be_digit, struct quantity *out)
{
    char squeezed[SETTING_SIZE_MAX + 2];
    size_t size = 1; /* [0] is kept for the 1 that Dask puts before a bare unit */
    bool any_digit = false;
    if (text.size > SETTING_SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        if (c == '\0' || text.data[i] >= 0x80) {
            return false;
        }
        if (c != ' ') {
            squeezed[size++] = c;
            any_digit |= is_digit(c);
        }
    }
    out->any_digit = any_digit;
    bool has_number = lead_must_be_digit ? size > 1 && is_digit(squeezed[1]) : any_digit;
    size_t start = has_number ? 1 : 0;
    squeezed[0] = '1';

    size_t cut = size;
    while (cut > start && is_letter(squeezed[cut - 1])) {
        cut--;
    }
    memcpy(out->digits, squeezed + start, cut - start);
    out->digits[cut - start] = '\0';
    for (size_t i = cut; i < size; i++) {
        out->unit[i - cut] = (char)(squeezed[i] | 0x20);
    }
    out->unit[size - cut] = '\0';
    return true;
}

/* What float() strips; spaces are gone already. */
#define PYTHON_BLANKS "\t\n\v\f\r"

/* Digits with single underscores between them, without the underscores, to *out. */
static bool take_digits(const char **from, char **out)
{
    const char *p = *from;
    if (!is_digit(*p)) {
        return false;
    }
    while (is_digit(*p) || (*p == '_' && is_digit(p[1]))) {
        if (*p != '_') {
            *(*out)++ = *p;
        }
        p++;
    }
    *from = p;
    return true;
}

/* float(text) of Python, without inf and nan (the caller's letters are cut off before). */
static bool parse_python_float(const char *text, double *out)
{
    char plain[SETTING_SIZE_MAX + 2];
    char *end = plain;
    text += strspn(text, PYTHON_BLANKS);
    if (*text == '+' || *text == '-') {
        *end++ = *text++;
    }
    bool whole = take_digits(&text, &end);
    bool fraction = false;
    if (*text == '.') {
        *end++ = *text++;
        fraction = take_digits(&text, &end);
    }
    if (!whole && !fraction) {
        return false;
    }
    if (*text == 'e' || *text == 'E') {
        *end++ = *text++;
        if (*text == '+' || *text == '-') {
            *end++ = *text++;
        }
        if (!take_digits(&text, &end)) {
            return false;
        }
    }
    *end = '\0';
    *out = strtod(plain, NULL);
    return text[strspn(text, PYTHON_BLANKS)] == '\0';
}

struct unit {
    const char *name;
    double factor;
};

static bool find_unit(const struct unit *units, size_t count, const char *name, double *out_factor)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(units[i].name, name) == 0) {
            *out_factor = units[i].factor;
            return true;
        }
    }
    return false;
}

bool text_parse_seconds(struct span text, double *out_seconds)
{
    static const struct unit UNITS[] = {
        {"", 1},
        {"s", 1},
        {"ms", 1e-3},
        {"us", 1e-6},
        {"ns", 1e-9},
        {"m", 60},
        {"h", 3600},
        {"d", 86400},
        {"w", 604800},
        {"second", 1},
        {"minute", 60},
        {"hour", 3600},
        {"day", 86400},
        {"week", 604800},
        {"millisecond", 1e-3},
        {"microsecond", 1e-6},
        {"nanosecond", 1e-9},
        {"seconds", 1},
        {"minutes", 60},
        {"hours", 3600},
        {"days", 86400},
        {"weeks", 604800},
        {"milliseconds", 1e-3},
        {"microseconds", 1e-6},
        {"nanoseconds", 1e-9},
    };
    struct quantity quantity;
    double number;
    double factor;
    /* Dask puts a 1 before anything that does not begin with a digit: ".5s" is 1.5 s there. */
    if (!quantity_cut(text, true, &quantity) || (quantity.unit[0] == '\0' && !quantity.any_digit) ||
        !parse_python_float(quantity.digits, &number) ||
        !find_unit(UNITS, sizeof UNITS / sizeof UNITS[0], quantity.unit, &factor) ||
        !isfinite(number * factor)) {
        return false;
    }
    *out_seconds = number * factor;
    return true;
}

bool text_parse_bytes(struct span text, double *out_bytes)
{
    static const struct unit UNITS[] = {
        {"", 1},         {"b", 1},        {"k", 1e3},      {"kb", 1e3},     {"m", 1e6},
        {"mb", 1e6},     {"g", 1e9},      {"gb", 1e9},     {"t", 1e12},     {"tb", 1e12},
        {"p", 1e15},     {"pb", 1e15},    {"ki", 0x1p10},  {"kib", 0x1p10}, {"mi", 0x1p20},
        {"mib", 0x1p20}, {"gi", 0x1p30},  {"gib", 0x1p30}, {"ti", 0x1p40},  {"tib", 0x1p40},
        {"pi", 0x1p50},  {"pib", 0x1p50},
    };
    struct quantity quantity;
    double number;
    double factor;
    if (!quantity_cut(text, false, &quantity) || !parse_python_float(quantity.digits, &number) ||
        !find_unit(UNITS, sizeof UNITS / sizeof UNITS[0], quantity.unit, &factor) ||
        !isfinite(number * factor)) {
        return false;
    }
    *out_bytes = trunc(number * factor);
    return true;
}
