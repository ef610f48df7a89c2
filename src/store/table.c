/* table.c: moves of values between executor, memory and disk.
 *
 * Every change of a value stands between uncount() and count(), which keep the sums and the lists
 * true: nothing else adds to them. */
#include "store/table.h"

#include <stddef.h>

#include "base/error.h"
#include "store/store.h"

/* ---- lists: a value is in each at most once, by a link of its own ---- */

#define LINK_USED offsetof(struct held, used)
#define LINK_EXTRA offsetof(struct held, extra)
#define LINK_QUEUE offsetof(struct held, queue)

static struct held_link *link_of(struct held *held, size_t link)
{
    return (struct held_link *)((char *)held + link);
}

static bool is_listed(const struct held_list *list, struct held *held, size_t link)
{
    return list->newest == held || link_of(held, link)->newer != NULL;
}

static void list_add_newest(struct held_list *list, struct held *held, size_t link)
{
    ASSERT(!is_listed(list, held, link));
    *link_of(held, link) = (struct held_link){NULL, list->newest};
    if (list->newest != NULL) {
        link_of(list->newest, link)->newer = held;
    } else {
        list->oldest = held;
    }
    list->newest = held;
    list->count++;
}

static void list_remove(struct held_list *list, struct held *held, size_t link)
{
    ASSERT(is_listed(list, held, link));
    struct held_link *at = link_of(held, link);
    if (at->newer != NULL) {
        link_of(at->newer, link)->older = at->older;
    } else {
        list->newest = at->older;
    }
    if (at->older != NULL) {
        link_of(at->older, link)->newer = at->newer;
    } else {
        list->oldest = at->newer;
    }
    *at = (struct held_link){0};
    list->count--;
}

/* Make `held` listed or not; it keeps its place if it was. */
static void list_sync(struct held_list *list, struct held *held, size_t link, bool wanted)
{
    bool listed = is_listed(list, held, link);
    if (wanted && !listed) {
        list_add_newest(list, held, link);
    } else if (!wanted && listed) {
        list_remove(list, held, link);
    }
}

/* ---- what a value is, and what it counts for ---- */

static bool is_known(const struct held *held)
{
    return held->key.data != NULL;
}

static bool is_live(const struct held *held)
{
    return held->executor != STORE_NO_EXECUTOR;
}

static bool is_here(const struct held *held)
{
    return is_live(held) || held->value != NULL;
}

static bool is_on_disk(const struct held *held)
{
    return held->place.file != NULL;
}

/* Others refer to it, so evicting it would free nothing; or it must not go. */
static bool is_pinned(const struct held *held)
{
    return held->pins > 0 || (held->value != NULL && held->value->refs > 1);
}

static bool could_leave(const struct held *held)
{
    return is_here(held) && !held->leaving && !held->stuck && !held->stays && held->pins == 0;
}

/* An exported copy that could go: the object is live. */
static bool is_extra(const struct held *held)
{
    return is_live(held) && held->value != NULL && !held->leaving;
}

/* `sign`: 1 or -1, as the unsigned numbers wrap. */
static void sum(struct table *table, const struct held *held, uint64_t sign)
{
    if (is_here(held)) {
        table->managed_bytes += sign * held->nbytes;
        table->leaving_bytes += held->leaving ? sign * held->nbytes : 0;
        table->evictable_bytes += could_leave(held) ? sign * held->nbytes : 0;
        table->live_count += is_live(held) ? (uint32_t)sign : 0;
        table->memory_count += is_live(held) ? 0 : (uint32_t)sign;
        table->extra_bytes += is_extra(held) ? sign * held->value->size : 0;
    } else {
        table->spilled_memory += sign * held->nbytes;
        table->spilled_disk += sign * held->place.size;
        table->spilled_count += (uint32_t)sign;
    }
}

static void uncount(struct table *table, const struct held *held)
{
    ASSERT(is_known(held));
    sum(table, held, UINT64_MAX);
}

static void count(struct table *table, struct held *held)
{
    ASSERT(is_known(held));
    ASSERT(is_here(held) || is_on_disk(held));
    sum(table, held, 1);
    list_sync(&table->by_use, held, LINK_USED, could_leave(held));
    list_sync(&table->extras, held, LINK_EXTRA, is_extra(held));
}

/* ---- actions ---- */

static void push(struct table *table, struct table_action action)
{
    vec_push(&table->actions, action);
}

bool table_next_action(struct table *table, struct table_action *out_action)
{
    if (table->action_first == table->actions.count) {
        table->action_first = table->actions.count = 0;
        return false;
    }
    struct table_action *action = &table->actions.items[table->action_first++];
    *out_action = *action;
    action->waiter = NULL; /* so that table_unwait does not find it */
    return true;
}

