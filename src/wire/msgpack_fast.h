/* msgpack_fast.h: the cheap cases of moving over a value, for the loops that do little else. Each gives
 * nothing where it is not sure: then the careful functions of msgpack.c decide. */
#ifndef CASK_WIRE_MSGPACK_FAST_H
#define CASK_WIRE_MSGPACK_FAST_H

#include "base/span.h"

/* Bytes of the value at `at` if its mark alone tells them and surely that many of the `left` bytes are
 * there, else 0. */
static inline size_t msgpack_fast_size(const uint8_t *at, size_t left)
{
    /* Marks c0 to d3; below 80 and from e0 on are ints of one byte. */
    static const uint8_t sizes[] = {1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9};
    if (left < 9) { /* the longest of them */
        return 0;
    }
    uint8_t mark = *at;
    if (mark <= 0x80 || mark >= 0xe0 || mark == 0x90) {
        return 1;
    }
    return mark >= 0xc0 && mark <= 0xd3 ? sizes[mark - 0xc0] : 0;
}

/* The text of the str at `at`, if it is ASCII of up to 255 bytes; data NULL if it is not. */
static inline struct span msgpack_fast_str(const uint8_t *at, size_t left)
{
    uint64_t word;
    if (left < 2) {
        return (struct span){0};
    }
    bool is_fix = (at[0] & 0xe0) == 0xa0;
    size_t size = is_fix ? at[0] & 31u : at[1];
    const uint8_t *text = at + (is_fix ? 1 : 2);
    if (!(is_fix || at[0] == 0xd9) || left < 2 + size + sizeof word) {
        return (struct span){0};
    }
    uint64_t bits = 0;
    size_t i = 0;
    for (; i + sizeof word <= size; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        bits |= word;
    }
    memcpy(&word, text + i, sizeof word); /* what lies behind the text is shifted out */
    bits |= i < size ? word << (8 * (sizeof word - (size - i))) : 0;
    return (bits & 0x8080808080808080u) == 0 ? span_of(text, size) : (struct span){0};
}

#endif
