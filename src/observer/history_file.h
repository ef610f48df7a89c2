/* history_file.h: a file of history: what is in it, opening it, its version. See docs/history.md. */
#ifndef CASK_OBSERVER_HISTORY_FILE_H
#define CASK_OBSERVER_HISTORY_FILE_H

#include <sqlite3.h>

#include "base/assert.h"
#include "base/text.h"

#define HISTORY_VERSION 3
/* In the file's header: "cask". */
#define HISTORY_APPLICATION_ID 0x6361736b
#define HISTORY_SUFFIX ".db"

/* What is written, row by row. */
enum history_statement {
#define STATEMENT(ID, sql) STATEMENT_##ID,
#include "observer/history_statements.def"
    STATEMENT_COUNT
};

const char *history_sql(enum history_statement statement);

/* Make the file if it is not there (0600), with the tables of this version. ERR_IO, ERR_UNSUPPORTED (it is newer, or
 * no history), and why. */
int history_file_write(const char *path, sqlite3 **out_file, struct text *why) MUST_USE;
/* Only to look at. Files that others write to can be read; one in a folder where nothing may be written, too. */
int history_file_read(const char *path, sqlite3 **out_file, struct text *why) MUST_USE;
/* It is left as one plain file, if nobody else has it open. */
void history_file_close(sqlite3 *file);
int64_t history_version(sqlite3 *file);
/* Run statements without results; ERR_NO_SPACE, ERR_IO, and why. */
int history_run(sqlite3 *file, const char *sql, struct text *why) MUST_USE;
/* What SQLite says about its last failure: our code, and why. */
int history_failed(sqlite3 *file, const char *what, struct text *why);

/* A SELECT; NULL: it cannot be (a table is missing). Give back with sqlite3_finalize. */
sqlite3_stmt *history_select(sqlite3 *file, const char *sql);
struct span history_column_span(sqlite3_stmt *row, int column);
/* A value of the table meta as text or number; absent: 0, "". */
double history_meta_real(sqlite3 *file, const char *name);
int64_t history_meta_int(sqlite3 *file, const char *name);
void history_meta_text(sqlite3 *file, const char *name, struct text *out);

#endif
