/* history_folder.c: the folder of files: their names, who writes to them, what is in them, and how they go.
 *
 * A file belongs to the process that signed it, by host, number, and the moment at which it began, since numbers are
 * used again. On another host nobody can be asked: there, a file is in use as long as it changes. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "observer/history_internal.h"

#define ENTRIES_MAX 100000u
/* Of a file on another host. */
#define STILL_SECONDS 3600

/* ---- names -------------------------------------------------------------------------------------- */

void history_folder(struct text *out)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state != NULL && *state == '/') {
        text_printf(out, "%s/cask/history", state);
    } else {
        text_printf(out, "%s/.local/state/cask/history", home == NULL ? "" : home);
    }
}

void history_path(const struct history_options *options, struct text *out)
{
    char stamp[32];
    time_t started = (time_t)options->started;
    struct tm parts;
    gmtime_r(&started, &parts);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%S", &parts);
    text_printf(out, "%s/%s-", options->folder, stamp);
    for (const char *at = options->cluster_id; *at != '\0'; at++) {
        bool is_plain = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
                        (*at >= 'A' && *at <= 'Z') || *at == '-' || *at == '_';
        text_add_char(out, is_plain ? *at : '_');
    }
    text_add_cstr(out, HISTORY_SUFFIX);
}

int history_folder_make(const char *folder, struct text *why)
{
    struct text path = {0};
    text_add_cstr(&path, folder);
    int code = OK;
    for (size_t at = 1; at <= path.size && code == OK; at++) {
        char next = path.data[at];
        if (next != '/' && next != '\0') {
            continue;
        }
        path.data[at] = '\0';
        if (mkdir(path.data, 0700) != 0 && errno != EEXIST) {
            text_printf(why, "%s: %s", path.data, strerror(errno));
            code = ERR_IO;
        }
        path.data[at] = next;
    }
    text_fini(&path);
    return code;
}

static bool has_suffix(const char *name)
{
    size_t size = strlen(name), suffix = strlen(HISTORY_SUFFIX);
    return size > suffix && strcmp(name + size - suffix, HISTORY_SUFFIX) == 0;
}

/* ---- whose it is -------------------------------------------------------------------------------- */

/* When process `pid` began, in the kernel's ticks; 0: there is none. */
static int64_t process_began(int64_t pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    size_t size = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[size] = '\0';
    const char *at = strrchr(line, ')'); /* its name may have anything in it */
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? 0 : strtoll(at, NULL, 10);
}

static void host_name(struct text *out)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) == 0) {
        text_add_cstr(out, name);
    }
}

int history_sign(sqlite3 *file, struct text *why)
{
    struct text host = {0};
    host_name(&host);
    sqlite3_stmt *row = history_select(
        file, "INSERT OR REPLACE INTO meta VALUES ('writer_host', ?), ('writer_pid', ?),"
              "('writer_began', ?)");
    bool fine = row != NULL;
    if (fine) {
        sqlite3_bind_text(row, 1, text_cstr(&host), -1, SQLITE_STATIC);
        sqlite3_bind_int64(row, 2, getpid());
        sqlite3_bind_int64(row, 3, process_began(getpid()));
        fine = sqlite3_step(row) == SQLITE_DONE;
    }
    int code = fine ? OK : history_failed(file, "the history's file", why);
    sqlite3_finalize(row);
    text_fini(&host);
    return code;
}

void history_unsign(sqlite3 *file)
{
    /* If it cannot be said, it is seen when the process is gone. */
    (void)sqlite3_exec(file, "DELETE FROM meta WHERE name LIKE 'writer_%'", NULL, NULL, NULL);
}

bool history_is_written(sqlite3 *file)
{
    struct text here = {0}, there = {0};
    host_name(&here);
    history_meta_text(file, "writer_host", &there);
    bool is_here = span_equal(text_span(&here), text_span(&there)), is_signed = there.size > 0;
    text_fini(&here);
    text_fini(&there);
    if (is_here) {
        int64_t began = process_began(history_meta_int(file, "writer_pid"));
        return began != 0 && began == history_meta_int(file, "writer_began");
    }
    struct stat status;
    const char *path = sqlite3_db_filename(file, "main");
    return is_signed && path != NULL && stat(path, &status) == 0 &&
           time(NULL) - status.st_mtime < STILL_SECONDS;
}

/* ---- what there is ------------------------------------------------------------------------------ */

static int64_t count_rows(sqlite3 *file, const char *sql)
{
    sqlite3_stmt *row = history_select(file, sql);
    int64_t count =
        row != NULL && sqlite3_step(row) == SQLITE_ROW ? sqlite3_column_int64(row, 0) : 0;
    sqlite3_finalize(row);
    return count;
}

