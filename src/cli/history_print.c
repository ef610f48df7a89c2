/* history_print.c: see history_print.h. */
#include "cli/history_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"

#define CELL_MAX 80u

/* ---- tables ------------------------------------------------------------------------------------- */

void sheet_fini(struct sheet *sheet)
{
    for (uint32_t i = 0; i < sheet->cells.count; i++) {
        text_fini(&sheet->cells.items[i]);
    }
    vec_fini(&sheet->cells);
}

struct text *sheet_cell(struct sheet *sheet)
{
    vec_push(&sheet->cells, (struct text){0});
    return &sheet->cells.items[sheet->cells.count - 1];
}

void sheet_put(struct sheet *sheet, const char *text)
{
    text_add_cstr(sheet_cell(sheet), text);
}

/* Characters of UTF-8. */
static uint32_t width_of(const struct text *text)
{
    uint32_t width = 0;
    for (size_t i = 0; i < text->size; i++) {
        width += ((unsigned char)text->data[i] & 0xc0) != 0x80;
    }
    return width;
}

/* On one line, and not too long of it. */
static void tidy(struct text *cell)
{
    uint32_t width = 0;
    for (size_t i = 0; i < cell->size; i++) {
        unsigned char c = (unsigned char)cell->data[i];
        cell->data[i] = c < 0x20 || c == 0x7f ? ' ' : cell->data[i];
        width += (c & 0xc0) != 0x80;
        if (width > CELL_MAX) {
            cell->size = i;
            text_add_cstr(cell, "…");
            return;
        }
    }
}

static bool is_number(const struct text *cell)
{
    char *end;
    const char *text = text_cstr(cell);
    (void)strtod(text, &end);
    return end != text && strcspn(end, " ") == strlen(end) ? *end == '\0' || *end == '%'
                                                           : end != text;
}

static void print_cell(const struct text *cell, uint32_t width, bool to_right, bool is_last)
{
    uint32_t missing = width - width_of(cell);
    int before = to_right ? (int)missing : 0, after = to_right || is_last ? 0 : (int)missing;
    printf("%*s%s%*s%s", before, "", text_cstr(cell), after, "", is_last ? "\n" : "  ");
}

void sheet_print(const struct sheet *sheet)
{
    uint32_t columns = sheet->column_count, rows = columns == 0 ? 0 : sheet->cells.count / columns;
    struct column {
        uint32_t width;
        bool to_right;
    } *layout = mem_zalloc(columns + 1, sizeof *layout);
    for (uint32_t i = 0; i < rows * columns; i++) {
        struct column *column = &layout[i % columns];
        tidy(&sheet->cells.items[i]);
        uint32_t width = width_of(&sheet->cells.items[i]);
        column->width = width > column->width ? width : column->width;
        column->to_right = i < columns ? true
                                       : column->to_right && (sheet->cells.items[i].size == 0 ||
                                                              is_number(&sheet->cells.items[i]));
    }
    for (uint32_t i = 0; i < rows * columns && rows > 1; i++) {
        const struct column *column = &layout[i % columns];
        print_cell(&sheet->cells.items[i], column->width, column->to_right,
                   i % columns + 1 == columns);
    }
    mem_free(layout);
}

static void put_value(struct sheet *sheet, const struct history_value *value)
{
    struct text *cell = sheet_cell(sheet);
    switch (value->kind) {
    case HISTORY_INT:
        text_printf(cell, "%lld", (long long)value->integer);
        break;
    case HISTORY_REAL:
        text_printf(cell, "%.6g", value->real);
        break;
    case HISTORY_TEXT:
        text_add(cell, value->text);
        break;
    case HISTORY_BLOB:
        text_printf(cell, "(%zu bytes)", value->text.size);
        break;
    case HISTORY_NULL:
        break;
    }
}

static bool take_row(void *user, const struct history_row *row)
{
    struct sheet *sheet = user;
    for (uint32_t i = 0; i < row->column_count && row->number == 0; i++) {
        sheet_put(sheet, row->names[i]);
    }
    sheet->column_count = row->column_count;
    for (uint32_t i = 0; i < row->column_count; i++) {
        put_value(sheet, &row->values[i]);
    }
    return true;
}

int history_print_table(struct history_view *view, const char *title, const char *sql,
                        struct text *why)
{
    struct sheet sheet = {0};
    int code = history_view_ask(view, sql, take_row, &sheet, why);
    if (code == OK && sheet.cells.count > 0 && title != NULL) {
        printf("\n%s\n", title);
    }
    sheet_print(&sheet);
    sheet_fini(&sheet);
    return code;
}

/* ---- JSON --------------------------------------------------------------------------------------- */

/* What is no UTF-8 becomes U+FFFD. */
json_t *history_json_text(struct span text)
{
    json_t *value = json_stringn((const char *)text.data, text.size);
    struct text clean = {0};
    for (size_t i = 0; i < text.size && value == NULL; i++) {
        if (text.data[i] < 0x80) {
            text_add_char(&clean, (char)text.data[i]);
        } else {
            text_add_cstr(&clean, "\xef\xbf\xbd");
        }
    }
    if (value == NULL) {
        value = json_stringn(text_cstr(&clean), clean.size);
    }
    text_fini(&clean);
    return value;
}

json_t *history_json_value(const struct history_value *value)
{
    switch (value->kind) {
    case HISTORY_INT:
        return json_integer(value->integer);
    case HISTORY_REAL:
        return json_real(value->real); /* NULL of what JSON cannot say */
    case HISTORY_TEXT:
        return history_json_text(value->text);
    case HISTORY_BLOB:
        return json_sprintf("(%zu bytes)", value->text.size);
    default:
        return json_null();
    }
}

static bool take_object(void *user, const struct history_row *row)
{
    json_t *list = user, *object = json_object();
    for (uint32_t i = 0; i < row->column_count; i++) {
        json_t *value = history_json_value(&row->values[i]);
        json_object_set_new_nocheck(object, row->names[i], value == NULL ? json_null() : value);
    }
    json_array_append_new(list, object);
    return true;
}

json_t *history_json(struct history_view *view, const char *sql, struct text *why)
{
    json_t *list = json_array();
    if (history_view_ask(view, sql, take_object, list, why) != OK) {
        json_decref(list);
        return NULL;
    }
    return list;
}

void history_print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
}

/* ---- words -------------------------------------------------------------------------------------- */

void history_print_time(double time, struct text *out)
{
    char stamp[32];
    time_t whole = (time_t)time;
    struct tm parts;
    if (time > 0 && localtime_r(&whole, &parts) != NULL) {
        strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &parts);
        text_add_cstr(out, stamp);
    }
}

void history_print_seconds(double seconds, struct text *out)
{
    static const struct {
        double least;
        long large, small;
        const char *names[2];
    } units[] = {{86400, 86400, 3600, {"d", "h"}},
                 {3600, 3600, 60, {"h", "min"}},
                 {100, 60, 1, {"min", "s"}}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (seconds >= units[i].least) {
            long whole = (long)seconds;
            text_printf(out, "%ld %s %ld %s", whole / units[i].large, units[i].names[0],
                        whole % units[i].large / units[i].small, units[i].names[1]);
            return;
        }
    }
    text_printf(out, seconds < 0.1 ? "%.3g ms" : "%.3g s",
                seconds < 0.1 ? seconds * 1000 : seconds);
}
