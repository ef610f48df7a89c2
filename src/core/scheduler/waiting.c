/* waiting.c: see waiting.h. */
#include "core/scheduler/waiting.h"

#include <math.h>

static bool deadline_before(void *context, uint32_t a, uint32_t b)
{
    const struct waiting *waiting = context;
    const struct waiter *waiter_a = waiting->by_id.items[a];
    const struct waiter *waiter_b = waiting->by_id.items[b];
    if (waiter_a->deadline != waiter_b->deadline) {
        return waiter_a->deadline < waiter_b->deadline;
    }
    return waiter_a->request < waiter_b->request;
}

static void deadline_set_place(void *context, uint32_t id, uint32_t place)
{
    ((struct waiting *)context)->by_id.items[id]->place = place;
}

void waiting_init(struct waiting *waiting)
{
    *waiting = (struct waiting){0};
    heap_init(&waiting->by_deadline, waiting, deadline_before, deadline_set_place);
}

static void waiter_free(struct waiter *waiter)
{
    mem_free((void *)(uintptr_t)waiter->text.data);
    blob_unref(waiter->data);
    mem_free(waiter);
}

void waiting_fini(struct waiting *waiting)
{
    for (uint32_t i = 0; i < waiting->by_id.count; i++) {
        if (waiting->by_id.items[i] != NULL) {
            waiter_free(waiting->by_id.items[i]);
        }
    }
    vec_fini(&waiting->by_id);
    vec_fini(&waiting->free_ids);
    heap_fini(&waiting->by_deadline);
    map_fini(&waiting->by_request);
}

static void line_add(struct waiter_line *line, struct waiter *waiter)
{
    waiter->line = line;
    waiter->before = line->last;
    waiter->after = NULL;
    if (line->last == NULL) {
        line->first = waiter;
    } else {
        line->last->after = waiter;
    }
    line->last = waiter;
    line->count++;
}

static void line_remove(struct waiter *waiter)
{
    struct waiter_line *line = waiter->line;
    ASSERT(line->count > 0);
    if (waiter->before == NULL) {
        line->first = waiter->after;
    } else {
        waiter->before->after = waiter->after;
    }
    if (waiter->after == NULL) {
        line->last = waiter->before;
    } else {
        waiter->after->before = waiter->before;
    }
    line->count--;
}

struct waiter *waiting_add(struct waiting *waiting, struct waiter_line *line, uint64_t request,
                           double now, double deadline)
{
    bool added;
    struct map_entry *entry =
        map_put(&waiting->by_request, span_of(&request, sizeof request), &added);
    ASSERT(added);
    uint32_t id = waiting->by_id.count;
    if (waiting->free_ids.count > 0) {
        id = vec_pop(&waiting->free_ids);
    } else {
        vec_push(&waiting->by_id, NULL);
    }
    struct waiter *waiter = mem_zalloc(1, sizeof *waiter);
    waiter->request = request;
    waiter->deadline = deadline;
    waiter->since = now;
    waiter->id = id;
    waiter->place = HEAP_NOWHERE;
    waiting->by_id.items[id] = waiter;
    entry->value.pointer = waiter;
    line_add(line, waiter);
    if (deadline < INFINITY) {
        heap_add(&waiting->by_deadline, id);
    }
    return waiter;
}

void waiting_end(struct waiting *waiting, struct waiter *waiter)
{
    ASSERT(waiting->by_id.items[waiter->id] == waiter);
    line_remove(waiter);
    if (waiter->place != HEAP_NOWHERE) {
        heap_remove(&waiting->by_deadline, waiter->place);
    }
    map_remove(&waiting->by_request, span_of(&waiter->request, sizeof waiter->request));
    waiting->by_id.items[waiter->id] = NULL;
    vec_push(&waiting->free_ids, waiter->id);
    waiter_free(waiter);
}

void waiting_move(struct waiter *waiter, struct waiter_line *line)
{
    line_remove(waiter);
    line_add(line, waiter);
}

struct waiter *waiting_find(const struct waiting *waiting, uint64_t request)
{
    struct map_entry *entry = map_find(&waiting->by_request, span_of(&request, sizeof request));
    return entry == NULL ? NULL : entry->value.pointer;
}

struct waiter *waiting_expired(const struct waiting *waiting, double now)
{
    if (waiting->by_deadline.count == 0) {
        return NULL;
    }
    struct waiter *first = waiting->by_id.items[heap_first(&waiting->by_deadline)];
    return first->deadline <= now ? first : NULL;
}

double waiting_due(const struct waiting *waiting)
{
    if (waiting->by_deadline.count == 0) {
        return INFINITY;
    }
    return waiting->by_id.items[heap_first(&waiting->by_deadline)]->deadline;
}