/* The file and what SQLite keeps beside it. */
static int64_t bytes_of(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    int64_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        struct text whole = {0};
        struct stat status;
        text_printf(&whole, "%s%s", path, suffixes[i]);
        bytes += stat(text_cstr(&whole), &status) == 0 ? (int64_t)status.st_size : 0;
        text_fini(&whole);
    }
    return bytes;
}

static void entry_fini(struct history_entry *entry)
{
    text_fini(&entry->path);
    text_fini(&entry->name);
    text_fini(&entry->id);
    text_fini(&entry->state);
    text_fini(&entry->reason);
}

void history_entries_fini(struct history_entries *entries)
{
    for (uint32_t i = 0; i < entries->count; i++) {
        entry_fini(&entries->items[i]);
    }
    vec_fini(entries);
}

static bool read_entry(struct history_entry *entry)
{
    sqlite3 *file;
    struct text why = {0};
    bool fine = history_file_read(text_cstr(&entry->path), &file, &why) == OK;
    text_fini(&why);
    if (!fine) {
        return false;
    }
    history_meta_text(file, "id", &entry->id);
    history_meta_text(file, "state", &entry->state);
    history_meta_text(file, "reason", &entry->reason);
    entry->started = history_meta_real(file, "started");
    entry->ended = history_meta_real(file, "ended");
    entry->time = history_meta_real(file, "time");
    entry->runs = history_meta_int(file, "runs");
    entry->failures = history_meta_int(file, "failures");
    entry->workers = count_rows(file, "SELECT count(*) FROM workers");
    entry->is_open = history_is_written(file);
    if (!entry->is_open && span_equal_text(text_span(&entry->state), "running")) {
        text_clear(&entry->state);
        text_add_cstr(&entry->state, "cut off");
    }
    sqlite3_close(file);
    return true;
}

static int newest_first(const void *a, const void *b)
{
    const struct text *one = a, *other = b;
    return strcmp(text_cstr(other), text_cstr(one));
}

struct names VEC(struct text);

static int read_names(const char *folder, struct names *out, struct text *why)
{
    DIR *open = opendir(folder);
    if (open == NULL) {
        text_printf(why, "%s: %s", folder, strerror(errno));
        return ERR_NOT_FOUND;
    }
    const struct dirent *item;
    while ((item = readdir(open)) != NULL && out->count < ENTRIES_MAX) {
        if (has_suffix(item->d_name)) {
            vec_push(out, (struct text){0});
            text_add(&out->items[out->count - 1],
                     span_of(item->d_name, strlen(item->d_name) - strlen(HISTORY_SUFFIX)));
        }
    }
    closedir(open);
    if (out->count > 0) {
        qsort(out->items, out->count, sizeof *out->items, newest_first);
    }
    return OK;
}

int history_list(const char *folder, const char *after, uint32_t limit,
                 struct history_entries *out_entries, struct text *why)
{
    struct names names = {0};
    *out_entries = (struct history_entries){0};
    int code = read_names(folder, &names, why);
    for (uint32_t i = 0; i < names.count; i++) {
        struct text *name = &names.items[i];
        bool is_wanted =
            out_entries->count < limit && (after == NULL || strcmp(text_cstr(name), after) < 0);
        struct history_entry entry = {.name = *name};
        *name = (struct text){0};
        text_printf(&entry.path, "%s/%s" HISTORY_SUFFIX, folder, text_cstr(&entry.name));
        if (is_wanted && read_entry(&entry)) {
            entry.bytes = bytes_of(text_cstr(&entry.path));
            vec_push(out_entries, entry);
        } else {
            entry_fini(&entry);
        }
    }
    vec_fini(&names);
    return code;
}

/* The number in "3"; "last" is 1; 0: it is none. */
static uint32_t how_long_ago(const char *what)
{
    char *end;
    long number = strtol(what, &end, 10);
    return strcmp(what, "last") == 0                                             ? 1
           : *what != '\0' && *end == '\0' && number > 0 && number < ENTRIES_MAX ? (uint32_t)number
                                                                                 : 0;
}

