/* exchange_queue.c: queues ("shelves" here: the scheduler has a queue of tasks of its own).
 *
 * A future in a queue is counted until the client that took it says that it wants it itself; so it cannot be
 * lost on its way. A shelf is kept while somebody created it or futures of it are on their way.
 * Must agree with: distributed queues.py, QueueExtension. */
#include <string.h>

#include "core/scheduler/action.h"
#include "core/scheduler/exchange_internal.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/wants.h"

struct item {
    struct blob *data; /* NULL: a future */
    struct span key;   /* owned; empty: plain data */
};
struct item_list VEC(struct item);

struct shelf {
    struct span name; /* owned */
    int64_t creators; /* clients that use it; 0: gone, but for its futures on their way */
    int64_t maxsize;  /* 0: as many as come */
    struct item_list items;
    uint32_t head; /* the next to take */
    struct map
        on_way; /* key → how many of it are here, waiting to be put, or taken and not confirmed */
    struct waiter_line getters, putters;
};

/* A getter of a batch: how many more it needs, and what it has. In waiter->number and ->detail. */

static struct shelf *find(const struct scheduler *s, struct span name)
{
    struct map_entry *entry = map_find(&s->exchange->shelves, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

/* NULL: nobody created it, or all have let go. */
static struct shelf *find_open(const struct scheduler *s, struct span name)
{
    struct shelf *shelf = find(s, name);
    return shelf == NULL || shelf->creators == 0 ? NULL : shelf;
}

static uint32_t item_count(const struct shelf *shelf)
{
    return shelf->items.count - shelf->head;
}

static bool is_full(const struct shelf *shelf)
{
    return shelf->maxsize > 0 && item_count(shelf) >= shelf->maxsize;
}

static void item_free(struct item *item)
{
    blob_unref(item->data);
    span_disown(&item->key);
}

static void items_free(struct item_list *items, uint32_t from)
{
    for (uint32_t i = from; i < items->count; i++) {
        item_free(&items->items[i]);
    }
    vec_fini(items);
}

static void shelf_free(struct shelf *shelf)
{
    for (struct waiter *waiter = shelf->getters.first; waiter != NULL; waiter = waiter->after) {
        if (waiter->detail != NULL) {
            items_free(waiter->detail, 0);
            mem_free(waiter->detail);
        }
    }
    items_free(&shelf->items, shelf->head);
    map_fini(&shelf->on_way);
    span_disown(&shelf->name);
    mem_free(shelf);
}

void shelves_fini(struct exchange *exchange)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&exchange->shelves, &cursor)) != NULL;) {
        shelf_free(entry->value.pointer);
    }
    map_fini(&exchange->shelves);
}

/* ---- futures on their way ---- */

static struct span client_name(const struct shelf *shelf, struct step *step)
{
    return exchange_client_name("queue", shelf->name, step);
}

/* One more of the key is the shelf's to hold. */
static void hold_key(struct scheduler *s, struct shelf *shelf, struct span key, struct step *step)
{
    map_put(&shelf->on_way, key, NULL)->value.number++;
    exchange_desire(s, client_name(shelf, step), key, step);
}

/* One less. */
static void let_key_go(struct scheduler *s, struct shelf *shelf, struct span key, struct step *step)
{
    struct map_entry *entry = map_find(&shelf->on_way, key);
    if (entry == NULL || --entry->value.number > 0) {
        return;
    }
    struct span copy = arena_copy(&step->arena, key);
    map_remove(&shelf->on_way, copy);
    exchange_release(s, client_name(shelf, step), copy, step);
}

static void forget_unused(struct scheduler *s, struct shelf *shelf, struct step *step)
{
    if (shelf->creators == 0 && shelf->on_way.count == 0) {
        exchange_forget_client(s, client_name(shelf, step), step);
        map_remove(&s->exchange->shelves, shelf->name);
        shelf_free(shelf);
    }
}

/* ---- giving and taking ---- */

static struct item take_first(struct shelf *shelf)
{
    ASSERT(item_count(shelf) > 0);
    struct item item = shelf->items.items[shelf->head++];
    if (shelf->head >= 64 && shelf->head > shelf->items.count / 2) {
        shelf->items.count -= shelf->head;
        memmove(shelf->items.items, shelf->items.items + shelf->head,
                shelf->items.count * sizeof *shelf->items.items);
        shelf->head = 0;
    }
    return item;
}

/* The item leaves for an answer; its value is let go when the step is over. */
static struct record give_away(struct scheduler *s, struct item item, struct step *step)
{
    struct record record = exchange_record(s, item.key, item.data, step);
    exchange_used(s->exchange, item.data);
    span_disown(&item.key);
    return record;
}

