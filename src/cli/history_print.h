/* history_print.h: answers from a file of history, as tables for people or as JSON. */
#ifndef CASK_CLI_HISTORY_PRINT_H
#define CASK_CLI_HISTORY_PRINT_H

#include <jansson.h>

#include "base/vec.h"
#include "observer/history_view.h"

/* Cells in rows; the first row is the headings. All zero is an empty one. */
struct sheet {
    uint32_t column_count;
    struct VEC(struct text) cells;
};

void sheet_fini(struct sheet *sheet);
/* The next cell's text, to be written into. */
struct text *sheet_cell(struct sheet *sheet);
void sheet_put(struct sheet *sheet, const char *text);
/* Print it, columns aligned: numbers to the right. Nothing if there is only the row of headings. */
void sheet_print(const struct sheet *sheet);

/* Ask, and print the answer as a table below `title` (NULL: none). */
int history_print_table(struct history_view *view, const char *title, const char *sql,
                        struct text *why) MUST_USE;
/* Ask, and give the answer as a list of objects; NULL and why: it cannot be. */
json_t *history_json(struct history_view *view, const char *sql, struct text *why);
/* A value; blobs as their size. */
json_t *history_json_value(const struct history_value *value);
json_t *history_json_text(struct span text);
void history_print_json(json_t *value);

/* "2026-11-22 14:01:10", local; "": time 0. */
void history_print_time(double time, struct text *out);
/* "5.25 s", "3 min 12 s". */
void history_print_seconds(double seconds, struct text *out);

#endif
