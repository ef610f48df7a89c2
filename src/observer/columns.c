/* columns.c: see columns.h. Little-endian is what the machines are that it runs on. */
#include "observer/columns.h"

#define VERSION 1
#define HEAD_BYTES 32

void columns_begin(struct columns *columns, const enum column_type *types, uint32_t count)
{
    ASSERT(count <= COLUMNS_MAX);
    columns->types = types;
    columns->count = count;
    columns->rows = 0;
    columns->at = 0;
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

static void write_head(const struct columns *columns, const struct frame_head *head,
                       struct text *out)
{
    uint8_t bytes[HEAD_BYTES] = {VERSION, (uint8_t)head->mode};
    memcpy(bytes + 2, &head->channel, sizeof head->channel);
    memcpy(bytes + 4, &head->subscription, sizeof head->subscription);
    memcpy(bytes + 8, &head->sequence, sizeof head->sequence);
    memcpy(bytes + 12, &columns->rows, sizeof columns->rows);
    memcpy(bytes + 16, &head->time, sizeof head->time);
    memcpy(bytes + 24, &columns->count, sizeof columns->count);
    text_add(out, span_of(bytes, sizeof bytes));
}

void columns_write(struct columns *columns, const struct frame_head *head, struct text *out)
{
    ASSERT(columns->at == 0);
    size_t begin = out->size;
    write_head(columns, head, out);
    for (uint32_t i = 0; i < columns->count; i++) {
        struct column *column = &columns->items[i];
        if (columns->types[i] == COLUMN_TEXT) {
            uint32_t end = (uint32_t)column->texts.size;
            text_add(&column->data, span_of(&end, sizeof end));
        }
        uint16_t number = (uint16_t)i;
        uint32_t size = (uint32_t)(column->data.size + column->texts.size);
        uint8_t bytes[8] = {(uint8_t)columns->types[i]};
        memcpy(bytes + 2, &number, sizeof number);
        memcpy(bytes + 4, &size, sizeof size);
        text_add(out, span_of(bytes, sizeof bytes));
    }
    for (uint32_t i = 0; i < columns->count; i++) {
        text_add(out, text_span(&columns->items[i].data));
        text_add(out, text_span(&columns->items[i].texts));
        pad(out, begin);
    }
}
