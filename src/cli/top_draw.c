/* top_draw.c: see top_draw.h. Row 0 says what is looked at, row 1 the pages, the last what keys do. */
#include "cli/top_draw.h"

#include <math.h>
#include <stdio.h>

static const char *const page_names[TOP_PAGE_COUNT] = {"Overview", "Workers", "Groups", "Failures",
                                                       "Stream"};

/* ---- frame -------------------------------------------------------------------------------------- */

static void draw_title(const struct top_model *model, struct top_screen *screen)
{
    static const char *const states[] = {"running", "ended", "died"};
    struct top_pen pen = top_pen_at(screen, 0, 0, screen->width);
    pen.style = STYLE_REVERSE | STYLE_BOLD;
    double state = model->summary.numbers[SUMMARY_STATE];
    double day = fmod(model->time, 86400);
    top_pen_say(&pen, " cask top  ");
    top_pen_text(&pen, text_span(&model->address));
    if (!model->is_connected) {
        top_pen_say(&pen, "  NOT CONNECTED");
    } else if (model->has_summary) {
        top_pen_printf(&pen, "  %s", states[state == 1 || state == 2 ? (int)state : 0]);
    }
    if (model->time > 0 && model->time < 1e11) {
        top_pen_fill(&pen, screen->width - 13);
        top_pen_printf(&pen, " %02d:%02d:%02d UTC", (int)(day / 3600), (int)fmod(day / 60, 60),
                       (int)fmod(day, 60));
    }
    top_pen_fill(&pen, screen->width);
}

static uint32_t count_groups(const struct top_table *groups)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < groups->rows.count; i++) {
        count += top_group_is_left(groups->rows.items[i]);
    }
    return count;
}

static void draw_pages(const struct top_model *model, const struct top_view *view,
                       struct top_screen *screen)
{
    struct top_pen pen = top_pen_at(screen, 1, 0, screen->width);
    for (int i = 0; i < TOP_PAGE_COUNT; i++) {
        bool is_here = i == (int)view->page;
        char number[16] = "";
        uint32_t counts[TOP_PAGE_COUNT] = {[TOP_WORKERS] = model->workers.rows.count,
                                           [TOP_GROUPS] = count_groups(&model->groups),
                                           [TOP_FAILURES] = model->failures.rows.count};
        if (counts[i] > 0) {
            top_print_count(counts[i], number);
        }
        pen.style = is_here                              ? STYLE_BOLD
                    : i == TOP_FAILURES && counts[i] > 0 ? STYLE_RED
                                                         : STYLE_PLAIN;
        top_pen_printf(&pen, is_here ? "[%d %s%s%s]" : " %d %s%s%s ", i + 1, page_names[i],
                       *number == '\0' ? "" : " ", number);
    }
}

static void draw_foot(const struct top_model *model, const struct top_view *view,
                      struct top_screen *screen)
{
    struct top_pen pen = top_pen_at(screen, screen->height - 1, 0, screen->width);
    if (view->is_confirming) {
        pen.style = STYLE_BOLD;
        top_pen_printf(&pen, "%s y: yes, any other key: no", top_view_question(view));
    } else if (view->is_filtering) {
        pen.style = STYLE_BOLD;
        top_pen_say(&pen, "/");
        top_pen_text(&pen, text_span(&view->filter));
        top_pen_say(&pen, "_");
    } else if (model->notice.size > 0) {
        pen.style = STYLE_BOLD;
        top_pen_text(&pen, text_span(&model->notice));
    } else if (!model->is_connected) {
        pen.style = STYLE_RED | STYLE_BOLD;
        top_pen_text(&pen, text_span(&model->trouble));
    } else if (view->filter.size > 0) {
        top_pen_say(&pen, "filter: ");
        top_pen_text(&pen, text_span(&view->filter));
        top_pen_say(&pen, "  (Esc: none)");
    } else {
        bool can_act = model->can_act && top_view_question(view) != NULL;
        top_pen_say(&pen, view->is_detail ? "j k scroll  Esc back  q back"
                          : can_act
                              ? "1-5 pages  j k move  Enter detail  x act  / filter  ? help  q quit"
                              : "1-5 pages  j k move  Enter detail  / filter  ? help  q quit");
    }
}

/* ---- overview ----------------------------------------------------------------------------------- */

static struct top_pen labelled(struct top_screen *screen, int row, const char *label)
{
    struct top_pen pen = top_pen_at(screen, row, 2, screen->width);
    pen.style = STYLE_BOLD;
    top_pen_printf(&pen, "%-10s", label);
    pen.style = STYLE_PLAIN;
    return pen;
}

