/* pack.h: gzip, for what browsers unpack by themselves. */
#ifndef CASK_OBSERVER_PACK_H
#define CASK_OBSERVER_PACK_H

#include "base/text.h"

/* Append `data` as a gzip file; `level` 1 (quick) … 9 (small). False: zlib had no memory, and nothing is appended. */
bool pack_gzip(struct span data, int level, struct text *out) MUST_USE;

#endif
