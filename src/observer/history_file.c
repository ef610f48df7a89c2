/* history_file.c: see history_file.h.
 *
 * While it is written to, a file is in WAL mode: readers see whole commits, and what was committed survives a SIGKILL. When
 * the writer ends it becomes a plain file again, which can be copied. Each version has a step that makes it of the one
 * before; readers are content with any that is not newer. */
#include "observer/history_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"

#define BUSY_MS 2000

static const char *const statements[] = {
#define STATEMENT(ID, sql) sql,
#include "observer/history_statements.def"
};

static const char version_1[] =
#define TABLE(name, columns) "CREATE TABLE " name " (" columns ";\n"
#include "observer/history_schema.def"
    "PRAGMA user_version = 1;\n";
static const char version_2[] =
#define TABLE_2(name, columns) "CREATE TABLE " name " (" columns ";\n"
#include "observer/history_schema.def"
    "PRAGMA user_version = 2;\n";
static const char version_3[] =
#define TABLE_3(name, columns) "CREATE TABLE " name " (" columns ";\n"
#include "observer/history_schema.def"
    "PRAGMA user_version = 3;\n";

const char *history_sql(enum history_statement statement)
{
    return statements[statement];
}

int history_failed(sqlite3 *file, const char *what, struct text *why)
{
    int code = sqlite3_errcode(file) & 0xff;
    text_printf(why, "%s: %s", what, sqlite3_errmsg(file));
    return code == SQLITE_FULL      ? ERR_NO_SPACE
           : code == SQLITE_BUSY    ? ERR_BUSY
           : code == SQLITE_CORRUPT ? ERR_CORRUPT
           : code == SQLITE_NOTADB  ? ERR_CORRUPT
                                    : ERR_IO;
}

int history_run(sqlite3 *file, const char *sql, struct text *why)
{
    return sqlite3_exec(file, sql, NULL, NULL, NULL) == SQLITE_OK
               ? OK
               : history_failed(file, "the history's file", why);
}

static int64_t pragma(sqlite3 *file, const char *sql)
{
    sqlite3_stmt *row = history_select(file, sql);
    int64_t value =
        row != NULL && sqlite3_step(row) == SQLITE_ROW ? sqlite3_column_int64(row, 0) : -1;
    sqlite3_finalize(row);
    return value;
}

int64_t history_version(sqlite3 *file)
{
    return pragma(file, "PRAGMA user_version");
}

/* Whether we understand it; `can_be_new`: there may be nothing in it yet. */
static int check_version(sqlite3 *file, const char *path, bool can_be_new, struct text *why)
{
    int64_t version = history_version(file);
    if (version < 0) {
        return history_failed(file, path, why);
    }
    if (version > HISTORY_VERSION) {
        text_printf(why, "%s: its version %lld is newer than this cask's, %d: use that cask", path,
                    (long long)version, HISTORY_VERSION);
        return ERR_UNSUPPORTED;
    }
    bool is_empty = version == 0 && pragma(file, "SELECT count(*) FROM sqlite_master") == 0;
    bool is_ours = pragma(file, "PRAGMA application_id") == HISTORY_APPLICATION_ID;
    if ((is_empty && can_be_new) || (version > 0 && is_ours)) {
        return OK;
    }
    text_printf(why, "%s: this is no history of cask's", path);
    return ERR_UNSUPPORTED;
}

/* Steps from version to version. */
static int migrate(sqlite3 *file, struct text *why)
{
    static const char *const steps[] = {version_1, version_2, version_3};
    static_assert(sizeof steps / sizeof steps[0] == HISTORY_VERSION, "a step for each version");
    int64_t version = history_version(file);
    int code = OK;
    for (; code == OK && version < HISTORY_VERSION; version++) {
        char begin[64];
        snprintf(begin, sizeof begin, "PRAGMA application_id = %d; BEGIN IMMEDIATE;",
                 HISTORY_APPLICATION_ID);
        code = history_run(file, begin, why);
        code = code == OK ? history_run(file, steps[version], why) : code;
        code = code == OK ? history_run(file, "COMMIT", why) : code;
    }
    return code;
}

