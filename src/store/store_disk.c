/* store_disk.c: the store's work in threads: one batch of writes at a time, some reads beside it.
 *
 * A thread has its batch for itself: serials, places, and values that the table keeps until the batch has ended.
 * It touches nothing of the loop's. What is freed is freed by the next batch, before it writes: so the spill
 * files have one writer. */
#include "base/error.h"
#include "io/io.h"
#include "store/store_internal.h"

enum {
    WRITE_COUNT_MAX = 1024,
    WRITE_BYTES_MAX = 16 * 1024 * 1024,
    READ_COUNT_MAX = 64,
    READ_BYTES_MAX = 4 * 1024 * 1024,
    READS_MAX = 2, /* batches; the pool has four threads, for others as well */
};

/* ---- writing ---- */

struct write_batch {
    struct store *store;
    struct spill *spill;
    struct VEC(struct spill_place) frees;
    struct VEC(struct spill_write) writes;
    struct VEC(struct held *) held;
    struct text why;
    double seconds;
};

static void work_write(void *user)
{
    struct write_batch *batch = user;
    double start = io_monotonic();
    for (uint32_t i = 0; i < batch->frees.count; i++) {
        spill_free(batch->spill, &batch->frees.items[i]);
    }
    spill_write_all(batch->spill, batch->writes.items, batch->writes.count, &batch->why);
    batch->seconds = io_monotonic() - start;
}

static void destroy_write_batch(struct write_batch *batch)
{
    vec_fini(&batch->frees);
    vec_fini(&batch->writes);
    vec_fini(&batch->held);
    text_fini(&batch->why);
    mem_free(batch);
}

/* Some could not be written. If copies of what is in memory were in the way, they go first. */
static void note_refused(struct store *store, int code, const char *why)
{
    if (code == ERR_NO_SPACE && table_free_clean(&store->table)) {
        return;
    }
    store->is_refused = true;
    if (!store->is_troubled && !store->is_closed) {
        store->is_troubled = true;
        store->events->trouble(store->user, code, why);
    }
}

static void done_write(void *user)
{
    struct write_batch *batch = user;
    struct store *store = batch->store;
    int refused = OK;
    for (uint32_t i = 0; i < batch->writes.count; i++) {
        const struct spill_write *write = &batch->writes.items[i];
        table_wrote(&store->table, batch->held.items[i], write->code, write->place);
        if (write->code == OK) {
            store->disk_write.count++;
            store->disk_write.bytes += write->place.size;
        } else {
            refused = refused == OK ? write->code : refused;
        }
    }
    store->disk_write.seconds += batch->seconds;
    store->is_writing = false;
    if (refused != OK) {
        note_refused(store, refused, text_cstr(&batch->why));
    } else if (batch->writes.count > 0) {
        store->is_troubled = false;
    }
    destroy_write_batch(batch);
    store_settle(store);
}

static void start_write(struct store *store)
{
    struct write_batch *batch = mem_zalloc(1, sizeof *batch);
    batch->store = store;
    batch->spill = store->spill;
    batch->frees.items = store->frees.items;
    batch->frees.count = store->frees.count;
    batch->frees.capacity = store->frees.capacity;
    memset(&store->frees, 0, sizeof store->frees);
    uint64_t bytes = 0;
    struct held *held = NULL;
    while (batch->held.count < WRITE_COUNT_MAX && bytes < WRITE_BYTES_MAX &&
           (held = table_next_write(&store->table)) != NULL) {
        vec_push(&batch->held, held);
        vec_push(&batch->writes,
                 (struct spill_write){.serial = held->serial, .value = held->value});
        bytes += held->value->size;
    }
    store->is_writing = true;
    io_work(store->loop, work_write, done_write, batch);
}

/* ---- reading ---- */

struct read_one {
    struct held *held;
    uint64_t serial;
    struct spill_place place;
    int code;
    struct spill_loaded loaded;
    struct text why;
};

struct read_batch {
    struct store *store;
    const struct spill *spill;
    struct VEC(struct read_one) reads;
    double seconds;
};

static void work_read(void *user)
{
    struct read_batch *batch = user;
    double start = io_monotonic();
    for (uint32_t i = 0; i < batch->reads.count; i++) {
        struct read_one *one = &batch->reads.items[i];
        one->code = spill_read(batch->spill, &one->place, one->serial, &one->loaded, &one->why);
    }
    batch->seconds = io_monotonic() - start;
}

static void done_read(void *user)
{
    struct read_batch *batch = user;
    struct store *store = batch->store;
    for (uint32_t i = 0; i < batch->reads.count; i++) {
        struct read_one *one = &batch->reads.items[i];
        struct store_value *value = NULL;
        if (one->code == OK) {
            value = spill_value(&one->loaded, store->segments);
            store->disk_read.count++;
            store->disk_read.bytes += one->place.size;
        }
        table_read(&store->table, one->held, one->code, value, text_cstr(&one->why));
        text_fini(&one->why);
    }
    store->disk_read.seconds += batch->seconds;
    store->reading_count--;
    vec_fini(&batch->reads);
    mem_free(batch);
    store_settle(store);
}

static void start_read(struct store *store)
{
    struct read_batch *batch = mem_zalloc(1, sizeof *batch);
    batch->store = store;
    batch->spill = store->spill;
    uint64_t bytes = 0;
    struct held *held = NULL;
    while (batch->reads.count < READ_COUNT_MAX && bytes < READ_BYTES_MAX &&
           (held = table_next_read(&store->table)) != NULL) {
        vec_push(&batch->reads,
                 (struct read_one){.held = held, .serial = held->serial, .place = held->place});
        bytes += held->place.size;
    }
    store->reading_count++;
    io_work(store->loop, work_read, done_read, batch);
}

/* ---- both ---- */

void store_start_work(struct store *store)
{
    if (store->spill == NULL) {
        ASSERT(store->table.to_write.count == 0);
        return;
    }
    if (!store->is_writing && (store->table.to_write.count > 0 || store->frees.count > 0)) {
        start_write(store);
    }
    while (store->reading_count < READS_MAX && store->table.to_read.count > 0) {
        start_read(store);
    }
}

void store_free_place(struct store *store, struct spill_place place)
{
    vec_push(&store->frees, place);
}
