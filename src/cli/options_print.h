/* options_print.h: the table of options for people and programs. */
#ifndef CASK_CLI_OPTIONS_PRINT_H
#define CASK_CLI_OPTIONS_PRINT_H

#include <stdio.h>

#include "base/text.h"
#include "cli/options.h"

/* The help text of a command, 80 columns wide. */
void options_help(enum command_id command, FILE *out);
/* Synopsis and options of a command as troff, for its man page. */
void options_man(enum command_id command, FILE *out);
/* Completion of all commands for bash. */
void options_completion(FILE *out);
/* The whole table as msgpack: [{command, arguments, summary, options: [{name, kind, argument, meaning}]}]. */
void options_write(struct text *out_msgpack);

#endif