static void say_count(struct top_pen *pen, const char *name, double count, uint8_t style)
{
    char few[16];
    top_print_count(count, few);
    pen->style = count > 0 ? style : STYLE_PLAIN;
    top_pen_printf(pen, "%s %s  ", name, few);
    pen->style = STYLE_PLAIN;
}

static void say_bytes(struct top_pen *pen, const char *name, double bytes)
{
    char few[16];
    top_print_bytes(bytes, few);
    top_pen_printf(pen, "%s %s  ", name, few);
}

#define BAR 20

static void draw_load(const double *n, struct top_screen *screen, int row)
{
    char few[16], limit[16];
    struct top_pen pen = labelled(screen, row, "Workers");
    say_count(&pen, "here", n[SUMMARY_WORKERS], STYLE_PLAIN);
    say_count(&pen, "idle", n[SUMMARY_IDLE], STYLE_PLAIN);
    say_count(&pen, "saturated", n[SUMMARY_SATURATED], STYLE_PLAIN);
    say_count(&pen, "paused", n[SUMMARY_PAUSED], STYLE_YELLOW | STYLE_BOLD);
    say_count(&pen, "retiring", n[SUMMARY_RETIRING], STYLE_PLAIN);
    if (n[SUMMARY_DESIRED] > 0) {
        say_count(&pen, "wanted", n[SUMMARY_DESIRED], STYLE_PLAIN);
    }
    pen = labelled(screen, row + 1, "Threads");
    double threads = n[SUMMARY_THREADS], busy = n[SUMMARY_THREADS_BUSY];
    top_pen_bar(&pen, threads > 0 ? busy / threads : 0, BAR);
    top_print_count(busy, few);
    top_print_count(threads, limit);
    top_pen_printf(&pen, "  %s of %s busy", few, limit);
    pen = labelled(screen, row + 2, "Memory");
    top_pen_bar(&pen, n[SUMMARY_LIMIT] > 0 ? n[SUMMARY_PROCESS] / n[SUMMARY_LIMIT] : 0, BAR);
    top_print_bytes(n[SUMMARY_PROCESS], few);
    top_print_bytes(n[SUMMARY_LIMIT], limit);
    top_pen_printf(&pen, "  %s of %s", few, n[SUMMARY_LIMIT] > 0 ? limit : "no limit");
    pen = labelled(screen, row + 3, "");
    say_bytes(&pen, "managed", n[SUMMARY_MANAGED]);
    say_bytes(&pen, "unmanaged", n[SUMMARY_UNMANAGED_OLD]);
    say_bytes(&pen, "recent", n[SUMMARY_UNMANAGED_RECENT]);
    say_bytes(&pen, "spilled", n[SUMMARY_SPILLED]);
}

static void draw_rates(const struct top_model *model, struct top_screen *screen, int row)
{
    char few[16];
    const double *n = model->summary.numbers;
    struct top_pen pen = labelled(screen, row, "Rate");
    say_count(&pen, "runs/s", n[SUMMARY_RUN_RATE], STYLE_PLAIN);
    say_count(&pen, "transfers/s", n[SUMMARY_TRANSFER_RATE], STYLE_PLAIN);
    say_count(&pen, "failures/s", n[SUMMARY_FAILURE_RATE], STYLE_RED | STYLE_BOLD);
    int left = pen.end - pen.column;
    uint32_t shown = left < 4 ? 0 : left < TOP_RATES ? (uint32_t)left : TOP_RATES;
    shown = shown < model->rate_count ? shown : model->rate_count;
    float most = 0;
    for (uint32_t i = model->rate_count - shown; i < model->rate_count; i++) {
        most = model->rates[i] > most ? model->rates[i] : most;
    }
    pen.style = STYLE_BLUE;
    for (uint32_t i = model->rate_count - shown; i < model->rate_count; i++) {
        top_pen_level(&pen, most > 0 ? (double)(model->rates[i] / most) : 0);
    }
    pen = labelled(screen, row + 1, "Scheduler");
    top_pen_printf(&pen, "busy %.0f%%  ", 100 * n[SUMMARY_LOOP_BUSY]);
    top_print_seconds(n[SUMMARY_LONGEST_TURN], few);
    top_pen_printf(&pen, "longest turn %s  ", few);
    say_count(&pen, "clients", n[SUMMARY_CLIENTS], STYLE_PLAIN);
    say_count(&pen, "graphs", n[SUMMARY_GRAPHS], STYLE_PLAIN);
    top_print_seconds(n[SUMMARY_OCCUPANCY], few);
    top_pen_printf(&pen, "ahead %s", few);
}

