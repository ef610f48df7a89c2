/* cmd_history.c: `cask history`: which runs there are, and one of them looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/options.h"

#ifdef CASK_HAVE_OBSERVER

#include "base/error.h"
#include "cli/answer.h"
#include "cli/history_command.h"
#include "cli/history_print.h"
#include "io/io.h"
#include "node/observer.h"
#include "observer/history.h"
#include "observer/observer.h"

/* What is left of the command line. */
struct wish {
    const struct options *options;
    const char **arguments; /* after the verb */
    uint32_t count;
    struct text folder;
};

unsigned history_limit(const struct options *options)
{
    const char *limit = options->text[OPTION_HISTORY_LIMIT];
    long number = limit == NULL ? 20 : strtol(limit, NULL, 10);
    return number > 0 && number < 1000000 ? (unsigned)number : 20;
}

static bool as_json(const struct wish *wish)
{
    return wish->options->is_on[OPTION_HISTORY_JSON] == SWITCH_ON;
}

/* ---- ls ----------------------------------------------------------------------------------------- */

static json_t *entry_json(const struct history_entry *entry)
{
    json_t *object =
        json_pack("{s:f,s:f,s:f,s:I,s:I,s:I,s:I,s:b}", "started", entry->started, "ended",
                  entry->ended, "time", entry->time, "runs", (json_int_t)entry->runs, "failures",
                  (json_int_t)entry->failures, "workers", (json_int_t)entry->workers, "bytes",
                  (json_int_t)entry->bytes, "open", entry->is_open);
    json_object_set_new(object, "name", history_json_text(text_span(&entry->name)));
    json_object_set_new(object, "path", history_json_text(text_span(&entry->path)));
    json_object_set_new(object, "id", history_json_text(text_span(&entry->id)));
    json_object_set_new(object, "state", history_json_text(text_span(&entry->state)));
    json_object_set_new(object, "reason", history_json_text(text_span(&entry->reason)));
    return object;
}

static void print_entries(const struct history_entries *entries)
{
    static const char *const headings[] = {"ago",     "began", "took", "runs", "failures",
                                           "workers", "size",  "end",  "name"};
    enum { COLUMNS = sizeof headings / sizeof headings[0] };
    struct sheet sheet = {.column_count = COLUMNS};
    for (int i = 0; i < COLUMNS; i++) {
        sheet_put(&sheet, headings[i]);
    }
    for (uint32_t i = 0; i < entries->count; i++) {
        const struct history_entry *entry = &entries->items[i];
        char bytes[24];
        answer_bytes((double)entry->bytes, bytes);
        text_printf(sheet_cell(&sheet), "%u", i + 1);
        history_print_time(entry->started, sheet_cell(&sheet));
        history_print_seconds(entry->time - entry->started, sheet_cell(&sheet));
        text_printf(sheet_cell(&sheet), "%lld", (long long)entry->runs);
        text_printf(sheet_cell(&sheet), "%lld", (long long)entry->failures);
        text_printf(sheet_cell(&sheet), "%lld", (long long)entry->workers);
        sheet_put(&sheet, bytes);
        sheet_put(&sheet, text_cstr(&entry->state));
        sheet_put(&sheet, text_cstr(&entry->name));
    }
    sheet_print(&sheet);
    sheet_fini(&sheet);
}

static int list(const struct wish *wish, struct text *why)
{
    struct history_entries entries;
    if (history_list(text_cstr(&wish->folder), NULL, history_limit(wish->options), &entries, why) !=
        OK) {
        return -1;
    }
    if (as_json(wish)) {
        json_t *all = json_array();
        for (uint32_t i = 0; i < entries.count; i++) {
            json_array_append_new(all, entry_json(&entries.items[i]));
        }
        history_print_json(all);
        json_decref(all);
    } else if (entries.count == 0) {
        printf("No runs in %s\n", text_cstr(&wish->folder));
    } else {
        print_entries(&entries);
    }
    history_entries_fini(&entries);
    return EXIT_SUCCESS;
}

