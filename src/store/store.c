/* store.c: the loop's side of the table: does what it asks, and tells it what happened. */
#include "base/error.h"
#include "io/io.h"
#include "store/store_internal.h"

#define IDLE_SECONDS 5.0 /* that memory waits to be used again */

enum {
    EXTRA_BYTES_MAX = 64 * 1024 * 1024,
    /* On their way to disk at a time, unless the options say it. */
    LEAVING_BYTES_MAX = 128 * 1024 * 1024,
};

static void free_store(struct store *store)
{
    table_fini(&store->table);
    spill_destroy(store->spill); /* with all files, whatever was still to be freed in them */
    store_segments_unref(store->segments);
    vec_fini(&store->frees);
    mem_free(store);
}

/* ---- what the table asks ---- */

static void answer(struct store *store, const struct table_action *action)
{
    struct store_waiter *waiter = action->waiter;
    if (waiter != NULL && !store->is_closed) {
        waiter->is_due = false;
        waiter->answer(waiter, action->value, action->code, text_cstr(&action->why));
    }
    store_value_unref(action->value);
}

static void do_action(struct store *store, const struct table_action *action)
{
    switch (action->kind) {
    case TABLE_EXPORT:
        store->events->export(store->user, action->executor, action->handle);
        break;
    case TABLE_RELEASE:
        store->events->release(store->user, action->handle);
        break;
    case TABLE_FREE:
        store_free_place(store, action->place);
        break;
    case TABLE_ANSWER:
        answer(store, action);
        break;
    case TABLE_LOST:
        /* Unless it was put again meanwhile. */
        if (table_find(&store->table, action->key) == NULL) {
            store->events->lost(store->user, action->key, action->code, text_cstr(&action->why));
        }
        break;
    }
}

static void run_actions(struct store *store)
{
    struct table_action action;
    while (table_next_action(&store->table, &action)) {
        if (!store->is_closed || action.kind == TABLE_ANSWER) {
            do_action(store, &action);
        }
        mem_free((void *)(uintptr_t)action.key.data);
        text_fini(&action.why);
    }
}

void store_settle(struct store *store)
{
    store->is_settling = true; /* a store that is destroyed in there lives until the end */
    run_actions(store);
    store->is_settling = false;
    store_proceed(store);
}

static void run_posted(void *user)
{
    struct store *store = user;
    store->is_posted = false;
    store_settle(store);
}

/* Begin to evict what has to go, a bounded part of it at a time. */
static void evict(struct store *store)
{
    const struct table *table = &store->table;
    if (store->spill == NULL || store->is_refused) {
        return;
    }
    uint64_t stays = table->managed_bytes - table->leaving_bytes;
    uint64_t wanted = stays > store->target_bytes ? stays - store->target_bytes : 0;
    wanted = wanted > store->asked_bytes ? wanted : store->asked_bytes;
    while (wanted > 0 && table->leaving_bytes < store->leaving_bytes_max) {
        uint64_t room = store->leaving_bytes_max - table->leaving_bytes;
        uint64_t begun = table_evict(&store->table, wanted < room ? wanted : room);
        store->asked_bytes -= begun < store->asked_bytes ? begun : store->asked_bytes;
        if (begun == 0) {
            store->asked_bytes = 0; /* nothing is left that could go */
            break;
        }
        wanted -= begun < wanted ? begun : wanted;
    }
}

void store_proceed(struct store *store)
{
    if (store->is_settling) {
        return; /* what is asked for in there is done at its end */
    }
    if (store->is_closed) {
        run_actions(store);
        if (!store->is_posted && !store->is_writing && store->reading_count == 0) {
            free_store(store);
        }
        return;
    }
    evict(store);
    table_trim_extras(&store->table, store->extra_bytes_max);
    store_start_work(store);
    if (!store->is_posted && store->table.actions.count > 0) {
        store->is_posted = true;
        io_post(store->loop, run_posted, store);
    }
}

/* ---- life ---- */

struct store *store_create(struct io_loop *loop, const struct store_options *options,
                           const struct store_events *events, void *user)
{
    struct store *store = mem_zalloc(1, sizeof *store);
    store->loop = loop;
    store->events = events;
    store->user = user;
    store->segments = store_segments_create(&(struct store_segments_options){
        .loop = loop,
        .idle_bytes_max = options->idle_bytes_max,
        .idle_seconds = IDLE_SECONDS,
        .count_max = options->segment_count_max,
    });
    store->extra_bytes_max =
        options->extra_bytes_max > 0 ? options->extra_bytes_max : EXTRA_BYTES_MAX;
    store->leaving_bytes_max =
        options->leaving_bytes_max > 0 ? options->leaving_bytes_max : LEAVING_BYTES_MAX;
    store->target_bytes = options->target_bytes > 0 ? options->target_bytes : UINT64_MAX;
    if (options->directory != NULL) {
        store->spill = spill_create(&(struct spill_options){
            .directory = options->directory,
            .bytes_max = options->spilled_bytes_max,
            .compression = options->compression,
            .system = options->system,
        });
    }
    return store;
}

void store_destroy(struct store *store)
{
    if (store == NULL) {
        return;
    }
    store->is_closed = true;
    store_segments_close(store->segments);
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&store->table.by_key, &cursor)) != NULL;) {
        table_drop(&store->table, entry->value.pointer);
    }
    store_proceed(store);
}

