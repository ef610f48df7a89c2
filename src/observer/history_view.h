/* history_view.h: questions to a file of history, in SQL, and their answers row by row.
 *
 * The tables are those of docs/history.md, `runs` included. Nothing can be changed, and no other file be opened. */
#ifndef CASK_OBSERVER_HISTORY_VIEW_H
#define CASK_OBSERVER_HISTORY_VIEW_H

#include "base/assert.h"
#include "base/text.h"

struct history_view;

enum history_kind { HISTORY_NULL, HISTORY_INT, HISTORY_REAL, HISTORY_TEXT, HISTORY_BLOB };

struct history_value {
    enum history_kind kind;
    int64_t integer;
    double real;      /* of HISTORY_INT, too */
    struct span text; /* of a text or blob: until the next row */
};

/* A row of an answer; row 0 is the first. */
struct history_row {
    uint64_t number;
    uint32_t column_count;
    const char *const *names;
    const struct history_value *values;
};

/* False: no more. */
typedef bool history_row_function(void *user, const struct history_row *row);

/* ERR_IO, ERR_UNSUPPORTED, ERR_CORRUPT, and why. */
int history_view_open(const char *path, struct history_view **out_view, struct text *why) MUST_USE;
void history_view_close(struct history_view *view);
/* Ask one statement; `row` is called for each row of its answer. ERR_MALFORMED, ERR_CORRUPT, and why. */
int history_view_ask(struct history_view *view, const char *sql, history_row_function *row,
                     void *user, struct text *why) MUST_USE;

#endif
