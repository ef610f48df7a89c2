/* locks_multi.c: multi-locks: a user asks for several named locks and goes on once it holds as many of them
 * as it wanted. Each lock has a line of users; the first holds it.
 *
 * Who needs fewer locks than it named keeps its place in the other lines, as in stock: those come to it later.
 * Must agree with: distributed multi_lock.py, MultiLockExtension. */
#include "base/text.h"
#include "core/scheduler/action.h"
#include "core/scheduler/locks_internal.h"
#include "core/scheduler/pool.h"

struct multi_lock {
    struct span name;                      /* owned */
    struct VEC(struct multi_user *) users; /* the first holds it */
};

struct multi_user {
    struct span id;                        /* owned */
    struct VEC(struct multi_lock *) locks; /* in whose lines it stands */
    uint32_t left;                         /* how many more it needs */
    struct waiter_line line;               /* its own request, while it waits */
};

static struct multi_user *user_find(const struct scheduler *s, struct span id)
{
    struct map_entry *entry = map_find(&s->locks->multi_users, id);
    return entry == NULL ? NULL : entry->value.pointer;
}

static struct multi_lock *lock_get(struct scheduler *s, struct span name)
{
    bool added;
    struct map_entry *entry = map_put(&s->locks->multi_locks, name, &added);
    if (added) {
        struct multi_lock *lock = mem_zalloc(1, sizeof *lock);
        lock->name = span_own(name);
        entry->value.pointer = lock;
    }
    return entry->value.pointer;
}

static void lock_free(struct multi_lock *lock)
{
    span_disown(&lock->name);
    vec_fini(&lock->users);
    mem_free(lock);
}

static void user_free(struct multi_user *user)
{
    span_disown(&user->id);
    vec_fini(&user->locks);
    mem_free(user);
}

void multi_locks_fini(struct locks *locks)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&locks->multi_locks, &cursor)) != NULL;) {
        lock_free(entry->value.pointer);
    }
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&locks->multi_users, &cursor)) != NULL;) {
        user_free(entry->value.pointer);
    }
    map_fini(&locks->multi_locks);
    map_fini(&locks->multi_users);
}

/* The user leaves the lock's line. If it was the first, the next one has the lock, and perhaps all it needs. */
static void lock_leave(struct scheduler *s, struct multi_lock *lock, const struct multi_user *user,
                       struct step *step)
{
    uint32_t place = 0;
    while (lock->users.items[place] != user) {
        place++;
        ASSERT(place < lock->users.count);
    }
    lock->users.count--;
    memmove(&lock->users.items[place], &lock->users.items[place + 1],
            (lock->users.count - place) * sizeof *lock->users.items);
    if (lock->users.count == 0) {
        map_remove(&s->locks->multi_locks, lock->name);
        lock_free(lock);
        return;
    }
    struct multi_user *next = lock->users.items[0];
    if (place > 0 || next->left == 0) {
        return;
    }
    next->left--;
    if (next->left == 0) {
        ASSERT(next->line.first != NULL);
        action_reply_bool(step, next->line.first->request, true);
        waiting_end(&s->locks->waiting, next->line.first);
    }
}

/* _retain_locks: the user wants none of its locks any more. */
static void user_leave(struct scheduler *s, struct multi_user *user, struct step *step)
{
    ASSERT(user->line.first == NULL);
    for (uint32_t i = 0; i < user->locks.count; i++) {
        lock_leave(s, user->locks.items[i], user, step);
    }
    map_remove(&s->locks->multi_users, user->id);
    user_free(user);
}

void multi_lock_give_up(struct scheduler *s, struct waiter *waiter, struct step *step)
{
    struct multi_user *user = waiter->line->owner;
    waiting_end(&s->locks->waiting, waiter);
    user_leave(s, user, step);
}

/* The named locks, each once, those with the shortest lines first. */
static uint32_t sort_locks(struct scheduler *s, struct span_list names,
                           struct multi_lock **out_locks)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < names.count; i++) {
        struct multi_lock *lock = lock_get(s, names.items[i]);
        uint32_t place = count;
        for (uint32_t j = 0; j < count; j++) {
            place = out_locks[j] == lock ? UINT32_MAX : place;
        }
        if (place == UINT32_MAX) {
            continue;
        }
        for (; place > 0 && out_locks[place - 1]->users.count > lock->users.count; place--) {
            out_locks[place] = out_locks[place - 1];
        }
        out_locks[place] = lock;
        count++;
    }
    return count;
}

/* Those that nobody is in line for are forgotten. */
static void forget_unused(struct scheduler *s, struct multi_lock **locks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (locks[i]->users.count == 0) {
            map_remove(&s->locks->multi_locks, locks[i]->name);
            lock_free(locks[i]);
        }
    }
}

static void refuse(struct step *step, uint64_t request, struct span id, const char *why)
{
    struct span text = key_as_repr(id, &step->arena);
    struct text message = {0};
    text_printf(&message, "MultiLock %.*s %s", (int)text.size, (const char *)text.data, why);
    action_reply_error(step, request, ANSWER_VALUE_ERROR, text_span(&message));
    text_fini(&message);
}

static void acquire(struct scheduler *s, const struct event_multi_lock_acquire *event,
                    struct step *step)
{
    if (user_find(s, event->id) != NULL) {
        refuse(step, event->request, event->id,
               "has asked for its locks already: release them first");
        return;
    }
    struct multi_lock **locks = arena_array(&step->arena, struct multi_lock *, event->locks.count);
    uint32_t count = sort_locks(s, event->locks, locks);
    if (event->wanted == 0 || event->wanted > count) {
        forget_unused(s, locks, count);
        refuse(step, event->request, event->id,
               "must ask for at least one and at most all of its locks");
        return;
    }
    struct multi_user *user = mem_zalloc(1, sizeof *user);
    user->id = span_own(event->id);
    user->left = event->wanted;
    user->line.kind = LINE_MULTI_LOCK;
    user->line.owner = user;
    map_put(&s->locks->multi_users, event->id, NULL)->value.pointer = user;
    for (uint32_t i = 0; i < count && user->left > 0; i++) {
        vec_push(&user->locks, locks[i]);
        vec_push(&locks[i]->users, user);
        user->left -= locks[i]->users.count == 1;
    }
    forget_unused(s, locks, count);
    if (user->left == 0) {
        action_reply_bool(step, event->request, true);
        return;
    }
    struct waiter *waiter =
        waiting_add(&s->locks->waiting, &user->line, event->request, s->now, event->deadline);
    if (event->deadline <= s->now) {
        action_reply_bool(step, event->request, false);
        multi_lock_give_up(s, waiter, step);
    }
}

static void release(struct scheduler *s, const struct event_multi_lock_release *event,
                    struct step *step)
{
    struct multi_user *user = user_find(s, event->id);
    if (user == NULL) {
        action_reply_error(step, event->request, ANSWER_KEY_ERROR,
                           key_as_text(event->id, &step->arena));
        return;
    }
    if (user->line.first != NULL) {
        /* It still waits (another thread releases): that acquire gets nothing any more. */
        action_reply_bool(step, user->line.first->request, false);
        waiting_end(&s->locks->waiting, user->line.first);
    }
    user_leave(s, user, step);
    action_reply_nil(step, event->request);
}

void multi_lock_event(struct scheduler *s, const struct event *event, struct step *step)
{
    if (event->kind == EVENT_MULTI_LOCK_ACQUIRE) {
        acquire(s, &event->of.multi_lock_acquire, step);
        return;
    }
    ASSERT(event->kind == EVENT_MULTI_LOCK_RELEASE);
    release(s, &event->of.multi_lock_release, step);
}
