/* history_runs.c: a virtual table of SQLite's, there in each connection without being created: run_chunks unpacked.
 *
 * Bounds of start and stop leave out chunks, by their extent; SQLite looks at each run again. Names of prefixes, groups and
 * workers are read once, with the first question. */
#include "observer/history_runs.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/map.h"
#include "base/vec.h"
#include "observer/history_chunk.h"
#include "observer/history_file.h"
#include "wire/key.h"

enum column {
    COLUMN_N,
    COLUMN_KEY,
    COLUMN_PREFIX,
    COLUMN_GROUP,
    COLUMN_WORKER,
    COLUMN_WORKER_ID,
    COLUMN_LANE,
    COLUMN_START,
    COLUMN_STOP,
    COLUMN_DURATION,
    COLUMN_TRANSFER,
    COLUMN_DESERIALIZE,
    COLUMN_DISK,
    COLUMN_NBYTES,
    COLUMN_STATUS,
};

static const char columns[] = "CREATE TABLE runs (n INTEGER, key TEXT, prefix TEXT, \"group\" "
                              "TEXT, worker TEXT, worker_id INTEGER,"
                              "lane INTEGER, start REAL, stop REAL, duration REAL, transfer REAL, "
                              "deserialize REAL, disk REAL,"
                              "nbytes INTEGER, status TEXT)";

enum bound { BOUND_NONE, BOUND_LOWER = 1, BOUND_UPPER = 2 };

/* By number. */
struct names {
    struct map places;
    struct VEC(struct text) texts;
};

struct runs_table {
    sqlite3_vtab base;
    sqlite3 *file;
    struct names prefixes, groups, workers;
};

struct runs_cursor {
    sqlite3_vtab_cursor base;
    sqlite3_stmt *chunks;
    struct runs_chunk *chunk;
    uint64_t first;
    uint32_t at;
    bool is_over;
};

/* ---- names -------------------------------------------------------------------------------------- */

static void names_read(struct names *names, sqlite3 *file, const char *sql)
{
    sqlite3_stmt *row = history_select(file, sql);
    while (row != NULL && sqlite3_step(row) == SQLITE_ROW) {
        uint32_t id = (uint32_t)sqlite3_column_int64(row, 0);
        map_put(&names->places, span_of(&id, sizeof id), NULL)->value.number = names->texts.count;
        vec_push(&names->texts, (struct text){0});
        text_add(&names->texts.items[names->texts.count - 1], history_column_span(row, 1));
    }
    sqlite3_finalize(row);
}

static void names_fini(struct names *names)
{
    map_fini(&names->places);
    for (uint32_t i = 0; i < names->texts.count; i++) {
        text_fini(&names->texts.items[i]);
    }
    vec_fini(&names->texts);
}

static void answer_name(sqlite3_context *context, const struct names *names, uint32_t id)
{
    struct map_entry *entry = map_find(&names->places, span_of(&id, sizeof id));
    if (entry != NULL) {
        const struct text *text = &names->texts.items[entry->value.number];
        sqlite3_result_text(context, text_cstr(text), (int)text->size, SQLITE_STATIC);
    }
}

/* ---- the table ---------------------------------------------------------------------------------- */

/* LONG: as SQLite calls it. */
static int on_connect(sqlite3 *file, void *user, int count, const char *const *arguments,
                      sqlite3_vtab **out_table, char **out_why)
{
    (void)user;
    (void)count;
    (void)arguments;
    (void)out_why;
    int code = sqlite3_declare_vtab(file, columns);
    if (code == SQLITE_OK) {
        struct runs_table *table = mem_zalloc(1, sizeof *table);
        table->file = file;
        names_read(&table->prefixes, file, "SELECT id, name FROM prefixes");
        names_read(&table->groups, file, "SELECT id, name FROM groups");
        names_read(&table->workers, file, "SELECT id, address FROM workers");
        *out_table = &table->base;
    }
    return code;
}

