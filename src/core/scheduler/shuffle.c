/* shuffle.c: see shuffle.h. What workers tell of the progress of their shuffles does not come here: it decides
 * nothing.
 * Must agree with: distributed shuffle/_scheduler_plugin.py, ShuffleSchedulerPlugin. */
#include "core/scheduler/shuffle.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/shuffle_internal.h"
#include "core/scheduler/spans.h"
#include "core/scheduler/transition.h"

#define WARNING 30

struct shuffles *shuffles_create(const struct scheduler_config *config)
{
    (void)config;
    return mem_zalloc(1, sizeof(struct shuffles));
}

static void shuffle_free(struct shuffle *shuffle)
{
    span_disown(&shuffle->id);
    span_disown(&shuffle->spec);
    span_disown(&shuffle->archived_by);
    span_disown(&shuffle->span_id);
    mem_free(shuffle->parts);
    mem_free(shuffle->axis_lengths);
    mem_free(shuffle->worker_for);
    vec_fini(&shuffle->participants);
    mem_free(shuffle);
}

static void held_fini(struct held_task *held)
{
    for (uint32_t i = 0; i < held->worker_count; i++) {
        span_disown(&held->workers[i]);
    }
    mem_free(held->workers);
}

void shuffles_destroy(struct shuffles *shuffles)
{
    for (uint32_t i = 0; i < shuffles->all.count; i++) {
        if (shuffles->all.items[i] != NULL) {
            shuffle_free(shuffles->all.items[i]);
        }
    }
    for (uint32_t i = 0; i < shuffles->held.count; i++) {
        held_fini(&shuffles->held.items[i]);
    }
    vec_fini(&shuffles->all);
    vec_fini(&shuffles->free_numbers);
    vec_fini(&shuffles->held);
    map_fini(&shuffles->by_id);
    id_map_fini(&shuffles->held_of);
    mem_free(shuffles);
}

static struct shuffle *find(const struct scheduler *s, struct span id)
{
    struct map_entry *entry = map_find(&s->shuffles->by_id, id);
    return entry == NULL ? NULL : entry->value.pointer;
}

/* str(SchedulerShuffleState) */
static struct span shown(const struct shuffle *shuffle, struct step *step)
{
    struct text text = {0};
    text_printf(&text, "SchedulerShuffleState<%.*s[%" PRId64 "]>", (int)shuffle->id.size,
                (const char *)shuffle->id.data, shuffle->run_id);
    struct span copy = arena_copy(&step->arena, text_span(&text));
    text_fini(&text);
    return copy;
}

/* ---- new graphs ---- */

static struct span *parts_copy(struct span_list parts)
{
    size_t size = parts.count * sizeof(struct span);
    for (uint32_t i = 0; i < parts.count; i++) {
        size += parts.items[i].size;
    }
    struct span *copies = mem_alloc(size);
    uint8_t *at = (uint8_t *)(copies + parts.count);
    for (uint32_t i = 0; i < parts.count; i++) {
        memcpy(at, parts.items[i].data, parts.items[i].size);
        copies[i] = span_of(at, parts.items[i].size);
        at += parts.items[i].size;
    }
    return copies;
}

static struct shuffle *create(struct scheduler *s, const struct shuffle_info *info, task_id barrier)
{
    struct shuffles *shuffles = s->shuffles;
    if (shuffles->free_numbers.count == 0) {
        vec_push(&shuffles->all, NULL);
        vec_push(&shuffles->free_numbers, shuffles->all.count);
    }
    struct shuffle *shuffle = mem_zalloc(1, sizeof *shuffle);
    shuffle->number = vec_pop(&shuffles->free_numbers);
    shuffle->id = span_own(info->id);
    shuffle->barrier = barrier;
    shuffle->spec = span_own(info->spec);
    shuffle->parts = parts_copy(info->parts);
    shuffle->part_count = info->parts.count;
    shuffle->is_array = info->is_array;
    shuffle->axis_count = info->axis_count;
    shuffle->axis_lengths =
        info->axis_count == 0
            ? NULL
            : mem_copy(info->axis_lengths, info->axis_count * sizeof *info->axis_lengths);
    shuffle->npartitions = info->npartitions;
    shuffles->all.items[shuffle->number - 1] = shuffle;
    map_put(&shuffles->by_id, shuffle->id, NULL)->value.pointer = shuffle;
    return shuffle;
}

