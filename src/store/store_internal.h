/* store_internal.h: the store, for its two files: the loop's side (store.c), work in threads
 * (store_disk.c). */
#ifndef CASK_STORE_STORE_INTERNAL_H
#define CASK_STORE_STORE_INTERNAL_H

#include "store/spill.h"
#include "store/store.h"
#include "store/table.h"

struct store {
    struct io_loop *loop;
    const struct store_events *events;
    void *user;
    struct table table;
    struct store_segments *segments;
    struct spill *spill; /* NULL: nothing spills */
    uint64_t extra_bytes_max;
    uint64_t leaving_bytes_max;
    uint64_t target_bytes;                /* UINT64_MAX: no bound */
    uint64_t asked_bytes;                 /* to be evicted for store_evict() */
    struct VEC(struct spill_place) frees; /* for the next batch of writes */
    struct store_meter memory_read, disk_read, disk_write;
    uint32_t reading_count; /* batches under way */
    bool is_writing;        /* a batch is under way */
    bool is_refused;        /* the disk: not tried again until store_evict() */
    bool is_troubled;       /* and the user was told */
    bool is_posted;         /* run_posted() will come */
    bool is_settling;       /* actions are being done */
    bool is_closed;         /* freed as soon as nothing will come back */
};

/* After every change: start what can be started, and let the rest be done from the loop. Frees a closed store
 * for which nothing comes back any more. */
void store_proceed(struct store *store);
/* The same, from the loop: do what the table asks, then go on. */
void store_settle(struct store *store);
void store_start_work(struct store *store);
void store_free_place(struct store *store, struct spill_place place);

#endif
