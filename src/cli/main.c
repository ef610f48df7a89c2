/* main.c: finds the subcommand. Each is a row of the table, with its own file cmd_NAME.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static int command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("cask " CASK_VERSION);
    return EXIT_SUCCESS;
}

static const struct command COMMANDS[] = {
    {"scheduler", "run a scheduler that Dask's clients and workers use", cmd_scheduler},
    {"version", "print the version", command_version},
};

enum { ROW_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static void print_usage(FILE *out)
{
    fputs("usage: cask COMMAND [OPTIONS]\n\ncommands:\n", out);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        fprintf(out, "  %-12s%s\n", COMMANDS[i].name, COMMANDS[i].summary);
    }
}

int main(int argc, char **argv)
{
    const char *name = argc < 2 ? "" : argv[1];
    if (strcmp(name, "--version") == 0) {
        name = "version";
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
