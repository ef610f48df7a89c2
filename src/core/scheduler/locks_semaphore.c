/* locks_semaphore.c: semaphores: at most so many leases at once, each refreshed by its holder or taken back.
 * A lease asked for again (the answer was lost on its way) is granted again.
 * Must agree with: distributed semaphore.py, SemaphoreExtension. */
#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/locks_internal.h"
#include "core/scheduler/pool.h"

#define WARNING 30
#define CRITICAL 50

struct semaphore {
    struct span name; /* owned */
    int64_t max_leases;
    double lease_timeout; /* seconds without a refresh; 0: for ever */
    struct map leases;    /* id → time of the last refresh, as bits */
    struct waiter_line line;
    uint64_t acquired_total, released_total;
    double average_pending_seconds;
};

static struct semaphore *find(const struct scheduler *s, struct span name)
{
    struct map_entry *entry = map_find(&s->locks->semaphores, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

static void semaphore_free(struct semaphore *semaphore)
{
    span_disown(&semaphore->name);
    map_fini(&semaphore->leases);
    mem_free(semaphore);
}

void semaphores_fini(struct locks *locks)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&locks->semaphores, &cursor)) != NULL;) {
        semaphore_free(entry->value.pointer);
    }
    map_fini(&locks->semaphores);
}

/* The name as Python's str() shows it, between two pieces of text. */
static void log_name(struct step *step, uint32_t level, const char *before, struct span name,
                     const char *after)
{
    struct span text = key_as_text(name, &step->arena);
    action_log(step, level, "%s%.*s%s", before, (int)text.size, (const char *)text.data, after);
}

static void reply_unknown(struct step *step, uint64_t request, struct span name)
{
    struct span text = key_as_text(name, &step->arena);
    struct text message = {0};
    text_printf(&message, "Semaphore or Lock `%.*s` not known.", (int)text.size,
                (const char *)text.data);
    action_reply_error(step, request, ANSWER_RUNTIME_ERROR, text_span(&message));
    text_fini(&message);
}

/* ---- leases ---- */

static double lease_seen(const struct map_entry *lease)
{
    double seen;
    memcpy(&seen, &lease->value.number, sizeof seen);
    return seen;
}

static void lease_put(struct scheduler *s, struct semaphore *semaphore, struct span id)
{
    bool added;
    struct map_entry *lease = map_put(&semaphore->leases, id, &added);
    memcpy(&lease->value.number, &s->now, sizeof s->now);
    s->locks->timed_leases += added && semaphore->lease_timeout > 0;
}

static void lease_remove(struct scheduler *s, struct semaphore *semaphore, struct span id)
{
    bool removed = map_remove(&semaphore->leases, id);
    ASSERT(removed);
    if (semaphore->lease_timeout > 0) {
        ASSERT(s->locks->timed_leases > 0);
        s->locks->timed_leases--;
    }
}

/* _get_lease */
static bool try_acquire(struct scheduler *s, struct semaphore *semaphore, struct span id)
{
    if (map_find(&semaphore->leases, id) == NULL &&
        semaphore->leases.count >= semaphore->max_leases) {
        return false;
    }
    lease_put(s, semaphore, id);
    semaphore->acquired_total++;
    return true;
}

static void note_pending(struct semaphore *semaphore, double seconds)
{
    semaphore->average_pending_seconds = (semaphore->average_pending_seconds + seconds) / 2;
}

/* Leases became free: those who wait try again, in order of arrival. */
static void try_waiters(struct scheduler *s, struct semaphore *semaphore, struct step *step)
{
    struct waiter *after;
    for (struct waiter *waiter = semaphore->line.first; waiter != NULL; waiter = after) {
        after = waiter->after;
        if (try_acquire(s, semaphore, waiter->text)) {
            note_pending(semaphore, s->now - waiter->since);
            action_reply_bool(step, waiter->request, true);
            waiting_end(&s->locks->waiting, waiter);
        }
    }
}

void semaphore_timed_out(struct scheduler *s, struct waiter *waiter, struct step *step)
{
    note_pending(waiter->line->owner, s->now - waiter->since);
    action_reply_bool(step, waiter->request, false);
    waiting_end(&s->locks->waiting, waiter);
}

void semaphores_validate(struct scheduler *s, struct step *step)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&s->locks->semaphores, &cursor)) != NULL;) {
        struct semaphore *semaphore = entry->value.pointer;
        uint32_t before = semaphore->leases.count;
        uint32_t lease_cursor = 0;
        struct map_entry *lease;
        while (semaphore->lease_timeout > 0 &&
               (lease = map_next(&semaphore->leases, &lease_cursor)) != NULL) {
            if (s->now - lease_seen(lease) > semaphore->lease_timeout) {
                lease_remove(s, semaphore, lease->name);
                semaphore->released_total++;
            }
        }
        if (semaphore->leases.count < before) {
            try_waiters(s, semaphore, step);
        }
    }
}

/* ---- events ---- */

static void register_semaphore(struct scheduler *s, const struct event_semaphore_register *event,
                               struct step *step)
{
    struct semaphore *semaphore = find(s, event->name);
    if (semaphore != NULL && semaphore->max_leases != event->max_leases) {
        struct text message = {0};
        text_printf(&message, "Inconsistent max leases: %lld, expected: %lld",
                    (long long)event->max_leases, (long long)semaphore->max_leases);
        action_reply_error(step, event->request, ANSWER_VALUE_ERROR, text_span(&message));
        text_fini(&message);
        return;
    }
    if (semaphore == NULL) {
        semaphore = mem_zalloc(1, sizeof *semaphore);
        semaphore->name = span_own(event->name);
        semaphore->max_leases = event->max_leases;
        semaphore->lease_timeout =
            event->lease_timeout > 0 ? event->lease_timeout : 0; /* NaN: none */
        semaphore->line.kind = LINE_SEMAPHORE;
        semaphore->line.owner = semaphore;
        map_put(&s->locks->semaphores, event->name, NULL)->value.pointer = semaphore;
    }
    action_reply_nil(step, event->request);
}

