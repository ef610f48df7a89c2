/* record_moved.c: which types of results went from worker to worker.
 *
 * Workers say which results came to them (add-keys); type and size are the scheduler's. The time is that of runs that
 * waited for inputs: it goes to the inputs' type if they have one in common. Sums of the scheduler's life; a sample tells
 * those that changed. */
#include "base/alloc.h"
#include "node/node.h"
#include "node/record.h"
#include "node/record_internal.h"

#define TYPES_MAX 255u
/* Inputs of a task that are looked at for its type. */
#define INPUTS_MAX 64u
#define OTHERS "(other types)"
#define SEVERAL "(several types)"
#define UNKNOWN "(unknown)"

struct moved {
    uint64_t count;
    int64_t bytes;
    double seconds;
    bool has_changed;
};

static struct moved *moved_of(struct recorder *recorder, struct span type)
{
    struct map *types = &recorder->moved;
    type = type.size == 0 ? SPAN(UNKNOWN) : type;
    struct map_entry *entry = map_find(types, type);
    if (entry == NULL) {
        type = types->count >= TYPES_MAX ? SPAN(OTHERS) : type;
        entry = map_put(types, type, NULL);
    }
    if (entry->value.pointer == NULL) {
        entry->value.pointer = mem_zalloc(1, sizeof(struct moved));
    }
    struct moved *moved = entry->value.pointer;
    moved->has_changed = true;
    return moved;
}

void recorder_moved(struct recorder *recorder, struct span_list keys)
{
    for (uint32_t i = 0; recorder != NULL && i < keys.count; i++) {
        const struct task *task = view_task_find(recorder->node->core, keys.items[i]);
        struct task_view view;
        if (task != NULL) {
            view_task(recorder->node->core, task, &view);
            struct moved *moved = moved_of(recorder, view.type);
            moved->count++;
            moved->bytes += view.nbytes > 0 ? view.nbytes : 0;
        }
    }
}

void record_moved_seconds(struct recorder *recorder, const struct task *task, double seconds)
{
    const struct scheduler *core = recorder->node->core;
    struct task_view view;
    view_task(core, task, &view);
    uint32_t count = view.dependency_count < INPUTS_MAX ? view.dependency_count : INPUTS_MAX;
    struct span type = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct task_view input;
        view_task(core, view_task_dependency(core, task, i), &input);
        if (i > 0 && !span_equal(type, input.type)) {
            type = SPAN(SEVERAL);
            break;
        }
        type = input.type;
    }
    moved_of(recorder, type)->seconds += seconds;
}

void record_moved_sample(struct recorder *recorder, bool all)
{
    struct map_entry *entry;
    for (uint32_t cursor = 0; (entry = map_next(&recorder->moved, &cursor)) != NULL;) {
        struct moved *moved = entry->value.pointer;
        struct record_moved *record =
            all || moved->has_changed ? ring_reserve(recorder->ring, RECORD_MOVED, entry->name.size)
                                      : NULL;
        if (record != NULL) {
            record->count = moved->count;
            record->bytes = moved->bytes;
            record->seconds = moved->seconds;
            ring_put_text(record, entry->name);
            ring_publish(recorder->ring);
            moved->has_changed = false;
        }
    }
}

void record_moved_fini(struct recorder *recorder)
{
    struct map_entry *entry;
    for (uint32_t cursor = 0; (entry = map_next(&recorder->moved, &cursor)) != NULL;) {
        mem_free(entry->value.pointer);
    }
    map_fini(&recorder->moved);
}
