/* locks.h: semaphores with leases (Lock is one with one lease), multi-locks, and flags (distributed.Event).
 * Each waiting request is answered by a REPLY action, in order of arrival; deadlines and expired leases are
 * looked at in locks_tick(). A request whose connection is gone gives up its place.
 * Must agree with: distributed semaphore.py, multi_lock.py, event.py. */
#ifndef CASK_CORE_SCHEDULER_LOCKS_H
#define CASK_CORE_SCHEDULER_LOCKS_H

#include "core/scheduler/scheduler.h"

struct locks;

struct locks *locks_create(const struct scheduler_config *config);
void locks_destroy(struct locks *locks);
/* Every SEMAPHORE_…, MULTI_LOCK_… and FLAG_… event. */
void locks_event(struct scheduler *s, const struct event *event, struct step *step);
void locks_request_gone(struct scheduler *s, uint64_t request, struct step *step);
void locks_tick(struct scheduler *s, struct step *step);
double locks_next_tick(const struct scheduler *s);
/* For metrics and dumps: semaphores in order of registration. */
struct semaphore_view {
    struct span name; /* canonical msgpack */
    int64_t max_leases;
    uint32_t leases, pending;
    uint64_t acquired_total, released_total;
    double average_pending_seconds;
};
/* false: past the end. O(index). */
bool locks_semaphore_at(const struct scheduler *s, uint32_t index, struct semaphore_view *out);

#endif
