/* commands.h: the functions behind cask's commands. Each gets the command's own argv and gives the exit code:
 * 0 it worked, 1 the world failed, 2 the command line was wrong. */
#ifndef CASK_CLI_COMMANDS_H
#define CASK_CLI_COMMANDS_H

typedef int command_function(int argc, char **argv);
#define COMMAND(ID, function, name, arguments, summary) command_function function;
#include "cli/options.def"

#endif
