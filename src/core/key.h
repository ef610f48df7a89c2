/* key.h: task keys as the cores see them: canonical msgpack bytes (str, int, float, or array of keys),
 * and the two names Dask derives from a key. Pure.
 * Source: dask.utils.key_split, distributed.utils.key_split_group; protocol.md 2.2, 4.5. */
#ifndef CASK_CORE_KEY_H
#define CASK_CORE_KEY_H

#include "base/arena.h"

/* The prefix of a key: "inc-1" → "inc", ("x-2", 1) → "x". In the arena, or static. */
struct span key_prefix(struct span key, struct arena *arena);
/* The group of a key: ("x-2", 1) → "x-2", "inc-1" → "inc". */
struct span key_group(struct span key, struct arena *arena);
/* Python's str(key): strings bare, tuples as repr ("('x', 0)"). */
struct span key_as_text(struct span key, struct arena *arena);
/* Python's repr(key): strings quoted. */
struct span key_as_repr(struct span key, struct arena *arena);

#endif
