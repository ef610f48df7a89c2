/* table.h: which value is where, and what is under way with it. Pure: no I/O, clock or thread.
 *
 * The store tells it what happened (put, asked for, dropped, written, read, exported, an executor
 * died) and does what it asks: actions, in order, and two queues, of values to write and to read.
 *
 * Everything under way is under way for a *value*, never for a key. A key that is dropped or put
 * again gets a new value; what was under way for the old one ends with it: what was written is
 * freed, what was read or exported is thrown away. So no order of ends can lose an update.
 *
 *   live ──export──► live + memory ──write──► disk ──read──► memory + disk
 *                    memory ───────write──► disk
 *
 * A value that came back from disk keeps its record: values never change, so it can leave memory
 * again without being written (a *clean* one). */
#ifndef CASK_STORE_TABLE_H
#define CASK_STORE_TABLE_H

#include "base/map.h"
#include "base/text.h"
#include "base/vec.h"
#include "store/spill_format.h"
#include "store/value.h"

struct store_waiter;

enum held_job {
    HELD_IDLE,
    HELD_EXPORTING,
    HELD_TO_WRITE, /* in the queue */
    HELD_WRITING,
    HELD_TO_READ, /* in the queue */
    HELD_READING,
};

struct held_link {
    struct held *newer, *older;
};

/* One value. */
struct held {
    struct span key;   /* the map's; data NULL: dropped, lives until its job has ended */
    uint64_t serial;   /* of this value, never reused */
    uint64_t handle;   /* what executors call it */
    uint32_t executor; /* that holds it live; STORE_NO_EXECUTOR: none */
    enum held_job job;
    bool leaving;  /* its job is there to get it out of memory */
    bool touched;  /* asked for since its write began */
    bool stuck;    /* cannot be serialised, as far as is known: stays where it is */
    bool stays;    /* in any case */
    uint32_t pins; /* who wants it to stay for now */
    uint64_t nbytes;
    struct span type;          /* owned */
    struct store_value *value; /* in memory, or NULL */
    struct spill_place place;  /* on disk, or not */
    struct store_waiter *waiters;
    struct held_link used;  /* in `by_use`: what could leave memory */
    struct held_link extra; /* in `extras`: live and in memory */
    struct held_link queue; /* in `to_write` or `to_read` */
};

struct held_list {
    struct held *newest, *oldest;
    uint32_t count;
};

enum table_action_kind {
    TABLE_EXPORT,  /* ask held's executor for it; end: table_exported, table_export_failed */
    TABLE_RELEASE, /* executors may forget `handle` */
    TABLE_FREE,    /* `place` is not needed any more */
    TABLE_ANSWER,  /* tell `waiter`: `value` (a reference is given), or `code` and `why` */
    TABLE_LOST,    /* `key` (owned, to be freed) is gone because of `code` and `why` */
};

struct table_action {
    enum table_action_kind kind;
    uint32_t executor;
    uint64_t handle;
    struct spill_place place;
    struct store_waiter *waiter;
    struct store_value *value;
    struct span key;
    int code;
    struct text why;
};

struct table {
    struct map by_key;    /* key → struct held */
    struct map by_handle; /* handle → struct held, while it is being exported */
    struct held_list by_use, extras, to_write, to_read;
    struct VEC(struct table_action) actions;
    uint32_t action_first; /* the next one to be done */
    uint64_t serial_next;
    uint32_t in_flight;       /* values that are being written or read, dropped ones included */
    uint64_t managed_bytes;   /* nbytes of all that are live or in memory */
    uint64_t leaving_bytes;   /* of those, the ones that are leaving */
    uint64_t evictable_bytes; /* of those, the ones in by_use */
    uint64_t extra_bytes;     /* of exported copies of live values */
    uint64_t spilled_memory;  /* nbytes of those only on disk … */
    uint64_t spilled_disk;    /* … and what they take there */
    uint64_t disk_bytes;      /* all that is taken there, clean ones and dropped ones included */
    uint32_t live_count, memory_count, spilled_count; /* live first; memory: not live */
};

/* What is put. Everything is borrowed but the value, whose reference is taken. */
struct store_item;

/* All zero is an empty table. Before this all keys are dropped, nothing is in flight, all actions are done. */
void table_fini(struct table *table);
/* The next thing to do, once; false: there is none. What it owns is the caller's. */
bool table_next_action(struct table *table, struct table_action *out_action);

struct held *table_find(const struct table *table, struct span key);
/* A new value under `key`; one that was there is dropped. */
struct held *table_put(struct table *table, const struct store_item *item);
/* It was used: it leaves memory last. */
void table_touch(struct table *table, struct held *held);
/* It does not leave memory, nor the executors, until it is unpinned as often. */
void table_pin(struct table *table, struct held *held);
void table_unpin(struct table *table, struct held *held);
/* Its value (borrowed) if it is in memory; else NULL, and it is exported or read, and `waiter` gets an
 * answer. */
struct store_value *table_get(struct table *table, struct held *held, struct store_waiter *waiter);
/* Nobody waits for it there any more; a read nobody waits for is not begun. */
void table_unwait(struct table *table, struct store_waiter *waiter);
void table_drop(struct table *table, struct held *held);

/* Get values worth `bytes` out of memory, longest unused first; gives what was begun, 0: there is none
 * that could go. Values that others hold references to are passed over. */
uint64_t table_evict(struct table *table, uint64_t bytes);
/* Get this one, which was just put, out of memory. */
void table_evict_one(struct table *table, struct held *held);
/* Drop exported copies of live values until they take at most `bytes`. */
void table_trim_extras(struct table *table, uint64_t bytes);
/* Give up the disk's copies of values that are in memory; false: there was none. O(values). */
bool table_free_clean(struct table *table);

/* The next value to write or read, now under way, or NULL. `value` of what is written stays until
 * table_wrote(). */
struct held *table_next_write(struct table *table);
struct held *table_next_read(struct table *table);
/* How it ended. code OK: `place` is where. Else the value stays in memory. */
void table_wrote(struct table *table, struct held *held, int code, struct spill_place place);
/* code OK: takes `value`. ERR_BUSY: it could not be tried: who waits is told, the value stays on disk.
 * Else it is lost. */
void table_read(struct table *table, struct held *held, int code, struct store_value *take_value,
                const char *why);
/* Unknown handles are answers to what was dropped: they are ignored. Takes `value`. */
void table_exported(struct table *table, uint32_t executor, uint64_t handle,
                    struct store_value *take_value);
void table_export_failed(struct table *table, uint32_t executor, uint64_t handle, const char *why);
/* Another executor has it live as well: that one counts from now on. */
void table_move(struct table *table, struct held *held, uint32_t executor);
/* What was live in `executor` only is dropped: `lost` is called for each, before. O(values). */
void table_executor_lost(struct table *table, uint32_t executor,
                         void (*lost)(void *user, struct span key, uint64_t handle), void *user);

/* Asserts every invariant. O(values); for tests. */
void table_check(const struct table *table);

#endif
