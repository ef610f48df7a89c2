/* spill.h: the spill files of one store: values to disk and back. Blocks: for threads of the pool.
 *
 * Writing and freeing is one thread's at a time. Reading may go on meanwhile in others, as long as what
 * they read is not freed.
 *
 * Small records share files and use each other's room again; one of OWN_FILE_MIN bytes or more has a file
 * of its own. All files have mode 0600, in a directory of 0700. */
#ifndef CASK_STORE_SPILL_H
#define CASK_STORE_SPILL_H

#include <sys/types.h>

#include "base/text.h"
#include "store/spill_format.h"
#include "store/value.h"

struct spill;

/* The system calls that are used; a test gives others. As their namesakes, with errno. */
struct spill_system {
    int (*open)(void *user, const char *path, int flags);
    ssize_t (*write)(void *user, int fd, const void *data, size_t size, uint64_t offset);
    ssize_t (*read)(void *user, int fd, void *data, size_t size, uint64_t offset);
    void *user;
};

struct spill_options {
    const char *directory; /* made when the first file is; its parent must exist by then */
    uint64_t bytes_max;    /* all records together; 0: no bound */
    enum compress_method compression;
    const struct spill_system *system; /* NULL: the real one; must outlive it */
};

struct spill *spill_create(const struct spill_options *options);
/* Removes the files and the directory, as far as they are ours. */
void spill_destroy(struct spill *spill);

/* One value to write, and how that went: OK and where; ERR_NO_SPACE (disk, quota, file size limit, bytes_max),
 * ERR_IO, ERR_BUSY (no descriptors), ERR_LIMIT (more frames than a value may have). */
struct spill_write {
    uint64_t serial;
    const struct store_value *value;
    int code;
    struct spill_place place;
};
/* Write them all; `why` tells of the first that failed. */
void spill_write_all(struct spill *spill, struct spill_write *writes, uint32_t count,
                     struct text *why);
/* What was written is not needed any more. */
void spill_free(struct spill *spill, const struct spill_place *place);

/* What was read. With a segment, frames lie in its mapping and have no owner yet. */
struct spill_loaded {
    struct blob *blob;
    int segment; /* -1: none */
    struct span mapping;
};
/* Read one back. ERR_CORRUPT, ERR_TRUNCATED, ERR_NOT_FOUND (its file is gone), ERR_IO: it is lost. ERR_BUSY: no
 * descriptors or memory now. */
MUST_USE int spill_read(const struct spill *spill, const struct spill_place *place, uint64_t serial,
                        struct spill_loaded *out_loaded, struct text *why);
/* The same, of an open file. */
struct spill_source {
    const struct spill_system *system;
    int fd;
    struct spill_place place;
    uint64_t serial;
};
MUST_USE int spill_load(const struct spill_source *source, struct spill_loaded *out_loaded,
                        struct text *why);
/* The value of what was read; takes it. The loop's thread. */
struct store_value *spill_value(struct spill_loaded *loaded, struct store_segments *segments);

#endif
