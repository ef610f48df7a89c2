/* columns.c: see columns.h. Little-endian is what the machines are that it runs on. */
#include "observer/columns.h"

#include <math.h>

#define VERSION 1
#define HEAD_BYTES 32

void columns_begin(struct columns *columns, const enum column_type *types, uint32_t count)
{
    ASSERT(count <= COLUMNS_MAX);
    columns->types = types;
    columns->count = count;
    columns->rows = 0;
    columns->at = 0;
    columns->left_out = 0;
    for (uint32_t i = 0; i < count; i++) {
        text_clear(&columns->items[i].data);
        text_clear(&columns->items[i].texts);
    }
}

void columns_fini(struct columns *columns)
{
    for (uint32_t i = 0; i < COLUMNS_MAX; i++) {
        text_fini(&columns->items[i].data);
        text_fini(&columns->items[i].texts);
    }
}

static enum column_type next(struct columns *columns, struct column **out_column)
{
    uint32_t at = columns->at++;
    *out_column = &columns->items[at];
    if (columns->at == columns->count) {
        columns->at = 0;
        columns->rows++;
    }
    return columns->types[at];
}

void columns_real(struct columns *columns, double value)
{
    struct column *column;
    enum column_type type = next(columns, &column);
    ASSERT(type == COLUMN_F64 || type == COLUMN_F32);
    float narrow = (float)value;
    text_add(&column->data,
             type == COLUMN_F64 ? span_of(&value, sizeof value) : span_of(&narrow, sizeof narrow));
}

void columns_int(struct columns *columns, uint64_t value)
{
    struct column *column;
    enum column_type type = next(columns, &column);
    ASSERT(type == COLUMN_U32 || type == COLUMN_U8);
    uint32_t word = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    uint8_t byte = value > UINT8_MAX ? UINT8_MAX : (uint8_t)value;
    text_add(&column->data,
             type == COLUMN_U32 ? span_of(&word, sizeof word) : span_of(&byte, sizeof byte));
}

void columns_text(struct columns *columns, struct span text)
{
    struct column *column;
    enum column_type type = next(columns, &column);
    ASSERT(type == COLUMN_TEXT);
    uint32_t offset = (uint32_t)column->texts.size;
    text_add(&column->data, span_of(&offset, sizeof offset));
    text_add(&column->texts, text);
}

static void pad(struct text *out, size_t begin)
{
    while ((out->size - begin) % 8 != 0) {
        text_add_char(out, '\0');
    }
}

/* ---- as few bytes as hold the same --------------------------------------------------------------- */

static size_t width_of(enum column_type type)
{
    static const uint8_t widths[] = {0, 8, 4, 4, 1, 0, 2};
    return widths[type];
}

static double number_at(const struct column *column, enum column_type type, uint32_t row)
{
    const char *at = column->data.data + row * width_of(type);
    double wide = 0;
    float narrow;
    uint32_t word;
    switch (type) {
    case COLUMN_F32:
        memcpy(&narrow, at, sizeof narrow);
        return (double)narrow;
    case COLUMN_U32:
        memcpy(&word, at, sizeof word);
        return word;
    case COLUMN_U8:
        return (uint8_t)*at;
    default:
        memcpy(&wide, at, sizeof wide);
        return wide;
    }
}

/* The narrowest type that holds every number of the column exactly. */
static enum column_type narrowest(const struct column *column, enum column_type type, uint32_t rows)
{
    double most = 0;
    for (uint32_t i = 0; i < rows; i++) {
        double value = number_at(column, type, i);
        if (!(value >= 0 && value <= UINT32_MAX) || signbit(value) || value != floor(value)) {
            return type;
        }
        most = fmax(most, value);
    }
    enum column_type found = most <= UINT8_MAX    ? COLUMN_U8
                             : most <= UINT16_MAX ? COLUMN_U16
                                                  : COLUMN_U32;
    return width_of(found) < width_of(type) ? found : type;
}

