/* steal_internal.h: what the files of stealing share: the lists of what could be stolen, and the moves that
 * a victim has not confirmed yet. */
#ifndef CASK_CORE_SCHEDULER_STEAL_INTERNAL_H
#define CASK_CORE_SCHEDULER_STEAL_INTERNAL_H

#include "core/scheduler/internal.h"
#include "core/scheduler/steal.h"

/* A request on its way: the thief may have the task if the victim has not begun it. */
struct flight {
    task_id task;
    worker_id victim, thief;
    double victim_duration, thief_duration; /* seconds that the one loses, the other gets */
    uint64_t number;                        /* of the request: its stimulus is steal-<number> */
};

/* Tasks listed while the duration of their prefix was a guess: their levels change with the first finish. */
struct guess_list VEC(struct guess {
    task_id task;
    uint32_t serial; /* tells the task from a later one with its id */
});

struct steal {
    struct VEC(struct flight) flights;
    struct id_map flight_of;               /* task → place in flights */
    struct VEC(struct guess_list) guesses; /* by prefix id */
    uint64_t request_count;
    uint64_t count[STEAL_LEVELS];
    double cost[STEAL_LEVELS];
    double due; /* of the next balance */
};

/* ---- steal.c ---- */

/* NULL: no request for this task is under way. */
struct flight *steal_flight_find(const struct scheduler *s, task_id task);
/* Ask `victim` whether `thief` may have the task. It is listed and not in flight. */
void steal_request(struct scheduler *s, struct task *task, struct worker *victim,
                   struct worker *thief, struct step *step);

/* ---- steal_balance.c ---- */

void steal_balance(struct scheduler *s, struct step *step);

#endif
