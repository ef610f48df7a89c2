/* cmd_replay.c: `cask replay`: a failed task, run again here. Where it is found out; the rest is Python's (python/cask/replay.py),
 * which takes this process's place: the terminal is its debugger's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "node/config.h"
#include "node/planner_process.h"
#ifdef CASK_HAVE_OBSERVER
#include "observer/history.h"
#endif

#define TIMEOUT_DEFAULT 10.0
#define ARGUMENTS_MAX 16u

struct replaying {
    const struct options *options;
    struct config *config;
    struct text place; /* a file of history, or a scheduler's address */
};

/* A file, or what `cask history` calls it. */
static int find_history(const char *what, struct text *out_path, struct text *why)
{
    int code = OK;
    if (access(what, R_OK) == 0) {
        text_add_cstr(out_path, what);
    } else {
#ifdef CASK_HAVE_OBSERVER
        struct text folder = {0};
        history_folder(&folder);
        code = history_find(text_cstr(&folder), what, out_path, why);
        text_fini(&folder);
#else
        text_printf(why, "%s: %s", what, strerror(errno));
        code = ERR_IO;
#endif
    }
    return code;
}

static int find_scheduler(struct replaying *replaying, struct text *why)
{
    const struct ask_options where = {
        .address = replaying->options->text[OPTION_REPLAY_SCHEDULER],
        .scheduler_file = replaying->options->text[OPTION_REPLAY_SCHEDULER_FILE],
    };
    return ask_find_address(replaying->config, &where, &replaying->place, why);
}

/* PYTHONPATH with our package in front, if Python does not find it by itself. */
static void set_python_path(const struct text *package)
{
    const char *inherited = getenv("PYTHONPATH");
    struct text path = {0};
    if (package->size > 0) {
        text_add(&path, text_span(package));
        if (inherited != NULL && *inherited != '\0') {
            text_printf(&path, ":%s", inherited);
        }
        setenv("PYTHONPATH", text_cstr(&path), 1);
    }
    text_fini(&path);
}

/* Does not come back, unless Python cannot be started. */
static void become_python(const struct replaying *replaying, const char *timeout, struct text *why)
{
    const struct options *options = replaying->options;
    bool is_kept = options->text[OPTION_REPLAY_HISTORY] != NULL;
    const char *argv[ARGUMENTS_MAX], *folder = options->text[OPTION_REPLAY_WRITE];
    uint32_t count = 0;
    struct text python = {0}, package = {0};
    planner_find_python(replaying->config, &python, &package);
    argv[count++] = text_cstr(&python);
    argv[count++] = "-m";
    argv[count++] = "cask.replay";
    argv[count++] = is_kept ? "--history" : "--scheduler";
    argv[count++] = text_cstr(&replaying->place);
    argv[count++] = "--timeout";
    argv[count++] = timeout;
    if (folder != NULL) {
        argv[count++] = "--write";
        argv[count++] = folder;
    }
    if (options->is_on[OPTION_REPLAY_PDB] != SWITCH_UNSET) {
        argv[count++] = options->is_on[OPTION_REPLAY_PDB] == SWITCH_ON ? "--pdb" : "--no-pdb";
    }
    argv[count++] = "--"; /* a key may begin with a dash */
    argv[count++] = options->arguments[0];
    argv[count] = NULL;
    ASSERT(count < ARGUMENTS_MAX);
    set_python_path(&package);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    text_printf(why, "%s: %s (set cask.planner.python or CASK_PYTHON)", argv[0], strerror(errno));
    text_fini(&python);
    text_fini(&package);
}

static void replay(const struct options *options, struct text *why)
{
    struct replaying replaying = {.options = options};
    const char *history = options->text[OPTION_REPLAY_HISTORY];
    const char *given = options->text[OPTION_REPLAY_TIMEOUT];
    double timeout = TIMEOUT_DEFAULT;
    int code = config_create(&replaying.config, why);
    if (code == OK && given != NULL && !text_parse_seconds(span_of_text(given), &timeout)) {
        text_printf(why, "--timeout: '%s' is no time", given);
        code = ERR_CONFIG;
    }
    if (code == OK) {
        code = history != NULL ? find_history(history, &replaying.place, why)
                               : find_scheduler(&replaying, why);
    }
    if (code == OK) {
        char seconds[32];
        snprintf(seconds, sizeof seconds, "%.3f", timeout);
        become_python(&replaying, seconds, why);
    }
    text_fini(&replaying.place);
    if (replaying.config != NULL) {
        config_destroy(replaying.config);
    }
}

int cmd_replay(int argc, char **argv)
{
    struct options options;
    struct text why = {0};
    int exit_code = options_parse(COMMAND_REPLAY, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    if (options.argument_count != 1) {
        exit_code = options_complain(COMMAND_REPLAY, "one key is needed", NULL);
    } else {
        replay(&options, &why);
        fprintf(stderr, "cask replay: %s\n", text_cstr(&why));
        exit_code = EXIT_FAILURE;
    }
    text_fini(&why);
    options_fini(&options);
    return exit_code;
}