/* Each number is written where it was or before, so none is overwritten that is still to be read. */
static void narrow(struct column *column, enum column_type from, enum column_type to, uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t value = (uint32_t)number_at(column, from, i);
        memcpy(column->data.data + i * width_of(to), &value, width_of(to)); /* little-endian */
    }
    column->data.size = rows * width_of(to);
}

static bool is_same_text(const struct column *column, uint32_t rows)
{
    size_t size = column->texts.size / rows;
    if (size * rows != column->texts.size) {
        return false;
    }
    for (uint32_t i = 1; i < rows; i++) {
        uint32_t offset;
        memcpy(&offset, column->data.data + i * sizeof offset, sizeof offset);
        if (offset != i * size ||
            memcmp(column->texts.data, column->texts.data + offset, size) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_same_number(const struct column *column, size_t width, uint32_t rows)
{
    return memcmp(column->data.data, column->data.data + width, (rows - 1) * width) == 0;
}

/* The type as it goes into the frame. A single row has nothing to gain: data are padded to 8 bytes. */
static uint8_t squeeze(struct column *column, enum column_type type, uint32_t rows)
{
    bool is_same = false;
    if (type == COLUMN_TEXT) {
        is_same = rows > 1 && is_same_text(column, rows);
        column->texts.size = is_same ? column->texts.size / rows : column->texts.size;
        column->data.size = is_same ? sizeof(uint32_t) : column->data.size;
        uint32_t end = (uint32_t)column->texts.size;
        text_add(&column->data, span_of(&end, sizeof end));
    } else if (rows > 1) {
        enum column_type to = narrowest(column, type, rows);
        if (to != type) {
            narrow(column, type, to, rows);
            type = to;
        }
        is_same = is_same_number(column, width_of(type), rows);
        column->data.size = is_same ? width_of(type) : column->data.size;
    }
    return (uint8_t)(type | (is_same ? COLUMN_SAME : 0));
}

/* ---- the frame ---------------------------------------------------------------------------------- */

static bool is_left_out(const struct columns *columns, uint32_t column)
{
    return (columns->left_out >> column & 1) != 0;
}

static void write_head(const struct columns *columns, const struct frame_head *head,
                       struct text *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < columns->count; i++) {
        count += !is_left_out(columns, i);
    }
    uint8_t bytes[HEAD_BYTES] = {VERSION, (uint8_t)head->mode};
    memcpy(bytes + 2, &head->channel, sizeof head->channel);
    memcpy(bytes + 4, &head->subscription, sizeof head->subscription);
    memcpy(bytes + 8, &head->sequence, sizeof head->sequence);
    memcpy(bytes + 12, &columns->rows, sizeof columns->rows);
    memcpy(bytes + 16, &head->time, sizeof head->time);
    memcpy(bytes + 24, &count, sizeof count);
    text_add(out, span_of(bytes, sizeof bytes));
}

void columns_write(struct columns *columns, const struct frame_head *head, struct text *out)
{
    ASSERT(columns->at == 0);
    size_t begin = out->size;
    write_head(columns, head, out);
    for (uint32_t i = 0; i < columns->count; i++) {
        struct column *column = &columns->items[i];
        if (is_left_out(columns, i)) {
            continue;
        }
        uint8_t bytes[8] = {squeeze(column, columns->types[i], columns->rows)};
        uint16_t number = (uint16_t)i;
        uint32_t size = (uint32_t)(column->data.size + column->texts.size);
        memcpy(bytes + 2, &number, sizeof number);
        memcpy(bytes + 4, &size, sizeof size);
        text_add(out, span_of(bytes, sizeof bytes));
    }
    for (uint32_t i = 0; i < columns->count; i++) {
        if (!is_left_out(columns, i)) {
            text_add(out, text_span(&columns->items[i].data));
            text_add(out, text_span(&columns->items[i].texts));
            pad(out, begin);
        }
    }
}