static void push_free(struct table *table, struct held *held)
{
    if (is_on_disk(held)) {
        table->disk_bytes -= held->place.size;
        push(table, (struct table_action){.kind = TABLE_FREE, .place = held->place});
        held->place = (struct spill_place){0};
    }
}

static void push_release(struct table *table, const struct held *held)
{
    push(table, (struct table_action){.kind = TABLE_RELEASE, .handle = held->handle});
}

/* Tell all who wait: `value`, or NULL and code and why. */
static void answer_all(struct table *table, struct held *held, struct store_value *value, int code,
                       const char *why)
{
    while (held->waiters != NULL) {
        struct store_waiter *waiter = held->waiters;
        held->waiters = waiter->next;
        waiter->next = NULL;
        waiter->held = NULL;
        waiter->is_due = true;
        struct table_action action = {.kind = TABLE_ANSWER, .waiter = waiter, .code = code};
        if (value != NULL) {
            action.value = store_value_ref(value);
        } else {
            text_add_cstr(&action.why, why);
        }
        push(table, action);
    }
}

/* ---- jobs ---- */

static struct span handle_name(const struct held *held)
{
    return span_of(&held->handle, sizeof held->handle);
}

static void start_export(struct table *table, struct held *held)
{
    ASSERT(held->job == HELD_IDLE);
    ASSERT(is_live(held));
    held->job = HELD_EXPORTING;
    bool added;
    map_put(&table->by_handle, handle_name(held), &added)->value.pointer = held;
    ASSERT(added);
    push(table, (struct table_action){
                    .kind = TABLE_EXPORT, .executor = held->executor, .handle = held->handle});
}

static void end_export(struct table *table, struct held *held)
{
    ASSERT(held->job == HELD_EXPORTING);
    bool removed = map_remove(&table->by_handle, handle_name(held));
    ASSERT(removed);
    held->job = HELD_IDLE;
}

static void enqueue(struct held_list *queue, struct held *held, enum held_job job)
{
    ASSERT(held->job == HELD_IDLE);
    held->job = job;
    list_add_newest(queue, held, LINK_QUEUE);
}

static struct held *dequeue(struct table *table, struct held_list *queue, enum held_job job)
{
    struct held *held = queue->oldest;
    if (held != NULL) {
        list_remove(queue, held, LINK_QUEUE);
        held->job = job;
        table->in_flight++;
    }
    return held;
}

struct held *table_next_read(struct table *table)
{
    struct held *held = dequeue(table, &table->to_read, HELD_READING);
    ASSERT(held == NULL || is_on_disk(held));
    return held;
}

/* Nobody needs its job any more; false: it cannot be called back. */
static bool call_off(struct table *table, struct held *held)
{
    switch (held->job) {
    case HELD_EXPORTING:
        end_export(table, held);
        break;
    case HELD_TO_WRITE:
        list_remove(&table->to_write, held, LINK_QUEUE);
        break;
    case HELD_TO_READ:
        list_remove(&table->to_read, held, LINK_QUEUE);
        break;
    case HELD_WRITING:
    case HELD_READING:
        return false;
    case HELD_IDLE:
        break;
    }
    held->job = HELD_IDLE;
    return true;
}

/* ---- put, find, drop ---- */

void table_fini(struct table *table)
{
    ASSERT(table->by_key.count == 0);
    ASSERT(table->in_flight == 0);
    ASSERT(table->action_first == table->actions.count);
    map_fini(&table->by_key);
    map_fini(&table->by_handle);
    vec_fini(&table->actions);
}

struct held *table_find(const struct table *table, struct span key)
{
    const struct map_entry *entry = map_find(&table->by_key, key);
    return entry == NULL ? NULL : entry->value.pointer;
}

/* Out of memory and lists; the struct lives on if a job is in flight. */
static void destroy(struct held *held)
{
    ASSERT(held->waiters == NULL);
    ASSERT(!is_on_disk(held));
    store_value_unref(held->value);
    mem_free((void *)(uintptr_t)held->type.data);
    mem_free(held);
}

static void forget(struct table *table, struct held *held, int code, const char *why)
{
    answer_all(table, held, NULL, code, why);
    uncount(table, held);
    list_sync(&table->by_use, held, LINK_USED, false);
    list_sync(&table->extras, held, LINK_EXTRA, false);
    bool removed = map_remove(&table->by_key, held->key);
    ASSERT(removed);
    held->key = (struct span){0};
    if (call_off(table, held)) {
        push_free(table, held);
        destroy(held);
    }
}

void table_drop(struct table *table, struct held *held)
{
    forget(table, held, ERR_NOT_FOUND, "it was dropped meanwhile");
}

