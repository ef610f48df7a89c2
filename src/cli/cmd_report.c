/* cmd_report.c: `cask report`: the observer's report into a file, and whether anything failed as the exit code. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/top_fetch.h"
#include "cli/top_kept.h"
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

#define FILE_DEFAULT "cask-report.html"

static const struct format {
    const char *name, *ending, *path;
} formats[] = {
    {"html", ".html", "report.html"},
    {"text", ".txt", "report.txt"},
    {"md", ".md", "report.md"},
    {"json", ".json", "report.json"},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

struct reporting {
    const struct format *format;
    struct text body, why;
    json_int_t failures;
};

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

/* What failed decides the exit code; the report itself may be no JSON. */
static bool fetch(const struct top_place *place, struct reporting *reporting)
{
    struct text summary = {0};
    bool fine = top_fetch(place, "summary", &summary, &reporting->why) == OK;
    if (fine) {
        json_t *given = json_loadb(text_cstr(&summary), summary.size, 0, NULL);
        reporting->failures = json_integer_value(json_object_get(given, "failures"));
        json_decref(given);
    }
    text_fini(&summary);
    return fine &&
           top_fetch(place, reporting->format->path, &reporting->body, &reporting->why) == OK;
}

static int run(const struct options *options, const struct ask_options *where,
               struct reporting *reporting)
{
    struct top_place place = {0};
    struct text address = {0};
    pid_t child = 0;
    const char *file = options->text[OPTION_REPORT_OUTPUT];
    reporting->format = format_of(options->text[OPTION_REPORT_FORMAT], file);
    if (reporting->format == NULL) {
        return options_complain(COMMAND_REPORT, "a format is html, text, md or json, not",
                                options->text[OPTION_REPORT_FORMAT]);
    }
    if (file == NULL) {
        file = reporting->format == &formats[0] ? FILE_DEFAULT : "-";
    }
    const char *kept = options->text[OPTION_REPORT_HISTORY];
    int code = kept != NULL ? top_kept_open(kept, &place, &address, &child, &reporting->why)
                            : top_place_find(where, options->text[OPTION_REPORT_CA_FILE], &place,
                                             &address, &reporting->why);
    bool fine = code == OK && fetch(&place, reporting) &&
                write_file(file, &reporting->body, &reporting->why);
    if (fine && strcmp(file, "-") != 0) {
        printf("%s: %zu bytes, %lld failure%s\n", file, reporting->body.size,
               (long long)reporting->failures, reporting->failures == 1 ? "" : "s");
    }
    top_kept_close(child);
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