static int open_file(const char *path, int flags, sqlite3 **out_file, struct text *why)
{
    sqlite3 *file = NULL;
    *out_file = NULL;
    if (sqlite3_open_v2(path, &file, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL) !=
        SQLITE_OK) {
        text_printf(why, "%s: %s", path, sqlite3_errmsg(file));
        sqlite3_close(file);
        return ERR_IO;
    }
    sqlite3_busy_timeout(file, BUSY_MS);
    *out_file = file;
    return OK;
}

int history_file_write(const char *path, sqlite3 **out_file, struct text *why)
{
    *out_file = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        text_printf(why, "%s: %s", path, strerror(errno));
        return ERR_IO;
    }
    close(fd);
    int code = open_file(path, SQLITE_OPEN_READWRITE, out_file, why);
    code = code == OK ? check_version(*out_file, path, true, why) : code;
    code = code == OK ? history_run(*out_file,
                                    "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL;"
                                    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;"
                                    "PRAGMA journal_size_limit = 1048576;",
                                    why)
                      : code;
    code = code == OK ? migrate(*out_file, why) : code;
    if (code != OK && *out_file != NULL) {
        sqlite3_close(*out_file);
        *out_file = NULL;
    }
    return code;
}

/* Of a file in a folder where we may not write, SQLite cannot read the WAL mode but as what never changes. */
static int open_unchanging(const char *path, sqlite3 **out_file, struct text *why)
{
    struct text uri = {0};
    text_add_cstr(&uri, "file:");
    for (const char *at = path; *at != '\0'; at++) {
        if (strchr("?#%", *at) != NULL) {
            text_printf(&uri, "%%%02x", (unsigned char)*at);
        } else {
            text_add_char(&uri, *at);
        }
    }
    text_add_cstr(&uri, "?immutable=1");
    int code = open_file(text_cstr(&uri), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, out_file, why);
    text_fini(&uri);
    return code;
}

int history_file_read(const char *path, sqlite3 **out_file, struct text *why)
{
    int code = open_file(path, SQLITE_OPEN_READONLY, out_file, why);
    if (code == OK && history_version(*out_file) < 0 &&
        (sqlite3_errcode(*out_file) & 0xff) == SQLITE_CANTOPEN) {
        sqlite3_close(*out_file);
        code = open_unchanging(path, out_file, why);
    }
    code = code == OK ? check_version(*out_file, path, false, why) : code;
    if (code != OK && *out_file != NULL) {
        sqlite3_close(*out_file);
        *out_file = NULL;
    }
    return code;
}

void history_file_close(sqlite3 *file)
{
    sqlite3_busy_timeout(file, 0);
    /* Who reads it keeps it as it is; the last of them tidies up. */
    (void)sqlite3_exec(file, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    sqlite3_close(file);
}

sqlite3_stmt *history_select(sqlite3 *file, const char *sql)
{
    sqlite3_stmt *row = NULL;
    return sqlite3_prepare_v2(file, sql, -1, &row, NULL) == SQLITE_OK ? row : NULL;
}

struct span history_column_span(sqlite3_stmt *row, int column)
{
    const void *data = sqlite3_column_blob(row, column);
    return span_of(data, data == NULL ? 0 : (size_t)sqlite3_column_bytes(row, column));
}

/* The row of a name, or NULL. */
static sqlite3_stmt *meta(sqlite3 *file, const char *name)
{
    sqlite3_stmt *row = history_select(file, "SELECT value FROM meta WHERE name = ?");
    if (row != NULL) {
        sqlite3_bind_text(row, 1, name, -1, SQLITE_STATIC);
        if (sqlite3_step(row) == SQLITE_ROW) {
            return row;
        }
    }
    sqlite3_finalize(row);
    return NULL;
}

double history_meta_real(sqlite3 *file, const char *name)
{
    sqlite3_stmt *row = meta(file, name);
    double value = row == NULL ? 0 : sqlite3_column_double(row, 0);
    sqlite3_finalize(row);
    return value;
}

int64_t history_meta_int(sqlite3 *file, const char *name)
{
    sqlite3_stmt *row = meta(file, name);
    int64_t value = row == NULL ? 0 : sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    return value;
}

void history_meta_text(sqlite3 *file, const char *name, struct text *out)
{
    sqlite3_stmt *row = meta(file, name);
    text_clear(out);
    if (row != NULL) {
        text_add(out, history_column_span(row, 0));
    }
    sqlite3_finalize(row);
}
