/* observer.h: the program `cask observer`, which the scheduler starts. */
#ifndef CASK_OBSERVER_OBSERVER_H
#define CASK_OBSERVER_OBSERVER_H

#include <stdbool.h>

/* Take settings, ring and socket from descriptor 3, serve until the scheduler has ended and the time to linger is over;
 * gives the exit code. */
int observer_run(void);

#endif
