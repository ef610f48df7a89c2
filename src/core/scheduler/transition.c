/* transition.c: the engine: pending wishes, and one move at a time. The moves themselves are in
 * transition_ready.c (up to processing) and transition_done.c (memory, erred, forgotten).
 *
 * A move never makes another move but wishes for it, so the stack stays flat, and a story reads in the
 * order in which things happened. The one exception is Dask's as well: a task whose inputs cannot fit
 * into its worker errs inside the move that would have sent it. */
#include "core/scheduler/transition.h"

#include "core/scheduler/action.h"
#include "core/scheduler/backlog.h"
#include "core/scheduler/failure.h"
#include "core/scheduler/groups.h"
#include "core/scheduler/pool.h"
#include "core/scheduler/shuffle.h"
#include "core/scheduler/story.h"

typedef void move_function(struct scheduler *s, struct task *task, const struct move *move,
                           struct step *step);

static move_function *const moves[TASK_STATE_COUNT][TASK_STATE_COUNT] = {
#define MOVE(from, to, function) [TASK_##from][TASK_##to] = move_##function,
#include "core/scheduler/states.def"
};

/* ---- wishes ---- */

void want(struct scheduler *s, struct task *task, enum task_state to)
{
    ASSERT(to < TASK_STATE_COUNT);
    if (task->want_place != 0) {
        ASSERT(s->wants.items[task->want_place - 1].task == task->id);
        s->wants.items[task->want_place - 1].to = (uint8_t)to;
    } else {
        vec_push(&s->wants, (struct want){.task = task->id, .to = (uint8_t)to});
        task->want_place = s->wants.count;
    }
    if (task->id == s->moving) {
        s->moving_wish = (uint8_t)to;
    }
    if (s->recommended_total < STORY_WISHES_MAX) {
        s->recommended[s->recommended_total] = (struct want){.task = task->id, .to = (uint8_t)to};
    }
    s->recommended_total++;
}

void want_not(struct scheduler *s, struct task *task)
{
    if (task->want_place != 0) {
        s->wants.items[task->want_place - 1].task = TASK_NONE;
        task->want_place = 0;
    }
}

/* ---- one move ---- */

/* What follows every move, whatever it was. */
static void after_move(struct scheduler *s, struct task *task, enum task_state start,
                       struct step *step)
{
    enum task_state finish = task->state;
    story_add(s, task, start, finish);
    if (task->extra != NULL && task->extra->shuffle != 0) {
        shuffles_task_moved(s, task, (uint8_t)start, (uint8_t)finish, step);
    }
    if (s->config.transition_notices) {
        struct notice *notice = action_notice(step, NOTICE_TRANSITION);
        notice->task = task;
        notice->worker = task->processing_on;
        notice->text = span_of_text(task_state_name(start));
        notice->text2 = span_of_text(task_state_name(finish));
    }
}

static void move_begin(struct scheduler *s, const struct task *task)
{
    s->transition_counter++;
    s->moving = task->id;
    s->moving_wish = TASK_STATE_COUNT;
    s->recommended_total = 0;
}

void transition(struct scheduler *s, struct task *task, enum task_state to, const struct move *move,
                struct step *step)
{
    static const struct move nothing;
    enum task_state start = task->state;
    if (start == to || start == TASK_FORGOTTEN) {
        return;
    }
    move = move == NULL ? &nothing : move;
    move_begin(s, task);
    move_function *function = moves[start][to];
    if (function == NULL) {
        ASSERT(start != TASK_RELEASED && to != TASK_RELEASED);
        moves[start][TASK_RELEASED](s, task, &nothing, step);
        after_move(s, task, start, step);
        if (task->state != TASK_RELEASED) {
            return; /* an actor: it errs instead, which is wished for */
        }
        s->transition_counter++;
        start = TASK_RELEASED;
        function = moves[TASK_RELEASED][s->moving_wish == TASK_STATE_COUNT ? to : s->moving_wish];
        ASSERT(function != NULL);
    }
    function(s, task, move, step);
    after_move(s, task, start, step);
    struct group *group = task->group;
    if (task->state == TASK_FORGOTTEN && group->listed &&
        group->state_counts[TASK_FORGOTTEN] == group->size) {
        group_unlist(s, group);
    }
}

