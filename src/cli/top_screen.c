/* top_screen.c: see top_screen.h. */
#include "cli/top_screen.h"

#include <stdio.h>

#include "base/alloc.h"

/* ---- characters --------------------------------------------------------------------------------- */

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t code, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* Columns that a terminal gives it; 0: who knows. */
static int width_of(uint32_t code)
{
    static const struct range narrow[] = {
        {0x20, 0x7e},     {0xa0, 0xac},     {0xae, 0x2ff},    {0x370, 0x377},   {0x37a, 0x37f},
        {0x384, 0x482},   {0x48a, 0x52f},   {0x1e00, 0x1eff}, {0x2010, 0x2027}, {0x2030, 0x205e},
        {0x20a0, 0x20bf}, {0x2100, 0x2319}, {0x2500, 0x25fc}, {0x2713, 0x2718}, {0xfffd, 0xfffd}};
    static const struct range wide[] = {{0x3041, 0x3096}, {0x30a1, 0x30ff}, {0x3400, 0x4dbf},
                                        {0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0xff01, 0xff60}};
    if (is_in(code, narrow, sizeof narrow / sizeof narrow[0])) {
        return 1;
    }
    return is_in(code, wide, sizeof wide / sizeof wide[0]) ? 2 : 0;
}

/* The next character of UTF-8; of bytes that are none, the first, as `out_is_byte`. */
static uint32_t take_code(struct span *text, bool *out_is_byte)
{
    const uint8_t *data = text->data;
    uint8_t lead = data[0];
    size_t size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint32_t code = lead < 0x80 ? lead : lead & (0x7fu >> size);
    bool fine = size <= text->size && lead < 0xf8 && (lead < 0x80 || lead >= 0xc2);
    for (size_t i = 1; fine && i < size; i++) {
        fine = (data[i] & 0xc0) == 0x80;
        code = code << 6 | (data[i] & 0x3f);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    fine = fine && (code >= smallest[size] || size == 1) && code <= 0x10ffff &&
           (code < 0xd800 || code > 0xdfff);
    size_t taken = fine ? size : 1;
    *text = span_of(data + taken, text->size - taken);
    *out_is_byte = !fine;
    return fine ? code : lead;
}

/* ---- cells -------------------------------------------------------------------------------------- */

void top_screen_init(struct top_screen *screen, int width, int height)
{
    screen->width = width < 1 ? 1 : width > TOP_WIDTH_MAX ? TOP_WIDTH_MAX : width;
    screen->height = height < 1 ? 1 : height > TOP_HEIGHT_MAX ? TOP_HEIGHT_MAX : height;
    screen->cells =
        mem_zalloc((size_t)screen->width * (size_t)screen->height, sizeof *screen->cells);
    top_screen_clear(screen);
}

void top_screen_fini(struct top_screen *screen)
{
    mem_free(screen->cells);
    screen->cells = NULL;
}

void top_screen_clear(struct top_screen *screen)
{
    for (int i = 0; i < screen->width * screen->height; i++) {
        screen->cells[i] = (struct top_cell){.code = ' '};
    }
}

struct top_pen top_pen_at(struct top_screen *screen, int row, int column, int end)
{
    bool is_on = row >= 0 && row < screen->height;
    end = !is_on ? 0 : end > screen->width ? screen->width : end;
    return (struct top_pen){.screen = screen, .row = row, .column = column, .end = end};
}

static void put(struct top_pen *pen, uint32_t code, int width)
{
    if (pen->column + width > pen->end) {
        pen->column = pen->end; /* nothing comes behind a gap */
        return;
    }
    struct top_cell *cell =
        &pen->screen->cells[(size_t)pen->row * (size_t)pen->screen->width + (size_t)pen->column];
    cell[0] = (struct top_cell){code, pen->style};
    if (width == 2) {
        cell[1] = (struct top_cell){0, pen->style};
    }
    pen->column += width;
}

void top_pen_code(struct top_pen *pen, uint32_t code)
{
    put(pen, code, 1);
}

void top_pen_say(struct top_pen *pen, const char *text)
{
    struct span rest = span_of_text(text);
    bool is_byte;
    while (rest.size > 0 && pen->column < pen->end) {
        uint32_t code = take_code(&rest, &is_byte);
        put(pen, pen->screen->is_ascii && code > 0x7e ? '?' : code, 1);
    }
}

void top_pen_printf(struct top_pen *pen, const char *format, ...)
{
    struct text text = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&text, format, arguments);
    va_end(arguments);
    top_pen_say(pen, text_cstr(&text));
    text_fini(&text);
}

static void put_escaped(struct top_pen *pen, uint32_t code, bool is_byte)
{
    char few[12];
    int width = is_byte ? 0 : width_of(code);
    if (width > 0 && (code <= 0x7e || !pen->screen->is_ascii)) {
        put(pen, code, width);
        return;
    }
    if (code == '\n') {
        snprintf(few, sizeof few, "\\n");
    } else if (code == '\t') {
        snprintf(few, sizeof few, "\\t");
    } else {
        snprintf(few, sizeof few,
                 is_byte || code < 0x100 ? "\\x%02x"
                 : code < 0x10000        ? "\\u%04x"
                                         : "\\U%08x",
                 code);
    }
    top_pen_say(pen, few);
}

