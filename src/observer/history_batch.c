/* history_batch.c: see history_batch.h.
 *
 * A row is the number of its statement (u8), then values, each a tag and what it says: 'i' i64, 'r' f64, 't' or 'b' a u32
 * length and bytes; a 0 ends it. It never leaves the process. */
#include "observer/history_batch.h"

#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "observer/history_chunk.h"

void batch_fini(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->runs.count; i++) {
        text_fini(&batch->runs.items[i].chunk->keys);
        mem_free(batch->runs.items[i].chunk);
    }
    vec_fini(&batch->runs);
    text_fini(&batch->rows);
    *batch = (struct batch){0};
}

/* ---- collecting --------------------------------------------------------------------------------- */

void batch_begin(struct batch *batch, enum history_statement statement)
{
    text_add_char(&batch->rows, (char)statement);
}

static void put(struct batch *batch, char tag, const void *value, size_t size)
{
    text_add_char(&batch->rows, tag);
    text_add(&batch->rows, span_of(value, size));
}

void batch_int(struct batch *batch, int64_t value)
{
    put(batch, 'i', &value, sizeof value);
}

void batch_real(struct batch *batch, double value)
{
    put(batch, 'r', &value, sizeof value);
}

static void put_bytes(struct batch *batch, char tag, struct span bytes)
{
    uint32_t size = (uint32_t)bytes.size;
    ASSERT(size == bytes.size);
    put(batch, tag, &size, sizeof size);
    text_add(&batch->rows, bytes);
}

void batch_text(struct batch *batch, struct span text)
{
    put_bytes(batch, 't', text);
}

void batch_blob(struct batch *batch, struct span bytes)
{
    put_bytes(batch, 'b', bytes);
}

void batch_end(struct batch *batch)
{
    text_add_char(&batch->rows, '\0');
}

static void begin_meta(struct batch *batch, const char *name)
{
    batch_begin(batch, STATEMENT_META);
    batch_text(batch, span_of_text(name));
}

void batch_meta_int(struct batch *batch, const char *name, int64_t value)
{
    begin_meta(batch, name);
    batch_int(batch, value);
    batch_end(batch);
}

void batch_meta_real(struct batch *batch, const char *name, double value)
{
    begin_meta(batch, name);
    batch_real(batch, value);
    batch_end(batch);
}

void batch_meta_text(struct batch *batch, const char *name, struct span text)
{
    begin_meta(batch, name);
    batch_text(batch, text);
    batch_end(batch);
}

void batch_add_runs(struct batch *batch, const struct runs_chunk *chunk, uint64_t first,
                    uint32_t begin)
{
    struct batch_runs runs = {.first = first, .begin = begin};
    runs.chunk = mem_copy(chunk, sizeof *chunk);
    runs.chunk->keys = (struct text){0};
    text_add(&runs.chunk->keys, text_span(&chunk->keys));
    vec_push(&batch->runs, runs);
}

/* ---- writing ------------------------------------------------------------------------------------ */

static const char *take(const char **at, size_t size)
{
    const char *bytes = *at;
    *at += size;
    return bytes;
}

/* Bind the values of a row; they stay where they are until the step. */
static void bind(sqlite3_stmt *statement, const char **at)
{
    for (int index = 1;; index++) {
        int64_t number;
        double real;
        uint32_t size;
        switch (*take(at, 1)) {
        case 'i':
            memcpy(&number, take(at, sizeof number), sizeof number);
            sqlite3_bind_int64(statement, index, number);
            break;
        case 'r':
            memcpy(&real, take(at, sizeof real), sizeof real);
            sqlite3_bind_double(statement, index, real);
            break;
        case 't':
            memcpy(&size, take(at, sizeof size), sizeof size);
            sqlite3_bind_text(statement, index, take(at, size), (int)size, SQLITE_STATIC);
            break;
        case 'b':
            memcpy(&size, take(at, sizeof size), sizeof size);
            sqlite3_bind_blob(statement, index, take(at, size), (int)size, SQLITE_STATIC);
            break;
        default:
            return;
        }
    }
}

