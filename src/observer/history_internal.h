/* history_internal.h: what the files history*.c share. */
#ifndef CASK_OBSERVER_HISTORY_INTERNAL_H
#define CASK_OBSERVER_HISTORY_INTERNAL_H

#include "observer/history.h"
#include "observer/history_file.h"

/* The file of a scheduler's life: folder/started-id.db */
void history_path(const struct history_options *options, struct text *out);
/* Make the folder and those above it, 0700. ERR_IO and why. */
int history_folder_make(const char *folder, struct text *why) MUST_USE;
/* Put down in the file that this process writes to it. */
int history_sign(sqlite3 *file, struct text *why) MUST_USE;
/* It does no more. */
void history_unsign(sqlite3 *file);
/* The process that signed lives. */
bool history_is_written(sqlite3 *file);
/* Fill the tables from an open file. */
int history_load_file(sqlite3 *file, struct tables *tables, struct text *why) MUST_USE;

#endif
