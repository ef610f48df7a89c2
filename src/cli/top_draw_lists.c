/* top_draw_lists.c: the pages that are lists, by tables of their columns: the first is always there, of the others
 * as many as fit. */
#include <math.h>
#include <stdio.h>

#include "cli/top_draw.h"

enum kind {
    KIND_TEXT,
    KIND_COUNT,
    KIND_BYTES,
    KIND_PERCENT,
    KIND_SECONDS,
    KIND_TIME,
    KIND_DONE,
    KIND_MEAN,
    KIND_USED
};

struct list_column {
    const char *heading;
    int width; /* of the first column: at least */
    enum kind kind;
    int number; /* KIND_TEXT: of its text */
};

static const struct list_column worker_columns[] = {
    {"WORKER", 14, KIND_TEXT, 1},
    {"STATUS", 8, KIND_TEXT, 0},
    {"THR", 3, KIND_COUNT, WORKER_NTHREADS},
    {"CPU%", 5, KIND_PERCENT, WORKER_CPU},
    {"MEM", 8, KIND_BYTES, WORKER_PROCESS},
    {"OF", 4, KIND_USED, WORKER_PROCESS},
    {"RUNS", 4, KIND_COUNT, WORKER_EXECUTING},
    {"PROC", 5, KIND_COUNT, WORKER_PROCESSING},
    {"HOLDS", 5, KIND_COUNT, WORKER_HAS_WHAT},
    {"SPILLED", 8, KIND_BYTES, WORKER_SPILLED},
    {"DONE", 6, KIND_COUNT, WORKER_RUNS},
    {"ERR", 4, KIND_COUNT, WORKER_FAILURES},
    {"UNMANAGED", 9, KIND_BYTES, WORKER_UNMANAGED_OLD},
    {"NET IN/S", 8, KIND_BYTES, WORKER_NET_READ},
    {"NET OUT/S", 9, KIND_BYTES, WORKER_NET_WRITE},
    {"FDS", 5, KIND_COUNT, WORKER_FDS},
};
static const struct list_column group_columns[] = {
    {"GROUP", 18, KIND_TEXT, 0},
    {"DONE", 10, KIND_DONE, 0},
    {"TASKS", 6, KIND_COUNT, GROUP_SIZE},
    {"WAIT", 5, KIND_COUNT, GROUP_WAITING},
    {"QUEUE", 5, KIND_COUNT, GROUP_QUEUED},
    {"PROC", 5, KIND_COUNT, GROUP_PROCESSING},
    {"MEM", 6, KIND_COUNT, GROUP_MEMORY},
    {"ERR", 4, KIND_COUNT, GROUP_ERRED},
    {"MEAN", 7, KIND_MEAN, 0},
    {"BYTES", 8, KIND_BYTES, GROUP_NBYTES},
    {"NOWORKER", 8, KIND_COUNT, GROUP_NO_WORKER},
    {"TOTAL", 8, KIND_SECONDS, GROUP_DURATION},
    {"BEGAN", 8, KIND_TIME, GROUP_START},
};
static const struct list_column failure_columns[] = {
    {"MESSAGE", 22, KIND_TEXT, 2},
    {"TYPE", 18, KIND_TEXT, 1},
    {"COUNT", 6, KIND_COUNT, FAILURE_COUNT},
    {"LAST", 8, KIND_TIME, FAILURE_LAST},
    {"PREFIX", 14, KIND_TEXT, 0},
    {"WHERE", 30, KIND_TEXT, 3},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- numbers ------------------------------------------------------------------------------------ */

void top_print_bytes(double bytes, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    if (!(bytes >= 0 && bytes < 1e18)) {
        snprintf(out, 16, "-");
        return;
    }
    while (bytes >= 999.5 && unit + 1 < COUNT_OF(units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 16, unit == 0 || bytes >= 9.95 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void top_print_count(double count, char out[16])
{
    static const char units[] = " kMGT";
    size_t unit = 0;
    if (!(count >= 0 && count < 1e15)) {
        snprintf(out, 16, "-");
        return;
    }
    if (count < 9999.5) {
        snprintf(out, 16, count == floor(count) || count >= 99.5 ? "%.0f" : "%.1f", count);
        return;
    }
    while (count >= 999.5 && unit < 4) {
        count /= 1000;
        unit++;
    }
    snprintf(out, 16, count >= 9.95 ? "%.0f%c" : "%.1f%c", count, units[unit]);
}

void top_print_seconds(double seconds, char out[16])
{
    if (!(seconds >= 0 && seconds < 1e12)) {
        snprintf(out, 16, "-");
    } else if (seconds == 0) {
        snprintf(out, 16, "0");
    } else if (seconds < 0.0009995) {
        snprintf(out, 16, "%.0f us", seconds * 1e6);
    } else if (seconds < 0.9995) {
        snprintf(out, 16, "%.*f ms", seconds < 0.00995, seconds * 1e3);
    } else if (seconds < 99.95) {
        snprintf(out, 16, "%.3g s", seconds);
    } else if (seconds < 5999.5) {
        snprintf(out, 16, "%.0f min", seconds / 60);
    } else {
        snprintf(out, 16, "%.0f h", seconds / 3600);
    }
}

static double share_done(const struct top_row *row)
{
    double all = 0, done = 0;
    for (int i = GROUP_RELEASED; i <= GROUP_FORGOTTEN; i++) {
        bool is_done = i == GROUP_MEMORY || i == GROUP_ERRED || i == GROUP_FORGOTTEN ||
                       (i == GROUP_RELEASED && row->numbers[GROUP_RUNS] > 0);
        all += row->numbers[i];
        done += is_done ? row->numbers[i] : 0;
    }
    return all > 0 ? done / all : 0;
}

/* ---- cells -------------------------------------------------------------------------------------- */

static void print_number(const struct top_row *row, const struct list_column *column, char out[16])
{
    double value = row->numbers[column->number];
    double runs = row->numbers[GROUP_RUNS], limit = row->numbers[WORKER_LIMIT];
    switch (column->kind) {
    case KIND_BYTES:
        top_print_bytes(value, out);
        break;
    case KIND_PERCENT:
        snprintf(out, 16, value >= 0 && value < 1e6 ? "%.0f" : "-", value);
        break;
    case KIND_SECONDS:
        top_print_seconds(value, out);
        break;
    case KIND_MEAN:
        top_print_seconds(runs > 0 ? row->numbers[GROUP_DURATION] / runs : NAN, out);
        break;
    case KIND_USED:
        snprintf(out, 16, limit > 0 && value >= 0 && value < 100 * limit ? "%.0f%%" : "-",
                 limit > 0 ? 100 * value / limit : 0);
        break;
    case KIND_TIME:
        if (value > 0 && value < 1e11) {
            snprintf(out, 16, "%02d:%02d:%02d", (int)fmod(value / 3600, 24),
                     (int)fmod(value / 60, 60), (int)fmod(value, 60));
        } else {
            snprintf(out, 16, "-");
        }
        break;
    default:
        top_print_count(value, out);
        break;
    }
}

/* What a person is to see first; said by words, too. */
static uint8_t style_of(const struct top_row *row, const struct list_column *column)
{
    const char *text = column->kind == KIND_TEXT ? text_cstr(&row->texts[column->number]) : "";
    if (strcmp(column->heading, "STATUS") == 0) {
        return strcmp(text, "running") == 0 ? STYLE_GREEN : STYLE_YELLOW | STYLE_BOLD;
    }
    if (strcmp(column->heading, "ERR") == 0 && row->numbers[column->number] > 0) {
        return STYLE_RED | STYLE_BOLD;
    }
    return strcmp(column->heading, "TYPE") == 0 ? STYLE_RED : STYLE_PLAIN;
}

static void draw_cell(struct top_pen *pen, const struct top_row *row,
                      const struct list_column *column, int width)
{
    char few[16];
    struct top_pen cell = *pen;
    cell.end = pen->column + width < pen->end ? pen->column + width : pen->end;
    if ((pen->style & STYLE_REVERSE) == 0) {
        cell.style |= style_of(row, column);
    }
    if (column->kind == KIND_TEXT) {
        top_pen_text(&cell, text_span(&row->texts[column->number]));
    } else if (column->kind == KIND_DONE) {
        double share = share_done(row);
        top_pen_bar(&cell, share, width - 5);
        top_pen_printf(&cell, " %3.0f%%", floor(100 * share));
    } else {
        print_number(row, column, few);
        top_pen_fill(&cell, cell.column + width - (int)strlen(few));
        top_pen_say(&cell, few);
    }
    cell.style = pen->style;
    top_pen_fill(&cell, cell.end);
    pen->column = cell.end;
}

struct layout {
    const struct list_column *columns;
    size_t count; /* that fit */
    int first;    /* width of the first */
};

static struct layout layout_of(enum top_page page, int width)
{
    struct layout layout = {worker_columns, COUNT_OF(worker_columns), 0};
    if (page == TOP_GROUPS) {
        layout = (struct layout){group_columns, COUNT_OF(group_columns), 0};
    } else if (page == TOP_FAILURES) {
        layout = (struct layout){failure_columns, COUNT_OF(failure_columns), 0};
    }
    int left = width - 2 - layout.columns[0].width;
    size_t fit = 1;
    while (fit < layout.count && left > layout.columns[fit].width) {
        left -= 1 + layout.columns[fit].width;
        fit++;
    }
    layout.count = fit;
    layout.first = layout.columns[0].width + (left > 0 ? left : 0);
    return layout;
}

static void draw_headings(const struct layout *layout, struct top_screen *screen, int row)
{
    struct top_pen pen = top_pen_at(screen, row, 2, screen->width);
    pen.style = STYLE_BOLD;
    for (size_t i = 0; i < layout->count; i++) {
        int width = i == 0 ? layout->first : layout->columns[i].width;
        int size = (int)strlen(layout->columns[i].heading), begin = pen.column;
        if (layout->columns[i].kind != KIND_TEXT && layout->columns[i].kind != KIND_DONE) {
            top_pen_fill(&pen, begin + width - size);
        }
        top_pen_say(&pen, layout->columns[i].heading);
        top_pen_fill(&pen, begin + width + 1);
    }
}

static void draw_row(const struct layout *layout, const struct top_row *row,
                     struct top_screen *screen, int line, bool is_selected)
{
    struct top_pen pen = top_pen_at(screen, line, 0, screen->width);
    pen.style = is_selected ? STYLE_REVERSE : STYLE_PLAIN;
    top_pen_say(&pen, is_selected ? "> " : "  ");
    for (size_t i = 0; i < layout->count; i++) {
        draw_cell(&pen, row, &layout->columns[i],
                  i == 0 ? layout->first : layout->columns[i].width);
        top_pen_fill(&pen, pen.column + 1);
    }
}

void top_draw_list(const struct top_model *model, const struct top_view *view,
                   struct top_screen *screen, int first, int end)
{
    static const char *const nothing[TOP_PAGE_COUNT] = {[TOP_WORKERS] = "No worker",
                                                        [TOP_GROUPS] = "No group of tasks",
                                                        [TOP_FAILURES] = "No task has failed"};
    struct layout layout = layout_of(view->page, screen->width);
    struct top_rows rows;
    top_view_rows(view, model, &rows);
    int height = end - first - 1;
    if (rows.count == 0 || height < 1) {
        struct top_pen pen = top_pen_at(screen, first + 1, 2, screen->width);
        top_pen_say(&pen,
                    view->filter.size > 0 ? "Nothing matches the filter" : nothing[view->page]);
        vec_fini(&rows);
        return;
    }
    draw_headings(&layout, screen, first);
    uint32_t selected = view->selected[view->page];
    bool has_selection = selected != TOP_NONE;
    selected = !has_selection ? 0 : selected < rows.count ? selected : rows.count - 1;
    uint32_t top = selected / (uint32_t)height * (uint32_t)height;
    for (uint32_t i = top; i < rows.count && i < top + (uint32_t)height; i++) {
        draw_row(&layout, rows.items[i], screen, first + 1 + (int)(i - top),
                 has_selection && i == selected);
    }
    vec_fini(&rows);
}

/* ---- the stream --------------------------------------------------------------------------------- */

#define LANE_NAME 12

static void draw_lane(const struct top_lane *lane, struct top_screen *screen, int row)
{
    struct top_pen name = top_pen_at(screen, row, 2, 2 + LANE_NAME);
    top_pen_text(&name, text_span(&lane->name));
    struct top_pen pen = top_pen_at(screen, row, 3 + LANE_NAME, screen->width);
    for (uint32_t i = 0; i < lane->bucket_count; i++) {
        bool has_failed = lane->has_failed[i];
        bool is_other = lane->other[i] > lane->busy[i];
        pen.style = has_failed ? STYLE_RED | STYLE_BOLD : is_other ? STYLE_YELLOW : STYLE_BLUE;
        if (has_failed) {
            top_pen_code(&pen, 'x');
        } else if (is_other) {
            top_pen_code(&pen, '~');
        } else {
            top_pen_level(&pen, (double)lane->busy[i]);
        }
    }
}

void top_draw_stream(const struct top_model *model, const struct top_view *view,
                     struct top_screen *screen, int first, int end)
{
    const struct top_stream *stream = &model->stream;
    char window[16];
    uint32_t height = end - first > 1 ? (uint32_t)(end - first - 1) : 0;
    top_print_seconds(stream->until - stream->since, window);
    struct top_pen pen = top_pen_at(screen, first, 2, screen->width);
    pen.style = STYLE_BOLD;
    top_pen_printf(&pen, "%-*s ", LANE_NAME, "STREAM");
    pen.style = STYLE_PLAIN;
    top_pen_printf(&pen, "last %s: height = threads busy, ~ transfer or disk, x failure", window);
    if (stream->lanes.count == 0) {
        pen = top_pen_at(screen, first + 1, 2, screen->width);
        top_pen_say(&pen, "No task has run in this time");
    }
    uint32_t at = view->page == TOP_STREAM ? view->selected[TOP_STREAM] : 0;
    at = at < stream->lanes.count ? at : stream->lanes.count;
    for (uint32_t i = at; i < stream->lanes.count && i < at + height; i++) {
        draw_lane(&stream->lanes.items[i], screen, first + 1 + (int)(i - at));
    }
    if (stream->lanes.count > at + height && height > 0) {
        pen = top_pen_at(screen, end - 1, 2, screen->width);
        top_pen_printf(&pen, "... and %u more", stream->lanes.count - at - height + 1);
        top_pen_fill(&pen, screen->width);
    }
}