/* A task went to waiting though an input has failed. While other moves were pending that input might have
 * been about to be tried again as well; now it is not, so the task fails as the input did. */
static void resolve_doubts(struct scheduler *s)
{
    while (s->doubtful.count > 0) {
        struct task *task = task_at(s, vec_pop(&s->doubtful));
        if (task->state != TASK_WAITING) {
            continue;
        }
        const struct link *inputs = links_items(&task->dependencies);
        for (uint32_t i = 0; i < task->dependencies.count; i++) {
            const struct task *dependency = task_at(s, inputs[i].other);
            if (dependency->state == TASK_ERRED) {
                task_blame(s, task, task_failure(dependency));
                want(s, task, TASK_ERRED);
                break;
            }
        }
    }
}

void transitions_run(struct scheduler *s, struct step *step)
{
    for (;;) {
        if (s->wants.count == 0) {
            resolve_doubts(s);
        }
        if (s->wants.count == 0) {
            return;
        }
        struct want next = vec_pop(&s->wants);
        if (next.task != TASK_NONE) {
            struct task *task = task_at(s, next.task);
            task->want_place = 0;
            transition(s, task, next.to, NULL, step);
        }
    }
}

void transition_all(struct scheduler *s, struct task *task, enum task_state to, struct step *step)
{
    want(s, task, to);
    transitions_run(s, step);
}

/* ---- what moves are made of ---- */

void task_set_state(struct scheduler *s, struct task *task, enum task_state to)
{
    struct group *group = task->group;
    struct prefix *prefix = group->prefix;
    s->state_counts[task->state]--;
    group->state_counts[task->state]--;
    prefix->state_counts[task->state]--;
    s->state_counts[to]++;
    group->state_counts[to]++;
    prefix->state_counts[to]++;
    prefix->state_counts_total[to]++;
    task->state = (uint8_t)to;
}

static struct link *edge_at(struct task *task, uint32_t slot, const struct task *dependency)
{
    struct link *edge = &links_items(&task->dependencies)[slot];
    ASSERT(edge->other == dependency->id);
    return edge;
}

void waiter_add(struct task *task, uint32_t slot, struct task *dependency)
{
    edge_mark(edge_at(task, slot, dependency), EDGE_WAITS, &dependency->waiter_count);
}

bool waiter_discard(struct task *task, uint32_t slot, struct task *dependency)
{
    return edge_unmark(edge_at(task, slot, dependency), EDGE_WAITS, &dependency->waiter_count);
}

void waiters_clear(struct scheduler *s, struct task *task)
{
    const struct link *links = links_items(&task->dependents);
    for (uint32_t i = 0; i < task->dependents.count && task->waiter_count > 0; i++) {
        waiter_discard(task_at(s, links[i].other), links[i].slot & LINK_SLOT_MASK, task);
    }
    ASSERT(task->waiter_count == 0);
}

void missing_add(struct task *task, uint32_t slot)
{
    edge_mark(&links_items(&task->dependencies)[slot], EDGE_MISSING, &task->missing_count);
}

bool missing_discard(struct task *task, uint32_t slot)
{
    return edge_unmark(&links_items(&task->dependencies)[slot], EDGE_MISSING, &task->missing_count);
}

void missing_clear(struct task *task)
{
    for (uint32_t i = 0; i < task->dependencies.count && task->missing_count > 0; i++) {
        missing_discard(task, i);
    }
    ASSERT(task->missing_count == 0);
}

bool task_is_unneeded(const struct task *task)
{
    return task->waiter_count == 0 && task->who_wants.count == 0 &&
           (task->flags & TASK_PINNED) == 0;
}

void release_unneeded(struct scheduler *s, struct task *task)
{
    if (task_is_unneeded(task) && task->state != TASK_ERRED) {
        let_go(s, task, TASK_RELEASED);
    }
}
