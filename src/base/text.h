/* text.h: building text and other byte strings that grow. All zero is an empty builder. */
#ifndef CASK_BASE_TEXT_H
#define CASK_BASE_TEXT_H

#include <stdarg.h>

#include "base/assert.h"
#include "base/span.h"

struct text {
    char *data; /* always NUL-terminated once anything was added */
    size_t size;
    size_t capacity;
};

void text_fini(struct text *text);
void text_clear(struct text *text);
void text_add(struct text *text, struct span bytes);
void text_add_cstr(struct text *text, const char *cstr);
void text_add_char(struct text *text, char c);
void text_printf(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_vprintf(struct text *text, const char *format, va_list arguments) PRINTF_LIKE(2, 0);
/* "1.23 MiB" as dask.utils.format_bytes. */
void text_add_bytes_size(struct text *text, double bytes);
/* The shortest digits that read back as `real`, as Python's repr: "0.1", "1e+16", "2.0", "nan". */
void text_add_real(struct text *text, double real);
/* "2026-11-22 10:00:00 UTC", of seconds since the epoch. */
void text_add_utc(struct text *text, double seconds);
/* The contents as a C string ("" when empty); valid until the next change. */
const char *text_cstr(const struct text *text);
/* Seconds from "100 ms", "5s", "2h", "1 day", "30" …, as dask.utils.parse_timedelta; false if none. */
bool text_parse_seconds(struct span text, double *out_seconds);
/* Bytes from "64 MiB", "1GB", "100", as dask.utils.parse_bytes; false if none. */
bool text_parse_bytes(struct span text, double *out_bytes);

static inline struct span text_span(const struct text *text)
{
    return (struct span){(const uint8_t *)text->data, text->size};
}

#endif
