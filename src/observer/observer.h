/* observer.h: the program `cask observer`, which the scheduler starts; and the same of a file. */
#ifndef CASK_OBSERVER_OBSERVER_H
#define CASK_OBSERVER_OBSERVER_H

#include "base/assert.h"

/* Take settings, ring and socket from descriptor 3, serve until the scheduler has ended and the time to linger is over;
 * gives the exit code. */
int observer_run(void);

struct text;

/* Show a file of history on a listening socket (taken), below `prefix` (NULL: none), until a signal ends the process. An error
 * code and why. */
int observer_show(const char *path, int listener, const char *prefix, struct text *why) MUST_USE;

#endif
