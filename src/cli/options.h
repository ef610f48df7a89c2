/* options.h: the command line, read by options.def. */
#ifndef CASK_CLI_OPTIONS_H
#define CASK_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum command_id {
#define COMMAND(ID, function, name, arguments, summary) COMMAND_##ID,
#include "cli/options.def"
    COMMAND_COUNT
};

enum option_id {
#define OPTION(ID, name, kind, argument, meaning) OPTION_##ID,
#include "cli/options.def"
    OPTION_COUNT
};

enum option_kind { KIND_TEXT, KIND_MANY, KIND_SWITCH, KIND_FLAG, KIND_IGNORED };

/* A row of the table. */
struct option_info {
    const char *name; /* without dashes */
    enum option_kind kind;
    const char *argument; /* "": takes none */
    const char *meaning;
};

struct command_info {
    const char *name, *arguments, *summary;
};

const struct command_info *options_command(enum command_id command);
const struct option_info *options_option(enum option_id option);
/* The command that an option belongs to. */
enum command_id options_command_of(enum option_id option);
/* The option may be given as --no-NAME, too. */
bool options_can_negate(const struct option_info *option);
/* The command of this name; false: there is none. */
bool options_find_command(const char *name, enum command_id *out_command);

enum option_switch { SWITCH_UNSET, SWITCH_OFF, SWITCH_ON };

/* What was given. Texts point into argv. */
struct options {
    const char *text[OPTION_COUNT]; /* TEXT: the last one given; MANY: the first; NULL: none */
    enum option_switch is_on[OPTION_COUNT]; /* SWITCH, FLAG */
    const char **many;                      /* MANY values, NULL-terminated (of whichever option) */
    enum option_id *many_options;           /* whose they are */
    const char **arguments;                 /* what is no option, NULL-terminated */
    uint32_t argument_count;
};

/* Read argv (argv[0] is the command). Gives −1 to go on, or an exit code: --help and --version were
 * answered, or something was wrong, which was said. Where MANY was given (--preload), options that the table
 * lacks are arguments. */
int options_parse(enum command_id command, int argc, char **argv, struct options *out_options);
void options_fini(struct options *options);
/* The values of one MANY option, NULL-terminated; the array is the caller's. */
const char **options_values(const struct options *options, enum option_id option);
/* Say on stderr what is wrong with the command line, and with which argument (NULL: one is missing); gives exit
 * code 2. */
int options_complain(enum command_id command, const char *what, const char *argument);

#endif
