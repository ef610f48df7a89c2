/* spill_internal.h: what the writing and the reading side of the spill files share. */
#ifndef CASK_STORE_SPILL_INTERNAL_H
#define CASK_STORE_SPILL_INTERNAL_H

#include "store/spill.h"
#include "store/spill_space.h"

/* Records by size: small ones lie close together; larger ones begin at pages, so that writing over freed
 * ones reads nothing first. */
enum spill_class { CLASS_SMALL, CLASS_PAGED, CLASS_OWN };

struct spill_file {
    uint32_t number;
    enum spill_class class;
    int fd;                   /* -1: opened when it is read */
    struct spill_space space; /* the writer's */
};

const struct spill_system *spill_system_of(const struct spill *spill);
MUST_USE int spill_file_open(const struct spill *spill, const struct spill_file *file, int flags,
                             int *out_fd, struct text *why);

#endif