static int on_disconnect(sqlite3_vtab *base)
{
    struct runs_table *table = (struct runs_table *)base;
    names_fini(&table->prefixes);
    names_fini(&table->groups);
    names_fini(&table->workers);
    mem_free(table);
    return SQLITE_OK;
}

static int bound_of(const struct sqlite3_index_constraint *constraint)
{
    bool is_time = constraint->iColumn == COLUMN_START || constraint->iColumn == COLUMN_STOP;
    if (!constraint->usable || !is_time) {
        return BOUND_NONE;
    }
    switch (constraint->op) {
    case SQLITE_INDEX_CONSTRAINT_GT:
    case SQLITE_INDEX_CONSTRAINT_GE:
        return BOUND_LOWER;
    case SQLITE_INDEX_CONSTRAINT_LT:
    case SQLITE_INDEX_CONSTRAINT_LE:
        return BOUND_UPPER;
    default:
        return BOUND_NONE;
    }
}

/* One bound of each kind is used; idxNum says which there are, the lower one comes first. */
static int on_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    (void)base;
    int place = 0;
    for (int bound = BOUND_LOWER; bound <= BOUND_UPPER; bound++) {
        for (int i = 0; i < info->nConstraint; i++) {
            if (bound_of(&info->aConstraint[i]) == bound) {
                info->aConstraintUsage[i].argvIndex = ++place;
                info->idxNum |= bound;
                break;
            }
        }
    }
    info->estimatedCost = 1e7 / (1 + 9 * place);
    return SQLITE_OK;
}

/* ---- the cursor --------------------------------------------------------------------------------- */

static int on_open(sqlite3_vtab *base, sqlite3_vtab_cursor **out_cursor)
{
    (void)base;
    struct runs_cursor *cursor = mem_zalloc(1, sizeof *cursor);
    cursor->chunk = mem_zalloc(1, sizeof *cursor->chunk);
    *out_cursor = &cursor->base;
    return SQLITE_OK;
}

static int on_close(sqlite3_vtab_cursor *base)
{
    struct runs_cursor *cursor = (struct runs_cursor *)base;
    sqlite3_finalize(cursor->chunks);
    text_fini(&cursor->chunk->keys);
    mem_free(cursor->chunk);
    mem_free(cursor);
    return SQLITE_OK;
}

/* The next chunk that has runs. */
static int advance(struct runs_cursor *cursor)
{
    cursor->at = 0;
    cursor->chunk->count = 0;
    while (cursor->chunk->count == 0) {
        int code = sqlite3_step(cursor->chunks);
        if (code != SQLITE_ROW) {
            cursor->is_over = true;
            return code == SQLITE_DONE ? SQLITE_OK : code;
        }
        int64_t count = sqlite3_column_int64(cursor->chunks, 1);
        struct chunk_row row = {.codec = (enum chunk_codec)sqlite3_column_int(cursor->chunks, 2),
                                .count =
                                    count < 0 || count > RUNS_CHUNK ? UINT32_MAX : (uint32_t)count,
                                .data = history_column_span(cursor->chunks, 3)};
        cursor->first = (uint64_t)sqlite3_column_int64(cursor->chunks, 0);
        if (chunk_decode(&row, cursor->chunk) != OK) {
            return SQLITE_CORRUPT_VTAB;
        }
    }
    return SQLITE_OK;
}

static int on_filter(sqlite3_vtab_cursor *base, int bounds, const char *text, int count,
                     sqlite3_value **arguments)
{
    (void)text;
    (void)count;
    struct runs_cursor *cursor = (struct runs_cursor *)base;
    const struct runs_table *table = (const struct runs_table *)base->pVtab;
    sqlite3_finalize(cursor->chunks);
    cursor->is_over = false;
    cursor->chunks =
        history_select(table->file, "SELECT first, count, codec, data FROM run_chunks WHERE "
                                    "(?1 IS NULL OR stop >= ?1) AND (?2 IS NULL OR start <= ?2) "
                                    "ORDER BY first");
    if (cursor->chunks == NULL) {
        return SQLITE_ERROR;
    }
    int place = 0;
    for (int bound = BOUND_LOWER; bound <= BOUND_UPPER; bound++) {
        if ((bounds & bound) != 0) {
            sqlite3_bind_value(cursor->chunks, bound, arguments[place++]);
        }
    }
    return advance(cursor);
}