void shuffles_graph(struct scheduler *s, const struct graph_info *graph)
{
    for (uint32_t i = 0; i < graph->shuffle_count; i++) {
        const struct shuffle_info *info = &graph->shuffles[i];
        struct task *barrier = task_find(s, graph->keys[info->task]);
        if (barrier == NULL || find(s, info->id) != NULL) {
            continue; /* culled, or known already: its first spec stays, as its task's does */
        }
        struct task_extra *extra = task_extra_make(barrier);
        if (extra->shuffle == 0) {
            extra->shuffle = create(s, info, barrier->id)->number;
        }
    }
}

/* ---- restrictions of output tasks ---- */

static bool is_held_task(const struct scheduler *s, const struct held_task *held)
{
    const struct task *task = task_at(s, held->task);
    return task->serial == held->serial && task->state != TASK_FORGOTTEN;
}

static void held_remove(struct shuffles *shuffles, uint32_t place)
{
    held_fini(&shuffles->held.items[place]);
    id_map_remove(&shuffles->held_of, shuffles->held.items[place].task);
    vec_swap_remove(&shuffles->held, place);
    if (place < shuffles->held.count) {
        *id_map_find(&shuffles->held_of, shuffles->held.items[place].task) = place;
    }
}

/* _set_restriction: only on `worker`, until the shuffle's run is over. */
static void restrict_task(struct scheduler *s, struct task *task, struct span worker)
{
    struct shuffles *shuffles = s->shuffles;
    uint32_t *place = id_map_find(&shuffles->held_of, task->id);
    if (place != NULL && is_held_task(s, &shuffles->held.items[*place])) {
        return; /* several barriers share this output task */
    }
    if (place != NULL) {
        held_remove(shuffles, *place);
    }
    const struct restrictions *rules = task_restrictions(task);
    uint32_t count = rules == NULL ? 0 : rules->worker_count;
    struct held_task held = {.task = task->id, .serial = task->serial, .worker_count = count};
    held.workers = count == 0 ? NULL : mem_zalloc(count, sizeof *held.workers);
    for (uint32_t i = 0; i < count; i++) {
        held.workers[i] = span_own(rules->workers[i]);
    }
    *id_map_put(&shuffles->held_of, task->id) = shuffles->held.count;
    vec_push(&shuffles->held, held);
    task_restrict_workers(s, task, (struct span_list){&worker, 1});
}

/* _unset_restriction of the shuffle's output tasks. */
static void unrestrict_outputs(struct scheduler *s, const struct shuffle *shuffle)
{
    struct shuffles *shuffles = s->shuffles;
    const struct task *barrier = task_at(s, shuffle->barrier);
    for (uint32_t i = 0; i < barrier->dependents.count && shuffles->held.count > 0; i++) {
        struct task *task = task_at(s, links_items(&barrier->dependents)[i].other);
        const uint32_t *place = id_map_find(&shuffles->held_of, task->id);
        if (place != NULL && is_held_task(s, &shuffles->held.items[*place])) {
            const struct held_task *held = &shuffles->held.items[*place];
            task_restrict_workers(s, task, (struct span_list){held->workers, held->worker_count});
            held_remove(shuffles, *place);
        }
    }
    /* Those that are gone are let go of as well. */
    for (uint32_t i = shuffles->held.count; i > 0; i--) {
        if (!is_held_task(s, &shuffles->held.items[i - 1])) {
            held_remove(shuffles, i - 1);
        }
    }
}

/* ---- runs ---- */

static bool participates(const struct shuffle *shuffle, worker_id worker)
{
    for (uint32_t i = 0; i < shuffle->participants.count; i++) {
        if (shuffle->participants.items[i] == worker) {
            return true;
        }
    }
    return false;
}

bool shuffles_participates(const struct scheduler *s, worker_id worker)
{
    const struct shuffles *shuffles = s->shuffles;
    for (uint32_t i = 0; shuffles->active_count > 0 && i < shuffles->all.count; i++) {
        const struct shuffle *shuffle = shuffles->all.items[i];
        if (shuffle != NULL && shuffle->is_active && participates(shuffle, worker)) {
            return true;
        }
    }
    return false;
}

