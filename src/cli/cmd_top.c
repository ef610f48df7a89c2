/* cmd_top.c: `cask top`: the cluster on a terminal. Here is where it looks; the rest is in top_session.c. */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/top_kept.h"
#include "cli/top_place.h"
#include "cli/top_session.h"

#ifndef CASK_HAVE_OBSERVER
int cmd_top(int argc, char **argv)
{
    struct options options;
    int exit_code = options_parse(COMMAND_TOP, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    options_fini(&options);
    fprintf(stderr, "cask top: this cask was built without a dashboard\n");
    return EXIT_FAILURE;
}
#else

static int run(const struct options *options, const struct ask_options *where, struct text *why)
{
    struct top_place place = {0};
    struct text address = {0};
    pid_t child = 0;
    double timeout = 10;
    const char *colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    bool is_json = options->is_on[OPTION_TOP_JSON] == SWITCH_ON;
    bool is_dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    bool is_once = is_json || is_dumb || options->is_on[OPTION_TOP_ONCE] == SWITCH_ON ||
                   !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
    int exit_code = EXIT_FAILURE;
    if (where->timeout != NULL &&
        (!text_parse_seconds(span_of_text(where->timeout), &timeout) || timeout <= 0)) {
        text_printf(why, "--timeout %s is not a duration such as 10s", where->timeout);
        return exit_code;
    }
    const char *kept = options->text[OPTION_TOP_HISTORY];
    int code = kept != NULL ? top_kept_open(kept, &place, &address, &child, why)
                            : top_place_find(where, options->text[OPTION_TOP_CA_FILE], &place,
                                             &address, why);
    if (code == OK) {
        setlocale(LC_CTYPE, "");
        const struct top_options top = {
            .place = &place,
            .address = text_cstr(&address),
            .timeout = timeout,
            .is_coloured = colour == NULL || *colour == '\0',
            .is_ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0,
            .is_json = is_json,
        };
        setlocale(LC_CTYPE, "C");
        exit_code = is_once ? top_session_once(&top) : top_session_watch(&top);
    }
    top_kept_close(child);
    top_place_fini(&place);
    text_fini(&address);
    return exit_code;
}

int cmd_top(int argc, char **argv)
{
    struct options options;
    struct text why = {0};
    int exit_code = options_parse(COMMAND_TOP, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    const char *option = options.text[OPTION_TOP_SCHEDULER];
    const struct ask_options where = {
        .address = options.argument_count > 0 ? options.arguments[0] : option,
        .scheduler_file = options.text[OPTION_TOP_SCHEDULER_FILE],
        .timeout = options.text[OPTION_TOP_TIMEOUT],
    };
    if (options.argument_count > 1) {
        exit_code =
            options_complain(COMMAND_TOP, "one address is enough, not", options.arguments[1]);
    } else {
        exit_code = run(&options, &where, &why);
    }
    if (why.size > 0) {
        fprintf(stderr, "cask top: %s\n", text_cstr(&why));
    }
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
#endif
