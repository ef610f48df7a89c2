/* groups.c: a group is held by its tasks, by the edges of groups that depend on it, by spans and by
 * computations. When its last task is forgotten it leaves the list and lets its own edges go, so circles
 * of groups do not hold themselves. */
#include "core/scheduler/groups.h"

#include <math.h>

#include "core/scheduler/occupancy.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/spans.h"

#define INDEX_FROM 8u /* dependencies of a group from which on they are found through an index */
#define ACTION_KINDS_MAX 32 /* kinds of actions kept apart; Dask knows five */

/* ---- prefixes ---- */

static struct prefix *prefix_create(struct scheduler *s, struct span name)
{
    struct prefix *prefix = mem_zalloc(1, sizeof *prefix);
    prefix->name = span_own(name);
    prefix->id = s->prefixes.count;
    prefix->duration_average = -1;
    prefix->max_exec_time = -1;
    for (uint32_t i = 0; i < s->config.default_task_duration_count; i++) {
        const struct prefix_number *known = &s->config.default_task_durations[i];
        if (span_equal(known->name, name)) {
            prefix->duration_average = known->number;
            prefix->fast = known->number <= 0.001;
        }
    }
    prefix_set_duration(s, prefix, prefix->duration_average, prefix->max_exec_time);
    vec_push(&s->prefixes, prefix);
    return prefix;
}

static struct prefix *prefix_of_key(struct scheduler *s, struct span key)
{
    struct span name = key_prefix(key, &s->step->arena);
    bool added;
    struct map_entry *entry = map_put(&s->prefix_by_name, name, &added);
    if (added) {
        entry->value.pointer = prefix_create(s, name);
    }
    return entry->value.pointer;
}

void prefix_add_exec_time(struct scheduler *s, struct prefix *prefix, double seconds)
{
    double longest = fmax(seconds, prefix->max_exec_time);
    double average = seconds > 2 * prefix->duration_average ? -1 : prefix->duration_average;
    prefix_set_duration(s, prefix, average, longest);
}

static void prefix_free(struct prefix *prefix)
{
    span_disown(&prefix->name);
    vec_fini(&prefix->durations);
    vec_fini(&prefix->groups);
    mem_free(prefix);
}

void prefixes_retire(struct scheduler *s)
{
    ASSERT(s->group_by_name.count == 0);
    for (uint32_t i = 0; i < s->prefixes.count; i++) {
        vec_push(&s->prefixes_retired, s->prefixes.items[i]);
    }
    s->prefixes.count = 0;
    map_fini(&s->prefix_by_name);
}

void prefixes_fini(struct scheduler *s)
{
    prefixes_retire(s);
    for (uint32_t i = 0; i < s->prefixes_retired.count; i++) {
        prefix_free(s->prefixes_retired.items[i]);
    }
    vec_fini(&s->prefixes);
    vec_fini(&s->prefixes_retired);
}

/* ---- groups ---- */

static struct group *group_create(struct scheduler *s, struct span name, struct prefix *prefix)
{
    struct group *group = mem_zalloc(1, sizeof *group);
    group->name = span_own(name);
    group->prefix = prefix;
    group->id = s->group_serial++;
    group->listed = true;
    group->prefix_slot = prefix->groups.count;
    vec_push(&prefix->groups, group);
    return group;
}

struct group *group_of_key(struct scheduler *s, struct span key)
{
    struct span name = key_group(key, &s->step->arena);
    struct group *recent = s->group_recent;
    if (recent != NULL && span_equal(recent->name, name)) {
        return recent;
    }
    bool added;
    struct map_entry *entry = map_put(&s->group_by_name, name, &added);
    if (added) {
        entry->value.pointer = group_create(s, name, prefix_of_key(s, key));
    }
    s->group_recent = entry->value.pointer;
    return s->group_recent;
}

struct group *group_ref(struct group *group)
{
    group->refs++;
    return group;
}

static void dependencies_drop(struct group *group)
{
    for (uint32_t i = 0; i < group->dependencies.count; i++) {
        struct group *other = group->dependencies.items[i].group;
        if (other == group) {
            group->refs--;
        } else {
            group_unref(other);
        }
    }
    vec_fini(&group->dependencies);
    id_map_fini(&group->dependency_index);
}

void group_unref(struct group *group)
{
    ASSERT(group->refs > 0);
    if (--group->refs > 0) {
        return;
    }
    ASSERT(!group->listed);
    ASSERT(group->dependencies.count == 0);
    span_disown(&group->name);
    vec_fini(&group->durations);
    vec_fini(&group->types);
    mem_free(group);
}

void group_add_task(struct scheduler *s, struct group *group, struct task *task)
{
    s->state_counts[task->state]++;
    task->group = group_ref(group);
    group->state_counts[task->state]++;
    group->size++;
    group->prefix->state_counts[task->state]++;
    group->prefix->size++;
}