static void fail_on_workers(struct scheduler *s, const struct shuffle *shuffle, struct span message,
                            struct step *step)
{
    for (uint32_t i = 0; i < shuffle->participants.count; i++) {
        const struct worker *worker = worker_find(s, shuffle->participants.items[i]);
        if (worker != NULL && worker->known) {
            action_add(step, ACTION_SHUFFLE_FAIL)->of.shuffle_fail = (struct action_shuffle_fail){
                .worker = worker->id,
                .id = arena_copy(&step->arena, shuffle->id),
                .run_id = shuffle->run_id,
                .message = message,
            };
        }
    }
}

/* The run is over. What it restricted is free again. */
static void deactivate(struct scheduler *s, struct shuffle *shuffle, struct step *step)
{
    ASSERT(shuffle->is_active);
    shuffle->is_active = false;
    s->shuffles->active_count--;
    shuffle->participants.count = 0;
    span_disown(&shuffle->archived_by);
    shuffle->archived_by = span_own(step->stimulus);
    action_log(step, WARNING, "Shuffle %.*s deactivated due to stimulus '%.*s'",
               (int)shuffle->id.size, (const char *)shuffle->id.data, (int)step->stimulus.size,
               (const char *)step->stimulus.data);
    unrestrict_outputs(s, shuffle);
}

/* "<before><shown><after>" in the arena. */
static struct span message_about(const struct shuffle *shuffle, const char *before,
                                 const char *after, struct step *step)
{
    struct span name = shown(shuffle, step);
    struct text text = {0};
    text_printf(&text, "%s%.*s%s", before, (int)name.size, (const char *)name.data, after);
    struct span copy = arena_copy(&step->arena, text_span(&text));
    text_fini(&text);
    return copy;
}

/* Is the key that of the barrier, of a transfer or of an output task? */
static bool is_part_of(const struct scheduler *s, const struct task *barrier, struct span key)
{
    const struct task *task = task_find(s, key);
    return task != NULL &&
           (task == barrier || links_find(&barrier->dependencies, task->id) != LINK_NOT_FOUND ||
            links_find(&barrier->dependents, task->id) != LINK_NOT_FOUND);
}

/* Why the shuffle fails: the barrier's blame (set before it is released on its way to erred), or that of an
 * output task. NULL: it does not. */
static const struct failure *failure_of(const struct scheduler *s, const struct task *barrier)
{
    const struct failure *failure = task_failure(barrier);
    for (uint32_t i = 0; i < barrier->dependents.count && failure == NULL; i++) {
        failure = task_failure(task_at(s, links_items(&barrier->dependents)[i].other));
    }
    return failure;
}

static void note_failed(struct scheduler *s, struct shuffle *shuffle, const struct task *barrier,
                        struct step *step)
{
    const struct failure *failure = failure_of(s, barrier);
    if (shuffle->has_failed || failure == NULL || !is_part_of(s, barrier, failure->key)) {
        return;
    }
    shuffle->has_failed = true;
    struct notice *notice = action_notice(step, NOTICE_SHUFFLE);
    notice->text = SPAN("p2p-failed");
    notice->text2 = arena_copy(&step->arena, shuffle->id);
}

static void end_run(struct scheduler *s, struct shuffle *shuffle, struct step *step)
{
    fail_on_workers(s, shuffle, message_about(shuffle, "", " forgotten", step), step);
    deactivate(s, shuffle, step);
}

void shuffles_barrier_again(struct scheduler *s, const struct task *task, struct step *step)
{
    uint64_t number = task->extra == NULL ? 0 : task->extra->shuffle;
    struct shuffle *shuffle = number == 0 ? NULL : s->shuffles->all.items[number - 1];
    if (shuffle == NULL || !shuffle->is_active) {
        return;
    }
    end_run(s, shuffle, step); /* workers hear of it before they are sent a transfer again */
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct task *input = task_at(s, links_items(&task->dependencies)[i].other);
        if (input->state == TASK_MEMORY) {
            want(s, input, TASK_RELEASED);
        }
    }
}

