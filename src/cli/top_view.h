/* top_view.h: where a person is in `cask top`, and what keys do. Pure: keys in, what is to be done out. */
#ifndef CASK_CLI_TOP_VIEW_H
#define CASK_CLI_TOP_VIEW_H

#include "cli/top_model.h"

enum top_page { TOP_OVERVIEW, TOP_WORKERS, TOP_GROUPS, TOP_FAILURES, TOP_STREAM, TOP_PAGE_COUNT };

#define TOP_NONE UINT32_MAX

struct top_view {
    enum top_page page;
    uint32_t selected[TOP_PAGE_COUNT]; /* place in the page's list; TOP_NONE: nothing */
    bool is_help, is_detail, is_filtering;
    bool is_confirming;    /* an action waits for y */
    uint32_t detail_first; /* line at the top */
    struct text filter;
    double window; /* seconds of the stream that are shown */
};

enum top_task {
    TOP_DO_NOTHING,
    TOP_DO_DRAW,
    TOP_DO_QUIT,
    TOP_DO_SUSPEND,
    TOP_DO_OPEN, /* what is selected, as detail */
    TOP_DO_ACT   /* on what is selected */
};

void top_view_init(struct top_view *view);
void top_view_fini(struct top_view *view);

/* The rows of the view's page: filtered, in the order of the screen. The array is the caller's. */
struct top_rows VEC(const struct top_row *);
void top_view_rows(const struct top_view *view, const struct top_model *model,
                   struct top_rows *out_rows);
/* The selected row; NULL: there is none. */
const struct top_row *top_view_row(const struct top_view *view, const struct top_model *model);
/* What the page's action would do, as a question; NULL: it has none. */
const char *top_view_question(const struct top_view *view);

/* Take the first key of `bytes` (not empty) off, as a terminal sends it, and do what it means. */
enum top_task top_view_key(struct top_view *view, struct top_model *model, struct span *bytes);

#endif