static int on_next(sqlite3_vtab_cursor *base)
{
    struct runs_cursor *cursor = (struct runs_cursor *)base;
    return ++cursor->at < cursor->chunk->count ? SQLITE_OK : advance(cursor);
}

static int on_eof(sqlite3_vtab_cursor *base)
{
    return ((struct runs_cursor *)base)->is_over;
}

static void answer_key(sqlite3_context *context, struct span key)
{
    struct text text = {0};
    if (msgpack_check(key) == OK) {
        key_print(&text, key);
    }
    sqlite3_result_text(context, text_cstr(&text), (int)text.size, SQLITE_TRANSIENT);
    text_fini(&text);
}

static void answer_time(sqlite3_context *context, const struct run *run, enum column column)
{
    const double values[] = {
        [COLUMN_START - COLUMN_START] = run->start,
        [COLUMN_STOP - COLUMN_START] = run->start + (double)run->duration,
        [COLUMN_DURATION - COLUMN_START] = (double)run->duration,
        [COLUMN_TRANSFER - COLUMN_START] = (double)run->transfer,
        [COLUMN_DESERIALIZE - COLUMN_START] = (double)run->deserialize,
        [COLUMN_DISK - COLUMN_START] = (double)run->disk,
    };
    sqlite3_result_double(context, values[column - COLUMN_START]);
}

static int on_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct runs_cursor *cursor = (const struct runs_cursor *)base;
    const struct runs_table *table = (const struct runs_table *)base->pVtab;
    struct run run;
    runs_chunk_run(cursor->chunk, cursor->at, cursor->first + cursor->at, &run);
    switch ((enum column)column) {
    case COLUMN_N:
        sqlite3_result_int64(context, (int64_t)run.n);
        break;
    case COLUMN_KEY:
        answer_key(context, run.key);
        break;
    case COLUMN_PREFIX:
        answer_name(context, &table->prefixes, run.prefix);
        break;
    case COLUMN_GROUP:
        answer_name(context, &table->groups, run.group);
        break;
    case COLUMN_WORKER:
        answer_name(context, &table->workers, run.worker);
        break;
    case COLUMN_WORKER_ID:
        sqlite3_result_int64(context, run.worker);
        break;
    case COLUMN_LANE:
        sqlite3_result_int64(context, run.lane);
        break;
    case COLUMN_NBYTES:
        sqlite3_result_int64(context, run.nbytes);
        break;
    case COLUMN_STATUS:
        sqlite3_result_text(context, run.is_erred ? "error" : "ok", -1, SQLITE_STATIC);
        break;
    default:
        answer_time(context, &run, (enum column)column);
        break;
    }
    return SQLITE_OK;
}

static int on_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out_id)
{
    const struct runs_cursor *cursor = (const struct runs_cursor *)base;
    *out_id = (sqlite3_int64)(cursor->first + cursor->at);
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .xConnect = on_connect, /* no xCreate: it is always there */
    .xBestIndex = on_best_index,
    .xDisconnect = on_disconnect,
    .xDestroy = on_disconnect,
    .xOpen = on_open,
    .xClose = on_close,
    .xFilter = on_filter,
    .xNext = on_next,
    .xEof = on_eof,
    .xColumn = on_column,
    .xRowid = on_rowid,
};

int history_runs_add(sqlite3 *file)
{
    return sqlite3_create_module(file, "runs", &module, NULL);
}