void shuffles_task_moved(struct scheduler *s, struct task *task, uint8_t start, uint8_t finish,
                         struct step *step)
{
    (void)start;
    struct shuffle *shuffle = s->shuffles->all.items[task->extra->shuffle - 1];
    ASSERT(shuffle != NULL && shuffle->barrier == task->id);
    if (finish != TASK_RELEASED && finish != TASK_ERRED && finish != TASK_FORGOTTEN) {
        return;
    }
    if (shuffle->is_active) {
        note_failed(s, shuffle, task, step);
        end_run(s, shuffle, step);
    }
    if (finish == TASK_FORGOTTEN) {
        task->extra->shuffle = 0;
        s->shuffles->all.items[shuffle->number - 1] = NULL;
        vec_push(&s->shuffles->free_numbers, shuffle->number);
        map_remove(&s->shuffles->by_id, shuffle->id);
        shuffle_free(shuffle);
    }
}

/* ---- running again ---- */

/* None of its tasks may have failed: then they fail for good. */
static bool may_restart(const struct scheduler *s, const struct task *barrier)
{
    bool fine = barrier->state != TASK_ERRED;
    for (uint32_t i = 0; i < barrier->dependents.count; i++) {
        fine = fine && task_at(s, links_items(&barrier->dependents)[i].other)->state != TASK_ERRED;
    }
    for (uint32_t i = 0; i < barrier->dependencies.count; i++) {
        fine =
            fine && task_at(s, links_items(&barrier->dependencies)[i].other)->state != TASK_ERRED;
    }
    return fine;
}

/* _restart_shuffle: release output tasks, barrier and transfer tasks; those still wanted run again. Workers hear
 * of the end of a run that is still active before they are sent a transfer again, which would join it. */
static void restart(struct scheduler *s, struct shuffle *shuffle, struct step *step)
{
    struct task *barrier = task_at(s, shuffle->barrier);
    struct span id = arena_copy(&step->arena, shuffle->id);
    if (may_restart(s, barrier)) {
        if (shuffle->is_active) {
            end_run(s, shuffle, step);
        }
        for (uint32_t i = 0; i < barrier->dependents.count; i++) {
            want(s, task_at(s, links_items(&barrier->dependents)[i].other), TASK_RELEASED);
        }
        want(s, barrier, TASK_RELEASED);
        for (uint32_t i = 0; i < barrier->dependencies.count; i++) {
            want(s, task_at(s, links_items(&barrier->dependencies)[i].other), TASK_RELEASED);
        }
    }
    transitions_run(s, step);
    queue_slots_maybe_opened(s, step);
    action_log(step, WARNING, "Shuffle %.*s restarted due to stimulus '%.*s'", (int)id.size,
               (const char *)id.data, (int)step->stimulus.size, (const char *)step->stimulus.data);
}

static void lose_participant(struct scheduler *s, struct shuffle *shuffle,
                             const struct worker *worker, struct step *step)
{
    struct text before = {0};
    text_printf(&before, "Worker %.*s left during active ", (int)worker->address.size,
                (const char *)worker->address.data);
    fail_on_workers(s, shuffle, message_about(shuffle, text_cstr(&before), "", step), step);
    text_fini(&before);
    deactivate(s, shuffle, step);
}

void shuffles_worker_removed(struct scheduler *s, struct worker *worker, struct step *step)
{
    struct shuffles *shuffles = s->shuffles;
    for (uint32_t i = 0; shuffles->active_count > 0 && i < shuffles->all.count; i++) {
        struct shuffle *shuffle = shuffles->all.items[i];
        if (shuffle != NULL && shuffle->is_active && participates(shuffle, worker->id)) {
            lose_participant(s, shuffle, worker, step);
        }
    }
    /* Also those that the moves of the worker's own tasks have ended. Restarting one may end others, as two may
     * share their output tasks, so look again until none is left. */
    for (uint32_t i = 0; i < shuffles->all.count; i++) {
        struct shuffle *shuffle = shuffles->all.items[i];
        if (shuffle != NULL && !shuffle->is_active &&
            span_equal(shuffle->archived_by, step->stimulus)) {
            span_disown(&shuffle->archived_by);
            shuffle->archived_by = (struct span){0};
            restart(s, shuffle, step);
            i = UINT32_MAX; /* from the first again */
        }
    }
}

/* ---- events ---- */

static void reply_text(struct step *step, uint64_t request, enum answer_kind kind,
                       struct text *text)
{
    action_reply_error(step, request, kind, text_span(text));
    text_fini(text);
}