/* ---- one run ------------------------------------------------------------------------------------ */

/* Argument `index`, or the last run. */
static struct history_view *open_run(const struct wish *wish, uint32_t index, struct text *why)
{
    const char *what = index < wish->count ? wish->arguments[index] : "last";
    struct history_view *view = NULL;
    struct text path = {0};
    int code = history_find(text_cstr(&wish->folder), what, &path, why);
    if (code == OK && history_view_open(text_cstr(&path), &view, why) != OK) {
        view = NULL;
    }
    text_fini(&path);
    return view;
}

static int show(const struct wish *wish, struct text *why)
{
    struct history_view *view = open_run(wish, 0, why);
    if (view == NULL) {
        return -1;
    }
    int code = history_show(view, wish->options, why);
    history_view_close(view);
    return code;
}

static int trace(const struct wish *wish, struct text *why)
{
    struct history_view *view = open_run(wish, 0, why);
    if (view == NULL) {
        return -1;
    }
    int code = history_trace(view, wish->options, why);
    history_view_close(view);
    return code;
}

/* The last argument is the question; what stands before it, the run. */
static int sql(const struct wish *wish, struct text *why)
{
    if (wish->count == 0) {
        return options_complain(COMMAND_HISTORY, "a query is needed, like 'SELECT * FROM prefixes'",
                                NULL);
    }
    struct wish run = *wish;
    run.count--;
    struct history_view *view = open_run(&run, 0, why);
    if (view == NULL) {
        return -1;
    }
    const char *query = wish->arguments[wish->count - 1];
    int code = EXIT_SUCCESS;
    if (as_json(wish)) {
        json_t *rows = history_json(view, query, why);
        code = rows == NULL ? -1 : EXIT_SUCCESS;
        if (rows != NULL) {
            history_print_json(rows);
        }
        json_decref(rows);
    } else if (history_print_table(view, NULL, query, why) != OK) {
        code = -1;
    }
    history_view_close(view);
    return code;
}

/* With one argument, it is held against the last run; with none, the last against the one before. */
static int compare(const struct wish *wish, struct text *why)
{
    static const char *last_two[] = {"2", "1"};
    struct wish pair = *wish;
    const char *with_last[] = {wish->count > 0 ? wish->arguments[0] : NULL, "last"};
    if (pair.count < 2) {
        pair.arguments = pair.count == 0 ? last_two : with_last;
        pair.count = 2;
    }
    struct history_view *earlier = open_run(&pair, 0, why);
    struct history_view *later = earlier == NULL ? NULL : open_run(&pair, 1, why);
    int code = later == NULL ? -1 : history_compare(earlier, later, wish->options, why);
    if (earlier != NULL) {
        history_view_close(earlier);
    }
    if (later != NULL) {
        history_view_close(later);
    }
    return code < 0 ? 2 : code; /* 1 says: slower */
}

/* ---- serve -------------------------------------------------------------------------------------- */

static int serve(const struct wish *wish, struct text *why)
{
    const char *what = wish->count > 0 ? wish->arguments[0] : "last";
    const char *given = wish->options->text[OPTION_HISTORY_DASHBOARD_ADDRESS];
    struct io_address address = {.transport = IO_TCP, .port = 8787};
    struct text path = {0};
    int listener;
    strcpy(address.host, "127.0.0.1");
    int code = history_find(text_cstr(&wish->folder), what, &path, why);
    if (code == OK && given != NULL) {
        code = observer_parse_address(given, &address, why);
    }
    code = code == OK ? io_listen_socket(&address, &listener, why) : code;
    if (code == OK) {
        printf("%s\nhttp://%s:%u/status\n", text_cstr(&path), address.host, address.port);
        fflush(stdout);
        code = observer_show(text_cstr(&path), listener, NULL, why);
    }
    text_fini(&path);
    return code == OK ? EXIT_SUCCESS : -1;
}

/* ---- gc ----------------------------------------------------------------------------------------- */

