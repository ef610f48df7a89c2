/* top_frame.c: see top_frame.h. Every length is checked once, by top_frame_read; then rows are only looked up. */
#include "cli/top_frame.h"

#include "base/error.h"

#define VERSION 1
#define HEAD_BYTES 32u
#define COLUMN_BYTES 8u
#define ROWS_MAX (1u << 24)

#define SAME 0x80u

enum { TYPE_F64 = 1, TYPE_F32, TYPE_U32, TYPE_U8, TYPE_TEXT, TYPE_U16 };

static uint32_t word_at(struct span bytes, size_t at)
{
    uint32_t word;
    memcpy(&word, bytes.data + at, sizeof word);
    return word;
}

/* Its data has what `rows` need. */
static bool is_whole(const struct top_column *column, uint32_t rows)
{
    static const size_t sizes[] = {
        [TYPE_F64] = 8, [TYPE_F32] = 4, [TYPE_U32] = 4, [TYPE_U8] = 1, [TYPE_U16] = 2};
    struct span data = column->data;
    if (column->type != TYPE_TEXT) {
        return column->type < TYPE_F64 || column->type > TYPE_U16 ||
               data.size >= sizes[column->type] * rows;
    }
    size_t offsets = ((size_t)rows + 1) * 4;
    if (data.size < offsets) {
        return false;
    }
    uint32_t before = 0;
    for (uint32_t i = 0; i <= rows; i++) {
        uint32_t offset = word_at(data, (size_t)i * 4);
        if (offset < before || offset > data.size - offsets) {
            return false;
        }
        before = offset;
    }
    return true;
}

static int read_columns(struct span bytes, uint32_t count, struct top_frame *frame)
{
    size_t at = HEAD_BYTES + (size_t)count * COLUMN_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *head = bytes.data + HEAD_BYTES + (size_t)i * COLUMN_BYTES;
        uint16_t number;
        uint32_t size;
        memcpy(&number, head + 2, sizeof number);
        memcpy(&size, head + 4, sizeof size);
        if (at > bytes.size || size > bytes.size - at) {
            return ERR_MALFORMED;
        }
        struct top_column column = {.type = head[0] & (SAME - 1),
                                    .is_same = (head[0] & SAME) != 0,
                                    .data = span_of(bytes.data + at, size)};
        if (!is_whole(&column, column.is_same ? 1 : frame->rows)) {
            return ERR_MALFORMED;
        }
        if (number < TOP_COLUMNS) {
            frame->columns[number] = column;
        }
        at += ((size_t)size + 7) & ~(size_t)7;
    }
    return OK;
}

int top_frame_read(struct span bytes, struct top_frame *out_frame)
{
    struct top_frame frame = {0};
    if (bytes.size < HEAD_BYTES || bytes.data[0] != VERSION || bytes.data[1] > TOP_APPEND) {
        return ERR_MALFORMED;
    }
    uint32_t count = word_at(bytes, 24);
    frame.mode = (enum top_mode)bytes.data[1];
    memcpy(&frame.channel, bytes.data + 2, sizeof frame.channel);
    frame.rows = word_at(bytes, 12);
    memcpy(&frame.time, bytes.data + 16, sizeof frame.time);
    if (frame.rows > ROWS_MAX || count > (bytes.size - HEAD_BYTES) / COLUMN_BYTES) {
        return ERR_MALFORMED;
    }
    int code = read_columns(bytes, count, &frame);
    if (code == OK) {
        *out_frame = frame;
    }
    return code;
}

double top_frame_number(const struct top_frame *frame, uint32_t column, uint32_t row)
{
    ASSERT(column < TOP_COLUMNS);
    ASSERT(row < frame->rows);
    const struct top_column *from = &frame->columns[column];
    row = from->is_same ? 0 : row;
    double wide;
    float narrow;
    uint16_t half;
    switch (from->type) {
    case TYPE_F64:
        memcpy(&wide, from->data.data + (size_t)row * 8, sizeof wide);
        return wide;
    case TYPE_F32:
        memcpy(&narrow, from->data.data + (size_t)row * 4, sizeof narrow);
        return (double)narrow;
    case TYPE_U32:
        return word_at(from->data, (size_t)row * 4);
    case TYPE_U16:
        memcpy(&half, from->data.data + (size_t)row * 2, sizeof half);
        return half;
    case TYPE_U8:
        return from->data.data[row];
    default:
        return 0;
    }
}

bool top_frame_has(const struct top_frame *frame, uint32_t column)
{
    ASSERT(column < TOP_COLUMNS);
    return frame->columns[column].type != 0;
}

bool top_frame_is_text(const struct top_frame *frame, uint32_t column)
{
    ASSERT(column < TOP_COLUMNS);
    return frame->columns[column].type == TYPE_TEXT;
}

struct span top_frame_text(const struct top_frame *frame, uint32_t column, uint32_t row)
{
    ASSERT(row < frame->rows);
    if (!top_frame_is_text(frame, column)) {
        return (struct span){0};
    }
    const struct top_column *from = &frame->columns[column];
    struct span data = from->data;
    size_t rows = from->is_same ? 1 : frame->rows;
    row = from->is_same ? 0 : row;
    uint32_t begin = word_at(data, (size_t)row * 4), end = word_at(data, (size_t)row * 4 + 4);
    return span_of(data.data + (rows + 1) * 4 + begin, end - begin);
}