static void reply_run(struct shuffle *shuffle, uint64_t request, worker_id worker,
                      struct step *step)
{
    if (!participates(shuffle, worker)) {
        vec_push(&shuffle->participants, worker);
    }
    struct shuffle_answer *answer = arena_new(&step->arena, struct shuffle_answer);
    *answer = (struct shuffle_answer){
        .run_id = shuffle->run_id,
        .spec = shuffle->spec,
        .parts = {shuffle->parts, shuffle->part_count},
        .workers = shuffle->worker_for,
        .span_id = shuffle->span_id,
    };
    action_reply(step, request, &(struct answer){.kind = ANSWER_SHUFFLE, .shuffle = answer});
}

/* false: it cannot run; answered. */
static bool check_create(const struct shuffle *shuffle, const struct task *task,
                         const struct event_shuffle_get *event, struct step *step)
{
    struct text text = {0};
    if (shuffle == NULL) {
        text_printf(&text,
                    "Barrier task with key 'shuffle-barrier-%.*s' does not exist. This may be "
                    "caused by task fusion "
                    "during graph generation. Please let us know that you ran into this by leaving "
                    "a comment at "
                    "distributed#7816.",
                    (int)event->id.size, (const char *)event->id.data);
        reply_text(step, event->request, ANSWER_P2P_ERROR, &text);
        return false;
    }
    if (task == NULL) {
        action_reply_error(step, event->request, ANSWER_KEY_ERROR,
                           key_as_text(event->key, &step->arena));
        return false;
    }
    if (task->state != TASK_PROCESSING) {
        struct span key = key_as_repr(task->key, &step->arena);
        const char *state = task_state_name(task->state);
        text_printf(&text, "Expected <TaskState %.*s %s> to be processing, is %s.", (int)key.size,
                    (const char *)key.data, state, state);
        reply_text(step, event->request, ANSWER_P2P_ERROR, &text);
        return false;
    }
    return true;
}

/* Output tasks run once for nothing on the wrong worker; as root-ish ones they would come in small lots. */
static void make_outputs_unqueueable(struct scheduler *s, const struct task *barrier)
{
    for (uint32_t i = 0; i < barrier->dependents.count; i++) {
        task_at(s, links_items(&barrier->dependents)[i].other)->flags |= TASK_NOT_QUEUEABLE;
    }
}

static void participants_from_parts(struct scheduler *s, struct shuffle *shuffle)
{
    struct id_map seen = {0};
    for (uint32_t i = 0; i < shuffle->part_count; i++) {
        uint32_t *known = id_map_put(&seen, shuffle->worker_for[i]);
        if (*known == 0 && worker_find(s, shuffle->worker_for[i]) != NULL) {
            vec_push(&shuffle->participants, shuffle->worker_for[i]);
        }
        *known = 1;
    }
    id_map_fini(&seen);
}

static void begin_run(struct scheduler *s, struct shuffle *shuffle, const struct task *task,
                      const struct event_shuffle_get *event, struct step *step)
{
    struct span why = shuffle_assign(s, shuffle, step);
    if (why.size > 0) {
        struct text text = {0};
        text_printf(&text, "Failed to initialize shuffle %.*s because %.*s.", (int)shuffle->id.size,
                    (const char *)shuffle->id.data, (int)why.size, (const char *)why.data);
        reply_text(step, event->request, ANSWER_RUNTIME_ERROR, &text);
        return;
    }
    make_outputs_unqueueable(s, task_at(s, shuffle->barrier));
    shuffle->is_active = true;
    shuffle->has_failed = false;
    shuffle->run_id = ++s->shuffles->run_last;
    s->shuffles->active_count++;
    span_disown(&shuffle->archived_by);
    span_disown(&shuffle->span_id);
    shuffle->span_id = span_own(spans_id(task->group));
    participants_from_parts(s, shuffle);
    struct span key = key_as_repr(task->key, &step->arena);
    const struct worker *worker = worker_at(s, event->worker);
    action_log(step, WARNING, "Shuffle %.*s initialized by task %.*s executed on worker %.*s",
               (int)shuffle->id.size, (const char *)shuffle->id.data, (int)key.size,
               (const char *)key.data, (int)worker->address.size,
               (const char *)worker->address.data);
    reply_run(shuffle, event->request, event->worker, step);
}

