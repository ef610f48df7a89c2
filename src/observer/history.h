/* history.h: what the observer saw, kept in a file for when it is gone. See docs/history.md.
 *
 * One thread of the observer writes; its loop hands over what is new and goes on. */
#ifndef CASK_OBSERVER_HISTORY_H
#define CASK_OBSERVER_HISTORY_H

#include "observer/tables.h"

struct history;

struct history_options {
    const char *folder;
    const char *cluster_id;
    double started;     /* the scheduler, seconds since the epoch */
    double bytes_max;   /* of all files of the folder */
    double seconds_max; /* runs older than that go */
};

/* Begin to keep a scheduler's life. If there is a file of it already, the tables are filled from it, and out_tail tells
 * where in the ring what follows begins (else 0). ERR_IO …: it cannot be kept, and why. */
int history_create(const struct history_options *options, struct tables *tables,
                   struct history **out_history, uint64_t *out_tail, struct text *why) MUST_USE;
/* The tables took a record. */
void history_take(struct history *history, const struct tables *tables,
                  const union any_record *record);
/* What a failed task was given. */
void history_take_failed(struct history *history, const struct failed_told *failed);
/* Hand over what is new, if it is time and the writer is free; `tail`: how far the ring was read. Gives up to where of
 * the ring nothing is needed any more. */
uint64_t history_beat(struct history *history, struct tables *tables, uint64_t tail, double now);
/* Write what is left, and end. */
void history_destroy(struct history *history, struct tables *tables, uint64_t tail);

/* Bytes of its file; runs and rows that could not be kept. */
struct history_state {
    uint64_t bytes, missed;
    double lag;   /* seconds since what is not written yet was first there */
    bool is_full; /* nothing can be written at present */
};
struct history_state history_state(struct history *history, double now);

/* ---- files (history_load.c, history_folder.c) ---- */

/* Fill tables from a file, as if its records had just come; of runs, as many of the newest as the tables hold. If it was
 * left in the middle, the tables say that the scheduler died. ERR_IO, ERR_UNSUPPORTED, ERR_CORRUPT, and why; on
 * ERR_CORRUPT the tables have what could be read. */
int history_load(const char *path, struct tables *tables, struct text *why) MUST_USE;

/* Where files are if nothing else is said: $XDG_STATE_HOME/cask/history, ~/.local/state/cask/history. */
void history_folder(struct text *out);

/* A file of the folder. */
struct history_entry {
    struct text path, name; /* name: the file's, without folder and suffix */
    struct text id, state, reason;
    double started, ended, time; /* ended: 0, it runs; time: of its newest data */
    int64_t runs, failures, workers, bytes;
    bool is_open; /* somebody writes to it */
};
struct history_entries VEC(struct history_entry);
/* The files of a folder, newest first (by name, which begins with the time); those that cannot be
 * read are left out. `after`: only those that come after the one of that name (NULL: all).
 * ERR_NOT_FOUND: there is no folder. */
int history_list(const char *folder, const char *after, uint32_t limit,
                 struct history_entries *out_entries, struct text *why) MUST_USE;
void history_entries_fini(struct history_entries *entries);
/* The path of what a person calls a run: a path; a name or how it begins; "last", or how many runs ago. ERR_NOT_FOUND and
 * why. */
int history_find(const char *folder, const char *what, struct text *out_path,
                 struct text *why) MUST_USE;

/* What tidying did. */
struct history_tidied {
    int64_t bytes_before, bytes_after;
    uint32_t stripped, removed; /* files that lost their runs; files */
};
/* Bring the folder below `bytes_max`: files that nobody writes to lose their runs, oldest first, then go as a whole.
 * Runs older than seconds_max go, too (0: any age). With `tries` nothing is changed. */
int history_tidy(const struct history_options *options, bool tries, struct history_tidied *out,
                 struct text *why) MUST_USE;

#endif
