/* commands.h: the functions behind cask's commands. Each gets the command's own argv and gives the exit code. */
#ifndef CASK_CLI_COMMANDS_H
#define CASK_CLI_COMMANDS_H

int cmd_scheduler(int argc, char **argv);

#endif
