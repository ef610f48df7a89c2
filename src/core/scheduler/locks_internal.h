/* locks_internal.h: what the files of locks share: semaphores, multi-locks, flags, and who waits for them. */
#ifndef CASK_CORE_SCHEDULER_LOCKS_INTERNAL_H
#define CASK_CORE_SCHEDULER_LOCKS_INTERNAL_H

#include "core/scheduler/internal.h"
#include "core/scheduler/locks.h"
#include "core/scheduler/waiting.h"

/* Kinds of lines; the owner is a struct semaphore, multi_user, flag. */
enum { LINE_SEMAPHORE, LINE_MULTI_LOCK, LINE_FLAG };

struct locks {
    struct waiting waiting;
    struct map semaphores;  /* name → struct semaphore */
    struct map multi_locks; /* name → struct multi_lock; those that somebody holds or wants */
    struct map multi_users; /* id → struct multi_user */
    struct map flags;       /* name → struct flag; those that are set or waited for */
    double validation_interval;
    double validation_due;
    uint32_t timed_leases; /* leases that can expire */
};

/* locks_semaphore.c */
void semaphore_event(struct scheduler *s, const struct event *event, struct step *step);
void semaphore_timed_out(struct scheduler *s, struct waiter *waiter, struct step *step);
/* Leases that nobody refreshed for too long are released. */
void semaphores_validate(struct scheduler *s, struct step *step);
void semaphores_fini(struct locks *locks);

/* locks_multi.c */
void multi_lock_event(struct scheduler *s, const struct event *event, struct step *step);
/* The user of this waiter wants none of its locks any more. Ends the waiter; answers nothing. */
void multi_lock_give_up(struct scheduler *s, struct waiter *waiter, struct step *step);
void multi_locks_fini(struct locks *locks);

/* locks_flag.c */
void flag_event(struct scheduler *s, const struct event *event, struct step *step);
/* Ends the waiter; answers nothing. */
void flag_give_up(struct scheduler *s, struct waiter *waiter);
void flags_fini(struct locks *locks);

#endif
