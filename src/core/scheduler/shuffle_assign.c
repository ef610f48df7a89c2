/* shuffle_assign.c: which worker gets which output partition.
 * Must agree with: distributed shuffle/_scheduler_plugin.py _calculate_worker_for; _rechunk.py and _shuffle.py
 * pick_worker. */
#include "core/scheduler/pool.h"
#include "core/scheduler/shuffle_internal.h"

/* Workers to choose from: the barrier's restrictions (those still there) or all, turned by a counter. */
static worker_id *candidates(struct scheduler *s, const struct task *barrier, uint32_t *out_count,
                             struct arena *arena)
{
    const struct restrictions *rules = task_restrictions(barrier);
    uint32_t rule_count = rules == NULL ? 0 : rules->worker_count;
    worker_id *found = arena_array(arena, worker_id, rule_count + s->workers_sorted.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < rule_count; i++) {
        const struct worker *worker = worker_find_address(s, rules->workers[i]);
        if (worker != NULL) {
            found[count++] = worker->id;
        }
    }
    for (uint32_t i = 0; rule_count == 0 && i < s->workers_sorted.count; i++) {
        found[count++] = s->workers_sorted.items[i];
    }
    worker_id *turned = arena_array(arena, worker_id, count);
    uint64_t shift = s->shuffles->shift++;
    for (uint32_t i = 0; i < count; i++) {
        turned[i] = found[(i + shift) % count];
    }
    *out_count = count;
    return turned;
}

/* A partition's number: a msgpack integer (anything else counts as 0). */
static uint64_t number_of(struct span part)
{
    if (part.size == 0 || part.data[0] < 0x80) {
        return part.size == 0 ? 0 : part.data[0];
    }
    uint64_t number = 0;
    if (part.data[0] >= 0xcc && part.data[0] <= 0xcf) {
        for (size_t i = 1; i < part.size; i++) {
            number = number << 8 | part.data[i];
        }
    }
    return number;
}

/* Position of an array's chunk: stock's formula, whose strides are the former axis' length only. `index`
 * counts through the product of the axes, the last one fastest. */
static uint64_t array_position(const struct shuffle *shuffle, uint64_t index)
{
    uint64_t position = 0;
    for (uint32_t axis = shuffle->axis_count; axis > 0; axis--) {
        uint32_t length = shuffle->axis_lengths[axis - 1];
        uint64_t coordinate = length == 0 ? 0 : index % length;
        index = length == 0 ? 0 : index / length;
        position += axis == 1 ? coordinate : shuffle->axis_lengths[axis - 2] * coordinate;
    }
    return position;
}

static worker_id pick(const struct shuffle *shuffle, uint32_t index, const worker_id *workers,
                      uint32_t count)
{
    uint64_t position =
        shuffle->is_array ? array_position(shuffle, index) : number_of(shuffle->parts[index]);
    uint64_t parts = shuffle->is_array ? shuffle->part_count : shuffle->npartitions;
    parts = parts == 0 ? 1 : parts;
    position = position < parts ? position : parts - 1;
    return workers[(uint64_t)count * position / parts];
}

/* Add what an active shuffle has chosen. false: it disagrees with what is there. */
static bool adopt(struct map *chosen, const struct shuffle *other)
{
    bool agrees = true;
    for (uint32_t i = 0; i < other->part_count; i++) {
        bool added;
        struct map_entry *entry = map_put(chosen, other->parts[i], &added);
        agrees = agrees && (added || entry->value.number == other->worker_for[i]);
        entry->value.number = other->worker_for[i];
    }
    return agrees;
}

/* Look at the other barriers that the output tasks depend on. */
static bool adopt_related(struct scheduler *s, const struct shuffle *shuffle, struct map *chosen)
{
    uint32_t mark = traversal_begin(s);
    const struct task *barrier = task_at(s, shuffle->barrier);
    bool agrees = true;
    for (uint32_t i = 0; i < barrier->dependents.count; i++) {
        const struct task *output = task_at(s, links_items(&barrier->dependents)[i].other);
        for (uint32_t j = 0; j < output->dependencies.count; j++) {
            struct task *input = task_at(s, links_items(&output->dependencies)[j].other);
            if (input == barrier || input->mark == mark || input->extra == NULL ||
                input->extra->shuffle == 0) {
                continue;
            }
            input->mark = mark;
            const struct shuffle *other = s->shuffles->all.items[input->extra->shuffle - 1];
            if (other->is_active) {
                agrees = adopt(chosen, other) && agrees;
            }
        }
    }
    return agrees;
}

struct span shuffle_assign(struct scheduler *s, struct shuffle *shuffle, struct step *step)
{
    uint32_t count;
    const worker_id *workers = candidates(s, task_at(s, shuffle->barrier), &count, &step->arena);
    if (count == 0) {
        return SPAN("none of the workers to which the shuffle is restricted is there");
    }
    struct map chosen = {0};
    bool agrees = adopt_related(s, shuffle, &chosen);
    shuffle->worker_for =
        mem_resize(shuffle->worker_for, shuffle->part_count, sizeof *shuffle->worker_for);
    for (uint32_t i = 0; i < shuffle->part_count; i++) {
        const struct map_entry *entry = map_find(&chosen, shuffle->parts[i]);
        shuffle->worker_for[i] =
            entry != NULL ? (worker_id)entry->value.number : pick(shuffle, i, workers, count);
    }
    map_fini(&chosen);
    return agrees ? (struct span){0}
                  : SPAN("it cannot align its output partitions with those of shuffles that share "
                         "its output tasks");
}
