/* uuid.h: names that nobody else has, from the core's own generator (so a replay makes the same ones). */
#ifndef CASK_CORE_SCHEDULER_UUID_H
#define CASK_CORE_SCHEDULER_UUID_H

#include "base/prng.h"

#define UUID_TEXT_SIZE 36
#define UUID_HEX_SIZE 32

/* str(uuid.uuid4()): 36 characters, no final NUL. */
void uuid_text(struct prng *prng, char out[UUID_TEXT_SIZE]);
/* uuid.uuid4().hex: 32 characters, no final NUL. */
void uuid_hex(struct prng *prng, char out[UUID_HEX_SIZE]);

#endif