void top_pen_text(struct top_pen *pen, struct span text)
{
    int begin = pen->column;
    bool is_byte;
    while (text.size > 0 && pen->column < pen->end) {
        uint32_t code = take_code(&text, &is_byte);
        int before = pen->column;
        put_escaped(pen, code, is_byte);
        bool is_cut = text.size > 0 || (before == pen->end - 1 && width_of(code) != 1);
        if (pen->column == pen->end && is_cut && pen->end > begin) {
            struct top_pen last = *pen;
            last.column = pen->end - 1;
            put(&last, '~', 1);
        }
    }
}

void top_pen_fill(struct top_pen *pen, int column)
{
    while (pen->column < column && pen->column < pen->end) {
        put(pen, ' ', 1);
    }
}

void top_pen_bar(struct top_pen *pen, double share, int width)
{
    share = share > 0 ? (share < 1 ? share : 1) : 0;
    int full = (int)(share * width + 0.5);
    full = full == 0 && share > 0 ? 1 : full;
    for (int i = 0; i < width; i++) {
        bool is_full = i < full;
        uint32_t code = is_full ? 0x2588 : 0x2591;
        top_pen_code(pen, pen->screen->is_ascii ? (is_full ? '#' : '.') : code);
    }
}

void top_pen_level(struct top_pen *pen, double share)
{
    static const char plain[] = " .:-=+*#@";
    share = share > 0 ? (share < 1 ? share : 1) : 0;
    int level = (int)(share * 8 + 0.5);
    level = level == 0 && share > 0 ? 1 : level;
    uint32_t block = level == 0 ? ' ' : 0x2580 + (uint32_t)level;
    top_pen_code(pen, pen->screen->is_ascii ? (uint32_t)plain[level] : block);
}

/* ---- bytes -------------------------------------------------------------------------------------- */

static void add_code(struct text *out, uint32_t code)
{
    if (code < 0x80) {
        text_add_char(out, (char)code);
    } else if (code < 0x800) {
        text_add_char(out, (char)(0xc0 | code >> 6));
        text_add_char(out, (char)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        text_add_char(out, (char)(0xe0 | code >> 12));
        text_add_char(out, (char)(0x80 | (code >> 6 & 0x3f)));
        text_add_char(out, (char)(0x80 | (code & 0x3f)));
    } else {
        text_add_char(out, (char)(0xf0 | code >> 18));
        text_add_char(out, (char)(0x80 | (code >> 12 & 0x3f)));
        text_add_char(out, (char)(0x80 | (code >> 6 & 0x3f)));
        text_add_char(out, (char)(0x80 | (code & 0x3f)));
    }
}

static void add_style(struct text *out, uint8_t style, bool is_coloured)
{
    text_add_cstr(out, "\x1b[0");
    if ((style & STYLE_BOLD) != 0) {
        text_add_cstr(out, ";1");
    }
    if ((style & STYLE_REVERSE) != 0) {
        text_add_cstr(out, ";7");
    }
    if (is_coloured && (style & STYLE_COLOUR) != 0) {
        text_printf(out, ";3%d", style & STYLE_COLOUR);
    }
    text_add_char(out, 'm');
}

void top_screen_paint(const struct top_screen *screen, const struct top_screen *before,
                      struct text *out)
{
    bool is_known = before != NULL && before->cells != NULL && before->width == screen->width &&
                    before->height == screen->height;
    int style = -1, at_row = -1, at_column = -1;
    if (!is_known) {
        text_add_cstr(out, "\x1b[0m\x1b[2J");
    }
    for (int row = 0; row < screen->height; row++) {
        for (int column = 0; column < screen->width; column++) {
            size_t place = (size_t)row * (size_t)screen->width + (size_t)column;
            struct top_cell cell = screen->cells[place];
            struct top_cell old = is_known ? before->cells[place] : (struct top_cell){' ', 0};
            bool is_wide = column + 1 < screen->width && screen->cells[place + 1].code == 0;
            bool was_half = is_wide && is_known && before->cells[place + 1].code != 0;
            if (cell.code == 0 || (cell.code == old.code && cell.style == old.style && !was_half)) {
                continue;
            }
            if (at_row != row || at_column != column) {
                text_printf(out, "\x1b[%d;%dH", row + 1, column + 1);
            }
            if (style != cell.style) {
                add_style(out, cell.style, screen->is_coloured);
                style = cell.style;
            }
            add_code(out, cell.code);
            at_row = row;
            at_column = column + 1 + is_wide;
        }
    }
    if (style > 0) {
        text_add_cstr(out, "\x1b[0m");
    }
}

void top_screen_lines(const struct top_screen *screen, struct text *out)
{
    for (int row = 0; row < screen->height; row++) {
        const struct top_cell *cells = screen->cells + (size_t)row * (size_t)screen->width;
        int end = screen->width;
        while (end > 0 && cells[end - 1].code == ' ') {
            end--;
        }
        for (int column = 0; column < end; column++) {
            if (cells[column].code != 0) {
                add_code(out, cells[column].code);
            }
        }
        text_add_char(out, '\n');
    }
}
