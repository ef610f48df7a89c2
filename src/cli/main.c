/* main.c: finds the command. Each is a row of options.def, with its own file cmd_NAME.c. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli/commands.h"

struct command {
    const char *name;
    const char *summary;
    command_function *run;
};

static const struct command COMMANDS[] = {
#define COMMAND(ID, function, name, arguments, summary) {name, summary, function},
#include "cli/options.def"
};

enum { ROW_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static void print_usage(FILE *out)
{
    fputs("Usage: cask COMMAND [OPTIONS]\n\nCommands:\n", out);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const char *summary =
            COMMANDS[i].summary; /* what follows a colon is for the command's own help */
        fprintf(out, "  %-11s%.*s\n", COMMANDS[i].name, (int)strcspn(summary, ":"), summary);
    }
    fputs("  version    print the version\n\n'cask COMMAND --help' tells more.\n", out);
}

/* CASK_PARENT_PID: end with the process that started us, however it ends. The kernel looks after that; a parent
 * that ended before we asked is noticed here. What we start ourselves has another parent, so it is not told. */
static void end_with_parent(void)
{
    const char *parent = getenv("CASK_PARENT_PID");
    if (parent == NULL) {
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (strtol(parent, NULL, 10) != getppid()) {
        fprintf(stderr, "cask: CASK_PARENT_PID: %s is not our parent, or has ended\n", parent);
        exit(EXIT_FAILURE);
    }
    unsetenv("CASK_PARENT_PID");
}

int main(int argc, char **argv)
{
    end_with_parent();
    const char *name = argc < 2 ? "" : argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        puts("cask " CASK_VERSION);
        return EXIT_SUCCESS;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(name, COMMANDS[i].name) == 0) {
            return COMMANDS[i].run(argc - 1, argv + 1);
        }
    }
    if (*name != '\0') {
        fprintf(stderr, "cask: there is no command '%s'\n\n", name);
    }
    print_usage(stderr);
    return 2;
}
