/* locks.c: see locks.h. One file each for semaphores, multi-locks and flags; here is what they share: time,
 * and requests that are gone. */
#include "core/scheduler/locks.h"

#include <math.h>

#include "core/scheduler/action.h"
#include "core/scheduler/locks_internal.h"

struct locks *locks_create(const struct scheduler_config *config)
{
    struct locks *locks = mem_zalloc(1, sizeof *locks);
    waiting_init(&locks->waiting);
    locks->validation_interval = config->lease_validation_interval;
    return locks;
}

void locks_destroy(struct locks *locks)
{
    semaphores_fini(locks);
    multi_locks_fini(locks);
    flags_fini(locks);
    waiting_fini(&locks->waiting);
    mem_free(locks);
}

void locks_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_SEMAPHORE_REGISTER:
    case EVENT_SEMAPHORE_ACQUIRE:
    case EVENT_SEMAPHORE_RELEASE:
    case EVENT_SEMAPHORE_REFRESH:
    case EVENT_SEMAPHORE_VALUE:
    case EVENT_SEMAPHORE_CLOSE:
        semaphore_event(s, event, step);
        return;
    case EVENT_MULTI_LOCK_ACQUIRE:
    case EVENT_MULTI_LOCK_RELEASE:
        multi_lock_event(s, event, step);
        return;
    default:
        flag_event(s, event, step);
    }
}

void locks_request_gone(struct scheduler *s, uint64_t request, struct step *step)
{
    struct waiter *waiter = waiting_find(&s->locks->waiting, request);
    if (waiter == NULL) {
        return;
    }
    switch (waiter->line->kind) {
    case LINE_SEMAPHORE:
        waiting_end(&s->locks->waiting, waiter);
        return;
    case LINE_MULTI_LOCK:
        multi_lock_give_up(s, waiter, step);
        return;
    default:
        ASSERT(waiter->line->kind == LINE_FLAG);
        flag_give_up(s, waiter);
    }
}

static void timed_out(struct scheduler *s, struct waiter *waiter, struct step *step)
{
    uint64_t request = waiter->request;
    if (waiter->line->kind == LINE_SEMAPHORE) {
        semaphore_timed_out(s, waiter, step);
        return;
    }
    action_reply_bool(step, request, false);
    if (waiter->line->kind == LINE_MULTI_LOCK) {
        multi_lock_give_up(s, waiter, step);
    } else {
        flag_give_up(s, waiter);
    }
}

void locks_tick(struct scheduler *s, struct step *step)
{
    struct locks *locks = s->locks;
    for (struct waiter *waiter; (waiter = waiting_expired(&locks->waiting, s->now)) != NULL;) {
        timed_out(s, waiter, step);
    }
    if (locks->timed_leases > 0 && s->now >= locks->validation_due) {
        locks->validation_due = s->now + locks->validation_interval;
        semaphores_validate(s, step);
    }
}

double locks_next_tick(const struct scheduler *s)
{
    const struct locks *locks = s->locks;
    double validation = locks->timed_leases > 0 ? locks->validation_due : INFINITY;
    return fmin(waiting_due(&locks->waiting), validation);
}