static void reply_items(struct scheduler *s, uint64_t request, const struct item_list *items,
                        bool as_list, struct step *step)
{
    ASSERT(items->items != NULL || items->count == 0);
    struct record *records = arena_array(&step->arena, struct record, items->count);
    for (uint32_t i = 0; i < items->count; i++) {
        records[i] = give_away(s, items->items[i], step);
    }
    struct answer answer = {.kind = as_list ? ANSWER_RECORDS : ANSWER_RECORD,
                            .records = records,
                            .record_count = items->count};
    action_reply(step, request, &answer);
}

/* The first getter takes one item; it leaves if it has all it wanted, else it goes to the end of the line. */
static void serve_getter(struct scheduler *s, struct shelf *shelf, struct step *step)
{
    struct waiter *getter = shelf->getters.first;
    struct item item = take_first(shelf);
    struct item_list single = {.items = &item, .count = 1};
    if (getter->detail == NULL) {
        reply_items(s, getter->request, &single, false, step);
        waiting_end(&s->exchange->waiting, getter);
        return;
    }
    struct item_list *taken = getter->detail;
    vec_push(taken, item);
    if (--getter->number > 0) {
        waiting_move(getter, &shelf->getters);
        return;
    }
    reply_items(s, getter->request, taken, true, step);
    vec_fini(taken);
    mem_free(taken);
    waiting_end(&s->exchange->waiting, getter);
}

static void serve_putter(struct scheduler *s, struct shelf *shelf, struct step *step)
{
    struct waiter *putter = shelf->putters.first;
    struct item item = {.data = putter->data, .key = putter->text};
    putter->data = NULL;
    putter->text = (struct span){0};
    vec_push(&shelf->items, item);
    action_reply_nil(step, putter->request);
    waiting_end(&s->exchange->waiting, putter);
}

/* Who can go on goes on. */
static void serve(struct scheduler *s, struct shelf *shelf, struct step *step)
{
    for (;;) {
        if (item_count(shelf) > 0 && shelf->getters.first != NULL) {
            serve_getter(s, shelf, step);
        } else if (!is_full(shelf) && shelf->putters.first != NULL) {
            serve_putter(s, shelf, step);
        } else {
            return;
        }
    }
}

void shelf_give_up(struct scheduler *s, struct waiter *waiter, struct step *step)
{
    struct shelf *shelf = waiter->line->owner;
    struct item_list *taken = waiter->detail;
    struct span key = arena_copy(&step->arena, waiter->text);
    waiting_end(&s->exchange->waiting, waiter);
    if (key.size > 0) {
        let_key_go(s, shelf, key, step);
    }
    if (taken != NULL) {
        /* What it had taken comes first again, before what is there. */
        for (uint32_t i = shelf->head; i < shelf->items.count; i++) {
            vec_push(taken, shelf->items.items[i]);
        }
        vec_fini(&shelf->items);
        shelf->items = *taken;
        shelf->head = 0;
        mem_free(taken);
        serve(s, shelf, step);
    }
}

/* ---- events ---- */

static void create(struct scheduler *s, const struct event_queue_create *event, struct step *step)
{
    bool added;
    struct map_entry *entry = map_put(&s->exchange->shelves, event->name, &added);
    if (added) {
        struct shelf *made = mem_zalloc(1, sizeof *made);
        made->name = span_own(event->name);
        made->getters = (struct waiter_line){.kind = LINE_SHELF_GET, .owner = made};
        made->putters = (struct waiter_line){.kind = LINE_SHELF_PUT, .owner = made};
        entry->value.pointer = made;
    }
    struct shelf *shelf = entry->value.pointer;
    if (shelf->creators++ == 0) {
        shelf->maxsize = event->maxsize > 0 ? event->maxsize : 0;
    }
    action_reply_nil(step, event->request);
}

/* Put one item, waiting for room; takes over the data's reference. An empty key: plain data. */
static void put_item(struct scheduler *s, struct shelf *shelf, const struct exchange_put *put,
                     struct blob *data, struct step *step)
{
    if (!is_full(shelf)) {
        vec_push(&shelf->items, (struct item){.data = data, .key = span_own(put->key)});
        action_reply_nil(step, put->request);
        serve(s, shelf, step);
        return;
    }
    struct waiter *waiter =
        waiting_add(&s->exchange->waiting, &shelf->putters, put->request, s->now, put->deadline);
    waiter->text = span_own(put->key);
    waiter->data = data;
    if (put->deadline <= s->now) {
        exchange_reply_timeout(step, put->request, (struct span){0});
        shelf_give_up(s, waiter, step);
    }
}

void shelf_put_known(struct scheduler *s, const struct exchange_put *put, struct step *step)
{
    struct shelf *shelf = find_open(s, put->name);
    if (shelf == NULL) {
        exchange_reply_unknown(step, put->request, put->name);
        return;
    }
    hold_key(s, shelf, put->key, step);
    put_item(s, shelf, put, NULL, step);
}

