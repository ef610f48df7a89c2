/* top_view.c: see top_view.h. */
#include "cli/top_view.h"

#include <stdlib.h>

#define FILTER_MAX 200u
#define WINDOW_DEFAULT 60
#define WINDOW_MIN 5
#define WINDOW_MAX 3600
#define PAGE_ROWS 10

enum key {
    KEY_NONE,
    KEY_UP = 256,
    KEY_DOWN,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_HOME,
    KEY_END,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_ESCAPE
};

void top_view_init(struct top_view *view)
{
    *view = (struct top_view){.window = WINDOW_DEFAULT};
}

void top_view_fini(struct top_view *view)
{
    text_fini(&view->filter);
}

/* ---- lists -------------------------------------------------------------------------------------- */

static const struct top_table *table_of(const struct top_view *view, const struct top_model *model)
{
    switch (view->page) {
    case TOP_WORKERS:
        return &model->workers;
    case TOP_GROUPS:
        return &model->groups;
    case TOP_FAILURES:
        return &model->failures;
    default:
        return NULL;
    }
}

static bool matches(const struct top_row *row, const struct text *filter)
{
    for (int i = 0; i < TOP_TEXTS; i++) {
        if (strcasestr(text_cstr(&row->texts[i]), text_cstr(filter)) != NULL) {
            return true;
        }
    }
    return filter->size == 0;
}

/* `by` the column that is to fall; equal: in the order of coming. */
static int compare(const void *a, const void *b, void *by)
{
    const struct top_row *one = *(const struct top_row *const *)a;
    const struct top_row *other = *(const struct top_row *const *)b;
    const uint32_t *column = by;
    double x = one->numbers[*column], y = other->numbers[*column];
    if (x != y) {
        return x > y ? -1 : 1;
    }
    x = one->numbers[0];
    y = other->numbers[0];
    return (x > y) - (x < y);
}

void top_view_rows(const struct top_view *view, const struct top_model *model,
                   struct top_rows *out_rows)
{
    const struct top_table *table = table_of(view, model);
    *out_rows = (struct top_rows){0};
    for (uint32_t i = 0; table != NULL && i < table->rows.count; i++) {
        const struct top_row *row = table->rows.items[i];
        bool is_left = view->page != TOP_GROUPS || top_group_is_left(row);
        if (is_left && matches(row, &view->filter)) {
            vec_push(out_rows, table->rows.items[i]);
        }
    }
    uint32_t column = view->page == TOP_GROUPS ? GROUP_START : FAILURE_LAST;
    if (out_rows->count > 1 && view->page != TOP_WORKERS) {
        qsort_r(out_rows->items, out_rows->count, sizeof out_rows->items[0], compare, &column);
    }
}

const struct top_row *top_view_row(const struct top_view *view, const struct top_model *model)
{
    struct top_rows rows;
    top_view_rows(view, model, &rows);
    uint32_t at = view->selected[view->page];
    const struct top_row *row = rows.count == 0   ? NULL
                                : at < rows.count ? rows.items[at]
                                                  : rows.items[rows.count - 1];
    vec_fini(&rows);
    return row;
}

const char *top_view_question(const struct top_view *view)
{
    return view->page == TOP_WORKERS    ? "Retire this worker?"
           : view->page == TOP_FAILURES ? "Retry the tasks of this failure?"
                                        : NULL;
}

/* ---- keys --------------------------------------------------------------------------------------- */

static void drop(struct span *bytes, size_t count)
{
    *bytes = span_of(bytes->data + count, bytes->size - count);
}

/* "\e[A", "\eOA", "\e[5~": what is between is skipped. */
static int take_sequence(struct span *bytes)
{
    size_t at = 0;
    uint8_t first = bytes->data[0];
    while (at < bytes->size && (bytes->data[at] < '@' || bytes->data[at] > '~')) {
        at++;
    }
    if (at == bytes->size) {
        drop(bytes, at);
        return KEY_NONE;
    }
    uint8_t last = bytes->data[at];
    drop(bytes, at + 1);
    switch (last) {
    case 'A':
        return KEY_UP;
    case 'B':
        return KEY_DOWN;
    case 'C':
        return KEY_RIGHT;
    case 'D':
        return KEY_LEFT;
    case 'H':
        return KEY_HOME;
    case 'F':
        return KEY_END;
    case '~':
        return first == '5'   ? KEY_PAGE_UP
               : first == '6' ? KEY_PAGE_DOWN
               : first == '1' ? KEY_HOME
               : first == '4' ? KEY_END
                              : KEY_NONE;
    default:
        return KEY_NONE;
    }
}

static int take_key(struct span *bytes)
{
    int key = bytes->data[0];
    drop(bytes, 1);
    if (key != '\x1b') {
        return key;
    }
    if (bytes->size >= 2 && (bytes->data[0] == '[' || bytes->data[0] == 'O')) {
        drop(bytes, 1);
        return take_sequence(bytes);
    }
    return KEY_ESCAPE;
}

