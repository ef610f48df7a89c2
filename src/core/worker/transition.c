/* transition.c: the engine: pending wishes, and one move at a time. The moves themselves are in
 * transition_run.c (to be computed here), transition_value.c (values that come and go) and
 * transition_cancelled.c (second thoughts). A move never makes another move but wishes for it, so the stack
 * stays flat, and a story reads in the order in which things happened. */
#include "core/worker/transition.h"

#include "core/worker/action.h"
#include "core/worker/peer.h"
#include "core/worker/ready.h"
#include "core/worker/story.h"
#include "core/worker/task.h"

typedef void move_function(struct worker_state *w, struct wtask *task, struct wmove *move);

static move_function *const moves[WTASK_STATE_COUNT][WTASK_STATE_COUNT] = {
#define MOVE(from, to, function) [WTASK_##from][WTASK_##to] = wmove_##function,
#include "core/worker/states.def"
};

/* ---- wishes ---- */

struct wmove *wmove_new(struct worker_state *w)
{
    struct wmove *move = arena_new(&w->step->arena, struct wmove);
    *move = (struct wmove){.run_id = -1, .nbytes = -1};
    return move;
}

void wwant(struct worker_state *w, struct wtask *task, enum wtask_state to, struct wmove *move)
{
    ASSERT(to < WTASK_STATE_COUNT);
    struct wwant want = {.task = task->id, .to = (uint8_t)to, .move = move};
    if (task->want_place != 0) {
        ASSERT(w->wants.items[task->want_place - 1].task == task->id);
        w->wants.items[task->want_place - 1] = want;
    } else {
        vec_push(&w->wants, want);
        task->want_place = w->wants.count;
    }
}

/* Take a wish back, if there is one. */
static void want_not(struct worker_state *w, struct wtask *task)
{
    if (task->want_place != 0) {
        w->wants.items[task->want_place - 1].task = TASK_NONE;
        task->want_place = 0;
    }
}

void wtransitions_run(struct worker_state *w)
{
    while (w->wants.count > 0) {
        struct wwant next = vec_pop(&w->wants);
        if (next.task != TASK_NONE) {
            struct wtask *task = wtask_at(w, next.task);
            task->want_place = 0;
            wtransition(w, task, next.to, next.move);
        }
    }
}

/* ---- one move ---- */

static void make_move(struct worker_state *w, struct wtask *task, enum wtask_state to,
                      struct wmove *move)
{
    enum wtask_state start = task->state;
    move_function *function = moves[start][to];
    ASSERT(function != NULL);
    w->transition_count++;
    function(w, task, move);
    wstory_add_move(w, task, start, to);
    if (w->config.transitions) {
        worker_action_add(w->step, WORKER_ACTION_TRANSITION)->of.transition =
            (struct worker_action_transition){.key = task->key,
                                              .start = span_of_text(wtask_state_name(start)),
                                              .finish = span_of_text(wtask_state_name(to))};
    }
}

void wtransition(struct worker_state *w, struct wtask *task, enum wtask_state to,
                 struct wmove *move)
{
    if (task->state == to || task->state == WTASK_FORGOTTEN) {
        return;
    }
    if (moves[task->state][to] == NULL) {
        ASSERT(task->state != WTASK_RELEASED);
        make_move(w, task, WTASK_RELEASED, NULL);
        want_not(w, task); /* it may have wished to be forgotten; it is on its way to `to` */
        if (task->state == to) {
            return;
        }
    }
    make_move(w, task, to, move);
}

/* ---- states ---- */

static void leave_state(struct worker_state *w, struct wtask *task)
{
    switch (task->state) {
    case WTASK_READY:
    case WTASK_CONSTRAINED:
        wready_remove(w, task);
        break;
    case WTASK_FETCH:
        if (task->stamp != 0) {
            wneeds_remove(w, task);
        }
        break;
    case WTASK_MISSING:
        vec_swap_remove(&w->missing, task->place);
        if (task->place < w->missing.count) {
            wtask_at(w, w->missing.items[task->place])->place = task->place;
        }
        break;
    default:
        break;
    }
}

void wtask_set_state(struct worker_state *w, struct wtask *task, enum wtask_state to)
{
    ASSERT(to < WTASK_STATE_COUNT && to != WTASK_RESCHEDULED);
    leave_state(w, task);
    ASSERT(w->state_counts[task->state] > 0);
    w->state_counts[task->state]--;
    wprefix_count(w, task->prefix, task->state, -1);
    task->state = (uint8_t)to;
    if (to == WTASK_FORGOTTEN) {
        return;
    }
    w->state_counts[to]++;
    wprefix_count(w, task->prefix, to, 1);
    if (to == WTASK_MISSING) {
        task->place = w->missing.count;
        vec_push(&w->missing, task->id);
    }
}

void wtask_forget_past(struct wtask *task)
{
    task->previous = WTASK_RELEASED;
    task->next = WTASK_RELEASED;
    task->flags &= (uint16_t)~WTASK_DONE;
}

/* Its GATHER is still under way, and will find that it has gone. */
static void leave_flight(struct worker_state *w, struct wtask *task)
{
    struct wpeer *peer = wpeer_at(w, task->coming_from);
    uint32_t i = 0;
    while (peer->in_flight_tasks.items[i] != task->id) {
        i++;
        ASSERT(i < peer->in_flight_tasks.count);
    }
    peer->in_flight_tasks.items[i] = TASK_NONE;
    task->flags &= (uint16_t)~WTASK_IN_FLIGHT;
    task->coming_from = WPEER_NONE;
    w->in_flight_task_count--;
}

void wtask_purge(struct worker_state *w, struct wtask *task)
{
    ASSERT(!wtask_runs(task));
    wholders_clear(w, task);
    wmissing_clear(task);
    for (uint32_t i = 0; i < task->dependencies.count; i++) {
        struct link *edge = &links_items(&task->dependencies)[i];
        edge_unmark(edge, EDGE_WAITS, &wtask_at(w, edge->other)->waiter_count);
    }
    if ((task->flags & WTASK_IN_FLIGHT) != 0) {
        leave_flight(w, task);
    }
    wtask_forget_past(task);
    wtask_set_blob(&task->about, NULL);
    task->nbytes = -1;
}

/* ---- edges ---- */

void wwaiter_add(struct wtask *task, uint32_t slot, struct wtask *dependency)
{
    struct link *edge = &links_items(&task->dependencies)[slot];
    ASSERT(edge->other == dependency->id);
    edge_mark(edge, EDGE_WAITS, &dependency->waiter_count);
}

void wmissing_add(struct wtask *task, uint32_t slot)
{
    edge_mark(&links_items(&task->dependencies)[slot], EDGE_MISSING, &task->missing_count);
}

void wmissing_discard(struct wtask *task, uint32_t slot)
{
    edge_unmark(&links_items(&task->dependencies)[slot], EDGE_MISSING, &task->missing_count);
}

void wmissing_clear(struct wtask *task)
{
    for (uint32_t i = 0; i < task->dependencies.count && task->missing_count > 0; i++) {
        wmissing_discard(task, i);
    }
    ASSERT(task->missing_count == 0);
}