static void put_event(struct scheduler *s, const struct event_queue_put *event, struct step *step)
{
    struct exchange_put put = {event->request, event->name, event->key, event->deadline};
    struct shelf *shelf = find_open(s, event->name);
    if (event->key.size > 0 && task_find(s, event->key) == NULL) {
        exchange_await_key(s, &put, KEY_FOR_QUEUE);
    } else if (event->key.size > 0) {
        shelf_put_known(s, &put, step);
    } else if (shelf == NULL) {
        exchange_reply_unknown(step, event->request, event->name);
    } else {
        put_item(s, shelf, &put, exchange_keep(event->data), step);
    }
}

/* All that is there, at once. */
static void get_all(struct scheduler *s, struct shelf *shelf, uint64_t request, struct step *step)
{
    struct item_list there = {.count = item_count(shelf)};
    if (there.count > 0) {
        there.items = shelf->items.items + shelf->head;
    }
    reply_items(s, request, &there, true, step);
    shelf->items.count = 0;
    shelf->head = 0;
    serve(s, shelf, step);
}

static void get(struct scheduler *s, const struct event_queue_get *event, struct step *step)
{
    struct shelf *shelf = find_open(s, event->name);
    if (shelf == NULL) {
        exchange_reply_unknown(step, event->request, event->name);
        return;
    }
    if (event->batch == 0) {
        get_all(s, shelf, event->request, step);
        return;
    }
    struct waiter *waiter = waiting_add(&s->exchange->waiting, &shelf->getters, event->request,
                                        s->now, event->deadline);
    if (event->batch > 0) {
        waiter->number = event->batch < UINT32_MAX ? (uint32_t)event->batch : UINT32_MAX;
        waiter->detail = mem_zalloc(1, sizeof(struct item_list));
    }
    serve(s, shelf, step);
    waiter = waiting_find(&s->exchange->waiting, event->request);
    if (waiter != NULL && event->deadline <= s->now) {
        exchange_reply_timeout(step, event->request, (struct span){0});
        shelf_give_up(s, waiter, step);
    }
}

/* The last user has let go: what is left is dropped, and who waits is told that the queue is gone (stock
 * leaves them waiting for ever). */
static void close_shelf(struct scheduler *s, struct shelf *shelf, struct step *step)
{
    struct waiter_line *lines[] = {&shelf->getters, &shelf->putters};
    for (int i = 0; i < 2; i++) {
        while (lines[i]->first != NULL) {
            exchange_reply_unknown(step, lines[i]->first->request, shelf->name);
            shelf_give_up(s, lines[i]->first, step);
        }
    }
    while (item_count(shelf) > 0) {
        struct item item = take_first(shelf);
        if (item.key.size > 0) {
            let_key_go(s, shelf, item.key, step);
        }
        item_free(&item);
    }
}

static void release(struct scheduler *s, const struct event_queue_release *event, struct step *step)
{
    struct shelf *shelf = find_open(s, event->name);
    if (shelf != NULL && --shelf->creators == 0) {
        close_shelf(s, shelf, step);
        forget_unused(s, shelf, step);
    }
}

/* The client that took a future wants it itself now. */
static void future_release(struct scheduler *s, const struct event_queue_future_release *event,
                           struct step *step)
{
    struct client *client = client_find(s, event->client);
    if (client != NULL) {
        client_desires(s, client, &event->key, 1, step);
    }
    struct shelf *shelf = find(s, event->name);
    if (shelf != NULL) {
        let_key_go(s, shelf, event->key, step);
        forget_unused(s, shelf, step);
    }
}

static void size(struct scheduler *s, const struct event_queue_size *event, struct step *step)
{
    const struct shelf *shelf = find_open(s, event->name);
    if (shelf == NULL) {
        exchange_reply_unknown(step, event->request, event->name);
        return;
    }
    action_reply_int(step, event->request, item_count(shelf));
}

void shelf_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_QUEUE_CREATE:
        create(s, &event->of.queue_create, step);
        return;
    case EVENT_QUEUE_PUT:
        put_event(s, &event->of.queue_put, step);
        return;
    case EVENT_QUEUE_GET:
        get(s, &event->of.queue_get, step);
        return;
    case EVENT_QUEUE_SIZE:
        size(s, &event->of.queue_size, step);
        return;
    case EVENT_QUEUE_RELEASE:
        release(s, &event->of.queue_release, step);
        return;
    default:
        ASSERT(event->kind == EVENT_QUEUE_FUTURE_RELEASE);
        future_release(s, &event->of.queue_future_release, step);
    }
}
