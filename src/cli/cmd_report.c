/* cmd_report.c: `cask report`: the observer's report into a file, and whether anything failed as the exit code. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/top_place.h"

#ifndef CASK_HAVE_OBSERVER
int cmd_report(int argc, char **argv)
{
    struct options options;
    int exit_code = options_parse(COMMAND_REPORT, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    options_fini(&options);
    fprintf(stderr, "cask report: this cask was built without a dashboard\n");
    return EXIT_FAILURE;
}
#else

#define API "/api/cask/v1/"
#define FILE_DEFAULT "cask-report.html"

enum tag { TAG_SUMMARY, TAG_REPORT };

static const struct format {
    const char *name, *ending, *path;
} formats[] = {
    {"html", ".html", API "report.html"},
    {"text", ".txt", API "report.txt"},
    {"md", ".md", API "report.md"},
    {"json", ".json", API "report.json"},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

struct reporting {
    struct top_link *link;
    const struct format *format;
    struct text body, why;
    bool is_asked, is_done;
    json_int_t failures;
};

/* ---- what comes --------------------------------------------------------------------------------- */

static void give_up(struct reporting *reporting, const char *format, ...) PRINTF_LIKE(2, 3);

static void give_up(struct reporting *reporting, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&reporting->why, format, arguments);
    va_end(arguments);
    top_link_stop(reporting->link);
}

static void on_connected(void *user)
{
    struct reporting *reporting = user;
    if (!reporting->is_asked) {
        reporting->is_asked = true;
        top_link_ask(reporting->link, TAG_SUMMARY, API "summary", (struct span){0});
    }
}

static void on_closed(void *user, const char *why)
{
    give_up(user, "the dashboard: %s", why);
}

static void on_answered(void *user, int tag, int status, struct span body)
{
    struct reporting *reporting = user;
    if (status != 200) {
        give_up(reporting, "the dashboard answers %d: %.*s", status,
                (int)(body.size < 300 ? body.size : 300), (const char *)body.data);
    } else if (tag == TAG_SUMMARY) {
        json_t *summary = json_loadb((const char *)body.data, body.size, 0, NULL);
        reporting->failures = json_integer_value(json_object_get(summary, "failures"));
        json_decref(summary);
        top_link_ask(reporting->link, TAG_REPORT, reporting->format->path, (struct span){0});
    } else {
        text_add(&reporting->body, body);
        reporting->is_done = true;
        top_link_stop(reporting->link);
    }
}

static void on_frame(void *user, struct span bytes)
{
    (void)user; /* what moves is not for a report */
    (void)bytes;
}

static void on_readable(void *user, int descriptor)
{
    (void)user; /* nothing is watched */
    (void)descriptor;
}

static void on_tick(void *user)
{
    (void)user; /* the link gives up by itself */
}

static const struct top_link_events events = {.connected = on_connected,
                                              .closed = on_closed,
                                              .frame = on_frame,
                                              .answered = on_answered,
                                              .readable = on_readable,
                                              .tick = on_tick};

/* ---- where it goes ------------------------------------------------------------------------------ */

static const struct format *format_of(const char *name, const char *file)
{
    size_t size = file == NULL ? 0 : strlen(file);
    for (int i = 0; i < FORMAT_COUNT; i++) {
        size_t ending = strlen(formats[i].ending);
        bool fits = name != NULL
                        ? strcmp(name, formats[i].name) == 0
                        : size > ending && strcmp(file + size - ending, formats[i].ending) == 0;
        if (fits) {
            return &formats[i];
        }
    }
    return name == NULL ? &formats[0] : NULL;
}

static bool write_file(const char *file, const struct text *body, struct text *why)
{
    bool is_standard = strcmp(file, "-") == 0;
    FILE *out = is_standard ? stdout : fopen(file, "w");
    bool fine = out != NULL && fwrite(text_cstr(body), 1, body->size, out) == body->size;
    fine = out != NULL && (is_standard ? fflush(out) : fclose(out)) == 0 && fine;
    if (!fine) {
        text_printf(why, "%s cannot be written: %m", file);
    }
    return fine;
}

/* ---- the command -------------------------------------------------------------------------------- */

static bool fetch(const struct top_place *place, struct reporting *reporting)
{
    if (top_link_create(place, &events, reporting, &reporting->link, &reporting->why) != OK) {
        return false;
    }
    top_link_run(reporting->link);
    top_link_destroy(reporting->link);
    return reporting->is_done;
}

static int run(const struct options *options, const struct ask_options *where,
               struct reporting *reporting)
{
    struct top_place place = {0};
    struct text address = {0};
    const char *file = options->text[OPTION_REPORT_OUTPUT];
    reporting->format = format_of(options->text[OPTION_REPORT_FORMAT], file);
    if (reporting->format == NULL) {
        return options_complain(COMMAND_REPORT, "a format is html, text, md or json, not",
                                options->text[OPTION_REPORT_FORMAT]);
    }
    if (file == NULL) {
        file = reporting->format == &formats[0] ? FILE_DEFAULT : "-";
    }
    bool fine = top_place_find(where, options->text[OPTION_REPORT_CA_FILE], &place, &address,
                               &reporting->why) == OK &&
                fetch(&place, reporting) && write_file(file, &reporting->body, &reporting->why);
    if (fine && strcmp(file, "-") != 0) {
        printf("%s: %zu bytes, %lld failures\n", file, reporting->body.size,
               (long long)reporting->failures);
    }
    top_place_fini(&place);
    text_fini(&address);
    return fine && reporting->failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int cmd_report(int argc, char **argv)
{
    struct options options;
    struct reporting reporting = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0) { /* as everybody spells it */
            argv[i] = "--output";
        }
    }
    int exit_code = options_parse(COMMAND_REPORT, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    const char *option = options.text[OPTION_REPORT_SCHEDULER];
    const struct ask_options where = {
        .address = options.argument_count > 0 ? options.arguments[0] : option,
        .scheduler_file = options.text[OPTION_REPORT_SCHEDULER_FILE],
        .timeout = options.text[OPTION_REPORT_TIMEOUT],
    };
    if (options.argument_count > 1) {
        exit_code =
            options_complain(COMMAND_REPORT, "one address is enough, not", options.arguments[1]);
    } else {
        exit_code = run(&options, &where, &reporting);
    }
    if (reporting.why.size > 0) {
        fprintf(stderr, "cask report: %s\n", text_cstr(&reporting.why));
    }
    text_fini(&reporting.why);
    text_fini(&reporting.body);
    options_fini(&options);
    return exit_code;
}
#endif
