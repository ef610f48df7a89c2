/* channel_internal.h: segments, shared by the two halves of the channel. */
#ifndef CASK_EXEC_CHANNEL_INTERNAL_H
#define CASK_EXEC_CHANNEL_INTERNAL_H

#include <stdint.h>

/* "at" of a frame that is inline. */
#define CHANNEL_INLINE UINT64_MAX

/* What frames in a segment are aligned to: the widest vector registers. */
#define CHANNEL_ALIGNMENT 64u

#endif
