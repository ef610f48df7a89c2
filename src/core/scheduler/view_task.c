/* view_task.c: looks at tasks and failures. See view.h. */
#include "core/scheduler/departure.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/runs.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/view.h"

#include "base/text.h"

const struct task *view_task_find(const struct scheduler *s, struct span key)
{
    return task_find(s, key);
}

void view_task_prefetch(const struct scheduler *s, struct span key)
{
    task_prefetch_hashed(s, span_hash(key));
}

void view_task_prefetch_more(const struct scheduler *s, struct span key)
{
    task_prefetch_found(s, span_hash(key));
}

void view_run_prefetch(const struct scheduler *s, int64_t run_id)
{
    run_prefetch(s, run_id);
}

void view_run_prefetch_more(const struct scheduler *s, int64_t run_id)
{
    run_prefetch_more(s, run_id);
}

static void view_extra(const struct task *task, struct task_view *out)
{
    const struct task_extra *extra = task->extra;
    if (extra == NULL) {
        return;
    }
    out->annotations = extra->annotations == NULL ? NULL : extra->annotations->wire;
    out->metadata = extra->metadata;
    out->retries = extra->retries;
    out->suspicious = extra->suspicious;
    out->failure = extra->failure;
    out->erred_on = (struct span_list){extra->erred_on.items, extra->erred_on.count};
    const struct restrictions *rules = extra->restrictions;
    if (rules != NULL) {
        out->worker_restrictions = (struct span_list){rules->workers, rules->worker_count};
        out->host_restrictions = (struct span_list){rules->hosts, rules->host_count};
        out->resources = (struct resource_list){rules->resources, rules->resource_count};
    }
}

void view_task(const struct scheduler *s, const struct task *task, struct task_view *out)
{
    *out = (struct task_view){
        .key = task->key,
        .state = task->state,
        .nbytes = task->nbytes,
        .type = s->types.items[task->type],
        .has_priority = (task->flags & TASK_HAS_PRIORITY) != 0,
        .priority_user = task->priority_user,
        .priority_generation = task->priority_generation,
        .priority_order = task->priority_order,
        .run_spec = task->run_spec,
        .span_id = spans_id(task->group),
        .actor = (task->flags & TASK_ACTOR) != 0,
        .data_producer = (task->flags & TASK_DATA_PRODUCER) != 0,
        .loose_restrictions = (task->flags & TASK_LOOSE) != 0,
        .lost_dependencies = (task->flags & TASK_LOST_DEPENDENCIES) != 0,
        .queueable = (task->flags & TASK_NOT_QUEUEABLE) == 0,
        .long_running = (task->flags & TASK_LONG_RUNNING) != 0,
        .run_id = task->run_id,
        .processing_on = task->processing_on,
        .group = task->group->name,
        .prefix = task->group->prefix->name,
        .dependency_count = task->dependencies.count,
        .dependent_count = task->dependents.count,
        .waiting_on_count = task->missing_count,
        .waiter_count = task->waiter_count,
        .holder_count = holder_count(s, task),
        .wanter_count = task->who_wants.count,
    };
    out->has_span = spans_annotation(task->group, &out->span_name, &out->span_ids);
    view_extra(task, out);
}

void view_task_brief(const struct task *task, struct task_brief *out)
{
    const struct group *group = task->group;
    *out = (struct task_brief){
        .key = task->key,
        .group = group->id,
        .group_size = group->size,
        .prefix = group->prefix->id,
        .group_name = group->name,
        .prefix_name = group->prefix->name,
        .nbytes = task->nbytes,
        .failure = task->extra == NULL ? NULL : task->extra->failure,
        .suspicious = task->extra == NULL ? 0 : task->extra->suspicious,
    };
}

uint32_t view_task_waiter_count(const struct task *task)
{
    return task->waiter_count;
}

struct span view_task_key(const struct task *task)
{
    return task->key;
}

enum task_state view_task_state(const struct task *task)
{
    return task->state;
}

int64_t view_task_nbytes(const struct scheduler *s, const struct task *task)
{
    return task_nbytes(s, task);
}

const struct task *view_task_dependency(const struct scheduler *s, const struct task *task,
                                        uint32_t index)
{
    ASSERT(index < task->dependencies.count);
    return task_at(s, links_items(&task->dependencies)[index].other);
}

const struct task *view_task_dependent(const struct scheduler *s, const struct task *task,
                                       uint32_t index)
{
    ASSERT(index < task->dependents.count);
    return task_at(s, links_items(&task->dependents)[index].other);
}

