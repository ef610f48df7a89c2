/* top_kept.h: a run that is kept, with a dashboard of its own for this command alone. */
#ifndef CASK_CLI_TOP_KEPT_H
#define CASK_CLI_TOP_KEPT_H

#include <sys/types.h>

#include "cli/top_link.h"

/* `what`: a file, a name or its beginning, "last", or how many runs ago. A child serves it, on this machine, at an address that nobody
 * else can guess. out_name: what to call it. An error code and why. */
int top_kept_open(const char *what, struct top_place *out_place, struct text *out_name,
                  pid_t *out_child, struct text *why) MUST_USE;
/* The child ends. 0: there is none. */
void top_kept_close(pid_t child);

#endif