static void get(struct scheduler *s, const struct event_shuffle_get *event, struct step *step)
{
    struct shuffle *shuffle = find(s, event->id);
    struct text text = {0};
    const struct worker *worker = worker_find(s, event->worker);
    if (worker == NULL || !worker->known) {
        text_printf(&text, "Scheduler is unaware of this worker");
        reply_text(step, event->request, ANSWER_P2P_ERROR, &text);
    } else if (shuffle != NULL && shuffle->is_active) {
        reply_run(shuffle, event->request, event->worker, step);
    } else if (!event->create) {
        text_printf(&text, "No active shuffle with id='%.*s' found", (int)event->id.size,
                    (const char *)event->id.data);
        reply_text(step, event->request, ANSWER_P2P_ERROR, &text);
    } else {
        const struct task *task = task_find(s, event->key);
        if (check_create(shuffle, task, event, step)) {
            begin_run(s, shuffle, task, event, step);
        }
    }
}

/* The active shuffle of that id, or NULL after having answered KeyError. */
static struct shuffle *find_active(struct scheduler *s, uint64_t request, struct span id,
                                   struct step *step)
{
    struct shuffle *shuffle = find(s, id);
    if (shuffle == NULL || !shuffle->is_active) {
        action_reply_error(step, request, ANSWER_KEY_ERROR, id);
        return NULL;
    }
    return shuffle;
}

static void barrier_reached(struct scheduler *s, const struct event_shuffle_barrier *event,
                            struct step *step)
{
    struct shuffle *shuffle = find_active(s, event->request, event->id, step);
    if (shuffle == NULL) {
        return;
    }
    if (shuffle->run_id != event->run_id) {
        struct text before = {0};
        text_printf(&before, "run_id=%" PRId64 " does not match ", event->run_id);
        action_reply_error(step, event->request, ANSWER_VALUE_ERROR,
                           message_about(shuffle, text_cstr(&before), "", step));
        text_fini(&before);
        return;
    }
    if (!event->consistent) {
        action_log(step, WARNING, "Shuffle %.*s restarted due to data inconsistency during barrier",
                   (int)shuffle->id.size, (const char *)shuffle->id.data);
        restart(s, shuffle, step);
        action_reply_nil(step, event->request);
        return;
    }
    uint32_t count = shuffle->participants.count;
    worker_id *participants = arena_array(&step->arena, worker_id, count);
    if (count > 0) {
        memcpy(participants, shuffle->participants.items, count * sizeof *participants);
    }
    action_add(step, ACTION_SHUFFLE_DONE)->of.shuffle_done = (struct action_shuffle_done){
        .request = event->request,
        .id = arena_copy(&step->arena, shuffle->id),
        .run_id = shuffle->run_id,
        .participants = {participants, count},
    };
}

static void restrict_event(struct scheduler *s, const struct event_shuffle_restrict *event,
                           struct step *step)
{
    struct shuffle *shuffle = find_active(s, event->request, event->id, step);
    if (shuffle == NULL) {
        return;
    }
    if (shuffle->run_id != event->run_id) {
        struct text before = {0};
        text_printf(&before, "Request %s, expected run_id=%" PRId64 " for ",
                    shuffle->run_id > event->run_id ? "stale" : "invalid", event->run_id);
        action_reply_error(step, event->request, ANSWER_P2P_ERROR,
                           message_about(shuffle, text_cstr(&before), "", step));
        text_fini(&before);
        return;
    }
    struct task *task = task_find(s, event->key);
    const struct worker *worker = worker_find(s, event->worker);
    if (task == NULL || worker == NULL) {
        action_reply_error(step, event->request, ANSWER_KEY_ERROR,
                           key_as_text(event->key, &step->arena));
        return;
    }
    restrict_task(s, task, worker->address);
    action_reply(step, event->request, &(struct answer){.kind = ANSWER_OK});
}

void shuffles_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_SHUFFLE_GET:
        get(s, &event->of.shuffle_get, step);
        return;
    case EVENT_SHUFFLE_BARRIER:
        barrier_reached(s, &event->of.shuffle_barrier, step);
        return;
    default:
        ASSERT(event->kind == EVENT_SHUFFLE_RESTRICT);
        restrict_event(s, &event->of.shuffle_restrict, step);
    }
}
