/* history_command.h: the parts of `cask history`. Each gives an exit code, or −1 and why. */
#ifndef CASK_CLI_HISTORY_COMMAND_H
#define CASK_CLI_HISTORY_COMMAND_H

#include "cli/options.h"
#include "observer/history_view.h"

/* --limit, or 20. */
unsigned history_limit(const struct options *options);
/* What a run was: its summary, workers, prefixes, failures. */
int history_show(struct history_view *view, const struct options *options, struct text *why);
/* What made `later` slower (or faster) than `earlier`. 0: it is not slower, 1: it is. */
int history_compare(struct history_view *earlier, struct history_view *later,
                    const struct options *options, struct text *why);
/* Its runs as a file for Perfetto, Chrome or speedscope. */
int history_trace(struct history_view *view, const struct options *options, struct text *why);

#endif
