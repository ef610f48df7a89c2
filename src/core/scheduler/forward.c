/* forward.c: see forward.h. A worker's forwarded tasks stand in the order in which they were sent, so inputs before
 * what needs them: one pass over the few that there are finds all that goes with one of them.
 *
 * While forwarded, task->steal_slot is the worker and task->ready_place the place in its list. */
#include "core/scheduler/forward.h"

#include "core/scheduler/action.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/occupancy.h"
#include "core/scheduler/place.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/replicas.h"
#include "core/scheduler/story.h"

#define FEWEST 8.0     /* tasks that must fit into config.ahead_seconds: fewer save nothing */
#define DEPTH_MAX 3u   /* tasks in a row: a worker is that far ahead of what is known of it */
#define THREAD_MAX 4u  /* forwarded tasks a thread … */
#define WORKER_MAX 32u /* … and in all */
#define INPUTS_MAX 16u
#define LINKS_MAX 64u /* looked at for one task */

/* ---- one task ---- */

struct worker *forward_worker(const struct scheduler *s, const struct task *task)
{
    return (task->flags & TASK_FORWARDED) == 0 ? NULL : worker_at(s, task->steal_slot);
}

static void list_remove(struct scheduler *s, struct worker *worker, struct task *task)
{
    uint32_t place = task->ready_place;
    ASSERT(worker->forwarded.items[place] == task->id);
    worker->forwarded.count--;
    for (uint32_t i = place; i < worker->forwarded.count; i++) {
        worker->forwarded.items[i] = worker->forwarded.items[i + 1];
        task_at(s, worker->forwarded.items[i])->ready_place = i;
    }
    task->flags &= (uint16_t)~TASK_FORWARDED;
}

bool forward_claim(struct scheduler *s, struct task *task)
{
    struct worker *worker = forward_worker(s, task);
    if (worker != NULL) {
        list_remove(s, worker, task);
    }
    return worker != NULL;
}

/* ---- back ---- */

static void take_back(struct scheduler *s, struct worker *worker, struct task *task,
                      struct step *step)
{
    list_remove(s, worker, task);
    if (worker->known) {
        action_worker_key(step, ACTION_FREE_KEYS, worker->id, task->key);
    }
}

/* One of its inputs is `gone`, or has been taken back. */
static bool is_cut_off(const struct scheduler *s, const struct task *task, const struct task *gone)
{
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        const struct task *input = task_at(s, inputs[i].other);
        if (input == gone ||
            (input->state == TASK_WAITING && (input->flags & TASK_FORWARDED) == 0)) {
            return true;
        }
    }
    return false;
}

void forward_input_gone(struct scheduler *s, const struct task *input, struct worker *worker,
                        struct step *step)
{
    for (uint32_t i = 0; i < worker->forwarded.count;) {
        struct task *task = task_at(s, worker->forwarded.items[i]);
        if (is_cut_off(s, task, input)) {
            take_back(s, worker, task, step); /* the next one has its place now */
        } else {
            i++;
        }
    }
}

void forward_withdraw(struct scheduler *s, struct task *task, struct step *step)
{
    struct worker *worker = forward_worker(s, task);
    if (worker != NULL) {
        take_back(s, worker, task, step);
        forward_input_gone(s, task, worker, step);
    }
}

void forward_doubt(struct scheduler *s, struct task *task, const struct worker *worker,
                   struct step *step)
{
    if (task != NULL && worker != NULL && forward_worker(s, task) == worker) {
        forward_withdraw(s, task, step);
    }
}

void forward_worker_stopped(struct scheduler *s, struct worker *worker, struct step *step)
{
    while (worker->forwarded.count > 0) {
        take_back(s, worker, task_at(s, worker->forwarded.items[worker->forwarded.count - 1]),
                  step);
    }
}

/* ---- there ---- */

static bool is_short(const struct scheduler *s, const struct task *task)
{
    double seconds = task->group->prefix->duration_average;
    return seconds >= 0 && seconds * FEWEST <= s->config.ahead_seconds;
}

/* The rule, for one input. */
static bool will_be_at(const struct scheduler *s, const struct task *input,
                       const struct worker *worker)
{
    switch ((enum task_state)input->state) {
    case TASK_MEMORY:
        return replica_has(input, worker->id);
    case TASK_PROCESSING:
        return input->processing_on == worker->id && (input->flags & TASK_LONG_RUNNING) == 0;
    case TASK_WAITING:
        return forward_worker(s, input) == worker;
    default:
        return false;
    }
}

