/* spill_system.h: reading and writing whole pieces through a struct spill_system. */
#ifndef CASK_STORE_SPILL_SYSTEM_H
#define CASK_STORE_SPILL_SYSTEM_H

#include "store/spill.h"

extern const struct spill_system spill_real_system;

/* The code that errno stands for, and a sentence. */
int spill_refuse(const char *what, const char *path, struct text *why);
/* All of it: 0, or -1 and errno. */
MUST_USE int spill_write_at(const struct spill_system *system, int fd, struct span bytes,
                            uint64_t offset);
/* Fill `size` bytes at `data`: 0, -1 and errno, or 1: the file ends before. */
MUST_USE int spill_read_at(const struct spill_system *system, int fd, uint8_t *data, size_t size,
                           uint64_t offset);

#endif
