/* locks_flag.c: flags (distributed.Event): set or not, with a line of those who wait. A flag exists while it
 * is set or waited for.
 * Must agree with: distributed event.py, EventExtension. */
#include "core/scheduler/action.h"
#include "core/scheduler/locks_internal.h"
#include "core/scheduler/pool.h"

struct flag {
    struct span name; /* owned */
    bool is_set;
    struct waiter_line line;
};

static struct flag *find(const struct scheduler *s, struct span name)
{
    struct map_entry *entry = map_find(&s->locks->flags, name);
    return entry == NULL ? NULL : entry->value.pointer;
}

static struct flag *get(struct scheduler *s, struct span name)
{
    bool added;
    struct map_entry *entry = map_put(&s->locks->flags, name, &added);
    if (added) {
        struct flag *flag = mem_zalloc(1, sizeof *flag);
        flag->name = span_own(name);
        flag->line.kind = LINE_FLAG;
        flag->line.owner = flag;
        entry->value.pointer = flag;
    }
    return entry->value.pointer;
}

static void flag_free(struct flag *flag)
{
    span_disown(&flag->name);
    mem_free(flag);
}

void flags_fini(struct locks *locks)
{
    uint32_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&locks->flags, &cursor)) != NULL;) {
        flag_free(entry->value.pointer);
    }
    map_fini(&locks->flags);
}

static void forget_unused(struct scheduler *s, struct flag *flag)
{
    if (!flag->is_set && flag->line.count == 0) {
        map_remove(&s->locks->flags, flag->name);
        flag_free(flag);
    }
}

void flag_give_up(struct scheduler *s, struct waiter *waiter)
{
    struct flag *flag = waiter->line->owner;
    waiting_end(&s->locks->waiting, waiter);
    forget_unused(s, flag);
}

static void wait(struct scheduler *s, const struct event_flag_wait *event, struct step *step)
{
    struct flag *flag = find(s, event->name);
    bool is_set = flag != NULL && flag->is_set;
    if (is_set || event->deadline <= s->now) {
        action_reply_bool(step, event->request, is_set);
        return;
    }
    waiting_add(&s->locks->waiting, &get(s, event->name)->line, event->request, s->now,
                event->deadline);
}

static void set(struct scheduler *s, const struct event_flag_set *event, struct step *step)
{
    struct flag *flag = get(s, event->name);
    flag->is_set = true;
    action_reply_nil(step, event->request);
    while (flag->line.first != NULL) {
        action_reply_bool(step, flag->line.first->request, true);
        waiting_end(&s->locks->waiting, flag->line.first);
    }
}

static void clear(struct scheduler *s, const struct event_flag_clear *event, struct step *step)
{
    struct flag *flag = find(s, event->name);
    if (flag != NULL) {
        flag->is_set = false;
        forget_unused(s, flag);
    }
    action_reply_nil(step, event->request);
}

void flag_event(struct scheduler *s, const struct event *event, struct step *step)
{
    switch (event->kind) {
    case EVENT_FLAG_WAIT:
        wait(s, &event->of.flag_wait, step);
        return;
    case EVENT_FLAG_SET:
        set(s, &event->of.flag_set, step);
        return;
    case EVENT_FLAG_CLEAR:
        clear(s, &event->of.flag_clear, step);
        return;
    default: {
        ASSERT(event->kind == EVENT_FLAG_IS_SET);
        const struct flag *flag = find(s, event->of.flag_is_set.name);
        action_reply_bool(step, event->of.flag_is_set.request, flag != NULL && flag->is_set);
    }
    }
}
