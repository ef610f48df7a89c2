/* action.c: see action.h. Clients without a connection (pseudo-clients) are told nothing. */
#include "core/scheduler/action.h"

#include <stdarg.h>

#include "base/text.h"
#include "core/scheduler/departure.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/runs.h"

void step_init(struct step *step)
{
    *step = (struct step){0};
    arena_init(&step->arena);
}

void step_fini(struct step *step)
{
    arena_fini(&step->arena);
    mem_free(step->actions);
    *step = (struct step){0};
}

struct action *action_add(struct step *step, enum action_kind kind)
{
    if (step->action_count == step->action_capacity) {
        ASSERT(step->action_capacity < UINT32_MAX / 2);
        step->action_capacity = step->action_capacity == 0 ? 64 : step->action_capacity * 2;
        step->actions = mem_resize(step->actions, step->action_capacity, sizeof *step->actions);
    }
    struct action *action = &step->actions[step->action_count++];
    action->kind = kind;
    return action;
}

/* Decimal digits of `value`, at least `digits_min`, ending before `end`. Returns where they begin. */
static char *digits_before(char *end, uint32_t value, int digits_min)
{
    for (; value > 0 || digits_min > 0; digits_min--) {
        *--end = (char)('0' + value % 10);
        value /= 10;
    }
    return end;
}

struct span stimulus_make(struct step *step, const char *name)
{
    size_t name_size = strlen(name);
    char digits[32];
    char *end = digits + sizeof digits;
    double time = step->time > 0 ? step->time : 0;
    uint32_t seconds = time < UINT32_MAX ? (uint32_t)time : UINT32_MAX;
    char *begin = digits_before(end, (uint32_t)((time - (double)seconds) * 1e6), 6);
    *--begin = '.';
    begin = digits_before(begin, seconds, 1);
    *--begin = '-';
    size_t size = (size_t)(end - begin);
    char *made = arena_alloc(&step->arena, name_size + size);
    memcpy(made, name, name_size);
    memcpy(made + name_size, begin, size);
    return span_of(made, name_size + size);
}

/* Key, size and holders of one task as they are now. */
static struct input input_of(const struct scheduler *s, const struct task *task,
                             struct arena *arena)
{
    const struct link *links = links_items(&task->who_has);
    worker_id *holders = arena_array(arena, worker_id, task->who_has.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < task->who_has.count; i++) {
        if (!departures_pending(s) || worker_at(s, links[i].other)->known) {
            holders[count++] = links[i].other;
        }
    }
    return (struct input){
        .key = task->key, .nbytes = task->nbytes, .holders = holders, .holder_count = count};
}

static void tell_compute(struct scheduler *s, struct task *task, worker_id worker, bool ahead,
                         struct step *step)
{
    if (s->compute_stimulus.size == 0) {
        s->compute_stimulus = stimulus_make(step, "compute-task");
    }
    task->run_id = ++s->run_id_last;
    run_note(s, task);
    uint32_t count = task->dependencies.count;
    struct input *inputs = arena_array(&step->arena, struct input, count);
    const struct link *links = links_items(&task->dependencies);
    for (uint32_t i = 0; i < count; i++) {
        inputs[i] = input_of(s, task_at(s, links[i].other), &step->arena);
        ASSERT(ahead || inputs[i].holder_count > 0);
    }
    action_add(step, ACTION_COMPUTE)->of.compute =
        (struct action_compute){.worker = worker,
                                .task = task,
                                .run_id = task->run_id,
                                .inputs = {inputs, count},
                                .stimulus = s->compute_stimulus,
                                .ahead = ahead};
}

void action_compute(struct scheduler *s, struct task *task, struct step *step)
{
    ASSERT(task->processing_on != WORKER_NONE);
    tell_compute(s, task, task->processing_on, false, step);
}

void action_compute_ahead(struct scheduler *s, struct task *task, const struct worker *worker,
                          struct step *step)
{
    ASSERT(task->state == TASK_WAITING && worker->known);
    tell_compute(s, task, worker->id, true, step);
}

struct span_list span_list_one(struct step *step, struct span key)
{
    struct span *keys = arena_new(&step->arena, struct span);
    *keys = key;
    return (struct span_list){keys, 1};
}

void action_worker_key(struct step *step, enum action_kind kind, worker_id worker, struct span key)
{
    struct span_list keys = span_list_one(step, key);
    struct action *action = action_add(step, kind);
    if (kind == ACTION_FREE_KEYS) {
        action->of.free_keys = (struct action_free_keys){worker, keys, step->stimulus};
    } else {
        ASSERT(kind == ACTION_REMOVE_REPLICAS);
        action->of.remove_replicas = (struct action_remove_replicas){worker, keys, step->stimulus};
    }
}