/* What is slow, or an actor, may be long in coming: then the task is better placed when it is there. */
static bool may_follow(const struct scheduler *s, const struct task *input,
                       const struct worker *worker)
{
    return will_be_at(s, input, worker) && (input->flags & TASK_ACTOR) == 0 &&
           (input->state == TASK_MEMORY || is_short(s, input));
}

/* A task whose place nothing but its inputs decides. */
static bool is_plain(const struct scheduler *s, const struct task *task)
{
    const uint16_t special = TASK_ACTOR | TASK_LOST_DEPENDENCIES | TASK_NOT_QUEUEABLE | TASK_PINNED;
    const struct task_extra *extra = task->extra;
    return (task->flags & special) == 0 && task_failure(task) == NULL &&
           (extra == NULL || (extra->restrictions == NULL && extra->shuffle == 0 &&
                              extra->avoided == WORKER_NONE)) &&
           is_short(s, task) && !is_rootish(s, task);
}

static bool may_forward(const struct scheduler *s, const struct task *task,
                        const struct worker *worker, uint32_t *links)
{
    uint32_t count = task->dependencies.count;
    if (task->state != TASK_WAITING || (task->flags & TASK_FORWARDED) != 0 || count > INPUTS_MAX) {
        return false;
    }
    const struct link *inputs = links_items(&task->dependencies);
    for (uint32_t i = 0; i < count; i++, (*links)++) {
        if (!may_follow(s, task_at(s, inputs[i].other), worker)) {
            return false;
        }
    }
    return is_plain(s, task);
}

static void forward(struct scheduler *s, struct task *task, struct worker *worker,
                    struct step *step)
{
    task->flags |= TASK_FORWARDED;
    task->steal_slot = worker->id;
    task->ready_place = worker->forwarded.count;
    vec_push(&worker->forwarded, task->id);
    action_compute_ahead(s, task, worker, step);
    story_add(s, task, TASK_WAITING, TASK_WAITING);
}

/* Room for one more, with what is there already. */
static bool has_room(const struct scheduler *s, const struct worker *worker)
{
    uint32_t count = worker->forwarded.count;
    double seconds = worker_occupancy(s, worker);
    for (uint32_t i = 0; i < count; i++) {
        seconds += task_at(s, worker->forwarded.items[i])->group->prefix->duration_average;
    }
    return count < WORKER_MAX && count < worker->nthreads * THREAD_MAX &&
           seconds < s->config.ahead_seconds * worker->nthreads;
}

void forward_from(struct scheduler *s, const struct task *task, struct step *step)
{
    struct worker *worker = worker_at(s, task->processing_on);
    if (!worker->takes_forwarded || !(s->config.ahead_seconds > 0) || !is_short(s, task)) {
        return;
    }
    struct front {
        const struct task *task;
        uint32_t depth;
    } front[WORKER_MAX + 1] = {{task, 0}};
    uint32_t count = 1;
    uint32_t links = 0;
    for (uint32_t next = 0; next < count && front[next].depth < DEPTH_MAX; next++) {
        const struct link *users = links_items(&front[next].task->dependents);
        uint32_t user_count = front[next].task->dependents.count;
        for (uint32_t i = 0; i < user_count && links < LINKS_MAX; i++, links++) {
            struct task *user = task_at(s, users[i].other);
            if (may_forward(s, user, worker, &links)) {
                if (!has_room(s, worker)) {
                    return;
                }
                forward(s, user, worker, step);
            }
            if (forward_worker(s, user) == worker && count <= WORKER_MAX) {
                front[count++] = (struct front){user, front[next].depth + 1};
            }
        }
    }
}

/* ---- check ---- */

void forward_check(const struct scheduler *s, const struct worker *worker)
{
    ASSERT(worker->forwarded.count == 0 || worker->status == WORKER_RUNNING);
    ASSERT(worker->forwarded.count <= WORKER_MAX);
    for (uint32_t i = 0; i < worker->forwarded.count; i++) {
        const struct task *task = task_at(s, worker->forwarded.items[i]);
        ASSERT(task->state == TASK_WAITING && task->run_id > 0);
        ASSERT(forward_worker(s, task) == worker && task->ready_place == i);
        for (uint32_t j = 0; j < task->dependencies.count; j++) {
            ASSERT(will_be_at(s, task_at(s, links_items(&task->dependencies)[j].other), worker));
        }
    }
}
