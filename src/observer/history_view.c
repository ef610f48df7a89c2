/* history_view.c: see history_view.h. */
#include "observer/history_view.h"

#include "base/alloc.h"
#include "base/error.h"
#include "observer/history_file.h"
#include "observer/history_runs.h"

struct history_view {
    sqlite3 *file;
};

/* Other files are none of a question's business; and what would change one fails, since it is open for reading.
 * LONG: as SQLite calls it. */
static int may(void *user, int action, const char *a, const char *b, const char *c, const char *d)
{
    (void)user;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return action == SQLITE_ATTACH || action == SQLITE_DETACH ? SQLITE_DENY : SQLITE_OK;
}

int history_view_open(const char *path, struct history_view **out_view, struct text *why)
{
    sqlite3 *file;
    int code = history_file_read(path, &file, why);
    if (code != OK) {
        return code;
    }
    struct history_view *view = mem_zalloc(1, sizeof *view);
    view->file = file;
    *out_view = view;
    if (history_runs_add(file) != SQLITE_OK ||
        sqlite3_set_authorizer(file, may, NULL) != SQLITE_OK) {
        code = history_failed(file, path, why);
        history_view_close(view);
    }
    return code;
}

void history_view_close(struct history_view *view)
{
    sqlite3_close(view->file);
    mem_free(view);
}

static void read_value(sqlite3_stmt *row, int column, struct history_value *out)
{
    static const enum history_kind kinds[] = {[SQLITE_NULL] = HISTORY_NULL,
                                              [SQLITE_INTEGER] = HISTORY_INT,
                                              [SQLITE_FLOAT] = HISTORY_REAL,
                                              [SQLITE_TEXT] = HISTORY_TEXT,
                                              [SQLITE_BLOB] = HISTORY_BLOB};
    *out = (struct history_value){.kind = kinds[sqlite3_column_type(row, column)]};
    if (out->kind == HISTORY_INT || out->kind == HISTORY_REAL) {
        out->integer = sqlite3_column_int64(row, column);
        out->real = sqlite3_column_double(row, column);
    } else if (out->kind != HISTORY_NULL) {
        out->text = history_column_span(row, column);
    }
}

static int give_rows(sqlite3_stmt *statement, history_row_function *function, void *user)
{
    int count = sqlite3_column_count(statement), got;
    struct history_value *values = mem_zalloc((size_t)count + 1, sizeof *values);
    const char **names = mem_zalloc((size_t)count + 1, sizeof *names);
    for (int i = 0; i < count; i++) {
        names[i] = sqlite3_column_name(statement, i);
    }
    struct history_row row = {.column_count = (uint32_t)count, .names = names, .values = values};
    bool goes_on = true;
    while ((got = sqlite3_step(statement)) == SQLITE_ROW && goes_on) {
        for (int i = 0; i < count; i++) {
            read_value(statement, i, &values[i]);
        }
        goes_on = function(user, &row);
        row.number++;
    }
    mem_free(values);
    mem_free(names);
    return got;
}

int history_view_ask(struct history_view *view, const char *sql, history_row_function *row,
                     void *user, struct text *why)
{
    sqlite3_stmt *statement = NULL;
    int got = sqlite3_prepare_v2(view->file, sql, -1, &statement, NULL);
    if (got == SQLITE_OK && statement != NULL && sqlite3_stmt_readonly(statement) == 0) {
        text_add_cstr(why, "a history is only read: SELECT");
        sqlite3_finalize(statement);
        return ERR_MALFORMED;
    }
    if (got == SQLITE_OK && statement != NULL) {
        got = give_rows(statement, row, user);
    }
    int code = OK;
    if (got != SQLITE_OK && got != SQLITE_DONE && got != SQLITE_ROW) {
        text_add_cstr(why, sqlite3_errmsg(view->file));
        code = (got & 0xff) == SQLITE_CORRUPT ? ERR_CORRUPT : ERR_MALFORMED;
    }
    sqlite3_finalize(statement);
    return code;
}