struct writing {
    sqlite3 *file;
    sqlite3_stmt *statements[STATEMENT_COUNT]; /* prepared when first used */
};

static sqlite3_stmt *statement_of(struct writing *writing, enum history_statement which)
{
    if (writing->statements[which] == NULL) {
        writing->statements[which] = history_select(writing->file, history_sql(which));
    }
    return writing->statements[which];
}

static bool step(sqlite3_stmt *statement)
{
    bool fine = sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement); /* what the next row does not give is NULL */
    return fine;
}

static bool write_rows(struct writing *writing, struct span rows)
{
    const char *at = (const char *)rows.data, *end = at + rows.size;
    bool fine = true;
    while (at < end && fine) {
        sqlite3_stmt *statement =
            statement_of(writing, (enum history_statement)(unsigned char)*take(&at, 1));
        fine = statement != NULL;
        if (fine) {
            bind(statement, &at);
            fine = step(statement);
        }
    }
    return fine;
}

struct extent {
    double start, stop; /* the earliest start, the latest end */
    int64_t failures;
};

static struct extent extent_of(const struct runs_chunk *chunk, uint32_t begin)
{
    struct extent extent = {.start = INFINITY};
    for (uint32_t i = begin; i < chunk->count; i++) {
        extent.start = fmin(extent.start, chunk->start[i]);
        extent.stop = fmax(extent.stop, chunk->start[i] + (double)chunk->duration[i]);
        extent.failures += chunk->is_erred[i];
    }
    return extent;
}

/* A whole chunk takes the place of the pieces that came while it filled; pieces, soon gone, are not compressed. */
static bool write_runs(struct writing *writing, const struct batch_runs *runs)
{
    const struct runs_chunk *chunk = runs->chunk;
    bool is_whole = chunk->count == RUNS_CHUNK;
    uint32_t begin = is_whole ? 0 : runs->begin;
    enum chunk_codec codec;
    struct text data = {0};
    sqlite3_stmt *forget = statement_of(writing, STATEMENT_RUNS_FORGET);
    sqlite3_stmt *insert = statement_of(writing, STATEMENT_RUNS);
    bool fine = forget != NULL && insert != NULL;
    if (fine && is_whole) {
        sqlite3_bind_int64(forget, 1, (int64_t)runs->first);
        sqlite3_bind_int64(forget, 2, (int64_t)runs->first + RUNS_CHUNK);
        fine = step(forget);
    }
    if (fine) {
        struct extent extent = extent_of(chunk, begin);
        chunk_encode(chunk, begin, is_whole, &data, &codec);
        sqlite3_bind_int64(insert, 1, (int64_t)(runs->first + begin));
        sqlite3_bind_int64(insert, 2, chunk->count - begin);
        sqlite3_bind_double(insert, 3, extent.start);
        sqlite3_bind_double(insert, 4, extent.stop);
        sqlite3_bind_int64(insert, 5, extent.failures);
        sqlite3_bind_int64(insert, 6, codec);
        sqlite3_bind_blob(insert, 7, data.data, (int)data.size, SQLITE_STATIC);
        fine = step(insert);
    }
    text_fini(&data);
    return fine;
}

int batch_write(const struct batch *batch, sqlite3 *file, struct text *why)
{
    struct writing writing = {.file = file};
    int code = history_run(file, "BEGIN IMMEDIATE", why);
    if (code != OK) {
        return code;
    }
    bool fine = write_rows(&writing, text_span(&batch->rows));
    for (uint32_t i = 0; i < batch->runs.count && fine; i++) {
        fine = write_runs(&writing, &batch->runs.items[i]);
    }
    code = fine ? OK : history_failed(file, "the history's file", why);
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(writing.statements[i]);
    }
    code = code == OK ? history_run(file, "COMMIT", why) : code;
    if (code != OK) {
        (void)sqlite3_exec(file, "ROLLBACK", NULL, NULL, NULL); /* it may have been rolled back */
    }
    return code;
}
