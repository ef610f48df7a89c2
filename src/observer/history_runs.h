/* history_runs.h: the table `runs` of a file of history. */
#ifndef CASK_OBSERVER_HISTORY_RUNS_H
#define CASK_OBSERVER_HISTORY_RUNS_H

#include <sqlite3.h>

/* Whoever asks this connection for a table `runs` gets the chunks' runs as rows. SQLite's code. */
int history_runs_add(sqlite3 *file);

#endif
