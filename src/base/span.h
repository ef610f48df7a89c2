/* span.h: a borrowed run of bytes. Never owns; valid as long as what it points into. */
#ifndef CASK_BASE_SPAN_H
#define CASK_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data;
    size_t size; /* bytes */
};

/* The span of a string literal, without its final NUL. */
#define SPAN(literal) ((struct span){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline struct span span_of(const void *data, size_t size)
{
    return (struct span){data, size};
}

static inline struct span span_of_text(const char *text)
{
    return (struct span){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool span_equal_text(struct span a, const char *text)
{
    return text == NULL ? a.size == 0 : span_equal(a, span_of_text(text));
}

/* memcmp order, a prefix before what it begins; <0, 0, >0. */
static inline int span_compare(struct span a, struct span b)
{
    size_t shared = a.size < b.size ? a.size : b.size;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* A fast, fixed (unseeded, so deterministic) 64-bit hash of the bytes. */
uint64_t span_hash(struct span bytes);

#endif