struct held *table_put(struct table *table, const struct store_item *item)
{
    ASSERT(item->executor != STORE_NO_EXECUTOR || item->value != NULL);
    struct held *old = table_find(table, item->key);
    if (old != NULL) {
        if (old->handle != item->handle) {
            push_release(table, old);
        }
        table_drop(table, old);
    }
    struct held *held = mem_zalloc(1, sizeof *held);
    struct map_entry *entry = map_put(&table->by_key, item->key, NULL);
    entry->value.pointer = held;
    held->key = entry->name;
    held->serial = ++table->serial_next;
    held->handle = item->handle;
    held->executor = item->executor;
    held->nbytes = item->nbytes;
    held->value = item->value;
    held->stays = item->stays;
    if (item->type.size > 0) {
        held->type = span_of(mem_copy(item->type.data, item->type.size), item->type.size);
    }
    count(table, held);
    return held;
}

/* ---- use ---- */

void table_touch(struct table *table, struct held *held)
{
    held->touched = true;
    if (is_listed(&table->by_use, held, LINK_USED)) {
        list_remove(&table->by_use, held, LINK_USED);
        list_add_newest(&table->by_use, held, LINK_USED);
    }
}

void table_pin(struct table *table, struct held *held)
{
    uncount(table, held);
    held->pins++;
    count(table, held);
}

void table_unpin(struct table *table, struct held *held)
{
    ASSERT(held->pins > 0);
    uncount(table, held);
    held->pins--;
    count(table, held);
}

struct store_value *table_get(struct table *table, struct held *held, struct store_waiter *waiter)
{
    ASSERT(waiter->held == NULL);
    ASSERT(!waiter->is_due);
    table_touch(table, held);
    if (held->value != NULL) {
        return held->value;
    }
    struct store_waiter **last = &held->waiters;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = waiter;
    waiter->held = held;
    if (held->job == HELD_IDLE) {
        if (is_on_disk(held)) {
            enqueue(&table->to_read, held, HELD_TO_READ);
        } else {
            start_export(table, held);
        }
    }
    return NULL;
}

static void unwait_due(struct table *table, struct store_waiter *waiter)
{
    for (uint32_t i = table->action_first; i < table->actions.count; i++) {
        struct table_action *action = &table->actions.items[i];
        if (action->waiter == waiter) {
            action->waiter = NULL;
        }
    }
    waiter->is_due = false;
}

void table_unwait(struct table *table, struct store_waiter *waiter)
{
    if (waiter->is_due) {
        unwait_due(table, waiter);
        return;
    }
    struct held *held = waiter->held;
    if (held == NULL) {
        return;
    }
    struct store_waiter **at = &held->waiters;
    while (*at != waiter) {
        at = &(*at)->next;
    }
    *at = waiter->next;
    waiter->next = NULL;
    waiter->held = NULL;
    if (held->waiters == NULL && held->job == HELD_TO_READ) {
        bool done = call_off(table, held);
        ASSERT(done);
    }
}

/* ---- out of memory ---- */

/* It is on disk: let go of all that is in memory. */
static void leave(struct table *table, struct held *held)
{
    ASSERT(is_on_disk(held));
    push_release(table, held);
    uncount(table, held);
    store_value_unref(held->value);
    held->value = NULL;
    held->executor = STORE_NO_EXECUTOR;
    held->leaving = false;
    count(table, held);
}

void table_evict_one(struct table *table, struct held *held)
{
    ASSERT(could_leave(held));
    if (is_on_disk(held)) {
        leave(table, held);
        return;
    }
    uncount(table, held);
    held->leaving = true;
    held->touched = false;
    count(table, held);
    if (held->value != NULL) {
        enqueue(&table->to_write, held, HELD_TO_WRITE);
    } else if (held->job == HELD_IDLE) {
        start_export(table, held);
    }
}

uint64_t table_evict(struct table *table, uint64_t bytes)
{
    uint64_t begun = 0;
    struct held *newer;
    for (struct held *held = table->by_use.oldest; held != NULL && begun < bytes; held = newer) {
        newer = held->used.newer;
        if (!is_pinned(held)) {
            begun += held->nbytes > 0 ? held->nbytes : 1;
            table_evict_one(table, held);
        }
    }
    return begun;
}

void table_trim_extras(struct table *table, uint64_t bytes)
{
    struct held *newer;
    for (struct held *held = table->extras.oldest; held != NULL && table->extra_bytes > bytes;
         held = newer) {
        newer = held->extra.newer;
        if (!is_pinned(held)) {
            uncount(table, held);
            store_value_unref(held->value);
            held->value = NULL;
            count(table, held);
        }
    }
}

bool table_free_clean(struct table *table)
{
    bool any = false;
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&table->by_key, &cursor)) != NULL;) {
        struct held *held = entry->value.pointer;
        if (is_here(held) && is_on_disk(held) && held->job == HELD_IDLE) {
            push_free(table, held);
            any = true;
        }
    }
    return any;
}

