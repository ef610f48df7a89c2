/* action.c: see action.h. */
#include "core/worker/action.h"

void worker_step_init(struct worker_step *step)
{
    *step = (struct worker_step){0};
    arena_init(&step->arena);
}

void worker_step_fini(struct worker_step *step)
{
    arena_fini(&step->arena);
    mem_free(step->actions);
    *step = (struct worker_step){0};
}

struct worker_action *worker_action_add(struct worker_step *step, enum worker_action_kind kind)
{
    if (step->action_count == step->action_capacity) {
        ASSERT(step->action_capacity < UINT32_MAX / 2);
        step->action_capacity = step->action_capacity == 0 ? 64 : step->action_capacity * 2;
        step->actions = mem_resize(step->actions, step->action_capacity, sizeof *step->actions);
    }
    struct worker_action *action = &step->actions[step->action_count++];
    action->kind = kind;
    return action;
}

void waction_execute(struct worker_state *w, struct wtask *task)
{
    struct worker_step *step = w->step;
    uint32_t count = task->dependencies.count;
    struct worker_value *inputs = arena_array(&step->arena, struct worker_value, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct wtask *input = wtask_at(w, links_items(&task->dependencies)[i].other);
        inputs[i] = (struct worker_value){input->id, input->key, input->nbytes};
    }
    task->started = w->now;
    worker_action_add(step, WORKER_ACTION_EXECUTE)->of.execute = (struct worker_action_execute){
        .task = task->id,
        .key = task->key,
        .run_id = task->run_id,
        .run_spec = task->run_spec,
        .annotations = task->annotations,
        .span_id = task->span_id == NULL ? (struct span){0} : task->span_id->text,
        .actor = (task->flags & WTASK_ACTOR) != 0,
        .inputs = {inputs, count},
        .stimulus = step->stimulus,
    };
}

void waction_task(struct worker_state *w, enum worker_action_kind kind, task_id task,
                  struct span key)
{
    struct worker_action *action = worker_action_add(w->step, kind);
    switch (kind) {
    case WORKER_ACTION_KEEP:
        action->of.keep = (struct worker_action_keep){task, key};
        break;
    case WORKER_ACTION_REFUSE:
        action->of.refuse = (struct worker_action_refuse){task, key};
        break;
    case WORKER_ACTION_DROP:
        action->of.drop = (struct worker_action_drop){task, key};
        break;
    default:
        ASSERT(kind == WORKER_ACTION_INTERRUPT);
        action->of.interrupt = (struct worker_action_interrupt){task, key};
        break;
    }
}

void waction_task_finished(struct worker_state *w, const struct wtask *task, int64_t run_id)
{
    ASSERT(task->state == WTASK_MEMORY);
    worker_action_add(w->step, WORKER_ACTION_TASK_FINISHED)->of.task_finished =
        (struct worker_action_task_finished){
            .task = task->id,
            .key = task->key,
            .run_id = run_id,
            .nbytes = task->nbytes,
            .about = task->about,
            .stimulus = w->step->stimulus,
        };
}

void waction_task_erred(struct worker_state *w, const struct wtask *task, const struct wmove *move)
{
    ASSERT(move != NULL && move->failure != NULL);
    worker_action_add(w->step, WORKER_ACTION_TASK_ERRED)->of.task_erred =
        (struct worker_action_task_erred){
            .task = task->id,
            .key = task->key,
            .run_id = move->run_id,
            .failure = move->failure,
            .about = move->about,
            .stimulus = w->step->stimulus,
        };
}

void waction_key(struct worker_state *w, enum worker_action_kind kind, struct span key)
{
    struct worker_action *action = worker_action_add(w->step, kind);
    if (kind == WORKER_ACTION_RESCHEDULE) {
        action->of.reschedule = (struct worker_action_reschedule){key, w->step->stimulus};
    } else {
        ASSERT(kind == WORKER_ACTION_RELEASE_WORKER_DATA);
        action->of.release_worker_data =
            (struct worker_action_release_worker_data){key, w->step->stimulus};
    }
}

void waction_add_key(struct worker_state *w, struct span key)
{
    struct span *keys = arena_new(&w->step->arena, struct span);
    *keys = key;
    worker_action_add(w->step, WORKER_ACTION_ADD_KEYS)->of.add_keys =
        (struct worker_action_add_keys){{keys, 1}, w->step->stimulus};
}

void waction_refresh(struct worker_state *w, const task_id *tasks, uint32_t count)
{
    if (count == 0) {
        return;
    }
    struct span *keys = arena_array(&w->step->arena, struct span, count);
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = wtask_at(w, tasks[i])->key;
    }
    worker_action_add(w->step, WORKER_ACTION_REQUEST_REFRESH_WHO_HAS)->of.request_refresh_who_has =
        (struct worker_action_request_refresh_who_has){{keys, count}, w->step->stimulus};
}

void waction_long_running(struct worker_state *w, const struct wtask *task, double duration)
{
    worker_action_add(w->step, WORKER_ACTION_LONG_RUNNING)->of.long_running =
        (struct worker_action_long_running){
            .key = task->key,
            .run_id = task->run_id,
            .compute_duration = duration,
            .stimulus = w->step->stimulus,
        };
}
