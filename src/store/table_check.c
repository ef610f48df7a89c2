/* table_check.c: every invariant of a table, for tests. */
#include "store/store.h"
#include "store/table.h"

static uint32_t list_length(const struct held_list *list, size_t link)
{
    uint32_t length = 0;
    const struct held *newer = NULL;
    for (const struct held *held = list->newest; held != NULL; length++) {
        const struct held_link *at = (const struct held_link *)((const char *)held + link);
        ASSERT(at->newer == newer);
        newer = held;
        held = at->older;
    }
    ASSERT(list->oldest == newer);
    return length;
}

struct sums {
    uint64_t managed, leaving, evictable, extra, spilled_memory, spilled_disk, disk;
    uint32_t live, memory, spilled, usable, extras, exporting, to_write, to_read;
};

static void check_job(const struct held *held)
{
    switch (held->job) {
    case HELD_IDLE:
        ASSERT(!held->leaving);
        ASSERT(held->waiters == NULL);
        break;
    case HELD_EXPORTING:
        ASSERT(held->executor != STORE_NO_EXECUTOR);
        ASSERT(held->value == NULL);
        break;
    case HELD_TO_WRITE:
    case HELD_WRITING:
        ASSERT(held->value != NULL);
        ASSERT(held->leaving);
        ASSERT(held->place.file == NULL);
        ASSERT(held->waiters == NULL);
        break;
    case HELD_TO_READ:
        ASSERT(held->waiters != NULL);
        ASSERT(held->place.file != NULL);
        ASSERT(held->value == NULL);
        break;
    case HELD_READING:
        ASSERT(held->place.file != NULL);
        ASSERT(held->value == NULL);
        break;
    }
}

static void check_held(const struct held *held, struct sums *sums)
{
    bool live = held->executor != STORE_NO_EXECUTOR;
    bool here = live || held->value != NULL;
    ASSERT(here || held->place.file != NULL);
    ASSERT(here || !held->leaving);
    ASSERT(!held->stuck || (live && held->value == NULL));
    check_job(held);
    sums->disk += held->place.size;
    sums->exporting += held->job == HELD_EXPORTING;
    sums->to_write += held->job == HELD_TO_WRITE;
    sums->to_read += held->job == HELD_TO_READ;
    if (!here) {
        sums->spilled++;
        sums->spilled_memory += held->nbytes;
        sums->spilled_disk += held->place.size;
        return;
    }
    sums->live += live;
    sums->memory += !live;
    sums->managed += held->nbytes;
    sums->leaving += held->leaving ? held->nbytes : 0;
    if (!held->leaving && !held->stuck && !held->stays && held->pins == 0) {
        sums->usable++;
        sums->evictable += held->nbytes;
    }
    if (live && held->value != NULL && !held->leaving) {
        sums->extras++;
        sums->extra += held->value->size;
    }
}

void table_check(const struct table *table)
{
    struct sums sums = {0};
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&table->by_key, &cursor)) != NULL;) {
        const struct held *held = entry->value.pointer;
        ASSERT(held->key.data == entry->name.data);
        check_held(held, &sums);
    }
    ASSERT(sums.managed == table->managed_bytes);
    ASSERT(sums.leaving == table->leaving_bytes);
    ASSERT(sums.evictable == table->evictable_bytes);
    ASSERT(sums.extra == table->extra_bytes);
    ASSERT(sums.spilled_memory == table->spilled_memory);
    ASSERT(sums.spilled_disk == table->spilled_disk);
    ASSERT(sums.disk <= table->disk_bytes); /* dropped ones that are being read are still there */
    ASSERT(sums.live == table->live_count);
    ASSERT(sums.memory == table->memory_count);
    ASSERT(sums.spilled == table->spilled_count);
    ASSERT(sums.exporting == table->by_handle.count);
    ASSERT(sums.usable == list_length(&table->by_use, offsetof(struct held, used)));
    ASSERT(sums.extras == list_length(&table->extras, offsetof(struct held, extra)));
    ASSERT(sums.to_write == list_length(&table->to_write, offsetof(struct held, queue)));
    ASSERT(sums.to_read == list_length(&table->to_read, offsetof(struct held, queue)));
}
