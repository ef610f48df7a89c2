/* store.h: the values a worker holds. A value is *live* (an object in an executor; only its size is
 * known), *in memory* (serialised: store/value.h), or *on disk*; least recently used ones leave
 * memory first.
 *
 * How to use it, in a worker's process:
 *   - A task finished (DONE): store_put() with executor and handle; with its payload as value if it
 *     came along (store_value_open). Data from a peer or a client: store_put() with a value only.
 *   - A peer, or another executor, wants it: store_get(). OK gives the value at once. STORE_LATER: the
 *     waiter is answered later. If it is live, `export` asks you to send EXPORT to the executor;
 *     bring the answer with store_exported() or store_export_failed().
 *   - An executor needs it as input where it is not live: store_get(), then store_value_payload() → PUT.
 *     Where it is live: store_touch().
 *   - `release` says that a value went to disk: send DROP for this handle to every executor that was
 *     told of it. Its next use there needs a PUT again.
 *   - The core says DROP: store_drop(), and DROP to the executors. An executor died:
 *     store_executor_lost(). `lost` is an event DATA_LOST for the core.
 *   - Sending to a peer: keep a reference (store_value_ref) or slices of its frames until it is sent. What
 *     others refer to is not evicted.
 *   - Each monitor interval: measure (store/memory.h), decide (store/policy.h), store_evict(). It also
 *     tries a disk again that refused.
 *
 * Everything belongs to the loop's thread. Callbacks come from the loop, never inside a call. */
#ifndef CASK_STORE_STORE_H
#define CASK_STORE_STORE_H

#include "store/value.h"
#include "wire/compress.h"

struct io_loop;
struct spill_system;
struct store;
struct held;

#define STORE_NO_EXECUTOR UINT32_MAX
/* store_get(): the answer comes later. */
#define STORE_LATER 1

enum store_place { STORE_UNKNOWN, STORE_LIVE, STORE_MEMORY, STORE_DISK };

/* All it says is borrowed for the call. */
struct store_events {
    /* Serialise the object `handle` of `executor`. */
    void (*export)(void *user, uint32_t executor, uint64_t handle);
    /* Executors may forget `handle`: the value is stored elsewhere. */
    void (*release)(void *user, uint64_t handle);
    /* A value is gone: what was written cannot be read. The store has forgotten the key. */
    void (*lost)(void *user, struct span key, int code, const char *why);
    /* For the log: nothing is lost, but something does not work (a full disk …). Once until it works
     * again. */
    void (*trouble)(void *user, int code, const char *why);
};

struct store_options {
    uint64_t extra_bytes_max; /* exported copies of live values that are kept; 0: 64 MiB */
    const char *directory;    /* for spill files, made when it is needed; NULL: nothing spills */
    uint64_t
        target_bytes; /* values over this in sum go to disk; 0: only those that store_evict asks for */
    /* On their way to disk at a time: what executors export is in memory twice until it is written; 0: 128 MiB. */
    uint64_t leaving_bytes_max;
    uint64_t spilled_bytes_max; /* on disk; 0: no bound */
    uint64_t idle_bytes_max;    /* of segments that wait to be used again (store/segment.h) */
    uint32_t segment_count_max; /* that are written by this process or lent; 0: none */
    enum compress_method compression;
    const struct spill_system *system; /* NULL: the real one; for tests */
};

struct store_item {
    struct span key;
    uint64_t nbytes;   /* dask.sizeof: what the scheduler is told */
    struct span type;  /* name of its type, may be empty */
    uint32_t executor; /* where it is live; or STORE_NO_EXECUTOR */
    uint64_t handle;   /* what executors call it, live or not; of live ones no two are the same */
    struct store_value *value; /* serialised, or NULL if it is only live. Its reference is taken */
    bool stays;                /* never evicted: an actor is its object, not its value */
};

struct store_info {
    enum store_place place; /* live, if it is also in memory or on disk; memory, if also on disk */
    uint64_t nbytes;
    struct span type;
    uint32_t executor;
    uint64_t handle;
    uint64_t disk_bytes; /* what its record takes; 0: it is not on disk */
};

