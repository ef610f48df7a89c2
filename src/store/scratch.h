/* scratch.h: a directory of a process, for as long as it lives. What processes leave that die without a chance to
 * remove theirs, the next one removes.
 *
 * BASE/worker-HOST-PID-START-NONCE/ belongs to whoever holds the lock (flock) of the file of that name with ".dirlock"
 * behind it. So stock Dask has it, too: it removes ours of dead owners as its own. These functions block.
 * Source: distributed diskutils.py. */
#ifndef CASK_STORE_SCRATCH_H
#define CASK_STORE_SCRATCH_H

#include "base/assert.h"
#include "base/text.h"

struct scratch;

/* Make one, mode 0700, in `base`, which is made if it is missing. ERR_IO, ERR_NOT_FOUND: it cannot be
 * made; why. */
MUST_USE int scratch_create(const char *base, struct scratch **out_scratch, struct text *why);
const char *scratch_path(const struct scratch *scratch);
/* Remove it with all that is in it. NULL is allowed. */
void scratch_destroy(struct scratch *scratch);
/* Remove those in `base` that are ours (this user's, this host's) and whose owners are dead; gives their number. Where the
 * file system knows no locks nothing is removed. Any thread. */
uint32_t scratch_remove_dead(const char *base);

#endif