static void acquire(struct scheduler *s, const struct event_semaphore_acquire *event,
                    struct step *step)
{
    struct semaphore *semaphore = find(s, event->name);
    if (semaphore == NULL) {
        reply_unknown(step, event->request, event->name);
        return;
    }
    bool acquired = try_acquire(s, semaphore, event->lease);
    if (acquired || event->deadline <= s->now) {
        note_pending(semaphore, 0);
        action_reply_bool(step, event->request, acquired);
        return;
    }
    struct waiter *waiter =
        waiting_add(&s->locks->waiting, &semaphore->line, event->request, s->now, event->deadline);
    waiter->text = span_own(event->lease);
}

static void release(struct scheduler *s, const struct event_semaphore_release *event,
                    struct step *step)
{
    struct semaphore *semaphore = find(s, event->name);
    action_reply_nil(step, event->request);
    if (semaphore == NULL) {
        log_name(step, WARNING, "Tried to release Lock or Semaphore `", event->name,
                 "` but it is not known.");
        return;
    }
    if (map_find(&semaphore->leases, event->lease) == NULL) {
        log_name(step, WARNING, "Tried to release Lock or Semaphore `", event->name,
                 "` but it was already released. This can happen if the Lock or Semaphore timed "
                 "out before.");
        return;
    }
    lease_remove(s, semaphore, event->lease);
    semaphore->released_total++;
    try_waiters(s, semaphore, step);
}

static void refresh(struct scheduler *s, const struct event_semaphore_refresh *event,
                    struct step *step)
{
    struct semaphore *semaphore = find(s, event->name);
    action_reply_nil(step, event->request);
    for (uint32_t i = 0; i < event->leases.count; i++) {
        struct span id = event->leases.items[i];
        if (semaphore == NULL || map_find(&semaphore->leases, id) == NULL) {
            log_name(step, CRITICAL, "Refreshing an unknown lease ID for `", event->name,
                     "`. This might be due to leases timing out and may cause overbooking of the "
                     "semaphore! This "
                     "is often caused by long-running GIL-holding in the task which acquired the "
                     "lease.");
        }
        if (semaphore != NULL) {
            lease_put(s, semaphore, id);
        }
    }
}

/* Who still waits is told that there is nothing left to wait for (stock leaves them waiting for ever). */
static void close_semaphore(struct scheduler *s, const struct event_semaphore_close *event,
                            struct step *step)
{
    struct semaphore *semaphore = find(s, event->name);
    action_reply_nil(step, event->request);
    if (semaphore == NULL) {
        return;
    }
    if (semaphore->leases.count > 0) {
        log_name(step, WARNING, "Closing semaphore ", event->name,
                 " but there remain unreleased leases");
        s->locks->timed_leases -= semaphore->lease_timeout > 0 ? semaphore->leases.count : 0;
    }
    if (semaphore->line.count > 0) {
        log_name(step, WARNING, "Closing semaphore ", event->name,
                 " but there remain pending leases");
    }
    while (semaphore->line.first != NULL) {
        reply_unknown(step, semaphore->line.first->request, event->name);
        waiting_end(&s->locks->waiting, semaphore->line.first);
    }
    map_remove(&s->locks->semaphores, event->name);
    semaphore_free(semaphore);
}

void semaphore_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_SEMAPHORE_REGISTER:
        register_semaphore(s, &event->of.semaphore_register, step);
        return;
    case EVENT_SEMAPHORE_ACQUIRE:
        acquire(s, &event->of.semaphore_acquire, step);
        return;
    case EVENT_SEMAPHORE_RELEASE:
        release(s, &event->of.semaphore_release, step);
        return;
    case EVENT_SEMAPHORE_REFRESH:
        refresh(s, &event->of.semaphore_refresh, step);
        return;
    case EVENT_SEMAPHORE_CLOSE:
        close_semaphore(s, &event->of.semaphore_close, step);
        return;
    default: {
        ASSERT(event->kind == EVENT_SEMAPHORE_VALUE);
        const struct semaphore *semaphore = find(s, event->of.semaphore_value.name);
        action_reply_int(step, event->of.semaphore_value.request,
                         semaphore == NULL ? 0 : (int64_t)semaphore->leases.count);
    }
    }
}

bool locks_semaphore_at(const struct scheduler *s, uint32_t index, struct semaphore_view *out)
{
    uint32_t cursor = 0;
    const struct map_entry *entry;
    do {
        entry = map_next(&s->locks->semaphores, &cursor);
    } while (entry != NULL && index-- > 0);
    if (entry == NULL) {
        return false;
    }
    const struct semaphore *semaphore = entry->value.pointer;
    *out = (struct semaphore_view){
        .name = semaphore->name,
        .max_leases = semaphore->max_leases,
        .leases = semaphore->leases.count,
        .pending = semaphore->line.count,
        .acquired_total = semaphore->acquired_total,
        .released_total = semaphore->released_total,
        .average_pending_seconds = semaphore->average_pending_seconds,
    };
    return true;
}