bool view_task_waits_on(const struct task *task, uint32_t index)
{
    ASSERT(index < task->dependencies.count);
    return (links_items(&task->dependencies)[index].slot & EDGE_MISSING) != 0;
}

bool view_task_awaited_by(const struct scheduler *s, const struct task *task, uint32_t index)
{
    ASSERT(index < task->dependents.count);
    struct link link = links_items(&task->dependents)[index];
    const struct task *user = task_at(s, link.other);
    return (links_items(&user->dependencies)[link.slot & LINK_SLOT_MASK].slot & EDGE_WAITS) != 0;
}

worker_id view_task_holder(const struct scheduler *s, const struct task *task, uint32_t index)
{
    return holder_at(s, task, index);
}

client_id view_task_wanter(const struct task *task, uint32_t index)
{
    ASSERT(index < task->who_wants.count);
    return links_items(&task->who_wants)[index].other;
}

struct span view_task_deaths(const struct task *task)
{
    return task->extra == NULL || task->extra->deaths == NULL ? (struct span){0}
                                                              : text_span(task->extra->deaths);
}

uint32_t view_task_count(const struct scheduler *s)
{
    return s->task_count;
}

/* Merge sort by age: serials count up, and the difference of two stays right when they wrap. */
static void sort_by_age(const struct task **items, const struct task **scratch, uint32_t count)
{
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t low = 0; low < count; low += 2 * width) {
            uint64_t middle = low + width < count ? low + width : count;
            uint64_t high = low + 2 * width < count ? low + 2 * width : count;
            uint64_t left = low;
            uint64_t right = middle;
            for (uint64_t at = low; at < high; at++) {
                bool take_left =
                    right == high ||
                    (left < middle && (int32_t)(items[left]->serial - items[right]->serial) <= 0);
                scratch[at] = items[take_left ? left++ : right++];
            }
        }
        memcpy(items, scratch, count * sizeof *items);
    }
}

const struct task *const *view_tasks(const struct scheduler *s, struct arena *arena,
                                     uint32_t *out_count)
{
    const struct task **tasks = arena_array(arena, const struct task *, s->task_count);
    uint32_t count = 0;
    bool sorted = true;
    for (task_id id = 0; id < s->task_high; id++) {
        const struct task *task = task_live_at(s, id);
        if (task != NULL) {
            sorted =
                sorted && (count == 0 || (int32_t)(tasks[count - 1]->serial - task->serial) < 0);
            tasks[count++] = task;
        }
    }
    ASSERT(count == s->task_count);
    if (!sorted) {
        sort_by_age(tasks, arena_array(arena, const struct task *, count), count);
    }
    *out_count = count;
    return tasks;
}

bool view_tasks_some(const struct scheduler *s, uint32_t *cursor, uint32_t place_count,
                     const struct task **out_tasks, uint32_t *out_count)
{
    *out_count = 0;
    for (uint32_t i = 0; i < place_count && *cursor < s->task_high; i++, (*cursor)++) {
        const struct task *task = task_live_at(s, *cursor);
        if (task != NULL) {
            out_tasks[(*out_count)++] = task;
        }
    }
    return *cursor < s->task_high;
}

void view_failure(const struct failure *failure, struct failure_view *out)
{
    *out = (struct failure_view){
        .kind = failure->kind,
        .exception = failure->exception,
        .traceback = failure->traceback,
        .exception_text = failure->exception_text,
        .traceback_text = failure->traceback_text,
        .text = failure->text,
        .key = failure->key,
        .worker = failure->worker,
        .worker_name = failure->worker_name,
        .worker_host = failure->worker_host,
        .worker_status = span_of_text(worker_status_name(failure->worker_status)),
        .worker_pid = failure->worker_pid,
        .worker_memory_limit = failure->worker_memory_limit,
        .worker_nthreads = failure->worker_nthreads,
        .allowed_failures = failure->allowed_failures,
        .timeout = failure->timeout,
        .attempts = failure->attempts,
        .attempt_count = failure->attempt_count,
        .has_crashes = failure->has_crashes,
    };
    const struct restrictions *rules = failure->restrictions;
    if (rules != NULL) {
        out->worker_restrictions = (struct span_list){rules->workers, rules->worker_count};
        out->host_restrictions = (struct span_list){rules->hosts, rules->host_count};
        out->resources = (struct resource_list){rules->resources, rules->resource_count};
    }
}