struct input_list inputs_of(struct scheduler *s, const task_id *tasks, uint32_t count,
                            struct step *step)
{
    struct input *inputs = arena_array(&step->arena, struct input, count);
    for (uint32_t i = 0; i < count; i++) {
        inputs[i] = input_of(s, task_at(s, tasks[i]), &step->arena);
    }
    return (struct input_list){inputs, count};
}

/* The `index`th client that wants the task, if someone listens there, else CLIENT_NONE. */
static client_id listener_at(const struct scheduler *s, const struct task *task, uint32_t index)
{
    const struct client *client = client_at(s, links_items(&task->who_wants)[index].other);
    return client->is_pseudo ? CLIENT_NONE : client->id;
}

void action_lost_data(struct scheduler *s, const struct task *task, struct step *step)
{
    for (uint32_t i = 0; i < task->who_wants.count; i++) {
        client_id client = listener_at(s, task, i);
        if (client != CLIENT_NONE) {
            action_add(step, ACTION_LOST_DATA)->of.lost_data =
                (struct action_lost_data){client, task->key};
        }
    }
}

void action_key_retried(struct scheduler *s, const struct task *task, struct step *step)
{
    for (uint32_t i = 0; i < task->who_wants.count; i++) {
        client_id client = listener_at(s, task, i);
        if (client != CLIENT_NONE) {
            action_add(step, ACTION_KEY_RETRIED)->of.key_retried =
                (struct action_key_retried){client, task->key};
        }
    }
}

void action_key_in_memory(struct scheduler *s, const struct task *task, struct span type,
                          struct step *step)
{
    for (uint32_t i = 0; i < task->who_wants.count; i++) {
        client_id client = listener_at(s, task, i);
        if (client != CLIENT_NONE) {
            action_add(step, ACTION_KEY_IN_MEMORY)->of.key_in_memory =
                (struct action_key_in_memory){client, task->key, type};
        }
    }
}

void action_key_erred(struct scheduler *s, const struct task *task, struct failure *failure,
                      struct step *step)
{
    ASSERT(failure != NULL);
    for (uint32_t i = 0; i < task->who_wants.count; i++) {
        client_id client = listener_at(s, task, i);
        if (client != CLIENT_NONE) {
            action_add(step, ACTION_KEY_ERRED)->of.key_erred =
                (struct action_key_erred){client, task->key, failure};
        }
    }
}

void action_cancelled(struct step *step, client_id client, struct span_list keys,
                      struct span reason, struct span msg)
{
    action_add(step, ACTION_KEYS_CANCELLED)->of.keys_cancelled =
        (struct action_keys_cancelled){client, keys, reason, msg};
}

void action_reply(struct step *step, uint64_t request, const struct answer *answer)
{
    struct answer *copy = arena_new(&step->arena, struct answer);
    *copy = *answer;
    action_add(step, ACTION_REPLY)->of.reply = (struct action_reply){request, copy};
}

void action_reply_nil(struct step *step, uint64_t request)
{
    action_reply(step, request, &(struct answer){.kind = ANSWER_NIL});
}

void action_reply_bool(struct step *step, uint64_t request, bool value)
{
    action_reply(step, request, &(struct answer){.kind = ANSWER_BOOL, .number = value});
}

void action_reply_int(struct step *step, uint64_t request, int64_t value)
{
    action_reply(step, request, &(struct answer){.kind = ANSWER_INT, .number = value});
}

void action_reply_error(struct step *step, uint64_t request, enum answer_kind kind,
                        struct span text)
{
    action_reply(step, request,
                 &(struct answer){.kind = kind, .text = arena_copy(&step->arena, text)});
}

struct notice *action_notice(struct step *step, enum notice_kind kind)
{
    struct notice *notice = arena_new(&step->arena, struct notice);
    *notice = (struct notice){.kind = kind, .time = step->time, .stimulus = step->stimulus};
    action_add(step, ACTION_NOTICE)->of.notice = (struct action_notice){notice};
    return notice;
}

void action_log(struct step *step, uint32_t level, const char *format, ...)
{
    struct text text = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&text, format, arguments);
    va_end(arguments);
    struct span copy = arena_copy(&step->arena, text_span(&text));
    text_fini(&text);
    action_add(step, ACTION_LOG)->of.log = (struct action_log){level, copy};
}