/* The edge to `other`, or NULL. */
static struct group_edge *find_edge(struct group *group, const struct group *other)
{
    if (group->dependency_index.count > 0) {
        ASSERT(group->dependencies.items != NULL);
        uint32_t *place = id_map_find(&group->dependency_index, other->id);
        return place == NULL ? NULL : &group->dependencies.items[*place];
    }
    for (uint32_t i = 0; i < group->dependencies.count; i++) {
        if (group->dependencies.items[i].group == other) {
            return &group->dependencies.items[i];
        }
    }
    return NULL;
}

void group_add_dependency(struct group *group, struct group *other)
{
    struct group_edge *edge = find_edge(group, other);
    if (edge != NULL) {
        edge->edges++;
        return;
    }
    vec_push(&group->dependencies, (struct group_edge){.group = group_ref(other), .edges = 1});
    uint32_t count = group->dependencies.count;
    if (count < INDEX_FROM) {
        return;
    }
    for (uint32_t i = count == INDEX_FROM ? 0 : count - 1; i < count; i++) {
        *id_map_put(&group->dependency_index, group->dependencies.items[i].group->id) = i;
    }
}

static void durations_add(struct scheduler *s, struct duration_list *list, struct span action,
                          int64_t microseconds)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (span_equal(list->items[i].action, action) || i + 1 == ACTION_KINDS_MAX) {
            list->items[i].microseconds += microseconds;
            return;
        }
    }
    vec_push(list, (struct durations){name_intern(s, action), microseconds});
}

void group_add_duration(struct scheduler *s, struct group *group, struct span action, double start,
                        double stop)
{
    double measured = rint((stop - start) * 1e6);
    int64_t microseconds = measured > 0 && measured < 9e18 ? (int64_t)measured : 0;
    struct prefix *prefix = group->prefix;
    group->duration_us += microseconds;
    prefix->duration_us += microseconds;
    durations_add(s, &group->durations, action, microseconds);
    durations_add(s, &prefix->durations, action, microseconds);
    if (!span_equal_text(action, "compute")) {
        return;
    }
    if (group->stop < stop) {
        group->stop = stop;
    }
    if (group->start == 0 || group->start > start) {
        group->start = start;
    }
    double seconds = (double)microseconds / 1e6;
    double old = prefix->duration_average;
    prefix_set_duration(s, prefix, old < 0 ? seconds : 0.5 * seconds + 0.5 * old,
                        prefix->max_exec_time);
}

void group_add_type(struct group *group, uint32_t type)
{
    for (uint32_t i = 0; i < group->types.count; i++) {
        if (group->types.items[i].type == type) {
            group->types.items[i].count++;
            return;
        }
    }
    vec_push(&group->types, (struct type_count){.type = type, .count = 1});
}

void group_add_nbytes(struct group *group, int64_t difference)
{
    group->nbytes_total += difference;
    group->prefix->nbytes_total += difference;
}

void group_unlist(struct scheduler *s, struct group *group)
{
    ASSERT(group->listed);
    struct prefix *prefix = group->prefix;
    for (uint32_t state = 0; state < TASK_STATE_COUNT; state++) {
        ASSERT(state == TASK_FORGOTTEN || group->state_counts[state] == 0);
        ASSERT(prefix->state_counts[state] >= group->state_counts[state]);
        prefix->state_counts[state] -= group->state_counts[state];
    }
    prefix->size -= group->size;
    prefix->duration_us -= group->duration_us;
    prefix->nbytes_total -= group->nbytes_total;
    ASSERT(prefix->groups.items[group->prefix_slot] == group);
    vec_swap_remove(&prefix->groups, group->prefix_slot);
    if (group->prefix_slot < prefix->groups.count) {
        prefix->groups.items[group->prefix_slot]->prefix_slot = group->prefix_slot;
    }
    s->state_counts[TASK_FORGOTTEN] -= group->size;
    map_remove(&s->group_by_name, group->name);
    group->listed = false;
    if (s->group_recent == group) {
        s->group_recent = NULL;
    }
    spans_group_gone(s, group);
    dependencies_drop(group);
}

bool group_done(const struct group *group)
{
    return group->state_counts[TASK_WAITING] == 0 && group->state_counts[TASK_NO_WORKER] == 0 &&
           group->state_counts[TASK_QUEUED] == 0 && group->state_counts[TASK_PROCESSING] == 0;
}

bool groups_all_done(const struct scheduler *s)
{
    const uint64_t *counts = s->state_counts;
    return counts[TASK_WAITING] + counts[TASK_NO_WORKER] + counts[TASK_QUEUED] +
               counts[TASK_PROCESSING] ==
           0;
}

void groups_fini(struct scheduler *s)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->group_by_name, &cursor)) != NULL;) {
        struct group *group = entry->value.pointer;
        group->listed = false;
        dependencies_drop(group);
    }
    map_fini(&s->group_by_name);
}
