/* top_terminal.h: the terminal while a full screen is on it.
 *
 * The screen is a child's; its parent does nothing but wait, and puts the terminal back however the child ended:
 * quit, signal, crash. */
#ifndef CASK_CLI_TOP_TERMINAL_H
#define CASK_CLI_TOP_TERMINAL_H

#include <termios.h>

#include "base/text.h"

struct top_terminal {
    struct termios before;
};

/* Fork. In the child: −1, go on. In the parent, when the child has ended and the terminal is as it was: the exit
 * code. Signals that end programs are the child's: it gets SIGTERM. */
int top_terminal_guard(struct top_terminal *terminal);
/* The screen is ours, keys come one by one; and back. */
void top_terminal_enter(const struct top_terminal *terminal);
void top_terminal_leave(const struct top_terminal *terminal);
/* Columns and rows; what cannot be known: 80 × 24. */
void top_terminal_size(int *out_width, int *out_height);
/* All of it, waiting where the terminal is slow. False: nobody reads any more. */
bool top_terminal_write(struct span bytes);
/* A descriptor of its own for the keys, so that nothing else becomes non-blocking; −1. */
int top_terminal_keys(void);
/* A descriptor that says SIGWINCH and SIGTERM; −1. */
int top_terminal_signals(void);

#endif
