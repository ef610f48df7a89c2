/* crash.h: native frames of a thread of another process. */
#ifndef CASK_EXEC_CRASH_H
#define CASK_EXEC_CRASH_H

#include "base/text.h"

/* Stop `thread` of process `pid`, write its frames to `out`, a line each ("#0 f (libx.so) f.c:12"),
 * from where a signal interrupted it, and let it go. False: it was refused or nothing was found; `out`
 * says why. Blocks for up to a second or so: call on a thread of the pool. */
bool crash_unwind(int pid, uint32_t thread, struct text *out);

#endif