static enum top_task filter_key(struct top_view *view, int key)
{
    if (key == '\r' || key == '\n') {
        view->is_filtering = false;
    } else if (key == KEY_ESCAPE) {
        view->is_filtering = false;
        text_clear(&view->filter);
    } else if (key == 0x7f || key == '\b') {
        while (view->filter.size > 0) { /* a whole character */
            uint8_t last = (uint8_t)view->filter.data[--view->filter.size];
            view->filter.data[view->filter.size] = '\0';
            if ((last & 0xc0) != 0x80) {
                break;
            }
        }
    } else if (key >= ' ' && key < 256 && view->filter.size < FILTER_MAX) {
        text_add_char(&view->filter, (char)key);
    }
    view->selected[view->page] = 0;
    return TOP_DO_DRAW;
}

static void move(uint32_t *at, int64_t by, uint32_t count)
{
    int64_t to = (int64_t)(*at >= count && count > 0 ? count - 1 : *at) + by;
    *at = to < 0 || count == 0 ? 0 : to >= count ? count - 1 : (uint32_t)to;
}

/* How far the key moves; 0: it does not. */
static int64_t distance_of(int key)
{
    switch (key) {
    case 'j':
    case KEY_DOWN:
        return 1;
    case 'k':
    case KEY_UP:
        return -1;
    case ' ':
    case KEY_PAGE_DOWN:
        return PAGE_ROWS;
    case KEY_PAGE_UP:
        return -PAGE_ROWS;
    case 'G':
    case KEY_END:
        return INT32_MAX;
    case KEY_HOME:
        return -(int64_t)INT32_MAX;
    default:
        return 0;
    }
}

static uint32_t line_count(const struct text *text)
{
    uint32_t count = 0;
    for (size_t i = 0; i < text->size; i++) {
        count += text->data[i] == '\n';
    }
    return count;
}

static uint32_t list_count(const struct top_view *view, const struct top_model *model)
{
    struct top_rows rows;
    top_view_rows(view, model, &rows);
    uint32_t count = view->page == TOP_STREAM ? model->stream.lanes.count : rows.count;
    vec_fini(&rows);
    return count;
}

static enum top_task detail_key(struct top_view *view, const struct top_model *model, int key)
{
    if (key == 'q' || key == KEY_ESCAPE || key == '\r' || key == KEY_LEFT) {
        view->is_detail = false;
        return TOP_DO_DRAW;
    }
    int64_t distance = distance_of(key);
    move(&view->detail_first, distance, line_count(&model->detail));
    return distance != 0 ? TOP_DO_DRAW : TOP_DO_NOTHING;
}

static bool page_key(struct top_view *view, int key)
{
    static const char digits[] = "12345", letters[] = "owgfs";
    for (int i = 0; i < TOP_PAGE_COUNT; i++) {
        if (key == digits[i] || key == letters[i]) {
            view->page = (enum top_page)i;
            return true;
        }
    }
    int step = key == '\t' || key == KEY_RIGHT ? 1 : key == KEY_LEFT ? TOP_PAGE_COUNT - 1 : 0;
    view->page = (enum top_page)(((int)view->page + step) % TOP_PAGE_COUNT);
    return step != 0;
}

static enum top_task list_key(struct top_view *view, struct top_model *model, int key)
{
    bool has_list = table_of(view, model) != NULL;
    switch (key) {
    case 'q':
        return TOP_DO_QUIT;
    case '?':
    case 'h':
        view->is_help = true;
        return TOP_DO_DRAW;
    case '/':
        view->is_filtering = has_list;
        return TOP_DO_DRAW;
    case KEY_ESCAPE:
        text_clear(&view->filter);
        return TOP_DO_DRAW;
    case '+':
    case '-':
        view->window *= key == '+' ? 0.5 : 2;
        view->window = view->window < WINDOW_MIN   ? WINDOW_MIN
                       : view->window > WINDOW_MAX ? WINDOW_MAX
                                                   : view->window;
        return TOP_DO_DRAW;
    case '\r':
    case '\n':
        return has_list && top_view_row(view, model) != NULL ? TOP_DO_OPEN : TOP_DO_NOTHING;
    case 'x':
        if (top_view_question(view) != NULL && top_view_row(view, model) != NULL) {
            view->is_confirming = model->can_act;
            text_add_cstr(&model->notice,
                          model->can_act ? "" : "Actions are off here: see cask.dashboard.actions");
        }
        return TOP_DO_DRAW;
    default: {
        int64_t distance = distance_of(key);
        move(&view->selected[view->page], distance, list_count(view, model));
        return page_key(view, key) || distance != 0 ? TOP_DO_DRAW : TOP_DO_NOTHING;
    }
    }
}

enum top_task top_view_key(struct top_view *view, struct top_model *model, struct span *bytes)
{
    int key = take_key(bytes);
    text_clear(&model->notice);
    if (key == 0x03) { /* Ctrl-C; in raw mode it is a key */
        return TOP_DO_QUIT;
    }
    if (key == 0x1a) {
        return TOP_DO_SUSPEND;
    }
    if (view->is_filtering) {
        return filter_key(view, key);
    }
    if (view->is_confirming) {
        view->is_confirming = false;
        return key == 'y' || key == 'Y' ? TOP_DO_ACT : TOP_DO_DRAW;
    }
    if (view->is_help) {
        view->is_help = false;
        return TOP_DO_DRAW;
    }
    return view->is_detail ? detail_key(view, model, key) : list_key(view, model, key);
}