/* It stays after all: all others' turns come first. */
static void stay(struct table *table, struct held *held)
{
    uncount(table, held);
    held->leaving = false;
    count(table, held);
}

static void end_flight(struct table *table, struct held *held, enum held_job job)
{
    ASSERT(held->job == job);
    ASSERT(table->in_flight > 0);
    table->in_flight--;
    held->job = HELD_IDLE;
}

struct held *table_next_write(struct table *table)
{
    for (;;) {
        struct held *held = dequeue(table, &table->to_write, HELD_WRITING);
        if (held == NULL || !held->touched) {
            ASSERT(held == NULL || held->value != NULL);
            return held;
        }
        end_flight(table, held,
                   HELD_WRITING); /* used while it stood in the queue: another will do */
        stay(table, held);
    }
}

/* ---- ends of jobs ---- */

void table_wrote(struct table *table, struct held *held, int code, struct spill_place place)
{
    end_flight(table, held, HELD_WRITING);
    if (code == OK) {
        ASSERT(place.file != NULL);
        held->place = place;
        table->disk_bytes += place.size;
    }
    if (!is_known(held)) {
        push_free(table, held);
        destroy(held);
    } else if (code == OK && !held->touched && !is_pinned(held)) {
        leave(table, held);
    } else {
        stay(table, held);
    }
}

void table_read(struct table *table, struct held *held, int code, struct store_value *take_value,
                const char *why)
{
    end_flight(table, held, HELD_READING);
    ASSERT((code == OK) == (take_value != NULL));
    if (!is_known(held)) {
        store_value_unref(take_value);
        push_free(table, held);
        destroy(held);
        return;
    }
    if (code == OK && held->waiters != NULL) {
        uncount(table, held);
        held->value = take_value;
        count(table, held);
        answer_all(table, held, take_value, OK, "");
        return;
    }
    store_value_unref(take_value);
    if (code == OK || code == ERR_BUSY) {
        answer_all(table, held, NULL, code, why);
        return;
    }
    if (is_live(held)) {
        /* Its record is of no use, but the object is: whoever waits gets that. */
        push_free(table, held);
        if (held->waiters != NULL) {
            start_export(table, held);
        }
        return;
    }
    struct table_action action = {.kind = TABLE_LOST, .code = code};
    action.key = span_of(mem_copy(held->key.data, held->key.size), held->key.size);
    text_add_cstr(&action.why, why);
    push(table, action);
    forget(table, held, code, why);
}

/* The value whose export this answers, its job ended; NULL: it is not wanted any more. */
static struct held *take_exporting(struct table *table, uint32_t executor, uint64_t handle)
{
    const struct map_entry *entry = map_find(&table->by_handle, span_of(&handle, sizeof handle));
    struct held *held = entry == NULL ? NULL : entry->value.pointer;
    if (held == NULL || held->executor != executor) {
        return NULL;
    }
    end_export(table, held);
    return held;
}

void table_exported(struct table *table, uint32_t executor, uint64_t handle,
                    struct store_value *take_value)
{
    struct held *held = take_exporting(table, executor, handle);
    if (held == NULL) {
        store_value_unref(take_value);
        return;
    }
    uncount(table, held);
    held->value = take_value;
    held->stuck = false;
    count(table, held);
    answer_all(table, held, take_value, OK, "");
    if (held->leaving) {
        enqueue(&table->to_write, held, HELD_TO_WRITE);
    }
}

void table_export_failed(struct table *table, uint32_t executor, uint64_t handle, const char *why)
{
    struct held *held = take_exporting(table, executor, handle);
    if (held != NULL) {
        uncount(table, held);
        held->leaving = false;
        held->stuck = true;
        count(table, held);
        answer_all(table, held, NULL, ERR_TYPE, why);
    }
}

void table_move(struct table *table, struct held *held, uint32_t executor)
{
    ASSERT(executor != STORE_NO_EXECUTOR);
    if (!is_live(held)) {
        return;
    }
    held->executor = executor;
    if (held->job == HELD_EXPORTING) {
        end_export(table, held);
        start_export(table, held);
    }
}

void table_executor_lost(struct table *table, uint32_t executor,
                         void (*lost)(void *user, struct span key, uint64_t handle), void *user)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&table->by_key, &cursor)) != NULL;) {
        struct held *held = entry->value.pointer;
        if (held->executor != executor) {
            continue;
        }
        if (held->value == NULL && !is_on_disk(held)) {
            lost(user, held->key, held->handle);
            forget(table, held, ERR_CLOSED, "the executor that held it has died");
            continue;
        }
        uncount(table, held);
        held->executor = STORE_NO_EXECUTOR;
        held->stuck = false;
        count(table, held);
    }
}