/* Somebody waits for a value. Embed it; it must stay where it is until answered or cancelled. */
struct store_waiter {
    /* `value` (keep it by store_value_ref), or NULL, and code and why: ERR_NOT_FOUND (dropped meanwhile),
     * ERR_TYPE (cannot be serialised), ERR_CLOSED (its executor died), ERR_CORRUPT, ERR_IO, ERR_BUSY
     * (reading cannot be tried now; the value is still there). */
    void (*answer)(struct store_waiter *waiter, struct store_value *value, int code,
                   const char *why);
    struct store_waiter
        *next;         /* these are the store's; zero before the first use and when answered */
    struct held *held; /* what it waits for */
    bool is_due;       /* its answer is on its way */
};

/* `events` must outlive it. */
struct store *store_create(struct io_loop *loop, const struct store_options *options,
                           const struct store_events *events, void *user);
/* No callback follows; waiters are forgotten. What threads are still doing ends by itself, so the loop must go on
 * or be destroyed (which waits for them): then the directory is gone. */
void store_destroy(struct store *store);

/* A value under `key`; one that was there is dropped. */
void store_put(struct store *store, const struct store_item *item);
/* OK: *out_value is it (borrowed until control returns to the loop). STORE_LATER: `waiter` is
 * answered, once. ERR_NOT_FOUND: no such key. */
MUST_USE int store_get(struct store *store, struct span key, struct store_waiter *waiter,
                       struct store_value **out_value);
/* `waiter` waits no longer; nothing happens if it does not wait. */
void store_cancel(struct store *store, struct store_waiter *waiter);
/* STORE_UNKNOWN: no such key (out_info, may be NULL, is untouched). */
enum store_place store_look(const struct store *store, struct span key,
                            struct store_info *out_info);
/* A task uses it where it is live: it leaves memory last. */
void store_touch(struct store *store, struct span key);
/* Until it is unpinned as often, a value that is in memory or live is not evicted: while all inputs of a task are
 * brought to one executor. Nothing happens without such a key. */
void store_pin(struct store *store, struct span key);
void store_unpin(struct store *store, struct span key);
/* Who waits for it is told so. False: no such key. */
bool store_drop(struct store *store, struct span key);
/* The answers to `export`; late ones are ignored. The value's reference is taken. */
void store_exported(struct store *store, uint32_t executor, uint64_t handle,
                    struct store_value *take_value);
void store_export_failed(struct store *store, uint32_t executor, uint64_t handle, const char *why);
/* Another executor has it as well, and is asked for it from now on; it may have been asked already. Nothing happens
 * if it is not live. */
void store_move(struct store *store, struct span key, uint32_t executor);
/* What was live there only is gone: `lost` is called for each key inside this call. O(values). */
void store_executor_lost(struct store *store, uint32_t executor,
                         void (*lost)(void *user, struct span key, uint64_t handle), void *user);
/* All keys, in the order in which they were put: start with *cursor 0; false at the end. Nothing may be put
 * or dropped meanwhile. */
bool store_next(const struct store *store, uint32_t *cursor, struct span *out_key,
                struct store_info *out_info);
/* Get values worth `bytes` out of memory, least recently used first, beyond those that are on their way. Replaces
 * what was asked before; 0 asks for nothing. After a failure this is what tries the disk again. */
void store_evict(struct store *store, uint64_t bytes);
/* Give up what only saves work: exported copies of live values, segments that wait to be used again. */
void store_trim(struct store *store);
/* More would have to leave memory than is on its way: values come faster than the disk takes them. It changes by calls
 * and within the loop's turns. */
bool store_is_behind(const struct store *store);
/* What these segments take is counted in totals. */
struct store_segments *store_segments(struct store *store);

struct store_totals {
    uint32_t live_count, memory_count, disk_count; /* each value once, in this order */
    uint64_t managed_bytes; /* nbytes of all that are not only on disk: stock's "managed" */
    uint64_t spilled_memory_bytes, spilled_disk_bytes; /* stock's "spilled_bytes" */
    uint64_t disk_bytes; /* all that the spill files take, copies of what is in memory too */
    uint64_t
        segment_bytes; /* shared memory: values that were dropped but are still sent, and what waits to be
                          * used again, included */
    uint64_t leaving_bytes;   /* of managed_bytes: on their way to disk */
    uint64_t evictable_bytes; /* of managed_bytes: neither on their way nor bound to stay */
    /* Since it was created: stock's "memory-read", "disk-read", "disk-write". */
    struct store_meter {
        uint64_t count, bytes;
        double seconds; /* of threads */
    } memory_read, disk_read, disk_write;
};
void store_totals(const struct store *store, struct store_totals *out_totals);

#endif