static void draw_tasks(const double *n, struct top_screen *screen, int row)
{
    struct top_pen pen = labelled(screen, row, "Tasks");
    say_count(&pen, "waiting", n[SUMMARY_WAITING], STYLE_PLAIN);
    say_count(&pen, "queued", n[SUMMARY_QUEUED], STYLE_PLAIN);
    say_count(&pen, "processing", n[SUMMARY_PROCESSING], STYLE_GREEN);
    say_count(&pen, "memory", n[SUMMARY_MEMORY], STYLE_PLAIN);
    pen = labelled(screen, row + 1, "");
    say_count(&pen, "released", n[SUMMARY_RELEASED], STYLE_PLAIN);
    say_count(&pen, "no-worker", n[SUMMARY_NO_WORKER], STYLE_YELLOW | STYLE_BOLD);
    say_count(&pen, "erred", n[SUMMARY_ERRED], STYLE_RED | STYLE_BOLD);
    say_count(&pen, "runs done", n[SUMMARY_RUNS], STYLE_PLAIN);
    say_count(&pen, "failed", n[SUMMARY_FAILURES], STYLE_RED | STYLE_BOLD);
    if (n[SUMMARY_DROPPED] > 0) {
        say_count(&pen, "records lost", n[SUMMARY_DROPPED], STYLE_YELLOW);
    }
}

/* The newest failure in one line; what it is about is never cut off by a long place. */
static void draw_newest_failure(const struct top_model *model, struct top_screen *screen, int row)
{
    struct top_view view = {.page = TOP_FAILURES};
    const struct top_row *failure = top_view_row(&view, model);
    struct top_pen pen = labelled(screen, row, "Newest");
    if (failure == NULL) {
        top_pen_say(&pen, "no task has failed");
        return;
    }
    pen.style = STYLE_RED | STYLE_BOLD;
    top_pen_text(&pen, text_span(&failure->texts[1]));
    pen.style = STYLE_PLAIN;
    top_pen_say(&pen, " in ");
    top_pen_text(&pen, text_span(&failure->texts[0]));
    top_pen_say(&pen, ": ");
    top_pen_text(&pen, text_span(&failure->texts[2]));
}

static void draw_overview(const struct top_model *model, const struct top_view *view,
                          struct top_screen *screen, int end)
{
    draw_load(model->summary.numbers, screen, 3);
    draw_tasks(model->summary.numbers, screen, 7);
    draw_rates(model, screen, 9);
    draw_newest_failure(model, screen, 11);
    int left = end - 13, stream = left / 2;
    struct top_view groups = {.page = TOP_GROUPS, .selected = {[TOP_GROUPS] = TOP_NONE}};
    if (left >= 6) {
        top_draw_list(model, &groups, screen, 13, 13 + left - stream - 1);
    }
    if (stream >= 2) {
        top_draw_stream(model, view, screen, end - stream, end);
    }
    const struct text *reason = &model->summary.texts[0];
    if (reason->size > 0) {
        struct top_pen pen = top_pen_at(screen, 2, 2, screen->width);
        pen.style = STYLE_RED | STYLE_BOLD;
        top_pen_text(&pen, text_span(reason));
    }
}

/* ---- detail and help ---------------------------------------------------------------------------- */

static void draw_lines(const struct text *text, uint32_t first, struct top_screen *screen, int end)
{
    struct span rest = text_span(text);
    int row = 3;
    for (uint32_t line = 0; rest.size > 0 && row < end; line++) {
        const uint8_t *found = memchr(rest.data, '\n', rest.size);
        size_t size = found == NULL ? rest.size : (size_t)(found - rest.data);
        if (line >= first) {
            struct top_pen pen = top_pen_at(screen, row++, 2, screen->width);
            top_pen_text(&pen, span_of(rest.data, size));
        }
        size += found != NULL;
        rest = span_of(rest.data + size, rest.size - size);
    }
}

static void draw_help(struct top_screen *screen)
{
    static const char *const lines[] = {
        "1 o  overview          j k, arrows, PgUp, PgDn, Home, G   move",
        "2 w  workers           Enter   detail; Esc, q back",
        "3 g  groups            /       filter by text; Esc none",
        "4 f  failures          + -     less or more time in the stream",
        "5 s  stream            x       act: retire the worker, retry what failed",
        "Tab  next page         Ctrl-Z  suspend    q, Ctrl-C  quit",
        "",
        "Times are UTC. MEM is what the process has, OF its share of the limit;",
        "RUNS executes now, PROC was assigned, HOLDS are results in memory.",
        "Any key goes back.",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct top_pen pen = top_pen_at(screen, 3 + (int)i, 2, screen->width);
        top_pen_say(&pen, lines[i]);
    }
}

struct field {
    const char *name;
    int number;
    void (*print)(double value, char out[16]);
};