int history_find(const char *folder, const char *what, struct text *out_path, struct text *why)
{
    struct history_entries entries;
    if (strchr(what, '/') != NULL || has_suffix(what)) {
        if (access(what, R_OK) != 0) {
            text_printf(why, "%s: %s", what, strerror(errno));
            return ERR_NOT_FOUND;
        }
        text_add_cstr(out_path, what);
        return OK;
    }
    int code = history_list(folder, NULL, UINT32_MAX, &entries, why);
    if (code != OK) {
        return code;
    }
    uint32_t ago = how_long_ago(what), found = 0;
    for (uint32_t i = 0; i < entries.count; i++) {
        const struct history_entry *entry = &entries.items[i];
        bool is_it = ago > 0 ? i + 1 == ago
                             : strncmp(text_cstr(&entry->name), what, strlen(what)) == 0 ||
                                   strcmp(text_cstr(&entry->id), what) == 0;
        if (is_it && ++found == 1) {
            text_add(out_path, text_span(&entry->path));
        }
    }
    history_entries_fini(&entries);
    if (found != 1) {
        text_printf(why,
                    found == 0 ? "there is no run '%s' in %s" : "'%s' is more than one run in %s",
                    what, folder);
        return ERR_NOT_FOUND;
    }
    return OK;
}

/* ---- making room -------------------------------------------------------------------------------- */

/* Its runs, logs and events go; what failed, who worked and the sums stay. */
static int strip(const char *path, struct text *why)
{
    sqlite3 *file;
    int code = history_file_write(path, &file, why);
    if (code == OK) {
        code = history_run(file,
                           "DELETE FROM run_chunks; DELETE FROM logs WHERE level < 30;"
                           "DELETE FROM events; DELETE FROM series; VACUUM",
                           why);
        history_file_close(file);
    }
    return code;
}

static void remove_file(const char *path)
{
    static const char *const suffixes[] = {"-wal", "-shm", ""};
    for (int i = 0; i < 3; i++) {
        struct text whole = {0};
        text_printf(&whole, "%s%s", path, suffixes[i]);
        (void)unlink(text_cstr(&whole)); /* it may not be there, or be gone */
        text_fini(&whole);
    }
}

/* Bytes of the runs in it. */
static int64_t runs_bytes(const char *path)
{
    sqlite3 *file;
    struct text why = {0};
    int64_t bytes = 0;
    if (history_file_read(path, &file, &why) == OK) {
        bytes = count_rows(file, "SELECT coalesce(sum(length(data)), 0) FROM run_chunks");
        sqlite3_close(file);
    }
    text_fini(&why);
    return bytes;
}

struct tidying {
    double now, bytes_max, seconds_max;
    bool tries;
    struct history_tidied *out;
};

static bool is_too_much(const struct tidying *tidying)
{
    return (double)tidying->out->bytes_after > tidying->bytes_max;
}

static int strip_if_due(const struct tidying *tidying, struct history_entry *entry,
                        struct text *why)
{
    bool is_old = tidying->seconds_max > 0 && tidying->now - entry->time > tidying->seconds_max;
    const char *path = text_cstr(&entry->path);
    int64_t of_runs = entry->is_open || (!is_too_much(tidying) && !is_old) ? 0 : runs_bytes(path);
    if (of_runs == 0) {
        return OK;
    }
    int code = tidying->tries ? OK : strip(path, why);
    int64_t bytes = tidying->tries ? entry->bytes - of_runs : bytes_of(path);
    tidying->out->bytes_after += bytes - entry->bytes;
    tidying->out->stripped += code == OK;
    entry->bytes = bytes;
    if (code == ERR_BUSY) { /* another cask does it */
        text_clear(why);
        return OK;
    }
    return code;
}

int history_tidy(const struct history_options *options, bool tries, struct history_tidied *out,
                 struct text *why)
{
    struct history_entries entries;
    struct tidying tidying = {.now = (double)time(NULL),
                              .bytes_max = options->bytes_max,
                              .seconds_max = options->seconds_max,
                              .tries = tries,
                              .out = out};
    *out = (struct history_tidied){0};
    int code = history_list(options->folder, NULL, UINT32_MAX, &entries, why);
    if (code != OK) {
        return code;
    }
    for (uint32_t i = 0; i < entries.count; i++) {
        out->bytes_before += entries.items[i].bytes;
    }
    out->bytes_after = out->bytes_before;
    for (uint32_t i = entries.count; i-- > 0 && code == OK;) { /* the oldest first */
        code = strip_if_due(&tidying, &entries.items[i], why);
    }
    for (uint32_t i = entries.count; i-- > 0 && is_too_much(&tidying);) {
        struct history_entry *entry = &entries.items[i];
        if (!entry->is_open) {
            out->bytes_after -= entry->bytes;
            out->removed++;
            if (!tries) {
                remove_file(text_cstr(&entry->path));
            }
        }
    }
    history_entries_fini(&entries);
    return code;
}
