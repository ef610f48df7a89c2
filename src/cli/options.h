/* options.h: the command line, read by options.def. */
#ifndef CASK_CLI_OPTIONS_H
#define CASK_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum command_id {
#define COMMAND(ID, name, arguments, summary) COMMAND_##ID,
#include "cli/options.def"
    COMMAND_COUNT
};

enum option_id {
#define OPTION(ID, name, kind, argument, meaning) OPTION_##ID,
#include "cli/options.def"
    OPTION_COUNT
};

enum option_switch { SWITCH_UNSET, SWITCH_OFF, SWITCH_ON };

/* What was given. Texts point into argv. */
struct options {
    const char *text[OPTION_COUNT];         /* TEXT: the last one given; MANY: the first; NULL: none */
    enum option_switch is_on[OPTION_COUNT]; /* SWITCH, FLAG */
    const char **many;                      /* MANY values, NULL-terminated (of whichever option) */
    const char **arguments;                 /* what is no option, NULL-terminated */
    uint32_t argument_count;
};

/* Read argv (argv[0] is the command). Gives −1 to go on, or an exit code: --help and --version were
 * answered, or something was wrong, which was said. */
int options_parse(enum command_id command, int argc, char **argv, struct options *out_options);
void options_fini(struct options *options);
/* The help text of a command. */
void options_help(enum command_id command, FILE *out);

#endif