/* ---- values ---- */

void store_put(struct store *store, const struct store_item *item)
{
    struct held *held = table_put(&store->table, item);
    if (item->nbytes > store->target_bytes && !item->stays && store->spill != NULL &&
        !store->is_refused) {
        table_evict_one(&store->table, held); /* rather than all others */
    }
    store_proceed(store);
}

int store_get(struct store *store, struct span key, struct store_waiter *waiter,
              struct store_value **out_value)
{
    struct held *held = table_find(&store->table, key);
    if (held == NULL) {
        return ERR_NOT_FOUND;
    }
    struct store_value *value = table_get(&store->table, held, waiter);
    if (value == NULL) {
        store_proceed(store);
        return STORE_LATER;
    }
    store->memory_read.count++;
    store->memory_read.bytes += held->nbytes;
    *out_value = value;
    return OK;
}

void store_cancel(struct store *store, struct store_waiter *waiter)
{
    table_unwait(&store->table, waiter);
}

static void describe(const struct held *held, struct store_info *out_info)
{
    enum store_place place = held->executor != STORE_NO_EXECUTOR ? STORE_LIVE
                             : held->value != NULL               ? STORE_MEMORY
                                                                 : STORE_DISK;
    *out_info = (struct store_info){
        .place = place,
        .nbytes = held->nbytes,
        .type = held->type,
        .executor = held->executor,
        .handle = held->handle,
        .disk_bytes = held->place.size,
    };
}

enum store_place store_look(const struct store *store, struct span key, struct store_info *out_info)
{
    const struct held *held = table_find(&store->table, key);
    if (held == NULL) {
        return STORE_UNKNOWN;
    }
    struct store_info info;
    describe(held, &info);
    if (out_info != NULL) {
        *out_info = info;
    }
    return info.place;
}

void store_touch(struct store *store, struct span key)
{
    struct held *held = table_find(&store->table, key);
    if (held != NULL) {
        table_touch(&store->table, held);
    }
}

void store_pin(struct store *store, struct span key)
{
    struct held *held = table_find(&store->table, key);
    if (held != NULL) {
        table_pin(&store->table, held);
    }
}

void store_unpin(struct store *store, struct span key)
{
    struct held *held = table_find(&store->table, key);
    if (held != NULL) {
        table_unpin(&store->table, held);
        store_proceed(store);
    }
}

bool store_drop(struct store *store, struct span key)
{
    struct held *held = table_find(&store->table, key);
    if (held == NULL) {
        return false;
    }
    table_drop(&store->table, held);
    store_proceed(store);
    return true;
}

void store_exported(struct store *store, uint32_t executor, uint64_t handle,
                    struct store_value *take_value)
{
    table_exported(&store->table, executor, handle, take_value);
    store_proceed(store);
}

void store_export_failed(struct store *store, uint32_t executor, uint64_t handle, const char *why)
{
    table_export_failed(&store->table, executor, handle, why);
    store_proceed(store);
}

void store_move(struct store *store, struct span key, uint32_t executor)
{
    struct held *held = table_find(&store->table, key);
    if (held != NULL) {
        table_move(&store->table, held, executor);
        store_proceed(store);
    }
}

void store_executor_lost(struct store *store, uint32_t executor,
                         void (*lost)(void *user, struct span key, uint64_t handle), void *user)
{
    table_executor_lost(&store->table, executor, lost, user);
    store_proceed(store);
}

void store_trim(struct store *store)
{
    table_trim_extras(&store->table, 0);
    store_segments_trim(store->segments);
}

bool store_is_behind(const struct store *store)
{
    const struct table *table = &store->table;
    return table->leaving_bytes >= store->leaving_bytes_max &&
           (table->managed_bytes - table->leaving_bytes > store->target_bytes ||
            store->asked_bytes > 0);
}

void store_evict(struct store *store, uint64_t bytes)
{
    store->is_refused = false;
    store->asked_bytes = bytes;
    store_proceed(store);
}

/* ---- looks ---- */

bool store_next(const struct store *store, uint32_t *cursor, struct span *out_key,
                struct store_info *out_info)
{
    const struct map_entry *entry = map_next(&store->table.by_key, cursor);
    if (entry == NULL) {
        return false;
    }
    *out_key = entry->name;
    describe(entry->value.pointer, out_info);
    return true;
}

struct store_segments *store_segments(struct store *store)
{
    return store->segments;
}

void store_totals(const struct store *store, struct store_totals *out_totals)
{
    const struct table *table = &store->table;
    *out_totals = (struct store_totals){
        .live_count = table->live_count,
        .memory_count = table->memory_count,
        .disk_count = table->spilled_count,
        .managed_bytes = table->managed_bytes,
        .spilled_memory_bytes = table->spilled_memory,
        .spilled_disk_bytes = table->spilled_disk,
        .disk_bytes = table->disk_bytes,
        .segment_bytes = store_segments_bytes(store->segments),
        .leaving_bytes = table->leaving_bytes,
        .evictable_bytes = table->evictable_bytes,
        .memory_read = store->memory_read,
        .disk_read = store->disk_read,
        .disk_write = store->disk_write,
    };
}