static int collect(const struct wish *wish, struct text *why)
{
    const struct options *options = wish->options;
    const char *size = options->text[OPTION_HISTORY_MAX_SIZE];
    const char *age = options->text[OPTION_HISTORY_MAX_AGE];
    struct history_options wanted = {.folder = text_cstr(&wish->folder),
                                     .bytes_max = 2.0 * (1 << 30),
                                     .seconds_max = 14 * 86400.0};
    if (size != NULL && !text_parse_bytes(span_of_text(size), &wanted.bytes_max)) {
        return options_complain(COMMAND_HISTORY, "--max-size takes bytes such as '500 MiB', not",
                                size);
    }
    if (age != NULL && !text_parse_seconds(span_of_text(age), &wanted.seconds_max)) {
        return options_complain(COMMAND_HISTORY, "--max-age takes a duration such as 7d, not", age);
    }
    bool tries = options->is_on[OPTION_HISTORY_DRY_RUN] == SWITCH_ON;
    struct history_tidied tidied;
    if (history_tidy(&wanted, tries, &tidied, why) != OK) {
        return -1;
    }
    char before[24], after[24];
    answer_bytes((double)tidied.bytes_before, before);
    answer_bytes((double)tidied.bytes_after, after);
    if (as_json(wish)) {
        json_t *all =
            json_pack("{s:I,s:I,s:i,s:i,s:b}", "bytes_before", (json_int_t)tidied.bytes_before,
                      "bytes_after", (json_int_t)tidied.bytes_after, "stripped",
                      (int)tidied.stripped, "removed", (int)tidied.removed, "dry_run", tries);
        history_print_json(all);
        json_decref(all);
    } else {
        printf("%s → %s%s: %u run%s without their tasks, %u removed\n", before, after,
               tries ? " (it would be)" : "", tidied.stripped, tidied.stripped == 1 ? "" : "s",
               tidied.removed);
    }
    return EXIT_SUCCESS;
}

/* ---- which -------------------------------------------------------------------------------------- */

static int run(const struct options *options, struct text *why)
{
    static const struct {
        const char *name;
        int (*run)(const struct wish *wish, struct text *why);
        uint32_t arguments_max;
    } verbs[] = {{"ls", list, 0},         {"show", show, 1},   {"serve", serve, 1}, {"sql", sql, 2},
                 {"compare", compare, 2}, {"trace", trace, 1}, {"gc", collect, 0}};
    const char *verb = options->argument_count == 0 ? "ls" : options->arguments[0];
    struct wish wish = {.options = options,
                        .arguments = options->arguments + (options->argument_count > 0),
                        .count = options->argument_count - (options->argument_count > 0)};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, verb) != 0) {
            continue;
        }
        if (wish.count > verbs[i].arguments_max) {
            return options_complain(COMMAND_HISTORY,
                                    "too many arguments:", wish.arguments[verbs[i].arguments_max]);
        }
        const char *folder = options->text[OPTION_HISTORY_FOLDER];
        if (folder != NULL) {
            text_add_cstr(&wish.folder, folder);
        } else {
            history_folder(&wish.folder);
        }
        int code = verbs[i].run(&wish, why);
        text_fini(&wish.folder);
        return code;
    }
    return options_complain(COMMAND_HISTORY,
                            "ls, show, serve, sql, compare, trace and gc are what it can do, not",
                            verb);
}

int cmd_history(int argc, char **argv)
{
    struct options options;
    struct text why = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0) { /* as everybody spells it */
            argv[i] = "--output";
        }
    }
    int exit_code = options_parse(COMMAND_HISTORY, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    exit_code = run(&options, &why);
    if (why.size > 0) {
        fprintf(stderr, "cask history: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    options_fini(&options);
    return exit_code < 0 ? EXIT_FAILURE : exit_code;
}

#else

int cmd_history(int argc, char **argv)
{
    struct options options;
    int exit_code = options_parse(COMMAND_HISTORY, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    options_fini(&options);
    fprintf(stderr, "cask history: this cask was built without a dashboard, and keeps none\n");
    return EXIT_FAILURE;
}

#endif