static void add_fields(struct text *out, const struct top_row *row, const struct field *fields,
                       size_t count)
{
    char few[16];
    for (size_t i = 0; i < count; i++) {
        fields[i].print(row->numbers[fields[i].number], few);
        text_printf(out, "%-18s %s\n", fields[i].name, few);
    }
}

static void worker_detail(const struct top_row *row, struct text *out)
{
    static const struct field fields[] = {
        {"threads", WORKER_NTHREADS, top_print_count},
        {"executing", WORKER_EXECUTING, top_print_count},
        {"processing", WORKER_PROCESSING, top_print_count},
        {"holds", WORKER_HAS_WHAT, top_print_count},
        {"work ahead", WORKER_OCCUPANCY, top_print_seconds},
        {"runs done", WORKER_RUNS, top_print_count},
        {"failures", WORKER_FAILURES, top_print_count},
        {"busy in all", WORKER_BUSY, top_print_seconds},
        {"cpu %", WORKER_CPU, top_print_count},
        {"memory", WORKER_PROCESS, top_print_bytes},
        {"limit", WORKER_LIMIT, top_print_bytes},
        {"managed", WORKER_MANAGED, top_print_bytes},
        {"unmanaged", WORKER_UNMANAGED_OLD, top_print_bytes},
        {"unmanaged, recent", WORKER_UNMANAGED_RECENT, top_print_bytes},
        {"spilled", WORKER_SPILLED, top_print_bytes},
        {"network in/s", WORKER_NET_READ, top_print_bytes},
        {"network out/s", WORKER_NET_WRITE, top_print_bytes},
        {"disk read/s", WORKER_DISK_READ, top_print_bytes},
        {"disk write/s", WORKER_DISK_WRITE, top_print_bytes},
        {"open files", WORKER_FDS, top_print_count},
    };
    text_printf(out, "%-18s %s\n%-18s %s\n%-18s %s\n", "worker", text_cstr(&row->texts[1]),
                "address", text_cstr(&row->texts[2]), "status", text_cstr(&row->texts[0]));
    add_fields(out, row, fields, sizeof fields / sizeof fields[0]);
}

static void group_detail(const struct top_row *row, struct text *out)
{
    static const struct field fields[] = {
        {"tasks", GROUP_SIZE, top_print_count},
        {"released", GROUP_RELEASED, top_print_count},
        {"waiting", GROUP_WAITING, top_print_count},
        {"no-worker", GROUP_NO_WORKER, top_print_count},
        {"queued", GROUP_QUEUED, top_print_count},
        {"processing", GROUP_PROCESSING, top_print_count},
        {"memory", GROUP_MEMORY, top_print_count},
        {"erred", GROUP_ERRED, top_print_count},
        {"forgotten", GROUP_FORGOTTEN, top_print_count},
        {"runs", GROUP_RUNS, top_print_count},
        {"failures", GROUP_FAILURES, top_print_count},
        {"time in all", GROUP_DURATION, top_print_seconds},
        {"results", GROUP_NBYTES, top_print_bytes},
    };
    text_printf(out, "%-18s %s\n%-18s %s\n", "group", text_cstr(&row->texts[0]), "prefix",
                text_cstr(&row->texts[1]));
    add_fields(out, row, fields, sizeof fields / sizeof fields[0]);
}

void top_draw_detail(const struct top_view *view, const struct top_row *row, struct text *out)
{
    static const struct field fields[] = {{"count", FAILURE_COUNT, top_print_count}};
    if (view->page == TOP_WORKERS) {
        worker_detail(row, out);
    } else if (view->page == TOP_GROUPS) {
        group_detail(row, out);
    } else {
        text_printf(out, "%-18s %s\n%-18s %s\n%-18s %s\n", "tasks", text_cstr(&row->texts[0]),
                    "type", text_cstr(&row->texts[1]), "where", text_cstr(&row->texts[3]));
        add_fields(out, row, fields, 1);
    }
}

/* ---- all ---------------------------------------------------------------------------------------- */

void top_draw(const struct top_model *model, const struct top_view *view, struct top_screen *screen)
{
    int end = screen->height - 1;
    top_screen_clear(screen);
    draw_title(model, screen);
    draw_pages(model, view, screen);
    if (view->is_help) {
        draw_help(screen);
    } else if (view->is_detail) {
        draw_lines(&model->detail, view->detail_first, screen, end);
    } else if (!model->has_summary) {
        struct top_pen pen = top_pen_at(screen, 3, 2, screen->width);
        top_pen_say(&pen, "Waiting for the first numbers ...");
    } else if (view->page == TOP_OVERVIEW) {
        draw_overview(model, view, screen, end);
    } else if (view->page == TOP_STREAM) {
        top_draw_stream(model, view, screen, 3, end);
    } else {
        top_draw_list(model, view, screen, 3, end);
    }
    draw_foot(model, view, screen);
}
