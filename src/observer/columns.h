/* columns.h: a binary frame for browsers: a header, then columns that are read as typed arrays. Layout:
 * docs/observer.md. */
#ifndef CASK_OBSERVER_COLUMNS_H
#define CASK_OBSERVER_COLUMNS_H

#include "base/text.h"

enum column_type {
    COLUMN_F64 = 1,
    COLUMN_F32 = 2,
    COLUMN_U32 = 3,
    COLUMN_U8 = 4,
    COLUMN_TEXT = 5,
    COLUMN_U16 = 6, /* only in frames: numbers that fit */
};
/* Added to the type of a column in a frame: one value, which all rows have. */
#define COLUMN_SAME 0x80u
enum frame_mode { MODE_REPLACE, MODE_UPSERT, MODE_APPEND };

#define COLUMNS_MAX 40

struct column {
    struct text data;  /* numbers; of text, the offsets */
    struct text texts; /* the bytes that the offsets point into */
};

/* A frame being made: columns in order, one value each a row. All zero is empty. */
struct columns {
    const enum column_type *types;
    uint32_t count;
    uint32_t rows, at; /* at: the next value's column */
    uint64_t left_out; /* a bit a column: not written */
    struct column items[COLUMNS_MAX];
};

/* Empty, with these columns; memory is kept. */
void columns_begin(struct columns *columns, const enum column_type *types, uint32_t count);
void columns_fini(struct columns *columns);
/* The row's next value. */
void columns_real(struct columns *columns, double value);
void columns_int(struct columns *columns, uint64_t value);
void columns_text(struct columns *columns, struct span text);

struct frame_head {
    enum frame_mode mode;
    uint16_t channel;
    uint32_t subscription, sequence;
    double time;
};
/* Append the whole frame, each column as narrow as its numbers are; the columns are to be begun anew then. */
void columns_write(struct columns *columns, const struct frame_head *head, struct text *out);

#endif
