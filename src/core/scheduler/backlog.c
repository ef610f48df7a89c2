/* backlog.c: see backlog.h. */
#include "core/scheduler/backlog.h"

#include "core/scheduler/pool.h"
#include "core/scheduler/queue.h"
#include "core/scheduler/transition.h"
#include "core/scheduler/wants.h"

#define AHEAD 4u /* tasks that memory is asked for in advance */

static bool is_full(const struct scheduler *s)
{
    return s->transition_counter >= s->moves_max;
}

/* ---- tasks ---- */

void let_go(struct scheduler *s, struct task *task, enum task_state to)
{
    ASSERT(to == TASK_RELEASED || to == TASK_FORGOTTEN);
    if (!is_full(s)) {
        want(s, task, to);
    } else if ((task->flags & TASK_UNNEEDED) == 0) {
        task->flags |= TASK_UNNEEDED;
        vec_push(&s->unneeded, task->id);
    }
}

/* Its turn has come: does nobody need it still? */
static void look_again(struct scheduler *s, struct task *task)
{
    task->flags &= (uint16_t)~TASK_UNNEEDED;
    if (task->who_wants.count > 0 || (task->flags & TASK_PINNED) != 0) {
        return;
    }
    if (task->dependents.count == 0) {
        want(s, task, TASK_FORGOTTEN);
    } else {
        release_unneeded(s, task);
    }
}

static void run_tasks(struct scheduler *s, struct step *step)
{
    uint32_t left = s->config.step_moves_max;
    while (s->unneeded_head < s->unneeded.count && left-- > 0 && !is_full(s)) {
        if (s->unneeded_head + AHEAD < s->unneeded.count) {
            __builtin_prefetch(task_at(s, s->unneeded.items[s->unneeded_head + AHEAD]));
        }
        struct task *task = task_live_at(s, s->unneeded.items[s->unneeded_head++]);
        if (task != NULL && (task->flags & TASK_UNNEEDED) != 0) {
            look_again(s, task);
            transitions_run(s, step);
        }
    }
    if (s->unneeded_head == s->unneeded.count) {
        s->unneeded_head = 0;
        s->unneeded.count = 0;
    }
}

/* ---- clients ---- */

/* True: it wants nothing any more. */
static bool release_some(struct scheduler *s, struct client *client, struct step *step)
{
    for (uint32_t i = 0; i < s->config.step_moves_max && client->wants_what.count > 0; i++) {
        uint32_t last = client->wants_what.count - 1;
        client_releases_task(s, client, task_at(s, links_items(&client->wants_what)[last].other));
    }
    transitions_run(s, step);
    return client->wants_what.count == 0;
}

static void run_clients(struct scheduler *s, struct step *step)
{
    while (s->leaving.count > 0 && !is_full(s)) {
        struct client *client = client_at(s, s->leaving.items[s->leaving.count - 1]);
        if (!release_some(s, client, step)) {
            return;
        }
        s->leaving.count--;
        client_bury(s, client);
    }
}

void client_leaves(struct scheduler *s, struct client *client, struct step *step)
{
    client_unname(s, client);
    if (release_some(s, client, step)) {
        client_bury(s, client);
    } else {
        vec_push(&s->leaving, client->id);
    }
    queue_slots_maybe_opened(s, step);
}

/* ---- both ---- */

bool backlog_pending(const struct scheduler *s)
{
    return s->unneeded.count > 0 || s->leaving.count > 0;
}

void backlog_run(struct scheduler *s, struct step *step)
{
    if (backlog_pending(s)) {
        run_tasks(s, step);
        run_clients(s, step);
        queue_slots_maybe_opened(s, step);
    }
}

void backlog_finish(struct scheduler *s, struct step *step)
{
    while (backlog_pending(s)) {
        s->moves_max = s->transition_counter + s->config.step_moves_max;
        backlog_run(s, step);
    }
}
